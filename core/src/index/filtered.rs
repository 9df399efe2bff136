//! Searching, reading and deleting among the rows of a [`Selection`].

use super::plan::{self, Inputs, Plan};
use super::selection::{Ground, Selection, Sets};
use super::types::{Explain, Include, Row};
use super::walk::{Base, Yield, nearest_of};
use super::watch::Watch;
use super::{Index, Published, SearchParams};
use crate::codes::Coded;
use crate::filter::Filter;
use crate::hnsw::{Bridging, Layer, Scratch, beam, bridged_beam, node_of_key, rank_of_key, sort_key};
use crate::{Control, Result, Slot, sync};
use roaring::RoaringBitmap;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// Matches that a walk over them begins at, and where they are away from the query: there the nearest lie in several
/// directions.
const SEEDS: usize = 32;
const AWAY_SEEDS: usize = 128;
/// Times the expected cost at which a sweep gives up: the matches are not where the query is.
const PATIENCE: f64 = 2.5;
/// Rows measured between two looks at the caller's signal.
const RUN: usize = 1024;

/// A selection as one search sees it.
pub(crate) struct Selected<'a> {
    index: &'a Index,
    filter: &'a Filter,
    sets: Arc<Sets>,
    chained: Arc<RoaringBitmap>,
    /// What a closer look said.
    looked: RefCell<HashMap<Slot, bool>>,
}

impl<'a> Selected<'a> {
    fn new(index: &'a Index, selection: &'a Selection) -> Self {
        Selected {
            index,
            filter: &selection.filter,
            sets: Arc::clone(selection.sets()),
            chained: Arc::clone(&sync::lock(&index.chained)),
            looked: RefCell::default(),
        }
    }

    fn ground(&self) -> &Ground {
        self.sets.ground(&self.chained)
    }

    /// Whether a row at `node` may match.
    pub(crate) fn may_have(&self, node: Slot) -> bool {
        let ground = self.ground();
        ground.has(node) || ground.chains && self.index.chain(node).skip(1).any(|slot| ground.has(slot))
    }

