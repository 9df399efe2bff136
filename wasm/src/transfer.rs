//! Databases on their way out and in, a piece at a time.

use crate::engine::Engine;
use crate::host;
use crate::open::{Importing, OpenArgs};
use crate::reply::{Reply, reply, to_js};
use asteroid_core::{Export, Index, Result};
use js_sys::Uint8Array;
use std::rc::Rc;
use wasm_bindgen::prelude::*;

/// A committed state on its way out.
#[wasm_bindgen]
pub struct Exporter {
    index: Rc<Index>,
    export: Export,
}

#[wasm_bindgen]
impl Engine {
    /// An [`Exporter`] of what is committed now.
    pub fn export(&self) -> std::result::Result<Exporter, JsValue> {
        let export = self.index.export().map_err(|error| to_js(&error))?;
        Ok(Exporter { index: Rc::clone(&self.index), export })
    }
}

#[wasm_bindgen]
impl Exporter {
    /// Rows in it.
    #[wasm_bindgen(getter)]
    pub fn rows(&self) -> f64 {
        self.export.rows() as f64
    }

    /// The length of the whole file in bytes.
    pub fn measure(&mut self) -> Reply {
        reply(host::control(|control| self.export.measure(control)).map(|bytes| bytes as f64))
    }

    /// The next piece; null after the last.
    #[wasm_bindgen(js_name = next)]
    pub fn next_piece(&mut self) -> Reply {
        let mut piece = Vec::new();
        let some = self.export.next_chunk(&self.index, &mut piece);
        reply(some.map(|some| if some { Uint8Array::from(&piece[..]).into() } else { JsValue::NULL }))
    }
}

/// A database on its way into the files that the host holds open. Freed before its end, it leaves none.
#[wasm_bindgen]
pub struct Importer(Importing);

#[wasm_bindgen]
impl Importer {
    /// For the arguments of `open`.
    #[wasm_bindgen(constructor)]
    pub fn new(args: JsValue) -> std::result::Result<Importer, JsValue> {
        let importing = OpenArgs::read(args).and_then(OpenArgs::import);
        importing.map(Importer).map_err(|error| to_js(&error))
    }

    /// Takes the next bytes of the file, and tells of them.
    pub fn push(&mut self, piece: &[u8]) -> Reply {
        let mut push = || -> Result<JsValue> {
            let (taken, total) = self.0.push(piece)?;
            host::report(taken, total, 0);
            Ok(JsValue::UNDEFINED)
        };
        reply(push())
    }

    /// Opens what came.
    pub fn finish(self) -> std::result::Result<Engine, JsValue> {
        let index = self.0.finish().map_err(|error| to_js(&error))?;
        Ok(Engine { index: Rc::new(index) })
    }
}
