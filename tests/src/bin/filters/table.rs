//! Filtered searches beside searches without a filter.

use super::set::{ANCHORS, Case, Set};
use asteroid_core::filter::Filter;
use asteroid_core::*;
use asteroid_tests::pool::Threads;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

const K: usize = 10;
/// Of the queries, this part is asked of plans not taken: they may be slow.
const OTHERS: usize = 4;

/// What a search gives, and how.
type Answer = (Vec<Hit>, Explain);

/// What a run of searches came to.
#[derive(Default)]
pub(crate) struct Run {
    times: Vec<f64>,
    found: usize,
    of: usize,
    /// Searches with fewer rows than there were to find.
    pub(crate) short: usize,
    fell_back: usize,
    measured: u64,
    lists: u64,
    plans: Vec<&'static str>,
}

impl Run {
    pub(crate) fn p50(&self) -> f64 {
        let mut times = self.times.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(0.0)
    }

    pub(crate) fn recall(&self) -> f64 {
        if self.of == 0 { 1.0 } else { self.found as f64 / self.of as f64 }
    }

    /// The plan of most searches, and how many of a hundred ended with a scan instead.
    fn plan(&self) -> String {
        let count = |plan| self.plans.iter().filter(|&&other| other == plan).count();
        let most = self.plans.iter().copied().max_by_key(|&plan| count(plan)).unwrap_or("none");
        let back = (100.0 * self.fell_back as f64 / self.plans.len().max(1) as f64).round();
        let share = 100 * count(most) / self.plans.len().max(1);
        let mixed = if share < 100 { format!(" ({share} %)") } else { String::new() };
        if back > 0.0 { format!("{most}{mixed}, {back} % fell back") } else { format!("{most}{mixed}") }
    }

    fn work(&self) -> String {
        let count = self.times.len().max(1) as u64;
        format!("{} + {}", self.measured / count, self.lists / count)
    }
}

/// Searches once for each query, as `search` does it; `every` leaves out all but each so-manieth.
pub(crate) fn once(
    set: &Set,
    truth: &[HashSet<Id>],
    every: usize,
    run: &mut Run,
    search: &dyn Fn(usize, &[f32]) -> Answer,
) {
    let per_anchor = truth.len() / ANCHORS;
    for (at, query) in set.queries.chunks_exact(set.dim).enumerate().step_by(every) {
        let started = Instant::now();
        let (hits, explain) = search(at / per_anchor, query);
        run.times.push(started.elapsed().as_secs_f64() * 1e3);
        run.found += hits.iter().filter(|hit| truth[at].contains(&hit.id)).count();
        run.of += truth[at].len();
        run.short += usize::from(hits.len() < truth[at].len());
        run.fell_back += usize::from(explain.fell_back);
        run.measured += explain.measured;
        run.lists += explain.lists;
        run.plans.push(explain.plan);
    }
}

/// The nearest rows, found without the engine's searches: every row that matches is read and measured.
pub(crate) fn truth(db: &Index, set: &Set, filters: &[String]) -> Vec<HashSet<Id>> {
    let queries: Vec<&[f32]> = set.queries.chunks_exact(set.dim).collect();
    let per_anchor = queries.len() / ANCHORS;
    let found: Vec<Mutex<HashSet<Id>>> = queries.iter().map(|_| Mutex::default()).collect();
    let mut rows = (String::new(), Vec::new());
    for (anchor, filter) in filters.iter().enumerate() {
        if rows.0 != *filter {
            let selection = db.select(&Arc::new(Filter::parse(filter).unwrap())).unwrap();
            let all = Include { vector: true, payload: false };
            let (found, _) = db.scan_selected(&selection, 0, usize::MAX, all, &Control::NONE).unwrap();
            rows = (filter.clone(), found);
        }
        Threads::new(2).for_each(per_anchor, &|i| {
            let at = anchor * per_anchor + i;
            let apart = |row: &Row| apart(set.metric, row.vector.as_ref().unwrap(), queries[at]);
            let mut all: Vec<(f32, &Row)> = rows.1.iter().map(|row| (apart(row), row)).collect();
            let most = K.min(all.len());
            if most > 0 && most < all.len() {
                all.select_nth_unstable_by(most - 1, |a, b| a.0.total_cmp(&b.0));
            }
            *found[at].lock().unwrap() = all[..most].iter().map(|(_, row)| row.id.clone()).collect();
        });
    }
    found.into_iter().map(|one| one.into_inner().unwrap()).collect()
}

fn apart(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    let kernels = simd::Kernels::get();
    match metric {
        Metric::L2 => kernels.l2_squared(a, b),
        Metric::Dot => -kernels.dot(a, b),
        Metric::Cosine => {
            let [dot, aa, bb] = kernels.dot_and_norms(a, b);
            1.0 - dot / (aa.sqrt() * bb.sqrt())
        }
    }
}

/// One filtered search as a caller makes it, look-up included.
pub(crate) fn by_plan(db: &Index, filter: &str, query: &[f32], plan: Option<&str>) -> Answer {
    let params = SearchParams { k: K, ..SearchParams::default() };
    let selection = db.select(&Arc::new(Filter::parse(filter).unwrap())).unwrap();
    match plan {
        Some(plan) => db.search_by_plan(query, &params, &selection, plan, &Control::NONE),
        None => db.search_among(query, &params, Some(&selection), &Control::NONE),
    }
    .unwrap()
}

