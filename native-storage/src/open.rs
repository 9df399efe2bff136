//! Opening and creating databases on disk.

use crate::pages::SystemPages;
use crate::place::{Found, JOURNAL, REDB, ROCKSDB};
use crate::{CowBytes, FileBytes, Lock, Place, RedbKv};
use asteroid_core::bytes::{Bytes, MemBytes};
use asteroid_core::kv::{Kv, MemKv};
use asteroid_core::{
    Code, Config, Error, Index, LinkPolicy, Manifest, OpenRequest, Options, Result, StoreKind, Stores,
};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

type SharedBytes = Arc<dyn Bytes + Send + Sync>;

/// An open database. Dropping it closes its files and then lets go of its directory.
pub struct Database {
    /// The engine. Every other handle on it must be gone before this is dropped, or it outlives the lock.
    pub index: Index,
    /// Which store holds its keys.
    pub kind: StoreKind,
    // After `index`: fields drop in order, and the stores must close under the lock.
    pub(crate) _lock: Option<Lock>,
}

/// What [`open_stores`] found or made: everything [`Index::open`] needs.
pub struct OpenStores {
    /// The opened files.
    pub stores: Stores,
    /// What the database is.
    pub config: Config,
    /// How it is opened.
    pub options: Options,
    /// Which store holds its keys.
    pub kind: StoreKind,
    /// Held while the stores are open; `None` for a reader on a medium that cannot be locked.
    pub lock: Option<Lock>,
}

/// Opens the database at `place`, or creates it there where nothing is.
///
/// A new database takes an absent or empty directory and makes it with its parents. Fails with
/// `INVALID_ARGUMENT` (the path is a file, or a directory with other files in it; `dim` is missing),
/// `LOCKED`, `CONFIG_MISMATCH`, `UNSUPPORTED_VERSION`, `NOT_FOUND` (read-only, and nothing there),
/// `CORRUPT` (a file of it is missing or damaged) or `IO`.
pub fn open(place: &Place, request: &OpenRequest) -> Result<Database> {
    let OpenStores { stores, config, options, kind, lock } = open_stores(place, request)?;
    let index = Index::open(stores, config, options)?;
    index.use_large_pages(Arc::new(SystemPages::default()));
    Ok(Database { index, kind, _lock: lock })
}

/// Opens an empty database that is kept nowhere and ends with its handle.
pub fn open_memory(request: &OpenRequest) -> Result<Database> {
    request.options.validate()?;
    if let Some(kind) = request.store.filter(|&kind| kind != StoreKind::Memory) {
        return Err(Error::invalid(format!("storage '{}' needs a path, not ':memory:'", kind.name())));
    }
    if request.options.read_only {
        return Err(Error::invalid("a new database in memory cannot be opened read-only"));
    }
    let stores = Stores {
        kv: Arc::new(MemKv::default()),
        vectors: Arc::new(MemBytes::default()),
        journal: Arc::new(MemBytes::default()),
    };
    let index = Index::open(stores, request.new_config()?, request.options.clone())?;
    index.use_large_pages(Arc::new(SystemPages::default()));
    Ok(Database { index, kind: StoreKind::Memory, _lock: None })
}

/// The files' half of [`open`]: everything but the engine, under the database's lock.
pub fn open_stores(place: &Place, request: &OpenRequest) -> Result<OpenStores> {
    request.options.validate()?;
    if request.store == Some(StoreKind::Memory) {
        return Err(Error::invalid("storage 'memory' has no path: open ':memory:' instead"));
    }
    request.store.map_or(Ok(()), built_with)?;
    if request.options.read_only {
        if request.reinit {
            return Err(Error::invalid(
                "reinit deletes what is there, which readOnly forbids: drop one of them",
            ));
        }
        return open_to_read(place, request);
    }
    // Looked at before anything is written, so that a refused path stays as it was; what decides is the
    // look under the lock.
    if place.look()? != Found::Database || request.reinit {
        request.new_config()?;
    }
    place.make_dir()?;
    let lock = Lock::writer(&place.dir)?;
    match place.look()? {
        Found::Database if !request.reinit => open_to_write(place, request, lock),
        Found::Nothing => create(place, request, lock),
        Found::Database | Found::Beginning => {
            let config = request.new_config()?;
            place.clear()?;
            create_as(place, request, config, lock)
        }
    }
}

fn create(place: &Place, request: &OpenRequest, lock: Lock) -> Result<OpenStores> {
    let config = request.new_config()?;
    place.begin()?;
    create_as(place, request, config, lock)
}

fn create_as(place: &Place, request: &OpenRequest, config: Config, lock: Lock) -> Result<OpenStores> {
    let vectors = place.place_vectors()?;
    let file = |path: &Path| Ok::<_, Error>(Arc::new(FileBytes::open(path, true)?));
    let (vectors, journal) = (file(&vectors)?, file(&place.file(JOURNAL))?);
    let kind = request.store.unwrap_or(StoreKind::Redb);
    let kv = kv_of(place, kind, Access::Create, &request.options)?;
    place.complete(&Manifest { store: kind, config: config.clone() }.encode())?;
    let stores = Stores { kv, vectors, journal };
    Ok(OpenStores { stores, config, options: options_for(kind, request), kind, lock: Some(lock) })
}

