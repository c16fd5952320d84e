//! Frames that are lost, and grabbers that fail: counted exactly, told, and nothing else is touched by it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bulkio::copy::{CopyError, FailureClass, LossReason, StreamCopy, VideoCopy};
use bulkio::device::video::MemoryModel;

use super::{Recorder, assert_gaps_are_told, by, capture, gaps, options, small, stream};
use crate::common::{LoopDevice, Mounted, storage_dir};
use crate::or_skip;
use crate::support::{in_lab, wait_until};
use crate::video::support::{PAGES, set};

/// Bytes of a frame.
const FRAME: u64 = 57_600;

/// Undoes what a test injected.
struct Injected(&'static [(&'static str, i64)]);

impl Drop for Injected {
    fn drop(&mut self) {
        set(PAGES, self.0);
    }
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn dropped_frames_are_counted_by_their_numbers() {
    const NAME: &str = "video_copy::losses::dropped_frames_are_counted_by_their_numbers";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("clip.raw");
    set(PAGES, &[("percentage_of_dropped_buffers", 30)]);
    let _injected = Injected(&[("percentage_of_dropped_buffers", 0)]);
    let mut recorder = Recorder::default();
    let report = capture(PAGES, &to, &options(small(), 100), &mut recorder).unwrap();
    let found = stream(&report);
    assert_eq!((found.frames, recorder.frames.len(), len(&to)), (100, 100, 100 * FRAME));
    // What is missing between the frames that are there is what is told.
    let gaps = gaps(&recorder.frames);
    assert!(gaps > 0 && found.lost(), "{found:?}");
    assert_eq!((found.dropped, found.errored), (gaps, 0));
    assert_gaps_are_told(&recorder);
    assert_eq!(recorder.losses.len(), found.losses.len());
}

#[test]
fn a_damaged_frame_is_left_out_whole() {
    const NAME: &str = "video_copy::losses::a_damaged_frame_is_left_out_whole";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("clip.raw");
    let mut recorder = Recorder::after(5, || set(PAGES, &[("inject_v4l2_buf_flag_error", 1)]));
    let report = capture(PAGES, &to, &options(small(), 40), &mut recorder).unwrap();
    let found = stream(&report);
    assert_eq!((found.frames, found.errored, len(&to)), (40, 1, 40 * FRAME));
    let lost = recorder.losses.iter().find(|(reason, ..)| *reason == LossReason::Errored).unwrap();
    let (_, at_frame, sequence, count) = *lost;
    assert_eq!(count, Some(1));
    assert!(recorder.frames[at_frame as usize - 1].sequence < sequence);
    assert!(recorder.frames[at_frame as usize].sequence > sequence);
    assert!(recorder.frames.iter().all(|frame| frame.sequence != sequence));
}

#[test]
fn damaged_frames_do_not_use_the_drivers_memory_up() {
    const NAME: &str = "video_copy::losses::damaged_frames_do_not_use_the_drivers_memory_up";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("clip.raw");
    // A busy machine drops frames, and injections with them: as many as there are buffers would show nothing.
    let injections = 20;
    let each: Box<dyn FnMut()> = Box::new(|| set(PAGES, &[("inject_v4l2_buf_flag_error", 1)]));
    let mut recorder = Recorder { each: Some((injections, each)), ..Recorder::default() };
    let options = options(by(small(), MemoryModel::Mapped), 30);
    // As little memory as there can be: four buffers.
    let stream_options = StreamCopy { buffer_len: 1, ..options.stream };
    let options = bulkio::copy::CopyOptions { stream: stream_options, ..options };
    let report = capture(PAGES, &to, &options, &mut recorder).unwrap();
    let found = stream(&report);
    assert_eq!((found.frames, found.buffers, len(&to)), (30, 4, 30 * FRAME));
    assert!(found.errored > 4, "{found:?}");
}

#[test]
fn a_reader_that_stands_still_can_be_left() {
    const NAME: &str = "video_copy::losses::a_reader_that_stands_still_can_be_left";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    // It reads nothing, and holds one frame and a bit.
    let _reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let mut recorder = Recorder { stop_after: Some(Duration::from_secs(3)), ..Recorder::default() };
    let report = capture(PAGES, &pipe, &options(small(), 10_000), &mut recorder).unwrap();
    assert!(report.interrupted, "{report:?}");
    assert_eq!(stream(&report).frames, recorder.frames.len() as u64);
}

#[test]
fn a_disk_that_is_too_small_is_refused_before() {
    const NAME: &str = "video_copy::losses::a_disk_that_is_too_small_is_refused_before";
    or_skip!(NAME, in_lab("video"));
    let device = LoopDevice::new(1 << 20, 512).unwrap();
    let failure =
        capture(PAGES, device.node(), &options(small(), 100), &mut Recorder::default()).unwrap_err();
    assert_eq!(failure.error.class(), FailureClass::Refused, "{failure}");
    assert!(failure.to_string().contains("1048576"), "{failure}");
}

#[test]
fn a_grabber_that_is_unplugged_leaves_whole_frames() {
    const NAME: &str = "video_copy::losses::a_grabber_that_is_unplugged_leaves_whole_frames";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    for (control, what) in [("disconnect", "gone"), ("inject_fatal_streaming_error", "stopped")] {
        let to = folder.path().join(what);
        let mut recorder = Recorder::after(10, || set(PAGES, &[(control, 1)]));
        let failure = capture(PAGES, &to, &options(small(), 10_000), &mut recorder).unwrap_err();
        println!("{control}: {failure}");
        assert!(matches!(failure.error, CopyError::Video(_)), "{control}: {failure}");
        assert_eq!(failure.error.class(), FailureClass::Failed);
        let report = failure.report.unwrap();
        let frames = stream(&report).frames;
        assert!((10..10_000).contains(&frames));
        assert_eq!((len(&to), recorder.frames.len() as u64, recorder.ended), (frames * FRAME, frames, 1));
        // The next one is as if nothing had been.
        wait_until("the grabber is back", || Path::new(PAGES).exists());
        let report = capture(PAGES, &to, &options(small(), 5), &mut Recorder::default()).unwrap();
        assert_eq!((stream(&report).frames, len(&to)), (5, 5 * FRAME));
    }
}

#[test]
fn a_grabber_that_does_not_start_leaves_the_destination_alone() {
    const NAME: &str = "video_copy::losses::a_grabber_that_does_not_start_leaves_the_destination_alone";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let (to, new) = (folder.path().join("there"), folder.path().join("new"));
    std::fs::write(&to, b"precious").unwrap();
    for to in [&to, &new] {
        set(PAGES, &[("inject_vidioc_streamon_error", 1)]);
        let failure = capture(PAGES, to, &options(small(), 5), &mut Recorder::default()).unwrap_err();
        println!("{failure}");
        assert_eq!(failure.error.class(), FailureClass::Refused, "{failure}");
        assert!(failure.to_string().contains("VIDIOC_STREAMON"), "{failure}");
    }
    assert_eq!(std::fs::read(&to).unwrap(), b"precious");
    assert!(!new.exists());
}

#[test]
fn a_full_disk_leaves_whole_frames() {
    const NAME: &str = "video_copy::losses::a_full_disk_leaves_whole_frames";
    or_skip!(NAME, in_lab("video"));
    let device = LoopDevice::new(4 << 20, 512).unwrap();
    let mounted = Mounted::ext4(device.node()).unwrap();
    let to = mounted.path().join("clip.raw");
    let failure = capture(PAGES, &to, &options(small(), 10_000), &mut Recorder::default()).unwrap_err();
    println!("{failure}");
    assert!(matches!(failure.error, CopyError::Transfer { .. }), "{failure}");
    let report = failure.report.unwrap();
    let frames = stream(&report).frames;
    assert!(frames > 10);
    assert_eq!((len(&to), report.bytes), (frames * FRAME, frames * FRAME));
}

#[test]
fn what_the_grabber_does_not_give_is_refused_with_what_it_gives() {
    const NAME: &str = "video_copy::losses::what_the_grabber_does_not_give_is_refused_with_what_it_gives";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("clip.raw");
    for (video, named) in [
        (VideoCopy { format: Some("QQQQ".parse().unwrap()), ..small() }, "YUYV"),
        (VideoCopy { size: Some((321, 181)), ..small() }, "320x180"),
        (VideoCopy { rate: Some("1000".parse().unwrap()), ..small() }, "25"),
    ] {
        let failure = capture(PAGES, &to, &options(video, 5), &mut Recorder::default()).unwrap_err();
        assert!(failure.to_string().contains(named), "{failure}");
        assert_eq!(failure.error.class(), FailureClass::Refused);
    }
    let bytes = bulkio::copy::CopyOptions { skip: 5, ..options(small(), 5) };
    let failure = capture(PAGES, &to, &bytes, &mut Recorder::default()).unwrap_err();
    assert!(failure.to_string().contains("--skip"), "{failure}");
    assert!(!to.exists());
}

#[test]
fn a_busy_grabber_says_who_has_it() {
    const NAME: &str = "video_copy::losses::a_busy_grabber_says_who_has_it";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("clip.raw");
    let words = ["-d", PAGES, "--stream-mmap", "--stream-count=100000", "--stream-to=/dev/null"];
    let mut holder = Command::new("v4l2-ctl").args(words).stderr(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    wait_until("the other program streams", || {
        let result = capture(PAGES, &to, &options(small(), 5), &mut Recorder::default());
        said = result.map_or_else(|failure| failure.to_string(), |_| String::new());
        !said.is_empty()
    });
    let pid = holder.id();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(said.contains(&format!("v4l2-ctl (pid {pid})")), "{said}");
}

#[test]
fn a_stop_ends_with_whole_frames() {
    const NAME: &str = "video_copy::losses::a_stop_ends_with_whole_frames";
    or_skip!(NAME, in_lab("video"));
    let folder = storage_dir().unwrap();
    let to = folder.path().join("clip.raw");
    let mut recorder = Recorder { stop_at: Some(8), ..Recorder::default() };
    let stream_options = StreamCopy { frames: None, ..options(small(), 1).stream };
    let options = bulkio::copy::CopyOptions { stream: stream_options, ..options(small(), 1) };
    let report = capture(PAGES, &to, &options, &mut recorder).unwrap();
    assert!(report.interrupted && report.synced);
    let frames = stream(&report).frames;
    assert!(frames >= 8);
    assert_eq!(len(&to), frames * FRAME);
    // By the frames' own clock.
    let duration = Some(Duration::from_secs(1));
    let stream_options = StreamCopy { duration, ..stream_options };
    let options = bulkio::copy::CopyOptions { stream: stream_options, ..options };
    let mut recorder = Recorder::default();
    let report = capture(PAGES, &to, &options, &mut recorder).unwrap();
    assert!(!report.interrupted);
    let (first, last) = (recorder.frames[0].time, recorder.frames[recorder.frames.len() - 1].time);
    assert!(last - first < Duration::from_secs(1), "{:?}", last - first);
    assert!(last - first > Duration::from_millis(500), "{:?}", last - first);
}
