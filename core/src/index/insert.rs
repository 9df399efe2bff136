//! Finding a row's neighbours and linking it.
//!
//! Rows are planned in parallel against the graph as it stands, a chunk at a time, then linked (see `chunk`) in memory
//! that nobody else sees ([`Stage`]); only when the journal has the chunk is it installed for readers.

use super::Index;
use super::chunk::{Choice, Raised};
use super::rows::Rows;
use super::walk::{Above, Base, Yield};
use crate::codes::Coded;
use crate::graph::cache::Delta;
use crate::graph::upper::{self, Node};
use crate::hnsw::{Scratch, beam, greedy, level_of, node_of_key, rank_of_key};
use crate::kv::links::{self, TREE};
use crate::kv::{self, Batch, Space, slot_key};
use crate::table::SlotMap;
use crate::{Error, Metric, Result, Slot, sync};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// A new row's place in the graph, found without changing it.
pub(crate) struct Plan {
    level: u32,
    /// Distance of the vector to itself, as the kernels round it.
    own_rank: f32,
    /// Candidates per layer from 1 up, nearest first.
    upper: Vec<Vec<(f32, Node)>>,
    /// Candidates on layer 0, nearest first.
    pub(crate) base: Vec<(f32, Slot)>,
    /// A node with the very same vector.
    pub(crate) twin: Option<Slot>,
}

/// Changes to the graph that are not yet installed.
#[derive(Default)]
pub(crate) struct Stage {
    pub(crate) lists: SlotMap<StagedList>,
    pub(crate) upper: HashMap<(Node, u32), Vec<Node>>,
    /// Slot and level of nodes that the upper layers will gain.
    nodes: BTreeMap<Node, (Slot, u32)>,
    twins: SlotMap<Option<Slot>>,
    /// New rows that hang behind another with the same vector.
    hung: HashSet<Slot>,
}

pub(crate) struct StagedList {
    pub(crate) links: Vec<u32>,
    /// Links at the end that `delta` does not tell of yet.
    added: usize,
    /// What changed since the list was read; `None` for a new node's list.
    pub(crate) delta: Option<Delta>,
}

impl StagedList {
    /// A list as it is.
    fn read(links: Vec<u32>) -> StagedList {
        StagedList { links, added: 0, delta: Some(Delta::default()) }
    }

    /// Adds a link, or gives one that is there its mark.
    pub(crate) fn put(&mut self, link: u32) {
        match self.links.iter_mut().find(|held| links::slot(**held) == links::slot(link)) {
            Some(held) if *held == link => return,
            Some(held) => *held = link,
            None => self.links.push(link),
        }
        if let Some(delta) = &mut self.delta {
            delta.add(link);
        }
    }

    /// Drops every link that is not to be kept.
    pub(crate) fn keep(&mut self, keep: &dyn Fn(u32) -> bool) {
        if let Some(delta) = &mut self.delta {
            let gone = self.links.iter().filter(|&&link| !keep(link));
            gone.for_each(|&link| delta.drop(links::slot(link)));
        }
        self.links.retain(|&link| keep(link));
    }

    /// Adds a link that is not there, to be settled once all are.
    fn append(&mut self, link: u32) {
        self.links.push(link);
        self.added += 1;
    }

    /// Writes down what changed. Where the list was pruned, `kept` is what is left of it.
    pub(crate) fn settle(&mut self, kept: Option<Vec<u32>>) {
        let (old, new) = self.links.split_at(self.links.len() - self.added);
        let stays = |link: &&u32| kept.as_ref().is_none_or(|kept| kept.contains(link));
        if let Some(delta) = &mut self.delta {
            old.iter().filter(|link| !stays(link)).for_each(|&link| delta.drop(links::slot(link)));
            new.iter().filter(stays).for_each(|&link| delta.add(link));
        }
        if let Some(kept) = kept {
            self.links.clear();
            self.links.extend(kept);
        }
        self.added = 0;
    }
}

