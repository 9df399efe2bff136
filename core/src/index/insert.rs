//! Finding a row's neighbours and linking it.
//!
//! Rows are planned in parallel against the graph as it stands, a chunk at a time, then linked one by one in memory
//! that nobody else sees ([`Stage`]); only when the journal has the chunk is it installed for readers.

use super::Index;
use super::walk::{Above, Base, Yield};
use crate::graph::cache::Delta;
use crate::graph::upper::{self, Node};
use crate::hnsw::{Scratch, beam, greedy, level_of, node_of_key, rank_of_key, select};
use crate::kv::links::{self, TREE};
use crate::kv::{Batch, Space, slot_key};
use crate::{Error, Metric, Result, Slot};
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet, VecDeque};

/// A new row's place in the graph, found without changing it.
pub(crate) struct Plan {
    level: u32,
    /// Distance of the vector to itself, as the kernels round it.
    own_rank: f32,
    /// Candidates per layer from 1 up, nearest first.
    upper: Vec<Vec<(f32, Node)>>,
    /// Candidates on layer 0, nearest first.
    base: Vec<(f32, Slot)>,
    /// An existing node with the very same vector.
    twin: Option<Slot>,
}

/// Changes to the graph that are not yet installed.
#[derive(Default)]
pub(crate) struct Stage {
    lists: HashMap<Slot, StagedList>,
    upper: HashMap<(Node, u32), Vec<Node>>,
    /// Slot and level of nodes that the upper layers will gain, in order.
    nodes: Vec<(Slot, u32)>,
    twins: HashMap<Slot, Option<Slot>>,
}

struct StagedList {
    links: Vec<u32>,
    /// What changed since the list was read; `None` for a new node's list.
    delta: Option<Delta>,
}

/// Rows of this chunk that are already linked, for those that follow.
pub(crate) struct Linked<'a> {
    slot: Slot,
    vector: &'a [f32],
    node: Option<(Node, u32)>,
    is_node: bool,
}

impl Index {
    /// Searches the places where a row with this vector and id key will be linked.
    pub(crate) fn plan(&self, vector: &[f32], key: &[u8], scratch: &mut Scratch) -> Result<Plan> {
        let config = &self.config;
        let mut plan = Plan {
            level: level_of(config.seed, key, config.m),
            own_rank: self.rank(vector, vector),
            upper: Vec::new(),
            base: Vec::new(),
            twin: None,
        };
        let Some((_, top)) = self.upper.entry() else { return Ok(plan) };
        let Some(mut node) = self.descend(vector, plan.level + 1, scratch)? else { return Ok(plan) };
        let ef = config.ef_construction as usize;
        for level in (1..=plan.level.min(top)).rev() {
            let mut layer = Above { index: self, query: vector, level };
            node = greedy(&mut layer, node, scratch)?;
            beam(&mut layer, &[node], ef, u64::MAX, scratch, &mut || Ok(()))?;
            let found = take_found(scratch);
            node = found.first().map_or(node, |&(_, node)| node);
            plan.upper.push(found);
        }
        plan.upper.reverse();
        let entry = self.upper.slot(node);
        let mut layer = Base::new(self, vector, Yield::Alive);
        beam(&mut layer, &[entry], ef, u64::MAX, scratch, &mut || Ok(()))?;
        plan.base = take_found(scratch);
        if plan.base.is_empty() {
            // Everything is deleted: link to tombstones rather than to nothing.
            layer.yielding(Yield::All);
            beam(&mut layer, &[entry], ef, u64::MAX, scratch, &mut || Ok(()))?;
            plan.base = take_found(scratch);
        }
        for &(rank, slot) in &plan.base {
            if rank == plan.own_rank && same_bits(&self.vector(slot)?, vector) {
                plan.twin = Some(slot);
                break;
            }
        }
        Ok(plan)
    }

