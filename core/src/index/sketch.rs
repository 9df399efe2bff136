//! Rows at a quarter of their size, in memory, for scans: a byte per number, measured against a query's bytes.
//!
//! The upper halves of the bytes lie apart from the lower ones, since they alone tell of most rows that these are too far
//! away. Blocks are made as scans come by, within a budget. One has the age that its slots had before their vectors were
//! read; a slot that is used again ages them, before anybody can see its new row.

use crate::simd::{self, Kernels};
use crate::table::Table;
use crate::{Metric, Slot, sync};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Slots of one block.
pub(crate) const BLOCK: u32 = 256;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Rows on their way from memory while one is measured.
const AHEAD: usize = 6;
/// Bytes of a block asked for while another is looked at.
const SOON: usize = 2048;
/// Steps from the lowest number of a row to the highest, and from one upper half to the next.
const STEPS: f32 = 240.0;
const COARSE: f32 = 16.0;
/// Steps from one lower half to the next: sixteen of them reach both ends.
const FINE: f32 = COARSE / 15.0;
/// How far an estimate may be off, in roundings times lengths. Numbers are rounded up or down by chance, so that whatever
/// the data their errors are independent and none on average: more than this is off once in 100,000 (Hoeffding).
const SURE: f32 = 2.5;
/// The same where the errors are evenly spread over one rounding.
const EVEN: f32 = 1.45;
/// All lower halves of a block are read where one in so many of its rows needs a closer look.
const MOST_CLOSE: usize = 3;
/// Seeds of that chance, for what is added before upper halves are cut off, for rows and for queries.
const ADDED: u32 = 0xc2b2_ae35;
const ROWS: u32 = 0x9e37_79b9;
const QUERIES: u32 = 0x85eb_ca6b;
/// What sums in `f32` may be off by, as part of the squared lengths.
const SLACK: f32 = 1e-5;

/// Numbers from 0 to 1.
struct Chance(u32);

impl Chance {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        (self.0 >> 8) as f32 / (1 << 24) as f32
    }
}

/// What turns bytes back into numbers.
#[derive(Clone, Copy, Default)]
struct Head {
    low: f32,
    step: f32,
    /// Sum of the numbers.
    sum: f32,
    /// Length of the vector.
    length: f32,
}

