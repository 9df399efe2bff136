//! Data and uses of awkward shapes: twins, tombstones, one dimension and many, orders, ids, reopening.

use asteroid_core::filter::Filter;
use asteroid_core::{
    Code, Config, Control, Id, Index, Metric, Mode, OpenRequest, Options, Quantization, Result, Row, Rows,
    SearchParams, Serial, Snapshot, StoreKind, VectorStorage,
};
use asteroid_native_storage::{Database, Place, open, open_memory};
use asteroid_tests::exact;
use asteroid_tests::model::{ALL, Model, Write, assert_sound, run};
use asteroid_tests::over_stores;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::Rng;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Cosine, Metric::Dot];

/// A database and the model that says what it must answer.
struct Both {
    database: Database,
    model: Model,
    pool: Threads,
}

impl std::ops::Deref for Both {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.database.index
    }
}

fn request(dim: usize, metric: Metric) -> OpenRequest {
    OpenRequest { dim: Some(dim as u32), metric: Some(metric), ..OpenRequest::default() }
}

fn at(dir: &Path) -> Place {
    Place { dir: dir.join("db"), vector_file: None }
}

fn params(k: usize, ef_search: usize) -> SearchParams {
    SearchParams { k, ef_search, ..SearchParams::default() }
}

impl Both {
    fn in_memory(request: &OpenRequest) -> Both {
        let database = open_memory(request).unwrap();
        let model = Model::new(database.index.config().dim as usize, database.index.config().metric);
        Both { database, model, pool: Threads::new(2) }
    }

    fn write(&mut self, write: &Write) -> u64 {
        let done = run(&self.database.index, write, &self.pool);
        let done = done.map_err(|error| panic!("{error}")).ok();
        assert_eq!(done, self.model.apply(write).ok());
        done.unwrap_or(0)
    }

    /// Inserts vectors under ids from `first` on.
    fn insert(&mut self, first: u64, vectors: &[f32]) {
        let count = (vectors.len() / self.model.dim) as u64;
        let ids = (first..first + count).map(Id::from).collect();
        self.write(&Write::Many(Some(ids), vectors.to_vec(), Vec::new(), Mode::Insert));
    }

    /// The share of true neighbours that searches for `queries` find; every answer is checked.
    fn recall(&self, queries: &[f32], params: &SearchParams, what: &str) -> f64 {
        let searched = queries.chunks_exact(self.model.dim);
        let counts = searched.map(|query| self.model.assert_search(self, query, params, what));
        let (found, wanted) = counts.fold((0, 0), |sum, (found, wanted)| (sum.0 + found, sum.1 + wanted));
        found as f64 / wanted.max(1) as f64
    }
}

/// Numbers between -1 and 1.
fn random(rng: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.word() as i32 as f32 / 2f32.powi(31)).collect()
}

#[test]
fn two_hundred_distinct_rows_among_two_thousand_alike_are_all_found() {
    const DIM: usize = 24;
    for metric in METRICS {
        for order in ["alike first", "distinct first", "mixed"] {
            for alike in ["identical", "scaled", "nearly"] {
                // Rows that differ in length alone are alike under cosine only.
                if alike == "scaled" && metric != Metric::Cosine {
                    continue;
                }
                let what = format!("{} {order}, {alike}", metric.name());
                let mut rng = Rng::new(5);
                let same = random(&mut rng, DIM);
                let mut rows: Vec<(bool, Vec<f32>)> =
                    (0..200).map(|_| (true, random(&mut rng, DIM))).collect();
                let distinct: Vec<f32> = rows.iter().flat_map(|(_, row)| row.clone()).collect();
                rows.extend((0..2000).map(|i| {
                    let scale = if alike == "scaled" { 1.0 + i as f32 / 300.0 } else { 1.0 };
                    let noise = if alike == "nearly" { 1e-5 } else { 0.0 };
                    let near = random(&mut rng, DIM);
                    (false, same.iter().zip(near).map(|(x, n)| x * scale + noise * n).collect())
                }));
                match order {
                    "alike first" => rows.reverse(),
                    "mixed" => (1..rows.len()).for_each(|i| rows.swap(i, rng.below(i as u64 + 1) as usize)),
                    _ => {}
                }
                let mut both = Both::in_memory(&request(DIM, metric));
                let all: Vec<f32> = rows.iter().flat_map(|(_, row)| row.clone()).collect();
                // One call, and many: batches see each other's rows in different ways.
                both.insert(0, &all[..1100 * DIM]);
                for (i, row) in all.chunks_exact(DIM).enumerate().skip(1100) {
                    both.insert(i as u64, row);
                }
                let first = both.recall(&distinct, &params(1, 64), &what);
                let recall = both.recall(&distinct, &params(10, 64), &what);
                println!("{what}: recall@1 {first}, recall@10 {recall}");
                // Rows that differ by a trace are nodes of their own, and a crowd of them hides some of what lies beyond.
                let (least, floor) = if alike == "identical" { (1.0, 0.97) } else { (0.6, 0.6) };
                assert!(first >= least && recall >= floor, "{what}: recall@1 {first}, recall@10 {recall}");
                for (i, (is_distinct, row)) in rows.iter().enumerate() {
                    if *is_distinct && alike == "identical" && metric != Metric::Dot {
                        let hits = both.search(row, &params(1, 64), &Control::NONE).unwrap();
                        assert_eq!(hits[0].id, Id::from(i as u64), "{what}");
                    }
                }
                // All alike, and what comes after them.
                both.recall(&same, &params(2100, 64), &what);
                assert_eq!(
                    both.search(&same, &params(3000, 64), &Control::NONE).unwrap().len(),
                    2200,
                    "{what}"
                );
                assert_sound(&both, &what);
            }
        }
    }
}

