//! Numbering slots so that a search touches few pages.
//!
//! Points come in the order of the hyperplane tree, which already puts most neighbours close together. Within
//! blocks of that order, one job each, a greedy walk improves on it: next comes the point with most links to and from those
//! just placed. On 128-d descriptors a search then touches 3 % fewer pages of vectors and 6 % fewer of lists
//! than in tree order alone; breadth-first, Cuthill-McKee and bisection orders all touched more.

use std::collections::BinaryHeap;

use super::run::{CHUNK, Run};
use super::{Adjacency, Graph, Layer};
use crate::Result;
use crate::kv::links::{TREE, slot};

/// Most points walked by one job.
const BLOCK: usize = 1 << 14;
/// How many of the last placed points attract their neighbours.
const WINDOW: usize = 40;

/// The point of every slot.
pub(super) fn order(run: &Run<'_>, base: &Adjacency) -> Result<Vec<u32>> {
    let mut order: Vec<u32> = (0..base.offsets.len() as u32 - 1).collect();
    // The tree halves, so that a power of two of equal blocks cuts it between its branches.
    let size = order.len().div_ceil(order.len().div_ceil(BLOCK).next_power_of_two()).max(1);
    run.each_part(&mut order, size, |block, part| walk(base, block * size, part))?;
    Ok(order)
}

/// Puts the points `from..` into greedy order.
fn walk(base: &Adjacency, from: usize, order: &mut [u32]) {
    let inside = from..from + order.len();
    // Links out of the block do not count.
    let links = |point: u32| {
        let near = base.of(point as usize).iter().map(|&link| slot(link) as usize);
        near.filter(|to| inside.contains(to)).map(|to| to - from)
    };
    let mut placed = vec![false; order.len()];
    let mut score = vec![0u32; order.len()];
    // Score and, where scores are equal, the lower point first, in one number.
    let entry = |score: u32, i: usize| u64::from(score) << 32 | u64::from(!(i as u32));
    let mut best: BinaryHeap<u64> = BinaryHeap::new();
    let mut rest = 0..order.len();
    for at in 0..order.len() {
        let next = loop {
            let Some(top) = best.pop() else { break rest.find(|&i| !placed[i]) };
            let (was, i) = ((top >> 32) as u32, !(top as u32) as usize);
            match score[i] {
                _ if placed[i] => {}
                now if now == was => break Some(i),
                // Points it was scored for have left the window since.
                now if now > 0 => best.push(entry(now, i)),
                _ => {}
            }
        };
        let Some(next) = next else { break };
        placed[next] = true;
        order[at] = (from + next) as u32;
        for to in links(order[at]).filter(|&to| !placed[to]) {
            score[to] += 1;
            best.push(entry(score[to], to));
        }
        if at >= WINDOW {
            links(order[at - WINDOW]).for_each(|to| score[to] = score[to].saturating_sub(1));
        }
    }
}

/// The graph with points renamed to slots: `order[slot]` is the point.
pub(super) fn renumber(
    run: &Run<'_>,
    base: Adjacency,
    mut upper: Vec<Layer>,
    entry: u32,
    rows: Vec<u32>,
    order: &[u32],
) -> Result<Graph> {
    let mut slot_of = vec![0u32; order.len()];
    for (slot, &point) in order.iter().enumerate() {
        slot_of[point as usize] = slot as u32;
    }
    for layer in &mut upper {
        // Links of a layer are positions in its node list.
        let names: Vec<u32> = layer.nodes.iter().map(|&point| slot_of[point as usize]).collect();
        let mut sorted: Vec<u32> = (0..names.len() as u32).collect();
        sorted.sort_unstable_by_key(|&i| names[i as usize]);
        layer.adjacency = moved(run, &layer.adjacency, &sorted, &names)?;
        layer.nodes = sorted.into_iter().map(|i| names[i as usize]).collect();
    }
    Ok(Graph {
        rows: order.iter().map(|&point| rows[point as usize]).collect(),
        base: moved(run, &base, order, &slot_of)?,
        upper,
        entry: Some(slot_of[entry as usize]),
        twins: Vec::new(),
    })
}

/// The lists of the nodes `of`, in that order, with every node `i` they name renamed to `names[i]`.
fn moved(run: &Run<'_>, adjacency: &Adjacency, of: &[u32], names: &[u32]) -> Result<Adjacency> {
    let mut offsets = Vec::with_capacity(of.len() + 1);
    offsets.push(0);
    let mut end = 0;
    offsets.extend(of.iter().map(|&i| {
        end += adjacency.of(i as usize).len();
        end
    }));
    let mut links = vec![0u32; end];
    let mut parts = Vec::with_capacity(of.len().div_ceil(CHUNK));
    let mut rest = &mut links[..];
    for (chunk, nodes) in of.chunks(CHUNK).enumerate() {
        let first = chunk * CHUNK;
        let (part, later) = rest.split_at_mut(offsets[first + nodes.len()] - offsets[first]);
        parts.push((nodes, part));
        rest = later;
    }
    run.each_mut(&mut parts, |_, (nodes, part)| {
        let mut at = 0;
        for &i in nodes.iter() {
            let list = adjacency.of(i as usize);
            let out = &mut part[at..at + list.len()];
            for (out, &link) in out.iter_mut().zip(list) {
                *out = names[slot(link) as usize] | link & TREE;
            }
            out.sort_unstable_by_key(|&link| slot(link));
            at += list.len();
        }
    })?;
    Ok(Adjacency { offsets, links })
}
