//! [`RocksKv`]: the key-value seam over RocksDB.

mod bulk;
mod faults;
mod fold;
mod manifest;
mod merge;
mod options;
mod overlay;
mod view;
mod witness;

use crate::locked;
use asteroid_core::kv::{Batch, Entry, Kv, Op, Read, Seq, Space, Synced, load_in_batches};
use asteroid_core::{Code, Error, LinkPolicy, Result};
use faults::Faults;
use fold::Folder;
use options::Setup;
use overlay::Overlay;
use rocksdb::statistics::Ticker;
use rocksdb::{
    BottommostLevelCompaction, ColumnFamily, CompactOptions, DB, ErrorKind, FlushOptions, WriteBatch,
    WriteOptions, properties,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use view::View;

/// Between two looks at whether RocksDB has caught up.
const PAUSE: Duration = Duration::from_millis(2);
/// Room that compaction leaves to checkpoints.
const SPARE: u64 = 64 << 20;
/// How long writing waits for compaction that had no room.
const PATIENCE: Duration = Duration::from_secs(20);

/// A [`Kv`] in a RocksDB directory, one column family per [`Space`], with [`Space::fold`] as merge operator.
///
/// RocksDB's own log is off: the journal above is the commit point. `apply` reaches memory, and disk when
/// memtables are full; `sync` flushes every column family in one atomic step. What a crash leaves is a prefix
/// of the applied batches. Closing syncs. A failed write, or failed work of RocksDB's own threads, poisons
/// writing; reading goes on. Only compaction may find no room and writing goes on, until there are too many tables. One batch needs its size twice in memory beyond the budget while it is applied.
pub struct RocksKv {
    // Stopped before the database goes.
    folder: Folder,
    // Before `setup`: the database goes first.
    db: Arc<DB>,
    setup: Setup,
    dir: PathBuf,
    // What a read-only store keeps in memory instead of writing it.
    overlay: Option<Overlay>,
    writer: Mutex<Option<(Code, String)>>,
    faults: Arc<Faults>,
    seq: AtomicU64,
    durable: AtomicU64,
    loading: Mutex<()>,
    loaded: AtomicU64,
    /// Whether compaction is put off, to leave what little room there is to the writes that must have it.
    held_back: AtomicBool,
}

/// Bytes that a store has written to disk since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// From memory to new tables.
    pub flushed: u64,
    /// Rewritten by compaction.
    pub compacted: u64,
    /// Loaded in bulk.
    pub loaded: u64,
}

impl RocksKv {
    /// Opens the store in `dir`, or makes one where there is none. Block cache and memtables together take at
    /// most `cache_bytes` (one batch in flight and open files' names aside). Read-only, nothing in `dir` is
    /// written, which may then lie on a read-only file system: what is applied stays in memory, for this handle
    /// alone, and ends with it.
    ///
    /// `LOCKED` where another handle writes to it; `CORRUPT` where it is damaged, or missing and read-only;
    /// `UNSUPPORTED_VERSION` where it holds a space that this version does not know.
    pub fn open(dir: &Path, cache_bytes: u64, read_only: bool) -> Result<RocksKv> {
        Self::open_as(dir, cache_bytes, LinkPolicy::Eager, read_only, !read_only)
    }

    /// [`RocksKv::open`] for writing by an engine that writes lists as `policy` says; where `must_exist`, like
    /// [`RocksKv::open_existing`]. Policies differ in when runs of lists are joined, not in what is stored.
    pub fn open_for(dir: &Path, cache_bytes: u64, policy: LinkPolicy, must_exist: bool) -> Result<RocksKv> {
        Self::open_as(dir, cache_bytes, policy, false, !must_exist)
    }

    /// [`RocksKv::open`] for writing where a store must exist already: `CORRUPT` where it does not.
    pub fn open_existing(dir: &Path, cache_bytes: u64) -> Result<RocksKv> {
        Self::open_for(dir, cache_bytes, LinkPolicy::Eager, true)
    }

