//! Prints what months of inserts and deletes do to an index; `npm run bench:churn` adds a peer on the same trace and draws it.
//!
//! Two protocols on `sift-photos`. `grow`: 50 epochs, each of which inserts 0.9 % of the first rows and deletes 0.1 %.
//! `replace`: 50 epochs, each of which replaces 4 % of the rows, so that every row is replaced twice. Every ten epochs
//! the index is compared with one built of the same rows by inserting them, and with exact answers.
//!
//! Arguments: `--rows N` (100,000), `--queries N` (500), `--epochs N` (50), `--only grow` or `replace`, `--out FOLDER` for
//! what was done and found, to be done again by others: see `Out`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use asteroid_core::*;
use asteroid_native_storage::{Database, Place, open};
use asteroid_tests::data::sift_photos;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::Rng;
use rayon::prelude::*;
use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const K: usize = 10;
const DIM: usize = 128;
/// Rows of one call.
const CALL: usize = 256;

struct Arguments {
    rows: usize,
    queries: usize,
    epochs: usize,
    only: Option<String>,
    out: Option<PathBuf>,
}

impl Arguments {
    fn read() -> Arguments {
        let mut arguments = Arguments { rows: 100_000, queries: 500, epochs: 50, only: None, out: None };
        let mut given = std::env::args().skip(1);
        while let Some(name) = given.next() {
            let value = given.next().unwrap_or_else(|| panic!("{name} needs a value"));
            let number = || value.parse().unwrap_or_else(|_| panic!("{name} {value}: not a number"));
            match name.as_str() {
                "--rows" => arguments.rows = number(),
                "--queries" => arguments.queries = number(),
                "--epochs" => arguments.epochs = number(),
                "--only" => arguments.only = Some(value),
                "--out" => arguments.out = Some(value.into()),
                _ => panic!("unknown argument {name}: --rows, --queries, --epochs, --only, --out"),
            }
        }
        arguments
    }
}

/// What a run leaves for others, in little-endian words: `trace`, for each epoch how many rows were deleted, which, how
/// many were inserted, which; `truth`, the nearest rows of each query at each look, by number; and `ours`, a line of
/// JSON for each look.
#[derive(Default)]
struct Out {
    trace: Vec<u32>,
    truth: Vec<u32>,
    ours: String,
}

impl Out {
    fn did(&mut self, rows: &[usize]) {
        self.trace.push(rows.len() as u32);
        self.trace.extend(rows.iter().map(|&row| row as u32));
    }

    fn found(&mut self, epoch: usize, rows: u64, truth: &[HashSet<u64>], figures: &[Figures; 2]) {
        for nearest in truth {
            let mut nearest: Vec<u32> = nearest.iter().map(|&row| row as u32).collect();
            nearest.sort_unstable();
            self.truth.extend(nearest);
        }
        let json = |f: &Figures| {
            format!(
                "{{\"recall\":{},\"us\":{},\"memory\":{},\"disk\":{}}}",
                f.recall, f.search, f.memory, f.disk
            )
        };
        let [old, new] = figures;
        self.ours += &format!(
            "{{\"epoch\":{epoch},\"rows\":{rows},\"churned\":{},\"fresh\":{}}}\n",
            json(old),
            json(new)
        );
    }

    fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        fs::write(folder.join("trace"), bytes(&self.trace)).unwrap();
        fs::write(folder.join("truth"), bytes(&self.truth)).unwrap();
        fs::write(folder.join("ours"), &self.ours).unwrap();
    }
}

/// An index and the rows that it holds, by id: positions in the data.
struct Churned<'a> {
    base: &'a [f32],
    database: Database,
    live: Vec<usize>,
    /// Rows to insert, in this order; deleted ones come again when all others were there.
    waiting: VecDeque<usize>,
    pool: Threads,
    writing: Duration,
    tidying: Duration,
    longest: Duration,
    out: Out,
}

fn vector(base: &[f32], row: usize) -> &[f32] {
    &base[row * DIM..][..DIM]
}

