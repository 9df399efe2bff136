//! The engine against its model: random calls on both, compared call by call.
//!
//! A failing run is shrunk by leaving out halves, quarters and so on of its calls, and what is left is printed.

use crate::model_on_disk::open_at;
use asteroid_core::bytes::MemBytes;
use asteroid_core::kv::MemKv;
use asteroid_core::{
    Code, Config, Control, Id, Index, Metric, Mode, Options, Rows, SearchParams, Serial, StoreKind, Stores,
    VectorStorage,
};
use asteroid_native_storage::{Database, Place};
use asteroid_tests::model::{ALL, Model, Write, assert_sound, run};
use asteroid_tests::over_stores;
use asteroid_tests::pool::Threads;
use asteroid_tests::quiet::{quiet, said};
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::workload::{self, Shape};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

#[derive(Clone, Debug)]
enum Call {
    Write(Write),
    /// An `insert_many` whose signal fires when it is asked this often.
    Aborted(Write, u32),
    Search(Vec<f32>, SearchParams),
    SearchMany(Vec<f32>, usize),
    Get(Vec<Id>),
    /// Scans in pages of this many rows while rows are deleted.
    Scan(usize, Vec<Id>),
    Flush,
    /// Up to so many steps of the sweep.
    Tidy(u32),
    Compact,
    Compare,
    Reopen,
}

/// Where the database of a run lives.
enum Home {
    Memory(Arc<MemKv>, Arc<MemBytes>, Arc<MemBytes>),
    Files(tempfile::TempDir),
}

enum Handle {
    Memory(Index),
    Files(Database),
}

impl std::ops::Deref for Handle {
    type Target = Index;

    fn deref(&self) -> &Index {
        match self {
            Handle::Memory(index) => index,
            Handle::Files(database) => &database.index,
        }
    }
}

#[derive(Clone, Debug)]
struct Setting {
    /// The store of a database in files; `None` for one in memory.
    store: Option<StoreKind>,
    config: Config,
    options: Options,
    shape: Shape,
}

impl Home {
    fn new(store: Option<StoreKind>) -> Home {
        match store {
            Some(_) => Home::Files(tempfile::tempdir().unwrap()),
            None => Home::Memory(Arc::default(), Arc::default(), Arc::default()),
        }
    }

    fn open(&self, setting: &Setting) -> Handle {
        let (config, options) = (setting.config.clone(), setting.options.clone());
        match self {
            Home::Memory(kv, vectors, journal) => {
                let stores = Stores { kv: kv.clone(), vectors: vectors.clone(), journal: journal.clone() };
                Handle::Memory(Index::open(stores, config, options).unwrap())
            }
            Home::Files(dir) => {
                let place = Place { dir: PathBuf::from(dir.path()).join("db"), vector_file: None };
                Handle::Files(open_at(&place, setting.store.unwrap(), &config, options).unwrap())
            }
        }
    }
}

