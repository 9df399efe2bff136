//! Rows that are bit for bit the same: one of them stands in the graph for all.

use super::run::{CHUNK, Run};
use crate::Result;

/// The rows that enter the graph, ascending, and for every other row (its stand-in, itself).
pub(super) struct Distinct {
    pub(super) rows: Vec<u32>,
    pub(super) twins: Vec<(u32, u32)>,
}

/// Splits the rows of `vectors`. The first of a group of equals stands for the group.
pub(super) fn split(run: &Run<'_>, vectors: &[f32], dim: usize) -> Result<Distinct> {
    let n = vectors.len() / dim;
    let mut keys = vec![(0u64, 0u32); n];
    run.each_part(&mut keys, CHUNK, |chunk, part| {
        for (i, key) in part.iter_mut().enumerate() {
            let row = chunk * CHUNK + i;
            *key = (hash(&vectors[row * dim..(row + 1) * dim]), row as u32);
        }
    })?;
    keys.sort_unstable();
    let same = |a: u32, b: u32| {
        let (a, b) = (a as usize * dim, b as usize * dim);
        let bits = |at: usize| vectors[at..at + dim].iter().map(|x| x.to_bits());
        bits(a).eq(bits(b))
    };
    let mut twins = Vec::new();
    for group in keys.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        // Unequal rows of one hash are all but impossible; they only lengthen this list.
        let mut firsts: Vec<u32> = Vec::new();
        for &(_, row) in group {
            match firsts.iter().find(|&&first| same(first, row)) {
                Some(&first) => twins.push((first, row)),
                None => firsts.push(row),
            }
        }
    }
    drop(keys);
    twins.sort_unstable_by_key(|&(_, twin)| twin);
    let mut skip = twins.iter().map(|&(_, twin)| twin).peekable();
    let rows = (0..n as u32).filter(|row| skip.next_if_eq(row).is_none()).collect();
    Ok(Distinct { rows, twins })
}

fn hash(vector: &[f32]) -> u64 {
    let mut lanes = [0x243f_6a88_85a3_08d3u64, 0x1319_8a2e_0370_7344];
    let (pairs, rest) = vector.as_chunks::<4>();
    let step = |lane: u64, a: f32, b: f32| {
        let word = u64::from(a.to_bits()) << 32 | u64::from(b.to_bits());
        (lane.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    };
    for &[a, b, c, d] in pairs {
        lanes = [step(lanes[0], a, b), step(lanes[1], c, d)];
    }
    for &a in rest {
        lanes[0] = step(lanes[0], a, 0.0);
    }
    super::run::mix(lanes[0], lanes[1], vector.len() as u64)
}
