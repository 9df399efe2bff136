//! The journal: the one commit point.
//!
//! An append-only file of framed records. A record is committed when it is whole; stores are brought up behind
//! it and it is cut at a checkpoint. Layout: a 32-byte header (magic, base sequence number, CRC-32C), then
//! frames of `length u32, sequence u64, synced u64, header CRC u32, body CRC u32, body`, their bytes inverted.
//! `synced` is how far the file was known to be durable when the frame was written: it tells damage from a lost tail,
//! see [`Journal::open`].

use crate::bytes::Bytes;
use crate::{Error, Result, checksum, sync};
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
        let base = journal.read_header(len)?;
        if len < HEADER && applied > 0 {
            return Err(Error::corrupt("the journal has lost its header"));
        }
        if let Some(base) = base.filter(|&base| base > applied) {
            return Err(Error::corrupt(format!(
                "the journal continues from write {base}, but the store has only come to write {applied}"
            )));
        }
        let end = journal.replay(len, applied, see)?;
        if base.is_none() && end == HEADER {
            journal.cut(applied)?;
        } else if end < len {
            journal.put_back(end)?;
        }
        journal.end.store(end, Ordering::Release);
        Ok(journal)
    }

    /// What the header says, or `None` where there is no whole one: a cut may have been interrupted between its steps.
    /// Records carry their own numbers and checksums, so nothing else depends on it.
    fn read_header(&self, len: u64) -> Result<Option<u64>> {
        if len < HEADER {
            return Ok(None);
        }
        let mut header = [0; HEADER as usize];
        self.bytes.read_at(0, &mut header)?;
        let whole = &header[..8] == MAGIC && word(&header, 28) == checksum::crc32c(&header[..28]);
        Ok(whole.then(|| long(&header, 8)))
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
        let body_len = length(&head);
        if at + FRAME as u64 + body_len > len {
            return Ok(None);
        }
        let mut body = vec![0; body_len as usize];
        self.bytes.read_at(at + FRAME as u64, &mut body)?;
        invert(&mut body);
        Ok((word(&head, 24) == checksum::crc32c(&body)).then(|| (long(&head, 4), body)))
    }

    fn frame_header(&self, at: u64, len: u64) -> Result<Option<[u8; FRAME]>> {
        if at + FRAME as u64 > len {
            return Ok(None);
        }
        let mut head = [0; FRAME];
        self.bytes.read_at(at, &mut head)?;
        invert(&mut head);
        Ok((word(&head, 20) == checksum::crc32c(&head[..20]) && length(&head) > 0).then_some(head))
    }

    /// Whether the bad frame at `at` is what a dying process or machine leaves, rather than later damage.
    fn explained_by_a_crash(&self, at: u64, len: u64) -> Result<bool> {
        let frame_end = match self.frame_header(at, len)? {
            Some(head) => {
                let end = at + FRAME as u64 + length(&head);
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
        // No frame begins with zeros: one that was lost may share its sector with a later one that was not.
        Ok(self.is_zero(at, at + FRAME as u64)? || self.has_zero_sector(at, frame_end)?)
    }

    fn is_zero(&self, from: u64, to: u64) -> Result<bool> {
        let mut piece = vec![0; (to - from) as usize];
        self.bytes.read_at(from, &mut piece)?;
        Ok(piece.iter().all(|&b| b == 0))
    }

    /// Whether some sector-aligned piece of `[from, to)`, of up to a sector, is all zeros.
    fn has_zero_sector(&self, from: u64, to: u64) -> Result<bool> {
        let mut at = from;
        while at < to {
            let end = ((at / SECTOR + 1) * SECTOR).min(to);
            if self.is_zero(at, end)? {
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
        invert(&mut tail);
        for start in 1..tail.len().saturating_sub(FRAME - 1) {
            let head = &tail[start..start + FRAME];
            // The checksum is the expensive test: plausible numbers come first.
            let synced = long(head, 12);
            if synced > bad && synced <= bad + start as u64 && word(head, 20) == checksum::crc32c(&head[..20])
            {
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
        frame.extend_from_slice(&len.to_be_bytes());
        frame.extend_from_slice(&seq.to_le_bytes());
        frame.extend_from_slice(&self.synced.load(Ordering::Acquire).to_le_bytes());
        let sum = checksum::crc32c(&frame);
        frame.extend_from_slice(&sum.to_le_bytes());
        frame.extend_from_slice(&checksum::crc32c(body).to_le_bytes());
        frame.extend_from_slice(body);
        invert(&mut frame);
        if let Err(error) = self.bytes.write_at(at, &frame) {
            // Whether this worked shows in `is_clean`.
            let _ = self.put_back(at);
            return Err(error.at("journal"));
        }
        self.end.store(at + frame.len() as u64, Ordering::Release);
        Ok(())
    }

    /// Cuts off what is no record, durably: a power cut must not bring it back among later records.
    fn put_back(&self, end: u64) -> Result<()> {
        self.bytes.set_len(end)?;
        self.bytes.sync()
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
        let sum = checksum::crc32c(&header[..28]);
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

/// Zeros on disk mean that something is missing, so a frame must have none of its own in any number: inverted, they
/// would be bytes of 255, which neither finite numbers nor texts hold in a row. Its first and last bytes never are.
fn invert(bytes: &mut [u8]) {
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
}

/// The body length in a frame's header. Big-endian, so that it begins with a byte that is not 255.
fn length(head: &[u8; FRAME]) -> u64 {
    u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]))
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
            journal.append(seq, &vec![seq as u8; 700 * seq as usize]).unwrap();
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
            if at < HEADER as usize {
                assert_eq!(seen.unwrap().len(), 4, "records need no header: flip at {at}");
                continue;
            }
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
    fn a_flip_is_found_however_many_zeros_a_record_holds() {
        // Every length, so that some records end just past the start of a sector.
        for len in 400..1100 {
            let bytes = Arc::new(MemBytes::default());
            let journal = Journal::open(bytes.clone(), 0, &mut |_| Ok(())).unwrap();
            journal.append(1, &[0; 600]).unwrap();
            journal.append(2, &vec![0; len]).unwrap();
            for at in [HEADER + 1, HEADER + 700, HEADER + 8 + FRAME as u64, bytes.len().unwrap() - 300] {
                let mut damaged = bytes.to_vec();
                damaged[at as usize] ^= 4;
                assert_eq!(
                    read(damaged, 0).err().map(|e| e.code()),
                    Some(Code::Corrupt),
                    "{len}: flip at {at}"
                );
            }
        }
    }

    #[test]
    fn a_lost_record_that_shares_a_sector_with_a_kept_one_ends_the_run() {
        let bytes = Arc::new(MemBytes::default());
        let journal = Journal::open(bytes.clone(), 0, &mut |_| Ok(())).unwrap();
        journal.append(1, &[7; 50]).unwrap();
        let from = bytes.len().unwrap() as usize;
        journal.append(2, &[7; 50]).unwrap();
        let to = bytes.len().unwrap() as usize;
        journal.append(3, &[7; 50]).unwrap();
        let mut torn = bytes.to_vec();
        torn[from..to].fill(0);
        assert_eq!(read(torn, 0).unwrap().len(), 1);
    }

    #[test]
    fn an_empty_journal_whose_new_header_was_cut_short_is_begun_again() {
        let bytes = Arc::new(MemBytes::default());
        Journal::open(bytes.clone(), 0, &mut |_| Ok(())).unwrap().cut(4).unwrap();
        for len in [HEADER as usize, 2000] {
            let mut torn = bytes.to_vec();
            torn[8] = 9;
            torn.resize(len, 0);
            let bytes = Arc::new(MemBytes::new(torn));
            let journal = Journal::open(bytes.clone(), 4, &mut |_| panic!("there is no record")).unwrap();
            assert_eq!(journal.read_header(HEADER).unwrap(), Some(4));
            assert_eq!(bytes.len().unwrap(), HEADER);
        }
        assert_eq!(read(vec![0; 20], 4).unwrap_err().code(), Code::Corrupt);
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
