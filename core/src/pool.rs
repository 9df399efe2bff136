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

/// How a long call reports progress, learns that it should stop, and what time it is.
pub struct Control<'a> {
    /// Asked at safe points; `true` ends the call with `ABORTED` and nothing of it kept.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// Told (rows done, rows in all), now and then and once at the end.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
    /// The host's clock, in milliseconds since any moment. Asked by searches that have a deadline alone.
    pub now: &'a (dyn Fn() -> f64 + Sync),
    /// When the call was made, by that clock: its deadline counts from then.
    pub called: f64,
}

impl Control<'_> {
    /// Never cancelled, progress ignored, and time stands still.
    pub const NONE: Control<'static> =
        Control { cancelled: &|| false, progress: &|_, _| {}, now: &|| 0.0, called: 0.0 };

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
