//! Distance kernels with one run-time dispatch point.
//!
//! Every instruction set fills one table of function pointers; the best table this machine can run is chosen
//! once. Kernels sum in several lanes, so two instruction sets may differ in the last bits of an `f32` result;
//! one instruction set always gives the same bits for the same input, and the same bits for `(a, b)` as for
//! `(b, a)`. Integer results are exact and agree everywhere.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod coding;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod scalar;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm128;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use std::sync::OnceLock;

/// Whether [`prefetch`] does anything: finding what to ask for has a price too.
pub(crate) const PREFETCHES: bool = cfg!(target_arch = "x86_64");

/// Asks the processor to bring `data` near, ahead of its use. A hint: it changes no result.
#[inline]
pub fn prefetch<T>(data: &[T]) {
    #[cfg(target_arch = "x86_64")]
    avx2::prefetch(data);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = data;
}

/// What the lower and the upper halves of a row's bytes are multiplied with, as many numbers of each.
type Halves<'a> = [&'a [i8]; 2];

/// The kernels of one instruction set.
///
/// Slices need no alignment. Where the two lengths differ, the longer slice counts only up to the shorter's
/// length. Sums that leave the range of `f32` become infinite; an inner product whose partial sums do so with
/// both signs is NaN.
#[derive(Clone, Copy, Debug)]
pub struct Kernels {
    name: &'static str,
    dot_u8_name: &'static str,
    // Unsafe to call: each needs the processor features of its table. Only `available` hands tables out.
    l2_squared: unsafe fn(&[f32], &[f32]) -> f32,
    dot: unsafe fn(&[f32], &[f32]) -> f32,
    dot_and_norms: unsafe fn(&[f32], &[f32]) -> [f32; 3],
    dot_u8: unsafe fn(&[u8], &[u8]) -> u32,
    dots_u8: unsafe fn(&[u8], &[&[u8]], &mut [u32]),
    dots_u4: unsafe fn(Halves<'_>, &[u8], &mut [i32]),
    coding: coding::Coding,
}

impl Kernels {
    /// The fastest kernels for this machine, detected at the first call.
    pub fn get() -> &'static Kernels {
        // Nothing to detect, and the portable table stays out of a browser's download.
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        return &wasm128::KERNELS;
        #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
        {
            static BEST: OnceLock<&'static Kernels> = OnceLock::new();
            BEST.get_or_init(|| available().next().unwrap_or(&scalar::KERNELS))
        }
    }

