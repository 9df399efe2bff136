//! Folding deltas ahead of time on RocksDB: nothing reads differently, and nothing waits for it.

use asteroid_core::kv::{Batch, Kv, Space, links, slot_key};
use asteroid_core::{
    Config, Control, Id, Index, LinkPolicy, Metric, Mode, Options, Quantization, Rows, SearchParams, Stores,
};
use asteroid_native_storage::{FileBytes, RocksKv};
use asteroid_tests::rng::{Rng, seed};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

fn put(kv: &RocksKv, slots: u32) {
    let mut batch = Batch::default();
    (0..slots).for_each(|slot| batch.put(Space::Links, slot_key(slot), links::encode(&[slot + 1])));
    kv.sync(kv.apply(&batch).unwrap()).unwrap();
}

fn add(kv: &RocksKv, slots: u32, link: u32) {
    let mut batch = Batch::default();
    for slot in 0..slots {
        let mut operand = Vec::new();
        links::put_add(&mut operand, link);
        batch.merge(Space::Links, slot_key(slot), operand);
    }
    kv.sync(kv.apply(&batch).unwrap()).unwrap();
}

fn settled(kv: &RocksKv) {
    while kv.busy() {
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn folding_leaves_no_deltas_and_every_list() {
    const SLOTS: u32 = 3000;
    let dir = tempfile::tempdir().unwrap();
    let kv = RocksKv::open(dir.path(), 8 << 20, false).unwrap();
    assert_eq!(kv.unfolded(Space::Links), 0);
    put(&kv, SLOTS);
    assert_eq!(kv.unfolded(Space::Links), 0);
    add(&kv, SLOTS, 9_000);
    add(&kv, SLOTS / 2, 9_001);
    assert_eq!(kv.unfolded(Space::Links), u64::from(SLOTS + SLOTS / 2));
    kv.fold(Space::Links);
    // A second hint while one is followed is none.
    kv.fold(Space::Links);
    settled(&kv);
    assert_eq!(kv.unfolded(Space::Links), 0);
    let mut list = Vec::new();
    for slot in 0..SLOTS {
        let view = kv.view().unwrap();
        let see = &mut |value: &[u8]| links::decode(value, &mut list).unwrap();
        assert!(view.get(Space::Links, &slot_key(slot), see).unwrap());
        let second = (slot < SLOTS / 2).then_some(9_001);
        assert_eq!(list, [slot + 1, 9_000].into_iter().chain(second).collect::<Vec<_>>());
    }
}

#[test]
fn closing_while_folding_keeps_what_was_synced() {
    const SLOTS: u32 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let kv = RocksKv::open(dir.path(), 8 << 20, false).unwrap();
        if round == 0 {
            put(&kv, SLOTS);
        }
        add(&kv, SLOTS, 50_000 + round);
        kv.fold(Space::Links);
        drop(kv);
    }
    let kv = RocksKv::open_existing(dir.path(), 8 << 20).unwrap();
    let view = kv.view().unwrap();
    let mut list = Vec::new();
    for slot in 0..SLOTS {
        let see = &mut |value: &[u8]| links::decode(value, &mut list).unwrap();
        assert!(view.get(Space::Links, &slot_key(slot), see).unwrap());
        let added = (50_000..50_005).collect::<Vec<_>>();
        assert_eq!(list, [&[slot + 1], &added[..]].concat());
    }
}

#[test]
fn searches_that_meet_many_deltas_have_them_folded_under_the_adaptive_policy_alone() {
    const DIM: u32 = 16;
    for (policy, folds) in [(LinkPolicy::Adaptive, true), (LinkPolicy::Lazy, false)] {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| Arc::new(FileBytes::open(&dir.path().join(name), true).unwrap());
        let open = || {
            let kv = Arc::new(RocksKv::open(&dir.path().join("kv"), 1 << 20, false).unwrap());
            let stores = Stores { kv: kv.clone(), vectors: file("vectors"), journal: file("journal") };
            // Without codes vectors have most of the cache, so that searches read lists from the store again and again.
            let options = Options {
                cache_bytes: 4 << 20,
                link_policy: Some(policy),
                quantization: Quantization::None,
                ..Options::default()
            };
            (kv, Index::open(stores, Config::new(DIM, Metric::L2), options).unwrap())
        };
        let mut rng = Rng::new(seed());
        let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.below(1000) as f32).collect() };
        for part in 0..3u64 {
            let (_, index) = open();
            let ids: Vec<Id> = (part * 4000..part * 4000 + 4000).map(Id::from).collect();
            let vectors = numbers(4000 * DIM as usize);
            let rows = Rows { ids: Some(&ids), vectors: &vectors, payloads: &[] };
            index.insert_many(rows, Mode::Insert, &asteroid_core::Serial, &Control::NONE).unwrap();
            index.close().unwrap();
        }
        let (kv, index) = open();
        settled(&kv);
        assert!(kv.unfolded(Space::Links) > 0, "inserts leave deltas");
        for query in numbers(3000 * DIM as usize).chunks_exact(DIM as usize) {
            let hits = index.search(query, &SearchParams::default(), &Control::NONE).unwrap();
            assert_eq!(hits.len(), 10);
        }
        settled(&kv);
        assert_eq!(kv.unfolded(Space::Links) == 0, folds, "{}", policy.name());
        let report = index.check(&Control::NONE).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }
}
