//! How wide to search for a recall: learnt from rows of the database itself.
//!
//! Each row of a sample is searched for as if it were not there: the walk goes around it, and what is to be found are its
//! neighbours. With the row in place its own list would give them away (three places found the nearest of 90 %, where
//! queries that are no rows take 14); without it, its neighbours lack a link where it was, so that they are somewhat harder
//! to find than those of a query (20 places). `npm run bench:recall` measures what this comes to.
//!
//! The walk itself is one wide one per row, which tells what all narrower ones would have found (`hnsw::traced_beam`), and
//! what it finds is taken for the truth.

use super::types::Width;
use super::walk::{Base, Yield};
use super::watch::Watch;
use super::{DEFAULT_EF_SEARCH, Index};
use crate::codes::Coded;
use crate::hnsw::{GOLDEN, Reach, Scratch, Traced, mix, node_of_key, traced_beam};
use crate::{Code, Error, RECALLS, Result, Slot, sync};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};

/// Fewer rows than these are all measured: that takes less than to learn how not to.
const FEW: u64 = 1000;
/// What was learnt of rows holds until a fifth as many came or went.
const HOLDS: u64 = 5;
/// Times the places that the neighbours of a row took, as far as they are known: with so many it was searched for widely
/// enough. Widths that came of 3 and 4 are the same but for the highest recalls.
const TIMES: u32 = 3;
/// Rows measured by codes, or by vectors, after which a sample of at least so many rows is large enough: 0.1 to 0.3 s.
const BY_CODES: u64 = 3 << 19;
const BY_VECTORS: u64 = 3 << 18;
const FEWEST: usize = 16;

/// What is learnt at a time. Of the more neighbours a row has part in it, the fewer rows will do.
struct Tier {
    /// For searches that want up to so many rows.
    k: usize,
    /// From so many rows of the database.
    sample: usize,
    /// Places in the pool of a walk, at least and at most.
    least: usize,
    most: usize,
}

const TIERS: [Tier; 4] = [
    Tier { k: 4, sample: 512, least: 256, most: 4096 },
    Tier { k: 16, sample: 256, least: 128, most: 4096 },
    Tier { k: 128, sample: 48, least: 512, most: 8192 },
    Tier { k: 1024, sample: 16, least: 2048, most: 16_384 },
];

/// What a database knows of how wide to search.
#[derive(Default)]
pub(crate) struct Widths {
    /// Rows that came or went.
    changed: AtomicU64,
    /// Made for the first who asks.
    tiers: OnceLock<Box<[Learning; TIERS.len()]>>,
}

#[derive(Default)]
struct Learning {
    known: Mutex<Option<Arc<Known>>>,
    /// Whoever learns holds it, for as long as that takes. Never a writer.
    sample: Mutex<Sample>,
}

/// What a sample said.
struct Known {
    since: Since,
    /// Per number of rows wanted, ascending: the places that each of them took, of all rows of the sample, ascending.
    places: Vec<(usize, Vec<u32>)>,
}

/// The rows of the database that something was learnt of.
#[derive(Clone, Copy, Default)]
struct Since {
    changed: u64,
    rows: u64,
}

impl Since {
    fn holds(self, changed: u64) -> bool {
        changed.saturating_sub(self.changed) * HOLDS < self.rows
    }
}

/// A sample under way. Kept where its search is aborted or late, for the next one to go on with.
#[derive(Default)]
struct Sample {
    since: Since,
    /// Draws so far, and those that were searched for.
    drawn: u64,
    rows: usize,
    measured: u64,
    /// The places that each neighbour took, nearest first, as many per row as the tier is for.
    places: Vec<u32>,
}

impl Widths {
    /// Takes note of rows that came or went.
    pub(crate) fn note(&self, rows: u64) {
        self.changed.fetch_add(rows, Ordering::Relaxed);
    }

    fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    fn of(&self, tier: usize) -> &Learning {
        &self.tiers.get_or_init(Box::default)[tier]
    }
}

impl Learning {
    /// What is known, if it still holds.
    fn known(&self, changed: u64) -> Option<Arc<Known>> {
        self.latest().filter(|known| known.since.holds(changed))
    }

    fn latest(&self) -> Option<Arc<Known>> {
        sync::lock(&self.known).clone()
    }
}

impl Known {
    fn new(sample: &Sample, tier: &Tier, from: usize) -> Known {
        let wanted = std::iter::successors(Some(from), |k| Some(2 * k)).take_while(|&k| k <= tier.k);
        let places = wanted.map(|k| {
            let mut all: Vec<u32> =
                sample.places.chunks_exact(tier.k).flat_map(|row| &row[..k]).copied().collect();
            all.sort_unstable();
            (k, all)
        });
        Known { since: sample.since, places: places.collect() }
    }

    /// What `of` says for so many rows wanted: between two numbers that are known in proportion.
    fn between(&self, wanted: usize, of: impl Fn(usize, &[u32]) -> f64) -> f64 {
        let at = self.places.partition_point(|&(k, _)| k < wanted).min(self.places.len() - 1);
        let (k, ref places) = self.places[at];
        let here = of(k, places);
        match at.checked_sub(1).map(|before| &self.places[before]) {
            Some((before, places)) if wanted < k => {
                let below = of(*before, places);
                below + (here - below) * (wanted - before) as f64 / (k - before) as f64
            }
            _ => here,
        }
    }

    /// Places for that recall. Beyond what is known it takes as many more as rows are wanted.
    fn places(&self, recall: f64, wanted: usize) -> usize {
        let places = self.between(wanted, |k, places| {
            let nth = (recall * places.len() as f64).ceil() as usize;
            f64::from(places[nth.clamp(1, places.len()) - 1]) * (wanted as f64 / k as f64).max(1.0)
        });
        places.ceil() as usize
    }

    /// The recall that so many places come to.
    fn recall(&self, pool: usize, wanted: usize) -> f64 {
        self.between(wanted, |k, places| {
            let pool = pool as f64 / (wanted as f64 / k as f64).max(1.0);
            places.partition_point(|&took| f64::from(took) <= pool) as f64 / places.len() as f64
        })
    }
}

