//! How a changed adjacency list is written: whole (a *pivot*) or as its changes (a *delta*).
//!
//! The idea is Aster's: a delta costs few bytes now, and every read of the list folds it until compaction has;
//! a pivot costs the whole list now and nothing later. Which is cheaper depends on the list's length, on how
//! much of it changed, and on how often lists are read from the store between two writes.
//!
//! No I/O and no clock: the engine tells what it reads and writes, and gets a recommendation.

use crate::Slot;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// When lists are written whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkPolicy {
    /// Always whole: the fewest bytes to read, the most to write.
    Eager = 0,
    /// Changes only, up to a bound per list: the fewest bytes to write.
    Lazy = 1,
    /// Whichever is expected to cost less, list by list.
    #[default]
    Adaptive = 2,
}

impl LinkPolicy {
    /// Every policy, for tables and tests.
    pub const ALL: [LinkPolicy; 3] = [LinkPolicy::Eager, LinkPolicy::Lazy, LinkPolicy::Adaptive];

    /// The option value that names it.
    pub const fn name(self) -> &'static str {
        match self {
            LinkPolicy::Eager => "eager",
            LinkPolicy::Lazy => "lazy",
            LinkPolicy::Adaptive => "adaptive",
        }
    }
}

/// How to write one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The whole list, as a put.
    Pivot,
    /// Its changes since it was last written, as a merge.
    Delta,
}

/// Most deltas on top of a pivot, whatever the policy: it bounds the cost of a read.
pub(crate) const MAX_PENDING: u8 = 16;

/// Bytes of an entry besides its value: key, sequence number, lengths, its share of a block's index.
const ENTRY_BYTES: u32 = 16;
/// Bytes of an encoded link: slots of a list lie apart, so most steps take two or three bytes.
const LINK_BYTES: u32 = 3;
/// Bytes of an encoded change.
const CHANGE_BYTES: u32 = 4;
/// What folding one more delta costs a read, in bytes written. Of 24 and 40, measured with RocksDB by
/// `native-storage/benches/kv.rs`, 24 writes a quarter less at a mix of one to one, for 4 % more processor time.
const FOLD_BYTES: f32 = 24.0;

/// The running mix of list reads that reached the store and list writes. Shared with readers.
///
/// Only searches count as reads. What an insert reads comes with the write, and how much that is says how tight the
/// cache is, not what the database is used for.
#[derive(Debug, Default)]
pub(crate) struct Mix {
    reads: AtomicU64,
    writes: AtomicU64,
    /// List reads since the store was last asked to fold, and the deltas it held when that was last looked at.
    unfolded_reads: AtomicU64,
    deltas: AtomicU64,
    lists: AtomicU64,
    folds: AtomicU64,
}

/// Deltas that reads must have met, per list of the store, before folding them all is worth it: a delta met costs a read
/// two microseconds, folding a list one, which is half as dear as no search waits for it.
const FOLD_AFTER: f64 = 0.25;

/// Writes after which older ones count half.
const WINDOW: u64 = 1 << 16;

impl Mix {
    /// Counts lists that a search fetched from the store, past every cache. Lock-free. True, once, when so many deltas
    /// were met that the store had better fold all it holds.
    pub(crate) fn note_reads(&self, lists: u64) -> bool {
        self.reads.fetch_add(lists, Relaxed);
        let deltas = self.deltas.load(Relaxed);
        if deltas == 0 {
            return false;
        }
        let reads = self.unfolded_reads.fetch_add(lists, Relaxed) + lists;
        let stored = self.lists.load(Relaxed) as f64;
        if reads as f64 * (deltas as f64) < FOLD_AFTER * stored * stored || self.deltas.swap(0, Relaxed) == 0
        {
            return false;
        }
        self.unfolded_reads.store(0, Relaxed);
        self.folds.fetch_add(1, Relaxed);
        true
    }

    /// Notes how many deltas lie on top of how many lists in the store.
    pub(crate) fn note_deltas(&self, deltas: u64, lists: u64) {
        self.lists.store(lists, Relaxed);
        self.deltas.store(deltas, Relaxed);
    }

    /// How often folding was found worth it.
    pub(crate) fn folds(&self) -> u64 {
        self.folds.load(Relaxed)
    }

