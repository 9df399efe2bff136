//! Databases moved as files: whole, exact, of one moment, and refused where a byte is wrong.

use crate::model_on_disk::OnDisk;
use asteroid_core::bytes::MemBytes;
use asteroid_core::filter::terms::PathRules;
use asteroid_core::kv::MemKv;
use asteroid_core::{
    Code, Control, Durability, EXPORT_VERSION, Error, Import, Index, Metric, Mode, OpenRequest, Options,
    Result, SearchParams, StoreKind, Stores, VectorStorage,
};
use asteroid_native_storage::{Database, Place, import, open, open_memory};
use asteroid_tests::model::{ALL, Model, Write, assert_sound, run};
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::{Rng, seed};
use asteroid_tests::sim::SimDisk;
use asteroid_tests::workload::{self, Shape};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const METRICS: [Metric; 3] = [Metric::L2, Metric::Cosine, Metric::Dot];
const SHAPE: Shape = Shape { dim: 8, metric: Metric::L2, rows: 500, most: 300, wrong: 5 };

fn at(dir: &Path, name: &str) -> Place {
    Place { dir: dir.join(name), vector_file: None }
}

fn new(shape: &Shape) -> OpenRequest {
    OpenRequest { dim: Some(shape.dim as u32), metric: Some(shape.metric), ..OpenRequest::default() }
}

fn any() -> OpenRequest {
    OpenRequest::default()
}

/// The whole file of what `index` holds now.
fn exported(index: &Index) -> Vec<u8> {
    drain(index, index.export().unwrap())
}

fn drain(index: &Index, mut export: asteroid_core::Export) -> Vec<u8> {
    let bytes = export.measure(&Control::NONE).unwrap();
    let (mut file, mut chunk) = (Vec::new(), Vec::new());
    while export.next_chunk(index, &mut chunk).unwrap() {
        assert!(!chunk.is_empty() && chunk.len() <= 3 << 20, "a chunk of {} bytes", chunk.len());
        file.extend_from_slice(&chunk);
    }
    assert!(!export.next_chunk(index, &mut chunk).unwrap(), "after the end comes nothing");
    assert_eq!(file.len() as u64, bytes, "the measured length");
    file
}

/// Imports `file` in pieces that `rng` cuts.
fn imported(place: Option<&Place>, request: &OpenRequest, file: &[u8], rng: &mut Rng) -> Result<Database> {
    let mut rest = file;
    let most = [1, 20, 5000, 1 << 20][rng.below(4) as usize].max(file.len() as u64 / 2000);
    let told = std::cell::Cell::new(0);
    let database = import(
        place,
        request,
        &mut || {
            if rest.is_empty() {
                return Ok(None);
            }
            let (piece, later) = rest.split_at((rng.below(most + 1) as usize).min(rest.len()));
            rest = later;
            Ok(Some(piece.to_vec()))
        },
        &|done, total| {
            assert!(done >= told.get() && done <= total.max(file.len() as u64), "{done} of {total}");
            told.set(done);
        },
    )?;
    assert_eq!(told.get(), file.len() as u64, "progress was told to the end");
    Ok(database)
}

fn code(result: Result<Database>) -> Code {
    result.map(|_| ()).unwrap_err().code()
}

fn error(result: Result<Database>) -> Error {
    result.map(|_| ()).unwrap_err()
}

/// A database after a random run of writes, and its model.
fn worked(rng: &mut Rng, database: &Database, shape: &Shape, writes: usize) -> Model {
    let (mut model, pool) = (Model::new(shape.dim, shape.metric), Threads::new(2));
    for i in 0..writes {
        let write = if i == 0 && rng.chance(50) {
            workload::bulk(rng, shape, shape.rows / 2 + 1)
        } else {
            workload::write(rng, shape, &model)
        };
        let want = model.apply(&write);
        assert_eq!(run(&database.index, &write, &pool).map_err(|error| error.code()), want);
    }
    model
}

