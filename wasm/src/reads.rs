//! Reads by id, searches and scans.

use crate::convert::{
    How, explain_out, hit_lists_out, hits_out, id_in, plain, plain_hits_out, rows_out, select, some_rows_out,
};
use crate::engine::Engine;
use crate::fields::set;
use crate::host;
use crate::reply::{Reply, reply, to_js};
use crate::stage::Stage;
use asteroid_core::{Include, Index, Result, Row, SearchParams, Selection, Serial, Snapshot};
use std::rc::Rc;
use wasm_bindgen::prelude::*;

const WHOLE: Include = Include { payload: true, vector: true };

#[wasm_bindgen]
impl Engine {
    /// Whether a row is there.
    pub fn has(&self, id: JsValue) -> Reply {
        reply(id_in(id).and_then(|id| Ok(self.index.get(&id, Include::default())?.is_some())))
    }

    /// One row by id, whole, as columns.
    pub fn get(&self, id: JsValue) -> Reply {
        let rows = id_in(id).and_then(|id| Ok(vec![self.index.get(&id, WHOLE)?]));
        reply(rows.map(|rows| some_rows_out(rows, WHOLE)))
    }

    /// Rows by the ids on `stage`, whole, as columns.
    #[wasm_bindgen(js_name = getMany)]
    pub fn get_many(&self, stage: Stage) -> Reply {
        let rows = self.index.get_many(&stage.ids.unwrap_or_default(), WHOLE);
        reply(rows.map(|rows| some_rows_out(rows, WHOLE)))
    }

    /// A payload text, null for none, undefined for no such row.
    #[wasm_bindgen(js_name = getPayload)]
    pub fn get_payload(&self, id: JsValue) -> Reply {
        let found = id_in(id).and_then(|id| self.index.get_payload(&id));
        reply(found.map(|found| match found {
            Some(Some(text)) => JsValue::from_str(&text),
            Some(None) => JsValue::NULL,
            None => JsValue::UNDEFINED,
        }))
    }

    /// The nearest rows: as columns, or where that says it all as one column of ids and then distances. `query` ends in
    /// the numbers of [`How::read`]; `called` is when the call was made, where that counts.
    pub fn search(&self, query: Vec<f32>, filter: Option<String>, called: Option<f64>) -> Reply {
        let (query, how) = query.split_at(query.len().saturating_sub(How::NUMBERS));
        let How { params, explain } = How::read(how).map_err(|error| to_js(&error))?;
        let started = host::now();
        let found = host::control_since(called.unwrap_or_default(), |control| {
            let selection = select(&self.index, filter.as_deref())?;
            let selected = host::now();
            let (hits, told) = self.index.search_among(query, &params, selection.as_ref(), control)?;
            Ok::<_, asteroid_core::Error>((hits, told, selected))
        });
        let (hits, told, selected) = found.map_err(|error| to_js(&error))?;
        if explain {
            let out = hits_out(&hits, params.include);
            set(&out, "explain", explain_out(&told, selected - started, host::now() - selected));
            return Ok(plain(out));
        }
        Ok(match plain_hits_out(&hits, params.include) {
            Some(column) => column.into(),
            None => plain(hits_out(&hits, params.include)),
        })
    }

    /// Begins a search for each query on `stage`; `how` as [`How::read`] takes it.
    #[wasm_bindgen(js_name = beginSearches)]
    pub fn begin_searches(
        &self,
        stage: Stage,
        how: Vec<f32>,
        filter: Option<String>,
    ) -> std::result::Result<Searches, JsValue> {
        let How { params, .. } = How::read(&how).map_err(|error| to_js(&error))?;
        let selection = select(&self.index, filter.as_deref()).map_err(|error| to_js(&error))?;
        Ok(Searches {
            index: Rc::clone(&self.index),
            queries: stage.vectors,
            at: 0,
            params,
            selection,
            lists: Vec::new(),
        })
    }

    /// The number of rows, or of those that match a filter.
    pub fn count(&self, filter: Option<String>) -> Reply {
        let count = host::control(|control| match select(&self.index, filter.as_deref())? {
            Some(selection) => self.index.count_selected(&selection, control),
            None => self.index.count(),
        });
        reply(count.map(|n| n as f64))
    }

    /// A [`Scan`] over the rows committed now.
    pub fn scan(
        &self,
        payload: bool,
        vector: bool,
        filter: Option<String>,
    ) -> std::result::Result<Scan, JsValue> {
        let source = || -> Result<Source> {
            Ok(match select(&self.index, filter.as_deref())? {
                Some(selection) => Source::Some(selection),
                None => Source::All(self.index.snapshot()?),
            })
        };
        let at = Some((source().map_err(|error| to_js(&error))?, 0));
        Ok(Scan { index: Rc::clone(&self.index), include: Include { payload, vector }, at })
    }
}

/// Searches for many queries, some at a time.
#[wasm_bindgen]
pub struct Searches {
    index: Rc<Index>,
    queries: Vec<f32>,
    at: usize,
    params: SearchParams,
    selection: Option<Selection>,
    lists: Vec<Vec<asteroid_core::Hit>>,
}

#[wasm_bindgen]
impl Searches {
    /// Answers the next few queries; `undefined` until all are answered, then their hits as columns.
    pub fn step(&mut self, queries: u32) -> Reply {
        let dim = self.index.config().dim as usize;
        let params = &self.params;
        let end = self.queries.len().min(self.at + queries as usize * dim);
        let run = &self.queries[self.at..end];
        let found = host::control(|control| {
            self.index.search_many_among(run, params, self.selection.as_ref(), &Serial, control)
        });
        self.lists.extend(found.map_err(|error| to_js(&error))?.into_iter().map(|(hits, _)| hits));
        self.at = end;
        if end < self.queries.len() {
            return Ok(JsValue::UNDEFINED);
        }
        Ok(plain(hit_lists_out(std::mem::take(&mut self.lists), params.include)))
    }
}

/// A walk over the rows of a frozen snapshot.
#[wasm_bindgen]
pub struct Scan {
    index: Rc<Index>,
    include: Include,
    at: Option<(Source, u32)>,
}

/// The rows that a scan goes through.
enum Source {
    All(Snapshot),
    Some(Selection),
}

#[wasm_bindgen]
impl Scan {
    /// The next rows, at most `limit`, as columns; null at the end.
    pub fn next(&mut self, limit: u32) -> Reply {
        match self.rows(limit as usize) {
            Ok(Some(rows)) => Ok(plain(rows_out(&rows, self.include))),
            Ok(None) => Ok(JsValue::NULL),
            Err(error) => Err(to_js(&error)),
        }
    }
}

impl Scan {
    fn rows(&mut self, limit: usize) -> Result<Option<Vec<Row>>> {
        let Some((source, cursor)) = &self.at else { return Ok(None) };
        let (rows, next) = match source {
            Source::All(snapshot) => self.index.scan(snapshot, *cursor, limit, self.include)?,
            Source::Some(selection) => host::control(|control| {
                self.index.scan_selected(selection, *cursor, limit, self.include, control)
            })?,
        };
        self.at = next.and_then(|cursor| self.at.take().map(|(source, _)| (source, cursor)));
        Ok(Some(rows))
    }
}