    /// Whether a row at `node` matches.
    pub(crate) fn has(&self, node: Slot) -> Result<bool> {
        let ground = self.ground();
        if self.sets.unsure.is_empty() {
            return Ok(self.may_have(node));
        }
        if ground.has(node) && self.has_slot(node)? {
            return Ok(true);
        }
        if ground.chains {
            for slot in self.index.chain(node).skip(1) {
                if self.has_slot(slot)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether the row matches.
    fn has_slot(&self, slot: Slot) -> Result<bool> {
        if self.sets.sure.contains(slot) {
            return Ok(true);
        }
        if !self.sets.unsure.contains(slot) {
            return Ok(false);
        }
        if let Some(&known) = self.looked.borrow().get(&slot) {
            return Ok(known);
        }
        let matches = self.index.matches(self.filter, &[slot])?.contains(&true);
        self.looked.borrow_mut().insert(slot, matches);
        Ok(matches)
    }
}

impl Bridging for Base<'_> {
    fn member(&self, node: u32) -> bool {
        match self.yields {
            Yield::Selected(selected) => selected.may_have(node),
            _ => true,
        }
    }
}

/// The part of the nodes around `entry` that are members.
fn part_around(layer: &mut Base<'_>, entry: Slot) -> Result<f64> {
    let (mut near, mut far) = (Vec::new(), Vec::new());
    layer.links(entry, &[], &mut near)?;
    let (mut members, mut nodes) = (u32::from(layer.member(entry)), 1u32);
    for &node in &near {
        layer.links(node, &[], &mut far)?;
        nodes += far.len() as u32;
        members += far.iter().filter(|&&node| layer.member(node)).count() as u32;
    }
    Ok(f64::from(members) / f64::from(nodes))
}

/// One filtered search.
struct Search<'a> {
    index: &'a Index,
    query: &'a [f32],
    wanted: usize,
    ef: usize,
    watch: &'a Watch<'a>,
    state: &'a Published,
    coded: Option<Coded>,
    inputs: Inputs,
    selected: Selected<'a>,
    explain: Explain,
}

impl Index {
    /// The `wanted` nearest rows of `selection` as ascending sort keys; fewer only where there are fewer, or it is late.
    pub(crate) fn nearest_selected(
        &self,
        query: &[f32],
        params: &SearchParams,
        selection: &Selection,
        forced: Option<Plan>,
        watch: &Watch<'_>,
        scratch: &mut Scratch,
    ) -> Result<(Vec<u64>, Explain)> {
        let sets = Arc::clone(selection.sets());
        let possible = sets.possible().len();
        let rows = selection.state.live;
        let part = if sets.unsure.is_empty() { 1.0 } else { self.guess(selection)? };
        let guessed = sets.sure.len() + (sets.unsure.len() as f64 * part).round() as u64;
        let explain = Explain {
            plan: "none",
            rows,
            matches: guessed,
            exact: sets.unsure.is_empty(),
            undecided: sets.unsure.len(),
            ..Explain::default()
        };
        if possible == 0 {
            return Ok((Vec::new(), explain));
        }
        let wanted = (params.k + params.offset).min(usize::try_from(possible).unwrap_or(usize::MAX));
        let by_codes = self.measures_codes();
        let ef = params.ef_search.max(wanted);
        let ef = if by_codes { Index::coded_pool(ef, wanted) } else { ef };
        // Of the rows that may match, this part does.
        let dense = (guessed as f64 / possible as f64).clamp(1e-6, 1.0);
        let prices = if by_codes { plan::BY_CODES } else { plan::BY_VECTORS };
        let looks = if sets.unsure.is_empty() { 0.0 } else { prices.check };
        let slots = selection.state.slots;
        let (scanned, whole) = if sets.unsure.is_empty() && self.sketches.fit(slots) {
            (prices.sketched, f64::from(slots) * f64::from(self.config.dim) * prices.whole)
        } else {
            (prices.scanned, f64::INFINITY)
        };
        let inputs = Inputs {
            rows: rows as f64,
            matches: possible as f64,
            around: possible as f64 / rows.max(1) as f64,
            ef: ef as f64 / dense,
            links: f64::from(self.config.m_max0),
            per_place: self.calibration.per_place(),
            scanned,
            whole,
            prices,
            scan_looks: looks * (wanted as f64 / dense).min(sets.unsure.len() as f64),
            walk_looks: looks * ef as f64 / dense,
        };
        let selected = Selected::new(self, selection);
        let state = &*selection.state;
        let mut search =
            Search { index: self, query, wanted, ef, watch, state, coded: None, inputs, selected, explain };
        let keys = search.run(forced, scratch)?;
        self.note_search(search.coded.take());
        search.explain.checked += search.selected.looked.borrow().len() as u64;
        Ok((keys, search.explain))
    }
}

impl Search<'_> {
    fn run(&mut self, forced: Option<Plan>, scratch: &mut Scratch) -> Result<Vec<u64>> {
        let (mut plan, mut costs) = plan::choose(&self.inputs);
        let mut entry = None;
        if forced.unwrap_or(plan) != Plan::Scan {
            self.coded = self.index.coded(self.query);
        }
        if forced.unwrap_or(plan) != Plan::Scan
            && let Some(node) = self.index.descend(self.query, self.coded.as_ref(), 1, scratch)?
        {
            let slot = self.index.upper.slot(node);
            entry = Some(slot);
            let mut layer =
                Base::new(self.index, self.query, self.coded.as_ref(), Yield::Selected(&self.selected));
            self.inputs.around = part_around(&mut layer, slot)?;
            (plan, costs) = plan::choose(&self.inputs);
        }
        plan = forced.unwrap_or(plan);
        self.explain.costs = costs;
        self.explain.plan = plan.name();
        let mut attempts = vec![plan];
        if plan == Plan::Sweep && costs[1] < costs[0] {
            attempts.push(Plan::Bridge);
        }
        attempts.push(Plan::Scan);
        let mut keys = Vec::new();
        for attempt in attempts {
            let (found, enough) = match (attempt, entry) {
                (Plan::Bridge, Some(entry)) => self.bridge(entry, scratch)?,
                (Plan::Sweep, Some(entry)) => self.sweep(entry, scratch)?,
                _ => (self.scan()?, true),
            };
            if self.watch.is_late() {
                // What was found before has to do as well.
                keys = nearest_of(keys, found);
                keys.truncate(self.wanted);
                break;
            }
            keys = found;
            if enough {
                self.explain.fell_back = attempt != plan;
                break;
            }
        }
        Ok(keys)
    }

