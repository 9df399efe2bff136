//! Conversions between stores: the same bytes under every key, or no database at all.

use asteroid_core::kv::{Flow, Range, Space};
use asteroid_core::{Code, Control, Id, Mode, OpenRequest, Options, Rows, Serial, StoreKind, VectorStorage};
use asteroid_native_storage::{OpenStores, Place, convert, open, open_stores};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "rocksdb")]
const STORES: [StoreKind; 2] = [StoreKind::Redb, StoreKind::RocksDb];
#[cfg(not(feature = "rocksdb"))]
const STORES: [StoreKind; 1] = [StoreKind::Redb];

fn at(dir: impl AsRef<Path>) -> Place {
    Place { dir: dir.as_ref().to_owned(), vector_file: None }
}

fn to_read() -> OpenRequest {
    OpenRequest { options: Options { read_only: true, ..Options::default() }, ..OpenRequest::default() }
}

/// A closed database with ids, payloads, replaced and deleted rows and twins.
fn filled(place: &Place, store: StoreKind, vector_storage: VectorStorage, rows: u64) {
    let options = Options { cache_bytes: 4 << 20, ..Options::default() };
    let request = OpenRequest {
        dim: Some(16),
        m: Some(5),
        store: Some(store),
        vector_storage: Some(vector_storage),
        options,
        ..OpenRequest::default()
    };
    let db = open(place, &request).unwrap();
    let ids: Vec<Id> = (0..rows)
        .map(|n| if n % 3 == 0 { format!("name {n}").parse().unwrap() } else { Id::from(n) })
        .collect();
    let vectors: Vec<f32> = (0..rows * 16).map(|n| ((n / 16 % 97 * 31 + n) as f32 * 0.7).sin()).collect();
    let payloads: Vec<Option<String>> = (0..rows)
        .map(|n| {
            (n % 4 > 0).then(|| format!("{{\"n\":{},\"text\":\"{}\"}}", n % 30, "x".repeat(n as usize % 300)))
        })
        .collect();
    let rows = Rows { ids: Some(&ids), vectors: &vectors, payloads: &payloads };
    db.index.insert_many(rows, Mode::Insert, &Serial, &Control::NONE).unwrap();
    db.index.delete_many(&ids[..ids.len() / 10]).unwrap();
    for id in ids.iter().rev().take(20) {
        db.index.insert(id, &[0.5; 16], None, Mode::Upsert).unwrap();
    }
    db.index.close().unwrap();
}

type Everything = (Vec<(Space, Vec<u8>, Vec<u8>)>, Vec<u8>);

/// Every entry, and the vector file.
fn everything(place: &Place) -> Everything {
    let OpenStores { stores, .. } = open_stores(place, &to_read()).unwrap();
    let mut entries = Vec::new();
    let view = stores.kv.view().unwrap();
    for space in Space::ALL {
        let mut see = |key: &[u8], value: &[u8]| {
            entries.push((space, key.to_vec(), value.to_vec()));
            Flow::Continue(())
        };
        view.scan(space, &Range::all(), &mut see).unwrap();
    }
    let mut vectors = vec![0; stores.vectors.len().unwrap() as usize];
    stores.vectors.read_at(0, &mut vectors).unwrap();
    (entries, vectors)
}

fn is_whole(place: &Place, kind: StoreKind, wanted: &Everything) {
    assert!(everything(place) == *wanted, "{kind:?} holds something else");
    let db = open(place, &OpenRequest::default()).unwrap();
    assert_eq!(db.kind, kind);
    let report = db.index.check(&Control::NONE).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            // RocksDB's own threads may remove a file meanwhile.
            let _ = fs::copy(entry.path(), target);
        }
    }
}

