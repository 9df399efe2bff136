//! Searches that ask for a recall: that they reach it, and what they learn it from.

use asteroid_core::{
    Code, Control, Explain, Hit, Id, Index, Metric, Mode, OpenRequest, Options, Pool, Quantization, RECALLS,
    Rows, SearchParams, Serial,
};
use asteroid_native_storage::{Place, open, open_memory};
use asteroid_tests::data::{DataSet, movies, sift_photos};
use asteroid_tests::exact;
use asteroid_tests::pool::{Threads, side_by_side};
use asteroid_tests::rng::{Rng, seed};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

const DIM: usize = 16;

fn request(dim: usize, metric: Metric, quantization: Quantization) -> OpenRequest {
    OpenRequest {
        dim: Some(dim as u32),
        metric: Some(metric),
        options: Options { quantization, ..Options::default() },
        ..OpenRequest::default()
    }
}

fn plain(vectors: &[f32]) -> Rows<'_> {
    Rows { ids: None, vectors, payloads: &[] }
}

/// A database in memory of these rows.
fn built(request: &OpenRequest, vectors: &[f32]) -> asteroid_native_storage::Database {
    let database = open_memory(request).unwrap();
    database.index.bulk_build(plain(vectors), &Threads::new(2), &Control::NONE, &|_| ()).unwrap();
    database
}

fn asking(k: usize, recall: f64) -> SearchParams {
    SearchParams { k, recall: Some(recall), ..SearchParams::default() }
}

fn search(index: &Index, query: &[f32], params: &SearchParams) -> (Vec<Hit>, Explain) {
    index.search_among(query, params, None, &Control::NONE).unwrap()
}

/// Numbers about a normal distribution.
fn noise(rng: &mut Rng, count: usize) -> Vec<f32> {
    let mut unit = || (rng.word() >> 40) as f32 / 16_777_216.0 - 0.5;
    (0..count).map(|_| (0..6).map(|_| unit()).sum()).collect()
}

fn database(rows: usize) -> asteroid_native_storage::Database {
    built(&request(DIM, Metric::L2, Quantization::Sq8), &noise(&mut Rng::new(5), rows * DIM))
}

/// Queries with the distances of all that they should find.
struct Truth<'a> {
    data: &'a DataSet,
    metric: Metric,
    nearest: Vec<Vec<(f64, usize)>>,
}