/// Panics unless both answer every search alike, to the bit.
fn assert_alike(a: &Index, b: &Index, shape: &Shape, rng: &mut Rng, what: &str) {
    for ef_search in [10, 100] {
        let params = SearchParams { k: 10, ef_search, include: ALL, ..SearchParams::default() };
        for _ in 0..40 {
            let query = workload::vector(rng, shape);
            // Cosine refuses a query of zeros; by dot every row is equally near it, and any ten of them are right.
            if shape.metric != Metric::L2 && query.iter().all(|&x| x == 0.0) {
                continue;
            }
            let (a, b) =
                (a.search(&query, &params, &Control::NONE), b.search(&query, &params, &Control::NONE));
            assert_eq!(a.unwrap(), b.unwrap(), "{what}: ef {ef_search}");
        }
    }
}

fn stores() -> Vec<Option<StoreKind>> {
    let mut all = vec![None, Some(StoreKind::Redb)];
    if cfg!(feature = "rocksdb") {
        all.push(Some(StoreKind::RocksDb));
    }
    all
}

#[test]
fn a_database_is_the_same_wherever_its_file_is_opened() {
    let seed = seed();
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(seed);
    for (round, metric) in METRICS.into_iter().enumerate() {
        let shape = Shape { metric, ..SHAPE };
        for from in stores() {
            let what = format!("{} from {from:?}", metric.name());
            let place = at(dir.path(), &format!("from-{round}-{from:?}"));
            let storage = [VectorStorage::Paged, VectorStorage::Flat][rng.below(2) as usize];
            let options = Options {
                cache_bytes: 4 << 20,
                link_policy: workload::link_policy(&mut rng),
                indexes: rng.chance(50).then(|| PathRules { include: vec!["n".into()], exclude: Vec::new() }),
                ..Options::default()
            };
            let request = OpenRequest { vector_storage: Some(storage), options, ..new(&shape) };
            let source = match from {
                None => open_memory(&request).unwrap(),
                Some(_) => open(&place, &OpenRequest { store: from, ..request }).unwrap(),
            };
            let mut model = worked(&mut rng, &source, &shape, 120);
            let file = exported(&source.index);
            model.assert_equals(&source.index, &what);

            for to in stores() {
                let what = format!("{what} to {to:?}");
                let place = at(dir.path(), &format!("to-{round}-{from:?}-{to:?}"));
                let storage = rng.chance(50).then_some(VectorStorage::Flat);
                let request = OpenRequest { store: to, vector_storage: storage, ..any() };
                let target = imported(to.map(|_| &place), &request, &file, &mut rng).unwrap();
                assert_eq!(target.kind, to.unwrap_or(StoreKind::Memory));
                assert_eq!(target.index.indexes(), source.index.indexes(), "{what}");
                model.assert_equals(&target.index, &what);
                assert_alike(&source.index, &target.index, &shape, &mut rng, &what);
                assert_sound(&target.index, &what);
                assert_same_file(&exported(&target.index), &file, &what);
                // It is a database as any other: it takes the same writes, and opens again.
                let (mut moved, pool) = (model.clone(), Threads::new(1));
                for _ in 0..15 {
                    let write = workload::write(&mut rng, &shape, &moved);
                    let want = moved.apply(&write);
                    assert_eq!(run(&target.index, &write, &pool).map_err(|error| error.code()), want);
                }
                let target = match to {
                    None => target,
                    Some(_) => {
                        target.index.close().unwrap();
                        drop(target);
                        open(&place, &any()).unwrap()
                    }
                };
                moved.assert_equals(&target.index, &what);
                assert_sound(&target.index, &what);
            }
            // The source goes on as if nothing had been.
            let write = workload::write(&mut rng, &shape, &model);
            let want = model.apply(&write);
            assert_eq!(run(&source.index, &write, &Threads::new(1)).map_err(|error| error.code()), want);
            model.assert_equals(&source.index, &what);
        }
    }
}

