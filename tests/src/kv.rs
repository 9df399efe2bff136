//! The contracts of `Read` and `Kv`, sentence by sentence, for every store on every host.

use crate::rng::Rng;
use asteroid_core::Code;
use asteroid_core::kv::{Batch, Flow, Kv, Range, Read, Space, Synced, links, postings};
use std::ops::ControlFlow;

/// Gives the names of all sentences to a macro, after what else it is to be given.
#[macro_export]
macro_rules! kv_sentences {
    ($use:ident $($before:ident)?) => {
        $use! { $($before:)?
            a_view_never_changes_whatever_is_applied_after_it_was_taken
            compaction_changes_nothing_and_gives_space_back
            get_many_answers_every_key_once_and_agrees_with_get
            scan_visits_keys_in_ascending_unsigned_byte_order
            scan_stops_when_told_to
            spaces_are_apart
            apply_counts_batches_and_is_visible_to_later_views_on_return
            operations_inside_a_batch_take_effect_in_order
            a_range_is_deleted_to_its_bounds
            a_merge_reads_back_as_the_fold_of_the_earlier_value_and_the_operands
            a_merge_to_nothing_leaves_no_entry
            a_failed_apply_leaves_nothing_of_its_batch_and_poisons_the_handle
            a_merge_outside_links_is_refused
            sync_makes_durable_what_was_applied
            large_and_empty_values_come_back_whole
            a_sorted_load_equals_puts
            a_load_out_of_order_is_refused
        }
    };
}

macro_rules! table {
    ($($sentence:ident)*) => {
        /// All sentences with their names. Each wants an empty store.
        pub const SENTENCES: &[(&str, fn(&dyn Kv))] = &[$((stringify!($sentence), $sentence)),*];
    };
}

kv_sentences!(table);

/// Keys with their values, in order.
pub type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// What a view shows of `range`.
pub fn scan(view: &dyn Read, space: Space, range: &Range) -> asteroid_core::Result<Entries> {
    let mut found = Vec::new();
    view.scan(space, range, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Flow::Continue(())
    })?;
    Ok(found)
}

/// Everything a view shows, space by space.
pub fn dump(view: &dyn Read) -> asteroid_core::Result<Vec<Entries>> {
    Space::ALL.iter().map(|&space| scan(view, space, &Range::all())).collect()
}

/// The value of a key, by a look-up that must agree with what it hands out.
pub fn get(view: &dyn Read, space: Space, key: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let there = view.get(space, key, &mut |value| found = Some(value.to_vec())).unwrap();
    assert_eq!(there, found.is_some());
    found
}

/// Applies one batch of puts.
pub fn put(kv: &dyn Kv, space: Space, pairs: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    pairs.iter().for_each(|(key, value)| batch.put(space, *key, *value));
    kv.apply(&batch).unwrap();
}

/// The merge operand that adds a link.
pub fn add(link: u32) -> Vec<u8> {
    let mut operand = Vec::new();
    links::put_add(&mut operand, link);
    operand
}

/// A view never changes whatever is applied after it was taken.
pub fn a_view_never_changes_whatever_is_applied_after_it_was_taken(kv: &dyn Kv) {
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

/// What is deleted no longer takes space once the store was compacted, and all else is there, before it and after.
pub fn compaction_changes_nothing_and_gives_space_back(kv: &dyn Kv) {
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
    let all = dump(&*kv.view().unwrap()).unwrap();
    kv.trim();
    assert!(dump(&*kv.view().unwrap()).unwrap() == all);
}

/// Get many answers every key once and agrees with get.
pub fn get_many_answers_every_key_once_and_agrees_with_get(kv: &dyn Kv) {
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

/// Scan visits keys in ascending unsigned byte order.
pub fn scan_visits_keys_in_ascending_unsigned_byte_order(kv: &dyn Kv) {
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

/// Scan stops when told to.
pub fn scan_stops_when_told_to(kv: &dyn Kv) {
    put(kv, Space::Meta, &[(b"a", b""), (b"b", b""), (b"c", b"")]);
    let mut seen = Vec::new();
    let stop_at_b = &mut |key: &[u8], _: &[u8]| {
        seen.push(key.to_vec());
        if key == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    kv.view().unwrap().scan(Space::Meta, &Range::all(), stop_at_b).unwrap();
    assert_eq!(seen, [b"a", b"b"]);
}

/// Spaces are apart.
pub fn spaces_are_apart(kv: &dyn Kv) {
    for space in Space::ALL {
        put(kv, space, &[(b"key", space.name().as_bytes())]);
    }
    let view = kv.view().unwrap();
    for space in Space::ALL {
        assert_eq!(get(&*view, space, b"key").unwrap(), space.name().as_bytes());
    }
}

/// Apply counts batches and is visible to later views on return.
pub fn apply_counts_batches_and_is_visible_to_later_views_on_return(kv: &dyn Kv) {
    for i in 1..20u64 {
        let mut batch = Batch::default();
        batch.put(Space::Meta, *b"n", i.to_be_bytes());
        assert_eq!(kv.apply(&batch).unwrap(), i);
        assert_eq!(get(&*kv.view().unwrap(), Space::Meta, b"n").unwrap(), i.to_be_bytes());
    }
    assert_eq!(kv.apply(&Batch::default()).unwrap(), 20, "an empty batch counts too");
}

/// Operations inside a batch take effect in order.
pub fn operations_inside_a_batch_take_effect_in_order(kv: &dyn Kv) {
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

/// A range is deleted to its bounds.
pub fn a_range_is_deleted_to_its_bounds(kv: &dyn Kv) {
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

/// A merge reads back as the fold of the earlier value and the operands.
pub fn a_merge_reads_back_as_the_fold_of_the_earlier_value_and_the_operands(kv: &dyn Kv) {
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

/// A merge to nothing leaves no entry.
pub fn a_merge_to_nothing_leaves_no_entry(kv: &dyn Kv) {
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

/// A failed apply leaves nothing of its batch and poisons the handle.
pub fn a_failed_apply_leaves_nothing_of_its_batch_and_poisons_the_handle(kv: &dyn Kv) {
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

/// A merge outside links is refused.
pub fn a_merge_outside_links_is_refused(kv: &dyn Kv) {
    let mut batch = Batch::default();
    batch.merge(Space::Meta, *b"a", *b"b");
    assert_eq!(kv.apply(&batch).unwrap_err().code(), Code::Internal);
}

/// Sync makes durable what was applied.
pub fn sync_makes_durable_what_was_applied(kv: &dyn Kv) {
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

/// Large and empty values come back whole.
pub fn large_and_empty_values_come_back_whole(kv: &dyn Kv) {
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

/// A sorted load equals puts.
pub fn a_sorted_load_equals_puts(kv: &dyn Kv) {
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

/// A load out of order is refused.
pub fn a_load_out_of_order_is_refused(kv: &dyn Kv) {
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
