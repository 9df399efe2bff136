//! The one integration binary; each module proves one kind of promise.
// A panic is a failure here, and output is evidence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod at_once;
mod bulk;
mod bytes;
mod concurrent;
mod convert;
mod crash;
mod damage;
mod deadline;
mod export;
mod filter;
mod filtered;
#[cfg(feature = "rocksdb")]
mod fold;
mod full_disk;
mod kill;
mod kv;
mod model;
mod model_on_disk;
mod open;
mod patience;
mod recall;
mod repair;
#[cfg(feature = "rocksdb")]
mod rocks;
mod shape;
mod store_crash;
#[cfg(target_os = "linux")]
mod syscalls;
mod width;
