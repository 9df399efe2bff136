//! [`Threads`]: a pool of real threads for the engine.

use asteroid_core::Pool;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

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