#[test]
fn a_database_without_rows_and_one_opened_to_read_are_exported() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(1);
    let empty = open_memory(&new(&SHAPE)).unwrap();
    let file = exported(&empty.index);
    let place = at(dir.path(), "empty");
    let moved = imported(Some(&place), &any(), &file, &mut rng).unwrap();
    assert_eq!(moved.index.count().unwrap(), 0);
    let model = worked(&mut rng, &moved, &SHAPE, 20);
    // Not closed: what is to be read waits in the journal.
    drop(moved);
    let to_read = OpenRequest { options: Options { read_only: true, ..Options::default() }, ..any() };
    let before: Vec<_> =
        fs::read_dir(&place.dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    let source = open(&place, &to_read).unwrap();
    let moved = imported(None, &any(), &exported(&source.index), &mut rng).unwrap();
    model.assert_equals(&moved.index, "read-only");
    assert_sound(&moved.index, "read-only");
    drop(source);
    let after: Vec<_> =
        fs::read_dir(&place.dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(before, after, "reading wrote");
}

/// Ends a writer beside a test, however that ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_export_holds_one_committed_state_while_writes_go_on() {
    let dir = tempfile::tempdir().unwrap();
    for store in stores() {
        let place = at(dir.path(), &format!("{store:?}"));
        let request = OpenRequest { store, ..new(&SHAPE) };
        let source = if store.is_some() { open(&place, &request) } else { open_memory(&request) }.unwrap();
        let index = &source.index;
        // Every call writes a pair of rows, or replaces all of a pair: half of one is never a state.
        let pair = |n: u64, round: u64| {
            let ids = [n.into(), (n + 1_000_000).into()];
            let vectors: Vec<f32> =
                (0..2 * SHAPE.dim as u64).map(|i| (n * 31 + i % SHAPE.dim as u64 + round) as f32).collect();
            let payloads = vec![Some(format!("{{\"round\":{round}}}")); 2];
            let rows = asteroid_core::Rows { ids: Some(&ids), vectors: &vectors, payloads: &payloads };
            index.insert_many(rows, Mode::Upsert, &Threads::new(1), &Control::NONE).unwrap();
        };
        (0..300).for_each(|n| pair(n, 0));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut round = 1;
                while !stop.load(Ordering::Relaxed) {
                    for n in 0..400 {
                        pair(n, round);
                        // A lock is not fair: who takes it again at once keeps it from others.
                        std::thread::sleep(std::time::Duration::from_micros(100));
                    }
                    round += 1;
                }
            });
            let _stop = Stop(&stop);
            for n in 0..4 {
                let export = index.export().unwrap();
                let rows = export.rows();
                // Writes that come while nobody takes the next piece change nothing.
                std::thread::sleep(std::time::Duration::from_millis(20));
                let file = drain(index, export);
                let moved = imported(None, &any(), &file, &mut Rng::new(n)).unwrap();
                assert_eq!(moved.index.count().unwrap(), rows);
                assert_sound(&moved.index, "while writing");
                let found = asteroid_tests::model::read_all(&moved.index).unwrap();
                assert!(found.len() >= 600 && found.len().is_multiple_of(2));
                for n in (0..400u64).filter(|&n| found.contains_key(&n.into())) {
                    let (a, b) = (&found[&n.into()], &found[&(n + 1_000_000).into()]);
                    assert_eq!((&a.payload, &a.vector), (&b.payload, &b.vector), "half of a call");
                }
            }
        });
        assert_sound(index, "the source");
    }
}

