//! Build time, recall, memory and page locality of a bulk build on a folder of `.npy` files:
//! `cargo bench --bench rnn -- <folder> [l2|cosine|dot] [key=value ...]`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    missing_docs,
    reason = "a bench reports and may fail loudly"
)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use asteroid_core::rnn::{Graph, Input, Params, Precision, build};
use asteroid_core::simd::Kernels;
use asteroid_core::{Control, Metric, Pool};

/// So many threads, and the microseconds spent in parallel steps.
struct Threads(usize, AtomicU64);

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        let (next, start) = (AtomicUsize::new(0), Instant::now());
        let work = || {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    break;
                }
                job(i);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.0.min(n) {
                scope.spawn(work);
            }
            work();
        });
        self.1.fetch_add(start.elapsed().as_micros() as u64, Ordering::Relaxed);
    }
}

fn npy(path: &str) -> (Vec<f32>, usize) {
    let bytes = std::fs::read(path).unwrap();
    let header_len = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    let shape = header.split('(').nth(1).unwrap().split(')').next().unwrap();
    let dim: usize = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
    let body = &bytes[10 + header_len..];
    let values = if header.contains("|u1") {
        body.iter().map(|&b| f32::from(b)).collect()
    } else if header.contains("<f2") {
        body.as_chunks::<2>().0.iter().map(|&b| half(u16::from_le_bytes(b))).collect()
    } else if header.contains("<i4") {
        body.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b) as f32).collect()
    } else {
        body.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    };
    (values, dim)
}

fn half(bits: u16) -> f32 {
    let sign = if bits & 0x8000 != 0 { -1.0 } else { 1.0 };
    let (exp, frac) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    sign * if exp == 0 { frac * 2f32.powi(-24) } else { (1.0 + frac / 1024.0) * 2f32.powi(exp - 15) }
}

fn level(seed: u64, row: u32, m: f64) -> u32 {
    let mut z = seed.wrapping_add(u64::from(row).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let unit = ((z ^ z >> 31) >> 11) as f64 / (1u64 << 53) as f64;
    (-(1.0 - unit).ln() / m.ln()) as u32
}

struct Searcher<'a> {
    graph: &'a Graph,
    vectors: &'a [f32],
    dim: usize,
    metric: Metric,
    kernels: &'static Kernels,
    seen: Vec<u32>,
    round: u32,
    distances: u64,
    touched: Vec<u32>,
    popped: Vec<u32>,
}

#[derive(PartialEq, Clone, Copy)]
struct Near(f32, u32);
impl Eq for Near {}
impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl Searcher<'_> {
    fn rank(&mut self, query: &[f32], slot: u32) -> f32 {
        self.distances += 1;
        let at = self.graph.rows[slot as usize] as usize * self.dim;
        let row = &self.vectors[at..at + self.dim];
        match self.metric {
            Metric::L2 => self.kernels.l2_squared(query, row),
            Metric::Dot => -self.kernels.dot(query, row),
            Metric::Cosine => {
                let [ab, aa, bb] = self.kernels.dot_and_norms(query, row);
                1.0 - ab / (aa.sqrt() * bb.sqrt())
            }
        }
    }

    fn search(&mut self, query: &[f32], ef: usize) -> Vec<u32> {
        let mut at = self.graph.entry.unwrap();
        let mut best = self.rank(query, at);
        for layer in self.graph.upper.iter().rev() {
            loop {
                let i = layer.nodes.binary_search(&at).unwrap();
                let before = at;
                for &link in layer.adjacency.of(i) {
                    let d = self.rank(query, link);
                    if d < best {
                        (best, at) = (d, link);
                    }
                }
                if at == before {
                    break;
                }
            }
        }
        self.round += 1;
        self.touched.clear();
        self.popped.clear();
        self.seen[at as usize] = self.round;
        let mut open = BinaryHeap::from([Reverse(Near(best, at))]);
        let mut found = BinaryHeap::from([Near(best, at)]);
        while let Some(Reverse(Near(d, from))) = open.pop() {
            if found.len() == ef && d > found.peek().unwrap().0 {
                break;
            }
            self.popped.push(from);
            for &link in self.graph.base.of(from as usize) {
                let to = asteroid_core::kv::links::slot(link);
                if std::mem::replace(&mut self.seen[to as usize], self.round) == self.round {
                    continue;
                }
                self.touched.push(to);
                let d = self.rank(query, to);
                if found.len() < ef || d < found.peek().unwrap().0 {
                    open.push(Reverse(Near(d, to)));
                    found.push(Near(d, to));
                    if found.len() > ef {
                        found.pop();
                    }
                }
            }
        }
        found.into_sorted_vec().into_iter().take(10).map(|near| self.graph.rows[near.1 as usize]).collect()
    }
}

