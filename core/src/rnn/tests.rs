#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking and print their seed")]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::run::mix;
use super::*;
use crate::checksum;
use crate::kv::links::{TREE, slot};
use crate::{Code, Serial};

struct Threads(usize);

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.0 {
                scope.spawn(|| {
                    while let Some(i) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < n) {
                        job(i);
                    }
                });
            }
        });
    }
}

fn seed() -> u64 {
    let seed = std::env::var("ASTEROID_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_122);
    println!("ASTEROID_SEED={seed}");
    seed
}

fn unit(seed: u64, a: u64, b: u64) -> f32 {
    (mix(seed, a, b) >> 40) as f32 / (1u64 << 24) as f32
}

/// `n` rows around `clusters` centres, spread a fifth as wide as the centres are.
fn clustered(seed: u64, n: usize, dim: usize, clusters: u64) -> Vec<f32> {
    let one = |row: usize, i: usize| {
        let centre = mix(seed, row as u64, 1) % clusters;
        unit(seed, centre, 1000 + i as u64) + 0.2 * (unit(seed, row as u64, 2000 + i as u64) - 0.5)
    };
    (0..n).flat_map(|row| (0..dim).map(move |i| one(row, i))).collect()
}

fn level(row: u32) -> u32 {
    mix(9, u64::from(row), 0).trailing_zeros() / 4
}

fn graph_of(vectors: &[f32], dim: usize, metric: Metric, params: &Params, pool: &dyn Pool) -> Graph {
    let input = Input { vectors, dim: dim as u32, metric, level_of: &level };
    let graph = build(&input, params, pool, &Control::NONE, &|_| {}).unwrap();
    verify(&graph, vectors, dim, params);
    graph
}

/// Everything a graph promises whatever the data.
fn verify(graph: &Graph, vectors: &[f32], dim: usize, params: &Params) {
    let n = vectors.len() / dim;
    let rows: HashSet<u32> = graph.rows.iter().copied().collect();
    assert_eq!((graph.rows.len(), rows.len()), (n, n), "every row has one slot");
    assert!(rows.iter().all(|&row| (row as usize) < n));
    assert_eq!(graph.base.offsets.len(), n + 1);
    assert_eq!(graph.entry.is_some(), n > 0);

    let nodes = n - graph.twins.len();
    let bits = |s: u32| -> Vec<u32> {
        let at = graph.rows[s as usize] as usize * dim;
        vectors[at..at + dim].iter().map(|x| x.to_bits()).collect()
    };
    for (i, &(first, twin)) in graph.twins.iter().enumerate() {
        assert_eq!(twin as usize, nodes + i, "twins come last, in order");
        assert!((first as usize) < nodes);
        assert!(
            graph.rows[first as usize] < graph.rows[twin as usize],
            "the first row stands for the others"
        );
        assert_eq!(bits(first), bits(twin));
        assert!(graph.base.of(twin as usize).is_empty());
    }
    let distinct: HashSet<Vec<u32>> = (0..nodes as u32).map(bits).collect();
    assert_eq!(distinct.len(), nodes, "no two nodes are equal");

    let cap = params.m_max0.max(2) as usize;
    let mut tree_edges = HashSet::new();
    for u in 0..nodes {
        let links = graph.base.of(u);
        assert!(links.len() <= cap, "slot {u} has {} links", links.len());
        assert!(links.windows(2).all(|w| slot(w[0]) < slot(w[1])), "ascending and distinct");
        assert!(links.iter().all(|&link| slot(link) as usize != u && (slot(link) as usize) < nodes));
        tree_edges.extend(links.iter().filter(|&&l| l & TREE != 0).map(|&l| (u as u32, slot(l))));
    }
    assert!(tree_edges.iter().all(|&(a, b)| tree_edges.contains(&(b, a))), "marks go both ways");
    assert_eq!(tree_edges.len(), 2 * nodes.saturating_sub(1), "a tree has one edge less than nodes");
    let mut near: HashMap<u32, Vec<u32>> = HashMap::new();
    tree_edges.iter().for_each(|&(a, b)| near.entry(a).or_default().push(b));
    let mut reached: HashSet<u32> = graph.entry.into_iter().collect();
    let mut todo: Vec<u32> = reached.iter().copied().collect();
    while let Some(at) = todo.pop() {
        todo.extend(near.get(&at).into_iter().flatten().filter(|&&next| reached.insert(next)));
    }
    assert_eq!(reached.len(), nodes, "tree edges reach every node");

    let mut below: HashSet<u32> = (0..nodes as u32).collect();
    for (i, layer) in graph.upper.iter().enumerate() {
        let want: HashSet<u32> =
            (0..nodes as u32).filter(|&s| level(graph.rows[s as usize]) > i as u32).collect();
        let have: HashSet<u32> = layer.nodes.iter().copied().collect();
        assert_eq!(have, want, "layer {}", i + 1);
        assert!(have.is_subset(&below) && layer.nodes.is_sorted());
        for (j, &u) in layer.nodes.iter().enumerate() {
            let links = layer.adjacency.of(j);
            assert!(links.len() <= params.m_max.max(2) as usize);
            assert!(links.iter().all(|link| have.contains(link) && *link != u));
            assert!(links.windows(2).all(|w| w[0] < w[1]));
            assert!(have.len() == 1 || !links.is_empty());
        }
        below = have;
    }
    let highest = (0..nodes).map(|s| level(graph.rows[s])).max().unwrap_or(0);
    assert_eq!(graph.upper.len(), highest as usize);
    assert!(graph.entry.is_none_or(|entry| below.contains(&entry)), "the entry is on the highest layer");
}

fn rank(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    metric.rank(crate::simd::Kernels::get(), a, b)
}

/// The nearest `k` rows by a plain beam search.
fn search(graph: &Graph, vectors: &[f32], dim: usize, metric: Metric, query: &[f32], ef: usize) -> Vec<u32> {
    let of = |s: u32| {
        let at = graph.rows[s as usize] as usize * dim;
        rank(metric, query, &vectors[at..at + dim])
    };
    let mut at = graph.entry.unwrap();
    for layer in graph.upper.iter().rev() {
        while let Some(&next) = layer
            .adjacency
            .of(layer.nodes.binary_search(&at).unwrap())
            .iter()
            .min_by(|a, b| of(**a).total_cmp(&of(**b)))
            .filter(|&&next| of(next) < of(at))
        {
            at = next;
        }
    }
    let mut seen = HashSet::from([at]);
    let mut beam = vec![(of(at), at, false)];
    while let Some(open) = beam.iter_mut().find(|node| !node.2) {
        open.2 = true;
        let from = open.1;
        for link in graph.base.of(from as usize).iter().map(|&link| slot(link)) {
            if seen.insert(link) {
                beam.push((of(link), link, false));
            }
        }
        beam.sort_by(|a, b| a.0.total_cmp(&b.0));
        beam.truncate(ef);
    }
    beam.into_iter().map(|node| graph.rows[node.1 as usize]).collect()
}

fn recall(graph: &Graph, vectors: &[f32], dim: usize, metric: Metric, queries: &[f32], ef: usize) -> f64 {
    let (mut hits, mut all) = (0, 0);
    for query in queries.chunks_exact(dim) {
        let mut truth: Vec<(f32, u32)> =
            vectors.chunks_exact(dim).zip(0..).map(|(row, i)| (rank(metric, query, row), i)).collect();
        truth.sort_by(|a, b| a.0.total_cmp(&b.0));
        let found = search(graph, vectors, dim, metric, query, ef);
        all += 10;
        hits += found.iter().take(10).filter(|row| truth[..10].iter().any(|t| t.1 == **row)).count();
    }
    f64::from(hits as u32) / f64::from(all)
}

#[test]
fn threads_change_nothing() {
    let vectors = clustered(seed(), 6000, 24, 40);
    for precision in [Precision::Codes, Precision::Full] {
        let params = Params { precision, ..Params::default() };
        let one = graph_of(&vectors, 24, Metric::L2, &params, &Serial);
        for threads in [2, 3] {
            assert!(one == graph_of(&vectors, 24, Metric::L2, &params, &Threads(threads)), "{precision:?}");
        }
        let other = Params { seed: 7, ..params };
        assert!(one != graph_of(&vectors, 24, Metric::L2, &other, &Serial), "the seed matters");
    }
}

/// A checksum of everything in `graph`.
fn hash(graph: &Graph) -> u32 {
    let layers = std::iter::once(&graph.base).chain(graph.upper.iter().map(|layer| &layer.adjacency));
    let words = layers.flat_map(|layer| layer.offsets.iter().map(|&at| at as u32).chain(layer.links.clone()));
    let nodes = graph.upper.iter().flat_map(|layer| layer.nodes.clone());
    let twins = graph.twins.iter().flat_map(|&(rep, twin)| [rep, twin]);
    let all = graph.rows.iter().copied().chain(words).chain(nodes).chain(twins).chain(graph.entry);
    all.fold(0, |sum, word| checksum::crc32c_append(sum, &word.to_le_bytes()))
}

#[test]
fn the_graph_is_the_same_in_every_build_and_on_every_machine() {
    // Small integers: every sum is exact, in whatever order a machine adds.
    let vectors: Vec<f32> =
        (0..5000 * 16).map(|i| (mix(3, i / 64, 1) % 200 + mix(3, i, 2) % 50) as f32).collect();
    for precision in [Precision::Codes, Precision::Full] {
        let params = Params { precision, ..Params::default() };
        let graph = graph_of(&vectors, 16, Metric::L2, &params, &Threads(2));
        assert_eq!(hash(&graph), 1_482_502_460, "{precision:?}");
    }
}

#[test]
fn recall_holds_for_every_metric_and_precision() {
    let seed = seed();
    let dim = 32;
    let all = clustered(seed, 8100, dim, 60);
    let (vectors, queries) = all.split_at(8000 * dim);
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        for precision in [Precision::Codes, Precision::Full, Precision::Auto] {
            let params = Params { precision, ..Params::default() };
            let graph = graph_of(vectors, dim, metric, &params, &Threads(2));
            let recall = recall(&graph, vectors, dim, metric, queries, 64);
            // The best inner products of all queries crowd on few long rows, which is harder to walk to.
            let floor = if metric == Metric::Dot { 0.85 } else { 0.97 };
            assert!(recall >= floor, "{metric:?} {precision:?}: {recall}");
        }
    }
}

