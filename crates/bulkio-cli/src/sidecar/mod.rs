//! The sidecar of a stream: what the device did, one JSON object a line, beside what was copied.
//!
//! A file of frames says nothing of when each was taken, and which are missing; this does. `"event"` is `start`, `frame`, `lost`, `clock`
//! or `end`, the other fields are those of [`StreamEvent`], times are seconds of `CLOCK_MONOTONIC`. [`Sidecar`] hears the events through
//! the watcher (`progress`); the first opens the file.
//!
//! Contract: a sidecar that fails is told once and never stops the copy. It is never written over an end of the copy or a disk.
//! A frame costs no allocation, and what was heard is with the system a second later.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bulkio::copy::{End, Loss, LossReason, StreamEvent};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::args::SidecarChoice;

/// What is gathered before a call: some 500 frames.
const BUFFER_BYTES: usize = 64 << 10;

/// How long a line may wait in the buffer.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// The sidecar of one copy.
#[derive(Debug)]
pub(crate) struct Sidecar {
    choice: SidecarChoice,
    /// The ends of the copy that have names; the destination is the last.
    ends: Vec<PathBuf>,
    destination: Option<PathBuf>,
    sync: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has happened yet.
    Waiting,
    Open(Writer),
    /// None is wanted here.
    Nowhere,
    Failed {
        path: PathBuf,
        why: String,
    },
}

#[derive(Debug)]
struct Writer {
    path: PathBuf,
    out: BufWriter<File>,
    is_file: bool,
    lines: u64,
    flushed: Instant,
}

/// What became of a sidecar.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Written {
    /// Where it is, whole or not; `None` where there is none.
    pub(crate) path: Option<PathBuf>,
    /// Lines that were written.
    pub(crate) lines: u64,
    /// Why it is not whole.
    pub(crate) error: Option<String>,
    /// Whether the user has heard of that.
    pub(crate) told: bool,
}

impl Sidecar {
    pub(crate) fn new(choice: SidecarChoice, source: End<'_>, destination: End<'_>, sync: bool) -> Self {
        let named = |end| match end {
            End::Path(path) => Some(path.to_owned()),
            End::Stdin | End::Stdout => None,
        };
        let end = destination;
        let destination = named(destination);
        // A standard stream may be a file.
        let standard = |end| {
            let path = match end {
                End::Path(_) => return None,
                End::Stdin => Path::new("/dev/stdin"),
                End::Stdout => Path::new("/dev/stdout"),
            };
            fs::metadata(path).is_ok_and(|meta| meta.is_file()).then(|| path.to_owned())
        };
        let ends = [source, end].into_iter().flat_map(|end| named(end).or_else(|| standard(end))).collect();
        Self { choice, ends, destination, sync, state: State::Waiting }
    }

    /// Looks at a place that was named, before anything is copied; `has_clock` says whether an end is a device with a clock.
    ///
    /// # Errors
    /// Why it cannot be there.
    pub(crate) fn check(&self, has_clock: bool) -> Result<(), String> {
        let SidecarChoice::At(path) = &self.choice else { return Ok(()) };
        if !has_clock {
            return Err("--sidecar is for copies from a video grabber or from or to a sound device, and neither end is \
                        one; leave it out"
                .to_owned());
        }
        if let Some(end) = self.ends.iter().find(|end| is_same(path, end)) {
            return Err(written_over(path, end));
        }
        match fs::metadata(path) {
            Ok(meta) => may_be_written(path, &meta),
            Err(_) if folder_of(path).is_dir() => Ok(()),
            Err(error) => Err(format!("the sidecar {} cannot be made: {error}", path.display())),
        }
    }

    /// Writes what happened, and returns what the user should know if that fails, the first time.
    pub(crate) fn event(&mut self, event: &StreamEvent<'_>) -> Option<String> {
        if matches!(self.state, State::Waiting) {
            match self.open() {
                Ok(state) => self.state = state,
                Err((path, why)) => return Some(self.fail(path, why)),
            }
        }
        let State::Open(writer) = &mut self.state else { return None };
        match write_line(&mut writer.out, event) {
            Ok(true) => {
                writer.lines = writer.lines.saturating_add(1);
                None
            }
            Ok(false) => None,
            Err(error) => self.failed_write(&error),
        }
    }

