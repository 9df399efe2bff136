//! What a walk needs and the next one reuses: heaps, visited marks, buffers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A distance and a node in one integer that sorts by distance, then node.
pub(crate) fn sort_key(rank: f32, node: u32) -> u64 {
    let bits = rank.to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(node)
}

/// The distance in a key.
pub(crate) fn rank_of_key(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// The node in a key.
pub(crate) fn node_of_key(key: u64) -> u32 {
    key as u32
}

/// What a walk did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Vectors measured.
    pub(crate) measured: u64,
    /// Lists read.
    pub(crate) lists: u64,
}

/// Reusable memory of one walk at a time.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Nodes to expand, nearest first.
    pub(crate) candidates: BinaryHeap<Reverse<u64>>,
    /// Best nodes so far, farthest first.
    pub(crate) found: BinaryHeap<u64>,
    pub(crate) links: Vec<u32>,
    pub(crate) fresh: Vec<u32>,
    pub(crate) ranks: Vec<f32>,
    pub(crate) bridges: Vec<u32>,
    /// What the walk cost so far.
    pub(crate) effort: Effort,
    /// A bit per node, and the nodes that have theirs.
    visited: Vec<u64>,
    touched: Vec<u32>,
}

impl Scratch {
    /// Forgets the last walk.
    pub(crate) fn begin(&mut self) {
        self.candidates.clear();
        self.found.clear();
        self.effort = Effort::default();
        for node in self.touched.drain(..) {
            self.visited[node as usize / 64] = 0;
        }
    }

    /// Replaces `fresh` with those of `nodes` that are seen for the first time in this walk.
    pub(crate) fn see(&mut self, nodes: &[u32]) {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.resize(nodes.len(), 0);
        let mut count = 0;
        for &node in nodes {
            // Written in any case and kept where it counts: which of them are new is not to be foreseen.
            if let Some(place) = fresh.get_mut(count) {
                *place = node;
            }
            count += usize::from(self.mark(node));
        }
        fresh.truncate(count);
        self.touched.extend_from_slice(&fresh);
        self.fresh = fresh;
    }

    #[cold]
    fn grow(&mut self, words: usize) {
        self.visited.resize(words.next_power_of_two(), 0);
    }

    /// Marks a node; `true` the first time in this walk.
    #[inline(always)]
    pub(crate) fn visit(&mut self, node: u32) -> bool {
        let first = self.mark(node);
        if first {
            self.touched.push(node);
        }
        first
    }

    /// [`Scratch::visit`], which leaves it to its caller to remember the node.
    #[inline(always)]
    fn mark(&mut self, node: u32) -> bool {
        let (at, bit) = (node as usize / 64, 1 << (node % 64));
        if at >= self.visited.len() {
            self.grow(at + 1);
        }
        let word = &mut self.visited[at];
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    /// What the walk found, nearest first.
    pub(crate) fn take_found(&mut self) -> Vec<u64> {
        let mut found: Vec<u64> = self.found.drain().collect();
        found.sort_unstable();
        found
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        8 * self.visited.capacity() as u64 + 4 * self.touched.capacity() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_distances_do() {
        let ranks = [f32::NEG_INFINITY, -3.5, -0.25, 0.0, 1e-30, 0.5, 7.0, f32::INFINITY];
        for pair in ranks.windows(2) {
            assert!(sort_key(pair[0], u32::MAX) < sort_key(pair[1], 0));
        }
        for rank in ranks {
            let key = sort_key(rank, 77);
            assert_eq!((rank_of_key(key), node_of_key(key)), (rank, 77));
        }
    }

    #[test]
    fn visited_marks_survive_a_wrap_of_the_round() {
        let mut scratch = Scratch::default();
        for _ in 0..70_000 {
            scratch.begin();
            assert!(scratch.visit(3) && !scratch.visit(3));
        }
    }
}
