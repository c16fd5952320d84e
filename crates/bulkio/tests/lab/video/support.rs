//! What the tests of grabbers share: nodes, captures, waiting for frames, `v4l2-ctl`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use bulkio::device::video::{Capture, Frame, MemoryModel, Sequence, VideoError, VideoOptions};
use bulkio::pages::{PagePool, PoolOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a frame may take: a second is none even of the emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One plane, memory of pages.
pub(crate) const PAGES: &str = "/dev/video0";
/// One plane, contiguous memory that nobody else may pin.
pub(crate) const CONTIGUOUS: &str = "/dev/video1";
/// Several planes.
pub(crate) const PLANES: &str = "/dev/video2";

/// One plane, memory of pages: the device that is unplugged.
pub(crate) const LOST: &str = "/dev/video3";

/// Nodes that give no frames, by their names in sysfs: what they are called, and whether they look like grabbers until they are opened.
pub(crate) const OTHERS: [(&str, &str, bool); 3] = [
    ("vivid-004-vid-out", "a video output", true),
    ("vivid-004-vbi-cap", "a character device of another class", false),
    ("vivid-004-meta-cap", "a node for metadata", true),
];

pub(crate) const NODES: [&str; 3] = [PAGES, CONTIGUOUS, PLANES];

/// A small picture, so that the emulated machine makes many of them.
pub(crate) fn small() -> VideoOptions {
    VideoOptions { size: Some((320, 180)), rate: Some("60".parse().unwrap()), ..VideoOptions::default() }
}

pub(crate) fn open(node: &str, options: &VideoOptions) -> Capture {
    Capture::open(Path::new(node), options).unwrap_or_else(|error| panic!("{error}"))
}

/// Waits until there is a frame or an error.
pub(crate) fn next(capture: &mut Capture) -> Result<Frame, VideoError> {
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    loop {
        if let Some(frame) = capture.dequeue()? {
            return Ok(frame);
        }
        let ready = {
            let mut polled = [PollFd::new(capture.fd(), PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut polled, Some(&timeout))).unwrap()
        };
        assert!(ready > 0, "no frame within {PATIENCE:?}");
    }
}

/// Eight slots for frames of a capture, with room to put them where the driver takes them.
pub(crate) fn pool(capture: &Capture, model: MemoryModel) -> Arc<PagePool> {
    let report = capture.model(model).unwrap();
    let room = usize::try_from(report.room_bytes + report.align * 8).unwrap();
    Arc::new(PagePool::new(PoolOptions::uniform(room, 8).with_kind(report.pages)).unwrap())
}

/// A started stream, and the pool that its slots are from.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) capture: Capture,
    pub(crate) pool: Arc<PagePool>,
    pub(crate) model: MemoryModel,
}

impl Running {
    /// Starts a stream with some buffers, all of them queued.
    pub(crate) fn start(mut capture: Capture, model: MemoryModel) -> Result<Self, VideoError> {
        let pool = pool(&capture, model);
        capture.start(model, 4, Some(&pool))?;
        let mut running = Self { capture, pool, model };
        running.fill()?;
        running.capture.stream_on()?;
        Ok(running)
    }

    /// Queues slots under all free buffers.
    pub(crate) fn fill(&mut self) -> Result<(), VideoError> {
        while self.model.takes_slots() && self.capture.free_indices() > 0 {
            let slot = self.pool.take().expect("more slots than buffers");
            self.capture.queue(slot, 0).map_err(|(_, error)| error)?;
        }
        Ok(())
    }

    /// Takes a frame, and gives another slot for its own.
    pub(crate) fn next(&mut self) -> Result<Frame, VideoError> {
        let frame = next(&mut self.capture)?;
        self.fill()?;
        Ok(frame)
    }

    /// The bytes of a frame, plane by plane; its memory goes back.
    pub(crate) fn bytes(&mut self, frame: Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        let memory = frame.memory.as_slice().unwrap();
        for span in frame.spans.iter() {
            let start = usize::try_from(span.offset).unwrap();
            bytes.extend_from_slice(&memory[start..start + usize::try_from(span.len).unwrap()]);
        }
        drop(memory);
        self.capture.give_back(frame.memory).unwrap();
        bytes
    }
}