#[test]
fn tiny_and_empty_inputs() {
    for n in [0, 1, 2, 3, 5, 17, 40, 300, 513, 600] {
        for dim in [1, 3] {
            for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
                let vectors: Vec<f32> = (0..n * dim).map(|i| 1.0 + i as f32 * 0.37).collect();
                graph_of(&vectors, dim, metric, &Params::default(), &Serial);
            }
        }
    }
    let none = graph_of(&[], 4, Metric::L2, &Params::default(), &Serial);
    assert_eq!(none, Graph { base: Adjacency { offsets: vec![0], links: vec![] }, ..Graph::default() });
}

#[test]
fn identical_rows_are_twins_of_the_first() {
    let graph = graph_of(&vec![0.5; 100_000 * 8], 8, Metric::L2, &Params::default(), &Serial);
    assert_eq!((graph.twins.len(), graph.rows[0]), (99_999, 0));
    let mut vectors = clustered(seed(), 2000, 8, 10);
    vectors.extend_from_within(..800 * 8);
    let graph = graph_of(&vectors, 8, Metric::L2, &Params::default(), &Threads(2));
    assert_eq!(graph.twins.len(), 800);
    assert!(
        graph
            .twins
            .iter()
            .all(|&(first, twin)| graph.rows[twin as usize] == graph.rows[first as usize] + 2000)
    );
}

