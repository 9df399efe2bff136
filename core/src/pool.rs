//! The seam to the host's threads: core starts none of its own.

/// Runs independent jobs, in parallel where the host can.
pub trait Pool: Sync {
    /// How many jobs may run at once, at least 1.
    fn threads(&self) -> usize;
    /// Calls `job(i)` once for every `i` in `0..n` and returns when all are done. Any order, any thread.
    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync));
}

/// A [`Pool`] of the calling thread alone: for browsers and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Pool for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn for_each(&self, n: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..n).for_each(job);
    }
}

/// How a long call reports progress and learns that it should stop.
pub struct Control<'a> {
    /// Asked at safe points; `true` ends the call with `ABORTED` and nothing of it kept.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Told (rows done, rows in all), now and then and once at the end.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl Control<'_> {
    /// Never cancelled, progress ignored.
    pub const NONE: Control<'static> = Control { cancelled: &|| false, progress: &|_, _| {} };

    /// `ABORTED` where the caller asked to stop.
    pub fn check(&self) -> crate::Result<()> {
        if (self.cancelled)() {
            return Err(crate::Error::new(
                crate::Code::Aborted,
                "the call was aborted by its signal; nothing of it was kept",
            ));
        }
        Ok(())
    }
}
