//! A disk that stands still for two seconds.

use std::path::Path;
use std::thread;
use std::time::Duration;

use bulkio::copy::{CopyOptions, Report, StreamCopy, VideoCopy};

use super::{Recorder, capture, missing, options, small, stream};
use crate::or_skip;
use crate::support::{Mapper, in_lab};
use crate::video::support::PAGES;

/// How long the disk stands still.
const STALL: Duration = Duration::from_secs(2);

/// At a rate that the emulated grabber holds on a busy machine too: it loses frames by itself where it gets no processor.
const RATE: &str = "5";

const FRAMES: u64 = 40;

/// The name of the device.
const NAME: &str = "stalls";

/// Captures to a disk that is suspended once five frames are on it.
fn with_stall(buffer_len: u64) -> (Report, Vec<u64>) {
    let sectors = 131_072 * 2;
    let mapper = Mapper::new(NAME, &format!("0 {sectors} linear /dev/ram0 0"));
    let node = mapper.node();
    let mut wakes = None;
    let options = options(VideoCopy { rate: Some(RATE.parse().unwrap()), ..small() }, FRAMES);
    let stream = StreamCopy { buffer_len, ..options.stream };
    let options = CopyOptions { stream, ..options };
    let mut recorder = Recorder::after(5, || {
        // Elsewhere: the copy goes on meanwhile.
        wakes = Some(thread::spawn(|| {
            // What is in flight ends first; writes that come later wait.
            Mapper::suspend_named(NAME);
            thread::sleep(STALL);
            Mapper::resume(NAME);
        }));
    });
    let report = capture(PAGES, Path::new(&node), &options, &mut recorder).unwrap();
    let numbers = recorder.frames.iter().map(|frame| frame.sequence).collect();
    drop(recorder);
    wakes.unwrap().join().unwrap();
    (report, numbers)
}

#[test]
fn memory_that_was_given_for_it_absorbs_a_stall() {
    const NAME: &str = "video_copy::stalls::memory_that_was_given_for_it_absorbs_a_stall";
    or_skip!(NAME, in_lab("video"));
    let (report, _) = with_stall(64 << 20);
    let found = stream(&report);
    println!("{found:?}");
    assert_eq!((found.frames, found.dropped), (FRAMES, 0));
    assert!(found.latency_max >= STALL - Duration::from_millis(200), "{found:?}");
    assert!(found.waiting_max > 8, "{found:?}");
}

#[test]
fn without_it_frames_are_lost_and_told() {
    const NAME: &str = "video_copy::stalls::without_it_frames_are_lost_and_told";
    or_skip!(NAME, in_lab("video"));
    let (report, numbers) = with_stall(1);
    let found = stream(&report);
    println!("{found:?}");
    assert_eq!(found.buffers, 4);
    assert!(found.dropped > 0 && found.lost());
    let gaps: u64 = numbers.iter().zip(numbers.iter().skip(1)).map(|(one, next)| missing(*one, *next)).sum();
    assert_eq!((found.frames, found.dropped), (FRAMES, gaps));
}
