//! [`Place`]: the files of a database directory and what state they are in.

use asteroid_core::{Code, Error, Result, checksum};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

pub(crate) const MANIFEST: &str = "manifest";
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const VECTORS: &str = "vectors";
/// The key-value half: a file of redb, or a directory of RocksDB.
pub(crate) const REDB: &str = "graph.redb";
pub(crate) const ROCKSDB: &str = "graph.rocksdb";
const MANIFEST_NEW: &str = "manifest.tmp";
/// There while a database is being made, before it can hold anything.
const CREATING: &str = "creating";
/// Remembers where the vector file is, if it is not in the directory.
const VECTORS_PATH: &str = "vectors.path";

const OURS: [&str; 9] =
    [MANIFEST, MANIFEST_NEW, JOURNAL, VECTORS, REDB, ROCKSDB, CREATING, VECTORS_PATH, super::Lock::FILE];

/// Where a database is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its directory.
    pub dir: PathBuf,
    /// Where its vector file is, if not in the directory. Needed when the database is created; remembered
    /// in it from then on, as an absolute path.
    pub vector_file: Option<PathBuf>,
}

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing of a database: free to take.
    Nothing,
    /// The beginning of one whose creation was cut short; it never held a row.
    Beginning,
    /// A database.
    Database,
}

