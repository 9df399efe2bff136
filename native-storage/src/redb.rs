//! [`RedbKv`]: the key-value seam over redb.

use crate::checked::{Blank, Checked, Status};
use crate::cow::CowBytes;
use crate::locked;
use asteroid_core::bytes::Bytes;
use asteroid_core::kv::{Batch, Flow, Kv, Op, Range, Read, Seq, Space, Synced};
use asteroid_core::{Code, Error, Result};
use redb::{
    CompactionError, Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    Table, TableDefinition, WriteTransaction,
};
use std::cell::OnceCell;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

type Bytestrings = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Failure = Option<(Code, String)>;

/// How often a compaction waits for those who read, and how long each time.
const COMPACT_WAITS: u32 = 40;
const COMPACT_WAIT: std::time::Duration = std::time::Duration::from_millis(5);

/// Largest file that is compacted as it is closed: half a second (70 MB of which 19 were used took 0.15 s).
const TRIMMED: u64 = 256 << 20;

/// A [`Kv`] in one redb file, one table per [`Space`], every block of the file under a checksum.
///
/// `apply` is a commit in memory; `sync` makes everything so far durable in one two-phase commit (two
/// syncs of the bytes below) that also records what redb needs to open quickly after a crash. A failed write
/// poisons writing. A read that meets damage fails with `CORRUPT`, and so does every read after it that is
/// not answered from memory, until the store is opened again.
pub struct RedbKv {
    // Taken out only by drop, kept from all others only by compaction.
    db: RwLock<Option<Database>>,
    bytes: Arc<dyn Bytes + Send + Sync>,
    cache_bytes: u64,
    /// Length of the file when it was opened.
    opened: u64,
    // What a read-only store keeps in memory instead of writing it.
    overlay: Option<Arc<CowBytes>>,
    writer: Mutex<Failure>,
    status: Arc<Status>,
    seq: AtomicU64,
    durable: AtomicU64,
}

impl RedbKv {
    /// Opens the store in `bytes`, or begins one where they are empty (or hold a beginning that a crash cut
    /// short). redb's cache takes at most `cache_bytes`. Read-only, the bytes are never written: what recovery
    /// and `apply` change stays in memory, for this handle alone, and ends with it. (An engine replays its
    /// journal that way; refusing its caller's writes is its own affair.)
    ///
    /// `CORRUPT` where the file is damaged, or empty and read-only.
    pub fn open(bytes: Arc<dyn Bytes + Send + Sync>, cache_bytes: u64, read_only: bool) -> Result<RedbKv> {
        let blank = if read_only { Blank::Refuse } else { Blank::Begin };
        Self::open_as(bytes, cache_bytes, read_only, blank)
    }

    /// The store's part of a database's one cache budget: an eighth, at least 1 MiB, at most 64 MiB. Most of what a
    /// search reads is decoded above the store, and cached there.
    pub fn cache_share(cache_bytes: u64) -> u64 {
        (cache_bytes / 8).clamp(1 << 20, 64 << 20)
    }

    /// [`RedbKv::open`] for writing where a store must exist already: `CORRUPT` where it does not.
    pub fn open_existing(bytes: Arc<dyn Bytes + Send + Sync>, cache_bytes: u64) -> Result<RedbKv> {
        Self::open_as(bytes, cache_bytes, false, Blank::Refuse)
    }

    fn open_as(
        bytes: Arc<dyn Bytes + Send + Sync>,
        cache_bytes: u64,
        read_only: bool,
        blank: Blank,
    ) -> Result<RedbKv> {
        let overlay = if read_only { Some(Arc::new(CowBytes::new(bytes.clone())?)) } else { None };
        let below = overlay.clone().map_or_else(|| bytes.clone(), |overlay| overlay as _);
        let checked = Checked::open(below, blank)?;
        let status = checked.status();
        let cache = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        let db = guarded(&status, || {
            Ok(Database::builder().set_cache_size(cache).create_with_backend(checked)?)
        })?;
        let opened = bytes.len()?;
        let kv = RedbKv {
            db: RwLock::new(Some(db)),
            bytes,
            opened,
            cache_bytes,
            overlay,
            writer: Mutex::default(),
            status,
            seq: AtomicU64::new(0),
            durable: AtomicU64::new(0),
        };
        kv.make_tables()?;
        Ok(kv)
    }

    fn make_tables(&self) -> Result<()> {
        self.guarded(|db| {
            let read = db.begin_read()?;
            if Space::ALL.iter().all(|&space| read.open_table(table(space)).is_ok()) {
                return Ok(());
            }
            let write = begin(db, Durability::Immediate)?;
            for space in Space::ALL {
                write.open_table(table(space))?;
            }
            Ok(write.commit()?)
        })
    }

