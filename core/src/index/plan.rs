//! Which way a filtered search goes, by what each would cost.
//!
//! The unit is one vector measured on a walk. The constants were measured with `npm run bench:filters`, which forces every plan
//! at every selectivity.

use std::sync::atomic::{AtomicU32, Ordering};

/// How a filtered search goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Measure every match.
    Scan,
    /// Walk over the matches, other rows being bridges.
    Bridge,
    /// Walk over all rows, keep the matches.
    Sweep,
}

impl Plan {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Plan::Scan => "scan",
            Plan::Bridge => "bridge",
            Plan::Sweep => "sweep",
        }
    }
}

/// What things cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prices {
    /// A scanned vector: read in order and ahead of time, with no list to read or heap to keep.
    pub(crate) scanned: f64,
    /// The same where rows have sketches.
    pub(crate) sketched: f64,
    /// A number of a sketch where all rows of a block are measured, wanted or not.
    pub(crate) whole: f64,
    /// Reading and matching one payload.
    pub(crate) check: f64,
    /// A list read for a bridge.
    pub(crate) list: f64,
    /// A walk that keeps to the matches, against one without a filter.
    bridging: f64,
}

/// Where walks measure vectors.
pub(crate) const BY_VECTORS: Prices =
    Prices { scanned: 0.35, sketched: 0.05, whole: 0.014 / 128.0, check: 40.0, list: 2.0, bridging: 2.0 };
/// Where they measure codes: the unit is a third as large, and what scans read is farther from memory.
pub(crate) const BY_CODES: Prices =
    Prices { scanned: 1.2, sketched: 0.45, whole: 0.04 / 128.0, check: 100.0, list: 6.0, bridging: 3.0 };
/// A walk that drops what does not match, against one without a filter.
const SWEEPING: f64 = 0.9;
/// Below this part of all rows, bridges no longer hold the matches together.
const BRIDGED: f64 = 0.005;
/// Above this part of all rows a sweep finds what it should; below, rows near the query may all be others.
const SWEPT: f64 = 0.3;
/// Below this share of what is usual among the rows around the query, walks miss matches that are farther away.
const AS_USUAL: f64 = 0.9;
/// Below this share of what is usual, the rows around the query say that the matches are away from it.
const AWAY: f64 = 0.5;
/// Where they are, the nearest lie in several directions: so many times the pool finds them.
pub(crate) const AWAY_EF: usize = 3;
/// What such a walk costs more than one that is not away; it also misses more, so that it must be worth it.
const AWAY_COST: f64 = 4.0;

/// What is known when the plan is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs {
    /// Visible rows, and those that match.
    pub(crate) rows: f64,
    pub(crate) matches: f64,
    /// The part of the rows around the query that match, or where nobody looked, of all rows.
    pub(crate) around: f64,
    /// Places in the pool.
    pub(crate) ef: f64,
    /// Links per list.
    pub(crate) links: f64,
    /// Vectors that an unfiltered walk measures per place in its pool.
    pub(crate) per_place: f64,
    /// What a scanned vector costs.
    pub(crate) scanned: f64,
    /// What measuring all rows at once costs, wanted or not; infinite where that cannot be.
    pub(crate) whole: f64,
    pub(crate) prices: Prices,
    /// What reading payloads costs a scan, and a walk.
    pub(crate) scan_looks: f64,
    pub(crate) walk_looks: f64,
}

impl Inputs {
    fn part(&self) -> f64 {
        (self.matches / self.rows.max(1.0)).clamp(1e-9, 1.0)
    }

    /// Whether the matches are away from the query.
    pub(crate) fn is_away(&self) -> bool {
        self.around < self.part() * AWAY
    }
}

