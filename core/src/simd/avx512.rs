//! Kernels for x86-64 with AVX-512, and with its VNNI extension where a processor has it.

#![allow(unsafe_code, reason = "vector loads read through raw pointers")]

use std::arch::x86_64::*;

use super::{Halves, Kernels, coding, each, each_u8};

static KERNELS: Kernels = Kernels {
    name: "avx512",
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
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(&KERNELS)
}

pub(super) fn detect_vnni() -> Option<&'static Kernels> {
    (detect().is_some() && is_x86_feature_detected!("avx512vnni")).then_some(&KERNELS_VNNI)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(from: &[f32; 16]) -> __m512 {
    // SAFETY: the reference covers the 64 bytes read, and this load needs no alignment.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

/// The first 16 numbers of `from`, with zeros for those it does not have.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_tail(from: &[f32]) -> __m512 {
    let present = ((1u32 << from.len().min(16)) - 1) as __mmask16;
    // SAFETY: the mask selects only lanes below `from.len()`, and a masked load touches no other memory.
    unsafe { _mm512_maskz_loadu_ps(present, from.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_u8(from: &[u8; 64]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes read, and this load needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// The first 64 bytes of `from`, with zeros for those it does not have.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_u8_tail(from: &[u8]) -> __m512i {
    let present = ((1u128 << from.len().min(64)) - 1) as __mmask64;
    // SAFETY: the mask selects only lanes below `from.len()`, and a masked load touches no other memory.
    unsafe { _mm512_maskz_loadu_epi8(present, from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sum4(acc: [__m512; 4]) -> f32 {
    _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(acc[0], acc[1]), _mm512_add_ps(acc[2], acc[3])))
}

/// Runs `step` over both slices, 16 numbers at a time, into four accumulators that do not wait for each other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn fold<S: Copy>(a: &[f32], b: &[f32], zero: S, step: impl Fn(S, __m512, __m512) -> S) -> [S; 4] {
    let (a, a_tail) = a.as_chunks::<16>();
    let (b, b_tail) = b.as_chunks::<16>();
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

#[target_feature(enable = "avx512f,avx512bw")]
fn l2_squared(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, _mm512_setzero_ps(), |acc, a, b| {
        let d = _mm512_sub_ps(a, b);
        _mm512_fmadd_ps(d, d, acc)
    }))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum4(fold(a, b, _mm512_setzero_ps(), |acc, a, b| _mm512_fmadd_ps(a, b, acc)))
}

#[target_feature(enable = "avx512f,avx512bw")]
fn dot_and_norms(a: &[f32], b: &[f32]) -> [f32; 3] {
    let acc = fold(a, b, [_mm512_setzero_ps(); 3], |[ab, aa, bb], a, b| {
        [_mm512_fmadd_ps(a, b, ab), _mm512_fmadd_ps(a, a, aa), _mm512_fmadd_ps(b, b, bb)]
    });
    [sum4(acc.map(|s| s[0])), sum4(acc.map(|s| s[1])), sum4(acc.map(|s| s[2]))]
}

/// Runs `step` over both codes, 64 bytes at a time, into two accumulators.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn fold_u8(
    a: &[u8],
    b: &[u8],
    step: impl Fn([__m512i; 2], __m512i, __m512i) -> [__m512i; 2],
) -> [__m512i; 2] {
    let (a, a_tail) = a.as_chunks::<64>();
    let (b, b_tail) = b.as_chunks::<64>();
    let (a_groups, a_rest) = a.as_chunks::<2>();
    let (b_groups, b_rest) = b.as_chunks::<2>();
    let mut acc = [[_mm512_setzero_si512(); 2]; 2];
    for (a, b) in a_groups.iter().zip(b_groups) {
        acc[0] = step(acc[0], load_u8(&a[0]), load_u8(&b[0]));
        acc[1] = step(acc[1], load_u8(&a[1]), load_u8(&b[1]));
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        acc[0] = step(acc[0], load_u8(a), load_u8(b));
    }
    if !a_tail.is_empty() {
        acc[1] = step(acc[1], load_u8_tail(a_tail), load_u8_tail(b_tail));
    }
    [_mm512_add_epi32(acc[0][0], acc[1][0]), _mm512_add_epi32(acc[0][1], acc[1][1])]
}

/// Even and odd bytes as 16-bit numbers: the instruction that multiplies bytes directly saturates.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn dot_u8(a: &[u8], b: &[u8]) -> u32 {
    let low = _mm512_set1_epi16(0xff);
    let [even, odd] = fold_u8(a, b, |[even, odd], a, b| {
        let (a_even, b_even) = (_mm512_and_si512(a, low), _mm512_and_si512(b, low));
        let (a_odd, b_odd) = (_mm512_srli_epi16::<8>(a), _mm512_srli_epi16::<8>(b));
        [
            _mm512_add_epi32(even, _mm512_madd_epi16(a_even, b_even)),
            _mm512_add_epi32(odd, _mm512_madd_epi16(a_odd, b_odd)),
        ]
    });
    _mm512_reduce_add_epi32(_mm512_add_epi32(even, odd)).cast_unsigned()
}

