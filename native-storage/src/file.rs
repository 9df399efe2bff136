//! [`FileBytes`]: the byte seam over a file.

use asteroid_core::bytes::{Bytes, Mapping};
use asteroid_core::{Code, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// [`Bytes`] over an open file, by positioned reads and writes; any number of threads may use it at once.
///
/// Errors carry the path. The caller holds the database's lock, so nobody else changes the file meanwhile.
#[derive(Debug)]
pub struct FileBytes {
    file: File,
    name: String,
    read_only: bool,
    resized: AtomicBool,
}

impl FileBytes {
    /// Opens `path` for reading and writing. `create` makes an absent file, empty, and leaves a present one
    /// as it is. `IO` where the system refuses, with its reason.
    pub fn open(path: &Path, create: bool) -> Result<FileBytes> {
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path);
        Self::with(file, path, false)
    }

    /// Opens `path` for reading; writes fail with `READ_ONLY`.
    pub fn open_read_only(path: &Path) -> Result<FileBytes> {
        Self::with(File::open(path), path, true)
    }

    fn with(file: io::Result<File>, path: &Path, read_only: bool) -> Result<FileBytes> {
        let name = path.display().to_string();
        match file {
            Ok(file) => Ok(FileBytes { file, name, read_only, resized: AtomicBool::new(true) }),
            Err(error) => Err(Error::io(name, error)),
        }
    }

    fn io(&self, error: io::Error) -> Error {
        Error::io(&self.name, error)
    }

    fn writable(&self) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        Err(Error::new(Code::ReadOnly, format!("{} was opened read-only and cannot be written", self.name)))
    }

    fn truncated(&self, offset: u64, len: usize) -> Error {
        let have = self.file.metadata().map_or_else(|_| "fewer".to_owned(), |m| m.len().to_string());
        Error::corrupt(format!(
            "{} is truncated: {len} bytes at {offset} were expected, the file has {have}; restore it from a copy",
            self.name
        ))
    }
}

impl Bytes for FileBytes {
    fn len(&self) -> Result<u64> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.io(error))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            match read_some(&self.file, &mut out[done..], offset.saturating_add(done as u64)) {
                Ok(0) => return Err(self.truncated(offset, out.len())),
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Offsets beyond the system's file offset type are past any end.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    return Err(self.truncated(offset, out.len()));
                }
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.writable()?;
        let mut done = 0;
        while done < data.len() {
            match write_some(&self.file, &data[done..], offset.saturating_add(done as u64)) {
                Ok(0) => return Err(self.io(ErrorKind::WriteZero.into())),
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.writable()?;
        self.resized.store(true, Ordering::Release);
        self.file.set_len(len).map_err(|error| self.io(error))
    }

    /// Data only where no `set_len` came before: a data sync covers growth by writing on every system we
    /// know, an explicit change of length gets the full one.
    fn sync(&self) -> Result<()> {
        if self.read_only {
            return Ok(());
        }
        let resized = self.resized.swap(false, Ordering::AcqRel);
        let synced = if resized { self.file.sync_all() } else { self.file.sync_data() };
        synced.map_err(|error| {
            self.resized.store(true, Ordering::Release);
            self.io(error)
        })
    }

    fn map(&self, offset: u64, len: usize) -> Result<Option<Arc<dyn Mapping>>> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.len().unwrap_or(0)) {
            return Err(self.truncated(offset, len));
        }
        let map = crate::mmap::map(&self.file, offset, len).map_err(|error| self.io(error))?;
        Ok(Some(map))
    }
}

#[cfg(unix)]
fn read_some(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(unix)]
fn write_some(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, data, offset)
}

#[cfg(windows)]
fn read_some(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
        other => other,
    }
}

#[cfg(windows)]
fn write_some(file: &File, data: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, data, offset)
}
