//! A whole database on one simulated disk.

#[cfg(target_os = "linux")]
use crate::syscalls::Watched;
use asteroid_core::{
    Config, Durability, Index, LinkPolicy, Metric, OpenRequest, Options, Result, StoreKind, Stores,
    VectorStorage,
};
use asteroid_native_storage::{Database, Place, RedbKv, open};
use asteroid_tests::sim::SimDisk;
use std::ops::Deref;
use std::sync::Arc;

/// How the files of a database come to lie on the simulated disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Handed to the engine one by one, with redb in one of them.
    Bytes,
    /// A directory of real files, opened as users open it, whose system calls are recorded.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Files(StoreKind),
}

/// How the database is opened each time.
#[derive(Clone)]
pub(crate) struct OnDisk {
    pub(crate) home: Home,
    pub(crate) config: Config,
    pub(crate) durability: Durability,
    pub(crate) policy: Option<LinkPolicy>,
}

/// An open one.
pub(crate) enum Opened {
    Bytes(Index),
    /// The directory is let go of last: closing writes, too.
    #[cfg(target_os = "linux")]
    Files(Database, #[expect(dead_code, reason = "it goes last")] Watched),
}

impl Deref for Opened {
    type Target = Index;

    fn deref(&self) -> &Index {
        match self {
            Opened::Bytes(index) => index,
            #[cfg(target_os = "linux")]
            Opened::Files(database, _) => &database.index,
        }
    }
}

/// Few links but a large cap: dirty lists are counted in room for caps, so that checkpoints come often, in the middle
/// of large calls as well.
pub(crate) fn config(metric: Metric, vector_storage: VectorStorage) -> Config {
    Config { m: 4, m_max: 4, m_max0: 512, ef_construction: 16, vector_storage, ..Config::new(8, metric) }
}

/// Opens the database of this configuration in a directory.
pub(crate) fn open_at(
    place: &Place,
    store: StoreKind,
    config: &Config,
    options: Options,
) -> Result<Database> {
    let request = OpenRequest {
        dim: Some(config.dim),
        metric: Some(config.metric),
        m: Some(config.m),
        m_max: Some(config.m_max),
        m_max0: Some(config.m_max0),
        ef_construction: Some(config.ef_construction),
        vector_storage: Some(config.vector_storage),
        seed: Some(config.seed),
        store: Some(store),
        options,
        ..OpenRequest::default()
    };
    open(place, &request)
}

impl OnDisk {
    pub(crate) fn new(metric: Metric, durability: Durability) -> OnDisk {
        let config = config(metric, VectorStorage::Paged);
        OnDisk { home: Home::Bytes, config, durability, policy: None }
    }

    pub(crate) fn open(&self, disk: &SimDisk) -> Result<Opened> {
        let options = Options {
            cache_bytes: 4 << 20,
            paged_max_cached_pages: Some(1),
            durability: self.durability,
            link_policy: self.policy,
            ..Options::default()
        };
        match self.home {
            Home::Bytes => {
                // So small a cache makes redb write pages before any commit names them.
                let kv = RedbKv::open(disk.open("graph.redb"), 60_000, false)?;
                let stores =
                    Stores { kv: Arc::new(kv), vectors: disk.open("vectors"), journal: disk.open("journal") };
                Ok(Opened::Bytes(Index::open(stores, self.config.clone(), options)?))
            }
            #[cfg(target_os = "linux")]
            Home::Files(store) => {
                let watched = Watched::new(disk);
                let place = Place { dir: watched.path().join("db"), vector_file: None };
                Ok(Opened::Files(open_at(&place, store, &self.config, options)?, watched))
            }
            #[cfg(not(target_os = "linux"))]
            Home::Files(_) => unreachable!("system calls are recorded on Linux only"),
        }
    }
}
