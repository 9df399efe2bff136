//! Inserts of many rows, in steps.

use crate::convert::{id_out, plain};
use crate::engine::{Engine, mode};
use crate::fields::set;
use crate::host;
use crate::reply::{Reply, done, to_js};
use crate::stage::Stage;
use asteroid_core::{Index, Inserted, Insertion, Rows, Serial};
use js_sys::Object;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// An insert under way. Freed before its end, it is given up.
#[wasm_bindgen]
pub struct InsertJob {
    index: Rc<Index>,
    insertion: Option<Insertion>,
}

#[wasm_bindgen]
impl Engine {
    /// Checks all rows of `stage` and begins to write them, all or none.
    #[wasm_bindgen(js_name = beginInsert)]
    pub fn begin_insert(&self, upsert: bool, stage: Stage) -> std::result::Result<InsertJob, JsValue> {
        let Stage { ids, vectors, payloads } = stage;
        let rows = Rows { ids: ids.as_deref(), vectors: &[], payloads: &payloads };
        let begun = self.index.begin_insert(rows, vectors, mode(upsert)).map_err(|error| to_js(&error))?;
        Ok(InsertJob { index: Rc::clone(&self.index), insertion: Some(begun) })
    }
}

#[wasm_bindgen]
impl InsertJob {
    /// Writes the next few rows; `undefined` until all are there. An error ends it with nothing kept.
    pub fn step(&mut self) -> Reply {
        let Some(insertion) = &mut self.insertion else { return Ok(JsValue::UNDEFINED) };
        let stepped = host::control(|control| self.index.step(insertion, &Serial, control));
        match stepped {
            Ok(None) => Ok(JsValue::UNDEFINED),
            Ok(Some(inserted)) => {
                self.insertion = None;
                Ok(inserted_out(inserted))
            }
            Err(error) => {
                self.insertion = None;
                Err(to_js(&error))
            }
        }
    }

    /// Ends it with nothing kept.
    #[wasm_bindgen(js_name = giveUp)]
    pub fn give_up(&mut self) -> Reply {
        done(self.insertion.take().map_or(Ok(()), |insertion| self.index.give_up(insertion)))
    }
}

impl Drop for InsertJob {
    fn drop(&mut self) {
        let _ = self.give_up();
    }
}

fn inserted_out(inserted: Inserted) -> JsValue {
    let out = Object::new();
    set(&out, "count", inserted.count as f64);
    if let Some(first) = inserted.first_id {
        set(&out, "firstId", id_out(&first.into()));
    }
    plain(out)
}
