//! One stage of `npm run bench:stores`, in a process of its own: takes the task as JSON, prints what it found as JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod place;
mod rows;
mod watch;

use asteroid_core::kv::{Space, slot_key};
use asteroid_core::{Control, Id, LinkPolicy, Mode, Pool, Rows, SearchParams};
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::Rng;
use place::Place;
use rows::{BATCH, Data, K};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use watch::{Sampler, cpu, disk_writes};

/// What to do.
pub(crate) struct Task {
    rocksdb: bool,
    policy: LinkPolicy,
    dir: std::path::PathBuf,
    cache: u64,
    /// Vectors mapped, so that the budget is all for links: what differs is then the store.
    mapped: bool,
    rows: usize,
    queries: usize,
    /// Per query, how far its tenth neighbour is, squared.
    truth: Vec<f32>,
}

impl Task {
    fn from(told: &Value) -> Task {
        let number = |name: &str| told[name].as_u64().unwrap_or(0);
        let policy = told["policy"].as_str().unwrap_or("eager");
        let truth = told["truth"].as_array().map_or(&[][..], Vec::as_slice);
        Task {
            rocksdb: told["store"] == "rocksdb",
            policy: LinkPolicy::ALL.into_iter().find(|known| known.name() == policy).unwrap(),
            dir: told["dir"].as_str().unwrap_or_default().into(),
            cache: number("cache"),
            mapped: told["mapped"] == true,
            rows: number("rows") as usize,
            queries: number("queries") as usize,
            truth: truth.iter().map(|d| d.as_f64().unwrap() as f32).collect(),
        }
    }
}

fn main() {
    let told: Value = serde_json::from_str(&std::env::args().nth(1).expect("a task as JSON")).unwrap();
    let task = Task::from(&told);
    let found = match told["stage"].as_str().unwrap_or_default() {
        "truth" => rows::truth(task.rows, task.queries),
        "fill" => fill(&task),
        "churn" => churn(&task),
        "search" => search(&task),
        "mixed" => mixed(&task),
        "bulk" => bulk(&task),
        other => panic!("there is no stage {other}"),
    };
    println!("{found}");
}

/// The pool of an insert, which asks it once to check the rows and then to search for candidates and choose neighbours among
/// them, to prune lists, and to gather what a checkpoint writes. How long that took.
struct Planning {
    threads: Threads,
    asked: AtomicU64,
    nanos: AtomicU64,
}

impl Planning {
    fn new() -> Planning {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Planning { threads: Threads::new(threads), asked: AtomicU64::default(), nanos: Default::default() }
    }

    /// Seconds spent with that.
    fn seconds(&self) -> f64 {
        self.nanos.load(Relaxed) as f64 / 1e9
    }
}

impl Pool for Planning {
    fn threads(&self) -> usize {
        self.threads.threads()
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        let began = Instant::now();
        self.threads.for_each(n, job);
        if self.asked.fetch_add(1, Relaxed) > 0 {
            self.nanos.fetch_add(began.elapsed().as_nanos() as u64, Relaxed);
        }
    }
}

/// How many searches are timed together, and how often in the course of a tenth.
const QUERIES: usize = 500;
const SAMPLES: usize = 5;

fn insert(place: &Place, pool: &Planning, first: u64, vectors: &[f32]) {
    pool.asked.store(0, Relaxed);
    let count = (vectors.len() / place.index.config().dim as usize) as u64;
    let ids: Vec<Id> = (first..first + count).map(Id::from).collect();
    let rows = Rows { ids: Some(&ids), vectors, payloads: &[] };
    place.index.insert_many(rows, Mode::Insert, pool, &Control::NONE).unwrap();
}

/// Seconds of one search as inserts do it, by the same threads: of queries, which no row is.
fn searching(place: &Place, pool: &Threads, queries: &Data) -> f64 {
    let ef_search = place.index.config().ef_construction as usize;
    let params = SearchParams { k: 1, ef_search, ..SearchParams::default() };
    let began = Instant::now();
    place.index.search_many(&queries.queries, &params, pool, &Control::NONE).unwrap();
    began.elapsed().as_secs_f64() / queries.count as f64
}