/// The cheapest plan that finds enough, and the costs of scan, bridge and sweep.
pub(crate) fn choose(inputs: &Inputs) -> (Plan, [f64; 3]) {
    let Inputs { rows, matches, ef, links, per_place, .. } = *inputs;
    let part = inputs.part();
    let walk = (ef * per_place).min(rows);
    let scan = (matches * inputs.scanned).min(inputs.whole) + inputs.scan_looks;
    // Expanded nodes, and the bridges of each: as many as it takes to gather a list of matches.
    let bridges = (1.0 / part).min(links) * (1.0 - part);
    let sparse = inputs.around < part * AS_USUAL;
    let away = if sparse { AWAY_COST } else { 1.0 };
    let bridge =
        away * (walk * inputs.prices.bridging + ef * 1.5 * bridges * inputs.prices.list) + inputs.walk_looks;
    let sweep = walk * SWEEPING / inputs.around.clamp(1e-6, 1.0) + inputs.walk_looks;
    let mut best = (Plan::Scan, scan);
    if part >= BRIDGED && bridge < best.1 {
        best = (Plan::Bridge, bridge);
    }
    if part >= SWEPT && !sparse && sweep < best.1 {
        best = (Plan::Sweep, sweep);
    }
    (best.0, [scan, bridge, sweep])
}

/// What searches so far teach about later ones.
pub(crate) struct Calibration {
    /// Bits of the vectors that an unfiltered walk measures per place in its pool, as a moving average.
    per_place: AtomicU32,
}

impl Default for Calibration {
    fn default() -> Self {
        Calibration { per_place: AtomicU32::new(12.0f32.to_bits()) }
    }
}

impl Calibration {
    pub(crate) fn per_place(&self) -> f64 {
        f64::from(f32::from_bits(self.per_place.load(Ordering::Relaxed)))
    }

    /// Takes in an unfiltered walk. Concurrent ones may overwrite each other: it is an average.
    pub(crate) fn note(&self, ef: usize, measured: u64) {
        let now = self.per_place() as f32;
        let seen = (measured as f32 / ef.max(1) as f32).clamp(1.0, 200.0);
        self.per_place.store((now + (seen - now) / 16.0).to_bits(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(rows: f64, matches: f64, ef: f64) -> Inputs {
        Inputs {
            rows,
            matches,
            around: matches / rows,
            ef,
            links: 32.0,
            per_place: 12.0,
            scanned: BY_VECTORS.scanned,
            whole: f64::INFINITY,
            prices: BY_VECTORS,
            scan_looks: 0.0,
            walk_looks: 0.0,
        }
    }

    fn plan(rows: f64, matches: f64, ef: f64) -> Plan {
        choose(&inputs(rows, matches, ef)).0
    }

    #[test]
    fn few_matches_are_scanned_most_are_swept() {
        assert_eq!(plan(1e6, 1e6, 64.0), Plan::Sweep);
        assert_eq!(plan(1e6, 9.5e5, 64.0), Plan::Sweep);
        assert_eq!(plan(1e6, 3e5, 64.0), Plan::Bridge);
        assert_eq!(plan(1e6, 1e5, 64.0), Plan::Bridge);
        assert_eq!(plan(1e6, 1e3, 64.0), Plan::Scan);
        assert_eq!(plan(1e6, 1e2, 64.0), Plan::Scan);
        // A pool as large as the matches leaves nothing to win.
        assert_eq!(plan(1e5, 1e4, 1e4), Plan::Scan);
        assert_eq!(plan(100.0, 100.0, 64.0), Plan::Scan);
    }

    #[test]
    fn matches_away_from_the_query_are_not_swept() {
        let away = |matches| Inputs { around: 0.01, ..inputs(1e6, matches, 64.0) };
        assert!(away(5e5).is_away() && !inputs(1e6, 5e5, 64.0).is_away());
        assert_eq!(choose(&away(9e5)).0, Plan::Bridge);
        assert_eq!(choose(&away(1e4)).0, Plan::Scan);
        let sketched = Inputs { scanned: BY_VECTORS.sketched, ..away(5e4) };
        assert_eq!(choose(&sketched).0, Plan::Scan);
        let whole = Inputs {
            around: 0.01,
            scanned: BY_VECTORS.sketched,
            whole: 2e5 * 128.0 * BY_VECTORS.whole,
            ..inputs(2e5, 1.8e5, 64.0)
        };
        assert_eq!(choose(&whole).0, Plan::Scan);
        assert_eq!(choose(&Inputs { around: 0.9, ..whole }).0, Plan::Sweep);
    }

    #[test]
    fn the_average_follows_what_is_seen() {
        let calibration = Calibration::default();
        for _ in 0..200 {
            calibration.note(64, 64 * 20);
        }
        assert!((calibration.per_place() - 20.0).abs() < 0.1);
    }
}
