//! What a database is ([`Config`], fixed at creation) and how it is opened ([`Options`]).

use crate::filter::terms::PathRules;
pub use crate::graph::policy::LinkPolicy;
use crate::{Code, Error, Metric, Result, checksum};

/// Largest dimension of a vector.
pub const MAX_DIM: u32 = 65_535;
/// Largest payload, in bytes of JSON text.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// Largest `k` plus `offset` of a search.
pub const MAX_K: usize = 1_000_000;
/// What [`crate::SearchParams::recall`] may ask for.
pub const RECALLS: std::ops::RangeInclusive<f64> = 0.5..=0.999;
/// Smallest cache budget, in bytes.
pub const MIN_CACHE_BYTES: u64 = 4 << 20;

/// How vectors lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum VectorStorage {
    /// One flat file, memory-mapped for reading where the host can (`vectorStorageType: 0`).
    Flat = 0,
    /// Pages of 4 KB behind a bounded cache (`vectorStorageType: 1`).
    Paged = 1,
}

/// When an acknowledged write is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It survives the death of the process at once, and power loss after the next `flush` or checkpoint.
    Buffered,
    /// It survives power loss.
    Sync,
}

/// What walks measure rows by. Answers are always by the vectors themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quantization {
    /// A byte per number and 20 per row, in memory as far as the budget goes: from a seeded rotation and a scale for each
    /// row. For vectors of 8 numbers and more.
    #[default]
    Sq8,
    /// A bit per number and 12 bytes per row (RaBitQ: Gao and Long, arXiv 2405.12497), which tell walks what they need not
    /// measure: the vectors of all others are read. For budgets that a byte per number does not fit in.
    Rabitq,
    /// The vectors themselves.
    None,
}

impl Quantization {
    /// Every kind.
    pub const ALL: [Quantization; 3] = [Quantization::Sq8, Quantization::Rabitq, Quantization::None];

    /// The option value that names it.
    pub const fn name(self) -> &'static str {
        match self {
            Quantization::Sq8 => "sq8",
            Quantization::Rabitq => "rabitq",
            Quantization::None => "none",
        }
    }
}

/// What a database is: decided when it is created, stored in its manifest, the same for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Numbers per vector, 1 to 65,535.
    pub dim: u32,
    /// How distance is measured.
    pub metric: Metric,
    /// HNSW links chosen per node and layer at insert, 2 to 128.
    pub m: u32,
    /// Most links of a node on a layer above 0, `m` to 256.
    pub m_max: u32,
    /// Most links of a node on layer 0, `m` to 512.
    pub m_max0: u32,
    /// Candidate pool of an insert, `m` to 4,096.
    pub ef_construction: u32,
    /// Layout of the vector file.
    pub vector_storage: VectorStorage,
    /// Seed of every random choice, so that builds replay.
    pub seed: u64,
}

impl Config {
    /// The defaults for `dim` and `metric`: m 16, m_max 24, m_max0 2m, ef_construction 128, paged.
    pub fn new(dim: u32, metric: Metric) -> Self {
        Config {
            dim,
            metric,
            m: 16,
            m_max: 24,
            m_max0: 32,
            ef_construction: 128,
            vector_storage: VectorStorage::Paged,
            seed: 12_345,
        }
    }

    /// `INVALID_ARGUMENT` naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        in_range("dim", self.dim, 1, MAX_DIM)?;
        in_range("m", self.m, 2, 128)?;
        in_range("mMax", self.m_max, self.m, 256)?;
        in_range("mMax0", self.m_max0, self.m, 512)?;
        in_range("efConstruction", self.ef_construction, self.m, 4096)
    }
}

fn in_range(name: &str, value: u32, low: u32, high: u32) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} must be an integer from {low} to {high}, not {value}")))
}

