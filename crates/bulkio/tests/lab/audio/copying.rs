//! Copies with a sound device at one end: a recorder in a thread, that is stopped by hand, and sources made of numbered sound.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bulkio::copy::wav::WavHeader;
use bulkio::copy::{
    AudioCopy, Control, CopyFailure, CopyOptions, End, Loss, Observer, Progress, Report, Silent, StreamCopy,
    StreamEvent, copy,
};
use bulkio::device::audio::{Params, SampleFormat};

use super::player::{sound, with_silence};

const SOON: Duration = Duration::from_secs(60);

/// What a recorder tells while it runs.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) stop: AtomicBool,
    pub(super) frames: AtomicU64,
    pub(super) xruns: AtomicU64,
}

#[derive(Debug)]
struct Listener {
    told: Arc<Told>,
    started: mpsc::Sender<()>,
    losses: Vec<Loss>,
    ended: bool,
}

impl Observer for Listener {
    fn progress(&mut self, progress: &Progress) -> Control {
        if let Some(stream) = progress.stream {
            self.told.frames.store(stream.frames, Ordering::Relaxed);
            self.told.xruns.store(stream.xruns, Ordering::Relaxed);
        }
        if self.told.stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Go }
    }

    fn warning(&mut self, text: &str) {
        eprintln!("warning: {text}");
    }

    fn event(&mut self, event: &StreamEvent<'_>) {
        match event {
            StreamEvent::Started { .. } => self.started.send(()).unwrap(),
            StreamEvent::Lost(loss) => self.losses.push(*loss),
            StreamEvent::Ended { .. } => self.ended = true,
            _ => {}
        }
    }
}

/// How a recording ended, and the losses that were told.
pub(super) type Recorded = (Result<Report, CopyFailure>, Vec<Loss>);

/// A running recording.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) told: Arc<Told>,
    thread: JoinHandle<Recorded>,
}

impl Recording {
    /// Starts one, and returns when the device runs.
    pub(super) fn start(from: &str, to: &Path, options: CopyOptions) -> Self {
        let told = Arc::new(Told::default());
        let (sender, started) = mpsc::channel();
        let mut listener =
            Listener { told: Arc::clone(&told), started: sender, losses: Vec::new(), ended: false };
        let (from, to) = (PathBuf::from(from), to.to_owned());
        let thread = thread::spawn(move || {
            let done = copy(End::Path(&from), End::Path(&to), &options, &mut listener);
            if done.is_ok() {
                assert!(listener.ended, "the end is told");
            }
            (done, listener.losses)
        });
        if started.recv_timeout(SOON).is_err() {
            panic!("the recording did not start: {:?}", thread.join().unwrap().0);
        }
        Self { told, thread }
    }

    /// Waits until it ends by itself.
    pub(super) fn wait(self) -> Recorded {
        self.thread.join().unwrap()
    }

    /// Stops it.
    pub(super) fn stop(self) -> Recorded {
        self.told.stop.store(true, Ordering::Relaxed);
        self.wait()
    }
}

/// The options of a test: a format at 48000 Hz.
pub(super) fn options(sample: SampleFormat, channels: u32) -> CopyOptions {
    let audio = AudioCopy {
        sample: Some(sample),
        rate_hz: Some(48_000),
        channels: Some(channels),
        ..AudioCopy::default()
    };
    CopyOptions { stream: StreamCopy { audio, ..StreamCopy::default() }, ..CopyOptions::default() }
}

/// The same with a small ring.
pub(super) fn small(mut options: CopyOptions, period: u32, buffer: u32) -> CopyOptions {
    options.stream.audio.period_frames = Some(period);
    options.stream.audio.buffer_frames = Some(buffer);
    options
}

/// Plays a file to its end.
pub(super) fn play(from: &Path, to: &str, options: &CopyOptions) -> Report {
    let done = copy(End::Path(from), End::Path(Path::new(to)), options, &mut Silent);
    done.unwrap_or_else(|failure| panic!("{}", failure.error))
}

/// Bytes of a sound, and the same with silence behind.
pub(super) fn samples(sample: SampleFormat, channels: u32, frames: u64) -> (Vec<u8>, Vec<u8>) {
    let frame_len = u64::from(channels * sample.bytes_per_sample());
    let params = Params {
        sample,
        rate_hz: 48_000,
        channels,
        frame_len,
        period_frames: 0,
        buffer_frames: 0,
        ring_len: 0,
    };
    let bytes = sound(&params, frames);
    let padded = with_silence(&params, &bytes);
    (bytes, padded)
}

/// Makes a WAV file.
pub(super) fn write_wav(path: &Path, sample: SampleFormat, channels: u32, block_len: u64, sound: &[u8]) {
    let header = WavHeader::new(sample, 48_000, channels, block_len).unwrap();
    let mut bytes = header.bytes().to_vec();
    bytes.extend(sound);
    for patch in header.patch(sound.len() as u64).unwrap() {
        let (start, end) = (patch.offset as usize, patch.offset as usize + patch.bytes.len());
        bytes.resize(bytes.len().max(end), 0);
        bytes[start..end].copy_from_slice(&patch.bytes);
    }
    std::fs::write(path, bytes).unwrap();
}