    /// Links one planned row into `stage`. `earlier` are the rows of the chunk before it: the plan cannot know them.
    pub(crate) fn link<'a>(
        &self,
        stage: &mut Stage,
        slot: Slot,
        vector: &'a [f32],
        mut plan: Plan,
        earlier: &mut Vec<Linked<'a>>,
    ) -> Result<()> {
        let ef = self.config.ef_construction as usize;
        for row in earlier.iter().filter(|row| row.is_node) {
            let rank = self.rank(vector, row.vector);
            if rank == plan.own_rank && same_bits(vector, row.vector) {
                plan.twin.get_or_insert(row.slot);
            }
            insert_sorted(&mut plan.base, (rank, row.slot), ef);
            if let Some((node, level)) = row.node {
                for at in 0..level.min(plan.level) as usize {
                    if plan.upper.len() <= at {
                        plan.upper.push(Vec::new());
                    }
                    insert_sorted(&mut plan.upper[at], (rank, node), ef);
                }
            }
        }
        if let Some(rep) = plan.twin {
            self.link_twin(stage, rep, slot);
            earlier.push(Linked { slot, vector, node: None, is_node: false });
            return Ok(());
        }
        let rows = Rows { index: self, slot, vector, earlier };
        let first = plan.base.is_empty() && self.upper.entry().is_none() && stage.nodes.is_empty();
        // The first row must be on an upper layer: descents begin there.
        let level = if first { plan.level.max(1) } else { plan.level };
        let node = (level > 0).then(|| self.link_upper(stage, &rows, level, &plan.upper)).transpose()?;
        self.link_base(stage, &rows, &plan.base)?;
        earlier.push(Linked { slot, vector, node: node.map(|node| (node, level)), is_node: true });
        Ok(())
    }

    /// Puts `slot` right behind `rep` in its chain of identical vectors.
    fn link_twin(&self, stage: &mut Stage, rep: Slot, slot: Slot) {
        let stored = || self.chain(rep).nth(1);
        let next = stage.twins.get(&rep).copied().unwrap_or_else(stored);
        stage.twins.insert(slot, next);
        stage.twins.insert(rep, Some(slot));
    }

    fn link_upper(
        &self,
        stage: &mut Stage,
        rows: &Rows<'_>,
        level: u32,
        candidates: &[Vec<(f32, Node)>],
    ) -> Result<Node> {
        let node = self.upper.len() + stage.nodes.len() as u32;
        stage.nodes.push((rows.slot, level));
        let config = &self.config;
        let cap = config.m_max as usize;
        for (level, found) in (1..=level).zip(candidates.iter().chain(std::iter::repeat(&Vec::new()))) {
            let slots: Vec<(f32, Slot)> =
                found.iter().map(|&(rank, node)| (rank, self.node_slot(stage, node))).collect();
            let kept = rows.select(rows.vector, &slots, config.m as usize, config.m as usize / 4)?;
            let near: Vec<Node> = kept.into_iter().map(|i| found[i].1).collect();
            for &to in &near {
                let mut list = self.upper_links(stage, to, level);
                list.push(node);
                if list.len() > cap {
                    list = self.prune_upper(stage, rows, to, list)?;
                }
                stage.upper.insert((to, level), list);
            }
            stage.upper.insert((node, level), near);
        }
        Ok(node)
    }

    fn prune_upper(&self, stage: &Stage, rows: &Rows<'_>, node: Node, list: Vec<Node>) -> Result<Vec<Node>> {
        let slots: Vec<Slot> = list.iter().map(|&to| self.node_slot(stage, to)).collect();
        let (order, near) = rows.nearest_first(self.node_slot(stage, node), &slots)?;
        let kept =
            rows.select(&rows.of(self.node_slot(stage, node))?, &near, headroom(self.config.m_max), 0)?;
        Ok(kept.into_iter().map(|i| list[order[i]]).collect())
    }

    fn node_slot(&self, stage: &Stage, node: Node) -> Slot {
        match node.checked_sub(self.upper.len()) {
            Some(new) => stage.nodes[new as usize].0,
            None => self.upper.slot(node),
        }
    }

    fn upper_links(&self, stage: &Stage, node: Node, level: u32) -> Vec<Node> {
        stage.upper.get(&(node, level)).cloned().unwrap_or_else(|| {
            let mut list = Vec::new();
            self.upper.links(node, level, &mut list);
            list
        })
    }

    fn link_base(&self, stage: &mut Stage, rows: &Rows<'_>, candidates: &[(f32, Slot)]) -> Result<()> {
        let m = self.config.m as usize;
        let kept = rows.select(rows.vector, candidates, m, m / 2)?;
        let mut near: Vec<Slot> = kept.into_iter().map(|i| candidates[i].1).collect();
        let mut own = Vec::with_capacity(near.len() + 1);
        if let Some(parent) = self.parent(stage, &near, candidates)? {
            if !near.contains(&parent) {
                // A list of its own must hold the tree edge too.
                near.truncate(self.config.m_max0 as usize - 1);
                near.push(parent);
            }
            for &to in &near {
                let tree = if to == parent { TREE } else { 0 };
                own.push(to | tree);
                self.link_back(stage, rows, to, rows.slot | tree)?;
            }
        }
        stage.lists.insert(rows.slot, StagedList { links: own, delta: None });
        Ok(())
    }

    /// The node that a new row's tree edge goes to: the nearest neighbour with room for one.
    fn parent(&self, stage: &mut Stage, near: &[Slot], candidates: &[(f32, Slot)]) -> Result<Option<Slot>> {
        // Three edges make a tree with leaves everywhere; with two it is one long path.
        let limit = (self.config.m_max0 / 2).max(3).min(self.config.m_max0) as usize;
        let mut queue: VecDeque<Slot> =
            near.iter().copied().chain(candidates.iter().map(|&(_, slot)| slot)).collect();
        let mut seen: HashSet<Slot> = HashSet::new();
        while let Some(slot) = queue.pop_front() {
            if !seen.insert(slot) {
                continue;
            }
            let list = self.staged(stage, slot)?;
            let tree = list.links.iter().filter(|&&link| link & TREE != 0);
            if tree.clone().count() < limit {
                return Ok(Some(slot));
            }
            // A hub full of tree edges has children, and a finite tree has leaves with room.
            queue.extend(tree.map(|&link| links::slot(link)));
        }
        Ok(None)
    }

    /// Adds `link` to the list of `to`, pruning it where it is full. Tree edges stay.
    fn link_back(&self, stage: &mut Stage, rows: &Rows<'_>, to: Slot, link: u32) -> Result<()> {
        let cap = self.config.m_max0 as usize;
        let list = self.staged(stage, to)?;
        if list.links.len() < cap {
            list.links.push(link);
            if let Some(delta) = &mut list.delta {
                delta.add(link);
            }
            return Ok(());
        }
        let all = list.links.iter().copied().chain([link]);
        let (mut kept, rest): (Vec<u32>, Vec<u32>) = all.partition(|link| link & TREE != 0);
        let room = headroom(self.config.m_max0).saturating_sub(kept.len());
        let (order, near) = rows.nearest_first(to, &rest)?;
        let chosen = rows.select(&rows.of(to)?, &near, room, 0)?;
        kept.extend(chosen.into_iter().map(|i| rest[order[i]]));
        let list = self.staged(stage, to)?;
        if let Some(delta) = &mut list.delta {
            list.links.iter().filter(|old| !kept.contains(old)).for_each(|&old| delta.drop(links::slot(old)));
            if kept.contains(&link) {
                delta.add(link);
            }
        }
        list.links = kept;
        Ok(())
    }

    /// The list of `slot` as staged, read in where it is not.
    fn staged<'s>(&self, stage: &'s mut Stage, slot: Slot) -> Result<&'s mut StagedList> {
        match stage.lists.entry(slot) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut links = Vec::with_capacity(self.config.m_max0 as usize);
                self.links_of(slot, &mut links)?;
                Ok(place.insert(StagedList { links, delta: Some(Delta::default()) }))
            }
        }
    }

    /// The present layer-0 list of `slot`, tree marks included.
    pub(crate) fn links_of(&self, slot: Slot, out: &mut Vec<u32>) -> Result<()> {
        if self.adjacency.read(slot, out) {
            return Ok(());
        }
        let epoch = self.adjacency.epoch();
        let view = self.kv.view()?;
        self.adjacency.fetch(&*view, epoch, &[slot], &mut |_, list| {
            out.clear();
            out.extend_from_slice(list);
        })
    }

    /// What the journal must know of `stage`.
    pub(crate) fn stage_ops(&self, stage: &Stage, batch: &mut Batch) {
        let mut slots: Vec<&Slot> = stage.lists.keys().collect();
        slots.sort_unstable();
        for slot in slots {
            let StagedList { links, delta } = &stage.lists[slot];
            match delta {
                Some(delta) if delta.edges == 0 => {}
                Some(delta) => batch.merge(Space::Links, slot_key(*slot), delta.operand.clone()),
                None => batch.put(Space::Links, slot_key(*slot), links::encode(links)),
            }
        }
        let mut nodes: Vec<Node> = stage.upper.keys().map(|&(node, _)| node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            let level = match node.checked_sub(self.upper.len()) {
                Some(new) => stage.nodes[new as usize].1,
                None => self.upper.level(node),
            };
            let slots = |level| -> Vec<Slot> {
                let list = self.upper_links(stage, node, level);
                list.into_iter().map(|to| self.node_slot(stage, to)).collect()
            };
            let levels: Vec<Vec<Slot>> = (1..=level).map(slots).collect();
            batch.put(Space::Upper, slot_key(self.node_slot(stage, node)), upper::encode(&levels));
        }
        let mut twins: Vec<(&Slot, &Option<Slot>)> = stage.twins.iter().collect();
        twins.sort_unstable();
        for (slot, next) in twins {
            if let Some(next) = next {
                batch.put(Space::Twins, slot_key(*slot), slot_key(*next));
            }
        }
    }

    /// Shows `stage` to readers. New lists first: a link is never seen before what it leads to.
    pub(crate) fn install(&self, stage: Stage, first: Slot) {
        use std::sync::atomic::Ordering;
        let (new, old): (Vec<_>, Vec<_>) = stage.lists.into_iter().partition(|&(slot, _)| slot >= first);
        let changed = |list: &StagedList| list.delta.as_ref().is_none_or(|delta| delta.edges > 0);
        for (slot, list) in new.into_iter().chain(old).filter(|(_, list)| changed(list)) {
            self.adjacency.set(slot, &list.links, list.delta);
        }
        let known = self.upper.len();
        for &(slot, level) in &stage.nodes {
            self.upper.add(slot, level);
        }
        let (new, old): (Vec<_>, Vec<_>) = stage.upper.into_iter().partition(|&((node, _), _)| node >= known);
        for ((node, level), list) in new.into_iter().chain(old) {
            self.upper.set_links(node, level, &list);
        }
        for node in known..self.upper.len() {
            self.upper.offer_entry(node);
        }
        let (new, old): (Vec<_>, Vec<_>) = stage.twins.into_iter().partition(|&(slot, _)| slot >= first);
        if !new.is_empty() {
            // Every new row of a chain hangs behind another.
            let mut chained = crate::sync::lock(&self.chained);
            std::sync::Arc::make_mut(&mut chained).extend(new.iter().map(|&(slot, _)| slot));
        }
        for (slot, next) in new.into_iter().chain(old) {
            self.twins.ensure(slot)[0].store(next.map_or(0, |next| next + 1), Ordering::Release);
        }
    }
}