fn draw_calls(rng: &mut Rng, shape: &Shape, count: usize) -> Vec<Call> {
    // The calls are drawn against a model so that they fit; they stay valid when others are left out.
    let mut model = Model::new(shape.dim, shape.metric);
    let mut calls = Vec::new();
    if rng.chance(50) {
        let write = workload::bulk(rng, shape, 2 * shape.rows);
        let _ = model.apply(&write);
        calls.push(Call::Write(write));
    }
    while calls.len() < count {
        let known = |rng: &mut Rng| match model.rows.len() as u64 {
            0 => Id::from(1),
            n => model.rows.keys().nth(rng.below(n) as usize).cloned().unwrap(),
        };
        let call = match rng.below(22) {
            0..12 => {
                let write = workload::write(rng, shape, &model);
                let _ = model.apply(&write);
                Call::Write(write)
            }
            12 => {
                let mode = if rng.chance(50) { Mode::Insert } else { Mode::Upsert };
                Call::Aborted(workload::many(rng, shape, mode), rng.below(7) as u32)
            }
            13..16 => {
                let query = workload::vector(rng, shape);
                let k = [1, 1, 10, 10, 10, 100, 3000][rng.below(7) as usize];
                let near = model.nearest(&query, 30).last().map_or(1.0, |&(distance, _)| distance as f32);
                Call::Search(
                    query,
                    SearchParams {
                        k,
                        ef_search: [1, 20, 64, 64, 64, 300][rng.below(6) as usize],
                        offset: if rng.chance(20) { rng.below(40) as usize } else { 0 },
                        max_distance: rng
                            .chance(20)
                            .then_some([near, f32::INFINITY, -1.0, 0.0][rng.below(4) as usize]),
                        include: ALL,
                        ..SearchParams::default()
                    },
                )
            }
            16 => {
                let queries: Vec<f32> =
                    (0..rng.below(8)).flat_map(|_| workload::vector(rng, shape)).collect();
                Call::SearchMany(queries, 5)
            }
            17 => {
                let mut ids: Vec<Id> = (0..rng.below(20)).map(|_| known(rng)).collect();
                ids.push(workload::id(rng, shape));
                Call::Get(ids)
            }
            18 => Call::Scan(1 + rng.below(200) as usize, (0..rng.below(4)).map(|_| known(rng)).collect()),
            19 => Call::Tidy(1 << rng.below(8)),
            20 if rng.chance(30) => Call::Compact,
            _ => match rng.below(4) {
                0 => Call::Flush,
                1 => Call::Compare,
                _ => Call::Reopen,
            },
        };
        calls.push(call);
    }
    calls
}

/// What a run of calls saw.
#[derive(Default)]
struct Seen {
    searches: u64,
    found: usize,
    wanted: usize,
    refused: u64,
    aborted: u64,
    reopened: u64,
    /// Most slots that waited for new rows.
    freed: u64,
    rows: usize,
}

/// Makes the calls on a new database and on the model. Panics where they differ.
fn replay(setting: &Setting, calls: &[Call], pool: &Threads) -> Seen {
    let home = Home::new(setting.store);
    let mut index = home.open(setting);
    let mut model = Model::new(setting.shape.dim, setting.shape.metric);
    let mut seen = Seen::default();
    for (at, call) in calls.iter().enumerate() {
        let what = format!("call {at}");
        match call {
            Call::Write(write) => {
                let want = model.apply(write);
                seen.refused += u64::from(want.is_err());
                let got = run(&index, write, pool).map_err(|error| error.code());
                assert_eq!(got, want, "{what}");
            }
            Call::Aborted(write, after) => {
                seen.aborted += u64::from(aborted(&index, &mut model, write, *after, &what))
            }
            Call::Search(query, params) => {
                let (found, wanted) = model.assert_search(&index, query, params, &what);
                seen.searches += 1;
                if params.ef_search >= 64 {
                    seen.found += found;
                    seen.wanted += wanted;
                }
            }
            Call::SearchMany(queries, k) => {
                let params = SearchParams { k: *k, ..SearchParams::default() };
                let many = index.search_many(queries, &params, pool, &Control::NONE).unwrap();
                let single = queries.chunks_exact(setting.shape.dim);
                let single: Vec<_> =
                    single.map(|query| index.search(query, &params, &Control::NONE).unwrap()).collect();
                assert!(many == single, "{what}: search_many and search differ");
            }
            Call::Get(ids) => {
                let rows = index.get_many(ids, ALL).unwrap();
                assert_eq!(rows.len(), ids.len(), "{what}");
                for (row, id) in rows.iter().zip(ids) {
                    assert_eq!(row.is_some(), model.rows.contains_key(id), "{what}: id {id}");
                    assert!(row.as_ref().is_none_or(|row| row.id == *id), "{what}: id {id}");
                    assert_eq!(index.get_payload(id).unwrap(), row.as_ref().map(|row| row.payload.clone()));
                }
            }
            Call::Scan(limit, doomed) => scan(&index, &mut model, *limit, doomed, &what),
            Call::Flush => index.flush().unwrap(),
            Call::Tidy(steps) => {
                for _ in 0..*steps {
                    if !index.tidy(&Control::NONE).unwrap() {
                        break;
                    }
                }
                assert_sound(&index, &what);
            }
            Call::Compact => {
                index.compact(&Control::NONE).unwrap();
                assert_sound(&index, &what);
                model.assert_equals(&index, &what);
            }
            Call::Compare => {
                model.assert_equals(&index, &what);
                assert_sound(&index, &what);
            }
            Call::Reopen => {
                // Closed or merely let go of: both must keep everything.
                if at % 2 == 0 {
                    index.close().unwrap();
                    assert_eq!(index.count().unwrap_err().code(), Code::Closed);
                }
                drop(index);
                index = home.open(setting);
                seen.reopened += 1;
                model.assert_equals(&index, &what);
            }
        }
        assert_eq!(index.count().unwrap(), model.rows.len() as u64, "{what}: count");
        seen.freed = seen.freed.max(index.stats().unwrap().free_slots);
    }
    model.assert_equals(&index, "the end");
    assert_sound(&index, "the end");
    seen.rows = model.rows.len();
    seen
}

