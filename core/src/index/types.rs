//! What goes into and comes out of an [`super::Index`].

use crate::Id;

/// Rows for [`super::Index::insert_many`], as columns.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// One id per row; `None` numbers the rows on from the largest number id below 2^53.
    pub ids: Option<&'a [Id]>,
    /// `n * dim` numbers, row after row.
    pub vectors: &'a [f32],
    /// One JSON object text, or `None`, per row; empty for no payloads at all.
    pub payloads: &'a [Option<String>],
}

/// What a write does about an id that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Refuse with `ID_EXISTS`.
    Insert,
    /// Replace the vector; replace the payload if one is given, else keep it.
    Upsert,
}

/// What [`super::Index::insert_many`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Rows written.
    pub count: u64,
    /// First of the consecutive ids given, where the caller gave none.
    pub first_id: Option<u64>,
}

/// Which columns a read brings back besides ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// The payload text.
    pub payload: bool,
    /// The vector.
    pub vector: bool,
}

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchParams {
    /// Rows wanted, 1 to 1,000,000.
    pub k: usize,
    /// Candidate pool of the walk, 1 to 1,000,000; raised to `k + offset` where smaller.
    pub ef_search: usize,
    /// Instead of `ef_search`, which then counts for nothing: the part of the true nearest to be found on average, 0.5 to
    /// 0.999. See [`super::Index::width`].
    pub recall: Option<f64>,
    /// Milliseconds after which the search answers with the nearest found so far, which may be fewer than `k`. Counted by
    /// [`crate::Control::now`] from [`crate::Control::called`], or for many queries from the beginning of each.
    pub deadline: Option<f64>,
    /// Nearest rows to leave out first, for paging; `k + offset` at most 1,000,000.
    pub offset: usize,
    /// Farthest distance to return.
    pub max_distance: Option<f32>,
    /// Columns to bring back.
    pub include: Include,
}

impl Default for SearchParams {
    fn default() -> Self {
        SearchParams {
            k: 10,
            ef_search: super::DEFAULT_EF_SEARCH,
            recall: None,
            deadline: None,
            offset: 0,
            max_distance: None,
            include: Include::default(),
        }
    }
}

/// How wide a search goes that asks for a recall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Width {
    /// What [`SearchParams::ef_search`] would be for the same search, at least `k + offset`.
    pub ef_search: usize,
    /// The part of the true nearest that is expected to be found, which may be more than was asked for; `None` where there
    /// was no time to learn it.
    pub recall: Option<f64>,
}

/// How a search was answered, for people who wonder why it took its time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Explain {
    /// `walk` (no filter), or with one `none` (nothing matches), `scan` (every match was measured), `bridge` (a walk
    /// over the matches alone) or `sweep` (a walk over all rows that keeps the matches).
    pub plan: &'static str,
    /// Whether a walk found too little, so that the answer is that of another walk or of a scan after it.
    pub fell_back: bool,
    /// Visible rows.
    pub rows: u64,
    /// Rows that match; an estimate unless `exact`.
    pub matches: u64,
    /// Whether `matches` was counted.
    pub exact: bool,
    /// Rows that the index could not decide on.
    pub undecided: u64,
    /// Vectors measured.
    pub measured: u64,
    /// Adjacency lists read.
    pub lists: u64,
    /// Payloads read to see whether they match.
    pub checked: u64,
    /// What the planner expected of each plan, in vectors measured: scan, bridge, sweep.
    pub costs: [f64; 3],
    /// Candidate pool that was asked for, or that the recall asked for takes, at least `k + offset`.
    pub ef_search: usize,
    /// The part of the true nearest that searches without a filter find with it on average, by the sample of rows that
    /// it was calibrated on; `None` where no recall was asked for.
    pub recall: Option<f64>,
    /// Whether the search came to its end: not where its deadline passed.
    pub complete: bool,
}

/// One row found by a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Its id.
    pub id: Id,
    /// Its exact distance to the query.
    pub distance: f32,
    /// Its payload text, where asked for and present.
    pub payload: Option<String>,
    /// Its vector, where asked for.
    pub vector: Option<Vec<f32>>,
}

/// One row read by id or by scan.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its id.
    pub id: Id,
    /// Its payload text, where asked for and present.
    pub payload: Option<String>,
    /// Its vector, where asked for: exactly the numbers that went in.
    pub vector: Option<Vec<f32>>,
}

/// Figures about a database, all in rows or bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows that a search can return.
    pub rows: u64,
    /// Deleted or replaced rows that still take space: those the next sweep is for, and those a reader still holds.
    pub tombstones: u64,
    /// Places of deleted rows that new rows will take, or may once readers of then are done.
    pub free_slots: u64,
    /// The one cache budget.
    pub cache_bytes: u64,
    /// Memory of decoded adjacency.
    pub adjacency_bytes: u64,
    /// Memory of cached vector pages and of sketches for scans.
    pub vector_bytes: u64,
    /// Memory of the codes that walks measure.
    pub code_bytes: u64,
    /// Memory of the store's own cache.
    pub kv_bytes: u64,
    /// Memory of the upper layers.
    pub upper_bytes: u64,
    /// Memory of per-row tables, of writes not yet brought to the store and of the rows that recent filters matched.
    pub table_bytes: u64,
    /// Size of the vector file.
    pub vector_file_bytes: u64,
    /// Size of the store's files.
    pub kv_file_bytes: u64,
    /// Size of the journal.
    pub journal_bytes: u64,
}

/// One thing [`super::Index::check`] found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A short stable name of the kind of damage, such as `dangling_link`.
    pub kind: &'static str,
    /// What exactly, for people.
    pub detail: String,
    /// The row it concerns, where it concerns one.
    pub id: Option<Id>,
}

/// The result of [`super::Index::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Live rows walked.
    pub rows: u64,
    /// Layer-0 links walked.
    pub links: u64,
    /// Everything found wrong; empty for a sound database.
    pub problems: Vec<Problem>,
}
