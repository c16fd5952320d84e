//! The search over made-up devices: one side that answers late, or moves so many bytes a second and no more.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A device that answers `late` after a request was made, and moves one request after the other, `busy` each.
#[derive(Clone, Copy, Debug)]
struct Device {
    late: Duration,
    busy: Duration,
}

impl Device {
    /// Bytes in a second at a depth: what the arithmetic of queues says.
    fn rate(self, depth: u32) -> f64 {
        let by_depth = f64::from(depth) / (self.late + self.busy).as_secs_f64();
        let most = 1.0 / self.busy.as_secs_f64();
        by_depth.min(most) * MIB as f64
    }

    /// Copies for some time, and returns the tuner.
    fn copy(self, mut tuner: Tuner, time: Duration) -> Tuner {
        let (mut at, mut free, mut done) = (Duration::ZERO, Duration::ZERO, 0);
        let mut ends = VecDeque::new();
        while at < time {
            while ends.len() < tuner.depth() as usize {
                free = free.max(at) + self.busy;
                ends.push_back(free + self.late);
            }
            at = ends.pop_front().unwrap();
            done += MIB;
            tuner.hear(&sample(at, done, 2 * ends.len() as u32));
            assert!((1..=tuner.depth_max()).contains(&tuner.depth()));
        }
        tuner
    }
}

