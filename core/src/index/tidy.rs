//! The sweep: dead rows are taken out of the graph and their slots given to new ones, a few milliseconds at a time.
//!
//! A sweep is for a fixed set of dead rows and goes through its phases in small steps. Each is journaled like a write
//! and shown to readers list by list. Cut short at any step, what is left is an ordinary graph with dead rows in it.

use super::Index;
use super::commit::{Commit, Writer};
use super::entries::Entries;
use super::insert::Stage;
use super::meta::Meta;
use super::slots::SWEPT;
use crate::graph::upper::Node;
use crate::kv::{Batch, Range, Space, links, slot_key};
use crate::{Code, Control, Error, Result, Serial, Slot, sync};
use roaring::RoaringBitmap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Fewest dead rows worth a sweep, and their part of the live ones.
const LEAST: u64 = 256;
const PART: u64 = 20;
/// Part of the live rows at which writes sweep along, where nobody calls [`Index::tidy`].
const CROWD: u64 = 4;
/// What one step does at most, by phase: nodes taken out of the tree, lists mended, lists looked at, rows let go.
const CONTRACTED: usize = 32;
const MENDED: usize = 48;
const LOOKED: u32 = 4096;
const FREED: usize = 256;
/// Rows whose graph is emptied through the journal; more are emptied in the store.
const FEW: u64 = 4096;

/// How many dead rows are worth a sweep among so many live ones.
pub(crate) fn worth(live: u64) -> u64 {
    LEAST.max(live / PART)
}

/// A sweep under way.
pub(crate) struct Sweep {
    /// The rows that are going, those that hang on others first.
    slots: Vec<Slot>,
    going: RoaringBitmap,
    /// Those of them above layer 0, until they are out of there.
    nodes: HashMap<Node, Slot>,
    phase: Phase,
    at: u32,
}

/// What a sweep does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Takes the rows out of the tree.
    Tree,
    /// Mends the layers above 0 and takes the rows out of them: no walk begins at one from here on.
    Upper,
    /// Mends the lists of all that stay. What comes meanwhile links to none that is going.
    Lists,
    /// Drops the links among the rows that are going: they go piece by piece.
    Strip,
    /// Forgets names, payloads, index entries and lists.
    Free,
}

/// A try to begin a sweep that found too few rows that no reader holds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Blocked {
    dead: u64,
    /// See [`Index::held`]; each where it was the reason for some of them.
    readers: Option<u64>,
    pins: Option<u64>,
}

impl Index {
    /// Does one step of what keeps the database in shape, a few milliseconds, if there is any to do; answers whether
    /// there is more. For hosts to call when no write waits; without it, writes do the steps themselves once the dead
    /// rows are more than a quarter of the live ones.
    ///
    /// Dead rows are swept once they are 5 % of the live ones and at least 256, and those that a reader may still show
    /// are left for later. Their space is then used for new rows. Readers never wait for it.
    pub fn tidy(&self, control: &Control<'_>) -> Result<bool> {
        let mut w = self.writing()?;
        control.check()?;
        self.make_room(&mut w, &Serial)?;
        self.sweep_step(&mut w)
    }

    /// Whether so many rows are dead that [`Index::tidy`] sweeps, unless readers hold them: for hosts that have to get what
    /// sweeps ready before.
    pub fn wants_sweep(&self) -> Result<bool> {
        let w = self.writing()?;
        Ok(w.sweep.is_some() || w.slots.dead.len() >= worth(w.meta.live))
    }

    /// Sweeps every dead row that no reader holds, brings the store up to date and lets it give back what space it can.
    ///
    /// Costs about a pass over all lists. Other writes take turns with the steps and wait while the store compacts.
    /// `control` is told of the progress and may stop it between steps with `ABORTED`; what was done stays.
    pub fn compact(&self, control: &Control<'_>) -> Result<()> {
        let (mut all, mut end) = (false, 1);
        loop {
            let mut w = self.writing()?;
            if (control.cancelled)() {
                let said = "compaction was stopped by its signal; what it did so far stays, nothing was lost";
                return Err(Error::new(Code::Aborted, said));
            }
            self.make_room(&mut w, &Serial)?;
            if w.sweep.is_none() {
                if all {
                    break;
                }
                all = true;
                self.say_orphans(&mut w)?;
                w.sweep = self.begin(&mut w, 1)?;
            }
            if let Some(sweep) = &w.sweep {
                end = self.progress_end(sweep);
                (control.progress)(self.progress(sweep), end);
                self.advance(&mut w)?;
            }
        }
        let mut w = self.writing()?;
        self.checkpoint(&mut w)?;
        self.reclaim(&mut w)?;
        self.compact_store()?;
        drop(w);
        (control.progress)(end, end);
        Ok(())
    }

