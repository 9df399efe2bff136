//! How vectors become codes, and what two codes say of the distance of their vectors.

use super::rotation::Rotation;
use super::{AT_ONCE, Row};
use crate::Metric;
use crate::simd::Kernels;

/// Bytes of the head of a row.
pub(super) const HEAD: usize = 20;
/// Rows whose ordering keys are made side by side, in vectors of numbers; browsers would download how.
const LANES: usize = if cfg!(target_family = "wasm") { 1 } else { 8 };
/// Steps from the lowest number of a row to the highest.
const STEPS: f32 = 255.0;
/// Two codes do not tell how far apart vectors are that are closer than so many steps: rounding alone moves them by one
/// or two.
const CLOSE: f32 = 24.0;
/// The same as a part of the squared lengths: what sums in `f32` may be off by, several times over.
const SLACK: f32 = 1e-5;

/// What turns bytes back into numbers: number `i` is `low + step * byte[i]`.
#[derive(Clone, Copy)]
struct Head {
    low: f32,
    step: f32,
    /// Sum of the bytes, times the step.
    sum: f32,
    /// Inner product of the numbers with themselves.
    square: f32,
    /// What was taken from every number before the rotation, times the root of how many there are.
    mean: f32,
}

impl Head {
    const NONE: Head =
        Head { low: f32::NAN, step: f32::NAN, sum: f32::NAN, square: f32::NAN, mean: f32::NAN };

    /// What a row begins with; no number where it is too short.
    #[inline(always)]
    fn of(row: &[u8]) -> Head {
        match row.as_chunks::<4>().0 {
            [low, step, sum, square, mean, ..] => Head {
                low: f32::from_le_bytes(*low),
                step: f32::from_le_bytes(*step),
                sum: f32::from_le_bytes(*sum),
                square: f32::from_le_bytes(*square),
                mean: f32::from_le_bytes(*mean),
            },
            _ => Head::NONE,
        }
    }

    fn put(self, row: &mut [u8]) {
        super::put_head(row, [self.low, self.step, self.sum, self.square, self.mean]);
    }
}

/// A row to hold against others, with its head taken out once.
pub(super) struct Query {
    head: Head,
    row: Vec<u8>,
}

impl Query {
    /// Of a row that lies in one piece.
    pub(super) fn new(row: Vec<u8>) -> Query {
        Query { head: Head::of(&row), row }
    }

    pub(super) fn row(&self) -> Row<'_> {
        let (head, code) = self.row.split_at(HEAD.min(self.row.len()));
        Row { head, code }
    }
}

/// Each vector less the mean of its numbers, which is kept beside it, is rotated: then a byte per number, with a scale for
/// each vector. What lies in the direction of that mean and the rest make up every product without mixing.
pub(crate) struct Frame {
    metric: Metric,
    kernels: &'static Kernels,
    dim: usize,
    rotation: Rotation,
}

impl Frame {
    pub(super) fn new(metric: Metric, kernels: &'static Kernels, dim: usize, seed: u64) -> Frame {
        Frame { metric, kernels, dim, rotation: Rotation::new(dim, seed) }
    }

    /// Writes head and code of `vector`; `numbers` is room to work in.
    pub(super) fn encode(&self, vector: &[f32], head: &mut [u8], code: &mut [u8], numbers: &mut Vec<f32>) {
        let mean = self.rotation.centred(self.metric, self.kernels, vector, numbers);
        let (low, high) = self.kernels.range(numbers);
        // Halved, since the range of two finite numbers may be infinite.
        let step = (high / 2.0 - low / 2.0) / (STEPS / 2.0);
        let per_step = if step > 0.0 { step.recip() } else { 0.0 };
        let code = &mut code[..self.dim];
        let sum = self.kernels.quantise(numbers, low, per_step, code);
        let square = self.kernels.dot_u8(code, code);
        let (low, step, sum) = (f64::from(low), f64::from(step), f64::from(sum));
        let square = (self.dim as f64 * low + 2.0 * step * sum) * low + step * step * f64::from(square);
        Head { low: low as f32, step: step as f32, sum: (step * sum) as f32, square: square as f32, mean }
            .put(head);
    }