    /// Gives what has waited long enough to the system: a command that is killed leaves all but the last second.
    pub(crate) fn flush_now_and_then(&mut self) -> Option<String> {
        let State::Open(writer) = &mut self.state else { return None };
        if writer.flushed.elapsed() < FLUSH_EVERY {
            return None;
        }
        writer.flushed = Instant::now();
        let error = writer.out.flush().err()?;
        self.failed_write(&error)
    }

    /// Writes what is left, and makes it durable where that was asked for.
    pub(crate) fn finish(self) -> Written {
        match self.state {
            State::Waiting | State::Nowhere => Written::default(),
            State::Failed { path, why } => {
                Written { path: Some(path), lines: 0, error: Some(why), told: true }
            }
            State::Open(writer) => {
                let (path, lines) = (writer.path.clone(), writer.lines);
                let error = writer.finish(self.sync).err().map(|error| unwritten(&path, &error));
                Written { path: Some(path), lines, error, told: false }
            }
        }
    }

    fn open(&self) -> Result<State, (PathBuf, String)> {
        let path = match (&self.choice, &self.destination) {
            (SidecarChoice::At(path), _) => path.clone(),
            (SidecarChoice::Beside, Some(destination)) if destination.is_file() => {
                let mut name = OsString::from(destination);
                name.push(".jsonl");
                name.into()
            }
            (SidecarChoice::Beside | SidecarChoice::Nowhere, _) => return Ok(State::Nowhere),
        };
        match open(&path, &self.ends) {
            Ok(writer) => Ok(State::Open(writer)),
            Err(why) => Err((path, why)),
        }
    }

    fn failed_write(&mut self, error: &io::Error) -> Option<String> {
        let State::Open(writer) = &self.state else { return None };
        let path = writer.path.clone();
        let why = unwritten(&path, error);
        Some(self.fail(path, why))
    }

    fn fail(&mut self, path: PathBuf, why: String) -> String {
        let told = format!("{why}; the copy goes on without it");
        if let State::Open(writer) = std::mem::replace(&mut self.state, State::Failed { path, why }) {
            // What is in the buffer is not tried again.
            let _ = writer.out.into_parts();
        }
        told
    }
}

impl Writer {
    fn finish(self, sync: bool) -> io::Result<()> {
        let mut out = self.out;
        // The copy is over: the reader of a pipe may take its time now.
        rustix::fs::fcntl_setfl(out.get_ref(), OFlags::empty())?;
        if let Err(error) = out.flush() {
            let _ = out.into_parts();
            return Err(error);
        }
        if sync && self.is_file {
            out.get_ref().sync_all()?;
            File::open(folder_of(&self.path))?.sync_all()?;
        }
        Ok(())
    }
}

/// Opens a place, and empties it if it is a file.
fn open(path: &Path, ends: &[PathBuf]) -> Result<Writer, String> {
    // Not to wait for the reader of a named pipe, nor for a slow one: the device goes on.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o666)) {
        Ok(fd) => File::from(fd),
        Err(Errno::NXIO) => {
            return Err(format!("the sidecar {} is a named pipe that nobody reads", path.display()));
        }
        Err(errno) => {
            return Err(format!(
                "the sidecar {} cannot be opened: {}",
                path.display(),
                io::Error::from(errno)
            ));
        }
    };
    let meta = file.metadata().map_err(|error| unwritten(path, &error))?;
    may_be_written(path, &meta)?;
    if let Some(end) = ends.iter().find(|end| fs::metadata(end).is_ok_and(|end| is_one(&meta, &end))) {
        return Err(written_over(path, end));
    }
    if meta.is_file() {
        file.set_len(0).map_err(|error| unwritten(path, &error))?;
    }
    Ok(Writer {
        path: path.to_owned(),
        out: BufWriter::with_capacity(BUFFER_BYTES, file),
        is_file: meta.is_file(),
        lines: 0,
        flushed: Instant::now(),
    })
}

