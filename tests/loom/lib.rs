//! See `Cargo.toml`; the tests are in the files themselves.
#![cfg(loom)]

#[allow(dead_code)]
#[path = "../../core/src/graph/seqlock.rs"]
mod seqlock;