    /// The inner product of what two rows stand for but for their means, of whose codes it is `bytes`.
    #[inline(always)]
    fn product(&self, a: Head, b: Head, bytes: u32) -> f32 {
        self.dim as f32 * a.low * b.low + a.low * b.sum + b.low * a.sum + a.step * b.step * bytes as f32
    }

    /// The ordering key of two vectors, squared distance under the inner product; NaN where codes do not tell, as the two are
    /// too close, or one row was never written.
    #[inline(always)]
    fn apart_of(&self, a: Head, b: Head, bytes: u32) -> f32 {
        let squares = a.square + b.square;
        let means = a.mean - b.mean;
        let square = means * means + squares - 2.0 * self.product(a, b, bytes);
        // Not `max`, which is a call where there is no instruction for what it does with NaN.
        let close = CLOSE * if a.step > b.step { a.step } else { b.step };
        // False where anything is no number.
        let told = square > close * close && square > SLACK * squares && square < f32::MAX;
        let rank = if self.metric == Metric::Cosine { square / 2.0 } else { square };
        if told { rank } else { f32::NAN }
    }

    /// The ordering key of two vectors, squared distance under the inner product; `None` where codes do not tell.
    #[inline(always)]
    pub(super) fn apart(&self, a: Row<'_>, b: Row<'_>) -> Option<f32> {
        let apart = self.apart_of(Head::of(a.head), Head::of(b.head), self.kernels.dot_u8(a.code, b.code));
        Some(apart).filter(|apart| !apart.is_nan())
    }

    /// The ordering key of a row for a query, of whose codes the inner product is `bytes`; NaN where codes do not tell.
    #[inline(always)]
    fn rank_of(&self, query: Head, row: Head, bytes: u32) -> f32 {
        if self.metric != Metric::Dot {
            return self.apart_of(query, row, bytes);
        }
        let product = query.mean * row.mean + self.product(query, row, bytes);
        if product.is_finite() { -product } else { f32::NAN }
    }

    /// Adds the ordering keys of some rows, [`AT_ONCE`] at most, for a query; NaN where codes do not tell.
    #[inline(never)]
    pub(super) fn ranks(&self, query: &Query, heads: &[&[u8]], codes: &[&[u8]], out: &mut Vec<f32>) {
        let (of, code) = (query.head, query.row().code);
        if LANES == 1 {
            let rows = heads.iter().zip(codes);
            let rank = |(head, row): (&&[u8], &&[u8])| {
                self.rank_of(of, Head::of(head), self.kernels.dot_u8(code, row))
            };
            return out.extend(rows.map(rank));
        }
        let (mut columns, mut bytes) = ([[0.0; AT_ONCE]; 5], [0; AT_ONCE]);
        self.kernels.dots_u8(code, codes, &mut bytes);
        let count = heads.len().min(AT_ONCE);
        for (at, head) in heads[..count].iter().enumerate() {
            let Head { low, step, sum, square, mean } = Head::of(head);
            for (column, part) in columns.iter_mut().zip([low, step, sum, square, mean]) {
                column[at] = part;
            }
        }
        let [low, step, sum, square, mean] = &columns;
        let mut ranks = [0.0; AT_ONCE];
        for from in (0..count).step_by(LANES) {
            for at in from..from + LANES {
                let (low, step, sum) = (low[at], step[at], sum[at]);
                let row = Head { low, step, sum, square: square[at], mean: mean[at] };
                ranks[at] = self.rank_of(of, row, bytes[at]);
            }
        }
        out.extend_from_slice(&ranks[..count]);
    }
}

/// Bytes of the code of a row of so many numbers.
pub(super) const fn code(dim: usize) -> usize {
    dim.next_multiple_of(4)
}
