//! The stores on disk against crashes and faults, and redb against damage; `rocks.rs` damages the other one.

use asteroid_core::kv::{Batch, Kv, MemKv, Op, Range, Space, links};
use asteroid_core::{Code, Result};
use asteroid_native_storage::RedbKv;
use asteroid_tests::kv::{Entries, dump};
use asteroid_tests::pool::side_by_side;
use asteroid_tests::quiet::{panics, quiet, said};
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::sim::SimDisk;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const FILE: &str = "graph.redb";
/// Where each batch leaves its number.
const SEQ: &[u8] = b"seq";

/// One thing a workload does.
enum Step {
    Apply(Batch),
    Sync,
    Compact,
}

/// A seeded run of batches and syncs, and what the store holds after each batch.
struct Workload {
    steps: Vec<Step>,
    states: Vec<Vec<Entries>>,
}

fn workload(seed: u64, batches: u64) -> Workload {
    let mut rng = Rng::new(seed);
    let model = MemKv::default();
    let mut steps = Vec::new();
    let mut states = vec![dump(&*model.view().unwrap()).unwrap()];
    for number in 1..=batches {
        let mut batch = Batch::default();
        batch.put(Space::Meta, SEQ, number.to_be_bytes());
        for _ in 0..rng.below(30) {
            let key = (rng.below(400) as u32).to_be_bytes();
            let space = Space::ALL[rng.below(8) as usize];
            batch.push(match (rng.below(20), space) {
                (0, _) => Op::DeleteRange(space, Range::between(key, (rng.below(400) as u32).to_be_bytes())),
                (1..4, _) => Op::Delete(space, key.into()),
                (_, Space::Links) => {
                    let mut operand = Vec::new();
                    (0..4).for_each(|_| links::put_add(&mut operand, rng.below(1000) as u32));
                    Op::Merge(space, key.into(), operand.into())
                }
                _ => {
                    let len = if rng.chance(5) { rng.below(20_000) } else { rng.below(200) };
                    Op::Put(space, key.into(), rng.bytes(len as usize).into())
                }
            });
        }
        // A range may have swallowed it.
        batch.put(Space::Meta, SEQ, number.to_be_bytes());
        model.apply(&batch).unwrap();
        states.push(dump(&*model.view().unwrap()).unwrap());
        steps.push(Step::Apply(batch));
        if rng.chance(25) {
            steps.push(Step::Sync);
        }
        if rng.chance(8) {
            steps.push(Step::Compact);
        }
    }
    Workload { steps, states }
}

/// A store on a simulated disk.
#[derive(Clone, Copy, Debug)]
enum On {
    /// redb in one file, with a cache of so many bytes.
    Redb(u64),
    /// RocksDB in a directory whose system calls are recorded.
    #[cfg(all(feature = "rocksdb", target_os = "linux"))]
    RocksDb,
}

/// An open one; what records it goes last, as closing writes.
struct Store {
    kv: Box<dyn Kv>,
    #[cfg(target_os = "linux")]
    _watched: Option<crate::syscalls::Watched>,
}

impl On {
    fn open(self, disk: &SimDisk) -> Result<Store> {
        match self {
            On::Redb(cache) => Ok(Store {
                kv: Box::new(RedbKv::open(disk.open(FILE), cache, false)?),
                #[cfg(target_os = "linux")]
                _watched: None,
            }),
            #[cfg(all(feature = "rocksdb", target_os = "linux"))]
            On::RocksDb => {
                let watched = crate::syscalls::Watched::new(disk);
                let kv = asteroid_native_storage::RocksKv::open(watched.path(), 1 << 20, false)?;
                Ok(Store { kv: Box::new(kv), _watched: Some(watched) })
            }
        }
    }
}

/// What a run on a disk came to.
struct Run {
    /// (operations done, batches durable by then), ascending.
    durable: Vec<(usize, u64)>,
    outcome: Result<()>,
}

/// Runs `workload`; `finish` decides about the open store at the end.
fn run(workload: &Workload, disk: &SimDisk, on: On, finish: impl FnOnce(Store, Option<&Step>)) -> Run {
    let mut durable = vec![(0, 0)];
    let store = match on.open(disk) {
        Ok(store) => store,
        Err(error) => return Run { durable, outcome: Err(error) },
    };
    let (mut outcome, mut failed) = (Ok(()), None);
    for step in &workload.steps {
        let done = match step {
            Step::Apply(batch) => store.kv.apply(batch).map(drop),
            Step::Sync => store.kv.sync(u64::MAX).map(drop),
            Step::Compact => store.kv.compact(),
        };
        durable.push((disk.ops(), store.kv.durable()));
        if let Err(error) = done {
            (outcome, failed) = (Err(error), Some(step));
            break;
        }
    }
    finish(store, failed);
    Run { durable, outcome }
}