/// Whether the call was ended by its signal; it then left nothing.
fn aborted(index: &Index, model: &mut Model, write: &Write, after: u32, what: &str) -> bool {
    let Write::Many(ids, vectors, payloads, mode) = write else { unreachable!() };
    let asked = AtomicU32::new(0);
    let control = Control {
        cancelled: &|| asked.fetch_add(1, Ordering::Relaxed) >= after,
        progress: &|done, total| assert!(done <= total),
        ..Control::NONE
    };
    let rows = Rows { ids: ids.as_deref(), vectors, payloads };
    match index.insert_many(rows, *mode, &Serial, &control) {
        Err(error) if error.code() == Code::Aborted => {
            let row = index.count().unwrap();
            assert_eq!(row, model.rows.len() as u64, "{what}: rows of an aborted call are counted");
            true
        }
        done => {
            let done = done.map(|done| done.count).map_err(|error| error.code());
            assert_eq!(done, model.apply(write), "{what}");
            false
        }
    }
}

/// A scan shows the rows of its snapshot, whatever is deleted meanwhile.
fn scan(index: &Index, model: &mut Model, limit: usize, doomed: &[Id], what: &str) {
    let before = model.clone();
    let snapshot = index.snapshot().unwrap();
    let mut rows = std::collections::BTreeMap::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let (page, next) = index.scan(&snapshot, at, limit, ALL).unwrap();
        assert!(page.len() <= limit, "{what}");
        for row in page {
            assert!(rows.insert(row.id.clone(), row).is_none(), "{what}: a row twice");
        }
        if at == 0 {
            let write = Write::DeleteMany(doomed.to_vec());
            assert_eq!(run(index, &write, &Serial).map_err(|e| e.code()), model.apply(&write), "{what}");
        }
        cursor = next;
    }
    before.assert_same(&rows, what);
}

/// Replays; a failure is shrunk and told with its seed.
fn prove(setting: &Setting, calls: &[Call], seed: u64) -> Seen {
    let pool = Threads::new(2);
    let fails = |calls: &[Call]| -> Option<String> {
        let outcome = quiet(|| catch_unwind(AssertUnwindSafe(|| replay(setting, calls, &pool).rows)));
        outcome.err().map(|panic| said(&*panic).to_owned())
    };
    match quiet(|| catch_unwind(AssertUnwindSafe(|| replay(setting, calls, &pool)))) {
        Ok(seen) => seen,
        Err(panic) => {
            let first = said(&*panic).to_owned();
            let (calls, last) = shrink(calls.to_vec(), &fails);
            let last = last.unwrap_or_else(|| "(it did not fail again)".into());
            let listed: String = format!("{calls:?}").chars().take(4000).collect();
            panic!(
                "ASTEROID_SEED={seed} {setting:?}: {first}\nshrunk to {} calls: {last}\n{listed}",
                calls.len()
            );
        }
    }
}

/// Leaves out what is not needed to fail, for at most a minute.
fn shrink(mut calls: Vec<Call>, fails: &dyn Fn(&[Call]) -> Option<String>) -> (Vec<Call>, Option<String>) {
    let began = Instant::now();
    let mut said = fails(&calls);
    let mut piece = calls.len() / 2;
    while piece > 0 && said.is_some() {
        let mut at = 0;
        while at < calls.len() && began.elapsed().as_secs() < 60 {
            let mut fewer = calls.clone();
            fewer.drain(at..(at + piece).min(calls.len()));
            match fails(&fewer) {
                Some(why) => (calls, said) = (fewer, Some(why)),
                None => at += piece,
            }
        }
        piece /= 2;
    }
    (calls, said)
}

