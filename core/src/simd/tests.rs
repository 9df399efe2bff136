use std::hash::{BuildHasher, Hasher, RandomState};

use super::*;

/// Numbers between -1 and 1, most of them near 0, the same for the same seed.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next() + next() - 1.0).collect()
}

/// A splitmix64 stream whose seed every assertion names.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Random {
        let seed = match std::env::var("ASTEROID_SEED") {
            Ok(text) => text.parse().expect("ASTEROID_SEED must be an unsigned decimal number"),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        Random { seed, state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [-1, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, len: usize, mut make: impl FnMut(&mut Random) -> f32) -> Vec<f32> {
        (0..len).map(|_| make(self)).collect()
    }
}

/// Every length around the widths of registers, and some long ones. Miri takes a thousand times as long over each, and
/// looks at where bytes are read, not at sums: fewer will do.
fn lengths() -> impl Iterator<Item = usize> {
    let (each, long): (_, &[usize]) =
        if cfg!(miri) { (33, &[63, 64, 65, 130]) } else { (300, &[384, 768, 1_000, 1_536, 4_096, 65_535]) };
    (0..=each).chain(long.iter().copied())
}

/// `values` in a larger buffer, `offset` elements from its start, with `poison` on both sides.
struct Placed<T> {
    buffer: Vec<T>,
    offset: usize,
    len: usize,
}

impl<T: Copy> Placed<T> {
    fn new(values: &[T], offset: usize, poison: T) -> Placed<T> {
        let mut buffer = vec![poison; offset + values.len() + 64];
        buffer[offset..][..values.len()].copy_from_slice(values);
        Placed { buffer, offset, len: values.len() }
    }

    fn get(&self) -> &[T] {
        &self.buffer[self.offset..][..self.len]
    }
}

fn label(kernels: &Kernels, random: &Random, len: usize) -> String {
    format!(
        "{} ({}), length {len}; replay with ASTEROID_SEED={}",
        kernels.name(),
        kernels.dot_u8_name(),
        random.seed
    )
}

/// `(sum of terms, sum of their magnitudes)` in f64.
fn oracle(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (&a, &b)| {
        let t = term(f64::from(a), f64::from(b));
        (sum + t, size + t.abs())
    })
}

/// Fails when `got` is further from the oracle than summing in at least 16 lanes can bring it.
#[track_caller]
fn assert_close(got: f32, (want, size): (f64, f64), len: usize, what: &str) {
    // At most len / 16 additions per lane, 8 to join lanes and tail, 4 roundings within a term.
    let roundings = len as f64 / 16.0 + 12.0;
    let half_ulp = f64::from(f32::EPSILON) / 2.0;
    // Each of the len terms may also fall below the normal range.
    let allowed = size * roundings * half_ulp + len as f64 * f64::from(f32::from_bits(1));
    let error = (f64::from(got) - want).abs();
    assert!(error <= allowed, "{what}: got {got:e}, want {want:e}, error {error:e}, allowed {allowed:e}");
}

#[track_caller]
fn assert_all_close(kernels: &Kernels, a: &[f32], b: &[f32], what: &str) {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let l2 = oracle(a, b, |a, b| (a - b) * (a - b));
    let dots = [oracle(a, b, |a, b| a * b), oracle(a, a, |a, b| a * b), oracle(b, b, |a, b| a * b)];
    assert_close(kernels.l2_squared(a, b), l2, len, &format!("l2_squared, {what}"));
    assert_close(kernels.dot(a, b), dots[0], len, &format!("dot, {what}"));
    let together = kernels.dot_and_norms(a, b);
    for (part, (got, want)) in together.into_iter().zip(dots).enumerate() {
        assert_close(got, want, len, &format!("dot_and_norms[{part}], {what}"));
    }
    let apart = [kernels.dot(a, b), kernels.dot(a, a), kernels.dot(b, b)];
    assert_eq!(together.map(f32::to_bits), apart.map(f32::to_bits), "the same bits, {what}");
}

#[test]
fn floats_agree_with_the_oracle() {
    let mut random = Random::new();
    for len in lengths() {
        let (a, b) = (random.floats(len, Random::unit), random.floats(len, Random::unit));
        for kernels in Kernels::all_available() {
            let what = label(kernels, &random, len);
            for offset in 0..=3 {
                let a = Placed::new(&a, offset, f32::NAN);
                let b = Placed::new(&b, 3 - offset, f32::NAN);
                assert_all_close(kernels, a.get(), b.get(), &format!("offset {offset}, {what}"));
            }
        }
    }
}

