//! Seeded random rotations: lengths and angles stay, and no dimension stands out afterwards.

use crate::Metric;
use crate::hnsw::{GOLDEN, mix};
use crate::simd::Kernels;

/// An orthogonal map of vectors of one dimension: rounds of random signs and Hadamard transforms over the first and the
/// last numbers in turn (as in FhtKac, Gao et al., arXiv 2409.09913), O(dim log dim).
pub(super) struct Rotation {
    /// The signs of each round.
    signs: Vec<Box<[f32]>>,
    /// Numbers that one transform takes: the largest power of two that fits.
    span: usize,
}

impl Rotation {
    pub(super) fn new(dim: usize, seed: u64) -> Rotation {
        let span = 1 << dim.max(1).ilog2();
        // Two transforms that overlap need more rounds until everything has met everything.
        let rounds = if span == dim { 2 } else { 4 };
        let words = (0..).map(|at: u64| mix(seed.wrapping_add(at.wrapping_mul(GOLDEN))));
        let mut signs = words.map(|word| if word >> 63 == 1 { -1.0 } else { 1.0 });
        let signs = (0..rounds).map(|_| signs.by_ref().take(dim).collect()).collect();
        Rotation { signs, span }
    }

    /// The numbers of `vector` less their mean, rotated, and that mean times the root of how many there are; of a vector of
    /// length 1 where lengths do not count.
    pub(super) fn centred(&self, metric: Metric, kernels: &Kernels, vector: &[f32]) -> (Vec<f32>, f32) {
        let scale = match metric {
            Metric::Cosine => kernels.dot(vector, vector).sqrt().recip(),
            _ => 1.0,
        };
        let count = vector.len() as f64;
        let mean = vector.iter().map(|&x| f64::from(x)).sum::<f64>() / count * f64::from(scale);
        let mut numbers: Vec<f32> = vector.iter().map(|x| x * scale - mean as f32).collect();
        self.apply(&mut numbers);
        (numbers, (mean * count.sqrt()) as f32)
    }

    pub(super) fn apply(&self, vector: &mut [f32]) {
        let scale = (self.span as f32).sqrt().recip();
        let first = vector.len() - self.span;
        for (round, signs) in self.signs.iter().enumerate() {
            vector.iter_mut().zip(signs).for_each(|(x, sign)| *x *= sign);
            let part = if round % 2 == 0 { 0 } else { first };
            let part = &mut vector[part..part + self.span];
            hadamard(part);
            part.iter_mut().for_each(|x| *x *= scale);
            if first > 0 {
                let (low, high) = vector.split_at_mut(vector.len().div_ceil(2));
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (
                        (*a + *b) * std::f32::consts::FRAC_1_SQRT_2,
                        (*a - *b) * std::f32::consts::FRAC_1_SQRT_2,
                    );
                }
            }
        }
    }
}

/// The Walsh-Hadamard transform of a power of two of numbers, not scaled.
fn hadamard(x: &mut [f32]) {
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::Rotation;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn products_stay_and_what_stood_out_is_spread() {
        for dim in [1, 2, 3, 31, 64, 100, 384, 1000] {
            let rotation = Rotation::new(dim, 7);
            let a: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.7 + 1.0).sin()).collect();
            let mut b = vec![0.0; dim];
            b[dim / 2] = 3.0;
            let (mut a2, mut b2) = (a.clone(), b.clone());
            rotation.apply(&mut a2);
            rotation.apply(&mut b2);
            assert!((dot(&a, &a) - dot(&a2, &a2)).abs() < 1e-3 * dot(&a, &a), "{dim}");
            assert!((dot(&a, &b) - dot(&a2, &b2)).abs() < 1e-3 * (dim as f32), "{dim}");
            let most = b2.iter().fold(0f32, |most, x| most.max(x.abs()));
            assert!(dim < 31 || most < 2.0, "{dim}: {most}");
        }
    }
}
