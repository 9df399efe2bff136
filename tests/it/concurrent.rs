//! Readers while a writer writes: what a read shows is one committed state.
//!
//! Rows are numbered upwards and deleted from the lowest up. A row's version is in its vector, in its payload, and,
//! once it is written, in a table that readers copy before they begin: they may see a newer one, never an older one.

use asteroid_core::{
    Code, Control, Id, Index, LinkPolicy, Metric, Mode, OpenRequest, Options, Row, Rows, SearchParams,
    StoreKind, VectorStorage,
};
use asteroid_native_storage::{Database, Place, open, open_memory};
use asteroid_tests::model::{ALL, assert_sound};
use asteroid_tests::over_stores;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::{Rng, seed};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const DIM: usize = 12;
/// Rows inserted by one call.
const BATCH: u64 = 150;
const MOST: usize = 40_000;
/// Rows that are always there.
const LIVE: u64 = 900;

/// What the writer has made known, each after the call that did it.
struct Published {
    deleted_below: AtomicU64,
    inserted_below: AtomicU64,
    versions: Vec<AtomicU64>,
    done: AtomicBool,
    reads: AtomicU64,
}

/// What a reader knew before it began.
struct Known {
    deleted_below: u64,
    versions: Vec<u64>,
}

impl Published {
    fn new() -> Published {
        Published {
            deleted_below: AtomicU64::new(0),
            inserted_below: AtomicU64::new(0),
            versions: (0..MOST).map(|_| AtomicU64::new(0)).collect(),
            done: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        }
    }

    fn known(&self) -> Known {
        let until = self.inserted_below.load(SeqCst) as usize;
        Known {
            deleted_below: self.deleted_below.load(SeqCst),
            versions: self.versions[..until].iter().map(|version| version.load(SeqCst)).collect(),
        }
    }

    fn reading(&self) -> bool {
        self.reads.fetch_add(1, SeqCst);
        // Five readers would leave the writer hardly any of two processors.
        std::thread::sleep(Duration::from_millis(2));
        !self.done.load(SeqCst)
    }
}

/// The vector of a row: where it lies follows from id and version, and its last number is the version.
fn vector(id: u64, version: u64) -> Vec<f32> {
    let mut rng = Rng::new(id << 20 | version);
    let mut vector: Vec<f32> = (1..DIM).map(|_| rng.word() as i32 as f32 / 2f32.powi(31)).collect();
    vector.push(version as f32);
    vector
}

fn payload(version: u64) -> String {
    format!("{{\"version\":{version}}}")
}

impl Known {
    /// Panics unless the row is one that may be seen, whole.
    fn assert_row(&self, row: &Row, what: &str) -> u64 {
        let Id::Num(id) = row.id else { panic!("{what}: a strange id {}", row.id) };
        let found = row.vector.as_deref().unwrap();
        let version = found[DIM - 1] as u64;
        assert_eq!(found, vector(id, version), "{what}: the vector of {id} is none it ever had");
        assert_eq!(
            row.payload.as_deref(),
            Some(payload(version).as_str()),
            "{what}: {id} has parts of two versions"
        );
        assert!(
            id >= self.deleted_below,
            "{what}: {id} was deleted before, as all below {}",
            self.deleted_below
        );
        let least = self.versions.get(id as usize).copied().unwrap_or(0);
        assert!(version >= least, "{what}: {id} has version {version}, but {least} was there before");
        id
    }
}

fn search(index: &Index, published: &Published, seed: u64) {
    let mut rng = Rng::new(seed);
    while published.reading() {
        let known = published.known();
        let query = vector(rng.below(known.versions.len() as u64 + 1), rng.below(5));
        let k = [1, 10, 100, 5000][rng.below(4) as usize];
        let params = SearchParams { k, ef_search: 64, include: ALL, ..SearchParams::default() };
        let hits =
            index.search(&query, &params, &Control::NONE).unwrap_or_else(|error| panic!("search: {error}"));
        assert!(hits.len() >= k.min(LIVE as usize), "search: {} rows for k {k}", hits.len());
        let mut seen = HashSet::new();
        let mut last = f32::NEG_INFINITY;
        for hit in hits {
            assert!(seen.insert(hit.id.clone()), "search: {} twice", hit.id);
            assert!(hit.distance >= last, "search: out of order");
            last = hit.distance;
            known.assert_row(&Row { id: hit.id, payload: hit.payload, vector: hit.vector }, "search");
        }
    }
}

