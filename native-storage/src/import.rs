//! Making a database of an exported file.

use crate::open::{Access, built_with, kv_of, options_for};
use crate::place::{Found, JOURNAL};
use crate::{Database, FileBytes, Lock, Place};
use asteroid_core::bytes::{Bytes, MemBytes};
use asteroid_core::kv::MemKv;
use asteroid_core::{Code, Config, Error, Import, Index, Manifest, OpenRequest, Result, StoreKind, Stores};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// The next piece of the file, `None` after its last.
type Pieces<'a> = &'a mut dyn FnMut() -> Result<Option<Vec<u8>>>;

/// Makes a database at `place` (`None`: in memory) of the exported file that `pieces` gives, and opens it.
///
/// The key-value store and how vectors lie are the request's to choose; whatever else it says of the database must agree
/// with the file, else `CONFIG_MISMATCH`. `progress` is told of bytes taken in and in all. Fails as [`crate::open`]
/// does, and with `NOT_EMPTY` where a database is there already (with `reinit` it is deleted once the file has shown
/// what it is), `CORRUPT`, `UNSUPPORTED_VERSION`, and whatever `pieces` fails with. After a failure no database is there;
/// nor after a crash.
pub fn import(
    place: Option<&Place>,
    request: &OpenRequest,
    pieces: Pieces<'_>,
    progress: &dyn Fn(u64, u64),
) -> Result<Database> {
    let kind = check(place, request)?;
    if let Some(place) = place {
        refuse_existing(place, request)?;
    }
    let mut import = Import::default();
    let (asked, bytes) = loop {
        if let Some(header) = import.header() {
            let vector_storage = request.vector_storage.unwrap_or(header.config.vector_storage);
            let config = Config { vector_storage, ..header.config.clone() };
            let agreed = request.agree_with(&Manifest { store: kind, config });
            break (agreed.map_err(|error| error.at("the exported file"))?, header.bytes);
        }
        match pieces()? {
            Some(piece) => import.push(&piece)?,
            // Says that it ends early.
            None => {
                return import.finish().and(Err(Error::new(Code::Internal, "an import without a header")));
            }
        }
    };
    let mut load = |mut import: Import, stores: Stores| -> Result<(Index, Config)> {
        import.begin(stores, asked.vector_storage)?;
        progress(import.taken(), bytes);
        while let Some(piece) = pieces()? {
            import.push(&piece)?;
            progress(import.taken(), bytes);
        }
        let (stores, config) = import.finish()?;
        let options = options_for(kind, request);
        // How a handle inserts is its own choice, what the file says is the database's.
        let opened = Config { ef_construction: asked.ef_construction, ..config.clone() };
        Ok((Index::open(stores, opened, options)?, config))
    };
    let Some(place) = place else {
        let (index, _) = load(import, in_memory())?;
        return Ok(Database { index, kind, _lock: None });
    };

    let made = fs::create_dir_all(&place.dir);
    made.map_err(|error| Error::io(format!("cannot make the directory {}", place.dir.display()), error))?;
    let lock = Lock::writer(&place.dir)?;
    match refuse_existing(place, request)? {
        Found::Nothing => place.begin()?,
        Found::Beginning | Found::Database => place.clear()?,
    }
    let loaded = new_files(place, kind, request).and_then(|stores| {
        let (index, config) = load(import, stores)?;
        // From here on it exists.
        place.complete(&Manifest { store: kind, config }.encode())?;
        Ok(index)
    });
    match loaded {
        Ok(index) => Ok(Database { index, kind, _lock: Some(lock) }),
        Err(error) => {
            // What cannot be deleted is marked as a beginning, which the next open clears.
            let _ = place.clear().and_then(|()| place.end_beginning());
            Err(error)
        }
    }
}

/// Refuses what could never be imported so; the store to use.
fn check(place: Option<&Place>, request: &OpenRequest) -> Result<StoreKind> {
    request.options.validate()?;
    if request.options.read_only {
        return Err(Error::invalid("an import makes a database, which readOnly forbids: drop one of them"));
    }
    match (place, request.store) {
        (Some(_), Some(StoreKind::Memory)) => {
            Err(Error::invalid("storage 'memory' has no path: open ':memory:' instead"))
        }
        (Some(_), kind) => {
            let kind = kind.unwrap_or(StoreKind::Redb);
            built_with(kind).map(|()| kind)
        }
        (None, Some(kind @ (StoreKind::Redb | StoreKind::RocksDb))) => {
            Err(Error::invalid(format!("storage '{}' needs a path, not ':memory:'", kind.name())))
        }
        (None, _) => Ok(StoreKind::Memory),
    }
}

fn refuse_existing(place: &Place, request: &OpenRequest) -> Result<Found> {
    match place.look()? {
        Found::Database if !request.reinit => Err(Error::new(
            Code::NotEmpty,
            format!(
                "there is a database at {} already: import to another path, or give reinit to replace it",
                place.dir.display()
            ),
        )),
        found => Ok(found),
    }
}

fn in_memory() -> Stores {
    Stores {
        kv: Arc::new(MemKv::default()),
        vectors: Arc::new(MemBytes::default()),
        journal: Arc::new(MemBytes::default()),
    }
}

fn new_files(place: &Place, kind: StoreKind, request: &OpenRequest) -> Result<Stores> {
    let vectors = place.place_vectors()?;
    let file =
        |path: &Path| Ok::<Arc<dyn Bytes + Send + Sync>, Error>(Arc::new(FileBytes::open(path, true)?));
    let (vectors, journal) = (file(&vectors)?, file(&place.file(JOURNAL))?);
    Ok(Stores { kv: kv_of(place, kind, Access::Create, &request.options)?, vectors, journal })
}
