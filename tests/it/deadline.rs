//! Searches with a deadline, by a clock that moves when it is looked at.

use asteroid_core::filter::Filter;
use asteroid_core::{
    Code, Control, Explain, Hit, Index, Metric, OpenRequest, Options, Quantization, Rows, SearchParams,
    Serial,
};
use asteroid_native_storage::{Database, open_memory};
use asteroid_tests::exact;
use asteroid_tests::rng::{Rng, seed};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const DIM: usize = 16;
const ROWS: usize = 6000;

/// Milliseconds pass when somebody looks: one each time.
#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    fn look(&self) -> f64 {
        self.0.fetch_add(1, Relaxed) as f64
    }

    fn looks(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

struct World {
    database: Database,
    vectors: Vec<f32>,
    query: Vec<f32>,
}

impl World {
    fn new(quantization: Quantization) -> World {
        let mut rng = Rng::new(seed());
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count).map(|_| (rng.word() >> 40) as f32 / 16_777_216.0).collect()
        };
        let (vectors, query) = (numbers(ROWS * DIM), numbers(DIM));
        let options = Options { quantization, ..Options::default() };
        let request = OpenRequest {
            dim: Some(DIM as u32),
            metric: Some(Metric::L2),
            options,
            ..OpenRequest::default()
        };
        let database = open_memory(&request).unwrap();
        // What lies so deep is not indexed: payloads decide.
        let deep = |i: usize| json!({"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": i % 2}}}}}}}}});
        let payload = |i: usize| json!({"i": i, "deep": deep(i)}).to_string();
        let payloads: Vec<Option<String>> = (0..ROWS).map(|i| Some(payload(i))).collect();
        let rows = Rows { ids: None, vectors: &vectors, payloads: &payloads };
        database.index.bulk_build(rows, &Serial, &Control::NONE, &|_| ()).unwrap();
        World { database, vectors, query }
    }

    fn index(&self) -> &Index {
        &self.database.index
    }

    fn distance(&self, hit: &Hit) -> f64 {
        let asteroid_core::Id::Num(row) = hit.id else { panic!("{}", hit.id) };
        exact::distance(Metric::L2, &self.vectors[row as usize * DIM..][..DIM], &self.query)
    }

    /// However late: rows of the database, nearest first, by their exact distances.
    fn assert_honest(&self, hits: &[Hit], k: usize) {
        assert!(hits.len() <= k);
        assert!(hits.is_sorted_by(|a, b| a.distance <= b.distance));
        for hit in hits {
            assert!((self.distance(hit) - f64::from(hit.distance)).abs() < 1e-5, "{hit:?}");
        }
    }
}

fn within(ms: f64, params: &SearchParams) -> SearchParams {
    SearchParams { deadline: Some(ms), ..*params }
}

/// A search with that deadline, and how often it looked at the clock.
fn search(
    world: &World,
    filter: Option<&serde_json::Value>,
    plan: Option<&str>,
    params: &SearchParams,
) -> (Vec<Hit>, Explain, u64) {
    let clock = Clock::default();
    let control = Control { now: &|| clock.look(), ..Control::NONE };
    let index = world.index();
    let selection =
        filter.map(|filter| index.select(&Arc::new(Filter::parse(&filter.to_string()).unwrap())).unwrap());
    let (hits, explain) = match (plan, &selection) {
        (Some(plan), Some(selection)) => {
            index.search_by_plan(&world.query, params, selection, plan, &control).unwrap()
        }
        _ => index.search_among(&world.query, params, selection.as_ref(), &control).unwrap(),
    };
    (hits, explain, clock.looks())
}

