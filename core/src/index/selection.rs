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
/// Most rows that a walk begins at.
const MOST_SEEDS: u64 = 128;
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
    /// A bit per slot for all that may match, once asked for: hundreds of times per node of a walk, which a compressed
    /// set is too slow for.
    bits: OnceLock<Arc<[u64]>>,
    /// The same rows as a walk wants them, once one has begun.
    ground: OnceLock<Ground>,
}

/// The rows that may match, as a walk over them wants them.
#[derive(Debug)]
pub(crate) struct Ground {
    bits: Arc<[u64]>,
    /// Whether some of them hang on nodes with the same vector.
    pub(crate) chains: bool,
    /// Some that are nodes, spread evenly over the order of insertion.
    pub(crate) seeds: Box<[Slot]>,
}

impl Ground {
    fn new(possible: &RoaringBitmap, bits: &Arc<[u64]>, chained: &RoaringBitmap) -> Ground {
        let count = possible.len();
        let seeds = count.min(MOST_SEEDS);
        let picked = (0..seeds).filter_map(|i| possible.select((i * count / seeds) as u32));
        Ground {
            bits: Arc::clone(bits),
            chains: !possible.is_disjoint(chained),
            seeds: picked.filter(|&seed| !chained.contains(seed)).collect(),
        }
    }

    /// Whether the row may match.
    pub(crate) fn has(&self, slot: Slot) -> bool {
        self.bits.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    /// Some `count` of the seeds, spread as evenly.
    pub(crate) fn some_seeds(&self, count: usize) -> Vec<Slot> {
        let step = (self.seeds.len() / count.max(1)).max(1);
        self.seeds.iter().copied().step_by(step).collect()
    }
}

impl Sets {
    fn new(sure: RoaringBitmap, unsure: RoaringBitmap) -> Sets {
        let both = if unsure.is_empty() { RoaringBitmap::new() } else { &sure | &unsure };
        let (decided, part) = (OnceLock::new(), OnceLock::new());
        Sets { sure, unsure, both, decided, part, bits: OnceLock::new(), ground: OnceLock::new() }
    }

    /// Rows that may match.
    pub(crate) fn possible(&self) -> &RoaringBitmap {
        if self.unsure.is_empty() { &self.sure } else { &self.both }
    }

    /// A bit per slot, up to the last that may match.
    pub(crate) fn bits(&self) -> &Arc<[u64]> {
        self.bits.get_or_init(|| {
            let possible = self.possible();
            let mut bits = vec![0u64; possible.max().map_or(0, |last| last as usize / 64 + 1)];
            possible.iter().for_each(|slot| bits[slot as usize / 64] |= 1 << (slot % 64));
            bits.into()
        })
    }

    /// See [`Ground`]. `chained` are the rows that are not nodes themselves.
    pub(crate) fn ground(&self, chained: &RoaringBitmap) -> &Ground {
        self.ground.get_or_init(|| Ground::new(self.possible(), self.bits(), chained))
    }

    /// Memory, that of the bits included, made or not.
    fn bytes(&self) -> usize {
        let sets = [&self.sure, &self.unsure, &self.both];
        let bits = self.possible().max().map_or(0, |last| last as usize / 8);
        let decided = self.decided.get().map_or(0, |decided| decided.bytes());
        sets.into_iter().map(RoaringBitmap::serialized_size).sum::<usize>() + bits + decided
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

    /// Bytes held, at most [`MOST_BYTES`] and one selection.
    pub(crate) fn memory(&self) -> u64 {
        sync::lock(&self.0).iter().map(|one| one.sets.bytes() as u64).sum()
    }

    fn keep(&self, filter: &Arc<str>, state: &Published, sets: &Arc<Sets>) {
        let mut kept = sync::lock(&self.0);
        let (filter, sets) = (Arc::clone(filter), Arc::clone(sets));
        kept.push_back(Kept { filter, seq: state.seq, slots: state.slots, sets });
        let mut bytes: usize = kept.iter().map(|one| one.sets.bytes()).sum();
        while kept.len() > MOST_KEPT || bytes > MOST_BYTES {
            match kept.pop_front() {
                Some(gone) => bytes = bytes.saturating_sub(gone.sets.bytes()),
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
                let document: Value = serde_json::from_slice(text.as_bytes()).map_err(|error| {
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
