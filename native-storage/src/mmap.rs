//! Memory maps: the only unsafe code of this crate.
#![allow(unsafe_code)]

use asteroid_core::bytes::Mapping;
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::io;
use std::sync::Arc;

struct Window(Mmap);

impl Mapping for Window {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Maps `[offset, offset + len)` of `file`, shared, for reading. The caller has checked that the file is
/// that long.
pub(crate) fn map(file: &File, offset: u64, len: usize) -> io::Result<Arc<dyn Mapping>> {
    // SAFETY: the range lies inside the file (checked by the caller), and the database's lock keeps other
    // handles of ours from cutting it. Our own writes go through `write_at` and show as plain byte changes;
    // rows are checksummed, so a torn view is found. Cutting the file from outside is outside the contract.
    let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file)? };
    // A walk touches rows all over; read-ahead would only push other pages out. Advice may be refused.
    #[cfg(unix)]
    let _ = map.advise(memmap2::Advice::Random);
    Ok(Arc::new(Window(map)))
}