fn get(index: &Index, published: &Published, seed: u64) {
    let mut rng = Rng::new(seed);
    while published.reading() {
        let known = published.known();
        let ids: Vec<Id> = (0..20).map(|_| Id::from(rng.below(known.versions.len() as u64 + 1))).collect();
        let rows = index.get_many(&ids, ALL).unwrap_or_else(|error| panic!("get: {error}"));
        let deleted_since = published.deleted_below.load(SeqCst);
        for (row, id) in rows.iter().zip(&ids) {
            match row {
                Some(row) => drop(known.assert_row(row, "get")),
                None => {
                    let Id::Num(number) = id else { unreachable!() };
                    // The call that deletes a row may be under way.
                    let gone = *number < deleted_since + BATCH || *number as usize >= known.versions.len();
                    assert!(gone, "get: {id} is not there, only those below {deleted_since} were deleted");
                }
            }
        }
    }
}

fn scan(index: &Index, published: &Published, seed: u64) {
    let mut rng = Rng::new(seed);
    while published.reading() {
        let known = published.known();
        let snapshot = index.snapshot().unwrap();
        let page = 1 + rng.below(500) as usize;
        let read = || {
            let mut rows = BTreeMap::new();
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let (page, next) =
                    index.scan(&snapshot, at, page, ALL).unwrap_or_else(|error| panic!("scan: {error}"));
                for row in page {
                    let id = known.assert_row(&row, "scan");
                    assert!(rows.insert(id, row).is_none(), "scan: {id} twice");
                }
                cursor = next;
            }
            rows
        };
        let rows = read();
        assert!(rows == read(), "scan: one snapshot was read as two states");
        // Calls are seen whole: the ids are a run that ends with a batch.
        let (first, last) = (*rows.keys().next().unwrap(), *rows.keys().next_back().unwrap());
        assert_eq!(rows.len() as u64, last - first + 1, "scan: rows are missing between {first} and {last}");
        assert_eq!((last + 1) % BATCH, 0, "scan: a call is seen in part, up to {last}");
    }
}

/// Inserts, updates and deletes for a while; answers how many calls it made.
fn write(index: &Index, published: &Published, seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    let pool = Threads::new(2);
    let began = Instant::now();
    let (mut low, mut high, mut calls) = (0, 0, 0);
    while began.elapsed() < duration() && (high + BATCH) < MOST as u64 {
        if high - low < LIVE + BATCH || rng.chance(10) {
            let ids: Vec<Id> = (high..high + BATCH).map(Id::from).collect();
            let vectors: Vec<f32> = (high..high + BATCH).flat_map(|id| vector(id, 0)).collect();
            let payloads = vec![Some(payload(0)); BATCH as usize];
            let rows = Rows { ids: Some(&ids), vectors: &vectors, payloads: &payloads };
            index.insert_many(rows, Mode::Insert, &pool, &Control::NONE).unwrap();
            high += BATCH;
            published.inserted_below.store(high, SeqCst);
        } else if rng.chance(60) {
            let id = low + rng.below(high - low);
            let version = published.versions[id as usize].load(SeqCst) + 1;
            index.insert(&Id::from(id), &vector(id, version), Some(&payload(version)), Mode::Upsert).unwrap();
            published.versions[id as usize].store(version, SeqCst);
        } else {
            let count = [1, 1, 1, BATCH][rng.below(4) as usize].min(high - low - LIVE);
            let ids: Vec<Id> = (low..low + count).map(Id::from).collect();
            if count == 1 {
                assert!(index.delete(&ids[0]).unwrap());
            } else {
                assert_eq!(index.delete_many(&ids).unwrap(), count);
            }
            low += count;
            published.deleted_below.store(low, SeqCst);
        }
        if rng.chance(10) {
            index.compact(&Control::NONE).unwrap();
        }
        for _ in 0..rng.below(30) {
            if !index.tidy(&Control::NONE).unwrap() {
                break;
            }
        }
        calls += 1;
    }
    published.done.store(true, SeqCst);
    calls
}

/// Looks after the database beside the writer, from another thread, as a host may.
fn keep(index: &Index, published: &Published, seed: u64) {
    let mut rng = Rng::new(seed);
    while published.reading() {
        match rng.below(200) {
            0 => index.compact(&Control::NONE).unwrap(),
            1..20 => index.flush().unwrap(),
            20..40 => drop(index.stats().unwrap()),
            40 => {
                let report = index.check(&Control::NONE).unwrap();
                assert!(report.problems.is_empty(), "check: {:?}", report.problems.first());
            }
            _ => drop(index.tidy(&Control::NONE).unwrap()),
        }
    }
}

/// How long each race lasts: `ASTEROID_RACE` in seconds, 6 unless set.
fn duration() -> Duration {
    Duration::from_secs(std::env::var("ASTEROID_RACE").map_or(6, |seconds| seconds.parse().unwrap()))
}

