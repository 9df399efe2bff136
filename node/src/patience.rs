//! How long the two threads of a write wait awake for each other.
//!
//! To wake a thread takes some 30 us on a virtual machine, and a short write is handed over and back. So where writes follow
//! one another closely, the writer looks for the next one for a moment before it sleeps, and JavaScript looks for the
//! outcome from turn to turn of its event loop before it has itself woken.

use std::time::{Duration, Instant};

/// Writes in a row that came soon after the one before, until anybody waits awake.
const FEW: u32 = 4;

/// Longest that the writer stays awake for the next write, and what is soon for it.
const AWAKE: Duration = Duration::from_micros(50);

/// What is soon for JavaScript: where it does more between two writes, little is gained.
const CLOSE: Duration = Duration::from_micros(100);
/// Longest that a write may be expected to take for JavaScript to look for its outcome.
const SHORT: Duration = Duration::from_micros(300);
/// How much longer than expected it goes on looking.
const MORE: Duration = Duration::from_micros(100);
/// Longest that one look holds up the event loop.
const SLICE: Duration = Duration::from_micros(20);
/// A turn of the event loop that took as long as this had something else to do.
const BUSY: Duration = Duration::from_micros(15);

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct Vigil {
    /// Writes in a row that came soon after the one before.
    soon: u32,
}

impl Vigil {
    /// How long to stay awake for the next write.
    pub(crate) fn lasts(&self) -> Duration {
        if self.soon >= FEW { AWAKE } else { Duration::ZERO }
    }

    /// Takes note of a write that came so long after the one before was done.
    pub(crate) fn note(&mut self, gap: Duration) {
        self.soon = if gap <= AWAKE { self.soon.saturating_add(1) } else { 0 };
    }
}

/// What JavaScript does where it looks for an outcome and there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Keeps looking for this long, then again in the next turn of the event loop.
    Again(Duration),
    /// Has itself woken.
    Sleep,
}

/// JavaScript's side.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Writes in a row that were called soon after the last outcome.
    soon: u32,
    /// When JavaScript had that.
    had: Option<Instant>,
    /// Nanoseconds from a write's call to its outcome, a running mean; 0 until the first.
    cost: f64,
    /// The first look that found nothing, since one found something.
    since: Option<Instant>,
    /// The end of the last look.
    left: Option<Instant>,
}

impl Patience {
    /// Takes note of a write that is called now.
    pub(crate) fn called(&mut self, now: Instant) {
        let soon = self.had.is_some_and(|had| now.saturating_duration_since(had) <= CLOSE);
        self.soon = if soon { self.soon.saturating_add(1) } else { 0 };
    }

    /// Takes note of how long a write took, from its call on.
    pub(crate) fn note(&mut self, took: Duration) {
        let took = took.as_nanos() as f64;
        // One write that waited for a disk says little of the next.
        let seen = if self.cost > 0.0 { took.min(4.0 * self.cost) } else { took };
        self.cost = if self.cost > 0.0 { self.cost + (seen - self.cost) / 4.0 } else { seen };
    }

    /// Looks now, and there is nothing.
    pub(crate) fn look(&mut self, now: Instant) -> Look {
        let expected = Duration::from_nanos(self.cost as u64);
        let since = *self.since.get_or_insert(now);
        let waited = now.saturating_duration_since(since);
        if self.soon < FEW || expected > SHORT || waited > 2 * expected + MORE {
            self.end();
            return Look::Sleep;
        }
        // Others wait for their turn: this one only looks.
        let alone = self.left.is_some_and(|left| now.saturating_duration_since(left) < BUSY);
        Look::Again(if alone { SLICE } else { Duration::ZERO })
    }

    /// Ends a look that found nothing.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.left = Some(now);
    }

    /// There was something, which JavaScript has now.
    pub(crate) fn found(&mut self, now: Instant) {
        self.had = Some(now);
        self.end();
    }

    fn end(&mut self) {
        self.since = None;
        self.left = None;
    }
}