pub(crate) fn unfiltered(db: &Index, query: &[f32]) -> Answer {
    let params = SearchParams { k: K, ..SearchParams::default() };
    db.search_among(query, &params, None, &Control::NONE).unwrap()
}

/// One case: searches with and without the filter in turn, so that what slows the machine slows both.
pub(crate) struct Compared {
    pub(crate) plain: Run,
    pub(crate) ours: Run,
    pub(crate) truth: Vec<HashSet<Id>>,
    pub(crate) look_up_ms: f64,
    pub(crate) matches: u64,
}

impl Compared {
    pub(crate) fn new(db: &Index, set: &Set, case: &Case, all: &[HashSet<Id>], rounds: usize) -> Compared {
        let filters: Vec<Arc<Filter>> =
            case.filters.iter().map(|text| Arc::new(Filter::parse(text).unwrap())).collect();
        let (mut matches, mut look_up_ms) = (0, 0.0);
        for filter in &filters {
            let started = Instant::now();
            let selection = db.select(filter).unwrap();
            look_up_ms = f64::max(look_up_ms, started.elapsed().as_secs_f64() * 1e3);
            matches += db.count_selected(&selection, &Control::NONE).unwrap();
        }
        let truth = truth(db, set, &case.filters);
        let params = SearchParams { k: K, ..SearchParams::default() };
        let ours = |anchor: usize, query: &[f32]| {
            let selection = db.select(&filters[anchor]).unwrap();
            db.search_among(query, &params, Some(&selection), &Control::NONE).unwrap()
        };
        let (mut plain, mut filtered) = (Run::default(), Run::default());
        // The first round warms up.
        once(set, all, 1, &mut Run::default(), &|_, query| unfiltered(db, query));
        once(set, &truth, 1, &mut Run::default(), &ours);
        for _ in 0..rounds {
            once(set, all, 1, &mut plain, &|_, query| unfiltered(db, query));
            once(set, &truth, 1, &mut filtered, &ours);
        }
        Compared { plain, ours: filtered, truth, look_up_ms, matches: matches / ANCHORS as u64 }
    }

    pub(crate) fn times(&self) -> f64 {
        self.ours.p50() / self.plain.p50()
    }

    pub(crate) fn line(&self, case: &Case) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {:.3} | {:.3} | {:.2} | {} |",
            case.kind,
            case.name,
            self.matches,
            self.ours.plan(),
            self.ours.short,
            self.ours.recall(),
            self.ours.p50(),
            self.times(),
            self.ours.work(),
        )
    }
}

pub(crate) const HEAD: &str = "| rows that match | part or filter | matches | plan | too few rows | recall@10 | p50 ms | times unfiltered | measured + lists |";

/// The unfiltered searches' own figures, and their truth.
pub(crate) fn baseline(db: &Index, set: &Set) -> Vec<HashSet<Id>> {
    let all = truth(db, set, &vec!["{}".to_string(); ANCHORS]);
    let mut plain = Run::default();
    for _ in 0..3 {
        once(set, &all, 1, &mut plain, &|_, query| unfiltered(db, query));
    }
    println!(
        "without a filter: p50 {:.3} ms, recall@10 {:.3}, {} vectors measured + lists read\n",
        plain.p50(),
        plain.recall(),
        plain.work()
    );
    all
}

pub(crate) fn run(set: &Set, rounds: usize, only: &str) {
    let request = OpenRequest {
        dim: Some(set.dim as u32),
        metric: Some(set.metric),
        options: Options { cache_bytes: 2 << 30, ..Options::default() },
        ..OpenRequest::default()
    };
    let database = asteroid_native_storage::open_memory(&request).unwrap();
    let db = &database.index;
    let started = Instant::now();
    set.build(db);
    println!(
        "\n{}: {} rows, {} dimensions, {}, built in {:.1} s",
        set.name,
        set.rows(),
        set.dim,
        set.metric.name(),
        started.elapsed().as_secs_f64()
    );
    let all = baseline(db, set);
    println!("{HEAD} first look-up ms | scan times | bridge times (recall) | sweep times (recall) |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut cases = set.by_part(&[1.0, 0.9, 0.5, 0.25, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0001]);
    cases.extend(set.real());
    cases.retain(|case| format!("{} {}", case.kind, case.name).contains(only));
    for case in cases {
        let compared = Compared::new(db, set, &case, &all, rounds);
        let other = |plan: &str| {
            let mut run = Run::default();
            once(set, &compared.truth, OTHERS, &mut run, &|anchor, query| {
                by_plan(db, &case.filters[anchor], query, Some(plan))
            });
            (run.p50() / compared.plain.p50(), run.recall())
        };
        let (scan, bridge, sweep) = (other("scan"), other("bridge"), other("sweep"));
        println!(
            "{} {:.2} | {:.2} | {:.2} ({:.3}) | {:.2} ({:.3}) |",
            compared.line(&case),
            compared.look_up_ms,
            scan.0,
            bridge.0,
            bridge.1,
            sweep.0,
            sweep.1,
        );
    }
}
