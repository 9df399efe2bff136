//! The random-access file seam: [`Bytes`].

use crate::{Error, Result};
use std::sync::{Arc, RwLock};

/// A growable array of bytes with explicit durability: a file, an OPFS handle, memory, a simulator.
///
/// Contract, each line a test of the conformance suite:
/// - `read_at` fills the whole buffer or fails with `CORRUPT` (a range past the end is a truncated file);
/// - bytes written are read back at once through the same handle, before any `sync`;
/// - writing past the end grows the array; the gap reads as zeros;
/// - `set_len` cuts, or grows with zeros;
/// - after `sync` returns, everything written before it survives power loss; before that, any subset may;
/// - a failed `write_at` may have written a part, never anything outside its range.
pub trait Bytes {
    /// Length in bytes.
    fn len(&self) -> Result<u64>;
    /// Fills `out` from `offset`.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()>;
    /// Writes all of `data` at `offset`.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()>;
    /// Cuts or zero-extends to `len`.
    fn set_len(&self, len: u64) -> Result<()>;
    /// Makes all earlier writes survive power loss.
    fn sync(&self) -> Result<()>;
    /// A shared view of `[offset, offset + len)` where the host can map it into memory, else `None`.
    ///
    /// `offset` is a multiple of 4,096 and the range lies inside the array. Later `write_at` calls show
    /// through the view. Hosts without mapping return `Ok(None)`.
    fn map(&self, offset: u64, len: usize) -> Result<Option<Arc<dyn Mapping>>>;
    /// True where the array is empty.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A long-lived window into a [`Bytes`], see [`Bytes::map`].
pub trait Mapping: Send + Sync {
    /// The mapped bytes.
    fn bytes(&self) -> &[u8];
}

/// [`Bytes`] in memory: for tests and for databases that need no disk.
#[derive(Debug, Default)]
pub struct MemBytes(RwLock<Vec<u8>>);

impl MemBytes {
    /// An array that starts as `data`.
    pub fn new(data: Vec<u8>) -> Self {
        MemBytes(RwLock::new(data))
    }

    /// A copy of everything written so far.
    pub fn to_vec(&self) -> Vec<u8> {
        crate::sync::read(&self.0).clone()
    }
}

impl Bytes for MemBytes {
    fn len(&self) -> Result<u64> {
        Ok(crate::sync::read(&self.0).len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let data = crate::sync::read(&self.0);
        let range =
            usize::try_from(offset).ok().and_then(|start| data.get(start..start.checked_add(out.len())?));
        match range {
            Some(found) => {
                out.copy_from_slice(found);
                Ok(())
            }
            None => Err(Error::corrupt(format!(
                "read of {} bytes at {offset} passes the end at {}",
                out.len(),
                data.len()
            ))),
        }
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> Result<()> {
        let mut data = crate::sync::write(&self.0);
        let start = usize::try_from(offset).map_err(|_| Error::invalid("offset exceeds memory"))?;
        let end = start.checked_add(new.len()).ok_or_else(|| Error::invalid("offset exceeds memory"))?;
        if data.len() < end {
            data.resize(end, 0);
        }
        data[start..end].copy_from_slice(new);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let len = usize::try_from(len).map_err(|_| Error::invalid("length exceeds memory"))?;
        crate::sync::write(&self.0).resize(len, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn map(&self, _offset: u64, _len: usize) -> Result<Option<Arc<dyn Mapping>>> {
        Ok(None)
    }
}
