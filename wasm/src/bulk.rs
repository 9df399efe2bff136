//! The bulk build, its steps and their times.

use crate::convert::plain;
use crate::engine::Engine;
use crate::fields::set;
use crate::host;
use crate::reply::{Reply, done, to_js};
use crate::stage::Stage;
use asteroid_core::{BulkPhase, Control, Rows, Serial};
use js_sys::Object;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
impl Engine {
    /// Resolves where the database may be bulk built: it is empty and takes writes.
    #[wasm_bindgen(js_name = bulkReady)]
    pub fn bulk_ready(&self) -> Reply {
        let none = Rows { ids: None, vectors: &[], payloads: &[] };
        done(self.index.bulk_build(none, &Serial, &Control::NONE, &|_| ()).map(drop))
    }

    /// The bytes that building `rows` rows may take at the most.
    #[wasm_bindgen(js_name = bulkMemory)]
    pub fn bulk_memory(&self, rows: f64) -> f64 {
        self.index.bulk_memory(rows as u64) as f64
    }

    /// Builds all rows of `stage` or none.
    #[wasm_bindgen(js_name = bulkBuild)]
    pub fn bulk_build(&self, stage: Stage) -> Reply {
        let Stage { ids, vectors, payloads } = stage;
        let rows = Rows { ids: ids.as_deref(), vectors: &vectors, payloads: &payloads };
        let total = (vectors.len() / self.index.config().dim as usize) as u64;
        let (step, reached) = (AtomicU32::new(0), AtomicU64::new(0));
        let times = Mutex::new(([0.0; BulkPhase::NAMES.len()], host::now()));
        let enter = |next: u32| {
            let before = step.swap(next, Ordering::Relaxed);
            if let Ok(mut times) = times.lock() {
                let now = host::now();
                let since = std::mem::replace(&mut times.1, now);
                times.0[before as usize] += now - since;
            }
        };
        let control = Control {
            cancelled: &host::given_up,
            progress: &|done, total| {
                reached.store(done, Ordering::Relaxed);
                host::report(done, total, step.load(Ordering::Relaxed));
            },
            ..Control::NONE
        };
        let built = self.index.bulk_build(rows, &Serial, &control, &|phase| {
            enter(phase.number());
            host::report(reached.load(Ordering::Relaxed), total, phase.number());
        });
        let built = built.map_err(|error| to_js(&error))?;
        enter(0);
        let phases = Object::new();
        if let Ok(times) = times.lock() {
            BulkPhase::NAMES.iter().zip(times.0).for_each(|(name, ms)| set(&phases, name, ms));
        }
        let out = Object::new();
        set(&out, "n", built.count as f64);
        set(&out, "threads", 1);
        set(&out, "phases", phases);
        Ok(plain(out))
    }
}