    /// Every table this machine can run, fastest first, the portable one last. Two tables may share a
    /// [`name`](Kernels::name) and differ in [`dot_u8_name`](Kernels::dot_u8_name). Meant for tests and benches.
    pub fn all_available() -> Vec<&'static Kernels> {
        available().collect()
    }

    /// The instruction set: `avx512`, `avx2`, `neon`, `simd128` or `scalar`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The instructions behind [`dot_u8`](Kernels::dot_u8), which may go beyond the base set: `vnni` and `madd`
    /// on x86-64, `udot` and `umull` on ARM, `extmul` in WebAssembly, or `scalar`.
    pub fn dot_u8_name(&self) -> &'static str {
        self.dot_u8_name
    }

    /// Squared Euclidean distance. Never negative; never NaN for finite input.
    #[inline]
    pub fn l2_squared(&self, a: &[f32], b: &[f32]) -> f32 {
        let (a, b) = common(a, b);
        #[expect(unsafe_code, reason = "calls through the dispatch table")]
        // SAFETY: `available` gave this table out after finding its processor features.
        unsafe {
            (self.l2_squared)(a, b)
        }
    }

    /// Inner product.
    #[inline]
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        let (a, b) = common(a, b);
        #[expect(unsafe_code, reason = "calls through the dispatch table")]
        // SAFETY: `available` gave this table out after finding its processor features.
        unsafe {
            (self.dot)(a, b)
        }
    }

    /// `[a.b, a.a, b.b]` in one pass, for cosine over vectors that are not of unit length.
    #[inline]
    pub fn dot_and_norms(&self, a: &[f32], b: &[f32]) -> [f32; 3] {
        let (a, b) = common(a, b);
        #[expect(unsafe_code, reason = "calls through the dispatch table")]
        // SAFETY: `available` gave this table out after finding its processor features.
        unsafe {
            (self.dot_and_norms)(a, b)
        }
    }

    /// The exact sum of products of two codes of up to 65,535 bytes. Longer ones wrap modulo 2^32 once the sum
    /// no longer fits, on every instruction set alike.
    #[inline]
    pub fn dot_u8(&self, a: &[u8], b: &[u8]) -> u32 {
        let (a, b) = common(a, b);
        #[expect(unsafe_code, reason = "calls through the dispatch table")]
        // SAFETY: `available` gave this table out after finding its processor features.
        unsafe {
            (self.dot_u8)(a, b)
        }
    }

    /// [`dot_u8`](Kernels::dot_u8) of a code with each of `rows`, into `sums`. Rows and sums without their other half are
    /// left alone.
    #[inline]
    pub fn dots_u8(&self, code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
        #[expect(unsafe_code, reason = "calls through the dispatch table")]
        // SAFETY: `available` gave this table out after finding its processor features.
        unsafe {
            (self.dots_u8)(code, rows, sums)
        }
    }

    /// The exact sum of products of a code with each of `rows`, which lie one after the other, into `sums`. A row has
    /// two numbers from 0 to 15 to a byte: the lower halves of its bytes are multiplied with `low`, the upper ones with
    /// `high`, and it has as many bytes as the shorter of the two, up to a million. Rows and sums without their other
    /// half are left alone.
    #[inline]
    pub fn dots_u4(&self, low: &[i8], high: &[i8], rows: &[u8], sums: &mut [i32]) {
        let (low, high) = common(low, high);
        if low.is_empty() {
            return sums.fill(0);
        }
        let count = sums.len().min(rows.len() / low.len());
        let (rows, sums) = (&rows[..count * low.len()], &mut sums[..count]);
        #[expect(unsafe_code, reason = "calls through the dispatch table")]
        // SAFETY: `available` gave this table out after finding its processor features.
        unsafe {
            (self.dots_u4)([low, high], rows, sums)
        }
    }
}

/// The tables whose processor features are present, fastest first.
fn available() -> impl Iterator<Item = &'static Kernels> {
    [
        #[cfg(target_arch = "x86_64")]
        avx512::detect_vnni(),
        #[cfg(target_arch = "x86_64")]
        avx512::detect(),
        #[cfg(target_arch = "x86_64")]
        avx2::detect_vnni(),
        #[cfg(target_arch = "x86_64")]
        avx2::detect(),
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        neon::detect_udot(),
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        Some(&neon::KERNELS),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Some(&wasm128::KERNELS),
        Some(&scalar::KERNELS),
    ]
    .into_iter()
    .flatten()
}

#[inline]
fn common<'a, T>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T]) {
    let len = a.len().min(b.len());
    (&a[..len], &b[..len])
}

/// Calls `dot` with `code` and each of `rows`, as long as the shorter of them.
#[inline(always)]
fn each_u8(code: &[u8], rows: &[&[u8]], sums: &mut [u32], dot: impl Fn(&[u8], &[u8]) -> u32) {
    for (sum, row) in sums.iter_mut().zip(rows) {
        let (code, row) = common(code, row);
        *sum = dot(code, row);
    }
}

/// Calls `dot` with `code` and each of `rows`.
#[inline(always)]
fn each(code: Halves<'_>, rows: &[u8], sums: &mut [i32], dot: impl Fn(Halves<'_>, &[u8]) -> i32) {
    for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(code[0].len())) {
        *sum = dot(code, row);
    }
}

/// A block that starts with `tail` and ends in zeros, which add nothing to any of the sums.
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon"),
    all(target_arch = "wasm32", target_feature = "simd128")
))]
#[inline]
fn padded<T: Copy + Default, const N: usize>(tail: &[T]) -> [T; N] {
    let mut block = [T::default(); N];
    for (to, &from) in block.iter_mut().zip(tail) {
        *to = from;
    }
    block
}
