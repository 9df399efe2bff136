//! The process-wide threads for reads, and the engine's [`Pool`] over them.
//!
//! Short reads wait in a queue of our own. The parallel parts of long calls take one short read between any
//! two of their jobs, so a `searchMany` of thousands and single searches share the threads fairly.

use asteroid_core::Pool as _;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// Long calls (`searchMany`, `check`) that may run at once; they mostly wait for [`READERS`].
const LONG_THREADS: usize = 4;

static READERS: OnceLock<Option<ThreadPool>> = OnceLock::new();
static LONG: OnceLock<Option<ThreadPool>> = OnceLock::new();
static SHORT_JOBS: Mutex<VecDeque<Job>> = Mutex::new(VecDeque::new());

fn build(name: &'static str, threads: usize) -> Option<ThreadPool> {
    ThreadPoolBuilder::new().num_threads(threads).thread_name(move |i| format!("{name}-{i}")).build().ok()
}

/// Fixes the number of reader threads. Only the first call in a process counts.
pub(crate) fn size(threads: Option<usize>) {
    let threads = threads.unwrap_or_else(cores);
    READERS.get_or_init(|| build("asteroid-read", threads));
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

fn readers() -> Option<&'static ThreadPool> {
    size(None);
    READERS.get().and_then(Option::as_ref)
}

/// Queues a short read. It runs at once on the calling thread where the system gives us no threads at all.
pub(crate) fn read(job: impl FnOnce() + Send + 'static) {
    match readers() {
        Some(pool) => {
            SHORT_JOBS.lock().unwrap_or_else(PoisonError::into_inner).push_back(Box::new(job));
            pool.spawn(run_one_short);
        }
        None => run(job),
    }
}

/// Starts a call that takes long or waits for the readers itself.
pub(crate) fn long(job: impl FnOnce() + Send + 'static) {
    match LONG.get_or_init(|| build("asteroid-long", LONG_THREADS)) {
        Some(pool) => pool.spawn(|| run(job)),
        None => run(job),
    }
}

fn run_one_short() {
    let job = SHORT_JOBS.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    if let Some(job) = job {
        run(job);
    }
}

/// Jobs guard themselves; this keeps a slip there from ending a thread, or through rayon the process.
fn run(job: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(job));
}

/// The engine's pool: the reader threads.
pub(crate) struct Readers;

impl asteroid_core::Pool for Readers {
    fn threads(&self) -> usize {
        readers().map_or(1, ThreadPool::current_num_threads)
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        spread(readers(), self.threads(), n, job);
    }
}

// The calling thread works too: a helper that the system is slow to wake then delays nobody for long.
fn spread(pool: Option<&ThreadPool>, threads: usize, n: usize, job: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                break;
            }
            job(i);
            run_one_short();
        }
    };
    let helpers = threads.min(n).saturating_sub(1);
    match pool.filter(|_| helpers > 0) {
        Some(pool) => pool.in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| work());
            }
            work();
        }),
        None => work(),
    }
}

/// A pool of as many threads as one call asks for, the calling one among them: reader threads as far as they go round,
/// else threads of its own that end with it.
pub(crate) struct Workers {
    own: Option<ThreadPool>,
    threads: usize,
}

impl Workers {
    /// `threads` of them, as many as there are cores where 0.
    pub(crate) fn new(threads: usize) -> Workers {
        let threads = if threads == 0 { cores() } else { threads };
        let shared = Readers.threads();
        if threads <= shared {
            return Workers { own: None, threads };
        }
        let own = build("asteroid-bulk", threads - 1);
        let threads = if own.is_some() { threads } else { shared };
        Workers { own, threads }
    }
}

impl asteroid_core::Pool for Workers {
    fn threads(&self) -> usize {
        self.threads
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        let pool = match &self.own {
            Some(own) => Some(own),
            None => readers(),
        };
        spread(pool, self.threads, n, job);
    }
}
