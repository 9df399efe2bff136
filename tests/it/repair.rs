//! Databases whose derived parts are damaged are made whole again; what cannot be is named.

use asteroid_core::kv::{Batch, Flow, Kv, Range, Space, links};
use asteroid_core::{Control, Id, Index, Metric, Mode, OpenRequest, Options, SearchParams, StoreKind};
use asteroid_native_storage::{Place, open_stores};
use asteroid_tests::model::{Model, Write, assert_sound, run};
use asteroid_tests::over_stores;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::{Rng, seed};
use std::path::Path;

const DIM: usize = 8;
const ROWS: u64 = 1500;

fn place(dir: &Path) -> Place {
    Place { dir: dir.join("db"), vector_file: None }
}

/// Rows with payloads, some twins, some dead and still nodes, some places free.
fn filled(dir: &Path, store: StoreKind, rng: &mut Rng) -> Model {
    let request = OpenRequest {
        dim: Some(DIM as u32),
        metric: Some(Metric::L2),
        store: Some(store),
        ..OpenRequest::default()
    };
    let database = asteroid_native_storage::open(&place(dir), &request).unwrap();
    let (mut model, pool) = (Model::new(DIM, Metric::L2), Threads::new(2));
    let mut write = |write: Write| {
        let want = model.apply(&write);
        assert_eq!(run(&database.index, &write, &pool).map_err(|error| error.code()), want);
    };
    let vectors: Vec<f32> = (0..ROWS as usize * DIM).map(|_| rng.below(1 << 20) as f32 / 65_536.0).collect();
    let payloads = (0..ROWS).map(|i| Some(format!("{{\"n\":{},\"m\":{i}}}", i % 9))).collect();
    write(Write::Many(Some((0..ROWS).map(Id::from).collect()), vectors.clone(), payloads, Mode::Insert));
    write(Write::DeleteMany((0..400).map(Id::from).collect()));
    database.index.compact(&Control::NONE).unwrap();
    write(Write::DeleteMany((400..500).map(Id::from).collect()));
    for i in 0..20 {
        write(Write::Put(Id::from(ROWS + i), vectors[700 * DIM..701 * DIM].to_vec(), None, Mode::Insert));
    }
    database.index.close().unwrap();
    model
}

/// The entries of a space.
fn entries(kv: &dyn Kv, space: Space) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut see = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        Flow::Continue(())
    };
    kv.view().unwrap().scan(space, &Range::all(), &mut see).unwrap();
    found
}