#[test]
fn three_rows_left_of_six_thousand_are_found_by_every_search() {
    const DIM: usize = 16;
    for metric in METRICS {
        let mut rng = Rng::new(6);
        let mut both = Both::in_memory(&request(DIM, metric));
        both.insert(0, &random(&mut rng, 6000 * DIM));
        let left = [17, 2999, 5998];
        both.write(&Write::DeleteMany((0..6000).filter(|id| !left.contains(id)).map(Id::from).collect()));
        assert_eq!(both.count().unwrap(), 3);
        let queries = random(&mut rng, 60 * DIM);
        for ef in [1, 2, 10, 64, 1000] {
            for k in [1, 2, 3, 10] {
                let recall = both.recall(&queries, &params(k, ef), metric.name());
                assert_eq!(recall, 1.0, "{} k {k} ef {ef}", metric.name());
            }
        }
        assert_sound(&both, metric.name());
        // So they are when the others are out of the graph, half out of it too.
        let mut steps = 0;
        while both.tidy(&Control::NONE).unwrap() {
            steps += 1;
            if steps % 40 == 0 {
                assert_sound(&both, metric.name());
                assert_eq!(both.recall(&queries, &params(3, 10), metric.name()), 1.0);
            }
        }
        assert_sound(&both, metric.name());
        assert_eq!(both.recall(&queries, &params(3, 10), metric.name()), 1.0);
        let stats = both.stats().unwrap();
        assert_eq!((stats.tombstones, stats.free_slots), (0, 5997), "after {steps} steps");
        // Rows that come then are found as well.
        both.insert(10_000, &random(&mut rng, 700 * DIM));
        let recall = both.recall(&queries, &params(10, 100), metric.name());
        assert!(recall >= 0.95, "{}: recall {recall} in places of others", metric.name());
        assert_sound(&both, metric.name());
    }
}

#[test]
fn thousands_of_deletes_waiting_for_a_checkpoint_are_checked_through() {
    let mut both =
        Both::in_memory(&OpenRequest { m: Some(4), ef_construction: Some(8), ..request(2, Metric::L2) });
    both.insert(0, &random(&mut Rng::new(3), 14_000 * 2));
    both.write(&Write::DeleteMany((0..12_000).map(Id::from).collect()));
    assert_sound(&both, "after deletes");
    both.model.assert_equals(&both, "after deletes");
}

#[test]
fn a_database_emptied_row_by_row_fills_again() {
    const DIM: usize = 12;
    let mut rng = Rng::new(7);
    let mut both = Both::in_memory(&request(DIM, Metric::Cosine));
    let queries = random(&mut rng, 50 * DIM);
    for round in 0..3 {
        both.insert(0, &random(&mut rng, 2000 * DIM));
        let recall = both.recall(&queries, &params(10, 100), "filled");
        assert!(recall >= 0.95, "round {round}: recall {recall}");
        assert_sound(&both, "filled");
        for id in 0..2000 {
            both.write(&Write::Delete(Id::from(id)));
        }
        assert!(both.search(&queries[..DIM], &params(5, 64), &Control::NONE).unwrap().is_empty());
        assert_sound(&both, "emptied");
    }
}