/// Processor time of this process so far, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.split_whitespace().skip(13).take(2).map(|t| t.parse::<f64>().unwrap());
    ticks.sum::<f64>() / 100.0
}

fn memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: 0 kB");
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let Some(folder) = args.first() else { return };
    let metric = match args.get(1).map(String::as_str) {
        Some("cosine") => Metric::Cosine,
        Some("dot") => Metric::Dot,
        _ => Metric::L2,
    };
    let mut params = Params::default();
    let (mut vary, mut orders) = (false, false);
    let (mut threads, mut repeat, mut rows_limit) = (vec![2usize], 1, usize::MAX);
    for arg in args.iter().skip(2) {
        let (key, value) = arg.split_once('=').unwrap();
        match key {
            "t" => threads = value.split(',').map(|t| t.parse().unwrap()).collect(),
            "repeat" => repeat = value.parse().unwrap(),
            "n" => rows_limit = value.parse().unwrap(),
            "cap" => params.m_max0 = value.parse().unwrap(),
            "rounds" => params.rounds = value.split(',').map(|r| r.parse().unwrap()).collect(),
            "random" => params.random = value.parse().unwrap(),
            "leaf" => params.leaf = value.parse().unwrap(),
            "most" => params.most = value.parse().unwrap(),
            "stop" => params.stop_below = value.parse().unwrap(),
            "vary" => vary = value == "1",
            "orders" => orders = value == "1",
            "auto" => params.precision = Precision::Auto,
            "full" => params.precision = if value == "1" { Precision::Full } else { Precision::Codes },
            _ => panic!("unknown {key}"),
        }
    }
    let (mut vectors, dim) = npy(&format!("{folder}/base.npy"));
    vectors.truncate(rows_limit.saturating_mul(dim));
    vectors.shrink_to_fit();
    let n = vectors.len() / dim;
    if vary {
        // Lengths from half to double, for the inner product.
        for (i, row) in vectors.chunks_exact_mut(dim).enumerate() {
            let factor = 2f32.powf((i * 7919 % 1000) as f32 / 500.0 - 1.0);
            row.iter_mut().for_each(|x| *x *= factor);
        }
    }
    let raw = (n * dim * 4) as f64 / 1048576.0;
    let input = Input { vectors: &vectors, dim: dim as u32, metric, level_of: &|row| level(7, row, 16.0) };
    let mut graph = Graph::default();
    for _ in 0..repeat {
        for &t in &threads {
            let phases = Mutex::new(Vec::new());
            let (start, cpu_before) = (Instant::now(), cpu());
            let pool = Threads(t, AtomicU64::new(0));
            graph = build(&input, &params, &pool, &Control::NONE, &|phase| {
                phases.lock().unwrap().push((phase, start.elapsed().as_secs_f64()));
            })
            .unwrap();
            let took = start.elapsed().as_secs_f64();
            let mut phases = phases.into_inner().unwrap();
            let mut shares = Vec::new();
            let mut end = took;
            while let Some((phase, at)) = phases.pop() {
                shares.push(format!("{phase:?} {:.0}%", (end - at) / took * 100.0));
                end = at;
            }
            shares.reverse();
            shares.push(format!("in parallel steps {:.1}%", pool.1.into_inner() as f64 / took / 1e4));
            let mut hasher = std::hash::DefaultHasher::new();
            graph.hash(&mut hasher);
            println!(
                "threads {t}: {took:.2} s (cpu {:.2}), {:.0} rows/s, graph {:016x}, peak {:.0} MB = {:.2} x raw ({raw:.0}) + graph; {}",
                cpu() - cpu_before,
                n as f64 / took,
                hasher.finish(),
                memory_mb(),
                (memory_mb() - graph.base.links.len() as f64 * 4.0 / 1048576.0) / raw,
                shares.join(", ")
            );
        }
    }
    let degree = graph.base.links.len() as f64 / n as f64;
    let layers: Vec<usize> = graph.upper.iter().map(|layer| layer.nodes.len()).collect();
    println!("rows {n}, dim {dim}, degree {degree:.2}, layers above {layers:?}, twins {}", graph.twins.len());
    if rows_limit < usize::MAX {
        return;
    }
    let (queries, _) = npy(&format!("{folder}/query.npy"));
    let (truth, wide) = npy(&format!("{folder}/truth.npy"));
    let (truth, wide) = if vary { (nearest(&vectors, &queries, dim, metric), 10) } else { (truth, wide) };
    let mut places = vec![("as built", (0..n as u32).collect::<Vec<u32>>())];
    if orders {
        for (name, make) in [
            ("bfs", bfs as fn(&Graph) -> Vec<u32>),
            ("rcm", rcm),
            ("greedy5", |g| greedy(g, 5)),
            ("greedy15", |g| greedy(g, 15)),
            ("greedy40", |g| greedy(g, 40)),
            ("bisection", bisection),
        ] {
            let start = cpu();
            let order = make(&graph);
            let mut place = vec![0; n];
            order.iter().enumerate().for_each(|(i, &slot)| place[slot as usize] = i as u32);
            println!("{name}: {:.2} s of processor time", cpu() - start);
            places.push((name, place));
        }
    }
    let mut searcher = Searcher {
        graph: &graph,
        vectors: &vectors,
        dim,
        metric,
        kernels: Kernels::get(),
        seen: vec![0; n],
        round: 0,
        distances: 0,
        touched: Vec::new(),
        popped: Vec::new(),
    };
    let per_extent = (8192 / (dim * 4 + 4)).max(1) as u32;
    for ef in [16, 32, 64, 128] {
        let (mut hits, mut touched) = (0, vec![(0usize, 0usize); places.len()]);
        searcher.distances = 0;
        let count = queries.len() / dim;
        let start = Instant::now();
        for (q, query) in queries.chunks_exact(dim).enumerate() {
            let found = searcher.search(query, ef);
            let truth = &truth[q * wide..q * wide + 10];
            hits += found.iter().filter(|&&row| truth.contains(&(row as f32))).count();
            for ((_, place), touched) in places.iter().zip(&mut touched) {
                let at = |slot: &u32| place[*slot as usize];
                touched.0 +=
                    searcher.touched.iter().map(|s| at(s) / per_extent).collect::<HashSet<_>>().len();
                touched.1 += searcher.popped.iter().map(|s| at(s) / 80).collect::<HashSet<_>>().len();
            }
        }
        println!(
            "ef {ef}: recall@10 {:.4}, {:.0} distances, {:.0} us",
            hits as f64 / (count * 10) as f64,
            searcher.distances as f64 / count as f64,
            start.elapsed().as_secs_f64() * 1e6 / count as f64,
        );
        for ((name, _), (extents, pages)) in places.iter().zip(touched) {
            let per = |sum: usize| sum as f64 / count as f64;
            println!("    {name}: {:.1} vector extents, {:.1} list pages", per(extents), per(pages));
        }
    }
}