impl Head {
    /// Writes the halves of the bytes of `vector`, two to a byte, and tells how to read them: a number is
    /// `low + step * (COARSE * upper - added)`, and with its lower half `step * (FINE * lower - COARSE / 2)` more.
    fn encode(vector: &[f32], added: &[f32], coarse: &mut [u8], fine: &mut [u8], mut chance: Chance) -> Head {
        let (low, high) =
            vector.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        // Halved, since the range of two finite numbers may be infinite.
        let step = (high / 2.0 - low / 2.0) / (STEPS / 2.0);
        let (mut sum, mut square) = (0f32, 0f32);
        for (at, (&x, added)) in vector.iter().zip(added).enumerate() {
            let moved = if step > 0.0 { (x - low) / step } else { 0.0 } + added;
            let upper = (moved / COARSE + 0.5).floor().clamp(0.0, 15.0);
            let rest = moved - COARSE * upper + COARSE / 2.0;
            let lower = (rest / FINE + chance.next()).floor().clamp(0.0, 15.0);
            let (at, shift) = if at < coarse.len() { (at, 0) } else { (at - coarse.len(), 4) };
            coarse[at] |= (upper as u8) << shift;
            fine[at] |= (lower as u8) << shift;
            sum += x;
            square += x * x;
        }
        Head { low, step, sum, length: square.sqrt() }
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
    /// A block of rows of as many numbers as are `added`.
    fn new(added: &[f32], vectors: &[f32]) -> Block {
        let zeros = [0.0; BLOCK as usize];
        let mut heads = Heads { low: zeros, step: zeros, sum: zeros, length: zeros };
        let width = width(added.len());
        let mut bytes = vec![0u8; 2 * BLOCK as usize * width + LINE].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(LINE).min(LINE);
        let (coarse, fine) = bytes[start..].split_at_mut(BLOCK as usize * width);
        let rows = coarse.chunks_exact_mut(width).zip(fine.chunks_exact_mut(width));
        for (at, ((coarse, fine), vector)) in rows.zip(vectors.chunks_exact(added.len())).enumerate() {
            let head = Head::encode(vector, added, coarse, fine, Chance(ROWS ^ at as u32));
            heads.low[at] = head.low;
            heads.step[at] = head.step;
            heads.sum[at] = head.sum;
            heads.length[at] = head.length;
        }
        Block { heads, bytes, start }
    }

    /// Upper halves, then lower halves.
    fn rows(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn head(&self, at: usize) -> Head {
        let heads = &self.heads;
        Head { low: heads.low[at], step: heads.step[at], sum: heads.sum[at], length: heads.length[at] }
    }
}

/// Bytes of the upper halves of `dim` numbers, and of the lower ones.
const fn width(dim: usize) -> usize {
    dim.div_ceil(2)
}

/// What was made for a block.
struct Made {
    age: u32,
    /// `None` where that could not be.
    block: Option<Block>,
}

/// Where a block goes.
#[derive(Default)]
struct Cell {
    made: sync::Swap<Option<Arc<Made>>>,
    /// How often its slots were used again.
    age: AtomicU32,
    /// Whether its bytes are counted.
    counted: AtomicBool,
    /// Rows measured for want of it.
    measured: AtomicU32,
}

impl Cell {
    fn made(&self) -> Option<Arc<Made>> {
        let age = self.age.load(Ordering::Acquire);
        self.made.load_full().filter(|made| made.age == age)
    }
}

/// The sketches of a database.
pub(crate) struct Sketches {
    /// For each dimension, what is added to a number before its lower half is cut off.
    added: Box<[f32]>,
    /// Bytes that they may have.
    most: u64,
    held: AtomicU64,
    blocks: Table<Cell>,
}

/// Leave to make a block: its slots, and their age before anybody reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) slots: Range<Slot>,
    age: u32,
}

/// A query as signed bytes around its mean.
pub(crate) struct Sketched<'a> {
    sketches: &'a Sketches,
    kernels: &'static Kernels,
    metric: Metric,
    /// Those for the lower halves of packed bytes, then those for the upper ones.
    bytes: Vec<i8>,
    mean: f32,
    /// From one byte to the next.
    step: f32,
    /// Sum of the bytes times steps, and their length.
    sum: f32,
    spread: f32,
    /// The product with what was added to rows.
    added: f32,
    length: f32,
}

/// What a scan works with, for all rows of a block.
pub(crate) struct Bounds {
    /// The ordering keys, at least.
    pub(crate) least: [f32; BLOCK as usize],
    coarse: [i32; BLOCK as usize],
    fine: [i32; BLOCK as usize],
    /// The block, which may be made anew meanwhile.
    made: Option<Arc<Made>>,
    /// Rows to be looked at more closely.
    pub(crate) close: Vec<u8>,
}

impl Bounds {
    pub(crate) fn new() -> Bounds {
        let products = [0; BLOCK as usize];
        let close = Vec::with_capacity(BLOCK as usize);
        Bounds { least: [0.0; BLOCK as usize], coarse: products, fine: products, made: None, close }
    }
}

impl Sketches {
    /// Sketches of vectors of `dim` numbers in up to `most` bytes.
    pub(crate) fn new(dim: usize, most: u64) -> Sketches {
        let mut chance = Chance(ADDED);
        let added = (0..dim).map(|_| (chance.next() - 0.5) * COARSE).collect();
        Sketches { added, most, held: AtomicU64::new(0), blocks: Table::new(1) }
    }

    /// Bytes of one block.
    pub(crate) fn block_bytes(&self) -> u64 {
        (size_of::<Block>() + 2 * BLOCK as usize * width(self.added.len()) + LINE) as u64
    }

    /// Whether there is room for those of all `slots`.
    pub(crate) fn fit(&self, slots: u32) -> bool {
        u64::from(slots / BLOCK) * self.block_bytes() <= self.most
    }

