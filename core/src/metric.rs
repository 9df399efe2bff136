//! How far apart two vectors are.

use crate::simd::Kernels;
use crate::{Code, Error, Result};

/// The distance of a database. Smaller is nearer for all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Metric {
    /// Euclidean distance, square root taken.
    L2 = 0,
    /// 1 - cosine similarity, from 0 (same direction) to 2 (opposite).
    Cosine = 1,
    /// Negative inner product.
    Dot = 2,
}

/// Largest and smallest squared lengths whose products stay inside f32.
const MAX_SQUARE: f64 = 1e36;
const MIN_SQUARE: f64 = 1e-36;

impl Metric {
    /// The option value that names it.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Metric> {
        [Metric::L2, Metric::Cosine, Metric::Dot].get(usize::from(byte)).copied()
    }

    /// The ordering key of the pair: cheap to compute, ascending with distance (squared for [`Metric::L2`]).
    pub(crate) fn rank(self, kernels: &Kernels, a: &[f32], b: &[f32]) -> f32 {
        match self {
            Metric::L2 => kernels.l2_squared(a, b),
            Metric::Cosine => {
                let [dot, aa, bb] = kernels.dot_and_norms(a, b);
                1.0 - dot / (aa.sqrt() * bb.sqrt())
            }
            Metric::Dot => -kernels.dot(a, b),
        }
    }

    /// [`Metric::rank`], bit for bit, where the lengths of both (roots of their inner products with themselves) may be
    /// known: under cosine that leaves one product to compute instead of three.
    #[inline]
    pub(crate) fn rank_of_lengths(
        self,
        kernels: &Kernels,
        a: &[f32],
        b: &[f32],
        lengths: Option<(f32, f32)>,
    ) -> f32 {
        match (self, lengths) {
            (Metric::Cosine, Some((a_length, b_length))) => 1.0 - kernels.dot(a, b) / (a_length * b_length),
            _ => self.rank(kernels, a, b),
        }
    }

    /// The distance that callers see, from an ordering key.
    pub(crate) fn distance(self, rank: f32) -> f32 {
        match self {
            Metric::L2 => rank.max(0.0).sqrt(),
            Metric::Cosine => rank.max(0.0),
            Metric::Dot => rank,
        }
    }

    /// Refuses a vector that cannot be stored or searched for: wrong length, not finite, longer than
    /// 1e18, or shorter than 1e-18 under cosine.
    pub fn validate(self, dim: u32, vector: &[f32]) -> Result<()> {
        if vector.len() != dim as usize {
            return Err(Error::new(
                Code::DimensionMismatch,
                format!("the vector has {} numbers, the database's dimension is {dim}", vector.len()),
            ));
        }
        if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
            return Err(Error::invalid(format!(
                "the vector holds {} at position {at}: every number must be finite",
                vector[at]
            )));
        }
        let square: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        if square > MAX_SQUARE {
            return Err(Error::invalid(format!(
                "the vector's length is {:.3e}: distances are kept in 32 bits, which takes lengths up to 1e18",
                square.sqrt()
            )));
        }
        if self == Metric::Cosine && square < MIN_SQUARE {
            return Err(Error::invalid(
                "the vector is zero, or too short (under 1e-18) to have a direction in 32 bits: cosine needs one",
            ));
        }
        Ok(())
    }
}