/// Parameters from narrow to wide; the caches are so small that everything is evicted.
fn settings(metric: Metric, store: Option<StoreKind>, rng: &mut Rng) -> Vec<Setting> {
    let shape = Shape { dim: 8, metric, rows: 900, most: 300, wrong: 8 };
    let smallest = Options { cache_bytes: 4 << 20, paged_max_cached_pages: Some(1), ..Options::default() };
    let config = |dim: usize| Config { seed: rng.clone().word(), ..Config::new(dim as u32, metric) };
    let mut settings = vec![
        Setting { store, config: config(8), options: Options::default(), shape },
        // A large cap makes dirty lists few, so that checkpoints come inside of calls.
        Setting {
            store,
            config: Config { m_max0: 512, ef_construction: 48, ..config(33) },
            options: smallest.clone(),
            shape: Shape { dim: 33, rows: 300, most: 150, ..shape },
        },
    ];
    // The narrowest graphs there can be: nothing is asked of their recall.
    for (m, m_max0) in [(2, 2), (2, 3), (3, 4)] {
        let config = Config { m, m_max: m, m_max0, ef_construction: m, ..config(3) };
        settings.push(Setting {
            store,
            config,
            options: smallest.clone(),
            shape: Shape { dim: 3, rows: 300, ..shape },
        });
    }
    if store.is_some() {
        let config = Config { vector_storage: VectorStorage::Flat, ..config(8) };
        settings.push(Setting { store, config, options: smallest, shape });
    }
    settings
}

fn run_all(metric: Metric, store: Option<StoreKind>) {
    let seed = seed();
    let mut rng = Rng::new(seed ^ metric as u64 ^ store.map_or(0, |store| store as u64 + 1) << 8);
    let (mut found, mut wanted, mut freed) = (0, 0, 0);
    for mut setting in settings(metric, store, &mut rng) {
        setting.options.link_policy = workload::link_policy(&mut rng);
        let began = Instant::now();
        let calls = draw_calls(&mut rng, &setting.shape, 300);
        let seen = prove(&setting, &calls, seed);
        let recall = seen.found as f64 / seen.wanted.max(1) as f64;
        println!(
            "{} m {} mMax0 {} {:?} {store:?}: {} calls, {} refused, {} aborted, {} reopened, {} slots free at most, {} searches with recall {recall:.4}, {} rows left, {:?}",
            metric.name(),
            setting.config.m,
            setting.config.m_max0,
            setting.options.link_policy,
            calls.len(),
            seen.refused,
            seen.aborted,
            seen.reopened,
            seen.freed,
            seen.searches,
            seen.rows,
            began.elapsed()
        );
        freed = freed.max(seen.freed);
        if setting.config.m >= 16 {
            found += seen.found;
            wanted += seen.wanted;
        }
    }
    assert!(freed > 0, "nothing was ever swept");
    assert!(found * 100 >= wanted * 95, "{}: found {found} of {wanted}", metric.name());
}

#[test]
fn random_calls_on_l2_in_memory_do_what_the_model_does() {
    run_all(Metric::L2, None);
}

#[test]
fn random_calls_on_cosine_in_memory_do_what_the_model_does() {
    run_all(Metric::Cosine, None);
}

#[test]
fn random_calls_on_dot_in_memory_do_what_the_model_does() {
    run_all(Metric::Dot, None);
}

fn random_calls_on_l2_in_files_do_what_the_model_does(store: StoreKind) {
    run_all(Metric::L2, Some(store));
}

fn random_calls_on_cosine_in_files_do_what_the_model_does(store: StoreKind) {
    run_all(Metric::Cosine, Some(store));
}

fn random_calls_on_dot_in_files_do_what_the_model_does(store: StoreKind) {
    run_all(Metric::Dot, Some(store));
}

over_stores!(
    random_calls_on_l2_in_files_do_what_the_model_does,
    random_calls_on_cosine_in_files_do_what_the_model_does,
    random_calls_on_dot_in_files_do_what_the_model_does,
);