    /// Counts lists written. For the one writer; after enough of them, what lies back counts half.
    pub(crate) fn note_writes(&self, lists: u64) {
        let writes = self.writes.fetch_add(lists, Relaxed) + lists;
        let reads = self.reads.load(Relaxed);
        if writes.max(reads) > WINDOW {
            // Reads that come in between are kept: only what was seen is halved.
            self.reads.fetch_sub(reads - reads / 2, Relaxed);
            self.writes.fetch_sub(writes - writes / 2, Relaxed);
        }
    }

    /// List reads per list write. One per write until there is something to go by.
    pub(crate) fn reads_per_write(&self) -> f32 {
        let (reads, writes) = (self.reads.load(Relaxed), self.writes.load(Relaxed));
        // Both begin at a small sum, so that the first few do not swing it.
        (reads as f32 + 64.0) / (writes as f32 + 64.0)
    }
}

/// What the writer remembers of each list, one byte per slot. Its length needs no memory: a changed list is in the
/// adjacency cache until it is written.
#[derive(Debug, Default)]
pub(crate) struct PolicyState {
    policy: LinkPolicy,
    pending: Vec<u8>,
    /// The folds that `pending` knows of.
    folds: u64,
}

impl PolicyState {
    /// Remembers nothing yet.
    pub(crate) fn new(policy: LinkPolicy) -> Self {
        PolicyState { policy, ..PolicyState::default() }
    }

    /// The form to write the list of `slot` in, of which `changed` links were added or dropped since it was
    /// last written. `degree` is its length now. A list the store does not hold yet is a pivot; that is for the
    /// caller to know. Takes nanoseconds.
    pub(crate) fn choose(&self, mix: &Mix, slot: Slot, degree: u32, changed: u32) -> Form {
        let pivot = ENTRY_BYTES + LINK_BYTES * degree;
        let delta = ENTRY_BYTES + CHANGE_BYTES * changed;
        let pending = self.pending(slot);
        if delta >= pivot || pending >= MAX_PENDING {
            return Form::Pivot;
        }
        let whole = match self.policy {
            LinkPolicy::Eager => true,
            LinkPolicy::Lazy => false,
            // Written bytes are written again by compaction, a delta's as often as a pivot's, so that factor
            // lies in the price of a fold. Until the next write, each read folds this delta and those before.
            LinkPolicy::Adaptive => {
                let folds = mix.reads_per_write() * (f32::from(pending) + 1.0);
                folds * FOLD_BYTES >= (pivot - delta) as f32
            }
        };
        if whole { Form::Pivot } else { Form::Delta }
    }

    /// Whether the store is to be watched for deltas that searches meet.
    pub(crate) fn folds(&self) -> bool {
        self.policy == LinkPolicy::Adaptive
    }

    /// Forgets the deltas that the store was told to fold since this was last called.
    pub(crate) fn catch_up(&mut self, mix: &Mix) {
        if self.folds != mix.folds() {
            self.folds = mix.folds();
            self.pending.clear();
        }
    }

    /// Notes how the list of `slot` was written.
    pub(crate) fn wrote(&mut self, slot: Slot, form: Form) {
        let pending = at(&mut self.pending, slot);
        *pending = match form {
            Form::Pivot => 0,
            Form::Delta => pending.saturating_add(1),
        };
    }

    /// Deltas on top of the pivot of `slot`, at most: compaction may have folded some, and none from before
    /// the database was opened are known.
    pub(crate) fn pending(&self, slot: Slot) -> u8 {
        self.pending.get(slot as usize).copied().unwrap_or(0)
    }
}

