//! An open database: its life, and the writes of one row or of one commit.

use crate::convert::{id_in, id_out, plain};
use crate::fields::{numbers, set};
use crate::host;
use crate::open::OpenArgs;
use crate::reply::{Reply, done, reply, to_js};
use crate::stage::Stage;
use asteroid_core::filter::Filter;
use asteroid_core::{CheckReport, Control, Index, Mode, Problem, Result, Serial, Stats};
use js_sys::{Array, Object};
use std::rc::Rc;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// The worker's database.
#[wasm_bindgen]
pub struct Engine {
    pub(crate) index: Rc<Index>,
}

pub(crate) fn mode(upsert: bool) -> Mode {
    if upsert { Mode::Upsert } else { Mode::Insert }
}

#[wasm_bindgen]
impl Engine {
    /// Opens or creates a database in the files that the host holds open.
    pub fn open(args: JsValue) -> std::result::Result<Engine, JsValue> {
        let index = OpenArgs::read(args).and_then(OpenArgs::open).map_err(|error| to_js(&error))?;
        Ok(Engine { index: Rc::new(index) })
    }

    /// Fails where `args` ask for another database than this one is: for those who share it.
    pub fn agree(&self, args: JsValue) -> Reply {
        done(OpenArgs::read(args).and_then(|args| args.agree(&self.index)))
    }

    /// Numbers per vector.
    #[wasm_bindgen(getter)]
    pub fn dim(&self) -> u32 {
        self.index.config().dim
    }

    /// The metric's name.
    #[wasm_bindgen(getter)]
    pub fn metric(&self) -> String {
        self.index.config().metric.name().to_owned()
    }

    /// Writes one row.
    pub fn insert(&self, upsert: bool, id: JsValue, vector: Vec<f32>, payload: Option<String>) -> Reply {
        done(id_in(id).and_then(|id| self.index.insert(&id, &vector, payload.as_deref(), mode(upsert))))
    }

    /// Replaces a vector.
    pub fn update(&self, id: JsValue, vector: Vec<f32>) -> Reply {
        done(id_in(id).and_then(|id| self.index.update(&id, &vector)))
    }

    /// Removes one row; true if it was there.
    pub fn delete(&self, id: JsValue) -> Reply {
        reply(id_in(id).and_then(|id| self.index.delete(&id)))
    }

    /// Removes the rows of the ids on `stage`; the number of them that were there.
    #[wasm_bindgen(js_name = deleteMany)]
    pub fn delete_many(&self, stage: Stage) -> Reply {
        reply(self.index.delete_many(&stage.ids.unwrap_or_default()).map(|n| n as f64))
    }

    /// Removes the rows that match a filter, all or none; their number.
    #[wasm_bindgen(js_name = deleteWhere)]
    pub fn delete_where(&self, filter: &str) -> Reply {
        let delete = || -> Result<f64> {
            let filter = Arc::new(Filter::parse(filter)?);
            Ok(host::control(|control| self.index.delete_where(&filter, control))? as f64)
        };
        reply(delete())
    }

    /// Replaces or removes a payload.
    #[wasm_bindgen(js_name = setPayload)]
    pub fn set_payload(&self, id: JsValue, payload: Option<String>) -> Reply {
        done(id_in(id).and_then(|id| self.index.set_payload(&id, payload.as_deref())))
    }

    /// Merges a patch into a payload.
    #[wasm_bindgen(js_name = mergePayload)]
    pub fn merge_payload(&self, id: JsValue, patch: &str) -> Reply {
        done(id_in(id).and_then(|id| self.index.merge_payload(&id, patch)))
    }

    /// Figures about the database.
    pub fn stats(&self) -> Reply {
        let stats = self.index.stats().map_err(|error| to_js(&error))?;
        Ok(plain(stats_out(&stats)))
    }

    /// One step of what keeps the database in shape, a few milliseconds; whether there is more.
    pub fn tidy(&self) -> Reply {
        reply(self.index.tidy(&Control::NONE))
    }

    /// Whether `tidy` is about to sweep, which is in the half of the engine that is loaded late.
    pub fn sweeps(&self) -> Reply {
        reply(self.index.wants_sweep())
    }

    /// Sweeps every deleted row and gives back space.
    pub fn compact(&self) -> Reply {
        done(host::control(|control| self.index.compact(control)))
    }

    /// Makes earlier writes durable.
    pub fn flush(&self) -> Reply {
        done(self.index.flush())
    }

    /// Walks everything.
    pub fn check(&self) -> Reply {
        let report = host::control(|control| self.index.check(control)).map_err(|error| to_js(&error))?;
        Ok(plain(report_out(&report)))
    }

    /// Walks everything and mends what follows from rows.
    pub fn repair(&self) -> Reply {
        let repaired = host::control(|control| self.index.repair(&Serial, control));
        let repaired = repaired.map_err(|error| to_js(&error))?;
        let out = report_out(&repaired.report);
        set(&out, "repaired", problems_out(&repaired.found));
        set(&out, "lost", problems_out(&repaired.lost));
        Ok(plain(out))
    }

    /// Brings the stores up to date and closes. Every call but freeing fails afterwards.
    pub fn close(&self) -> Reply {
        done(self.index.close())
    }
}

fn stats_out(stats: &Stats) -> Object {
    numbers(&[
        ("rows", stats.rows as f64),
        ("tombstones", stats.tombstones as f64),
        ("freeSlots", stats.free_slots as f64),
        ("cacheBytes", stats.cache_bytes as f64),
        ("adjacencyBytes", stats.adjacency_bytes as f64),
        ("vectorBytes", stats.vector_bytes as f64),
        ("codeBytes", stats.code_bytes as f64),
        ("kvBytes", stats.kv_bytes as f64),
        ("upperBytes", stats.upper_bytes as f64),
        ("tableBytes", stats.table_bytes as f64),
        ("vectorFileBytes", stats.vector_file_bytes as f64),
        ("kvFileBytes", stats.kv_file_bytes as f64),
        ("journalBytes", stats.journal_bytes as f64),
    ])
}

fn problems_out(found: &[Problem]) -> Array {
    let problems = found.iter().map(|problem| {
        let out = Object::new();
        set(&out, "kind", problem.kind);
        set(&out, "detail", problem.detail.as_str());
        if let Some(id) = &problem.id {
            set(&out, "id", id_out(id));
        }
        plain(out)
    });
    problems.collect()
}

fn report_out(report: &CheckReport) -> Object {
    let out = Object::new();
    set(&out, "ok", report.problems.is_empty());
    set(&out, "rows", report.rows as f64);
    set(&out, "links", report.links as f64);
    set(&out, "problems", problems_out(&report.problems));
    out
}
