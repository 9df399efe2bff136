//! The engine on simulated disks: killed, cut off from power and refused at every operation.
//!
//! Once over files handed to it one by one, and once over directories of real files, for each store, where every system
//! call that changes something is an operation: what opening, the lock, the manifest and the store's own threads do,
//! too. See `syscalls.rs` for what that shows.

use crate::model_on_disk::{Home, OnDisk, Opened, config};
use asteroid_core::{Code, Control, Durability, Metric, Mode, StoreKind, VectorStorage};
use asteroid_tests::model::{Model, Write, assert_sound, model_of, run};
#[cfg(target_os = "linux")]
use asteroid_tests::over_stores;
use asteroid_tests::pool::{Threads, side_by_side};
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::sim::SimDisk;
use asteroid_tests::workload::{self, Shape};
use std::sync::Mutex;
use std::time::Instant;

#[derive(Clone, Debug)]
enum Step {
    Write(Write),
    Flush,
    /// Up to so many steps of the sweep.
    Tidy(u32),
    Compact,
    /// Closed and opened again, or merely let go of and opened again.
    Reopen(bool),
}

/// More lists than half of those that fit into the least cache, so that checkpoints come within calls.
const SHAPE: Shape = Shape { dim: 8, metric: Metric::L2, rows: 1000, most: 450, wrong: 5 };

fn steps(seed: u64, count: usize, shape: &Shape) -> Vec<Step> {
    let mut rng = Rng::new(seed);
    let mut model = Model::new(shape.dim, shape.metric);
    let mut steps = Vec::new();
    if rng.chance(50) {
        let write = workload::bulk(&mut rng, shape, shape.most);
        let _ = model.apply(&write);
        steps.push(Step::Write(write));
    }
    // Whatever is drawn, some checkpoints are to be cut.
    let quarter = count / 4;
    while steps.len() < count {
        steps.push(match rng.below(24) {
            _ if steps.len() % quarter == quarter - 1 => Step::Flush,
            0 => Step::Flush,
            20 if rng.chance(30) => Step::Compact,
            21..24 => Step::Tidy(1 << rng.below(6)),
            1 => Step::Reopen(rng.chance(50)),
            2..4 => {
                let write = workload::rows(&mut rng, shape, Mode::Upsert, shape.most);
                let _ = model.apply(&write);
                Step::Write(write)
            }
            _ => {
                let write = workload::write(&mut rng, shape, &model);
                let _ = model.apply(&write);
                Step::Write(write)
            }
        });
    }
    steps
}

/// What was promised when: a disk cut after `ops` operations holds at least state `acknowledged` after a kill, and
/// at least state `durable` after a power cut.
#[derive(Clone, Copy, Debug)]
struct Mark {
    ops: usize,
    acknowledged: usize,
    durable: usize,
}

struct Trace {
    states: Vec<Model>,
    prints: Vec<u64>,
    marks: Vec<Mark>,
    /// Checkpoints that came inside of calls.
    checkpoints: usize,
}

impl Trace {
    fn starting_with(model: Model) -> Trace {
        let print = model.fingerprint();
        let marks = vec![Mark { ops: 0, acknowledged: 0, durable: 0 }];
        Trace { states: vec![model], prints: vec![print], marks, checkpoints: 0 }
    }

