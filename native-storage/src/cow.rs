//! [`CowBytes`]: writes kept in memory, over a base that is never touched.

use asteroid_core::bytes::{Bytes, Mapping};
use asteroid_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

const PAGE: u64 = 4096;

/// [`Bytes`] that reads through to a base and keeps what is written in memory, so that a database opened
/// read-only can recover from a crash without changing its files. Dropping it forgets the writes.
pub struct CowBytes {
    base: Arc<dyn Bytes + Send + Sync>,
    state: RwLock<State>,
}

struct State {
    len: u64,
    // Of the base, only what lies below is still visible: a cut hides the rest for good.
    base_len: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
    mapped: Vec<Range<u64>>,
}

impl CowBytes {
    /// An overlay that starts as `base` is now. The base must not change while the overlay is in use.
    pub fn new(base: Arc<dyn Bytes + Send + Sync>) -> Result<CowBytes> {
        let len = base.len()?;
        let state = State { len, base_len: len, pages: BTreeMap::new(), mapped: Vec::new() };
        Ok(CowBytes { base, state: RwLock::new(state) })
    }

    /// Bytes of memory the overlay holds.
    pub fn memory(&self) -> u64 {
        self.read().pages.len() as u64 * PAGE
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills `out` from the base, with zeros where the base has nothing (any more).
    fn read_base(&self, base_len: u64, offset: u64, out: &mut [u8]) -> Result<()> {
        let there = base_len.saturating_sub(offset).min(out.len() as u64) as usize;
        let (from_base, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        if from_base.is_empty() { Ok(()) } else { self.base.read_at(offset, from_base) }
    }
}

impl Bytes for CowBytes {
    fn len(&self) -> Result<u64> {
        Ok(self.read().len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.read();
        let end = offset.checked_add(out.len() as u64).filter(|&end| end <= state.len).ok_or_else(|| {
            Error::corrupt(format!("read of {} bytes at {offset} passes the end at {}", out.len(), state.len))
        })?;
        self.read_base(state.base_len, offset, out)?;
        for (&page, bytes) in state.pages.range(offset / PAGE..end.div_ceil(PAGE)) {
            let start = page * PAGE;
            let (from, to) = (offset.max(start), end.min(start + PAGE));
            out[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.write();
        let end = offset
            .checked_add(data.len() as u64)
            .ok_or_else(|| Error::invalid(format!("a write at {offset} passes the largest offset")))?;
        if state.mapped.iter().any(|mapped| mapped.start < end && offset < mapped.end) {
            return Err(Error::new(Code::ReadOnly, "a mapped range of a read-only file cannot be written"));
        }
        for page in offset / PAGE..end.div_ceil(PAGE) {
            let start = page * PAGE;
            if !state.pages.contains_key(&page) {
                let mut bytes = vec![0; PAGE as usize].into_boxed_slice();
                self.read_base(state.base_len, start, &mut bytes)?;
                state.pages.insert(page, bytes);
            }
            if let Some(bytes) = state.pages.get_mut(&page) {
                let (from, to) = (offset.max(start), end.min(start + PAGE));
                bytes[(from - start) as usize..(to - start) as usize]
                    .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
            }
        }
        if !data.is_empty() {
            state.len = state.len.max(end);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let mut state = self.write();
        if len < state.len {
            state.base_len = state.base_len.min(len);
            state.pages.split_off(&len.div_ceil(PAGE));
            if let Some(last) = state.pages.get_mut(&(len / PAGE)) {
                last[(len % PAGE) as usize..].fill(0);
            }
        }
        state.len = len;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    /// Maps the base where nothing was written over it; writing to a mapped range fails from then on.
    fn map(&self, offset: u64, len: usize) -> Result<Option<Arc<dyn Mapping>>> {
        let mut state = self.write();
        let end = offset.saturating_add(len as u64);
        let written = state.pages.range(offset / PAGE..end.div_ceil(PAGE)).next().is_some();
        if written || end > state.base_len {
            return Ok(None);
        }
        let mapping = self.base.map(offset, len)?;
        if mapping.is_some() {
            state.mapped.push(offset..end);
        }
        Ok(mapping)
    }
}
