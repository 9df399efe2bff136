//! [`HostFile`]: the byte seam over a file that JavaScript holds open.

use crate::host;
use asteroid_core::bytes::{Bytes, Mapping};
use asteroid_core::{Code, Error, Result};
use js_sys::Reflect;
use std::fmt;
use std::sync::Arc;
use wasm_bindgen::JsValue;

/// One of the files of the worker's database: an OPFS handle, or an image kept in IndexedDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum HostFile {
    Manifest = 0,
    Creating = 1,
    Journal = 2,
    Vectors = 3,
    Graph = 4,
}

/// What the browser said.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl HostFile {
    /// Its name, in OPFS too; as in a directory on disk.
    fn name(self) -> &'static str {
        match self {
            HostFile::Manifest => "manifest",
            HostFile::Creating => "creating",
            HostFile::Journal => "journal",
            HostFile::Vectors => "vectors",
            HostFile::Graph => "graph.redb",
        }
    }

    fn error(self, error: &JsValue) -> Error {
        let text = |key: &str| Reflect::get(error, &key.into()).ok().and_then(|value| value.as_string());
        let kind = text("name").unwrap_or_default();
        let code = if kind == "QuotaExceededError" { Code::StorageFull } else { Code::Io };
        let message = text("message").unwrap_or_default();
        let what =
            if code == Code::StorageFull { "the browser's quota is used up" } else { "the browser refused" };
        Error::new(code, format!("{}: {what}", self.name()))
            .with_source(Refusal(format!("{kind}: {message}")))
    }

    fn truncated(self, offset: u64, len: usize) -> Error {
        Error::corrupt(format!(
            "{} is truncated: {len} bytes at {offset} were expected; restore it from a copy",
            self.name()
        ))
    }
}

impl Bytes for HostFile {
    fn len(&self) -> Result<u64> {
        host::file_len(*self as u32).map(|len| len as u64).map_err(|error| self.error(&error))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < out.len() {
            let at = offset.saturating_add(done as u64) as f64;
            let read =
                host::file_read(*self as u32, at, &mut out[done..]).map_err(|error| self.error(&error))?;
            if read < 1.0 {
                return Err(self.truncated(offset, out.len()));
            }
            done += read as usize;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = offset.saturating_add(done as u64) as f64;
            let written =
                host::file_write(*self as u32, at, &data[done..]).map_err(|error| self.error(&error))?;
            // Some browsers write what there is room for instead of refusing.
            if written < 1.0 {
                let message = format!("{}: the browser had no room for all of a write", self.name());
                return Err(Error::new(Code::StorageFull, message));
            }
            done += written as usize;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<()> {
        host::file_set_len(*self as u32, len as f64).map_err(|error| self.error(&error))
    }

    fn sync(&self) -> Result<()> {
        host::file_sync(*self as u32).map_err(|error| self.error(&error))
    }

    fn map(&self, _offset: u64, _len: usize) -> Result<Option<Arc<dyn Mapping>>> {
        Ok(None)
    }
}