impl Index {
    /// How wide a search that asks for `recall` goes that wants so many rows (`k + offset`), if that is known: `None` where
    /// the next such search will learn it first.
    ///
    /// ```
    /// # use asteroid_core::{bytes::MemBytes, kv::MemKv, *};
    /// # use std::sync::Arc;
    /// # let stores = Stores {
    /// #     kv: Arc::new(MemKv::default()),
    /// #     vectors: Arc::new(MemBytes::default()),
    /// #     journal: Arc::new(MemBytes::default()),
    /// # };
    /// # let db = Index::open(stores, Config::new(2, Metric::L2), Options::default())?;
    /// let vectors: Vec<f32> = (0..4000u32).map(|i| (i * 7919 % 4001) as f32).collect();
    /// db.insert_many(Rows { ids: None, vectors: &vectors, payloads: &[] }, Mode::Insert, &Serial, &Control::NONE)?;
    /// assert_eq!(db.width(0.95, 10), None);
    /// let params = SearchParams { k: 10, recall: Some(0.95), ..SearchParams::default() };
    /// let (_, explain) = db.search_among(&[5.0, 5.0], &params, None, &Control::NONE)?;
    /// assert!(explain.recall >= Some(0.95));
    /// assert_eq!(db.width(0.95, 10).map(|width| width.ef_search), Some(explain.ef_search));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn width(&self, recall: f64, wanted: usize) -> Option<Width> {
        let live = self.published.load().live;
        if self.measures_all(wanted, live) {
            return Some(all(wanted, live));
        }
        let (tier, _) = tier_of(wanted);
        let known = self.widths.of(tier).known(self.widths.changed())?;
        Some(self.width_by(&known, recall, wanted, live))
    }

    /// [`Index::width`], learnt where it is not known, as far as `watch` lets it: where it stops that, as before, or as if
    /// nothing had been asked for. `INVALID_ARGUMENT` for what is no recall.
    // By its name it is in the half of the engine that browsers load late.
    #[inline(never)]
    pub(crate) fn width_for(&self, recall: f64, wanted: usize, watch: &Watch<'_>) -> Result<Width> {
        if !RECALLS.contains(&recall) {
            let (least, most) = (RECALLS.start(), RECALLS.end());
            return Err(Error::invalid(format!(
                "recall must be a number from {least} to {most}, not {recall}"
            )));
        }
        let live = self.published.load().live;
        if self.measures_all(wanted, live) {
            return Ok(all(wanted, live));
        }
        Ok(match self.known(wanted, watch)? {
            Some(known) => self.width_by(&known, recall, wanted, live),
            None => Width { ef_search: DEFAULT_EF_SEARCH.max(wanted), recall: None },
        })
    }

    fn measures_all(&self, wanted: usize, live: u64) -> bool {
        live < FEW || 2 * wanted as u64 >= live || self.upper.entry().is_none()
    }

    fn width_by(&self, known: &Known, recall: f64, wanted: usize, live: u64) -> Width {
        let ef_search = known.places(recall, wanted).max(wanted);
        let pool = if self.measures_codes() { Index::coded_pool(ef_search, wanted) } else { ef_search };
        let found = if live <= 2 * ef_search as u64 { 1.0 } else { known.recall(pool, wanted).max(recall) };
        Width { ef_search, recall: Some(found) }
    }

    /// What is known for so many rows wanted; of old where somebody is learning, or there was no time to.
    fn known(&self, wanted: usize, watch: &Watch<'_>) -> Result<Option<Arc<Known>>> {
        let (at, from) = tier_of(wanted);
        let (tier, learning) = (&TIERS[at], self.widths.of(at));
        let known = learning.known(self.widths.changed());
        if known.is_some() {
            return Ok(known);
        }
        let old = learning.latest();
        // Who has no other wait, unless it is in a hurry.
        let mut sample = if old.is_some() || watch.is_timed() {
            match learning.sample.try_lock() {
                Ok(sample) => sample,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return Ok(old),
            }
        } else {
            sync::lock(&learning.sample)
        };
        let known = learning.known(self.widths.changed());
        if known.is_some() {
            return Ok(known);
        }
        if !self.learn(tier, &mut sample, watch)? {
            return Ok(old);
        }
        let done = std::mem::take(&mut *sample);
        if done.rows == 0 {
            return Ok(old);
        }
        let known = Arc::new(Known::new(&done, tier, from));
        *sync::lock(&learning.known) = Some(Arc::clone(&known));
        Ok(Some(known))
    }

    /// Goes on with a sample; `false` where it had to stop before its end.
    fn learn(&self, tier: &Tier, sample: &mut Sample, watch: &Watch<'_>) -> Result<bool> {
        if !sample.since.holds(self.widths.changed()) {
            let rows = self.published.load().live;
            *sample = Sample { since: Since { changed: self.widths.changed(), rows }, ..Sample::default() };
        }
        let most = if self.measures_codes() { BY_CODES } else { BY_VECTORS };
        self.with_scratch(|scratch| {
            while sample.rows < tier.sample && sample.drawn < 8 * tier.sample as u64 {
                if sample.rows >= FEWEST && sample.measured >= most {
                    break;
                }
                match self.walk_around(self.draw(sample.drawn), tier, watch, scratch) {
                    Ok(Walked::Stopped) => return Ok(false),
                    Ok(Walked::Found(places)) => {
                        sample.rows += 1;
                        sample.measured += scratch.effort.measured;
                        sample.places.extend(places);
                    }
                    Ok(Walked::Nowhere) => {}
                    Err(error) if error.code() == Code::Aborted => return Err(error),
                    // A damaged row is for those to report who need it.
                    Err(_) => {}
                }
                sample.drawn += 1;
            }
            Ok(true)
        })
    }

    /// The `nth` slot of a sample: however many there are of them, they lie about evenly.
    fn draw(&self, nth: u64) -> Slot {
        let slots = u64::from(self.published.load().slots);
        let point = mix(self.config.seed).wrapping_add(nth.wrapping_mul(GOLDEN));
        (((point >> 32) * slots) >> 32) as Slot
    }

    /// Searches for the neighbours of a row as if it were not there, and tells how many places each took.
    fn walk_around(
        &self,
        slot: Slot,
        tier: &Tier,
        watch: &Watch<'_>,
        scratch: &mut Scratch,
    ) -> Result<Walked> {
        let state = self.published.load_full();
        if !self.visible(&state, slot) || sync::lock(&self.chained).contains(slot) {
            return Ok(Walked::Nowhere);
        }
        let query = self.vector(slot)?.to_vec();
        let coded = self.coded(&query);
        let reach = Reach { wanted: tier.k, least: tier.least, most: tier.most, times: TIMES };
        let mut walked = Walked::Nowhere;
        // By vectors where codes cannot tell: so do searches.
        for by in [coded.as_ref(), None] {
            let Some(node) = self.descend(&query, by, 1, scratch)? else { break };
            let mut entries = vec![self.upper.slot(node)];
            if entries[0] == slot {
                let mut around = Vec::new();
                self.upper.links(node, 1, &mut around);
                entries = around.into_iter().map(|node| self.upper.slot(node)).collect();
            }
            let mut layer = Base::new(self, &query, by, Yield::Visible(&state));
            let mut stop = || watch.stops_at_hop();
            let traced = traced_beam(&mut layer, &entries, slot, reach, scratch, &mut stop)?;
            let Some(traced) = traced else { return Ok(Walked::Stopped) };
            if traced.len() < tier.k {
                break;
            }
            let found = traced.iter().map(|traced| traced.key).collect();
            let (nearest, told) = match by.is_some_and(Coded::measures) {
                true => self.exactly(&query, found, tier.k, tier.least, false)?,
                false => (found, true),
            };
            if told {
                walked = Walked::Found(places_of(&nearest[..tier.k], &traced));
                break;
            }
        }
        self.note_search(coded);
        Ok(walked)
    }
}

