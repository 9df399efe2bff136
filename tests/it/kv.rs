//! The contracts of `Read` and `Kv`, sentence by sentence, over every store, and a random model.

use asteroid_core::Code;
use asteroid_core::bytes::MemBytes;
use asteroid_core::kv::{Batch, Flow, Kv, MemKv, Op, Range, Read, Space, Synced, links, postings};
use asteroid_native_storage::{FileBytes, RedbKv};
use asteroid_tests::rng::{Rng, seed};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use std::ops::ControlFlow;
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

pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) fn scan(view: &dyn Read, space: Space, range: &Range) -> asteroid_core::Result<Entries> {
    let mut found = Vec::new();
    view.scan(space, range, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Flow::Continue(())
    })?;
    Ok(found)
}

/// Everything a view shows, space by space.
pub(crate) fn dump(view: &dyn Read) -> asteroid_core::Result<Vec<Entries>> {
    Space::ALL.iter().map(|&space| scan(view, space, &Range::all())).collect()
}

pub(crate) fn get(view: &dyn Read, space: Space, key: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let there = view.get(space, key, &mut |value| found = Some(value.to_vec())).unwrap();
    assert_eq!(there, found.is_some());
    found
}

pub(crate) fn put(kv: &dyn Kv, space: Space, pairs: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    pairs.iter().for_each(|(key, value)| batch.put(space, *key, *value));
    kv.apply(&batch).unwrap();
}

pub(crate) fn add(link: u32) -> Vec<u8> {
    let mut operand = Vec::new();
    links::put_add(&mut operand, link);
    operand
}

fn a_view_never_changes_whatever_is_applied_after_it_was_taken(kv: &dyn Kv) {
    let empty = kv.view().unwrap();
    put(kv, Space::Ids, &[(b"a", b"1"), (b"b", b"2")]);
    let before = kv.view().unwrap();
    let mut batch = Batch::default();
    batch.put(Space::Ids, *b"a", *b"9");
    batch.delete(Space::Ids, *b"b");
    batch.put(Space::Slots, *b"c", *b"3");
    kv.apply(&batch).unwrap();
    kv.sync(u64::MAX).unwrap();
    assert!(dump(&*empty).unwrap().iter().all(Vec::is_empty));
    assert_eq!(get(&*before, Space::Ids, b"a"), Some(b"1".to_vec()));
    assert_eq!(get(&*before, Space::Ids, b"b"), Some(b"2".to_vec()));
    assert_eq!(get(&*before, Space::Slots, b"c"), None);
    let after = kv.view().unwrap();
    assert_eq!(scan(&*after, Space::Ids, &Range::all()).unwrap(), [(b"a".to_vec(), b"9".to_vec())]);
}

fn compaction_changes_nothing_and_gives_space_back(kv: &dyn Kv) {
    let value = |i: u32| Rng::new(u64::from(i)).bytes(1000);
    for i in 0..3000u32 {
        put(kv, Space::Payloads, &[(&i.to_be_bytes(), &value(i))]);
    }
    kv.sync(u64::MAX).unwrap();
    let before = kv.view().unwrap();
    let mut batch = Batch::default();
    (0..3000u32).filter(|i| i % 10 > 0).for_each(|i| batch.delete(Space::Payloads, i.to_be_bytes()));
    let seq = kv.apply(&batch).unwrap();
    // Beside a view it does what it can.
    kv.compact().unwrap();
    assert_eq!(scan(&*before, Space::Payloads, &Range::all()).unwrap().len(), 3000);
    drop(before);
    let full = kv.disk();
    kv.compact().unwrap();
    let left: Entries = (0..3000u32).step_by(10).map(|i| (i.to_be_bytes().to_vec(), value(i))).collect();
    assert!(scan(&*kv.view().unwrap(), Space::Payloads, &Range::all()).unwrap() == left);
    assert!(kv.disk() <= full && kv.disk() < 1 << 20, "{} bytes of {full} are left", kv.disk());
    put(kv, Space::Payloads, &[(b"more", b"1")]);
    kv.sync(u64::MAX).unwrap();
    assert!(kv.durable() > seq);
    assert_eq!(get(&*kv.view().unwrap(), Space::Payloads, b"more"), Some(b"1".to_vec()));
}

