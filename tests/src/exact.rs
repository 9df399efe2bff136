//! Distances and neighbours computed the slow, sure way: the oracle.

use asteroid_core::Metric;

/// The distance of two vectors, computed in f64.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    match metric {
        Metric::L2 => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
        Metric::Cosine => {
            let dot: f64 = pairs().map(|(a, b)| a * b).sum();
            let squares = pairs().fold((0.0, 0.0), |(x, y), (a, b)| (x + a * a, y + b * b));
            1.0 - dot / (squares.0.sqrt() * squares.1.sqrt())
        }
        Metric::Dot => -pairs().map(|(a, b)| a * b).sum::<f64>(),
    }
}

/// How far an f32 kernel may be from [`distance`] of the same vectors: rounding of sums of this size.
pub fn tolerance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let length = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    // Sums of n rounded terms, in the lanes of a kernel, are off by less than this many units in the last place.
    let unit = f64::from(f32::EPSILON) * (4.0 + a.len() as f64 / 8.0);
    match metric {
        Metric::L2 => unit * distance(metric, a, b) + f64::from(f32::MIN_POSITIVE),
        Metric::Cosine => 4.0 * unit,
        Metric::Dot => unit * length(a) * length(b) + f64::from(f32::MIN_POSITIVE),
    }
}

/// The `k` nearest of `rows` to `query`, nearest first, as distance and position.
pub fn nearest<'a>(
    metric: Metric,
    rows: impl Iterator<Item = &'a [f32]>,
    query: &[f32],
    k: usize,
) -> Vec<(f64, usize)> {
    let mut all: Vec<(f64, usize)> =
        rows.enumerate().map(|(i, row)| (distance(metric, row, query), i)).collect();
    let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
    if k < all.len() {
        all.select_nth_unstable_by(k, order);
        all.truncate(k);
    }
    all.sort_unstable_by(order);
    all
}

/// How many of the distances `found` are as near as the `truth` of the same length: ties count.
pub fn hits(found: &[f64], truth: &[(f64, usize)], slack: f64) -> usize {
    let Some(&(farthest, _)) = truth.last() else { return 0 };
    found.iter().filter(|&&distance| distance <= farthest + slack).count().min(truth.len())
}