#[test]
fn zero_and_negative_zero_are_not_twins() {
    let graph = graph_of(&[0.0, 1.0, -0.0, 1.0], 2, Metric::L2, &Params::default(), &Serial);
    assert_eq!((graph.twins.len(), graph.base.of(0)), (0, &[1 | TREE][..]));
}

#[test]
fn rows_that_differ_but_are_no_distance_apart() {
    // One direction, many lengths: under cosine all distances are zero or nearly so.
    let vectors: Vec<f32> = (1..=5000).flat_map(|i| [i as f32, i as f32 * 2.0, i as f32 * 3.0]).collect();
    graph_of(&vectors, 3, Metric::Cosine, &Params::default(), &Threads(2));
    // Clumps that codes cannot resolve, far from each other.
    let vectors: Vec<f32> =
        (0..6000u32).map(|i| f32::from((i % 3) as u8) * 1e6 + (i / 3) as f32 * 1e-3).collect();
    graph_of(&vectors, 1, Metric::L2, &Params::default(), &Threads(2));
}

#[test]
fn one_dimension_and_extreme_numbers() {
    let seed = seed();
    let vectors: Vec<f32> = (0..20_000).map(|i| unit(seed, i, 3)).collect();
    let graph = graph_of(&vectors, 1, Metric::L2, &Params::default(), &Threads(2));
    let queries: Vec<f32> = (0..50).map(|i| unit(seed, i, 4)).collect();
    let recall = recall(&graph, &vectors, 1, Metric::L2, &queries, 64);
    assert!(recall >= 0.97, "{recall}");
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        for scale in [1e-15, 1e-9, 1e12, 1e17] {
            let vectors: Vec<f32> = (0..3000 * 4).map(|i| scale * (unit(seed, i, 5) - 0.5)).collect();
            graph_of(&vectors, 4, metric, &Params::default(), &Serial);
        }
    }
}

