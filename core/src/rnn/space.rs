//! The points of a build: where distances come from.
//!
//! Every metric becomes squared Euclidean distance here, for which alone "nearer to a neighbour than to me"
//! is a sound reason to drop an edge: cosine through unit length, the inner product through one coordinate more
//! that brings all rows to one length. (With rows of lengths from half to double, links by plain distance found
//! 44 % of the ten best of a 384-d set at a beam of 64, links by the longer rows 82 %; on 128-d, 61 % and 97 %.)

use super::run::{CHUNK, Run};
use crate::simd::Kernels;
use crate::{Metric, Result};

/// Points numbered `0..len`.
pub(super) trait Space: Sync + Sized {
    fn len(&self) -> usize;
    /// The distance of two points as an integer of the same order. Symmetric to the bit.
    fn distance(&self, a: u32, b: u32) -> u32;
    /// The same as a number that may be subtracted from another.
    fn measure(&self, a: u32, b: u32) -> f32;
    /// Reads a little of every cache line of a point, so that the reads of several overlap; the result means nothing.
    fn touch(&self, point: u32) -> u32;
    /// These points alone, numbered anew in the order given.
    fn subset(&self, points: &[u32]) -> Self;
}

/// The vectors as they came, seen through the metric.
pub(super) struct Full<'a> {
    kernels: &'static Kernels,
    vectors: &'a [f32],
    dim: usize,
    width: usize,
    /// Point to row.
    rows: Vec<u32>,
    /// Per point, a factor (cosine) or one more coordinate (inner product); empty for L2.
    extra: Vec<f32>,
    metric: Metric,
}

impl<'a> Full<'a> {
    pub(super) fn new(
        run: &Run<'_>,
        vectors: &'a [f32],
        dim: usize,
        metric: Metric,
        rows: Vec<u32>,
    ) -> Result<Self> {
        let kernels = Kernels::get();
        let mut extra = Vec::new();
        if metric != Metric::L2 {
            extra.resize(rows.len(), 0.0);
            run.each_part(&mut extra, CHUNK, |chunk, part| {
                for (row, out) in rows[chunk * CHUNK..].iter().zip(part) {
                    let at = *row as usize * dim;
                    let vector = &vectors[at..at + dim];
                    *out = kernels.dot(vector, vector);
                }
            })?;
        }
        match metric {
            Metric::L2 => {}
            Metric::Cosine => extra.iter_mut().for_each(|x| *x = 1.0 / x.sqrt()),
            Metric::Dot => {
                let most = extra.iter().copied().fold(0.0, f32::max);
                extra.iter_mut().for_each(|x| *x = (most - *x).max(0.0).sqrt());
            }
        }
        let width = dim + usize::from(metric == Metric::Dot);
        Ok(Full { kernels, vectors, dim, width, rows, extra, metric })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    fn raw(&self, point: u32) -> &[f32] {
        let at = self.rows[point as usize] as usize * self.dim;
        &self.vectors[at..at + self.dim]
    }

    /// Appends the point's coordinates.
    pub(super) fn put(&self, point: u32, out: &mut Vec<f32>) {
        let raw = self.raw(point);
        match self.metric {
            Metric::L2 => out.extend_from_slice(raw),
            Metric::Cosine => {
                let factor = self.extra[point as usize];
                out.extend(raw.iter().map(|x| x * factor));
            }
            Metric::Dot => {
                out.extend_from_slice(raw);
                out.push(self.extra[point as usize]);
            }
        }
    }

    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }
}

impl Space for Full<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    #[inline]
    fn distance(&self, a: u32, b: u32) -> u32 {
        // Bits of floats that are not negative ascend with their value.
        self.measure(a, b).max(0.0).to_bits()
    }

    #[inline]
    fn measure(&self, a: u32, b: u32) -> f32 {
        let (x, y) = (self.raw(a), self.raw(b));
        match self.metric {
            Metric::L2 => self.kernels.l2_squared(x, y),
            Metric::Cosine => {
                2.0 - 2.0 * (self.kernels.dot(x, y) * (self.extra[a as usize] * self.extra[b as usize]))
            }
            Metric::Dot => {
                let apart = self.extra[a as usize] - self.extra[b as usize];
                self.kernels.l2_squared(x, y) + apart * apart
            }
        }
    }

    #[inline]
    fn touch(&self, point: u32) -> u32 {
        self.raw(point).iter().step_by(16).take(8).fold(0, |sum, x| sum ^ x.to_bits())
    }

    fn subset(&self, points: &[u32]) -> Self {
        let rows = points.iter().map(|&p| self.rows[p as usize]).collect();
        let extra = match self.metric {
            Metric::L2 => Vec::new(),
            _ => points.iter().map(|&p| self.extra[p as usize]).collect(),
        };
        Full { rows, extra, ..*self }
    }
}

/// One byte per coordinate, on one scale for all, so that distances are sums of integers.
pub(super) struct Codes {
    kernels: &'static Kernels,
    width: usize,
    bytes: Vec<u8>,
    /// Sum of squares of each code, modulo 2^32 as all sums here: the distance itself always fits.
    squares: Vec<u32>,
    exact: bool,
}

