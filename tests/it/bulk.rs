//! Bulk builds through the facade: equal at any thread count, whole or nothing after any crash, as good a base as inserts.

use crate::model_on_disk::{Home, OnDisk, Opened};
#[cfg(target_os = "linux")]
use asteroid_core::StoreKind;
use asteroid_core::bytes::{Bytes, MemBytes};
use asteroid_core::kv::{Kv, MemKv};
use asteroid_core::{
    BulkPhase, Code, Config, Control, Durability, Id, Include, Index, Metric, Mode, Options, Pool, Result,
    Rows, SearchParams, Serial, Stores,
};
use asteroid_native_storage::RedbKv;
use asteroid_tests::kv::{Entries, dump};
#[cfg(target_os = "linux")]
use asteroid_tests::over_stores;
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::sim::SimDisk;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

const DIM: u32 = 8;

/// So many threads, started anew for every step.
struct Threads(usize);

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < n) {
                job(i);
            }
        };
        std::thread::scope(|scope| {
            (1..self.0.min(n)).for_each(|_| drop(scope.spawn(work)));
            work();
        });
    }
}

fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.below(2001) as f32 / 1000.0 - 1.0).collect()
}

fn plain(vectors: &[f32]) -> Rows<'_> {
    Rows { ids: None, vectors, payloads: &[] }
}

fn build(index: &Index, rows: Rows<'_>, threads: usize) -> Result<u64> {
    index.bulk_build(rows, &Threads(threads), &Control::NONE, &|_| ()).map(|built| built.count)
}

/// A database whose stores stay in sight.
struct Seen {
    kv: Arc<MemKv>,
    vectors: Arc<MemBytes>,
    journal: Arc<MemBytes>,
}

impl Seen {
    fn new() -> Seen {
        Seen { kv: Arc::default(), vectors: Arc::default(), journal: Arc::default() }
    }

    fn open(&self, config: Config) -> Index {
        let stores = Stores {
            kv: Arc::clone(&self.kv) as _,
            vectors: Arc::clone(&self.vectors) as _,
            journal: Arc::clone(&self.journal) as _,
        };
        Index::open(stores, config, Options::default()).unwrap()
    }

    /// Every stored entry and the vector file.
    fn contents(&self) -> (Vec<Entries>, Vec<u8>) {
        let mut bytes = vec![0; self.vectors.len().unwrap() as usize];
        self.vectors.read_at(0, &mut bytes).unwrap();
        (dump(&*self.kv.view().unwrap()).unwrap(), bytes)
    }
}

fn sound(index: &Index, rows: u64, what: &str) {
    assert_eq!(index.count().unwrap(), rows, "{what}");
    let report = index.check(&Control::NONE).unwrap();
    assert!(report.problems.is_empty(), "{what}: {:?}", &report.problems[..report.problems.len().min(5)]);
    assert_eq!(report.rows, rows, "{what}");
}

fn nearest(index: &Index, query: &[f32], k: usize) -> Vec<Id> {
    let params = SearchParams { k, ..SearchParams::default() };
    index.search(query, &params, &Control::NONE).unwrap().into_iter().map(|hit| hit.id).collect()
}

#[test]
fn everything_stored_is_the_same_for_one_thread_and_for_more() {
    let seed = seed();
    for (metric, rows, ids) in
        [(Metric::L2, 20_000, false), (Metric::Cosine, 3000, true), (Metric::Dot, 3000, false)]
    {
        let vectors = numbers(seed, rows * DIM as usize);
        let names: Vec<Id> = (0..rows).map(|i| format!("row {}", i * 7919 % rows).parse().unwrap()).collect();
        let contents = |threads| {
            let seen = Seen::new();
            let index = seen.open(Config::new(DIM, metric));
            let rows = Rows { ids: ids.then_some(&names[..]), ..plain(&vectors) };
            build(&index, rows, threads).unwrap();
            index.close().unwrap();
            seen.contents()
        };
        let one = contents(1);
        for threads in [2, 5] {
            assert!(contents(threads) == one, "{} with {threads} threads", metric.name());
        }
    }
}