    /// Measures every row that may match and takes the nearest that do.
    fn scan(&mut self) -> Result<Vec<u64>> {
        let sets = Arc::clone(&self.selected.sets);
        self.explain.measured += sets.possible().len();
        if sets.unsure.is_empty() {
            return self.index.scan_set(self.query, &sets, self.state, self.wanted, self.watch);
        }
        let mut all: Vec<Reverse<u64>> = Vec::new();
        let mut ranks = Vec::with_capacity(RUN);
        let mut slots = sets.possible().iter();
        self.watch.check()?;
        loop {
            let run: Vec<Slot> = slots.by_ref().take(RUN).collect();
            if run.is_empty() {
                break;
            }
            self.index.ranks(self.query, run.iter().copied(), &mut ranks)?;
            all.extend(run.iter().zip(&ranks).map(|(&slot, &rank)| Reverse(sort_key(rank, slot))));
            if self.watch.stops()? {
                break;
            }
        }
        // Nearest first, so that no payload is read that cannot matter.
        let mut heap = BinaryHeap::from(all);
        let mut keys = Vec::with_capacity(self.wanted);
        let mut looked = 0u32;
        while keys.len() < self.wanted
            && let Some(Reverse(key)) = heap.pop()
        {
            // Late or not, some are looked at.
            looked += 1;
            if looked.is_multiple_of(64) && self.watch.stops()? {
                break;
            }
            if self.selected.has_slot(node_of_key(key))? {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Walks over the matches, and tells whether that found enough at its price.
    fn bridge(&mut self, entry: Slot, scratch: &mut Scratch) -> Result<(Vec<u64>, bool)> {
        let count = self.selected.sets.possible().len();
        let away = self.inputs.is_away();
        let ef = if away { self.ef * plan::AWAY_EF } else { self.ef };
        let seeds = self.selected.ground().some_seeds(if away { AWAY_SEEDS } else { SEEDS });
        let mut layer =
            Base::new(self.index, self.query, self.coded.as_ref(), Yield::Selected(&self.selected));
        let watch = self.watch;
        let mut stop = || watch.stops_at_hop();
        let ended = bridged_beam(&mut layer, entry, &seeds, ef, count, scratch, &mut stop)?;
        drop(layer);
        self.note(scratch);
        // A pool that stayed short says that the matches do not hang together.
        let short = (scratch.found.len() as u64) < count.min(self.ef as u64);
        self.collect(ended && !short, scratch)
    }

    /// Walks over everything, and tells whether that found enough at its price.
    fn sweep(&mut self, entry: Slot, scratch: &mut Scratch) -> Result<(Vec<u64>, bool)> {
        let most = (self.explain.costs[2] * PATIENCE).max(4096.0) as u64;
        let mut layer =
            Base::new(self.index, self.query, self.coded.as_ref(), Yield::Selected(&self.selected));
        let watch = self.watch;
        let ended = beam(&mut layer, &[entry], self.ef, most, scratch, &mut || watch.stops_at_hop())?;
        drop(layer);
        self.note(scratch);
        self.collect(ended, scratch)
    }

    fn note(&mut self, scratch: &Scratch) {
        self.explain.measured += scratch.effort.measured;
        self.explain.lists += scratch.effort.lists;
    }

    /// The nearest rows of the nodes that a walk found, and whether they are enough where the walk was `good`.
    fn collect(&self, good: bool, scratch: &mut Scratch) -> Result<(Vec<u64>, bool)> {
        // Only who may be late has use for what a failed walk found.
        if !good && !self.watch.is_timed() {
            return Ok((Vec::new(), false));
        }
        let (mut found, mut told) = (scratch.take_found(), true);
        if self.coded.as_ref().is_some_and(Coded::measures) {
            let late = !good || self.watch.is_late();
            (found, told) = self.index.exactly(self.query, found, self.wanted, self.ef, late)?;
        }
        let mut keys = Vec::with_capacity(self.wanted);
        for &key in &found {
            let node = node_of_key(key);
            let more = if self.selected.ground().chains { usize::MAX } else { 1 };
            for slot in self.index.chain(node).take(more) {
                if keys.len() < self.wanted && self.selected.has_slot(slot)? {
                    keys.push(sort_key(rank_of_key(key), slot));
                }
            }
            if keys.len() >= self.wanted {
                return Ok((keys, good && told));
            }
        }
        Ok((keys, false))
    }
}

impl Index {
    /// Up to `limit` rows of `selection` from position `cursor` (0 to begin) in the order of [`Index::scan`], and the
    /// position to go on from, `None` at the end.
    pub fn scan_selected(
        &self,
        selection: &Selection,
        cursor: u32,
        limit: usize,
        include: Include,
        control: &Control<'_>,
    ) -> Result<(Vec<Row>, Option<u32>)> {
        self.reading()?;
        let sets = Arc::clone(selection.sets());
        let limit = limit.max(1);
        let mut slots: Vec<Slot> = Vec::new();
        let mut rows = sets.possible().range(cursor..);
        let mut next = None;
        while slots.len() < limit {
            control.check()?;
            let page: Vec<Slot> = rows.by_ref().take(limit - slots.len()).collect();
            let Some(&last) = page.last() else {
                next = None;
                break;
            };
            next = Some(last + 1);
            let undecided: Vec<Slot> =
                page.iter().copied().filter(|&slot| sets.unsure.contains(slot)).collect();
            let mut matches = self.matches(&selection.filter, &undecided)?.into_iter();
            slots.extend(
                page.into_iter()
                    .filter(|&slot| !sets.unsure.contains(slot) || matches.next().unwrap_or(false)),
            );
        }
        let ids = self.ids_of(&slots)?;
        Ok((self.rows(slots.into_iter().zip(ids).collect(), include)?, next))
    }

    /// Deletes every row that matches, in one commit: all of them or, after an abort or a crash before it, none.
    /// Answers how many there were.
    pub fn delete_where(&self, filter: &Arc<Filter>, control: &Control<'_>) -> Result<u64> {
        self.reading()?;
        // Waiting writers cannot change what matches between the look and the commit.
        let w = self.writing()?;
        let selection = self.select(filter)?;
        let slots: Vec<Slot> = self.decide(&selection, control)?.sure.iter().collect();
        let mut rows = Vec::with_capacity(slots.len());
        for run in slots.chunks(RUN) {
            control.check()?;
            rows.extend(self.ids_of(run)?.into_iter().map(|id| id.to_key()).zip(run.iter().copied()));
        }
        self.delete_rows(w, rows)
    }
}