impl Codes {
    /// Codes of the points of `full`: exact where every coordinate is an integer from 0 to 255.
    pub(super) fn new(run: &Run<'_>, full: &Full<'_>) -> Result<Self> {
        let (n, width) = (full.len(), full.width());
        let scale = Scale::of(run, full)?;
        let mut bytes = vec![0u8; n * width];
        run.each_part(&mut bytes, CHUNK * width, |chunk, part| {
            let mut vector = Vec::with_capacity(width);
            for (i, out) in part.chunks_exact_mut(width).enumerate() {
                vector.clear();
                full.put((chunk * CHUNK + i) as u32, &mut vector);
                scale.encode(&vector, out);
            }
        })?;
        let exact = scale.exact;
        let mut codes = Codes { kernels: Kernels::get(), width, bytes, squares: Vec::new(), exact };
        codes.squares = codes.sums(run)?;
        Ok(codes)
    }

    fn sums(&self, run: &Run<'_>) -> Result<Vec<u32>> {
        let mut squares = vec![0u32; self.bytes.len() / self.width];
        run.each_part(&mut squares, CHUNK, |chunk, part| {
            for (i, out) in part.iter_mut().enumerate() {
                let code = self.code((chunk * CHUNK + i) as u32);
                *out = self.kernels.dot_u8(code, code);
            }
        })?;
        Ok(squares)
    }

    /// Whether distances on codes tell points apart nearly as well as distances on vectors do. `order` has
    /// points that are near each other side by side.
    pub(super) fn resolve(&self, order: &[u32]) -> bool {
        // Rounding moves a distance by 0.4 steps or so, whatever the dimension.
        const STEPS: u32 = 24;
        let stride = (order.len() / 256).max(1);
        let mut nearest: Vec<u32> = (0..order.len())
            .step_by(stride)
            .filter_map(|i| {
                let around = i.saturating_sub(8)..(i + 8).min(order.len());
                around.filter(|&j| j != i).map(|j| self.distance(order[i], order[j])).min()
            })
            .collect();
        nearest.sort_unstable();
        self.exact || nearest.get(nearest.len() / 4).is_some_and(|&square| square >= STEPS * STEPS)
    }

    #[inline]
    fn code(&self, point: u32) -> &[u8] {
        &self.bytes[point as usize * self.width..(point as usize + 1) * self.width]
    }
}

impl Space for Codes {
    fn len(&self) -> usize {
        self.squares.len()
    }

    #[inline]
    fn distance(&self, a: u32, b: u32) -> u32 {
        let twice = self.kernels.dot_u8(self.code(a), self.code(b)).wrapping_mul(2);
        self.squares[a as usize].wrapping_add(self.squares[b as usize]).wrapping_sub(twice)
    }

    fn measure(&self, a: u32, b: u32) -> f32 {
        self.distance(a, b) as f32
    }

    #[inline]
    fn touch(&self, point: u32) -> u32 {
        let sum = self.code(point).iter().step_by(64).take(8).fold(0, |sum, &x| sum ^ x);
        self.squares[point as usize] ^ u32::from(sum)
    }

    fn subset(&self, points: &[u32]) -> Self {
        let mut bytes = Vec::with_capacity(points.len() * self.width);
        points.iter().for_each(|&p| bytes.extend_from_slice(self.code(p)));
        Codes { bytes, squares: points.iter().map(|&p| self.squares[p as usize]).collect(), ..*self }
    }
}

/// How coordinates become bytes.
struct Scale {
    /// Per coordinate, what is taken off first.
    low: Vec<f32>,
    per_unit: f32,
    exact: bool,
}

impl Scale {
    fn of(run: &Run<'_>, full: &Full<'_>) -> Result<Scale> {
        let (n, width) = (full.len(), full.width());
        let parts = run.map(n.div_ceil(CHUNK), |chunk| {
            let mut exact = true;
            let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); width];
            let mut vector = Vec::with_capacity(width);
            for point in chunk * CHUNK..(chunk * CHUNK + CHUNK).min(n) {
                vector.clear();
                full.put(point as u32, &mut vector);
                for (range, &x) in ranges.iter_mut().zip(&vector) {
                    *range = (range.0.min(x), range.1.max(x));
                }
                exact = exact && vector.iter().all(|&x| f32::from(x as u8) == x);
            }
            (exact, ranges)
        })?;
        if parts.iter().all(|part| part.0) {
            return Ok(Scale { low: vec![0.0; width], per_unit: 1.0, exact: true });
        }
        let mut ranges = vec![(f32::INFINITY, f32::NEG_INFINITY); width];
        for (_, part) in &parts {
            for (all, one) in ranges.iter_mut().zip(part) {
                *all = (all.0.min(one.0), all.1.max(one.1));
            }
        }
        // One step for all coordinates, as wide as the widest range needs; each starts at its own low end.
        let widest = ranges.iter().map(|range| range.1 - range.0).fold(f32::MIN_POSITIVE, f32::max);
        Ok(Scale {
            low: ranges.iter().map(|range| range.0).collect(),
            per_unit: 255.0 / widest,
            exact: false,
        })
    }

    fn encode(&self, vector: &[f32], out: &mut [u8]) {
        for ((&x, &low), out) in vector.iter().zip(&self.low).zip(out) {
            *out = ((x - low) * self.per_unit + 0.5) as u8;
        }
    }
}
