//! Between JavaScript values and the engine's.

use crate::reply::{Raw, value};
use asteroid_core::filter::Filter;
use asteroid_core::{Error, Explain, Hit, Id, Include, Index, Result, Row, SearchParams, Selection};
use napi::Env;
use napi::bindgen_prelude::{
    BigInt, Either3, Float32ArraySlice, Float64ArraySlice, Object, Uint32ArraySlice,
};
use napi_derive::napi;
use std::sync::Arc;

/// An id as JavaScript gives it.
pub(crate) type IdIn = Either3<f64, BigInt, String>;

const MAX_SAFE: u64 = (1 << 53) - 1;

/// The engine's id. The facade has checked it; what slipped through is refused, never wrapped.
pub(crate) fn id_in(id: IdIn) -> Result<Id> {
    match id {
        Either3::A(n) if n >= 0.0 && n <= MAX_SAFE as f64 && n.fract() == 0.0 => Ok(Id::Num(n as u64)),
        Either3::A(n) => Err(Error::invalid(format!("the id {n} is not an integer from 0 to 2^53 - 1"))),
        Either3::B(big) => match big.get_u64() {
            (_, n, true) => Ok(Id::Num(n)),
            _ => Err(Error::invalid("a bigint id must be from 0 to 2^64 - 1")),
        },
        Either3::C(text) => text.parse(),
    }
}

/// Many ids.
pub(crate) fn ids_in(ids: Vec<IdIn>) -> Result<Vec<Id>> {
    ids.into_iter().map(id_in).collect()
}

fn ids_out<'a>(env: &Env, ids: impl Iterator<Item = &'a Id> + Clone) -> napi::Result<Raw> {
    let plain = |id: &Id| matches!(id, Id::Num(n) if *n <= MAX_SAFE);
    if ids.clone().all(plain) {
        let numbers: Vec<f64> = ids
            .map(|id| match id {
                Id::Num(n) => *n as f64,
                Id::Str(_) => f64::NAN,
            })
            .collect();
        return value(env, Float64ArraySlice::copy_from(env, numbers)?);
    }
    let any: Vec<Either3<f64, u64, &str>> = ids
        .map(|id| match id {
            Id::Num(n) if *n <= MAX_SAFE => Either3::A(*n as f64),
            Id::Num(n) => Either3::B(*n),
            Id::Str(text) => Either3::C(&**text),
        })
        .collect();
    value(env, any)
}

/// One id, as the facade hands it to callers: number where safe, else bigint, or string.
pub(crate) fn id_out(id: &Id) -> Either3<f64, u64, &str> {
    match id {
        Id::Num(n) if *n <= MAX_SAFE => Either3::A(*n as f64),
        Id::Num(n) => Either3::B(*n),
        Id::Str(text) => Either3::C(&**text),
    }
}

fn vectors_out<'a>(
    env: &Env,
    rows: usize,
    vectors: impl Iterator<Item = Option<&'a [f32]>>,
) -> napi::Result<Raw> {
    let mut all = Vec::new();
    for vector in vectors.flatten() {
        if all.is_empty() {
            all.reserve_exact(vector.len() * rows);
        }
        all.extend_from_slice(vector);
    }
    value(env, Float32ArraySlice::copy_from(env, all)?)
}

/// Hits as columns; the facade makes objects of them.
pub(crate) fn fill_hits(env: &Env, out: &mut Object<'_>, hits: &[Hit], include: Include) -> napi::Result<()> {
    out.set("ids", ids_out(env, hits.iter().map(|hit| &hit.id))?)?;
    let distances: Vec<f32> = hits.iter().map(|hit| hit.distance).collect();
    out.set("distances", Float32ArraySlice::copy_from(env, distances)?)?;
    if include.payload {
        let payloads: Vec<Option<&str>> = hits.iter().map(|hit| hit.payload.as_deref()).collect();
        out.set("payloads", value(env, payloads)?)?;
    }
    if include.vector {
        out.set("vectors", vectors_out(env, hits.len(), hits.iter().map(|hit| hit.vector.as_deref()))?)?;
    }
    Ok(())
}

/// How to search, as numbers on a desk: `k`, `efSearch` (0 for the engine's default), `offset`, the farthest distance to
/// return, 1 where payloads are to be brought, 1 where vectors are, the recall and the deadline (each 0 for none). `None`
/// where it is too small to say so.
///
/// A search by [`SearchArgs`] has objects made and taken apart; numbers in memory that both sides share cost next to
/// nothing.
pub(crate) fn desk_params(desk: &[f64]) -> Option<SearchParams> {
    let &[k, ef_search, offset, max_distance, payload, vector, recall, deadline, ..] = desk else {
        return None;
    };
    let defaults = SearchParams::default();
    Some(SearchParams {
        k: k as usize,
        ef_search: if ef_search > 0.0 { ef_search as usize } else { defaults.ef_search },
        recall: (recall > 0.0).then_some(recall),
        deadline: (deadline > 0.0).then_some(deadline),
        offset: offset as usize,
        max_distance: (max_distance < f64::INFINITY).then_some(max_distance as f32),
        include: Include { payload: payload > 0.0, vector: vector > 0.0 },
    })
}

