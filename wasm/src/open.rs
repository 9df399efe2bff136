//! Opening and creating: the same files, in the same order of steps, as in a directory on disk.

use crate::fields::Fields;
use crate::files::HostFile;
use asteroid_core::bytes::{Bytes, MemBytes};
use asteroid_core::filter::terms::PathRules;
use asteroid_core::kv::MemKv;
use asteroid_core::{
    Code, Config, Durability, Error, Import, Index, LinkPolicy, Manifest, Metric, OpenRequest, Options,
    Quantization, Result, StoreKind, Stores, VectorStorage,
};
use asteroid_native_storage::{CowBytes, RedbKv};
use std::sync::Arc;
use wasm_bindgen::JsValue;

const MANIFEST_MOST: u64 = 1 << 16;

/// The options of `open`, with the names the facade uses.
pub(crate) struct OpenArgs {
    memory: bool,
    dim: Option<u32>,
    metric: Option<String>,
    m: Option<u32>,
    m_max: Option<u32>,
    m_max0: Option<u32>,
    ef_construction: Option<u32>,
    vector_storage_type: Option<u32>,
    paged_max_cached_pages: Option<u32>,
    reinit: bool,
    cache_bytes: Option<f64>,
    link_policy: Option<String>,
    quantization: Option<String>,
    read_only: bool,
    repair: bool,
    seed: Option<u64>,
    indexes: Option<PathRules>,
}

fn one_of<T: Copy>(
    name: &str,
    given: Option<&str>,
    all: &[T],
    spell: fn(T) -> &'static str,
) -> Result<Option<T>> {
    let find = |given: &str| {
        let found = all.iter().copied().find(|&one| spell(one) == given);
        found.ok_or_else(|| Error::invalid(format!("{name} '{given}' is unknown")))
    };
    given.map(find).transpose()
}

impl OpenArgs {
    pub(crate) fn read(args: JsValue) -> Result<OpenArgs> {
        let args = Fields::of(args);
        let rules = |paths: Fields| -> Result<PathRules> {
            Ok(PathRules { include: paths.texts("include")?, exclude: paths.texts("exclude")? })
        };
        Ok(OpenArgs {
            memory: args.flag("memory")?,
            dim: args.count("dim")?,
            metric: args.text("metric")?,
            m: args.count("m")?,
            m_max: args.count("mMax")?,
            m_max0: args.count("mMax0")?,
            ef_construction: args.count("efConstruction")?,
            vector_storage_type: args.count("vectorStorageType")?,
            paged_max_cached_pages: args.count("pagedMaxCachedPages")?,
            reinit: args.flag("reinit")?,
            cache_bytes: args.number("cacheBytes")?,
            link_policy: args.text("linkPolicy")?,
            quantization: args.text("quantization")?,
            read_only: args.flag("readOnly")?,
            repair: args.flag("repair")?,
            seed: args.long("seed")?,
            indexes: args.object("indexes").map(rules).transpose()?,
        })
    }

    fn request(self) -> Result<OpenRequest> {
        let vector_storage = match self.vector_storage_type {
            None => None,
            Some(0) => Some(VectorStorage::Flat),
            Some(1) => Some(VectorStorage::Paged),
            Some(other) => return Err(Error::invalid(format!("vectorStorageType '{other}' is unknown"))),
        };
        let defaults = Options::default();
        Ok(OpenRequest {
            dim: self.dim,
            metric: one_of(
                "metric",
                self.metric.as_deref(),
                &[Metric::L2, Metric::Cosine, Metric::Dot],
                Metric::name,
            )?,
            m: self.m,
            m_max: self.m_max,
            m_max0: self.m_max0,
            ef_construction: self.ef_construction,
            vector_storage,
            seed: self.seed,
            store: None,
            reinit: self.reinit,
            options: Options {
                cache_bytes: self.cache_bytes.map_or(defaults.cache_bytes, |bytes| bytes as u64),
                paged_max_cached_pages: self.paged_max_cached_pages,
                // The worker syncs for all writes that wait at once.
                durability: Durability::Buffered,
                quantization: one_of(
                    "quantization",
                    self.quantization.as_deref(),
                    &Quantization::ALL,
                    Quantization::name,
                )?
                .unwrap_or_default(),
                repair: self.repair,
                read_only: self.read_only,
                link_policy: one_of(
                    "linkPolicy",
                    self.link_policy.as_deref(),
                    &LinkPolicy::ALL,
                    LinkPolicy::name,
                )?,
                indexes: self.indexes,
            },
        })
    }