over_stores!(a_database_emptied_and_filled_again_takes_no_more_space);

fn a_database_emptied_and_filled_again_takes_no_more_space(store: StoreKind) {
    const DIM: usize = 64;
    for storage in [VectorStorage::Paged, VectorStorage::Flat] {
        let dir = tempfile::tempdir().unwrap();
        let request =
            OpenRequest { vector_storage: Some(storage), store: Some(store), ..request(DIM, Metric::L2) };
        let mut rng = Rng::new(13);
        let mut database = open(&at(dir.path()), &request).unwrap();
        let mut first = (0, 0);
        for round in 0..4 {
            let vectors = random(&mut rng, 6000 * DIM);
            let payloads: Vec<_> = (0..6000).map(|i| Some(format!("{{\"n\":{i}}}"))).collect();
            let ids: Vec<Id> = (0..6000).map(Id::from).collect();
            let rows = Rows { ids: Some(&ids), vectors: &vectors, payloads: &payloads };
            database.index.insert_many(rows, Mode::Insert, &Threads::new(2), &Control::NONE).unwrap();
            assert_sound(&database.index, "filled");
            database.index.close().unwrap();
            drop(database);
            database = open(&at(dir.path()), &request).unwrap();
            let stats = database.index.stats().unwrap();
            let disk = stats.vector_file_bytes + stats.kv_file_bytes + stats.journal_bytes;
            println!("{store:?} {storage:?} round {round}: {disk} bytes, {stats:?}");
            if round == 0 {
                first = (stats.vector_file_bytes, disk);
            }
            assert_eq!(stats.vector_file_bytes, first.0, "{storage:?} round {round}");
            assert!(disk <= first.1 * 12 / 10, "{storage:?} round {round}: {disk} bytes, {} before", first.1);
            assert_eq!(stats.tombstones + stats.free_slots, 0, "{storage:?} round {round}");
            // In one go or piece by piece, with a look at what is left in between.
            for ids in ids.chunks(if round % 2 == 0 { 6000 } else { 500 }) {
                assert_eq!(database.index.delete_many(ids).unwrap(), ids.len() as u64);
            }
            assert_sound(&database.index, "emptied");
        }
    }
}

#[test]
fn a_snapshot_keeps_its_rows_while_others_want_their_places() {
    const DIM: usize = 8;
    let mut rng = Rng::new(14);
    let mut both = Both::in_memory(&request(DIM, Metric::L2));
    both.insert(0, &random(&mut rng, 2000 * DIM));
    both.write(&Write::DeleteMany((0..300).map(Id::from).collect()));
    let snapshot = both.snapshot().unwrap();
    fn read(both: &Both, snapshot: &Snapshot) -> Vec<Row> {
        let (rows, next) = both.scan(snapshot, 0, 10_000, ALL).unwrap();
        assert_eq!(next, None);
        rows
    }
    let before = read(&both, &snapshot);
    assert_eq!(before.len(), 1700);
    both.write(&Write::DeleteMany((300..1200).map(Id::from).collect()));
    both.compact(&Control::NONE).unwrap();
    let stats = both.stats().unwrap();
    assert_eq!((stats.tombstones, stats.free_slots), (900, 300), "what the snapshot covers stays");
    assert!(read(&both, &snapshot) == before, "swept under a snapshot");
    // Places of rows that it does not show are given away.
    both.insert(5000, &random(&mut rng, 300 * DIM));
    assert!(read(&both, &snapshot) == before, "rows added under a snapshot");
    let stats = both.stats().unwrap();
    assert_eq!((stats.tombstones, stats.free_slots), (900, 0));
    let later = both.snapshot().unwrap();
    let seen = read(&both, &later);
    assert_sound(&both, "with a snapshot");
    // A later one does not hold back what died before it.
    drop(snapshot);
    both.insert(6000, &random(&mut rng, 100 * DIM));
    let stats = both.stats().unwrap();
    let dead = stats.tombstones + stats.free_slots;
    assert!(stats.rows == 1200 && dead <= 900, "{stats:?}");
    assert!(read(&both, &later) == seen, "places taken under a snapshot");
    both.compact(&Control::NONE).unwrap();
    let stats = both.stats().unwrap();
    assert_eq!((stats.tombstones, stats.free_slots), (0, dead));
    assert!(read(&both, &later) == seen, "swept under a later snapshot");
    let recall = both.recall(&random(&mut rng, 50 * DIM), &params(10, 64), "after all");
    assert!(recall >= 0.97, "recall {recall}");
    assert_sound(&both, "without a snapshot");
    both.model.assert_equals(&both, "without a snapshot");
}