fn at(bytes: &mut Vec<u8>, slot: Slot) -> &mut u8 {
    let slot = slot as usize;
    if slot >= bytes.len() {
        bytes.resize(slot + 1, 0);
    }
    &mut bytes[slot]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(reads: u64, writes: u64) -> Mix {
        let mix = Mix::default();
        mix.note_reads(reads);
        mix.note_writes(writes);
        mix
    }

    fn choice(policy: LinkPolicy, mix: &Mix, degree: u32, changed: u32, pending: u8) -> Form {
        let mut state = PolicyState::new(policy);
        (0..pending).for_each(|_| state.wrote(7, Form::Delta));
        state.choose(mix, 7, degree, changed)
    }

    #[test]
    fn fixed_policies_are_fixed_but_for_what_saves_nothing_or_stacks_too_high() {
        for mix in [mix(0, 30_000), mix(30_000, 0)] {
            assert_eq!(choice(LinkPolicy::Eager, &mix, 32, 1, 0), Form::Pivot);
            assert_eq!(choice(LinkPolicy::Lazy, &mix, 32, 1, MAX_PENDING - 1), Form::Delta);
            assert_eq!(choice(LinkPolicy::Lazy, &mix, 32, 1, MAX_PENDING), Form::Pivot);
            assert_eq!(choice(LinkPolicy::Lazy, &mix, 3, 4, 0), Form::Pivot, "the whole is shorter");
        }
    }

    #[test]
    fn short_lists_that_are_read_become_pivots_and_long_ones_that_are_written_deltas() {
        let adaptive = |mix: &Mix, degree| choice(LinkPolicy::Adaptive, mix, degree, 1, 0);
        assert_eq!(adaptive(&mix(30_000, 1_000), 6), Form::Pivot);
        assert_eq!(adaptive(&mix(30_000, 1_000), 32), Form::Pivot);
        assert_eq!(adaptive(&mix(0, 30_000), 32), Form::Delta);
        assert_eq!(adaptive(&mix(0, 30_000), 500), Form::Delta);
        // At the same mix, it is the length that decides.
        assert_eq!(adaptive(&mix(30_000, 30_000), 4), Form::Pivot);
        assert_eq!(adaptive(&mix(30_000, 30_000), 64), Form::Delta);
    }

    #[test]
    fn more_reads_changes_and_pending_deltas_never_turn_a_pivot_into_a_delta() {
        let is_pivot = |reads, degree, changed, pending| {
            choice(LinkPolicy::Adaptive, &mix(reads, 10_000), degree, changed, pending) == Form::Pivot
        };
        for reads in [0, 3_000, 20_000, 60_000] {
            for degree in [1, 8, 32, 200] {
                for changed in [1, 3, 9] {
                    for pending in [0, 1, 5] {
                        let here = is_pivot(reads, degree, changed, pending);
                        assert!(!here || is_pivot(reads + 5_000, degree, changed, pending));
                        assert!(!here || is_pivot(reads, degree, changed + 1, pending));
                        assert!(!here || is_pivot(reads, degree, changed, pending + 1));
                        assert!(!here || is_pivot(reads, degree - 1, changed, pending));
                    }
                }
            }
        }
    }

    #[test]
    fn pending_deltas_are_counted_until_a_pivot() {
        let mut state = PolicyState::new(LinkPolicy::Lazy);
        for _ in 0..300 {
            state.wrote(3, Form::Delta);
        }
        assert_eq!((state.pending(3), state.pending(2), state.pending(9)), (255, 0, 0));
        state.wrote(3, Form::Pivot);
        assert_eq!(state.pending(3), 0);
    }

    #[test]
    fn folding_is_due_once_when_reads_have_met_enough_deltas() {
        let mix = Mix::default();
        assert!(!mix.note_reads(1_000_000), "no deltas, nothing to fold");
        mix.note_deltas(500, 1_000);
        assert!(!mix.note_reads(499));
        assert!(mix.note_reads(1));
        assert!(!mix.note_reads(1_000_000), "not again before there are new deltas");
        let mut state = PolicyState::new(LinkPolicy::Adaptive);
        state.wrote(3, Form::Delta);
        state.catch_up(&mix);
        assert_eq!(state.pending(3), 0);
        state.wrote(3, Form::Delta);
        state.catch_up(&mix);
        assert_eq!(state.pending(3), 1);
        mix.note_deltas(2_000, 1_000);
        assert!(!mix.note_reads(124));
        assert!(mix.note_reads(1));
    }

    #[test]
    fn the_mix_follows_what_happens() {
        let mix = Mix::default();
        assert_eq!(mix.reads_per_write(), 1.0);
        (0..200).for_each(|_| mix.note_writes(1_000));
        assert!(mix.reads_per_write() < 0.01);
        for _ in 0..200 {
            assert!(!mix.note_reads(10_000));
            mix.note_writes(1_000);
        }
        let ratio = mix.reads_per_write();
        assert!((8.0..12.0).contains(&ratio), "{ratio}");
    }
}
