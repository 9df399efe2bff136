//! The graph's layers as the algorithms ask for them, and searching.

use super::filtered::Selected;
use super::plan::Plan;
use super::selection::Selection;
use super::types::{Explain, Hit, SearchParams};
use super::watch::Watch;
use super::{Index, Published};
use crate::codes::Coded;
use crate::graph::upper::Node;
use crate::hnsw::{Layer, Scratch, beam, greedy, node_of_key, rank_of_key, sort_key};
use crate::kv::{Read, Space};
use crate::simd;
use crate::vectors::RowRef;
use crate::{Control, Error, MAX_K, Metric, Pool, Result, Slot, sync};
use roaring::RoaringBitmap;
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

/// Lists fetched from the store at once: the one asked for and those likely to be asked for next.
const FETCH: usize = 16;
/// Rows on their way from memory while one is measured. WebAssembly cannot ask for them early.
const AHEAD: usize = if cfg!(target_family = "wasm") { 1 } else { 4 };

/// What a search gives, and how.
type Found = (Vec<Hit>, Explain);

/// Who may be a result of a walk.
pub(crate) enum Yield<'a> {
    /// Rows of a committed state.
    Visible(&'a Published),
    /// Rows that match a filter.
    Selected(&'a Selected<'a>),
    /// Rows that are not dead, committed or not: what a new row links to.
    Alive,
}

/// Layer 0: adjacency through the cache over the store, vectors through theirs.
pub(crate) struct Base<'a> {
    index: &'a Index,
    query: &'a [f32],
    coded: Option<&'a Coded>,
    pub(crate) yields: Yield<'a>,
    view: Option<(u64, Box<dyn Read + 'a>)>,
}

impl<'a> Base<'a> {
    pub(crate) fn new(
        index: &'a Index,
        query: &'a [f32],
        coded: Option<&'a Coded>,
        yields: Yield<'a>,
    ) -> Self {
        Base { index, query, coded, yields, view: None }
    }
}

impl Layer for Base<'_> {
    fn links(&mut self, node: u32, pending: &[Reverse<u64>], out: &mut Vec<u32>) -> Result<()> {
        if !self.index.adjacency.read(node, out) {
            let searching = matches!(self.yields, Yield::Visible(_) | Yield::Selected(_));
            self.index.fetch_links(&mut self.view, node, pending, searching, out)?;
        }
        out.iter_mut().for_each(|link| *link = crate::kv::links::slot(*link));
        Ok(())
    }

    fn soon(&self, node: u32) {
        if simd::PREFETCHES {
            self.index.adjacency.soon(node);
        }
    }

    fn sometime(&self, node: u32) {
        if simd::PREFETCHES {
            self.index.adjacency.sometime(node);
        }
    }

    fn ranks(&mut self, nodes: &[u32], worst: f32, out: &mut Vec<f32>) -> Result<()> {
        self.index.walk_ranks(self.query, self.coded, nodes, worst, out)
    }

    fn yields(&mut self, node: u32) -> Result<bool> {
        Ok(match self.yields {
            Yield::Selected(selected) => return selected.has(node),
            // Few have twins, so the node itself is asked first.
            Yield::Visible(state) => {
                self.index.visible(state, node)
                    || self.index.chain(node).any(|slot| self.index.visible(state, slot))
            }
            Yield::Alive => self.index.alive(node),
        })
    }
}

/// A layer above 0.
pub(crate) struct Above<'a> {
    pub(crate) index: &'a Index,
    pub(crate) query: &'a [f32],
    pub(crate) coded: Option<&'a Coded>,
    pub(crate) level: u32,
    /// Where nodes lie that are being measured.
    slots: Vec<Slot>,
}

impl<'a> Above<'a> {
    pub(crate) fn new(index: &'a Index, query: &'a [f32], coded: Option<&'a Coded>, level: u32) -> Self {
        Above { index, query, coded, level, slots: Vec::new() }
    }
}

impl Layer for Above<'_> {
    fn links(&mut self, node: u32, _pending: &[Reverse<u64>], out: &mut Vec<u32>) -> Result<()> {
        self.index.upper.links(node, self.level, out);
        Ok(())
    }

    fn ranks(&mut self, nodes: &[u32], worst: f32, out: &mut Vec<f32>) -> Result<()> {
        self.slots.clear();
        self.slots.extend(nodes.iter().map(|&node| self.index.upper.slot(node)));
        self.index.walk_ranks(self.query, self.coded, &self.slots, worst, out)
    }

    /// Only planning asks: a new row links to those that stay.
    fn yields(&mut self, node: u32) -> Result<bool> {
        Ok(self.index.alive(self.index.upper.slot(node)))
    }
}