#[test]
fn a_snapshot_held_for_long_keeps_its_own_rows_and_no_others() {
    const DIM: usize = 8;
    const ROWS: u64 = 1000;
    let mut rng = Rng::new(16);
    let mut both = Both::in_memory(&request(DIM, Metric::L2));
    both.insert(0, &random(&mut rng, ROWS as usize * DIM));
    let snapshot = both.snapshot().unwrap();
    let selection = both.select(&Arc::new(Filter::parse("{}").unwrap())).unwrap();
    let before = both.scan(&snapshot, 0, 10_000, ALL).unwrap();
    for round in 0..30 {
        let ids: Vec<u64> = (0..ROWS).collect();
        for ids in ids.chunks(100) {
            let vectors = random(&mut rng, ids.len() * DIM);
            let ids = ids.iter().copied().map(Id::from).collect();
            both.write(&Write::Many(Some(ids), vectors, Vec::new(), Mode::Upsert));
            while round % 2 == 0 && both.tidy(&Control::NONE).unwrap() {}
        }
        let stats = both.stats().unwrap();
        // What it shows, what is live, and the dead that wait for a sweep or for the writes that do its steps.
        let slots = stats.rows + stats.tombstones + stats.free_slots;
        assert!(slots <= 4 * ROWS, "round {round}: {stats:?}");
        assert!(both.scan(&snapshot, 0, 10_000, ALL).unwrap() == before, "round {round}");
    }
    let selected = both.scan_selected(&selection, 0, 10_000, ALL, &Control::NONE).unwrap();
    assert!(selected.0 == before.0, "a selection lost rows");
    assert_sound(&both, "with a snapshot");
    drop((snapshot, selection));
    both.compact(&Control::NONE).unwrap();
    assert_eq!(both.stats().unwrap().tombstones, 0);
    assert_sound(&both, "without");
    both.model.assert_equals(&both, "without");
}

#[test]
fn an_insert_in_steps_uses_places_again_and_gives_them_back() {
    const DIM: usize = 8;
    let nameless = || Rows { ids: None, vectors: &[], payloads: &[] };
    let mut rng = Rng::new(17);
    let mut both = Both::in_memory(&request(DIM, Metric::L2));
    both.insert(0, &random(&mut rng, 2000 * DIM));
    for (round, gone) in [(0, 0..900), (1, 900..1500), (2, 1500..2000)] {
        both.write(&Write::DeleteMany(gone.map(Id::from).collect()));
        both.compact(&Control::NONE).unwrap();
        let free = both.stats().unwrap().free_slots;
        let vectors = random(&mut rng, 300 * DIM);
        let mut begun = both.begin_insert(nameless(), vectors.clone(), Mode::Insert).unwrap();
        for _ in 0..2 {
            assert_eq!(both.step(&mut begun, &Serial, &Control::NONE).unwrap(), None);
            assert_sound(&both, "between two steps");
            assert_eq!(both.tidy(&Control::NONE).unwrap_err().code(), Code::Locked);
        }
        assert_eq!(both.stats().unwrap().free_slots, free - 128);
        if round == 1 {
            both.give_up(begun).unwrap();
            assert_sound(&both, "given up");
            both.write(&Write::Delete(Id::from(1_000_000)));
            both.compact(&Control::NONE).unwrap();
            assert_eq!(both.stats().unwrap().free_slots, free, "places of a write that was given up");
        } else {
            while both.step(&mut begun, &Serial, &Control::NONE).unwrap().is_none() {}
            assert_eq!(both.stats().unwrap().free_slots, free - 300);
            // The ids follow the largest there ever was.
            let _ = both.model.apply(&Write::Many(None, vectors, Vec::new(), Mode::Insert));
        }
        assert_sound(&both, "afterwards");
        both.model.assert_equals(&both, "afterwards");
    }
}