    fn open_as(
        dir: &Path,
        cache_bytes: u64,
        policy: LinkPolicy,
        read_only: bool,
        may_begin: bool,
    ) -> Result<RocksKv> {
        let faults = Arc::new(Faults::default());
        let mut setup = Setup::new(cache_bytes, policy, &faults);
        let held_back = !read_only && !has_room(dir);
        if held_back {
            setup.hold_back();
        }
        let stored = stored_spaces(dir, &setup)?;
        if stored.is_none() && !may_begin {
            let said = format!("{} holds no RocksDB store; restore it from a copy", dir.display());
            return Err(Error::corrupt(said));
        }
        let opened = if read_only {
            // What an older version never made is empty.
            let spaces = stored.unwrap_or_default().into_iter().map(|space| setup.descriptor(space));
            let spaces = std::iter::once(setup.unused()).chain(spaces);
            DB::open_cf_descriptors_read_only(&setup.db, dir, spaces, false)
        } else {
            fs::create_dir_all(dir).map_err(|error| Error::io(dir.display(), error))?;
            let open = || {
                let spaces = Space::ALL.map(|space| setup.descriptor(space));
                DB::open_cf_descriptors(&setup.db, dir, std::iter::once(setup.unused()).chain(spaces))
            };
            let opened = match open() {
                Err(error) if faults::is_absence(error.as_ref()) && bulk::take_back(dir)? => open(),
                opened => opened,
            };
            if opened.is_ok() {
                bulk::clean(dir)?;
            }
            opened
        };
        let db = opened.map_err(|error| faults::translated(dir, &error))?;
        witness::check(dir, db.latest_sequence_number())?;
        Ok(RocksKv {
            folder: Folder::default(),
            db: Arc::new(db),
            setup,
            dir: dir.to_owned(),
            overlay: read_only.then(Overlay::default),
            writer: Mutex::default(),
            faults,
            seq: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            loading: Mutex::default(),
            loaded: AtomicU64::new(0),
            held_back: held_back.into(),
        })
    }

    /// Folds every delta and drops every removed entry, in all spaces. Takes as long as writing all data anew.
    /// `READ_ONLY` on a read-only store; `STORAGE_FULL` where there is no room for it, which loses nothing.
    pub fn compact(&self) -> Result<()> {
        if self.overlay.is_some() {
            let said = "the database was opened read-only and cannot be compacted";
            return Err(Error::new(Code::ReadOnly, said));
        }
        let cramped = self.faults.cramped();
        self.write(|| {
            // Also what lies lowest: an earlier compaction may have had to keep it for a view.
            let mut options = CompactOptions::default();
            options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
            for space in Space::ALL {
                let all = None::<&[u8]>;
                self.db.compact_range_cf_opt(self.family(space)?, all, all, &options);
            }
            self.background()
        })?;
        if self.faults.cramped() > cramped { Err(self.no_room("to be compacted")) } else { Ok(()) }
    }

    fn no_room(&self, what: &str) -> Error {
        let said = format!("the RocksDB store in {} has no room left {what}", self.dir.display());
        Error::new(Code::StorageFull, format!("{said}: free some space on its disk"))
    }

    /// Whether RocksDB's own threads flush or compact just now, or will.
    pub fn busy(&self) -> bool {
        let is = |family: &ColumnFamily, name| {
            matches!(self.db.property_int_value_cf(family, name), Ok(Some(1..)))
        };
        let names = [
            properties::COMPACTION_PENDING,
            properties::MEM_TABLE_FLUSH_PENDING,
            properties::NUM_RUNNING_COMPACTIONS,
            properties::NUM_RUNNING_FLUSHES,
        ];
        let mut families = Space::ALL.iter().filter_map(|&space| self.family(space).ok());
        self.folder.busy() || families.any(|family| names.into_iter().any(|name| is(family, name)))
    }

    /// What was written to disk since the store was opened.
    pub fn written(&self) -> Written {
        let count = |ticker| self.setup.db.get_ticker_count(ticker);
        Written {
            flushed: count(Ticker::FlushWriteBytes),
            compacted: count(Ticker::CompactWriteBytes),
            loaded: self.loaded.load(Ordering::Relaxed),
        }
    }

    fn family(&self, space: Space) -> Result<&ColumnFamily> {
        self.db.cf_handle(space.name()).ok_or_else(|| {
            Error::corrupt(format!(
                "the RocksDB store in {} has no space {}",
                self.dir.display(),
                space.name()
            ))
        })
    }

    fn failure(&self, status: &rocksdb::Error) -> Error {
        faults::translated(&self.dir, status)
    }

    /// The failure of RocksDB's own threads that ended writing, if any.
    fn background(&self) -> Result<()> {
        let count = self.db.property_int_value(properties::BACKGROUND_ERRORS);
        let count = count.map_err(|error| self.failure(&error))?.unwrap_or(0);
        if count == 0 {
            return Ok(());
        }
        self.faults.fatal(count).map_or(Ok(()), |said| Err(faults::described(&self.dir, &said)))
    }