fn open_at(dir: &Path, reinit: bool) -> Database {
    let request =
        OpenRequest { dim: Some(DIM as u32), metric: Some(Metric::L2), reinit, ..OpenRequest::default() };
    open(&Place { dir: dir.join("db"), vector_file: None }, &request).unwrap()
}

fn reopened(database: Database, dir: &Path) -> Database {
    database.index.close().unwrap();
    drop(database);
    open_at(dir, false)
}

fn insert(index: &Index, pool: &Threads, base: &[f32], rows: &[usize]) {
    for rows in rows.chunks(CALL) {
        let ids: Vec<Id> = rows.iter().map(|&row| Id::from(row as u64)).collect();
        let vectors: Vec<f32> = rows.iter().flat_map(|&row| vector(base, row)).copied().collect();
        let rows = Rows { ids: Some(&ids), vectors: &vectors, payloads: &[] };
        index.insert_many(rows, Mode::Insert, pool, &Control::NONE).unwrap();
    }
}

impl Churned<'_> {
    fn insert(&mut self, count: usize) {
        let rows: Vec<usize> = self.waiting.drain(..count).collect();
        let began = Instant::now();
        insert(&self.database.index, &self.pool, self.base, &rows);
        self.writing += began.elapsed();
        self.out.did(&rows);
        self.live.extend(rows);
    }

    fn delete(&mut self, count: usize, rng: &mut Rng) {
        let mut gone = || self.live.swap_remove(rng.below(self.live.len() as u64) as usize);
        let gone: Vec<usize> = (0..count).map(|_| gone()).collect();
        let ids: Vec<Id> = gone.iter().map(|&row| Id::from(row as u64)).collect();
        self.out.did(&gone);
        self.waiting.extend(gone);
        let began = Instant::now();
        for ids in ids.chunks(CALL) {
            assert_eq!(self.database.index.delete_many(ids).unwrap(), ids.len() as u64);
        }
        self.writing += began.elapsed();
    }

    /// What a host does while no write waits.
    fn tidy(&mut self) {
        loop {
            let began = Instant::now();
            let more = self.database.index.tidy(&Control::NONE).unwrap();
            let took = began.elapsed();
            self.tidying += took;
            self.longest = self.longest.max(took);
            if !more {
                return;
            }
        }
    }
}

/// The exact nearest live rows of each query.
fn truth(base: &[f32], live: &[usize], queries: &[f32]) -> Vec<HashSet<u64>> {
    let of = |query: &[f32]| {
        let apart =
            |row: usize| -> f32 { vector(base, row).iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum() };
        let mut all: Vec<(f32, usize)> = live.iter().map(|&row| (apart(row), row)).collect();
        all.select_nth_unstable_by(K, |a, b| a.0.total_cmp(&b.0));
        all[..K].iter().map(|&(_, row)| row as u64).collect()
    };
    queries.par_chunks_exact(DIM).map(of).collect()
}

struct Figures {
    recall: f64,
    /// Microseconds.
    search: f64,
    memory: u64,
    disk: u64,
}

/// Both indexes take turns, so that whatever else the machine does slows both; each keeps its best round.
fn measure(indexes: [&Index; 2], queries: &[f32], truth: &[HashSet<u64>]) -> [Figures; 2] {
    let params = SearchParams { k: K, ef_search: 64, ..SearchParams::default() };
    let mut figures = indexes.map(|_| Figures { recall: 0.0, search: f64::INFINITY, memory: 0, disk: 0 });
    for _ in 0..5 {
        for (index, figures) in indexes.iter().zip(&mut figures) {
            let mut found = 0;
            let began = Instant::now();
            let hits: Vec<Vec<Hit>> = queries
                .chunks_exact(DIM)
                .map(|query| index.search(query, &params, &Control::NONE).unwrap())
                .collect();
            let took = began.elapsed().as_secs_f64() * 1e6 / truth.len() as f64;
            for (hits, truth) in hits.iter().zip(truth) {
                found +=
                    hits.iter().filter(|hit| matches!(hit.id, Id::Num(id) if truth.contains(&id))).count();
            }
            figures.search = figures.search.min(took);
            figures.recall = found as f64 / (K * truth.len()) as f64;
            let stats = index.stats().unwrap();
            // Without the store's own cache, which is as large as it may be.
            figures.memory = stats.adjacency_bytes
                + stats.vector_bytes
                + stats.code_bytes
                + stats.upper_bytes
                + stats.table_bytes;
            figures.disk = stats.vector_file_bytes + stats.kv_file_bytes + stats.journal_bytes;
        }
    }
    figures
}

