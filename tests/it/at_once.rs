//! When the Node addon answers a search on the thread that asks. The addon itself cannot be linked without Node.

#[path = "../../node/src/at_once.rs"]
mod policy;

use policy::Pace;
use std::time::{Duration, Instant};

const UNITS: u32 = 64;

/// Searches one after the other, a tenth of a millisecond apart, on the thread that the policy says: on another one they
/// take half as long again.
struct Run {
    pace: Pace,
    now: Instant,
}

impl Run {
    fn new() -> Run {
        Run { pace: Pace::default(), now: Instant::now() }
    }

    /// Whether the search was answered at once.
    fn search(&mut self, units: u32, micros: u64) -> bool {
        let at_once = self.pace.allows(units, self.now);
        let took = Duration::from_micros(if at_once { micros } else { micros * 3 / 2 });
        self.now += took + Duration::from_micros(100);
        self.pace.note(units, took, at_once, self.now);
        at_once
    }

    /// How many of `n` searches were answered at once.
    fn searches(&mut self, n: usize, micros: u64) -> usize {
        (0..n).filter(|_| self.search(UNITS, micros)).count()
    }
}

#[test]
fn short_searches_are_answered_at_once_after_a_few() {
    let mut run = Run::new();
    assert_eq!(run.searches(8, 50), 0);
    assert_eq!(run.searches(1000, 50), 1000);
}

#[test]
fn long_searches_never_are() {
    for micros in [350, 1000, 20_000] {
        assert_eq!(Run::new().searches(1000, micros), 0, "{micros} us");
    }
}

#[test]
fn one_that_asks_for_more_is_expected_to_take_longer() {
    let mut run = Run::new();
    run.searches(100, 50);
    assert!(run.search(2 * UNITS, 100));
    assert!(!run.search(7 * UNITS, 350));
    // That it took long was expected, and says nothing of the others.
    assert!(!run.search(20 * UNITS, 1000));
    assert!(run.search(UNITS, 50));
}

#[test]
fn one_late_answer_sends_the_next_searches_away_and_each_more_for_longer() {
    let mut run = Run::new();
    run.searches(8, 50);
    for away in [16, 32, 64, 128, 256, 512, 1024, 2048, 2048] {
        assert!(run.search(UNITS, 1500));
        assert_eq!(run.searches(away, 50), 0, "{away}");
        assert!(run.search(UNITS, 50));
    }
}

#[test]
fn a_stall_counts_for_more() {
    let mut run = Run::new();
    run.searches(8, 50);
    assert!(run.search(UNITS, 10_000));
    assert_eq!(run.searches(64, 50), 0);
    assert_eq!(run.searches(10, 50), 10);
}

#[test]
fn trust_comes_back_while_things_go_well() {
    let mut run = Run::new();
    run.searches(8, 50);
    for away in [16, 32, 64] {
        assert!(run.search(UNITS, 1500));
        run.searches(away, 50);
    }
    // Enough that went well to halve 64, and the half of that.
    assert_eq!(run.searches(16 * (64 + 32), 50), 16 * (64 + 32));
    assert!(run.search(UNITS, 1500));
    assert_eq!(run.searches(32, 50), 0);
    assert_eq!(run.searches(10, 50), 10);
}

#[test]
fn a_late_search_on_another_thread_ends_the_streak_without_blame() {
    let mut run = Run::new();
    run.searches(4, 50);
    run.search(UNITS, 2000);
    // One that waited for a processor hardly changes what the next are expected to take.
    assert_eq!(run.searches(8, 50), 0);
    assert_eq!(run.searches(10, 50), 10);
}

#[test]
fn searches_that_often_wait_for_a_disk_stay_away_however_short_the_others_are() {
    for every in [2, 5, 10, 50, 200] {
        let mut run = Run::new();
        let late = (0..100_000).filter(|i| {
            let waits = i % every == every - 1;
            run.search(UNITS, if waits { 2000 } else { 30 }) && waits
        });
        assert!(late.count() <= 10, "one in {every}");
    }
}

#[test]
fn after_a_pause_one_search_shows_whether_all_is_still_in_memory() {
    let mut run = Run::new();
    run.searches(100, 50);
    run.now += Duration::from_secs(5);
    assert_eq!(run.searches(8, 50), 8);
    run.now += Duration::from_secs(11);
    assert_eq!(run.searches(1, 50), 0);
    assert_eq!(run.searches(8, 50), 8);
    run.now += Duration::from_secs(11);
    assert_eq!(run.searches(1, 5000), 0);
    assert_eq!(run.searches(8, 50), 0);
    assert_eq!(run.searches(8, 50), 8);
}

#[test]
fn a_first_search_that_made_all_codes_does_not_keep_the_others_away() {
    let mut run = Run::new();
    run.searches(1, 300_000);
    assert_eq!(run.searches(8, 50), 0);
    assert_eq!(run.searches(8, 50), 8);
}

#[test]
fn a_change_of_the_database_begins_anew() {
    let mut run = Run::new();
    run.searches(100, 50);
    run.pace.start_over();
    assert_eq!(run.searches(8, 50), 0);
    assert_eq!(run.searches(8, 50), 8);
}

#[test]
fn a_database_that_became_slower_is_noticed_and_one_that_became_faster_too() {
    let mut run = Run::new();
    run.searches(100, 20);
    // Slower, but not yet late: what is expected follows.
    assert!(run.searches(100, 400) < 30);
    assert!(!run.search(UNITS, 400));
    run.searches(100, 20);
    assert_eq!(run.searches(100, 20), 100);
}
