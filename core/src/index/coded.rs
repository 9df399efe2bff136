//! Codes as the index uses them: when they are made, and how their answers become exact.

use super::Index;
use super::names::Names;
use crate::codes::{Coded, Made, Missing};
use crate::hnsw::{node_of_key, rank_of_key, sort_key};
use crate::kv::{Space, slot_of};
use crate::{Id, Result, sync};
use std::sync::atomic::Ordering;

/// Rows below which walks do without.
const LEAST: u32 = 128;
/// Numbers in all vectors up to which all codes are made before the first search: some tenths of a second.
const SOON_DONE: u64 = 1 << 26;
/// How far off others may be than the farthest of those that were measured.
const FARTHER: f32 = 2.0;
/// Rows measured beyond those wanted, to see how far codes are off.
const FEW: usize = 2;
/// Segments made by one search: it is its caller who waits.
const PER_SEARCH: usize = 8;
/// The same for a chunk of rows written.
pub(crate) const PER_CHUNK: usize = 32;

impl Index {
    /// `query` to be measured against codes, where there are some.
    pub(crate) fn coded(&self, query: &[f32]) -> Option<Coded> {
        self.walks_on_codes().then(|| {
            self.warm_up();
            self.codes.query(query)
        })
    }

    /// Whether [`Index::coded`] answers.
    pub(crate) fn walks_on_codes(&self) -> bool {
        self.codes.are_used() && self.allocated.load(Ordering::Acquire) >= LEAST
    }

    /// Whether walks measure codes in the place of vectors.
    pub(crate) fn measures_codes(&self) -> bool {
        self.walks_on_codes() && self.codes.measure()
    }

    /// Has codes made of all rows, once, where that is soon done: what a search finds must not depend on who searched
    /// before.
    pub(crate) fn warm_up(&self) {
        if self.warm.load(Ordering::Acquire) {
            return;
        }
        let _warming = sync::lock(&self.warming);
        if self.warm.load(Ordering::Acquire) {
            return;
        }
        let rows = self.allocated.load(Ordering::Acquire);
        if u64::from(rows) * u64::from(self.config.dim) <= SOON_DONE {
            if self.codes.are_used() {
                // By this thread alone: those of a pool may be waiting here.
                let missing = self.codes.all_missing(rows);
                self.take_codes(missing.iter().map(|missing| self.made(missing)).collect());
            }
            self.warm_up_lists(rows);
            self.warm_up_names();
        }
        self.warm.store(true, Ordering::Release);
        self.back_memory();
    }

    /// Takes in all lists, where there is room for them.
    fn warm_up_lists(&self, rows: u32) {
        // In a page the first answer counts: there they come when they are asked for, and those around them.
        if cfg!(target_family = "wasm") || !self.adjacency.has_room(rows) {
            return;
        }
        let epoch = self.adjacency.epoch();
        if let Ok(view) = self.kv.view() {
            self.adjacency.fetch_range(&*view, epoch, 0..rows);
        }
    }

    /// Takes in all ids that are kept by slot, what is wrong with them being for those to tell who need them.
    fn warm_up_names(&self) {
        if !Names::KEEPS {
            return;
        }
        // Held to the end: no row that is visible in it leaves its slot meanwhile.
        let (era, state) = (self.names.era(), self.published.load_full());
        let _ = self.all_entries(Space::Slots, &mut |key, id| {
            if let (Ok(slot), Ok(id)) = (slot_of(key), Id::from_key(id))
                && self.visible(&state, slot)
            {
                self.names.put(era, slot, &id);
            }
        });
    }

    /// Forgets all codes, as other rows come in the place of those that were.
    pub(crate) fn forget_codes(&self) {
        self.codes.clear();
        self.warm.store(false, Ordering::Release);
    }

    fn made(&self, missing: &Missing) -> Made {
        let rows = self.allocated.load(Ordering::Acquire);
        let slots = missing.slots.start..missing.slots.end.min(rows);
        // A damaged row is for those to report who need it.
        self.codes.make(missing, |take| self.vectors.each_row(slots, take))
    }

    /// Makes up to `most` of the segments that walks missed.
    pub(crate) fn make_missing(&self, most: usize) {
        let missing = std::iter::from_fn(|| self.codes.missing()).take(most);
        let made: Vec<Made> = missing.map(|missing| self.made(&missing)).collect();
        if !made.is_empty() {
            self.take_codes(made);
            self.back_memory();
        }
    }

    fn take_codes(&self, made: Vec<Made>) {
        self.codes.take(made);
        self.vectors.lend(self.codes.took_more());
    }

    /// To be called at the end of a search: makes some of what it missed.
    pub(crate) fn note_search(&self, coded: Option<Coded>) {
        if let Some(coded) = coded {
            self.codes.note(&coded);
            self.make_missing(PER_SEARCH);
        }
    }

    /// Places in the pool of a walk on codes that is to find `wanted` rows: some more than asked for, as some will change
    /// places.
    pub(crate) fn coded_pool(ef: usize, wanted: usize) -> usize {
        ef.max(wanted + wanted / 2 + 8)
    }

    /// The nodes of `found`, ascending, as a walk on codes left them: the nearest of them by their vectors, enough for
    /// `wanted`, nearest first, and whether that is the answer: not where codes are too coarse for these rows to tell
    /// which are near, unless that must do as the search is `late`.
    pub(crate) fn exactly(
        &self,
        query: &[f32],
        found: Vec<u64>,
        wanted: usize,
        ef: usize,
        late: bool,
    ) -> Result<(Vec<u64>, bool)> {
        let full = found.len() >= ef;
        let worst = found.last().map_or(0.0, |&key| rank_of_key(key));
        let (mut exact, mut off): (Vec<u64>, f32) = (Vec::new(), 0.0);
        let mut ranks = Vec::new();
        let mut next = (wanted + FEW).min(found.len());
        while exact.len() < next {
            let some = &found[exact.len()..next];
            self.ranks(query, some.iter().map(|&key| node_of_key(key)), &mut ranks)?;
            for (&key, &rank) in some.iter().zip(&ranks) {
                off = off.max((rank_of_key(key) - rank).abs());
                exact.push(sort_key(rank, node_of_key(key)));
            }
            exact.sort_unstable();
            if late {
                break;
            }
            // Who is off somewhat farther than those were may belong to the nearest.
            let last = exact.get(wanted - 1).map_or(f32::INFINITY, |&key| rank_of_key(key));
            next = found.partition_point(|&key| rank_of_key(key) <= last + FARTHER * off).max(next);
            if full && worst <= last + off {
                return Ok((exact, false));
            }
        }
        Ok((exact, true))
    }
}
