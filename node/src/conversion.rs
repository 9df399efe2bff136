//! Converting a database on disk to another store.

use crate::database::Promised;
use crate::handle::Handle;
use crate::reply::{Raw, promise, to_napi, value};
use crate::signal::{AbortFlag, ReportArgs, Watch};
use asteroid_core::{Error, Result, StoreKind};
use asteroid_native_storage::{Converted, Place, convert as convert_on_disk};
use napi::Env;
use napi::bindgen_prelude::{Function, Object};
use napi_derive::napi;
use std::sync::Arc;

/// A database to make of another.
#[napi(object, object_to_js = false)]
pub struct CopyArgs {
    /// The directory of the one to convert.
    pub from: Option<String>,
    /// The directory of the one to make.
    pub to: String,
    /// Its store; for a conversion the other one, for a backup the same, where left out.
    pub storage: Option<String>,
    /// Where its vector file goes, if not in its directory.
    pub vector_file_path: Option<String>,
}

impl CopyArgs {
    /// Where the new one goes.
    pub(crate) fn target(&self) -> Place {
        Place { dir: (&self.to).into(), vector_file: self.vector_file_path.as_ref().map(Into::into) }
    }

    /// The store named.
    pub(crate) fn kind(&self) -> Result<Option<StoreKind>> {
        let Some(name) = self.storage.as_deref() else { return Ok(None) };
        let known = [StoreKind::Redb, StoreKind::RocksDb].into_iter().find(|kind| kind.name() == name);
        known.map(Some).ok_or_else(|| Error::invalid(format!("storage '{name}' is unknown")))
    }
}

/// Makes a database in another store of the one that is there, on a thread of its own.
#[napi]
pub(crate) fn convert<'env>(
    env: &'env Env,
    args: CopyArgs,
    abort: Option<&AbortFlag>,
    progress: Option<Function<'env, ReportArgs, ()>>,
) -> Promised<'env> {
    let kind = args.kind().map_err(|error| to_napi(&error))?;
    let watch = Watch::new(abort, progress)?;
    let (pending, promised) = promise(env)?;
    // A handle without a database: its thread does the work and ends with it, or with the environment.
    let handle = Handle::start(env, false)?;
    let working = Arc::clone(&handle);
    handle.queue(move || {
        let to = args.target();
        let from = Place { dir: args.from.unwrap_or_default().into(), vector_file: None };
        let work = || watch.control(&working, |control| convert_on_disk(&from, &to, kind, control));
        pending.settle_with(work, converted_out);
    });
    Ok(promised)
}

pub(crate) fn converted_out(env: &Env, converted: Converted) -> napi::Result<Raw> {
    let mut out = Object::new(env)?;
    out.set("rows", converted.rows as f64)?;
    out.set("storage", converted.kind.name())?;
    out.set("bytesOnDisk", converted.disk as f64)?;
    out.set("total", converted.total as f64)?;
    value(env, out)
}
