//! How long the two threads of a write in the Node addon wait awake for each other. The addon itself cannot be linked
//! without Node.

#[path = "../../node/src/patience.rs"]
mod policy;

use policy::{Look, Patience, Vigil};
use std::time::{Duration, Instant};

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// Writes one after the other, with a pause between; JavaScript looks for each once a turn of its event loop.
struct Run {
    patience: Patience,
    now: Instant,
    pause: u64,
    turn: u64,
}

impl Run {
    fn new() -> Run {
        Run { patience: Patience::default(), now: Instant::now(), pause: 5, turn: 3 }
    }

    /// After writes of so long.
    fn after(takes: u64) -> Run {
        let mut run = Run::new();
        run.looked_for(10, takes);
        run
    }

    /// Writes once; whether JavaScript had not to be woken, how long it looked, and how long it held up the event loop.
    fn write(&mut self, takes: u64) -> (bool, Duration, Duration) {
        self.now += micros(self.pause);
        let called = self.now;
        let done = called + micros(takes);
        self.patience.called(called);
        let mut held = Duration::ZERO;
        let slept = loop {
            self.now += micros(self.turn);
            if self.now >= done {
                break false;
            }
            match self.patience.look(self.now) {
                Look::Sleep => break true,
                Look::Again(slice) => {
                    let until = done.min(self.now + slice);
                    held += until - self.now;
                    assert!(slice <= micros(20), "{slice:?}");
                    self.now = until;
                    self.patience.leave(self.now);
                }
            }
        };
        let looked = self.now - called;
        self.patience.note(micros(takes));
        self.now = self.now.max(done);
        self.patience.found(self.now);
        (!slept, looked, held)
    }

    /// How many of `n` writes were looked for until they were done.
    fn looked_for(&mut self, n: usize, takes: u64) -> usize {
        (0..n).filter(|_| self.write(takes).0).count()
    }
}

#[test]
fn short_writes_in_a_row_are_looked_for_after_a_few() {
    let mut run = Run::new();
    assert_eq!(run.looked_for(4, 80), 0);
    assert_eq!(run.looked_for(1000, 80), 1000);
    for takes in [100, 20, 150, 80, 1] {
        assert!(run.write(takes).0, "{takes} us");
    }
}

#[test]
fn long_writes_are_not_looked_for() {
    let mut run = Run::new();
    for _ in 0..100 {
        let (found, looked, _) = run.write(400);
        assert!(!found && looked == micros(3), "{looked:?}");
    }
}

#[test]
fn writes_with_pauses_between_are_not_looked_for() {
    let mut run = Run::after(80);
    run.pause = 150;
    assert_eq!(run.looked_for(100, 80), 0);
    run.pause = 50;
    assert_eq!(run.looked_for(100, 80), 97, "all but the first three");
}

#[test]
fn one_long_write_among_short_ones_is_given_up_soon_and_soon_forgotten() {
    let mut run = Run::after(80);
    let (found, looked, _) = run.write(50_000);
    assert!(!found && looked < micros(400), "{looked:?}");
    assert_eq!(run.looked_for(100, 80), 100);
}

#[test]
fn looking_lasts_for_so_long_as_writes_take_and_no_longer() {
    for takes in [10, 50, 100, 290] {
        let (_, looked, _) = Run::after(takes).write(1_000_000);
        assert!(looked <= micros(2 * takes + 150), "{looked:?} for writes of {takes} us");
    }
}

#[test]
fn a_look_holds_up_only_a_loop_that_has_nothing_else_to_do() {
    for (turn, holds) in [(3, true), (10, true), (20, false), (40, false)] {
        let mut run = Run::after(200);
        run.turn = turn;
        let (found, _, held) = run.write(200);
        assert!(found, "a turn of {turn} us");
        assert_eq!(!held.is_zero(), holds, "{held:?} in turns of {turn} us");
    }
}

#[test]
fn the_writer_stays_awake_where_writes_follow_closely_and_for_a_moment() {
    let mut vigil = Vigil::default();
    let mut spent = Duration::ZERO;
    for _ in 0..10 {
        spent += vigil.lasts();
        vigil.note(micros(10));
    }
    assert!(!spent.is_zero());
    assert!(vigil.lasts() <= micros(50));
    // One that came late ends it, and so do the first after a pause.
    vigil.note(micros(60));
    for _ in 0..3 {
        assert!(vigil.lasts().is_zero());
        vigil.note(micros(10));
    }
    for _ in 0..100 {
        vigil.note(micros(200));
        assert!(vigil.lasts().is_zero());
    }
}
