//! Prints what filtered searches cost and find, plan by plan: `npm run bench:filters`.
//!
//! Arguments: folders with `base.npy`, `query.npy` and, if they like, `payloads.jsonl`; then `rows=N`, `queries=N`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use asteroid_core::bytes::MemBytes;
use asteroid_core::filter::Filter;
use asteroid_core::kv::MemKv;
use asteroid_core::*;
use asteroid_tests::rng::Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const K: usize = 10;
/// Values of the made-up fields.
const STEPS: usize = 100_000;

struct Rayon;

impl Pool for Rayon {
    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    fn for_each(&self, count: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..count).into_par_iter().for_each(job);
    }
}

struct Data {
    name: String,
    dim: usize,
    metric: Metric,
    base: Vec<f32>,
    queries: Vec<f32>,
    payloads: Vec<Value>,
}

/// Rows of numbers from a version 1 `.npy` file of bytes or floats.
fn npy(path: &Path) -> (usize, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = std::str::from_utf8(&bytes[10..10 + header]).unwrap();
    let shape = text.split('(').nth(1).unwrap().split(')').next().unwrap();
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let body = &bytes[10 + header..];
    let numbers = if text.contains("u1") {
        body.iter().map(|&b| f32::from(b)).collect()
    } else if text.contains("<f2") {
        body.chunks_exact(2).map(|b| half(u16::from_le_bytes([b[0], b[1]]))).collect()
    } else {
        body.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    (shape[1], numbers)
}

/// A half-precision number.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    if exponent == 0 {
        sign * fraction * 2f32.powi(-24)
    } else {
        sign * (1024.0 + fraction) * 2f32.powi(exponent - 25)
    }
}

fn load(folder: &str, rows: usize, queries: usize) -> Data {
    let at = Path::new(folder);
    let (dim, mut base) = npy(&at.join("base.npy"));
    let (_, query) = npy(&at.join("query.npy"));
    base.truncate(rows * dim);
    let count = base.len() / dim;
    let payloads = match std::fs::read_to_string(at.join("payloads.jsonl")) {
        Ok(text) => text.lines().take(count).map(|line| serde_json::from_str(line).unwrap()).collect(),
        Err(_) => vec![json!({}); count],
    };
    let metric = if payloads.iter().any(|p| p.get("title").is_some()) { Metric::Cosine } else { Metric::L2 };
    let name = at.file_name().unwrap().to_string_lossy().into_owned();
    let anchor = query[..dim].to_vec();
    // The queries nearest to one of them: then one field tells what is far from all.
    let mut order: Vec<usize> = (0..query.len() / dim).collect();
    order.sort_by(|&a, &b| {
        apart(&anchor, &query[a * dim..][..dim]).total_cmp(&apart(&anchor, &query[b * dim..][..dim]))
    });
    let near: Vec<f32> = order.iter().take(queries).flat_map(|&i| query[i * dim..][..dim].to_vec()).collect();
    let mut data = Data { name, dim, metric, base, queries: near, payloads };
    let mut far: Vec<(f32, usize)> =
        data.base.chunks_exact(dim).map(|row| apart(&anchor, row)).zip(0..).collect();
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut rng = Rng::new(1);
    for (place, (_, row)) in far.into_iter().enumerate() {
        data.payloads[row]["far"] = json!(place * STEPS / count);
        data.payloads[row]["any"] = json!(rng.below(STEPS as u64));
    }
    data
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    let dot: f32 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    let (aa, bb): (f32, f32) = (a.iter().map(|x| x * x).sum(), b.iter().map(|x| x * x).sum());
    aa + bb - 2.0 * dot
}

struct Run {
    p50: f64,
    recall: f64,
    measured: f64,
    plan: &'static str,
    fell_back: usize,
    short: usize,
}

fn run(data: &Data, truth: &[Vec<Id>], search: impl Fn(&[f32]) -> (Vec<Hit>, Explain)) -> Run {
    let mut times = Vec::new();
    let mut out = Run { p50: 0.0, recall: 0.0, measured: 0.0, plan: "", fell_back: 0, short: 0 };
    let (mut found, mut of) = (0, 0);
    for (query, truth) in data.queries.chunks_exact(data.dim).zip(truth) {
        let started = Instant::now();
        let (hits, explain) = search(query);
        times.push(started.elapsed().as_secs_f64() * 1e3);
        found += hits.iter().filter(|hit| truth.contains(&hit.id)).count();
        of += truth.len();
        out.short += usize::from(hits.len() < truth.len());
        out.measured += explain.measured as f64;
        out.plan = explain.plan;
        out.fell_back += usize::from(explain.fell_back);
    }
    times.sort_by(f64::total_cmp);
    out.p50 = times[times.len() / 2];
    out.recall = found as f64 / of.max(1) as f64;
    out.measured /= times.len() as f64;
    out
}

