//! The facade: one database, one dimension, one metric.

mod types;

pub use types::{CheckReport, Hit, Include, Inserted, Mode, Problem, Row, Rows, SearchParams, Stats};

use crate::bytes::Bytes;
use crate::kv::Kv;
use crate::{Config, Control, Id, Options, Pool, Result};
use std::sync::Arc;

/// The default of [`SearchParams::ef_search`].
pub const DEFAULT_EF_SEARCH: usize = 64;

/// What a host hands to [`Index::open`].
pub struct Stores {
    /// Everything keyed: ids, payloads, adjacency.
    pub kv: Arc<dyn Kv + Send + Sync>,
    /// The vector file.
    pub vectors: Arc<dyn Bytes + Send + Sync>,
    /// The journal.
    pub journal: Arc<dyn Bytes + Send + Sync>,
}

/// An open database. All methods take `&self` and may be called from many threads at once; reads never wait
/// for writes, writes queue.
pub struct Index {
    _stores: Stores,
}

/// A frozen set of rows: what was committed when it was taken. See [`Index::snapshot`].
#[derive(Clone)]
pub struct Snapshot {}

#[allow(missing_docs, unused_variables, clippy::unimplemented, clippy::missing_errors_doc)]
impl Index {
    /// Opens the database in `stores` (all three empty for a new one), replaying what a crash left.
    pub fn open(stores: Stores, config: Config, options: Options) -> Result<Index> {
        unimplemented!()
    }
    pub fn config(&self) -> &Config {
        unimplemented!()
    }
    pub fn insert(&self, id: &Id, vector: &[f32], payload: Option<&str>, mode: Mode) -> Result<()> {
        unimplemented!()
    }
    /// All rows or none; aborting keeps none.
    pub fn insert_many(&self, rows: Rows<'_>, mode: Mode, pool: &dyn Pool, control: &Control<'_>) -> Result<Inserted> {
        unimplemented!()
    }
    /// `NOT_FOUND` where absent; the payload stays.
    pub fn update(&self, id: &Id, vector: &[f32]) -> Result<()> {
        unimplemented!()
    }
    /// Whether it was there.
    pub fn delete(&self, id: &Id) -> Result<bool> {
        unimplemented!()
    }
    /// How many of them were there; all go in one commit.
    pub fn delete_many(&self, ids: &[Id]) -> Result<u64> {
        unimplemented!()
    }
    pub fn get(&self, id: &Id, include: Include) -> Result<Option<Row>> {
        unimplemented!()
    }
    pub fn get_many(&self, ids: &[Id], include: Include) -> Result<Vec<Option<Row>>> {
        unimplemented!()
    }
    /// `NOT_FOUND` where the row is absent. Replaces; `None` removes.
    pub fn set_payload(&self, id: &Id, payload: Option<&str>) -> Result<()> {
        unimplemented!()
    }
    /// RFC 7396 merge patch; the result is at most 1 MiB. `NOT_FOUND` where the row is absent.
    pub fn merge_payload(&self, id: &Id, patch: &str) -> Result<()> {
        unimplemented!()
    }
    /// Outer `None`: no such row. Inner `None`: a row without payload.
    pub fn get_payload(&self, id: &Id) -> Result<Option<Option<String>>> {
        unimplemented!()
    }
    /// Always min(k, rows - offset) hits, nearest first, unless `max_distance` leaves some out.
    pub fn search(&self, query: &[f32], params: &SearchParams, control: &Control<'_>) -> Result<Vec<Hit>> {
        unimplemented!()
    }
    /// One list of hits per query; `queries` is q * dim numbers.
    pub fn search_many(&self, queries: &[f32], params: &SearchParams, pool: &dyn Pool, control: &Control<'_>) -> Result<Vec<Vec<Hit>>> {
        unimplemented!()
    }
    /// Live rows.
    pub fn count(&self) -> Result<u64> {
        unimplemented!()
    }
    /// The rows committed now, for [`Index::scan`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        unimplemented!()
    }
    /// Up to `limit` live rows of `snapshot` from position `cursor` (0 to begin), and the next cursor, `None` at the end.
    pub fn scan(&self, snapshot: &Snapshot, cursor: u32, limit: usize, include: Include) -> Result<(Vec<Row>, Option<u32>)> {
        unimplemented!()
    }
    pub fn stats(&self) -> Result<Stats> {
        unimplemented!()
    }
    /// Makes all earlier writes survive power loss.
    pub fn flush(&self) -> Result<()> {
        unimplemented!()
    }
    pub fn check(&self, control: &Control<'_>) -> Result<CheckReport> {
        unimplemented!()
    }
    /// Flushes, brings the stores up and closes: later calls get `CLOSED`. A second close does nothing.
    pub fn close(&self) -> Result<()> {
        unimplemented!()
    }
}
