//! Portable kernels, shaped so that the compiler can use whatever vectors the build target always has.

use super::{Halves, Kernels, coding, each, each_u8};

pub(super) static KERNELS: Kernels = Kernels {
    name: "scalar",
    dot_u8_name: "scalar",
    l2_squared,
    dot,
    dot_and_norms,
    dot_u8,
    dots_u8,
    dots_u4,
    coding: coding::PORTABLE,
};

/// Independent partial sums: rounding error grows with `len / LANES`, and additions need not wait for each other.
const LANES: usize = 16;

fn sum_terms(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, a_tail) = a.as_chunks::<LANES>();
    let (b, b_tail) = b.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in lanes.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *lane += term(a, b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    sum_terms(a, b, |a, b| (a - b) * (a - b))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_terms(a, b, |a, b| a * b)
}

/// Three passes: the compiler leaves one pass with three sums unvectorised, and that is three times slower.
fn dot_and_norms(a: &[f32], b: &[f32]) -> [f32; 3] {
    [dot(a, b), dot(a, a), dot(b, b)]
}

#[inline]
fn dot_u8(a: &[u8], b: &[u8]) -> u32 {
    a.iter().zip(b).fold(0u32, |sum, (&a, &b)| sum.wrapping_add(u32::from(a) * u32::from(b)))
}

fn dots_u4(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    each(code, rows, sums, |[low, high], row| {
        row.iter().zip(low.iter().zip(high)).fold(0, |sum, (&byte, (&low, &high))| {
            sum + i32::from(byte & 15) * i32::from(low) + i32::from(byte >> 4) * i32::from(high)
        })
    })
}

fn dots_u8(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, dot_u8);
}
