//! Destinations that stand still longer than the ring lasts, sources that do, and how many calls it all takes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use bulkio::copy::{CopyOptions, LossReason};
use bulkio::device::audio::SampleFormat;

use super::copying::{Recording, options, play, samples, small};
use super::player::{contains, difference, find};
use crate::command::assert_whole;
use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{Mapper, in_lab, wait_until};

const TABLE: &str = "0 131072 linear /dev/ram0 0\n";

#[test]
fn a_destination_that_stands_still_costs_what_is_told() {
    const NAME: &str = "audio::stalls::a_destination_that_stands_still_costs_what_is_told";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let from = folder.path().join("from.raw");
    // Six seconds: much longer than the stall.
    let (bytes, padded) = samples(SampleFormat::S16Le, 2, 288_000);
    fs::write(&from, padded).unwrap();
    let disk = Mapper::new("recording", TABLE);
    let asked = CopyOptions { sync: false, ..small(options(SampleFormat::S16Le, 2), 2048, 16_384) };
    let recording = Recording::start("hw:0,1,0", &disk.node(), asked);
    let told = std::sync::Arc::clone(&recording.told);
    let player = std::thread::spawn({
        let from = from.clone();
        move || play(&from, "hw:0,0,0", &options(SampleFormat::S16Le, 2))
    });
    wait_until("a second is recorded", || told.frames.load(Ordering::Relaxed) > 48_000);
    disk.suspend();
    let status = Path::new("/proc/asound/card0/pcm1c/sub0/status");
    wait_until("the ring is full", || fs::read_to_string(status).unwrap().contains("XRUN"));
    disk.replace(TABLE);
    wait_until("the recording goes on", || told.xruns.load(Ordering::Relaxed) > 0);
    player.join().unwrap();
    let (done, losses) = recording.stop();
    let report = done.unwrap_or_else(|failure| panic!("{}", failure.error));
    let stream = report.source.stream.unwrap();
    assert!(stream.lost() && stream.xruns >= 1, "{stream:?}");
    assert_eq!(stream.losses, losses, "all were told");
    let loss = losses[0];
    assert_eq!((loss.reason, loss.count.is_some()), (LossReason::Xrun, true));
    let mut heard = fs::read("/dev/ram0").unwrap();
    heard.truncate(stream.frames as usize * 4);
    let (before, behind) = heard.split_at(loss.at_frame as usize * 4);
    // Before the gap: the beginning of what was played, without a hole.
    let start = find(before, &bytes).expect("the beginning was heard");
    let upto = before.len() - start;
    assert!(contains(before, &bytes[..upto]), "{}", difference(before, &bytes[..upto]));
    // Behind it: a later part, and as much later as was told.
    let next =
        bytes.chunks_exact(4).skip(upto / 4).position(|frame| frame == &behind[..4]).expect("it goes on");
    let told_frames = loss.count.unwrap();
    assert!(told_frames.abs_diff(next as u64) < 4800, "{next} frames are missing, {told_frames} were told");
    let upto =
        losses.get(1).map_or(behind.len(), |next| (next.at_frame - loss.at_frame) as usize * 4).min(48_000);
    let played = &bytes[before.len() - start + next * 4..];
    let same = behind[..upto].iter().zip(played).take_while(|(a, b)| a == b).count();
    assert!(same == upto.min(played.len()), "{same} bytes of {upto} behind the gap");
    // Where the file's blocks and the ring differ behind it, frames are copied, and that is told.
    if losses.len() == 1 {
        let copied = report.source.bounces.iter().any(|(why, _)| why.contains("xrun"));
        assert_eq!(copied, loss.at_frame * 4 % 512 != 0, "{loss:?} {:?}", report.source.bounces);
    }
}

/// Calls of a program that the kernel counted.
fn calls(folder: &Path, program: &str, words: &[&str]) -> u64 {
    let log = folder.join("strace");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&log).arg(program).args(words);
    let output = command.output().unwrap();
    assert_whole(&output, words[0] == "copy");
    let text = fs::read_to_string(&log).unwrap();
    let total = text.lines().find(|line| line.ends_with("total")).unwrap_or_else(|| panic!("{text}"));
    // "100.00    0.012345          12       345        10 total"
    total.split_ascii_whitespace().nth(3).unwrap().parse().unwrap()
}

#[test]
fn a_recording_takes_fewer_calls_than_arecord() {
    const NAME: &str = "audio::stalls::a_recording_takes_fewer_calls_than_arecord";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let to = folder.path().join("to.raw");
    let to = to.to_str().unwrap();
    let command = std::env::var("BULKIO_BIN").expect("the lab says where the command is");
    let ours = |seconds: u64| {
        let frames = (48_000 * seconds).to_string();
        let words = [
            "copy",
            "hw:1,1",
            to,
            "--sample",
            "S16_LE",
            "--rate",
            "48000",
            "--channels",
            "2",
            "--period",
            "1024",
            "--ring",
            "65536",
            "--frames",
            &frames,
        ];
        let calls = calls(folder.path(), &command, &words);
        assert_eq!(fs::metadata(to).unwrap().len(), 48_000 * seconds * 4);
        calls
    };
    let theirs = |seconds: u64| {
        let seconds = seconds.to_string();
        let words = [
            "-q",
            "-D",
            "hw:1,1",
            "-t",
            "raw",
            "-f",
            "S16_LE",
            "-r",
            "48000",
            "-c",
            "2",
            "--period-size=1024",
            "--buffer-size=65536",
            "-d",
            &seconds,
            to,
        ];
        calls(folder.path(), "arecord", &words)
    };
    // What both do at their beginning and end is left out.
    let (ours, theirs) = (ours(6).saturating_sub(ours(2)), theirs(6).saturating_sub(theirs(2)));
    let periods = 4.0 * 48_000.0 / 1024.0;
    eprintln!(
        "calls a period of 1024 frames: {:.2} here, {:.2} of arecord",
        ours as f64 / periods,
        theirs as f64 / periods
    );
    assert!(ours < theirs, "{ours} calls in four seconds, {theirs} of arecord");
}
