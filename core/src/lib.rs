//! Asteroid DB's engine: an HNSW index over pluggable storage.
//!
//! This crate names no host: no file, no thread pool it was not given, no clock, no JavaScript. Storage comes
//! in through two seams, [`kv::Kv`] and [`bytes::Bytes`]; threads through [`Pool`]. See `ARCHITECTURE.md`.

pub mod bytes;
pub mod checksum;
mod codes;
mod error;
mod export;
pub mod filter;
mod graph;
mod hnsw;
mod id;
mod index;
mod journal;
pub mod kv;
mod metric;
mod options;
mod pages;
mod pool;
pub mod rnn;
pub mod simd;
mod sync;
mod table;
mod varint;
mod vectors;

pub use error::{Code, Error, Result};
pub use export::{EXPORT_VERSION, Export, ExportHeader, Import};
pub use id::{Id, MAX_ID_BYTES, Slot};
pub use index::{
    BulkPhase, CheckReport, DEFAULT_EF_SEARCH, Explain, Hit, Include, Index, Inserted, Insertion, Mode,
    Problem, Repaired, Row, Rows, SearchParams, Selection, Snapshot, Stats, Stores, Width,
};
pub use metric::Metric;
pub use options::{
    Config, Durability, FORMAT_VERSION, LinkPolicy, MAX_DIM, MAX_K, MAX_PAYLOAD_BYTES, MIN_CACHE_BYTES,
    Manifest, OpenRequest, Options, Quantization, RECALLS, StoreKind, VectorStorage,
};
pub use pages::LargePages;
pub use pool::{Control, Pool, Serial};
