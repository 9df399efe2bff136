//! Helpers shared by the tests: data sets, exact search, simulated disks.
// Everything here runs in tests only, where a panic is a failure and output is evidence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

pub mod rng;
pub mod sim;
