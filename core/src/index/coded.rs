//! Codes as the index uses them: when they are made, and how their answers become exact.

use super::Index;
use crate::codes::{Coded, Missing};
use crate::hnsw::{node_of_key, rank_of_key, sort_key};
use crate::{Result, Slot};
use std::sync::atomic::Ordering;

/// Rows below which there are no codes: so few are scanned.
const LEAST: u32 = 128;
/// Most rows that the centre of all is taken from, and most numbers.
const SAMPLE: u32 = 1024;
const SAMPLED: u32 = 1 << 20;
/// How far off others may be than the farthest of those that were measured.
const FARTHER: f32 = 2.0;
/// Segments made by one search: it is its caller who waits.
const PER_SEARCH: usize = 8;
/// The same for a chunk of rows written.
const PER_CHUNK: usize = 32;

impl Index {
    /// `query` to be measured against codes, where there are some.
    pub(crate) fn coded(&self, query: &[f32]) -> Option<Coded> {
        if self.codes.is_idle() {
            self.begin_codes();
        }
        self.codes.query(query)
    }

    /// Decides how vectors become codes once there are rows to tell.
    pub(crate) fn begin_codes(&self) {
        let rows = self.allocated.load(Ordering::Acquire);
        if rows < LEAST {
            return;
        }
        let count = SAMPLE.min(rows).min((SAMPLED / self.config.dim).max(1));
        let mut sample = Vec::with_capacity((count * self.config.dim) as usize);
        for at in 0..u64::from(count) {
            // A damaged row is for those to report who need it.
            if let Ok(row) = self.vectors.row((at * u64::from(rows) / u64::from(count)) as Slot) {
                sample.extend_from_slice(&row);
            }
        }
        self.codes.begin(&sample);
    }

    /// [`Index::begin_codes`] for the writer, who then has a code for every row: what is linked must not depend on who
    /// searched before.
    pub(crate) fn begin_codes_of_all(&self) {
        if self.codes.is_idle() {
            self.begin_codes();
            let rows = self.allocated.load(Ordering::Acquire);
            if !self.codes.is_idle() && rows < 2 * LEAST {
                self.codes.all_missing(rows).iter().for_each(|missing| self.make_codes(missing));
            }
        }
        self.make_missing(PER_CHUNK);
    }

    fn make_codes(&self, missing: &Missing) {
        let rows = self.allocated.load(Ordering::Acquire);
        let row = |slot| if slot < rows { self.vectors.row(slot).ok() } else { None };
        self.codes.make(missing, row);
    }

    fn make_missing(&self, most: usize) {
        for _ in 0..most {
            let Some(missing) = self.codes.missing() else { break };
            self.make_codes(&missing);
        }
    }

    /// Places in the pool of a walk on codes that is to find `wanted` rows: some more than asked for, as some will change
    /// places.
    pub(crate) fn coded_pool(ef: usize, wanted: usize) -> usize {
        ef.max(wanted + wanted / 2 + 8)
    }

    /// To be called at the end of a search: makes some of what it missed.
    pub(crate) fn note_search(&self, coded: Option<Coded>) {
        if let Some(coded) = coded {
            self.codes.note(&coded);
            self.make_missing(PER_SEARCH);
        }
    }

    /// The nodes of `found`, ascending, as a walk on codes left them: the nearest of them by their vectors, enough for
    /// `wanted`, nearest first. `None` where codes are too coarse for these rows to tell which are near.
    pub(crate) fn exactly(
        &self,
        query: &[f32],
        found: Vec<u64>,
        wanted: usize,
        ef: usize,
    ) -> Result<Option<Vec<u64>>> {
        let full = found.len() >= ef;
        let worst = found.last().map_or(0.0, |&key| rank_of_key(key));
        let (mut exact, mut off): (Vec<u64>, f32) = (Vec::new(), 0.0);
        let mut ranks = Vec::new();
        let mut next = Index::coded_pool(0, wanted).min(found.len());
        while exact.len() < next {
            let some = &found[exact.len()..next];
            self.ranks(query, some.iter().map(|&key| node_of_key(key)), &mut ranks)?;
            for (&key, &rank) in some.iter().zip(&ranks) {
                off = off.max((rank_of_key(key) - rank).abs());
                exact.push(sort_key(rank, node_of_key(key)));
            }
            exact.sort_unstable();
            // Who is off somewhat farther than those were may belong to the nearest.
            let last = exact.get(wanted - 1).map_or(f32::INFINITY, |&key| rank_of_key(key));
            next = found.partition_point(|&key| rank_of_key(key) <= last + FARTHER * off).max(next);
            if full && worst <= last + off {
                return Ok(None);
            }
        }
        Ok(Some(exact))
    }
}
