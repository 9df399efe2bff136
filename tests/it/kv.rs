//! The contracts of `Read` and `Kv` over every store, and a random model.

use asteroid_core::Code;
use asteroid_core::bytes::MemBytes;
use asteroid_core::kv::{Batch, Kv, MemKv, Op, Range, Space, Synced, links, postings};
use asteroid_native_storage::{FileBytes, RedbKv};
use asteroid_tests::kv::{dump, get, put, scan};
use asteroid_tests::kv_sentences;
use asteroid_tests::rng::seed;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A store to test, with what must outlive it.
struct Made {
    kv: Box<dyn Kv + Send + Sync>,
    _dir: Option<tempfile::TempDir>,
}

fn mem() -> Made {
    Made { kv: Box::new(MemKv::default()), _dir: None }
}

fn redb_in_memory() -> Made {
    let kv = RedbKv::open(Arc::new(MemBytes::default()), 1 << 20, false).unwrap();
    Made { kv: Box::new(kv), _dir: None }
}

fn redb_in_a_file() -> Made {
    let dir = tempfile::tempdir().unwrap();
    let file = Arc::new(FileBytes::open(&dir.path().join("graph.redb"), true).unwrap());
    Made { kv: Box::new(RedbKv::open(file, 1 << 20, false).unwrap()), _dir: Some(dir) }
}

#[cfg(feature = "rocksdb")]
fn rocksdb() -> Made {
    let dir = tempfile::tempdir().unwrap();
    let kv = asteroid_native_storage::RocksKv::open(dir.path(), 1 << 20, false).unwrap();
    Made { kv: Box::new(kv), _dir: Some(dir) }
}

fn no_view_sees_half_a_batch(kv: &(dyn Kv + Sync)) {
    let done = AtomicBool::new(false);
    let write = |i: u64| {
        let mut batch = Batch::default();
        for key in 0..40u8 {
            batch.put(Space::Ids, [key], i.to_be_bytes());
            batch.put(Space::Slots, [key], i.to_be_bytes());
        }
        kv.apply(&batch).unwrap();
    };
    write(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..200).for_each(write);
            done.store(true, Ordering::Release);
        });
        let mut last = Vec::new();
        while !done.load(Ordering::Acquire) {
            let view = kv.view().unwrap();
            let mut found = scan(&*view, Space::Ids, &Range::all()).unwrap();
            found.extend(scan(&*view, Space::Slots, &Range::all()).unwrap());
            assert_eq!(found.len(), 80);
            assert!(found.iter().all(|(_, value)| *value == found[0].1), "half a batch");
            assert!(found[0].1 >= last, "batches are ordered");
            last = found[0].1.clone();
        }
    });
}

macro_rules! suite {
    ($backend:ident: $($sentence:ident)*) => {
        mod $backend {
            $(#[test]
            fn $sentence() {
                asteroid_tests::kv::$sentence(&*super::$backend().kv);
            })*

            #[test]
            fn no_view_sees_half_a_batch() {
                super::no_view_sees_half_a_batch(&*super::$backend().kv);
            }
        }
    };
}

kv_sentences!(suite mem);
kv_sentences!(suite redb_in_memory);
kv_sentences!(suite redb_in_a_file);
#[cfg(feature = "rocksdb")]
kv_sentences!(suite rocksdb);

#[test]
fn a_closed_store_keeps_everything_applied() {
    let bytes = Arc::new(MemBytes::default());
    put(&RedbKv::open(bytes.clone(), 1 << 20, false).unwrap(), Space::Meta, &[(b"a", b"1")]);
    let kv = RedbKv::open_existing(bytes, 1 << 20).unwrap();
    assert_eq!(get(&*kv.view().unwrap(), Space::Meta, b"a"), Some(b"1".to_vec()));
    assert_eq!((kv.durable(), kv.apply(&Batch::default()).unwrap()), (0, 1), "counting begins anew");
}

#[test]
fn a_read_only_store_shows_everything_and_keeps_what_is_applied_to_itself() {
    let bytes = Arc::new(MemBytes::default());
    put(&RedbKv::open(bytes.clone(), 1 << 20, false).unwrap(), Space::Meta, &[(b"a", b"1")]);
    // Left as a killed process would leave it: recovery is due.
    let unclean = {
        let kv = RedbKv::open(bytes.clone(), 1 << 20, false).unwrap();
        put(&kv, Space::Meta, &[(b"a", b"2")]);
        kv.sync(1).unwrap();
        Arc::new(MemBytes::new(bytes.to_vec()))
    };
    for (bytes, value) in [(bytes, b"2"), (unclean, b"2")] {
        let before = bytes.to_vec();
        let kv = RedbKv::open(bytes.clone(), 1 << 20, true).unwrap();
        assert_eq!(get(&*kv.view().unwrap(), Space::Meta, b"a"), Some(value.to_vec()));
        put(&kv, Space::Meta, &[(b"a", b"3")]);
        kv.sync(1).unwrap();
        assert_eq!(get(&*kv.view().unwrap(), Space::Meta, b"a"), Some(b"3".to_vec()));
        assert!(kv.memory() > 0);
        drop(kv);
        assert!(bytes.to_vec() == before);
    }
}

