//! Rows at a quarter of their size, in memory, for scans: a byte per number, measured against a query's bytes.
//!
//! A slot's vector never changes, so a sketch is never stale. Blocks are made as scans come by, within a budget.

use crate::simd::{self, Kernels};
use crate::table::Table;
use crate::{Metric, Slot};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Slots of one block.
pub(crate) const BLOCK: u32 = 256;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Rows on their way from memory while one is measured.
const AHEAD: usize = 6;
/// Longest vector whose products fit the kernel's sum, read as a signed number: those convert several at once.
const MAX_DIM: usize = i32::MAX as usize / (255 * 255);
/// How far an estimate may be off, in steps times lengths. Numbers are rounded up or down by chance, so that whatever
/// the data their errors are independent and none on average: more than this is off once in 100,000 (Hoeffding).
const SURE: f32 = 2.5;
/// Seeds of that chance, for rows and queries.
const ROWS: u32 = 0x9e37_79b9;
const QUERIES: u32 = 0x85eb_ca6b;
/// What sums in `f32` may be off by, as part of the squared lengths.
const SLACK: f32 = 1e-5;

/// What turns bytes back into numbers: `low + step * byte`.
#[derive(Clone, Copy, Default)]
struct Head {
    low: f32,
    step: f32,
    /// Sum of the bytes.
    sum: f32,
    /// Length of the vector itself.
    length: f32,
}

impl Head {
    /// Writes the bytes of `vector` and tells how to read them.
    fn encode(vector: &[f32], bytes: &mut [u8], mut chance: u32) -> Head {
        let (low, high) =
            vector.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        // Halved, since the range of two finite numbers may be infinite.
        let step = (high / 2.0 - low / 2.0) / 127.5;
        let (mut sum, mut square) = (0u32, 0f32);
        for (byte, &x) in bytes.iter_mut().zip(vector) {
            chance ^= chance << 13;
            chance ^= chance >> 17;
            chance ^= chance << 5;
            let part = (chance >> 8) as f32 / (1 << 24) as f32;
            *byte = if step > 0.0 { ((x - low) / step + part) as u8 } else { 0 };
            sum += u32::from(*byte);
            square += x * x;
        }
        Head { low, step, sum: sum as f32, length: square.sqrt() }
    }
}

/// Heads of one block by their parts, so that several can be read at once.
struct Heads {
    low: [f32; BLOCK as usize],
    step: [f32; BLOCK as usize],
    sum: [f32; BLOCK as usize],
    length: [f32; BLOCK as usize],
}

struct Block {
    heads: Heads,
    bytes: Box<[u8]>,
    /// Where they begin: at a cache line.
    start: usize,
}

impl Block {
    /// A block of rows of `dim` numbers.
    fn new(dim: usize, vectors: &[f32]) -> Block {
        let zeros = [0.0; BLOCK as usize];
        let mut heads = Heads { low: zeros, step: zeros, sum: zeros, length: zeros };
        let mut bytes = vec![0u8; BLOCK as usize * dim + LINE].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        let rows = bytes[start..].chunks_exact_mut(dim).zip(vectors.chunks_exact(dim));
        for (at, (bytes, vector)) in rows.enumerate().take(BLOCK as usize) {
            let head = Head::encode(vector, bytes, ROWS ^ at as u32);
            heads.low[at] = head.low;
            heads.step[at] = head.step;
            heads.sum[at] = head.sum;
            heads.length[at] = head.length;
        }
        Block { heads, bytes, start }
    }

    fn rows(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn head(&self, at: usize) -> Head {
        let heads = &self.heads;
        Head { low: heads.low[at], step: heads.step[at], sum: heads.sum[at], length: heads.length[at] }
    }
}

/// The sketches of a database.
pub(crate) struct Sketches {
    dim: usize,
    /// Bytes that they may have.
    most: u64,
    held: AtomicU64,
    /// `None` where a block could not be made.
    blocks: Table<OnceLock<Option<Box<Block>>>>,
    /// Rows of a block that were measured for want of it.
    measured: Table<AtomicU32>,
}

/// A query as bytes.
pub(crate) struct Sketched<'a> {
    sketches: &'a Sketches,
    kernels: &'static Kernels,
    metric: Metric,
    bytes: Vec<u8>,
    head: Head,
    /// What a row's lowest number adds to the product, per unit.
    low: f32,
    /// Of the length.
    square: f32,
}

/// The ordering keys of the rows of a block, at least and at most.
pub(crate) struct Bounds {
    pub(crate) least: [f32; BLOCK as usize],
    pub(crate) most: [f32; BLOCK as usize],
    products: [u32; BLOCK as usize],
}

impl Bounds {
    pub(crate) fn new() -> Bounds {
        let zeros = [0.0; BLOCK as usize];
        Bounds { least: zeros, most: zeros, products: [0; BLOCK as usize] }
    }
}

