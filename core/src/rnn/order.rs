//! Numbering slots so that a search touches few pages.
//!
//! Points come in the order of the hyperplane tree, which already puts most neighbours close together. Within
//! blocks of that order a greedy walk improves on it: next comes the point with most links to and from those
//! just placed. On 128-d descriptors a search then touches 3 % fewer pages of vectors and 6 % fewer of lists
//! than in tree order alone; breadth-first, Cuthill-McKee and bisection orders all touched more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::run::Run;
use super::{Adjacency, Graph, Layer};
use crate::Result;
use crate::kv::links::{TREE, slot};

/// Points walked by one job.
const BLOCK: usize = 1 << 16;
/// How many of the last placed points attract their neighbours.
const WINDOW: usize = 40;

/// The point of every slot.
pub(super) fn order(run: &Run<'_>, base: &Adjacency) -> Result<Vec<u32>> {
    let mut order: Vec<u32> = (0..base.offsets.len() as u32 - 1).collect();
    run.each_part(&mut order, BLOCK, |block, part| walk(base, block * BLOCK, part))?;
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
    let mut best: BinaryHeap<(u32, Reverse<usize>)> = BinaryHeap::new();
    let mut rest = 0..order.len();
    for at in 0..order.len() {
        let next = loop {
            match best.pop() {
                Some((_, Reverse(i))) if placed[i] => {}
                Some((was, Reverse(i))) if score[i] == was => break Some(i),
                // Points it was scored for have left the window since.
                Some((_, Reverse(i))) if score[i] > 0 => best.push((score[i], Reverse(i))),
                Some(_) => {}
                None => break rest.find(|&i| !placed[i]),
            }
        };
        let Some(next) = next else { break };
        placed[next] = true;
        order[at] = (from + next) as u32;
        for to in links(order[at]).filter(|&to| !placed[to]) {
            score[to] += 1;
            best.push((score[to], Reverse(to)));
        }
        if at >= WINDOW {
            links(order[at - WINDOW]).for_each(|to| score[to] = score[to].saturating_sub(1));
        }
    }
}

/// The graph with points renamed to slots: `order[slot]` is the point.
pub(super) fn renumber(
    base: Adjacency,
    mut upper: Vec<Layer>,
    entry: u32,
    rows: Vec<u32>,
    order: &[u32],
) -> Graph {
    let mut slot_of = vec![0u32; order.len()];
    for (slot, &point) in order.iter().enumerate() {
        slot_of[point as usize] = slot as u32;
    }
    let moved = |adjacency: &Adjacency, of: &mut dyn Iterator<Item = usize>, names: &dyn Fn(u32) -> u32| {
        let mut out = Adjacency { offsets: Vec::with_capacity(adjacency.offsets.len()), links: Vec::new() };
        out.links.reserve_exact(adjacency.links.len());
        out.offsets.push(0);
        for i in of {
            let start = out.links.len();
            out.links.extend(adjacency.of(i).iter().map(|&link| names(slot(link)) | link & TREE));
            out.links[start..].sort_unstable_by_key(|&link| slot(link));
            out.offsets.push(out.links.len());
        }
        out
    };
    for layer in &mut upper {
        // Links of a layer are positions in its node list.
        let names: Vec<u32> = layer.nodes.iter().map(|&point| slot_of[point as usize]).collect();
        let mut sorted: Vec<usize> = (0..names.len()).collect();
        sorted.sort_unstable_by_key(|&i| names[i]);
        layer.adjacency = moved(&layer.adjacency, &mut sorted.iter().copied(), &|i| names[i as usize]);
        layer.nodes = sorted.into_iter().map(|i| names[i]).collect();
    }
    Graph {
        rows: order.iter().map(|&point| rows[point as usize]).collect(),
        base: moved(&base, &mut order.iter().map(|&p| p as usize), &|point| slot_of[point as usize]),
        upper,
        entry: Some(slot_of[entry as usize]),
        twins: Vec::new(),
    }
}
