//! A bit per number: bounds on distances that tell which rows a walk need not measure.
//!
//! RaBitQ (Gao and Long, arXiv 2405.12497): the sign of every number of the rotated vector, and what makes an inner product
//! with them unbiased. How far off it is has a known spread, so that a row whose distance is beyond a walk's reach by more
//! than that is passed over without its vector. All others are measured by their vectors.

use super::rotation::Rotation;
use crate::Metric;
use crate::simd::Kernels;

/// Bytes before the bits of a row.
const HEAD: usize = 12;
/// How many spreads an estimate may be off before a row is passed over wrongly.
const SPREADS: f32 = 1.0;
/// What sums in `f32` may be off by, several times over, as a part of the squared lengths.
const SLACK: f32 = 1e-5;
/// Sums for every choice among four numbers, for the lower and the upper half of a byte.
const CHOICES: usize = 32;

/// What is known of a row besides its signs.
struct Head {
    /// Inner product of the rotated numbers with themselves.
    square: f32,
    /// What was taken from every number before the rotation, times the root of how many there are.
    mean: f32,
    /// What the sum of a query's numbers under these signs is multiplied with.
    scale: f32,
}

/// A query to hold against rows.
pub(super) struct Query {
    /// Sums of its numbers, [`CHOICES`] for every byte of a row.
    sums: Vec<[f32; CHOICES]>,
    /// Half of the sum of all.
    half: f32,
    square: f32,
    mean: f32,
    /// What the spread of a row is multiplied with.
    spread: f32,
}

/// How vectors become bits.
pub(super) struct Bits {
    metric: Metric,
    kernels: &'static Kernels,
    dim: usize,
    rotation: Rotation,
}

impl Bits {
    pub(super) fn new(metric: Metric, kernels: &'static Kernels, dim: usize, seed: u64) -> Bits {
        Bits { metric, kernels, dim, rotation: Rotation::new(dim, seed) }
    }

    /// Writes head and bits of `vector` into `row`; `numbers` is room to work in.
    pub(super) fn encode(&self, vector: &[f32], row: &mut [u8], numbers: &mut Vec<f32>) {
        let mean = self.rotation.centred(self.metric, self.kernels, vector, numbers);
        let square = self.kernels.dot(numbers, numbers);
        let sum: f32 = numbers.iter().map(|x| x.abs()).sum();
        let scale = if sum > 0.0 { square / sum } else { 0.0 };
        let (head, bits) = row.split_at_mut(HEAD);
        super::put_head(head, [square, mean, scale]);
        for (byte, numbers) in bits.iter_mut().zip(numbers.chunks(8)) {
            *byte = numbers.iter().enumerate().fold(0, |byte, (i, &x)| byte | u8::from(x >= 0.0) << i);
        }
    }

    pub(super) fn query(&self, vector: &[f32]) -> Query {
        let mut numbers = Vec::new();
        let mean = self.rotation.centred(self.metric, self.kernels, vector, &mut numbers);
        let square = self.kernels.dot(&numbers, &numbers);
        let sums = numbers.chunks(8).map(|numbers| {
            let mut sums = [0.0; CHOICES];
            for (half, numbers) in sums.chunks_exact_mut(CHOICES / 2).zip(numbers.chunks(4)) {
                for (i, &x) in numbers.iter().enumerate() {
                    let (without, with) = half.split_at_mut(1 << i);
                    with.iter_mut().zip(without).for_each(|(with, without)| *with = *without + x);
                }
            }
            sums
        });
        Query {
            sums: sums.collect(),
            half: numbers.iter().sum::<f32>() / 2.0,
            square,
            mean,
            spread: SPREADS * (square / (self.dim.max(2) - 1) as f32).sqrt(),
        }
    }

