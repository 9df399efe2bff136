//! Nanoseconds per call of every distance kernel this machine can run.
//!
//! `cargo bench -p asteroid-core --bench kernels -- [pool megabytes] [rounds]`. "Hot" measures two vectors that
//! stay in the first-level cache. "Pool" measures one query against rows of a pool, taken in random order with
//! nothing prefetched, as a graph walk would: choose a pool larger than the last-level cache. Figures are medians.

#![allow(clippy::print_stdout, reason = "printing figures is what this program is for")]

use std::hint::black_box;
use std::time::Instant;

use asteroid_core::simd::Kernels;

const DIMS: [usize; 4] = [128, 384, 768, 1_536];
const HOT_CALLS: usize = 20_000;
const POOL_CALLS: usize = 40_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` starts this program too, without the flag: there is nothing to test.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse::<usize>().ok());
    let megabytes = numbers.next().unwrap_or(256).max(1);
    let rounds = numbers.next().unwrap_or(11).max(1);

    let mut random = Random(1);
    let floats: Vec<f32> =
        (0..megabytes << 18).map(|_| (random.next() >> 40) as f32 / 8_388_608.0 - 1.0).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&floats);
    println!("ns per call, median of {rounds} rounds; pool of {megabytes} MB, rows in random order");
    println!("{:<16}{:<16}{:>6}{:>10}{:>10}", "kernels", "function", "dim", "hot", "pool");
    for dim in DIMS {
        for kernels in Kernels::all_available() {
            let name = kernels.name();
            let show = |function, [hot, pool]: [f64; 2]| {
                println!("{name:<16}{function:<16}{dim:>6}{hot:>10.1}{pool:>10.1}");
            };
            show("l2_squared", measure(&floats, dim, rounds, |a, b| kernels.l2_squared(a, b)));
            show("dot", measure(&floats, dim, rounds, |a, b| kernels.dot(a, b)));
            show("dot_and_norms", measure(&floats, dim, rounds, |a, b| kernels.dot_and_norms(a, b)));
            let function = format!("dot_u8 {}", kernels.dot_u8_name());
            show(&function, measure(bytes, dim, rounds, |a, b| kernels.dot_u8(a, b)));
        }
    }
}

/// `[hot, pool]` in nanoseconds per call.
fn measure<T, R>(pool: &[T], dim: usize, rounds: usize, kernel: impl Fn(&[T], &[T]) -> R) -> [f64; 2] {
    let (query, pool) = pool.split_at(dim);
    let rows: Vec<&[T]> = pool.chunks_exact(dim).collect();
    let mut random = Random(dim as u64);
    // Fresh rows each round, or the later ones would find theirs cached.
    let mut pick = || rows[(random.next() % rows.len() as u64) as usize];
    let (mut hot, mut cold) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let row = pick();
        let start = Instant::now();
        for _ in 0..HOT_CALLS {
            black_box(kernel(black_box(query), black_box(row)));
        }
        hot.push(start.elapsed().as_secs_f64() * 1e9 / HOT_CALLS as f64);

        let picked: Vec<&[T]> = (0..POOL_CALLS).map(|_| pick()).collect();
        let start = Instant::now();
        for row in picked {
            black_box(kernel(black_box(query), row));
        }
        cold.push(start.elapsed().as_secs_f64() * 1e9 / POOL_CALLS as f64);
    }
    [median(hot), median(cold)]
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A splitmix64 stream.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
