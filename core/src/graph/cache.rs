//! Decoded layer-0 adjacency within a byte budget.
//!
//! Readers copy a list with two array accesses and no lock. Lists changed since the last checkpoint are *dirty*:
//! they are the only up-to-date copy, so they stay until a checkpoint has written them to the store.

use super::seqlock::{self, HEAD, Word};
use crate::kv::{Flow, Range, Read, Short, Space, links, slot_key, slot_of};
use crate::table::Table;
use crate::{Error, Result, Slot, simd, sync};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

const USED: u8 = 1;
const DIRTY: u8 = 2;
/// In place of a frame: the list is gone, nothing may be read for it from the store.
const REMOVED: u32 = u32::MAX;
/// Marks frames whose links are not packed.
const WIDE: u32 = 1 << 31;
/// Whether any are: browsers hold fewer rows, and would download it.
const PACKS: bool = cfg!(not(target_family = "wasm"));
/// Slots at which a database that is opened does without packed links: those of some eight million rows fit.
const MANY: u32 = 7 << 20;
/// Slots whose lists are read together where there is room: some four kilobytes of them.
const AROUND: u32 = 64;
/// Lists set under one lock, and how many of them are on their way from memory.
const SET: usize = 16;
const AHEAD: usize = 4;
/// Frames looked at for a victim before a clean list is given up on.
const CLOCK_STEPS: u32 = 8192;

/// Changes to one list since the store has it, as a merge operand.
#[derive(Clone, Default)]
pub(crate) struct Delta {
    pub(crate) operand: Short,
    /// Edges added or dropped.
    pub(crate) edges: u32,
}

impl Delta {
    pub(crate) fn add(&mut self, link: u32) {
        links::put_add(&mut self.operand, link);
        self.edges += 1;
    }

    pub(crate) fn drop(&mut self, slot: Slot) {
        links::put_drop(&mut self.operand, slot);
        self.edges += 1;
    }

    fn then(&mut self, later: Delta) {
        self.operand.extend_from_slice(&later.operand);
        self.edges += later.edges;
    }
}

pub(crate) struct AdjacencyCache {
    cap: usize,
    /// Whether dirty lists remember what changed, for a store that takes it.
    keep_deltas: bool,
    /// Slot to frame + 1; 0 for none, [`REMOVED`] where the list was taken away.
    index: Table<AtomicU32>,
    /// Frames of packed links, of three bytes each.
    packed: Frames,
    /// Frames of whole ones: all where there are many slots when the database is opened, else those of lists that lead
    /// past what can be packed.
    wide: Frames,
    /// Whether lists are packed that can be.
    packs: bool,
    state: Mutex<State>,
    /// Checkpoints done: a list read from an older view is not installed.
    epoch: AtomicU64,
}

/// Where lists of one kind lie.
struct Frames {
    /// What [`WIDE`] says of them.
    kind: u32,
    /// Most of them; dirty lists may exceed it.
    most: u32,
    records: Table<Word>,
    marks: Table<AtomicU8>,
}

impl Frames {
    fn new(kind: u32, words: usize, most: u32) -> Frames {
        Frames { kind, most, records: Table::new(HEAD + words), marks: Table::new(1) }
    }

    fn memory(&self) -> u64 {
        self.records.memory() + self.marks.memory()
    }
}

/// Which frames of one kind are in use.
#[derive(Default)]
struct Pool {
    /// Frames ever handed out.
    made: u32,
    hand: u32,
    /// Frames that belong to nobody.
    spare: Vec<u32>,
    /// Per frame, where in `dirty` its list is, plus one.
    places: Vec<u32>,
}

#[derive(Default)]
struct State {
    /// Those of packed and of whole links.
    pools: [Pool; 2],
    /// Lists taken away that the store still has.
    removed: BTreeSet<Slot>,
    /// Changed lists. Not by a hash of their slots: every list of an insert is looked up here, and what lies by frame can be
    /// asked for ahead.
    dirty: Vec<Dirty>,
    /// How many of `dirty` were taken away since.
    gone: usize,
}

