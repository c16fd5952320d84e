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
            tuner.hear(&Sample { at, done, under_way: 2 * ends.len() as u32 });
            assert!((1..=tuner.depth_max()).contains(&tuner.depth()));
        }
        tuner
    }
}

const fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

#[test]
fn a_late_device_gets_a_deep_queue_within_the_first_second() {
    let device = Device { late: micros(20_000), busy: micros(100) };
    let tuned = device.copy(Tuner::searching(64, MIB), micros(1_000_000)).tuned().unwrap();
    assert_eq!(tuned.depth, 64);
    assert!(tuned.found_after.is_some_and(|after| after < micros(700_000)), "{tuned:?}");
    assert_eq!(tuned.steps, 4, "8, 16, 32, 64");
}

#[test]
fn a_device_that_is_busy_at_once_keeps_the_depth_it_began_with() {
    let device = Device { late: micros(50), busy: micros(500) };
    let tuned = device.copy(Tuner::searching(64, MIB), micros(1_000_000)).tuned().unwrap();
    assert_eq!((tuned.depth, tuned.block_len), (8, MIB));
    assert!(tuned.found_after.is_some_and(|after| after < micros(500_000)), "{tuned:?}");
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
    let sample = |millis, done, under_way| Sample { at: Duration::from_millis(millis), done, under_way };
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
        steps in prop::collection::vec((0..3_000_000_u64, any::<u64>(), any::<u32>()), 0..200),
        depth_max in any::<u32>(),
        block_len in any::<u64>(),
    ) {
        let mut tuner = Tuner::searching(depth_max, block_len);
        let mut at = Duration::ZERO;
        for (passed, done, under_way) in steps {
            at += micros(passed);
            let before = tuner.depth();
            prop_assert_eq!(tuner.hear(&Sample { at, done, under_way }), tuner.depth() != before);
            prop_assert!((1..=DEPTH_TRIED_MAX).contains(&tuner.depth()));
            prop_assert!(tuner.depth() <= tuner.depth_max());
        }
    }
}
