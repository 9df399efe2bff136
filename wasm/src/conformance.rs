//! The contracts of the stores and files, run over what the worker keeps them in. In no build that is published.

#![allow(unreachable_pub, reason = "functions that JavaScript calls have to be public")]

use crate::files::HostFile;
use crate::reply::{Reply, done};
use asteroid_core::bytes::{Bytes, MemBytes};
use asteroid_core::kv::{Kv, MemKv};
use asteroid_core::{Error, Result};
use asteroid_native_storage::RedbKv;
use asteroid_tests::{bytes, kv, rng};
use js_sys::Array;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wasm_bindgen::prelude::*;

/// What the sentences are about, by the first word of their names.
const STORE: &str = "store";
const FILE: &str = "file";

#[wasm_bindgen]
extern "C" {
    /// Keeps what a panic said: the trap that follows says nothing.
    #[wasm_bindgen(js_namespace = console)]
    fn error(message: &str);
}

/// The names of all sentences.
#[wasm_bindgen]
pub fn sentences() -> Array {
    let stores = kv::SENTENCES.iter().map(|(name, _)| (STORE, *name));
    let files = bytes::SENTENCES.iter().map(|(name, _)| (FILE, *name));
    stores.chain(files).map(|(kind, name)| JsValue::from_str(&format!("{kind} {name}"))).collect()
}

/// Traps where the sentence of this name does not hold in the empty files that the host holds open, or in memory.
#[wasm_bindgen]
pub fn hold(sentence: &str, memory: bool, seed: u32) -> Reply {
    std::panic::set_hook(Box::new(|info| error(&info.to_string())));
    rng::GIVEN.store(seed.into(), Ordering::Relaxed);
    done(run(sentence, memory))
}

fn run(sentence: &str, memory: bool) -> Result<()> {
    let unknown = || Error::invalid(format!("there is no sentence '{sentence}'"));
    let (kind, name) = sentence.split_once(' ').ok_or_else(unknown)?;
    if kind == STORE {
        let (_, check) = kv::SENTENCES.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
        let store: Box<dyn Kv> = match memory {
            true => Box::new(MemKv::default()),
            // A cache as small as there is: pages go through the file.
            false => Box::new(RedbKv::open(Arc::new(HostFile::Graph), 8192, false)?),
        };
        check(&*store);
    } else {
        let (_, check) = bytes::SENTENCES.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
        let file: Box<dyn Bytes> =
            if memory { Box::new(MemBytes::default()) } else { Box::new(HostFile::Vectors) };
        check(&*file);
    }
    Ok(())
}
