//! The journal: the one commit point.
//!
//! An append-only file of framed records. A record is committed when it is whole; stores are brought up behind
//! it and it is cut at a checkpoint. Layout: a 32-byte header (magic, base sequence number, CRC-32C), then
//! frames of `length u32, sequence u64, synced u64, header CRC u32, body CRC u32, whitened body`. `synced` is how far the
//! file was known to be durable when the frame was written: it tells damage from a lost tail, see [`Journal::open`].

use crate::bytes::Bytes;
use crate::{Error, Result, sync};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const MAGIC: &[u8; 8] = b"ASTJRNL1";
pub(crate) const HEADER: u64 = 32;
const FRAME: usize = 28;
/// A power cut leaves whole sectors as they were: zeros in a file that was growing.
const SECTOR: u64 = 512;

/// The writer's handle. Appends are serialised by the caller; syncs may come from any thread.
pub(crate) struct Journal {
    bytes: Arc<dyn Bytes + Send + Sync>,
    end: AtomicU64,
    synced: AtomicU64,
    syncing: Mutex<()>,
}

/// One committed record.
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) body: Vec<u8>,
}

impl Journal {
    /// Opens or creates, and hands every whole record, oldest first, to `see`; cuts off a torn tail.
    ///
    /// `applied` is the store's own last sequence number: records up to it are passed over, a gap after it is
    /// `CORRUPT`. A frame that fails its checksum is a lost tail if a process or power death explains it (the file
    /// ends inside the frame, or a whole sector of it is still zero in a part never known to be durable), and
    /// `CORRUPT` otherwise: acknowledged records are not dropped silently.
    pub(crate) fn open(
        bytes: Arc<dyn Bytes + Send + Sync>,
        applied: u64,
        see: &mut dyn FnMut(Record) -> Result<()>,
    ) -> Result<Journal> {
        let len = bytes.len()?;
        let journal = Journal {
            bytes,
            end: AtomicU64::new(HEADER),
            synced: AtomicU64::new(HEADER),
            syncing: Mutex::new(()),
        };
        let base = match journal.read_header(len)? {
            Some(base) => base,
            None if applied == 0 => {
                journal.cut(0)?;
                return Ok(journal);
            }
            None => return Err(Error::corrupt("the journal has lost its header")),
        };
        if base > applied {
            return Err(Error::corrupt(format!(
                "the journal continues from write {base}, but the store has only come to write {applied}"
            )));
        }
        let end = journal.replay(len, applied, see)?;
        if end < len {
            journal.bytes.set_len(end)?;
        }
        journal.end.store(end, Ordering::Release);
        Ok(journal)
    }

    fn read_header(&self, len: u64) -> Result<Option<u64>> {
        if len < HEADER {
            return Ok(None);
        }
        let mut header = [0; HEADER as usize];
        self.bytes.read_at(0, &mut header)?;
        if header == [0; HEADER as usize] {
            return Ok(None);
        }
        if &header[..8] != MAGIC || word(&header, 28) != crc32c::crc32c(&header[..28]) {
            return Err(Error::corrupt("the journal's header is damaged"));
        }
        Ok(Some(long(&header, 8)))
    }

    /// Walks the frames; answers where the last whole one ends.
    fn replay(&self, len: u64, applied: u64, see: &mut dyn FnMut(Record) -> Result<()>) -> Result<u64> {
        let mut at = HEADER;
        let mut last: Option<u64> = None;
        while at < len {
            match self.frame(at, len)? {
                Some((seq, body)) if last.is_none_or(|last| seq == last + 1) => {
                    if last.is_none() && seq > applied + 1 {
                        return Err(Error::corrupt(format!(
                            "the journal begins at write {seq}, but the store has only come to write {applied}"
                        )));
                    }
                    at += (FRAME + body.len()) as u64;
                    last = Some(seq);
                    if seq > applied {
                        see(Record { seq, body })?;
                    }
                }
                // Frames that a cut left behind carry older numbers; they are not part of this run.
                Some((seq, _)) if last.is_some_and(|last| seq <= last) => break,
                Some((seq, _)) => {
                    return Err(Error::corrupt(format!("the journal jumps to write {seq} at byte {at}")));
                }
                None if self.explained_by_a_crash(at, len)? => break,
                None => return Err(Error::corrupt(format!("the journal is damaged at byte {at}"))),
            }
        }
        Ok(at)
    }