    /// Runs the steps on `disk`, which must not fail, and writes down what was promised.
    fn record(&mut self, disk: &SimDisk, on: &OnDisk, steps: &[Step], finish: bool) {
        let pool = Threads::new(1);
        let mut index = on.open(disk).unwrap();
        for step in steps {
            let before = disk.ops();
            let mut durable = self.marks.last().unwrap().durable;
            let last = self.states.len() - 1;
            match step {
                Step::Write(write) => {
                    let mut next = self.states[last].clone();
                    let want = next.apply(write);
                    assert_eq!(run(&index, write, &pool).map_err(|error| error.code()), want);
                    // Cutting the journal ends a checkpoint, which made everything before durable.
                    let cuts = (before..disk.ops())
                        .filter(|&n| disk.describe(n).ends_with("journal: set_len 32"))
                        .count();
                    if cuts > 0 {
                        durable = last;
                        self.checkpoints += cuts;
                    }
                    self.prints.push(next.fingerprint());
                    self.states.push(next);
                    if on.durability == Durability::Sync {
                        durable = last + 1;
                    }
                }
                Step::Flush => {
                    index.flush().unwrap();
                    durable = last;
                }
                Step::Tidy(steps) => {
                    for _ in 0..*steps {
                        if !index.tidy(&Control::NONE).unwrap() {
                            break;
                        }
                    }
                }
                Step::Compact => {
                    index.compact(&Control::NONE).unwrap();
                    durable = last;
                }
                Step::Reopen(close) => {
                    if *close {
                        index.close().unwrap();
                    }
                    drop(index);
                    index = on.open(disk).unwrap();
                    durable = last;
                }
            }
            self.marks.push(Mark { ops: disk.ops(), acknowledged: self.states.len() - 1, durable });
        }
        if finish {
            index.close().unwrap();
            let last = self.states.len() - 1;
            self.marks.push(Mark { ops: disk.ops(), acknowledged: last, durable: last });
        } else {
            // What happens when the handle is dropped is not part of the run.
            self.marks.push(Mark { ops: usize::MAX, ..*self.marks.last().unwrap() });
        }
    }

    fn at(&self, ops: usize) -> Mark {
        *self.marks.iter().rev().find(|mark| mark.ops <= ops).unwrap()
    }

    /// Opens `disk` and panics unless it holds one of the states from `low` to one after the last acknowledged.
    fn verify(&self, disk: &SimDisk, on: &OnDisk, low: usize, mark: Mark, what: &str) -> (Opened, usize) {
        let index = on.open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = model_of(&index).unwrap_or_else(|error| panic!("{what}: {error}"));
        let print = found.fingerprint();
        let high = (mark.acknowledged + 1).min(self.states.len() - 1);
        // The latest first: states that are alike are the same for whoever reads them.
        let state = (low..=high).rev().find(|&state| self.prints[state] == print);
        let state = state.unwrap_or_else(|| {
            let elsewhere = self.prints.iter().position(|&other| other == print);
            panic!(
                "{what}: {} rows are none of the states {low} to {high}, but state {elsewhere:?}",
                found.rows.len()
            )
        });
        self.states[state].assert_equals(&index, what);
        assert_sound(&index, what);
        (index, state)
    }

    /// The state, unless others have its rows and would name a row without an id otherwise: which of them it is shows
    /// in nothing that can be read.
    fn surely(&self, state: usize) -> Option<&Model> {
        let found = &self.states[state];
        let alike = (0..self.states.len()).filter(|&other| self.prints[other] == self.prints[state]);
        alike.map(|other| &self.states[other]).all(|other| other.next_id == found.next_id).then_some(found)
    }
}

#[derive(Default, Debug)]
struct Count {
    kills: usize,
    cuts: usize,
    again: usize,
    written: usize,
    lost: usize,
    checkpoints: usize,
}

/// Cuts a recorded run at every `stride`-th operation.
fn cut_everywhere(on: &OnDisk, seed: u64, count: usize, images: usize) -> Count {
    let on = &OnDisk { policy: workload::link_policy(&mut Rng::new(seed)), ..on.clone() };
    let disk = SimDisk::new();
    let mut trace = Trace::starting_with(Model::new(SHAPE.dim, on.config.metric));
    let shape = Shape { metric: on.config.metric, ..SHAPE };
    trace.record(&disk, on, &steps(seed, count, &shape), true);
    let stride = if full() { 1 } else { (disk.ops() / images).max(1) };
    let mut done = Count::default();
    let mut rng = Rng::new(seed);
    let first = rng.below(stride as u64) as usize;
    for n in (first..=disk.ops()).step_by(stride) {
        let mark = trace.at(n);
        let what = |kind: &str| {
            format!(
                "ASTEROID_SEED={seed} {:?} {:?} {:?}, {kind} at operation {n} ({})",
                on.home,
                on.durability,
                on.config.metric,
                disk.describe(n)
            )
        };
        for (image, kind) in
            [(disk.after_kill(n), "killed"), (disk.after_kill_inside(n, seed), "killed inside")]
        {
            let (index, state) = trace.verify(&image, on, mark.acknowledged, mark, &what(kind));
            go_on(&image, on, index, trace.surely(state), &mut rng, &mut done, &what(kind));
            done.kills += 1;
        }
        for pick in 0..2 {
            let image = disk.after_power_cut(n, seed.wrapping_add(pick));
            let (index, state) = trace.verify(&image, on, mark.durable, mark, &what("power cut"));
            done.lost = done.lost.max(mark.acknowledged.saturating_sub(state));
            done.cuts += 1;
            // Losing power again while it recovers must end in the same state.
            let ops = image.ops();
            drop(index);
            let at = rng.below(ops as u64 + 1) as usize;
            let again = image.after_power_cut(at, seed ^ pick);
            let same = Mark { acknowledged: state, ..mark };
            let (index, state) = trace.verify(&again, on, state, same, &what("second power cut"));
            go_on(&again, on, index, trace.surely(state), &mut rng, &mut done, &what("second power cut"));
            done.again += 1;
        }
    }
    done.checkpoints = trace.checkpoints;
    println!(
        "proof: crash: {:?} {:?} {:?}: {} operations, {count} calls: {done:?}",
        on.home,
        on.durability,
        on.config.metric,
        disk.ops()
    );
    done
}

