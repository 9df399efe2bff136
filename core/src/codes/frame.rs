//! How vectors become codes, and what two codes say of the distance of their vectors.

use super::rotation::Rotation;
use crate::Metric;
use crate::simd::Kernels;

/// Bytes before the code of a row.
pub(super) const HEAD: usize = 20;
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
            _ => Head { low: f32::NAN, step: f32::NAN, sum: f32::NAN, square: f32::NAN, mean: f32::NAN },
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
    pub(super) fn new(row: Vec<u8>) -> Query {
        Query { head: Head::of(&row), row }
    }

    pub(super) fn row(&self) -> &[u8] {
        &self.row
    }

    #[inline(always)]
    fn parts(&self) -> (Head, &[u8]) {
        (self.head, self.row.get(HEAD..).unwrap_or_default())
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

    /// Writes head and code of `vector` into `row`; `numbers` is room to work in.
    pub(super) fn encode(&self, vector: &[f32], row: &mut [u8], numbers: &mut Vec<f32>) {
        let mean = self.rotation.centred(self.metric, self.kernels, vector, numbers);
        let (low, high) = self.kernels.range(numbers);
        // Halved, since the range of two finite numbers may be infinite.
        let step = (high / 2.0 - low / 2.0) / (STEPS / 2.0);
        let per_step = if step > 0.0 { step.recip() } else { 0.0 };
        let (head, code) = row.split_at_mut(HEAD);
        let code = &mut code[..self.dim];
        let sum = self.kernels.quantise(numbers, low, per_step, code);
        let square = self.kernels.dot_u8(code, code);
        let (low, step, sum) = (f64::from(low), f64::from(step), f64::from(sum));
        let square = (self.dim as f64 * low + 2.0 * step * sum) * low + step * step * f64::from(square);
        Head { low: low as f32, step: step as f32, sum: (step * sum) as f32, square: square as f32, mean }
            .put(head);
    }

    /// The inner product of what two rows stand for, but for their means.
    #[inline(always)]
    fn product(&self, (a, a_code): (Head, &[u8]), (b, b_code): (Head, &[u8])) -> f32 {
        let bytes = self.kernels.dot_u8(a_code, b_code) as f32;
        self.dim as f32 * a.low * b.low + a.low * b.sum + b.low * a.sum + a.step * b.step * bytes
    }

    /// The ordering key of two vectors, squared distance under the inner product; `None` where codes do not tell, as the
    /// two are too close, or one row was never written.
    #[inline(always)]
    pub(crate) fn apart(&self, a: &[u8], b: &[u8]) -> Option<f32> {
        self.apart_of(parts(a), parts(b))
    }

    #[inline(always)]
    fn apart_of(&self, (a_head, a): (Head, &[u8]), (b_head, b): (Head, &[u8])) -> Option<f32> {
        let squares = a_head.square + b_head.square;
        let means = a_head.mean - b_head.mean;
        let square = means * means + squares - 2.0 * self.product((a_head, a), (b_head, b));
        // Not `max`, which is a call where there is no instruction for what it does with NaN.
        let close = CLOSE * if a_head.step > b_head.step { a_head.step } else { b_head.step };
        // False where anything is no number.
        let told = square > close * close && square > SLACK * squares && square < f32::MAX;
        told.then_some(if self.metric == Metric::Cosine { square / 2.0 } else { square })
    }

    /// The ordering key of a row for a query; `None` as in [`Frame::apart`].
    #[inline(always)]
    pub(super) fn rank(&self, query: &Query, row: &[u8]) -> Option<f32> {
        let (query, row) = (query.parts(), parts(row));
        if self.metric != Metric::Dot {
            return self.apart_of(query, row);
        }
        let product = query.0.mean * row.0.mean + self.product(query, row);
        product.is_finite().then_some(-product)
    }
}

/// Bytes of a row of so many numbers.
pub(super) const fn stride(dim: usize) -> usize {
    (HEAD + dim).next_multiple_of(4)
}

#[inline(always)]
fn parts(row: &[u8]) -> (Head, &[u8]) {
    let (head, code) = row.split_at(HEAD.min(row.len()));
    (Head::of(head), code)
}