fn nearest(vectors: &[f32], queries: &[f32], dim: usize, metric: Metric) -> Vec<f32> {
    let kernels = Kernels::get();
    let one = |query: &[f32]| {
        let mut all: Vec<(f32, usize)> = vectors
            .chunks_exact(dim)
            .map(|row| match metric {
                Metric::Dot => -kernels.dot(query, row),
                _ => kernels.l2_squared(query, row),
            })
            .zip(0..)
            .collect();
        all.select_nth_unstable_by(10, |a, b| a.0.total_cmp(&b.0));
        all.truncate(10);
        all.into_iter().map(|(_, row)| row as f32).collect::<Vec<f32>>()
    };
    queries.chunks_exact(dim).flat_map(one).collect()
}

fn links(graph: &Graph, slot: u32) -> impl Iterator<Item = u32> {
    graph.base.of(slot as usize).iter().map(|&link| asteroid_core::kv::links::slot(link))
}

fn bfs(graph: &Graph) -> Vec<u32> {
    let mut seen = vec![false; graph.rows.len()];
    let mut order = vec![graph.entry.unwrap()];
    seen[order[0] as usize] = true;
    let mut at = 0;
    while at < order.len() {
        for to in links(graph, order[at]) {
            if !std::mem::replace(&mut seen[to as usize], true) {
                order.push(to);
            }
        }
        at += 1;
    }
    order
}

