//! [`Lock`]: one writer, or any number of readers, per directory.

use asteroid_core::{Code, Error, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;

/// Holds a database directory through a system lock on its `LOCK` file, which ends with the process however
/// it ends. Dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    file: File,
    writer: bool,
}

impl Lock {
    /// The name of the lock file in the directory.
    pub const FILE: &'static str = "LOCK";

    /// Takes the writer's lock on `dir`. `LOCKED`, naming the holder's process where it can be told, while
    /// any other handle of this or another process is open on it.
    pub fn writer(dir: &Path) -> Result<Lock> {
        let path = dir.join(Self::FILE);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|error| Error::io(path.display(), error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(dir, &mut file)),
            Err(TryLockError::Error(error)) => return Err(Error::io(path.display(), error)),
        }
        let lock = Lock { file, writer: true };
        lock.sign(&std::process::id().to_string()).map_err(|error| Error::io(path.display(), error))?;
        Ok(lock)
    }

    /// Takes a reader's lock on `dir`: `LOCKED` while a writer is open. `None` where there is nothing to
    /// lock: no lock file (it is never created here), or a file system without locks.
    pub fn reader(dir: &Path) -> Result<Option<Lock>> {
        let path = dir.join(Self::FILE);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                return Ok(None);
            }
            Err(error) => return Err(Error::io(path.display(), error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Lock { file, writer: false })),
            Err(TryLockError::WouldBlock) => Err(held(dir, &mut file)),
            Err(TryLockError::Error(_)) => Ok(None),
        }
    }

    fn sign(&self, text: &str) -> std::io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.writer {
            // A stale process id would only make a later message wrong.
            let _ = self.file.set_len(0);
        }
        let _ = self.file.unlock();
    }
}

fn held(dir: &Path, file: &mut File) -> Error {
    // Where a reader's lock is to be had, only readers stand in the way, and the file names none of them.
    if file.try_lock_shared().is_ok() {
        let _ = file.unlock();
        return Error::new(
            Code::Locked,
            format!(
                "{} is open read-only elsewhere; close those handles before opening it to write",
                dir.display()
            ),
        );
    }
    let mut text = String::new();
    let holder = match file.take(32).read_to_string(&mut text) {
        Ok(_) if text.parse::<u32>().is_ok_and(|pid| pid == std::process::id()) => {
            format!("another handle of this process ({text})")
        }
        Ok(_) if text.parse::<u32>().is_ok() => format!("process {text}"),
        _ => "another handle".to_owned(),
    };
    Error::new(
        Code::Locked,
        format!("{} is in use by {holder}; close it there, or open another path", dir.display()),
    )
}