/// All rows into a new database, by tenths, in the course of which searches are timed.
fn fill(task: &Task) -> Value {
    let place = Place::open(task);
    let pool = Planning::new();
    let sampler = Sampler::start();
    let base = sampler.take();
    let mut tenths = Vec::new();
    let (began, cpu_before, disk_before) = (Instant::now(), cpu(), disk_writes());
    let (mut last, mut planned, mut used, mut stored) = (began, 0.0, cpu_before, 0.0);
    let queries = Data::queries(QUERIES);
    let mut first = 0;
    for tenth in 1..=10 {
        let end = task.rows * tenth / 10;
        let begin = first;
        let mut search = Vec::new();
        let (mut away, mut idle) = (0.0, 0.0);
        while first < end {
            if (first - begin) * 2 * SAMPLES >= (end - begin) * (2 * search.len() + 1) {
                let (began, before) = (Instant::now(), cpu());
                search.push(searching(&place, &pool.threads, &queries));
                away += began.elapsed().as_secs_f64();
                idle += cpu() - before;
            }
            let count = BATCH.min(end - first);
            insert(&place, &pool, first as u64, &rows::slice(first, count));
            first += count;
        }
        let (own, all) = sampler.take();
        let (plan, now, storing) = (pool.seconds(), cpu(), place.applying());
        tenths.push(json!({
            "rows": end - begin,
            "seconds": last.elapsed().as_secs_f64() - away,
            "search": search.iter().sum::<f64>() / search.len().max(1) as f64 * (end - begin) as f64,
            "together": plan - planned,
            "storing": storing - stored,
            "cpu": now - used - idle,
            "anon": own,
            "rss": all,
            "lists": place.asked.lists.load(Relaxed),
            "checkpoints": place.asked.batches.load(Relaxed),
        }));
        (last, planned, used, stored) = (Instant::now(), plan, now, storing);
    }
    let seconds = began.elapsed().as_secs_f64();
    let stats = place.index.stats().unwrap();
    let done = place.finish();
    json!({
        "rows": task.rows,
        "seconds": seconds,
        "settled": began.elapsed().as_secs_f64(),
        "cpu": cpu() - cpu_before,
        "base": [base.0, base.1],
        "tenths": tenths,
        "stats": {
            "adjacency": stats.adjacency_bytes,
            "vectors": stats.vector_bytes,
            "codes": stats.code_bytes,
            "kv": stats.kv_bytes,
            "upper": stats.upper_bytes,
            "tables": stats.table_bytes,
        },
        "done": done,
        "process": disk_writes() - disk_before,
    })
}

/// A fifth of the rows deleted and as many inserted, by turns.
fn churn(task: &Task) -> Value {
    let place = Place::open(task);
    let pool = Planning::new();
    let gone = rows::gone(task.rows);
    let (began, cpu_before, disk_before) = (Instant::now(), cpu(), disk_writes());
    for (batch, first) in gone.chunks(BATCH).zip((task.rows as u64..).step_by(BATCH)) {
        let ids: Vec<Id> = batch.iter().map(|&row| Id::from(row as u64)).collect();
        assert_eq!(place.index.delete_many(&ids).unwrap(), ids.len() as u64);
        let vectors: Vec<f32> = batch.iter().flat_map(|&row| rows::replacement(row)).collect();
        insert(&place, &pool, first, &vectors);
    }
    let seconds = began.elapsed().as_secs_f64();
    let done = place.finish();
    json!({
        "rows": gone.len(),
        "seconds": seconds,
        "settled": began.elapsed().as_secs_f64(),
        "planning": pool.seconds(),
        "cpu": cpu() - cpu_before,
        "done": done,
        "process": disk_writes() - disk_before,
    })
}

