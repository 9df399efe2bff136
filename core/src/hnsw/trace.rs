//! One wide walk that tells what every narrower one would have found.

use super::{Layer, Scratch, node_of_key, rank_of_key, sort_key};
use crate::Result;
use std::cmp::Reverse;

/// How often a walk asks whether it should stop, in expanded nodes.
const CHECK_EVERY: u32 = 16;

/// A node that a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Traced {
    /// Its distance and number, as [`sort_key`] has them.
    pub(crate) key: u64,
    /// The fewest places of a pool with which a walk finds it and keeps it.
    pub(crate) need: u32,
}

/// How wide a traced walk goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// Nodes that are wanted.
    pub(crate) wanted: usize,
    /// Places in the pool, at least and at most.
    pub(crate) least: usize,
    pub(crate) most: usize,
    /// Times the places that the wanted ones took, as far as they are known: with so many the walk is wide enough.
    pub(crate) times: u32,
}

/// What a wide [`super::beam`] finds: its `reach.least` nearest at most, ascending, each with the places that it takes to
/// find it. The walk goes around `absent` as if it were not there. `None` where `stop` said so.
///
/// A walk with fewer places takes the same steps in the same order, as what it has no place for would come last. It ends
/// where as many nodes as it has places are nearer than the next to expand. So one walk tells of all narrower ones.
pub(crate) fn traced_beam(
    layer: &mut impl Layer,
    entries: &[u32],
    absent: u32,
    reach: Reach,
    scratch: &mut Scratch,
    stop: &mut dyn FnMut() -> Result<bool>,
) -> Result<Option<Vec<Traced>>> {
    scratch.begin();
    scratch.visit(absent);
    scratch.fresh.clear();
    for &entry in entries {
        if scratch.visit(entry) {
            scratch.fresh.push(entry);
        }
    }
    let mut found: Vec<Traced> = Vec::new();
    // The nearest of those, ascending, and the nodes that were expanded, which come almost in order.
    let mut nearest: Vec<Traced> = Vec::with_capacity(reach.wanted + 1);
    let mut passed: Vec<u64> = Vec::new();
    let (mut need, mut expanded) = (1, 0u32);
    loop {
        layer.ranks(&scratch.fresh, f32::INFINITY, &mut scratch.ranks)?;
        scratch.effort.measured += scratch.fresh.len() as u64;
        for (&node, &rank) in scratch.fresh.iter().zip(&scratch.ranks) {
            let traced = Traced { key: sort_key(rank, node), need };
            scratch.candidates.push(Reverse(traced.key));
            if !layer.yields(node)? {
                continue;
            }
            found.push(traced);
            if nearest.len() < reach.wanted || nearest.last().is_some_and(|last| traced < *last) {
                nearest.insert(nearest.partition_point(|other| *other < traced), traced);
                nearest.truncate(reach.wanted);
            }
        }
        let Some(Reverse(next)) = scratch.candidates.pop() else { break };
        // Whoever is nearer was a candidate before it, and expanded.
        let nearer = passed.partition_point(|&other| rank_of_key(other) < rank_of_key(next));
        need = need.max(nearer as u32 + 1);
        if need as usize > reach.most {
            break;
        }
        if layer.yields(node_of_key(next))? {
            passed.insert(passed.partition_point(|&other| other < next), next);
        }
        expanded += 1;
        if expanded.is_multiple_of(CHECK_EVERY) {
            if stop()? {
                return Ok(None);
            }
            let took = nearest.iter().map(|traced| traced.need).max().unwrap_or(0);
            let wide = need as usize > reach.least && need > took.saturating_mul(reach.times);
            if wide && nearest.len() == reach.wanted {
                break;
            }
        }
        let mut links = std::mem::take(&mut scratch.links);
        layer.links(node_of_key(next), scratch.candidates.as_slice(), &mut links)?;
        scratch.effort.lists += 1;
        scratch.fresh.clear();
        for &node in &links {
            if scratch.visit(node) {
                scratch.fresh.push(node);
            }
        }
        scratch.links = links;
    }
    if found.len() > reach.least {
        found.select_nth_unstable(reach.least - 1);
        found.truncate(reach.least);
    }
    found.sort_unstable();
    for (at, traced) in found.iter_mut().enumerate() {
        traced.need = traced.need.max(at as u32 + 1);
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::super::beam;
    use super::*;

    /// Points on a plane, each linked to some of those around it and to a few others.
    struct Points {
        at: Vec<[f32; 2]>,
        links: Vec<Vec<u32>>,
        query: [f32; 2],
    }

    impl Points {
        fn new(count: usize) -> Points {
            let random = |i: usize| super::super::mix(i as u64) as f32 / u64::MAX as f32;
            let at: Vec<[f32; 2]> = (0..count).map(|i| [random(2 * i), random(2 * i + 1)]).collect();
            let links = (0..count).map(|i| {
                let mut near: Vec<u32> = (0..count as u32).filter(|&j| j as usize != i).collect();
                near.sort_by(|&a, &b| apart(at[i], at[a as usize]).total_cmp(&apart(at[i], at[b as usize])));
                // Every other one of the nearest, so that walks have to look around.
                near.into_iter().step_by(2).take(5).chain([((i * 7 + 3) % count) as u32]).collect()
            });
            let links = links.collect();
            Points { links, at, query: [0.0; 2] }
        }
    }

    fn apart(a: [f32; 2], b: [f32; 2]) -> f32 {
        (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
    }

    impl Layer for Points {
        fn links(&mut self, node: u32, _: &[Reverse<u64>], out: &mut Vec<u32>) -> Result<()> {
            out.clone_from(&self.links[node as usize]);
            Ok(())
        }

        fn ranks(&mut self, nodes: &[u32], _: f32, out: &mut Vec<f32>) -> Result<()> {
            out.clear();
            out.extend(nodes.iter().map(|&node| apart(self.query, self.at[node as usize])));
            Ok(())
        }

        fn yields(&mut self, node: u32) -> Result<bool> {
            Ok(!node.is_multiple_of(5))
        }
    }

    #[test]
    fn one_wide_walk_tells_what_each_narrower_one_finds() {
        let mut points = Points::new(400);
        let mut scratch = Scratch::default();
        let reach = Reach { wanted: 10, least: 80, most: 100, times: 100 };
        let (mut found, mut missed) = (0, 0);
        for i in 0..40 {
            points.query = [0.025 * i as f32, 0.4];
            let stop = &mut || Ok(false);
            let traced =
                traced_beam(&mut points, &[17], u32::MAX, reach, &mut scratch, stop).unwrap().unwrap();
            assert!(traced.len() == 80 && traced.is_sorted());
            for ef in 1..=80 {
                beam(&mut points, &[17], ef, u64::MAX, &mut scratch, stop).unwrap();
                let narrow = scratch.take_found();
                for traced in &traced[..ef] {
                    let finds = traced.need as usize <= ef;
                    assert_eq!(narrow.contains(&traced.key), finds, "query {i}, {ef} places: {traced:?}");
                    if finds { found += 1 } else { missed += 1 }
                }
            }
        }
        assert!(found > 20_000 && missed > 1000, "{found} found, {missed} missed");
    }

    #[test]
    fn what_is_absent_is_not_found_and_leads_nowhere() {
        let mut points = Points::new(50);
        // All ways lead over one.
        points.links = (0..50).map(|i| if i == 7 { (0..50).collect() } else { vec![7] }).collect();
        let mut scratch = Scratch::default();
        let reach = Reach { wanted: 5, least: 20, most: 50, times: 3 };
        let mut found = |absent| {
            let traced = traced_beam(&mut points, &[1], absent, reach, &mut scratch, &mut || Ok(false));
            traced.unwrap().unwrap().len()
        };
        assert_eq!((found(u32::MAX), found(7)), (20, 1));
        let stopped = traced_beam(&mut points, &[1], 0, reach, &mut scratch, &mut || Ok(true)).unwrap();
        assert_eq!(stopped, None);
    }

    #[test]
    fn a_walk_that_saw_enough_ends() {
        let mut points = Points::new(2000);
        points.query = [0.5; 2];
        let mut scratch = Scratch::default();
        let mut measured = |times| {
            let reach = Reach { wanted: 5, least: 20, most: 2000, times };
            traced_beam(&mut points, &[1], 0, reach, &mut scratch, &mut || Ok(false)).unwrap();
            scratch.effort.measured
        };
        let [few, all] = [3, 2000].map(&mut measured);
        assert!(few < all / 4 && all > 1900, "{few} of {all}");
    }
}