#[test]
fn an_export_keeps_its_moment_while_places_are_used_again() {
    let seed = seed();
    let dir = tempfile::tempdir().unwrap();
    for (round, store) in stores().into_iter().enumerate() {
        for storage in [VectorStorage::Paged, VectorStorage::Flat] {
            let what = format!("ASTEROID_SEED={seed} {store:?} {storage:?}");
            let mut rng = Rng::new(seed.wrapping_add(round as u64));
            let place = at(dir.path(), &format!("{store:?}-{storage:?}"));
            let request = OpenRequest { store, vector_storage: Some(storage), ..new(&SHAPE) };
            let source =
                if store.is_some() { open(&place, &request) } else { open_memory(&request) }.unwrap();
            let index = &source.index;
            let mut model = worked(&mut rng, &source, &SHAPE, 40);
            let write = |model: &mut Model, write: Write| {
                let want = model.apply(&write);
                assert_eq!(
                    run(index, &write, &Threads::new(1)).map_err(|error| error.code()),
                    want,
                    "{what}"
                );
            };
            let add = |rng: &mut Rng, model: &mut Model, count: usize| {
                let vectors = (0..count).flat_map(|_| workload::vector(rng, &SHAPE)).collect();
                write(model, Write::Many(None, vectors, Vec::new(), Mode::Insert));
            };
            add(&mut rng, &mut model, 600);
            let delete = |model: &mut Model, part: usize| {
                let ids = model.rows.keys().step_by(part).cloned().collect();
                write(model, Write::DeleteMany(ids));
            };
            // Some places are free, some rows dead and still nodes.
            delete(&mut model, 3);
            index.compact(&Control::NONE).unwrap();
            delete(&mut model, 4);
            let free = index.stats().unwrap().free_slots;
            assert!(free > 100, "{what}: {free}");
            let (mut export, then) = (index.export().unwrap(), model.clone());
            let whole = exported(index);
            // The free ones are taken; what dies from now on is swept, but not overwritten.
            for _ in 0..4 {
                add(&mut rng, &mut model, 300);
                delete(&mut model, 2);
                index.compact(&Control::NONE).unwrap();
            }
            // Those that stay are nodes of living twins.
            let stay = index.stats().unwrap().tombstones;
            let bytes = export.measure(&Control::NONE).unwrap();
            assert_eq!(bytes, whole.len() as u64, "{what}");
            let file = drain(index, export);
            assert!(file == whole, "{what}: it changed meanwhile");
            let moved = imported(None, &any(), &file, &mut rng).unwrap();
            then.assert_equals(&moved.index, &what);
            assert_sound(&moved.index, &what);
            index.compact(&Control::NONE).unwrap();
            assert_eq!(index.stats().unwrap().tombstones, stay, "{what}: an export held back a sweep");
            // With the export all that it held is free.
            let slots = |index: &Index| {
                let stats = index.stats().unwrap();
                stats.rows + stats.tombstones + stats.free_slots
            };
            let before = slots(index);
            let free = index.stats().unwrap().free_slots as usize;
            add(&mut rng, &mut model, free);
            assert_eq!(slots(index), before, "{what}: places were lost");
            model.assert_equals(index, &what);
            assert_sound(index, &what);
        }
    }
}

/// Panics, naming the key space that differs, unless both files are the same.
fn assert_same_file(a: &[u8], b: &[u8], what: &str) {
    let parts = |file: &[u8]| {
        let mut parts: std::collections::BTreeMap<(u8, u8), Vec<u8>> = Default::default();
        let edges = edges(file);
        for (&from, &to) in edges[1..].iter().zip(&edges[2..]) {
            // The kind of frame and, where it is one of entries, their space.
            let part = (file[from], if file[from] == 2 { file[from + 9] } else { 0 });
            let mut body = file[from + 9..to].to_vec();
            if part == (1, 0) {
                // How vectors lie is the target's choice: its place in the manifest, and the manifest's checksum.
                body[14] = 0;
                body[44..48].fill(0);
            }
            parts.entry(part).or_default().extend(body);
        }
        parts
    };
    let (a_parts, b_parts) = (parts(a), parts(b));
    for (part, bytes) in b_parts.iter().rev() {
        let other = a_parts.get(part);
        assert!(other == Some(bytes), "{what}: part {part:?} is {other:?} instead of {bytes:?}");
    }
    assert_eq!(a_parts.len(), b_parts.len(), "{what}");
    assert!(a[39] != b[39] || a == b, "{what}: the export of the import is another file");
}