/// Small whole numbers sum exactly in any order, so one element missed or counted twice shows at any length.
#[test]
fn every_element_counts_once() {
    let mut random = Random::new();
    for len in lengths() {
        let whole = |random: &mut Random| [-3.0, -2.0, -1.0, 1.0, 2.0, 3.0][(random.next() % 6) as usize];
        let a = random.floats(len, whole);
        let b: Vec<f32> =
            a.iter().map(|&a| if random.next().is_multiple_of(2) { -a } else { a + 1.0 }).collect();
        let l2 = oracle(&a, &b, |a, b| (a - b) * (a - b)).0 as f32;
        let dots = [(&a, &b), (&a, &a), (&b, &b)].map(|(a, b)| oracle(a, b, |a, b| a * b).0 as f32);
        for kernels in Kernels::all_available() {
            let what = label(kernels, &random, len);
            for offset in 0..=3 {
                let (a, b) = (Placed::new(&a, offset, f32::NAN), Placed::new(&b, 3 - offset, f32::NAN));
                assert_eq!(kernels.l2_squared(a.get(), b.get()), l2, "l2_squared, {what}");
                assert_eq!(kernels.dot(a.get(), b.get()), dots[0], "dot, {what}");
                assert_eq!(kernels.dot_and_norms(a.get(), b.get()), dots, "dot_and_norms, {what}");
            }
        }
    }
}

#[test]
fn extreme_values_keep_their_accuracy() {
    let mut random = Random::new();
    // Largest magnitudes whose sums still fit, tiny ones whose products are subnormal, and both mixed.
    for (what, exponents) in
        [("large", 50..=55), ("small", -74..=-66), ("subnormal", -149..=-126), ("mixed", -149..=55)]
    {
        for len in lengths().filter(|len| len % 7 == 0 || *len > 300) {
            let make = |random: &mut Random| {
                let span = (exponents.end() - exponents.start() + 1) as u64;
                let exponent = exponents.start() + (random.next() % span) as i32;
                (f64::from(random.unit()) * f64::from(exponent).exp2()) as f32
            };
            let (a, b) = (random.floats(len, make), random.floats(len, make));
            for kernels in Kernels::all_available() {
                assert_all_close(
                    kernels,
                    &a,
                    &b,
                    &format!("{what} values, {}", label(kernels, &random, len)),
                );
            }
        }
    }
}

#[test]
fn sums_out_of_range_are_infinite() {
    for kernels in Kernels::all_available() {
        for len in lengths().skip(1) {
            let (high, low) = (vec![f32::MAX; len], vec![f32::MIN; len]);
            let name = kernels.name();
            assert_eq!(kernels.l2_squared(&high, &low), f32::INFINITY, "{name}, length {len}");
            assert_eq!(kernels.l2_squared(&high, &high), 0.0, "{name}, length {len}");
            assert_eq!(kernels.dot(&high, &low), f32::NEG_INFINITY, "{name}, length {len}");
            assert_eq!(
                kernels.dot_and_norms(&high, &low),
                [f32::NEG_INFINITY, f32::INFINITY, f32::INFINITY],
                "{name}, length {len}"
            );
        }
    }
}

#[test]
fn order_of_arguments_does_not_change_a_bit() {
    let mut random = Random::new();
    for len in lengths() {
        let (a, b) = (random.floats(len, Random::unit), random.floats(len, Random::unit));
        for kernels in Kernels::all_available() {
            let what = label(kernels, &random, len);
            assert_eq!(
                kernels.l2_squared(&a, &b).to_bits(),
                kernels.l2_squared(&b, &a).to_bits(),
                "l2_squared, {what}"
            );
            assert_eq!(kernels.dot(&a, &b).to_bits(), kernels.dot(&b, &a).to_bits(), "dot, {what}");
            let [ab, aa, bb] = kernels.dot_and_norms(&a, &b).map(f32::to_bits);
            assert_eq!(
                kernels.dot_and_norms(&b, &a).map(f32::to_bits),
                [ab, bb, aa],
                "dot_and_norms, {what}"
            );
        }
    }
}

#[test]
fn codes_are_exact() {
    let mut random = Random::new();
    for len in lengths() {
        let mut bytes = |kind: u64| -> Vec<u8> {
            (0..len)
                .map(|_| random.next())
                .map(|r| if kind == 0 { r as u8 } else { 252 + (r % 4) as u8 })
                .collect()
        };
        let pairs = [
            (bytes(0), bytes(0)),
            (bytes(1), bytes(1)),
            (bytes(0), vec![255; len]),
            (vec![255; len], vec![255; len]),
            (vec![128; len], vec![127; len]),
        ];
        for (a, b) in &pairs {
            let want: u64 = a.iter().zip(b).map(|(&a, &b)| u64::from(a) * u64::from(b)).sum();
            for kernels in Kernels::all_available() {
                let what = label(kernels, &random, len);
                for offset in 0..=3 {
                    let (a, b) = (Placed::new(a, offset, 255), Placed::new(b, 3 - offset, 255));
                    assert_eq!(u64::from(kernels.dot_u8(a.get(), b.get())), want, "offset {offset}, {what}");
                    assert_eq!(u64::from(kernels.dot_u8(b.get(), a.get())), want, "swapped, {what}");
                }
            }
        }
    }
}

