//! Kernels for WebAssembly built with 128-bit vectors.
//!
//! A module that holds vector instructions runs only where the engine knows them, so nothing is detected here:
//! the build decides.

#![allow(unsafe_code, reason = "vector loads read through raw pointers")]

use std::arch::wasm32::*;

use super::{Halves, Kernels, coding, each, each_u8, padded};

pub(super) static KERNELS: Kernels = Kernels {
    name: "simd128",
    dot_u8_name: "extmul",
    l2_squared,
    dot,
    dot_and_norms,
    dot_u8,
    dots_u8,
    dots_u4,
    coding: CODING,
};

#[inline]
fn load(from: &[f32; 4]) -> v128 {
    // SAFETY: the reference covers the 16 bytes read, and this load needs no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}

#[inline]
fn load_u8(from: &[u8; 16]) -> v128 {
    // SAFETY: the reference covers the 16 bytes read, and this load needs no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}

#[inline]
fn load_i8(from: &[i8; 16]) -> v128 {
    // SAFETY: the reference covers the 16 bytes read, and this load needs no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}

const CODING: coding::Coding = coding::Coding { scale, butterfly, hadamard, range, quantise };

#[inline]
fn store(to: &mut [f32; 4], v: v128) {
    // SAFETY: the reference covers the 16 bytes written, and this store needs no alignment.
    unsafe { v128_store(to.as_mut_ptr().cast(), v) }
}

#[inline]
fn sum4(acc: [v128; 4]) -> f32 {
    let v = f32x4_add(f32x4_add(acc[0], acc[1]), f32x4_add(acc[2], acc[3]));
    (f32x4_extract_lane::<0>(v) + f32x4_extract_lane::<1>(v))
        + (f32x4_extract_lane::<2>(v) + f32x4_extract_lane::<3>(v))
}

/// Runs `step` over both slices, four numbers at a time, into four accumulators that do not wait for each other.
#[inline]
fn fold<S: Copy>(a: &[f32], b: &[f32], zero: S, step: impl Fn(S, v128, v128) -> S) -> [S; 4] {
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

fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, f32x4_splat(0.0), |acc, a, b| {
        let d = f32x4_sub(a, b);
        f32x4_add(acc, f32x4_mul(d, d))
    }))
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, f32x4_splat(0.0), |acc, a, b| f32x4_add(acc, f32x4_mul(a, b))))
}

fn dot_and_norms(a: &[f32], b: &[f32]) -> [f32; 3] {
    let acc = fold(a, b, [f32x4_splat(0.0); 3], |[ab, aa, bb], a, b| {
        [f32x4_add(ab, f32x4_mul(a, b)), f32x4_add(aa, f32x4_mul(a, a)), f32x4_add(bb, f32x4_mul(b, b))]
    });
    [sum4(acc.map(|s| s[0])), sum4(acc.map(|s| s[1])), sum4(acc.map(|s| s[2]))]
}

#[inline]
fn dot_u8(a: &[u8], b: &[u8]) -> u32 {
    let step = |[low, high]: [v128; 2], a, b| {
        let low_products = u16x8_extmul_low_u8x16(a, b);
        let high_products = u16x8_extmul_high_u8x16(a, b);
        [
            u32x4_add(low, u32x4_extadd_pairwise_u16x8(low_products)),
            u32x4_add(high, u32x4_extadd_pairwise_u16x8(high_products)),
        ]
    };
    let (a, a_tail) = a.as_chunks::<16>();
    let (b, b_tail) = b.as_chunks::<16>();
    let mut acc = [u32x4_splat(0); 2];
    for (a, b) in a.iter().zip(b) {
        acc = step(acc, load_u8(a), load_u8(b));
    }
    if !a_tail.is_empty() {
        acc = step(acc, load_u8(&padded(a_tail)), load_u8(&padded(b_tail)));
    }
    let v = u32x4_add(acc[0], acc[1]);
    let pairs = [
        u32x4_extract_lane::<0>(v).wrapping_add(u32x4_extract_lane::<1>(v)),
        u32x4_extract_lane::<2>(v).wrapping_add(u32x4_extract_lane::<3>(v)),
    ];
    pairs[0].wrapping_add(pairs[1])
}

#[inline]
fn dot_u4([low, high]: Halves<'_>, row: &[u8]) -> i32 {
    let half = u8x16_splat(15);
    let step = |acc: v128, a, b| {
        let low = i32x4_extadd_pairwise_i16x8(i16x8_extmul_low_i8x16(a, b));
        let high = i32x4_extadd_pairwise_i16x8(i16x8_extmul_high_i8x16(a, b));
        i32x4_add(acc, i32x4_add(low, high))
    };
    let (row, row_tail) = row.as_chunks::<16>();
    let (low, low_tail) = low.as_chunks::<16>();
    let (high, high_tail) = high.as_chunks::<16>();
    let mut acc = [i32x4_splat(0); 2];
    for (row, (low, high)) in row.iter().zip(low.iter().zip(high)) {
        let row = load_u8(row);
        acc[0] = step(acc[0], v128_and(row, half), load_i8(low));
        acc[1] = step(acc[1], u8x16_shr(row, 4), load_i8(high));
    }
    if !row_tail.is_empty() {
        let row = load_u8(&padded(row_tail));
        acc[0] = step(acc[0], v128_and(row, half), load_i8(&padded(low_tail)));
        acc[1] = step(acc[1], u8x16_shr(row, 4), load_i8(&padded(high_tail)));
    }
    let v = i32x4_add(acc[0], acc[1]);
    (i32x4_extract_lane::<0>(v) + i32x4_extract_lane::<1>(v))
        + (i32x4_extract_lane::<2>(v) + i32x4_extract_lane::<3>(v))
}

