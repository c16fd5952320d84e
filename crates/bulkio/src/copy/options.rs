//! What a copy is asked to do, and who watches it.

use std::path::Path;
use std::time::Duration;

use super::capture::{StreamCopy, StreamEvent, StreamProgress};
use super::ends::overwrite::Overwrite;
use super::pipeline::buffer::Buffering;
use super::pipeline::tuner::DEPTH_START;
use super::setting::{BLOCK_LEN, Setting};
use super::start::Start;
use super::{
    CopyError, HashRequest, LostRange, Offload, ReadFailure, RescueOptions, RescueProgress, Sparse, TapeCopy,
};
use crate::device::DirectMode;
use crate::device::guard::Expectations;
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyOptions {
    /// Bytes of one request, rounded up to what both ends need. Chosen by itself it is 1 MiB, or up to 4 MiB where that makes whole transfers
    /// of what both ends state, and the range is long.
    pub block_len: Setting<u64>,
    /// Requests in flight on each side. By itself a copy begins with 8 and finds out in its first second what pays, up to 64, within 128 MiB of
    /// memory or an eighth of what is available; copies from and to tapes, grabbers and sound devices keep 8.
    pub depth: Setting<u32>,
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
    /// What the destination disk must be; anything else is refused.
    pub expect: Expectations,
    /// On which sides a block device takes commands (SCSI: `SG_IO`) in place of reads and writes. Nodes that take nothing
    /// else need no saying.
    pub passthrough: Passthrough,
    /// What is done about bytes that cannot be read, and whether a map is kept.
    pub rescue: RescueOptions,
    /// The digest that is wanted of the bytes that are copied; not with a tape or a device with a clock.
    pub hash: Option<HashRequest>,
    /// Whether the destination is read back past every cache of the kernel, and compared; needs [`sync`](Self::sync) and a destination with positions.
    pub verify: bool,
    /// Memory between both ends, with watermarks; `None` is what the depth needs, and whatever is there is written. Not with a tape or a device with a
    /// clock, which have buffers of their own.
    pub buffer: Option<Buffering>,
    /// What becomes of holes and zeros.
    pub sparse: Sparse,
    /// Whether the kernel is asked to copy from file to file by itself.
    pub offload: Offload,
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
            block_len: Setting::Auto,
            depth: Setting::Auto,
            skip: 0,
            seek: 0,
            count: None,
            engine: EngineChoice::Auto,
            direct: DirectMode::Auto,
            sync: true,
            truncate: true,
            force: false,
            expect: Expectations::default(),
            passthrough: Passthrough::default(),
            rescue: RescueOptions::default(),
            hash: None,
            verify: false,
            buffer: None,
            sparse: Sparse::Auto,
            offload: Offload::Never,
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
    /// Returns the depth of a copy that does not search for one.
    pub(super) const fn plain_depth(&self) -> u32 {
        self.depth.or(DEPTH_START)
    }

    /// Returns the bytes of one request of a copy that does not choose them.
    pub(super) const fn plain_block_len(&self) -> u64 {
        self.block_len.or(BLOCK_LEN)
    }

    pub(super) fn check(&self) -> Result<(), CopyError> {
        let range = CopyError::check_option;
        if let Setting::Fixed(block_len) = self.block_len {
            range("block length", block_len, 1, BLOCK_LEN_MAX)?;
        }
        if let Setting::Fixed(depth) = self.depth {
            range("depth", depth.into(), 1, SIDE_DEPTH_MAX.into())?;
        }
        self.buffer.as_ref().map_or(Ok(()), Buffering::check)?;
        self.rescue.check()?;
        if self.rescue.map.is_some() && !self.sync {
            return Err(CopyError::MapNeedsSync);
        }
        if self.rescue.wanted() && (self.hash.is_some() || self.verify) {
            return Err(CopyError::RescueDigest);
        }
        if self.rescue.wanted() && self.sparse == Sparse::Always {
            return Err(CopyError::RescueSparse);
        }
        let end_max = i64::MAX.unsigned_abs();
        for (what, start) in [("skip", self.skip), ("seek", self.seek)] {
            range(what, start, 0, end_max)?;
            let end = start.saturating_add(self.count.unwrap_or(0));
            range("end of the range", end, 0, end_max)?;
        }
        Ok(())
    }

    /// Refuses what only copies between files, disks and pipes have: `why` is what the copy is with.
    pub(super) fn check_plain(&self, why: &'static str) -> Result<(), CopyError> {
        let set = [
            ("--hash", self.hash.is_some()),
            ("--verify", self.verify),
            ("--buffer", self.buffer.is_some()),
            ("--sparse always", self.sparse == Sparse::Always),
            ("--offload", self.offload == Offload::Try),
        ];
        match set.into_iter().find(|(_, set)| *set) {
            Some((what, _)) => Err(CopyError::StreamUnfit { what, why }),
            None => Ok(()),
        }
    }
}

/// What a copy is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Bytes move.
    Copying,
    /// Everything is written; the destination makes it durable.
    Flushing,
    /// Everything is durable; it is read back and compared. Bytes done are those read back.
    Verifying,
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
    /// Requests that each side may have in flight now; `None` for tapes, grabbers and sound devices.
    pub depth: Option<u32>,
    /// How a device with a clock is doing, where one side is such.
    pub stream: Option<StreamProgress>,
    /// How a copy is doing that keeps account of each area.
    pub rescue: Option<RescueProgress>,
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
    /// Called before a disk is overwritten that holds something, or may, while the copy holds it: to stop refuses the copy.
    /// Nothing is written before this returns.
    fn overwrite(&mut self, _disk: &Overwrite<'_>) -> Control {
        Control::Go
    }

    /// Called once, when both ends are open and nothing refuses the copy any more.
    fn started(&mut self, _start: &Start<'_>) {}

    /// Called with each read that failed and was gone around, soon after it: a later pass may still read what it did not bring.
    fn read_failed(&mut self, _failure: &ReadFailure) {}

    /// Called with each range that could not be read, in order of the source, when all passes are over or the copy has ended before:
    /// until then a later pass may still read it, and [`Progress::rescue`] counts what failed so far.
    fn lost(&mut self, _range: &LostRange) {}

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