/// A recovered database takes further writes, keeps them when it is let go of, and loses none of what was there to
/// another power cut.
fn go_on(
    disk: &SimDisk,
    on: &OnDisk,
    index: Opened,
    state: Option<&Model>,
    rng: &mut Rng,
    done: &mut Count,
    what: &str,
) {
    drop(index);
    let chosen = rng.chance(25) || full();
    let Some(state) = state.filter(|_| chosen) else {
        return;
    };
    let shape = Shape { metric: on.config.metric, ..SHAPE };
    let mut trace = Trace::starting_with(state.clone());
    // The database found is on the disk already; only what is written to it from here on is cut.
    let disk = disk.after_kill(disk.ops());
    on.open(&disk).unwrap().close().unwrap();
    let disk = disk.after_kill(disk.ops());
    let mut writes = vec![Step::Write(workload::many(rng, &shape, Mode::Insert))];
    while writes.len() < 4 {
        writes.push(Step::Write(workload::write(rng, &shape, state)));
    }
    if rng.chance(50) {
        writes.insert(rng.below(4) as usize, Step::Compact);
    }
    trace.record(&disk, on, &writes, false);
    let what = format!("{what}, written again");
    let mark = trace.at(usize::MAX);
    trace.verify(&disk.after_kill(disk.ops()), on, mark.acknowledged, mark, &what);
    let at = rng.below(disk.ops() as u64 + 1) as usize;
    let mark = trace.at(at);
    trace.verify(
        &disk.after_power_cut(at, rng.word()),
        on,
        mark.durable,
        mark,
        &format!("{what}, cut at {at}"),
    );
    done.written += 1;
}

/// Every operation instead of a sample of them.
fn full() -> bool {
    std::env::var("ASTEROID_CRASH").is_ok_and(|value| value == "full")
}

/// Calls `run` with seeds after `seed` until it has met enough: what is drawn once may happen to hold little of what is
/// to be tested.
fn until_enough(seed: u64, run: &mut dyn FnMut(u64) -> bool) {
    assert!((0..8).any(|more| run(seed.wrapping_add(more * 1000))), "eight runs met too little");
}

#[test]
fn a_buffered_database_survives_kills_whole_and_power_cuts_as_an_earlier_state() {
    let began = Instant::now();
    let (mut checkpoints, mut lost) = (0, 0);
    until_enough(seed(), &mut |seed| {
        let done = cut_everywhere(&OnDisk::new(Metric::L2, Durability::Buffered), seed, 50, 80);
        println!("buffered: {:?}", began.elapsed());
        checkpoints += done.checkpoints;
        lost += done.lost;
        checkpoints > 5 && lost > 0
    });
}

#[test]
fn a_synced_database_survives_kills_and_power_cuts_whole() {
    let began = Instant::now();
    cut_everywhere(&OnDisk::new(Metric::Cosine, Durability::Sync), seed(), 50, 80);
    println!("sync: {:?}", began.elapsed());
}

#[test]
fn a_flat_vector_file_survives_as_a_paged_one_does() {
    let config = config(Metric::Dot, VectorStorage::Flat);
    let on = OnDisk { config, ..OnDisk::new(Metric::Dot, Durability::Buffered) };
    cut_everywhere(&on, seed(), 12, 12);
}

