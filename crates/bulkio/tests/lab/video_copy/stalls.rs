//! A disk that stands still for two seconds.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use bulkio::copy::{CopyOptions, Report, StreamCopy, VideoCopy};

use super::{Recorder, assert_lost_nothing_for_want_of_memory, capture, gaps, options, small, stream};
use crate::or_skip;
use crate::support::{Mapper, in_lab};
use crate::video::support::PAGES;

/// How long the disk stands still.
const STALL: Duration = Duration::from_secs(2);

/// At a rate that the emulated grabber holds on a busy machine too, nearly always.
const RATE: &str = "5";

const FRAMES: u64 = 40;

/// As few buffers as a capture has.
const BUFFERS_MIN: u64 = 4;

/// The name of the device.
const NAME: &str = "stalls";

/// Captures to a disk that is suspended once five frames are on it.
fn with_stall(buffer_len: u64) -> (Report, Recorder<'static>) {
    let sectors = 131_072 * 2;
    let mapper = Mapper::new(NAME, &format!("0 {sectors} linear /dev/ram0 0"));
    let node = mapper.node();
    let wakes = Rc::new(Cell::new(None));
    let waker = Rc::clone(&wakes);
    let options = options(VideoCopy { rate: Some(RATE.parse().unwrap()), ..small() }, FRAMES);
    let stream = StreamCopy { buffer_len, ..options.stream };
    let options = CopyOptions { stream, ..options };
    let mut recorder = Recorder::after(5, move || {
        // Elsewhere: the copy goes on meanwhile.
        waker.set(Some(thread::spawn(|| {
            // What is in flight ends first; writes that come later wait.
            Mapper::suspend_named(NAME);
            thread::sleep(STALL);
            Mapper::resume(NAME);
        })));
    });
    let report = capture(PAGES, Path::new(&node), &options, &mut recorder).unwrap();
    wakes.take().unwrap().join().unwrap();
    (report, recorder)
}

#[test]
fn memory_that_was_given_for_it_absorbs_a_stall() {
    const NAME: &str = "video_copy::stalls::memory_that_was_given_for_it_absorbs_a_stall";
    or_skip!(NAME, in_lab("video"));
    let (report, recorder) = with_stall(64 << 20);
    let found = stream(&report);
    println!("{found:?}");
    assert_eq!(found.frames, FRAMES);
    assert_lost_nothing_for_want_of_memory(&report, &recorder, "a stall");
    assert!(found.latency_max >= STALL - Duration::from_millis(200), "{found:?}");
    // What the grabber left out by itself would have waited, too.
    assert!(found.waiting_max + found.dropped > 8, "{found:?}");
}

#[test]
fn without_it_frames_are_lost_and_told() {
    const NAME: &str = "video_copy::stalls::without_it_frames_are_lost_and_told";
    or_skip!(NAME, in_lab("video"));
    let (report, recorder) = with_stall(1);
    let found = stream(&report);
    println!("{found:?}");
    assert_eq!(found.buffers, BUFFERS_MIN);
    assert!(found.dropped > 0 && found.lost());
    assert_eq!(recorder.in_device_min, Some(0), "all memory waited for the disk");
    assert_eq!((found.frames, found.dropped), (FRAMES, gaps(&recorder.frames)));
}