/// Runs `v4l2-ctl` on a node.
pub(crate) fn control(node: &str, words: &[&str]) -> Output {
    let output = Command::new("v4l2-ctl").arg("-d").arg(node).args(words).output();
    let output = output.expect("v4l2-ctl is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "v4l2-ctl -d {node} {words:?}: {} {said}", output.status);
    output
}

/// Sets controls of a node.
pub(crate) fn set(node: &str, controls: &[(&str, i64)]) {
    let mut words = String::new();
    for (name, value) in controls {
        let comma = if words.is_empty() { "" } else { "," };
        write!(words, "{comma}{name}={value}").unwrap();
    }
    control(node, &["-c", &words]);
}

/// A picture that moves with the number of the frame and says nothing of time.
pub(crate) fn pattern(node: &str) {
    // osd_text_mode 2: no text. horizontal_movement 6, vertical_movement 5: right and down (drivers/media/test-drivers/vivid/vivid-ctrls.c).
    set(
        node,
        &[("osd_text_mode", 2), ("test_pattern", 0), ("horizontal_movement", 6), ("vertical_movement", 5)],
    );
}

/// How often a run is made again in which the device gave a number twice. Where the emulated machine is late, `vivid` does that now and then, and then
/// moves its picture without a number (`vivid_thread_vid_cap`, drivers/media/test-drivers/vivid/vivid-kthread-cap.c).
const RUNS_MAX: usize = 6;

/// Frames as `v4l2-ctl` gets them, by their numbers.
pub(crate) fn reference(node: &str, frames: usize) -> HashMap<u32, Vec<u8>> {
    for _ in 0..RUNS_MAX {
        let found = reference_run(node, frames);
        if found.len() == frames {
            return found;
        }
    }
    panic!("no run of {frames} frames with a number for each");
}

fn reference_run(node: &str, frames: usize) -> HashMap<u32, Vec<u8>> {
    let file = format!("/tmp/reference-{}", std::process::id());
    let (count, to) = (format!("--stream-count={frames}"), format!("--stream-to={file}"));
    let output = control(node, &["--stream-mmap=4", &count, &to, "--verbose"]);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    let number = |line: &str| {
        let (_, rest) = line.split_once("cap dqbuf:")?.1.split_once("seq:")?;
        rest.split_ascii_whitespace().next()?.parse::<u32>().ok()
    };
    let numbers: Vec<_> = said.lines().filter_map(number).collect();
    assert_eq!(numbers.len(), frames, "{said}");
    assert_eq!(bytes.len() % frames, 0, "frames of one length");
    numbers.into_iter().zip(bytes.chunks(bytes.len() / frames).map(<[u8]>::to_vec)).collect()
}

/// Holds frames of streams that `start` makes against those of [`reference`]: how many were seen by both, and how many different pictures.
pub(crate) fn compare(
    what: &str,
    frames: usize,
    expected: &HashMap<u32, Vec<u8>>,
    start: impl Fn() -> Running,
    queue: impl Fn(&mut Running, usize),
) -> (usize, usize) {
    for _ in 0..RUNS_MAX {
        let (mut running, mut sequence, mut found) = (start(), Sequence::new(), Vec::new());
        for at in 0..frames {
            let frame = next(&mut running.capture).unwrap();
            queue(&mut running, at);
            sequence.next(frame.sequence);
            assert!(!frame.is_error && frame.len > 0, "{what}");
            found.push((frame.sequence, running.bytes(frame)));
        }
        running.capture.stream_off().unwrap();
        assert_eq!(running.pool.free_slots(), running.pool.slots(), "{what}");
        if sequence.repeated() > 0 {
            continue;
        }
        found.retain(|(number, _)| expected.contains_key(number));
        for (number, bytes) in &found {
            assert!(expected.get(number) == Some(bytes), "{what}: frame {number} differs");
        }
        let pictures: HashSet<_> = found.iter().map(|(_, bytes)| bytes).collect();
        return (found.len(), pictures.len());
    }
    panic!("{what}: no run with a number for each frame");
}

/// The node of a device with this name.
pub(crate) fn node_named(name: &str) -> PathBuf {
    let entries = std::fs::read_dir("/sys/class/video4linux").unwrap().flatten();
    let is_it = |entry: &std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("name")).is_ok_and(|text| text.trim().starts_with(name))
    };
    let found = entries.into_iter().find(is_it).unwrap_or_else(|| panic!("no {name}"));
    Path::new("/dev").join(found.file_name())
}