impl Index {
    /// The row of `slot`; an error names the row by its id where that can be found.
    pub(crate) fn vector(&self, slot: Slot) -> Result<RowRef> {
        self.vectors.row(slot).map_err(|error| match self.id_of(slot) {
            Ok(Some(id)) => error.at(format!("row {id}")),
            _ => error,
        })
    }

    /// Replaces `out` with the ordering keys of `slots`.
    pub(crate) fn ranks(
        &self,
        query: &[f32],
        slots: impl Iterator<Item = Slot> + Clone,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        out.clear();
        out.extend(slots.clone().map(|_| 0.0));
        self.measure(query, Cell::from_mut(out.as_mut_slice()).as_slice_of_cells().iter().zip(slots))
    }

    /// Puts the ordering keys of slots beside them. Rows are random accesses to memory, so each is asked for a few steps
    /// before it is measured.
    fn measure<'a>(&self, query: &[f32], slots: impl Iterator<Item = (&'a Cell<f32>, Slot)>) -> Result<()> {
        let metric = self.config.metric;
        let length = (metric == Metric::Cosine).then(|| self.kernels.dot(query, query).sqrt());
        let measure = |(to, row): (&Cell<f32>, RowRef)| {
            to.set(metric.rank_of_lengths(self.kernels, query, &row, length.zip(row.length())));
        };
        let mut ahead: [Option<(&Cell<f32>, RowRef)>; AHEAD] = [const { None }; AHEAD];
        let mut at = 0;
        for (to, slot) in slots {
            let row = self.vector(slot)?;
            simd::prefetch(&row);
            if let Some(due) = ahead[at].replace((to, row)) {
                measure(due);
            }
            at = if at + 1 < AHEAD { at + 1 } else { 0 };
        }
        ahead.into_iter().flatten().for_each(measure);
        Ok(())
    }

    /// [`Index::ranks`] as a walk wants them that has no use for rows at `worst` or beyond.
    fn walk_ranks(
        &self,
        query: &[f32],
        coded: Option<&Coded>,
        slots: &[Slot],
        worst: f32,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let Some(coded) = coded else { return self.ranks(query, slots.iter().copied(), out) };
        if coded.measures() {
            return self.coded_ranks(query, coded, slots, out);
        }
        if simd::PREFETCHES {
            slots.iter().for_each(|&slot| coded.soon(slot));
        }
        out.clear();
        out.extend(slots.iter().map(|&slot| if coded.is_beyond(slot, worst) { f32::INFINITY } else { 0.0 }));
        let ranks = Cell::from_mut(out.as_mut_slice()).as_slice_of_cells();
        self.measure(query, ranks.iter().zip(slots.iter().copied()).filter(|(rank, _)| rank.get() == 0.0))
    }

    /// [`Index::ranks`] by codes, where these tell.
    fn coded_ranks(&self, query: &[f32], coded: &Coded, slots: &[Slot], out: &mut Vec<f32>) -> Result<()> {
        coded.ranks(slots, out);
        for (rank, &slot) in out.iter_mut().zip(slots) {
            if rank.is_nan() {
                *rank = self.rank(query, &self.vector(slot)?);
            }
        }
        Ok(())
    }

    /// Reads a list that is not cached, and with it those of the next candidates that are not either.
    fn fetch_links<'a>(
        &'a self,
        view: &mut Option<(u64, Box<dyn Read + 'a>)>,
        node: Slot,
        pending: &[Reverse<u64>],
        searching: bool,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        // An older view would do for reading, but its lists would not be kept.
        let epoch = self.adjacency.epoch();
        if view.as_ref().is_none_or(|(taken, _)| *taken != epoch) {
            *view = Some((epoch, self.kv.view()?));
        }
        let Some((epoch, view)) = view else { return Ok(()) };
        let around = self.adjacency.fetch_around(&**view, *epoch, node);
        if searching && around > 0 && self.mix.note_reads(around) {
            self.kv.fold(Space::Links);
        }
        if self.adjacency.read(node, out) {
            return Ok(());
        }
        let mut wanted = vec![node];
        let soon = pending.iter().map(|&Reverse(key)| node_of_key(key));
        wanted.extend(soon.take(2 * FETCH).filter(|&slot| !self.adjacency.contains(slot)).take(FETCH - 1));
        if searching && self.mix.note_reads(wanted.len() as u64) {
            self.kv.fold(Space::Links);
        }
        let found = self.adjacency.fetch(&**view, *epoch, &wanted, &mut |slot, list| {
            if slot == node {
                out.clear();
                out.extend_from_slice(list);
            }
        });
        // A list written after the view was taken is in the cache.
        match found {
            Err(_) if self.adjacency.read(node, out) => Ok(()),
            found => found.map_err(|error| match self.id_of(node) {
                Ok(Some(id)) => error.at(format!("row {id}")),
                _ => error,
            }),
        }
    }

    /// Greedy from the entry point down to `level` (above 0). `None` for an empty graph.
    pub(crate) fn descend(
        &self,
        query: &[f32],
        coded: Option<&Coded>,
        to: u32,
        scratch: &mut Scratch,
    ) -> Result<Option<Node>> {
        let Some((mut node, top)) = self.upper.entry() else { return Ok(None) };
        for level in (to.max(1)..=top).rev() {
            node = greedy(&mut Above::new(self, query, coded, level), node, scratch)?;
        }
        Ok(Some(node))
    }

    /// The `k` rows nearest to `query` after the first `offset`, nearest first.
    ///
    /// Always min(k, rows - offset) hits, whatever was deleted, unless `max_distance` leaves some out or the deadline passes.
    /// Finds the true neighbours with high probability; `ef_search` trades time for it. Distances are exact.
    /// Fails with `DIMENSION_MISMATCH`, `INVALID_ARGUMENT`, `ABORTED`, or `CORRUPT` naming the damaged row.
    pub fn search(&self, query: &[f32], params: &SearchParams, control: &Control<'_>) -> Result<Vec<Hit>> {
        Ok(self.search_among(query, params, None, control)?.0)
    }

    /// [`Index::search`] among the rows of `selection`, where one is given: always min(k, matches - offset) hits, at
    /// the same recall. Also tells how that was done.
    pub fn search_among(
        &self,
        query: &[f32],
        params: &SearchParams,
        selection: Option<&Selection>,
        control: &Control<'_>,
    ) -> Result<(Vec<Hit>, Explain)> {
        self.search_by(query, params, selection, None, control)
    }

    /// [`Index::search_among`] by the plan of that name (see [`Explain::plan`]) instead of the cheapest: to see what
    /// it would have cost. `INVALID_ARGUMENT` for no known plan.
    pub fn search_by_plan(
        &self,
        query: &[f32],
        params: &SearchParams,
        selection: &Selection,
        plan: &str,
        control: &Control<'_>,
    ) -> Result<(Vec<Hit>, Explain)> {
        let plan = [Plan::Scan, Plan::Bridge, Plan::Sweep].into_iter().find(|known| known.name() == plan);
        let plan = plan.ok_or_else(|| Error::invalid("a plan is one of scan, bridge, sweep"))?;
        self.search_by(query, params, Some(selection), Some(plan), control)
    }

    fn search_by(
        &self,
        query: &[f32],
        params: &SearchParams,
        selection: Option<&Selection>,
        forced: Option<Plan>,
        control: &Control<'_>,
    ) -> Result<(Vec<Hit>, Explain)> {
        self.reading()?;
        self.validate_search(query, params)?;
        // The other half is for the search itself.
        let half = params.deadline.map(|deadline| deadline / 2.0);
        let (params, recall) = self.widened(params, &Watch::new(control, control.called, half))?;
        let watch = Watch::new(control, control.called, params.deadline);
        self.search_within(query, &params, recall, selection, forced, &watch)
    }

    /// `params` with the pool that the recall asked for takes, where one is, and the recall that is expected of it.
    fn widened(&self, params: &SearchParams, watch: &Watch<'_>) -> Result<(SearchParams, Option<f64>)> {
        let Some(recall) = params.recall else { return Ok((*params, None)) };
        let width = self.width_for(recall, params.k + params.offset, watch)?;
        Ok((SearchParams { ef_search: width.ef_search, ..*params }, width.recall))
    }

    fn search_within(
        &self,
        query: &[f32],
        params: &SearchParams,
        recall: Option<f64>,
        selection: Option<&Selection>,
        forced: Option<Plan>,
        watch: &Watch<'_>,
    ) -> Result<Found> {
        // Held until the hits are complete, so that nothing found is taken away.
        let state = self.published.load_full();
        let (found, mut explain) = self.with_scratch(|scratch| match selection {
            Some(selection) => self.nearest_selected(query, params, selection, forced, watch, scratch),
            None => {
                let wanted =
                    (params.k + params.offset).min(usize::try_from(state.live).unwrap_or(usize::MAX));
                self.nearest(&state, query, wanted, params, watch, scratch)
            }
        })?;
        explain.ef_search = params.ef_search.max(params.k + params.offset);
        explain.recall = recall;
        explain.complete = !watch.is_late();
        let near = |rank| params.max_distance.is_none_or(|limit| self.config.metric.distance(rank) <= limit);
        let rows: Vec<(Slot, f32)> = found
            .into_iter()
            .skip(params.offset)
            .map(|key| (node_of_key(key), rank_of_key(key)))
            .filter(|&(_, rank)| near(rank))
            .collect();
        let hits = self.hits(&rows, params.include)?;
        drop(state);
        Ok((hits, explain))
    }

    /// [`Index::search`] for many queries (`q * dim` numbers), spread over `pool`; answers in their order.
    pub fn search_many(
        &self,
        queries: &[f32],
        params: &SearchParams,
        pool: &dyn Pool,
        control: &Control<'_>,
    ) -> Result<Vec<Vec<Hit>>> {
        let found = self.search_many_among(queries, params, None, pool, control)?;
        Ok(found.into_iter().map(|(hits, _)| hits).collect())
    }

    /// [`Index::search_among`] for many queries (`q * dim` numbers), spread over `pool`; answers in their order.
    pub fn search_many_among(
        &self,
        queries: &[f32],
        params: &SearchParams,
        selection: Option<&Selection>,
        pool: &dyn Pool,
        control: &Control<'_>,
    ) -> Result<Vec<(Vec<Hit>, Explain)>> {
        self.reading()?;
        let dim = self.config.dim as usize;
        if !queries.len().is_multiple_of(dim) {
            return Err(Error::new(
                crate::Code::DimensionMismatch,
                format!("{} numbers are no whole number of vectors of dimension {dim}", queries.len()),
            ));
        }
        for (i, query) in queries.chunks_exact(dim).enumerate() {
            self.validate_search(query, params).map_err(|error| error.at(format!("query {i}")))?;
        }
        let (params, recall) = self.widened(params, &Watch::without(control))?;
        let count = queries.len() / dim;
        let results: Vec<Mutex<Result<Found>>> =
            (0..count).map(|_| Mutex::new(Ok(Found::default()))).collect();
        pool.for_each(count, &|i| {
            let found = control.check().and_then(|()| {
                let from = if params.deadline.is_some() { (control.now)() } else { 0.0 };
                let watch = Watch::new(control, from, params.deadline);
                self.search_within(&queries[i * dim..][..dim], &params, recall, selection, None, &watch)
            });
            *sync::lock(&results[i]) = found;
        });
        results.into_iter().map(|result| result.into_inner().unwrap_or_else(|e| e.into_inner())).collect()
    }

    fn validate_search(&self, query: &[f32], params: &SearchParams) -> Result<()> {
        for (name, value, low) in
            [("k", params.k, 1), ("efSearch", params.ef_search, 1), ("offset", params.offset, 0)]
        {
            if value < low || value > MAX_K {
                return Err(Error::invalid(format!(
                    "{name} must be an integer from {low} to {MAX_K}, not {value}"
                )));
            }
        }
        if params.k + params.offset > MAX_K {
            return Err(Error::invalid(format!("k + offset must be at most {MAX_K}")));
        }
        if params.deadline.is_some_and(|ms| ms.is_nan() || ms <= 0.0) {
            return Err(Error::invalid("deadline must be a positive number of milliseconds"));
        }
        if params.max_distance.is_some_and(f32::is_nan) {
            return Err(Error::invalid("maxDistance must be a number"));
        }
        self.config.metric.validate(self.config.dim, query).map_err(|error| error.at("query"))
    }

    /// The `wanted` nearest visible rows as ascending sort keys; fewer only where there are fewer, or it is late.
    fn nearest(
        &self,
        state: &Published,
        query: &[f32],
        wanted: usize,
        params: &SearchParams,
        watch: &Watch<'_>,
        scratch: &mut Scratch,
    ) -> Result<(Vec<u64>, Explain)> {
        let mut explain = Explain {
            plan: "walk",
            rows: state.live,
            matches: state.live,
            exact: true,
            ..Explain::default()
        };
        if wanted == 0 {
            return Ok((Vec::new(), explain));
        }
        let ef = params.ef_search.max(wanted);
        if self.scan_is_cheaper(state, ef) {
            explain.plan = "scan";
            explain.measured = state.live;
            return Ok((self.scan_nearest(state, query, wanted, watch)?, explain));
        }
        let mut keys = Vec::new();
        let coded = self.coded(query);
        let walk = Walk { index: self, state, query, wanted, ef, watch };
        let (mut found, told) = walk.run(coded.as_ref(), scratch, &mut explain)?;
        if !told {
            let (by_vectors, _) = walk.run(None, scratch, &mut explain)?;
            found = if watch.is_late() { nearest_of(found, by_vectors) } else { by_vectors };
        }
        self.note_search(coded);
        for key in found {
            let rows = self.chain(node_of_key(key)).filter(|&slot| self.visible(state, slot));
            keys.extend(rows.take(wanted - keys.len()).map(|slot| sort_key(rank_of_key(key), slot)));
            if keys.len() >= wanted {
                break;
            }
        }
        if keys.len() < wanted && !watch.is_late() {
            explain.measured += state.live;
            let scanned = self.scan_nearest(state, query, wanted, watch)?;
            explain.fell_back = !watch.is_late();
            keys = if explain.fell_back { scanned } else { nearest_of(keys, scanned) };
            keys.truncate(wanted);
        }
        Ok((keys, explain))
    }

    /// Whether measuring every row costs less than a walk: a pool of half the rows, or rows scattered among so many
    /// that do not count that the walk would step over them all.
    fn scan_is_cheaper(&self, state: &Published, ef: usize) -> bool {
        let ef = ef as u64;
        let swept = self.swept.load(Ordering::Acquire);
        let nodes = u64::from(self.allocated.load(Ordering::Acquire).saturating_sub(swept));
        let crowding = nodes / state.live.max(1);
        // A walk measures about ten nodes per place in its pool, in a crowd of others as many times more.
        state.live <= 2 * ef || crowding >= 2 && state.live <= ef.saturating_mul(10 * crowding)
    }

    fn scan_nearest(
        &self,
        state: &Published,
        query: &[f32],
        wanted: usize,
        watch: &Watch<'_>,
    ) -> Result<Vec<u64>> {
        watch.check()?;
        let mut best = BinaryHeap::with_capacity(wanted + 1);
        for slot in 0..state.slots {
            if slot % 1024 == 1023 && watch.stops()? {
                break;
            }
            if !self.visible(state, slot) {
                continue;
            }
            let key = sort_key(self.rank(query, &self.vector(slot)?), slot);
            if best.len() < wanted {
                best.push(key);
            } else if best.peek().is_some_and(|&worst| key < worst) {
                best.pop();
                best.push(key);
            }
        }
        Ok(best.into_sorted_vec())
    }
}