fn main() {
    let (mut rows, mut queries, mut folders) = (usize::MAX >> 20, 100, Vec::new());
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("rows", n)) => rows = n.parse().unwrap(),
            Some(("queries", n)) => queries = n.parse().unwrap(),
            _ => folders.push(argument),
        }
    }
    for folder in folders {
        let data = load(&folder, rows, queries);
        let stores = Stores {
            kv: Arc::new(MemKv::default()),
            vectors: Arc::new(MemBytes::default()),
            journal: Arc::new(MemBytes::default()),
        };
        let options = Options { cache_bytes: 2 << 30, ..Options::default() };
        let db = Index::open(stores, Config::new(data.dim as u32, data.metric), options).unwrap();
        let payloads: Vec<Option<String>> = data.payloads.iter().map(|p| Some(p.to_string())).collect();
        let started = Instant::now();
        let batch = Rows { ids: None, vectors: &data.base, payloads: &payloads };
        db.bulk_build(batch, &Rayon, &Control::NONE, &|_| ()).unwrap();
        let count = db.count().unwrap();
        println!(
            "\n{}: {count} rows, dim {}, built in {:.1} s",
            data.name,
            data.dim,
            started.elapsed().as_secs_f64()
        );
        table(&db, &data);
    }
}

fn table(db: &Index, data: &Data) {
    let params = SearchParams { k: K, ..SearchParams::default() };
    let select = |filter: &str| db.select(&Arc::new(Filter::parse(filter).unwrap())).unwrap();
    let everything = select("{}");
    let exact = |selection: &Selection| -> Vec<Vec<Id>> {
        let queries: Vec<&[f32]> = data.queries.chunks_exact(data.dim).collect();
        let search = |query: &&[f32]| {
            let (hits, _) = db.search_by_plan(query, &params, selection, "scan", &Control::NONE).unwrap();
            hits.into_iter().map(|hit| hit.id).collect()
        };
        queries.par_iter().map(search).collect()
    };
    let all = exact(&everything);
    let plain = |query: &[f32]| db.search_among(query, &params, None, &Control::NONE).unwrap();
    run(data, &all, plain);
    let base = run(data, &all, plain);
    println!(
        "unfiltered: p50 {:.3} ms, recall@10 {:.3}, {:.0} measured",
        base.p50, base.recall, base.measured
    );
    println!(
        "| filter | matches | first look-up ms | plan | p50 ms | times | recall | short | scan ms | bridge ms (recall, fell back) | sweep ms (recall, fell back) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut filters: Vec<(String, String)> = Vec::new();
    for (kind, field) in [("random", "any"), ("far", "far")] {
        for part in [1.0, 0.9, 0.5, 0.25, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001] {
            let filter = json!({field: {"$lt": (part * STEPS as f64).round()}});
            filters.push((format!("{kind} {} %", part * 100.0), filter.to_string()));
        }
    }
    if data.payloads[0].get("title").is_some() {
        for filter in [
            json!({"genres": "Comedy"}),
            json!({"genres": "Horror", "year": {"$gte": 1979}}),
            json!({"year": {"$gte": 1930, "$lt": 1960}}),
            json!({"year": {"$ne": 1979}}),
            json!({"cast": "Buster Keaton"}),
            json!({"title": {"$regex": "^The "}}),
            json!({"title": {"$regex": "love", "$options": "i"}}),
            json!({"cast": {"$size": 2}}),
        ] {
            filters.push((format!("`{filter}`"), filter.to_string()));
        }
    }
    for (name, text) in filters {
        let filter = Arc::new(Filter::parse(&text).unwrap());
        let started = Instant::now();
        let selection = db.select(&filter).unwrap();
        let look_up = started.elapsed().as_secs_f64() * 1e3;
        let truth = exact(&selection);
        let chosen = |query: &[f32]| {
            let selection = db.select(&filter).unwrap();
            db.search_among(query, &params, Some(&selection), &Control::NONE).unwrap()
        };
        let ours = run(data, &truth, chosen);
        let forced = |plan: &str| {
            let by =
                |query: &[f32]| db.search_by_plan(query, &params, &selection, plan, &Control::NONE).unwrap();
            run(data, &truth, by)
        };
        let (scan, bridge, sweep) = (forced("scan"), forced("bridge"), forced("sweep"));
        let other = |run: &Run| format!("{:.3} ({:.3}, {})", run.p50, run.recall, run.fell_back);
        let matches = db.count_selected(&selection, &Control::NONE).unwrap();
        println!(
            "| {name} | {matches} | {look_up:.2} | {}{} | {:.3} | {:.2} | {:.3} | {} | {:.3} | {} | {} |",
            ours.plan,
            if ours.fell_back > 0 { format!(" ({} fell back)", ours.fell_back) } else { String::new() },
            ours.p50,
            ours.p50 / base.p50,
            ours.recall,
            ours.short,
            scan.p50,
            other(&bridge),
            other(&sweep),
        );
    }
}
