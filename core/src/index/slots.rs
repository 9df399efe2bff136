//! A slot's life: live, dead, swept (no list leads to it), free (no reader can still come by), live again.
//!
//! Stored, a slot without a live row has an entry in `Space::Dead`: empty while dead, [`SWEPT`] once swept.

use super::commit::Writer;
use super::tidy::worth;
use super::{Index, Published};
use crate::vectors::FrozenRows;
use crate::{Result, Slot, sync};
use roaring::RoaringBitmap;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// What `Space::Dead` says of a slot that no list leads to.
pub(crate) const SWEPT: [u8; 1] = [1];

/// The slots that have no live row, as the writer keeps them.
#[derive(Default)]
pub(crate) struct Slots {
    /// Not swept yet: still nodes of the graph, or chained to one.
    pub(crate) dead: RoaringBitmap,
    /// Swept, and by which write, in its order.
    waiting: VecDeque<(u64, Vec<Slot>)>,
    free: RoaringBitmap,
    /// Like free, but an export has still to copy what the vector file has there.
    copied: RoaringBitmap,
}

impl Slots {
    /// Takes in an entry of `Space::Dead`. No reader is older than the opening.
    pub(crate) fn load(&mut self, slot: Slot, value: &[u8]) {
        if value == SWEPT {
            self.free.insert(slot)
        } else {
            self.dead.insert(slot)
        };
    }

    /// How many are swept.
    pub(crate) fn swept(&self) -> u64 {
        self.free.len() + self.copied.len() + self.waiting()
    }

    /// How many of them a reader may still come by, or the journal alone knows of.
    fn waiting(&self) -> u64 {
        self.waiting.iter().map(|(_, slots)| slots.len() as u64).sum()
    }

    /// Every swept slot.
    pub(crate) fn all_swept(&self) -> RoaringBitmap {
        let mut all = &self.free | &self.copied;
        self.waiting.iter().for_each(|(_, slots)| all.extend(slots));
        all
    }

    /// Takes in what write `seq` swept.
    pub(crate) fn sweep(&mut self, seq: u64, slots: Vec<Slot>) {
        for &slot in &slots {
            self.dead.remove(slot);
        }
        self.waiting.push_back((seq, slots));
    }

    /// Takes back slots that were handed out and not used.
    pub(crate) fn give_back(&mut self, slots: impl Iterator<Item = Slot>) {
        self.free.extend(slots);
    }
}

/// States that were shown, oldest first.
#[derive(Default)]
pub(crate) struct Shown {
    states: VecDeque<(u64, Weak<Published>)>,
    /// Length at which those that nobody holds are dropped.
    limit: usize,
}

impl Shown {
    pub(crate) fn add(&mut self, state: &Arc<Published>) {
        self.states.push_back((state.seq, Arc::downgrade(state)));
        if self.states.len() > self.limit {
            self.states.retain(|(_, state)| state.strong_count() > 0);
            self.limit = 64.max(2 * self.states.len());
        }
    }

    /// The oldest that is held by anybody.
    fn oldest(&mut self) -> Option<u64> {
        while self.states.front().is_some_and(|(_, state)| state.strong_count() == 0) {
            self.states.pop_front();
        }
        self.states.front().map(|&(seq, _)| seq)
    }
}

/// What is held for longer than a call takes: states whose rows must stay, and rows on their way out of the file.
///
/// Unlike a reader under way, who may come by any slot, who holds these only asks for rows that they show: they keep no
/// more than that, however much is written meanwhile.
#[derive(Default)]
pub(crate) struct Pins {
    states: Vec<Weak<Published>>,
    rows: Vec<Weak<FrozenRows>>,
    /// Length at which states that nobody holds are dropped.
    limit: usize,
    let_go: u64,
}

impl Pins {
    fn add(&mut self, state: &Arc<Published>) {
        self.states.push(Arc::downgrade(state));
        if self.states.len() > self.limit {
            self.clean();
            self.limit = 64.max(2 * self.states.len());
        }
    }

    fn clean(&mut self) {
        let before = self.states.len();
        self.states.retain(|state| state.strong_count() > 0);
        self.let_go += (before - self.states.len()) as u64;
    }

    /// How many states were let go so far.
    fn let_go(&mut self) -> u64 {
        self.clean();
        self.let_go
    }

