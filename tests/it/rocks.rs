//! The RocksDB store: the random model, killed processes, damage, full disks, read-only places.

use crate::kv::equals_the_model;
use asteroid_core::kv::{Batch, Kv, MemKv, Op, Range, Space, links};
use asteroid_core::{Code, Result};
use asteroid_native_storage::RocksKv;
use asteroid_tests::files::{Mount, copy_settled, copy_tree, quick_dir};
use asteroid_tests::kv::{add, dump, get, put, scan};
use asteroid_tests::rng::{Rng, seed};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Memtables of 256 KiB: RocksDB flushes now and then without being asked.
const SMALL: u64 = 1 << 20;

fn open(dir: &Path) -> RocksKv {
    RocksKv::open(dir, SMALL, false).unwrap()
}

/// How often a random test tries: `ASTEROID_ROUNDS`, or as often as it affords.
fn rounds(unless_set: u64) -> u64 {
    std::env::var("ASTEROID_ROUNDS").map_or(unless_set, |rounds| rounds.parse().unwrap())
}

#[test]
fn rocksdb_equals_the_model_under_random_batches_views_and_reopening() {
    equals_the_model(rounds(60) as u32, || {
        let dir = Rc::new(quick_dir());
        move || Box::new(open(dir.path())) as _
    });
}

/// Batch `number` of a run: the same for the child that writes it and the parent that checks.
fn batch(seed: u64, number: u64) -> Batch {
    let mut rng = Rng::new(seed ^ number.wrapping_mul(0x9E37_79B9));
    let mut batch = Batch::default();
    for _ in 0..rng.below(30) {
        let key = (rng.below(400) as u32).to_be_bytes();
        let space = Space::ALL[rng.below(8) as usize];
        batch.push(match (rng.below(40), space) {
            (0, _) => Op::DeleteRange(space, Range::between(key, (rng.below(400) as u32).to_be_bytes())),
            (1, _) if rng.chance(10) => Op::DeleteRange(space, Range::from(key)),
            (1..6, _) => Op::Delete(space, key.into()),
            (_, Space::Links) => {
                let mut operand = Vec::new();
                (0..4).for_each(|_| links::put_add(&mut operand, rng.below(1000) as u32));
                (0..2).for_each(|_| links::put_drop(&mut operand, rng.below(1000) as u32));
                Op::Merge(space, key.into(), operand.into())
            }
            _ => {
                let len = if rng.chance(5) { rng.below(20_000) } else { rng.below(200) };
                Op::Put(space, key.into(), rng.bytes(len as usize).into())
            }
        });
    }
    // Last, as a range may have swallowed it.
    batch.put(Space::Meta, *b"number", number.to_be_bytes());
    batch
}

/// How many batches `kv` holds; panics where it holds anything but the first so many.
fn survivors(kv: &RocksKv, seed: u64, model: &mut (u64, MemKv)) -> u64 {
    let view = kv.view().unwrap();
    let number = get(&*view, Space::Meta, b"number").map_or(0, |n| u64::from_be_bytes(n.try_into().unwrap()));
    assert!(number >= model.0, "{number} batches are left of {} seen before", model.0);
    while model.0 < number {
        model.0 += 1;
        model.1.apply(&batch(seed, model.0)).unwrap();
    }
    assert!(dump(&*view).unwrap() == dump(&*model.1.view().unwrap()).unwrap(), "no prefix of the batches");
    number
}

const CHILD: &str = "ASTEROID_TEST_ROCKS_CHILD";

/// The child: writes from where the store stands until it is killed, and tells what is durable.
#[test]
fn child_that_writes_until_killed() {
    let Ok(args) = std::env::var(CHILD) else { return };
    let (seed, dir) = args.split_once(' ').unwrap();
    let seed = seed.parse().unwrap();
    let kv = open(Path::new(dir));
    let first = get(&*kv.view().unwrap(), Space::Meta, b"number");
    let first = first.map_or(1, |n| u64::from_be_bytes(n.try_into().unwrap()) + 1);
    for number in first.. {
        kv.apply(&batch(seed, number)).unwrap();
        if number % 97 == 0 {
            kv.sync(u64::MAX).unwrap();
            println!("durable {number}");
        }
        if number % 1501 == 0 {
            kv.compact().unwrap();
        }
    }
}

