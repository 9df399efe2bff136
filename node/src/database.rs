//! The native side of an open database: one method per call of the facade, each returning a promise.

use crate::convert::{
    IdIn, SearchArgs, desk_hits, desk_params, explain_out, fill_hits, hit_lists_out, id_in, id_out, rows_out,
    select, some_rows_out,
};
use crate::handle::Handle;
use crate::open::Facts;
use crate::outcomes::Found;
use crate::pool::Readers;
use crate::reply::{Raw, nothing, promise, to_napi, value};
use crate::signal::{AbortFlag, ReportArgs, Watch, milliseconds};
use crate::stage::Stage;
use asteroid_core::filter::Filter;
use asteroid_core::{
    CheckReport, Control, Include, Inserted, Mode, Problem, Repaired, Result, Rows, SearchParams, Selection,
    Snapshot, Stats, StoreKind,
};
use napi::Env;
use napi::bindgen_prelude::{Float64ArraySlice, Function, Null, Object};
use napi_derive::napi;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Queries of a `searchMany` that go to the engine at a time: between two such runs other long calls get
/// their turn on the threads.
const QUERIES_PER_RUN: usize = 256;

const WHOLE: Include = Include { payload: true, vector: true };

/// An open database. Dropped without `close`, it finishes its queued writes and lets go of its files.
#[napi]
pub struct Database {
    pub(crate) handle: Arc<Handle>,
    facts: Facts,
}

pub(crate) type Promised<'env> = napi::Result<Object<'env>>;

fn checked<T>(result: Result<T>) -> napi::Result<T> {
    result.map_err(|error| to_napi(&error))
}

fn mode(upsert: bool) -> Mode {
    if upsert { Mode::Upsert } else { Mode::Insert }
}

/// What a search asks for, in places of its pool.
fn units(params: &SearchParams) -> u32 {
    u32::try_from(params.ef_search.max(wanted(params))).unwrap_or(u32::MAX)
}

fn wanted(params: &SearchParams) -> usize {
    params.k + params.offset
}

fn brings_more(params: &SearchParams) -> bool {
    params.include.payload || params.include.vector
}

impl Database {
    pub(crate) fn new(handle: Arc<Handle>, facts: Facts) -> Self {
        Database { handle, facts }
    }

    pub(crate) fn kind(&self) -> StoreKind {
        self.facts.kind
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The last reference must not go on the main thread: letting go of the files may take a while.
        let handle = Arc::clone(&self.handle);
        self.handle.queue(move || drop(handle));
    }
}

#[napi]
impl Database {
    /// Numbers per vector.
    #[napi(getter)]
    pub fn dim(&self) -> u32 {
        self.facts.dim
    }