/// A kind of damage: what it does to entries drawn from the store, and whether a database with it opens as usual.
type Damage = (&'static str, bool, fn(&mut Rng, &dyn Kv, &mut Batch));

fn some(rng: &mut Rng, kv: &dyn Kv, space: Space, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = entries(kv, space);
    (0..count).map(|_| all[rng.below(all.len() as u64) as usize].clone()).collect()
}

const KINDS: [Damage; 11] = [
    ("lists are gone", true, |rng, kv, batch| {
        some(rng, kv, Space::Links, 40).into_iter().for_each(|(key, _)| batch.delete(Space::Links, key));
    }),
    ("all lists are gone", true, |_, _, batch| batch.delete_range(Space::Links, Range::all())),
    ("lists are no lists", true, |rng, kv, batch| {
        for (key, _) in some(rng, kv, Space::Links, 40) {
            let noise = rng.bytes(1 + rng.clone().below(40) as usize);
            batch.put(Space::Links, key, noise);
        }
    }),
    ("links lead nowhere", true, |rng, kv, batch| {
        for (key, _) in some(rng, kv, Space::Links, 40) {
            batch.put(Space::Links, key, links::encode(&[7, 1 << 29]));
        }
    }),
    ("lists are empty", true, |_, kv, batch| {
        for (key, _) in entries(kv, Space::Links) {
            batch.put(Space::Links, key, links::encode(&[]));
        }
    }),
    ("there are no upper layers", false, |_, _, batch| batch.delete_range(Space::Upper, Range::all())),
    ("upper layers are noise", false, |rng, kv, batch| {
        for (key, _) in some(rng, kv, Space::Upper, 10) {
            let noise = rng.bytes(9);
            batch.put(Space::Upper, key, noise);
        }
    }),
    ("the index is gone", true, |_, _, batch| batch.delete_range(Space::Postings, Range::all())),
    ("ids are gone", true, |rng, kv, batch| {
        some(rng, kv, Space::Ids, 40).into_iter().for_each(|(key, _)| batch.delete(Space::Ids, key));
    }),
    ("names are gone", true, |rng, kv, batch| {
        let live = some(rng, kv, Space::Ids, 40);
        live.into_iter().for_each(|(_, slot)| batch.delete(Space::Slots, slot));
    }),
    ("chains join others", true, |rng, kv, batch| {
        let live = some(rng, kv, Space::Ids, 40);
        live.chunks(2).for_each(|pair| batch.put(Space::Twins, pair[0].1.clone(), pair[1].1.clone()));
    }),
];

fn what_follows_from_rows_is_made_anew_from_them(store: StoreKind) {
    let seed = seed();
    for (round, (kind, opens, damage)) in KINDS.into_iter().enumerate() {
        let what = format!("ASTEROID_SEED={seed} {store:?}: {kind}");
        let mut rng = Rng::new(seed.wrapping_add(round as u64));
        let dir = tempfile::tempdir().unwrap();
        let mut model = filled(dir.path(), store, &mut rng);
        let stores = open_stores(&place(dir.path()), &OpenRequest::default()).unwrap();
        let mut batch = Batch::default();
        damage(&mut rng, &*stores.stores.kv, &mut batch);
        let seq = stores.stores.kv.apply(&batch).unwrap();
        stores.stores.kv.sync(seq).unwrap();
        drop(stores);
        let request = |repair| OpenRequest {
            options: Options { repair, ..Options::default() },
            ..OpenRequest::default()
        };
        let opened = asteroid_native_storage::open(&place(dir.path()), &request(false));
        assert_eq!(opened.is_ok(), opens, "{what}");
        let database = match opened {
            Ok(database) => database,
            Err(_) => asteroid_native_storage::open(&place(dir.path()), &request(true)).unwrap(),
        };
        let index = &database.index;
        let repaired = index.repair(&Threads::new(2), &Control::NONE).unwrap();
        assert!(!repaired.found.is_empty(), "{what}: not found");
        assert_eq!((repaired.lost, repaired.report.problems), (vec![], vec![]), "{what}");
        is_whole(index, &mut model, &mut rng, &what);
        index.close().unwrap();
        drop(database);
        let again = asteroid_native_storage::open(&place(dir.path()), &OpenRequest::default()).unwrap();
        assert_sound(&again.index, &what);
        model.assert_equals(&again.index, &what);
    }
}

/// It answers as it should, and takes writes and sweeps.
fn is_whole(index: &Index, model: &mut Model, rng: &mut Rng, what: &str) {
    model.assert_equals(index, what);
    let params = SearchParams { k: 10, ef_search: 64, ..SearchParams::default() };
    let (mut found, mut wanted) = (0, 0);
    for row in model.rows.values().step_by(20) {
        let hits = index.search(&row.vector, &params, &Control::NONE).unwrap();
        assert_eq!(hits.len(), 10.min(model.rows.len()), "{what}");
        wanted += 1;
        found += usize::from(hits[0].distance == 0.0);
    }
    assert!(found * 100 >= wanted * 98, "{what}: {found} of {wanted}");
    let pool = Threads::new(1);
    for _ in 0..3 {
        let ids: Vec<Id> = model.rows.keys().take(200).cloned().collect();
        let vectors: Vec<f32> = (0..150 * DIM).map(|_| rng.below(1 << 20) as f32 / 65_536.0).collect();
        for write in [Write::DeleteMany(ids), Write::Many(None, vectors, Vec::new(), Mode::Insert)] {
            let want = model.apply(&write);
            assert_eq!(run(index, &write, &pool).map_err(|error| error.code()), want, "{what}");
        }
        while index.tidy(&Control::NONE).unwrap() {}
        assert_sound(index, what);
    }
    index.compact(&Control::NONE).unwrap();
    assert_sound(index, what);
    model.assert_equals(index, what);
}

fn what_is_lost_is_named_and_the_rest_kept(store: StoreKind) {
    let mut rng = Rng::new(3);
    let dir = tempfile::tempdir().unwrap();
    let mut model = filled(dir.path(), store, &mut rng);
    let stores = open_stores(&place(dir.path()), &OpenRequest::default()).unwrap();
    let slot_of = |id: u64| -> Vec<u8> {
        let end = format!("\"m\":{id}}}").into_bytes();
        let payloads = entries(&*stores.stores.kv, Space::Payloads);
        payloads.into_iter().find(|(_, text)| text.ends_with(&end)).unwrap().0
    };
    let (torn, unread) = (slot_of(900), slot_of(1000));
    let mut batch = Batch::default();
    batch.put(Space::Payloads, unread, *b"{\"n\":");
    let seq = stores.stores.kv.apply(&batch).unwrap();
    stores.stores.kv.sync(seq).unwrap();
    // One number of a vector: the row's slot says where, in pages that hold whole rows.
    let slot = u64::from(u32::from_be_bytes(torn.try_into().unwrap()));
    let row = 4 * DIM as u64 + 4;
    let at = 4096 + slot / (4096 / row) * 4096 + slot % (4096 / row) * row;
    stores.stores.vectors.write_at(at, &[0xff, 1, 2, 3]).unwrap();
    drop(stores);
    let database = asteroid_native_storage::open(&place(dir.path()), &OpenRequest::default()).unwrap();
    let repaired = database.index.repair(&Threads::new(2), &Control::NONE).unwrap();
    let mut lost: Vec<_> = repaired.lost.iter().map(|lost| (lost.kind, lost.id.clone().unwrap())).collect();
    lost.sort();
    assert_eq!(lost, [("lost_payload", Id::from(1000)), ("lost_row", Id::from(900))]);
    assert_eq!(repaired.report.problems, []);
    let _ = model.apply(&Write::Delete(Id::from(900)));
    let _ = model.apply(&Write::SetPayload(Id::from(1000), None));
    is_whole(&database.index, &mut model, &mut rng, "after a loss");
    let sound = database.index.repair(&Threads::new(2), &Control::NONE).unwrap();
    assert_eq!((sound.found, sound.lost), (vec![], vec![]), "nothing is left to repair");
}

over_stores!(what_follows_from_rows_is_made_anew_from_them, what_is_lost_is_named_and_the_rest_kept);
