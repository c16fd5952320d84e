//! A copy between two devices that answer after 20 ms: the depth that the copy finds beside fixed ones, in turns.
//!
//! Run by `cargo xtask bench depth`. Under emulation the machine, not the delay, is what bounds a deep queue; the requests are short, so that depth
//! decides as long as it can.

use std::path::Path;

use bulkio::copy::{CopyOptions, End, Report, Setting, Silent, copy};

use crate::or_skip;
use crate::support::{Mapper, content, fill, in_lab};

/// The disk, and the bytes of a copy that is deep: two seconds at 384 MiB a second.
const MIB: u64 = 768;
const ROUNDS: usize = 5;
const DELAY_MS: u32 = 20;
const DEPTHS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Bytes of a request, alike for all.
const BLOCK_LEN: u64 = 1 << 20;

/// What the best fixed depth must not be faster by.
const FLOOR: f64 = 0.9;

/// The part of the range that shallow queues copy: a whole one would take them minutes.
fn bytes(depth: Setting<u32>) -> u64 {
    let share = depth.fixed().map_or(8, |depth| u64::from(depth).min(8));
    (MIB << 20) * share / 8
}

/// Copies, and returns MiB in a second by the copy's own clock.
fn speed(from: &Path, to: &Path, depth: Setting<u32>) -> (f64, Report) {
    let (block_len, count) = (Setting::Fixed(BLOCK_LEN), Some(bytes(depth)));
    let options = CopyOptions { depth, block_len, count, ..CopyOptions::default() };
    let report = copy(End::Path(from), End::Path(to), &options, &mut Silent).unwrap();
    assert_eq!(report.bytes, bytes(depth));
    (report.bytes as f64 / report.elapsed.as_secs_f64() / f64::from(1 << 20), report)
}

fn median(speeds: &[f64]) -> f64 {
    let mut sorted = speeds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[test]
fn the_depth_that_is_found_is_nearly_as_good_as_the_best() {
    const NAME: &str = "depth::the_depth_that_is_found_is_nearly_as_good_as_the_best";
    or_skip!(NAME, in_lab("depth"));
    let late =
        |name: &str, disk: &str| Mapper::new(name, &format!("0 {} delay {disk} 0 {DELAY_MS}\n", MIB << 11));
    fill(Path::new("/dev/ram0"), 0, &content(1 << 20));
    let (from, to) = (late("late-from", "/dev/ram0"), late("late-to", "/dev/ram1"));
    let settings: Vec<Setting<u32>> =
        std::iter::once(Setting::Auto).chain(DEPTHS.map(Setting::Fixed)).collect();
    // The pages of the RAM disks are made before anything is measured.
    let (_, found) = speed(&from.node(), &to.node(), Setting::Auto);
    println!("depth: found before: {:?}", found.tuned);
    let mut speeds = vec![Vec::new(); settings.len()];
    for round in 0..ROUNDS {
        for turn in 0..settings.len() {
            let which = (round + turn) % settings.len();
            let (speed, report) = speed(&from.node(), &to.node(), settings[which]);
            if let Some(tuned) = report.tuned {
                println!(
                    "depth: round {round}: {speed:.0} MiB/s, depth {} found after {:?}",
                    tuned.depth, tuned.found_after
                );
                assert!(tuned.depth > 8, "a late device wants a deep queue: {tuned:?}");
            }
            speeds[which].push(speed);
        }
    }
    let medians: Vec<f64> = speeds.iter().map(|speeds| median(speeds)).collect();
    for (setting, median) in settings.iter().zip(&medians) {
        println!("depth: {setting:?}: {median:.0} MiB/s over {} MiB", bytes(*setting) >> 20);
    }
    let best = medians[1..].iter().copied().fold(0.0, f64::max);
    let ratio = medians[0] / best;
    println!("depth: auto over the best fixed depth, medians of {ROUNDS}: {ratio:.3}");
    assert!(ratio >= FLOOR, "{ratio:.3} of the best fixed depth, {FLOOR} is needed");
}