fn may_be_written(path: &Path, meta: &Metadata) -> Result<(), String> {
    let kind = meta.file_type();
    let what = if kind.is_block_device() {
        "is a disk"
    } else if kind.is_dir() {
        "is a directory; name a file in it"
    } else if kind.is_char_device() && !takes_lines(meta.rdev()) {
        "is a device, and takes no lines of text"
    } else {
        return Ok(());
    };
    Err(format!("the sidecar {} {what}", path.display()))
}

/// Says whether a character device is one of memory, such as `/dev/null`, or a terminal (Linux, Documentation/admin-guide/devices.txt, 1, 4, 5, 136 to
/// 143), and not a tape or a disk.
fn takes_lines(number: u64) -> bool {
    matches!(rustix::fs::major(number), 1 | 4 | 5 | 136..=143)
}

/// Says whether two paths lead to one place, or would once a file is made.
fn is_same(one: &Path, other: &Path) -> bool {
    if let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) {
        return is_one(&one, &other);
    }
    let place = |path: &Path| Some((folder_of(path).canonicalize().ok()?, path.file_name()?.to_owned()));
    place(one).is_some_and(|place_of_one| Some(place_of_one) == place(other))
}

fn is_one(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn written_over(path: &Path, end: &Path) -> String {
    format!("the sidecar {} would be written over {}; choose another name", path.display(), end.display())
}

fn unwritten(path: &Path, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::WouldBlock => "its reader is too slow".to_owned(),
        _ => error.to_string(),
    };
    format!("the sidecar {} cannot be written: {why}", path.display())
}

/// Writes the line of an event; false for one that this version knows no words for.
fn write_line(out: &mut impl Write, event: &StreamEvent<'_>) -> io::Result<bool> {
    match *event {
        StreamEvent::Started { device, format, memory, frame_len, time } => {
            for (name, words) in [
                ("{\"event\":\"start\",\"device\":", device),
                (",\"format\":", format),
                (",\"memory\":", memory),
            ] {
                out.write_all(name.as_bytes())?;
                serde_json::to_writer(&mut *out, words)?;
            }
            write!(out, ",\"frame_len\":{frame_len},\"time\":")?;
            // Many devices do not say.
            match time {
                Duration::ZERO => writeln!(out, "null}}")?,
                time => writeln!(out, "{}}}", Seconds(time))?,
            }
        }
        StreamEvent::Frame { index, sequence, time, position, len } => writeln!(
            out,
            "{{\"event\":\"frame\",\"index\":{index},\"sequence\":{sequence},\"time\":{},\"position\":{position},\
             \"len\":{len}}}",
            Seconds(time),
        )?,
        StreamEvent::Lost(Loss { reason, at_frame, sequence, count, time }) => {
            write!(
                out,
                "{{\"event\":\"lost\",\"reason\":\"{}\",\"at_frame\":{at_frame},\"sequence\":{sequence},\"count\":{},",
                reason.name(),
                OrNull(count),
            )?;
            if let (LossReason::Dropped, Some(count @ 1..)) = (reason, count) {
                let last = sequence.saturating_add(count.saturating_sub(1));
                write!(out, "\"first\":{sequence},\"last\":{last},")?;
            }
            writeln!(out, "\"time\":{}}}", Seconds(time))?;
        }
        StreamEvent::Clock { frames, time } => {
            writeln!(out, "{{\"event\":\"clock\",\"frames\":{frames},\"time\":{}}}", Seconds(time))?;
        }
        StreamEvent::Ended { frames, dropped, errored, xruns } => writeln!(
            out,
            "{{\"event\":\"end\",\"frames\":{frames},\"dropped\":{dropped},\"errored\":{errored},\"xruns\":{xruns}}}",
        )?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A time as a number of JSON, exact to the microsecond.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

/// A number that may not be known.
struct OrNull(Option<u64>);

impl fmt::Display for OrNull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests;