/// The instruction takes one signed side, so `b` goes in less 128 and 128 times the sum of `a` goes back on top.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_u8_vnni(a: &[u8], b: &[u8]) -> u32 {
    let flip = _mm512_set1_epi8(i8::MIN);
    let [shifted, excess] = fold_u8(a, b, |[shifted, excess], a, b| {
        [_mm512_dpbusd_epi32(shifted, a, _mm512_xor_si512(b, flip)), _mm512_dpbusd_epi32(excess, a, flip)]
    });
    _mm512_reduce_add_epi32(_mm512_sub_epi32(shifted, excess)).cast_unsigned()
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_i8(from: &[i8; 64]) -> __m512i {
    // SAFETY: the reference covers the 64 bytes read, and this load needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// The first 64 numbers of `from`, with zeros for those it does not have.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_i8_tail(from: &[i8]) -> __m512i {
    let present = ((1u128 << from.len().min(64)) - 1) as __mmask64;
    // SAFETY: the mask selects only bytes below `from.len()`, and a masked load touches no other memory.
    unsafe { _mm512_maskz_loadu_epi8(present, from.as_ptr()) }
}

/// Bytes between what is measured and what is asked for from memory.
const AHEAD: usize = 1024;

/// The sums of the lanes of each: neighbours are added until one lane of each is left.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteen_sums(mut sums: [__m512i; 16]) -> __m512i {
    for i in 0..8 {
        let (a, b) = (sums[2 * i], sums[2 * i + 1]);
        sums[i] = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    }
    for i in 0..4 {
        let (a, b) = (sums[2 * i], sums[2 * i + 1]);
        sums[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    // Now each quarter has a part of the same four sums.
    let quarters = |a, b| {
        let even = _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b);
        _mm512_add_epi32(even, _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b))
    };
    quarters(quarters(sums[0], sums[1]), quarters(sums[2], sums[3]))
}

/// Runs `step` over the halves of several rows, 64 bytes at a time, into an accumulator for each. Asks for what lies
/// `ahead` of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn fold_u4<const N: usize>(
    [low, high]: Halves<'_>,
    rows: &[u8],
    ahead: usize,
    step: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
) -> [__m512i; N] {
    let half = _mm512_set1_epi8(15);
    let both = |acc, row, low, high| {
        let acc = step(acc, _mm512_and_si512(row, half), low);
        step(acc, _mm512_and_si512(_mm512_srli_epi16::<4>(row), half), high)
    };
    let width = low.len();
    assert!(rows.len() >= N * width);
    let (low, low_tail) = low.as_chunks::<64>();
    let (high, high_tail) = high.as_chunks::<64>();
    let mut acc = [_mm512_setzero_si512(); N];
    // Nothing in the inner loop can fail, so that it is unrolled and the accumulators stay in registers.
    for (at, (low, high)) in low.iter().zip(high).enumerate() {
        let (low, high) = (load_i8(low), load_i8(high));
        for (i, acc) in acc.iter_mut().enumerate() {
            let from = rows.as_ptr().wrapping_add(i * width + 64 * at);
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(ahead).cast());
            // SAFETY: there are N rows, and each has these 64 bytes: `low` has as many numbers as a row has bytes.
            let row = unsafe { _mm512_loadu_si512(from.cast()) };
            *acc = both(*acc, row, low, high);
        }
    }
    if !low_tail.is_empty() {
        let (rest, low, high) = (width - low_tail.len(), load_i8_tail(low_tail), load_i8_tail(high_tail));
        for (acc, row) in acc.iter_mut().zip(rows.chunks_exact(width)) {
            *acc = both(*acc, load_u8_tail(&row[rest..]), low, high);
        }
    }
    acc
}

/// Sixteen rows at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn by_sixteens(
    code: Halves<'_>,
    rows: &[u8],
    sums: &mut [i32],
    step: impl Fn(__m512i, __m512i, __m512i) -> __m512i,
) {
    let group = 16 * code[0].len();
    let (groups, rest) = sums.as_chunks_mut::<16>();
    let others = &rows[groups.len() * group..];
    for (at, sums) in groups.iter_mut().enumerate() {
        let rows = &rows[at * group..];
        let ahead = if rows.len() >= group + AHEAD { AHEAD } else { 0 };
        let found = sixteen_sums(fold_u4(code, &rows[..group], ahead, &step));
        // SAFETY: the reference covers the 64 bytes written, and this store needs no alignment.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), found) }
    }
    each(code, others, rest, |code, row| {
        let [sum] = fold_u4(code, row, 0, &step);
        _mm512_reduce_add_epi32(sum)
    });
}

/// Products of half bytes are too small to saturate in pairs.
#[target_feature(enable = "avx512f,avx512bw")]
fn dots_u4(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    let one = _mm512_set1_epi16(1);
    by_sixteens(code, rows, sums, |acc, a, b| {
        _mm512_add_epi32(acc, _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), one))
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dots_u4_vnni(code: Halves<'_>, rows: &[u8], sums: &mut [i32]) {
    by_sixteens(code, rows, sums, |acc, a, b| _mm512_dpbusd_epi32(acc, a, b));
}

#[target_feature(enable = "avx512f,avx512bw")]
fn dots_u8(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, |a, b| dot_u8(a, b));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dots_u8_vnni(code: &[u8], rows: &[&[u8]], sums: &mut [u32]) {
    each_u8(code, rows, sums, |a, b| dot_u8_vnni(a, b));
}
