//! Which searches are answered on the thread that asks, instead of on the reader threads.
//!
//! To another thread and back costs more than a short search, but a long one would hold up the event loop. How long a
//! search takes is not known before, but searches of one database resemble each other: this remembers what they took.

use std::time::{Duration, Instant};

/// Longest that a search may be expected to take.
const SHORT: Duration = Duration::from_micros(300);
/// Longest that one may take after all without others being kept away.
const LATE: Duration = Duration::from_millis(1);
/// From here on something else than a search took the time: a disk, most likely.
const STALL: Duration = Duration::from_millis(8);
/// Short searches in a row before the next may be answered at once: at first, and after many that were not short.
const FEWEST: u32 = 8;
const MOST: u32 = 2048;
/// Times as many, answered at once without one that was late, until fewer are enough again.
const TRIALS: u32 = 16;
/// After a pause as long as this, what was in memory may not be any more: one search shows it, which reads all over.
const PAUSE: Duration = Duration::from_secs(10);

/// What the searches of one database took, per unit of what was asked of them.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Nanoseconds per unit, a running mean; 0 until the first.
    cost: f64,
    /// Short searches in a row, on whatever thread.
    streak: u32,
    /// How many of them it takes.
    needed: u32,
    /// How many more answered at once, without one that was late, will halve that.
    trial: u32,
    last: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { cost: 0.0, streak: 0, needed: FEWEST, trial: TRIALS * FEWEST, last: None }
    }
}

impl Pace {
    /// Whether a search of so many units (places in its pool) may be answered at once.
    pub(crate) fn allows(&self, units: u32, now: Instant) -> bool {
        self.streak >= self.needed && !self.paused(now) && self.expected(units) <= SHORT
    }

    /// Takes note of a search of so many units that ended now.
    pub(crate) fn note(&mut self, units: u32, took: Duration, at_once: bool, now: Instant) {
        // On a thread that was just woken, with caches that are cold, 170 us were measured where it took 105 here.
        let took = if at_once { took } else { took * 2 / 3 };
        if self.paused(now) {
            self.streak = self.streak.min(self.needed - 1);
        }
        self.last = Some(now);
        let late = took > LATE && self.expected(units) <= SHORT;
        if late {
            self.streak = 0;
            if at_once {
                let worse = if took >= STALL { 8 } else { 2 };
                self.needed = (self.needed * worse).min(MOST);
            }
            self.trial = TRIALS * self.needed;
        } else if took <= LATE {
            self.streak = self.streak.saturating_add(1);
            if at_once {
                self.trial -= 1;
                if self.trial == 0 {
                    self.needed = (self.needed / 2).max(FEWEST);
                    self.trial = TRIALS * self.needed;
                }
            }
        }
        let seen = took.as_nanos() as f64 / f64::from(units.max(1));
        // One search that waited for a processor, or that made all codes, says little of the next.
        let before = if self.cost > 0.0 { self.cost.min(4.0 * seen) } else { seen };
        self.cost = before + (seen.min(4.0 * before) - before) / 8.0;
    }

    /// Has the next searches run on other threads: much of the database is about to change, or a search was cut short.
    pub(crate) fn start_over(&mut self) {
        self.streak = 0;
    }

    fn paused(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) > PAUSE)
    }

    fn expected(&self, units: u32) -> Duration {
        Duration::from_nanos((self.cost * f64::from(units.max(1))) as u64)
    }
}