    /// The whole frame at `at`, or `None` where there is none.
    fn frame(&self, at: u64, len: u64) -> Result<Option<(u64, Vec<u8>)>> {
        let Some(head) = self.frame_header(at, len)? else { return Ok(None) };
        let body_len = u64::from(word(&head, 0));
        if at + FRAME as u64 + body_len > len {
            return Ok(None);
        }
        let mut body = vec![0; body_len as usize];
        self.bytes.read_at(at + FRAME as u64, &mut body)?;
        let whole = word(&head, 24) == crc32c::crc32c(&body);
        whiten(&mut body, long(&head, 4));
        Ok(whole.then(|| (long(&head, 4), body)))
    }

    fn frame_header(&self, at: u64, len: u64) -> Result<Option<[u8; FRAME]>> {
        if at + FRAME as u64 > len {
            return Ok(None);
        }
        let mut head = [0; FRAME];
        self.bytes.read_at(at, &mut head)?;
        Ok((word(&head, 20) == crc32c::crc32c(&head[..20]) && word(&head, 0) > 0).then_some(head))
    }

    /// Whether the bad frame at `at` is what a dying process or machine leaves, rather than later damage.
    fn explained_by_a_crash(&self, at: u64, len: u64) -> Result<bool> {
        let frame_end = match self.frame_header(at, len)? {
            Some(head) => {
                let end = at + FRAME as u64 + u64::from(word(&head, 0));
                if end > len {
                    return Ok(true);
                }
                end
            }
            None if len - at < FRAME as u64 => return Ok(true),
            // Its length is not to be trusted: the header's own sectors decide.
            None => at + FRAME as u64,
        };
        // A later frame that knew this place to be durable makes it damage.
        if self.known_durable_later(at, len)? {
            return Ok(false);
        }
        self.has_zero_sector(at, frame_end)
    }

    /// Whether some sector-aligned piece of `[from, to)`, of up to a sector, is all zeros.
    fn has_zero_sector(&self, from: u64, to: u64) -> Result<bool> {
        let mut piece = [0u8; SECTOR as usize];
        let mut at = from;
        while at < to {
            let end = ((at / SECTOR + 1) * SECTOR).min(to);
            let piece = &mut piece[..(end - at) as usize];
            self.bytes.read_at(at, piece)?;
            if piece.iter().all(|&b| b == 0) {
                return Ok(true);
            }
            at = end;
        }
        Ok(false)
    }