    /// Notes that rows of a block are measured for want of it. Answers whether that has cost as much as making it.
    pub(crate) fn is_worn(&self, block: u32, rows: u32) -> bool {
        let before = self.blocks.ensure(block)[0].measured.fetch_add(rows, Ordering::Relaxed);
        before.saturating_add(rows) >= BLOCK
    }

    /// A block that can be made and is not.
    pub(crate) fn missing(&self, block: u32, written: u32) -> Option<Missing> {
        let slots = block.checked_mul(BLOCK)?..block.checked_add(1)?.checked_mul(BLOCK)?;
        let cell = self.blocks.get(block);
        let age = cell.map_or(0, |cell| cell.age.load(Ordering::Acquire));
        let counted = cell.is_some_and(|cell| cell.counted.load(Ordering::Relaxed));
        let room = counted || self.held.load(Ordering::Relaxed) + self.block_bytes() <= self.most;
        let made = cell.is_some_and(|cell| cell.made().is_some());
        (room && !made && slots.end <= written).then_some(Missing { slots, age })
    }

    /// Makes a block from the vectors of all its slots, or notes that there is none. Answers the bytes it took beyond
    /// those that it had.
    pub(crate) fn make(&self, missing: &Missing, vectors: Option<&[f32]>) -> u64 {
        let cell = &self.blocks.ensure(missing.slots.start / BLOCK)[0];
        let block = vectors.map(|vectors| Block::new(&self.added, vectors));
        let took = if block.is_some() { self.block_bytes() } else { 0 };
        cell.measured.store(0, Ordering::Relaxed);
        cell.made.store(Some(Arc::new(Made { age: missing.age, block })));
        if took == 0 || cell.counted.swap(true, Ordering::Relaxed) {
            return 0;
        }
        self.held.fetch_add(took, Ordering::Relaxed);
        took
    }

    /// Has the blocks of these slots made anew. For who wrote other rows there, before they can be seen.
    pub(crate) fn forget(&self, slots: impl Iterator<Item = Slot>) {
        for slot in slots {
            self.blocks.ensure(slot / BLOCK)[0].age.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        self.held.load(Ordering::Relaxed) + self.blocks.memory()
    }

    /// A query to measure sketches against.
    pub(crate) fn query(&self, query: &[f32], metric: Metric, kernels: &'static Kernels) -> Sketched<'_> {
        let mean = query.iter().sum::<f32>() / query.len().max(1) as f32;
        let most = query.iter().fold(0f32, |most, &x| most.max((x - mean).abs()));
        let step = most / 127.0;
        let width = width(self.added.len());
        let mut bytes = vec![0i8; 2 * width];
        let mut chance = Chance(QUERIES);
        let (mut sum, mut square, mut added) = (0f32, 0f32, 0f32);
        for ((byte, &x), plus) in bytes.iter_mut().zip(query).zip(&self.added) {
            *byte = if step > 0.0 { ((x - mean) / step + chance.next()).floor() as i8 } else { 0 };
            let number = step * f32::from(*byte);
            sum += number;
            square += number * number;
            added += number * plus;
        }
        let length = query.iter().map(|x| x * x).sum::<f32>().sqrt();
        let (sketches, spread) = (self, square.sqrt());
        Sketched { sketches, kernels, metric, bytes, mean, step, sum, spread, added, length }
    }
}

impl Sketched<'_> {
    fn block(&self, block: u32) -> Option<Arc<Made>> {
        self.sketches.blocks.get(block)?.made().filter(|made| made.block.is_some())
    }

    fn products(&self, rows: &[u8], products: &mut [i32]) {
        let (low, high) = self.bytes.split_at(self.bytes.len() / 2);
        self.kernels.dots_u4(low, high, rows, products);
    }

    /// Shows the ordering key of each of `slots`, all of one block, at least and at most, but of those only that `see`
    /// last answered to be near enough. Answers whether it could.
    pub(crate) fn each(
        &self,
        slots: &[Slot],
        mut limit: f32,
        see: &mut impl FnMut(Slot, f32, f32) -> f32,
    ) -> bool {
        let Some(&first) = slots.first() else { return true };
        let Some(made) = self.block(first / BLOCK) else { return false };
        let Some(block) = &made.block else { return false };
        let width = self.bytes.len() / 2;
        let (coarse, fine) = block.rows().split_at(BLOCK as usize * width);
        let of = |rows: &'_ [u8], slot: Slot| -> i32 {
            let mut product = [0];
            self.products(&rows[(slot % BLOCK) as usize * width..][..width], &mut product);
            product[0]
        };
        let mut close = [(0, 0); BLOCK as usize];
        let mut count = 0;
        for (i, &slot) in slots.iter().enumerate().take(BLOCK as usize) {
            if let Some(&soon) = slots.get(i + AHEAD) {
                simd::prefetch(&coarse[(soon % BLOCK) as usize * width..][..width]);
            }
            let product = of(coarse, slot);
            let (least, _) = self.coarse(self.metric, block.head((slot % BLOCK) as usize), product);
            if least > limit {
                continue;
            }
            simd::prefetch(&fine[(slot % BLOCK) as usize * width..][..width]);
            close[count] = (slot, product);
            count += 1;
        }
        for &(slot, product) in &close[..count] {
            let head = block.head((slot % BLOCK) as usize);
            let (least, most) = self.fine(head, product, of(fine, slot));
            if least > limit {
                continue;
            }
            limit = see(slot, least, most);
        }
        true
    }

