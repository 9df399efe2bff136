//! [`Checked`]: checksums under redb, which verifies its own only when it repairs.
//!
//! The logical file that redb sees is cut into blocks of 4,096 bytes. Block `n >= 1` is stored as its bytes
//! and a CRC-32C over (n, bytes), at `ZONE + (n - 1) * 4,100`; every block read is verified. A torn block is
//! refused like a damaged one. That is safe because a commit that matters here is always two-phase: redb
//! syncs every page before it points at them, so a crash can tear only pages that nothing names. Compaction commits in one
//! phase; while it runs, the header is held back here until all else is synced ([`Status::ordered`]).
//!
//! Block 0 holds redb's header, the one block it rewrites in place, with fields that redb itself does not
//! checksum. It is stored as two copies with a generation number. A write goes to the copy that does not hold
//! the last synced state, so a torn write leaves the synced one; after a sync the other copy follows, so that
//! damage to either is mended from its twin and never rolls the database back.

use crate::locked;
use asteroid_core::bytes::Bytes;
use asteroid_core::{Code, Error, Result, checksum};
use redb::StorageBackend;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes of a block as redb sees it.
pub const BLOCK_BYTES: u64 = 4096;
/// Bytes of a block as it is stored: its checksum follows it.
pub const STORED_BLOCK_BYTES: u64 = BLOCK_BYTES + 4;

const BLOCK: usize = BLOCK_BYTES as usize;
const STORED: usize = STORED_BLOCK_BYTES as usize;
/// Where the two copies of block 0 begin, and where block 1 does.
const COPY_AT: [u64; 2] = [0, 8192];
const ZONE: u64 = 16_384;
const MAGIC: &[u8; 8] = b"ASTROKV1";
const COPY: usize = 8 + 8 + BLOCK + 4;
/// What redb's header begins with once its creation is complete.
const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// Blocks moved per call to the bytes below.
const RUN: usize = 256;

/// redb's view of a key-value file. One per open file.
pub(crate) struct Checked {
    bytes: Arc<dyn Bytes + Send + Sync>,
    head: Mutex<Head>,
    status: Arc<Status>,
}

/// What the store above shares with its file.
#[derive(Default)]
pub(crate) struct Status {
    /// What the last failed operation said, for redb's later "previous error".
    pub(crate) failure: Mutex<Option<(Code, String)>>,
    /// Set when a write of the store failed: from then on the file stays as it is, so that closing the store
    /// writes nothing on top of what went wrong.
    pub(crate) frozen: AtomicBool,
    /// Set while commits are not two-phase: the header is held back until everything else is durable.
    pub(crate) ordered: AtomicBool,
}

struct Head {
    block: Box<[u8; BLOCK]>,
    generation: u64,
    /// The copy the next write goes to: never the one that holds the last synced state.
    target: usize,
    unsynced: bool,
    /// Neither copy has it yet: see [`Status::ordered`].
    held_back: bool,
}

/// What [`Checked::open`] may do with a file in which no database was ever completed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blank {
    /// Begin one.
    Begin,
    /// Answer `CORRUPT`: there must be one.
    Refuse,
}

impl Checked {
    /// Reads the header of `bytes`. `CORRUPT` where both copies of it are damaged.
    ///
    /// A file whose creation was cut short holds no block but the header, so it is emptied and begun again;
    /// a file with anything else in it is never emptied.
    pub(crate) fn open(bytes: Arc<dyn Bytes + Send + Sync>, blank: Blank) -> Result<Checked> {
        let len = bytes.len()?;
        let copies = [read_copy(&*bytes, len, 0)?, read_copy(&*bytes, len, 1)?];
        let newest = match &copies {
            [Some(a), Some(b)] if b.0 > a.0 => Some(1),
            [Some(_), _] => Some(0),
            [None, Some(_)] => Some(1),
            [None, None] => None,
        };
        let begun =
            newest.and_then(|i| copies[i].as_ref()).is_some_and(|copy| copy.1.starts_with(REDB_MAGIC));
        let head = if begun || !is_blank(&*bytes, len)? {
            if len < ZONE || !(len - ZONE).is_multiple_of(STORED_BLOCK_BYTES) {
                return Err(Error::corrupt(format!(
                    "the key-value file has {len} bytes, which is no whole number of blocks: it was cut"
                )));
            }
            // Whatever a killed process left in the system's cache becomes the ground to stand on.
            bytes.sync()?;
            let [a, b] = copies;
            let newest = newest.unwrap_or(0);
            let (generation, block) = if newest == 0 { a } else { b }.ok_or_else(|| {
                Error::corrupt(
                    "both copies of the key-value file's header are damaged; restore it from a copy",
                )
            })?;
            Head { block, generation, target: 1 - newest, unsynced: false, held_back: false }
        } else if blank == Blank::Refuse {
            return Err(Error::corrupt("the key-value file is empty; restore it from a copy"));
        } else {
            if len > 0 {
                bytes.set_len(0)?;
                bytes.sync()?;
            }
            Head { block: Box::new([0; BLOCK]), generation: 0, target: 0, unsynced: false, held_back: false }
        };
        Ok(Checked { bytes, head: Mutex::new(head), status: Arc::default() })
    }