fn run(name: &str, arguments: &Arguments, base: &[f32], queries: &[f32]) {
    let rows = arguments.rows;
    let dir = tempfile::tempdir().unwrap();
    let mut churned = Churned {
        base,
        database: open_at(dir.path(), true),
        live: Vec::new(),
        waiting: (0..base.len() / DIM).collect(),
        pool: Threads::new(2),
        writing: Duration::ZERO,
        tidying: Duration::ZERO,
        longest: Duration::ZERO,
        out: Out::default(),
    };
    let mut rng = Rng::new(1);
    churned.out.did(&[]);
    churned.insert(rows);
    println!(
        "{name}: {rows} rows, efSearch 64, recall@{K} of {} queries; fresh in brackets",
        arguments.queries
    );
    println!("epoch      rows  dead  free   recall            us/search         memory MB         disk MB");
    for epoch in 0..=arguments.epochs {
        if epoch > 0 {
            let (inserted, deleted) = if name == "grow" { (9, 1) } else { (40, 40) };
            churned.delete(rows * deleted / 1000, &mut rng);
            churned.insert(rows * inserted / 1000);
            churned.tidy();
        }
        if epoch % 10 > 0 {
            continue;
        }
        let fresh_dir = tempfile::tempdir().unwrap();
        let fresh = open_at(fresh_dir.path(), true);
        insert(&fresh.index, &churned.pool, base, &churned.live);
        // Both opened anew: what waits for a checkpoint, which is bounded, is in neither.
        let fresh = reopened(fresh, fresh_dir.path());
        churned.database = reopened(churned.database, dir.path());
        let truth = truth(base, &churned.live, queries);
        let figures = measure([&churned.database.index, &fresh.index], queries, &truth);
        let stats = churned.database.index.stats().unwrap();
        churned.out.found(epoch, stats.rows, &truth, &figures);
        let [old, new] = figures;
        let mb = |bytes: u64| bytes as f64 / 1e6;
        println!(
            "{epoch:>5} {:>9} {:>5} {:>5}   {:.4} [{:.4}] {:+.4}  {:>5.0} [{:>5.0}] {:.2}  {:>5.1} [{:>5.1}] {:.2}  {:>6.1} [{:>6.1}] {:.2}",
            stats.rows,
            stats.tombstones,
            stats.free_slots,
            old.recall,
            new.recall,
            old.recall - new.recall,
            old.search,
            new.search,
            old.search / new.search,
            mb(old.memory),
            mb(new.memory),
            mb(old.memory) / mb(new.memory),
            mb(old.disk),
            mb(new.disk),
            mb(old.disk) / mb(new.disk),
        );
    }
    if let Some(folder) = &arguments.out {
        churned.out.write(&folder.join(name));
    }
    let report = churned.database.index.check(&Control::NONE).unwrap();
    assert!(report.problems.is_empty(), "{:?}", &report.problems[..report.problems.len().min(5)]);
    println!(
        "{name}: {:.1} s of writes, {:.1} s of sweeps beside them (longest step {:.1} ms), check() finds nothing wrong",
        churned.writing.as_secs_f64(),
        churned.tidying.as_secs_f64(),
        churned.longest.as_secs_f64() * 1e3
    );
}

fn main() {
    let arguments = Arguments::read();
    // Half of them to begin with; there are 200,000.
    let Some(data) = sift_photos(2 * arguments.rows, arguments.queries) else { return };
    assert_eq!(data.dim, DIM);
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder).unwrap();
        for (name, numbers) in [("base", &data.base), ("queries", &data.queries)] {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for name in ["grow", "replace"] {
        if arguments.only.as_deref().is_none_or(|only| only == name) {
            run(name, &arguments, &data.base, &data.queries);
        }
    }
}