fn race(database: &Database, name: &str) {
    let seed = seed();
    let index = &database.index;
    let published = Published::new();
    let freed = AtomicU64::new(0);
    let calls = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let stop = StopOnPanic(&published);
            let calls = write(index, &published, seed);
            drop(stop);
            calls
        });
        // Something to read must be there.
        while published.inserted_below.load(SeqCst) < LIVE + BATCH && !published.done.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // With the writer, eight.
        for (number, reader) in [search, search, search, get, get, scan, keep].into_iter().enumerate() {
            let published = &published;
            scope.spawn(move || reader(index, published, seed.wrapping_add(number as u64)));
        }
        while !published.done.load(SeqCst) {
            freed.fetch_max(index.stats().unwrap().free_slots, SeqCst);
            std::thread::sleep(Duration::from_millis(5));
        }
        writer.join().unwrap()
    });
    let (freed, reads) = (freed.load(SeqCst), published.reads.load(SeqCst));
    println!(
        "proof: threads: {name}: {calls} writing calls, {reads} reads beside them, up to {freed} slots free"
    );
    assert!(reads > 50 && calls > 10);
    assert_sound(index, name);
    index.compact(&Control::NONE).unwrap();
    assert!(index.stats().unwrap().free_slots > 0, "{name}: nothing was ever swept");
    assert_sound(index, name);
}

/// Lets the readers end when the writer fails.
struct StopOnPanic<'a>(&'a Published);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, SeqCst);
    }
}

fn request(
    store: StoreKind,
    storage: VectorStorage,
    m_max0: u32,
    link_policy: Option<LinkPolicy>,
) -> OpenRequest {
    OpenRequest {
        dim: Some(DIM as u32),
        metric: Some(Metric::L2),
        m_max0: Some(m_max0),
        ef_construction: Some(40),
        vector_storage: Some(storage),
        store: Some(store),
        options: Options {
            cache_bytes: 4 << 20,
            paged_max_cached_pages: Some(1),
            link_policy,
            ..Options::default()
        },
        ..OpenRequest::default()
    }
}

#[test]
fn readers_see_committed_states_only_in_memory() {
    race(&open_memory(&request(StoreKind::Memory, VectorStorage::Paged, 32, None)).unwrap(), "memory");
}

fn readers_see_committed_states_only_in_paged_files_with_tiny_caches(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { dir: dir.path().join("db"), vector_file: None };
    // Room for 512 lists: they come and go all the time, and checkpoints are frequent.
    race(
        &open(&place, &request(store, VectorStorage::Paged, 512, Some(LinkPolicy::Lazy))).unwrap(),
        &format!("paged files, {store:?}"),
    );
}

fn readers_see_committed_states_only_in_mapped_files(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { dir: dir.path().join("db"), vector_file: None };
    race(
        &open(&place, &request(store, VectorStorage::Flat, 512, None)).unwrap(),
        &format!("mapped files, {store:?}"),
    );
}

over_stores!(
    readers_see_committed_states_only_in_paged_files_with_tiny_caches,
    readers_see_committed_states_only_in_mapped_files,
    writers_take_turns_and_closing_ends_all_calls,
);

fn writers_take_turns_and_closing_ends_all_calls(store: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { dir: dir.path().join("db"), vector_file: None };
    for durability in [asteroid_core::Durability::Buffered, asteroid_core::Durability::Sync] {
        let options = Options { durability, ..Options::default() };
        let database = open(
            &place,
            &OpenRequest { options, reinit: true, ..request(store, VectorStorage::Paged, 32, None) },
        )
        .unwrap();
        let index = &database.index;
        let refused = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for writer in 0..4u64 {
                let refused = &refused;
                scope.spawn(move || {
                    for i in 0..60 {
                        let id = Id::from(writer * 1000 + i);
                        index.insert(&id, &vector(writer * 1000 + i, 0), None, Mode::Insert).unwrap();
                        // All want this one; one gets it.
                        let shared =
                            index.insert(&Id::from(1_000_000 + i), &vector(i, 0), None, Mode::Insert);
                        if let Err(error) = shared {
                            assert_eq!(error.code(), Code::IdExists);
                            refused.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!((index.count().unwrap(), refused.load(SeqCst)), (4 * 60 + 60, 3 * 60));
        assert_sound(index, "four writers");
        let query = &vector(5, 0);
        std::thread::scope(|scope| {
            let until_closed = |call: &(dyn Fn() -> asteroid_core::Result<()> + Sync)| {
                loop {
                    if let Err(error) = call() {
                        assert_eq!(error.code(), Code::Closed, "{error}");
                        break;
                    }
                }
            };
            scope.spawn(move || {
                until_closed(&|| index.search(query, &SearchParams::default(), &Control::NONE).map(drop))
            });
            scope.spawn(move || until_closed(&|| index.update(&Id::from(7), query)));
            scope.spawn(move || until_closed(&|| index.count().map(drop)));
            std::thread::sleep(Duration::from_millis(30));
            index.close().unwrap();
        });
    }
}
