//! [`convert`]: the same database in another store.

use crate::open::{Access, OpenStores, kv_of, open_stores};
use crate::place::{Found, JOURNAL};
use crate::{FileBytes, Lock, Place};
use asteroid_core::bytes::Bytes;
use asteroid_core::kv::{Entry, Flow, Range, Read, Space};
use asteroid_core::{
    Code, Config, Control, Error, Index, Manifest, OpenRequest, Options, Result, StoreKind, Stores,
};
use std::fs;
use std::path::Path;
use std::vec;

/// Keys and values read at a time, and what an entry counts for beside them.
const RUN_BYTES: usize = 4 << 20;
const ENTRY_BYTES: usize = 64;
/// Bytes of a file copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// What [`convert`] or [`crate::backup`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Rows that a search can return.
    pub rows: u64,
    /// The store of the new database.
    pub kind: StoreKind,
    /// Bytes the new database takes on disk.
    pub disk: u64,
    /// Bytes that the progress was counted in.
    pub total: u64,
}

/// Makes a database at `to` that holds what the one at `from` does, with its keys in a store of `kind` (the other one
/// on disk where `None`): same rows, ids, payloads, graph and configuration, so that every search gives the same.
///
/// The source is opened read-only and stays as it is, also where a crash has left it a journal: that is replayed in
/// memory. It may be read by others meanwhile. `to` must be absent, empty, or the remains of a conversion or creation
/// that was cut short. A crash half-way leaves no database there; an error or an abort leaves nothing but the directory.
/// Damage that a checksum of the store shows ends it; a damaged vector is copied with its checksum, and stays as
/// damaged as it is.
///
/// Reads and writes everything once, in memory that does not grow with the rows beyond what opening takes. `control` is
/// told of bytes copied and an estimate of all bytes.
///
/// Fails with `NOT_FOUND` (nothing at `from`), `NOT_EMPTY` (a database at `to`), `LOCKED`, `INVALID_ARGUMENT`, `ABORTED`,
/// `CORRUPT`, `STORAGE_FULL`, `IO`, or `UNSUPPORTED` (a build without that store).
pub fn convert(
    from: &Place,
    to: &Place,
    kind: Option<StoreKind>,
    control: &Control<'_>,
) -> Result<Converted> {
    if kind == Some(StoreKind::Memory) {
        return Err(Error::invalid("storage 'memory' keeps nothing on disk: convert to 'redb' or 'rocksdb'"));
    }
    free_to_take(from, to)?;
    let source = Source::open(from)?;
    let kind = kind.unwrap_or(match source.opened.kind {
        StoreKind::RocksDb => StoreKind::Redb,
        StoreKind::Redb | StoreKind::Memory => StoreKind::RocksDb,
    });
    crate::open::built_with(kind)?;
    let made = fs::create_dir_all(&to.dir);
    made.map_err(|error| Error::io(format!("cannot make the directory {}", to.dir.display()), error))?;
    let _lock = Lock::writer(&to.dir)?;
    // Looked at again: what decides is the look under the lock.
    match free_to_take(from, to)? {
        Found::Beginning => to.clear()?,
        _ => to.begin()?,
    }
    let converted = source.write(to, kind, control);
    if converted.is_err() {
        // What cannot be removed is marked as a beginning, which the next conversion clears.
        let _ = to.clear().and_then(|()| to.end_beginning());
    }
    converted
}

/// What is at `to`, where a database may be made there.
fn free_to_take(from: &Place, to: &Place) -> Result<Found> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (inside, shown) = (absolute(&to.dir).starts_with(absolute(&from.dir)), to.dir.display());
    match to.look()? {
        Found::Database => Err(Error::new(
            Code::NotEmpty,
            format!("there is a database at {shown} already: convert into a new or an empty directory"),
        )),
        _ if inside => Err(Error::invalid(format!(
            "{shown} lies inside the database {}: convert into a directory of its own",
            from.dir.display()
        ))),
        found => Ok(found),
    }
}

/// A database to read, brought up to its last committed write in memory.
struct Source {
    opened: OpenStores,
    config: Config,
    rows: u64,
}

impl Source {
    fn open(place: &Place) -> Result<Source> {
        let options = Options { read_only: true, ..Options::default() };
        let opened = open_stores(place, &OpenRequest { options, ..OpenRequest::default() })?;
        let config = opened.config.clone();
        let Stores { kv, vectors, journal } = &opened.stores;
        let stores = Stores { kv: kv.clone(), vectors: vectors.clone(), journal: journal.clone() };
        // The engine folds the journal in. It is gone before the copying begins, and its caches with it.
        let rows = Index::open(stores, config.clone(), opened.options.clone())?.stats()?.rows;
        Ok(Source { opened, config, rows })
    }

