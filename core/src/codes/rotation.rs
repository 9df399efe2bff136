//! Seeded random rotations: lengths and angles stay, and no dimension stands out afterwards.

use crate::Metric;
use crate::hnsw::{GOLDEN, mix};
use crate::simd::Kernels;
use std::f32::consts::SQRT_2;
use std::ops::Range;

/// An orthogonal map of vectors of one dimension: rounds of random signs and Hadamard transforms over the first and the
/// last numbers in turn (as in FhtKac, Gao et al., arXiv 2409.09913), O(dim log dim).
pub(super) struct Rotation {
    /// What each round multiplies with: signs, and what keeps lengths.
    factors: Vec<Box<[f32]>>,
    /// Numbers that one transform takes: the largest power of two that fits.
    span: usize,
    /// As many as there are numbers: an inner product with them is a sum.
    ones: Box<[f32]>,
}

impl Rotation {
    pub(super) fn new(dim: usize, seed: u64) -> Rotation {
        let span = 1 << dim.max(1).ilog2();
        // Two transforms that overlap need more rounds until everything has met everything.
        let rounds = if span == dim { 2 } else { 4 };
        let words = (0..).map(|at: u64| mix(seed.wrapping_add(at.wrapping_mul(GOLDEN))));
        let mut signs = words.map(|word| if word >> 63 == 1 { -1.0 } else { 1.0 });
        // A transform makes its part that much longer, and what follows it everything by the root of two.
        let shorter = (span as f32).sqrt().recip();
        let factors = (0..rounds).map(|round| {
            let part = part(round, dim, span);
            let all = if round == 0 && span < dim { 0.25 } else { 1.0 };
            let factor = |(i, sign): (usize, f32)| sign * all * if part.contains(&i) { shorter } else { 1.0 };
            signs.by_ref().take(dim).enumerate().map(factor).collect()
        });
        Rotation { factors: factors.collect(), span, ones: vec![1.0; dim].into() }
    }

    /// Puts into `numbers` those of `vector` less their mean, rotated; of a vector of length 1 where lengths do not count.
    /// Answers with that mean times the root of how many there are.
    pub(super) fn centred(
        &self,
        metric: Metric,
        kernels: &Kernels,
        vector: &[f32],
        numbers: &mut Vec<f32>,
    ) -> f32 {
        let scale = match metric {
            Metric::Cosine => kernels.dot(vector, vector).sqrt().recip(),
            _ => 1.0,
        };
        let count = vector.len() as f32;
        let mean = kernels.dot(vector, &self.ones) / count * scale;
        numbers.clear();
        numbers.extend_from_slice(vector);
        self.apply(kernels, numbers, scale, mean);
        mean * count.sqrt()
    }

    /// Rotates what is each number of `vector` times `scale`, less `less`.
    pub(super) fn apply(&self, kernels: &Kernels, vector: &mut [f32], scale: f32, less: f32) {
        let dim = vector.len();
        let mut change = (scale, less);
        for (round, factors) in self.factors.iter().enumerate() {
            let (scale, less) = std::mem::replace(&mut change, (1.0, 0.0));
            kernels.scale(vector, scale, less, factors);
            kernels.hadamard(&mut vector[part(round, dim, self.span)]);
            if self.span < dim {
                let (low, high) = vector.split_at_mut(dim.div_ceil(2));
                kernels.butterfly(low, high);
                if let (true, Some(alone)) = (low.len() > high.len(), low.last_mut()) {
                    *alone *= SQRT_2;
                }
            }
        }
    }
}

/// What a round transforms: the first numbers, or the last.
fn part(round: usize, dim: usize, span: usize) -> Range<usize> {
    if round.is_multiple_of(2) { 0..span } else { dim - span..dim }
}

#[cfg(test)]
mod tests {
    use super::Rotation;
    use crate::simd::Kernels;

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
            let kernels = Kernels::get();
            rotation.apply(kernels, &mut a2, 1.0, 0.0);
            rotation.apply(kernels, &mut b2, 1.0, 0.0);
            let mut apart = a.iter().map(|x| (x + 0.5) * 4.0).collect::<Vec<_>>();
            rotation.apply(kernels, &mut apart, 0.25, 0.5);
            assert!(a2.iter().zip(&apart).all(|(a, b)| (a - b).abs() < 1e-4), "{dim}");
            assert!((dot(&a, &a) - dot(&a2, &a2)).abs() < 1e-3 * dot(&a, &a), "{dim}");
            assert!((dot(&a, &b) - dot(&a2, &b2)).abs() < 1e-3 * (dim as f32), "{dim}");
            let most = b2.iter().fold(0f32, |most, x| most.max(x.abs()));
            assert!(dim < 31 || most < 2.0, "{dim}: {most}");
        }
    }
}
