//! Playback from sources that stand still, and playback that is stopped.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use bulkio::copy::{Control, End, LossReason, Observer, Progress, Silent, copy};
use bulkio::device::audio::{AudioOptions, Direction, SampleFormat};

use super::copying::{Recording, options, play, samples, small};
use super::player::{contains, difference, open};
use crate::common::storage_dir;
use crate::or_skip;
use crate::support::{in_lab, wait_until};

#[test]
fn a_source_that_stands_still_is_told_and_nothing_is_left_out() {
    const NAME: &str = "audio::sources::a_source_that_stands_still_is_told_and_nothing_is_left_out";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let (pipe, to) = (folder.path().join("pipe"), folder.path().join("to.raw"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (bytes, padded) = samples(SampleFormat::S16Le, 2, 48_000);
    let recording = Recording::start("hw:0,1,2", &to, options(SampleFormat::S16Le, 2));
    let writer = std::thread::spawn({
        let (pipe, padded) = (pipe.clone(), padded.clone());
        move || {
            let mut pipe = File::options().write(true).open(pipe).unwrap();
            let (first, rest) = padded.split_at(20_000 * 4);
            pipe.write_all(first).unwrap();
            let status = Path::new("/proc/asound/card0/pcm0p/sub2/status");
            wait_until("the ring is empty", || fs::read_to_string(status).unwrap().contains("XRUN"));
            pipe.write_all(rest).unwrap();
        }
    });
    let played = play(&pipe, "hw:0,0,2", &small(options(SampleFormat::S16Le, 2), 2048, 16_384));
    writer.join().unwrap();
    recording.stop().0.unwrap();
    let side = &played.destination;
    let stream = side.stream.as_ref().unwrap();
    assert_eq!((stream.frames, played.bytes), (72_000, padded.len() as u64), "{stream:?}");
    // A slow machine may be late once more; each time is told.
    assert!(stream.xruns >= 1 && stream.losses_unlisted == 0, "{stream:?}");
    assert_eq!(stream.losses.len() as u64, stream.xruns, "{stream:?}");
    // What was read behind the gap is moved to the ring's beginning, and counted once.
    assert_eq!(side.direct_bytes + side.bounced_bytes, played.bytes, "{side:?}");
    assert!(side.bounces.iter().any(|(why, bytes)| why.contains("ran dry") && *bytes > 0), "{side:?}");
    // All that was read by then was played: the ring full once, and no more than the source gave.
    let loss = stream.losses[0];
    assert!(loss.reason == LossReason::Xrun && (16_384..=20_000).contains(&loss.at_frame), "{loss:?}");
    let heard = fs::read(&to).unwrap();
    let before = &bytes[..loss.at_frame as usize * 4];
    assert!(contains(&heard, before), "{}", difference(&heard, before));
    // A device stops a little late: what was being read to the ring by then may be heard in front of the gap too, so the last time counts.
    let places = stream.losses.iter().map(|loss| (loss.at_frame as usize * 4).min(bytes.len()));
    for (start, end) in places.clone().zip(places.skip(1).chain([bytes.len()])) {
        let behind = &bytes[start..end];
        let Some(first) = behind.get(..64) else { continue };
        let again = heard.windows(64).rposition(|frames| frames == first).expect("it goes on");
        assert!(heard[again..].starts_with(behind), "{}", difference(&heard[again..], behind));
    }
}

#[test]
fn a_stream_that_ends_within_a_frame_is_played_and_told() {
    const NAME: &str = "audio::sources::a_stream_that_ends_within_a_frame_is_played_and_told";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || File::options().write(true).open(pipe).unwrap().write_all(&[0; 10_000 * 4 + 3]).unwrap()
    });
    let asked = small(options(SampleFormat::S16Le, 2), 2048, 16_384);
    let failure = copy(End::Path(&pipe), End::Path(Path::new("hw:1,0")), &asked, &mut Silent).unwrap_err();
    writer.join().unwrap();
    let error = failure.error.to_string();
    assert!(error.contains("10000 frames of 4 bytes") && error.contains("3 bytes more"), "{error}");
    let report = failure.report.unwrap();
    assert_eq!(
        (report.bytes, report.destination.stream.unwrap().frames),
        (40_000, 10_000),
        "all that is whole"
    );
}

/// Stops a playback after so many frames.
struct StopAfter(u64);

impl Observer for StopAfter {
    fn progress(&mut self, progress: &Progress) -> Control {
        let is_over = progress.stream.is_some_and(|stream| stream.frames >= self.0);
        if is_over { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, text: &str) {
        eprintln!("warning: {text}");
    }
}

#[test]
fn a_playback_that_is_stopped_says_how_far_it_came_and_leaves_the_device() {
    const NAME: &str =
        "audio::sources::a_playback_that_is_stopped_says_how_far_it_came_and_leaves_the_device";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    let from = folder.path().join("from.raw");
    let (_, padded) = samples(SampleFormat::S16Le, 2, 480_000);
    fs::write(&from, &padded).unwrap();
    let asked = small(options(SampleFormat::S16Le, 2), 2048, 65_536);
    let mut observer = StopAfter(20_000);
    let report = copy(End::Path(&from), End::Path(Path::new("hw:1,0")), &asked, &mut observer).unwrap();
    let stream = report.destination.stream.as_ref().unwrap();
    assert!(report.interrupted && !stream.lost(), "{report:?}");
    assert!((20_000..240_000).contains(&stream.frames), "{}", stream.frames);
    assert_eq!(report.bytes, stream.frames * 4);
    // The rest is not played by anybody, and the card has one subdevice.
    wait_until("the device is free", || {
        open("hw:1,0", Direction::Playback, &AudioOptions::default()).is_ok()
    });
}

#[test]
fn what_was_recorded_is_played_with_the_ring_moved_against_the_file() {
    const NAME: &str = "audio::sources::what_was_recorded_is_played_with_the_ring_moved_against_the_file";
    or_skip!(NAME, in_lab("audio"));
    let folder = or_skip!(NAME, storage_dir());
    // A file that is longer than the ring, so that it is gone around, with frames that do not divide blocks.
    let (from, to) = (folder.path().join("from.raw"), folder.path().join("to.raw"));
    let (bytes, padded) = samples(SampleFormat::S24_3Le, 2, 60_001);
    fs::write(&from, &padded).unwrap();
    let recording = Recording::start("hw:0,1,3", &to, small(options(SampleFormat::S24_3Le, 2), 4000, 40_000));
    let played = play(&from, "hw:0,0,3", &small(options(SampleFormat::S24_3Le, 2), 4000, 40_000));
    let (recorded, losses) = recording.stop();
    let recorded = recorded.unwrap();
    assert_eq!((losses.len(), played.bytes), (0, padded.len() as u64));
    // A ring of 240000 bytes is no whole number of blocks, and what is copied for that has a reason.
    let copied =
        |bounces: &[(String, u64)]| bounces.iter().any(|(why, bytes)| why.contains("blocks") && *bytes > 0);
    assert!(copied(&played.destination.bounces), "{:?}", played.destination);
    assert!(played.notes.iter().any(|note| note.contains("whole blocks")), "{:?}", played.notes);
    assert!(recorded.notes.iter().any(|note| note.contains("whole blocks")), "{:?}", recorded.notes);
    let heard = fs::read(&to).unwrap();
    assert!(contains(&heard, &bytes), "{}", difference(&heard, &bytes));
}