    pub(crate) fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    fn writable(&self) -> Result<()> {
        if self.status.frozen.load(Ordering::Acquire) {
            return Err(Error::new(Code::Poisoned, "an earlier write to the key-value file failed"));
        }
        Ok(())
    }

    fn logical_len(&self) -> Result<u64> {
        Ok(match self.bytes.len()? {
            0 => 0,
            len => BLOCK_BYTES + len.saturating_sub(ZONE) / STORED_BLOCK_BYTES * BLOCK_BYTES,
        })
    }

    fn read_logical(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let (in_head, rest) = split(offset, out.len());
        if in_head > 0 {
            let at = offset as usize;
            out[..in_head].copy_from_slice(&locked(&self.head).block[at..at + in_head]);
        }
        let (mut offset, mut out) = (offset + in_head as u64, &mut out[in_head..]);
        debug_assert_eq!(out.len(), rest);
        let mut stored = Vec::new();
        while !out.is_empty() {
            let skip = (offset % BLOCK_BYTES) as usize;
            let blocks = (skip + out.len()).div_ceil(BLOCK).min(RUN);
            let first = offset / BLOCK_BYTES;
            stored.resize(blocks * STORED, 0);
            self.bytes.read_at(stored_at(first), &mut stored)?;
            for (i, block) in stored.chunks_exact(STORED).enumerate() {
                let number = first + i as u64;
                let data = verified(number, block)?;
                let data = if i == 0 { &data[skip..] } else { data };
                let take = data.len().min(out.len());
                let (now, later) = out.split_at_mut(take);
                now.copy_from_slice(&data[..take]);
                out = later;
                offset += take as u64;
            }
        }
        Ok(())
    }

    fn write_logical(&self, offset: u64, data: &[u8]) -> Result<()> {
        let (in_head, _) = split(offset, data.len());
        if in_head > 0 {
            let mut head = locked(&self.head);
            let at = offset as usize;
            head.block[at..at + in_head].copy_from_slice(&data[..in_head]);
            head.generation += 1;
            head.unsynced = true;
            head.held_back = self.status.ordered.load(Ordering::Acquire);
            if !head.held_back {
                self.write_copy(&head)?;
            }
        }
        let (mut offset, mut data) = (offset + in_head as u64, &data[in_head..]);
        let mut stored = Vec::new();
        while !data.is_empty() {
            let skip = (offset % BLOCK_BYTES) as usize;
            let first = offset / BLOCK_BYTES;
            stored.clear();
            let mut done = 0;
            for number in first..first + RUN as u64 {
                let skip = if number == first { skip } else { 0 };
                let take = (BLOCK - skip).min(data.len() - done);
                if take == 0 {
                    break;
                }
                let start = stored.len();
                stored.resize(start + BLOCK, 0);
                if take < BLOCK {
                    self.read_for_part(number, &mut stored[start..])?;
                }
                stored[start + skip..start + skip + take].copy_from_slice(&data[done..done + take]);
                let sum = block_sum(number, &stored[start..]);
                stored.extend_from_slice(&sum.to_le_bytes());
                done += take;
            }
            self.bytes.write_at(stored_at(first), &stored)?;
            offset += done as u64;
            data = &data[done..];
        }
        Ok(())
    }

