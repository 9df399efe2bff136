//! Which candidates become neighbours.

use crate::Result;

/// The diversity heuristic: goes through candidates `0..count`, nearest first, and keeps one unless a kept one is
/// nearer to it than the new node is; stops at `m`. `own(i)` is candidate `i`'s distance to the new node, `apart(i, j)`
/// the distance of two candidates, on the same scale. Where fewer than `at_least` were kept, the best of the dropped
/// ones fill up. The first `held` candidates stay whatever they are. Answers with kept positions.
pub(crate) fn select(
    held: usize,
    count: usize,
    m: usize,
    at_least: usize,
    own: &dyn Fn(usize) -> f32,
    apart: &mut dyn FnMut(usize, usize) -> Result<f32>,
) -> Result<Vec<usize>> {
    let mut kept: Vec<usize> = (0..held).collect();
    let mut dropped = Vec::new();
    for i in held..count {
        if kept.len() >= m {
            break;
        }
        let mut diverse = true;
        for &k in &kept {
            if apart(k, i)? < own(i) {
                diverse = false;
                break;
            }
        }
        if diverse { kept.push(i) } else { dropped.push(i) }
    }
    let room = at_least.min(m).saturating_sub(kept.len());
    kept.extend(dropped.into_iter().take(room));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(points: &[f32], m: usize, at_least: usize) -> Vec<usize> {
        let own = |i: usize| points[i].abs();
        select(0, points.len(), m, at_least, &own, &mut |i, j| Ok((points[i] - points[j]).abs())).unwrap()
    }

    #[test]
    fn what_is_held_stays_and_hides_others() {
        let points: [f32; 6] = [3.0, -9.0, 1.0, 2.5, -2.0, 8.0];
        let own = |i: usize| points[i].abs();
        let mut apart = |i: usize, j: usize| Ok((points[i] - points[j]).abs());
        assert_eq!(select(2, 6, 6, 0, &own, &mut apart).unwrap(), [0, 1, 2, 4]);
        assert_eq!(select(2, 6, 3, 0, &own, &mut apart).unwrap(), [0, 1, 2]);
        assert_eq!(select(2, 6, 2, 5, &own, &mut apart).unwrap(), [0, 1]);
    }

    #[test]
    fn keeps_one_per_direction_and_fills_when_told() {
        let points = [1.0, 1.5, -2.0, 2.5, -2.5];
        assert_eq!(run(&points, 4, 0), [0, 2]);
        assert_eq!(run(&points, 4, 3), [0, 2, 1]);
        assert_eq!(run(&points, 1, 1), [0]);
        assert!(run(&[], 4, 4).is_empty());
    }
}
