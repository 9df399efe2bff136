//! The RocksDB store measured: reads beside redb, ways to write adjacency, bulk loading, link policies.
//!
//! `scripts/rocksdb.sh cargo bench -p asteroid-native-storage --features rocksdb --bench kv [-- PART..]` with parts
//! `get merge checkpoint load policy`; all of them without any.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::expect_used)]

use asteroid_core::Slot;
use asteroid_core::kv::{Batch, Kv, Space, links, slot_key};
use asteroid_native_storage::{FileBytes, RedbKv, RocksKv};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

// The engine's own rule, which it shows to nobody.
#[allow(dead_code, unreachable_pub)]
#[path = "../../core/src/graph/policy.rs"]
mod policy;
use policy::{Form, LinkPolicy, Mix, PolicyState};

const CACHE: u64 = 256 << 20;

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|asked| asked == part);
    let all: [(&str, fn()); 5] = [
        ("get", point_reads),
        ("merge", one_edge_changes),
        ("checkpoint", checkpoints),
        ("load", bulk_loads),
        ("policy", policies),
    ];
    all.iter().filter(|(part, _)| wanted(part)).for_each(|(_, run)| run());
}

struct Rng(u64);

impl Rng {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.word() % n as u64) as usize
    }

    fn links(&mut self, slots: usize, count: usize) -> Vec<u32> {
        let mut links: Vec<u32> = (0..count).map(|_| self.below(slots) as u32).collect();
        links.sort_unstable();
        links.dedup();
        links
    }
}

fn rocks(dir: &tempfile::TempDir) -> RocksKv {
    RocksKv::open(dir.path(), CACHE, false).unwrap()
}

fn redb(dir: &tempfile::TempDir) -> RedbKv {
    let file = FileBytes::open(&dir.path().join("graph.redb"), true).unwrap();
    RedbKv::open(Arc::new(file), CACHE, false).unwrap()
}

/// Puts `count` lists of `degree` links, in batches, and syncs.
fn fill(kv: &dyn Kv, count: usize, degree: usize) {
    let mut rng = Rng(1);
    let mut slot = 0;
    while slot < count {
        let mut batch = Batch::default();
        for _ in 0..10_000.min(count - slot) {
            batch.put(Space::Links, slot_key(slot as u32), links::encode(&rng.links(count, degree)));
            slot += 1;
        }
        let seq = kv.apply(&batch).unwrap();
        kv.sync(seq).unwrap();
    }
}

fn micros(took: Duration, ops: usize) -> f64 {
    took.as_secs_f64() * 1e6 / ops as f64
}

/// The least and the middle of rounds that take turns.
fn spread(mut rounds: Vec<f64>) -> String {
    rounds.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2})", rounds[0], rounds[rounds.len() / 2])
}

fn point_reads() {
    const KEYS: usize = 200_000;
    const READS: usize = 20_000;
    println!("\n## Point reads, {KEYS} lists of 32 links, warm: us per key, least (median) of 15 rounds");
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (rocks, redb) = (rocks(&dirs[0]), redb(&dirs[1]));
    fill(&rocks, KEYS, 32);
    rocks.compact().unwrap();
    fill(&redb, KEYS, 32);
    let stores: [(&str, &dyn Kv); 2] = [("RocksDB", &rocks), ("redb", &redb)];
    let mut rng = Rng(2);
    let mut took: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 0..16 {
        let keys: Vec<[u8; 4]> = (0..READS).map(|_| slot_key(rng.below(KEYS) as u32)).collect();
        for (name, kv) in stores {
            let view = kv.view().unwrap();
            let mut sum = 0;
            let began = Instant::now();
            for key in &keys {
                view.get(Space::Links, key, &mut |value| sum += value.len()).unwrap();
            }
            let one = micros(began.elapsed(), READS);
            let began = Instant::now();
            for keys in keys.chunks(32) {
                let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
                let see = &mut |_: usize, value: Option<&[u8]>| sum += value.map_or(0, <[u8]>::len);
                view.get_many(Space::Links, &keys, see).unwrap();
            }
            let many = micros(began.elapsed(), READS);
            black_box(sum);
            let began = Instant::now();
            (0..READS).for_each(|_| drop(black_box(kv.view().unwrap())));
            let views = micros(began.elapsed(), READS);
            // The first round fills the caches.
            if round > 0 {
                took.entry(format!("get        {name}")).or_default().push(one);
                took.entry(format!("get_many32 {name}")).or_default().push(many);
                took.entry(format!("view       {name}")).or_default().push(views);
            }
        }
    }
    took.into_iter().for_each(|(what, rounds)| println!("{what:20} {}", spread(rounds)));
}

