//! The rows: `sift-photos`, read a piece at a time, and what replaces a fifth of them.

use asteroid_tests::data;
use asteroid_tests::rng::Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::HashSet;

/// Rows per call.
pub(crate) const BATCH: usize = 1000;
/// Neighbours wanted.
pub(crate) const K: usize = 10;
const DIM: usize = 128;

/// `count` rows from row `first` on.
pub(crate) fn slice(first: usize, count: usize) -> Vec<f32> {
    data::sift_photos_slice(first, count).expect("sift-photos is needed")
}

/// The queries.
pub(crate) struct Data {
    pub(crate) count: usize,
    pub(crate) queries: Vec<f32>,
}

impl Data {
    pub(crate) fn queries(count: usize) -> Data {
        let set = data::sift_photos(0, count).expect("sift-photos is needed");
        Data { count, queries: set.queries }
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.queries.chunks_exact(DIM)
    }
}

/// The fifth of the rows that churn deletes, in its order.
pub(crate) fn gone(rows: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..rows).collect();
    let mut rng = Rng::new(20);
    for i in 0..rows / 5 {
        let other = i + rng.below((rows - i) as u64) as usize;
        all.swap(i, other);
    }
    all.truncate(rows / 5);
    all
}

/// The row that takes the place of `row`: near it, and still of whole numbers.
pub(crate) fn replacement(row: usize) -> Vec<f32> {
    let mut rng = Rng::new(row as u64);
    let moved = |x: f32| (x + rng.below(13) as f32 - 6.0).clamp(0.0, 255.0);
    slice(row, 1).into_iter().map(moved).collect()
}

/// How far the tenth neighbour of each query is, squared: among all rows, and after churn.
pub(crate) fn truth(rows: usize, queries: usize) -> Value {
    let data = Data::queries(queries);
    let base = slice(0, rows);
    let gone = gone(rows);
    let new: Vec<f32> = gone.par_iter().flat_map_iter(|&row| replacement(row)).collect();
    let gone: HashSet<usize> = gone.into_iter().collect();
    let queries: Vec<&[f32]> = data.chunks().collect();
    let tenths = |query: &&[f32]| {
        let all: Vec<f32> = base.chunks_exact(DIM).map(|row| apart(query, row)).collect();
        let mut before = all.clone();
        let mut after: Vec<f32> =
            all.into_iter().enumerate().filter(|(row, _)| !gone.contains(row)).map(|(_, d)| d).collect();
        after.extend(new.chunks_exact(DIM).map(|row| apart(query, row)));
        [&mut before, &mut after].map(|all| *all.select_nth_unstable_by(K - 1, f32::total_cmp).1)
    };
    let found: Vec<[f32; 2]> = queries.par_iter().map(tenths).collect();
    json!({
        "before": found.iter().map(|found| found[0]).collect::<Vec<_>>(),
        "after": found.iter().map(|found| found[1]).collect::<Vec<_>>(),
    })
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    // Whole numbers this small add up exactly in any order.
    let mut sums = [0f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for i in 0..16 {
            sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
        }
    }
    sums.iter().sum()
}
