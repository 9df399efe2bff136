//! Kernels for 64-bit ARM with NEON, and with the dot-product extension where a processor has it.

#![allow(
    unsafe_code,
    reason = "vector loads read through raw pointers; one instruction has no stable intrinsic"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Halves, Kernels, coding, each, each_u8, padded};

pub(super) static KERNELS: Kernels = Kernels {
    name: "neon",
    dot_u8_name: "umull",
    l2_squared,
    dot,
    dot_and_norms,
    dot_u8,
    dots_u8,
    dots_u4,
    coding: coding::PORTABLE,
};

static KERNELS_UDOT: Kernels = Kernels {
    dot_u8_name: "udot",
    dot_u8: dot_u8_udot,
    dots_u8: dots_u8_udot,
    dots_u4: dots_u4_sdot,
    ..KERNELS
};

pub(super) fn detect_udot() -> Option<&'static Kernels> {
    std::arch::is_aarch64_feature_detected!("dotprod").then_some(&KERNELS_UDOT)
}

#[inline]
#[target_feature(enable = "neon")]
fn load(from: &[f32; 4]) -> float32x4_t {
    // SAFETY: the reference covers the 16 bytes read, and this load needs no more alignment than `f32`.
    unsafe { vld1q_f32(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_u8(from: &[u8; 16]) -> uint8x16_t {
    // SAFETY: the reference covers the 16 bytes read, and this load needs no alignment.
    unsafe { vld1q_u8(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_i8(from: &[i8; 16]) -> int8x16_t {
    // SAFETY: the reference covers the 16 bytes read, and this load needs no alignment.
    unsafe { vld1q_s8(from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn sum4(acc: [float32x4_t; 4]) -> f32 {
    vaddvq_f32(vaddq_f32(vaddq_f32(acc[0], acc[1]), vaddq_f32(acc[2], acc[3])))
}

/// Runs `step` over both slices, four numbers at a time, into four accumulators that do not wait for each other.
#[inline]
#[target_feature(enable = "neon")]
fn fold<S: Copy>(a: &[f32], b: &[f32], zero: S, step: impl Fn(S, float32x4_t, float32x4_t) -> S) -> [S; 4] {
    let (a, a_tail) = a.as_chunks::<4>();
    let (b, b_tail) = b.as_chunks::<4>();
    let (a_groups, a_rest) = a.as_chunks::<4>();
    let (b_groups, b_rest) = b.as_chunks::<4>();
    let mut acc = [zero; 4];
    for (a, b) in a_groups.iter().zip(b_groups) {
        acc[0] = step(acc[0], load(&a[0]), load(&b[0]));
        acc[1] = step(acc[1], load(&a[1]), load(&b[1]));
        acc[2] = step(acc[2], load(&a[2]), load(&b[2]));
        acc[3] = step(acc[3], load(&a[3]), load(&b[3]));
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        acc[0] = step(acc[0], load(a), load(b));
    }
    if !a_tail.is_empty() {
        acc[1] = step(acc[1], load(&padded(a_tail)), load(&padded(b_tail)));
    }
    acc
}

#[target_feature(enable = "neon")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, vdupq_n_f32(0.0), |acc, a, b| {
        let d = vsubq_f32(a, b);
        vfmaq_f32(acc, d, d)
    }))
}

#[target_feature(enable = "neon")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, vdupq_n_f32(0.0), |acc, a, b| vfmaq_f32(acc, a, b)))
}

#[target_feature(enable = "neon")]
fn dot_and_norms(a: &[f32], b: &[f32]) -> [f32; 3] {
    let acc = fold(a, b, [vdupq_n_f32(0.0); 3], |[ab, aa, bb], a, b| {
        [vfmaq_f32(ab, a, b), vfmaq_f32(aa, a, a), vfmaq_f32(bb, b, b)]
    });
    [sum4(acc.map(|s| s[0])), sum4(acc.map(|s| s[1])), sum4(acc.map(|s| s[2]))]
}

/// Runs `step` over both codes, 16 bytes at a time, into four accumulators, and adds those up.
#[inline]
#[target_feature(enable = "neon")]
fn fold_u8(a: &[u8], b: &[u8], step: impl Fn(uint32x4_t, uint8x16_t, uint8x16_t) -> uint32x4_t) -> u32 {
    let (a, a_tail) = a.as_chunks::<16>();
    let (b, b_tail) = b.as_chunks::<16>();
    let (a_groups, a_rest) = a.as_chunks::<4>();
    let (b_groups, b_rest) = b.as_chunks::<4>();
    let mut acc = [vdupq_n_u32(0); 4];
    for (a, b) in a_groups.iter().zip(b_groups) {
        acc[0] = step(acc[0], load_u8(&a[0]), load_u8(&b[0]));
        acc[1] = step(acc[1], load_u8(&a[1]), load_u8(&b[1]));
        acc[2] = step(acc[2], load_u8(&a[2]), load_u8(&b[2]));
        acc[3] = step(acc[3], load_u8(&a[3]), load_u8(&b[3]));
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        acc[0] = step(acc[0], load_u8(a), load_u8(b));
    }
    if !a_tail.is_empty() {
        acc[1] = step(acc[1], load_u8(&padded(a_tail)), load_u8(&padded(b_tail)));
    }
    vaddvq_u32(vaddq_u32(vaddq_u32(acc[0], acc[1]), vaddq_u32(acc[2], acc[3])))
}

#[inline]
#[target_feature(enable = "neon")]
fn dot_u8(a: &[u8], b: &[u8]) -> u32 {
    fold_u8(a, b, |acc, a, b| {
        let low = vmull_u8(vget_low_u8(a), vget_low_u8(b));
        let high = vmull_high_u8(a, b);
        vpadalq_u16(vpadalq_u16(acc, low), high)
    })
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_u8_udot(a: &[u8], b: &[u8]) -> u32 {
    fold_u8(a, b, |mut acc, a, b| {
        // The intrinsic is not stable yet, the instruction is.
        // SAFETY: the instruction reads and writes the named registers only, and the caller has `dotprod`.
        unsafe {
            asm!(
                "udot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
                acc = inout(vreg) acc,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        acc
    })
}

/// Runs `step` over the halves of a row, 16 bytes at a time, into two accumulators, and adds those up.
#[inline]
#[target_feature(enable = "neon")]
fn fold_u4(
    [low, high]: Halves<'_>,
    row: &[u8],
    step: impl Fn(int32x4_t, int8x16_t, int8x16_t) -> int32x4_t,
) -> i32 {
    let halves = |row| {
        let low = vandq_u8(row, vdupq_n_u8(15));
        (vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(vshrq_n_u8::<4>(row)))
    };
    let (row, row_tail) = row.as_chunks::<16>();
    let (low, low_tail) = low.as_chunks::<16>();
    let (high, high_tail) = high.as_chunks::<16>();
    let mut acc = [vdupq_n_s32(0); 2];
    for (row, (low, high)) in row.iter().zip(low.iter().zip(high)) {
        let (a, b) = halves(load_u8(row));
        acc[0] = step(acc[0], a, load_i8(low));
        acc[1] = step(acc[1], b, load_i8(high));
    }
    if !row_tail.is_empty() {
        let (a, b) = halves(load_u8(&padded(row_tail)));
        acc[0] = step(acc[0], a, load_i8(&padded(low_tail)));
        acc[1] = step(acc[1], b, load_i8(&padded(high_tail)));
    }
    vaddvq_s32(vaddq_s32(acc[0], acc[1]))
}

#[target_feature(enable = "neon")]
fn dots_u4(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    each(code, rows, sums, |code, row| {
        fold_u4(code, row, |acc, a, b| {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            vpadalq_s16(vpadalq_s16(acc, low), vmull_high_s8(a, b))
        })
    })
}

#[target_feature(enable = "neon,dotprod")]
fn dots_u4_sdot(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    each(code, rows, sums, |code, row| {
        fold_u4(code, row, |mut acc, a, b| {
            // The intrinsic is not stable yet, the instruction is.
            // SAFETY: the instruction reads and writes the named registers only, and the caller has `dotprod`.
            unsafe {
                asm!(
                    "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
                    acc = inout(vreg) acc,
                    a = in(vreg) a,
                    b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            acc
        })
    })
}

#[target_feature(enable = "neon")]
fn dots_u8(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, |a, b| dot_u8(a, b));
}

#[target_feature(enable = "neon,dotprod")]
fn dots_u8_udot(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, |a, b| dot_u8_udot(a, b));
}