/// What two attempts at one search found, nearest first, each once.
#[inline(never)]
pub(crate) fn nearest_of(mut keys: Vec<u64>, more: Vec<u64>) -> Vec<u64> {
    keys.extend(more);
    keys.sort_unstable();
    // The same distance, summed in another order, may be another number.
    let mut seen = RoaringBitmap::new();
    keys.retain(|&key| seen.insert(node_of_key(key)));
    keys
}

/// A search without a filter.
struct Walk<'a> {
    index: &'a Index,
    state: &'a Published,
    query: &'a [f32],
    wanted: usize,
    ef: usize,
    watch: &'a Watch<'a>,
}

impl Walk<'_> {
    /// The nodes nearest to the query as ascending sort keys, by their vectors, and whether codes could tell them.
    fn run(
        &self,
        coded: Option<&Coded>,
        scratch: &mut Scratch,
        explain: &mut Explain,
    ) -> Result<(Vec<u64>, bool)> {
        let &Walk { index, state, query, wanted, ef, watch } = self;
        let Some(node) = index.descend(query, coded, 1, scratch)? else { return Ok((Vec::new(), true)) };
        let entry = index.upper.slot(node);
        let measured = coded.is_some_and(Coded::measures);
        let pool = if measured { Index::coded_pool(ef, wanted) } else { ef };
        let mut layer = Base::new(index, query, coded, Yield::Visible(state));
        if beam(&mut layer, &[entry], pool, u64::MAX, scratch, &mut || watch.stops_at_hop())? {
            index.calibration.note(pool, scratch.effort.measured);
        }
        explain.measured += scratch.effort.measured;
        explain.lists += scratch.effort.lists;
        let found = scratch.take_found();
        if measured { index.exactly(query, found, wanted, pool, watch.is_late()) } else { Ok((found, true)) }
    }
}
