//! What went wrong: RocksDB's statuses as our errors, and the complaints of its own threads.

use crate::locked;
use asteroid_core::{Code, Error};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What RocksDB's threads complained of since the store was opened.
#[derive(Default)]
pub(super) struct Faults {
    first: Mutex<Option<String>>,
    told: Condvar,
}

impl Faults {
    /// Takes a line of RocksDB's error log; keeps the first that tells of failed background work.
    pub(super) fn hear(&self, line: &str) {
        if let Some((_, said)) = line.split_once(" error: ")
            && line.contains("background")
        {
            locked(&self.first).get_or_insert_with(|| said.to_owned());
            self.told.notify_all();
        }
    }

    /// The first complaint, waited for as long as that.
    pub(super) fn first_within(&self, wait: Duration) -> Option<String> {
        let waited = self.told.wait_timeout_while(locked(&self.first), wait, |first| first.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// Whether a status says that a file is gone.
pub(super) fn is_absence(said: &str) -> bool {
    said.contains("No such file or directory")
}

/// A RocksDB status as our error; `dir` is where the store is.
pub(super) fn translated(dir: &Path, status: &rocksdb::Error) -> Error {
    described(dir, status.as_ref())
}

/// The same for the text of a status, which names its kind first.
pub(super) fn described(dir: &Path, said: &str) -> Error {
    let has = |text: &str| said.contains(text);
    let code =
        if has("No space left") || has("quota exceeded") || has("File too large") || has("allowed space") {
            Code::StorageFull
        } else if has("While lock file") || has("lock hold by current process") {
            Code::Locked
        } else if is_absence(said) || !(has("IO error") || said.starts_with("Operation ")) {
            // What is left are refusals of what the files say, and a file that the list of files names but is gone.
            Code::Corrupt
        } else {
            Code::Io
        };
    Error::new(code, format!("the RocksDB store in {}: {said}", dir.display()))
}