fn spawn(seed: u64, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rocks::child_that_writes_until_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{seed} {}", dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_process_leaves_a_prefix_that_holds_every_durable_batch() {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let dir = quick_dir();
    let mut model = (0, MemKv::default());
    let (mut kills, mut unsynced) = (0, 0);
    let began = Instant::now();
    while kills < rounds(20) {
        let mut child = spawn(seed, dir.path());
        let wait = 30 + rng.below(400);
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(std::result::Result::ok);
        let durable = said.filter_map(|line| line.split_once("durable ")?.1.parse::<u64>().ok()).max();
        child.wait().unwrap();
        let left = survivors(&open(dir.path()), seed, &mut model);
        assert!(left >= durable.unwrap_or(0), "{left} batches survived of {durable:?} durable ones");
        unsynced += u64::from(left > 0 && !left.is_multiple_of(97));
        kills += 1;
    }
    println!("{kills} kills, {unsynced} to states between syncs, {} batches, {:?}", model.0, began.elapsed());
    assert!(model.0 > 500, "the children hardly wrote");
}

/// A store with all kinds of content, several tables and deltas that wait; its model; copied while open, too.
fn sample(dir: &Path, killed: &Path, seed: u64) -> MemKv {
    let (kv, model) = (open(dir), MemKv::default());
    for number in 1..=60 {
        kv.apply(&batch(seed, number)).unwrap();
        model.apply(&batch(seed, number)).unwrap();
        if number % 13 == 0 {
            kv.sync(u64::MAX).unwrap();
        }
        if number == 30 {
            kv.compact().unwrap();
        }
    }
    kv.sync(u64::MAX).unwrap();
    copy_settled(dir, killed);
    model
}

