//! Nanoseconds per distance of our kernels beside those of NumKong and of SimSIMD, its predecessor.
//!
//! `npm run bench:kernels -- [pool megabytes] [rounds]`. "Hot" measures two vectors that stay in the first-level cache,
//! "pool" one query against rows of a pool in random order with nothing prefetched, as a graph walk would: choose a pool
//! larger than the last-level cache. The libraries take turns; figures are medians of the rounds, ratios medians of the
//! ratios within a round. NumKong sums f32 in f64, SimSIMD in f32 as ours do.

use asteroid_core::simd::Kernels;
use numkong::{Angular, Dot, Euclidean};
use simsimd::SpatialSimilarity;
use std::hint::black_box;
use std::time::Instant;

const DIMS: [usize; 4] = [128, 384, 768, 1_536];
const HOT_CALLS: usize = 20_000;
const POOL_CALLS: usize = 20_000;
/// How many times the peer's time ours may take.
const MOST: f64 = 1.1;

/// A kernel by the name of its library.
type Named<'a, T> = (&'static str, Box<dyn Fn(&[T], &[T]) + 'a>);

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let megabytes = numbers.next().unwrap_or(256).max(1);
    let rounds = numbers.next().unwrap_or(21).max(1);
    numkong::configure_thread();

    let mut random = Random(1);
    let floats: Vec<f32> =
        (0..megabytes << 18).map(|_| (random.next() >> 40) as f32 / 8_388_608.0 - 1.0).collect();
    let codes: Vec<u8> = (0..megabytes << 20).map(|_| random.next() as u8).collect();
    let ours = Kernels::get();
    println!("kernels {} ({}), {rounds} rounds, pool of {megabytes} MB\n", ours.name(), ours.dot_u8_name());
    println!("| function | dim | library | hot, ns | pool, ns | ours by it, hot | pool |");
    println!("|---|--:|---|--:|--:|--:|--:|");
    let mut slower = 0;
    for dim in DIMS {
        let l2: [Named<'_, f32>; 3] = [
            ("ours", Box::new(|a, b| used(ours.l2_squared(a, b)))),
            ("numkong", Box::new(|a, b| used(<f32 as Euclidean>::sqeuclidean(a, b)))),
            ("simsimd", Box::new(|a, b| used(<f32 as SpatialSimilarity>::l2sq(a, b)))),
        ];
        slower += show("l2_squared", dim, rounds, &floats, &l2);
        let dot: [Named<'_, f32>; 3] = [
            ("ours", Box::new(|a, b| used(ours.dot(a, b)))),
            ("numkong", Box::new(|a, b| used(<f32 as Dot>::dot(a, b)))),
            ("simsimd", Box::new(|a, b| used(<f32 as SpatialSimilarity>::dot(a, b)))),
        ];
        slower += show("dot", dim, rounds, &floats, &dot);
        let cosine: [Named<'_, f32>; 3] = [
            ("ours", Box::new(|a, b| used(ours.dot_and_norms(a, b)))),
            ("numkong", Box::new(|a, b| used(f32::angular(a, b)))),
            ("simsimd", Box::new(|a, b| used(<f32 as SpatialSimilarity>::cos(a, b)))),
        ];
        slower += show("dot_and_norms", dim, rounds, &floats, &cosine);
        // SimSIMD has none for unsigned bytes.
        let bytes: [Named<'_, u8>; 2] = [
            ("ours", Box::new(|a, b| used(ours.dot_u8(a, b)))),
            ("numkong", Box::new(|a, b| used(<u8 as Dot>::dot(a, b)))),
        ];
        slower += show("dot_u8", dim, rounds, &codes, &bytes);
    }
    println!("\n{slower} of ours are slower than {MOST} times a peer's");
}

/// Makes the compiler do the work whose result nobody needs.
fn used<R>(result: R) {
    black_box(result);
}

/// Measures the libraries in turns and prints a line for each; how many times ours was too slow.
fn show<T>(function: &str, dim: usize, rounds: usize, pool: &[T], libraries: &[Named<'_, T>]) -> usize {
    let (query, pool) = pool.split_at(dim);
    let rows: Vec<&[T]> = pool.chunks_exact(dim).collect();
    let mut random = Random(dim as u64);
    // Fresh rows each time, or the later ones would find theirs cached.
    let mut pick = || rows[(random.next() % rows.len() as u64) as usize];
    let mut times = vec![[Vec::new(), Vec::new()]; libraries.len()];
    for round in 0..rounds {
        for turn in 0..libraries.len() {
            let which = (round + turn) % libraries.len();
            let kernel = &libraries[which].1;
            let row = pick();
            for _ in 0..HOT_CALLS / 10 {
                kernel(query, row);
            }
            let start = Instant::now();
            for _ in 0..HOT_CALLS {
                kernel(black_box(query), black_box(row));
            }
            times[which][0].push(start.elapsed().as_secs_f64() * 1e9 / HOT_CALLS as f64);
            let picked: Vec<&[T]> = (0..POOL_CALLS).map(|_| pick()).collect();
            let start = Instant::now();
            for row in picked {
                kernel(black_box(query), row);
            }
            times[which][1].push(start.elapsed().as_secs_f64() * 1e9 / POOL_CALLS as f64);
        }
    }
    let mut slower = 0;
    for (which, (name, _)) in libraries.iter().enumerate() {
        let [hot, cold] = &times[which];
        let ratio = |side: usize| {
            median(times[0][side].iter().zip(&times[which][side]).map(|(ours, its)| ours / its).collect())
        };
        let said = |ratio: f64| {
            if which == 0 {
                "-".to_string()
            } else {
                format!("{ratio:.2}x{}", if ratio > MOST { " LOSES" } else { "" })
            }
        };
        let (by_hot, by_cold) = (ratio(0), ratio(1));
        slower += [by_hot, by_cold].iter().filter(|&&ratio| which > 0 && ratio > MOST).count();
        println!(
            "| {function} | {dim} | {name} | {:.1} | {:.1} | {} | {} |",
            median(hot.clone()),
            median(cold.clone()),
            said(by_hot),
            said(by_cold)
        );
    }
    slower
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