    fn write(&self, to: &Place, kind: StoreKind, control: &Control<'_>) -> Result<Converted> {
        let Stores { kv, vectors, journal } = &self.opened.stores;
        let total = vectors.len()? + kv.disk() + journal.len()?;
        let mut meter = Meter { control, done: 0, total };
        let new_vectors = FileBytes::open(&to.place_vectors()?, true)?;
        let new_journal = FileBytes::open(&to.file(JOURNAL), true)?;
        let new_kv = kv_of(to, kind, Access::Create, &self.opened.options)?;
        copy_bytes(&**vectors, &new_vectors, &mut meter)?;
        let view = kv.view()?;
        for space in Space::ALL {
            let mut entries = Entries::new(&*view, space, &mut meter);
            let seq = new_kv.load_sorted(space, &mut entries)?;
            // Space by space, so that what a store keeps back until a sync stays small.
            new_kv.sync(seq)?;
        }
        // Replayed, it holds no records: a header that says which write the stores have come to.
        copy_bytes(&**journal, &new_journal, &mut meter)?;
        meter.check()?;
        let disk = new_vectors.len()? + new_journal.len()? + new_kv.disk();
        drop((new_kv, new_vectors, new_journal));
        to.complete(&Manifest { store: kind, config: self.config.clone() }.encode())?;
        (control.progress)(total, total);
        Ok(Converted { rows: self.rows, kind, disk, total })
    }
}

/// Copies all of `from`, durable on return.
fn copy_bytes(from: &dyn Bytes, to: &FileBytes, meter: &mut Meter<'_, '_>) -> Result<()> {
    let len = from.len()?;
    let mut piece = vec![0; COPY_BYTES.min(len) as usize];
    let mut at = 0;
    while at < len {
        let take = COPY_BYTES.min(len - at);
        let piece = &mut piece[..take as usize];
        from.read_at(at, piece)?;
        to.write_at(at, piece)?;
        at += take;
        meter.add(take)?;
    }
    to.sync()
}

/// Hears of an abort and tells of progress.
struct Meter<'a, 'c> {
    control: &'a Control<'c>,
    done: u64,
    total: u64,
}

impl Meter<'_, '_> {
    fn check(&self) -> Result<()> {
        self.control.check()
    }

    fn add(&mut self, bytes: u64) -> Result<()> {
        self.check()?;
        // The total is what the files take, and a store may pack what it holds.
        self.done = (self.done + bytes).min(self.total);
        (self.control.progress)(self.done, self.total);
        Ok(())
    }
}

/// The entries of one space in key order, read in runs of bounded size.
struct Entries<'a, 'm, 'c> {
    view: &'a dyn Read,
    space: Space,
    run: vec::IntoIter<Entry>,
    /// Where the next run begins; `None` at the end.
    from: Option<Vec<u8>>,
    meter: &'a mut Meter<'m, 'c>,
}

impl<'a, 'm, 'c> Entries<'a, 'm, 'c> {
    fn new(view: &'a dyn Read, space: Space, meter: &'a mut Meter<'m, 'c>) -> Self {
        Entries { view, space, run: Vec::new().into_iter(), from: Some(Vec::new()), meter }
    }

    fn read_run(&mut self, from: Vec<u8>) -> Result<()> {
        let (mut run, mut bytes, mut more) = (Vec::<Entry>::new(), 0, false);
        self.view.scan(self.space, &Range::from(from), &mut |key, value| {
            if bytes >= RUN_BYTES {
                more = true;
                return Flow::Break(());
            }
            bytes += key.len() + value.len() + ENTRY_BYTES;
            run.push((key.to_vec(), value.to_vec()));
            Flow::Continue(())
        })?;
        self.from = run.last().filter(|_| more).map(|(last, _)| {
            // The first key that can follow it.
            let mut next = last.clone();
            next.push(0);
            next
        });
        let held = bytes - run.len() * ENTRY_BYTES;
        self.run = run.into_iter();
        self.meter.add(held as u64)
    }
}

impl Iterator for Entries<'_, '_, '_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Some(entry) = self.run.next() {
            return Some(Ok(entry));
        }
        let from = self.from.take()?;
        match self.read_run(from) {
            Ok(()) => self.run.next().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}
