//! Columns of rows on their way in: copied from JavaScript in slices, taken by a job as a whole.

use crate::convert::{IdIn, ids_in};
use crate::signal::Watch;
use crate::{handle::Handle, reply};
use asteroid_core::{Code, Error, Id, Result};
use napi_derive::napi;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) ids: Option<Vec<Id>>,
    vectors: Vec<Vec<f32>>,
    gather: bool,
    payloads: Vec<String>,
}

impl Columns {
    /// All vectors in one piece.
    pub(crate) fn take_vectors(&mut self) -> Vec<f32> {
        let mut slices = std::mem::take(&mut self.vectors);
        if slices.len() == 1 {
            return slices.pop().unwrap_or_default();
        }
        let mut all = Vec::with_capacity(slices.iter().map(Vec::len).sum());
        slices.into_iter().for_each(|slice| all.extend_from_slice(&slice));
        all
    }

    /// One payload text or nothing per row. They came joined by newlines, which JSON text never holds.
    pub(crate) fn take_payloads(&mut self) -> Vec<Option<String>> {
        let mut all = Vec::new();
        for slice in std::mem::take(&mut self.payloads) {
            all.extend(slice.split('\n').map(|text| (!text.is_empty()).then(|| text.to_owned())));
        }
        all
    }
}

enum State {
    Filling(Columns),
    Ready(Columns),
    Gone,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_memory(numbers: usize) -> napi::Error {
    reply::to_napi(&Error::invalid(format!(
        "the system refuses the memory for {numbers} numbers ({} MB): give fewer rows in one call",
        numbers / 250_000
    )))
}

/// Filled from JavaScript, then finished or given up.
#[napi]
pub struct Stage(Arc<Shared>);

impl Default for Stage {
    fn default() -> Self {
        Stage(Arc::new(Shared {
            state: Mutex::new(State::Filling(Columns::default())),
            changed: Condvar::new(),
        }))
    }
}

/// The job's end of a [`Stage`].
pub(crate) struct Staged(Arc<Shared>);

#[napi]
impl Stage {
    /// An empty stage.
    #[napi(constructor)]
    pub fn new() -> Self {
        Stage::default()
    }

    /// Copies the next vectors.
    #[napi]
    pub fn vectors(&self, slice: &[f32]) -> napi::Result<()> {
        let State::Filling(columns) = &mut *lock(&self.0) else { return Ok(()) };
        match columns.vectors.last_mut().filter(|_| columns.gather) {
            Some(all) => {
                all.try_reserve(slice.len()).map_err(|_| no_memory(all.len() + slice.len()))?;
                all.extend_from_slice(slice);
            }
            None => columns.vectors.push(slice.to_vec()),
        }
        Ok(())
    }

    /// Has all vectors gathered in one piece from the start, with room for `numbers`, so that there is never a second
    /// copy of them.
    #[napi]
    pub fn gather_vectors(&self, numbers: f64) -> napi::Result<()> {
        let mut all = Vec::new();
        all.try_reserve_exact(numbers as usize).map_err(|_| no_memory(numbers as usize))?;
        if let State::Filling(columns) = &mut *lock(&self.0) {
            columns.gather = true;
            columns.vectors.push(all);
        }
        Ok(())
    }

    fn add_ids(&self, more: impl IntoIterator<Item = Id>) {
        if let State::Filling(columns) = &mut *lock(&self.0) {
            columns.ids.get_or_insert_default().extend(more);
        }
    }

    /// Copies the next ids from a column of safe integers.
    #[napi]
    pub fn number_ids(&self, slice: &[f64]) {
        self.add_ids(slice.iter().map(|&n| Id::Num(n as u64)));
    }

    /// Copies the next ids from a column of 64-bit integers.
    #[napi]
    pub fn bigint_ids(&self, slice: &[u64]) {
        self.add_ids(slice.iter().map(|&n| Id::Num(n)));
    }

    /// Copies the next ids, of any kind.
    #[napi]
    pub fn any_ids(&self, slice: Vec<IdIn>) -> napi::Result<()> {
        self.add_ids(ids_in(slice).map_err(|error| reply::to_napi(&error))?);
        Ok(())
    }

    /// Takes the next payload texts, joined by newlines, nothing between two for a row without one.
    #[napi]
    pub fn payloads(&self, joined: String) {
        if let State::Filling(columns) = &mut *lock(&self.0) {
            columns.payloads.push(joined);
        }
    }

    /// Everything is there: the job may take it.
    #[napi]
    pub fn finish(&self) {
        let mut state = lock(&self.0);
        *state = match std::mem::replace(&mut *state, State::Gone) {
            State::Filling(columns) => State::Ready(columns),
            other => other,
        };
        self.0.changed.notify_all();
    }

    /// Gives up: the job ends with `ABORTED` and nothing of it is kept.
    #[napi]
    pub fn give_up(&self) {
        *lock(&self.0) = State::Gone;
        self.0.changed.notify_all();
    }

    pub(crate) fn staged(&self) -> Staged {
        Staged(Arc::clone(&self.0))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        if matches!(*state, State::Filling(_)) {
            *state = State::Gone;
            self.0.changed.notify_all();
        }
    }
}

impl Staged {
    /// Waits until JavaScript has finished filling, and takes the columns. `ABORTED` if it gave up.
    pub(crate) fn take(&self, handle: &Handle, watch: &Watch) -> Result<Columns> {
        let mut state = lock(&self.0);
        loop {
            match std::mem::replace(&mut *state, State::Gone) {
                State::Ready(columns) => return Ok(columns),
                State::Gone => {
                    return Err(Error::new(Code::Aborted, "the call was given up while it started"));
                }
                filling @ State::Filling(_) => *state = filling,
            }
            if watch.cancelled(handle) {
                return Err(Error::new(
                    Code::Aborted,
                    "the call was aborted by its signal; nothing of it was kept",
                ));
            }
            // Woken by `finish` and `give_up`; the time-out is for an environment that ends in between.
            state = self
                .0
                .changed
                .wait_timeout(state, Duration::from_millis(50))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