/// How a database is opened this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// One budget for decoded adjacency, vector pages and the store's own cache, in bytes; at least 4 MiB.
    pub cache_bytes: u64,
    /// Most 4 KB vector pages to cache, if fewer than the budget allows.
    pub paged_max_cached_pages: Option<u32>,
    /// When a write counts as done.
    pub durability: Durability,
    /// What walks measure rows by.
    pub quantization: Quantization,
    /// Refuse writes.
    pub read_only: bool,
    /// Open although what follows from rows alone cannot be read: for [`crate::Index::repair`], which is to be called
    /// next. Until then searches measure every row and writes fail.
    pub repair: bool,
    /// How changed adjacency is written to the store; `None` for what suits the store. Eager in this crate; hosts put
    /// their own choice in.
    pub link_policy: Option<LinkPolicy>,
    /// Which payload paths are indexed; `None` for what the database has, all for a new one. Another choice than the
    /// stored one makes the index anew while opening: a pass over all payloads.
    pub indexes: Option<PathRules>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            cache_bytes: 256 << 20,
            paged_max_cached_pages: None,
            durability: Durability::Buffered,
            quantization: Quantization::Sq8,
            read_only: false,
            repair: false,
            link_policy: None,
            indexes: None,
        }
    }
}

impl Options {
    /// `INVALID_ARGUMENT` naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        if self.cache_bytes < MIN_CACHE_BYTES {
            return Err(Error::invalid(format!(
                "cacheBytes must be at least {MIN_CACHE_BYTES}, not {}",
                self.cache_bytes
            )));
        }
        if self.paged_max_cached_pages == Some(0) {
            return Err(Error::invalid("pagedMaxCachedPages must be at least 1"));
        }
        Ok(())
    }
}

const MAGIC: &[u8; 8] = b"ASTEROID";
/// The newest format this software writes and reads.
pub const FORMAT_VERSION: u32 = 1;
const MANIFEST_BYTES: usize = 8 + 4 + 1 + 1 + 1 + 1 + 4 * 5 + 8 + 4;

/// Which store holds the key-value half of a database on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StoreKind {
    /// redb.
    Redb = 0,
    /// RocksDB.
    RocksDb = 1,
    /// Nothing on disk.
    Memory = 2,
}

impl StoreKind {
    /// The option value that names it.
    pub const fn name(self) -> &'static str {
        match self {
            StoreKind::Redb => "redb",
            StoreKind::RocksDb => "rocksdb",
            StoreKind::Memory => "memory",
        }
    }
}

/// The first thing read of a database: format version, store and [`Config`], under a checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Which key-value store the files belong to.
    pub store: StoreKind,
    /// What the database is.
    pub config: Config,
}

impl Manifest {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let c = &self.config;
        let mut out = Vec::with_capacity(MANIFEST_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[self.store as u8, c.metric as u8, c.vector_storage as u8, 0]);
        for field in [c.dim, c.m, c.m_max, c.m_max0, c.ef_construction] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&c.seed.to_le_bytes());
        let crc = checksum::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads what [`Manifest::encode`] wrote. `UNSUPPORTED_VERSION` for a newer format, else `CORRUPT`.
    pub fn decode(bytes: &[u8]) -> Result<Manifest> {
        let damaged = |what: &str| Error::corrupt(format!("the manifest is damaged: {what}"));
        if !bytes.starts_with(MAGIC) {
            return Err(damaged("it does not begin as one"));
        }
        let word = |at: usize| -> Result<u32> {
            bytes
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_le_bytes)
                .ok_or_else(|| damaged("it ends early"))
        };
        let version = word(8)?;
        // Every version keeps magic, version and a trailing checksum, so that a newer one is told from damage.
        let sum_at = bytes.len().checked_sub(4).ok_or_else(|| damaged("it ends early"))?;
        if word(sum_at)? != checksum::crc32c(&bytes[..sum_at]) {
            return Err(damaged("its checksum does not match"));
        }
        if version > FORMAT_VERSION {
            return Err(Error::new(
                Code::UnsupportedVersion,
                format!(
                    "the database has format {version}, this software reads up to {FORMAT_VERSION}: update it"
                ),
            ));
        }
        if bytes.len() != MANIFEST_BYTES || version == 0 {
            return Err(damaged("its length does not match its version"));
        }
        let store = match bytes[12] {
            0 => StoreKind::Redb,
            1 => StoreKind::RocksDb,
            2 => StoreKind::Memory,
            other => return Err(damaged(&format!("store {other} is unknown"))),
        };
        let metric = Metric::from_byte(bytes[13]).ok_or_else(|| damaged("its metric is unknown"))?;
        let vector_storage = match bytes[14] {
            0 => VectorStorage::Flat,
            1 => VectorStorage::Paged,
            other => return Err(damaged(&format!("vector storage {other} is unknown"))),
        };
        let seed = u64::from(word(36)?) | u64::from(word(40)?) << 32;
        let config = Config {
            dim: word(16)?,
            metric,
            m: word(20)?,
            m_max: word(24)?,
            m_max0: word(28)?,
            ef_construction: word(32)?,
            vector_storage,
            seed,
        };
        config.validate().map_err(|error| damaged(error.message()))?;
        Ok(Manifest { store, config })
    }
}