fn copy(from: &Path, to: &Path) {
    copy_tree(from, to).unwrap();
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_flipped_byte_is_an_error_or_harmless_never_a_crash_or_a_wrong_value() {
    let seed = seed();
    let rounds = rounds(300);
    let mut rng = Rng::new(seed);
    let base = quick_dir();
    let [closed, killed, hurt] = ["closed", "killed", "hurt"].map(|name| base.path().join(name));
    let model = sample(&closed, &killed, seed);
    let (mut refused, mut harmless) = (0, 0);
    for round in 0..rounds {
        let from = if round % 2 == 0 { &closed } else { &killed };
        let _ = fs::remove_dir_all(&hurt);
        copy(from, &hurt);
        let files: Vec<PathBuf> =
            files(&hurt).into_iter().filter(|file| file.metadata().unwrap().len() > 0).collect();
        let file = &files[rng.below(files.len() as u64) as usize];
        let mut bytes = fs::read(file).unwrap();
        // The end of a file holds what the rest is found by.
        let span = if rng.chance(30) { bytes.len().min(200) } else { bytes.len() } as u64;
        let offset = bytes.len() - 1 - rng.below(span) as usize;
        let mask = 1 << rng.below(8);
        bytes[offset] ^= mask;
        fs::write(file, &bytes).unwrap();
        let what = format!("{}: byte {offset} of {} flipped by {mask:#x}", file.display(), bytes.len());
        // Some only, as RocksDB's threads pause for a second after each failure.
        match use_all(&hurt, &model, round % 24 == 0, &what) {
            Ok(()) => harmless += 1,
            Err(error) => {
                assert_eq!(error.code(), Code::Corrupt, "{what}: {error}");
                refused += 1;
            }
        }
    }
    println!("{rounds} flips: {refused} refused, {harmless} harmless");
    assert!(refused > rounds / 20 && harmless > rounds / 100);
}

/// Reads everything; where `write` applies, changes, syncs, compacts, closes and reads again.
fn use_all(dir: &Path, model: &MemKv, write: bool, what: &str) -> Result<()> {
    let want = dump(&*model.view()?)?;
    let kv = RocksKv::open(dir, SMALL, !write)?;
    let view = kv.view()?;
    for (space, entries) in Space::ALL.iter().zip(&want) {
        let keys: Vec<&[u8]> = entries.iter().map(|(key, _)| key.as_slice()).collect();
        for (key, value) in entries {
            let mut same = false;
            let there = view.get(*space, key, &mut |found| same = found == value)?;
            assert!(there && same, "{what}: a wrong value for {key:?} in {}", space.name());
        }
        view.get_many(*space, &keys, &mut |i, found| {
            assert!(found == Some(&entries[i].1), "{what}: a wrong value among many");
        })?;
    }
    assert!(dump(&*view)? == want, "{what}: wrong contents");
    drop(view);
    if write {
        let model = model.fork();
        let mut batch = Batch::default();
        for (space, entries) in Space::ALL.iter().zip(&want) {
            entries.iter().step_by(3).for_each(|(key, _)| batch.delete(*space, key.clone()));
            batch.put(*space, *b"new", links::encode(&[1, 2]));
        }
        model.apply(&batch)?;
        kv.apply(&batch)?;
        kv.sync(u64::MAX)?;
        kv.compact()?;
        drop(kv);
        let kv = RocksKv::open(dir, SMALL, false)?;
        assert!(dump(&*kv.view()?)? == dump(&*model.view()?)?, "{what}: wrong contents after writing");
    }
    Ok(())
}

#[test]
fn a_cut_list_of_files_is_corrupt_and_never_an_older_state() {
    let base = quick_dir();
    let [closed, killed, hurt] = ["closed", "killed", "hurt"].map(|name| base.path().join(name));
    sample(&closed, &killed, 7);
    let manifest =
        files(&killed).into_iter().find(|file| file.to_string_lossy().contains("MANIFEST")).unwrap();
    let len = manifest.metadata().unwrap().len();
    // Every length of the last records, or a sample of them.
    let step = (len.min(600) / rounds(120)).max(1) as usize;
    let mut tried = 0;
    for cut in (1..len.min(600)).step_by(step) {
        tried += 1;
        copy(&killed, &hurt);
        let file = fs::OpenOptions::new().write(true).open(hurt.join(manifest.file_name().unwrap())).unwrap();
        file.set_len(len - cut).unwrap();
        let refused = RocksKv::open(&hurt, SMALL, cut % 2 == 0).map(drop);
        assert_eq!(refused.expect_err("rolled back").code(), Code::Corrupt, "{cut} bytes cut");
        fs::remove_dir_all(&hurt).unwrap();
    }
    println!("{tried} cuts refused");
}

#[test]
fn lost_files_are_corrupt_and_nothing_begins_anew() {
    let base = quick_dir();
    let [closed, killed, hurt] = ["closed", "killed", "hurt"].map(|name| base.path().join(name));
    sample(&closed, &killed, 8);
    for file in files(&closed) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if !(name == "CURRENT" || name.starts_with("MANIFEST") || name.ends_with(".sst")) {
            continue;
        }
        for read_only in [true, false] {
            copy(&closed, &hurt);
            fs::remove_file(hurt.join(name)).unwrap();
            let outcome = RocksKv::open(&hurt, SMALL, read_only).and_then(|kv| dump(&*kv.view()?).map(drop));
            assert_eq!(outcome.expect_err(name).code(), Code::Corrupt, "{name}");
            fs::remove_dir_all(&hurt).unwrap();
        }
    }
    let nothing = base.path().join("nothing");
    for refused in [RocksKv::open(&nothing, SMALL, true), RocksKv::open_existing(&nothing, SMALL)] {
        assert_eq!(refused.map(drop).unwrap_err().code(), Code::Corrupt);
    }
    assert!(!nothing.exists());
}