/// A changed list.
struct Dirty {
    /// The frame that has it; [`REMOVED`] where it was taken away.
    frame: u32,
    slot: Slot,
    /// What changed, where that is known and the store has the rest.
    delta: Option<Delta>,
}

/// A list that a checkpoint has to write.
pub(crate) struct Changed {
    pub(crate) slot: Slot,
    /// How many links it has.
    pub(crate) len: u32,
    /// What changed, where that is known and the store has the rest.
    pub(crate) delta: Option<Delta>,
}

impl State {
    fn pool(&mut self, frame: u32) -> &mut Pool {
        &mut self.pools[usize::from(!is_packed(frame))]
    }

    /// Where in `dirty` the list in `frame` is, plus one.
    fn place(&mut self, frame: u32) -> &mut u32 {
        let (places, at) = (&mut self.pool(frame).places, (frame & !WIDE) as usize);
        if places.len() <= at {
            places.resize(at + 1, 0);
        }
        &mut places[at]
    }

    /// Where [`State::place`] lies, and what it says, where it was ever written.
    fn known_place(&self, frame: u32) -> Option<&u32> {
        self.pools[usize::from(!is_packed(frame))].places.get((frame & !WIDE) as usize)
    }

    /// Notes that the list in `frame` changed.
    fn changed(&mut self, frame: u32, slot: Slot, delta: Option<Delta>) {
        let place = *self.place(frame);
        let held = place.checked_sub(1).and_then(|place| self.dirty.get_mut(place as usize));
        match held {
            Some(held) => match (&mut held.delta, delta) {
                (Some(held), Some(delta)) => held.then(delta),
                (held, _) => *held = None,
            },
            None => {
                self.dirty.push(Dirty { frame, slot, delta });
                *self.place(frame) = self.dirty.len() as u32;
            }
        }
    }

    /// Forgets that the list in `frame` changed.
    fn unchanged(&mut self, frame: u32) {
        let place = std::mem::take(self.place(frame));
        if let Some(held) = place.checked_sub(1).and_then(|place| self.dirty.get_mut(place as usize)) {
            held.frame = REMOVED;
            self.gone += 1;
        }
    }

    /// Notes that what lay in one frame lies in another.
    fn moved(&mut self, from: u32, to: u32) {
        let place = std::mem::take(self.place(from));
        if let Some(held) = place.checked_sub(1).and_then(|place| self.dirty.get_mut(place as usize)) {
            held.frame = to;
            *self.place(to) = place;
        }
    }

    /// Changed lists, as they changed.
    fn dirty(&self) -> impl Iterator<Item = &Dirty> {
        self.dirty.iter().filter(|dirty| dirty.frame != REMOVED)
    }
}

impl AdjacencyCache {
    /// A cache of lists of up to `cap` links in about `budget` bytes, for a database of `slots` so far.
    pub(crate) fn new(cap: usize, budget: u64, keep_deltas: bool, slots: Slot) -> Self {
        let most = u32::try_from(budget / Self::list_bytes(cap as u32, slots)).unwrap_or(WIDE - 2);
        let most = most.clamp(512, WIDE - 2);
        let packs = PACKS && slots < MANY;
        AdjacencyCache {
            cap,
            keep_deltas,
            index: Table::new(1),
            packed: Frames::new(0, seqlock::packed_words(cap), most),
            // Where slots become many in the course of one opening, some room beside what packed lists keep.
            wide: Frames::new(WIDE, cap, if packs { (most / 4).max(512) } else { most }),
            packs,
            state: Mutex::default(),
            epoch: AtomicU64::new(0),
        }
    }