#[test]
fn clustered_rows_updated_five_times_over_are_found_as_in_a_fresh_database() {
    const DIM: usize = 16;
    const ROWS: u64 = 4000;
    let mut rng = Rng::new(15);
    let centers = random(&mut rng, 60 * DIM);
    let draw = |rng: &mut Rng| -> Vec<f32> {
        let center = rng.below(60) as usize;
        let noise = random(rng, DIM);
        centers[center * DIM..][..DIM].iter().zip(noise).map(|(c, n)| c + 0.15 * n).collect()
    };
    let queries: Vec<f32> = (0..300).flat_map(|_| draw(&mut rng)).collect();
    for host_tidies in [true, false] {
        let mut both = Both::in_memory(&request(DIM, Metric::L2));
        let rows: Vec<f32> = (0..ROWS).flat_map(|_| draw(&mut rng)).collect();
        both.insert(0, &rows);
        for round in 0..5 {
            let mut ids: Vec<u64> = (0..ROWS).collect();
            (1..ids.len()).for_each(|i| ids.swap(i, rng.below(i as u64 + 1) as usize));
            for ids in ids.chunks(50) {
                let vectors = ids.iter().flat_map(|_| draw(&mut rng)).collect();
                let ids = ids.iter().copied().map(Id::from).collect();
                both.write(&Write::Many(Some(ids), vectors, Vec::new(), Mode::Upsert));
                while host_tidies && both.tidy(&Control::NONE).unwrap() {}
            }
            let mut fresh = Both::in_memory(&request(DIM, Metric::L2));
            let rows: Vec<f32> = both.model.rows.values().flat_map(|row| row.vector.to_vec()).collect();
            fresh.insert(0, &rows);
            let recall = both.recall(&queries, &params(10, 32), "updated");
            let wanted = fresh.recall(&queries, &params(10, 32), "fresh");
            let stats = both.stats().unwrap();
            println!("tidied {host_tidies}, round {round}: recall {recall}, fresh {wanted}, {stats:?}");
            assert!(recall >= wanted - 0.01, "round {round}: recall {recall}, fresh {wanted}");
            let most = if host_tidies { ROWS / 10 } else { ROWS / 2 };
            assert!(stats.tombstones <= most, "round {round}: {stats:?}");
            assert_sound(&both, "updated");
        }
    }
}

#[test]
fn a_snapshot_of_a_bulk_built_database_outlives_the_first_delete() {
    let dir = tempfile::tempdir().unwrap();
    for reopened in [false, true] {
        let request = OpenRequest { reinit: !reopened, ..request(2, Metric::L2) };
        let database = open(&at(dir.path()), &request).unwrap();
        if !reopened {
            let vectors = random(&mut Rng::new(1), 200);
            let rows = Rows { ids: None, vectors: &vectors, payloads: &[] };
            database.index.bulk_build(rows, &Serial, &Control::NONE, &|_| ()).unwrap();
        }
        let snapshot = database.index.snapshot().unwrap();
        let before = database.index.scan(&snapshot, 0, 1000, ALL).unwrap().0;
        assert!(database.index.delete(&Id::from(7 + u64::from(reopened))).unwrap());
        assert_eq!(before.len(), if reopened { 99 } else { 100 });
        assert_eq!(database.index.scan(&snapshot, 0, 1000, ALL).unwrap().0, before);
        database.index.close().unwrap();
    }
}

#[test]
fn rows_updated_five_times_over_are_found_as_before() {
    const DIM: usize = 16;
    for metric in METRICS {
        let mut rng = Rng::new(8);
        let mut both = Both::in_memory(&request(DIM, metric));
        both.insert(0, &random(&mut rng, 3000 * DIM));
        let queries = random(&mut rng, 200 * DIM);
        let before = both.recall(&queries, &params(10, 64), metric.name());
        for round in 0..5 {
            for id in 0..3000 {
                both.write(&Write::Update(Id::from(id), random(&mut rng, DIM)));
            }
            let after = both.recall(&queries, &params(10, 64), metric.name());
            assert!(
                after >= before - 0.02,
                "{} round {round}: recall fell from {before} to {after}",
                metric.name()
            );
        }
        println!(
            "{}: recall {before} before, checked after each of five updates of every row",
            metric.name()
        );
        assert_sound(&both, metric.name());
    }
}

#[test]
fn one_dimension_and_sorted_rows_are_searched_well() {
    for (dim, order) in [(1, "ascending"), (1, "descending"), (1, "random"), (8, "ascending")] {
        let mut rng = Rng::new(9);
        let mut rows: Vec<Vec<f32>> = (0..5000).map(|_| random(&mut rng, dim)).collect();
        match order {
            "ascending" => rows.sort_by(|a, b| a[0].total_cmp(&b[0])),
            "descending" => rows.sort_by(|a, b| b[0].total_cmp(&a[0])),
            _ => {}
        }
        let mut both = Both::in_memory(&request(dim, Metric::L2));
        both.insert(0, &rows.concat());
        let queries = random(&mut rng, 200 * dim);
        let recall = both.recall(&queries, &params(10, 100), order);
        println!("{dim} dimensions, {order}: recall {recall}");
        assert!(recall >= 0.97, "{dim} dimensions, {order}: recall {recall}");
        assert_sound(&both, order);
    }
}

