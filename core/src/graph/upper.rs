//! The layers above 0, whole in memory: about one row in `m` reaches them.
//!
//! Nodes are numbered densely; links name nodes, not slots, so that a hop is one array access. The number of a node
//! that left is given to a later one of its level. A reader who still holds it finds another row there, or no links.
//! One thread writes; readers copy lists under a sequence lock.

use super::seqlock::{self, HEAD, Word};
use crate::kv::upper::decode;
pub(crate) use crate::kv::upper::encode;
use crate::table::Table;
use crate::{Error, Result, Slot, sync};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A dense number of a row with a level above 0.
pub(crate) type Node = u32;

pub(crate) struct Upper {
    cap: usize,
    /// Per node: slot, level, first record.
    nodes: Table<AtomicU32>,
    records: Table<Word>,
    count: AtomicU32,
    used_records: AtomicU32,
    free: Mutex<Free>,
    /// Level and node of the entry point, plus one; 0 for an empty graph.
    entry: AtomicU64,
}

/// Nodes whose rows left.
#[derive(Default)]
struct Free {
    by_level: HashMap<u32, Vec<Node>>,
    all: HashSet<Node>,
}

impl Upper {
    /// No nodes yet; lists of up to `cap` links.
    pub(crate) fn new(cap: usize) -> Self {
        Upper {
            cap,
            nodes: Table::new(3),
            records: Table::new(HEAD + cap),
            count: AtomicU32::new(0),
            used_records: AtomicU32::new(0),
            free: Mutex::default(),
            entry: AtomicU64::new(0),
        }
    }

    /// Node and level where a descent begins.
    pub(crate) fn entry(&self) -> Option<(Node, u32)> {
        let packed = self.entry.load(Ordering::Acquire).checked_sub(1)?;
        Some((packed as u32, (packed >> 32) as u32))
    }