    /// The metric's name.
    #[napi(getter)]
    pub fn metric(&self) -> &'static str {
        self.facts.metric.name()
    }

    /// The store's name.
    #[napi(getter)]
    pub fn storage(&self) -> &'static str {
        self.facts.kind.name()
    }

    /// Writes one row. Gives a ticket, as do the other writes of one row: for [`Database::settled`].
    #[napi]
    pub fn insert(
        &self,
        upsert: bool,
        id: IdIn,
        vector: &[f32],
        payload: Option<String>,
    ) -> napi::Result<f64> {
        let id = checked(id_in(id))?;
        Ok(self.handle.insert(mode(upsert), id, vector.to_vec(), payload))
    }

    /// The outcome of a write that is done: the number `2 * ticket`, and 1 more where there was a row, or an object with
    /// the ticket and the text of an error. Where there is none `undefined`, with `wait` perhaps after a moment; `null`
    /// where it had better wait for [`Database::wake`].
    #[napi]
    pub fn settled(&self, env: &Env, wait: bool) -> napi::Result<Raw> {
        match self.handle.outcomes.take(wait) {
            Found::Later => nothing(env, ()),
            Found::Long => value(env, Null),
            Found::Outcome((ticket, Ok(was))) => value(env, (2 * ticket + u64::from(was)) as f64),
            Found::Outcome((ticket, Err(text))) => {
                let mut out = Object::new(env)?;
                out.set("ticket", ticket as f64)?;
                out.set("text", text)?;
                value(env, out)
            }
        }
    }

    /// Resolves once there is an outcome for [`Database::settled`].
    #[napi]
    pub fn wake<'env>(&self, env: &'env Env) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        self.handle.outcomes.ring(pending);
        Ok(promised)
    }

    /// Takes its place among the writes now, waits there for `stage`, then writes all of its rows or none.
    #[napi]
    pub fn insert_many<'env>(
        &self,
        env: &'env Env,
        upsert: bool,
        stage: &Stage,
        abort: Option<&AbortFlag>,
        progress: Option<Function<'env, ReportArgs, ()>>,
    ) -> Promised<'env> {
        let watch = Watch::new(abort, progress)?;
        let staged = stage.staged();
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            let mut columns = staged.take(handle, &watch)?;
            let vectors = columns.take_vectors();
            let payloads = columns.take_payloads();
            let rows = Rows { ids: columns.ids.as_deref(), vectors: &vectors, payloads: &payloads };
            watch.control(handle, |control| index.insert_many(rows, mode(upsert), &Readers, control))
        };
        self.handle.write(pending, work, |env, inserted: Inserted| {
            let mut out = Object::new(env)?;
            out.set("count", inserted.count as f64)?;
            if let Some(first) = inserted.first_id {
                out.set("firstId", id_out(&first.into()))?;
            }
            value(env, out)
        });
        Ok(promised)
    }

    /// Replaces a vector.
    #[napi]
    pub fn update(&self, id: IdIn, vector: &[f32]) -> napi::Result<f64> {
        let id = checked(id_in(id))?;
        let vector = vector.to_vec();
        Ok(self.handle.write_one(move |index| index.update(&id, &vector).map(|()| true)))
    }

    /// Removes one row, if it is there.
    #[napi]
    pub fn delete(&self, id: IdIn) -> napi::Result<f64> {
        let id = checked(id_in(id))?;
        Ok(self.handle.write_one(move |index| index.delete(&id)))
    }

    /// Takes its place among the writes now, waits there for the ids on `stage`, then removes those rows; the
    /// number of them that were there.
    #[napi]
    pub fn delete_many<'env>(&self, env: &'env Env, stage: &Stage) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        let staged = stage.staged();
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            let columns = staged.take(handle, &Watch::default())?;
            index.delete_many(&columns.ids.unwrap_or_default())
        };
        self.handle.write(pending, work, |env, n| value(env, n as f64));
        Ok(promised)
    }

    /// Replaces or removes a payload.
    #[napi]
    pub fn set_payload(&self, id: IdIn, payload: Option<String>) -> napi::Result<f64> {
        let id = checked(id_in(id))?;
        Ok(self.handle.write_one(move |index| index.set_payload(&id, payload.as_deref()).map(|()| true)))
    }

    /// Merges a patch into a payload.
    #[napi]
    pub fn merge_payload(&self, id: IdIn, patch: String) -> napi::Result<f64> {
        let id = checked(id_in(id))?;
        Ok(self.handle.write_one(move |index| index.merge_payload(&id, &patch).map(|()| true)))
    }

    /// A payload text, null for none, undefined for no such row.
    #[napi]
    pub fn get_payload<'env>(&self, env: &'env Env, id: IdIn) -> Promised<'env> {
        let id = checked(id_in(id))?;
        let (pending, promised) = promise(env)?;
        self.handle.read(
            false,
            pending,
            move |_, index| index.get_payload(&id),
            |env, found| match found {
                Some(payload) => value(env, payload),
                None => value(env, ()),
            },
        );
        Ok(promised)
    }

    /// Whether a row is there.
    #[napi]
    pub fn has<'env>(&self, env: &'env Env, id: IdIn) -> Promised<'env> {
        let id = checked(id_in(id))?;
        let (pending, promised) = promise(env)?;
        let work =
            move |_: &Handle, index: &asteroid_core::Index| Ok(index.get(&id, Include::default())?.is_some());
        self.handle.read(false, pending, work, value);
        Ok(promised)
    }

    /// One row by id, whole, as columns.
    #[napi]
    pub fn get<'env>(&self, env: &'env Env, id: IdIn) -> Promised<'env> {
        let id = checked(id_in(id))?;
        let (pending, promised) = promise(env)?;
        let work = move |_: &Handle, index: &asteroid_core::Index| Ok(vec![index.get(&id, WHOLE)?]);
        self.handle.read(false, pending, work, |env, rows| some_rows_out(env, rows, WHOLE));
        Ok(promised)
    }

    /// Rows by the ids on `stage`, whole, as columns.
    #[napi]
    pub fn get_many<'env>(&self, env: &'env Env, stage: &Stage) -> Promised<'env> {
        let staged = stage.staged();
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            let columns = staged.take(handle, &Watch::default())?;
            index.get_many(&columns.ids.unwrap_or_default(), WHOLE)
        };
        self.handle.read(true, pending, work, |env, rows| some_rows_out(env, rows, WHOLE));
        Ok(promised)
    }

    /// The nearest rows, as columns.
    #[napi]
    pub fn search<'env>(
        &self,
        env: &'env Env,
        query: &[f32],
        args: SearchArgs,
        abort: Option<&AbortFlag>,
    ) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let query = query.to_vec();
        let params = args.params();
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            watch.control(handle, |control| {
                let started = Instant::now();
                let selection = select(index, args.filter.as_deref())?;
                let selected = started.elapsed();
                // One that has to learn how wide to search says nothing of others.
                let usual = params.recall.is_none_or(|recall| index.width(recall, wanted(&params)).is_some());
                let (hits, explain) = index.search_among(&query, &params, selection.as_ref(), control)?;
                let searched = started.elapsed() - selected;
                if selection.is_none() && usual {
                    let asked = SearchParams { ef_search: explain.ef_search, ..params };
                    handle.note_search(units(&asked), brings_more(&params), false, started);
                }
                if !explain.complete {
                    handle.note_unfinished(brings_more(&params));
                }
                Ok((hits, args.explain.then_some((explain, selected, searched))))
            })
        };
        self.handle.read(false, pending, work, move |env, (hits, explain)| {
            let mut out = Object::new(env)?;
            fill_hits(env, &mut out, &hits, params.include)?;
            if let Some((explain, selected, searched)) = explain {
                let [selected, searched] = [selected, searched].map(milliseconds);
                out.set("explain", explain_out(env, &explain, selected, searched)?)?;
            }
            value(env, out)
        });
        Ok(promised)
    }

    /// [`Database::search`] here and now, where that takes no longer than to have it done elsewhere; `undefined` where it
    /// may. On `desk` lies how to search, see [`desk_params`]. Where ids and distances are all that is asked for and the ids
    /// are safe integers, they are left there, and the answer is their number; else it is columns.
    #[napi]
    pub fn search_now(&self, env: &Env, query: &[f32], mut desk: Float64ArraySlice<'_>) -> napi::Result<Raw> {
        // SAFETY: the facade shares this memory with no other thread, and JavaScript does not run before this returns.
        #[allow(unsafe_code)]
        let desk = unsafe { desk.as_mut() };
        let Some(mut params) = desk_params(desk) else { return nothing(env, ()) };
        let more = brings_more(&params);
        if let Some(recall) = params.recall.take() {
            // To learn how wide to search takes long.
            let Some(width) = self.handle.width(recall, wanted(&params)) else { return nothing(env, ()) };
            params.ef_search = width.ef_search;
        }
        let called = Instant::now();
        let now = || milliseconds(called.elapsed());
        let work = |index: &asteroid_core::Index| {
            let control = Control { now: &now, ..Control::NONE };
            index.search_among(query, &params, None, &control)
        };
        let outcome = self.handle.search_at_once(units(&params), more, work);
        if let Some(Ok((_, explain))) = &outcome
            && !explain.complete
        {
            self.handle.note_unfinished(more);
        }
        match outcome.map(|outcome| outcome.map(|(found, _)| found)) {
            None => nothing(env, ()),
            Some(Err(error)) => Err(to_napi(&error)),
            Some(Ok(found)) if !more && desk_hits(&found, desk) => value(env, found.len() as u32),
            Some(Ok(found)) => {
                let mut out = Object::new(env)?;
                fill_hits(env, &mut out, &found, params.include)?;
                value(env, out)
            }
        }
    }

    /// The nearest rows of each staged query, as columns.
    #[napi]
    pub fn search_many<'env>(
        &self,
        env: &'env Env,
        stage: &Stage,
        args: SearchArgs,
        abort: Option<&AbortFlag>,
    ) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let staged = stage.staged();
        let params = args.params();
        let dim = self.facts.dim as usize;
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            let queries = staged.take(handle, &watch)?.take_vectors();
            watch.control(handle, |control| {
                let selection = select(index, args.filter.as_deref())?;
                let mut lists = Vec::with_capacity(queries.len() / dim);
                for run in queries.chunks(dim * QUERIES_PER_RUN) {
                    let found =
                        index.search_many_among(run, &params, selection.as_ref(), &Readers, control)?;
                    lists.extend(found.into_iter().map(|(hits, _)| hits));
                }
                Ok(lists)
            })
        };
        self.handle.read(true, pending, work, move |env, lists| hit_lists_out(env, lists, params.include));
        Ok(promised)
    }

    /// The number of rows, or of those that match a filter.
    #[napi]
    pub fn count<'env>(
        &self,
        env: &'env Env,
        filter: Option<String>,
        abort: Option<&AbortFlag>,
    ) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let (pending, promised) = promise(env)?;
        let long = filter.is_some();
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            watch.control(handle, |control| match select(index, filter.as_deref())? {
                Some(selection) => index.count_selected(&selection, control),
                None => index.count(),
            })
        };
        self.handle.read(long, pending, work, |env, n| value(env, n as f64));
        Ok(promised)
    }

    /// Removes the rows that match a filter, all or none; their number.
    #[napi]
    pub fn delete_where<'env>(
        &self,
        env: &'env Env,
        filter: String,
        abort: Option<&AbortFlag>,
    ) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            let filter = Arc::new(Filter::parse(&filter)?);
            watch.control(handle, |control| index.delete_where(&filter, control))
        };
        self.handle.write(pending, work, |env, n: u64| value(env, n as f64));
        Ok(promised)
    }

    /// A [`Scan`] over the rows committed now.
    #[napi]
    pub fn scan<'env>(
        &self,
        env: &'env Env,
        payload: bool,
        vector: bool,
        filter: Option<String>,
    ) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        let handle = Arc::clone(&self.handle);
        let include = Include { payload, vector };
        self.handle.read(
            false,
            pending,
            move |_, index| match select(index, filter.as_deref())? {
                Some(selection) => Ok(Source::Some(selection)),
                None => Ok(Source::All(index.snapshot()?)),
            },
            move |env, source| {
                let at = Some((source, 0));
                value(env, Scan { handle, include, at: Arc::new(Mutex::new(at)) })
            },
        );
        Ok(promised)
    }

    /// Figures about the database.
    #[napi]
    pub fn stats<'env>(&self, env: &'env Env) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        self.handle.read(false, pending, |_, index| index.stats(), stats_out);
        Ok(promised)
    }

    /// Makes earlier writes durable.
    #[napi]
    pub fn flush<'env>(&self, env: &'env Env) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        self.handle.write(pending, |_, index| index.flush(), nothing);
        Ok(promised)
    }

    /// Sweeps every deleted row and gives back space.
    #[napi]
    pub fn compact<'env>(
        &self,
        env: &'env Env,
        abort: Option<&AbortFlag>,
        progress: Option<Function<'env, ReportArgs, ()>>,
    ) -> Promised<'env> {
        let watch = Watch::new(abort, progress)?;
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            watch.control(handle, |control| index.compact(control))
        };
        self.handle.write(pending, work, nothing);
        Ok(promised)
    }

    /// Walks everything; with `repair` it also mends what follows from rows.
    #[napi]
    pub fn check<'env>(&self, env: &'env Env, repair: bool, abort: Option<&AbortFlag>) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let (pending, promised) = promise(env)?;
        if repair {
            let work = move |handle: &Handle, index: &asteroid_core::Index| {
                watch.control(handle, |control| index.repair(&Readers, control))
            };
            self.handle.write(pending, work, |env, repaired| repaired_out(env, &repaired));
            return Ok(promised);
        }
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            watch.control(handle, |control| index.check(control))
        };
        self.handle.read(true, pending, work, |env, report| value(env, report_out(env, &report)?));
        Ok(promised)
    }

    /// Waits for queued writes and reads in flight, then closes.
    #[napi]
    pub fn close<'env>(&self, env: &'env Env) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        let handle = Arc::clone(&self.handle);
        self.handle.queue(move || pending.settle_with(move || handle.close(), nothing));
        Ok(promised)
    }
}