#[test]
fn rows_that_codes_cannot_tell_apart_are_found_by_their_vectors() {
    const DIM: usize = 32;
    for metric in METRICS {
        for (spread, shift) in [(1e-4, 0.0), (1e-2, 0.0), (0.3, 100.0)] {
            let mut rng = Rng::new(11);
            let mut around = |center: &[f32]| -> Vec<f32> {
                center.iter().zip(random(&mut rng, DIM)).map(|(x, n)| x + spread * n).collect()
            };
            let mut centers = Rng::new(12);
            let centers: Vec<Vec<f32>> =
                (0..60).map(|_| random(&mut centers, DIM).into_iter().map(|x| x + shift).collect()).collect();
            let rows: Vec<f32> = (0..3000).flat_map(|i| around(&centers[i % 60])).collect();
            let queries: Vec<f32> = (0..120).flat_map(|i| around(&centers[i % 60])).collect();
            let recall = |quantization| {
                let options = Options { quantization, ..Options::default() };
                let mut both = Both::in_memory(&OpenRequest { options, ..request(DIM, metric) });
                both.insert(0, &rows);
                let what = format!("{} {quantization:?}, spread {spread}, shift {shift}", metric.name());
                assert_sound(&both, &what);
                assert_eq!(both.stats().unwrap().code_bytes > 0, quantization != Quantization::None);
                both.recall(&queries, &params(10, 100), &what)
            };
            let exact = recall(Quantization::None);
            for quantization in [Quantization::Sq8, Quantization::Rabitq] {
                let coded = recall(quantization);
                let what = format!("{} {quantization:?}, spread {spread}, shift {shift}", metric.name());
                println!("{what}: recall {coded}, {exact} without");
                assert!(coded >= exact - 0.02, "{what}: recall {coded}, {exact} without");
            }
        }
    }
}

fn strange_ids() -> [Id; 6] {
    [
        Id::from(1),
        Id::from(0),
        Id::from(1 << 53),
        Id::from(1 << 63),
        Id::from(u64::MAX),
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301".parse().unwrap(),
    ]
}

#[test]
fn every_id_costs_the_same_memory() {
    let mut costs = Vec::new();
    for id in strange_ids() {
        let database = open_memory(&request(4, Metric::L2)).unwrap();
        database.index.insert(&id, &[1.0, 2.0, 3.0, 4.0], None, Mode::Insert).unwrap();
        let hit = database.index.search(&[1.0, 2.0, 3.0, 4.0], &params(1, 10), &Control::NONE).unwrap().pop();
        assert_eq!(hit.unwrap().id, id);
        let stats = database.index.stats().unwrap();
        costs.push(
            stats.adjacency_bytes
                + stats.vector_bytes
                + stats.code_bytes
                + stats.upper_bytes
                + stats.table_bytes,
        );
    }
    println!("bytes per database of one row: {costs:?}");
    // The text of an id is stored, in what waits for a checkpoint too; nothing else may depend on it.
    assert!(costs.iter().all(|cost| cost.abs_diff(costs[0]) < 200), "{costs:?}");
}

const MEMORY_ID: &str = "ASTEROID_MEMORY_ID";

/// Not a test: the process whose memory is measured.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn memory_child() {
    let Ok(which) = std::env::var(MEMORY_ID) else { return };
    let id = &strange_ids()[which.parse::<usize>().unwrap()];
    let database = open_memory(&request(4, Metric::L2)).unwrap();
    database.index.insert(id, &[1.0, 2.0, 3.0, 4.0], None, Mode::Insert).unwrap();
    database.index.search(&[1.0, 2.0, 3.0, 4.0], &params(1, 10), &Control::NONE).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    println!("\nresident {}", resident.trim().trim_end_matches(" kB"));
}

#[test]
#[cfg(target_os = "linux")]
fn every_id_costs_the_same_memory_of_the_process() {
    let costs: Vec<u64> = (0..strange_ids().len())
        .map(|which| {
            let out = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "shape::memory_child", "--nocapture", "--ignored", "--test-threads=1"])
                .env(MEMORY_ID, which.to_string())
                .output()
                .unwrap();
            let out = String::from_utf8(out.stdout).unwrap();
            out.lines().find_map(|line| line.strip_prefix("resident ")?.parse().ok()).unwrap()
        })
        .collect();
    println!("kB resident: {costs:?}");
    assert!(costs.iter().all(|cost| cost.abs_diff(costs[0]) < 1500), "{costs:?} kB");
}

