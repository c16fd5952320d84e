//! A copy between two devices that answer after 20 ms: the depth that the copy finds beside fixed ones, in turns.
//!
//! Run by `cargo xtask bench depth`. Under emulation the machine, not the delay, is what bounds a deep queue; the requests are short, so that depth
//! decides as long as it can.

use std::path::Path;

use bulkio::copy::{CopyOptions, End, Report, Setting, Silent, copy};

use crate::or_skip;
use crate::support::{Mapper, in_lab};

/// The disks, and the bytes of a copy of the deepest queue: some seconds, of which the search is the first.
const MIB: u64 = 4 << 10;
const ROUNDS: usize = 5;
const DELAY_MS: u32 = 20;
const DEPTHS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Bytes of a request, alike for all: 64 of them in 20 ms are 800 MiB a second, which the emulated processor can move.
const BLOCK_LEN: u64 = 256 << 10;

/// What the best fixed depth must not be faster by.
const FLOOR: f64 = 0.9;

/// The part of the range that shallow queues copy: a whole one would take them minutes. The search gets what the deepest queue gets.
fn bytes(depth: Setting<u32>) -> u64 {
    let [.., deepest] = DEPTHS;
    (MIB << 20) / u64::from(deepest) * u64::from(depth.fixed().unwrap_or(deepest))
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
    // What is read is zeros, and what is written is dropped: nobody has memory for disks of this size, and only the time counts.
    let [source, destination] =
        ["zero-from", "zero-to"].map(|name| Mapper::new(name, &format!("0 {} zero\n", MIB << 11)));
    let late = |name: &str, disk: &Mapper| {
        Mapper::new(name, &format!("0 {} delay {} 0 {DELAY_MS}\n", MIB << 11, disk.node().display()))
    };
    let (from, to) = (late("late-from", &source), late("late-to", &destination));
    let settings: Vec<Setting<u32>> =
        std::iter::once(Setting::Auto).chain(DEPTHS.map(Setting::Fixed)).collect();
    let mut speeds = vec![Vec::new(); settings.len()];
    for round in 0..ROUNDS {
        for turn in 0..settings.len() {
            let which = (round + turn) % settings.len();
            let (speed, report) = speed(&from.node(), &to.node(), settings[which]);
            if let Some(tuned) = report.tuned {
                println!("depth: round {round}: {speed:.0} MiB/s, {tuned:?}");
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