/// Real directories: fewer cuts by default, as each is written out and opened by way of the system.
#[cfg(target_os = "linux")]
fn cut_files(store: StoreKind, durability: Durability, storage: VectorStorage, count: usize, images: usize) {
    let began = Instant::now();
    let metric = Metric::L2;
    let on = OnDisk { home: Home::Files(store), config: config(metric, storage), durability, policy: None };
    let mut checkpoints = 0;
    until_enough(seed(), &mut |seed| {
        checkpoints += cut_everywhere(&on, seed, count, images).checkpoints;
        println!("{store:?} {durability:?} {storage:?} in files: {:?}", began.elapsed());
        checkpoints > 2
    });
}

#[cfg(target_os = "linux")]
fn a_buffered_directory_survives_kills_whole_and_power_cuts_as_an_earlier_state(store: StoreKind) {
    cut_files(store, Durability::Buffered, VectorStorage::Paged, 40, 40);
}

#[cfg(target_os = "linux")]
fn a_synced_directory_survives_kills_and_power_cuts_whole(store: StoreKind) {
    cut_files(store, Durability::Sync, VectorStorage::Flat, 40, 40);
}

#[test]
fn a_refused_operation_leaves_nothing_and_loses_nothing() {
    refuse_everywhere(Home::Bytes, 24, 80);
}

#[cfg(target_os = "linux")]
fn a_refused_system_call_leaves_nothing_and_loses_nothing(store: StoreKind) {
    refuse_everywhere(Home::Files(store), 24, 10);
}

#[cfg(target_os = "linux")]
over_stores!(
    a_buffered_directory_survives_kills_whole_and_power_cuts_as_an_earlier_state,
    a_synced_directory_survives_kills_and_power_cuts_whole,
    a_refused_system_call_leaves_nothing_and_loses_nothing,
);

/// What was taken back must not count as a write: the journal of those that follow would begin after it.
#[test]
fn a_bulk_build_that_fails_leaves_a_database_that_takes_writes() {
    let seed = seed();
    let on = OnDisk::new(Metric::L2, Durability::Sync);
    let mut rng = Rng::new(seed);
    let build = Step::Write(workload::bulk(&mut rng, &SHAPE, SHAPE.most));
    let rows = Step::Write(workload::many(&mut rng, &SHAPE, Mode::Upsert));
    let steps = [build, rows.clone(), Step::Reopen(false), rows, Step::Reopen(true)];
    let whole = SimDisk::new();
    Trace::starting_with(Model::new(SHAPE.dim, Metric::L2)).record(&whole, &on, &steps[..1], true);
    let refused = Mutex::new(0);
    side_by_side(2, 0..whole.ops(), |n| {
        let code = if n % 2 == 0 { Code::StorageFull } else { Code::Io };
        let disk = SimDisk::new();
        disk.fail_at(n, code, true);
        let what = format!("ASTEROID_SEED={seed}: operation {n} fails with {code:?}");
        let outcome = Faulty { on: &on, disk: &disk, code, n, what: &what }.run(&steps);
        *refused.lock().unwrap() += usize::from(outcome.failed && !outcome.poisoned);
    });
    let refused = refused.into_inner().unwrap();
    println!("proof: crash: {refused} bulk builds and openings were refused and made up for");
    assert!(refused > 2);
}

/// RocksDB removes the files of such a load, but its list of files may name them on disk.
#[cfg(all(target_os = "linux", feature = "rocksdb"))]
#[test]
fn a_bulk_build_whose_record_rocksdb_cannot_sync_is_taken_back() {
    let seed = seed();
    let home = Home::Files(StoreKind::RocksDb);
    let on = OnDisk { home, ..OnDisk::new(Metric::L2, Durability::Sync) };
    let write = workload::bulk(&mut Rng::new(seed), &SHAPE, SHAPE.most);
    let steps = [Step::Write(write), Step::Reopen(true), Step::Flush];
    let whole = SimDisk::new();
    Trace::starting_with(Model::new(SHAPE.dim, Metric::L2)).record(&whole, &on, &steps, true);
    let lists = |n: usize| {
        let what = whole.describe(n);
        what.contains("/MANIFEST-") && what.ends_with(": sync")
    };
    let syncs: Vec<usize> = (0..whole.ops()).filter(|&n| lists(n)).collect();
    let refused = Mutex::new(0);
    side_by_side(16, syncs, |n| {
        for (code, once) in [(Code::StorageFull, true), (Code::Io, true), (Code::Io, false)] {
            let disk = SimDisk::new();
            disk.fail_at(n, code, once);
            let what = format!("ASTEROID_SEED={seed}: operation {n} fails with {code:?}, once: {once}");
            let outcome = Faulty { on: &on, disk: &disk, code, n, what: &what }.run(&steps);
            *refused.lock().unwrap() += usize::from(outcome.failed);
        }
    });
    let refused = refused.into_inner().unwrap();
    println!("proof: crash: {refused} bulk builds met a list of files that could not be synced");
    assert!(refused > 10);
}