    /// Lets the store compact; where it takes no writes after a failure of that, nor does the database.
    fn compact_store(&self) -> Result<()> {
        self.kv.compact().inspect_err(|error| {
            if self.kv.apply(&Batch::default()).is_err() {
                self.poison_with(error);
            }
        })
    }

    fn progress_end(&self, sweep: &Sweep) -> u64 {
        let lists = u64::from(self.allocated.load(Ordering::Acquire)) + u64::from(self.upper.len());
        3 * sweep.slots.len() as u64 + lists
    }

    fn progress(&self, sweep: &Sweep) -> u64 {
        let rows = sweep.slots.len() as u64;
        let (lists, upper) = (u64::from(self.allocated.load(Ordering::Acquire)), u64::from(self.upper.len()));
        let before = match sweep.phase {
            Phase::Tree => 0,
            Phase::Upper => rows,
            Phase::Lists => rows + upper,
            Phase::Strip => rows + upper + lists,
            Phase::Free => 2 * rows + upper + lists,
        };
        (before + u64::from(sweep.at)).min(self.progress_end(sweep))
    }

    /// Sweeps along with a write of so many rows, where the dead crowd the living: so much that a sweep is over before
    /// half as many have died again.
    pub(crate) fn keep_up(&self, w: &mut Writer, rows: usize) -> Result<()> {
        let limit = LEAST.max(w.meta.live / CROWD);
        if w.slots.dead.len() <= limit {
            return Ok(());
        }
        let lists = w.slots.dead.len() + w.meta.live + u64::from(self.upper.len());
        let whole = w.slots.dead.len() / CONTRACTED as u64 + lists / MENDED as u64;
        for _ in 0..(2 * rows as u64 * whole).div_ceil(limit) {
            if w.slots.dead.len() <= limit {
                break;
            }
            self.make_room(w, &Serial)?;
            match self.sweep_step(w) {
                Ok(true) => {}
                Ok(false) => break,
                // Damage somewhere in the graph is for `check` to report, not for a write that does not meet it.
                Err(error) if error.code() == Code::Corrupt => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where no row is live, makes the graph empty and the slots free: new rows must not have to link to dead ones.
    pub(crate) fn begin_anew(&self, w: &mut Writer) -> Result<()> {
        if w.meta.live > 0 || w.slots.dead.is_empty() && w.orphans.is_empty() {
            return Ok(());
        }
        self.say_orphans(w)?;
        let many = u64::from(self.allocated.load(Ordering::Acquire)) > FEW;
        self.empty_graph(w)?;
        w.sweep = self.begin(w, 1)?;
        while w.sweep.is_some() {
            self.make_room(w, &Serial)?;
            self.advance(w)?;
        }
        if many {
            // New rows then take the space of the old ones in the store, too, where next to nothing is left to move.
            self.checkpoint(w)?;
            match self.compact_store() {
                // It stays as large as it is.
                Err(error) if error.code() == Code::StorageFull && self.poison.get().is_none() => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// One step, of the sweep under way or of one that is due.
    fn sweep_step(&self, w: &mut Writer) -> Result<bool> {
        let least = worth(w.meta.live);
        if w.sweep.is_none() {
            // Asked here, so that a browser has what sweeps only where there is something to sweep.
            w.sweep = if w.slots.dead.len() < least { None } else { self.begin(w, least)? };
            if w.sweep.is_none() {
                return Ok(false);
            }
        }
        self.advance(w)?;
        Ok(w.sweep.is_some() || w.slots.dead.len() >= least && !self.is_blocked(w, least))
    }

    /// Rows that were given up are dead like others once a record says so.
    fn say_orphans(&self, w: &mut Writer) -> Result<()> {
        if w.orphans.is_empty() {
            return Ok(());
        }
        let commit = Commit::of(Batch::default(), w.meta);
        self.commit(w, commit, || ())
    }

    fn is_blocked(&self, w: &Writer, least: u64) -> bool {
        let Some(blocked) = w.blocked else { return false };
        w.slots.dead.len() < blocked.dead + least.div_ceil(4)
            && blocked.readers.is_none_or(|oldest| oldest == self.held().0)
            && blocked.pins.is_none_or(|let_go| let_go == self.held().1)
    }

    /// A sweep of the dead rows that no reader holds, if there are at least so many.
    fn begin(&self, w: &mut Writer, least: u64) -> Result<Option<Sweep>> {
        if w.slots.dead.len() < least || least > 1 && self.is_blocked(w, least) {
            return Ok(None);
        }
        if w.meta.live == 0 {
            self.say_orphans(w)?;
            self.empty_graph(w)?;
        }
        // In this order: who pins a state holds it as a reader until then.
        let held = self.held();
        let pins = self.pinned();
        let chained = Arc::clone(&sync::lock(&self.chained));
        let may_go = |slot| {
            self.death(slot).is_some_and(|died| died <= held.0)
                && !pins.iter().any(|state| self.visible(state, slot))
        };
        // A node with live rows chained to it stays, as their node.
        let whole = |slot| chained.contains(slot) || self.chain(slot).skip(1).all(may_go);
        let dead = || w.slots.dead.iter();
        let going: RoaringBitmap = dead().filter(|&slot| may_go(slot) && whole(slot)).collect();
        if going.len() < least {
            let read = |slot| self.death(slot).is_none_or(|died| died > held.0);
            let readers = dead().any(read).then_some(held.0);
            let pins = dead().any(|slot| !read(slot) && !may_go(slot)).then_some(held.1);
            w.blocked = Some(Blocked { dead: w.slots.dead.len(), readers, pins });
            return Ok(None);
        }
        w.blocked = None;
        let mut slots: Vec<Slot> = going.iter().collect();
        slots.sort_by_key(|&slot| !chained.contains(slot));
        let phase = if self.upper.entry().is_none() { Phase::Free } else { Phase::Tree };
        Ok(Some(Sweep { slots, going, nodes: HashMap::new(), phase, at: 0 }))
    }

    /// One step of the sweep under way. One that fails is given up: a later one begins with what it left.
    fn advance(&self, w: &mut Writer) -> Result<()> {
        let Some(mut sweep) = w.sweep.take() else { return Ok(()) };
        let end = match sweep.phase {
            Phase::Tree => self.tree_step(w, &mut sweep)?,
            Phase::Upper => self.upper_step(w, &mut sweep)?,
            Phase::Lists => self.lists_step(w, &mut sweep)?,
            Phase::Strip => self.strip_step(w, &mut sweep)?,
            Phase::Free => self.free_step(w, &mut sweep)?,
        };
        if end {
            sweep.at = 0;
            sweep.phase = match sweep.phase {
                Phase::Tree => Phase::Upper,
                Phase::Upper => Phase::Lists,
                Phase::Lists => Phase::Strip,
                Phase::Strip => Phase::Free,
                Phase::Free => return Ok(()),
            };
            if sweep.phase == Phase::Upper {
                let nodes = (0..self.upper.len()).filter(|&node| !self.upper.is_free(node));
                let nodes = nodes.map(|node| (node, self.upper.slot(node)));
                sweep.nodes = nodes.filter(|&(_, slot)| sweep.going.contains(slot)).collect();
            }
        }
        w.sweep = Some(sweep);
        Ok(())
    }

    /// Journals and shows changes of the graph.
    fn change(&self, w: &mut Writer, stage: Stage) -> Result<()> {
        let mut batch = Batch::default();
        self.stage_ops(&stage, &mut batch);
        self.record(w, batch)?;
        self.install(stage);
        Ok(())
    }

    /// Journals changes that concern no reader's rows.
    fn record(&self, w: &mut Writer, mut batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let meta = Meta { applied: w.seq + 1, ..w.meta };
        meta.put(&mut batch);
        self.append(w, &[], &[], &batch)?;
        w.meta = meta;
        self.absorb(&batch);
        Ok(())
    }

    fn is_chained(&self, slot: Slot) -> bool {
        sync::lock(&self.chained).contains(slot)
    }

    fn tree_step(&self, w: &mut Writer, sweep: &mut Sweep) -> Result<bool> {
        let mut stage = Stage::default();
        let slots = sweep.slots.iter().skip(sweep.at as usize).take(CONTRACTED);
        for &slot in slots.filter(|&&slot| !self.is_chained(slot)) {
            self.contract(&mut stage, slot)?;
        }
        self.change(w, stage)?;
        sweep.at += CONTRACTED as u32;
        Ok(sweep.at as usize >= sweep.slots.len())
    }

    fn lists_step(&self, w: &mut Writer, sweep: &mut Sweep) -> Result<bool> {
        let last = self.allocated.load(Ordering::Acquire);
        let end = last.min(sweep.at.saturating_add(LOOKED));
        let swept = w.slots.all_swept();
        let chained = Arc::clone(&sync::lock(&self.chained));
        let is_node = |slot: &Slot| !swept.contains(*slot) && !chained.contains(*slot);
        let nodes: Vec<Slot> =
            (sweep.at..end).filter(is_node).filter(|&slot| !sweep.going.contains(slot)).collect();
        let mut touched: Vec<Slot> = Vec::new();
        for page in nodes.chunks(MENDED) {
            self.each_list(page, &mut |slot, list| {
                if list.iter().any(|&link| sweep.going.contains(links::slot(link))) {
                    touched.push(slot);
                }
            })?;
            if touched.len() >= MENDED {
                break;
            }
        }
        touched.sort_unstable();
        let next = touched.get(MENDED).copied();
        let mut stage = Stage::default();
        for &slot in touched.iter().take(MENDED) {
            self.mend(&mut stage, slot, &sweep.going)?;
        }
        self.change(w, stage)?;
        // The page that was cut off is looked at again from there.
        sweep.at = match next {
            Some(next) => next,
            None if touched.len() == MENDED => touched[MENDED - 1] + 1,
            None => end,
        };
        Ok(sweep.at >= last)
    }

    /// Shows the lists of `slots`, in any order; those that are not cached are read together.
    fn each_list(&self, slots: &[Slot], see: &mut dyn FnMut(Slot, &[u32])) -> Result<()> {
        let (mut list, mut rest) = (Vec::new(), Vec::new());
        for &slot in slots {
            if self.adjacency.read(slot, &mut list) { see(slot, &list) } else { rest.push(slot) }
        }
        if rest.is_empty() {
            return Ok(());
        }
        let epoch = self.adjacency.epoch();
        let view = self.kv.view()?;
        self.adjacency.fetch(&*view, epoch, &rest, see)
    }

    fn strip_step(&self, w: &mut Writer, sweep: &mut Sweep) -> Result<bool> {
        let mut stage = Stage::default();
        let slots = sweep.slots.iter().skip(sweep.at as usize).take(FREED);
        for &slot in slots.filter(|&&slot| !self.is_chained(slot)) {
            self.strip(&mut stage, slot, &sweep.going)?;
        }
        self.change(w, stage)?;
        sweep.at += FREED as u32;
        Ok(sweep.at as usize >= sweep.slots.len())
    }

    fn upper_step(&self, w: &mut Writer, sweep: &mut Sweep) -> Result<bool> {
        let last = self.upper.len();
        let end = last.min(sweep.at.saturating_add(LOOKED));
        let mut stage = Stage::default();
        let mut mended = 0;
        while sweep.at < end && mended < MENDED {
            let stays = !self.upper.is_free(sweep.at) && !sweep.nodes.contains_key(&sweep.at);
            if stays && self.mend_upper(&mut stage, sweep.at, &sweep.nodes)? {
                mended += 1;
            }
            sweep.at += 1;
        }
        self.change(w, stage)?;
        if sweep.at < last {
            return Ok(false);
        }
        self.hand_over(w, sweep)?;
        // All at once: an opening must not find one of them to begin walks at, later, when its list is bare.
        let mut batch = Batch::default();
        sweep.nodes.values().for_each(|&slot| batch.delete(Space::Upper, slot_key(slot)));
        self.record(w, batch)?;
        sweep.nodes.keys().for_each(|&node| self.upper.remove(node));
        sweep.nodes.clear();
        Ok(true)
    }

    /// Where the entry point is going, makes that of the nodes that stay the new one which offering all would.
    fn hand_over(&self, w: &mut Writer, sweep: &Sweep) -> Result<()> {
        if self.upper.entry().is_none_or(|(node, _)| !sweep.nodes.contains_key(&node)) {
            return Ok(());
        }
        let stays = (0..self.upper.len())
            .filter(|&node| !self.upper.is_free(node) && !sweep.nodes.contains_key(&node))
            .max_by_key(|&node| (self.upper.level(node), !self.upper.slot(node)));
        let node = match stays {
            Some(node) => node,
            None => {
                // Nobody above layer 0 is left, and descents must begin there.
                let mut stage = Stage::default();
                let swept = w.slots.all_swept();
                let chained = Arc::clone(&sync::lock(&self.chained));
                let nodes = (0..self.allocated.load(Ordering::Acquire)).filter(|&slot| {
                    !swept.contains(slot) && !chained.contains(slot) && !sweep.going.contains(slot)
                });
                // Those that stayed may have died since.
                let slot = nodes.clone().find(|&slot| self.alive(slot)).or_else(|| nodes.min());
                let slot = slot.ok_or_else(|| Error::corrupt("no node of the graph is to stay"))?;
                let node = self.stage_node(&mut stage, slot, 1);
                self.change(w, stage)?;
                node
            }
        };
        self.upper.set_entry(node);
        Ok(())
    }

    /// Forgets some of the rows, which nothing leads to any more.
    fn free_step(&self, w: &mut Writer, sweep: &mut Sweep) -> Result<bool> {
        let slots: Vec<Slot> = sweep.slots.iter().skip(sweep.at as usize).take(FREED).copied().collect();
        let mut batch = Batch::default();
        let mut entries = Entries::default();
        for &slot in &slots {
            if let Some(text) = self.payloads_of(&[slot])?.pop().flatten() {
                entries.replace(slot, Some(&text), None, &self.rules)?;
                batch.delete(Space::Payloads, slot_key(slot));
            }
            batch.delete(Space::Slots, slot_key(slot));
            if !self.is_chained(slot) {
                batch.delete(Space::Links, slot_key(slot));
            }
            batch.put(Space::Dead, slot_key(slot), SWEPT);
        }
        entries.merge_into(&mut batch);
        let relinked = self.unchained(&slots);
        for &(slot, next) in &relinked {
            match next {
                Some(next) => batch.put(Space::Twins, slot_key(slot), slot_key(next)),
                None => batch.delete(Space::Twins, slot_key(slot)),
            }
        }
        let commit = Commit::of(batch, w.meta);
        self.commit(w, commit, || {
            for (slot, next) in relinked {
                self.twins.ensure(slot)[0].store(next.map_or(0, |next| next + 1), Ordering::Release);
            }
        })?;
        let mut chained = sync::lock(&self.chained);
        for &slot in &slots {
            if chained.contains(slot) {
                Arc::make_mut(&mut chained).remove(slot);
            } else {
                self.adjacency.remove(slot);
            }
        }
        drop(chained);
        self.swept.fetch_add(slots.len() as u32, Ordering::AcqRel);
        sweep.at += slots.len() as u32;
        w.slots.sweep(w.seq, slots);
        Ok(sweep.at as usize >= sweep.slots.len())
    }

    /// What follows whom once `slots` are out of their chains: who stays first, then those that go.
    fn unchained(&self, slots: &[Slot]) -> Vec<(Slot, Option<Slot>)> {
        let next = |slot| self.chain(slot).nth(1);
        let going: RoaringBitmap = slots.iter().collect();
        let mut changed = Vec::new();
        if slots.iter().any(|&slot| self.is_chained(slot)) {
            for slot in (0..self.allocated.load(Ordering::Acquire)).filter(|&slot| !going.contains(slot)) {
                if next(slot).is_some_and(|next| going.contains(next)) {
                    changed.push((slot, self.chain(slot).skip(1).find(|&later| !going.contains(later))));
                }
            }
        }
        changed.extend(slots.iter().filter(|&&slot| next(slot).is_some()).map(|&slot| (slot, None)));
        changed
    }

    /// Drops the whole graph, in which no row is live: dead rows that a reader still holds stay readable.
    fn empty_graph(&self, w: &mut Writer) -> Result<()> {
        if self.upper.entry().is_none() {
            return Ok(());
        }
        w.sweep = None;
        let dead = || w.slots.dead.iter();
        if w.slots.dead.len() <= FEW {
            let mut batch = Batch::default();
            for slot in dead() {
                batch.put(Space::Links, slot_key(slot), links::encode(&[]));
                if self.chain(slot).nth(1).is_some() {
                    batch.delete(Space::Twins, slot_key(slot));
                }
            }
            for node in (0..self.upper.len()).filter(|&node| !self.upper.is_free(node)) {
                batch.delete(Space::Upper, slot_key(self.upper.slot(node)));
            }
            let slots: Vec<Slot> = dead().collect();
            self.record(w, batch)?;
            slots.into_iter().for_each(|slot| self.adjacency.set(slot, &[], None));
        } else {
            // That all are dead is durable with the checkpoint; the graph among them needs no record.
            self.checkpoint(w)?;
            let mut batch = Batch::default();
            for space in [Space::Links, Space::Upper, Space::Twins] {
                batch.delete_range(space, Range::all());
            }
            for slot in w.slots.dead.iter() {
                batch.put(Space::Links, slot_key(slot), links::encode(&[]));
            }
            let applied = self.kv.apply(&batch).and_then(|seq| self.kv.sync(seq));
            applied.inspect_err(|error| self.poison_with(error))?;
            self.adjacency.forget(self.allocated.load(Ordering::Acquire));
        }
        self.upper.clear();
        for slot in w.slots.dead.iter().filter(|&slot| self.chain(slot).nth(1).is_some()) {
            self.twins.ensure(slot)[0].store(0, Ordering::Release);
        }
        *sync::lock(&self.chained) = Arc::default();
        Ok(())
    }
}