    /// `CONFIG_MISMATCH` where these options contradict an open database.
    pub(crate) fn agree(self, index: &Index) -> Result<()> {
        let request = self.request()?;
        request.options.validate()?;
        let manifest = Manifest { store: StoreKind::Redb, config: index.config().clone() };
        request.agree_with(&manifest).map(drop)
    }

    /// Opens the worker's database, or one that is kept nowhere.
    pub(crate) fn open(self) -> Result<Index> {
        let memory = self.memory;
        let request = self.request()?;
        request.options.validate()?;
        if memory {
            return in_memory(&request);
        }
        let (stores, config) = in_files(&request)?;
        Index::open(stores, config, request.options)
    }

    /// Begins to make the database of an exported file. `NOT_EMPTY` where there is one that `reinit` does not give up.
    pub(crate) fn import(self) -> Result<Importing> {
        let memory = self.memory;
        let request = self.request()?;
        request.options.validate()?;
        if request.options.read_only {
            return Err(Error::invalid(
                "an import makes a database, which readOnly forbids: drop one of them",
            ));
        }
        if !memory && !request.reinit && is_complete()? {
            return Err(Error::new(
                Code::NotEmpty,
                "there is a database of this name already: import to another, or give reinit to replace it",
            ));
        }
        Ok(Importing { request, memory, import: Import::default(), config: None })
    }
}

fn in_memory(request: &OpenRequest) -> Result<Index> {
    if request.options.read_only {
        return Err(Error::invalid("a new database in memory cannot be opened read-only"));
    }
    Index::open(memory_stores(), request.new_config()?, request.options.clone())
}

fn memory_stores() -> Stores {
    Stores {
        kv: Arc::new(MemKv::default()),
        vectors: Arc::new(MemBytes::default()),
        journal: Arc::new(MemBytes::default()),
    }
}

/// An exported file on its way into the worker's files, or into memory.
pub(crate) struct Importing {
    request: OpenRequest,
    memory: bool,
    import: Import,
    /// What the file and the request agree on, once the file has shown what it is.
    config: Option<Config>,
}

impl Importing {
    fn store(&self) -> StoreKind {
        if self.memory { StoreKind::Memory } else { StoreKind::Redb }
    }

    /// Takes the next bytes. Answers with the bytes taken so far and in all.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<(u64, u64)> {
        self.import.push(piece)?;
        if self.import.wants_stores() {
            self.begin()?;
        }
        let bytes = self.import.header().map_or(0, |header| header.bytes);
        Ok((self.import.taken(), bytes))
    }

    fn begin(&mut self) -> Result<()> {
        let Some(header) = self.import.header() else { return Ok(()) };
        let vector_storage = self.request.vector_storage.unwrap_or(header.config.vector_storage);
        let config = Config { vector_storage, ..header.config.clone() };
        let agreed = self.request.agree_with(&Manifest { store: self.store(), config });
        self.config = Some(agreed.map_err(|error| error.at("the exported file"))?);
        let stores = if self.memory { memory_stores() } else { begin_files(&self.request)? };
        self.import.begin(stores, vector_storage)
    }

    /// Opens what came. In files it exists from the last step on.
    pub(crate) fn finish(self) -> Result<Index> {
        let store = self.store();
        let (stores, config) = self.import.finish()?;
        // How a handle inserts is its own choice, what the file says is the database's.
        let ef_construction =
            self.config.as_ref().map_or(config.ef_construction, |asked| asked.ef_construction);
        let opened = Config { ef_construction, ..config.clone() };
        let index = Index::open(stores, opened, self.request.options)?;
        if !self.memory {
            complete_files(&Manifest { store, config })?;
        }
        Ok(index)
    }
}

