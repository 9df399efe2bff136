//! How long the two threads of a write in the Node addon wait awake for each other. The addon itself cannot be linked
//! without Node.

#[path = "../../node/src/patience.rs"]
mod policy;

use policy::{Look, Patience, Vigil};
use std::time::{Duration, Instant};

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// Looks once a turn, of so many microseconds, for a write that takes so long; whether it had not to be woken, and how
/// long it looked.
fn looks(patience: &mut Patience, turn: u64, takes: u64) -> (bool, Duration) {
    let began = Instant::now();
    let mut now = began;
    let mut held = Duration::ZERO;
    while now - began < micros(takes) {
        match patience.look(now) {
            Look::Sleep => {
                patience.note(micros(takes));
                return (false, now - began);
            }
            Look::Again(slice) => {
                now += slice;
                held = held.max(slice);
                patience.leave(now);
            }
        }
        now += micros(turn);
    }
    assert!(held <= micros(20), "held up the event loop for {held:?}");
    patience.found();
    patience.note(micros(takes));
    (true, now - began)
}

#[test]
fn short_writes_are_looked_for_from_the_second_on() {
    let mut patience = Patience::default();
    assert!(!looks(&mut patience, 3, 80).0);
    for takes in [80, 100, 20, 150, 80, 1] {
        assert!(looks(&mut patience, 3, takes).0, "{takes} us");
    }
}

#[test]
fn long_writes_are_not_looked_for() {
    let mut patience = Patience::default();
    for _ in 0..100 {
        assert_eq!(looks(&mut patience, 3, 400), (false, Duration::ZERO));
    }
}

#[test]
fn one_long_write_among_short_ones_is_given_up_soon_and_soon_forgotten() {
    let mut patience = Patience::default();
    looks(&mut patience, 3, 80);
    let (found, looked) = looks(&mut patience, 3, 50_000);
    assert!(!found && looked < micros(400), "{looked:?}");
    let woken = (0..20).filter(|_| !looks(&mut patience, 3, 80).0).count();
    assert!(woken <= 3, "{woken}");
}

#[test]
fn looking_lasts_for_so_long_as_writes_take_and_no_longer() {
    for takes in [10, 50, 100, 290] {
        let mut patience = Patience::default();
        looks(&mut patience, 3, takes);
        let (_, looked) = looks(&mut patience, 3, 1_000_000);
        assert!(looked <= micros(2 * takes + 150), "{looked:?} for writes of {takes} us");
    }
}

#[test]
fn a_look_holds_up_only_a_loop_that_has_nothing_else_to_do() {
    for (turn, slices) in [(3, true), (10, true), (20, false), (1000, false)] {
        let mut patience = Patience::default();
        patience.note(micros(80));
        let mut now = Instant::now();
        assert_eq!(patience.look(now), Look::Again(Duration::ZERO), "the first only looks");
        patience.leave(now);
        now += micros(turn);
        let again = patience.look(now);
        let want = match slices {
            true => Look::Again(micros(20)),
            false if turn < 200 => Look::Again(Duration::ZERO),
            false => Look::Sleep,
        };
        assert_eq!(again, want, "a turn of {turn} us");
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
