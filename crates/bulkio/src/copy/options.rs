//! What a copy is asked to do, and who watches it.

use std::path::Path;
use std::time::Duration;

use super::capture::{StreamCopy, StreamEvent, StreamProgress};
use super::{CopyError, TapeCopy};
use crate::device::DirectMode;
use crate::engine::{DEPTH_MAX, EngineChoice};

/// One end of a copy, as the user names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End<'a> {
    /// A path: a file, a device, a named pipe.
    Path(&'a Path),
    /// Standard input, read as a stream whatever it is.
    Stdin,
    /// Standard output, written as a stream whatever it is.
    Stdout,
}

/// What a copy is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyOptions {
    /// Bytes of one request, rounded up to what both ends need.
    pub block_len: u64,
    /// Requests in flight on each side.
    pub depth: u32,
    /// Bytes to leave out at the start of the source.
    pub skip: u64,
    /// Byte of the destination at which to start.
    pub seek: u64,
    /// Most bytes to copy; all there are if `None`.
    pub count: Option<u64>,
    /// Which engine.
    pub engine: EngineChoice,
    /// What is wanted of direct I/O.
    pub direct: DirectMode,
    /// Whether bytes and name are made durable at the end.
    pub sync: bool,
    /// Whether a destination file is cut at [`seek`](Self::seek) first, as dd does.
    pub truncate: bool,
    /// Whether a destination disk that is in use is written all the same. Lifts no other check.
    pub force: bool,
    /// On which sides a block device takes commands (SCSI: `SG_IO`) in place of reads and writes. Nodes that take nothing
    /// else need no saying.
    pub passthrough: Passthrough,
    /// What concerns tapes.
    pub tape: TapeCopy,
    /// What concerns video grabbers and sound devices.
    pub stream: StreamCopy,
}

/// On which sides of a copy a block device takes commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Passthrough {
    /// The source.
    pub source: bool,
    /// The destination.
    pub destination: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            block_len: 1 << 20,
            depth: 8,
            skip: 0,
            seek: 0,
            count: None,
            engine: EngineChoice::Auto,
            direct: DirectMode::Auto,
            sync: true,
            truncate: true,
            force: false,
            passthrough: Passthrough::default(),
            tape: TapeCopy::default(),
            stream: StreamCopy::default(),
        }
    }
}

/// The longest request: well below what one call may move.
const BLOCK_LEN_MAX: u64 = 1 << 30;

/// The deepest queue of one side: both sides and the ragged ends must fit one engine.
const SIDE_DEPTH_MAX: u32 = DEPTH_MAX / 2 - 1;

impl CopyOptions {
    pub(super) fn check(&self) -> Result<(), CopyError> {
        let range = |what, value, min, max| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            Err(CopyError::Option { what, value, min, max })
        };
        range("block length", self.block_len, 1, BLOCK_LEN_MAX)?;
        range("depth", u64::from(self.depth), 1, u64::from(SIDE_DEPTH_MAX))?;
        let end_max = i64::MAX.unsigned_abs();
        for (what, start) in [("skip", self.skip), ("seek", self.seek)] {
            range(what, start, 0, end_max)?;
            let end = start.saturating_add(self.count.unwrap_or(0));
            range("end of the range", end, 0, end_max)?;
        }
        Ok(())
    }
}

/// What a copy is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Bytes move.
    Copying,
    /// Everything is written; the destination makes it durable.
    Flushing,
    /// It is over.
    Done,
}

/// How far a copy has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Bytes written.
    pub done_bytes: u64,
    /// Bytes there are to write, where that is known.
    pub total_bytes: Option<u64>,
    /// Time since the start.
    pub elapsed: Duration,
    /// Reads in flight.
    pub reads_in_flight: u32,
    /// Writes in flight.
    pub writes_in_flight: u32,
    /// How a device with a clock is doing, where one side is such.
    pub stream: Option<StreamProgress>,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// Go on.
    Go,
    /// Finish what is in flight, make it durable, and stop.
    Stop,
}

/// Watches a copy and can stop it.
pub trait Observer {
    /// Called at least every fifth of a second.
    fn progress(&mut self, progress: &Progress) -> Control;

    /// Called with what the user should know now.
    fn warning(&mut self, text: &str);

    /// Called with what a device with a clock does, in the order of the destination. It should return soon: the device goes on.
    fn event(&mut self, _event: &StreamEvent<'_>) {}
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn progress(&mut self, _: &Progress) -> Control {
        Control::Go
    }

    fn warning(&mut self, _: &str) {}
}
