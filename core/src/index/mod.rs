//! The facade: one database, one dimension, one metric.
//!
//! Calls go down from here: [`write`](self) plans and links rows, `commit` journals and publishes them, `walk` and
//! `read` answer. A row becomes visible when a [`Published`] state that covers it is swapped in; a reader keeps the
//! state it started with, so that it sees one committed prefix of the writes.

mod backing;
mod bulk;
mod calibrate;
mod check;
mod chunk;
mod coded;
mod commit;
mod entries;
mod export;
mod filtered;
mod insert;
mod insertion;
mod lookup;
pub(crate) mod meta;
mod names;
mod open;
mod overlay;
mod payload;
mod plan;
mod read;
mod rebuild;
mod record;
mod repair;
mod rows;
mod scan;
mod selection;
mod sketch;
mod slots;
mod tidy;
mod types;
mod walk;
mod watch;
mod write;

pub use bulk::BulkPhase;
pub use insertion::Insertion;
pub use rebuild::Repaired;
pub use selection::Selection;
pub use types::{
    CheckReport, Explain, Hit, Include, Inserted, Mode, Problem, Row, Rows, SearchParams, Stats, Width,
};

use crate::bytes::Bytes;
use crate::codes::Codes;
use crate::filter::terms::PathRules;
use crate::graph::cache::AdjacencyCache;
use crate::graph::policy::Mix;
use crate::graph::upper::Upper;
use crate::hnsw::Scratch;
use crate::journal::Journal;
use crate::kv::Kv;
use crate::simd::Kernels;
use crate::table::Table;
use crate::vectors::VectorFile;
use crate::{Code, Config, Error, LargePages, Options, Result, Slot, sync};
use commit::Writer;
use names::Names;
use overlay::Overlay;
use roaring::RoaringBitmap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

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

/// An open database.
///
/// All methods take `&self` and may be called from many threads at once. Reads never wait for writes; writes queue.
/// Every method fails with `CLOSED` after [`Index::close`].
///
/// ```
/// use asteroid_core::{bytes::MemBytes, kv::MemKv, *};
/// use std::sync::Arc;
/// let stores = Stores {
///     kv: Arc::new(MemKv::default()),
///     vectors: Arc::new(MemBytes::default()),
///     journal: Arc::new(MemBytes::default()),
/// };
/// let db = Index::open(stores, Config::new(3, Metric::L2), Options::default())?;
/// db.insert(&Id::from(1), &[0.0, 0.0, 1.0], Some(r#"{"title":"one"}"#), Mode::Insert)?;
/// let params = SearchParams { k: 1, ..SearchParams::default() };
/// let hits = db.search(&[0.0, 0.0, 0.5], &params, &Control::NONE)?;
/// assert_eq!((hits[0].id.clone(), hits[0].distance), (Id::from(1), 0.5));
/// # Ok::<(), Error>(())
/// ```
pub struct Index {
    config: Config,
    options: Options,
    kernels: &'static Kernels,
    kv: Arc<dyn Kv + Send + Sync>,
    journal: Journal,
    vectors: VectorFile,
    codes: Codes,
    /// Whether codes were made of all rows that there were before.
    warm: AtomicBool,
    warming: Mutex<()>,
    adjacency: AdjacencyCache,
    /// How often lists are read from the store against written to it.
    mix: Mix,
    upper: Upper,
    overlay: Overlay,
    names: Names,
    /// Per slot the write that killed it; 0 while alive.
    died: Table<AtomicU64>,
    /// Per slot the write that gave it to its row, where another had it before; [`UNBORN`] until that commits.
    born: Table<AtomicU64>,
    /// Slots that no list leads to, whether they may be used again yet or not.
    swept: AtomicU32,
    /// States that were shown, for as long as a reader may hold them.
    shown: Mutex<slots::Shown>,
    /// What somebody holds for longer than a call takes.
    pins: Mutex<slots::Pins>,
    /// Per slot the next slot with a bit-identical vector, plus one; 0 at the end of the chain.
    twins: Table<AtomicU32>,
    /// Slots that have rows and links, committed or not.
    allocated: AtomicU32,
    published: sync::Swap<Arc<Published>>,
    /// The visible rows of the published state; changed together with it.
    live: Mutex<Arc<RoaringBitmap>>,
    /// Rows that are not nodes themselves but hang on a node with the same vector.
    chained: Mutex<Arc<RoaringBitmap>>,
    rules: PathRules,
    calibration: plan::Calibration,
    widths: calibrate::Widths,
    selections: selection::Recent,
    sketches: sketch::Sketches,
    /// Who backs memory by large pages, and how much there was when it was asked last.
    large_pages: OnceLock<Arc<dyn LargePages>>,
    backed: AtomicU64,
    writer: Mutex<Writer>,
    scratches: Mutex<Vec<Scratch>>,
    /// Memory of lists that were staged, to be used again.
    spare_lists: Mutex<Vec<Vec<u32>>>,
    closed: AtomicBool,
    poison: OnceLock<String>,
}