#[test]
fn a_list_that_does_not_fold_is_corrupt_alone_and_a_put_mends_it() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    put(&kv, Space::Links, &[(b"bad", b"\x80"), (b"good", &links::encode(&[1]))]);
    for settle in [|_: &RocksKv| Ok(()), |kv: &RocksKv| kv.sync(u64::MAX).map(drop), RocksKv::compact] {
        let mut batch = Batch::default();
        batch.merge(Space::Links, *b"bad", add(5));
        batch.merge(Space::Links, *b"good", add(5));
        kv.apply(&batch).unwrap();
        settle(&kv).unwrap();
        let view = kv.view().unwrap();
        assert_eq!(get(&*view, Space::Links, b"good"), Some(links::encode(&[1, 5])));
        let refused = view.get(Space::Links, b"bad", &mut |_| panic!("shown")).unwrap_err();
        assert_eq!(refused.code(), Code::Corrupt, "{refused}");
        assert!(refused.message().contains("626164"), "{refused}");
        let many = view.get_many(Space::Links, &[b"good", b"bad"], &mut |_, _| ());
        assert_eq!(many.unwrap_err().code(), Code::Corrupt);
        assert_eq!(scan(&*view, Space::Links, &Range::all()).unwrap_err().code(), Code::Corrupt);
    }
    put(&kv, Space::Links, &[(b"bad", &links::encode(&[9]))]);
    kv.compact().unwrap();
    assert_eq!(get(&*kv.view().unwrap(), Space::Links, b"bad"), Some(links::encode(&[9])));
}

#[test]
fn closing_keeps_everything_applied_and_counting_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path()), Space::Meta, &[(b"a", b"1")]);
    let kv = open(dir.path());
    assert_eq!(get(&*kv.view().unwrap(), Space::Meta, b"a"), Some(b"1".to_vec()));
    assert_eq!((kv.durable(), kv.apply(&Batch::default()).unwrap()), (0, 1));
    assert_eq!(RocksKv::open(dir.path(), SMALL, false).map(drop).unwrap_err().code(), Code::Locked);
}

#[test]
fn read_only_shows_everything_keeps_what_is_applied_to_itself_and_works_on_a_read_only_file_system() {
    let base = tempfile::tempdir().unwrap();
    let [closed, killed] = ["closed", "killed"].map(|name| base.path().join(name));
    let model = sample(&closed, &killed, 9);
    let want = dump(&*model.view().unwrap()).unwrap();
    let check = |dir: &Path| {
        let before: Vec<_> = files(dir).iter().map(|file| fs::read(file).unwrap()).collect();
        let (kv, beside) = [(); 2].map(|()| RocksKv::open(dir, SMALL, true).unwrap()).into();
        assert!(dump(&*kv.view().unwrap()).unwrap() == want);
        assert!(dump(&*beside.view().unwrap()).unwrap() == want);
        let frozen = kv.view().unwrap();
        let model = model.fork();
        for number in 61..90 {
            kv.apply(&batch(9, number)).unwrap();
            model.apply(&batch(9, number)).unwrap();
        }
        kv.load_sorted(Space::Meta, &mut [Ok((b"loaded".to_vec(), vec![1]))].into_iter()).unwrap();
        put(&model, Space::Meta, &[(b"loaded", &[1])]);
        kv.sync(u64::MAX).unwrap();
        assert_eq!((kv.durable(), kv.compact().unwrap_err().code()), (30, Code::ReadOnly));
        let (view, model) = (kv.view().unwrap(), model.view().unwrap());
        for space in Space::ALL {
            for range in [Range::all(), Range::prefix(&[0, 0, 0]), Range::between([0, 0, 0, 7], [0, 0, 1, 9])]
            {
                assert!(scan(&*view, space, &range).unwrap() == scan(&*model, space, &range).unwrap());
            }
            let keys: Vec<[u8; 4]> = (0..420u32).map(u32::to_be_bytes).collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            let mut answers = 0;
            view.get_many(space, &keys, &mut |i, value| {
                assert_eq!(value.map(<[u8]>::to_vec), get(&*model, space, keys[i]));
                assert_eq!(value.map(<[u8]>::to_vec), get(&*view, space, keys[i]));
                answers += 1;
            })
            .unwrap();
            assert_eq!(answers, keys.len());
        }
        assert!(dump(&*frozen).unwrap() == want && dump(&*beside.view().unwrap()).unwrap() == want);
        drop((view, frozen));
        drop((kv, beside));
        let after: Vec<_> = files(dir).iter().map(|file| fs::read(file).unwrap()).collect();
        assert!(after == before);
    };
    for dir in [&closed, &killed] {
        check(dir);
        let bind = ["--bind", "-o", "ro", dir.to_str().unwrap()];
        if let Some(_mount) = Mount::new(dir, &bind) {
            assert!(fs::write(dir.join("x"), "x").is_err(), "not read-only after all");
            check(dir);
        }
    }
}

