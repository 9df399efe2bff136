//! Databases on their way out and in: pieces of an export for JavaScript, pieces of a file from it.

use crate::conversion::{CopyArgs, converted_out};
use crate::database::{Database, Promised};
use crate::handle::{Handle, Kept};
use crate::reply::{Pending, closed, promise, to_napi, value};
use crate::signal::{AbortFlag, ReportArgs, Watch};
use asteroid_core::{Code, Error, Index, Result, StoreKind};
use asteroid_native_storage::backup;
use napi::Env;
use napi::bindgen_prelude::{Function, Null, Uint8ArraySlice};
use napi_derive::napi;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of pieces that may wait for the import.
const ROOM: usize = 4 << 20;

#[napi]
impl Database {
    /// Takes its place among the writes now; an [`Exporter`] of what is committed when its turn comes.
    #[napi]
    pub fn export<'env>(&self, env: &'env Env, abort: Option<&AbortFlag>) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &Index| {
            watch.control(handle, |control| control.check())?;
            let export = index.export()?;
            Ok((export.rows(), handle.keep(export)))
        };
        let (handle, kind) = (Arc::clone(&self.handle), self.kind());
        self.handle.write(pending, work, move |env, (rows, export)| {
            value(env, Exporter { handle, export, rows, kind })
        });
        Ok(promised)
    }
}

/// A committed state on its way out.
#[napi]
pub struct Exporter {
    handle: Arc<Handle>,
    export: Kept,
    rows: u64,
    kind: StoreKind,
}

#[napi]
impl Exporter {
    /// Rows in it.
    #[napi(getter)]
    pub fn rows(&self) -> f64 {
        self.rows as f64
    }

    /// The length of the whole file in bytes.
    #[napi]
    pub fn measure<'env>(&self, env: &'env Env, abort: Option<&AbortFlag>) -> Promised<'env> {
        let watch = Watch::new(abort, None)?;
        let (pending, promised) = promise(env)?;
        let export = Arc::clone(&self.export);
        let work = move |handle: &Handle, _: &Index| {
            let mut export = export.lock().unwrap_or_else(PoisonError::into_inner);
            let export = export.as_mut().ok_or_else(closed)?;
            watch.control(handle, |control| export.measure(control))
        };
        self.handle.read(true, pending, work, |env, bytes| value(env, bytes as f64));
        Ok(promised)
    }

    /// The next piece; null after the last.
    #[napi]
    pub fn next<'env>(&self, env: &'env Env) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        let export = Arc::clone(&self.export);
        let work = move |_: &Handle, index: &Index| {
            let mut export = export.lock().unwrap_or_else(PoisonError::into_inner);
            let export = export.as_mut().ok_or_else(closed)?;
            let mut piece = Vec::new();
            Ok(export.next_chunk(index, &mut piece)?.then_some(piece))
        };
        self.handle.read(true, pending, work, |env, piece| match piece {
            Some(piece) => value(env, Uint8ArraySlice::copy_from(env, &piece)?),
            None => value(env, Null),
        });
        Ok(promised)
    }

    /// Makes a database of it on disk.
    #[napi]
    pub fn backup<'env>(
        &self,
        env: &'env Env,
        args: CopyArgs,
        abort: Option<&AbortFlag>,
        progress: Option<Function<'env, ReportArgs, ()>>,
    ) -> Promised<'env> {
        let kind = args.kind().map_err(|error| to_napi(&error))?.unwrap_or(self.kind);
        let watch = Watch::new(abort, progress)?;
        let (pending, promised) = promise(env)?;
        let export = Arc::clone(&self.export);
        let work = move |handle: &Handle, index: &Index| {
            let mut export = export.lock().unwrap_or_else(PoisonError::into_inner);
            let export = export.as_mut().ok_or_else(closed)?;
            watch.control(handle, |control| backup(index, export, &args.target(), kind, control))
        };
        self.handle.read(true, pending, work, converted_out);
        Ok(promised)
    }

    /// Lets go of the state.
    #[napi]
    pub fn release(&self) {
        self.handle.let_go(&self.export);
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.handle.let_go(&self.export);
    }
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
    ended: bool,
    gave_up: bool,
    /// Nobody takes pieces any more.
    gone: bool,
    /// Waits for room.
    waiting: Option<Pending>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pieces of a file for `open`, in order.
#[napi]
#[derive(Default)]
pub struct Feed(Arc<Shared>);

/// The job's end of a [`Feed`].
pub(crate) struct Feeding(Arc<Shared>);

#[napi]
impl Feed {
    /// With nothing in it.
    #[napi(constructor)]
    pub fn new() -> Self {
        Feed::default()
    }

    /// Copies the next piece. Resolves once there is room for more: to false where none is wanted.
    #[napi]
    pub fn push<'env>(&self, env: &'env Env, piece: &[u8]) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        let mut state = lock(&self.0);
        if !state.gone {
            state.bytes += piece.len();
            state.pieces.push_back(piece.to_vec());
            self.0.changed.notify_all();
            if state.bytes > ROOM {
                state.waiting = Some(pending);
                return Ok(promised);
            }
        }
        let go_on = !state.gone;
        drop(state);
        pending.resolve(go_on, value);
        Ok(promised)
    }

    /// That was the last piece.
    #[napi]
    pub fn end(&self) {
        lock(&self.0).ended = true;
        self.0.changed.notify_all();
    }

    /// There is no rest: the import ends with `ABORTED`.
    #[napi]
    pub fn give_up(&self) {
        lock(&self.0).gave_up = true;
        self.0.changed.notify_all();
    }

    pub(crate) fn feeding(&self) -> Feeding {
        Feeding(Arc::clone(&self.0))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.gave_up |= !state.ended;
        self.0.changed.notify_all();
    }
}

impl Feeding {
    /// Waits for the next piece; `None` after the last. `ABORTED` where the caller or its environment gave up.
    pub(crate) fn take(&self, handle: &Handle, watch: &Watch) -> Result<Option<Vec<u8>>> {
        let mut state = lock(&self.0);
        loop {
            if state.gave_up || watch.cancelled(handle) {
                return Err(Error::new(Code::Aborted, "the import was given up; nothing of it was kept"));
            }
            if let Some(piece) = state.pieces.pop_front() {
                state.bytes -= piece.len();
                let waiting = if state.bytes <= ROOM { state.waiting.take() } else { None };
                drop(state);
                if let Some(waiting) = waiting {
                    waiting.resolve(true, value);
                }
                return Ok(Some(piece));
            }
            if state.ended {
                return Ok(None);
            }
            // Woken by JavaScript; the time-out is for an environment that ends in between.
            state = self
                .0
                .changed
                .wait_timeout(state, Duration::from_millis(50))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.gone = true;
        state.pieces.clear();
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.resolve(false, value);
        }
    }
}