    pub(crate) fn len(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn slot(&self, node: Node) -> Slot {
        self.nodes.row(node).map_or(0, |row| row[0].load(Ordering::Relaxed))
    }

    pub(crate) fn level(&self, node: Node) -> u32 {
        self.nodes.row(node).map_or(0, |row| row[1].load(Ordering::Relaxed))
    }

    /// Copies the links of `node` on `level`, 1 or above.
    pub(crate) fn links(&self, node: Node, level: u32, out: &mut Vec<u32>) {
        out.clear();
        if let Some(record) = self.record(node, level)
            && !seqlock::read(record, node + 1, out)
        {
            out.clear();
        }
    }

    fn record(&self, node: Node, level: u32) -> Option<&[Word]> {
        let row = self.nodes.row(node)?;
        if level == 0 || level > row[1].load(Ordering::Relaxed) {
            return None;
        }
        self.records.row(row[2].load(Ordering::Relaxed) + level - 1)
    }

    /// Adds a node without links. Readers meet it once another node links to it or it becomes the entry.
    pub(crate) fn add(&self, slot: Slot, level: u32) -> Node {
        let node = self.count.load(Ordering::Relaxed);
        let first = self.used_records.fetch_add(level, Ordering::Relaxed);
        for record in first..first + level {
            seqlock::write(self.records.ensure(record), node + 1, &[]);
        }
        let row = self.nodes.ensure(node);
        row[0].store(slot, Ordering::Relaxed);
        row[1].store(level, Ordering::Relaxed);
        row[2].store(first, Ordering::Relaxed);
        self.count.store(node + 1, Ordering::Release);
        node
    }

    /// The number that the `nth` new node of `level` will get of those that are free, if there are so many.
    pub(crate) fn free_node(&self, level: u32, nth: usize) -> Option<Node> {
        let free = sync::lock(&self.free);
        let nodes = free.by_level.get(&level)?;
        nodes.len().checked_sub(nth + 1).map(|at| nodes[at])
    }

    /// Gives a free number to the row of `slot`, or adds a node where `node` is the next.
    pub(crate) fn place(&self, node: Node, slot: Slot, level: u32) {
        if node == self.len() {
            self.add(slot, level);
            return;
        }
        let mut free = sync::lock(&self.free);
        free.all.remove(&node);
        if let Some(nodes) = free.by_level.get_mut(&level) {
            nodes.retain(|&other| other != node);
        }
        self.nodes.ensure(node)[0].store(slot, Ordering::Relaxed);
    }

    /// Frees the number of a node that nothing links to any more.
    pub(crate) fn remove(&self, node: Node) {
        let level = self.level(node);
        (1..=level).for_each(|level| self.set_links(node, level, &[]));
        let mut free = sync::lock(&self.free);
        if free.all.insert(node) {
            free.by_level.entry(level).or_default().push(node);
        }
    }

    /// Whether the number belongs to no row.
    pub(crate) fn is_free(&self, node: Node) -> bool {
        sync::lock(&self.free).all.contains(&node)
    }

    /// Frees all nodes.
    pub(crate) fn clear(&self) {
        self.entry.store(0, Ordering::Release);
        (0..self.len()).for_each(|node| self.remove(node));
    }

    /// Replaces the links of `node` on `level`.
    pub(crate) fn set_links(&self, node: Node, level: u32, list: &[u32]) {
        if let Some(record) = self.record(node, level) {
            seqlock::write(record, node + 1, list);
        }
    }

    /// Makes `node` the entry point.
    pub(crate) fn set_entry(&self, node: Node) {
        self.entry.store((u64::from(self.level(node)) << 32 | u64::from(node)) + 1, Ordering::Release);
    }

    /// Makes `node` the entry point if it reaches higher than the present one, or as high from a lower slot: whatever
    /// the history, a graph has one entry point.
    pub(crate) fn offer_entry(&self, node: Node) {
        let level = self.level(node);
        let after = |(entry, top)| (level, self.slot(entry)) > (top, self.slot(node));
        if self.entry().is_none_or(after) {
            self.set_entry(node);
        }
    }

    /// Takes in stored nodes, ascending by slot, where there are no others.
    pub(crate) fn load(&self, stored: &[(Slot, Vec<u8>)]) -> Result<()> {
        let mut lists = Vec::new();
        let mut node_of = HashMap::new();
        let first = self.len();
        for (slot, bytes) in stored {
            let levels = decode(bytes).and_then(|levels| self.fitting(levels));
            let levels = levels.map_err(|error| error.at(format!("upper layers of slot {slot}")))?;
            let node = self.add(*slot, levels.len() as u32);
            node_of.insert(*slot, node);
            lists.push(levels);
        }
        for (node, levels) in (first..).zip(lists) {
            for (level, slots) in (1..).zip(levels) {
                let links: Option<Vec<Node>> = slots.iter().map(|slot| node_of.get(slot).copied()).collect();
                let links = links.filter(|links| links.iter().all(|&to| self.level(to) >= level));
                let links = links.ok_or_else(|| {
                    Error::corrupt(format!(
                        "slot {} links on layer {level} to a row that is not there",
                        self.slot(node)
                    ))
                })?;
                self.set_links(node, level, &links);
            }
            self.offer_entry(node);
        }
        Ok(())
    }

    /// Stored lists, where there are some and none exceeds its room.
    fn fitting(&self, levels: Vec<Vec<Slot>>) -> Result<Vec<Vec<Slot>>> {
        if levels.is_empty() {
            return Err(Error::corrupt("level 0 is impossible"));
        }
        match levels.iter().map(Vec::len).find(|&len| len > self.cap) {
            Some(len) => {
                Err(Error::corrupt(format!("a list of {len} links exceeds the cap of {}", self.cap)))
            }
            None => Ok(levels),
        }
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        self.nodes.memory() + self.records.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_nodes_that_left_go_to_others_of_their_level() {
        let upper = Upper::new(4);
        let (a, b, c) = (upper.add(10, 1), upper.add(20, 2), upper.add(30, 1));
        upper.set_links(a, 1, &[b]);
        upper.remove(a);
        upper.remove(c);
        let mut out = vec![7];
        upper.links(a, 1, &mut out);
        assert!(out.is_empty() && upper.is_free(a) && !upper.is_free(b));
        assert_eq!((upper.free_node(1, 0), upper.free_node(1, 1)), (Some(c), Some(a)));
        assert_eq!((upper.free_node(1, 2), upper.free_node(2, 0)), (None, None));
        upper.place(c, 40, 1);
        upper.place(3, 50, 3);
        assert_eq!((upper.slot(c), upper.level(c), upper.slot(3), upper.level(3)), (40, 1, 50, 3));
        assert!(!upper.is_free(c) && upper.len() == 4);
    }

    #[test]
    fn stored_nodes_come_back_with_their_links() {
        let stored = [(10, encode(&[vec![20], vec![]])), (20, encode(&[vec![10]]))];
        let upper = Upper::new(4);
        upper.load(&stored).unwrap();
        assert_eq!(upper.entry(), Some((0, 2)));
        let mut out = Vec::new();
        upper.links(1, 1, &mut out);
        assert_eq!(out, [0]);
        upper.links(1, 2, &mut out);
        assert!(out.is_empty());
        assert!(Upper::new(4).load(&stored[..1]).is_err(), "a dangling link");
        assert!(Upper::new(4).load(&[(1, vec![1, 9])]).is_err(), "a list cut short");
        assert!(Upper::new(4).load(&[(1, encode(&[vec![1; 5]]))]).is_err(), "a list past its cap");
        assert!(Upper::new(4).load(&[(1, encode(&[]))]).is_err(), "no level");
    }
}