#[test]
fn a_full_disk_is_storage_full_then_poisoned_and_what_was_durable_stays() {
    for sync_every in [1, 20, u64::MAX] {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("kv");
        let Some(mount) = Mount::new(base.path(), &["-t", "tmpfs", "-o", "size=12m", "tmpfs"]) else {
            return;
        };
        let ballast = base.path().join("ballast");
        fs::write(&ballast, vec![1; 4 << 20]).unwrap();
        let filling = |number: u64| {
            let mut batch = batch(5, number);
            batch.put(Space::Payloads, slot(number), Rng::new(number).bytes(50_000));
            batch.put(Space::Meta, *b"number", number.to_be_bytes());
            batch
        };
        let kv = open(&dir);
        let began = Instant::now();
        let mut number = 0;
        let error = loop {
            number += 1;
            let done = kv.apply(&filling(number)).map(drop);
            let synced = number % sync_every == 0;
            if let Err(error) = done.and_then(|()| if synced { kv.sync(u64::MAX).map(drop) } else { Ok(()) })
            {
                break error;
            }
            assert!(number < 20_000, "a full disk went unnoticed");
        };
        let durable = kv.durable();
        assert_eq!(error.code(), Code::StorageFull, "{error}");
        assert_eq!(kv.apply(&Batch::default()).unwrap_err().code(), Code::Poisoned);
        assert_eq!(kv.sync(u64::MAX).unwrap_err().code(), Code::Poisoned);
        assert!(get(&*kv.view().unwrap(), Space::Meta, b"number").is_some(), "reading goes on");
        drop(kv);
        println!("full after {number} batches, {durable} durable, closed after {:?}", began.elapsed());
        fs::remove_file(&ballast).unwrap();
        let kv = open(&dir);
        let view = kv.view().unwrap();
        let left =
            get(&*view, Space::Meta, b"number").map_or(0, |n| u64::from_be_bytes(n.try_into().unwrap()));
        assert!(left >= durable && left <= number, "{durable} durable, {left} left");
        let model = MemKv::default();
        for number in 1..=left {
            model.apply(&filling(number)).unwrap();
        }
        assert!(dump(&*view).unwrap() == dump(&*model.view().unwrap()).unwrap());
        kv.apply(&filling(left + 1)).unwrap();
        drop(view);
        drop(kv);
        drop(mount);
    }
}

fn slot(number: u64) -> [u8; 4] {
    (number as u32).to_be_bytes()
}

#[test]
fn the_stores_memory_keeps_to_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    let budget = 16 << 20;
    let kv = RocksKv::open(dir.path(), budget, false).unwrap();
    let mut most = 0;
    let mut rng = Rng::new(3);
    for round in 0..100u64 {
        let mut batch = Batch::default();
        for i in 0..2_000 {
            let key = ((round * 2_000 + i) as u32).to_be_bytes();
            batch.put(Space::Links, key, rng.bytes(100));
            batch.put(Space::Payloads, key, rng.bytes(200));
        }
        kv.apply(&batch).unwrap();
        let view = kv.view().unwrap();
        for _ in 0..500 {
            let key = (rng.below((round + 1) * 2_000) as u32).to_be_bytes();
            assert!(view.get(Space::Payloads, &key, &mut |_| ()).unwrap());
        }
        most = most.max(kv.memory());
    }
    println!("{most} bytes at most of {budget}, {} on disk", kv.disk());
    // One batch may stand above it until it is flushed.
    assert!(most < budget + (4 << 20), "{most} bytes of {budget}");
    assert!(kv.disk() > 50 << 20);
}
