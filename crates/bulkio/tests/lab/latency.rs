//! A copy between two devices that answer after 20 ms: beside fio with a reader and a writer at the same depth, in turns.
//!
//! Run by `cargo xtask bench latency`. Under emulation times mean nothing, but for what both spend on waiting: 20 ms are long
//! against the noise.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bulkio::copy::{CopyOptions, End, Silent, copy};

use crate::or_skip;
use crate::support::{Mapper, content, fill, in_lab};

const MIB: u64 = 256;
const ROUNDS: usize = 7;
const DEPTH: u32 = 8;
const DELAY_MS: u32 = 20;

/// What fio must not be faster by: the floor of the ratio of speeds.
const FLOOR: f64 = 0.9;

/// The seconds that fio takes, from the start to the end of the later job, by its own clock.
fn fio(from: &Path, to: &Path) -> f64 {
    let mut command = Command::new("fio");
    command.args([
        "--output-format=terse",
        "--terse-version=3",
        "--direct=1",
        "--ioengine=io_uring",
        "--bs=1M",
    ]);
    command.args([format!("--iodepth={DEPTH}"), format!("--size={MIB}M")]);
    command.args(["--name=reader", "--rw=read"]).arg(format!("--filename={}", from.display()));
    command
        .args(["--name=writer", "--rw=write", "--end_fsync=1"])
        .arg(format!("--filename={}", to.display()));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // HOWTO, "Terse output": runtimes in ms are field 9 of reads and field 50 of writes.
    let times = said.lines().filter(|line| line.starts_with("3;")).map(|line| {
        let field = |number: usize| line.split(';').nth(number - 1).unwrap().parse::<f64>().unwrap();
        field(9).max(field(50))
    });
    times.fold(0.0, f64::max) / 1e3
}

/// The seconds that the copy takes, from the first read until it is durable, by its own clock: as fio counts.
fn ours(from: &Path, to: &Path) -> f64 {
    let options = CopyOptions { depth: DEPTH.into(), block_len: (1 << 20).into(), ..CopyOptions::default() };
    let start = Instant::now();
    let report = copy(End::Path(from), End::Path(to), &options, &mut Silent).unwrap();
    let (seconds, whole) = (report.elapsed.as_secs_f64(), start.elapsed().as_secs_f64());
    assert_eq!(report.bytes, MIB << 20);
    println!(
        "latency: ours {seconds:.3} s ({whole:.3} s with opening, memory and closing), at most {} reads and {} writes in flight",
        report.source.in_flight_max, report.destination.in_flight_max
    );
    assert_eq!((report.source.in_flight_max, report.destination.in_flight_max), (DEPTH, DEPTH));
    seconds
}

#[test]
fn a_copy_hides_the_latency_of_both_sides() {
    const NAME: &str = "latency::a_copy_hides_the_latency_of_both_sides";
    or_skip!(NAME, in_lab("latency"));
    let late =
        |name: &str, disk: &str| Mapper::new(name, &format!("0 {} delay {disk} 0 {DELAY_MS}\n", MIB << 11));
    fill(Path::new("/dev/ram0"), 0, &content(1 << 20));
    let (from, to) = (late("late-from", "/dev/ram0"), late("late-to", "/dev/ram1"));
    let mut ratios = Vec::new();
    for round in 0..=ROUNDS {
        let (own, peer) = (ours(&from.node(), &to.node()), fio(&from.node(), &to.node()));
        println!("latency: fio {peer:.3} s");
        // The first round makes the pages of the RAM disks.
        if round > 0 {
            ratios.push(peer / own);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ROUNDS / 2];
    println!("latency: speed against fio, median of {ROUNDS}: {median:.3} (lowest {:.3})", ratios[0]);
    assert!(median >= FLOOR, "{median:.3} of fio, {FLOOR} is needed");
}
