//! Ordered bulk loading: sorted files written aside and taken in whole, past memtables and compaction.

use super::RocksKv;
use asteroid_core::kv::{Entry, Space, check_ascending};
use asteroid_core::{Error, Result};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Where files lie until RocksDB has taken them in.
const FOLDER: &str = "loading";
/// Bytes of keys and values per file: as large as those RocksDB's compaction writes.
const FILE_BYTES: u64 = 64 << 20;

/// Removes what an interrupted load left.
pub(super) fn clean(dir: &Path) -> Result<()> {
    let folder = dir.join(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| Error::io(folder.display(), error))?;
    }
    Ok(())
}

/// Writes ascending `entries` to files beside the store.
pub(super) fn write_files(
    kv: &RocksKv,
    space: Space,
    entries: &mut dyn Iterator<Item = Result<Entry>>,
) -> Result<Vec<PathBuf>> {
    clean(&kv.dir)?;
    let folder = kv.dir.join(FOLDER);
    fs::create_dir_all(&folder).map_err(|error| Error::io(folder.display(), error))?;
    let failed = |error: rocksdb::Error| kv.failure(&error);
    let mut files = Vec::new();
    let mut entries = entries.peekable();
    let mut last: Option<Vec<u8>> = None;
    while entries.peek().is_some() {
        let file = folder.join(format!("{}.sst", files.len()));
        let mut writer = SstFileWriter::create(&kv.setup.spaces[space as usize]);
        writer.open(&file).map_err(failed)?;
        let mut bytes = 0;
        while bytes < FILE_BYTES
            && let Some(entry) = entries.next()
        {
            let (key, value) = entry?;
            check_ascending(last.as_deref(), &key)?;
            writer.put(&key, &value).map_err(failed)?;
            bytes += (key.len() + value.len()) as u64;
            last = Some(key);
        }
        writer.finish().map_err(failed)?;
        files.push(file);
    }
    Ok(files)
}

/// Takes the files in, all or none.
pub(super) fn take_in(kv: &RocksKv, space: Space, files: Vec<PathBuf>) -> Result<()> {
    let bytes: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|meta| meta.len()).sum();
    let mut options = IngestExternalFileOptions::default();
    // A link instead of a copy: the bytes are written once.
    options.set_move_files(true);
    kv.db
        .ingest_external_file_cf_opts(kv.family(space)?, &options, files)
        .map_err(|error| kv.failure(&error))?;
    kv.loaded.fetch_add(bytes, Ordering::Relaxed);
    clean(&kv.dir)
}