fn dots_u4(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    each(code, rows, sums, dot_u4)
}

fn scale(x: &mut [f32], by: f32, less: f32, factors: &[f32]) {
    let (x, x_tail) = x.as_chunks_mut::<4>();
    let (factors, factors_tail) = factors.as_chunks::<4>();
    for (x, factors) in x.iter_mut().zip(factors) {
        let v = f32x4_sub(f32x4_mul(load(x), f32x4_splat(by)), f32x4_splat(less));
        store(x, f32x4_mul(v, load(factors)));
    }
    coding::scale(x_tail, by, less, factors_tail);
}

fn butterfly(a: &mut [f32], b: &mut [f32]) {
    let (a, a_tail) = a.as_chunks_mut::<4>();
    let (b, b_tail) = b.as_chunks_mut::<4>();
    for (a, b) in a.iter_mut().zip(b) {
        let (x, y) = (load(a), load(b));
        store(a, f32x4_add(x, y));
        store(b, f32x4_sub(x, y));
    }
    coding::butterfly(a_tail, b_tail);
}

/// The transform of every four numbers: added to what they are exchanged with, or taken from it.
#[inline]
fn hadamard4(v: v128) -> v128 {
    let v = f32x4_add(i32x4_shuffle::<1, 0, 3, 2>(v, v), f32x4_mul(v, f32x4(1.0, -1.0, 1.0, -1.0)));
    f32x4_add(i32x4_shuffle::<2, 3, 0, 1>(v, v), f32x4_mul(v, f32x4(1.0, 1.0, -1.0, -1.0)))
}

/// Two rounds of the transform over four parts.
#[inline(always)]
fn crossed([a, b, c, d]: [v128; 4]) -> [v128; 4] {
    let (a, b) = (f32x4_add(a, b), f32x4_sub(a, b));
    let (c, d) = (f32x4_add(c, d), f32x4_sub(c, d));
    [f32x4_add(a, c), f32x4_add(b, d), f32x4_sub(a, c), f32x4_sub(b, d)]
}

fn hadamard(x: &mut [f32]) {
    if x.len() < 16 {
        return coding::hadamard(x);
    }
    // As many rounds as there is room for before anything goes back to memory.
    for block in x.as_chunks_mut::<16>().0 {
        let [a, b, c, d] = block.as_chunks_mut::<4>().0 else { continue };
        let [a2, b2, c2, d2] =
            crossed([hadamard4(load(a)), hadamard4(load(b)), hadamard4(load(c)), hadamard4(load(d))]);
        store(a, a2);
        store(b, b2);
        store(c, c2);
        store(d, d2);
    }
    let mut half = 16;
    while 4 * half <= x.len() {
        for part in x.chunks_exact_mut(4 * half) {
            let (low, high) = part.split_at_mut(2 * half);
            let ((a, b), (c, d)) = (low.split_at_mut(half), high.split_at_mut(half));
            let ab = a.as_chunks_mut::<4>().0.iter_mut().zip(b.as_chunks_mut::<4>().0);
            let cd = c.as_chunks_mut::<4>().0.iter_mut().zip(d.as_chunks_mut::<4>().0);
            for ((a, b), (c, d)) in ab.zip(cd) {
                let [a2, b2, c2, d2] = crossed([load(a), load(b), load(c), load(d)]);
                store(a, a2);
                store(b, b2);
                store(c, c2);
                store(d, d2);
            }
        }
        half *= 4;
    }
    if half < x.len() {
        let (low, high) = x.split_at_mut(half);
        butterfly(low, high);
    }
}

fn range(x: &[f32]) -> (f32, f32) {
    let (x, x_tail) = x.as_chunks::<4>();
    let (low, high) = coding::range(x_tail);
    let (mut lows, mut highs) = (f32x4_splat(low), f32x4_splat(high));
    for x in x {
        let v = load(x);
        // What is no number is neither less nor more.
        lows = f32x4_pmin(lows, v);
        highs = f32x4_pmax(highs, v);
    }
    let (mut ends, mut others) = ([0.0; 4], [0.0; 4]);
    store(&mut ends, lows);
    store(&mut others, highs);
    (coding::range(&ends).0, coding::range(&others).1)
}

fn quantise(x: &[f32], low: f32, per_step: f32, steps: &mut [u8]) -> u32 {
    let (x, x_tail) = x.as_chunks::<4>();
    let (steps, steps_tail) = steps.as_chunks_mut::<4>();
    let mut sums = u32x4_splat(0);
    for (x, steps) in x.iter().zip(steps) {
        let v = f32x4_mul(f32x4_sub(load(x), f32x4_splat(low)), f32x4_splat(per_step));
        let v = u32x4_trunc_sat_f32x4(f32x4_add(v, f32x4_splat(0.5)));
        let v = u32x4_min(v, u32x4_splat(255));
        sums = u32x4_add(sums, v);
        let v = i16x8_narrow_i32x4(v, v);
        *steps = u32x4_extract_lane::<0>(u8x16_narrow_i16x8(v, v)).to_le_bytes();
    }
    let pairs = u32x4_add(sums, i32x4_shuffle::<2, 3, 0, 1>(sums, sums));
    let sum = u32x4_extract_lane::<0>(pairs) + u32x4_extract_lane::<1>(pairs);
    sum + coding::quantise(x_tail, low, per_step, steps_tail)
}

fn dots_u8(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, dot_u8);
}
