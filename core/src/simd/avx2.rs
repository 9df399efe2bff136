//! Kernels for x86-64 with AVX2 and FMA, and with AVX-VNNI where a processor has it.

#![allow(unsafe_code, reason = "vector loads read through raw pointers")]

use std::arch::x86_64::*;

use super::{Halves, Kernels, coding, each, each_u8, padded};

static KERNELS: Kernels = Kernels {
    name: "avx2",
    dot_u8_name: "madd",
    l2_squared,
    dot,
    dot_and_norms,
    dot_u8,
    dots_u8,
    dots_u4,
    coding: coding::PORTABLE,
};

static KERNELS_VNNI: Kernels = Kernels {
    dot_u8_name: "vnni",
    dot_u8: dot_u8_vnni,
    dots_u8: dots_u8_vnni,
    dots_u4: dots_u4_vnni,
    ..KERNELS
};

pub(super) fn detect() -> Option<&'static Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(&KERNELS)
}

pub(super) fn detect_vnni() -> Option<&'static Kernels> {
    (detect().is_some() && is_x86_feature_detected!("avxvnni")).then_some(&KERNELS_VNNI)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(from: &[f32; 8]) -> __m256 {
    // SAFETY: the reference covers the 32 bytes read, and this load needs no alignment.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

/// The first eight numbers of `from`, with zeros for those it does not have.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_tail(from: &[f32]) -> __m256 {
    let present = _mm256_cmpgt_epi32(
        _mm256_set1_epi32(from.len().min(8) as i32),
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
    );
    // SAFETY: the mask selects only lanes below `from.len()`, and a masked load touches no other memory.
    unsafe { _mm256_maskload_ps(from.as_ptr(), present) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_u8(from: &[u8; 16]) -> __m128i {
    // SAFETY: the reference covers the 16 bytes read, and this load needs no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_u8_wide(from: &[u8; 32]) -> __m256i {
    // SAFETY: the reference covers the 32 bytes read, and this load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_i8_wide(from: &[i8; 32]) -> __m256i {
    // SAFETY: the reference covers the 32 bytes read, and this load needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn horizontal_sum(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn horizontal_sum_u32(v: __m256i) -> u32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two))).cast_unsigned()
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum4(acc: [__m256; 4]) -> f32 {
    horizontal_sum(_mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3])))
}

/// Runs `step` over both slices, eight numbers at a time, into four accumulators that do not wait for each other.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fold<S: Copy>(a: &[f32], b: &[f32], zero: S, step: impl Fn(S, __m256, __m256) -> S) -> [S; 4] {
    let (a, a_tail) = a.as_chunks::<8>();
    let (b, b_tail) = b.as_chunks::<8>();
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
        acc[1] = step(acc[1], load_tail(a_tail), load_tail(b_tail));
    }
    acc
}

#[target_feature(enable = "avx2,fma")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, _mm256_setzero_ps(), |acc, a, b| {
        let d = _mm256_sub_ps(a, b);
        _mm256_fmadd_ps(d, d, acc)
    }))
}

#[target_feature(enable = "avx2,fma")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, _mm256_setzero_ps(), |acc, a, b| _mm256_fmadd_ps(a, b, acc)))
}

#[target_feature(enable = "avx2,fma")]
fn dot_and_norms(a: &[f32], b: &[f32]) -> [f32; 3] {
    let acc = fold(a, b, [_mm256_setzero_ps(); 3], |[ab, aa, bb], a, b| {
        [_mm256_fmadd_ps(a, b, ab), _mm256_fmadd_ps(a, a, aa), _mm256_fmadd_ps(b, b, bb)]
    });
    [sum4(acc.map(|s| s[0])), sum4(acc.map(|s| s[1])), sum4(acc.map(|s| s[2]))]
}

/// Widened to 16 bits first: the instruction that multiplies bytes directly saturates.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_u8(a: &[u8], b: &[u8]) -> u32 {
    let step = |acc, a, b| {
        let (a, b) = (_mm256_cvtepu8_epi16(a), _mm256_cvtepu8_epi16(b));
        _mm256_add_epi32(acc, _mm256_madd_epi16(a, b))
    };
    let (a, a_tail) = a.as_chunks::<16>();
    let (b, b_tail) = b.as_chunks::<16>();
    let (a_groups, a_rest) = a.as_chunks::<4>();
    let (b_groups, b_rest) = b.as_chunks::<4>();
    let mut acc = [_mm256_setzero_si256(); 4];
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
    let pairs = [_mm256_add_epi32(acc[0], acc[1]), _mm256_add_epi32(acc[2], acc[3])];
    horizontal_sum_u32(_mm256_add_epi32(pairs[0], pairs[1]))
}

