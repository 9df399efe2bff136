//! The real thing: a child process writes to real files until it is killed.
//!
//! Parent and child draw the same calls from the same seed, so the child only says how many it has seen acknowledged.

use crate::model_on_disk::open_at;
use asteroid_core::{Config, Durability, Metric, Options, StoreKind, VectorStorage};
use asteroid_native_storage::{Database, Place};
use asteroid_tests::filters::assert_filters_agree;
use asteroid_tests::model::{Model, Write, assert_sound, model_of, run};
use asteroid_tests::over_stores;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::stores::named;
use asteroid_tests::workload::{self, Shape};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DIR: &str = "ASTEROID_KILL_DIR";
const NEXT_ID: &str = "ASTEROID_KILL_NEXT_ID";
const KIND: &str = "ASTEROID_KILL_KIND";
const STORE: &str = "ASTEROID_KILL_STORE";
const SHAPE: Shape = Shape { dim: 12, metric: Metric::L2, rows: 900, most: 400, wrong: 4 };
const KINDS: usize = 4;

fn open_kind(dir: &Path, store: StoreKind, kind: usize) -> asteroid_core::Result<Database> {
    let vector_storage = if kind.is_multiple_of(2) { VectorStorage::Paged } else { VectorStorage::Flat };
    // Dirty lists are counted in room for caps: a large one brings checkpoints into the midst of large calls.
    let config = Config {
        m: 6,
        m_max: 8,
        m_max0: 512,
        ef_construction: 24,
        vector_storage,
        ..Config::new(SHAPE.dim as u32, SHAPE.metric)
    };
    let options = Options {
        cache_bytes: 4 << 20,
        paged_max_cached_pages: Some(4),
        durability: if kind < 2 { Durability::Buffered } else { Durability::Sync },
        ..Options::default()
    };
    open_at(&Place { dir: dir.to_path_buf(), vector_file: None }, store, &config, options)
}

/// How often a child is killed per kind: `ASTEROID_KILLS`, 20 unless set.
fn rounds() -> usize {
    std::env::var("ASTEROID_KILLS").map_or(20, |kills| kills.parse().unwrap())
}

fn draw(rng: &mut Rng, model: &Model) -> Write {
    if rng.chance(15) {
        return workload::rows(rng, &SHAPE, asteroid_core::Mode::Upsert, SHAPE.most);
    }
    workload::write(rng, &SHAPE, model)
}

/// Not a test: what the killed process runs.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let number = |name: &str| -> u64 { std::env::var(name).unwrap().parse().unwrap() };
    let mut out = std::io::stdout();
    let store = named(&std::env::var(STORE).unwrap());
    let database = open_kind(Path::new(&dir), store, number(KIND) as usize).unwrap();
    let mut model = model_of(&database.index).unwrap();
    model.next_id = number(NEXT_ID);
    let mut rng = Rng::new(number("ASTEROID_SEED"));
    let pool = Threads::new(2);
    writeln!(out, "\nready").unwrap();
    for at in 0.. {
        let write = draw(&mut rng, &model);
        let want = model.apply(&write);
        match run(&database.index, &write, &pool) {
            Ok(count) if want == Ok(count) => {}
            Err(error) if want == Err(error.code()) => {}
            other => {
                writeln!(out, "wrong {at}: {want:?}, but {other:?}").unwrap();
                return;
            }
        }
        writeln!(out, "ack {at}").unwrap();
        out.flush().unwrap();
    }
}

over_stores!(what_a_killed_process_saw_acknowledged_is_there);

fn what_a_killed_process_saw_acknowledged_is_there(store: StoreKind) {
    let began = Instant::now();
    let seed = seed();
    let mut rng = Rng::new(seed);
    let (mut acknowledged, mut kept, mut dropped, mut early) = (0, 0, 0, 0);
    for kind in 0..KINDS {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("db");
        let mut model = Model::new(SHAPE.dim, SHAPE.metric);
        for round in 0..rounds() {
            let round_seed = rng.word();
            let what = format!("ASTEROID_SEED={seed} {store:?} kind {kind} round {round}");
            let delay = Duration::from_micros(if rng.chance(20) {
                rng.below(60_000)
            } else {
                40_000 + rng.below(400_000)
            });
            let (ready, acks) = run_and_kill(&dir, store, kind, round_seed, model.next_id, delay, &what);
            early += usize::from(!ready);
            let mut rng = Rng::new(round_seed);
            for _ in 0..acks {
                let write = draw(&mut rng, &model);
                let _ = model.apply(&write);
            }
            acknowledged += acks;
            let mut next = model.clone();
            let write = draw(&mut rng, &next);
            let _ = next.apply(&write);
            let database = open_kind(&dir, store, kind).unwrap_or_else(|error| panic!("{what}: {error}"));
            let print =
                model_of(&database.index).unwrap_or_else(|error| panic!("{what}: {error}")).fingerprint();
            // The call that was under way is there whole or not at all.
            if print != model.fingerprint() && print == next.fingerprint() {
                model = next;
                kept += 1;
            } else if next.fingerprint() != model.fingerprint() {
                dropped += 1;
            }
            model.assert_equals(&database.index, &what);
            assert_sound(&database.index, &what);
            assert_filters_agree(&database.index, &model, &mut rng, &what);
        }
    }
    println!(
        "proof: kill: {store:?}: {} kills, {early} of them before the database was open, {acknowledged} acknowledged calls, calls under way: {kept} kept, {dropped} dropped; {:?}",
        KINDS * rounds(),
        began.elapsed()
    );
    assert!(acknowledged > KINDS * rounds() && dropped > 5, "the child hardly came to write");
}

/// Whether the child had opened the database, and how many calls it had seen acknowledged when it was killed.
fn run_and_kill(
    dir: &Path,
    store: StoreKind,
    kind: usize,
    seed: u64,
    next_id: u64,
    delay: Duration,
    what: &str,
) -> (bool, usize) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--ignored", "--test-threads=1"])
        .env(DIR, dir)
        .env(STORE, store.name())
        .env(KIND, kind.to_string())
        .env(NEXT_ID, next_id.to_string())
        .env("ASTEROID_SEED", seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || lines.map_while(|line| line.ok()).collect::<Vec<String>>());
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = reader.join().unwrap();
    let wrong = lines.iter().find(|line| line.starts_with("wrong") || line.contains("panicked"));
    assert!(wrong.is_none(), "{what}: {wrong:?}");
    // A line may end with the process.
    let acks = lines.iter().filter_map(|line| line.strip_prefix("ack ")?.parse::<usize>().ok());
    let acks: Vec<usize> = acks.collect();
    (lines.iter().any(|line| line == "ready"), acks.len())
}
