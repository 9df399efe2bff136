//! Mending the graph around rows that leave it: what a sweep does to one list.
//!
//! A list that loses links takes others from the lists of those it lost, so that ways which led through a dead row
//! lead past it (after FreshDiskANN's consolidation: Singh et al., arXiv 2105.09613). The tree is kept whole first.

use super::Index;
use super::insert::{Stage, headroom};
use super::rows::{Near, Rows};
use crate::graph::upper::Node;
use crate::kv::links::{self, TREE};
use crate::{Error, Result, Slot};
use roaring::RoaringBitmap;
use std::collections::{HashMap, HashSet, VecDeque};

/// Candidates that are enough, and lists of dead rows read at most, where those next to a row know too few live ones.
const ENOUGH: usize = 32;
const MOST_LISTS: usize = 64;
/// Nodes looked at for a live one with room for a tree edge before a dead one is taken.
const FAR: usize = 8;

impl Index {
    /// Takes a node out of the tree: its neighbours there are joined by the shortest edges that do. Its links stay,
    /// without their marks.
    pub(crate) fn contract(&self, stage: &mut Stage, node: Slot) -> Result<()> {
        let rows = Rows::stored(self, None);
        let tree = self.staged(stage, node)?.links.iter().filter(|&&link| link & TREE != 0);
        let mut rest: Vec<Slot> = tree.map(|&link| links::slot(link)).collect();
        for &to in &rest {
            for (at, link) in [(node, to), (to, node)] {
                let list = self.staged(stage, at)?;
                if list.links.contains(&(link | TREE)) {
                    list.put(link);
                }
            }
        }
        let Some(mut joined) = rest.pop() else { return Ok(()) };
        // For each of the rest the nearest that is joined already (Prim's algorithm).
        let mut near: Vec<Near> = vec![(f32::INFINITY, joined); rest.len()];
        while !rest.is_empty() {
            let from = rows.of(joined)?;
            let mut best = 0;
            for (i, &slot) in rest.iter().enumerate() {
                let apart = rows.apart(&from, &rows.of(slot)?);
                if apart < near[i].0 {
                    near[i] = (apart, joined);
                }
                if near[i].0 < near[best].0 {
                    best = i;
                }
            }
            drop(from);
            joined = rest.swap_remove(best);
            let (_, to) = near.swap_remove(best);
            self.join(stage, &rows, joined, to)?;
        }
        Ok(())
    }

    /// Joins the parts of the tree that two nodes are in, by an edge as near to them as there is room.
    fn join(&self, stage: &mut Stage, rows: &Rows<'_>, a: Slot, b: Slot) -> Result<()> {
        let ends = (self.tree_room(stage, [a].into(), FAR)?, self.tree_room(stage, [b].into(), FAR)?);
        let (Some(a), Some(b)) = ends else {
            return Err(Error::corrupt(format!("the tree around slots {a} and {b} has no room")));
        };
        for (at, to) in [(a, b), (b, a)] {
            let list = self.staged(stage, at)?;
            if list.links.iter().any(|&link| links::slot(link) == to) {
                list.put(to | TREE);
            } else {
                self.link_back(stage, rows, at, to | TREE)?;
            }
        }
        Ok(())
    }

    /// Replaces the links of `node` to rows that are going, unless there are none.
    pub(crate) fn mend(&self, stage: &mut Stage, node: Slot, going: &RoaringBitmap) -> Result<()> {
        let list = self.staged(stage, node)?;
        let is_going = |&link: &u32| going.contains(links::slot(link));
        let mut queue: VecDeque<Slot> =
            list.links.iter().copied().filter(is_going).map(links::slot).collect();
        if queue.is_empty() {
            return Ok(());
        }
        let lost = queue.len();
        let mut seen: HashSet<Slot> = list.links.iter().map(|&link| links::slot(link)).collect();
        seen.insert(node);
        list.keep(&|link| !is_going(&link));
        let held: Vec<Slot> = list.links.iter().map(|&link| links::slot(link)).collect();
        let (mut candidates, mut read, mut near) = (Vec::new(), 0, Vec::new());
        while let Some(dead) = queue.pop_front() {
            if read >= lost && (candidates.len() >= ENOUGH || read >= MOST_LISTS) {
                break;
            }
            read += 1;
            self.present(stage, dead, &mut near)?;
            for slot in near.iter().map(|&link| links::slot(link)).filter(|&slot| seen.insert(slot)) {
                if going.contains(slot) {
                    queue.push_back(slot);
                } else if self.alive(slot) {
                    candidates.push(slot);
                }
            }
        }
        let config = &self.config;
        let (room, least) = (headroom(config.m_max0), config.m as usize / 2);
        for slot in self.replacements(node, &held, &candidates, lost, room, least)? {
            self.staged(stage, node)?.put(slot);
            let back = self.staged(stage, slot)?;
            if back.links.len() < room && self.alive(node) {
                back.put(node);
            }
        }
        Ok(())
    }

