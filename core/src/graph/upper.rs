//! The layers above 0, whole in memory: about one row in `m` reaches them.
//!
//! Nodes are numbered densely in order of arrival; links name nodes, not slots, so that a hop is one array access.
//! One thread writes; readers copy lists under a sequence lock.

use super::seqlock::{self, HEAD};
use crate::hnsw::MAX_LEVEL;
use crate::table::Table;
use crate::{Error, Result, Slot, varint};
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
            let levels = decode(bytes, self.cap).map_err(|e| e.at(format!("upper layers of slot {slot}")))?;
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

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        self.nodes.memory() + self.records.memory()
    }
}

/// The stored form of a node: its level, then per level a count and the slots linked to.
pub(crate) fn encode(levels: &[Vec<Slot>]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, levels.len() as u64);
    for list in levels {
        varint::put(&mut out, list.len() as u64);
        list.iter().for_each(|&slot| varint::put(&mut out, u64::from(slot)));
    }
    out
}

fn decode(mut bytes: &[u8], cap: usize) -> Result<Vec<Vec<Slot>>> {
    let level = varint::take(&mut bytes)?;
    if level == 0 || level > u64::from(MAX_LEVEL) {
        return Err(Error::corrupt(format!("level {level} is impossible")));
    }
    let mut levels = Vec::new();
    for _ in 0..level {
        let count = varint::take(&mut bytes)?;
        if count > cap as u64 {
            return Err(Error::corrupt(format!("a list of {count} links exceeds the cap of {cap}")));
        }
        let list: Result<Vec<Slot>> = (0..count)
            .map(|_| {
                let slot = varint::take(&mut bytes)?;
                Slot::try_from(slot).map_err(|_| Error::corrupt(format!("slot {slot} is impossible")))
            })
            .collect();
        levels.push(list?);
    }
    if bytes.is_empty() { Ok(levels) } else { Err(Error::corrupt("trailing bytes")) }
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
        assert!(Upper::new(4).load(&[(1, vec![1, 9])]).is_err(), "a list past its cap");
    }
}