#[test]
fn every_dimension_works_in_both_vector_files() {
    for dim in [1, 2, 3, 127, 1000, 4096, 20_000, 65_535] {
        for storage in [VectorStorage::Paged, VectorStorage::Flat] {
            let what = format!("{dim} dimensions, {storage:?}");
            let mut rng = Rng::new(dim as u64);
            let dir = tempfile::tempdir().unwrap();
            let request = OpenRequest {
                vector_storage: Some(storage),
                options: Options { cache_bytes: 4 << 20, ..Options::default() },
                ..request(dim, Metric::L2)
            };
            let count = if dim > 5000 { 40 } else { 300 };
            let mut model = Model::new(dim, Metric::L2);
            let database = open(&at(dir.path()), &request).unwrap();
            let pool = Threads::new(2);
            let mut write = |database: &Database, write: &Write| {
                assert_eq!(run(&database.index, write, &pool).ok(), model.apply(write).ok(), "{what}");
            };
            write(&database, &Write::Many(None, random(&mut rng, count * dim), Vec::new(), Mode::Insert));
            write(&database, &Write::Update(Id::from(3), random(&mut rng, dim)));
            write(&database, &Write::Delete(Id::from(4)));
            drop(database);
            let database = open(&at(dir.path()), &request).unwrap();
            write(&database, &Write::Put(Id::from(4), random(&mut rng, dim), None, Mode::Insert));
            for database in [Some(database), None] {
                let database = database.unwrap_or_else(|| open(&at(dir.path()), &request).unwrap());
                model.assert_equals(&database.index, &what);
                for _ in 0..5 {
                    let query = random(&mut rng, dim);
                    let (found, wanted) =
                        model.assert_search(&database.index, &query, &params(10, 100), &what);
                    assert!(found * 10 >= wanted * 8, "{what}: found {found} of {wanted}");
                }
                assert_sound(&database.index, &what);
                database.index.close().unwrap();
            }
        }
    }
}

#[test]
fn fifty_openings_lose_nothing_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(5, Metric::Dot);
    let mut model = Model::new(5, Metric::Dot);
    let mut rng = Rng::new(10);
    for round in 0..50 {
        let database = open(&at(dir.path()), &request).unwrap();
        let write = Write::Many(None, random(&mut rng, 3 * 5), Vec::new(), Mode::Insert);
        assert_eq!(run(&database.index, &write, &Serial).ok(), model.apply(&write).ok());
        if round % 2 == 0 {
            database.index.close().unwrap();
            database.index.close().unwrap();
        }
    }
    let database = open(&at(dir.path()), &request).unwrap();
    model.assert_equals(&database.index, "after fifty openings");
    assert_sound(&database.index, "after fifty openings");
    let stats = database.index.stats().unwrap();
    assert!(stats.journal_bytes == 32 && stats.kv_file_bytes < 4 << 20, "{stats:?}");
}