    /// The ordering keys of all rows of a block, at least. Answers whether it could.
    pub(crate) fn all(&self, block: u32, bounds: &mut Bounds) -> bool {
        let Some(made) = self.block(block) else { return false };
        let Some(block) = &made.block else { return false };
        let half = BLOCK as usize * self.bytes.len() / 2;
        self.products(&block.rows()[..half], &mut bounds.coarse);
        // A loop for each metric: none of them asks which it is.
        match self.metric {
            Metric::L2 => self.bound_all(Metric::L2, block, bounds),
            Metric::Dot => self.bound_all(Metric::Dot, block, bounds),
            Metric::Cosine => self.bound_all(Metric::Cosine, block, bounds),
        }
        bounds.made = Some(made);
        true
    }

    /// Asks for what [`Sketched::all`] reads first of a block.
    pub(crate) fn soon(&self, block: u32) {
        let Some(made) = self.block(block) else { return };
        let Some(block) = &made.block else { return };
        block.rows()[..SOON.min(block.rows().len())].chunks(SOON / 4).for_each(simd::prefetch);
        let Heads { low, step, sum, length } = &block.heads;
        [low, step, sum, length].iter().for_each(|part| simd::prefetch(&part[..]));
    }

    #[inline(always)]
    fn bound_all(&self, metric: Metric, block: &Block, bounds: &mut Bounds) {
        for at in 0..BLOCK as usize {
            (bounds.least[at], _) = self.coarse(metric, block.head(at), bounds.coarse[at]);
        }
    }

    /// Shows the ordering key of each of the `close` rows of a block that [`Sketched::all`] looked at, at least and at
    /// most.
    pub(crate) fn close(&self, block: u32, bounds: &mut Bounds, see: &mut impl FnMut(Slot, f32, f32)) {
        let Some(made) = bounds.made.clone() else { return };
        let Some(rows) = &made.block else { return };
        let width = self.bytes.len() / 2;
        let fine = &rows.rows()[BLOCK as usize * width..];
        let row = |at: u8| &fine[usize::from(at) * width..][..width];
        if bounds.close.len() * MOST_CLOSE > BLOCK as usize {
            self.products(fine, &mut bounds.fine);
        } else {
            bounds.close.iter().for_each(|&at| simd::prefetch(row(at)));
            for &at in &bounds.close {
                self.products(row(at), &mut bounds.fine[usize::from(at)..][..1]);
            }
        }
        for &close in &bounds.close {
            let at = usize::from(close);
            let (least, most) = self.fine(rows.head(at), bounds.coarse[at], bounds.fine[at]);
            see(block * BLOCK + u32::from(close), least, most);
        }
    }