/// What came of looking for the neighbours of a row.
enum Walked {
    /// The places that each took, nearest first.
    Found(Vec<u32>),
    /// Nothing: the row is gone, or lies where hardly any other can be come to from.
    Nowhere,
    /// There was no time.
    Stopped,
}

/// The places that each of the nodes `nearest` took.
fn places_of(nearest: &[u64], traced: &[Traced]) -> Vec<u32> {
    let mut order: Vec<(u32, usize)> =
        nearest.iter().enumerate().map(|(at, &key)| (node_of_key(key), at)).collect();
    order.sort_unstable();
    let mut places = vec![u32::MAX; nearest.len()];
    for traced in traced {
        if let Ok(at) = order.binary_search_by_key(&node_of_key(traced.key), |&(node, _)| node) {
            places[order[at].1] = traced.need;
        }
    }
    places
}

/// The tier for so many rows wanted, and the fewest that it is for.
fn tier_of(wanted: usize) -> (usize, usize) {
    let at = TIERS.iter().position(|tier| wanted <= tier.k).unwrap_or(TIERS.len() - 1);
    (at, at.checked_sub(1).map_or(1, |before| TIERS[before].k))
}

/// The width with which all of so many rows are measured.
fn all(wanted: usize, live: u64) -> Width {
    Width { ef_search: wanted.max(live.div_ceil(2) as usize), recall: Some(1.0) }
}