impl<'a> Truth<'a> {
    fn new(data: &'a DataSet, metric: Metric, k: usize, pool: &Threads) -> Truth<'a> {
        let queries: Vec<&[f32]> = data.queries.chunks_exact(data.dim).collect();
        let nearest: Vec<Mutex<Vec<_>>> = queries.iter().map(|_| Mutex::default()).collect();
        pool.for_each(queries.len(), &|i| {
            let rows = data.base.chunks_exact(data.dim);
            *nearest[i].lock().unwrap() = exact::nearest(metric, rows, queries[i], k);
        });
        Truth { data, metric, nearest: nearest.into_iter().map(|of| of.into_inner().unwrap()).collect() }
    }

    fn recall(&self, index: &Index, params: &SearchParams, pool: &Threads) -> f64 {
        let found = index.search_many(&self.data.queries, params, pool, &Control::NONE).unwrap();
        let queries = self.data.queries.chunks_exact(self.data.dim);
        let hits: usize = found
            .iter()
            .zip(&self.nearest)
            .zip(queries)
            .map(|((found, truth), query)| {
                let distances: Vec<f64> = found.iter().map(|hit| f64::from(hit.distance)).collect();
                let slack = exact::tolerance(self.metric, &self.data.base[..self.data.dim], query);
                exact::hits(&distances, &truth[..params.k], slack)
            })
            .sum();
        hits as f64 / (params.k * found.len()) as f64
    }
}

/// Widths are wide enough for queries that are no rows, and a quarter of them would not be.
fn hold(name: &str, data: &DataSet, metric: Metric, quantizations: &[Quantization]) {
    let pool = Threads::new(2);
    let truth = Truth::new(data, metric, 100, &pool);
    for &quantization in quantizations {
        let database = built(&request(data.dim, metric, quantization), &data.base);
        let index = &database.index;
        let of = format!("{name} {} {}", metric.name(), quantization.name());
        for k in [1, 10, 100] {
            for asked in [0.9, 0.95, 0.99] {
                let params = asking(k, asked);
                let (_, explain) = search(index, &data.queries[..data.dim], &params);
                let reached = truth.recall(index, &params, &pool);
                let width = explain.ef_search;
                println!(
                    "{of}: recall@{k} of {asked} asked for, {reached:.4} reached with {width} places, {:.4} expected",
                    explain.recall.unwrap()
                );
                assert!(explain.recall >= Some(asked) && explain.complete, "{explain:?}");
                assert!(reached >= asked - 0.01, "{of}: recall@{k} of {asked} asked for, {reached} reached");
                // A pool of codes has so many places at least.
                let narrow = SearchParams { ef_search: width / 4, ..SearchParams { recall: None, ..params } };
                if width / 4 >= k + k / 2 + 8 {
                    assert!(
                        truth.recall(index, &narrow, &pool) < asked,
                        "{of}: {width} places for recall@{k}"
                    );
                }
            }
        }
    }
}

#[test]
fn sift_photos_l2() {
    let Some(data) = sift_photos(20_000, 1000) else { return };
    hold("sift-photos", &data, Metric::L2, &Quantization::ALL);
}

#[test]
fn sift_photos_cosine_and_dot() {
    let Some(data) = sift_photos(10_000, 1000) else { return };
    hold("sift-photos", &data, Metric::Cosine, &[Quantization::Sq8]);
    hold("sift-photos", &data, Metric::Dot, &[Quantization::None]);
}

#[test]
fn movies_cosine() {
    let Some(data) = movies(10_000, 1000) else { return };
    hold("movies", &data, Metric::Cosine, &[Quantization::Sq8, Quantization::Rabitq]);
}

#[test]
fn movies_l2_and_dot() {
    let Some(data) = movies(6_000, 1000) else { return };
    hold("movies", &data, Metric::L2, &[Quantization::None]);
    hold("movies", &data, Metric::Dot, &[Quantization::Sq8]);
}

#[test]
fn what_is_no_recall_is_refused() {
    let database = open_memory(&request(DIM, Metric::L2, Quantization::Sq8)).unwrap();
    let query = [1.0; DIM];
    for recall in [0.0, 0.499, 0.9991, 1.0, 95.0, -0.9, f64::NAN, f64::INFINITY] {
        let params = asking(10, recall);
        let error = database.index.search(&query, &params, &Control::NONE).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{recall}");
        assert!(error.message().contains("recall must be a number from 0.5 to 0.999"), "{error}");
        let many = database.index.search_many(&query, &params, &Serial, &Control::NONE);
        assert_eq!(many.unwrap_err().code(), Code::InvalidArgument, "{recall}");
    }
    for recall in [*RECALLS.start(), *RECALLS.end()] {
        assert_eq!(database.index.search(&query, &asking(10, recall), &Control::NONE).unwrap(), []);
    }
}

#[test]
fn of_few_rows_all_are_measured() {
    let mut rng = Rng::new(seed());
    for (rows, k) in [(0, 1), (1, 10), (3, 10), (400, 10), (999, 1), (999, 2000), (3000, 1500), (3000, 5000)]
    {
        let vectors = noise(&mut rng, rows * DIM);
        let database = open_memory(&request(DIM, Metric::L2, Quantization::Sq8)).unwrap();
        database.index.insert_many(plain(&vectors), Mode::Insert, &Serial, &Control::NONE).unwrap();
        let query = noise(&mut rng, DIM);
        let params = asking(k, 0.9);
        assert!(database.index.width(0.9, k).is_some());
        let (hits, explain) = search(&database.index, &query, &params);
        assert_eq!((explain.recall, hits.len()), (Some(1.0), k.min(rows)), "{rows} rows, k {k}");
        assert!(explain.ef_search >= k && 2 * explain.ef_search >= rows, "{rows} rows: {explain:?}");
        let truth = exact::nearest(Metric::L2, vectors.chunks_exact(DIM), &query, k);
        let found: Vec<f64> = hits.iter().map(|hit| f64::from(hit.distance)).collect();
        assert_eq!(exact::hits(&found, &truth, 1e-5), truth.len(), "{rows} rows, k {k}");
    }
}

#[test]
fn a_width_is_that_of_its_recall_and_grows_with_it() {
    let database = database(6000);
    let index = &database.index;
    let query = [0.1; DIM];
    for wanted in [1, 2, 3, 7, 10, 16, 17, 50, 128, 129, 400, 1024, 2000, 2900] {
        let mut least = 0;
        for recall in [0.5, 0.8, 0.9, 0.95, 0.99, 0.999] {
            let params = SearchParams { offset: wanted / 3, ..asking(wanted - wanted / 3, recall) };
            let (hits, explain) = search(index, &query, &params);
            let width = index.width(recall, wanted).unwrap();
            assert_eq!((width.ef_search, width.recall), (explain.ef_search, explain.recall));
            assert!(
                width.ef_search >= wanted.max(least) && width.recall >= Some(recall),
                "{wanted}: {width:?}"
            );
            least = width.ef_search;
            // The same width by hand finds the same.
            let by_hand = SearchParams { ef_search: width.ef_search, recall: None, ..params };
            let (same, by_hand) = search(index, &query, &by_hand);
            assert_eq!((same, by_hand.ef_search, by_hand.recall), (hits, width.ef_search, None));
        }
    }
}

#[test]
fn widths_follow_from_the_database_alone() {
    let vectors = noise(&mut Rng::new(5), 5000 * DIM);
    let dir = tempfile::tempdir().unwrap();
    let place = Place { dir: dir.path().join("db"), vector_file: None };
    let first = open(&place, &request(DIM, Metric::L2, Quantization::Sq8)).unwrap();
    first.index.bulk_build(plain(&vectors), &Threads::new(2), &Control::NONE, &|_| ()).unwrap();
    let asked = [(10, 0.9), (100, 0.99), (1, 0.95)];
    let width = |index: &Index, (k, recall): (usize, f64), at: usize| {
        search(index, &vectors[at * DIM..][..DIM], &asking(k, recall)).1.ef_search
    };
    let widths = asked.map(|asked| width(&first.index, asked, 3));
    first.index.close().unwrap();
    drop(first);
    let again = open(&place, &request(DIM, Metric::L2, Quantization::Sq8)).unwrap();
    let mut others: Vec<usize> = asked.iter().rev().map(|&asked| width(&again.index, asked, 4000)).collect();
    others.reverse();
    assert_eq!(widths.as_slice(), others);
}

#[test]
fn widths_are_learnt_anew_when_a_fifth_of_the_rows_came_or_went() {
    let mut rng = Rng::new(8);
    let database = open_memory(&request(DIM, Metric::L2, Quantization::Sq8)).unwrap();
    let index = &database.index;
    // Near a line: easy to find one's way on.
    let line: Vec<f32> =
        (0..4000).flat_map(|row| (0..DIM).map(move |i| (row * (i + 1)) as f32 / 100.0)).collect();
    index.insert_many(plain(&line), Mode::Insert, &Serial, &Control::NONE).unwrap();
    let params = asking(10, 0.95);
    assert_eq!(index.width(0.95, 10), None);
    let easy = search(index, &line[..DIM], &params).1.ef_search;
    let cloud = |rng: &mut Rng, rows: usize| -> Vec<f32> {
        noise(rng, rows * DIM).into_iter().map(|x| 30.0 * x - 500.0).collect()
    };
    let some = cloud(&mut rng, 500);
    index.insert_many(plain(&some), Mode::Insert, &Serial, &Control::NONE).unwrap();
    let ids: Vec<Id> = (0..290u64).map(Id::from).collect();
    index.delete_many(&ids).unwrap();
    assert_eq!(index.width(0.95, 10).map(|width| width.ef_search), Some(easy));
    assert_eq!(search(index, &line[..DIM], &params).1.ef_search, easy);
    // Vectors changed count as well: the old one went, another came.
    for row in 300..305u64 {
        index.update(&Id::from(row), &noise(&mut rng, DIM)).unwrap();
    }
    assert_eq!(index.width(0.95, 10), None);
    let many = cloud(&mut rng, 8000);
    index.insert_many(plain(&many), Mode::Insert, &Threads::new(2), &Control::NONE).unwrap();
    let hard = search(index, &many[..DIM], &params).1.ef_search;
    assert!(hard > easy, "{hard} places, {easy} before");
    assert!(index.width(0.95, 10).is_some());
    // Reopened, repaired or built anew, it is another graph.
    index.delete_many(&(290..12_000u64).map(Id::from).collect::<Vec<_>>()).unwrap();
    assert_eq!(search(index, &many[..DIM], &params).1.recall, Some(1.0));
}

#[test]
fn those_who_ask_at_once_get_the_same_width_while_rows_come() {
    let database = database(4000);
    let index = &database.index;
    let query = [0.2; DIM];
    let widths = Mutex::new(Vec::new());
    side_by_side(6, 0..12, |_| {
        let width = search(index, &query, &asking(10, 0.95)).1.ef_search;
        widths.lock().unwrap().push(width);
    });
    let widths = widths.into_inner().unwrap();
    assert!(widths.len() == 12 && widths.iter().all(|&width| width == widths[0]), "{widths:?}");

    let done = AtomicBool::new(false);
    let seen = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (done, seen) = (&done, &seen);
            scope.spawn(move || {
                let mut rng = Rng::new(reader);
                while !done.load(Relaxed) {
                    let k = [1, 10, 100][rng.below(3) as usize];
                    let (hits, explain) = search(index, &noise(&mut rng, DIM), &asking(k, 0.95));
                    assert!(hits.len() == k && explain.recall.is_some(), "{explain:?}");
                    seen.fetch_add(1, Relaxed);
                }
            });
        }
        let mut rng = Rng::new(99);
        for _ in 0..40 {
            let rows = noise(&mut rng, 200 * DIM);
            index.insert_many(plain(&rows), Mode::Insert, &Serial, &Control::NONE).unwrap();
        }
        done.store(true, Relaxed);
    });
    println!("proof: {} searches for a recall while 8,000 rows came", seen.load(Relaxed));
    assert!(seen.load(Relaxed) > 0);
}