/// Most links that pruning leaves: the next few back-links are then plain appends.
fn headroom(cap: u32) -> usize {
    (cap - cap / 5) as usize
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    bytemuck::cast_slice::<f32, u32>(a) == bytemuck::cast_slice::<f32, u32>(b)
}

fn take_found(scratch: &mut Scratch) -> Vec<(f32, u32)> {
    let mut keys = std::mem::take(&mut scratch.found).into_vec();
    keys.sort_unstable();
    keys.into_iter().map(|key| (rank_of_key(key), node_of_key(key))).collect()
}

/// Keeps `list` ascending and at most `most` long.
fn insert_sorted(list: &mut Vec<(f32, u32)>, item: (f32, u32), most: usize) {
    let at = list.partition_point(|&(rank, node)| (rank, node) <= item);
    if at < most {
        list.insert(at, item);
        list.truncate(most);
    }
}

/// A slot and its distance from some row.
type Near = (f32, Slot);

/// Vectors by slot, the row being linked and its chunk included.
struct Rows<'a> {
    index: &'a Index,
    slot: Slot,
    vector: &'a [f32],
    earlier: &'a [Linked<'a>],
}

enum Vector<'a> {
    Held(&'a [f32]),
    Pinned(crate::vectors::RowRef),
}

impl Vector<'_> {
    fn length(&self) -> Option<f32> {
        match self {
            Vector::Held(_) => None,
            Vector::Pinned(row) => row.length(),
        }
    }
}

