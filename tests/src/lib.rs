//! Helpers shared by the tests: data sets, exact search, a model of the engine, simulated disks.
// Everything here runs in tests only, where a panic is a failure and output is evidence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

pub mod data;
pub mod exact;
pub mod files;
pub mod filters;
pub mod model;
pub mod pool;
pub mod quiet;
pub mod rng;
pub mod sim;
pub mod stores;
pub mod tree;
pub mod workload;