/// Whether the files hold a database.
fn is_complete() -> Result<bool> {
    Ok(HostFile::Creating.is_empty()? && !HostFile::Manifest.is_empty()?)
}

fn in_files(request: &OpenRequest) -> Result<(Stores, Config)> {
    let creating = !HostFile::Creating.is_empty()?;
    let complete = is_complete()?;
    if complete && !request.reinit {
        return existing(request);
    }
    if request.options.read_only {
        return Err(Error::new(
            Code::NotFound,
            "there is no database of this name: check it, or open without readOnly",
        ));
    }
    if !creating && !complete && !request.reinit {
        for file in [HostFile::Journal, HostFile::Vectors, HostFile::Graph] {
            if !file.is_empty()? {
                return Err(Error::corrupt("the manifest is missing beside other files of the database"));
            }
        }
    }
    create(request)
}

fn create(request: &OpenRequest) -> Result<(Stores, Config)> {
    let config = request.new_config()?;
    let stores = begin_files(request)?;
    complete_files(&Manifest { store: StoreKind::Redb, config: config.clone() })?;
    Ok((stores, config))
}

/// Empties the files for a database to be made in them. A crash before its end leaves a beginning, which is begun anew.
fn begin_files(request: &OpenRequest) -> Result<Stores> {
    HostFile::Creating.write_at(0, &[1])?;
    HostFile::Creating.sync()?;
    for file in [HostFile::Manifest, HostFile::Journal, HostFile::Vectors, HostFile::Graph] {
        file.set_len(0)?;
        file.sync()?;
    }
    let cache = RedbKv::cache_share(request.options.cache_bytes);
    let kv = Arc::new(RedbKv::open(Arc::new(HostFile::Graph), cache, false)?);
    Ok(Stores { kv, vectors: Arc::new(HostFile::Vectors), journal: Arc::new(HostFile::Journal) })
}

/// From the cut of the mark at its end on, the database exists.
fn complete_files(manifest: &Manifest) -> Result<()> {
    HostFile::Manifest.write_at(0, &manifest.encode())?;
    HostFile::Manifest.sync()?;
    HostFile::Creating.set_len(0)?;
    HostFile::Creating.sync()
}

fn existing(request: &OpenRequest) -> Result<(Stores, Config)> {
    let len = HostFile::Manifest.len()?;
    if len > MANIFEST_MOST {
        return Err(Error::corrupt(format!("the manifest is damaged: it has {len} bytes")));
    }
    let mut stored = vec![0; len as usize];
    HostFile::Manifest.read_at(0, &mut stored)?;
    let manifest = Manifest::decode(&stored)?;
    let config = request.agree_with(&manifest)?;
    if manifest.store != StoreKind::Redb {
        return Err(Error::new(
            Code::Unsupported,
            format!("the database keeps its keys in {}, which browsers do not have", manifest.store.name()),
        ));
    }
    let cache = RedbKv::cache_share(request.options.cache_bytes);
    let graph = Arc::new(HostFile::Graph);
    if request.options.read_only {
        let over = |file: HostFile| Ok::<_, Error>(Arc::new(CowBytes::new(Arc::new(file))?));
        let (vectors, journal) = (over(HostFile::Vectors)?, over(HostFile::Journal)?);
        let kv = Arc::new(RedbKv::open(graph, cache, true)?);
        return Ok((Stores { kv, vectors, journal }, config));
    }
    let kv = Arc::new(RedbKv::open_existing(graph, cache)?);
    let stores = Stores { kv, vectors: Arc::new(HostFile::Vectors), journal: Arc::new(HostFile::Journal) };
    Ok((stores, config))
}