/// Where the frames of `file` begin, and its length.
fn edges(file: &[u8]) -> Vec<usize> {
    let mut edges = vec![0, 16];
    while *edges.last().unwrap() < file.len() {
        let at = *edges.last().unwrap();
        let len = u32::from_le_bytes(file[at + 1..at + 5].try_into().unwrap());
        edges.push(at + 9 + len as usize);
    }
    edges
}

fn small_file(rng: &mut Rng) -> (Vec<u8>, Model) {
    let shape = Shape { rows: 60, most: 30, ..SHAPE };
    let source = open_memory(&new(&shape)).unwrap();
    let model = worked(rng, &source, &shape, 60);
    (exported(&source.index), model)
}

#[test]
fn every_cut_and_every_changed_byte_is_found() {
    let mut rng = Rng::new(seed());
    let (file, model) = small_file(&mut rng);
    let edges = edges(&file);
    assert!(edges.len() > 8 && edges.last() == Some(&file.len()), "{edges:?}");
    let mut cuts: Vec<usize> = edges.iter().flat_map(|&at| [at.saturating_sub(1), at, at + 1]).collect();
    cuts.extend((0..300).map(|_| rng.below(file.len() as u64) as usize));
    for cut in cuts.into_iter().filter(|&cut| cut < file.len()) {
        let error = error(imported(None, &any(), &file[..cut], &mut rng));
        assert_eq!(error.code(), Code::Corrupt, "cut at {cut}");
        assert!(error.message().contains("ends early"), "cut at {cut}: {error}");
    }
    let mut flips: Vec<usize> = (0..edges[2].min(file.len())).collect();
    flips.extend((0..1500).map(|_| rng.below(file.len() as u64) as usize));
    for at in flips {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << rng.below(8);
        assert_eq!(code(imported(None, &any(), &damaged, &mut rng)), Code::Corrupt, "byte {at}");
    }
    let longer = [&file[..], &[0]].concat();
    assert_eq!(code(imported(None, &any(), &longer, &mut rng)), Code::Corrupt);
    let twice = [&file[..], &file].concat();
    assert_eq!(code(imported(None, &any(), &twice, &mut rng)), Code::Corrupt);
    imported(None, &any(), &file, &mut rng).map(|moved| model.assert_equals(&moved.index, "whole")).unwrap();
}

#[test]
fn frames_that_are_lost_repeated_or_moved_are_found() {
    let mut rng = Rng::new(seed());
    let (file, _) = small_file(&mut rng);
    let edges = edges(&file);
    let frame = |n: usize| &file[edges[n]..edges[n + 1]];
    let joined = |frames: &[usize]| frames.iter().flat_map(|&n| frame(n)).copied().collect::<Vec<u8>>();
    let all: Vec<usize> = (0..edges.len() - 1).collect();
    assert!(joined(&all) == file);
    for at in 1..all.len() {
        let mut lost = all.clone();
        lost.remove(at);
        let mut repeated = all.clone();
        repeated.insert(at, at);
        let mut cases = vec![lost, repeated];
        if at + 1 < all.len() {
            let mut moved = all.clone();
            moved.swap(at, at + 1);
            cases.push(moved);
        }
        for case in cases {
            assert_eq!(code(imported(None, &any(), &joined(&case), &mut rng)), Code::Corrupt, "{case:?}");
        }
    }
}

#[test]
fn other_files_and_newer_versions_are_named() {
    let mut rng = Rng::new(3);
    let (file, _) = small_file(&mut rng);
    for other in [&b"hello"[..], b"PK\x03\x04 a zip", &[0; 100], b"ASTEROID", b"ASTEXPRU"] {
        let error = error(imported(None, &any(), other, &mut rng));
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.message().contains("not an exported database"), "{error}");
    }
    assert_eq!(code(imported(None, &any(), &[], &mut rng)), Code::Corrupt);
    let mut newer = file[..12].to_vec();
    newer[8..].copy_from_slice(&(EXPORT_VERSION + 1).to_le_bytes());
    // CRC-32C of the twelve bytes, as the format's description has it.
    let sum = newer.iter().fold(!0u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
    });
    newer.extend_from_slice(&(!sum).to_le_bytes());
    newer.extend_from_slice(b"whatever comes then");
    let error = error(imported(None, &any(), &newer, &mut rng));
    assert_eq!(error.code(), Code::UnsupportedVersion);
    assert!(error.message().contains(&(EXPORT_VERSION + 1).to_string()), "{error}");
}