impl Index {
    /// Searches the places where a row with this vector and id key will be linked.
    /// `coded` is the vector as a query, where there are codes.
    pub(crate) fn plan(
        &self,
        vector: &[f32],
        coded: Option<&Coded>,
        key: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Plan> {
        let config = &self.config;
        let mut plan = Plan {
            level: level_of(config.seed, key, config.m),
            own_rank: self.rank(vector, vector),
            upper: Vec::new(),
            base: Vec::new(),
            twin: None,
        };
        let Some((_, top)) = self.upper.entry() else { return Ok(plan) };
        let Some(mut node) = self.descend(vector, coded, plan.level + 1, scratch)? else { return Ok(plan) };
        let ef = config.ef_construction as usize;
        for level in (1..=plan.level.min(top)).rev() {
            let mut layer = Above::new(self, vector, coded, level);
            node = greedy(&mut layer, node, scratch)?;
            beam(&mut layer, &[node], ef, u64::MAX, scratch, &mut || Ok(false))?;
            let found = take_found(scratch);
            node = found.first().map_or(node, |&(_, node)| node);
            plan.upper.push(found);
        }
        plan.upper.reverse();
        let entry = self.upper.slot(node);
        let mut layer = Base::new(self, vector, coded, Yield::Alive);
        beam(&mut layer, &[entry], ef, u64::MAX, scratch, &mut || Ok(false))?;
        plan.base = take_found(scratch);
        if plan.base.is_empty() {
            // A graph without a live row is given up before rows come, so this one has lost its way.
            return Err(Error::corrupt("no walk from the graph's entry point reaches a live row"));
        }
        if let Some(coded) = coded {
            self.codes.note(coded);
            if config.metric == Metric::Dot {
                self.tell_apart(vector, coded, &mut plan.base)?;
            }
        }
        for &(rank, slot) in &plan.base {
            if rank == plan.own_rank && same_bits(&self.vector(slot)?, vector) {
                plan.twin = Some(slot);
                break;
            }
        }
        Ok(plan)
    }

    /// Measures those of `found` whose codes cannot be told from the row's own: an inner product does not say who these are.
    fn tell_apart(&self, vector: &[f32], coded: &Coded, found: &mut [(f32, Slot)]) -> Result<()> {
        for (rank, slot) in found.iter_mut() {
            if coded.is_close(*slot) {
                *rank = self.rank(vector, &self.vector(*slot)?);
            }
        }
        found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        Ok(())
    }

    /// Links one planned row of a chunk into `stage`. `raised` are those before it that upper layers have, which its plan
    /// cannot know.
    pub(crate) fn link(
        &self,
        stage: &mut Stage,
        rows: &Rows<'_>,
        row: usize,
        plan: &mut Plan,
        choice: Choice,
        raised: &mut Vec<Raised>,
    ) -> Result<()> {
        let (slot, vector) = (rows.slots[row], rows.held(row));
        if let Some(rep) = plan.twin {
            self.link_twin(stage, rep, slot);
            return Ok(());
        }
        let ef = self.config.ef_construction as usize;
        for other in raised.iter().filter(|_| plan.level > 0) {
            let rank = self.rank(vector, rows.held(other.row));
            for at in 0..other.level.min(plan.level) as usize {
                if plan.upper.len() <= at {
                    plan.upper.push(Vec::new());
                }
                insert_sorted(&mut plan.upper[at], (rank, other.node), ef);
            }
        }
        let first = choice.candidates.is_empty() && self.upper.entry().is_none() && stage.nodes.is_empty();
        // The first row must be on an upper layer: descents begin there.
        let level = if first { plan.level.max(1) } else { plan.level };
        if level > 0 {
            let node = self.link_upper(stage, rows, row, level, &plan.upper)?;
            raised.push(Raised { row, node, level });
        }
        self.link_base(stage, slot, choice)
    }

    /// Puts `slot` right behind `rep` in its chain of identical vectors.
    fn link_twin(&self, stage: &mut Stage, rep: Slot, slot: Slot) {
        let stored = || self.chain(rep).nth(1);
        let next = stage.twins.get(&rep).copied().unwrap_or_else(stored);
        stage.twins.insert(slot, next);
        stage.twins.insert(rep, Some(slot));
        stage.hung.insert(slot);
    }

    fn link_upper(
        &self,
        stage: &mut Stage,
        rows: &Rows<'_>,
        row: usize,
        level: u32,
        candidates: &[Vec<(f32, Node)>],
    ) -> Result<Node> {
        let node = self.stage_node(stage, rows.slots[row], level);
        let config = &self.config;
        let cap = config.m_max as usize;
        for (level, found) in (1..=level).zip(candidates.iter().chain(std::iter::repeat(&Vec::new()))) {
            let slots: Vec<(f32, Slot)> =
                found.iter().map(|&(rank, node)| (rank, self.node_slot(stage, node))).collect();
            let kept = rows.select(rows.slots[row], 0, &slots, config.m as usize, config.m as usize / 4)?;
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

    /// Stages a node without links above layer 0.
    pub(crate) fn stage_node(&self, stage: &mut Stage, slot: Slot, level: u32) -> Node {
        let known = self.upper.len();
        let again = stage.nodes.range(..known).filter(|(_, node)| node.1 == level).count();
        let node = self.upper.free_node(level, again);
        let node = node.unwrap_or_else(|| known + stage.nodes.range(known..).count() as Node);
        stage.nodes.insert(node, (slot, level));
        (1..=level).for_each(|level| drop(stage.upper.insert((node, level), Vec::new())));
        node
    }

    fn prune_upper(&self, stage: &Stage, rows: &Rows<'_>, node: Node, list: Vec<Node>) -> Result<Vec<Node>> {
        let slots: Vec<Slot> = list.iter().map(|&to| self.node_slot(stage, to)).collect();
        let (order, near) = rows.nearest_first(self.node_slot(stage, node), &slots)?;
        let kept = rows.select(self.node_slot(stage, node), 0, &near, headroom(self.config.m_max), 0)?;
        Ok(kept.into_iter().map(|i| list[order[i]]).collect())
    }

    pub(crate) fn node_slot(&self, stage: &Stage, node: Node) -> Slot {
        stage.nodes.get(&node).map_or_else(|| self.upper.slot(node), |&(slot, _)| slot)
    }

    pub(crate) fn upper_links(&self, stage: &Stage, node: Node, level: u32) -> Vec<Node> {
        stage.upper.get(&(node, level)).cloned().unwrap_or_else(|| {
            let mut list = Vec::new();
            self.upper.links(node, level, &mut list);
            list
        })
    }

    fn link_base(&self, stage: &mut Stage, slot: Slot, choice: Choice) -> Result<()> {
        let Choice { candidates, mut near, lists } = choice;
        for (slot, links) in lists {
            stage.lists.entry(slot).or_insert_with(|| StagedList::read(links));
        }
        let mut own = Vec::with_capacity(near.len() + 1);
        if let Some(parent) = self.parent(stage, &near, &candidates)? {
            if !near.contains(&parent) {
                // A list of its own must hold the tree edge too.
                near.truncate(self.config.m_max0 as usize - 1);
                near.push(parent);
            }
            for &to in &near {
                let tree = if to == parent { TREE } else { 0 };
                own.push(to | tree);
                self.staged(stage, to)?.append(slot | tree);
            }
        }
        stage.lists.insert(slot, StagedList { links: own, added: 0, delta: None });
        Ok(())
    }

    /// The node that a new row's tree edge goes to: the nearest neighbour with room for one.
    fn parent(&self, stage: &mut Stage, near: &[Slot], candidates: &[(f32, Slot)]) -> Result<Option<Slot>> {
        // Nearly always the nearest has room, and nothing need be gathered.
        if let Some(&first) = near.first()
            && self.has_tree_room(&self.staged(stage, first)?.links)
            && self.alive(first)
        {
            return Ok(Some(first));
        }
        let from = near.iter().copied().chain(candidates.iter().map(|&(_, slot)| slot));
        self.tree_room(stage, from.collect(), FAR)
    }

    /// The first node from `queue` on, along tree edges, that has room for one more: a live one where one is among
    /// the first `far`. A dead one will do, as whatever hangs on it is passed on before it goes.
    pub(crate) fn tree_room(
        &self,
        stage: &mut Stage,
        mut queue: VecDeque<Slot>,
        far: usize,
    ) -> Result<Option<Slot>> {
        let mut seen: HashSet<Slot> = HashSet::new();
        let mut dead = None;
        while let Some(slot) = queue.pop_front() {
            if !seen.insert(slot) {
                continue;
            }
            let list = self.staged(stage, slot)?;
            let room = self.has_tree_room(&list.links);
            // A hub full of tree edges has children, and a finite tree has leaves with room.
            let tree = list.links.iter().filter(|&&link| link & TREE != 0);
            queue.extend(tree.map(|&link| links::slot(link)));
            if room && self.alive(slot) {
                return Ok(Some(slot));
            }
            if room {
                dead.get_or_insert(slot);
            }
            if dead.is_some() && seen.len() >= far {
                break;
            }
        }
        Ok(dead)
    }

    /// Whether a list may have one more tree edge.
    fn has_tree_room(&self, links: &[u32]) -> bool {
        // Three edges make a tree with leaves everywhere; with two it is one long path.
        let limit = (self.config.m_max0 / 2).max(3).min(self.config.m_max0) as usize;
        links.iter().filter(|&&link| link & TREE != 0).count() < limit
    }

    /// Adds `link` to the list of `to`, pruning it where it is full. Tree edges stay.
    pub(crate) fn link_back(&self, stage: &mut Stage, rows: &Rows<'_>, to: Slot, link: u32) -> Result<()> {
        let list = self.staged(stage, to)?;
        list.append(link);
        let full = list.links.len() > self.config.m_max0 as usize;
        let kept = full.then(|| self.prune(rows, to, &list.links)).transpose()?;
        list.settle(kept);
        Ok(())
    }

    /// The list of `slot` as staged, read in where it is not.
    pub(crate) fn staged<'s>(&self, stage: &'s mut Stage, slot: Slot) -> Result<&'s mut StagedList> {
        match stage.lists.entry(slot) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut links = self.spare_list();
                self.links_of(slot, &mut links)?;
                Ok(place.insert(StagedList::read(links)))
            }
        }
    }

    /// Room for a list with links to come.
    pub(crate) fn spare_list(&self) -> Vec<u32> {
        let mut list = sync::lock(&self.spare_lists).pop().unwrap_or_default();
        list.clear();
        list.reserve(self.config.m_max0 as usize + ROOM);
        list
    }

    /// Keeps the memory of lists for [`Index::spare_list`].
    fn keep_lists(&self, lists: Vec<(Slot, Vec<u32>, Option<Delta>)>) {
        let mut spare = sync::lock(&self.spare_lists);
        let room = SPARE_LISTS.saturating_sub(spare.len());
        spare.extend(lists.into_iter().take(room).map(|(_, list, _)| list));
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
            let StagedList { links, delta, .. } = &stage.lists[slot];
            match delta {
                Some(delta) if delta.edges == 0 => {}
                Some(delta) => batch.merge(Space::Links, slot_key(*slot), delta.operand.clone()),
                None => batch.put(Space::Links, slot_key(*slot), links::encode(links)),
            }
        }
        self.upper_ops(stage, batch);
        let mut twins: Vec<(&Slot, &Option<Slot>)> = stage.twins.iter().collect();
        twins.sort_unstable();
        for (slot, next) in twins {
            if let Some(next) = next {
                batch.put(Space::Twins, slot_key(*slot), slot_key(*next));
            }
        }
    }

    /// The lists above layer 0, whole where they are new or no deltas are wanted.
    fn upper_ops(&self, stage: &Stage, batch: &mut Batch) {
        let mut lists: Vec<(&(Node, u32), &Vec<Node>)> = stage.upper.iter().collect();
        lists.sort_unstable();
        let slot = |node: Node| self.node_slot(stage, node);
        let mut old = Vec::new();
        for of_node in lists.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
            let Some(&(&(node, _), _)) = of_node.first() else { continue };
            let new = stage.nodes.get(&node).map(|&(_, level)| level);
            if new.is_some() || !self.adjacency.keeps_deltas() {
                let levels = 1..=new.unwrap_or_else(|| self.upper.level(node));
                let list = |level| self.upper_links(stage, node, level).into_iter().map(slot).collect();
                let levels: Vec<Vec<Slot>> = levels.map(list).collect();
                batch.put(Space::Upper, slot_key(slot(node)), upper::encode(&levels));
                continue;
            }
            let mut operand = Vec::new();
            for &(&(_, level), list) in of_node {
                self.upper.links(node, level, &mut old);
                let gone = old.iter().filter(|to| !list.contains(to));
                gone.for_each(|&to| kv::upper::put_drop(&mut operand, level, slot(to)));
                let added = list.iter().filter(|to| !old.contains(to));
                added.for_each(|&to| kv::upper::put_add(&mut operand, level, slot(to)));
            }
            if !operand.is_empty() {
                batch.merge(Space::Upper, slot_key(slot(node)), operand);
            }
        }
    }

    /// Shows `stage` to readers. New lists first: a link is never seen before what it leads to.
    pub(crate) fn install(&self, stage: Stage) {
        use std::sync::atomic::Ordering;
        let mut lists = Vec::with_capacity(stage.lists.len());
        let mut new = 0;
        for (slot, StagedList { links, delta, .. }) in stage.lists {
            let is_new = delta.is_none();
            if is_new || delta.as_ref().is_some_and(|delta| delta.edges > 0) {
                lists.push((slot, links, delta));
            }
            if is_new {
                let last = lists.len() - 1;
                lists.swap(new, last);
                new += 1;
            }
        }
        self.adjacency.set_all(&mut lists);
        self.keep_lists(lists);
        for (&node, &(slot, level)) in &stage.nodes {
            self.upper.place(node, slot, level);
        }
        let (new, old): (Vec<_>, Vec<_>) =
            stage.upper.into_iter().partition(|((node, _), _)| stage.nodes.contains_key(node));
        for ((node, level), list) in new.into_iter().chain(old) {
            self.upper.set_links(node, level, &list);
        }
        stage.nodes.keys().for_each(|&node| self.upper.offer_entry(node));
        let (new, old): (Vec<_>, Vec<_>) =
            stage.twins.into_iter().partition(|(slot, _)| stage.hung.contains(slot));
        if !new.is_empty() {
            let mut chained = sync::lock(&self.chained);
            std::sync::Arc::make_mut(&mut chained).extend(new.iter().map(|&(slot, _)| slot));
        }
        for (slot, next) in new.into_iter().chain(old) {
            self.twins.ensure(slot)[0].store(next.map_or(0, |next| next + 1), Ordering::Release);
        }
    }

    /// Whether a row at this node is not dead.
    pub(crate) fn alive(&self, node: Slot) -> bool {
        self.chain(node).any(|slot| self.death(slot).is_none())
    }
}

/// Links that a list gains before it is pruned, mostly.
const ROOM: usize = 4;
/// Most lists whose memory is kept: those of a chunk. Threads free here what others took, which allocators are slow at.
const SPARE_LISTS: usize = 1024;
/// Nodes looked at for a live one with room before a dead one is taken.
const FAR: usize = 64;

/// Most links that pruning leaves: the next few back-links are then plain appends.
pub(crate) fn headroom(cap: u32) -> usize {
    (cap - cap / 5) as usize
}

pub(crate) fn same_bits(a: &[f32], b: &[f32]) -> bool {
    bytemuck::cast_slice::<f32, u32>(a) == bytemuck::cast_slice::<f32, u32>(b)
}

fn take_found(scratch: &mut Scratch) -> Vec<(f32, u32)> {
    scratch.take_found().into_iter().map(|key| (rank_of_key(key), node_of_key(key))).collect()
}

/// Keeps `list` ascending and at most `most` long.
pub(crate) fn insert_sorted(list: &mut Vec<(f32, u32)>, item: (f32, u32), most: usize) {
    let at = list.partition_point(|&(rank, node)| (rank, node) <= item);
    if at < most {
        list.insert(at, item);
        list.truncate(most);
    }
}
