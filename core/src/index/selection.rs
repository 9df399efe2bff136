//! The rows that match a filter, as far as lookups can tell, and the closer look at the others.

use super::{Index, Published};
use crate::filter::Filter;
use crate::filter::probe::Probe;
use crate::{Control, Error, Result, Slot, sync};
use roaring::RoaringBitmap;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

/// Payloads read at once.
const PAGE: usize = 256;
/// Undecided rows looked at to guess how many of them match.
const SAMPLE: u64 = 48;

/// The rows that match a filter in one committed state. See [`Index::select`].
///
/// Keeps showing that state, whose rows stay readable while it is held. A payload changed later may or may not show its
/// change.
#[derive(Clone, Debug)]
pub struct Selection {
    pub(crate) state: Arc<Published>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) sets: Arc<Sets>,
}

/// What lookups said.
#[derive(Debug)]
pub(crate) struct Sets {
    pub(crate) sure: RoaringBitmap,
    /// Rows whose payloads must be read.
    pub(crate) unsure: RoaringBitmap,
    /// Both; left empty where all is sure.
    both: RoaringBitmap,
    /// All matches, once somebody wanted to know.
    decided: OnceLock<Arc<Sets>>,
    /// Part of the undecided rows that match, by a sample.
    part: OnceLock<f64>,
}

impl Sets {
    fn new(sure: RoaringBitmap, unsure: RoaringBitmap) -> Sets {
        let both = if unsure.is_empty() { RoaringBitmap::new() } else { &sure | &unsure };
        Sets { sure, unsure, both, decided: OnceLock::new(), part: OnceLock::new() }
    }

    /// Rows that may match.
    pub(crate) fn possible(&self) -> &RoaringBitmap {
        if self.unsure.is_empty() { &self.sure } else { &self.both }
    }

    fn bytes(&self) -> usize {
        self.sure.serialized_size() + self.unsure.serialized_size() + self.both.serialized_size()
    }
}

impl Selection {
    /// What is known best by now.
    pub(crate) fn sets(&self) -> &Arc<Sets> {
        self.sets.decided.get().unwrap_or(&self.sets)
    }
}

/// Selections of the state that is published, for callers who ask the same again.
#[derive(Default)]
pub(crate) struct Recent(Mutex<VecDeque<Kept>>);

struct Kept {
    filter: Arc<str>,
    /// Of the state: the first write has the number that the empty state before it has, but more slots.
    seq: u64,
    slots: u32,
    sets: Arc<Sets>,
}

/// Most selections and bytes kept.
const MOST_KEPT: usize = 32;
const MOST_BYTES: usize = 8 << 20;

impl Recent {
    fn find(&self, filter: &str, state: &Published) -> Option<Arc<Sets>> {
        let mut kept = sync::lock(&self.0);
        kept.retain(|one| one.seq >= state.seq);
        let same = |one: &Kept| (one.seq, one.slots) == (state.seq, state.slots) && &*one.filter == filter;
        let at = kept.iter().position(same)?;
        let found = kept.remove(at)?;
        let sets = Arc::clone(&found.sets);
        kept.push_back(found);
        Some(sets)
    }

    fn keep(&self, filter: &Arc<str>, state: &Published, sets: &Arc<Sets>) {
        let mut kept = sync::lock(&self.0);
        let (filter, sets) = (Arc::clone(filter), Arc::clone(sets));
        kept.push_back(Kept { filter, seq: state.seq, slots: state.slots, sets });
        let mut bytes: usize = kept.iter().map(|one| one.sets.bytes()).sum();
        while kept.len() > MOST_KEPT || bytes > MOST_BYTES {
            match kept.pop_front() {
                Some(gone) => bytes -= gone.sets.bytes(),
                None => break,
            }
        }
    }
}

impl Index {
    /// The rows committed now that match `filter`, to search among, count or read.
    ///
    /// Costs lookups in the payload index, none where the same was asked since the last write. Payloads are read later,
    /// only for rows about which the index cannot decide, and only where a call needs to know.
    pub fn select(&self, filter: &Arc<Filter>) -> Result<Selection> {
        self.reading()?;
        let (state, live) = self.state();
        let source = filter.source();
        if let Some(sets) = source.and_then(|source| self.selections.find(source, &state)) {
            return Ok(Selection { state: self.pin(&state), filter: Arc::clone(filter), sets });
        }
        let probe = Probe::compile(filter, &self.rules);
        let (answer, _) = self.answer(&probe, &live)?;
        let sets = Arc::new(Sets::new(answer.sure, answer.unsure));
        if let Some(source) = source {
            self.selections.keep(source, &state, &sets);
        }
        Ok(Selection { state: self.pin(&state), filter: Arc::clone(filter), sets })
    }

    /// How many rows match. Exact: reads the payloads of the rows that the index could not decide on.
    pub fn count_selected(&self, selection: &Selection, control: &Control<'_>) -> Result<u64> {
        self.reading()?;
        Ok(self.decide(selection, control)?.sure.len())
    }

    /// All matches, every undecided row looked at.
    pub(crate) fn decide(&self, selection: &Selection, control: &Control<'_>) -> Result<Arc<Sets>> {
        let sets = &selection.sets;
        if sets.unsure.is_empty() {
            return Ok(Arc::clone(sets));
        }
        if let Some(decided) = sets.decided.get() {
            return Ok(Arc::clone(decided));
        }
        let mut matching = Vec::new();
        let mut rows = sets.unsure.iter();
        loop {
            control.check()?;
            let page: Vec<Slot> = rows.by_ref().take(PAGE).collect();
            if page.is_empty() {
                break;
            }
            let matches = self.matches(&selection.filter, &page)?;
            matching
                .extend(page.into_iter().zip(matches).filter(|&(_, matches)| matches).map(|(slot, _)| slot));
        }
        let mut sure = sets.sure.clone();
        sure.extend(matching);
        let decided = sets.decided.get_or_init(|| Arc::new(Sets::new(sure, RoaringBitmap::new())));
        Ok(Arc::clone(decided))
    }

    /// Whether the payload of each row matches.
    pub(crate) fn matches(&self, filter: &Filter, slots: &[Slot]) -> Result<Vec<bool>> {
        let empty = Value::Object(serde_json::Map::new());
        let payloads = self.payloads_of(slots)?;
        let matches = payloads.into_iter().zip(slots).map(|(text, &slot)| match text {
            None => Ok(filter.matches(&empty)),
            Some(text) => {
                let document: Value = serde_json::from_str(&text).map_err(|error| {
                    Error::corrupt(format!("the payload of the row at slot {slot} is not JSON: {error}"))
                })?;
                Ok(filter.matches(&document))
            }
        });
        matches.collect()
    }

    /// The part of the undecided rows that match, guessed from a few spread evenly; never quite none or all.
    pub(crate) fn guess(&self, selection: &Selection) -> Result<f64> {
        let sets = selection.sets();
        if let Some(&part) = sets.part.get() {
            return Ok(part);
        }
        let count = sets.unsure.len();
        let size = count.min(SAMPLE);
        let picked = (0..size).filter_map(|i| sets.unsure.select((i * count / size.max(1)) as u32));
        let picked: Vec<Slot> = picked.collect();
        let found = self.matches(&selection.filter, &picked)?.into_iter().filter(|&matches| matches).count();
        let part = (found as f64 + 0.25) / (size as f64 + 0.5);
        Ok(*sets.part.get_or_init(|| part))
    }
}