#[test]
fn what_contradicts_the_file_or_is_there_already_is_refused_before_anything_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(4);
    let (file, model) = small_file(&mut rng);
    let place = at(dir.path(), "new");
    let contradictions = [
        OpenRequest { dim: Some(7), ..any() },
        OpenRequest { metric: Some(Metric::Dot), ..any() },
        OpenRequest { m: Some(17), ..any() },
        OpenRequest { seed: Some(1), ..any() },
    ];
    for request in contradictions {
        assert_eq!(code(imported(Some(&place), &request, &file, &mut rng)), Code::ConfigMismatch);
    }
    assert!(!place.dir.exists(), "a refused import made a directory");
    let to_read = OpenRequest { options: Options { read_only: true, ..Options::default() }, ..any() };
    assert_eq!(code(imported(Some(&place), &to_read, &file, &mut rng)), Code::InvalidArgument);
    let agreed = OpenRequest { ef_construction: Some(77), ..new(&SHAPE) };
    let moved = imported(Some(&place), &agreed, &file, &mut rng).unwrap();
    assert_eq!(moved.index.config().ef_construction, 77);
    assert_eq!(code(imported(Some(&place), &any(), &file, &mut rng)), Code::NotEmpty);
    moved.index.close().unwrap();
    drop(moved);
    let opened = open(&place, &any()).unwrap();
    assert_eq!(opened.index.config().ef_construction, 128, "a handle's choice was stored");
    let reinit = OpenRequest { reinit: true, ..any() };
    assert_eq!(code(imported(Some(&place), &reinit, &file, &mut rng)), Code::Locked);
    drop(opened);
    // What is no file of ours does not cost the database that is there.
    assert_eq!(code(imported(Some(&place), &reinit, b"no such file", &mut rng)), Code::Corrupt);
    let mismatched = OpenRequest { dim: Some(9), ..reinit.clone() };
    assert_eq!(code(imported(Some(&place), &mismatched, &file, &mut rng)), Code::ConfigMismatch);
    model.assert_equals(&open(&place, &any()).unwrap().index, "kept");
    let smaller = exported(&open_memory(&new(&SHAPE)).unwrap().index);
    assert_eq!(imported(Some(&place), &reinit, &smaller, &mut rng).unwrap().index.count().unwrap(), 0);
    assert_eq!(open(&place, &any()).unwrap().index.count().unwrap(), 0);
}

#[test]
fn an_import_that_fails_leaves_no_database_and_another_can_follow() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(seed());
    let (file, model) = small_file(&mut rng);
    for store in stores().into_iter().flatten() {
        let place = at(dir.path(), store.name());
        let request = OpenRequest { store: Some(store), ..any() };
        for cut in edges(&file).into_iter().filter(|&cut| cut < file.len()) {
            assert_eq!(code(imported(Some(&place), &request, &file[..cut], &mut rng)), Code::Corrupt);
            assert_eq!(code(open(&place, &any())), Code::InvalidArgument, "dim is needed: nothing is there");
        }
        let mut left = true;
        let stopped = import(
            Some(&place),
            &request,
            &mut || match std::mem::take(&mut left) {
                true => Ok(Some(file[..file.len() / 2].to_vec())),
                false => Err(Error::new(Code::Aborted, "given up")),
            },
            &|_, _| (),
        );
        assert_eq!(code(stopped), Code::Aborted);
        let moved = imported(Some(&place), &request, &file, &mut rng).unwrap();
        model.assert_equals(&moved.index, "in the end");
        assert_sound(&moved.index, "in the end");
    }
}

