//! `npm run bench:recall`: what searches that ask for a recall come to, on queries that are no rows.
//!
//!   npm run bench:recall                             both data sets, the default quantization
//!   npm run bench:recall -- movies quantization=none seeds=3
//!
//! Per recall asked for: the width chosen, the least that would have done, the recall reached, and what it took to learn
//! the widths, which the first search that asks does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use asteroid_core::*;
use asteroid_native_storage::open_memory;
use asteroid_tests::data::{DataSet, movies, sift_photos};
use asteroid_tests::exact;
use asteroid_tests::pool::Threads;
use std::sync::Mutex;
use std::time::Instant;

const KS: [usize; 3] = [1, 10, 100];
const RECALLS: [f64; 3] = [0.9, 0.95, 0.99];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        asked.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let quantization = option("quantization").unwrap_or_else(|| "sq8".to_owned());
    let quantization = *Quantization::ALL
        .iter()
        .find(|kind| kind.name() == quantization)
        .expect("quantization is one of sq8, rabitq, none");
    let seeds: u64 = option("seeds").map_or(1, |seeds| seeds.parse().expect("seeds is a number"));
    let wanted =
        |name: &str| asked.iter().all(|arg| arg.contains('=')) || asked.iter().any(|arg| arg == name);
    let sets = [
        ("sift-photos", Metric::L2, sift_photos as fn(usize, usize) -> Option<DataSet>, 200_000),
        ("movies", Metric::Cosine, movies, 33_000),
    ];
    for (name, metric, load, rows) in sets {
        if wanted(name)
            && let Some(data) = load(rows, 1000)
        {
            let measured = Measured::new(data, metric);
            for seed in 1..=seeds {
                println!("\n{name}, {rows} x {}, {}, seed {seed}", measured.data.dim, quantization.name());
                measured.show(quantization, seed);
            }
        }
    }
}

struct Measured {
    data: DataSet,
    metric: Metric,
    /// Per query the distances of the nearest rows.
    nearest: Vec<Vec<(f64, usize)>>,
    pool: Threads,
}

impl Measured {
    fn new(data: DataSet, metric: Metric) -> Measured {
        let pool = Threads::new(std::thread::available_parallelism().map_or(1, usize::from));
        let queries: Vec<&[f32]> = data.queries.chunks_exact(data.dim).collect();
        let nearest: Vec<Mutex<Vec<_>>> = queries.iter().map(|_| Mutex::default()).collect();
        pool.for_each(queries.len(), &|i| {
            let rows = data.base.chunks_exact(data.dim);
            *nearest[i].lock().unwrap() = exact::nearest(metric, rows, queries[i], KS[KS.len() - 1]);
        });
        let nearest = nearest.into_iter().map(|nearest| nearest.into_inner().unwrap()).collect();
        Measured { data, metric, nearest, pool }
    }

    fn show(&self, quantization: Quantization, seed: u64) {
        let request = OpenRequest {
            dim: Some(self.data.dim as u32),
            metric: Some(self.metric),
            seed: Some(seed),
            options: Options { quantization, ..Options::default() },
            ..OpenRequest::default()
        };
        let database = open_memory(&request).unwrap();
        let index = &database.index;
        let rows = Rows { ids: None, vectors: &self.data.base, payloads: &[] };
        index.bulk_build(rows, &self.pool, &Control::NONE, &|_| ()).unwrap();
        let query = &self.data.queries[..self.data.dim];
        // Codes are made before the first search, whatever it asks for.
        index.search(query, &SearchParams::default(), &Control::NONE).unwrap();
        println!("| k | asked | efSearch | least | wider | expected | reached | learnt in |");
        println!("|---|---|---|---|---|---|---|---|");
        for k in KS {
            for asked in RECALLS {
                let params = SearchParams { k, recall: Some(asked), ..SearchParams::default() };
                let known = index.width(asked, k).is_some();
                let began = Instant::now();
                let (_, explain) = index.search_among(query, &params, None, &Control::NONE).unwrap();
                let learnt = began.elapsed();
                let (width, least) = (explain.ef_search, self.least(index, k, asked));
                println!(
                    "| {k} | {asked} | {width} | {least} | {:.2}x | {:.4} | {:.4} | {} |",
                    width as f64 / least as f64,
                    explain.recall.unwrap_or(f64::NAN),
                    self.recall(index, &params),
                    if known { String::new() } else { format!("{:.0} ms", learnt.as_secs_f64() * 1e3) },
                );
            }
        }
    }

    /// The least width that reaches a recall.
    fn least(&self, index: &Index, k: usize, asked: f64) -> usize {
        let (mut below, mut enough) = (k - 1, 2 * k + 2000);
        while enough - below > 1 {
            let ef_search = if enough > 2 * below + 2 { 2 * below + 1 } else { (below + enough) / 2 };
            let params = SearchParams { k, ef_search, ..SearchParams::default() };
            if self.recall(index, &params) >= asked { enough = ef_search } else { below = ef_search }
        }
        enough
    }

    fn recall(&self, index: &Index, params: &SearchParams) -> f64 {
        let found = index.search_many(&self.data.queries, params, &self.pool, &Control::NONE).unwrap();
        let queries = self.data.queries.chunks_exact(self.data.dim);
        let hits = found.iter().zip(&self.nearest).zip(queries).map(|((found, nearest), query)| {
            let distances: Vec<f64> = found.iter().map(|hit| f64::from(hit.distance)).collect();
            let slack = exact::tolerance(self.metric, &self.data.base[..self.data.dim], query);
            exact::hits(&distances, &nearest[..params.k], slack)
        });
        hits.sum::<usize>() as f64 / (params.k * found.len()) as f64
    }
}
