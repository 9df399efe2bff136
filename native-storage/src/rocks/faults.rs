//! What went wrong: RocksDB's statuses as our errors, and the complaints of its own threads.

use crate::locked;
use asteroid_core::{Code, Error};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How long after it was counted a complaint is waited for.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

/// What RocksDB's threads complained of since the store was opened.
#[derive(Default)]
pub(super) struct Faults {
    heard: Mutex<Heard>,
    told: Condvar,
}

#[derive(Default)]
struct Heard {
    /// All complaints.
    count: u64,
    /// Those of compactions that found no room: tables stay as they are, and writing goes on.
    cramped: u64,
    /// The first that is about more.
    first: Option<String>,
}

impl Faults {
    /// Takes a line of RocksDB's error log, where it tells of failed background work.
    pub(super) fn hear(&self, line: &str) {
        if let Some((_, said)) = line.split_once(" error: ")
            && line.contains("background")
        {
            let mut heard = locked(&self.heard);
            heard.count += 1;
            if line.contains("background compaction error") && is_full(said) {
                heard.cramped += 1;
            } else {
                heard.first.get_or_insert_with(|| said.to_owned());
            }
            self.told.notify_all();
        }
    }

    /// What ended writing, of `count` complaints that RocksDB has counted; they are told a moment later.
    pub(super) fn fatal(&self, count: u64) -> Option<String> {
        let untold = |heard: &mut Heard| heard.first.is_none() && heard.count < count;
        let waited = self.told.wait_timeout_while(locked(&self.heard), TOLD_WITHIN, untold);
        let heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        let unknown = || "IO error: a background flush or compaction failed".to_owned();
        heard.first.clone().or_else(|| (heard.count < count).then(unknown))
    }

    /// Compactions that found no room.
    pub(super) fn cramped(&self) -> u64 {
        locked(&self.heard).cramped
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
    let code = if is_full(said) {
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

fn is_full(said: &str) -> bool {
    ["No space left", "quota exceeded", "File too large", "allowed space"]
        .iter()
        .any(|text| said.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compaction_without_room_ends_nothing_and_all_else_does() {
        let faults = Faults::default();
        faults.hear(
            "Waiting after background compaction error: IO error: No space left on device: 9.sst, counts: 1",
        );
        faults.hear("unrelated error: IO error: something");
        assert_eq!((faults.cramped(), faults.fatal(1)), (1, None));
        assert!(
            faults.fatal(2).is_some_and(|said| said.contains("failed")),
            "a complaint that is never told"
        );
        faults
            .hear("[JOB 3] Waiting after background flush error: IO error: No space left on device: 10.sst");
        faults.hear("Waiting after background compaction error: Corruption: block checksum mismatch");
        let said = faults.fatal(3).unwrap();
        assert!(said.contains("10.sst"), "{said}");
        assert_eq!(described(Path::new("d"), &said).code(), Code::StorageFull);
    }
}