    fn guarded<T>(&self, work: impl FnOnce(&Database) -> std::result::Result<T, Fault>) -> Result<T> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        guarded(&self.status, || work(db.as_ref().ok_or_else(closed)?))
    }

    /// Runs a write under the writer's lock; its failure is the last thing written.
    fn write<T>(&self, work: impl FnOnce(&Database) -> std::result::Result<T, Fault>) -> Result<T> {
        self.alone(|| self.guarded(work))
    }

    fn alone<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut poison = locked(&self.writer);
        if let Some((code, cause)) = &*poison {
            return Err(Error::new(
                Code::Poisoned,
                format!("an earlier write failed ({}: {cause}); reopen the database to go on", code.as_str()),
            ));
        }
        let done = work();
        if let Err(error) = &done {
            *poison = Some((error.code(), error.message().to_owned()));
            self.status.frozen.store(true, Ordering::Release);
        }
        done
    }
}

impl RedbKv {
    /// Compacts, unless somebody reads: redb moves what readers may look at. Whether it did.
    fn try_compact(&self, closing: bool) -> Result<bool> {
        self.alone(|| {
            let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
            let upto = self.seq.load(Ordering::Acquire);
            // redb points at pages that it moved in the sync that writes them.
            self.status.ordered.store(true, Ordering::Release);
            let done = guarded(&self.status, || {
                let db = db.as_mut().ok_or_else(closed)?;
                match db.compact() {
                    Err(CompactionError::TransactionInProgress) => return Ok(false),
                    Err(error) => return Err(Fault::Redb(error.into())),
                    Ok(_) => {}
                }
                // Compaction leaves out what makes an opening after a crash quick; a close adds it, in the least space.
                if !closing {
                    begin(db, Durability::Immediate)?.commit()?;
                }
                Ok(true)
            });
            self.status.ordered.store(false, Ordering::Release);
            if let Ok(true) = done {
                self.durable.fetch_max(upto, Ordering::AcqRel);
            }
            done
        })
    }
}

impl Kv for RedbKv {
    /// Moves pages to the front of the file and cuts it. Waits a little for calls that are reading; what holds a view for
    /// longer leaves the file as it is. Calls that want a view wait until it is done.
    fn compact(&self) -> Result<()> {
        // Where there is one thread, whoever reads cannot end meanwhile.
        let waits = if cfg!(target_family = "wasm") { 0 } else { COMPACT_WAITS };
        let mut done = self.try_compact(false)?;
        for _ in 0..waits {
            if done {
                break;
            }
            std::thread::sleep(COMPACT_WAIT);
            done = self.try_compact(false)?;
        }
        Ok(())
    }

    /// redb doubles a file that is full: without this, half of one that grew may be empty.
    fn trim(&self) {
        // A page that goes away has no time for it, and what compacts is seldom loaded there.
        if cfg!(target_family = "wasm") {
            return;
        }
        if self.overlay.is_none() && (self.opened + 1..=TRIMMED).contains(&self.disk()) {
            let _ = self.try_compact(true);
        }
    }

    fn view(&self) -> Result<Box<dyn Read + '_>> {
        let read = self.guarded(|db| Ok(db.begin_read()?))?;
        Ok(Box::new(View { kv: self, read, tables: Default::default() }))
    }

    fn apply(&self, batch: &Batch) -> Result<Seq> {
        self.write(|db| {
            let write = begin(db, Durability::None)?;
            apply_ops(&write, batch)?;
            write.commit()?;
            Ok(self.seq.fetch_add(1, Ordering::AcqRel) + 1)
        })
    }

    fn sync(&self, seq: Seq) -> Result<Synced> {
        if seq > self.durable() {
            self.write(|db| {
                let upto = self.seq.load(Ordering::Acquire);
                if upto > self.durable() {
                    begin(db, Durability::Immediate)?.commit()?;
                    self.durable.store(upto, Ordering::Release);
                }
                Ok(())
            })?;
        }
        Ok(Synced::Done)
    }

    fn durable(&self) -> Seq {
        self.durable.load(Ordering::Acquire)
    }

    /// An upper bound: redb's cache never holds more than its limit, nor more than the file.
    fn memory(&self) -> u64 {
        self.cache_bytes.min(self.disk()) + self.overlay.as_ref().map_or(0, |overlay| overlay.memory())
    }

    fn disk(&self) -> u64 {
        self.bytes.len().unwrap_or(0)
    }
}

impl Drop for RedbKv {
    fn drop(&mut self) {
        // Closing makes everything applied durable. There is nobody to tell of a failure: the next open
        // then finds the last synced state.
        if let Some(db) = self.db.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        }
    }
}

fn closed() -> Fault {
    Fault::Ours(Error::new(Code::Closed, "the store is closed"))
}

fn table(space: Space) -> Bytestrings {
    TableDefinition::new(space.name())
}

fn begin(db: &Database, durability: Durability) -> std::result::Result<WriteTransaction, Fault> {
    let mut write = db.begin_write()?;
    write.set_durability(durability).map_err(|error| Fault::Redb(error.into()))?;
    // Two-phase, with the allocator's state recorded: see `checked.rs`, and opening walks nothing.
    write.set_quick_repair(true);
    Ok(write)
}