    fn known_durable_later(&self, bad: u64, len: u64) -> Result<bool> {
        let mut tail =
            vec![0; usize::try_from(len - bad).map_err(|_| Error::corrupt("the journal is too long"))?];
        self.bytes.read_at(bad, &mut tail)?;
        for start in 1..tail.len().saturating_sub(FRAME - 1) {
            let head = &tail[start..start + FRAME];
            // The checksum is the expensive test: plausible numbers come first.
            let synced = long(head, 12);
            if synced > bad && synced <= bad + start as u64 && word(head, 20) == crc32c::crc32c(&head[..20]) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Appends one record: a single write. On failure the file is put back as it was.
    pub(crate) fn append(&self, seq: u64, body: &[u8]) -> Result<()> {
        let at = self.end.load(Ordering::Acquire);
        let len = u32::try_from(body.len()).map_err(|_| Error::invalid("one write exceeds 4 GiB"))?;
        let mut frame = Vec::with_capacity(FRAME + body.len());
        frame.extend_from_slice(&len.to_le_bytes());
        frame.extend_from_slice(&seq.to_le_bytes());
        frame.extend_from_slice(&self.synced.load(Ordering::Acquire).to_le_bytes());
        let sum = crc32c::crc32c(&frame);
        frame.extend_from_slice(&sum.to_le_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(body);
        whiten(&mut frame[FRAME..], seq);
        let sum = crc32c::crc32c(&frame[FRAME..]);
        frame[FRAME - 4..FRAME].copy_from_slice(&sum.to_le_bytes());
        if let Err(error) = self.bytes.write_at(at, &frame) {
            // Whether this worked shows in `is_clean`.
            let _ = self.bytes.set_len(at);
            return Err(error.at("journal"));
        }
        self.end.store(at + frame.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Whether the file ends with the last whole record.
    pub(crate) fn is_clean(&self) -> bool {
        self.bytes.len().is_ok_and(|len| len == self.end.load(Ordering::Acquire))
    }

    /// Makes everything appended so far durable. Callers that arrive while one sync runs share the next.
    pub(crate) fn sync(&self) -> Result<()> {
        let wanted = self.end.load(Ordering::Acquire);
        let _turn = sync::lock(&self.syncing);
        if self.synced.load(Ordering::Acquire) >= wanted {
            return Ok(());
        }
        let covered = self.end.load(Ordering::Acquire);
        self.bytes.sync().map_err(|error| error.at("journal"))?;
        self.synced.store(covered, Ordering::Release);
        Ok(())
    }

    /// Drops every record: the stores hold them all durably, up to write `base`.
    pub(crate) fn cut(&self, base: u64) -> Result<()> {
        let _turn = sync::lock(&self.syncing);
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(MAGIC);
        header[8..16].copy_from_slice(&base.to_le_bytes());
        let sum = crc32c::crc32c(&header[..28]);
        header[28..].copy_from_slice(&sum.to_le_bytes());
        self.bytes.set_len(HEADER)?;
        self.bytes.write_at(0, &header)?;
        // Synced now: were the cut to reach the disk after later frames, old and new ones would mix.
        self.bytes.sync()?;
        self.end.store(HEADER, Ordering::Release);
        self.synced.store(HEADER, Ordering::Release);
        Ok(())
    }

    /// Bytes of records not yet cut.
    pub(crate) fn pending(&self) -> u64 {
        self.end.load(Ordering::Acquire) - HEADER
    }
}

/// Mixes a body with a pattern of its record, or takes the pattern out again. Data may well be all zeros; on disk a zero
/// sector must mean one that was never written.
fn whiten(body: &mut [u8], seq: u64) {
    let pattern = (seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x0101_0101_0101_0101).to_le_bytes();
    for piece in body.chunks_mut(8) {
        piece.iter_mut().zip(pattern).for_each(|(byte, mask)| *byte ^= mask);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use crate::bytes::MemBytes;

    fn read(bytes: Vec<u8>, applied: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut seen = Vec::new();
        Journal::open(Arc::new(MemBytes::new(bytes)), applied, &mut |record| {
            seen.push((record.seq, record.body));
            Ok(())
        })?;
        Ok(seen)
    }

    fn written() -> (Vec<u8>, Vec<u64>) {
        let bytes = Arc::new(MemBytes::default());
        let journal = Journal::open(bytes.clone(), 0, &mut |_| Ok(())).unwrap();
        let mut ends = vec![HEADER];
        for seq in 1..=4u64 {
            // Zeros, as in sparse vectors: they must not be taken for sectors that were never written.
            journal.append(seq, &vec![0; 700 * seq as usize]).unwrap();
            ends.push(bytes.len().unwrap());
            if seq == 2 {
                journal.sync().unwrap();
            }
        }
        (bytes.to_vec(), ends)
    }

    #[test]
    fn every_cut_keeps_the_whole_records_before_it() {
        let (bytes, ends) = written();
        for cut in HEADER as usize..=bytes.len() {
            let seen = read(bytes[..cut].to_vec(), 0).unwrap();
            let whole = ends.iter().filter(|&&end| end <= cut as u64).count() - 1;
            assert_eq!(seen.len(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn any_flipped_byte_is_found() {
        let (bytes, _) = written();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x41;
            let seen = read(damaged, 0);
            // A changed length in the last frame looks like a torn write: its header checksum tells.
            assert_eq!(seen.map(|_| ()).unwrap_err().code(), Code::Corrupt, "flip at {at}");
        }
    }

    #[test]
    fn a_sector_that_never_reached_the_disk_ends_the_run() {
        let (bytes, ends) = written();
        // Inside record 4, which was never synced.
        let from = (ends[3] as usize / 512 + 2) * 512;
        let mut torn = bytes.clone();
        torn[from..from + 512].fill(0);
        assert_eq!(read(torn, 0).unwrap().len(), 3);
        // Inside record 1, which record 3 knows to be durable.
        let mut damaged = bytes;
        damaged[512..1024].fill(0);
        let found = read(damaged, 0).map(|seen| seen.len());
        assert!(found.is_err(), "a synced record was dropped: {found:?}");
    }

    #[test]
    fn records_the_store_has_are_passed_over_and_gaps_refused() {
        let (bytes, _) = written();
        assert_eq!(read(bytes.clone(), 3).unwrap().len(), 1);
        assert_eq!(read(bytes.clone(), 9).unwrap().len(), 0);
        let journal = Journal::open(Arc::new(MemBytes::new(bytes)), 0, &mut |_| Ok(())).unwrap();
        journal.cut(4).unwrap();
        assert_eq!(journal.pending(), 0);
        assert_eq!(
            Journal::open(journal.bytes.clone(), 3, &mut |_| Ok(())).err().unwrap().code(),
            Code::Corrupt
        );
    }
}