fn get_many_answers_every_key_once_and_agrees_with_get(kv: &dyn Kv) {
    let pairs: Vec<([u8; 2], Vec<u8>)> =
        (0..500u16).step_by(3).map(|i| (i.to_be_bytes(), vec![i as u8; i as usize % 40])).collect();
    let mut batch = Batch::default();
    pairs.iter().for_each(|(key, value)| batch.put(Space::Payloads, *key, value.clone()));
    kv.apply(&batch).unwrap();
    let view = kv.view().unwrap();
    // Unsorted, with keys that are absent and keys asked for twice.
    let asked: Vec<[u8; 2]> = (0..600u32).map(|i| ((i * 7919 % 520) as u16).to_be_bytes()).collect();
    let keys: Vec<&[u8]> = asked.iter().map(|key| &key[..]).collect();
    let mut answers = vec![None; keys.len()];
    view.get_many(Space::Payloads, &keys, &mut |i, value| {
        assert!(answers[i].is_none(), "answered twice");
        answers[i] = Some(value.map(<[u8]>::to_vec));
    })
    .unwrap();
    for (key, answer) in keys.iter().zip(answers) {
        assert_eq!(answer.expect("answered"), get(&*view, Space::Payloads, key));
    }
    view.get_many(Space::Payloads, &[], &mut |_, _| panic!("nothing was asked")).unwrap();
}

fn scan_visits_keys_in_ascending_unsigned_byte_order(kv: &dyn Kv) {
    let keys: [&[u8]; 9] =
        [b"\x80", b"", b"\x7f", b"\xff\xff", b"\x00", b"a", b"\xff", b"a\x00", b"\x00\x00"];
    put(kv, Space::Meta, &keys.map(|key| (key, key)));
    let view = kv.view().unwrap();
    let mut sorted = keys.map(<[u8]>::to_vec);
    sorted.sort();
    let found = scan(&*view, Space::Meta, &Range::all()).unwrap();
    assert_eq!(found.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), sorted);
    for range in [
        Range::all(),
        Range::from(*b"\x00"),
        Range::from(*b"\xff\xff\x00"),
        Range::between(*b"\x00\x00", *b"a"),
        Range::between(*b"a", *b"a"),
        Range::between(*b"b", *b"a"),
        Range::prefix(b"a"),
        Range::prefix(b"\xff"),
        Range::prefix(b""),
    ] {
        let want: Vec<_> = sorted.iter().filter(|key| range.contains(key)).cloned().collect();
        let found: Vec<_> =
            scan(&*view, Space::Meta, &range).unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(found, want, "{range:?}");
    }
}

