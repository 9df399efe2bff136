//! The spanning tree over a layer's edges: whatever is pruned later, tree edges keep every row reachable.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::descend::{Descent, point};
use super::run::{mix, scaled};
use super::space::Space;

/// Tree neighbours of every point, both ways.
pub(super) struct Tree {
    ends: Vec<usize>,
    points: Vec<u32>,
}

impl Tree {
    pub(super) fn of(&self, point: u32) -> &[u32] {
        let point = point as usize;
        &self.points[if point == 0 { 0 } else { self.ends[point - 1] }..self.ends[point]]
    }

    fn new(n: usize, edges: &[(u32, u32)]) -> Tree {
        let mut starts = vec![0usize; n + 1];
        for &(a, b) in edges {
            starts[a as usize + 1] += 1;
            starts[b as usize + 1] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let mut points = vec![0; 2 * edges.len()];
        for &(a, b) in edges {
            for (from, to) in [(a, b), (b, a)] {
                points[starts[from as usize]] = to;
                starts[from as usize] += 1;
            }
        }
        starts.pop();
        Tree { ends: starts, points }
    }
}

struct Forest {
    parent: Vec<u32>,
    degree: Vec<u16>,
    edges: Vec<(u32, u32)>,
    limit: u16,
}

impl Forest {
    fn root(&mut self, mut point: u32) -> u32 {
        while self.parent[point as usize] != point {
            let up = self.parent[self.parent[point as usize] as usize];
            self.parent[point as usize] = up;
            point = up;
        }
        point
    }

    /// Ties two parts together, unless they are one or an end has no room.
    fn tie(&mut self, a: u32, b: u32) -> bool {
        if self.degree[a as usize] >= self.limit || self.degree[b as usize] >= self.limit {
            return false;
        }
        let (x, y) = (self.root(a), self.root(b));
        if x == y {
            return false;
        }
        self.parent[x.max(y) as usize] = x.min(y);
        self.degree[a as usize] += 1;
        self.degree[b as usize] += 1;
        self.edges.push((a, b));
        true
    }
}

/// Chooses a tree of short edges whose degree is at most `limit` (2 or more), from the lists as far as they
/// connect; parts that they do not connect are tied to what a search finds near.
pub(super) fn span<S: Space>(descent: &Descent<'_, S>, limit: usize, seed: u64) -> Tree {
    let n = descent.space().len();
    let mut forest = Forest {
        parent: (0..n as u32).collect(),
        degree: vec![0; n],
        edges: Vec::with_capacity(n.saturating_sub(1)),
        limit: limit as u16,
    };
    // First every point's nearest, then its second nearest: short edges without sorting them all.
    let mut rank = 0;
    loop {
        let mut longer = false;
        for (from, list) in descent.all_lists() {
            if let Some(&e) = list.get(rank) {
                longer = true;
                forest.tie(from, point(e));
            }
        }
        rank += 1;
        if !longer || forest.edges.len() + 1 >= n {
            break;
        }
    }
    if forest.edges.len() + 1 < n {
        join(descent, &mut forest, seed);
    }
    Tree::new(n, &forest.edges)
}

/// Ties every part to the largest one.
fn join<S: Space>(descent: &Descent<'_, S>, forest: &mut Forest, seed: u64) {
    let n = descent.space().len();
    let mut sizes = vec![0u32; n];
    for point in 0..n as u32 {
        sizes[forest.root(point) as usize] += 1;
    }
    let main = (0..n as u32).max_by_key(|&p| (sizes[p as usize], std::cmp::Reverse(p))).unwrap_or(0);
    let first = Tree::new(n, &forest.edges);
    let mut later: HashMap<u32, Vec<u32>> = HashMap::new();
    // Points of the main part that may have room, for when none of those near has; the lowest is taken first.
    let mut open: Vec<u32> = (0..n as u32).rev().filter(|&p| forest.root(p) == forest.root(main)).collect();
    // Points ascend, so the first of a part that is met is always its lowest.
    for start in 0..n as u32 {
        if forest.root(start) == forest.root(main) {
            continue;
        }
        let near = nearest(descent, &first, &later, start, main, seed);
        let room = |forest: &Forest, p: u32| forest.degree[p as usize] < forest.limit;
        let from = leaf(&first, forest, start);
        let target = near.into_iter().find(|&p| room(forest, p) && forest.root(p) == forest.root(main));
        let target = target.or_else(|| {
            while open.last().is_some_and(|&p| !room(forest, p)) {
                open.pop();
            }
            open.last().copied()
        });
        if let Some(to) = target
            && forest.tie(from, to)
        {
            later.entry(from).or_default().push(to);
            later.entry(to).or_default().push(from);
            part(&first, start, &mut open);
        }
    }
}

/// Adds the points of `start`'s part to `out`.
fn part(tree: &Tree, start: u32, out: &mut Vec<u32>) {
    let mut todo = vec![(start, start)];
    while let Some((at, from)) = todo.pop() {
        out.push(at);
        todo.extend(tree.of(at).iter().filter(|&&next| next != from).map(|&next| (next, at)));
    }
}

/// A point of `start`'s part with room for an edge, `start` itself if it has.
fn leaf(tree: &Tree, forest: &Forest, start: u32) -> u32 {
    let (mut at, mut from) = (start, u32::MAX);
    while forest.degree[at as usize] >= forest.limit {
        match tree.of(at).iter().find(|&&next| next != from) {
            Some(&next) => (from, at) = (at, next),
            None => break,
        }
    }
    at
}

/// Points near `target` that a beam search from around `entry` meets, nearest first.
fn nearest<S: Space>(
    descent: &Descent<'_, S>,
    tree: &Tree,
    later: &HashMap<u32, Vec<u32>>,
    target: u32,
    entry: u32,
    seed: u64,
) -> Vec<u32> {
    const BEAM: usize = 32;
    let space = descent.space();
    let key = |p: u32| (space.distance(target, p), p);
    let mut seen = HashSet::from([entry]);
    let mut beam = BTreeSet::from([key(entry)]);
    for i in 0..8 {
        let p = scaled(mix(seed, u64::from(target), i), space.len()) as u32;
        if seen.insert(p) {
            beam.insert(key(p));
        }
    }
    let mut done = BTreeSet::new();
    while let Some(next) = beam.iter().find(|key| !done.contains(*key)).copied() {
        done.insert(next);
        let from = next.1;
        let more = later.get(&from).map_or(&[][..], Vec::as_slice);
        let links = descent.list_of(from).iter().map(|&e| point(e));
        for p in links.chain(tree.of(from).iter().copied()).chain(more.iter().copied()) {
            if seen.insert(p) {
                beam.insert(key(p));
                if beam.len() > BEAM {
                    beam.pop_last();
                }
            }
        }
    }
    beam.into_iter().map(|(_, p)| p).collect()
}

/// Picks a point's final links from its list (own entries old, those of others to it new): tree edges first,
/// then its own nearest first, then the others'. Links are points with the tree mark.
pub(super) fn choose(list: &[u64], tree: &[u32], most: usize, out: &mut Vec<u32>) {
    let start = out.len();
    out.extend(tree.iter().map(|&p| p | crate::kv::links::TREE));
    for theirs in [0, 1] {
        for &e in list.iter().filter(|&&e| e & 1 == theirs) {
            if out.len() - start >= most {
                return;
            }
            if !tree.contains(&point(e)) {
                out.push(point(e));
            }
        }
    }
}