/// The state a disk holds, as the number of batches; panics where it is none, or older than `at_least`.
fn check(on: On, disk: &SimDisk, workload: &Workload, at_least: u64, what: &str) -> u64 {
    let store = on.open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = dump(&*store.kv.view().unwrap()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let state = workload.states.iter().position(|state| *state == found);
    let state = state.unwrap_or_else(|| panic!("{what}: the contents are no prefix of the batches")) as u64;
    assert!(state >= at_least, "{what}: {state} batches survived of {at_least} durable ones");
    state
}

/// Every operation instead of a sample of them.
fn full() -> bool {
    std::env::var("ASTEROID_CRASH").is_ok_and(|value| value == "full")
}

#[test]
fn after_any_crash_redb_opens_to_a_prefix_that_holds_every_durable_batch() {
    // The small cache makes redb write pages that no commit names yet.
    for on in [On::Redb(1 << 20), On::Redb(40_000)] {
        crash_everywhere(on, usize::MAX);
    }
}

#[cfg(all(feature = "rocksdb", target_os = "linux"))]
#[test]
fn after_any_crash_rocksdb_opens_to_a_prefix_that_holds_every_durable_batch() {
    crash_everywhere(On::RocksDb, 120);
}

fn crash_everywhere(on: On, places: usize) {
    let seed = seed();
    let (mut kills, mut cuts, mut again) = (0, 0, 0);
    let began = Instant::now();
    let workload = workload(seed, 50);
    let disk = SimDisk::new();
    let ran = run(&workload, &disk, on, |_, _| ());
    ran.outcome.unwrap();
    let stride = if full() { 1 } else { (disk.ops() / places).max(1) };
    let first = Rng::new(seed).below(stride as u64) as usize;
    for n in (first..=disk.ops()).step_by(stride) {
        let at_least = ran.durable.iter().rev().find(|(ops, _)| *ops <= n).map_or(0, |(_, batches)| *batches);
        let what = |kind: &str| format!("{on:?}, {kind} at {n} ({})", disk.describe(n));
        check(on, &disk.after_kill(n), &workload, at_least, &what("kill"));
        check(on, &disk.after_kill_inside(n, seed), &workload, at_least, &what("kill inside"));
        kills += 2;
        for pick in 0..3 {
            let cut = disk.after_power_cut(n, seed.wrapping_add(pick));
            check(on, &cut, &workload, at_least, &what("power cut"));
            cuts += 1;
            // Losing power again while it recovers must not hurt either.
            if (n / stride).is_multiple_of(7) {
                let at = Rng::new(seed ^ n as u64 ^ pick).below(cut.ops() as u64 + 1) as usize;
                let twice = cut.after_power_cut(at, seed);
                check(on, &twice, &workload, at_least, &what("second power cut"));
                again += 1;
            }
        }
    }
    let ops = disk.ops();
    println!(
        "{on:?}: {ops} operations, {kills} kills, {cuts} power cuts, {again} of them twice, {:?}",
        began.elapsed()
    );
}

#[test]
fn a_failing_disk_gives_its_error_then_poisoned_and_what_was_durable_stays() {
    fail_everywhere(On::Redb(40_000), usize::MAX);
}

#[cfg(all(feature = "rocksdb", target_os = "linux"))]
#[test]
fn a_failing_system_call_gives_its_error_then_poisoned_and_what_was_durable_stays() {
    fail_everywhere(On::RocksDb, 12);
}

fn fail_everywhere(on: On, places: usize) {
    let seed = seed();
    let workload = workload(seed, 30);
    let whole = SimDisk::new();
    run(&workload, &whole, on, |_, _| ()).outcome.unwrap();
    let stride = if full() { 1 } else { (whole.ops() / places).max(1) };
    let (runs, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // After a failure RocksDB's own threads rest for a second.
    let threads = if matches!(on, On::Redb(_)) { 2 } else { 16 };
    side_by_side(threads, (0..whole.ops()).step_by(stride), |n| {
        for (code, once) in [(Code::StorageFull, false), (Code::StorageFull, true), (Code::Io, n % 2 == 0)] {
            let disk = SimDisk::new();
            disk.fail_at(n, code, once);
            let what =
                format!("{on:?}: operation {n} ({}) fails with {code:?}, once: {once}", whole.describe(n));
            let ran = run(&workload, &disk, on, |Store { kv, .. }, failed| {
                let Step::Apply(batch) = &workload.steps[0] else { return };
                // After a compaction without room writing may go on: then nothing is to be written that no state has.
                let none = Batch::default();
                let batch = if matches!(failed, Some(Step::Compact)) { &none } else { batch };
                // A fault that comes only now is still the first one.
                if let Err(error) = kv.apply(batch) {
                    // A compaction without room ends nothing yet: the next write may be the first to say so.
                    let fits = match failed {
                        None => error.code() == code,
                        Some(Step::Compact) => [Code::Poisoned, code].contains(&error.code()),
                        Some(_) => error.code() == Code::Poisoned,
                    };
                    assert!(fits, "{what}: {error}");
                    disk.heal();
                    assert_eq!(kv.apply(batch).unwrap_err().code(), Code::Poisoned, "{what}");
                    assert_eq!(kv.sync(u64::MAX).unwrap_err().code(), Code::Poisoned, "{what}");
                    // Reading either goes on or says why not; a state once shown is never wrong.
                    match kv.view().and_then(|view| dump(&*view)) {
                        Ok(found) => assert!(workload.states.contains(&found), "{what}: a wrong state"),
                        Err(error) => assert_eq!(error.code(), Code::Poisoned, "{what}: {error}"),
                    }
                }
            });
            runs.fetch_add(1, Relaxed);
            if let Err(error) = &ran.outcome {
                assert_eq!(error.code(), code, "{what}: {error}");
                failed.fetch_add(1, Relaxed);
                let at_least = ran.durable.last().map_or(0, |(_, batches)| *batches);
                check(on, &disk.after_kill(disk.ops()), &workload, at_least, &what);
                check(on, &disk.after_power_cut(disk.ops(), seed), &workload, at_least, &what);
            }
        }
    });
    let (runs, failed) = (runs.into_inner(), failed.into_inner());
    println!(
        "proof: store: {on:?}: {failed} of {runs} runs with a fault failed, over {} operations",
        whole.ops()
    );
    assert!(failed > runs / 3);
}

#[test]
fn a_flipped_byte_is_an_error_or_harmless_never_a_panic_or_a_wrong_value() {
    let seed = seed();
    let workload = workload(seed, 40);
    let disk = SimDisk::new();
    let before_close = Cell::new(0);
    let ran = run(&workload, &disk, On::Redb(1 << 20), |Store { kv, .. }, _| {
        kv.sync(u64::MAX).unwrap();
        before_close.set(disk.ops());
    });
    ran.outcome.unwrap();
    let mut rng = Rng::new(seed);
    let (mut flips, mut refused, mut harmless) = (0, 0, 0);
    let before = panics();
    for (image, at) in [("closed", disk.ops()), ("killed", before_close.get())] {
        let sound = disk.after_kill(at);
        let len = asteroid_core::bytes::Bytes::len(&*sound.open(FILE)).unwrap();
        for i in 0..4000u64 {
            // A third of them hits the header's two copies.
            let offset = if i % 3 == 0 { rng.below(20_480) } else { rng.below(len) };
            let mask = 1 << rng.below(8);
            let what = format!("{image}: byte {offset} of {len} flipped by {mask:#x}");
            let disk = disk.after_kill(at);
            disk.flip(FILE, offset, mask);
            let outcome =
                quiet(|| catch_unwind(AssertUnwindSafe(|| use_all(&disk, &workload, i % 2 == 0, &what))));
            match outcome {
                Ok(Ok(())) => harmless += 1,
                Ok(Err(error)) => {
                    assert_eq!(error.code(), Code::Corrupt, "{what}: {error}");
                    refused += 1;
                }
                Err(panic) => panic!("{what}: {}", said(&*panic)),
            }
            flips += 1;
        }
    }
    println!(
        "proof: store: {flips} flips: {refused} refused, {harmless} harmless, {} panics caught in redb",
        panics() - before
    );
    assert!(refused > 100 && harmless > 100);
}

/// Reads everything, and where `write` applies, syncs, closes and reads again. Panics on a wrong answer.
fn use_all(disk: &SimDisk, workload: &Workload, write: bool, what: &str) -> Result<()> {
    let want = workload.states.last().unwrap();
    let kv = RedbKv::open(disk.open(FILE), 1 << 20, !write)?;
    let view = kv.view()?;
    for (space, entries) in Space::ALL.iter().zip(want) {
        for (key, value) in entries {
            let mut same = false;
            let there = view.get(*space, key, &mut |found| same = found == value)?;
            assert!(there && same, "{what}: a wrong value for {key:?} in {}", space.name());
        }
    }
    assert!(dump(&*view)? == *want, "{what}: wrong contents");
    drop(view);
    if write {
        let model = MemKv::default();
        let mut all = Batch::default();
        for (space, entries) in Space::ALL.iter().zip(want) {
            entries.iter().for_each(|(key, value)| all.put(*space, key.clone(), value.clone()));
        }
        model.apply(&all).unwrap();
        let mut batch = Batch::default();
        for (space, entries) in Space::ALL.iter().zip(want) {
            entries.iter().step_by(3).for_each(|(key, _)| batch.delete(*space, key.clone()));
            batch.put(*space, *b"new", vec![1; 3000]);
        }
        model.apply(&batch).unwrap();
        kv.apply(&batch)?;
        kv.sync(u64::MAX)?;
        drop(kv);
        let kv = RedbKv::open(disk.open(FILE), 1 << 20, false)?;
        let found = dump(&*kv.view()?)?;
        assert!(found == dump(&*model.view().unwrap()).unwrap(), "{what}: wrong contents after writing");
    }
    Ok(())
}
