//! Which stores a build has, so that one test runs over each.

use asteroid_core::StoreKind;
use asteroid_core::bytes::MemBytes;
use asteroid_core::kv::{Kv, MemKv};
use asteroid_native_storage::RedbKv;
use std::sync::Arc;

/// The stores that keep a database on disk.
pub const STORES: &[StoreKind] =
    if cfg!(feature = "rocksdb") { &[StoreKind::Redb, StoreKind::RocksDb] } else { &[StoreKind::Redb] };

/// What a store keeps its keys in, below a database's directory: a file or a directory.
pub fn graph(store: StoreKind) -> &'static str {
    match store {
        StoreKind::RocksDb => "graph.rocksdb",
        _ => "graph.redb",
    }
}

/// The store that an option value names.
pub fn named(name: &str) -> StoreKind {
    *STORES.iter().find(|store| store.name() == name).unwrap()
}

/// Makes a test of each function, for each store on disk: the function takes the store.
#[macro_export]
macro_rules! over_stores {
    ($($(#[$attribute:meta])* $test:ident),* $(,)?) => {
        mod redb {
            $(#[test] $(#[$attribute])* fn $test() {
                super::$test(asteroid_core::StoreKind::Redb);
            })*
        }
        #[cfg(feature = "rocksdb")]
        mod rocksdb {
            $(#[test] $(#[$attribute])* fn $test() {
                super::$test(asteroid_core::StoreKind::RocksDb);
            })*
        }
    };
}

/// Where a key-value store lives when its handle is closed, so that it can be opened again.
pub enum Kept {
    /// In memory, by ours.
    Memory(Arc<MemKv>),
    /// redb in a file in memory.
    Redb(Arc<MemBytes>),
    /// RocksDB in a directory.
    #[cfg(feature = "rocksdb")]
    RocksDb(tempfile::TempDir),
}

impl Kept {
    /// An empty store.
    pub fn new(store: StoreKind) -> Kept {
        match store {
            StoreKind::Memory => Kept::Memory(Arc::default()),
            #[cfg(feature = "rocksdb")]
            StoreKind::RocksDb => Kept::RocksDb(crate::files::quick_dir()),
            _ => Kept::Redb(Arc::default()),
        }
    }

    /// Opens it to write, with a cache as small as there is.
    pub fn open(&self) -> Arc<dyn Kv + Send + Sync> {
        match self {
            Kept::Memory(kv) => kv.clone(),
            Kept::Redb(bytes) => Arc::new(RedbKv::open(bytes.clone(), 1 << 20, false).unwrap()),
            #[cfg(feature = "rocksdb")]
            Kept::RocksDb(dir) => {
                Arc::new(asteroid_native_storage::RocksKv::open(dir.path(), 1 << 20, false).unwrap())
            }
        }
    }
}