fn open_to_write(place: &Place, request: &OpenRequest, lock: Lock) -> Result<OpenStores> {
    let (kind, config) = agreed(place, request)?;
    place.end_beginning()?;
    let file = |path: &Path| Ok::<SharedBytes, Error>(Arc::new(present(path, FileBytes::open(path, false))?));
    let (vectors, journal) = (file(&place.find_vectors()?)?, file(&place.file(JOURNAL))?);
    let kv = kv_of(place, kind, Access::Write, &request.options)?;
    let stores = Stores { kv, vectors, journal };
    Ok(OpenStores { stores, config, options: options_for(kind, request), kind, lock: Some(lock) })
}

fn open_to_read(place: &Place, request: &OpenRequest) -> Result<OpenStores> {
    let missing = || {
        Error::new(
            Code::NotFound,
            format!(
                "there is no database at {}: check the path, or open without readOnly",
                place.dir.display()
            ),
        )
    };
    if place.look()? == Found::Nothing {
        return Err(missing());
    }
    let lock = Lock::reader(&place.dir)?;
    if place.look()? != Found::Database {
        return Err(missing());
    }
    let (kind, config) = agreed(place, request)?;
    let file =
        |path: &Path| Ok::<SharedBytes, Error>(Arc::new(present(path, FileBytes::open_read_only(path))?));
    let over = |path: &Path| Ok::<SharedBytes, Error>(Arc::new(CowBytes::new(file(path)?)?));
    let (vectors, journal) = (over(&place.find_vectors()?)?, over(&place.file(JOURNAL))?);
    let kv = kv_of(place, kind, Access::Read, &request.options)?;
    let stores = Stores { kv, vectors, journal };
    Ok(OpenStores { stores, config, options: options_for(kind, request), kind, lock })
}

fn agreed(place: &Place, request: &OpenRequest) -> Result<(StoreKind, Config)> {
    let manifest =
        Manifest::decode(&place.read_manifest()?).map_err(|error| error.at(place.dir.display()))?;
    let config = request.agree_with(&manifest)?;
    match manifest.store {
        StoreKind::Redb | StoreKind::RocksDb => Ok((manifest.store, config)),
        StoreKind::Memory => Err(Error::corrupt("the manifest names the store 'memory', which has no files")),
    }
}

/// What a store is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Create,
    Write,
    Read,
}

/// Opens the key-value half where `kind` keeps it.
pub(crate) fn kv_of(
    place: &Place,
    kind: StoreKind,
    access: Access,
    options: &Options,
) -> Result<Arc<dyn Kv + Send + Sync>> {
    if kind == StoreKind::RocksDb {
        return open_rocksdb(&place.file(ROCKSDB), access, options);
    }
    let path = place.file(REDB);
    let file = match access {
        Access::Create => FileBytes::open(&path, true),
        Access::Write => present(&path, FileBytes::open(&path, false)),
        Access::Read => present(&path, FileBytes::open_read_only(&path)),
    };
    let (file, cache) = (Arc::new(file?), RedbKv::cache_share(options.cache_bytes));
    let opened = match access {
        Access::Write => RedbKv::open_existing(file, cache),
        _ => RedbKv::open(file, cache, access == Access::Read),
    };
    Ok(Arc::new(opened.map_err(|error| error.at(path.display()))?))
}

#[cfg(feature = "rocksdb")]
fn open_rocksdb(dir: &Path, access: Access, options: &Options) -> Result<Arc<dyn Kv + Send + Sync>> {
    let cache = RedbKv::cache_share(options.cache_bytes);
    let policy = options.link_policy.unwrap_or(LinkPolicy::Adaptive);
    let opened = match access {
        Access::Read => crate::RocksKv::open(dir, cache, true),
        _ => crate::RocksKv::open_for(dir, cache, policy, access == Access::Write),
    };
    Ok(Arc::new(opened.map_err(|error| error.at(dir.display()))?))
}

#[cfg(not(feature = "rocksdb"))]
fn open_rocksdb(_: &Path, _: Access, _: &Options) -> Result<Arc<dyn Kv + Send + Sync>> {
    Err(no_rocksdb())
}

/// `UNSUPPORTED` where this build was made without the store.
pub(crate) fn built_with(kind: StoreKind) -> Result<()> {
    match kind {
        StoreKind::RocksDb if !cfg!(feature = "rocksdb") => Err(no_rocksdb()),
        _ => Ok(()),
    }
}

fn no_rocksdb() -> Error {
    Error::new(
        Code::Unsupported,
        "storage 'rocksdb' is not in this build: use 'redb', or a build made with it (npm run build)",
    )
}

/// The request's options, with what suits the store where the caller left it open.
pub(crate) fn options_for(kind: StoreKind, request: &OpenRequest) -> Options {
    let mut options = request.options.clone();
    // RocksDB takes a delta without reading the list; redb would read, fold and write it.
    options.link_policy.get_or_insert(match kind {
        StoreKind::RocksDb => LinkPolicy::Adaptive,
        StoreKind::Redb | StoreKind::Memory => LinkPolicy::Eager,
    });
    options
}

/// A file that an existing database must have.
fn present(path: &Path, opened: Result<FileBytes>) -> Result<FileBytes> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::corrupt(format!(
            "{} is missing; restore it from a copy of the database",
            path.display()
        ))),
        _ => opened,
    }
}
