//! Opening a database.

use crate::database::Database;
use crate::handle::Handle;
use crate::pool;
use crate::reply::{promise, to_napi, value};
use crate::signal::{AbortFlag, ReportArgs, Watch};
use crate::transfer::Feed;
use asteroid_core::filter::terms::PathRules;
use asteroid_core::{
    Durability, Error, LinkPolicy, Metric, OpenRequest, Options, Quantization, Result, StoreKind,
    VectorStorage,
};
use asteroid_native_storage::{Place, import, open as open_on_disk, open_memory};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Function, Object};
use napi_derive::napi;
use std::sync::Arc;

/// The options of `open`, with the names the facade uses.
#[napi(object, object_to_js = false)]
pub(crate) struct OpenArgs {
    /// A directory, or `:memory:`.
    pub path: String,
    /// See the facade.
    pub vector_file_path: Option<String>,
    /// See the facade.
    pub dim: Option<u32>,
    /// See the facade.
    pub metric: Option<String>,
    /// See the facade.
    pub m: Option<u32>,
    /// See the facade.
    pub m_max: Option<u32>,
    /// See the facade.
    pub m_max0: Option<u32>,
    /// See the facade.
    pub ef_construction: Option<u32>,
    /// See the facade.
    pub vector_storage_type: Option<u32>,
    /// See the facade.
    pub paged_max_cached_pages: Option<u32>,
    /// See the facade.
    pub reinit: Option<bool>,
    /// See the facade.
    pub cache_bytes: Option<f64>,
    /// See the facade.
    pub durability: Option<String>,
    /// See the facade.
    pub storage: Option<String>,
    /// See the facade.
    pub link_policy: Option<String>,
    /// See the facade.
    pub quantization: Option<String>,
    /// See the facade.
    pub read_only: Option<bool>,
    /// Opens what a repair can mend.
    pub repair: Option<bool>,
    /// See the facade.
    pub seed: Option<BigInt>,
    /// See the facade.
    pub threads: Option<u32>,
    /// See the facade.
    pub indexes: Option<IndexArgs>,
}

/// Which payload paths to index.
#[napi(object, object_to_js = false)]
pub(crate) struct IndexArgs {
    /// Empty for all.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
}

impl OpenArgs {
    fn request(&self) -> Result<OpenRequest> {
        let unknown = |name: &str, given: &str| Error::invalid(format!("{name} '{given}' is unknown"));
        let metric = match self.metric.as_deref() {
            None => None,
            Some(name) => Some(
                [Metric::L2, Metric::Cosine, Metric::Dot]
                    .into_iter()
                    .find(|metric| metric.name() == name)
                    .ok_or_else(|| unknown("metric", name))?,
            ),
        };
        let store = match self.storage.as_deref() {
            None => None,
            Some(name) => Some(
                [StoreKind::Redb, StoreKind::RocksDb, StoreKind::Memory]
                    .into_iter()
                    .find(|kind| kind.name() == name)
                    .ok_or_else(|| unknown("storage", name))?,
            ),
        };
        let vector_storage = match self.vector_storage_type {
            None => None,
            Some(0) => Some(VectorStorage::Flat),
            Some(1) => Some(VectorStorage::Paged),
            Some(other) => return Err(unknown("vectorStorageType", &other.to_string())),
        };
        let defaults = Options::default();
        let durability = match self.durability.as_deref() {
            None => defaults.durability,
            Some("buffered") => Durability::Buffered,
            Some("sync") => Durability::Sync,
            Some(other) => return Err(unknown("durability", other)),
        };
        let link_policy = match self.link_policy.as_deref() {
            None => None,
            Some(name) => Some(
                LinkPolicy::ALL
                    .into_iter()
                    .find(|policy| policy.name() == name)
                    .ok_or_else(|| unknown("linkPolicy", name))?,
            ),
        };
        let quantization = match self.quantization.as_deref() {
            None => defaults.quantization,
            Some(name) => Quantization::ALL
                .into_iter()
                .find(|kind| kind.name() == name)
                .ok_or_else(|| unknown("quantization", name))?,
        };
        Ok(OpenRequest {
            dim: self.dim,
            metric,
            m: self.m,
            m_max: self.m_max,
            m_max0: self.m_max0,
            ef_construction: self.ef_construction,
            vector_storage,
            seed: self.seed.as_ref().map(|seed| seed.get_u64().1),
            store,
            reinit: self.reinit.unwrap_or(false),
            options: Options {
                cache_bytes: self.cache_bytes.map_or(defaults.cache_bytes, |bytes| bytes as u64),
                paged_max_cached_pages: self.paged_max_cached_pages,
                durability,
                quantization,
                repair: self.repair.unwrap_or(false),
                read_only: self.read_only.unwrap_or(false),
                link_policy,
                indexes: self.indexes.as_ref().map(|paths| PathRules {
                    include: paths.include.clone(),
                    exclude: paths.exclude.clone(),
                }),
            },
        })
    }
}

/// Opens a database, made of what `feed` brings where it is given; the promise gives a [`Database`].
#[napi]
pub(crate) fn open<'env>(
    env: &'env Env,
    args: OpenArgs,
    feed: Option<&Feed>,
    abort: Option<&AbortFlag>,
    progress: Option<Function<'env, ReportArgs, ()>>,
) -> napi::Result<Object<'env>> {
    let watch = Watch::new(abort, progress)?;
    let feeding = feed.map(Feed::feeding);
    let mut request = args.request().map_err(|error| to_napi(&error))?;
    // The writer thread syncs for all writes in its queue at once; the engine would for each, one by one.
    let sync = std::mem::replace(&mut request.options.durability, Durability::Buffered) == Durability::Sync;
    let (pending, promised) = promise(env)?;
    pool::size(args.threads.map(|threads| threads as usize));
    let handle = Handle::start(env, sync)?;
    let opening = Arc::clone(&handle);
    // Opening replays a journal and may take long: it is the writer's first job.
    handle.queue(move || {
        let work = move || {
            let place = (args.path != ":memory:")
                .then(|| Place { dir: args.path.into(), vector_file: args.vector_file_path.map(Into::into) });
            let opened = match (feeding, &place) {
                (Some(feeding), place) => {
                    let mut next = || feeding.take(&opening, &watch);
                    let told = |done, total| watch.report(done, total, 0);
                    import(place.as_ref(), &request, &mut next, &told)?
                }
                (None, Some(place)) => open_on_disk(place, &request)?,
                (None, None) => open_memory(&request)?,
            };
            let config = opened.index.config();
            let facts = Facts { dim: config.dim, metric: config.metric, kind: opened.kind };
            opening.set(opened);
            Ok((opening, facts))
        };
        pending.settle_with(work, |env, (handle, facts)| value(env, Database::new(handle, facts)));
    });
    Ok(promised)
}

/// What never changes about an open database.
pub(crate) struct Facts {
    pub(crate) dim: u32,
    pub(crate) metric: Metric,
    pub(crate) kind: StoreKind,
}