#[test]
fn an_empty_file_is_no_store_where_one_must_exist() {
    for bytes in [MemBytes::default(), MemBytes::new(vec![0; 100_000])] {
        let bytes: Arc<MemBytes> = Arc::new(bytes);
        assert_eq!(RedbKv::open(bytes.clone(), 1 << 20, true).map(drop).unwrap_err().code(), Code::Corrupt);
        assert_eq!(
            RedbKv::open_existing(bytes.clone(), 1 << 20).map(drop).unwrap_err().code(),
            Code::Corrupt
        );
        RedbKv::open(bytes, 1 << 20, false).unwrap();
    }
}

#[test]
fn somebody_elses_file_is_corrupt_and_left_alone() {
    let text = b"dear diary ".repeat(10_000);
    let bytes = Arc::new(MemBytes::new(text.clone()));
    for read_only in [false, true] {
        let refused = RedbKv::open(bytes.clone(), 1 << 20, read_only).map(drop).unwrap_err();
        assert_eq!(refused.code(), Code::Corrupt);
    }
    assert_eq!(bytes.to_vec(), text);
}

/// One step of the random model.
#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Op>),
    Sync,
    TakeView,
    DropViews,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let space = prop::sample::select(Space::ALL.to_vec());
    let key = prop_oneof![
        4 => prop::collection::vec(0..4u8, 0..3),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let value = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..60),
        1 => (any::<u8>(), 0..9000usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let range = (key.clone(), prop::option::of(key.clone())).prop_map(|(start, end)| Range { start, end });
    let delta = prop::collection::vec((0..12u32, any::<bool>(), any::<bool>()), 0..4).prop_map(|edges| {
        let mut operand = Vec::new();
        for (slot, tree, drop) in edges {
            match drop {
                true => links::put_drop(&mut operand, slot),
                false => links::put_add(&mut operand, slot | if tree { links::TREE } else { 0 }),
            }
        }
        operand
    });
    let pivot = prop::collection::btree_set(0..12u32, 0..6)
        .prop_map(|slots| links::encode(&slots.into_iter().collect::<Vec<_>>()));
    // Few rows, so that terms come and go.
    let words = prop::collection::vec((0..3u32, any::<bool>()), 0..4).prop_map(|words| {
        let mut operand = Vec::new();
        words.into_iter().for_each(|(slot, remove)| postings::put(&mut operand, slot, remove));
        operand
    });
    let op = prop_oneof![
        8 => (space.clone(), key.clone(), value).prop_map(|(space, key, value)| match space {
            Space::Links | Space::Postings => Op::Delete(space, key.into()),
            _ => Op::Put(space, key.into(), value.into()),
        }),
        3 => (key.clone(), pivot).prop_map(|(key, value)| Op::Put(Space::Links, key.into(), value.into())),
        5 => (key.clone(), delta).prop_map(|(key, delta)| Op::Merge(Space::Links, key.into(), delta.into())),
        3 => (key.clone(), words).prop_map(|(key, words)| Op::Merge(Space::Postings, key.into(), words.into())),
        3 => (space.clone(), key).prop_map(|(space, key)| Op::Delete(space, key.into())),
        1 => (space, range).prop_map(|(space, range)| Op::DeleteRange(space, range)),
    ];
    prop_oneof![
        10 => prop::collection::vec(op, 0..12).prop_map(Step::Apply),
        2 => Just(Step::Sync),
        2 => Just(Step::TakeView),
        1 => Just(Step::DropViews),
        1 => Just(Step::Reopen),
    ]
}

#[test]
fn redb_equals_the_model_under_random_batches_views_and_reopening() {
    equals_the_model(300, || {
        let bytes = Arc::new(MemBytes::default());
        // A cache of next to nothing sends pages through the file.
        move || Box::new(RedbKv::open(bytes.clone(), 8192, false).unwrap()) as _
    });
}

/// Runs random steps over new stores and the model; `new` answers with what opens its store, again and again.
pub(crate) fn equals_the_model<O: FnMut() -> Box<dyn Kv>>(cases: u32, new: impl Fn() -> O) {
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..Default::default()
    };
    let steps = prop::collection::vec(step(), 1..40);
    TestRunner::new(config)
        .run(&steps, |steps| {
            let mut open = new();
            let model = MemKv::default();
            let mut steps = &steps[..];
            while !steps.is_empty() {
                let kv = open();
                let ours = dump(&*kv.view().unwrap()).unwrap();
                prop_assert_eq!(ours, dump(&*model.view().unwrap()).unwrap());
                let mut views = Vec::new();
                while let Some((step, rest)) = steps.split_first() {
                    steps = rest;
                    match step {
                        Step::Apply(ops) => {
                            let mut batch = Batch::default();
                            ops.iter().for_each(|op| batch.push(op.clone()));
                            kv.apply(&batch).unwrap();
                            model.apply(&batch).unwrap();
                        }
                        Step::Sync => assert_eq!(kv.sync(u64::MAX).unwrap(), Synced::Done),
                        Step::TakeView => views.push((kv.view().unwrap(), model.view().unwrap())),
                        Step::DropViews => views.clear(),
                        Step::Reopen => break,
                    }
                }
                views.push((kv.view().unwrap(), model.view().unwrap()));
                for (ours, model) in &views {
                    prop_assert_eq!(dump(&**ours).unwrap(), dump(&**model).unwrap());
                }
            }
            Ok(())
        })
        .unwrap();
}