#[test]
fn what_is_late_answers_with_what_it_has() {
    let cases = [
        (None, None),
        (Some(json!({"i": {"$gte": 1000}})), Some("scan")),
        (Some(json!({"i": {"$gte": 2000}})), Some("scan")),
        (Some(json!({"i": {"$gte": 1000}})), Some("sweep")),
        (Some(json!({"i": {"$gte": 4000}})), Some("bridge")),
        (Some(json!({"deep.a.b.c.d.e.f.g.h.i": 1})), Some("scan")),
        (Some(json!({"deep.a.b.c.d.e.f.g.h.i": 1})), Some("sweep")),
    ];
    for quantization in Quantization::ALL {
        let world = World::new(quantization);
        for (filter, plan) in &cases {
            let what = format!("{} {plan:?} {filter:?}", quantization.name());
            let params = SearchParams { k: 200, ef_search: 800, ..SearchParams::default() };
            let (all, explain, looks) = search(&world, filter.as_ref(), *plan, &params);
            assert!(explain.complete && all.len() == 200 && looks == 0, "{what}: {explain:?}");
            let (same, explain, looks) = search(&world, filter.as_ref(), *plan, &within(1e9, &params));
            assert!(explain.complete && same == all && looks >= 2, "{what}: {looks} looks, {explain:?}");
            if filter.as_ref().is_some_and(|filter| filter.to_string().contains("deep")) {
                assert!(explain.undecided > 0, "{what}: {explain:?}");
            }
            let (mut measured, mut unfinished, mut nearest) = (0, 0, f32::INFINITY);
            for ms in 0..looks {
                let late = within(ms as f64 + 0.5, &params);
                let (hits, explain, _) = search(&world, filter.as_ref(), *plan, &late);
                world.assert_honest(&hits, 200);
                assert!(!hits.is_empty(), "{what}: nothing within {ms} ms");
                if !explain.complete {
                    unfinished += 1;
                    assert!(!explain.fell_back, "{what}: {explain:?}");
                }
                // Scans say what they set out to measure.
                if explain.plan != "scan" {
                    assert!(explain.measured >= measured, "{what}: fewer measured in more time");
                    measured = explain.measured;
                    // Also where a scan follows, which begins far away.
                    assert!(hits[0].distance <= nearest, "{what}: farther in more time");
                    nearest = hits[0].distance;
                }
            }
            assert!(unfinished + 2 >= looks && unfinished >= 1, "{what}: {unfinished} of {looks} unfinished");
        }
    }
}

#[test]
fn a_scan_of_all_rows_is_cut_short_too() {
    let world = World::new(Quantization::Sq8);
    // Half of the rows in the pool: all are measured.
    let params = SearchParams { k: 3000, ..SearchParams::default() };
    let (all, explain, _) = search(&world, None, None, &params);
    assert_eq!((explain.plan, all.len()), ("scan", 3000));
    let (some, explain, _) = search(&world, None, None, &within(0.5, &params));
    world.assert_honest(&some, 3000);
    assert!(!explain.complete && some.len() == 2047, "{} rows, {explain:?}", some.len());
}

#[test]
fn the_deadline_counts_from_the_call() {
    let world = World::new(Quantization::Sq8);
    let params = SearchParams { k: 10, ef_search: 800, deadline: Some(50.0), ..SearchParams::default() };
    for (called, complete) in [(100.0, true), (51.0, true), (49.0, false), (0.0, false)] {
        let control = Control { now: &|| 100.0, called, ..Control::NONE };
        let (hits, explain) = world.index().search_among(&world.query, &params, None, &control).unwrap();
        // However late it begins, it looks around for a little.
        assert_eq!((hits.len(), explain.complete), (10, complete), "called at {called}");
    }
}

#[test]
fn of_many_queries_each_has_its_own_deadline() {
    let world = World::new(Quantization::Sq8);
    let clock = Clock::default();
    let control = Control { now: &|| clock.look(), ..Control::NONE };
    let queries = world.vectors[..50 * DIM].to_vec();
    let params = SearchParams { k: 10, ef_search: 400, deadline: Some(200.0), ..SearchParams::default() };
    let found = world.index().search_many_among(&queries, &params, None, &Serial, &control).unwrap();
    assert!(clock.looks() > 1000 && found.iter().all(|(_, explain)| explain.complete));
    let short = within(3.0, &params);
    let found = world.index().search_many_among(&queries, &short, None, &Serial, &control).unwrap();
    assert!(found.iter().all(|(hits, explain)| !explain.complete && !hits.is_empty()));
}

#[test]
fn an_abort_comes_before_a_deadline() {
    let world = World::new(Quantization::Sq8);
    let params = SearchParams { k: 3000, deadline: Some(1.0), ..SearchParams::default() };
    let control = Control { cancelled: &|| true, now: &|| 100.0, ..Control::NONE };
    let error = world.index().search_among(&world.query, &params, None, &control).unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
}

#[test]
fn what_is_no_deadline_is_refused() {
    let world = World::new(Quantization::None);
    for ms in [0.0, -1.0, f64::NAN] {
        let params = within(ms, &SearchParams::default());
        let error = world.index().search(&world.query, &params, &Control::NONE).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains("deadline must be a positive number"), "{error}");
    }
    let endless = within(f64::INFINITY, &SearchParams::default());
    assert_eq!(world.index().search(&world.query, &endless, &Control::NONE).unwrap().len(), 10);
}
