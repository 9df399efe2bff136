//! One build's hold on the host: its threads, its wish to stop, its progress bar.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Phase;
use crate::sync::lock;
use crate::{Control, Pool, Result};

/// Rows of a chunk: one job of a parallel step.
pub(super) const CHUNK: usize = 1024;

/// Hands out chunk jobs and watches for cancellation between and inside them.
pub(super) struct Run<'a> {
    pool: &'a dyn Pool,
    control: &'a Control<'a>,
    phase: &'a (dyn Fn(Phase) + Sync),
    rows: u64,
    // Latched, so that a caller who takes the wish back cannot leave half the jobs undone.
    stopped: AtomicBool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        pool: &'a dyn Pool,
        control: &'a Control<'a>,
        phase: &'a (dyn Fn(Phase) + Sync),
        rows: usize,
    ) -> Self {
        Run { pool, control, phase, rows: rows as u64, stopped: AtomicBool::new(false) }
    }

    pub(super) fn enter(&self, phase: Phase) -> Result<()> {
        (self.phase)(phase);
        self.advance(phase.begins_at())
    }

    /// Reports `fraction` of the whole build as done.
    pub(super) fn advance(&self, fraction: f64) -> Result<()> {
        (self.control.progress)((self.rows as f64 * fraction.min(1.0)) as u64, self.rows);
        self.control.check()
    }

    fn proceed(&self) -> bool {
        if (self.control.cancelled)() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        !self.stopped.load(Ordering::Relaxed)
    }

    fn finish(&self) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Control { cancelled: &|| true, ..Control::NONE }.check();
        }
        Ok(())
    }

    /// `job(i)` for every `i` below `n`.
    pub(super) fn each(&self, n: usize, job: impl Fn(usize) + Sync) -> Result<()> {
        self.pool.for_each(n, &|i| {
            if self.proceed() {
                job(i);
            }
        });
        self.finish()
    }

    /// `job(i, &mut items[i])` for every item.
    pub(super) fn each_mut<T: Send>(
        &self,
        items: &mut [T],
        job: impl Fn(usize, &mut T) + Sync,
    ) -> Result<()> {
        let cells: Vec<Mutex<&mut T>> = items.iter_mut().map(Mutex::new).collect();
        self.each(cells.len(), |i| job(i, &mut lock(&cells[i])))
    }

    /// `job(i, part)` for every run of `size` items, the last one shorter.
    pub(super) fn each_part<T: Send>(
        &self,
        items: &mut [T],
        size: usize,
        job: impl Fn(usize, &mut [T]) + Sync,
    ) -> Result<()> {
        let mut parts: Vec<&mut [T]> = items.chunks_mut(size).collect();
        self.each_mut(&mut parts, |i, part| job(i, part))
    }

    /// `job(i)` for every `i` below `n`, results in order.
    pub(super) fn map<T: Send>(&self, n: usize, job: impl Fn(usize) -> T + Sync) -> Result<Vec<T>> {
        let mut out: Vec<Option<T>> = (0..n).map(|_| None).collect();
        self.each_mut(&mut out, |i, cell| *cell = Some(job(i)))?;
        Ok(out.into_iter().flatten().collect())
    }
}

/// Buffers that jobs borrow and hand back, at most as many as run at once.
pub(super) struct Spare<T>(Mutex<Vec<T>>);

impl<T: Default> Spare<T> {
    pub(super) fn new() -> Self {
        Spare(Mutex::new(Vec::new()))
    }

    pub(super) fn lend<R>(&self, use_it: impl FnOnce(&mut T) -> R) -> R {
        let mut buffer = lock(&self.0).pop().unwrap_or_default();
        let result = use_it(&mut buffer);
        lock(&self.0).push(buffer);
        result
    }
}

/// A well-mixed number from a seed and two coordinates.
pub(super) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let mut z = seed ^ a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd1b5_4a32_d192_ed03);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// `number` scaled from the range of u64 down to `0..below`.
pub(super) fn scaled(number: u64, below: usize) -> usize {
    ((u128::from(number) * below as u128) >> 64) as usize
}