#[test]
fn the_cap_holds_around_a_hub() {
    // All rows are nearest to the one in the middle.
    let dim = 600;
    let mut vectors = vec![0.0; (dim + 1) * dim];
    (0..dim).for_each(|i| vectors[(i + 1) * dim + i] = 1.0 + i as f32 * 1e-4);
    for m_max0 in [2, 3, 8, 32] {
        let params = Params { m_max0, m_max: 2, ..Params::default() };
        graph_of(&vectors, dim, Metric::L2, &params, &Threads(2));
    }
}

#[test]
fn parts_that_lists_leave_apart_are_joined() {
    let seed = seed();
    let vectors: Vec<f32> =
        (0..4000).flat_map(|i| [(i / 40) as f32 * 1000.0 + unit(seed, i, 1), unit(seed, i, 2)]).collect();
    let params = Params { random: 0, leaf: 8, ..Params::default() };
    graph_of(&vectors, 2, Metric::L2, &params, &Threads(2));
}

#[test]
fn the_narrowest_lists_still_connect_everything() {
    for (cap, seed) in [2, 3, 4, 5].into_iter().flat_map(|cap| (0..12).map(move |seed| (cap, seed))) {
        let vectors = clustered(seed, 600, 3, 40);
        let params = Params { m_max: cap, m_max0: cap, seed, ..Params::default() };
        verify(&graph_of(&vectors, 3, Metric::Cosine, &params, &Serial), &vectors, 3, &params);
    }
}

#[test]
fn cancelling_at_any_moment_ends_the_build() {
    let vectors = clustered(seed(), 3000, 8, 10);
    let input = Input { vectors: &vectors, dim: 8, metric: Metric::L2, level_of: &level };
    let asked = AtomicU64::new(0);
    let count = || {
        asked.fetch_add(1, Ordering::Relaxed);
        false
    };
    let control = Control { cancelled: &count, ..Control::NONE };
    build(&input, &Params::default(), &Serial, &control, &|_| {}).unwrap();
    let total = asked.into_inner();
    assert!(total > 100, "asked only {total} times");
    for stop_at in (0..total).step_by(total as usize / 40) {
        let asked = AtomicU64::new(0);
        // True once only: a wish once seen must not be forgotten.
        let cancelled = || asked.fetch_add(1, Ordering::Relaxed) == stop_at;
        let control = Control { cancelled: &cancelled, ..Control::NONE };
        let result = build(&input, &Params::default(), &Threads(2), &control, &|_| {});
        assert_eq!(result.unwrap_err().code(), Code::Aborted);
    }
}

#[test]
fn progress_ascends_and_phases_come_in_order() {
    let vectors = clustered(seed(), 3000, 8, 10);
    let input = Input { vectors: &vectors, dim: 8, metric: Metric::L2, level_of: &level };
    let (last, phases) = (AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let progress = |done: u64, all: u64| {
        assert!(done <= all && all == 3000);
        assert!(last.swap(done, Ordering::Relaxed) <= done);
    };
    let control = Control { progress: &progress, ..Control::NONE };
    build(&input, &Params::default(), &Serial, &control, &|phase| phases.lock().unwrap().push(phase))
        .unwrap();
    assert_eq!(last.into_inner(), 3000);
    use Phase::*;
    assert_eq!(phases.into_inner().unwrap(), [Prepare, Descend, Connect, Upper, Order]);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    for (len, dim) in [(7, 3), (4, 0)] {
        let input = Input { vectors: &vec![1.0; len], dim, metric: Metric::L2, level_of: &level };
        let error = build(&input, &Params::default(), &Serial, &Control::NONE, &|_| {}).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
    }
}

#[test]
fn codes_are_taken_only_where_they_tell_rows_apart() {
    let run = Run::new(&Serial, &Control::NONE, &|_| {}, 0);
    let resolved = |vectors: &[f32], dim: usize| {
        let rows = (0..(vectors.len() / dim) as u32).collect();
        let full = Full::new(&run, vectors, dim, Metric::L2, rows).unwrap();
        let codes = Codes::new(&run, &full).unwrap();
        codes.resolve(&partition::order(&run, &codes, 1).unwrap())
    };
    let seed = seed();
    assert!(resolved(&clustered(seed, 2000, 64, 20), 64));
    let bytes: Vec<f32> = (0..5000).map(|i| (mix(seed, i, 1) % 256) as f32).collect();
    assert!(resolved(&bytes, 2), "bytes are their own codes");
    let fine: Vec<f32> = (0..5000).map(|i| unit(seed, i, 1)).collect();
    assert!(!resolved(&fine, 1));
    let mut outlier = clustered(seed, 2000, 64, 20);
    outlier[5] = 1e4;
    assert!(!resolved(&outlier, 64));
}