/// What a caller asks of `open`: everything optional, checked against what is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenRequest {
    /// See [`Config::dim`]; needed to create a database.
    pub dim: Option<u32>,
    /// See [`Config::metric`]; L2 for a new database unless said otherwise.
    pub metric: Option<Metric>,
    /// See [`Config::m`].
    pub m: Option<u32>,
    /// See [`Config::m_max`].
    pub m_max: Option<u32>,
    /// See [`Config::m_max0`].
    pub m_max0: Option<u32>,
    /// See [`Config::ef_construction`]. May differ from the stored value: it then holds for this handle.
    pub ef_construction: Option<u32>,
    /// See [`Config::vector_storage`].
    pub vector_storage: Option<VectorStorage>,
    /// See [`Config::seed`].
    pub seed: Option<u64>,
    /// Which store to use; a new database takes the host's default unless said otherwise.
    pub store: Option<StoreKind>,
    /// Delete what is there and start fresh.
    pub reinit: bool,
    /// How to open it.
    pub options: Options,
}

impl OpenRequest {
    /// The configuration of a new database. `INVALID_ARGUMENT` where `dim` is missing or a range is left.
    pub fn new_config(&self) -> Result<Config> {
        let dim = self.dim.ok_or_else(|| {
            Error::invalid(
                "dim is required to create a database: give the number of dimensions of its vectors",
            )
        })?;
        in_range("dim", dim, 1, MAX_DIM)?;
        let defaults = Config::new(dim, self.metric.unwrap_or(Metric::L2));
        let m = self.m.unwrap_or(defaults.m);
        in_range("m", m, 2, 128)?;
        let config = Config {
            m,
            m_max: self.m_max.unwrap_or((m + m / 2).min(256)),
            m_max0: self.m_max0.unwrap_or(2 * m),
            ef_construction: self.ef_construction.unwrap_or(defaults.ef_construction.max(m)),
            vector_storage: self.vector_storage.unwrap_or(defaults.vector_storage),
            seed: self.seed.unwrap_or(defaults.seed),
            ..defaults
        };
        config.validate()?;
        Ok(config)
    }

    /// The configuration to go on with for a stored database: `CONFIG_MISMATCH`, with both values, where
    /// the request contradicts what is stored.
    pub fn agree_with(&self, stored: &Manifest) -> Result<Config> {
        fn agree<T: PartialEq>(
            name: &str,
            asked: Option<T>,
            stored: T,
            show: impl Fn(&T) -> String,
        ) -> Result<()> {
            match asked {
                Some(asked) if asked != stored => Err(Error::new(
                    Code::ConfigMismatch,
                    format!(
                        "the database has {name} {}, it was opened with {}: leave {name} out or open another path",
                        show(&stored),
                        show(&asked)
                    ),
                )),
                _ => Ok(()),
            }
        }
        let c = &stored.config;
        if let Some(asked) = self.store.filter(|&asked| asked != stored.store) {
            return Err(Error::new(
                Code::ConfigMismatch,
                format!(
                    "the database has storage '{}', it was opened with '{}': leave storage out, or make a copy of it \
                     in the other store with asteroid-db convert",
                    stored.store.name(),
                    asked.name()
                ),
            ));
        }
        agree("dim", self.dim, c.dim, u32::to_string)?;
        agree("metric", self.metric, c.metric, |m| format!("'{}'", m.name()))?;
        agree("m", self.m, c.m, u32::to_string)?;
        agree("mMax", self.m_max, c.m_max, u32::to_string)?;
        agree("mMax0", self.m_max0, c.m_max0, u32::to_string)?;
        agree("vectorStorageType", self.vector_storage, c.vector_storage, |v| (*v as u8).to_string())?;
        agree("seed", self.seed, c.seed, u64::to_string)?;
        let config =
            Config { ef_construction: self.ef_construction.unwrap_or(c.ef_construction), ..c.clone() };
        config.validate()?;
        Ok(config)
    }
}
