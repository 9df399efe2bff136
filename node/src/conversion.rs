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

/// What to convert.
#[napi(object, object_to_js = false)]
pub(crate) struct ConvertArgs {
    /// The directory of the database that is there.
    pub from: String,
    /// The directory of the one to make.
    pub to: String,
    /// Its store; the other one where left out.
    pub storage: Option<String>,
    /// Where its vector file goes, if not in its directory.
    pub vector_file_path: Option<String>,
}

impl ConvertArgs {
    fn kind(&self) -> Result<Option<StoreKind>> {
        let Some(name) = self.storage.as_deref() else { return Ok(None) };
        let known = [StoreKind::Redb, StoreKind::RocksDb].into_iter().find(|kind| kind.name() == name);
        known.map(Some).ok_or_else(|| Error::invalid(format!("storage '{name}' is unknown")))
    }
}

/// Makes a database in another store of the one that is there, on a thread of its own.
#[napi]
pub(crate) fn convert<'env>(
    env: &'env Env,
    args: ConvertArgs,
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
        let from = Place { dir: args.from.into(), vector_file: None };
        let to = Place { dir: args.to.into(), vector_file: args.vector_file_path.map(Into::into) };
        let work = || watch.control(&working, |control| convert_on_disk(&from, &to, kind, control));
        pending.settle_with(work, converted_out);
    });
    Ok(promised)
}

fn converted_out(env: &Env, converted: Converted) -> napi::Result<Raw> {
    let mut out = Object::new(env)?;
    out.set("rows", converted.rows as f64)?;
    out.set("storage", converted.kind.name())?;
    out.set("bytesOnDisk", converted.disk as f64)?;
    out.set("total", converted.total as f64)?;
    value(env, out)
}
