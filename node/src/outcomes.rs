//! Outcomes of short writes on their way from the writer thread to JavaScript, which comes for them.
//!
//! Each write has a ticket. JavaScript looks for outcomes from turn to turn of its event loop for as long as [`Patience`]
//! says, and else leaves a bell, a promise that the next outcome settles.

use crate::patience::{Look, Patience};
use crate::reply::{Pending, closed, nothing, text_of};
use asteroid_core::Error;
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// What the write with a ticket came to: whether there was a row, for those that tell, or the text of an error.
pub(crate) type Outcome = (u64, Result<bool, String>);

/// Rounds of waiting between two looks at the clock.
const ROUNDS: u32 = 16;

/// Of one database.
#[derive(Default)]
pub(crate) struct Outcomes {
    state: Mutex<State>,
    /// How many are there to be taken.
    there: AtomicUsize,
}

#[derive(Default)]
struct State {
    tickets: u64,
    there: VecDeque<Outcome>,
    patience: Patience,
    bell: Option<Pending>,
}

/// What there is for JavaScript.
pub(crate) enum Found {
    Outcome(Outcome),
    /// Nothing: it had better look again in the next turn of its event loop.
    Later,
    /// Nothing: it had better leave a bell.
    Long,
}

impl Outcomes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket for a write that is called now.
    pub(crate) fn ticket(self: &Arc<Self>) -> Ticket {
        let called = Instant::now();
        let mut state = self.lock();
        state.tickets += 1;
        state.patience.called(called);
        Ticket { number: state.tickets, called, outcomes: Some(Arc::clone(self)) }
    }

    fn put(&self, ticket: &Ticket, result: Result<bool, &Error>) {
        let took = ticket.called.elapsed();
        let result = result.map_err(text_of);
        let mut state = self.lock();
        state.patience.note(took);
        state.there.push_back((ticket.number, result));
        let bell = state.bell.take();
        self.there.store(state.there.len(), Ordering::Release);
        drop(state);
        if let Some(bell) = bell {
            bell.resolve((), nothing);
        }
    }

    /// The oldest outcome, for which it waits a moment where `wait` says so and that is worth it.
    pub(crate) fn take(&self, wait: bool) -> Found {
        if let Some(outcome) = self.oldest() {
            return Found::Outcome(outcome);
        }
        if !wait {
            return Found::Later;
        }
        let now = Instant::now();
        let Look::Again(slice) = self.look(now) else { return Found::Long };
        if !slice.is_zero()
            && awake(now, slice, || self.there.load(Ordering::Relaxed) > 0)
            && let Some(outcome) = self.oldest()
        {
            return Found::Outcome(outcome);
        }
        self.lock().patience.leave(Instant::now());
        Found::Later
    }

    fn look(&self, now: Instant) -> Look {
        if alone() { Look::Sleep } else { self.lock().patience.look(now) }
    }

    fn oldest(&self) -> Option<Outcome> {
        if self.there.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut state = self.lock();
        let oldest = state.there.pop_front();
        self.there.store(state.there.len(), Ordering::Release);
        state.patience.found(Instant::now());
        oldest
    }

    /// Settles `bell` once there is an outcome.
    pub(crate) fn ring(&self, bell: Pending) {
        let mut state = self.lock();
        if state.there.is_empty() {
            state.bell = Some(bell);
        } else {
            drop(state);
            bell.resolve((), nothing);
        }
    }
}

/// A write's claim to an outcome. Dropped without one, it is `CLOSED`: the job was discarded.
pub(crate) struct Ticket {
    pub(crate) number: u64,
    called: Instant,
    outcomes: Option<Arc<Outcomes>>,
}

impl Ticket {
    /// Hands the outcome over.
    pub(crate) fn settle(mut self, result: Result<bool, &Error>) {
        if let Some(outcomes) = self.outcomes.take() {
            outcomes.put(&self, result);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(outcomes) = self.outcomes.take() {
            outcomes.put(self, Err(&closed()));
        }
    }
}

/// Waits for `done` without sleeping, at most for `time`; whether it came.
pub(crate) fn awake(from: Instant, time: Duration, mut done: impl FnMut() -> bool) -> bool {
    while !done() {
        for _ in 0..ROUNDS {
            spin_loop();
        }
        if from.elapsed() >= time {
            return done();
        }
    }
    true
}

/// Whether there is one processor only: who waits awake on it keeps the other from what is waited for.
pub(crate) fn alone() -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    *ALONE.get_or_init(|| available_parallelism().is_ok_and(|threads| threads.get() == 1))
}
