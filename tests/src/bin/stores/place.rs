//! A database whose files and store are watched.

use crate::Task;
use crate::watch::{Asked, Counted, Watched};
use asteroid_core::bytes::Bytes;
use asteroid_core::kv::Kv;
use asteroid_core::{Config, Index, Metric, Options, Stores, VectorStorage};
use asteroid_native_storage::{FileBytes, RedbKv, RocksKv, SystemPages};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(crate) struct Place {
    pub(crate) index: Index,
    pub(crate) kv: Arc<dyn Kv + Send + Sync>,
    pub(crate) asked: Arc<Asked>,
    rocks: Option<Arc<RocksKv>>,
    redb: Option<Arc<Counted>>,
    vectors: Arc<Counted>,
    journal: Arc<Counted>,
}

impl Place {
    /// The database in the task's folder, or a new one. The facade's own split of the budget.
    pub(crate) fn open(task: &Task) -> Place {
        std::fs::create_dir_all(&task.dir).unwrap();
        let file = |name: &str| Counted::new(FileBytes::open(&task.dir.join(name), true).unwrap());
        let (vectors, journal) = (file("vectors"), file("journal"));
        let options =
            Options { cache_bytes: task.cache, link_policy: Some(task.policy), ..Options::default() };
        let cache = RedbKv::cache_share(options.cache_bytes);
        let (mut rocks, mut redb) = (None, None);
        let kv: Arc<dyn Kv + Send + Sync> = if task.rocksdb {
            let kv = Arc::new(
                RocksKv::open_for(&task.dir.join("graph.rocksdb"), cache, task.policy, false).unwrap(),
            );
            rocks = Some(kv.clone());
            kv
        } else {
            let file = file("graph.redb");
            redb = Some(file.clone());
            Arc::new(RedbKv::open(file, cache, false).unwrap())
        };
        let asked = Arc::new(Asked::default());
        let stores = Stores {
            kv: Arc::new(Watched { kv: kv.clone(), asked: asked.clone() }),
            vectors: vectors.clone(),
            journal: journal.clone(),
        };
        let mut config = Config::new(128, Metric::L2);
        if task.mapped {
            config.vector_storage = VectorStorage::Flat;
        }
        let index = Index::open(stores, config, options).unwrap();
        index.use_large_pages(Arc::new(SystemPages::default()));
        Place { index, kv, asked, rocks, redb, vectors, journal }
    }

    /// Waits for compaction that was put off.
    pub(crate) fn settle(&self) {
        while self.rocks.as_ref().is_some_and(|kv| kv.busy()) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Seconds spent applying checkpoints and making them durable.
    pub(crate) fn applying(&self) -> f64 {
        self.asked.applying.load(Relaxed) as f64 / 1e9
    }

    /// Closes, waits for compaction, and tells what was written where and how large it is.
    pub(crate) fn finish(&self) -> Value {
        self.index.close().unwrap();
        self.settle();
        let written = self.rocks.as_ref().map(|kv| kv.written()).unwrap_or_default();
        let counted = |file: &Counted| file.written.load(Relaxed);
        json!({
            "flushed": written.flushed,
            "compacted": written.compacted,
            "kv": written.flushed + written.compacted + written.loaded + self.redb.as_deref().map_or(0, counted),
            "vectors": counted(&self.vectors),
            "journal": counted(&self.journal),
            "folds": self.asked.folds.load(Relaxed),
            "checkpoints": self.asked.batches.load(Relaxed),
            "lists": self.asked.lists.load(Relaxed),
            "listMicros": self.asked.nanos.load(Relaxed) as f64 / 1e3 / self.asked.lists.load(Relaxed).max(1) as f64,
            "storing": self.applying(),
            "kvDisk": self.kv.disk(),
            "vectorDisk": self.vectors.len().unwrap(),
        })
    }
}
