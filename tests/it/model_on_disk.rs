//! A whole database on one simulated disk.

use asteroid_core::{Config, Durability, Index, LinkPolicy, Metric, Options, Result, Stores, VectorStorage};
use asteroid_native_storage::RedbKv;
use asteroid_tests::sim::SimDisk;
use std::sync::Arc;

/// How the database is opened each time.
#[derive(Clone)]
pub(crate) struct OnDisk {
    pub(crate) config: Config,
    pub(crate) durability: Durability,
    pub(crate) policy: Option<LinkPolicy>,
}

/// Few links but a large cap: dirty lists are counted in room for caps, so that checkpoints come often, in the middle
/// of large calls as well.
pub(crate) fn config(metric: Metric, vector_storage: VectorStorage) -> Config {
    Config { m: 4, m_max: 4, m_max0: 512, ef_construction: 16, vector_storage, ..Config::new(6, metric) }
}

impl OnDisk {
    pub(crate) fn new(metric: Metric, durability: Durability) -> OnDisk {
        OnDisk { config: config(metric, VectorStorage::Paged), durability, policy: None }
    }

    pub(crate) fn open(&self, disk: &SimDisk) -> Result<Index> {
        let options = Options {
            cache_bytes: 4 << 20,
            paged_max_cached_pages: Some(1),
            durability: self.durability,
            link_policy: self.policy,
            ..Options::default()
        };
        // So small a cache makes redb write pages before any commit names them.
        let kv = RedbKv::open(disk.open("graph.redb"), 60_000, false)?;
        let stores =
            Stores { kv: Arc::new(kv), vectors: disk.open("vectors"), journal: disk.open("journal") };
        Index::open(stores, self.config.clone(), options)
    }
}
