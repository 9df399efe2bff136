//! Between JavaScript values and the engine's.

use crate::fields::{numbers, set};
use asteroid_core::filter::Filter;
use asteroid_core::{
    DEFAULT_EF_SEARCH, Error, Explain, Hit, Id, Include, Index, Result, Row, SearchParams, Selection,
};
use js_sys::{Array, BigInt, Float32Array, Float64Array, Object, Uint32Array};
use std::sync::Arc;
use wasm_bindgen::{JsCast, JsValue};

const MAX_SAFE: u64 = (1 << 53) - 1;

/// The engine's id. The facade has checked it; what slipped through is refused, never wrapped.
pub(crate) fn id_in(id: JsValue) -> Result<Id> {
    if let Some(n) = id.as_f64() {
        let whole = n >= 0.0 && n <= MAX_SAFE as f64 && n.fract() == 0.0;
        return match whole {
            true => Ok(Id::Num(n as u64)),
            false => Err(Error::invalid(format!("the id {n} is not an integer from 0 to 2^53 - 1"))),
        };
    }
    if let Some(text) = id.as_string() {
        return text.parse();
    }
    let big = u64::try_from(id).map_err(|_| Error::invalid("a bigint id must be from 0 to 2^64 - 1"))?;
    Ok(Id::Num(big))
}

/// Many ids.
pub(crate) fn ids_in(ids: &Array) -> Result<Vec<Id>> {
    ids.iter().map(id_in).collect()
}

/// One id, as the facade hands it to callers: number where safe, else bigint, or string.
pub(crate) fn id_out(id: &Id) -> JsValue {
    match id {
        Id::Num(n) if *n <= MAX_SAFE => JsValue::from_f64(*n as f64),
        Id::Num(n) => BigInt::from(*n).into(),
        Id::Str(text) => JsValue::from_str(text),
    }
}

fn number(id: &Id) -> Option<f64> {
    match id {
        Id::Num(n) if *n <= MAX_SAFE => Some(*n as f64),
        _ => None,
    }
}

fn ids_out<'a>(ids: impl Iterator<Item = &'a Id> + Clone) -> JsValue {
    match ids.clone().map(number).collect::<Option<Vec<f64>>>() {
        Some(numbers) => Float64Array::from(&numbers[..]).into(),
        None => ids.map(id_out).collect::<Array>().into(),
    }
}

fn payloads_out<'a>(payloads: impl Iterator<Item = Option<&'a str>>) -> Array {
    payloads.map(|text| text.map_or(JsValue::NULL, JsValue::from_str)).collect()
}

fn vectors_out<'a>(vectors: impl Iterator<Item = &'a [f32]> + Clone) -> Float32Array {
    let all = Float32Array::new_with_length(vectors.clone().map(<[f32]>::len).sum::<usize>() as u32);
    let mut at = 0;
    for vector in vectors {
        let end = at + vector.len() as u32;
        all.subarray(at, end).copy_from(vector);
        at = end;
    }
    all
}

/// Hits as columns; the facade makes objects of them.
pub(crate) fn hits_out(hits: &[Hit], include: Include) -> Object {
    let out = Object::new();
    set(&out, "ids", ids_out(hits.iter().map(|hit| &hit.id)));
    let distances: Vec<f32> = hits.iter().map(|hit| hit.distance).collect();
    set(&out, "distances", Float32Array::from(&distances[..]));
    if include.payload {
        set(&out, "payloads", payloads_out(hits.iter().map(|hit| hit.payload.as_deref())));
    }
    if include.vector {
        set(&out, "vectors", vectors_out(hits.iter().filter_map(|hit| hit.vector.as_deref())));
    }
    out
}

/// Hits that are no more than ids in numbers and distances: all ids, then all distances.
pub(crate) fn plain_hits_out(hits: &[Hit], include: Include) -> Option<Float64Array> {
    if include.payload || include.vector {
        return None;
    }
    let mut numbers = hits.iter().map(|hit| number(&hit.id)).collect::<Option<Vec<f64>>>()?;
    numbers.extend(hits.iter().map(|hit| f64::from(hit.distance)));
    Some(Float64Array::from(&numbers[..]))
}