impl Place {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `INVALID_ARGUMENT` where the path can never be a database's, or holds other people's files.
    pub(crate) fn look(&self) -> Result<Found> {
        let shown = self.dir.display();
        if self.dir.as_os_str().is_empty() {
            return Err(Error::invalid("the database path is empty: give the path of a directory"));
        }
        match fs::metadata(&self.dir) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(Error::invalid(format!(
                    "{shown} is a file; a database is a directory: give the path of one, or of none yet"
                )));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(Error::io(shown, error)),
        }
        if exists(&self.file(MANIFEST))? {
            return Ok(Found::Database);
        }
        if exists(&self.file(CREATING))? {
            return Ok(Found::Beginning);
        }
        for name in [JOURNAL, VECTORS, REDB, ROCKSDB, VECTORS_PATH] {
            if fs::metadata(self.file(name)).is_ok_and(|metadata| metadata.len() > 0) {
                return Err(Error::corrupt(format!(
                    "{} is missing beside {name}; restore it from a copy of the database",
                    self.file(MANIFEST).display()
                )));
            }
        }
        for entry in fs::read_dir(&self.dir).map_err(|error| Error::io(shown, error))? {
            let name = entry.map_err(|error| Error::io(self.dir.display(), error))?.file_name();
            if !OURS.iter().any(|ours| name == **ours) {
                return Err(Error::invalid(format!(
                    "{} holds files that are not a database's ({}): give an empty or a new directory",
                    self.dir.display(),
                    name.display()
                )));
            }
        }
        Ok(Found::Nothing)
    }

    /// Deletes every file of ours but the lock, the manifest first, so that a crash half-way leaves a
    /// beginning. Nothing else in the directory is touched.
    pub(crate) fn clear(&self) -> Result<()> {
        sync_parent(&self.dir)?;
        put(&self.file(CREATING), &[])?;
        sync_dir(&self.dir)?;
        remove(&self.file(MANIFEST))?;
        sync_dir(&self.dir)?;
        // A path that cannot be read any more names nothing that could be deleted safely.
        if let Some(vectors) = self.remembered_vectors().ok().flatten() {
            remove(&vectors)?;
        }
        for name in [MANIFEST_NEW, JOURNAL, VECTORS, REDB, VECTORS_PATH] {
            remove(&self.file(name))?;
        }
        remove_dir(&self.file(ROCKSDB))?;
        sync_dir(&self.dir)
    }

    /// Makes the directory with its parents where they are missing, so that they survive power loss.
    pub(crate) fn make_dir(&self) -> Result<()> {
        let shown = self.dir.display();
        let missing = self.dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        let missing: Vec<&Path> = missing.collect();
        let made = fs::create_dir_all(&self.dir);
        made.map_err(|error| Error::io(format!("cannot make the directory {shown}"), error))?;
        for dir in missing {
            sync_parent(dir)?;
        }
        Ok(())
    }

    /// Marks the directory as a beginning.
    pub(crate) fn begin(&self) -> Result<()> {
        // Whoever made it may have been killed before it was durable.
        sync_parent(&self.dir)?;
        put(&self.file(CREATING), &[])?;
        sync_dir(&self.dir)
    }

    /// Makes the database exist: from the rename on it does.
    pub(crate) fn complete(&self, manifest: &[u8]) -> Result<()> {
        put(&self.file(MANIFEST_NEW), manifest)?;
        let named = fs::rename(self.file(MANIFEST_NEW), self.file(MANIFEST));
        named.map_err(|error| Error::io(self.file(MANIFEST).display(), error))?;
        sync_dir(&self.dir)?;
        self.end_beginning()
    }

    /// Takes the mark of a beginning off, before anything can be written to the database.
    pub(crate) fn end_beginning(&self) -> Result<()> {
        if exists(&self.file(CREATING))? {
            remove(&self.file(CREATING))?;
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    pub(crate) fn read_manifest(&self) -> Result<Vec<u8>> {
        let path = self.file(MANIFEST);
        fs::read(&path).map_err(|error| Error::io(path.display(), error))
    }

    /// The vector file of a new database, remembered where it is not in the directory. `INVALID_ARGUMENT`
    /// where something else is there.
    pub(crate) fn place_vectors(&self) -> Result<PathBuf> {
        let Some(path) = self.told_vectors()? else {
            return Ok(self.file(VECTORS));
        };
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file() || metadata.len() > 0) {
            return Err(Error::invalid(format!(
                "vectorFilePath {} exists already: name a file that does not",
                path.display()
            )));
        }
        let text = path.to_str().ok_or_else(|| Error::invalid("vectorFilePath must be valid Unicode"))?;
        let mut stored = checksum::crc32c(text.as_bytes()).to_le_bytes().to_vec();
        stored.extend_from_slice(text.as_bytes());
        put(&path, &[])?;
        if let Some(parent) = path.parent() {
            sync_dir(parent)?;
        }
        put(&self.file(VECTORS_PATH), &stored)?;
        Ok(path)
    }

    /// The vector file of an existing database. `CONFIG_MISMATCH` where the caller named another.
    pub(crate) fn find_vectors(&self) -> Result<PathBuf> {
        let stored = self.remembered_vectors()?.unwrap_or_else(|| self.file(VECTORS));
        match self.told_vectors()? {
            Some(told) if told != stored => Err(Error::new(
                Code::ConfigMismatch,
                format!(
                    "the database has its vectors in {}, it was opened with vectorFilePath {}: leave it out",
                    stored.display(),
                    told.display()
                ),
            )),
            _ => Ok(stored),
        }
    }

    /// The path the caller gave, absolute; `None` where it is the default one.
    fn told_vectors(&self) -> Result<Option<PathBuf>> {
        let Some(told) = &self.vector_file else { return Ok(None) };
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| Error::invalid(format!("{}: {error}", path.display())))
        };
        if told.as_os_str().is_empty() {
            return Err(Error::invalid("vectorFilePath is empty: give the path of a file or leave it out"));
        }
        let (told, dir) = (absolute(told)?, absolute(&self.dir)?);
        if told == dir.join(VECTORS) {
            return Ok(None);
        }
        if told.parent() == Some(&dir) && OURS.iter().any(|ours| told.file_name() == Some(ours.as_ref())) {
            return Err(Error::invalid(format!(
                "vectorFilePath {} is a file the database uses for something else: name another",
                told.display()
            )));
        }
        Ok(Some(told))
    }

    fn remembered_vectors(&self) -> Result<Option<PathBuf>> {
        let path = self.file(VECTORS_PATH);
        let stored = match fs::read(&path) {
            Ok(stored) => stored,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path.display(), error)),
        };
        let text =
            stored.split_at_checked(4).filter(|(sum, text)| *sum == checksum::crc32c(text).to_le_bytes());
        match text.and_then(|(_, text)| std::str::from_utf8(text).ok()) {
            Some(text) => Ok(Some(PathBuf::from(text))),
            None => Err(Error::corrupt(format!("{} is damaged; restore it from a copy", path.display()))),
        }
    }
}

/// Writes a small file whole and durable; its directory entry is the caller's to sync.
fn put(path: &Path, data: &[u8]) -> Result<()> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(data)?;
        file.sync_all()
    });
    written.map_err(|error| Error::io(path.display(), error))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path.display(), error)),
        _ => Ok(()),
    }
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(path.display(), error)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| Error::io(path.display(), error))
}

/// Makes the entry of `dir` survive power loss, where we may read the directory that it is in.
fn sync_parent(dir: &Path) -> Result<()> {
    let parent = match dir.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    match File::open(parent) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        _ => sync_dir(parent),
    }
}

/// Makes the directory's entries survive power loss; Windows offers no such call and needs none.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| Error::io(dir.display(), error))
}