fn apply_ops(write: &WriteTransaction, batch: &Batch) -> std::result::Result<(), Fault> {
    let mut tables: [Option<Table<'_, &[u8], &[u8]>>; Space::ALL.len()] = Default::default();
    for op in batch.ops() {
        let (Op::Put(space, ..) | Op::Delete(space, _) | Op::DeleteRange(space, _) | Op::Merge(space, ..)) =
            op;
        let table = match &mut tables[*space as usize] {
            Some(table) => table,
            none => none.insert(write.open_table(table(*space))?),
        };
        match op {
            Op::Put(_, key, value) => {
                table.insert(&**key, &**value)?;
            }
            Op::Delete(_, key) => {
                table.remove(&**key)?;
            }
            Op::DeleteRange(_, range) if !range.is_empty() => {
                delete_range(table, range)?;
            }
            Op::DeleteRange(..) => {}
            Op::Merge(space, key, operand) => {
                let folded = {
                    let base = table.get(&**key)?;
                    space.fold(base.as_ref().map(|base| base.value()), &[operand])?
                };
                match folded {
                    Some(value) => table.insert(&**key, value.as_slice())?,
                    None => table.remove(&**key)?,
                };
            }
        }
    }
    Ok(())
}

/// Apart from what every batch does: browsers load it when it is first needed.
#[inline(never)]
fn delete_range(table: &mut Table<'_, &[u8], &[u8]>, range: &Range) -> std::result::Result<(), Fault> {
    table.retain_in::<&[u8], _>(bounds(range), |_, _| false)?;
    Ok(())
}

fn bounds(range: &Range) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = range.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(range.start.as_slice()), end)
}

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

struct View<'a> {
    kv: &'a RedbKv,
    read: ReadTransaction,
    // Opened on first use: a search needs one or two of them.
    tables: [OnceCell<ReadTable>; Space::ALL.len()],
}

impl View<'_> {
    fn guarded<T>(&self, work: impl FnOnce() -> std::result::Result<T, Fault>) -> Result<T> {
        guarded(&self.kv.status, work)
    }

    fn table(&self, space: Space) -> Result<&ReadTable> {
        let cell = &self.tables[space as usize];
        match cell.get() {
            Some(table) => Ok(table),
            None => {
                let table = self.guarded(|| Ok(self.read.open_table(table(space))?))?;
                Ok(cell.get_or_init(|| table))
            }
        }
    }
}

// Callbacks run outside the guard: a panic of theirs is theirs.
impl Read for View<'_> {
    fn get(&self, space: Space, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let table = self.table(space)?;
        let found = self.guarded(|| Ok(table.get(key)?))?;
        if let Some(value) = &found {
            see(value.value());
        }
        Ok(found.is_some())
    }

    fn get_many(
        &self,
        space: Space,
        keys: &[&[u8]],
        see: &mut dyn FnMut(usize, Option<&[u8]>),
    ) -> Result<()> {
        let table = self.table(space)?;
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|&i| keys[i]);
        for i in order {
            let found = self.guarded(|| Ok(table.get(keys[i])?))?;
            see(i, found.as_ref().map(|value| value.value()));
        }
        Ok(())
    }

    fn scan(&self, space: Space, range: &Range, see: &mut dyn FnMut(&[u8], &[u8]) -> Flow) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let table = self.table(space)?;
        let mut entries = self.guarded(|| Ok(table.range::<&[u8]>(bounds(range))?))?;
        while let Some((key, value)) = self.guarded(|| Ok(entries.next().transpose()?))? {
            if see(key.value(), value.value()).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// What stopped some work on redb.
enum Fault {
    Ours(Error),
    Redb(redb::Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Ours(error)
    }
}

macro_rules! from_redb {
    ($($kind:ident),*) => {$(
        impl From<redb::$kind> for Fault {
            fn from(error: redb::$kind) -> Self {
                Fault::Redb(error.into())
            }
        }
    )*};
}
from_redb!(StorageError, TableError, TransactionError, CommitError, DatabaseError);

/// Runs work on redb. A panic in there means bytes that redb did not expect: `CORRUPT`.
fn guarded<T>(status: &Status, work: impl FnOnce() -> std::result::Result<T, Fault>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Fault::Ours(error))) => Err(error),
        Ok(Err(Fault::Redb(error))) => Err(translated(status, error)),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(Error::corrupt(format!("the key-value file holds what its store did not expect ({said})")))
        }
    }
}

fn translated(status: &Status, error: redb::Error) -> Error {
    match error {
        redb::Error::Io(io) => match io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(ours) => Error::new(ours.code(), ours.message()).with_source(io),
            None => Error::io("the key-value file", io),
        },
        redb::Error::Corrupted(said) => Error::corrupt(format!("the key-value file is damaged: {said}")),
        redb::Error::PreviousIo | redb::Error::LockPoisoned(_) => {
            let (code, cause) =
                locked(&status.failure).clone().unwrap_or((Code::Internal, error.to_string()));
            let code = if code == Code::Corrupt { code } else { Code::Poisoned };
            Error::new(code, format!("an earlier operation on the key-value file failed: {cause}"))
        }
        redb::Error::ValueTooLarge(len) => Error::invalid(format!("a value of {len} bytes is too large")),
        other => Error::new(Code::Internal, format!("the key-value store: {other}")).with_source(other),
    }
}
