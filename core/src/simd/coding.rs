//! Kernels that turn vectors into codes. Every instruction set gives the same bits.

use super::Kernels;

/// Those of one instruction set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coding {
    pub(super) scale: fn(&mut [f32], f32, f32, &[f32]),
    pub(super) butterfly: fn(&mut [f32], &mut [f32]),
    pub(super) hadamard: fn(&mut [f32]),
    pub(super) range: fn(&[f32]) -> (f32, f32),
    pub(super) quantise: fn(&[f32], f32, f32, &mut [u8]) -> u32,
}

impl Kernels {
    /// Each of `x` times `by`, less `less`, times its factor. What has no factor is left alone.
    #[inline]
    pub(crate) fn scale(&self, x: &mut [f32], by: f32, less: f32, factors: &[f32]) {
        let len = x.len().min(factors.len());
        (self.coding.scale)(&mut x[..len], by, less, &factors[..len])
    }

    /// Sums in the place of `a` and differences in the place of `b`, up to the shorter length.
    #[inline]
    pub(crate) fn butterfly(&self, a: &mut [f32], b: &mut [f32]) {
        let len = a.len().min(b.len());
        (self.coding.butterfly)(&mut a[..len], &mut b[..len])
    }

    /// The Walsh-Hadamard transform of a power of two of numbers, not scaled.
    #[inline]
    pub(crate) fn hadamard(&self, x: &mut [f32]) {
        (self.coding.hadamard)(x)
    }

    /// The lowest and the highest of numbers, those that are none left out.
    #[inline]
    pub(crate) fn range(&self, x: &[f32]) -> (f32, f32) {
        (self.coding.range)(x)
    }

    /// Steps from `low` to each of `x`, rounded to a byte, and their sum.
    #[inline]
    pub(crate) fn quantise(&self, x: &[f32], low: f32, per_step: f32, steps: &mut [u8]) -> u32 {
        let len = x.len().min(steps.len());
        (self.coding.quantise)(&x[..len], low, per_step, &mut steps[..len])
    }
}

/// For any instruction set.
pub(super) const PORTABLE: Coding = Coding { scale, butterfly, hadamard, range, quantise };

pub(super) fn scale(x: &mut [f32], by: f32, less: f32, factors: &[f32]) {
    x.iter_mut().zip(factors).for_each(|(x, factor)| *x = (*x * by - less) * factor);
}

pub(super) fn butterfly(a: &mut [f32], b: &mut [f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (*a + *b, *a - *b);
    }
}

pub(super) fn hadamard(x: &mut [f32]) {
    let mut half = 1;
    while half < x.len() {
        for pair in x.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            butterfly(low, high);
        }
        half *= 2;
    }
}

pub(super) fn range(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)))
}

pub(super) fn quantise(x: &[f32], low: f32, per_step: f32, steps: &mut [u8]) -> u32 {
    let mut sum = 0;
    for (step, x) in steps.iter_mut().zip(x) {
        *step = ((x - low) * per_step + 0.5) as u8;
        sum += u32::from(*step);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn every_table_gives_the_bits_of_the_portable_one() {
        for kernels in Kernels::all_available() {
            for len in (0..70).chain([128, 255, 256, 384, 1000]) {
                let what = format!("{} {len}", kernels.name());
                let x = numbers(len, 7 + len as u64);
                let factors = numbers(len, 8 + len as u64);
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();

                let (mut ours, mut theirs) = (x.clone(), x.clone());
                kernels.scale(&mut ours, 1.7, 0.3, &factors);
                scale(&mut theirs, 1.7, 0.3, &factors);
                assert_eq!(bits(&ours), bits(&theirs), "{what}");

                let (mut a, mut b) = (ours.clone(), ours);
                let middle = len.div_ceil(2);
                let (low, high) = a.split_at_mut(middle);
                kernels.butterfly(low, high);
                let (low, high) = b.split_at_mut(middle);
                butterfly(low, high);
                assert_eq!(bits(&a), bits(&b), "{what}");
                assert!(len % 2 == 0 || a[middle - 1] == theirs[middle - 1], "{what}");

                if len.is_power_of_two() {
                    kernels.hadamard(&mut a);
                    hadamard(&mut b);
                    assert_eq!(bits(&a), bits(&b), "{what}");
                }

                let (low, high) = kernels.range(&a);
                assert_eq!((low, high), range(&a), "{what}");
                let per_step = 255.0 / (high - low);
                let (mut ours, mut theirs) = (vec![0; len], vec![0; len]);
                let sum = kernels.quantise(&a, low, per_step, &mut ours);
                assert_eq!(sum, quantise(&a, low, per_step, &mut theirs), "{what}");
                assert_eq!(ours, theirs, "{what}");
                assert_eq!(sum, ours.iter().map(|&step| u32::from(step)).sum::<u32>(), "{what}");
                assert!(len < 2 || (ours.contains(&0) && ours.contains(&255)), "{what}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_left_out_of_the_range_and_is_step_0() {
        for kernels in Kernels::all_available() {
            let mut x = numbers(37, 3);
            x[5] = f32::NAN;
            x[36] = f32::NAN;
            let (low, high) = kernels.range(&x);
            assert_eq!((low, high), range(&x));
            assert!(low < high && low.is_finite() && high.is_finite());
            let mut steps = [1; 37];
            kernels.quantise(&x, low, 1e9, &mut steps);
            assert_eq!((steps[5], steps[36]), (0, 0));
            assert!(steps.iter().all(|step| [0, 255].contains(step)));
            kernels.quantise(&[f32::NAN; 37], f32::MAX, 0.0, &mut steps);
            assert_eq!(steps, [0; 37]);
        }
    }

    #[test]
    fn the_shorter_slice_sets_how_many_change() {
        for kernels in Kernels::all_available() {
            let (mut x, mut y) = ([1.0; 40], [1.0; 33]);
            kernels.scale(&mut x, 2.0, 0.0, &y[..21]);
            assert!(x[..21] == [2.0; 21] && x[21..] == [1.0; 19]);
            kernels.butterfly(&mut x, &mut y);
            assert!(x[..21] == [3.0; 21] && x[21..33] == [2.0; 12] && x[33..] == [1.0; 7]);
            assert!(y[..21] == [1.0; 21] && y[21..] == [0.0; 12]);
            let mut steps = [9; 40];
            assert_eq!(kernels.quantise(&x[..18], 0.0, 1.0, &mut steps), 54);
            assert!(steps[..18] == [3; 18] && steps[18..] == [9; 22]);
        }
    }
}
