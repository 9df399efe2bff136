//! Exact search among the rows of a selection: every one is measured, most by their sketches where there are some.

use super::selection::Sets;
use super::sketch::{BLOCK, Bounds, Sketched};
use super::watch::Watch;
use super::{Index, Published};
use crate::hnsw::{node_of_key, rank_of_key, sort_key};
use crate::{Result, Slot};
use std::collections::BinaryHeap;

/// Rows between two looks at the caller's signal and the clock.
const RUN: usize = 1024;
/// A block is sketched where a scan wants at least one in so many of its rows, or scans did without for long.
const WORTH: usize = 8;
/// All rows of a block are measured where a scan wants at least one in so many: one by one costs as much more.
const ALL: usize = 4;
/// Rows wanted, as a part of all, below which the selection's bits are not read one after the other.
const SPARSE: u64 = 64;
/// Rows that may be near enough, before those that are not are dropped.
const KEPT: usize = 4096;

/// The smallest keys so far.
struct Nearest {
    wanted: usize,
    heap: BinaryHeap<u64>,
}

impl Nearest {
    fn new(wanted: usize) -> Nearest {
        Nearest { wanted, heap: BinaryHeap::new() }
    }

    fn offer(&mut self, key: u64) {
        if self.heap.len() < self.wanted {
            self.heap.push(key);
        } else if self.heap.peek().is_some_and(|&worst| key < worst) {
            self.heap.pop();
            self.heap.push(key);
        }
    }

    /// The farthest of them, once there are enough.
    fn bound(&self) -> Option<u64> {
        if self.heap.len() < self.wanted { None } else { self.heap.peek().copied() }
    }
}

/// Rows that may be among the nearest.
struct Near {
    /// The nearest, taking each to be as far as it may be.
    upper: Nearest,
    /// How far the farthest of those may be.
    limit: f32,
    /// All that may be as near, by how near that is.
    maybe: Vec<u64>,
    /// How many of them there may be before those that are not near enough are dropped.
    most: usize,
}

impl Near {
    fn new(wanted: usize) -> Near {
        let most = KEPT.max(4 * wanted);
        Near { upper: Nearest::new(wanted), limit: f32::INFINITY, maybe: Vec::new(), most }
    }

    /// Takes in a row whose rank is between `least` and `most`, either of which may be no number.
    fn see(&mut self, slot: Slot, least: f32, most: f32) {
        if least > self.limit {
            return;
        }
        let unknown = (most - least).is_nan();
        let (least, most) = if unknown { (f32::NEG_INFINITY, f32::INFINITY) } else { (least, most) };
        self.offer(most, slot);
        self.maybe.push(sort_key(least, slot));
        if self.maybe.len() > self.most {
            self.drop_far();
            self.most = self.most.max(2 * self.maybe.len());
        }
    }

    fn offer(&mut self, rank: f32, slot: Slot) {
        self.upper.offer(sort_key(rank, slot));
        self.limit = self.upper.bound().map_or(f32::INFINITY, rank_of_key);
    }

    fn drop_far(&mut self) {
        if let Some(bound) = self.upper.bound() {
            self.maybe.retain(|&low| low <= bound | u64::from(u32::MAX));
        }
    }
}

/// A bit for each of the `ranks` beyond `limit`. Without a branch, so that several are compared at once.
fn farther(ranks: &[f32; 64], limit: f32) -> u64 {
    let mut far = [0u8; 64];
    for (far, &rank) in far.iter_mut().zip(ranks) {
        *far = u8::from(rank > limit);
    }
    far.as_chunks::<8>().0.iter().rev().fold(0, |bits, &eight| {
        // Brings the lowest bit of each byte to its place in the highest byte.
        bits << 8 | u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
    })
}

/// A scan under way.
struct Scan<'a> {
    index: &'a Index,
    query: &'a [f32],
    state: &'a Published,
    watch: &'a Watch<'a>,
    sketched: Sketched<'a>,
    bounds: Box<Bounds>,
    near: Near,
    exact: Nearest,
    ranks: Vec<f32>,
    /// Rows since the last look.
    since: usize,
}

