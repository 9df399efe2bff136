//! The two walks: greedy down the upper layers, a beam on the layer that counts.

use super::{Layer, Scratch, node_of_key, rank_of_key, sort_key};
use crate::Result;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How often a walk asks whether it should stop, in expanded nodes.
const CHECK_EVERY: u32 = 16;

/// Moves to the nearest neighbour until none is nearer. Answers with the node reached.
pub(crate) fn greedy(layer: &mut impl Layer, entry: u32, scratch: &mut Scratch) -> Result<u32> {
    scratch.begin();
    scratch.see(&[entry]);
    layer.ranks(&[entry], f32::INFINITY, &mut scratch.ranks)?;
    let mut best = sort_key(scratch.ranks[0], entry);
    loop {
        let mut links = std::mem::take(&mut scratch.links);
        layer.links(node_of_key(best), &[], &mut links)?;
        // What was measured before was no nearer than the best is now.
        scratch.see(&links);
        scratch.links = links;
        layer.ranks(&scratch.fresh, rank_of_key(best), &mut scratch.ranks)?;
        let nearest =
            scratch.fresh.iter().zip(&scratch.ranks).map(|(&node, &rank)| sort_key(rank, node)).min();
        match nearest {
            Some(key) if rank_of_key(key) < rank_of_key(best) => best = key,
            _ => return Ok(node_of_key(best)),
        }
    }
}

/// Best-first walk that keeps the `ef` nearest yielding nodes in `scratch.found`.
///
/// Nodes that do not yield (tombstones, rows not yet committed) route but take no place, so a walk ends with
/// fewer than `ef` only when everything reachable was seen. `stop` is asked now and then. Answers whether the walk came
/// to its end: before it had measured `most` nodes, and before `stop` said to leave it at what was found.
pub(crate) fn beam(
    layer: &mut impl Layer,
    entries: &[u32],
    ef: usize,
    most: u64,
    scratch: &mut Scratch,
    stop: &mut dyn FnMut() -> Result<bool>,
) -> Result<bool> {
    scratch.begin();
    scratch.see(entries);
    admit(layer, ef, scratch)?;
    let mut expanded = 0u32;
    while let Some(Reverse(next)) = scratch.candidates.pop() {
        let full = scratch.found.len() >= ef;
        if full && scratch.found.peek().is_some_and(|&worst| rank_of_key(next) > rank_of_key(worst)) {
            break;
        }
        if scratch.effort.measured >= most {
            return Ok(false);
        }
        expanded += 1;
        if expanded.is_multiple_of(CHECK_EVERY) && stop()? {
            return Ok(false);
        }
        let mut links = std::mem::take(&mut scratch.links);
        layer.links(node_of_key(next), scratch.candidates.as_slice(), &mut links)?;
        if let Some(&Reverse(next)) = scratch.candidates.peek() {
            layer.soon(node_of_key(next));
        }
        scratch.effort.lists += 1;
        scratch.see(&links);
        scratch.links = links;
        admit(layer, ef, scratch)?;
    }
    Ok(true)
}

/// A layer of which only some nodes, the members, are looked for.
pub(crate) trait Bridging: Layer {
    /// Whether `node` may be a member. Cheap; [`Layer::yields`] has the last word.
    fn member(&self, node: u32) -> bool;
}

/// Where so many neighbours are members, as parts of [`OF`], others need not be bridged.
const ENOUGH: usize = 9;
const OF: usize = 10;
/// Fresh members that end the bridging around one node.
const GATHER: usize = 48;

/// [`beam`] over the members alone: a neighbour that is none is not measured but a bridge, whose own neighbours count
/// as if they were here. `seeds` are members to begin at besides `entry`, which need not be one.
///
/// Answers whether it came to its end, as [`beam`] does. (ACORN-1: Patel et al., arXiv 2403.04871.)
pub(crate) fn bridged_beam(
    layer: &mut impl Bridging,
    entry: u32,
    seeds: &[u32],
    ef: usize,
    most: u64,
    scratch: &mut Scratch,
    stop: &mut dyn FnMut() -> Result<bool>,
) -> Result<bool> {
    scratch.begin();
    scratch.fresh.clear();
    for &node in std::iter::once(&entry).chain(seeds) {
        if scratch.visit(node) {
            scratch.fresh.push(node);
        }
    }
    admit(layer, ef, scratch)?;
    let mut expanded = 0u32;
    while let Some(Reverse(next)) = scratch.candidates.pop() {
        let full = scratch.found.len() >= ef;
        if full && scratch.found.peek().is_some_and(|&worst| rank_of_key(next) > rank_of_key(worst)) {
            break;
        }
        if scratch.effort.measured >= most {
            return Ok(false);
        }
        expanded += 1;
        if expanded.is_multiple_of(CHECK_EVERY) && stop()? {
            return Ok(false);
        }
        gather(layer, node_of_key(next), scratch)?;
        admit(layer, ef, scratch)?;
    }
    Ok(true)
}

/// Puts the members around `node` that were not seen before into `scratch.fresh`.
fn gather(layer: &mut impl Bridging, node: u32, scratch: &mut Scratch) -> Result<()> {
    let mut links = std::mem::take(&mut scratch.links);
    let mut bridges = std::mem::take(&mut scratch.bridges);
    layer.links(node, scratch.candidates.as_slice(), &mut links)?;
    scratch.effort.lists += 1;
    scratch.fresh.clear();
    bridges.clear();
    for &near in &links {
        if !layer.member(near) {
            bridges.push(near);
        } else if scratch.visit(near) {
            scratch.fresh.push(near);
        }
    }
    if bridges.len() * OF > links.len() * (OF - ENOUGH) {
        for &bridge in &bridges {
            // A bridge not taken now may serve another node.
            if scratch.fresh.len() >= GATHER {
                break;
            }
            if !scratch.visit(bridge) {
                continue;
            }
            layer.links(bridge, &[], &mut links)?;
            scratch.effort.lists += 1;
            for &far in &links {
                if layer.member(far) && scratch.visit(far) {
                    scratch.fresh.push(far);
                }
            }
        }
    }
    scratch.links = links;
    scratch.bridges = bridges;
    Ok(())
}

/// Measures the nodes in `scratch.fresh` and lets in those that are near enough.
fn admit(layer: &mut impl Layer, ef: usize, scratch: &mut Scratch) -> Result<()> {
    let reach = |found: &BinaryHeap<u64>| {
        let worst = if found.len() < ef { None } else { found.peek() };
        worst.map(|&worst| rank_of_key(worst))
    };
    let mut worst = reach(&scratch.found);
    layer.ranks(&scratch.fresh, worst.unwrap_or(f32::INFINITY), &mut scratch.ranks)?;
    scratch.effort.measured += scratch.fresh.len() as u64;
    for (&node, &rank) in scratch.fresh.iter().zip(&scratch.ranks) {
        // Strictly nearer: expanding on ties costs much and finds little.
        if worst.is_some_and(|worst| rank >= worst) {
            continue;
        }
        let key = sort_key(rank, node);
        scratch.candidates.push(Reverse(key));
        layer.sometime(node);
        if layer.yields(node)? {
            // Where there is no room, in the place of the farthest.
            if worst.is_some()
                && let Some(mut last) = scratch.found.peek_mut()
            {
                *last = key;
            } else {
                scratch.found.push(key);
            }
            worst = reach(&scratch.found);
        }
    }
    Ok(())
}