fn one_edge_changes() {
    const KEYS: usize = 100_000;
    const CHANGES: usize = 50_000;
    println!("\n## One-edge changes, {KEYS} lists of 32 links, batches of 1,000, synced at the end");
    for (name, way) in [("merge", 0), ("read, change, put", 1), ("put (list at hand)", 2)] {
        let dir = tempfile::tempdir().unwrap();
        let kv = rocks(&dir);
        fill(&kv, KEYS, 32);
        kv.compact().unwrap();
        let before = kv.written();
        let mut rng = Rng(3);
        let (mut list, at_hand) = (Vec::new(), links::encode(&rng.links(KEYS, 32)));
        let began = Instant::now();
        for _ in 0..CHANGES / 1_000 {
            let mut batch = Batch::default();
            let view = kv.view().unwrap();
            for _ in 0..1_000 {
                let (key, link) = (slot_key(rng.below(KEYS) as u32), rng.below(KEYS) as u32);
                match way {
                    0 => {
                        let mut operand = Vec::new();
                        links::put_add(&mut operand, link);
                        batch.merge(Space::Links, key, operand);
                    }
                    1 => {
                        view.get(Space::Links, &key, &mut |value| links::decode(value, &mut list).unwrap())
                            .unwrap();
                        list.push(link);
                        list.sort_unstable();
                        list.dedup();
                        batch.put(Space::Links, key, links::encode(&list));
                    }
                    _ => batch.put(Space::Links, key, at_hand.clone()),
                }
            }
            drop(view);
            kv.apply(&batch).unwrap();
        }
        let applied = micros(began.elapsed(), CHANGES);
        kv.sync(u64::MAX).unwrap();
        let synced = micros(began.elapsed(), CHANGES);
        let flushed = (kv.written().flushed - before.flushed) / CHANGES as u64;
        println!("{name:20} {applied:6.2} us applied, {synced:6.2} us synced, {flushed} bytes flushed");
    }
    let dir = tempfile::tempdir().unwrap();
    let kv = rocks(&dir);
    fill(&kv, KEYS, 32);
    kv.compact().unwrap();
    println!("reads with deltas waiting, each from another sync:");
    let mut rng = Rng(4);
    for waiting in 0..=8 {
        if waiting > 0 {
            let mut batch = Batch::default();
            for slot in 0..KEYS as u32 {
                let mut operand = Vec::new();
                links::put_add(&mut operand, rng.below(KEYS) as u32);
                batch.merge(Space::Links, slot_key(slot), operand);
            }
            kv.apply(&batch).unwrap();
            kv.sync(u64::MAX).unwrap();
        }
        let view = kv.view().unwrap();
        let (mut rounds, mut sum) = (Vec::new(), 0);
        for _ in 0..7 {
            let began = Instant::now();
            for _ in 0..5_000 {
                view.get(Space::Links, &slot_key(rng.below(KEYS) as u32), &mut |value| sum += value.len())
                    .unwrap();
            }
            rounds.push(micros(began.elapsed(), 5_000));
        }
        black_box(sum);
        println!("{waiting:4} deltas {} us", spread(rounds));
    }
}