/// See [`Index::born`].
const UNBORN: u64 = u64::MAX;

/// One committed state, as readers hold it. What a reader looked up under one stays readable until the reader lets go
/// of it: it must do so only when its answer is complete. Who holds one for longer pins it ([`Index::pin`]).
#[derive(Debug)]
pub(crate) struct Published {
    /// The last write in it.
    seq: u64,
    /// Slots below this may be visible.
    slots: u32,
    /// Rows that are.
    live: u64,
}

/// A frozen set of rows: what was committed when it was taken. See [`Index::snapshot`].
///
/// Pinned: keeps its own rows, and nothing that was written later.
#[derive(Clone, Debug)]
pub struct Snapshot(Arc<Published>);

impl Index {
    /// What the database is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How it was opened.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `CLOSED` after [`Index::close`].
    fn reading(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::Closed, "the database is closed: open it again to go on"));
        }
        Ok(())
    }

    /// The writer's turn: waits for earlier writes. `CLOSED`, `READ_ONLY` or `POISONED` where there is none.
    fn writing(&self) -> Result<MutexGuard<'_, Writer>> {
        let writer = self.turn()?;
        if writer.stepping.is_some() {
            return Err(Error::new(Code::Locked, "an insert in steps is under way: finish it or give it up"));
        }
        Ok(writer)
    }

    /// [`Index::writing`], also between the steps of an insert.
    fn turn(&self) -> Result<MutexGuard<'_, Writer>> {
        self.reading()?;
        if self.options.read_only {
            return Err(Error::new(Code::ReadOnly, "the database was opened read-only: reopen it to write"));
        }
        let Ok(writer) = self.writer.lock() else {
            return Err(self.poisoned("a write ended in a panic"));
        };
        match self.poison.get() {
            Some(why) => Err(self.poisoned(why)),
            None => {
                self.reading()?;
                Ok(writer)
            }
        }
    }

    fn poisoned(&self, why: &str) -> Error {
        Error::new(
            Code::Poisoned,
            format!("writes stopped after a failure ({why}): close and reopen the database"),
        )
    }

    /// Whether the row of `slot` is part of `state`.
    fn visible(&self, state: &Published, slot: Slot) -> bool {
        // In this order: a slot is given away by first making it unborn, then alive.
        slot < state.slots
            && self.death(slot).is_none_or(|died| died > state.seq)
            && self.born.get(slot).is_none_or(|born| born.load(Ordering::Acquire) <= state.seq)
    }

    fn death(&self, slot: Slot) -> Option<u64> {
        self.died.get(slot).map(|died| died.load(Ordering::Acquire)).filter(|&died| died != 0)
    }

    /// The slots with the same vector as `slot`, which is a node of the graph, `slot` first.
    fn chain(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        let next = |slot: &Slot| self.twins.get(*slot)?.load(Ordering::Acquire).checked_sub(1);
        // A damaged store could close a chain into a ring; no chain is longer than the table.
        std::iter::successors(Some(slot), next).take(self.allocated.load(Ordering::Acquire) as usize + 1)
    }

    fn rank(&self, a: &[f32], b: &[f32]) -> f32 {
        self.config.metric.rank(self.kernels, a, b)
    }

    /// Runs `work` with reusable memory.
    fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = sync::lock(&self.scratches).pop().unwrap_or_default();
        let result = work(&mut scratch);
        sync::lock(&self.scratches).push(scratch);
        result
    }
}
