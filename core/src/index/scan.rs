//! Exact search among the rows of a selection: every one is measured, most by their sketches where there are some.

use super::sketch::BLOCK;
use super::{Index, Published};
use crate::hnsw::{node_of_key, rank_of_key, sort_key};
use crate::{Control, Result, Slot};
use roaring::RoaringBitmap;
use std::collections::BinaryHeap;

/// Rows between two looks at the caller's signal.
const RUN: usize = 1024;
/// A block is sketched where a scan wants at least one in so many of its rows.
const WORTH: usize = 8;
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

impl Index {
    /// The `wanted` nearest of `slots`, which `state` shows, as ascending sort keys.
    pub(crate) fn scan_set(
        &self,
        query: &[f32],
        slots: &RoaringBitmap,
        state: &Published,
        wanted: usize,
        control: &Control<'_>,
    ) -> Result<Vec<u64>> {
        let sketched = self.sketches.query(query, self.config.metric, self.kernels);
        // By the farthest that they may be; then all that may be as near.
        let (mut upper, mut limit) = (Nearest::new(wanted), f32::INFINITY);
        let mut maybe: Vec<u64> = Vec::new();
        let mut exact = Nearest::new(wanted);
        let (mut ranks, mut run, mut since) = (Vec::new(), Vec::with_capacity(BLOCK as usize), RUN);
        let mut rest = slots.iter().peekable();
        while let Some(&first) = rest.peek() {
            if since >= RUN {
                control.check()?;
                since = 0;
            }
            let block = first / BLOCK;
            run.clear();
            while let Some(slot) = rest.next_if(|slot| slot / BLOCK == block) {
                run.push(slot);
            }
            since += run.len();
            if run.len() * WORTH >= BLOCK as usize {
                self.sketch(block, state);
            }
            let estimated = sketched.estimate(&run, &mut |slot, estimate, off| {
                if estimate - off <= limit {
                    upper.offer(sort_key(estimate + off, slot));
                    maybe.push(sort_key(estimate - off, slot));
                    limit = upper.bound().map_or(f32::INFINITY, rank_of_key);
                }
            });
            if estimated {
                if maybe.len() > KEPT.max(4 * wanted) {
                    drop_far(&mut maybe, &upper);
                }
                continue;
            }
            self.ranks(query, run.iter().copied(), &mut ranks)?;
            for (&slot, &rank) in run.iter().zip(&ranks) {
                exact.offer(sort_key(rank, slot));
                upper.offer(sort_key(rank, slot));
            }
            limit = upper.bound().map_or(f32::INFINITY, rank_of_key);
        }
        drop_far(&mut maybe, &upper);
        let mut again: Vec<Slot> = maybe.into_iter().map(node_of_key).collect();
        again.sort_unstable();
        for run in again.chunks(RUN) {
            control.check()?;
            self.ranks(query, run.iter().copied(), &mut ranks)?;
            run.iter().zip(&ranks).for_each(|(&slot, &rank)| exact.offer(sort_key(rank, slot)));
        }
        Ok(exact.heap.into_sorted_vec())
    }

    /// Sketches a block if it is not, and can be.
    fn sketch(&self, block: u32, state: &Published) {
        let Some(slots) = self.sketches.missing(block, state.slots) else { return };
        let mut vectors = Vec::with_capacity(slots.len() * self.config.dim as usize);
        for slot in slots {
            // A damaged row, dead or alive, is for those to report who need it.
            let Ok(row) = self.vectors.row(slot) else {
                self.sketches.make(block, None);
                return;
            };
            vectors.extend_from_slice(&row);
        }
        let took = self.sketches.make(block, Some(&vectors));
        self.vectors.lend(took);
    }
}

/// Drops what is farther than the nearest may be at most.
fn drop_far(maybe: &mut Vec<u64>, upper: &Nearest) {
    if let Some(bound) = upper.bound() {
        maybe.retain(|&low| low <= bound | u64::from(u32::MAX));
    }
}