    /// Which of `candidates` the list of `slot`, which still holds `held`, takes for those that it lost.
    fn replacements(
        &self,
        slot: Slot,
        held: &[Slot],
        candidates: &[Slot],
        lost: usize,
        room: usize,
        least: usize,
    ) -> Result<Vec<Slot>> {
        let codes = self.codes.encode(&[]);
        let rows = Rows::stored(self, codes.as_ref());
        let (_, found) = rows.nearest_first(slot, candidates)?;
        let near: Vec<Near> = held.iter().map(|&slot| (0.0, slot)).chain(found).collect();
        let most = room.min(held.len() + lost + EXTRA).max(held.len());
        let kept = rows.select(slot, held.len(), &near, most, least)?;
        Ok(kept.into_iter().skip(held.len()).map(|i| near[i].1).collect())
    }

    /// Drops the links of a row that is going to others that are.
    pub(crate) fn strip(&self, stage: &mut Stage, node: Slot, going: &RoaringBitmap) -> Result<()> {
        self.staged(stage, node)?.keep(&|link| !going.contains(links::slot(link)));
        Ok(())
    }

    /// The list of `slot` as staged or as it is, without staging it.
    fn present(&self, stage: &Stage, slot: Slot, out: &mut Vec<u32>) -> Result<()> {
        match stage.lists.get(&slot) {
            Some(list) => {
                out.clone_from(&list.links);
                Ok(())
            }
            None => self.links_of(slot, out),
        }
    }

    /// [`Index::mend`] on the layers above 0. Answers whether there was anything to do.
    pub(crate) fn mend_upper(
        &self,
        stage: &mut Stage,
        node: Node,
        going: &HashMap<Node, Slot>,
    ) -> Result<bool> {
        let mut changed = false;
        for level in 1..=self.upper.level(node) {
            let mut list = self.upper_links(stage, node, level);
            let mut queue: VecDeque<Node> =
                list.iter().copied().filter(|to| going.contains_key(to)).collect();
            if queue.is_empty() {
                continue;
            }
            changed = true;
            let lost = queue.len();
            let mut seen: HashSet<Node> = list.iter().copied().chain([node]).collect();
            list.retain(|to| !going.contains_key(to));
            let (mut candidates, mut read) = (Vec::new(), 0);
            while let Some(dead) = queue.pop_front() {
                if read >= lost && (candidates.len() >= ENOUGH || read >= MOST_LISTS) {
                    break;
                }
                read += 1;
                for to in self.upper_links(stage, dead, level) {
                    if !seen.insert(to) {
                        continue;
                    }
                    if going.contains_key(&to) {
                        queue.push_back(to);
                    } else if self.alive(self.upper.slot(to)) {
                        candidates.push(to);
                    }
                }
            }
            let slots =
                |nodes: &[Node]| -> Vec<Slot> { nodes.iter().map(|&node| self.upper.slot(node)).collect() };
            let of: HashMap<Slot, Node> = slots(&candidates).into_iter().zip(candidates.clone()).collect();
            let (room, least) = (headroom(self.config.m_max), self.config.m as usize / 4);
            let origin = self.upper.slot(node);
            let chosen = self.replacements(origin, &slots(&list), &slots(&candidates), lost, room, least)?;
            for to in chosen.into_iter().filter_map(|slot| of.get(&slot).copied()) {
                list.push(to);
                let mut back = self.upper_links(stage, to, level);
                if back.len() < room && !back.contains(&node) && self.alive(origin) {
                    back.push(node);
                    stage.upper.insert((to, level), back);
                }
            }
            stage.upper.insert((node, level), list);
        }
        Ok(changed)
    }
}

/// Links that a list may take beyond those it lost: it keeps what it held, so the new ones add to the variety.
const EXTRA: usize = 1;
