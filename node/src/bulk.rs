//! The bulk build: its place among the writes, its threads, its steps and their times.

use crate::database::{Database, Promised};
use crate::handle::Handle;
use crate::pool::Workers;
use crate::reply::{Raw, nothing, promise, to_napi, value};
use crate::signal::{AbortFlag, ReportArgs, Watch};
use crate::stage::Stage;
use asteroid_core::{BulkPhase, Control, Index, Pool as _, Result, Rows};
use napi::Env;
use napi::bindgen_prelude::{Function, Object};
use napi_derive::napi;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The step a build is in, and how long each took.
struct Steps {
    now: AtomicU32,
    done: AtomicU64,
    spent: Mutex<([f64; BulkPhase::NAMES.len()], Instant)>,
}

impl Steps {
    fn new() -> Steps {
        Steps {
            now: AtomicU32::new(0),
            done: AtomicU64::new(0),
            spent: Mutex::new(([0.0; BulkPhase::NAMES.len()], Instant::now())),
        }
    }

    fn enter(&self, step: u32) {
        let before = self.now.swap(step, Ordering::Relaxed);
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let since = std::mem::replace(&mut spent.1, now);
        spent.0[before as usize] += now.duration_since(since).as_secs_f64() * 1000.0;
    }

    /// Milliseconds of each step.
    fn finish(self) -> [f64; BulkPhase::NAMES.len()] {
        self.enter(0);
        self.spent.into_inner().unwrap_or_else(PoisonError::into_inner).0
    }
}

struct Report {
    n: u64,
    threads: usize,
    spent: [f64; BulkPhase::NAMES.len()],
}

/// Fails as a build of any rows would before it looked at them. A build of no rows changes nothing.
fn ready(index: &Index) -> Result<()> {
    let none = Rows { ids: None, vectors: &[], payloads: &[] };
    index.bulk_build(none, &asteroid_core::Serial, &Control::NONE, &|_| ()).map(drop)
}

fn build(handle: &Handle, index: &Index, rows: Rows<'_>, threads: usize, watch: &Watch) -> Result<Report> {
    let workers = Workers::new(threads);
    let steps = Steps::new();
    let total = (rows.vectors.len() / index.config().dim as usize) as u64;
    let control = Control {
        cancelled: &|| watch.cancelled(handle),
        progress: &|done, total| {
            steps.done.store(done, Ordering::Relaxed);
            watch.report(done, total, steps.now.load(Ordering::Relaxed));
        },
        ..Control::NONE
    };
    let built = index.bulk_build(rows, &workers, &control, &|phase| {
        steps.enter(phase.number());
        watch.begin(steps.done.load(Ordering::Relaxed), total, phase.number());
    })?;
    Ok(Report { n: built.count, threads: workers.threads(), spent: steps.finish() })
}

#[napi]
impl Database {
    /// Resolves where the database may be bulk built: it is empty and takes writes.
    #[napi]
    pub fn bulk_ready<'env>(&self, env: &'env Env) -> Promised<'env> {
        let (pending, promised) = promise(env)?;
        self.handle.write(pending, |_, index| ready(index), nothing);
        Ok(promised)
    }

    /// The bytes that building `rows` rows may take at the most.
    #[napi]
    pub fn bulk_memory(&self, rows: f64) -> napi::Result<f64> {
        let database = self.handle.database().map_err(|error| to_napi(&error))?;
        Ok(database.index.bulk_memory(rows as u64) as f64)
    }

    /// Takes its place among the writes now, waits there for `stage`, then builds all of its rows or none. Refuses at
    /// once, without waiting, where it could not.
    #[napi]
    pub fn bulk_build<'env>(
        &self,
        env: &'env Env,
        stage: &Stage,
        threads: u32,
        abort: Option<&AbortFlag>,
        progress: Option<Function<'env, ReportArgs, ()>>,
    ) -> Promised<'env> {
        let watch = Watch::new(abort, progress)?;
        let staged = stage.staged();
        let (pending, promised) = promise(env)?;
        let work = move |handle: &Handle, index: &Index| {
            ready(index)?;
            let mut columns = staged.take(handle, &watch)?;
            let vectors = columns.take_vectors();
            let payloads = columns.take_payloads();
            let rows = Rows { ids: columns.ids.as_deref(), vectors: &vectors, payloads: &payloads };
            build(handle, index, rows, threads as usize, &watch)
        };
        self.handle.write(pending, work, report_out);
        Ok(promised)
    }
}

fn report_out(env: &Env, report: Report) -> napi::Result<Raw> {
    let mut phases = Object::new(env)?;
    for (name, ms) in BulkPhase::NAMES.iter().zip(report.spent) {
        phases.set(name, ms)?;
    }
    let mut out = Object::new(env)?;
    out.set("n", report.n as f64)?;
    out.set("threads", report.threads as f64)?;
    out.set("phases", phases)?;
    value(env, out)
}