    /// Which of `slots` somebody has still to copy from the vector file.
    fn uncopied(&mut self, slots: &RoaringBitmap) -> RoaringBitmap {
        self.rows.retain(|rows| rows.strong_count() > 0);
        let mut wanted = RoaringBitmap::new();
        for rows in self.rows.iter().filter_map(Weak::upgrade) {
            let mut of = slots - &rows.absent;
            of.remove_range(rows.slots..);
            wanted |= of;
        }
        wanted
    }
}

impl Index {
    /// Has the rows of `state` stay for as long as the answer lives. `state` must be held until then.
    pub(crate) fn pin(&self, state: &Published) -> Arc<Published> {
        let pin = Arc::new(Published { ..*state });
        sync::lock(&self.pins).add(&pin);
        pin
    }

    /// Has the vectors of all nodes stay in the file as they are for as long as the answer lives. To be called with the
    /// writer's turn, of which `swept` are the swept slots.
    pub(crate) fn freeze(&self, slots: Slot, swept: RoaringBitmap) -> Arc<FrozenRows> {
        let rows = Arc::new(FrozenRows { slots, absent: swept });
        sync::lock(&self.pins).rows.push(Arc::downgrade(&rows));
        rows
    }

    /// The states that are held for long.
    pub(crate) fn pinned(&self) -> Vec<Arc<Published>> {
        sync::lock(&self.pins).states.iter().filter_map(Weak::upgrade).collect()
    }

    /// Changes when rows that were held may go: the oldest write that a reader may be at, and how many states that were
    /// held for long are no more.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.oldest_held(), sync::lock(&self.pins).let_go())
    }

    /// No reader is at a state older than this write, but those that hold pinned ones.
    pub(crate) fn oldest_held(&self) -> u64 {
        let now = self.published.load().seq;
        sync::lock(&self.shown).oldest().map_or(now, |oldest| oldest.min(now))
    }

    /// Slots for `count` new rows, ascending: free ones first.
    pub(crate) fn take_slots(&self, w: &mut Writer, count: usize) -> Result<Vec<Slot>> {
        if w.slots.free.len() < count as u64 {
            self.reclaim(w)?;
        }
        let mut taken: Vec<Slot> = w.slots.free.iter().take(count).collect();
        for &slot in &taken {
            w.slots.free.remove(slot);
        }
        let fresh = (count - taken.len()) as Slot;
        taken.extend(w.meta.next..w.meta.next + fresh);
        Ok(taken)
    }

    /// How many slots [`Index::take_slots`] could give out that are not new.
    pub(crate) fn reclaim(&self, w: &mut Writer) -> Result<u64> {
        let oldest = self.oldest_held();
        let mut free = std::mem::take(&mut w.slots.copied);
        while let Some((seq, _)) = w.slots.waiting.front()
            && *seq <= oldest
        {
            // A new row overwrites the old one's vector: were the death lost with the end of the journal, a live row
            // would be. So the store must have it, which is worth a checkpoint of its own once per sweep.
            if *seq > w.durable {
                if w.slots.waiting() < worth(w.meta.live) {
                    break;
                }
                if let Err(error) = self.checkpoint(w) {
                    w.slots.copied = free;
                    return Err(error);
                }
            }
            if let Some((_, slots)) = w.slots.waiting.pop_front() {
                free.extend(slots);
            }
        }
        w.slots.copied = sync::lock(&self.pins).uncopied(&free);
        w.slots.free |= free - &w.slots.copied;
        Ok(w.slots.free.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_state_is_the_oldest_that_somebody_holds() {
        let state = |seq| Arc::new(Published { seq, slots: 0, live: 0 });
        let (mut shown, mut held) = (Shown::default(), VecDeque::new());
        for seq in 0..1000 {
            let now = state(seq);
            shown.add(&now);
            held.push_back(now);
            if held.len() > 3 {
                held.pop_front();
            }
            assert_eq!(shown.oldest(), Some(held[0].seq));
        }
        // One that stays must not keep all later ones in memory.
        let kept = held.pop_back().unwrap();
        held.clear();
        (1000..9000).for_each(|seq| shown.add(&state(seq)));
        assert!(shown.oldest() == Some(kept.seq) && shown.states.len() <= 64, "{}", shown.states.len());
    }
}
