//! Short rings, and a reader that stands still.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use bulkio::copy::{
    AudioCopy, Control, CopyOptions, End, Observer, Progress, Report, Silent, StreamCopy, copy,
};

use crate::common::storage_dir;
use crate::or_skip;
use crate::support::in_lab;

/// Frames of a period: a second, far longer than an emulated machine pauses.
const PERIOD: u32 = 8192;

const RATE_HZ: u32 = 8000;

fn record(to: &Path, periods: u32, frames: Option<u64>, observer: &mut dyn Observer) -> Report {
    let audio = AudioCopy {
        rate_hz: Some(RATE_HZ),
        channels: Some(1),
        period_frames: Some(PERIOD),
        buffer_frames: Some(PERIOD * periods),
        ..AudioCopy::default()
    };
    let stream = StreamCopy { audio, frames, ..StreamCopy::default() };
    let options = CopyOptions { stream, ..CopyOptions::default() };
    copy(End::Path(Path::new("hw:0,1,0")), End::Path(to), &options, observer).unwrap()
}

#[test]
fn rings_of_few_periods_do_not_run_over() {
    const NAME: &str = "audio::rings::rings_of_few_periods_do_not_run_over";
    or_skip!(NAME, in_lab("audio"));
    let folder = storage_dir().unwrap();
    for periods in [2, 3, 4] {
        let to = folder.path().join("take.raw");
        let frames = u64::from(PERIOD * periods) * 2 + 5;
        let report = record(&to, periods, Some(frames), &mut Silent);
        let stream = report.source.stream.unwrap();
        assert_eq!((stream.frames, stream.xruns, stream.dropped), (frames, 0, 0), "{periods}: {stream:?}");
        assert_eq!(std::fs::metadata(&to).unwrap().len(), frames * 2);
    }
}

/// Stops when it has gone on for a while.
struct Stop(Duration);

impl Observer for Stop {
    fn progress(&mut self, progress: &Progress) -> Control {
        if progress.elapsed >= self.0 { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, text: &str) {
        panic!("{text}");
    }
}

#[test]
fn a_reader_that_stands_still_can_be_left() {
    const NAME: &str = "audio::rings::a_reader_that_stands_still_can_be_left";
    or_skip!(NAME, in_lab("audio"));
    let folder = storage_dir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
    // It reads nothing, and holds 32,768 frames: what comes in four seconds. The ring goes on behind it for eight.
    let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let report = record(&pipe, 8, None, &mut Stop(Duration::from_secs(7)));
    assert!(report.interrupted, "{report:?}");
}
