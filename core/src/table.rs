//! [`Table`]: an array that grows under readers; [`SlotMap`].

use crate::Slot;
use crate::pages::span;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

/// Something by slot. Nobody outside chooses slots, so they need no hash that resists being chosen.
#[cfg(not(target_family = "wasm"))]
pub(crate) type SlotMap<T> = HashMap<Slot, T, foldhash::fast::FixedState>;
#[cfg(target_family = "wasm")]
pub(crate) type SlotMap<T> = HashMap<Slot, T>;

const FIRST_BITS: u32 = 10;
/// A doubling comes in so many steps, as a power of two: what is allocated ahead is all written, so it is all resident.
const STEP_BITS: u32 = 2;
const CHUNKS: usize = ((33 - FIRST_BITS) << STEP_BITS) as usize;

/// Rows of `width` values, all defaults at first, that many threads read while one grows it. Rows never move:
/// four chunks hold 256 of them each, the next four 512, and so on; one is allocated on its first `ensure`.
pub(crate) struct Table<T> {
    width: usize,
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T: Default> Table<T> {
    pub(crate) fn new(width: usize) -> Self {
        Table { width, chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    fn place(row: u32) -> (usize, usize) {
        let shifted = u64::from(row) + (1 << FIRST_BITS);
        let bits = 63 - shifted.leading_zeros();
        let step = shifted >> (bits - STEP_BITS) & ((1 << STEP_BITS) - 1);
        let chunk = u64::from(bits - FIRST_BITS) << STEP_BITS | step;
        (chunk as usize, (shifted & ((1 << (bits - STEP_BITS)) - 1)) as usize)
    }

    fn rows_of(chunk: usize) -> usize {
        1 << ((FIRST_BITS - STEP_BITS) as usize + (chunk >> STEP_BITS))
    }

    /// The row, or `None` where nothing near it was ever written.
    pub(crate) fn row(&self, row: u32) -> Option<&[T]> {
        let (chunk, at) = Self::place(row);
        self.chunks[chunk].get()?.get(at * self.width..(at + 1) * self.width)
    }

    /// The first value of the row.
    pub(crate) fn get(&self, row: u32) -> Option<&T> {
        self.row(row)?.first()
    }

    /// The row, allocated where needed.
    pub(crate) fn ensure(&self, row: u32) -> &[T] {
        let (chunk, at) = Self::place(row);
        let values = self.chunks[chunk]
            .get_or_init(|| (0..self.width * Self::rows_of(chunk)).map(|_| T::default()).collect());
        &values[at * self.width..(at + 1) * self.width]
    }

    /// Every value that there is.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().filter_map(OnceLock::get).flatten()
    }

    /// Where they lie.
    pub(crate) fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        self.chunks.iter().filter_map(OnceLock::get).map(|chunk| span(chunk))
    }

    /// Bytes allocated.
    pub(crate) fn memory(&self) -> u64 {
        let values: usize = self.chunks.iter().filter_map(OnceLock::get).map(|chunk| chunk.len()).sum();
        (values * size_of::<T>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNKS, Table};
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    #[test]
    fn rows_keep_what_was_written_and_absent_ones_are_none() {
        let table: Table<AtomicU32> = Table::new(3);
        assert!(table.get(5).is_none());
        for row in [0, 1, 1023, 1024, 5000, 70_000] {
            table.ensure(row)[2].store(row + 1, Relaxed);
        }
        for row in [0, 1, 1023, 1024, 5000, 70_000] {
            assert_eq!(table.row(row).unwrap()[2].load(Relaxed), row + 1);
        }
        assert!(table.row(u32::MAX).is_none());
        // Chunks lie end to end.
        let mut next = (0, 0);
        for row in 0..70_000 {
            assert_eq!(Table::<u8>::place(row), next);
            next.1 += 1;
            if next.1 == Table::<u8>::rows_of(next.0) {
                next = (next.0 + 1, 0);
            }
        }
        assert!(Table::<u8>::place(u32::MAX).0 < CHUNKS);
    }
}
