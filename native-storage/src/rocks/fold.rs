//! Folding deltas into their pivots ahead of time, on a thread of its own.

use crate::locked;
use asteroid_core::kv::Space;
use rocksdb::{ColumnFamily, CompactOptions, DB, properties};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Merge operands in the tables of `family`, as they count themselves.
pub(super) fn operands(db: &DB, family: &ColumnFamily) -> u64 {
    let told = db.property_value_cf(family, properties::AGGREGATED_TABLE_PROPERTIES).ok().flatten();
    let count = |told: String| {
        let (_, rest) = told.split_once("# merge operands=")?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    told.and_then(count).unwrap_or(0)
}

/// The thread, while there is one.
#[derive(Default)]
pub(super) struct Folder {
    running: Arc<AtomicBool>,
    thread: Mutex<Option<(JoinHandle<()>, Arc<DB>)>>,
}

impl Folder {
    pub(super) fn busy(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    /// Begins to fold, unless that is going on. Where the system has no thread to spare, compaction folds in its time.
    pub(super) fn start(&self, db: &Arc<DB>, space: Space) {
        let mut thread = locked(&self.thread);
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let (running, ours) = (self.running.clone(), db.clone());
        let fold = move || {
            if let Some(family) = ours.cf_handle(space.name()) {
                let mut options = CompactOptions::default();
                // RocksDB's own compactions go on meanwhile.
                options.set_exclusive_manual_compaction(false);
                // A failure is a background error like any other, and is met by the next write.
                ours.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
            }
            running.store(false, Ordering::Release);
        };
        match thread::Builder::new().name("asteroid-fold".to_owned()).spawn(fold) {
            Ok(handle) => *thread = Some((handle, db.clone())),
            Err(_) => self.running.store(false, Ordering::Release),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some((handle, db)) = thread {
            if self.running.load(Ordering::Acquire) {
                // Closing must not wait for a long compaction: what it has not done it leaves undone.
                db.cancel_all_background_work(true);
            }
            // A panic of the thread took nothing with it.
            let _ = handle.join();
        }
    }
}