fn rcm(graph: &Graph) -> Vec<u32> {
    let mut seen = vec![false; graph.rows.len()];
    let mut order = vec![graph.entry.unwrap()];
    seen[order[0] as usize] = true;
    let mut at = 0;
    while at < order.len() {
        let mut next: Vec<u32> =
            links(graph, order[at]).filter(|&to| !std::mem::replace(&mut seen[to as usize], true)).collect();
        next.sort_by_key(|&to| graph.base.of(to as usize).len());
        order.extend(next);
        at += 1;
    }
    order.reverse();
    order
}

/// Next comes the slot with most links from and to the last `window` placed.
fn greedy(graph: &Graph, window: usize) -> Vec<u32> {
    let n = graph.rows.len();
    let (mut placed, mut score) = (vec![false; n], vec![0u32; n]);
    let mut heap = BinaryHeap::new();
    let mut order: Vec<u32> = Vec::with_capacity(n);
    let mut fresh = 0..n as u32;
    while order.len() < n {
        let next = loop {
            match heap.pop() {
                None => break fresh.find(|&s| !placed[s as usize]).unwrap(),
                Some((was, Reverse(slot))) if !placed[slot as usize] => {
                    if score[slot as usize] == was {
                        break slot;
                    }
                    if score[slot as usize] > 0 {
                        heap.push((score[slot as usize], Reverse(slot)));
                    }
                }
                _ => {}
            }
        };
        placed[next as usize] = true;
        order.push(next);
        for to in links(graph, next).filter(|&to| !placed[to as usize]) {
            score[to as usize] += 1;
            heap.push((score[to as usize], Reverse(to)));
        }
        if order.len() > window {
            for to in links(graph, order[order.len() - 1 - window]) {
                score[to as usize] = score[to as usize].saturating_sub(1);
            }
        }
    }
    order
}

/// Recursive bisection from the present order: pairs are swapped while that brings links onto one side.
fn bisection(graph: &Graph) -> Vec<u32> {
    let mut order: Vec<u32> = (0..graph.rows.len() as u32).collect();
    let mut side = vec![0u32; order.len()];
    let mut stamp = 0;
    let mut todo = vec![(0, order.len())];
    while let Some((from, to)) = todo.pop() {
        if to - from <= 15 {
            continue;
        }
        let middle = from + ((to - from) / 2).next_multiple_of(15).min(to - from - 1);
        for _ in 0..8 {
            stamp += 2;
            order[from..middle].iter().for_each(|&s| side[s as usize] = stamp);
            order[middle..to].iter().for_each(|&s| side[s as usize] = stamp + 1);
            let gain = |s: u32, here: u32| -> i32 {
                links(graph, s)
                    .map(|to| match side[to as usize] {
                        x if x == here => -1,
                        x if x == here ^ 1 => 1,
                        _ => 0,
                    })
                    .sum()
            };
            let mut a: Vec<(i32, usize)> = (from..middle).map(|i| (gain(order[i], stamp), i)).collect();
            let mut b: Vec<(i32, usize)> = (middle..to).map(|i| (gain(order[i], stamp + 1), i)).collect();
            a.sort_by_key(|x| Reverse(x.0));
            b.sort_by_key(|x| Reverse(x.0));
            let mut swaps = 0;
            for (x, y) in a.iter().zip(&b) {
                if x.0 + y.0 <= 0 {
                    break;
                }
                order.swap(x.1, y.1);
                swaps += 1;
            }
            if swaps == 0 {
                break;
            }
        }
        todo.extend([(from, middle), (middle, to)]);
    }
    order
}
