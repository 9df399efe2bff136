//! A random-hyperplane tree: which points start out as neighbours, and in what order they lie in memory.

use super::run::{Run, mix, scaled};
use super::space::Space;
use crate::Result;

/// Point numbers in tree order: those of one leaf are neighbours in the list, as are those of close leaves.
pub(super) fn order<S: Space>(run: &Run<'_>, space: &S, seed: u64) -> Result<Vec<u32>> {
    let mut points: Vec<(f32, u32)> = (0..space.len() as u32).map(|point| (0.0, point)).collect();
    // The top of the tree is split level by level until there is a part for every job.
    let mut parts: Vec<&mut [(f32, u32)]> = vec![&mut points];
    for _ in 0..7 {
        run.each_mut(&mut parts, |_, part| {
            if part.len() > LEAF {
                split(space, part, seed);
            }
        })?;
        parts = parts
            .into_iter()
            .flat_map(|part| {
                let middle = if part.len() > LEAF { half(part.len()) } else { part.len() };
                let (a, b) = part.split_at_mut(middle);
                [a, b]
            })
            .filter(|part| !part.is_empty())
            .collect();
    }
    run.each_mut(&mut parts, |_, part| {
        let mut todo: Vec<&mut [(f32, u32)]> = vec![part];
        while let Some(part) = todo.pop() {
            if part.len() > LEAF {
                split(space, part, seed);
                let (a, b) = part.split_at_mut(half(part.len()));
                todo.extend([b, a]);
            }
        }
    })?;
    Ok(points.into_iter().map(|(_, point)| point).collect())
}

/// Where a part is cut: near the middle, on a multiple of the leaf size, so that leaves are windows of it.
fn half(len: usize) -> usize {
    (len / 2).next_multiple_of(LEAF).min(len - 1)
}

/// Moves the half that lies nearer to one of two random points before the other half.
fn split<S: Space>(space: &S, part: &mut [(f32, u32)], seed: u64) {
    let len = part.len();
    let pick = |salt: u64| part[scaled(mix(seed, u64::from(part[0].1), len as u64 ^ salt << 40), len)].1;
    let a = pick(1);
    let b = (2..10).map(pick).find(|&b| b != a).unwrap_or(a);
    for (side, point) in part.iter_mut() {
        *side = space.measure(*point, a) - space.measure(*point, b);
    }
    let middle = half(len);
    part.select_nth_unstable_by(middle, |x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
}

/// Points of a leaf, each the first neighbour of all others.
pub(super) const LEAF: usize = 16;