/// The instruction takes one signed side, so `b` goes in less 128 and 128 times the sum of `a` goes back on top.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn dot_u8_vnni(a: &[u8], b: &[u8]) -> u32 {
    let flip = _mm256_set1_epi8(i8::MIN);
    let step = |[shifted, excess]: [__m256i; 2], a, b| {
        [
            _mm256_dpbusd_avx_epi32(shifted, a, _mm256_xor_si256(b, flip)),
            _mm256_dpbusd_avx_epi32(excess, a, flip),
        ]
    };
    let (a, a_tail) = a.as_chunks::<32>();
    let (b, b_tail) = b.as_chunks::<32>();
    let (a_groups, a_rest) = a.as_chunks::<2>();
    let (b_groups, b_rest) = b.as_chunks::<2>();
    let mut acc = [[_mm256_setzero_si256(); 2]; 2];
    for (a, b) in a_groups.iter().zip(b_groups) {
        acc[0] = step(acc[0], load_u8_wide(&a[0]), load_u8_wide(&b[0]));
        acc[1] = step(acc[1], load_u8_wide(&a[1]), load_u8_wide(&b[1]));
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        acc[0] = step(acc[0], load_u8_wide(a), load_u8_wide(b));
    }
    if !a_tail.is_empty() {
        acc[1] = step(acc[1], load_u8_wide(&padded(a_tail)), load_u8_wide(&padded(b_tail)));
    }
    let shifted = _mm256_add_epi32(acc[0][0], acc[1][0]);
    let excess = _mm256_add_epi32(acc[0][1], acc[1][1]);
    horizontal_sum_u32(_mm256_sub_epi32(shifted, excess))
}

/// Prefetches the first lines of `data`; the hardware follows with the rest.
#[inline]
pub(super) fn prefetch<T>(data: &[T]) {
    const LINE: usize = 64;
    const LINES: usize = 8;
    // SAFETY: SSE is part of every x86-64 processor, and a prefetch of any address has no effect but timing.
    let soon = |from: *const i8| unsafe { _mm_prefetch::<_MM_HINT_T0>(from) };
    let (first, len) = (data.as_ptr().cast::<i8>(), size_of_val(data).min(LINES * LINE));
    (0..len).step_by(LINE).for_each(|at| soon(first.wrapping_add(at)));
    // What does not begin with a line ends in one more.
    soon(first.wrapping_add(len.saturating_sub(1)));
}

/// Runs `step` over the halves of a row, 32 bytes at a time, into two accumulators, and adds those up.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn fold_u4([low, high]: Halves<'_>, row: &[u8], step: impl Fn(__m256i, __m256i, __m256i) -> __m256i) -> i32 {
    let half = _mm256_set1_epi8(15);
    let halves = |row| (_mm256_and_si256(row, half), _mm256_and_si256(_mm256_srli_epi16::<4>(row), half));
    let (row, row_tail) = row.as_chunks::<32>();
    let (low, low_tail) = low.as_chunks::<32>();
    let (high, high_tail) = high.as_chunks::<32>();
    let mut acc = [_mm256_setzero_si256(); 2];
    for (row, (low, high)) in row.iter().zip(low.iter().zip(high)) {
        let (a, b) = halves(load_u8_wide(row));
        acc[0] = step(acc[0], a, load_i8_wide(low));
        acc[1] = step(acc[1], b, load_i8_wide(high));
    }
    if !row_tail.is_empty() {
        let (a, b) = halves(load_u8_wide(&padded(row_tail)));
        acc[0] = step(acc[0], a, load_i8_wide(&padded(low_tail)));
        acc[1] = step(acc[1], b, load_i8_wide(&padded(high_tail)));
    }
    horizontal_sum_u32(_mm256_add_epi32(acc[0], acc[1])).cast_signed()
}

/// Products of half bytes are too small to saturate in pairs.
#[target_feature(enable = "avx2,fma")]
fn dots_u4(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    let one = _mm256_set1_epi16(1);
    each(code, rows, sums, |code, row| {
        fold_u4(code, row, |acc, a, b| {
            _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), one))
        })
    })
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn dots_u4_vnni(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    each(code, rows, sums, |code, row| fold_u4(code, row, |acc, a, b| _mm256_dpbusd_avx_epi32(acc, a, b)))
}

#[target_feature(enable = "avx2,fma")]
fn dots_u8(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, |a, b| dot_u8(a, b));
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn dots_u8_vnni(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, |a, b| dot_u8_vnni(a, b));
}