#[test]
fn a_read_only_database_answers_everything_and_changes_nothing() {
    for storage in [VectorStorage::Paged, VectorStorage::Flat] {
        let dir = tempfile::tempdir().unwrap();
        let request = OpenRequest { vector_storage: Some(storage), ..request(6, Metric::L2) };
        let mut model = Model::new(6, Metric::L2);
        let mut rng = Rng::new(11);
        {
            let database = open(&at(dir.path()), &request).unwrap();
            let write = Write::Many(None, random(&mut rng, 500 * 6), Vec::new(), Mode::Insert);
            assert_eq!(run(&database.index, &write, &Serial).ok(), model.apply(&write).ok());
            database.index.close().unwrap();
        }
        {
            // Let go of: what follows is in the journal alone.
            let database = open(&at(dir.path()), &request).unwrap();
            let write = Write::Many(None, random(&mut rng, 70 * 6), Vec::new(), Mode::Insert);
            assert_eq!(run(&database.index, &write, &Serial).ok(), model.apply(&write).ok());
        }
        let files = || -> Vec<(std::ffi::OsString, Vec<u8>)> {
            let mut files: Vec<_> = fs::read_dir(dir.path().join("db"))
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap()))
                .collect();
            files.sort();
            files
        };
        let before = files();
        let read_only = Options { read_only: true, ..Options::default() };
        let to_read = OpenRequest { options: read_only, ..OpenRequest::default() };
        for _ in 0..2 {
            let database = open(&at(dir.path()), &to_read).unwrap();
            let second = open(&at(dir.path()), &to_read).unwrap();
            assert_eq!(open(&at(dir.path()), &request).err().unwrap().code(), Code::Locked);
            let index = &database.index;
            model.assert_equals(index, "read-only");
            model.assert_equals(&second.index, "a second reader");
            assert_sound(index, "read-only");
            model.assert_search(index, &random(&mut rng, 6), &params(10, 64), "read-only");
            let id = Id::from(1);
            let row = [0.5; 6];
            let rows = Rows { ids: None, vectors: &row, payloads: &[] };
            let refused: [Result<()>; 7] = [
                index.insert(&id, &row, None, Mode::Upsert),
                index.insert_many(rows, Mode::Insert, &Serial, &Control::NONE).map(drop),
                index.update(&id, &row),
                index.delete(&id).map(drop),
                index.delete_many(std::slice::from_ref(&id)).map(drop),
                index.set_payload(&id, None),
                index.merge_payload(&id, "{}"),
            ];
            for refused in refused {
                assert_eq!(refused.unwrap_err().code(), Code::ReadOnly);
            }
            index.close().unwrap();
        }
        assert!(files() == before, "reading changed a file");
        let database = open(&at(dir.path()), &request).unwrap();
        model.assert_equals(&database.index, "opened to write again");
    }
}

#[test]
fn another_dimension_or_metric_or_a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&at(dir.path()), &request(3, Metric::Cosine)).unwrap();
    database.index.insert(&Id::from(1), &[1.0, 2.0, 3.0], None, Mode::Insert).unwrap();
    for request in [request(3, Metric::Cosine), OpenRequest::default()] {
        assert_eq!(open(&at(dir.path()), &request).err().unwrap().code(), Code::Locked);
    }
    let read_only = Options { read_only: true, ..Options::default() };
    let to_read = OpenRequest { options: read_only, ..OpenRequest::default() };
    assert_eq!(open(&at(dir.path()), &to_read).err().unwrap().code(), Code::Locked);
    drop(database);
    for (request, words) in [
        (request(4, Metric::Cosine), ["3", "4"]),
        (request(3, Metric::L2), ["cosine", "l2"]),
        (OpenRequest { m: Some(5), ..OpenRequest::default() }, ["16", "5"]),
        (OpenRequest { vector_storage: Some(VectorStorage::Flat), ..OpenRequest::default() }, ["0", "1"]),
    ] {
        let error = open(&at(dir.path()), &request).err().unwrap();
        assert_eq!(error.code(), Code::ConfigMismatch, "{error}");
        assert!(words.iter().all(|word| error.message().contains(word)), "{error}");
    }
    let database = open(&at(dir.path()), &OpenRequest::default()).unwrap();
    assert_eq!(database.index.count().unwrap(), 1);
    assert_eq!(database.index.config(), &Config::new(3, Metric::Cosine));
}

#[test]
fn distances_of_long_and_short_vectors_are_exact() {
    for metric in METRICS {
        let mut both = Both::in_memory(&request(7, metric));
        let mut rng = Rng::new(12);
        let rows: Vec<f32> = (0..400)
            .flat_map(|i| {
                let scale = 10f32.powi(i % 30 - 15);
                random(&mut rng, 7).into_iter().map(move |x| x * scale)
            })
            .collect();
        both.insert(0, &rows);
        for row in rows.chunks_exact(7).step_by(7) {
            // Asserts each distance against f64.
            both.model.assert_search(&both, row, &params(400, 400), metric.name());
            let itself = both.search(row, &params(1, 400), &Control::NONE).unwrap().remove(0);
            let best = exact::nearest(metric, rows.chunks_exact(7), row, 1)[0];
            let slack = exact::tolerance(metric, row, &rows[best.1 * 7..][..7]);
            assert!((f64::from(itself.distance) - best.0).abs() <= slack, "{}", metric.name());
            // The distance that a search gives includes its row when it is asked for.
            let limit =
                SearchParams { max_distance: Some(itself.distance), include: ALL, ..params(400, 400) };
            let within = both.search(row, &limit, &Control::NONE).unwrap();
            assert!(within.iter().any(|hit| hit.id == itself.id), "{}", metric.name());
        }
    }
}
