//! Helpers shared by the tests: data sets, exact search, a model of the engine, simulated disks.
//!
//! For a browser's worker only the contracts of the stores and files are there.
// Everything here runs in tests only, where a panic is a failure and output is evidence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

pub mod bytes;
#[cfg(not(target_family = "wasm"))]
pub mod data;
#[cfg(not(target_family = "wasm"))]
pub mod exact;
#[cfg(not(target_family = "wasm"))]
pub mod files;
#[cfg(not(target_family = "wasm"))]
pub mod filters;
pub mod kv;
#[cfg(not(target_family = "wasm"))]
pub mod model;
#[cfg(not(target_family = "wasm"))]
pub mod pool;
#[cfg(not(target_family = "wasm"))]
pub mod quiet;
pub mod rng;
#[cfg(not(target_family = "wasm"))]
pub mod sim;
#[cfg(not(target_family = "wasm"))]
pub mod stores;
#[cfg(not(target_family = "wasm"))]
pub mod tree;
#[cfg(not(target_family = "wasm"))]
pub mod workload;