/// All queries one after another, twice: the first pass fills the caches, and what folding it asks for is waited for. Then
/// point reads.
fn search(task: &Task) -> Value {
    let place = Place::open(task);
    place.settle();
    let data = Data::queries(task.queries);
    let params = SearchParams { k: K, ..SearchParams::default() };
    let pass = || {
        let mut found = 0;
        for (query, &farthest) in data.chunks().zip(&task.truth) {
            let hits = place.index.search(query, &params, &Control::NONE).unwrap();
            // Sums of squares of small integers are exact; the root that a hit carries is not.
            let near = |distance: f32| distance * distance <= farthest * 1.000_01 + 0.01;
            found += hits.iter().filter(|hit| near(hit.distance)).count().min(K);
        }
        found as f64 / (task.truth.len() * K) as f64
    };
    pass();
    place.settle();
    let (lists, nanos) = (place.asked.lists.load(Relaxed), place.asked.nanos.load(Relaxed));
    let (began, cpu_before) = (Instant::now(), cpu());
    let recall = pass();
    let (seconds, used) = (began.elapsed().as_secs_f64(), cpu() - cpu_before);
    let read = place.asked.lists.load(Relaxed) - lists;
    let reading = place.asked.nanos.load(Relaxed) - nanos;
    const READS: usize = 20_000;
    let mut rng = Rng::new(3);
    let view = place.kv.view().unwrap();
    let mut bytes = 0;
    let mut rounds: Vec<f64> = (0..6)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..READS {
                let key = slot_key(rng.below(task.rows as u64) as u32);
                view.get(Space::Links, &key, &mut |value| bytes += value.len()).unwrap();
            }
            began.elapsed().as_secs_f64() * 1e6 / READS as f64
        })
        .collect();
    // The first round fills the store's own cache.
    rounds.remove(0);
    rounds.sort_by(f64::total_cmp);
    drop(view);
    json!({
        "perSecond": data.count as f64 / seconds,
        "cpu": used * 1e6 / data.count as f64,
        "recall": recall,
        "lists": read as f64 / data.count as f64,
        "listMicros": reading as f64 / 1e3 / read.max(1) as f64,
        "pointRead": rounds[rounds.len() / 2],
        "listBytes": bytes as f64 / (6 * READS) as f64,
        "done": place.finish(),
    })
}

/// Searches with a few writes between them: the readers' ground.
fn mixed(task: &Task) -> Value {
    const ROUNDS: usize = 20;
    let place = Place::open(task);
    let pool = Planning::new();
    place.settle();
    let data = Data::queries(task.queries);
    let params = SearchParams { k: K, ..SearchParams::default() };
    let gone = rows::gone(task.rows);
    let (count, fresh) = ((task.rows / 1000).max(10), task.rows as u64 + gone.len() as u64);
    let (mut searching, mut writing, mut last) = (0.0, 0.0, 0.0);
    let mut queries = data.chunks().cycle();
    let per_round = task.queries / 4;
    for round in 0..ROUNDS {
        // Rows near ones that stayed.
        let vectors: Vec<f32> =
            (0..count).flat_map(|i| rows::replacement(gone[(round * count + i) % gone.len()] ^ 1)).collect();
        let began = Instant::now();
        insert(&place, &pool, fresh + (round * count) as u64, &vectors);
        writing += began.elapsed().as_secs_f64();
        let began = Instant::now();
        for query in queries.by_ref().take(per_round) {
            place.index.search(query, &params, &Control::NONE).unwrap();
        }
        last = began.elapsed().as_secs_f64();
        searching += last;
    }
    json!({
        "searchesPerSecond": (ROUNDS * per_round) as f64 / searching,
        "lastPerSecond": per_round as f64 / last,
        "insertsPerSecond": (ROUNDS * count) as f64 / writing,
        "inserts": ROUNDS * count,
        "lists": place.asked.lists.load(Relaxed),
        "checkpoints": place.asked.batches.load(Relaxed),
        "done": place.finish(),
    })
}

/// The one-pass build of all rows.
fn bulk(task: &Task) -> Value {
    let place = Place::open(task);
    let pool = Threads::new(std::thread::available_parallelism().map_or(1, usize::from));
    let vectors = rows::slice(0, task.rows);
    let (began, disk_before) = (Instant::now(), disk_writes());
    let storing = std::sync::Mutex::new(began);
    let rows = Rows { ids: None, vectors: &vectors, payloads: &[] };
    let phase = |phase| {
        if phase == asteroid_core::BulkPhase::Store {
            *storing.lock().unwrap() = Instant::now();
        }
    };
    place.index.bulk_build(rows, &pool, &Control::NONE, &phase).unwrap();
    let (seconds, storing) = (began.elapsed().as_secs_f64(), storing.lock().unwrap().elapsed());
    json!({
        "seconds": seconds,
        "storing": storing.as_secs_f64(),
        "done": place.finish(),
        "process": disk_writes() - disk_before,
    })
}