#[test]
fn learning_can_be_aborted_and_goes_on_where_it_was() {
    let database = database(5000);
    let other = self::database(5000);
    let query = [0.3; DIM];
    let asks = |index: &Index, most: u32| {
        let asked = AtomicU32::new(0);
        let control = Control { cancelled: &|| asked.fetch_add(1, Relaxed) >= most, ..Control::NONE };
        let found = index.search_among(&query, &asking(10, 0.95), None, &control);
        (found, asked.load(Relaxed))
    };
    let (whole, asked) = asks(&other.index, u32::MAX);
    let whole = whole.unwrap().1;
    assert!(asked > 200, "asked {asked} times only");
    for _ in 0..3 {
        let (aborted, _) = asks(&database.index, asked / 4);
        assert_eq!(aborted.unwrap_err().code(), Code::Aborted);
        assert_eq!(database.index.width(0.95, 10), None);
    }
    let (rest, left) = asks(&database.index, u32::MAX);
    assert_eq!(rest.unwrap().1, whole);
    assert!(left < asked / 2, "asked {left} times for the rest, {asked} for all");
}

#[test]
fn a_deadline_leaves_half_of_itself_to_the_search() {
    let database = database(5000);
    let index = &database.index;
    let query = [0.3; DIM];
    let time = AtomicU32::new(0);
    let tick = || f64::from(time.fetch_add(1, Relaxed));
    let control = Control { now: &tick, ..Control::NONE };
    let mut searches = 0;
    while index.width(0.95, 10).is_none() {
        time.store(0, Relaxed);
        let params = SearchParams { deadline: Some(100.0), ..asking(10, 0.95) };
        let (hits, explain) = index.search_among(&query, &params, None, &control).unwrap();
        assert!(hits.len() == 10 && explain.complete, "{explain:?}");
        if explain.recall.is_none() {
            assert_eq!(explain.ef_search, asteroid_core::DEFAULT_EF_SEARCH);
            assert!(time.load(Relaxed) < 100);
        }
        searches += 1;
        assert!(searches < 1000, "nothing is learnt");
    }
    assert!(searches > 5, "{searches} searches were enough");
    let learnt = self::database(5000);
    let (_, explain) = search(&learnt.index, &query, &asking(10, 0.95));
    assert_eq!(index.width(0.95, 10).map(|width| width.ef_search), Some(explain.ef_search));
}