impl Sketches {
    /// Sketches of vectors of `dim` numbers in up to `most` bytes.
    pub(crate) fn new(dim: usize, most: u64) -> Sketches {
        let most = if dim > MAX_DIM { 0 } else { most };
        Sketches { dim, most, held: AtomicU64::new(0), blocks: Table::new(1), measured: Table::new(1) }
    }

    /// Bytes of one block.
    pub(crate) fn block_bytes(&self) -> u64 {
        (size_of::<Block>() + BLOCK as usize * self.dim + LINE) as u64
    }

    /// Whether there is room for those of all `slots`.
    pub(crate) fn fit(&self, slots: u32) -> bool {
        u64::from(slots / BLOCK) * self.block_bytes() <= self.most
    }

    /// Notes that rows of a block are measured for want of it. Answers whether that has cost as much as making it.
    pub(crate) fn is_worn(&self, block: u32, rows: u32) -> bool {
        let before = self.measured.ensure(block)[0].fetch_add(rows, Ordering::Relaxed);
        before.saturating_add(rows) >= BLOCK
    }

    /// The slots of a block that can be made and is not.
    pub(crate) fn missing(&self, block: u32, written: u32) -> Option<Range<Slot>> {
        let slots = block.checked_mul(BLOCK)?..block.checked_add(1)?.checked_mul(BLOCK)?;
        let room = self.held.load(Ordering::Relaxed) + self.block_bytes() <= self.most;
        let made = self.blocks.get(block).is_some_and(|cell| cell.get().is_some());
        (room && !made && slots.end <= written).then_some(slots)
    }

    /// Makes a block from the vectors of all its slots, or notes that there is none. Answers the bytes it took.
    pub(crate) fn make(&self, block: u32, vectors: Option<&[f32]>) -> u64 {
        let made = vectors.map(|vectors| Box::new(Block::new(self.dim, vectors)));
        let took = if made.is_some() { self.block_bytes() } else { 0 };
        match self.blocks.ensure(block)[0].set(made) {
            Ok(()) => {
                self.held.fetch_add(took, Ordering::Relaxed);
                took
            }
            Err(_) => 0,
        }
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        self.held.load(Ordering::Relaxed) + self.blocks.memory() + self.measured.memory()
    }

    /// A query to measure sketches against.
    pub(crate) fn query(&self, query: &[f32], metric: Metric, kernels: &'static Kernels) -> Sketched<'_> {
        let mut bytes = vec![0u8; self.dim];
        let head = Head::encode(query, &mut bytes, QUERIES);
        let low = self.dim as f32 * head.low + head.step * head.sum;
        Sketched { sketches: self, kernels, metric, bytes, head, low, square: head.length * head.length }
    }
}

impl Sketched<'_> {
    fn block(&self, block: u32) -> Option<&Block> {
        self.sketches.blocks.get(block)?.get()?.as_deref()
    }

    /// Shows the ordering key of each of `slots`, all of one block, at least and at most. Answers whether it could.
    pub(crate) fn each(&self, slots: &[Slot], see: &mut impl FnMut(Slot, f32, f32)) -> bool {
        let Some(&first) = slots.first() else { return true };
        let Some(block) = self.block(first / BLOCK) else { return false };
        let dim = self.bytes.len();
        for (i, &slot) in slots.iter().enumerate() {
            if let Some(&soon) = slots.get(i + AHEAD) {
                let soon = &block.rows()[(soon % BLOCK) as usize * dim..][..dim];
                if let Ok(lines) = bytemuck::try_cast_slice(soon) {
                    simd::prefetch(lines);
                }
            }
            let at = (slot % BLOCK) as usize;
            let products = self.kernels.dot_u8(&self.bytes, &block.rows()[at * dim..][..dim]);
            let (least, most) = self.bound(self.metric, block.head(at), products);
            see(slot, least, most);
        }
        true
    }

    /// The bounds of all rows of a block. Answers whether it could.
    pub(crate) fn all(&self, block: u32, bounds: &mut Bounds) -> bool {
        let Some(block) = self.block(block) else { return false };
        self.kernels.dots_u8(&self.bytes, block.rows(), &mut bounds.products);
        // A loop for each metric: none of them asks which it is.
        match self.metric {
            Metric::L2 => self.bound_all(Metric::L2, block, bounds),
            Metric::Dot => self.bound_all(Metric::Dot, block, bounds),
            Metric::Cosine => self.bound_all(Metric::Cosine, block, bounds),
        }
        true
    }

    #[inline(always)]
    fn bound_all(&self, metric: Metric, block: &Block, bounds: &mut Bounds) {
        for at in 0..BLOCK as usize {
            (bounds.least[at], bounds.most[at]) = self.bound(metric, block.head(at), bounds.products[at]);
        }
    }