    /// What a list of up to `cap` links takes in a database that was opened with so many slots.
    pub(crate) fn list_bytes(cap: u32, slots: Slot) -> u64 {
        let words = if PACKS && slots < MANY { seqlock::packed_words(cap as usize) } else { cap as usize };
        4 * (HEAD + words) as u64 + 1 + 4 + 4
    }

    fn frames(&self, frame: u32) -> &Frames {
        if is_packed(frame) { &self.packed } else { &self.wide }
    }

    fn record(&self, frame: u32) -> Option<&[Word]> {
        self.frames(frame).records.row(frame & !WIDE)
    }

    fn mark(&self, frame: u32) -> &AtomicU8 {
        &self.frames(frame).marks.ensure(frame & !WIDE)[0]
    }

    /// Writes what `frame` holds.
    fn write(&self, frame: u32, owner: u32, list: &[u32]) {
        let record = self.frames(frame).records.ensure(frame & !WIDE);
        if is_packed(frame) {
            seqlock::write_packed(record, owner, list);
        } else {
            seqlock::write(record, owner, list);
        }
    }

    /// The frames that `list` goes to.
    fn kind_of(&self, list: &[u32]) -> &Frames {
        let packs = PACKS && self.packs && list.iter().all(|&link| seqlock::is_packable(link));
        if packs { &self.packed } else { &self.wide }
    }

    /// The frames that most lists go to.
    fn usual(&self) -> &Frames {
        if PACKS && self.packs { &self.packed } else { &self.wide }
    }

    /// Whether lists are to be stored as what changed in them, where that is known.
    pub(crate) fn keeps_deltas(&self) -> bool {
        self.keep_deltas
    }

    /// Copies the list of `slot` if it is here; one that was taken away is empty.
    pub(crate) fn read(&self, slot: Slot, out: &mut Vec<u32>) -> bool {
        let frame = match self.index.get(slot).map_or(0, |cell| cell.load(Ordering::Acquire)) {
            0 => return false,
            REMOVED => {
                out.clear();
                return true;
            }
            frame => frame - 1,
        };
        let Some(record) = self.record(frame) else { return false };
        // A frame that was given away in between has another owner: a miss.
        let found = if is_packed(frame) {
            seqlock::read_packed(record, slot + 1, out)
        } else {
            seqlock::read(record, slot + 1, out)
        };
        if found {
            self.mark_used(frame);
        }
        found
    }

    /// Asks for what [`AdjacencyCache::read`] will read of `slot`, where it is here.
    pub(crate) fn soon(&self, slot: Slot) {
        if let Some(record) = self.frame_of(slot).and_then(|frame| self.record(frame)) {
            simd::prefetch(record);
        }
    }

    /// Asks for what [`AdjacencyCache::soon`] will read of `slot`.
    pub(crate) fn sometime(&self, slot: Slot) {
        prefetch(self.index.get(slot));
    }

    fn mark_used(&self, frame: u32) {
        let mark = self.mark(frame);
        // Most are marked already: reading first keeps the cache line shared.
        if mark.load(Ordering::Relaxed) & USED == 0 {
            mark.fetch_or(USED, Ordering::Relaxed);
        }
    }