fn scan_stops_when_told_to(kv: &dyn Kv) {
    put(kv, Space::Meta, &[(b"a", b""), (b"b", b""), (b"c", b"")]);
    let mut seen = Vec::new();
    let stop_at_b = &mut |key: &[u8], _: &[u8]| {
        seen.push(key.to_vec());
        if key == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    kv.view().unwrap().scan(Space::Meta, &Range::all(), stop_at_b).unwrap();
    assert_eq!(seen, [b"a", b"b"]);
}

fn spaces_are_apart(kv: &dyn Kv) {
    for space in Space::ALL {
        put(kv, space, &[(b"key", space.name().as_bytes())]);
    }
    let view = kv.view().unwrap();
    for space in Space::ALL {
        assert_eq!(get(&*view, space, b"key").unwrap(), space.name().as_bytes());
    }
}

fn apply_counts_batches_and_is_visible_to_later_views_on_return(kv: &dyn Kv) {
    for i in 1..20u64 {
        let mut batch = Batch::default();
        batch.put(Space::Meta, *b"n", i.to_be_bytes());
        assert_eq!(kv.apply(&batch).unwrap(), i);
        assert_eq!(get(&*kv.view().unwrap(), Space::Meta, b"n").unwrap(), i.to_be_bytes());
    }
    assert_eq!(kv.apply(&Batch::default()).unwrap(), 20, "an empty batch counts too");
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

fn operations_inside_a_batch_take_effect_in_order(kv: &dyn Kv) {
    put(kv, Space::Ids, &[(b"a", b"0"), (b"b", b"0"), (b"c", b"0"), (b"d", b"0")]);
    let mut batch = Batch::default();
    batch.put(Space::Ids, *b"a", *b"1");
    batch.put(Space::Ids, *b"a", *b"2");
    batch.delete(Space::Ids, *b"b");
    batch.put(Space::Ids, *b"b", *b"3");
    batch.put(Space::Ids, *b"bb", *b"4");
    batch.delete_range(Space::Ids, Range::between(*b"bb", *b"d"));
    batch.put(Space::Ids, *b"c", *b"5");
    batch.delete(Space::Ids, *b"absent");
    batch.merge(Space::Links, *b"l", add(7));
    batch.delete(Space::Links, *b"l");
    batch.merge(Space::Links, *b"l", add(8));
    kv.apply(&batch).unwrap();
    let view = kv.view().unwrap();
    let want: [(&[u8], &[u8]); 4] = [(b"a", b"2"), (b"b", b"3"), (b"c", b"5"), (b"d", b"0")];
    let want = want.map(|(key, value)| (key.to_vec(), value.to_vec()));
    assert_eq!(scan(&*view, Space::Ids, &Range::all()).unwrap(), want);
    assert_eq!(get(&*view, Space::Links, b"l").unwrap(), links::encode(&[8]));
}

fn a_range_is_deleted_to_its_bounds(kv: &dyn Kv) {
    let keys: Vec<[u8; 2]> = (0..1000u16).map(u16::to_be_bytes).collect();
    let fill = || {
        let mut batch = Batch::default();
        keys.iter().for_each(|key| batch.put(Space::Dead, *key, *b""));
        kv.apply(&batch).unwrap();
    };
    for range in [
        Range::between(10u16.to_be_bytes(), 900u16.to_be_bytes()),
        Range::between(900u16.to_be_bytes(), 10u16.to_be_bytes()),
        Range::from(700u16.to_be_bytes()),
        Range::prefix(&[1]),
        Range::all(),
    ] {
        fill();
        let mut batch = Batch::default();
        batch.delete_range(Space::Dead, range.clone());
        kv.apply(&batch).unwrap();
        let want: Vec<_> =
            keys.iter().filter(|key| !range.contains(&key[..])).map(|key| (key.to_vec(), vec![])).collect();
        assert!(scan(&*kv.view().unwrap(), Space::Dead, &Range::all()).unwrap() == want, "{range:?}");
    }
}

fn a_merge_reads_back_as_the_fold_of_the_earlier_value_and_the_operands(kv: &dyn Kv) {
    let mut model: Option<Vec<u8>> = None;
    let mut rng = Rng::new(3);
    for round in 0..30 {
        let mut operands = Vec::new();
        for _ in 0..1 + rng.below(4) {
            let mut operand = Vec::new();
            for _ in 0..rng.below(5) {
                let slot = rng.below(40) as u32;
                match rng.below(3) {
                    0 => links::put_drop(&mut operand, slot),
                    1 => links::put_add(&mut operand, slot),
                    _ => links::put_add(&mut operand, slot | links::TREE),
                }
            }
            operands.push(operand);
        }
        if round == 10 {
            put(kv, Space::Links, &[(b"node", &links::encode(&[1, 2, 3]))]);
            model = Some(links::encode(&[1, 2, 3]));
        }
        let mut batch = Batch::default();
        operands.iter().for_each(|operand| batch.merge(Space::Links, *b"node", operand.clone()));
        kv.apply(&batch).unwrap();
        let operands: Vec<&[u8]> = operands.iter().map(Vec::as_slice).collect();
        model = Space::Links.fold(model.as_deref(), &operands).unwrap();
        assert_eq!(get(&*kv.view().unwrap(), Space::Links, b"node"), model);
    }
}

fn a_merge_to_nothing_leaves_no_entry(kv: &dyn Kv) {
    let change = |slot: u32, remove: bool| {
        let mut operand = Vec::new();
        postings::put(&mut operand, slot, remove);
        let mut batch = Batch::default();
        batch.merge(Space::Postings, *b"term", operand);
        kv.apply(&batch).unwrap();
    };
    let shown = || {
        let view = kv.view().unwrap();
        let one = get(&*view, Space::Postings, b"term");
        let mut many = None;
        let see = &mut |_, value: Option<&[u8]>| many = value.map(<[u8]>::to_vec);
        view.get_many(Space::Postings, &[b"term"], see).unwrap();
        let all = scan(&*view, Space::Postings, &Range::all()).unwrap();
        assert_eq!((&one, all.first().map(|(_, value)| value)), (&many, one.as_ref()));
        one
    };
    for sync in [false, true] {
        change(7, false);
        assert_eq!(shown(), postings::encode(&[7]));
        change(7, true);
        assert_eq!(shown(), None);
        if sync {
            kv.sync(u64::MAX).unwrap();
        }
        change(9, true);
        assert_eq!(shown(), None);
        change(8, false);
        assert_eq!(shown(), postings::encode(&[8]));
        change(8, true);
    }
}

fn a_failed_apply_leaves_nothing_of_its_batch_and_poisons_the_handle(kv: &dyn Kv) {
    put(kv, Space::Ids, &[(b"a", b"0")]);
    let before = dump(&*kv.view().unwrap()).unwrap();
    let mut batch = Batch::default();
    batch.put(Space::Ids, *b"a", *b"1");
    batch.merge(Space::Links, *b"l", add(1));
    batch.merge(Space::Links, *b"l", [0x80]);
    assert_eq!(kv.apply(&batch).unwrap_err().code(), Code::Corrupt, "the operand does not decode");
    assert_eq!(dump(&*kv.view().unwrap()).unwrap(), before);
    for batch in [Batch::default(), batch] {
        assert_eq!(kv.apply(&batch).unwrap_err().code(), Code::Poisoned);
    }
    assert_eq!(dump(&*kv.view().unwrap()).unwrap(), before, "reading goes on");
}

fn a_merge_outside_links_is_refused(kv: &dyn Kv) {
    let mut batch = Batch::default();
    batch.merge(Space::Meta, *b"a", *b"b");
    assert_eq!(kv.apply(&batch).unwrap_err().code(), Code::Internal);
}

fn sync_makes_durable_what_was_applied(kv: &dyn Kv) {
    put(kv, Space::Meta, &[(b"a", b"1")]);
    put(kv, Space::Meta, &[(b"a", b"2")]);
    if kv.sync(1).unwrap() == Synced::Done {
        assert!(kv.durable() >= 1);
    }
    if kv.sync(2).unwrap() == Synced::Done {
        assert_eq!(kv.durable(), 2);
    }
    kv.sync(2).unwrap();
}

fn large_and_empty_values_come_back_whole(kv: &dyn Kv) {
    let large = Rng::new(5).bytes((1 << 20) + 17);
    let key = [0xab; 600];
    put(kv, Space::Payloads, &[(b"", b""), (b"large", &large), (&key, b"long key")]);
    kv.sync(1).unwrap();
    let view = kv.view().unwrap();
    assert_eq!(get(&*view, Space::Payloads, b""), Some(vec![]));
    assert!(get(&*view, Space::Payloads, b"large").unwrap() == large);
    assert_eq!(get(&*view, Space::Payloads, &key), Some(b"long key".to_vec()));
    let _ = (kv.memory(), kv.disk());
}

fn a_sorted_load_equals_puts(kv: &dyn Kv) {
    let entry = |i: u32| (i.to_be_bytes().to_vec(), Rng::new(i.into()).bytes(i as usize % 90));
    put(kv, Space::Slots, &[(&5u32.to_be_bytes(), b"old"), (b"a", b"stays")]);
    let before = kv.view().unwrap();
    let seq = kv.load_sorted(Space::Slots, &mut (0..40_000).map(|i| Ok(entry(i)))).unwrap();
    assert_eq!(get(&*before, Space::Slots, &5u32.to_be_bytes()), Some(b"old".to_vec()), "a view is frozen");
    put(kv, Space::Slots, &[(&6u32.to_be_bytes(), b"new")]);
    assert_eq!(kv.apply(&Batch::default()).unwrap(), seq + 2);
    let mut want: Vec<_> = (0..40_000).map(entry).collect();
    want[6].1 = b"new".to_vec();
    want.push((b"a".to_vec(), b"stays".to_vec()));
    assert!(scan(&*kv.view().unwrap(), Space::Slots, &Range::all()).unwrap() == want);
    let seq = kv.load_sorted(Space::Ids, &mut std::iter::empty()).unwrap();
    kv.sync(seq).unwrap();
    assert_eq!(kv.durable(), seq);
}

fn a_load_out_of_order_is_refused(kv: &dyn Kv) {
    for second in [b"b", b"a"] {
        let entries = [(b"b".to_vec(), vec![]), (second.to_vec(), vec![])];
        let refused = kv.load_sorted(Space::Ids, &mut entries.into_iter().map(Ok)).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let mut broken =
        [Ok((b"a".to_vec(), vec![])), Err(asteroid_core::Error::corrupt("its source"))].into_iter();
    assert_eq!(kv.load_sorted(Space::Ids, &mut broken).unwrap_err().code(), Code::Corrupt);
    kv.apply(&Batch::default()).unwrap();
}

macro_rules! suite {
    ($backend:ident: $($sentence:ident),* $(,)?) => {
        mod $backend {
            $(#[test]
            fn $sentence() {
                super::$sentence(&*super::$backend().kv);
            })*
        }
    };
}

macro_rules! suites {
    ($($backend:ident),*) => {$(
        suite!($backend:
            a_view_never_changes_whatever_is_applied_after_it_was_taken,
            compaction_changes_nothing_and_gives_space_back,
            get_many_answers_every_key_once_and_agrees_with_get,
            scan_visits_keys_in_ascending_unsigned_byte_order,
            scan_stops_when_told_to,
            spaces_are_apart,
            apply_counts_batches_and_is_visible_to_later_views_on_return,
            no_view_sees_half_a_batch,
            operations_inside_a_batch_take_effect_in_order,
            a_range_is_deleted_to_its_bounds,
            a_merge_reads_back_as_the_fold_of_the_earlier_value_and_the_operands,
            a_merge_to_nothing_leaves_no_entry,
            a_failed_apply_leaves_nothing_of_its_batch_and_poisons_the_handle,
            a_merge_outside_links_is_refused,
            sync_makes_durable_what_was_applied,
            large_and_empty_values_come_back_whole,
            a_sorted_load_equals_puts,
            a_load_out_of_order_is_refused,
        );
    )*};
}

suites!(mem, redb_in_memory, redb_in_a_file);
#[cfg(feature = "rocksdb")]
suites!(rocksdb);

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
            Space::Links | Space::Postings => Op::Delete(space, key),
            _ => Op::Put(space, key, value),
        }),
        3 => (key.clone(), pivot).prop_map(|(key, value)| Op::Put(Space::Links, key, value)),
        5 => (key.clone(), delta).prop_map(|(key, delta)| Op::Merge(Space::Links, key, delta)),
        3 => (key.clone(), words).prop_map(|(key, words)| Op::Merge(Space::Postings, key, words)),
        3 => (space.clone(), key).prop_map(|(space, key)| Op::Delete(space, key)),
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