#[test]
fn few_rows_equal_rows_and_single_numbers() {
    let seed = seed();
    for rows in [0, 1, 2, 3, 10, 31, 33, 513] {
        for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
            let seen = Seen::new();
            let config = Config::new(DIM, metric);
            let vectors = numbers(seed, rows * DIM as usize);
            let index = seen.open(config.clone());
            assert_eq!(build(&index, plain(&vectors), 2).unwrap(), rows as u64);
            sound(&index, rows as u64, "built");
            let all: BTreeSet<Id> = nearest(&index, &[0.5; DIM as usize], rows.max(1)).into_iter().collect();
            assert_eq!(all.len(), rows, "a search for all rows finds all");
            index.close().unwrap();
            sound(&seen.open(config), rows as u64, "reopened");
        }
    }
    let began = Instant::now();
    for (dim, rows, distinct) in [(8, 100_000, 1), (1, 20_000, 1000), (1, 2000, 2000)] {
        let seen = Seen::new();
        let index = seen.open(Config::new(dim, Metric::L2));
        let vectors: Vec<f32> =
            (0..rows).flat_map(|row| vec![1.0 + (row % distinct) as f32; dim as usize]).collect();
        build(&index, plain(&vectors), 2).unwrap();
        sound(&index, rows, "built");
        for row in [0, distinct / 2, distinct - 1] {
            let query = vec![1.0 + row as f32; dim as usize];
            let found = nearest(&index, &query, (rows / distinct).min(50) as usize);
            for id in found {
                let Id::Num(id) = id else { panic!("ids are numbers") };
                assert_eq!(id % distinct, row, "an equal row is nearest");
            }
        }
    }
    println!("equal rows and single numbers took {:?}", began.elapsed());
}

#[test]
fn churn_on_top_of_a_build_keeps_everything_reachable() {
    let seed = seed();
    let rows = 6000u64;
    let seen = Seen::new();
    let config = Config::new(DIM, Metric::L2);
    let index = seen.open(config.clone());
    let vectors = numbers(seed, rows as usize * DIM as usize);
    let payloads: Vec<Option<String>> =
        (0..rows).map(|n| n.is_multiple_of(3).then(|| format!("{{\"n\":{n}}}"))).collect();
    build(&index, Rows { payloads: &payloads, ..plain(&vectors) }, 2).unwrap();
    sound(&index, rows, "after the build");
    let mut rng = Rng::new(seed);
    let mut live: BTreeSet<u64> = (0..rows).collect();
    // A fifth of the rows each way: gone, replaced, added.
    for step in 0..rows / 5 {
        let gone = rng.below(rows);
        assert_eq!(index.delete(&Id::from(gone)).unwrap(), live.remove(&gone));
        let vector = numbers(seed ^ step, DIM as usize);
        let id = *live.iter().nth(rng.below(live.len() as u64) as usize).unwrap();
        index.update(&Id::from(id), &vector).unwrap();
        let new = rows + step;
        index.insert(&Id::from(new), &vector, None, Mode::Insert).unwrap();
        live.insert(new);
    }
    sound(&index, live.len() as u64, "after churn");
    index.close().unwrap();
    let index = seen.open(config);
    sound(&index, live.len() as u64, "after churn, reopened");
    let found: BTreeSet<Id> = nearest(&index, &[0.0; DIM as usize], live.len()).into_iter().collect();
    assert!(found == live.iter().map(|&n| Id::from(n)).collect());
    let both = Include { payload: true, vector: true };
    for n in live.range(..rows).filter(|n| n.is_multiple_of(3)) {
        let row = index.get(&Id::from(*n), both).unwrap().unwrap();
        assert_eq!(row.payload.unwrap(), format!("{{\"n\":{n}}}"));
    }
    // Ids go on behind those given by the build.
    let given = index.insert_many(plain(&[1.0; 8]), Mode::Insert, &Serial, &Control::NONE).unwrap();
    assert_eq!(given.first_id, Some(rows + rows / 5));
}

