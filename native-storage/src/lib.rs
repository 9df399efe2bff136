//! Native storage for Asteroid DB: redb, files and memory maps, and the one-writer lock.
//!
//! The redb store sits on [`asteroid_core::bytes::Bytes`] and compiles to wasm32 as well; everything that
//! needs an operating system is left out there.

#[cfg(all(feature = "redb", not(target_family = "wasm")))]
mod backup;
#[cfg(feature = "redb")]
mod checked;
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
mod convert;
mod cow;
#[cfg(not(target_family = "wasm"))]
mod file;
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
mod import;
#[cfg(not(target_family = "wasm"))]
mod lock;
#[cfg(not(target_family = "wasm"))]
mod mmap;
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
mod open;
#[cfg(not(target_family = "wasm"))]
mod pages;
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
mod place;
#[cfg(feature = "redb")]
mod redb;
#[cfg(all(feature = "rocksdb", not(target_family = "wasm")))]
mod rocks;

#[cfg(all(feature = "redb", not(target_family = "wasm")))]
pub use backup::backup;
#[cfg(feature = "redb")]
pub use checked::{BLOCK_BYTES, STORED_BLOCK_BYTES};
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
pub use convert::{Converted, convert};
pub use cow::CowBytes;
#[cfg(not(target_family = "wasm"))]
pub use file::FileBytes;
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
pub use import::import;
#[cfg(not(target_family = "wasm"))]
pub use lock::Lock;
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
pub use open::{Database, OpenStores, open, open_memory, open_stores};
#[cfg(not(target_family = "wasm"))]
pub use pages::SystemPages;
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
pub use place::Place;
#[cfg(feature = "redb")]
pub use redb::RedbKv;
#[cfg(all(feature = "rocksdb", not(target_family = "wasm")))]
pub use rocks::{RocksKv, Written};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose holder may have panicked: what it guards is set by single assignments.
fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