fn parts(disk: &SimDisk) -> Result<Stores> {
    let kv = asteroid_native_storage::RedbKv::open(disk.open("graph.redb"), 60_000, false)?;
    Ok(Stores { kv: Arc::new(kv), vectors: disk.open("vectors"), journal: disk.open("journal") })
}

#[test]
fn a_crash_at_any_operation_leaves_nothing_or_everything() {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let on = OnDisk::new(Metric::L2, Durability::Buffered);
    let source_disk = SimDisk::new();
    let source = on.open(&source_disk).unwrap();
    let shape = Shape { rows: 150, most: 80, ..SHAPE };
    let (mut model, pool) = (Model::new(shape.dim, shape.metric), Threads::new(1));
    while model.rows.len() < 100 {
        let write = workload::write(&mut rng, &shape, &model);
        let _ = (model.apply(&write), run(&source, &write, &pool));
    }
    let file = exported(&source);
    let disk = SimDisk::new();
    let mut import = Import::default();
    for piece in file.chunks(4096) {
        import.push(piece).unwrap();
        if import.wants_stores() {
            import.begin(parts(&disk).unwrap(), VectorStorage::Paged).unwrap();
        }
    }
    let (stores, config) = import.finish().unwrap();
    assert_eq!(config, on.config);
    let finished = disk.ops();
    drop(stores);
    println!("{finished} operations");
    let mut whole = 0;
    for n in 0..=disk.ops() {
        for (how, image) in [
            ("kill", disk.after_kill(n)),
            ("kill inside", disk.after_kill_inside(n, seed)),
            ("power cut", disk.after_power_cut(n, seed)),
            ("another power cut", disk.after_power_cut(n, seed ^ 99)),
        ] {
            let what = format!("{how} after {n} operations");
            let index = on.open(&image).unwrap_or_else(|error| panic!("{what}: {error}"));
            if index.count().unwrap() > 0 {
                model.assert_equals(&index, &what);
                whole += 1;
            } else {
                assert!(n < finished, "{what}: a finished import is gone");
                // Empty and usable.
                index.insert(&7.into(), &[1.0; SHAPE.dim], Some("{\"n\":1}"), Mode::Insert).unwrap();
            }
            assert_sound(&index, &what);
        }
    }
    assert!(whole >= 4, "the import never became visible");
}

#[test]
fn stores_that_hold_rows_take_no_import_and_what_one_left_is_cleared() {
    let mut rng = Rng::new(5);
    let (file, model) = small_file(&mut rng);
    let header = &file[..edges(&file)[2]];
    let kv = Arc::new(MemKv::default());
    let (vectors, journal) = (Arc::new(MemBytes::default()), Arc::new(MemBytes::default()));
    let stores = || Stores { kv: kv.clone(), vectors: vectors.clone(), journal: journal.clone() };
    let begun = || {
        let mut import = Import::default();
        import.push(header).unwrap();
        import.begin(stores(), VectorStorage::Paged).map(|()| import)
    };
    // Cut short twice, at different places, then whole.
    for part in [file.len() / 2, file.len() - 20, file.len()] {
        let mut import = begun().unwrap();
        import.push(&file[header.len()..part]).unwrap();
        if part < file.len() {
            continue;
        }
        let (stores, config) = import.finish().unwrap();
        let index = Index::open(stores, config, Options::default()).unwrap();
        model.assert_equals(&index, "the third");
        assert_sound(&index, "the third");
        // Even where all of its rows are in the journal alone.
        assert_eq!(begun().err().unwrap().code(), Code::NotEmpty);
    }
    let source = open_memory(&new(&SHAPE)).unwrap();
    let export = source.index.export().unwrap();
    source.index.close().unwrap();
    let mut export = export;
    let failed =
        export.next_chunk(&source.index, &mut Vec::new()).and_then(|_| source.index.export().map(drop));
    assert_eq!(failed.unwrap_err().code(), Code::Closed);
}