#[test]
fn what_is_refused_changes_nothing() {
    let vectors = numbers(seed(), 100 * DIM as usize);
    let config = Config::new(DIM, Metric::Cosine);
    let seen = Seen::new();
    let index = seen.open(config.clone());
    let mut bad = vectors.clone();
    bad[57 * DIM as usize + 3] = f32::NAN;
    let mut zero = vectors.clone();
    zero[81 * DIM as usize..][..DIM as usize].fill(0.0);
    let twice: Vec<Id> = (0..100).map(|n| Id::from(n % 99)).collect();
    let payloads = vec![Some("[1]".to_owned()); 100];
    for (rows, code, place) in [
        (plain(&bad), Code::InvalidArgument, "57"),
        (plain(&zero), Code::InvalidArgument, "81"),
        (plain(&vectors[..9]), Code::DimensionMismatch, "9"),
        (Rows { ids: Some(&twice), ..plain(&vectors) }, Code::IdExists, "99"),
        (Rows { ids: Some(&twice[..9]), ..plain(&vectors) }, Code::InvalidArgument, "100"),
        (Rows { payloads: &payloads, ..plain(&vectors) }, Code::InvalidArgument, "0"),
    ] {
        let error = build(&index, rows, 2).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.message().contains(place), "{error}");
        sound(&index, 0, "refused");
    }
    let mut many = numbers(seed(), 5000 * DIM as usize);
    for row in [4900, 3100, 1500] {
        many[row * DIM as usize] = f32::INFINITY;
        for threads in [1, 2, 5] {
            let error = build(&index, plain(&many), threads).unwrap_err();
            assert!(error.message().contains(&format!(" {row}")), "the first of several is named: {error}");
        }
    }
    index.insert(&Id::from(5), &vectors[..8], None, Mode::Insert).unwrap();
    assert_eq!(build(&index, plain(&vectors), 2).unwrap_err().code(), Code::NotEmpty);
    assert_eq!(build(&index, plain(&[]), 2).unwrap_err().code(), Code::NotEmpty);
    sound(&index, 1, "not empty");
    index.delete(&Id::from(5)).unwrap();
    assert_eq!(build(&index, plain(&vectors), 2).unwrap_err().code(), Code::NotEmpty, "also of deleted rows");
}

#[test]
fn aborted_in_any_step_the_database_is_empty_and_takes_the_next_build() {
    use asteroid_core::rnn::Phase;
    let vectors = numbers(seed(), 3000 * DIM as usize);
    let steps = [Phase::Prepare, Phase::Descend, Phase::Connect, Phase::Upper, Phase::Order]
        .map(BulkPhase::Graph)
        .into_iter()
        .chain([BulkPhase::Validate, BulkPhase::Vectors, BulkPhase::Store]);
    for step in steps {
        let config = Config::new(DIM, Metric::L2);
        let seen = Seen::new();
        let index = seen.open(config.clone());
        let stop = AtomicBool::new(false);
        let control = Control {
            cancelled: &|| stop.load(Ordering::Relaxed),
            progress: &|done, total| assert!(done <= total),
            ..Control::NONE
        };
        let phase = |now| stop.store(stop.load(Ordering::Relaxed) || now == step, Ordering::Relaxed);
        let error = index.bulk_build(plain(&vectors), &Threads(2), &control, &phase).unwrap_err();
        assert_eq!(error.code(), Code::Aborted, "{step:?}");
        sound(&index, 0, "aborted");
        assert_eq!(nearest(&index, &vectors[..8], 5), []);
        drop(index);
        let index = seen.open(config.clone());
        sound(&index, 0, "aborted and reopened");
        assert_eq!(build(&index, plain(&vectors), 2).unwrap(), 3000, "{step:?}");
        sound(&index, 3000, "built after all");

        let seen = Seen::new();
        let index = seen.open(config);
        stop.store(false, Ordering::Relaxed);
        index.bulk_build(plain(&vectors), &Threads(2), &control, &phase).unwrap_err();
        for n in 0..40u64 {
            index.insert(&Id::from(n), &vectors[n as usize * 8..][..8], None, Mode::Insert).unwrap();
        }
        sound(&index, 40, "inserted after an abort");
    }
}

