//! Ordered bulk loading: sorted files written aside and taken in whole, past memtables and compaction.
//!
//! Where RocksDB cannot sync the record that names the files, it removes them again, but not the record, which may be on
//! disk all the same: its list of files then names some that are gone, and it refuses to open. So the list's length is
//! noted before, and cut back to where an opening meets that.

use super::RocksKv;
use crate::place::sync_dir;
use asteroid_core::kv::{Entry, Space, check_ascending};
use asteroid_core::{Error, Result, checksum};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Where files lie until RocksDB has taken them in.
const FOLDER: &str = "loading";
/// In there: how long RocksDB's list of files was before.
const NOTE: &str = "note";
/// Looks at whether RocksDB's own threads rest, before it goes without a note.
const LOOKS: usize = 5000;
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

/// RocksDB's list of files, and its length.
fn list_of_files(dir: &Path) -> io::Result<(PathBuf, u64)> {
    let list = dir.join(fs::read_to_string(dir.join("CURRENT"))?.trim_end());
    let len = fs::metadata(&list)?.len();
    Ok((list, len))
}

/// Notes how long the list of files is, while nothing can lengthen it.
fn note(kv: &RocksKv) -> Result<()> {
    for look in 0.. {
        kv.background()?;
        if !kv.busy() {
            break;
        }
        if look == LOOKS {
            return Ok(());
        }
        std::thread::sleep(super::PAUSE);
    }
    let folder = kv.dir.join(FOLDER);
    let write = || {
        let (list, len) = list_of_files(&kv.dir)?;
        let mut note = len.to_le_bytes().to_vec();
        note.extend_from_slice(list.file_name().unwrap_or_default().as_encoded_bytes());
        note.extend_from_slice(&checksum::crc32c(&note).to_le_bytes());
        let mut file = File::create(folder.join(NOTE))?;
        file.write_all(&note)?;
        file.sync_data()
    };
    write().map_err(|error| Error::io(folder.join(NOTE).display(), error))?;
    sync_dir(&folder)
}

/// Takes back a load that failed, for a list of files that names what is gone. Answers whether there was one.
pub(super) fn take_back(dir: &Path) -> Result<bool> {
    let Ok(note) = fs::read(dir.join(FOLDER).join(NOTE)) else { return Ok(false) };
    let whole = note.split_last_chunk().filter(|(said, sum)| checksum::crc32c(said).to_le_bytes() == **sum);
    let Some((len, name)) = whole.and_then(|(said, _)| said.split_first_chunk()) else { return Ok(false) };
    let len = u64::from_le_bytes(*len);
    let cut = || {
        let (list, now) = list_of_files(dir)?;
        if now <= len || list.file_name().is_none_or(|list| list.as_encoded_bytes() != name) {
            return Ok(false);
        }
        let file = File::options().write(true).open(list)?;
        file.set_len(len)?;
        file.sync_all()?;
        Ok(true)
    };
    cut().map_err(|error| Error::io(dir.display(), error))
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
    note(kv)?;
    kv.db
        .ingest_external_file_cf_opts(kv.family(space)?, &options, files)
        .map_err(|error| kv.failure(&error))?;
    kv.loaded.fetch_add(bytes, Ordering::Relaxed);
    clean(&kv.dir)?;
    // A note that outlived its load must not come back with a power cut.
    sync_dir(&kv.dir)
}
