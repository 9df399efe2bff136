//! What ends a search before its end: its caller, or its deadline.

use crate::{Control, Result};
use std::cell::Cell;

/// Looks at the clock, for walks, between two looks at the caller's signal.
const LOOKS: u32 = 4;

/// One search's ear for its caller and eye on the clock.
pub(crate) struct Watch<'a> {
    control: &'a Control<'a>,
    /// When it is late, by the host's clock.
    until: f64,
    late: Cell<bool>,
    looks: Cell<u32>,
}

impl<'a> Watch<'a> {
    /// For a search that may take so many milliseconds from `from` on, or as many as it likes.
    pub(crate) fn new(control: &'a Control<'a>, from: f64, deadline: Option<f64>) -> Self {
        let until = deadline.map_or(f64::INFINITY, |deadline| from + deadline);
        Watch { control, until, late: Cell::new(false), looks: Cell::new(0) }
    }

    /// For what has no deadline.
    pub(crate) fn without(control: &'a Control<'a>) -> Self {
        Watch::new(control, 0.0, None)
    }

    /// Whether to leave it at what was found so far; `ABORTED` where the caller asked to stop.
    #[inline(never)]
    pub(crate) fn stops(&self) -> Result<bool> {
        self.control.check()?;
        Ok(self.looks_late())
    }

    /// [`Watch::stops`], for who asks so often that not every time need be one to hear the caller.
    #[inline(never)]
    pub(crate) fn stops_at_hop(&self) -> Result<bool> {
        let looks = self.looks.get() + 1;
        self.looks.set(looks % LOOKS);
        if looks == LOOKS { self.stops() } else { Ok(self.looks_late()) }
    }

    fn looks_late(&self) -> bool {
        if self.is_timed() && (self.control.now)() >= self.until {
            self.late.set(true);
        }
        self.late.get()
    }

    /// `ABORTED` where the caller asked to stop.
    pub(crate) fn check(&self) -> Result<()> {
        self.control.check()
    }

    /// Whether there is a deadline.
    pub(crate) fn is_timed(&self) -> bool {
        self.until < f64::INFINITY
    }

    /// Whether it was told to stop because of its deadline.
    pub(crate) fn is_late(&self) -> bool {
        self.late.get()
    }
}