fn on_disk(home: Home, disk: &SimDisk) -> Result<Opened> {
    let config = Config::new(DIM, Metric::L2);
    if home != Home::Bytes {
        return OnDisk { home, config, durability: Durability::Buffered, policy: None }.open(disk);
    }
    let stores = Stores {
        kv: Arc::new(RedbKv::open(disk.open("graph.redb"), 1 << 20, false)?),
        vectors: disk.open("vectors"),
        journal: disk.open("journal"),
    };
    Index::open(stores, config, Options::default()).map(Opened::Bytes)
}

/// Opens what a crash left: nothing, or all `rows`. Either must be sound and take what comes next.
fn recovered(
    home: Home,
    disk: &SimDisk,
    vectors: &[f32],
    must: Option<bool>,
    thorough: bool,
    what: &str,
) -> bool {
    let index = on_disk(home, disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let rows = (vectors.len() / DIM as usize) as u64;
    let whole = index.count().unwrap() > 0;
    assert!(must.is_none_or(|must| must == whole), "{what}: whole is {whole}");
    let query = &vectors[..DIM as usize];
    if !thorough {
        assert_eq!(index.count().unwrap(), if whole { rows } else { 0 }, "{what}");
        assert_eq!(nearest(&index, query, 1).len(), usize::from(whole), "{what}");
        return whole;
    }
    if whole {
        sound(&index, rows, what);
        index.insert(&Id::from(rows), &[0.5; DIM as usize], None, Mode::Insert).unwrap();
        sound(&index, rows + 1, what);
    } else {
        sound(&index, 0, what);
        assert_eq!(build(&index, plain(&vectors[..80 * DIM as usize]), 1).unwrap(), 80, "{what}");
        sound(&index, 80, what);
    }
    assert_eq!(nearest(&index, query, 1), [Id::from(0)], "{what}");
    whole
}

/// A build on a disk: the operations before it began and when it had returned.
fn built_on(home: Home, disk: &SimDisk, vectors: &[f32], threads: usize) -> (usize, usize) {
    let index = on_disk(home, disk).unwrap();
    let before = disk.ops();
    build(&index, plain(vectors), threads).unwrap();
    let after = disk.ops();
    index.close().unwrap();
    (before, after)
}

#[test]
fn a_crash_at_any_moment_leaves_an_empty_database_or_the_whole_one() {
    // The larger one takes several batches of the store, and its cuts are sampled.
    crash_at_any_moment(Home::Bytes, &[(700, usize::MAX), (36_000, 40)]);
}

#[cfg(target_os = "linux")]
fn a_crash_at_any_system_call_leaves_an_empty_database_or_the_whole_one(store: StoreKind) {
    crash_at_any_moment(Home::Files(store), &[(700, 60), (12_000, 8)]);
}

fn crash_at_any_moment(home: Home, sizes: &[(usize, usize)]) {
    let seed = seed();
    for &(rows, cuts) in sizes {
        let vectors = numbers(seed, rows * DIM as usize);
        let disk = SimDisk::new();
        let (before, after) = built_on(home, &disk, &vectors, 2);
        let stride = ((disk.ops() - before) / cuts).max(1);
        let (mut empty, mut whole) = (0, 0);
        for (i, n) in (before..=disk.ops()).step_by(stride).chain([after, disk.ops()]).enumerate() {
            let must = (n >= after).then_some(true);
            let thorough = rows < 1000 || i % 8 == 0;
            let what = |kind: &str| format!("{rows} rows, {kind} at {n} ({})", disk.describe(n));
            let mut count = |found: bool| if found { whole += 1 } else { empty += 1 };
            count(recovered(home, &disk.after_kill(n), &vectors, must, thorough, &what("kill")));
            count(recovered(
                home,
                &disk.after_kill_inside(n, seed),
                &vectors,
                must,
                thorough,
                &what("kill inside"),
            ));
            for pick in 0..2 {
                let cut = disk.after_power_cut(n, seed.wrapping_add(pick));
                count(recovered(home, &cut, &vectors, must, thorough, &what("power cut")));
            }
        }
        println!("{home:?}: {rows} rows, {} operations: {empty} empty, {whole} whole", disk.ops());
        assert!(empty > 0 && whole > 0);
    }
}

#[test]
fn a_failing_disk_gives_its_error_and_leaves_an_empty_database() {
    fail_at_any_moment(Home::Bytes, &[(700, usize::MAX), (36_000, 12)]);
}

#[cfg(target_os = "linux")]
fn a_failing_system_call_gives_its_error_and_leaves_an_empty_database(store: StoreKind) {
    fail_at_any_moment(Home::Files(store), &[(700, 8)]);
}

#[cfg(target_os = "linux")]
over_stores!(
    a_crash_at_any_system_call_leaves_an_empty_database_or_the_whole_one,
    a_failing_system_call_gives_its_error_and_leaves_an_empty_database,
);

fn fail_at_any_moment(home: Home, sizes: &[(usize, usize)]) {
    let seed = seed();
    // With two threads the vectors are made durable while the graph is stored: either may fail alone.
    for (&(rows, runs), threads) in sizes.iter().flat_map(|size| [(size, 1), (size, 2)]) {
        let vectors = numbers(seed, rows * DIM as usize);
        let whole = SimDisk::new();
        let (before, after) = built_on(home, &whole, &vectors, threads);
        // From here on all rows are there, and what can still fail is making sure of it.
        let is_whole = |n: &usize| on_disk(home, &whole.after_kill(*n)).unwrap().count().unwrap() > 0;
        let commit = (before..=after).rev().take_while(is_whole).last().unwrap();
        let mut failed = 0;
        for n in (before..after).step_by(((after - before) / runs).max(1)) {
            for (code, once) in [(Code::StorageFull, false), (Code::Io, true)] {
                let disk = SimDisk::new();
                let index = on_disk(home, &disk).unwrap();
                disk.fail_at(n, code, once);
                let what = format!(
                    "{rows} rows, {threads} threads, operation {n} ({}) fails with {code:?}",
                    whole.describe(n)
                );
                let Err(error) = build(&index, plain(&vectors), threads) else { continue };
                assert_eq!(error.code(), code, "{what}: {error}");
                failed += 1;
                assert_eq!(index.count().unwrap(), 0, "{what}");
                disk.heal();
                // Going on is either possible or refused by name.
                match index.insert(&Id::from(1), &vectors[..DIM as usize], None, Mode::Insert) {
                    Ok(()) => sound(&index, 1, &what),
                    Err(error) => {
                        assert_eq!(error.code(), Code::Poisoned, "{what}: {error}");
                        let at = disk.ops();
                        drop(index);
                        // RocksDB's own threads do not count alike twice.
                        let alike = home == Home::Bytes;
                        let must = (alike && n + 1 < commit).then_some(false);
                        recovered(home, &disk.after_kill(at), &vectors, must, true, &what);
                        recovered(home, &disk.after_power_cut(at, seed), &vectors, must, true, &what);
                    }
                }
            }
        }
        println!("{home:?}: {rows} rows, {threads} threads, {failed} failed builds");
        assert!(failed > 0);
    }
}
