//! Recall floors on cuts of the shared data, with default parameters, after reopening.

use asteroid_core::{Control, Metric, Mode, OpenRequest, Options, Rows, SearchParams, VectorStorage};
use asteroid_native_storage::{Place, open};
use asteroid_tests::data::{DataSet, movies, sift_photos};
use asteroid_tests::exact;
use asteroid_tests::model::assert_sound;
use asteroid_tests::pool::Threads;
use std::time::Instant;

const K: usize = 10;
const FLOOR: f64 = 0.97;
const SMALLEST: u64 = 4 << 20;
const DEFAULT: u64 = 256 << 20;

/// Builds with one cache budget, reopens with each, and holds the floor with all of them.
fn hold(name: &str, data: &DataSet, metric: Metric, storage: VectorStorage, built_with: u64) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { dir: dir.path().join("db"), vector_file: None };
    let request = |cache_bytes| OpenRequest {
        dim: Some(data.dim as u32),
        metric: Some(metric),
        vector_storage: Some(storage),
        options: Options { cache_bytes, ..Options::default() },
        ..OpenRequest::default()
    };
    let pool = Threads::new(2);
    let began = Instant::now();
    {
        let database = open(&place, &request(built_with)).unwrap();
        let rows = Rows { ids: None, vectors: &data.base, payloads: &[] };
        database.index.insert_many(rows, Mode::Insert, &pool, &Control::NONE).unwrap();
        database.index.close().unwrap();
    }
    let built = began.elapsed();
    let truth: Vec<_> = data
        .queries
        .chunks_exact(data.dim)
        .map(|query| exact::nearest(metric, data.base.chunks_exact(data.dim), query, K))
        .collect();
    for cache_bytes in [DEFAULT, SMALLEST] {
        let database = open(&place, &request(cache_bytes)).unwrap();
        let began = Instant::now();
        let mut shown = Vec::new();
        for ef_search in [asteroid_core::DEFAULT_EF_SEARCH, 100] {
            let params = SearchParams { k: K, ef_search, ..SearchParams::default() };
            let found = database.index.search_many(&data.queries, &params, &pool, &Control::NONE).unwrap();
            let mut hits = 0;
            for ((found, truth), query) in found.iter().zip(&truth).zip(data.queries.chunks_exact(data.dim)) {
                assert_eq!(found.len(), K);
                let distances: Vec<f64> = found.iter().map(|hit| f64::from(hit.distance)).collect();
                let slack = exact::tolerance(metric, &data.base[..data.dim], query);
                hits += exact::hits(&distances, truth, slack);
            }
            shown.push(hits as f64 / (K * truth.len()) as f64);
        }
        println!(
            "{name} {} {storage:?}, built in {built:?} with {} MiB, searched with {} MiB in {:?}: recall@10 {:.4} at 64, {:.4} at 100",
            metric.name(),
            built_with >> 20,
            cache_bytes >> 20,
            began.elapsed(),
            shown[0],
            shown[1]
        );
        assert!(shown[1] >= FLOOR, "{name} {} {storage:?}: recall {:?}", metric.name(), shown);
        let stats = database.index.stats().unwrap();
        assert!(
            stats.adjacency_bytes + stats.vector_bytes + stats.code_bytes < cache_bytes + (8 << 20),
            "{stats:?}"
        );
        if cache_bytes == DEFAULT {
            assert_sound(&database.index, name);
        }
    }
}

#[test]
fn sift_photos_l2_paged_built_in_the_smallest_cache() {
    let Some(data) = sift_photos(6000, 200) else { return };
    hold("sift-photos", &data, Metric::L2, VectorStorage::Paged, SMALLEST);
}

#[test]
fn sift_photos_l2_flat() {
    let Some(data) = sift_photos(20_000, 200) else { return };
    hold("sift-photos", &data, Metric::L2, VectorStorage::Flat, DEFAULT);
}

#[test]
fn sift_photos_cosine() {
    let Some(data) = sift_photos(20_000, 200) else { return };
    hold("sift-photos", &data, Metric::Cosine, VectorStorage::Paged, DEFAULT);
}

#[test]
fn sift_photos_dot() {
    let Some(data) = sift_photos(20_000, 200) else { return };
    hold("sift-photos", &data, Metric::Dot, VectorStorage::Flat, DEFAULT);
}

#[test]
fn movies_cosine_paged_built_in_the_smallest_cache() {
    let Some(data) = movies(3000, 200) else { return };
    hold("movies", &data, Metric::Cosine, VectorStorage::Paged, SMALLEST);
}

#[test]
fn movies_l2() {
    let Some(data) = movies(10_000, 200) else { return };
    hold("movies", &data, Metric::L2, VectorStorage::Flat, DEFAULT);
}

#[test]
fn movies_dot() {
    let Some(data) = movies(10_000, 200) else { return };
    hold("movies", &data, Metric::Dot, VectorStorage::Paged, DEFAULT);
}
