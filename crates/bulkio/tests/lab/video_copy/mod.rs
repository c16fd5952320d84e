//! Copies from grabbers: what is in the file, what it cost, what was lost and how that is told.

mod content;
mod losses;
mod peer;
mod stalls;

use std::path::Path;
use std::time::Duration;

use bulkio::copy::{
    Control, CopyFailure, CopyOptions, End, LossReason, Observer, Progress, Report, StreamCopy, StreamEvent,
    StreamReport, VideoCopy, copy,
};
use bulkio::device::video::MemoryModel;

use crate::video::support::{control, set};

/// A frame as it was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    sequence: u64,
    time: Duration,
    position: u64,
    len: u64,
}

/// Frames that are on their way through the copy when the grabber is stopped, and is left no buffer: at most so many.
const LAST: u64 = 8;

/// An observer that remembers, and does something once so many frames have come.
#[derive(Default)]
struct Recorder<'a> {
    frames: Vec<Told>,
    /// Reason, frames before, first number, how many.
    losses: Vec<(LossReason, u64, u64, Option<u64>)>,
    started: u32,
    ended: u32,
    waiting_max: u64,
    /// The fewest buffers that the grabber had while there were more than [`LAST`] frames to take, looked at about ten times a second.
    in_device_min: Option<u32>,
    /// How many frames, and what happens then.
    then: Option<(usize, Box<dyn FnMut() + 'a>)>,
    stop_at: Option<usize>,
    stop_after: Option<Duration>,
    /// What happens with each frame, so many times.
    each: Option<(u32, Box<dyn FnMut() + 'a>)>,
}

impl<'a> Recorder<'a> {
    fn after(frames: usize, then: impl FnMut() + 'a) -> Self {
        Self { then: Some((frames, Box::new(then))), ..Self::default() }
    }
}

impl Observer for Recorder<'_> {
    fn progress(&mut self, progress: &Progress) -> Control {
        let stream = progress.stream.expect("a stream with a clock");
        self.waiting_max = self.waiting_max.max(stream.waiting);
        if stream.frames_total.is_none_or(|total| stream.frames + stream.waiting + LAST < total) {
            let in_device = progress.reads_in_flight;
            self.in_device_min = Some(self.in_device_min.map_or(in_device, |least| least.min(in_device)));
        }
        if self.stop_after.is_some_and(|time| progress.elapsed >= time) {
            return Control::Stop;
        }
        match self.stop_at {
            Some(frames) if self.frames.len() >= frames => Control::Stop,
            _ => Control::Go,
        }
    }

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }

    fn event(&mut self, event: &StreamEvent<'_>) {
        match *event {
            StreamEvent::Started { .. } => self.started += 1,
            StreamEvent::Frame { index, sequence, time, position, len } => {
                assert_eq!(index, self.frames.len() as u64);
                self.frames.push(Told { sequence, time, position, len });
                if let Some((left, each)) = &mut self.each
                    && *left > 0
                {
                    *left -= 1;
                    each();
                }
                if self.then.as_ref().is_some_and(|(frames, _)| self.frames.len() >= *frames)
                    && let Some((_, mut then)) = self.then.take()
                {
                    then();
                }
            }
            StreamEvent::Lost(loss) => {
                self.losses.push((loss.reason, loss.at_frame, loss.sequence, loss.count));
            }
            StreamEvent::Ended { .. } => self.ended += 1,
            ref other => panic!("{other:?}"),
        }
    }
}

/// A small picture, so that the emulated machine makes many of them: 57,600 bytes, which is 112 blocks and a half.
const SMALL: VideoCopy =
    VideoCopy { input: None, format: None, size: Some((320, 180)), rate: None, memory: None, pad: false };

fn small() -> VideoCopy {
    VideoCopy { format: Some("GREY".parse().unwrap()), rate: Some("25".parse().unwrap()), ..SMALL }
}

/// 1,843,200 bytes a frame: whole blocks of 4096.
fn large() -> VideoCopy {
    VideoCopy {
        format: Some("YUYV".parse().unwrap()),
        size: Some((1280, 720)),
        rate: Some("10".parse().unwrap()),
        ..SMALL
    }
}

fn options(video: VideoCopy, frames: u64) -> CopyOptions {
    let stream = StreamCopy { video, frames: Some(frames), ..StreamCopy::default() };
    CopyOptions { stream, ..CopyOptions::default() }
}

fn by(video: VideoCopy, memory: MemoryModel) -> VideoCopy {
    VideoCopy { memory: Some(memory), ..video }
}

fn capture(
    node: &str,
    to: &Path,
    options: &CopyOptions,
    recorder: &mut Recorder<'_>,
) -> Result<Report, CopyFailure> {
    copy(End::Path(Path::new(node)), End::Path(to), options, recorder)
}

fn stream(report: &Report) -> &StreamReport {
    report.source.stream.as_ref().expect("the source is a stream with a clock")
}

/// A picture that does not move and has no text: every frame is the same.
fn still(node: &str) {
    set(
        node,
        &[("osd_text_mode", 2), ("horizontal_movement", 3), ("vertical_movement", 3), ("test_pattern", 0)],
    );
}

/// One frame as another program reads it.
fn frame_of_another_reader(node: &str, video: &VideoCopy, folder: &Path) -> Vec<u8> {
    let file = folder.join("reference");
    let (width, height) = video.size.unwrap();
    let format = format!("width={width},height={height},pixelformat={}", video.format.unwrap());
    let to = format!("--stream-to={}", file.display());
    control(node, &["--set-fmt-video", &format, "--stream-mmap", "--stream-count=1", &to]);
    std::fs::read(&file).unwrap()
}

/// Asserts that no frame was lost for want of memory, and that what is missing is what was told.
///
/// The emulated grabber goes by the guest's clock and leaves frames out by itself where the whole guest stands still for longer than two of them
/// take. So a frame may be missing, but the grabber had a buffer for it, and one more for the next, whenever it was looked at.
fn assert_lost_nothing_for_want_of_memory(report: &Report, recorder: &Recorder<'_>, what: &str) {
    let found = stream(report);
    assert!(
        recorder.in_device_min.is_some_and(|least| least >= 2),
        "{what}: {:?} {found:?}",
        recorder.in_device_min
    );
    assert!(found.waiting_max < found.buffers, "{what}: {found:?}");
    assert_eq!((found.errored, found.dropped), (0, gaps(&recorder.frames)), "{what}: {found:?}");
    assert_gaps_are_told(recorder);
}

/// Asserts that what was told of dropped frames are the numbers that are missing, each gap where it is.
fn assert_gaps_are_told(recorder: &Recorder<'_>) {
    for (reason, at_frame, first, count) in &recorder.losses {
        let (before, after) = (recorder.frames[*at_frame as usize - 1], recorder.frames[*at_frame as usize]);
        assert_eq!(*reason, LossReason::Dropped);
        assert_eq!((*first, *count), (before.sequence + 1, Some(missing(before.sequence, after.sequence))));
    }
    let told: u64 = recorder.losses.iter().filter_map(|(.., count)| *count).sum();
    assert_eq!(told, gaps(&recorder.frames), "{:?}", recorder.losses);
}

/// Frames that are missing between those that were told.
fn gaps(frames: &[Told]) -> u64 {
    frames.windows(2).map(|pair| missing(pair[0].sequence, pair[1].sequence)).sum()
}

/// Frames between two numbers. The emulated grabber gives a number twice where it is late.
fn missing(one: u64, next: u64) -> u64 {
    next.saturating_sub(one).saturating_sub(1)
}
