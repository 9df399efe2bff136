//! The witness: how far the store had got when it was last synced, beside RocksDB's own files.
//!
//! RocksDB takes a damaged end of its list of files for a write that a crash cut short, and opens to the state
//! before it. That state is whole, but older than what was promised to be durable. The witness knows better.

use asteroid_core::{Error, Result, checksum};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// RocksDB leaves names alone that are not its own.
const NAME: &str = "synced";
const NEW: &str = "synced.tmp";

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Records that everything up to RocksDB's sequence number `at` is durable. Call after the sync.
pub(super) fn write(dir: &Path, at: u64) -> Result<()> {
    let mut record = at.to_le_bytes().to_vec();
    record.extend_from_slice(&checksum::crc32c(&record).to_le_bytes());
    let new = dir.join(NEW);
    let replace = || {
        let mut file = File::create(&new)?;
        file.write_all(&record)?;
        file.sync_data()?;
        // Not synced itself: an older witness asks for less, never for too much.
        fs::rename(&new, path(dir))
    };
    replace().map_err(|error| Error::io(new.display(), error))
}

/// `CORRUPT` where the store has got less far than it was once synced, or the witness is damaged.
pub(super) fn check(dir: &Path, reached: u64) -> Result<()> {
    let path = path(dir);
    let record = match fs::read(&path) {
        Ok(record) => record,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(path.display(), error)),
    };
    let at = record
        .split_first_chunk::<8>()
        .filter(|(at, sum)| *sum == checksum::crc32c(&at[..]).to_le_bytes())
        .map(|(at, _)| u64::from_le_bytes(*at))
        .ok_or_else(|| {
            Error::corrupt(format!("{} is damaged; restore the database from a copy", path.display()))
        })?;
    if reached < at {
        return Err(Error::corrupt(format!(
            "the RocksDB store in {} holds changes up to {reached}, but was synced up to {at}: \
             the end of its list of files is damaged; restore the database from a copy",
            dir.display()
        )));
    }
    Ok(())
}

/// Whether a store was ever synced here.
pub(super) fn exists(dir: &Path) -> bool {
    path(dir).exists()
}