    /// Runs a write under the writer's lock; its failure is the last thing written.
    fn write<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut poison = locked(&self.writer);
        if let Some((code, cause)) = &*poison {
            return Err(Error::new(
                Code::Poisoned,
                format!("an earlier write failed ({}: {cause}); reopen the database to go on", code.as_str()),
            ));
        }
        let done = self.background().and_then(|()| work());
        if let Err(error) = &done {
            *poison = Some((error.code(), error.message().to_owned()));
        }
        done
    }

    /// Waits while compaction is so far behind that reads would suffer, or the memtables cannot take more.
    /// `STORAGE_FULL` where compaction found no room, and gets nowhere for [`PATIENCE`].
    fn pace(&self) -> Result<()> {
        let number = |value: std::result::Result<Option<u64>, rocksdb::Error>| {
            value.map(Option::unwrap_or_default).map_err(|error| self.failure(&error))
        };
        let name = properties::num_files_at_level(0);
        let (mut fewest, mut since) = (u64::MAX, Instant::now());
        loop {
            self.background()?;
            let stopped = number(self.db.property_int_value(properties::IS_WRITE_STOPPED))? > 0;
            let mut late = 0;
            for space in Space::ALL {
                let runs = number(self.db.property_int_value_cf(self.family(space)?, &name))?;
                late += runs.saturating_sub(options::MOST_RUNS);
            }
            if !stopped && late == 0 {
                return Ok(());
            }
            self.compact_again()?;
            if late < fewest {
                (fewest, since) = (late, Instant::now());
            }
            if self.faults.cramped() > 0 && since.elapsed() > PATIENCE {
                return Err(self.no_room("to join its tables"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Ends the putting off of compaction, if it was.
    fn compact_again(&self) -> Result<()> {
        if self.held_back.swap(false, Ordering::Relaxed) {
            for space in Space::ALL {
                let set =
                    self.db.set_options_cf(self.family(space)?, &[("disable_auto_compactions", "false")]);
                set.map_err(|error| self.failure(&error))?;
            }
        }
        Ok(())
    }

    /// Flushes every memtable; the caller holds the writer's lock.
    fn flush(&self) -> Result<()> {
        let upto = self.seq.load(Ordering::Acquire);
        if upto > self.durable() && self.overlay.is_none() {
            self.pace()?;
            let at = self.db.latest_sequence_number();
            let families = Space::ALL.iter().map(|&space| self.family(space)).collect::<Result<Vec<_>>>()?;
            let mut options = FlushOptions::default();
            options.set_wait(true);
            self.db
                .flush_cfs_opt(&families.iter().collect::<Vec<_>>(), &options)
                .map_err(|error| self.failure(&error))?;
            self.background()?;
            witness::write(&self.dir, at)?;
            if self.held_back.load(Ordering::Relaxed) && has_room(&self.dir) {
                self.compact_again()?;
            }
        }
        self.durable.store(upto, Ordering::Release);
        Ok(())
    }

    fn write_batch(&self, batch: &Batch) -> Result<WriteBatch> {
        let mut out = WriteBatch::default();
        // The greatest key set so far in each space, for ranges without an end.
        let mut greatest: BTreeMap<Space, &[u8]> = BTreeMap::new();
        for op in batch.ops() {
            let (space, key) = match op {
                Op::Put(space, key, value) => {
                    out.put_cf(self.family(*space)?, key, value);
                    (*space, key)
                }
                Op::Merge(space, key, operand) => {
                    // RocksDB folds later, where nobody can be told: what does not decode is refused here.
                    space.check(operand)?;
                    out.merge_cf(self.family(*space)?, key, operand);
                    (*space, key)
                }
                Op::Delete(space, key) => {
                    out.delete_cf(self.family(*space)?, key);
                    continue;
                }
                Op::DeleteRange(space, range) => {
                    let family = self.family(*space)?;
                    let end = match &range.end {
                        Some(end) => end.clone(),
                        None => self.past_all(family, greatest.get(space).copied())?,
                    };
                    if range.start < end {
                        out.delete_range_cf(family, &range.start, &end);
                    }
                    continue;
                }
            };
            let known = greatest.entry(space).or_insert(key);
            *known = (*known).max(key);
        }
        Ok(out)
    }

    /// A key past every key that is stored or in the batch so far.
    fn past_all(&self, family: &ColumnFamily, in_batch: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut entries = self.db.raw_iterator_cf(family);
        entries.seek_to_last();
        let mut end = entries.key().max(in_batch).map(<[u8]>::to_vec).unwrap_or_default();
        entries.status().map_err(|error| self.failure(&error))?;
        end.push(0);
        Ok(end)
    }

    fn next_seq(&self) -> Seq {
        self.seq.fetch_add(1, Ordering::AcqRel) + 1
    }
}

/// Whether the disk of `dir` has room for all its tables once more, which the largest compaction takes, and for what
/// must be written meanwhile.
fn has_room(dir: &Path) -> bool {
    let Ok(files) = fs::read_dir(dir) else { return true };
    let tables = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "sst"));
    let size: u64 = tables.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    fs4::available_space(dir).map_or(true, |room| room >= size + SPARE)
}

/// The spaces of the store in `dir`; `None` where there is none.
fn stored_spaces(dir: &Path, setup: &Setup) -> Result<Option<Vec<Space>>> {
    if !dir.join("CURRENT").exists() {
        // Without this file RocksDB would begin anew beside the data.
        let is_table = |entry: fs::DirEntry| entry.path().extension().is_some_and(|end| end == "sst");
        if witness::exists(dir) || fs::read_dir(dir).is_ok_and(|files| files.flatten().any(is_table)) {
            return Err(Error::corrupt(format!(
                "the RocksDB store in {} has lost its file CURRENT; restore the database from a copy",
                dir.display()
            )));
        }
        return Ok(None);
    }
    manifest::check(dir)?;
    let names = DB::list_cf(&setup.db, dir).map_err(|error| faults::translated(dir, &error))?;
    let names = names.iter().filter(|name| *name != rocksdb::DEFAULT_COLUMN_FAMILY_NAME);
    let spaces = names.map(|name| {
        Space::ALL.into_iter().find(|space| space.name() == name).ok_or_else(|| {
            let said = format!("the RocksDB store in {} holds space {name}", dir.display());
            Error::new(Code::UnsupportedVersion, format!("{said}, unknown here: update this software"))
        })
    });
    spaces.collect::<Result<_>>().map(Some)
}

impl Kv for RocksKv {
    fn compact(&self) -> Result<()> {
        RocksKv::compact(self)
    }

    fn view(&self) -> Result<Box<dyn Read + '_>> {
        let stored = View::of(self);
        Ok(match &self.overlay {
            Some(overlay) => Box::new(overlay.over(stored)),
            None => Box::new(stored),
        })
    }

    fn apply(&self, batch: &Batch) -> Result<Seq> {
        self.write(|| {
            if let Some(overlay) = &self.overlay {
                overlay.apply(View::of(self), batch)?;
                return Ok(self.next_seq());
            }
            let mut options = WriteOptions::default();
            options.disable_wal(true);
            // RocksDB would wait in the dark for a full disk to get room. We wait with our eyes open.
            options.set_no_slowdown(true);
            loop {
                self.pace()?;
                match self.db.write_opt(self.write_batch(batch)?, &options) {
                    Ok(()) => return Ok(self.next_seq()),
                    Err(error) if error.kind() == ErrorKind::Incomplete => std::thread::sleep(PAUSE),
                    Err(error) => return Err(self.failure(&error)),
                }
            }
        })
    }

    fn sync(&self, seq: Seq) -> Result<Synced> {
        if seq > self.durable() {
            self.write(|| self.flush())?;
        }
        Ok(Synced::Done)
    }

    fn durable(&self) -> Seq {
        self.durable.load(Ordering::Acquire)
    }

    /// Written as tables of their own and taken in whole: all of `entries` or none. Durable on return.
    fn load_sorted(&self, space: Space, entries: &mut dyn Iterator<Item = Result<Entry>>) -> Result<Seq> {
        if self.overlay.is_some() {
            return load_in_batches(space, entries, &mut |batch| self.apply(batch));
        }
        let _alone = locked(&self.loading);
        // Refuses what must be refused before the work begins.
        self.write(|| Ok(()))?;
        // A failure here has changed nothing and poisons nothing.
        let files = bulk::write_files(self, space, entries)?;
        self.write(|| {
            // Loaded files are durable at once, so what was applied before them must be.
            self.flush()?;
            if !files.is_empty() {
                bulk::take_in(self, space, files)?;
                witness::write(&self.dir, self.db.latest_sequence_number())?;
            }
            let seq = self.next_seq();
            self.durable.store(seq, Ordering::Release);
            Ok(seq)
        })
    }

    fn unfolded(&self, space: Space) -> u64 {
        self.family(space).map_or(0, |family| fold::operands(&self.db, family))
    }

    fn fold(&self, space: Space) {
        if self.overlay.is_none() && merge::merges(space) {
            self.folder.start(&self.db, space);
        }
    }

    fn memory(&self) -> u64 {
        // Memtables are charged to the cache. What readers of open tables hold besides is small, but not nothing.
        let readers: u64 = Space::ALL
            .iter()
            .filter_map(|&space| self.family(space).ok())
            .filter_map(|family| {
                self.db.property_int_value_cf(family, properties::ESTIMATE_TABLE_READERS_MEM).ok()
            })
            .flatten()
            .sum();
        let overlay = self.overlay.as_ref().map_or(0, Overlay::memory);
        self.setup.cache.get_usage() as u64 + readers + overlay
    }

    fn disk(&self) -> u64 {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let sizes = files.filter_map(|file| file.metadata().ok()).filter(|meta| meta.is_file());
        sizes.map(|meta| meta.len()).sum()
    }
}