    /// The ordering key at least and at most, by the upper halves.
    #[inline(always)]
    fn coarse(&self, metric: Metric, head: Head, product: i32) -> (f32, f32) {
        let product = COARSE * self.step * product as f32 - self.added;
        self.bound(metric, head, product, EVEN * COARSE * self.spread)
    }

    /// The ordering key at least and at most, by both halves.
    fn fine(&self, head: Head, coarse: i32, fine: i32) -> (f32, f32) {
        let coarse = COARSE * self.step * coarse as f32 - self.added;
        let fine = FINE * self.step * fine as f32 - COARSE / 2.0 * self.sum;
        self.bound(self.metric, head, coarse + fine, SURE * FINE * self.spread)
    }

    /// The ordering key at least and at most, where the product in the row's steps is as given and `wide` at most off; not
    /// a number where it is too large to be told.
    #[inline(always)]
    fn bound(&self, metric: Metric, head: Head, product: f32, wide: f32) -> (f32, f32) {
        let dot = self.mean * head.sum + head.low * self.sum + head.step * product;
        let off = head.step * wide + SURE * self.step * head.length;
        let square = head.length * head.length;
        let (key, off) = match metric {
            Metric::L2 => {
                let squares = square + self.length * self.length;
                (squares - 2.0 * dot, 2.0 * off + SLACK * squares)
            }
            Metric::Dot => (-dot, off + SLACK * (square + self.length * self.length)),
            Metric::Cosine => {
                let lengths = head.length * self.length;
                (1.0 - dot / lengths, off / lengths + SLACK)
            }
        };
        (key - off, key + off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tests::numbers;

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
                    let missing = sketches.missing(0, BLOCK).unwrap();
                    assert_eq!(missing.slots, 0..BLOCK);
                    assert_eq!(sketches.make(&missing, Some(&vectors)), sketches.block_bytes());
                    assert_eq!(sketches.missing(0, BLOCK), None);
                    let sketched = sketches.query(&query, metric, kernels);
                    let slots: Vec<Slot> = (0..BLOCK).collect();
                    let (mut outside, mut ranks) = (0, Vec::new());
                    let mut bounds = Bounds::new();
                    assert!(sketched.all(0, &mut bounds));
                    assert!(sketched.each(&slots, f32::INFINITY, &mut |slot, least, most| {
                        let at = slot as usize;
                        let rank = metric.rank(kernels, &query, &vectors[at * dim..][..dim]);
                        outside += usize::from(!(least..=most).contains(&rank));
                        outside += usize::from(bounds.least[at] > rank);
                        ranks.push((slot, least, most));
                        f32::INFINITY
                    }));
                    assert_eq!(ranks.len(), BLOCK as usize);
                    // Many close ones, which are read together, and few.
                    for step in [1, 7, 100] {
                        bounds.close = (0..=u8::MAX).step_by(step).collect();
                        let mut expected = ranks.iter().step_by(step);
                        sketched.close(0, &mut bounds, &mut |slot, least, most| {
                            assert_eq!(expected.next(), Some(&(slot, least, most)), "one in {step}");
                        });
                        assert_eq!(expected.next(), None);
                    }
                    assert_eq!(outside, 0, "{dim} {scale} {shift} {metric:?}");
                }
            }
            // Few distinct numbers, which plain rounding would all push the same way.
            let halves = |vector: Vec<f32>| vector.iter().map(|x| (x * 2.0).round().abs() / 2.0).collect();
            let (vectors, query): (Vec<f32>, Vec<f32>) =
                (halves(numbers(BLOCK as usize * dim, 3)), halves(numbers(dim, 4)));
            let sketches = Sketches::new(dim, 1 << 20);
            sketches.make(&sketches.missing(0, BLOCK).unwrap(), Some(&vectors));
            let sketched = sketches.query(&query, Metric::L2, kernels);
            let slots: Vec<Slot> = (0..BLOCK).collect();
            sketched.each(&slots, f32::INFINITY, &mut |slot, least, most| {
                let row = &vectors[slot as usize * dim..][..dim];
                let rank = Metric::L2.rank(kernels, &query, row);
                assert!((least..=most).contains(&rank), "{dim}: {rank} for {least}..={most}");
                f32::INFINITY
            });
        }
    }

    #[test]
    fn rows_too_far_are_not_shown() {
        let (dim, kernels) = (100, Kernels::get());
        let vectors = numbers(BLOCK as usize * dim, 5);
        let query = numbers(dim, 6);
        let sketches = Sketches::new(dim, 1 << 20);
        sketches.make(&sketches.missing(0, BLOCK).unwrap(), Some(&vectors));
        let sketched = sketches.query(&query, Metric::L2, kernels);
        let mut ranks: Vec<f32> =
            vectors.chunks_exact(dim).map(|row| Metric::L2.rank(kernels, &query, row)).collect();
        let all = ranks.clone();
        ranks.sort_by(f32::total_cmp);
        let limit = ranks[20];
        let (mut near, mut shown) = (0, 0);
        let slots: Vec<Slot> = (0..BLOCK).collect();
        sketched.each(&slots, limit, &mut |slot, least, _| {
            assert!(least <= limit);
            shown += 1;
            near += usize::from(all[slot as usize] <= limit);
            limit
        });
        assert_eq!(near, 21);
        assert!(shown < 40, "{shown} shown");
    }

    #[test]
    fn blocks_are_made_whole_once_and_within_the_budget() {
        let sketches = Sketches::new(4, 2 * Sketches::new(4, 0).block_bytes());
        assert!(sketches.fit(2 * BLOCK) && !sketches.fit(3 * BLOCK));
        assert_eq!(sketches.missing(1, 2 * BLOCK - 1), None);
        let vectors = numbers(BLOCK as usize * 4, 1);
        let missing = |block| sketches.missing(block, 99 * BLOCK);
        let first = missing(1).unwrap();
        assert!(sketches.make(&first, Some(&vectors)) > 0);
        assert_eq!(sketches.make(&first, Some(&vectors)), 0);
        assert_eq!(sketches.make(&missing(5).unwrap(), None), 0);
        assert_eq!(missing(5), None);
        assert!(sketches.make(&missing(7).unwrap(), Some(&vectors)) > 0);
        assert_eq!(missing(8), None);
        let sketched = sketches.query(&vectors[..4], Metric::L2, Kernels::get());
        assert!(!sketched.each(&[5 * BLOCK], 0.0, &mut |_, _, _| 0.0));
        assert!(!sketches.is_worn(0, BLOCK - 1) && sketches.is_worn(0, 1));
        assert!(!sketched.each(&[900 * BLOCK], 0.0, &mut |_, _, _| 0.0));
        assert!(!sketched.all(5, &mut Bounds::new()) && !sketched.all(900, &mut Bounds::new()));
    }

    #[test]
    fn a_block_whose_slots_are_used_again_is_never_used() {
        let sketches = Sketches::new(4, 1 << 20);
        let (old, new) = (numbers(BLOCK as usize * 4, 1), numbers(BLOCK as usize * 4, 2));
        let answers = || {
            let sketched = sketches.query(&old[..4], Metric::L2, Kernels::get());
            sketched.each(&[3], 0.0, &mut |_, _, _| 0.0)
        };
        let before = sketches.missing(0, BLOCK).unwrap();
        // Whoever read the old vectors may be slow to say so.
        sketches.forget([3].into_iter());
        assert!(sketches.make(&before, Some(&old)) > 0);
        assert!(!answers());
        let after = sketches.missing(0, BLOCK).unwrap();
        assert_eq!(sketches.make(&after, Some(&new)), 0, "its bytes are counted already");
        assert!(answers());
        sketches.forget([BLOCK - 1].into_iter());
        assert!(!answers());
        assert!(sketches.missing(0, BLOCK).is_some());
    }
}
