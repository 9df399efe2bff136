//! How vectors become codes, and what two codes say of the distance of their vectors.

use super::rotation::Rotation;
use crate::Metric;
use crate::simd::Kernels;

/// Bytes before the code of a row.
pub(super) const HEAD: usize = 16;
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
}

impl Head {
    #[inline(always)]
    fn of(row: &[u8]) -> Head {
        let part = |at: usize| match row.get(at..at + 4).map(<[u8; 4]>::try_from) {
            Some(Ok(bytes)) => f32::from_le_bytes(bytes),
            _ => f32::NAN,
        };
        Head { low: part(0), step: part(4), sum: part(8), square: part(12) }
    }

    fn put(self, row: &mut [u8]) {
        for (to, part) in row.chunks_exact_mut(4).zip([self.low, self.step, self.sum, self.square]) {
            to.copy_from_slice(&part.to_le_bytes());
        }
    }
}

/// A centre that vectors are taken from, and a rotation after that: then a byte per number, with a scale for each vector.
pub(crate) struct Frame {
    metric: Metric,
    kernels: &'static Kernels,
    dim: usize,
    /// In front of the rotation.
    centre: Box<[f32]>,
    rotation: Rotation,
}

impl Frame {
    /// One whose centre is that of `sample`: whole vectors, one after the other.
    pub(super) fn new(
        metric: Metric,
        kernels: &'static Kernels,
        dim: usize,
        seed: u64,
        sample: &[f32],
    ) -> Frame {
        let mut frame =
            Frame { metric, kernels, dim, centre: vec![0.0; dim].into(), rotation: Rotation::new(dim, seed) };
        let count = (sample.len() / dim).max(1) as f32;
        let mut centre = vec![0f32; dim];
        for vector in sample.chunks_exact(dim) {
            let scale = frame.scale(vector) / count;
            centre.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x * scale);
        }
        if centre.iter().all(|x| x.is_finite()) {
            frame.centre = centre.into();
        }
        frame
    }

    /// Bytes of a row: its head and its code.
    pub(super) fn stride(&self) -> usize {
        stride(self.dim)
    }

    /// What brings a vector to unit length where its length does not count.
    fn scale(&self, vector: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine => self.kernels.dot(vector, vector).sqrt().recip(),
            _ => 1.0,
        }
    }

    /// Writes head and code of `vector` into `row`.
    pub(super) fn encode(&self, vector: &[f32], row: &mut [u8]) {
        let scale = self.scale(vector);
        self.write(vector.iter().zip(&self.centre).map(|(x, centre)| x * scale - centre).collect(), row);
    }

    /// The code of a query, and what is to be added to its product with a row.
    pub(super) fn query(&self, vector: &[f32]) -> (Vec<u8>, f32) {
        let mut row = vec![0; self.stride()];
        if self.metric == Metric::Dot {
            // Its product with a row is that with the centre and that with what is left of the row.
            self.write(vector.to_vec(), &mut row);
            return (row, self.kernels.dot(vector, &self.centre));
        }
        self.encode(vector, &mut row);
        (row, 0.0)
    }

    fn write(&self, mut numbers: Vec<f32>, row: &mut [u8]) {
        self.rotation.apply(&mut numbers);
        let (low, high) =
            numbers.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
        // Halved, since the range of two finite numbers may be infinite.
        let step = (high / 2.0 - low / 2.0) / (STEPS / 2.0);
        let per_step = if step > 0.0 { step.recip() } else { 0.0 };
        let (head, code) = row.split_at_mut(HEAD);
        let (mut sum, mut square) = (0u64, 0u64);
        for (byte, x) in code.iter_mut().zip(&numbers) {
            *byte = ((x - low) * per_step + 0.5) as u8;
            sum += u64::from(*byte);
            square += u64::from(*byte) * u64::from(*byte);
        }
        let (low, step, sum) = (f64::from(low), f64::from(step), sum as f64);
        let square = (self.dim as f64 * low + 2.0 * step * sum) * low + step * step * square as f64;
        Head { low: low as f32, step: step as f32, sum: (step * sum) as f32, square: square as f32 }
            .put(head);
    }

    /// The inner product of what two rows stand for.
    #[inline(always)]
    fn product(&self, (a, a_code): (Head, &[u8]), (b, b_code): (Head, &[u8])) -> f32 {
        let bytes = self.kernels.dot_u8(a_code, b_code) as f32;
        self.dim as f32 * a.low * b.low + a.low * b.sum + b.low * a.sum + a.step * b.step * bytes
    }

    /// The ordering key of two vectors, squared distance under the inner product; `None` where codes do not tell, as the
    /// two are too close, or one row was never written.
    #[inline(always)]
    pub(crate) fn apart(&self, a: &[u8], b: &[u8]) -> Option<f32> {
        let ((a_head, a), (b_head, b)) = (parts(a), parts(b));
        let squares = a_head.square + b_head.square;
        let square = squares - 2.0 * self.product((a_head, a), (b_head, b));
        let close = CLOSE * a_head.step.max(b_head.step);
        // False where anything is no number.
        let told = square > close * close && square > SLACK * squares && square < f32::MAX;
        told.then_some(if self.metric == Metric::Cosine { square / 2.0 } else { square })
    }

    /// The ordering key of a row for what [`Frame::query`] made; `None` as in [`Frame::apart`].
    #[inline(always)]
    pub(super) fn rank(&self, query: &[u8], plus: f32, row: &[u8]) -> Option<f32> {
        if self.metric != Metric::Dot {
            return self.apart(query, row);
        }
        let product = self.product(parts(query), parts(row));
        product.is_finite().then_some(-product - plus)
    }
}

/// Bytes of a row of so many numbers.
pub(super) const fn stride(dim: usize) -> usize {
    (HEAD + dim).next_multiple_of(16)
}

/// Marks a row as never written.
pub(super) fn erase(row: &mut [u8]) {
    let nothing = Head { low: f32::NAN, step: f32::NAN, sum: f32::NAN, square: f32::NAN };
    nothing.put(&mut row[..HEAD]);
}

#[inline(always)]
fn parts(row: &[u8]) -> (Head, &[u8]) {
    let (head, code) = row.split_at(HEAD.min(row.len()));
    (Head::of(head), code)
}