    /// The ordering key at least and at most; not a number where it is too large to be told.
    #[inline(always)]
    fn bound(&self, metric: Metric, head: Head, products: u32) -> (f32, f32) {
        let q = self.head;
        let products = products.cast_signed() as f32;
        let dot = head.low * self.low + head.step * (q.low * head.sum + q.step * products);
        let off = SURE * (head.step * q.length + q.step * head.length);
        let square = head.length * head.length;
        let (key, off) = match metric {
            Metric::L2 => {
                let squares = square + self.square;
                (squares - 2.0 * dot, 2.0 * off + SLACK * squares)
            }
            Metric::Dot => (-dot, off + SLACK * (square + self.square)),
            Metric::Cosine => {
                let lengths = head.length * q.length;
                (1.0 - dot / lengths, off / lengths + SLACK)
            }
        };
        (key - off, key + off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..count).map(|_| next() + next() - 1.0).collect()
    }

    #[test]
    fn estimates_hold_what_they_promise() {
        let kernels = Kernels::get();
        for dim in [1, 3, 16, 100, 384] {
            for (scale, shift) in [(1.0, 0.0), (1e-17, 0.0), (1e15, 0.0), (1.0, 40.0), (0.0, 3.0)] {
                let vectors: Vec<f32> =
                    numbers(BLOCK as usize * dim, 7).iter().map(|x| x * scale + shift).collect();
                let query: Vec<f32> = numbers(dim, 9).iter().map(|x| x * scale + shift).collect();
                for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
                    let sketches = Sketches::new(dim, 1 << 20);
                    assert_eq!(sketches.missing(0, BLOCK), Some(0..BLOCK));
                    assert_eq!(sketches.make(0, Some(&vectors)), sketches.block_bytes());
                    assert_eq!(sketches.missing(0, BLOCK), None);
                    let sketched = sketches.query(&query, metric, kernels);
                    let slots: Vec<Slot> = (0..BLOCK).collect();
                    let mut outside = 0;
                    let mut bounds = Bounds::new();
                    assert!(sketched.all(0, &mut bounds));
                    assert!(sketched.each(&slots, &mut |slot, least, most| {
                        let at = slot as usize;
                        let rank = metric.rank(kernels, &query, &vectors[at * dim..][..dim]);
                        outside += usize::from(!(least..=most).contains(&rank));
                        assert_eq!((bounds.least[at], bounds.most[at]), (least, most));
                    }));
                    assert_eq!(outside, 0, "{dim} {scale} {shift} {metric:?}");
                }
            }
            // Few distinct numbers, which plain rounding would all push the same way.
            let halves = |vector: Vec<f32>| vector.iter().map(|x| (x * 2.0).round().abs() / 2.0).collect();
            let (vectors, query): (Vec<f32>, Vec<f32>) =
                (halves(numbers(BLOCK as usize * dim, 3)), halves(numbers(dim, 4)));
            let sketches = Sketches::new(dim, 1 << 20);
            sketches.make(0, Some(&vectors));
            let sketched = sketches.query(&query, Metric::L2, kernels);
            let slots: Vec<Slot> = (0..BLOCK).collect();
            sketched.each(&slots, &mut |slot, least, most| {
                let row = &vectors[slot as usize * dim..][..dim];
                let rank = Metric::L2.rank(kernels, &query, row);
                assert!((least..=most).contains(&rank), "{dim}: {rank} for {least}..={most}");
            });
        }
    }

    #[test]
    fn blocks_are_made_whole_once_and_within_the_budget() {
        let sketches = Sketches::new(4, 2 * Sketches::new(4, 0).block_bytes());
        assert!(sketches.fit(2 * BLOCK) && !sketches.fit(3 * BLOCK));
        assert_eq!(sketches.missing(1, 2 * BLOCK - 1), None);
        let vectors = numbers(BLOCK as usize * 4, 1);
        assert!(sketches.make(1, Some(&vectors)) > 0);
        assert_eq!(sketches.make(1, Some(&vectors)), 0);
        assert_eq!(sketches.make(5, None), 0);
        assert_eq!(sketches.missing(5, 99 * BLOCK), None);
        assert!(sketches.make(7, Some(&vectors)) > 0);
        assert_eq!(sketches.missing(8, 99 * BLOCK), None);
        let sketched = sketches.query(&vectors[..4], Metric::L2, Kernels::get());
        assert!(!sketched.each(&[5 * BLOCK], &mut |_, _, _| ()));
        assert!(!sketches.is_worn(0, BLOCK - 1) && sketches.is_worn(0, 1));
        assert!(!sketched.each(&[900 * BLOCK], &mut |_, _, _| ()));
        assert!(!sketched.all(5, &mut Bounds::new()) && !sketched.all(900, &mut Bounds::new()));
    }
}