/// Of devices that work by themselves.
const fn sample(at: Duration, done: u64, under_way: u32) -> Sample {
    Sample { at, done, under_way, operations: done / MIB, at_once: 0, busy: Duration::ZERO }
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn a_late_device_gets_a_deep_queue_within_the_first_second() {
    let device = Device { late: micros(20_000), busy: micros(100) };
    let tuned = device.copy(Tuner::searching(64, MIB), micros(1_000_000)).tuned().unwrap();
    assert_eq!(tuned.depth, 64);
    assert!(tuned.found_after.is_some_and(|after| after < micros(500_000)), "{tuned:?}");
    assert_eq!(tuned.steps, 4, "8, 16, 32, 64");
}

#[test]
fn a_device_that_is_busy_at_once_keeps_the_depth_it_began_with() {
    let device = Device { late: micros(50), busy: micros(500) };
    let tuned = device.copy(Tuner::searching(64, MIB), micros(1_000_000)).tuned().unwrap();
    assert_eq!((tuned.depth, tuned.block_len), (8, MIB));
    assert!(tuned.found_after.is_some_and(|after| after < micros(500_000)), "{tuned:?}");
}

/// A device in the processor's memory: what does not fit its caches is slower, and speeds waver.
fn in_memory(waver: &[u64], rates: [u64; 4]) -> Tuner {
    let mut tuner = Tuner::searching(64, MIB);
    let (mut at, mut done, mut wavers) = (Duration::ZERO, 0, waver.iter().cycle());
    while tuner.tuned().is_some_and(|tuned| tuned.found_after.is_none()) && at < micros(5_000_000) {
        let rate = match tuner.depth() {
            1 => rates[0],
            2 => rates[1],
            3..8 => rates[2],
            _ => rates[3],
        };
        let wavered = rate * wavers.next().unwrap() / 100;
        at += micros(MIB * 1_000_000 / (wavered << 20));
        done += MIB;
        tuner.hear(&sample(at, done, 2 * tuner.depth()));
    }
    tuner
}

#[test]
fn a_device_in_memory_gets_a_queue_that_fits_the_caches() {
    let tuned = in_memory(&[100, 103, 97], [1060, 1030, 912, 885]).tuned().unwrap();
    assert!(tuned.depth <= 2, "{tuned:?}");
    assert!(tuned.found_after.is_some_and(|after| after < micros(1_200_000)), "{tuned:?}");
    // Where it is no better the queue stays deep.
    assert!(in_memory(&[100, 104, 96], [900, 905, 900, 900]).tuned().unwrap().depth >= 8);
}

/// Runs a search to its end; `rates` are MiB in a second by depth, and all but one operation in a hundred are there at once.
fn inline(mut tuner: Tuner, rate: impl Fn(u32) -> u64) -> Tuned {
    let (mut micros_passed, mut done) = (0, 0);
    while tuner.tuned().is_some_and(|tuned| tuned.found_after.is_none()) && micros_passed < 5_000_000 {
        micros_passed += 1_000_000 / rate(tuner.depth());
        done += 1;
        let sample = sample(micros(micros_passed), done * MIB, 2 * tuner.depth());
        tuner.hear(&Sample { operations: done, at_once: done - done / 100, busy: sample.at, ..sample });
    }
    let tuned = tuner.tuned().unwrap();
    assert_eq!(tuned.depth, tuner.depth());
    tuned
}

#[test]
fn a_device_that_works_while_it_is_asked_gets_next_to_no_queue() {
    let tuned = inline(Tuner::searching(64, MIB), |_| 900);
    assert_eq!((tuned.depth, tuned.steps), (2, 2), "8, 2");
    assert!(tuned.found_after.is_some_and(|after| after < micros(400_000)), "{tuned:?}");
}

#[test]
fn one_that_only_seems_to_keeps_its_queue() {
    let tuned = inline(Tuner::searching(64, MIB), |depth| if depth < 8 { 700 } else { 900 });
    assert_eq!((tuned.depth, tuned.steps), (8, 4), "8, 2, 16, 2");
    let tuned = inline(Tuner::searching(64, MIB), |depth| u64::from(depth) * 50);
    assert_eq!((tuned.depth, tuned.steps), (64, 5), "8, 2, 16, 32, 64");
    assert!(tuned.found_after.is_some_and(|after| after < micros(600_000)), "{tuned:?}");
    assert_eq!(inline(Tuner::searching(8, MIB), |depth| u64::from(depth) * 50).depth, 8);
}

#[test]
fn a_device_that_tells_of_a_whole_queue_at_a_time_is_none_of_them() {
    // Whenever it is looked at everything is there, and the thread slept meanwhile.
    let mut tuner = Tuner::searching(16, MIB);
    for millis in 1..2000 {
        let sample = sample(Duration::from_millis(millis), millis * MIB, 2 * tuner.depth());
        let busy = Duration::from_millis(millis / 10);
        tuner.hear(&Sample { operations: 2 * millis, at_once: 2 * millis, busy, ..sample });
        assert!(tuner.tuned().unwrap().steps != 1 || tuner.depth() == 16, "{tuner:?}");
    }
    assert!(tuner.tuned().unwrap().steps > 1);
}

#[test]
fn memory_that_comes_late_is_waited_for() {
    let mut tuner = Tuner::searching(16, MIB);
    let mut at = 0;
    while tuner.depth() == 8 {
        at += 1;
        tuner.hear(&sample(Duration::from_millis(at), at * MIB, 16));
    }
    // What comes until there is memory says nothing of the depth.
    let late = sample(Duration::from_millis(at + 500), (at + 500) * MIB, 16);
    tuner.settle(&late);
    assert!(!tuner.hear(&Sample { at: late.at + micros(100), done: late.done + 15 * MIB, ..late }));
    assert_eq!(
        tuner.search.as_ref().unwrap().stage,
        Stage::Settling { since: Some(late.at), until: late.done + 16 * MIB }
    );
    assert!(tuner.listens(late.at));
    // A depth that is kept stays so.
    tuner.search.as_mut().unwrap().stage = Stage::Keeping { until: late.at + micros(1) };
    tuner.settle(&late);
    assert!(!tuner.listens(late.at) && tuner.listens(late.at + micros(1)));
    assert!(!Tuner::fixed(3, MIB).listens(late.at));
}

#[test]
fn one_slow_moment_does_not_make_a_queue_shallow() {
    // What is measured of 8 falls into a moment at half speed; 2 and 16 do not.
    let mut tuner = Tuner::searching(16, MIB);
    let (mut at, mut done) = (Duration::ZERO, 0);
    while tuner.tuned().is_some_and(|tuned| tuned.found_after.is_none()) && at < micros(5_000_000) {
        let slow = tuner.depth() == 16
            || (tuner.depth() == 8 && tuner.tuned().is_some_and(|tuned| tuned.steps == 0));
        at += micros(if slow { 2000 } else { 1000 });
        done += MIB;
        tuner.hear(&sample(at, done, 2 * tuner.depth()));
    }
    let tuned = tuner.tuned().unwrap();
    assert_eq!((tuned.depth, tuned.steps), (8, 5), "8, 16, 2, 8 again, 2 again");
}

#[test]
fn a_fixed_depth_stays() {
    let device = Device { late: micros(20_000), busy: micros(100) };
    let tuner = device.copy(Tuner::fixed(3, MIB), micros(3_000_000));
    assert_eq!((tuner.depth(), tuner.tuned()), (3, None));
}

#[test]
fn a_search_is_over_where_everything_is_read() {
    let mut tuner = Tuner::searching(64, MIB);
    let sample = |millis, done, under_way| sample(Duration::from_millis(millis), done, under_way);
    assert!(!tuner.hear(&sample(1, 8 * MIB, 16)));
    assert!(!tuner.hear(&sample(100, 20 * MIB, 16)));
    assert!(tuner.hear(&sample(200, 24 * MIB, 16)), "16 are tried");
    assert_eq!(tuner.depth(), 16);
    assert!(!tuner.hear(&sample(300, 50 * MIB, 32)));
    assert!(tuner.hear(&sample(310, 60 * MIB, 14)), "the source has ended");
    for millis in 400..9000 {
        assert!(!tuner.hear(&sample(millis, millis * MIB, 32)));
    }
    let tuned = tuner.tuned().unwrap();
    assert_eq!((tuned.depth, tuned.steps, tuned.found_after), (8, 1, None));
}

#[test]
fn what_there_is_no_memory_for_is_not_tried() {
    let device = Device { late: micros(20_000), busy: micros(100) };
    assert_eq!(device.copy(Tuner::searching(31, MIB), micros(2_000_000)).depth(), 31);
    assert_eq!(Tuner::searching(0, MIB).depth(), 1);
    let mut tuner = Tuner::searching(64, MIB);
    tuner.bound(5);
    assert_eq!((tuner.depth(), tuner.depth_max()), (5, 5));
    tuner.bound(9);
    assert_eq!(tuner.depth_max(), 5, "memory does not come back");
}

#[test]
fn a_device_that_turns_late_is_found_out_again() {
    let fast = Device { late: micros(50), busy: micros(500) };
    let late = Device { late: micros(30_000), busy: micros(500) };
    let mut tuner = fast.copy(Tuner::searching(64, MIB), micros(1_000_000));
    assert_eq!(tuner.depth(), 8);
    // The clock of a second copy begins at 0 again: the search is told to go on at once.
    tuner.search.as_mut().unwrap().stage = Stage::Keeping { until: Duration::ZERO };
    assert_eq!(late.copy(tuner, micros(1_000_000)).depth(), 64);
}

proptest! {
    /// Whatever the device, what is found is nearly as fast as the best there is.
    #[test]
    fn what_is_found_is_fast(late in 0..50_000_u64, busy in 50..20_000_u64, depth_max in 1..100_u32) {
        let device = Device { late: micros(late), busy: micros(busy) };
        let tuner = device.copy(Tuner::searching(depth_max, MIB), micros(12_000_000));
        let best = (1..=tuner.depth_max()).map(|depth| device.rate(depth)).fold(0.0, f64::max);
        let found = tuner.tuned().unwrap();
        prop_assert!(device.rate(found.depth) >= 0.9 * best, "{found:?} {} {best}", device.rate(found.depth));
        prop_assert!(found.found_after.is_some(), "{found:?}");
    }

    /// No order of events leads out of the bounds, nor to a search without an end.
    #[test]
    fn any_samples_keep_the_bounds(
        steps in prop::collection::vec((0..3_000_000_u64, any::<u64>(), any::<u32>(), any::<u64>(), 0..3_000_000_u64), 0..200),
        depth_max in any::<u32>(),
        block_len in any::<u64>(),
    ) {
        let mut tuner = Tuner::searching(depth_max, block_len);
        let mut at = Duration::ZERO;
        for (passed, done, under_way, at_once, busy) in steps {
            at += micros(passed);
            let before = tuner.depth();
            let sample = Sample { at, done, under_way, operations: done, at_once, busy: micros(busy) };
            prop_assert_eq!(tuner.hear(&sample), tuner.depth() != before);
            prop_assert!((1..=DEPTH_TRIED_MAX).contains(&tuner.depth()));
            prop_assert!(tuner.depth() <= tuner.depth_max());
        }
    }
}
