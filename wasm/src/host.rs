//! What the worker's JavaScript provides: files, the time, and an ear for the call that is running.

use asteroid_core::Control;
use std::sync::atomic::{AtomicBool, Ordering};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(raw_module = "asteroid-host")]
extern "C" {
    #[wasm_bindgen(catch, js_name = fileLen)]
    pub(crate) fn file_len(file: u32) -> Result<f64, JsValue>;
    /// Reads at most `out.len()` bytes; answers how many.
    #[wasm_bindgen(catch, js_name = fileRead)]
    pub(crate) fn file_read(file: u32, at: f64, out: &mut [u8]) -> Result<f64, JsValue>;
    /// Writes at most `data.len()` bytes; answers how many.
    #[wasm_bindgen(catch, js_name = fileWrite)]
    pub(crate) fn file_write(file: u32, at: f64, data: &[u8]) -> Result<f64, JsValue>;
    #[wasm_bindgen(catch, js_name = fileSetLen)]
    pub(crate) fn file_set_len(file: u32, len: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(catch, js_name = fileSync)]
    pub(crate) fn file_sync(file: u32) -> Result<(), JsValue>;

    /// Milliseconds since a moment that is the same for all of the browser.
    pub(crate) fn now() -> f64;
    /// Whether the caller of the running call gave it up. Also tells the caller that the worker is alive.
    fn cancelled() -> bool;
    /// Tells the caller of the running call how far it is.
    fn progress(done: f64, total: f64, step: u32);
    /// Loads what of the engine is seldom used, and returns when it is there.
    fn rest();
}

/// Runs `work` under a [`Control`] that asks and tells the caller of the running call.
pub(crate) fn control<T>(work: impl FnOnce(&Control<'_>) -> T) -> T {
    control_since(0.0, work)
}

/// [`control`] of a call that was made at that time.
pub(crate) fn control_since<T>(called: f64, work: impl FnOnce(&Control<'_>) -> T) -> T {
    work(&Control {
        cancelled: &cancelled,
        progress: &|done, total| report(done, total, 0),
        now: &now,
        called,
    })
}

/// Tells the caller how far the running call is.
pub(crate) fn report(done: u64, total: u64, step: u32) {
    progress(done as f64, total as f64, step);
}

/// Whether the caller of the running call gave it up.
pub(crate) fn given_up() -> bool {
    cancelled()
}

/// Has what of the engine is seldom used be there. Called by what `scripts/lib/split-wasm.mjs` puts in its place.
#[wasm_bindgen]
#[expect(unreachable_pub, reason = "JavaScript reaches it")]
pub fn need() {
    static HERE: AtomicBool = AtomicBool::new(false);
    if !HERE.load(Ordering::Relaxed) {
        rest();
        HERE.store(true, Ordering::Relaxed);
    }
}
