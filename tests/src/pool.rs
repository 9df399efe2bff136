//! [`Threads`]: a pool of real threads for the engine.

use asteroid_core::Pool;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs jobs on its own rayon threads.
pub struct Threads(rayon::ThreadPool);

impl Threads {
    /// A pool of `threads` threads.
    pub fn new(threads: usize) -> Threads {
        Threads(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
    }
}

impl Pool for Threads {
    fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        self.0.install(|| (0..n).into_par_iter().for_each(job));
    }
}

/// Calls `job` with each item, on as many threads at a time.
pub fn side_by_side(threads: usize, items: impl IntoIterator<Item = usize>, job: impl Fn(usize) + Sync) {
    let items: Vec<usize> = items.into_iter().collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    job(item);
                }
            });
        }
    });
}