#[test]
fn every_entry_and_every_vector_is_copied() {
    for from in STORES {
        for to in STORES {
            for (vectors, rows) in
                [(VectorStorage::Paged, 4000), (VectorStorage::Flat, 700), (VectorStorage::Paged, 0)]
            {
                let dir = tempfile::tempdir().unwrap();
                let (source, target) = (at(dir.path().join("a")), at(dir.path().join("b")));
                filled(&source, from, vectors, rows);
                let wanted = everything(&source);
                let converted = convert(&source, &target, Some(to), &Control::NONE).unwrap();
                assert_eq!((converted.kind, converted.rows), (to, rows - rows / 10));
                is_whole(&target, to, &wanted);
                assert!(everything(&source) == wanted, "the source was changed");
            }
        }
    }
}

#[test]
fn cut_short_anywhere_there_is_no_database_and_the_next_call_makes_it() {
    for from in STORES {
        for to in STORES {
            let dir = tempfile::tempdir().unwrap();
            let source = at(dir.path().join("a"));
            filled(&source, from, VectorStorage::Paged, 300);
            let wanted = everything(&source);
            let target = Place { dir: dir.path().join("b"), vector_file: Some(dir.path().join("b.vectors")) };
            // What a killed process would leave at each step: the directory as it is then.
            let left = Mutex::new(Vec::new());
            let step = AtomicU64::new(0);
            let progress = |_: u64, _: u64| {
                let number = step.fetch_add(1, Ordering::Relaxed);
                let there = dir.path().join(format!("left-{number}"));
                copy(&dir.path().join("b"), &there);
                left.lock().unwrap().push(there);
            };
            let control = Control { progress: &progress, ..Control::NONE };
            convert(&source, &target, Some(to), &control).unwrap();
            is_whole(&at(&target.dir), to, &wanted);
            let mut left = left.into_inner().unwrap();
            let steps = left.len();
            assert!(steps > Space::ALL.len(), "{steps} steps");
            // The last report comes when the database is there.
            let complete = left.pop().unwrap();
            assert!(complete.join("manifest").exists());
            for (number, there) in left.iter().enumerate() {
                let refused = open_stores(&at(there), &to_read()).map(drop).unwrap_err();
                assert_eq!(refused.code(), Code::NotFound, "step {number}");
                let own = Place { dir: there.clone(), vector_file: Some(there.with_extension("vectors")) };
                // Its memory of a vector file is that of the conversion that was cut short.
                let _ = fs::remove_file(there.join("vectors.path"));
                convert(&source, &own, Some(to), &Control::NONE).unwrap();
                is_whole(&at(there), to, &wanted);
            }
            // And an abort at each step.
            for stop in 0..steps as u64 {
                let aborted = Place {
                    dir: dir.path().join(format!("aborted-{stop}")),
                    vector_file: Some(dir.path().join(format!("aborted-{stop}.vectors"))),
                };
                let asked = AtomicU64::new(0);
                let control =
                    Control { cancelled: &|| asked.fetch_add(1, Ordering::Relaxed) >= stop, ..Control::NONE };
                let error = convert(&source, &aborted, Some(to), &control).unwrap_err();
                assert_eq!(error.code(), Code::Aborted, "stop {stop}: {error}");
                let names: Vec<_> =
                    fs::read_dir(&aborted.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                assert_eq!(names, ["LOCK"], "stop {stop}");
                assert!(!aborted.vector_file.as_ref().unwrap().exists(), "stop {stop}");
                convert(&source, &aborted, Some(to), &Control::NONE).unwrap();
                is_whole(&at(&aborted.dir), to, &wanted);
            }
            println!("{from:?} to {to:?}: {steps} steps cut by a kill, {steps} by an abort");
        }
    }
}

#[test]
fn a_store_that_is_not_in_the_build_or_not_on_disk_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (at(dir.path().join("a")), at(dir.path().join("b")));
    filled(&source, StoreKind::Redb, VectorStorage::Paged, 10);
    let refused = |kind| convert(&source, &target, kind, &Control::NONE).unwrap_err().code();
    assert_eq!(refused(Some(StoreKind::Memory)), Code::InvalidArgument);
    if cfg!(not(feature = "rocksdb")) {
        assert_eq!(refused(Some(StoreKind::RocksDb)), Code::Unsupported);
        assert_eq!(refused(None), Code::Unsupported);
    }
    assert!(!target.dir.exists());
}