/// Lets every `stride`-th operation of a run fail, in all ways.
fn refuse_everywhere(home: Home, count: usize, runs_each: usize) {
    let began = Instant::now();
    // After a failure RocksDB's own threads rest for a second.
    let threads = if home == Home::Files(StoreKind::RocksDb) { 16 } else { 2 };
    let counts = Mutex::new([0; 4]);
    until_enough(seed(), &mut |seed| {
        for (round, durability) in [(0, Durability::Buffered), (1, Durability::Sync)] {
            let on = OnDisk { home, ..OnDisk::new(Metric::L2, durability) };
            let steps = steps(seed + round, count, &SHAPE);
            let whole = SimDisk::new();
            Trace::starting_with(Model::new(SHAPE.dim, Metric::L2)).record(&whole, &on, &steps, true);
            let stride = if full() { 1 } else { (whole.ops() / runs_each).max(1) };
            let first = Rng::new(seed).below(stride as u64) as usize;
            side_by_side(threads, (first..whole.ops()).step_by(stride), |n| {
                for (code, once) in
                    [(Code::StorageFull, false), (Code::StorageFull, true), (Code::Io, n % 2 == 0)]
                {
                    let disk = SimDisk::new();
                    disk.fail_at(n, code, once);
                    let what = format!(
                        "ASTEROID_SEED={seed} {home:?} {durability:?}: operation {n} fails with {code:?}, once: {once}"
                    );
                    let outcome = Faulty { on: &on, disk: &disk, code, n, what: &what }.run(&steps);
                    let seen = [true, outcome.failed, outcome.poisoned, outcome.failed && !outcome.poisoned];
                    let mut counts = counts.lock().unwrap();
                    counts.iter_mut().zip(seen).for_each(|(count, seen)| *count += usize::from(seen));
                }
            });
        }
        let [runs, failed, poisoned, refused] = *counts.lock().unwrap();
        println!(
            "proof: crash: {home:?}: {runs} runs with a fault, {failed} saw it: {poisoned} poisoned, {refused} refused one call; {:?}",
            began.elapsed()
        );
        // Only checkpoints poison, and few operations are theirs.
        poisoned > runs_each / 12 && refused > runs_each / 3
    });
}

/// A run on a disk that fails.
struct Faulty<'a> {
    on: &'a OnDisk,
    disk: &'a SimDisk,
    code: Code,
    n: usize,
    what: &'a str,
}

#[derive(Default)]
struct Outcome {
    failed: bool,
    poisoned: bool,
}