/// Several lists of hits as columns, with the length of each.
pub(crate) fn hit_lists_out(lists: Vec<Vec<Hit>>, include: Include) -> Object {
    let counts: Vec<u32> = lists.iter().map(|list| list.len() as u32).collect();
    let hits: Vec<Hit> = lists.into_iter().flatten().collect();
    let out = hits_out(&hits, include);
    set(&out, "counts", Uint32Array::from(&counts[..]));
    out
}

/// Rows as columns.
pub(crate) fn rows_out(rows: &[Row], include: Include) -> Object {
    let out = Object::new();
    set(&out, "ids", ids_out(rows.iter().map(|row| &row.id)));
    if include.payload {
        set(&out, "payloads", payloads_out(rows.iter().map(|row| row.payload.as_deref())));
    }
    if include.vector {
        set(&out, "vectors", vectors_out(rows.iter().filter_map(|row| row.vector.as_deref())));
    }
    out
}

/// Rows asked for by id, some of them absent.
pub(crate) fn some_rows_out(rows: Vec<Option<Row>>, include: Include) -> Object {
    let found: Array = rows.iter().map(|row| JsValue::from_bool(row.is_some())).collect();
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    let out = rows_out(&rows, include);
    set(&out, "found", found);
    out
}

/// How to search. The facade has checked it.
pub(crate) struct How {
    pub(crate) params: SearchParams,
    pub(crate) explain: bool,
}

impl How {
    /// How many numbers say it.
    pub(crate) const NUMBERS: usize = 9;

    /// Of `k`, `efSearch` (0 for the default), `offset`, `maxDistance` (infinity for none), 1 for each of payloads, vectors
    /// and an account of the search, `recall` and `deadline` (0 for none): numbers cross into the engine in one piece,
    /// fields one by one.
    pub(crate) fn read(numbers: &[f32]) -> Result<How> {
        let &[k, ef, offset, max_distance, payload, vector, explain, recall, deadline] = numbers else {
            return Err(Error::invalid("how to search is said in nine numbers"));
        };
        let params = SearchParams {
            k: k as usize,
            ef_search: if ef > 0.0 { ef as usize } else { DEFAULT_EF_SEARCH },
            // What was 0.95 is to be that again: more than six digits of a recall mean nothing.
            recall: (recall > 0.0).then(|| (f64::from(recall) * 1e6).round() / 1e6),
            deadline: (deadline > 0.0).then(|| f64::from(deadline)),
            offset: offset as usize,
            max_distance: (max_distance != f32::INFINITY).then_some(max_distance),
            include: Include { payload: payload > 0.0, vector: vector > 0.0 },
        };
        Ok(How { params, explain: explain > 0.0 })
    }
}

/// The rows that a filter, as JSON text, selects; `None` without one.
pub(crate) fn select(index: &Index, filter: Option<&str>) -> Result<Option<Selection>> {
    filter.map(|text| index.select(&Arc::new(Filter::parse(text)?))).transpose()
}

/// What a search did, with its two times in milliseconds.
pub(crate) fn explain_out(explain: &Explain, select_ms: f64, search_ms: f64) -> Object {
    let [scan, bridge, sweep] = explain.costs.map(f64::ceil);
    let out = numbers(&[
        ("rows", explain.rows as f64),
        ("matches", explain.matches as f64),
        ("undecided", explain.undecided as f64),
        ("measured", explain.measured as f64),
        ("lists", explain.lists as f64),
        ("checked", explain.checked as f64),
        ("efSearch", explain.ef_search as f64),
        ("selectMs", select_ms),
        ("searchMs", search_ms),
    ]);
    set(&out, "plan", explain.plan);
    set(&out, "fellBack", explain.fell_back);
    set(&out, "exact", explain.exact);
    set(&out, "complete", explain.complete);
    set(&out, "recall", explain.recall.map_or(JsValue::NULL, JsValue::from_f64));
    set(&out, "costs", numbers(&[("scan", scan), ("bridge", bridge), ("sweep", sweep)]));
    out
}

/// A plain object as a value, for fields set by hand.
pub(crate) fn plain(object: Object) -> JsValue {
    object.unchecked_into()
}