    /// The block that a part is written into: zeros where it was never written.
    fn read_for_part(&self, number: u64, out: &mut [u8]) -> Result<()> {
        if stored_at(number) >= self.bytes.len()? {
            return Ok(());
        }
        let mut stored = [0; STORED];
        self.bytes.read_at(stored_at(number), &mut stored)?;
        if stored.iter().any(|&byte| byte != 0) {
            out.copy_from_slice(verified(number, &stored)?);
        }
        Ok(())
    }

    fn write_copy(&self, head: &Head) -> Result<()> {
        let mut copy = Vec::with_capacity(COPY);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&head.generation.to_le_bytes());
        copy.extend_from_slice(&head.block[..]);
        let sum = checksum::crc32c(&copy);
        copy.extend_from_slice(&sum.to_le_bytes());
        self.bytes.write_at(COPY_AT[head.target], &copy)
    }

    fn sync_both(&self) -> Result<()> {
        let mut head = locked(&self.head);
        self.bytes.sync()?;
        if head.held_back {
            self.write_copy(&head)?;
            self.bytes.sync()?;
            head.held_back = false;
        }
        if head.unsynced {
            head.unsynced = false;
            head.target = 1 - head.target;
            self.write_copy(&head)?;
        }
        Ok(())
    }

    /// Turns our error into the one redb carries through, and keeps what it said.
    fn carry<T>(&self, result: Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            *locked(&self.status.failure) = Some((error.code(), error.message().to_owned()));
            let kind = match error.code() {
                Code::StorageFull => io::ErrorKind::StorageFull,
                Code::Corrupt => io::ErrorKind::InvalidData,
                Code::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error)
        })
    }
}

/// How many bytes of a range lie in block 0, and how many after it.
fn split(offset: u64, len: usize) -> (usize, usize) {
    let in_head = BLOCK_BYTES.saturating_sub(offset).min(len as u64) as usize;
    (in_head, len - in_head)
}

fn stored_at(number: u64) -> u64 {
    ZONE + (number - 1) * STORED_BLOCK_BYTES
}

fn block_sum(number: u64, data: &[u8]) -> u32 {
    checksum::crc32c_append(checksum::crc32c(&number.to_le_bytes()), data)
}

/// The data of a stored block. A block that was never written fails too: redb writes a page whole before it
/// reads it, so zeros in place of a page are damage.
fn verified(number: u64, stored: &[u8]) -> Result<&[u8]> {
    let (data, sum) = stored.split_at(BLOCK);
    if sum == block_sum(number, data).to_le_bytes() {
        return Ok(data);
    }
    Err(Error::corrupt(format!(
        "block {number} of the key-value file is damaged; restore the database from a copy"
    )))
}

type Copy = (u64, Box<[u8; BLOCK]>);

fn read_copy(bytes: &dyn Bytes, len: u64, which: usize) -> Result<Option<Copy>> {
    let at = COPY_AT[which];
    if len < at + COPY as u64 {
        return Ok(None);
    }
    let mut stored = [0; COPY];
    bytes.read_at(at, &mut stored)?;
    let (body, sum) = stored.split_at(COPY - 4);
    if !body.starts_with(MAGIC) || sum != checksum::crc32c(body).to_le_bytes() {
        return Ok(None);
    }
    let mut generation = [0; 8];
    generation.copy_from_slice(&body[8..16]);
    let mut block = Box::new([0; BLOCK]);
    block.copy_from_slice(&body[16..]);
    Ok(Some((u64::from_le_bytes(generation), block)))
}

/// Whether nothing was ever written behind the header.
fn is_blank(bytes: &dyn Bytes, len: u64) -> Result<bool> {
    let mut chunk = vec![0; RUN * STORED];
    let mut at = ZONE;
    while at < len {
        let take = chunk.len().min((len - at).min(RUN as u64 * STORED_BLOCK_BYTES) as usize);
        bytes.read_at(at, &mut chunk[..take])?;
        if chunk[..take].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += take as u64;
    }
    Ok(true)
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checked")
    }
}

impl StorageBackend for Checked {
    fn len(&self) -> io::Result<u64> {
        self.carry(self.logical_len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.carry(self.read_logical(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let stored = match len.div_ceil(BLOCK_BYTES) {
            0 => 0,
            blocks => ZONE + (blocks - 1) * STORED_BLOCK_BYTES,
        };
        self.carry(self.writable().and_then(|()| self.bytes.set_len(stored)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.carry(self.writable().and_then(|()| self.sync_both()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.carry(self.writable().and_then(|()| self.write_logical(offset, data)))
    }
}
