//! Between JavaScript values and the engine's.

use crate::fields::{Fields, numbers, set};
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

fn ids_out<'a>(ids: impl Iterator<Item = &'a Id> + Clone) -> JsValue {
    let number = |id: &Id| match id {
        Id::Num(n) if *n <= MAX_SAFE => Some(*n as f64),
        _ => None,
    };
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

/// How to search, as the facade gives it: every field checked and present.
pub(crate) struct SearchArgs {
    pub(crate) params: SearchParams,
    pub(crate) filter: Option<String>,
    pub(crate) explain: bool,
    /// When the call was made, where that counts.
    pub(crate) called: f64,
}

impl SearchArgs {
    pub(crate) fn read(args: JsValue) -> Result<SearchArgs> {
        let args = Fields::of(args);
        let count = |name, fallback| Ok(args.count(name)?.map_or(fallback, |n| n as usize));
        let params = SearchParams {
            k: count("k", 0)?,
            ef_search: count("efSearch", DEFAULT_EF_SEARCH)?,
            recall: args.number("recall")?,
            deadline: args.number("deadline")?,
            offset: count("offset", 0)?,
            max_distance: args.number("maxDistance")?.map(|distance| distance as f32),
            include: Include { payload: args.flag("payload")?, vector: args.flag("vector")? },
        };
        Ok(SearchArgs {
            params,
            filter: args.text("filter")?,
            explain: args.flag("explain")?,
            called: args.number("called")?.unwrap_or_default(),
        })
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