impl Faulty<'_> {
    fn run(&self, steps: &[Step]) -> Outcome {
        let what = self.what;
        let pool = Threads::new(1);
        let mut outcome = Outcome::default();
        let mut model = Model::new(SHAPE.dim, self.on.config.metric);
        // A call that failed half-way may be there or not once the database is opened again.
        let mut perhaps: Option<Model> = None;
        let mut index = Some(self.open(&mut outcome));
        for step in steps {
            let Some(open) = &index else { break };
            match step {
                Step::Write(write) => {
                    let mut next = model.clone();
                    let want = next.apply(write);
                    match run(open, write, &pool).map_err(|error| (error.code(), error)) {
                        Ok(count) => {
                            assert_eq!(Ok(count), want, "{what}");
                            assert!(!outcome.poisoned, "{what}: a write went through after a failed one");
                            model = next;
                        }
                        Err((code, _)) if want == Err(code) => {}
                        Err((_, error)) => {
                            self.judge(&error, &mut outcome);
                            let is_poisoned = open.flush().is_err_and(|error| error.code() == Code::Poisoned);
                            if outcome.poisoned {
                                assert!(is_poisoned, "{what}: poison wears off");
                            } else if is_poisoned {
                                outcome.poisoned = true;
                                perhaps = Some(next);
                            } else {
                                model.assert_equals(open, &format!("{what}: after {error}"));
                            }
                        }
                    }
                }
                Step::Flush => {
                    if let Err(error) = open.flush() {
                        self.judge(&error, &mut outcome);
                        outcome.poisoned = true;
                    }
                }
                Step::Tidy(_) | Step::Compact => {
                    let done = match step {
                        Step::Compact => open.compact(&Control::NONE),
                        _ => open.tidy(&Control::NONE).map(drop),
                    };
                    if let Err(error) = done {
                        self.judge(&error, &mut outcome);
                        outcome.poisoned |= open.flush().is_err_and(|error| error.code() == Code::Poisoned);
                    }
                }
                Step::Reopen(close) => {
                    if *close && let Err(error) = open.close() {
                        self.judge(&error, &mut outcome);
                    }
                    drop(index.take());
                    let open = self.open(&mut outcome);
                    model = self.found(&open, &model, perhaps.take());
                    outcome.poisoned = false;
                    index = Some(open);
                }
            }
        }
        if let Some(index) = &index
            && outcome.poisoned
        {
            // Readers go on, or say why not.
            match model_of(index) {
                Ok(found) => {
                    let print = found.fingerprint();
                    let or = perhaps.as_ref().is_some_and(|other| other.fingerprint() == print);
                    assert!(print == model.fingerprint() || or, "{what}: wrong rows after a failure");
                }
                Err(error) => assert!(self.fitting(error.code()), "{what}: {error}"),
            }
        }
        drop(index);
        self.disk.heal();
        let promised = [Some(model.fingerprint()), perhaps.as_ref().map(Model::fingerprint)];
        let image = self.disk.after_kill(self.disk.ops());
        let index = self.on.open(&image).unwrap_or_else(|error| panic!("{what}: reopened: {error}"));
        let mut model = self.found(&index, &model, perhaps);
        assert_sound(&index, what);
        for step in steps {
            if let Step::Write(write) = step {
                assert_eq!(
                    run(&index, write, &pool).map_err(|error| error.code()),
                    model.apply(write),
                    "{what}"
                );
                break;
            }
        }
        drop(index);
        model.assert_equals(&self.on.open(&image).unwrap(), what);
        // What a sync acknowledged is there after a power cut, too.
        if self.on.durability == Durability::Sync {
            let cut = self.disk.after_power_cut(self.disk.ops(), self.n as u64);
            let index =
                self.on.open(&cut).unwrap_or_else(|error| panic!("{what}: after a power cut: {error}"));
            assert_sound(&index, what);
            let found = model_of(&index).unwrap().fingerprint();
            assert!(promised.contains(&Some(found)), "{what}: a power cut took what a sync acknowledged");
        }
        outcome
    }

    /// Opens; a fault there is taken back and tried again, which must work.
    fn open(&self, outcome: &mut Outcome) -> Opened {
        self.on.open(self.disk).unwrap_or_else(|error| {
            self.judge(&error, outcome);
            self.disk.heal();
            self.on.open(self.disk).unwrap_or_else(|error| panic!("{}: opened again: {error}", self.what))
        })
    }

    fn found(&self, index: &Opened, model: &Model, perhaps: Option<Model>) -> Model {
        let print = model_of(index).unwrap_or_else(|error| panic!("{}: {error}", self.what)).fingerprint();
        match perhaps {
            Some(other) if other.fingerprint() == print => {
                other.assert_equals(index, self.what);
                other
            }
            _ => {
                model.assert_equals(index, self.what);
                model.clone()
            }
        }
    }

    fn fitting(&self, code: Code) -> bool {
        code == self.code || code == Code::Poisoned
    }

    fn judge(&self, error: &asteroid_core::Error, outcome: &mut Outcome) {
        let code = error.code();
        assert!(self.disk.ops() > self.n, "{}: failed before its fault: {error}", self.what);
        let want = if outcome.failed { self.fitting(code) } else { code == self.code };
        assert!(want, "{}: {error}", self.what);
        outcome.failed = true;
    }
}