    /// Whether the store need not be asked for the list of `slot`.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.index.get(slot).is_some_and(|cell| cell.load(Ordering::Acquire) != 0)
    }

    /// Whether the list of `slot` was taken away, and the slot not used since.
    pub(crate) fn is_removed(&self, slot: Slot) -> bool {
        self.index.get(slot).is_some_and(|cell| cell.load(Ordering::Acquire) == REMOVED)
    }

    fn frame_of(&self, slot: Slot) -> Option<u32> {
        let frame = self.index.get(slot)?.load(Ordering::Acquire);
        if frame == REMOVED { None } else { frame.checked_sub(1) }
    }

    /// To be taken before the view that lists for [`AdjacencyCache::fetch`] come from.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Reads the lists of `slots` from a view no older than `epoch`, keeps them if it can, and hands each to `see`.
    /// `CORRUPT` where one is missing or does not decode.
    pub(crate) fn fetch(
        &self,
        view: &dyn Read,
        epoch: u64,
        slots: &[Slot],
        see: &mut dyn FnMut(Slot, &[u32]),
    ) -> Result<()> {
        let keys: Vec<[u8; 4]> = slots.iter().map(|&slot| slot_key(slot)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let mut list = Vec::with_capacity(self.cap);
        let mut failed = None;
        view.get_many(Space::Links, &keys, &mut |i, value| {
            // Taken away since it was asked for: whoever still holds a link to it finds nothing behind.
            if self.is_removed(slots[i]) {
                return see(slots[i], &[]);
            }
            let decoded = match value {
                Some(value) => links::decode(value, &mut list),
                None => Err(Error::corrupt("its adjacency list is missing")),
            };
            match decoded {
                Ok(()) => {
                    self.install(epoch, slots[i], &list, USED);
                    see(slots[i], &list);
                }
                Err(error) => failed = Some(error.at(format!("row at slot {}", slots[i]))),
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Takes in the lists around that of `slot`, while there is room for them that nothing else needs: what lies near in the
    /// store comes with it, and near slots are often near in the graph.
    /// Answers how many.
    pub(crate) fn fetch_around(&self, view: &dyn Read, epoch: u64, slot: Slot) -> u64 {
        let first = slot / AROUND * AROUND;
        if !self.has_room(AROUND) {
            return 0;
        }
        self.fetch_range(view, epoch, first..first.saturating_add(AROUND))
    }

    /// Whether so many lists can be had without taking the place of others.
    pub(crate) fn has_room(&self, lists: u32) -> bool {
        let (usual, mut state) = (self.usual(), sync::lock(&self.state));
        let pool = state.pool(usual.kind);
        usual.most.saturating_sub(pool.made) + pool.spare.len() as u32 >= lists
    }

    /// Takes in the lists of `slots`, what is wrong with them being for [`AdjacencyCache::fetch`] to tell. Answers how many
    /// there are.
    pub(crate) fn fetch_range(&self, view: &dyn Read, epoch: u64, slots: std::ops::Range<Slot>) -> u64 {
        let mut seen = 0;
        let range = Range { start: slot_key(slots.start).to_vec(), end: Some(slot_key(slots.end).to_vec()) };
        let mut list = Vec::with_capacity(self.cap);
        let _ = view.scan(Space::Links, &range, &mut |key, value| {
            if let (Ok(slot), Ok(())) = (slot_of(key), links::decode(value, &mut list)) {
                self.install(epoch, slot, &list, 0);
            }
            seen += 1;
            Flow::Continue(())
        });
        seen
    }

    fn install(&self, epoch: u64, slot: Slot, list: &[u32], mark: u8) {
        // Keeping it is optional, so a busy cache is left alone.
        let Ok(mut state) = self.state.try_lock() else { return };
        if self.epoch() == epoch && !self.contains(slot) && list.len() <= self.cap {
            let _ = self.place(&mut state, slot, list, mark);
        }
    }

    /// Sets the list of `slot`, to be kept until the next checkpoint. `delta` leads there from the list before; `None`
    /// for a list that is new.
    pub(crate) fn set(&self, slot: Slot, list: &[u32], delta: Option<Delta>) {
        self.set_locked(&mut sync::lock(&self.state), slot, list, delta);
    }

    /// [`AdjacencyCache::set`] of many lists, in this order.
    pub(crate) fn set_all(&self, lists: &mut [(Slot, Vec<u32>, Option<Delta>)]) {
        for at in (0..lists.len()).step_by(SET) {
            let mut state = sync::lock(&self.state);
            for i in at..lists.len().min(at + SET) {
                if simd::PREFETCHES
                    && let Some(&(slot, ..)) = lists.get(i + 3 * AHEAD)
                {
                    prefetch(self.index.get(slot));
                }
                if simd::PREFETCHES
                    && let Some(&(slot, ..)) = lists.get(i + 2 * AHEAD)
                    && let Some(frame) = self.frame_of(slot)
                {
                    prefetch(state.known_place(frame));
                    prefetch(self.frames(frame).marks.get(frame & !WIDE));
                    self.record(frame).into_iter().for_each(simd::prefetch);
                }
                if simd::PREFETCHES
                    && let Some(&(slot, ..)) = lists.get(i + AHEAD)
                    && let Some(frame) = self.frame_of(slot)
                    && let Some(place) = state.known_place(frame).and_then(|place| place.checked_sub(1))
                {
                    prefetch(state.dirty.get(place as usize));
                }
                let (slot, list, delta) = &mut lists[i];
                self.set_locked(&mut state, *slot, list, delta.take());
            }
        }
    }

    fn set_locked(&self, state: &mut State, slot: Slot, list: &[u32], delta: Option<Delta>) {
        if !state.removed.is_empty() {
            state.removed.remove(&slot);
        }
        let before = self.frame_of(slot);
        let frame = match before.filter(|&frame| !is_packed(frame) || self.kind_of(list).kind == 0) {
            Some(frame) => {
                self.mark(frame).fetch_or(DIRTY | USED, Ordering::Relaxed);
                self.write(frame, slot + 1, list);
                Some(frame)
            }
            None => self.place(state, slot, list, DIRTY | USED),
        };
        if let (Some(before), Some(frame)) = (before, frame)
            && before != frame
        {
            state.moved(before, frame);
            self.release(state, before);
        }
        if let Some(frame) = frame {
            state.changed(frame, slot, delta.filter(|_| self.keep_deltas));
        }
    }

    /// Takes the list of `slot` away: readers who still come by find an empty one.
    pub(crate) fn remove(&self, slot: Slot) {
        let mut state = sync::lock(&self.state);
        let frame = self.frame_of(slot);
        self.index.ensure(slot)[0].store(REMOVED, Ordering::Release);
        if let Some(frame) = frame {
            state.unchanged(frame);
            self.release(&mut state, frame);
        }
        state.removed.insert(slot);
    }

    /// Takes a frame back from its list.
    fn release(&self, state: &mut State, frame: u32) {
        self.write(frame, 0, &[]);
        self.mark(frame).store(0, Ordering::Relaxed);
        state.pool(frame).spare.push(frame);
    }

    /// Forgets every list below `slots` that was not taken away: the store has others now.
    pub(crate) fn forget(&self, slots: Slot) {
        let mut state = sync::lock(&self.state);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for slot in 0..slots {
            if let Some(cell) = self.index.get(slot).filter(|cell| cell.load(Ordering::Relaxed) != REMOVED) {
                cell.store(0, Ordering::Release);
            }
        }
        let made = state.pools.each_ref().map(|pool| pool.made);
        *state = State::default();
        for (kind, made) in [0, WIDE].into_iter().zip(made) {
            state.pool(kind).made = made;
            (0..made).rev().for_each(|frame| self.release(&mut state, frame | kind));
        }
    }

    /// Puts a list into a frame, where one is to be had: always where it is dirty.
    fn place(&self, state: &mut State, slot: Slot, list: &[u32], mark: u8) -> Option<u32> {
        let frame = self.free_frame(state, self.kind_of(list), mark & DIRTY != 0)?;
        self.mark(frame).store(mark, Ordering::Relaxed);
        self.write(frame, slot + 1, list);
        self.index.ensure(slot)[0].store(frame + 1, Ordering::Release);
        Some(frame)
    }

    /// A new frame, or one taken from a clean list that nobody read lately. Dirty lists may exceed the budget, as
    /// the writer checkpoints soon after; clean ones may not.
    fn free_frame(&self, state: &mut State, of: &Frames, must: bool) -> Option<u32> {
        let pool = state.pool(of.kind);
        if let Some(frame) = pool.spare.pop() {
            return Some(frame);
        }
        if pool.made >= of.most {
            for _ in 0..CLOCK_STEPS.min(2 * pool.made) {
                pool.hand = (pool.hand + 1) % pool.made;
                let mark = &of.marks.ensure(pool.hand)[0];
                match mark.load(Ordering::Relaxed) {
                    dirty if dirty & DIRTY != 0 => {}
                    0 => {
                        let owner = seqlock::owner(of.records.ensure(pool.hand));
                        if let Some(cell) = owner.checked_sub(1).and_then(|slot| self.index.get(slot)) {
                            cell.store(0, Ordering::Release);
                        }
                        return Some(pool.hand | of.kind);
                    }
                    _ => mark.store(0, Ordering::Relaxed),
                }
            }
            if !must {
                return None;
            }
        }
        pool.made += 1;
        Some((pool.made - 1) | of.kind)
    }

    /// Dirty lists, and how many there may be before a checkpoint is due.
    pub(crate) fn dirty(&self) -> (usize, usize) {
        let state = sync::lock(&self.state);
        (state.dirty.len() - state.gone, self.usual().most as usize / 2)
    }

    /// All dirty lists, ascending by slot. Takes out what is known of their changes: asked again before they are clean,
    /// whole lists are all there is.
    pub(crate) fn dirty_lists(&self) -> Vec<Changed> {
        let mut state = sync::lock(&self.state);
        let mut lists = Vec::with_capacity(state.dirty.len() - state.gone);
        for at in 0..state.dirty.len() {
            if simd::PREFETCHES
                && let Some(soon) = state.dirty.get(at + AHEAD)
            {
                prefetch(self.record(soon.frame).and_then(<[_]>::first));
            }
            let Dirty { frame, slot, delta } = &mut state.dirty[at];
            if *frame != REMOVED {
                let len = self.record(*frame).map_or(0, seqlock::len);
                lists.push(Changed { slot: *slot, len, delta: delta.take() });
            }
        }
        drop(state);
        lists.sort_unstable_by_key(|changed| changed.slot);
        lists
    }

    /// Lists taken away since the last checkpoint.
    pub(crate) fn removed_lists(&self) -> Vec<Slot> {
        sync::lock(&self.state).removed.iter().copied().collect()
    }

    /// Every dirty list is in the store now: they may be dropped.
    pub(crate) fn clean(&self) {
        let mut state = sync::lock(&self.state);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        state.removed.clear();
        for dirty in state.dirty() {
            self.mark(dirty.frame).fetch_and(!DIRTY, Ordering::Relaxed);
        }
        state.dirty = Vec::new();
        state.pools.iter_mut().for_each(|pool| pool.places.fill(0));
        state.gone = 0;
    }

    /// Where lists lie.
    pub(crate) fn spans(&self, to: &mut Vec<std::ops::Range<usize>>) {
        let Frames { records, marks, .. } = self.usual();
        to.extend(self.index.spans().chain(records.spans()).chain(marks.spans()));
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> u64 {
        let places: usize = sync::lock(&self.state).pools.iter().map(|pool| pool.places.capacity()).sum();
        let places = (places * size_of::<u32>()) as u64;
        self.index.memory() + self.packed.memory() + self.wide.memory() + places
    }
}

/// Whether a frame's links are packed.
fn is_packed(frame: u32) -> bool {
    PACKS && frame & WIDE == 0
}

/// Asks for something that is to be read or changed soon.
fn prefetch<T>(value: Option<&T>) {
    if let Some(value) = value {
        simd::prefetch(std::slice::from_ref(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{Batch, Kv, MemKv};

    #[test]
    fn dirty_lists_stay_and_clean_ones_make_room() {
        let cache = AdjacencyCache::new(4, 0, true, 0);
        for slot in 0..2000 {
            cache.set(slot, &[slot, slot + 1], None);
        }
        let mut out = Vec::new();
        assert!((0..2000).all(|slot| cache.read(slot, &mut out) && out == [slot, slot + 1]));
        assert_eq!(cache.dirty().0, 2000);
        cache.clean();
        assert_eq!(cache.dirty().0, 0);
        for slot in 5000..6000 {
            cache.set(slot, &[1], None);
        }
        assert!((5000..6000).all(|slot| cache.read(slot, &mut out)));
        assert!((0..2000).filter(|&slot| cache.contains(slot)).count() <= 1000);
    }

    #[test]
    fn lists_that_cannot_be_packed_go_to_frames_of_their_own() {
        let far = 1 << 24 | links::TREE;
        let delta = |link| {
            let mut delta = Delta::default();
            delta.add(link);
            Some(delta)
        };
        for slots in [0, MANY] {
            let cache = AdjacencyCache::new(4, 0, true, slots);
            let mut out = Vec::new();
            (0..300).for_each(|slot| cache.set(slot, &[slot | links::TREE, 7], None));
            cache.clean();
            // One changes before it moves, one as it does, one back again, one is new.
            cache.set(5, &[1, 2, 3], delta(3));
            cache.set(5, &[1, 2, 3, far], delta(far));
            cache.set(6, &[far], delta(far));
            cache.set(6, &[8], delta(8));
            cache.set(1 << 25, &[5, far], None);
            let want = [
                (5, vec![1, 2, 3, far]),
                (6, vec![8]),
                (1 << 25, vec![5, far]),
                (7, vec![7 | links::TREE, 7]),
            ];
            for (slot, list) in &want {
                assert!(cache.read(*slot, &mut out) && out == *list, "{slot}: {out:?}");
            }
            let edges = |at: usize, lists: &[Changed]| lists[at].delta.as_ref().map(|delta| delta.edges);
            let lists = cache.dirty_lists();
            let dirty: Vec<Slot> = lists.iter().map(|changed| changed.slot).collect();
            assert_eq!((dirty, cache.dirty().0), (vec![5, 6, 1 << 25], 3));
            assert_eq!((edges(0, &lists), edges(1, &lists), edges(2, &lists)), (Some(2), Some(2), None));
            cache.clean();
            // Frames given back are used again, by lists of their own kind.
            cache.remove(5);
            cache.set(400, &[1 << 23], None);
            cache.set(401, &[(1 << 23) - 1], None);
            assert!(cache.read(400, &mut out) && out == [1 << 23]);
            assert!(cache.read(401, &mut out) && out == [(1 << 23) - 1]);
            assert!((8..300).all(|slot| cache.read(slot, &mut out) && out == [slot | links::TREE, 7]));
            cache.forget(1 << 26);
            assert!((0..500).all(|slot| slot == 5 || !cache.contains(slot)) && cache.dirty().0 == 0);
        }
    }

    #[test]
    fn changes_add_up_until_a_list_is_new() {
        let cache = AdjacencyCache::new(4, 0, true, 0);
        let added = |link| {
            let mut delta = Delta::default();
            delta.add(link);
            Some(delta)
        };
        cache.set(1, &[5], added(5));
        cache.set(1, &[5, 6], added(6));
        cache.set(2, &[5], None);
        cache.set(2, &[5, 6], added(6));
        let lists = cache.dirty_lists();
        assert_eq!(lists[0].delta.as_ref().map(|delta| delta.edges), Some(2));
        assert!(lists[1].delta.is_none() && lists[1].len == 2);
    }

    #[test]
    fn a_list_taken_away_is_empty_until_its_slot_has_another() {
        let kv = MemKv::default();
        let mut batch = Batch::default();
        batch.put(Space::Links, slot_key(3), links::encode(&[1]));
        kv.apply(&batch).unwrap();
        let cache = AdjacencyCache::new(4, 0, false, 0);
        let mut out = Vec::new();
        for filled in [false, true] {
            if filled {
                cache.set(3, &[1, 2], None);
            }
            cache.remove(3);
            assert!(cache.read(3, &mut out) && out.is_empty() && cache.is_removed(3));
            assert_eq!((cache.removed_lists(), cache.dirty().0), (vec![3], 0));
            let mut seen = vec![9];
            let view = kv.view().unwrap();
            cache.fetch(&*view, cache.epoch(), &[3], &mut |_, list| seen = list.to_vec()).unwrap();
            assert!(seen.is_empty(), "what the store still has is not to be seen");
            cache.clean();
            assert!(cache.removed_lists().is_empty() && cache.read(3, &mut out));
        }
        cache.set(3, &[7], None);
        assert!(cache.read(3, &mut out) && out == [7] && !cache.is_removed(3));
        // Frames given back are used again, by one list each.
        (10..600).for_each(|slot| cache.set(slot, &[slot], None));
        assert!((10..600).all(|slot| cache.read(slot, &mut out) && out == [slot]));
        cache.forget(1000);
        assert!((0..1000).all(|slot| !cache.contains(slot)) && cache.dirty().0 == 0);
        (10..600).for_each(|slot| cache.set(slot, &[slot], None));
        assert!((10..600).all(|slot| cache.read(slot, &mut out) && out == [slot]));
    }

    #[test]
    fn lists_around_come_along_while_there_is_room_and_only_where_they_are_not_known_better() {
        let kv = MemKv::default();
        let mut batch = Batch::default();
        for slot in 0..2000 {
            batch.put(Space::Links, slot_key(slot), links::encode(&[slot + 1]));
        }
        batch.put(Space::Links, slot_key(70), [0xff; 3]);
        kv.apply(&batch).unwrap();
        let cache = AdjacencyCache::new(4, 0, false, 0);
        cache.set(65, &[1, 2], None);
        cache.remove(66);
        let view = kv.view().unwrap();
        let mut out = Vec::new();
        cache.fetch_around(&*view, cache.epoch(), 100);
        let mut list = |slot| cache.read(slot, &mut out).then(|| out.clone());
        assert_eq!((list(63), list(64), list(127), list(128)), (None, Some(vec![65]), Some(vec![128]), None));
        assert_eq!((list(65), list(66), list(70)), (Some(vec![1, 2]), Some(vec![]), None));
        // A view that is older than what the store has now brings nothing.
        let epoch = cache.epoch();
        cache.clean();
        cache.fetch_around(&*view, epoch, 300);
        assert!(!cache.contains(300));
        let held = |cache: &AdjacencyCache| (0..2000).filter(|&slot| cache.contains(slot)).count();
        let brought: u64 = (0..2000).map(|slot| cache.fetch_around(&*view, cache.epoch(), slot)).sum();
        assert!(brought >= 512 - 2 * u64::from(AROUND), "{brought}");
        assert!(held(&cache) > 512 - 2 * AROUND as usize && held(&cache) <= 512 + 1, "{}", held(&cache));
        cache.fetch_around(&*view, cache.epoch(), u32::MAX);
    }

    #[test]
    fn a_list_from_before_a_checkpoint_is_not_kept() {
        let kv = MemKv::default();
        let mut batch = Batch::default();
        batch.put(Space::Links, slot_key(3), links::encode(&[1]));
        kv.apply(&batch).unwrap();
        let cache = AdjacencyCache::new(4, 1 << 20, false, 0);
        let epoch = cache.epoch();
        let view = kv.view().unwrap();
        cache.set(3, &[1, 2], None);
        cache.clean();
        let mut seen = Vec::new();
        cache.fetch(&*view, epoch, &[3], &mut |_, list| seen = list.to_vec()).unwrap();
        assert_eq!(seen, [1]);
        assert!(cache.read(3, &mut seen) && seen == [1, 2]);
        assert!(cache.fetch(&*view, epoch, &[9], &mut |_, _| {}).is_err());
    }
}