/// A walk over the rows of a frozen snapshot.
#[napi]
pub struct Scan {
    handle: Arc<Handle>,
    include: Include,
    at: Arc<Mutex<Option<(Source, u32)>>>,
}

/// The rows that a scan goes through.
enum Source {
    All(Snapshot),
    Some(Selection),
}

#[napi]
impl Scan {
    /// The next rows, at most `limit`, as columns; null at the end.
    #[napi]
    pub fn next<'env>(&self, env: &'env Env, limit: u32, abort: Option<&AbortFlag>) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let (pending, promised) = promise(env)?;
        let include = self.include;
        let at = Arc::clone(&self.at);
        let work = move |handle: &Handle, index: &asteroid_core::Index| {
            let mut at = at.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((source, cursor)) = &*at else { return Ok(None) };
            let limit = limit as usize;
            let (rows, next) = match source {
                Source::All(snapshot) => index.scan(snapshot, *cursor, limit, include)?,
                Source::Some(selection) => watch.control(handle, |control| {
                    index.scan_selected(selection, *cursor, limit, include, control)
                })?,
            };
            *at = next.and_then(|cursor| at.take().map(|(source, _)| (source, cursor)));
            Ok(Some(rows))
        };
        self.handle.read(false, pending, work, move |env, rows| match rows {
            Some(rows) => rows_out(env, &rows, include, None),
            None => value(env, Null),
        });
        Ok(promised)
    }

    /// Lets go of the snapshot.
    #[napi]
    pub fn release(&self) {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

fn stats_out(env: &Env, stats: Stats) -> napi::Result<Raw> {
    let mut out = Object::new(env)?;
    for (name, figure) in [
        ("rows", stats.rows),
        ("tombstones", stats.tombstones),
        ("freeSlots", stats.free_slots),
        ("cacheBytes", stats.cache_bytes),
        ("adjacencyBytes", stats.adjacency_bytes),
        ("vectorBytes", stats.vector_bytes),
        ("codeBytes", stats.code_bytes),
        ("kvBytes", stats.kv_bytes),
        ("upperBytes", stats.upper_bytes),
        ("tableBytes", stats.table_bytes),
        ("vectorFileBytes", stats.vector_file_bytes),
        ("kvFileBytes", stats.kv_file_bytes),
        ("journalBytes", stats.journal_bytes),
    ] {
        out.set(name, figure as f64)?;
    }
    value(env, out)
}

fn repaired_out(env: &Env, repaired: &Repaired) -> napi::Result<Raw> {
    let mut out = report_out(env, &repaired.report)?;
    out.set("repaired", problems_out(env, &repaired.found)?)?;
    out.set("lost", problems_out(env, &repaired.lost)?)?;
    value(env, out)
}

fn problems_out<'env>(env: &'env Env, found: &[Problem]) -> napi::Result<Vec<Object<'env>>> {
    let mut problems = Vec::with_capacity(found.len());
    for problem in found {
        let mut out = Object::new(env)?;
        out.set("kind", problem.kind)?;
        out.set("detail", problem.detail.as_str())?;
        if let Some(id) = &problem.id {
            out.set("id", id_out(id))?;
        }
        problems.push(out);
    }
    Ok(problems)
}

fn report_out<'env>(env: &'env Env, report: &CheckReport) -> napi::Result<Object<'env>> {
    let mut out = Object::new(env)?;
    out.set("ok", report.problems.is_empty())?;
    out.set("rows", report.rows as f64)?;
    out.set("links", report.links as f64)?;
    out.set("problems", problems_out(env, &report.problems)?)?;
    Ok(out)
}