    /// Whether the ordering key of a row is `worst` or more, but for a chance of some percent. `false` where nothing is
    /// known of it.
    #[inline(always)]
    pub(super) fn is_beyond(&self, query: &Query, row: &[u8], worst: f32) -> bool {
        let (head, bits) = row.split_at(HEAD.min(row.len()));
        let row = match head.as_chunks::<4>().0 {
            [square, mean, scale] => Head {
                square: f32::from_le_bytes(*square),
                mean: f32::from_le_bytes(*mean),
                scale: f32::from_le_bytes(*scale),
            },
            _ => return false,
        };
        let mut sums = [0.0f32; 4];
        // Without what fills up a row.
        let (pairs, rest) = bits[..bits.len().min(query.sums.len())].as_chunks::<2>();
        let (choices, last) = query.sums.as_chunks::<2>();
        for ([a, b], [to_a, to_b]) in pairs.iter().zip(choices) {
            sums[0] += to_a[usize::from(a & 15)];
            sums[1] += to_a[16 + usize::from(a >> 4)];
            sums[2] += to_b[usize::from(b & 15)];
            sums[3] += to_b[16 + usize::from(b >> 4)];
        }
        for (a, to) in rest.iter().zip(last) {
            sums[0] += to[usize::from(a & 15)] + to[16 + usize::from(a >> 4)];
        }
        let sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        let product = 2.0 * row.scale * (sum - query.half);
        let unlike = (self.dim as f32 * row.scale * row.scale - row.square).max(0.0);
        let most = product + query.spread * unlike.sqrt();
        let slack = SLACK * (row.square + query.square);
        let least = match self.metric {
            Metric::Dot => -(row.mean * query.mean + most),
            metric => {
                let means = row.mean - query.mean;
                let square = means * means + row.square + query.square - 2.0 * most;
                if metric == Metric::Cosine { square / 2.0 } else { square }
            }
        };
        // False where anything is no number.
        least - slack >= worst && least < f32::MAX
    }
}

/// Bytes of a row of so many numbers.
pub(super) const fn stride(dim: usize) -> usize {
    (HEAD + dim.div_ceil(8)).next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tests::numbers;

    #[test]
    fn rows_are_passed_over_that_are_farther_and_hardly_ever_others() {
        const ROWS: usize = 2000;
        let kernels = Kernels::get();
        for dim in [8, 33, 128, 700] {
            for (scale, shift) in [(1.0, 0.0), (1e-6, 0.0), (1e10, 0.0), (1.0, 30.0)] {
                let vectors: Vec<f32> = numbers(ROWS * dim, 3).iter().map(|x| x * scale + shift).collect();
                let query: Vec<f32> = numbers(dim, 9).iter().map(|x| x * scale + shift).collect();
                for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
                    let bits = Bits::new(metric, kernels, dim, 7);
                    let asked = bits.query(&query);
                    let mut row = vec![0; stride(dim)];
                    let mut ranks: Vec<f32> =
                        vectors.chunks(dim).map(|vector| metric.rank(kernels, &query, vector)).collect();
                    let mut wrong = 0;
                    let mut passed = Vec::new();
                    for (vector, &rank) in vectors.chunks(dim).zip(&ranks) {
                        bits.encode(vector, &mut row, &mut Vec::new());
                        // Just within reach: a row that is passed over here is lost.
                        let within = rank + rank.abs() * 1e-4 + f32::MIN_POSITIVE;
                        wrong += usize::from(bits.is_beyond(&asked, &row, within));
                        passed.push(row.clone());
                    }
                    let what = format!("{dim} {scale} {shift} {metric:?}");
                    assert!(wrong < ROWS / 4, "{what}: {wrong}");
                    ranks.sort_unstable_by(f32::total_cmp);
                    let near = ranks[ROWS / 50];
                    let passed = passed.iter().filter(|row| bits.is_beyond(&asked, row, near)).count();
                    assert!(passed > ROWS / 3, "{what}: {passed}");
                    assert!(passed <= ROWS - ROWS / 50, "{what}: {passed}");
                }
            }
        }
    }

    #[test]
    fn of_rows_that_nothing_is_known_of_none_is_passed_over() {
        for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
            let dim = 24;
            let bits = Bits::new(metric, Kernels::get(), dim, 7);
            let mut row = vec![0; stride(dim)];
            let huge = vec![3e38; dim];
            let (plain, zero) = (numbers(dim, 1), vec![0.0; dim]);
            for query in [&plain, &huge, &zero] {
                let asked = bits.query(query);
                for vector in [&plain, &huge] {
                    bits.encode(vector, &mut row, &mut Vec::new());
                    crate::codes::erase(&mut row);
                    assert!(!bits.is_beyond(&asked, &row, f32::MIN));
                }
                assert!(!bits.is_beyond(&asked, &[], f32::MIN));
            }
        }
    }
}