impl Scan<'_> {
    fn check(&mut self, rows: usize) -> Result<()> {
        self.since += rows;
        if self.since >= RUN {
            self.since = 0;
            self.watch.stops()?;
        }
        Ok(())
    }

    /// Looks at some rows of one block by their sketches. Answers whether it could.
    fn see(&mut self, rows: &[Slot]) -> bool {
        let near = &mut self.near;
        self.sketched.each(rows, near.limit, &mut |slot, least, most| {
            near.see(slot, least, most);
            near.limit
        })
    }

    /// Looks at some rows of one block.
    fn rows(&mut self, rows: &[Slot]) -> Result<()> {
        let Some(&first) = rows.first() else { return Ok(()) };
        self.check(rows.len())?;
        if self.see(rows) {
            return Ok(());
        }
        let block = first / BLOCK;
        if rows.len() * WORTH >= BLOCK as usize || self.index.sketches.is_worn(block, rows.len() as u32) {
            self.index.sketch(block, self.state);
            if self.see(rows) {
                return Ok(());
            }
        }
        self.measure(rows)?;
        for (&slot, &rank) in rows.iter().zip(&self.ranks) {
            self.near.offer(rank, slot);
        }
        Ok(())
    }

    /// Looks at the rows of a block whose bits are set, if there are many of them. Answers whether it did.
    fn block(&mut self, block: u32, words: &[u64], count: usize) -> Result<bool> {
        if count * ALL < BLOCK as usize {
            return Ok(false);
        }
        self.index.sketch(block, self.state);
        if !self.sketched.all(block, &mut self.bounds) {
            return Ok(false);
        }
        self.sketched.soon(block + 1);
        self.check(count)?;
        let (limit, bounds) = (self.near.limit, &mut *self.bounds);
        bounds.close.clear();
        for ((first, least), word) in (0..).step_by(64).zip(bounds.least.as_chunks::<64>().0).zip(words) {
            let mut left = word & !farther(least, limit);
            while left != 0 {
                bounds.close.push((first + left.trailing_zeros()) as u8);
                left &= left - 1;
            }
        }
        let near = &mut self.near;
        self.sketched.close(block, bounds, &mut |slot, least, most| near.see(slot, least, most));
        Ok(true)
    }

    /// Measures rows, all in `self.ranks` then.
    fn measure(&mut self, rows: &[Slot]) -> Result<()> {
        self.index.ranks(self.query, rows.iter().copied(), &mut self.ranks)?;
        for (&slot, &rank) in rows.iter().zip(&self.ranks) {
            self.exact.offer(sort_key(rank, slot));
        }
        Ok(())
    }

    fn end(mut self) -> Result<Vec<u64>> {
        self.near.drop_far();
        let mut maybe = std::mem::take(&mut self.near.maybe);
        if self.watch.is_late() {
            maybe.sort_unstable();
            maybe.truncate(self.exact.wanted);
        }
        let mut again: Vec<Slot> = maybe.into_iter().map(node_of_key).collect();
        again.sort_unstable();
        for (at, run) in again.chunks(RUN).enumerate() {
            if at > 0 && self.watch.stops()? {
                break;
            }
            self.measure(run)?;
        }
        Ok(self.exact.heap.into_sorted_vec())
    }
}

impl Index {
    /// The `wanted` nearest of the rows of `sets`, all decided, which `state` shows, as ascending sort keys; of those that it
    /// came to, where it is late.
    pub(crate) fn scan_set(
        &self,
        query: &[f32],
        sets: &Sets,
        state: &Published,
        wanted: usize,
        watch: &Watch<'_>,
    ) -> Result<Vec<u64>> {
        watch.check()?;
        let mut scan = Scan {
            index: self,
            query,
            state,
            watch,
            sketched: self.sketches.query(query, self.config.metric, self.kernels),
            bounds: Box::new(Bounds::new()),
            near: Near::new(wanted),
            exact: Nearest::new(wanted),
            ranks: Vec::new(),
            since: 0,
        };
        let mut run = Vec::with_capacity(BLOCK as usize);
        if sets.sure.len() * SPARSE < u64::from(state.slots) {
            let mut rest = sets.sure.iter().peekable();
            while let Some(&first) = rest.peek() {
                run.clear();
                run.extend(std::iter::from_fn(|| rest.next_if(|slot| slot / BLOCK == first / BLOCK)));
                scan.rows(&run)?;
                if watch.is_late() {
                    break;
                }
            }
            return scan.end();
        }
        for (block, words) in (0..).zip(sets.bits().chunks(BLOCK as usize / 64)) {
            if watch.is_late() {
                break;
            }
            let count = words.iter().map(|word| word.count_ones()).sum::<u32>() as usize;
            if count == 0 || scan.block(block, words, count)? {
                continue;
            }
            run.clear();
            for (word, &bits) in (block * BLOCK..).step_by(64).zip(words) {
                let mut left = bits;
                while left != 0 {
                    run.push(word + left.trailing_zeros());
                    left &= left - 1;
                }
            }
            scan.rows(&run)?;
        }
        scan.end()
    }

    /// Sketches a block if it is not, and can be.
    fn sketch(&self, block: u32, state: &Published) {
        let Some(missing) = self.sketches.missing(block, state.slots) else { return };
        let mut vectors = Vec::with_capacity(missing.slots.len() * self.config.dim as usize);
        for slot in missing.slots.clone() {
            // A damaged row, dead or alive, is for those to report who need it.
            let Ok(row) = self.vectors.row(slot) else {
                self.sketches.make(&missing, None);
                return;
            };
            vectors.extend_from_slice(&row);
        }
        let took = self.sketches.make(&missing, Some(&vectors));
        self.vectors.lend(took);
    }
}

#[cfg(test)]
mod tests {
    use super::farther;

    #[test]
    fn each_rank_beyond_the_limit_has_its_bit() {
        let mut ranks = [1.0; 64];
        assert_eq!(farther(&ranks, 1.0), 0);
        assert_eq!(farther(&ranks, 0.5), u64::MAX);
        for at in 0..64 {
            ranks[at] = 2.0;
            assert_eq!(farther(&ranks, 1.0), 1 << at);
            ranks[at] = f32::NAN;
        }
        assert_eq!(farther(&ranks, f32::NEG_INFINITY), 0);
    }
}