fn checkpoints() {
    const PUTS: usize = 100_000;
    println!("\n## A checkpoint: one batch of {PUTS} lists of 32 links, then durable; 6 in a row");
    let mut rng = Rng(5);
    let batches: Vec<Vec<([u8; 4], Vec<u8>)>> = (0..6)
        .map(|_| {
            let list = |slot: usize| (slot_key(slot as u32), links::encode(&rng.links(PUTS, 32)));
            (0..PUTS).map(list).collect()
        })
        .collect();
    for wal in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut rounds = Vec::new();
        let written_before = disk_writes();
        if wal {
            let mut options = rocksdb::Options::default();
            options.create_if_missing(true);
            options.set_compression_type(rocksdb::DBCompressionType::None);
            options.set_max_background_jobs(2);
            let db = rocksdb::DB::open(&options, dir.path()).unwrap();
            for puts in &batches {
                let began = Instant::now();
                let mut batch = rocksdb::WriteBatch::default();
                puts.iter().for_each(|(key, value)| batch.put(key, value));
                db.write(batch).unwrap();
                db.flush_wal(true).unwrap();
                rounds.push(began.elapsed().as_secs_f64() * 1e3);
            }
            db.flush().unwrap();
        } else {
            let kv = rocks(&dir);
            for puts in &batches {
                let mut batch = Batch::default();
                puts.iter().for_each(|(key, value)| batch.put(Space::Links, *key, value.clone()));
                let began = Instant::now();
                let seq = kv.apply(&batch).unwrap();
                kv.sync(seq).unwrap();
                rounds.push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        let written = (disk_writes() - written_before) >> 20;
        let name = if wal { "WAL on, flush_wal(sync)" } else { "WAL off, atomic flush" };
        println!("{name:24} {} ms, {written} MiB written by the process", spread(rounds));
    }
}

/// Bytes this process gave to the block layer so far; 0 where the system does not tell.
fn disk_writes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

fn bulk_loads() {
    const ENTRIES: usize = 500_000;
    println!("\n## Ordered load of {ENTRIES} lists of 32 links, durable at the end");
    let mut rng = Rng(6);
    let lists: Vec<Vec<u8>> = (0..ENTRIES).map(|_| links::encode(&rng.links(ENTRIES, 32))).collect();
    let apply = |kv: &dyn Kv| {
        for (first, lists) in lists.chunks(10_000).enumerate() {
            let mut batch = Batch::default();
            for (i, list) in lists.iter().enumerate() {
                batch.put(Space::Links, slot_key((first * 10_000 + i) as u32), list.clone());
            }
            kv.apply(&batch).unwrap();
        }
        kv.sync(u64::MAX).unwrap();
    };
    let load = |kv: &dyn Kv| {
        let entry = |(slot, list): (usize, &Vec<u8>)| Ok((slot_key(slot as u32).to_vec(), list.clone()));
        let seq = kv.load_sorted(Space::Links, &mut lists.iter().enumerate().map(entry)).unwrap();
        kv.sync(seq).unwrap();
    };
    type Way<'a> = (&'a str, &'a dyn Fn(&dyn Kv));
    let ways: [Way; 2] = [("apply", &apply), ("load_sorted", &load)];
    for (name, way) in ways {
        let dir = tempfile::tempdir().unwrap();
        let kv = rocks(&dir);
        let began = Instant::now();
        way(&kv);
        let took = began.elapsed();
        println!(
            "RocksDB {name:12} {:5.0} ms, {:.2} us per entry, {:?}, {} MiB on disk",
            took.as_secs_f64() * 1e3,
            micros(took, ENTRIES),
            kv.written(),
            kv.disk() >> 20
        );
    }
    for (name, way) in ways {
        let dir = tempfile::tempdir().unwrap();
        let kv = redb(&dir);
        let began = Instant::now();
        way(&kv);
        let took = began.elapsed();
        let (each, disk) = (micros(took, ENTRIES), kv.disk() >> 20);
        println!(
            "redb    {name:12} {:5.0} ms, {each:.2} us per entry, {disk} MiB on disk",
            took.as_secs_f64() * 1e3
        );
    }
}

/// A graph in memory, as the engine's cache would hold it, and what changed since the last checkpoint.
struct Graph {
    lists: Vec<Vec<u32>>,
    dirty: BTreeMap<Slot, Vec<u8>>,
    changed: BTreeMap<Slot, u32>,
}

const MOST: usize = 32;

impl Graph {
    fn change(&mut self, slot: Slot, link: u32, add: bool) {
        let operand = self.dirty.entry(slot).or_default();
        if add {
            links::put_add(operand, link)
        } else {
            links::put_drop(operand, link)
        }
        *self.changed.entry(slot).or_default() += 1;
    }

    /// A row linked both ways to 16 others, near each other as search finds them; full lists are pruned.
    fn insert(&mut self, rng: &mut Rng) {
        let slot = self.lists.len() as u32;
        let centre = rng.below(self.lists.len());
        let mut near: Vec<u32> =
            (0..16).map(|_| ((centre + rng.below(20_000)) % self.lists.len()) as u32).collect();
        near.sort_unstable();
        near.dedup();
        for &other in &near {
            self.lists[other as usize].push(slot);
            self.change(other, slot, true);
            while self.lists[other as usize].len() > MOST {
                for _ in 0..7 {
                    let list = &mut self.lists[other as usize];
                    let at = rng.below(list.len() - 1);
                    let dropped = list.swap_remove(at);
                    self.change(other, dropped, false);
                }
            }
        }
        self.dirty.entry(slot).or_default();
        self.lists.push(near);
    }
}

fn policies() {
    const ROWS: usize = 100_000;
    println!(
        "\n## Link policies: {ROWS} rows, then inserts in checkpoints, with list reads past the engine's cache"
    );
    // (name, inserts per checkpoint, checkpoints, reads per checkpoint)
    let grounds = [
        ("inserts, small checkpoints", 1_000, 40, 1_000),
        ("inserts, large checkpoints", 10_000, 8, 10_000),
        ("half and half", 1_000, 40, 16_000),
        ("reads", 1_000, 20, 200_000),
    ];
    let only = std::env::var("ASTEROID_GROUND").unwrap_or_default();
    for (name, inserts, checkpoints, reads) in
        grounds.into_iter().filter(|ground| ground.0.starts_with(&only))
    {
        println!("{name}: {inserts} inserts and {reads} reads per checkpoint, {checkpoints} checkpoints");
        for policy in LinkPolicy::ALL {
            let dir = tempfile::tempdir().unwrap();
            let kv = rocks(&dir);
            fill(&kv, ROWS, 16);
            kv.compact().unwrap();
            let (mut rng, mut state, mix) = (Rng(7), PolicyState::new(policy), Mix::default());
            let mut graph = Graph {
                lists: {
                    let mut rng = Rng(1);
                    (0..ROWS).map(|_| rng.links(ROWS, 16)).collect()
                },
                dirty: BTreeMap::new(),
                changed: BTreeMap::new(),
            };
            let (mut writing, mut reading) = (Duration::ZERO, Duration::ZERO);
            let (before, cpu_before) = (kv.written(), cpu());
            let mut pivots = 0;
            let mut lists = 0;
            for _ in 0..checkpoints {
                let stored = graph.lists.len();
                (0..inserts).for_each(|_| graph.insert(&mut rng));
                let mut batch = Batch::default();
                mix.note_writes(graph.dirty.len() as u64);
                for (slot, operand) in std::mem::take(&mut graph.dirty) {
                    let list = &graph.lists[slot as usize];
                    let changed = graph.changed.get(&slot).copied().unwrap_or(0);
                    let form = match slot as usize >= stored {
                        true => Form::Pivot,
                        false => state.choose(&mix, slot, list.len() as u32, changed),
                    };
                    match form {
                        Form::Pivot => batch.put(Space::Links, slot_key(slot), links::encode(list)),
                        Form::Delta => batch.merge(Space::Links, slot_key(slot), operand),
                    }
                    state.wrote(slot, form);
                    pivots += u64::from(form == Form::Pivot);
                    lists += 1;
                }
                graph.changed.clear();
                let began = Instant::now();
                let seq = kv.apply(&batch).unwrap();
                kv.sync(seq).unwrap();
                writing += began.elapsed();
                let view = kv.view().unwrap();
                let (began, mut sum) = (Instant::now(), 0);
                for _ in 0..reads {
                    let key = slot_key(rng.below(graph.lists.len()) as u32);
                    view.get(Space::Links, &key, &mut |value| sum += value.len()).unwrap();
                }
                reading += began.elapsed();
                black_box(sum);
                mix.note_reads(reads as u64);
            }
            // Compaction that was put off is part of the price.
            while kv.busy() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let cpu = cpu() - cpu_before;
            let (after, rows) = (kv.written(), inserts * checkpoints);
            let per_insert = |bytes: u64| bytes / rows as u64;
            println!(
                "  {:9} {:5} bytes per insert ({} flushed), {:3} % pivots, write {:6.1} us per insert, read {:5.2} us, CPU {cpu:5.2} s, {} MiB",
                policy.name(),
                per_insert(after.flushed + after.compacted - before.flushed - before.compacted),
                per_insert(after.flushed - before.flushed),
                pivots * 100 / lists,
                micros(writing, rows),
                micros(reading, reads * checkpoints),
                kv.disk() >> 20,
            );
            let view = kv.view().unwrap();
            let mut links_there = Vec::new();
            for (slot, list) in graph.lists.iter().enumerate().step_by(37) {
                let see = &mut |value: &[u8]| links::decode(value, &mut links_there).unwrap();
                assert!(view.get(Space::Links, &slot_key(slot as u32), see).unwrap());
                let mut list = list.clone();
                list.sort_unstable();
                list.dedup();
                assert_eq!(links_there, list, "slot {slot}");
            }
        }
    }
}

/// Seconds of processor time this process took, in all its threads; 0 where the system does not tell.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