/// Leaves ids and distances on a desk, in turns; `false` where it is too small, or an id is none that a number can be.
pub(crate) fn desk_hits(hits: &[Hit], desk: &mut [f64]) -> bool {
    if desk.len() < 2 * hits.len() {
        return false;
    }
    for (hit, place) in hits.iter().zip(desk.chunks_exact_mut(2)) {
        match hit.id {
            Id::Num(n) if n <= MAX_SAFE => place.copy_from_slice(&[n as f64, f64::from(hit.distance)]),
            _ => return false,
        }
    }
    true
}

/// Several lists of hits as columns, with the length of each.
pub(crate) fn hit_lists_out(env: &Env, lists: Vec<Vec<Hit>>, include: Include) -> napi::Result<Raw> {
    let counts: Vec<u32> = lists.iter().map(|list| u32::try_from(list.len()).unwrap_or(u32::MAX)).collect();
    let mut out = Object::new(env)?;
    out.set("counts", Uint32ArraySlice::copy_from(env, counts)?)?;
    let hits: Vec<Hit> = lists.into_iter().flatten().collect();
    fill_hits(env, &mut out, &hits, include)?;
    value(env, out)
}

/// Rows as columns; `found` has one entry per row asked for where some may be absent.
pub(crate) fn rows_out(
    env: &Env,
    rows: &[Row],
    include: Include,
    found: Option<Vec<bool>>,
) -> napi::Result<Raw> {
    let mut out = Object::new(env)?;
    out.set("ids", ids_out(env, rows.iter().map(|row| &row.id))?)?;
    if include.payload {
        let payloads: Vec<Option<&str>> = rows.iter().map(|row| row.payload.as_deref()).collect();
        out.set("payloads", value(env, payloads)?)?;
    }
    if include.vector {
        out.set("vectors", vectors_out(env, rows.len(), rows.iter().map(|row| row.vector.as_deref()))?)?;
    }
    if let Some(found) = found {
        out.set("found", value(env, found)?)?;
    }
    value(env, out)
}

/// Rows asked for by id, some of them absent.
pub(crate) fn some_rows_out(env: &Env, rows: Vec<Option<Row>>, include: Include) -> napi::Result<Raw> {
    let found = rows.iter().map(Option::is_some).collect();
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    rows_out(env, &rows, include, Some(found))
}

/// How to search, as the facade gives it: every field checked and present.
#[napi(object, object_to_js = false)]
pub struct SearchArgs {
    /// Rows wanted.
    pub k: u32,
    /// Candidate pool; the engine's default where left out.
    pub ef_search: Option<u32>,
    /// The recall that decides on the candidate pool.
    pub recall: Option<f64>,
    /// Milliseconds that each query may take.
    pub deadline: Option<f64>,
    /// Rows to leave out first.
    pub offset: u32,
    /// Farthest distance to return.
    pub max_distance: Option<f64>,
    /// Bring payloads back.
    pub payload: bool,
    /// Bring vectors back.
    pub vector: bool,
    /// Rows to choose from, as JSON text.
    pub filter: Option<String>,
    /// Tell how it was done.
    pub explain: bool,
}

/// The rows that a filter, as JSON text, selects; `None` without one.
pub(crate) fn select(index: &Index, filter: Option<&str>) -> Result<Option<Selection>> {
    filter.map(|text| index.select(&Arc::new(Filter::parse(text)?))).transpose()
}

/// What a search did, with its two times in milliseconds.
pub(crate) fn explain_out<'env>(
    env: &'env Env,
    explain: &Explain,
    select_ms: f64,
    search_ms: f64,
) -> napi::Result<Object<'env>> {
    let mut costs = Object::new(env)?;
    for (name, cost) in ["scan", "bridge", "sweep"].into_iter().zip(explain.costs) {
        costs.set(name, cost.ceil())?;
    }
    let mut out = Object::new(env)?;
    out.set("plan", explain.plan)?;
    out.set("fellBack", explain.fell_back)?;
    out.set("exact", explain.exact)?;
    out.set("complete", explain.complete)?;
    out.set("recall", explain.recall)?;
    for (name, figure) in [
        ("rows", explain.rows),
        ("matches", explain.matches),
        ("undecided", explain.undecided),
        ("measured", explain.measured),
        ("lists", explain.lists),
        ("checked", explain.checked),
        ("efSearch", explain.ef_search as u64),
    ] {
        out.set(name, figure as f64)?;
    }
    out.set("costs", costs)?;
    out.set("selectMs", select_ms)?;
    out.set("searchMs", search_ms)?;
    Ok(out)
}

impl SearchArgs {
    pub(crate) fn params(&self) -> SearchParams {
        let defaults = SearchParams::default();
        SearchParams {
            k: self.k as usize,
            ef_search: self.ef_search.map_or(defaults.ef_search, |ef| ef as usize),
            recall: self.recall,
            deadline: self.deadline,
            offset: self.offset as usize,
            max_distance: self.max_distance.map(|distance| distance as f32),
            include: Include { payload: self.payload, vector: self.vector },
        }
    }
}
