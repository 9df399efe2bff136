//! Columns of rows on their way in.

use crate::convert::ids_in;
use crate::reply::{Reply, done, to_js};
use asteroid_core::{Error, Id};
use js_sys::{Array, Float32Array};
use wasm_bindgen::prelude::*;

/// Filled from JavaScript a slice at a time, then taken by one call.
#[wasm_bindgen]
#[derive(Default)]
pub struct Stage {
    pub(crate) ids: Option<Vec<Id>>,
    pub(crate) vectors: Vec<f32>,
    pub(crate) payloads: Vec<Option<String>>,
}

fn reserve(all: &mut Vec<f32>, numbers: usize) -> std::result::Result<(), JsValue> {
    all.try_reserve_exact(numbers).map_err(|_| {
        let mb = (all.len() + numbers) / 250_000;
        to_js(&Error::invalid(format!(
            "the browser refuses {mb} MB for vectors: give fewer rows in one call"
        )))
    })
}

#[wasm_bindgen]
impl Stage {
    /// An empty stage.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Stage {
        Stage::default()
    }

    /// Makes room for so many numbers at once.
    pub fn expect(&mut self, numbers: f64) -> Reply {
        reserve(&mut self.vectors, numbers as usize)?;
        Ok(JsValue::UNDEFINED)
    }

    /// Copies the next vectors.
    pub fn vectors(&mut self, slice: &Float32Array) -> Reply {
        let (from, more) = (self.vectors.len(), slice.length() as usize);
        if self.vectors.capacity() - from < more {
            reserve(&mut self.vectors, more.max(from / 2))?;
        }
        self.vectors.resize(from + more, 0.0);
        slice.copy_to(&mut self.vectors[from..]);
        Ok(JsValue::UNDEFINED)
    }

    /// Copies the next ids from a column of safe integers.
    #[wasm_bindgen(js_name = numberIds)]
    pub fn number_ids(&mut self, slice: Vec<f64>) {
        self.ids.get_or_insert_default().extend(slice.into_iter().map(|n| Id::Num(n as u64)));
    }

    /// Copies the next ids from a column of 64-bit integers.
    #[wasm_bindgen(js_name = bigintIds)]
    pub fn bigint_ids(&mut self, slice: Vec<u64>) {
        self.ids.get_or_insert_default().extend(slice.into_iter().map(Id::Num));
    }

    /// Copies the next ids, of any kind.
    #[wasm_bindgen(js_name = anyIds)]
    pub fn any_ids(&mut self, slice: &Array) -> Reply {
        done(ids_in(slice).map(|ids| self.ids.get_or_insert_default().extend(ids)))
    }

    /// Takes the next payload texts, joined by newlines, nothing between two for a row without one.
    pub fn payloads(&mut self, joined: &str) {
        self.payloads.extend(joined.split('\n').map(|text| (!text.is_empty()).then(|| text.to_owned())));
    }
}