impl std::ops::Deref for Vector<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Vector::Held(vector) => vector,
            Vector::Pinned(row) => row,
        }
    }
}

impl Rows<'_> {
    fn of(&self, slot: Slot) -> Result<Vector<'_>> {
        if slot == self.slot {
            return Ok(Vector::Held(self.vector));
        }
        let first = self.earlier.first().map_or(self.slot, |row| row.slot);
        match slot.checked_sub(first) {
            Some(at) => self.earlier.get(at as usize).map(|row| Vector::Held(row.vector)).ok_or_else(|| {
                Error::corrupt(format!("a link leads to slot {slot}, which was never written"))
            }),
            None => self.index.vector(slot).map(Vector::Pinned),
        }
    }

    /// Orders `links` by distance from the row of `from`: positions, and distance with slot.
    fn nearest_first(&self, from: Slot, links: &[u32]) -> Result<(Vec<usize>, Vec<Near>)> {
        let origin = self.of(from)?;
        let mut order = Vec::with_capacity(links.len());
        for (i, &link) in links.iter().enumerate() {
            let slot = links::slot(link);
            order.push((self.index.rank(&origin, &self.of(slot)?), slot, i));
        }
        order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ok(order.into_iter().map(|(rank, slot, i)| (i, (rank, slot))).unzip())
    }

    /// [`select`] among `near` (nearest first) for the row at `origin`.
    fn select(&self, origin: &[f32], near: &[(f32, Slot)], m: usize, at_least: usize) -> Result<Vec<usize>> {
        let index = self.index;
        let cells: Vec<OnceCell<Vector<'_>>> = near.iter().map(|_| OnceCell::new()).collect();
        let fetch = |i: usize| -> Result<&Vector<'_>> {
            if cells[i].get().is_none() {
                let _ = cells[i].set(self.of(near[i].1)?);
            }
            cells[i].get().ok_or_else(|| Error::new(crate::Code::Internal, "a fetched vector is gone"))
        };
        // Nearness under the inner product does not say who lies between whom; straight distance does.
        let straight = index.config.metric == Metric::Dot;
        let mut own: Vec<f32> = near.iter().map(|&(rank, _)| rank).collect();
        if straight {
            for (i, own) in own.iter_mut().enumerate() {
                *own = index.kernels.l2_squared(origin, fetch(i)?);
            }
        }
        select(near.len(), m, at_least, &|i| own[i], &mut |i, j| {
            let (a, b) = (fetch(i)?, fetch(j)?);
            let lengths = a.length().zip(b.length());
            Ok(match straight {
                true => index.kernels.l2_squared(a, b),
                false => index.config.metric.rank_of_lengths(index.kernels, a, b, lengths),
            })
        })
    }
}
