//! How a running call hears of an abort and tells of its progress.

use crate::handle::Handle;
use asteroid_core::Control;
use napi::Status;
use napi::bindgen_prelude::{FnArgs, Function};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Set from JavaScript when a call's `AbortSignal` fires.
#[napi]
#[derive(Default)]
pub struct AbortFlag(Arc<AtomicBool>);

#[napi]
impl AbortFlag {
    /// A flag that is not set.
    #[napi(constructor)]
    pub fn new() -> Self {
        AbortFlag::default()
    }

    /// Sets it, for good.
    #[napi]
    pub fn abort(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a progress callback is told: rows done, rows in all, and which step of the call this is.
pub(crate) type ReportArgs = FnArgs<(f64, f64, u32)>;
// Weak: a progress callback alone does not keep the process alive. The pending promise does.
type Callback = ThreadsafeFunction<ReportArgs, (), ReportArgs, Status, false, true>;

/// As JavaScript counts time.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

const BETWEEN_REPORTS: Duration = Duration::from_millis(50);

struct Progress {
    callback: Callback,
    next: Mutex<Instant>,
}

impl Progress {
    fn tell(&self, done: u64, total: u64, step: u32) {
        let args = FnArgs::from((done as f64, total as f64, step));
        self.callback.call(args, ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// What one call listens to and reports to, by default to nobody, and when it was made.
pub(crate) struct Watch {
    abort: Option<Arc<AtomicBool>>,
    progress: Option<Progress>,
    called: Instant,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { abort: None, progress: None, called: Instant::now() }
    }
}

impl Watch {
    /// For a call with these optional arguments.
    pub(crate) fn new(
        abort: Option<&AbortFlag>,
        progress: Option<Function<'_, ReportArgs, ()>>,
    ) -> napi::Result<Watch> {
        let progress = match progress {
            Some(function) => {
                let callback =
                    function.build_threadsafe_function().callee_handled::<false>().weak::<true>().build()?;
                Some(Progress { callback, next: Mutex::new(Instant::now() + BETWEEN_REPORTS) })
            }
            None => None,
        };
        Ok(Watch { abort: abort.map(|flag| Arc::clone(&flag.0)), progress, ..Watch::default() })
    }

    /// Whether the call should end: its signal fired, or the environment that asked goes away.
    pub(crate) fn cancelled(&self, handle: &Handle) -> bool {
        handle.stopping() || self.abort.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Tells JavaScript, at most 20 times a second. The facade itself reports the end.
    pub(crate) fn report(&self, done: u64, total: u64, step: u32) {
        let Some(progress) = &self.progress else { return };
        let now = Instant::now();
        {
            let mut next = progress.next.lock().unwrap_or_else(PoisonError::into_inner);
            if now < *next {
                return;
            }
            *next = now + BETWEEN_REPORTS;
        }
        progress.tell(done, total, step);
    }

    /// Tells JavaScript that a step begins, however short the last report was ago.
    pub(crate) fn begin(&self, done: u64, total: u64, step: u32) {
        if let Some(progress) = &self.progress {
            progress.tell(done, total, step);
        }
    }

    /// Runs `work` under a [`Control`] that asks and tells this watch.
    pub(crate) fn control<T>(&self, handle: &Handle, work: impl FnOnce(&Control<'_>) -> T) -> T {
        work(&Control {
            cancelled: &|| self.cancelled(handle),
            progress: &|done, total| self.report(done, total, 0),
            now: &|| milliseconds(self.called.elapsed()),
            called: 0.0,
        })
    }
}
