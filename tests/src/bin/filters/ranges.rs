//! Look-ups of ranges over very many distinct values.

use super::{Asked, open};
use asteroid_core::filter::Filter;
use asteroid_core::*;
use asteroid_tests::pool::Threads;
use asteroid_tests::rng::Rng;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

const DIM: usize = 16;
const TIMES: usize = 5;

pub(crate) fn run(asked: &Asked) {
    let count = asked.rows.min(200_000);
    let mut rng = Rng::new(1);
    let vectors: Vec<f32> = (0..count * DIM).map(|_| rng.below(1 << 16) as f32).collect();
    // As many prices as rows, in an order that has nothing to do with that of the rows.
    let mut prices: Vec<usize> = (0..count).collect();
    (1..count).rev().for_each(|i| prices.swap(i, rng.below(i as u64 + 1) as usize));
    let payloads: Vec<Option<String>> =
        prices.iter().map(|&price| Some(json!({"price": price as f64 + 0.25}).to_string())).collect();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("db");
    let database = open(&dir, DIM, Metric::L2, None);
    let rows = Rows { ids: None, vectors: &vectors, payloads: &payloads };
    database.index.bulk_build(rows, &Threads::new(2), &Control::NONE, &|_| ()).unwrap();
    database.index.close().unwrap();
    drop(database);
    let database = open(&dir, DIM, Metric::L2, None);
    let db = &database.index;
    let query = vec![30_000.0; DIM];
    let params = SearchParams::default();
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let timed = |what: &mut dyn FnMut()| {
        let started = Instant::now();
        what();
        started.elapsed().as_secs_f64() * 1e3
    };
    let plain =
        median((0..50).map(|_| timed(&mut || drop(db.search(&query, &params, &Control::NONE)))).collect());
    println!("\n{count} rows with as many prices; a search without a filter takes {plain:.3} ms");
    println!(
        "| filter | matches | first search ms | same again ms | first after a write ms |\n|---|---|---|---|---|"
    );
    for part in [0.0, 0.5, 0.9, 0.99, 0.9999] {
        let filter = json!({"price": {"$gt": (part * count as f64).floor()}}).to_string();
        let filter = Arc::new(Filter::parse(&filter).unwrap());
        let search = || {
            let selection = db.select(&filter).unwrap();
            let hits = db.search_among(&query, &params, Some(&selection), &Control::NONE).unwrap().0;
            assert_eq!(hits.len() as u64, 10.min(count as u64 - (part * count as f64) as u64));
        };
        let first = timed(&mut &search);
        let again = median((0..TIMES).map(|_| timed(&mut &search)).collect());
        let after = (0..TIMES).map(|_| {
            let row = rng.below(count as u64);
            db.set_payload(&row.into(), payloads[row as usize].as_deref()).unwrap();
            timed(&mut &search)
        });
        let after = median(after.collect());
        let selection = db.select(&filter).unwrap();
        let matches = db.count_selected(&selection, &Control::NONE).unwrap();
        println!(
            "| price > {:.2} % of them | {matches} | {first:.2} | {again:.3} | {after:.2} |",
            part * 100.0
        );
    }
}
