//! The layers above 0, whole in memory: about one row in `m` reaches them.
//!
//! Nodes are numbered densely in order of arrival; links name nodes, not slots, so that a hop is one array access.
//! One thread writes; readers copy lists under a sequence lock.

use super::seqlock::{self, HEAD};
use crate::kv::upper::decode;
pub(crate) use crate::kv::upper::encode;
use crate::table::Table;
use crate::{Error, Result, Slot};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A dense number of a row with a level above 0.
pub(crate) type Node = u32;

pub(crate) struct Upper {
    cap: usize,
    /// Per node: slot, level, first record.
    nodes: Table<AtomicU32>,
    records: Table<AtomicU32>,
    count: AtomicU32,
    used_records: AtomicU32,
    /// Level and node of the entry point, plus one; 0 for an empty graph.
    entry: AtomicU64,
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
        if let Some(record) = self.record(node, level) {
            seqlock::read(record, node + 1, out);
        }
    }

    fn record(&self, node: Node, level: u32) -> Option<&[AtomicU32]> {
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

    /// Replaces the links of `node` on `level`.
    pub(crate) fn set_links(&self, node: Node, level: u32, list: &[u32]) {
        if let Some(record) = self.record(node, level) {
            seqlock::write(record, node + 1, list);
        }
    }

    /// Makes `node` the entry point if it reaches higher than the present one.
    pub(crate) fn offer_entry(&self, node: Node) {
        let level = self.level(node);
        if self.entry().is_none_or(|(_, top)| level > top) {
            self.entry.store((u64::from(level) << 32 | u64::from(node)) + 1, Ordering::Release);
        }
    }

    /// Fills an empty structure from stored nodes, ascending by slot.
    pub(crate) fn load(&self, stored: &[(Slot, Vec<u8>)]) -> Result<()> {
        let mut lists = Vec::new();
        let mut node_of = HashMap::new();
        for (slot, bytes) in stored {
            let levels = decode(bytes).and_then(|levels| self.fitting(levels));
            let levels = levels.map_err(|error| error.at(format!("upper layers of slot {slot}")))?;
            let node = self.add(*slot, levels.len() as u32);
            node_of.insert(*slot, node);
            lists.push(levels);
        }
        for (node, levels) in (0..).zip(lists) {
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