#[test]
fn a_code_is_multiplied_with_each_row_as_far_as_both_go() {
    let mut random = Random::new();
    for len in lengths() {
        let mut code = |len: usize| (0..len).map(|_| random.next() as u8).collect::<Vec<u8>>();
        let query = code(len);
        let rows: Vec<Vec<u8>> = [len, 0, len, len / 2, len + 5].map(&mut code).into();
        let rows: Vec<Placed<u8>> = rows.iter().zip(0..).map(|(row, at)| Placed::new(row, at, 255)).collect();
        let rows: Vec<&[u8]> = rows.iter().map(Placed::get).collect();
        for kernels in Kernels::all_available() {
            let what = label(kernels, &random, len);
            let want: Vec<u32> = rows.iter().map(|row| kernels.dot_u8(&query, row)).collect();
            // One sum too many, and one row.
            let mut sums = [7; 6];
            kernels.dots_u8(&query, &rows, &mut sums);
            assert_eq!((&sums[..5], sums[5]), (&want[..], 7), "{what}");
            let mut sums = [7; 4];
            kernels.dots_u8(&query, &rows, &mut sums);
            assert_eq!(sums, want[..4], "{what}");
        }
    }
}

#[test]
fn half_bytes_sum_exactly() {
    let mut random = Random::new();
    for (len, extreme) in lengths().flat_map(|len: usize| [(len, false), (len, true)]) {
        for count in 0..if cfg!(miri) { 6 } else { 10 } {
            // A surplus that is no whole row, and one sum too many.
            let byte = |random: &mut Random| if extreme { 255 } else { random.next() as u8 };
            let rows: Vec<u8> = (0..len * count + len.saturating_sub(1)).map(|_| byte(&mut random)).collect();
            let sign = |random: &mut Random| if extreme { i8::MIN } else { random.next() as i8 };
            let low: Vec<i8> = (0..len).map(|_| sign(&mut random)).collect();
            // The longer half counts only as far as the other.
            let high: Vec<i8> = (0..len + count).map(|_| sign(&mut random)).collect();
            let want: Vec<i32> = (0..=count)
                .map(|at| match rows.get(at * len..(at + 1) * len) {
                    Some(row) => (0..len)
                        .map(|i| {
                            let halves = [i32::from(row[i] % 16), i32::from(row[i] / 16)];
                            halves[0] * i32::from(low[i]) + halves[1] * i32::from(high[i])
                        })
                        .sum(),
                    None => 7,
                })
                .collect();
            for kernels in Kernels::all_available() {
                let what = label(kernels, &random, len);
                for offset in 0..=3 {
                    let rows = Placed::new(&rows, offset, 255);
                    let low = Placed::new(&low, 3 - offset, 127);
                    let mut sums = vec![7; count + 1];
                    kernels.dots_u4(low.get(), &high, rows.get(), &mut sums);
                    assert_eq!(sums, want, "{count} rows, offset {offset}, {what}");
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "too long for Miri, and other lengths read alike")]
fn codes_too_long_wrap_alike() {
    let code = vec![255; 70_001];
    let want = (70_001u64 * 255 * 255) as u32;
    for kernels in Kernels::all_available() {
        let what = format!("{} ({})", kernels.name(), kernels.dot_u8_name());
        assert_eq!(kernels.dot_u8(&code, &code), want, "{what}");
    }
}

#[test]
fn the_shorter_slice_sets_the_length() {
    let mut random = Random::new();
    for len in [0, 1, 7, 8, 16, 63, 64, 100] {
        let short = random.floats(len, Random::unit);
        // The surplus would turn any sum that touched it into NaN.
        let long = Placed::new(&short, 0, f32::NAN).buffer;
        let code: Vec<u8> = short.iter().map(|x| x.to_bits() as u8).collect();
        let long_code = Placed::new(&code, 0, 255).buffer;
        for k in Kernels::all_available() {
            let what = label(k, &random, len);
            let norm = k.dot(&short, &short);
            assert!(norm.is_finite(), "{what}");
            for (a, b) in [(&short, &long), (&long, &short)] {
                assert_eq!(k.l2_squared(a, b), 0.0, "{what}");
                assert_eq!(k.dot(a, b), norm, "{what}");
                assert_eq!(k.dot_and_norms(a, b), k.dot_and_norms(&short, &short), "{what}");
            }
            let norm = k.dot_u8(&code, &code);
            assert_eq!(k.dot_u8(&code, &long_code), norm, "{what}");
            assert_eq!(k.dot_u8(&long_code, &code), norm, "{what}");
        }
    }
}

#[test]
fn the_best_kernels_come_first_and_the_portable_ones_last() {
    let all = Kernels::all_available();
    assert_eq!(all.last().map(|k| k.name()), Some("scalar"));
    assert!(std::ptr::eq(Kernels::get(), all[0]));
    let pairs: std::collections::HashSet<_> = all.iter().map(|k| (k.name(), k.dot_u8_name())).collect();
    assert_eq!(pairs.len(), all.len(), "two tables claim the same instructions");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_detected_instruction_set_has_its_table() {
    let has = |name| Kernels::all_available().iter().any(|k| k.name() == name);
    assert_eq!(has("avx2"), is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
    assert_eq!(has("avx512"), is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"));
}
