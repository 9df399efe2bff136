//! What `npm run bench:count` runs under callgrind: inserts and searches on small indexes in memory, the same ones each
//! time, on one thread. The functions named `counted_*` are what counts.
//!
//! The argument is `l2-128` or `cosine-384`. Prints the instruction set in use and how often each function did its work,
//! so that figures can be told per row and per query.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use asteroid_core::bytes::MemBytes;
use asteroid_core::kv::MemKv;
use asteroid_core::simd::Kernels;
use asteroid_core::*;
use asteroid_tests::rng::Rng;
use std::sync::Arc;

const CLUSTERS: usize = 50;
const INSERTS: usize = 300;
const QUERIES: usize = 300;

/// Rows around centres: each number of a centre from -1 to 1, each of a row up to 0.4 away from its centre's.
struct Clusters {
    rng: Rng,
    centres: Vec<Vec<f32>>,
}

impl Clusters {
    fn new(dim: usize) -> Clusters {
        let mut rng = Rng::new(7);
        let centres = (0..CLUSTERS).map(|_| (0..dim).map(|_| unit(&mut rng)).collect()).collect();
        Clusters { rng, centres }
    }

    fn rows(&mut self, count: usize) -> Vec<Vec<f32>> {
        (0..count)
            .map(|_| {
                let centre = &self.centres[self.rng.below(CLUSTERS as u64) as usize];
                centre.iter().map(|&at| at + 0.4 * unit(&mut self.rng)).collect()
            })
            .collect()
    }
}

/// From -1 to 1.
fn unit(rng: &mut Rng) -> f32 {
    (rng.word() >> 40) as f32 / 8_388_608.0 - 1.0
}

fn main() {
    let name = std::env::args().nth(1).expect("an argument: l2-128 or cosine-384");
    let (dim, metric, rows) = match name.as_str() {
        "l2-128" => (128, Metric::L2, 2_500),
        "cosine-384" => (384, Metric::Cosine, 1_200),
        other => panic!("unknown shape {other}: l2-128 or cosine-384"),
    };
    let mut clusters = Clusters::new(dim);
    let stores = Stores {
        kv: Arc::new(MemKv::default()),
        vectors: Arc::new(MemBytes::default()),
        journal: Arc::new(MemBytes::default()),
    };
    let index = Index::open(stores, Config::new(dim as u32, metric), Options::default()).unwrap();
    insert(&index, 0, &clusters.rows(rows));
    let (more, queries) = (clusters.rows(INSERTS), clusters.rows(QUERIES));
    counted_insert(&index, rows, &more);
    // What is read from the store at first is not what a search costs.
    search(&index, &queries);
    counted_search(&index, &queries);
    println!("kernels {}", Kernels::get().name());
    println!("insert {INSERTS}");
    println!("search {QUERIES}");
}

// Neither may end in a jump to the other function, or callgrind would not see it return.
#[inline(never)]
fn counted_insert(index: &Index, first: usize, rows: &[Vec<f32>]) {
    insert(index, first, rows);
    std::hint::black_box(index);
}

#[inline(never)]
fn counted_search(index: &Index, queries: &[Vec<f32>]) {
    search(index, queries);
    std::hint::black_box(index);
}

#[inline(never)]
fn insert(index: &Index, first: usize, rows: &[Vec<f32>]) {
    for (i, row) in rows.iter().enumerate() {
        index.insert(&Id::from((first + i) as u64), row, None, Mode::Insert).unwrap();
    }
}

#[inline(never)]
fn search(index: &Index, queries: &[Vec<f32>]) {
    let params = SearchParams { ef_search: 64, ..SearchParams::default() };
    for query in queries {
        assert_eq!(index.search(query, &params, &Control::NONE).unwrap().len(), 10);
    }
}
