//! How a copy fails: [`CopyError`] says what to do, [`CopyFailure`] adds how far it came. `make` makes those of transfers, `class` says
//! which failures are refusals, `words` has what messages are made of.

mod class;
mod failure;
mod make;
mod words;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use scatterlist::{StackError, Status};

pub use class::FailureClass;
pub use failure::CopyFailure;
pub(in crate::copy) use words::reason;
use words::{Blocks, Meaning, Reason, advice};

use super::verify::Shown;
use super::{Digest, HashAlgorithm, MapFileError, Verified};
use crate::device::audio::AudioError;
use crate::device::guard::Refusal;
use crate::device::tape::TapeError;
use crate::device::video::VideoError;
use crate::device::{DirectRefused, PassthroughError, PrepareError};
use crate::engine::{EngineError, FileError, RemoteError, SubmitReason, WaitError};
use crate::pages::PoolError;
use crate::probe::ProbeError;

/// One side of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// Where bytes come from.
    Source,
    /// Where bytes go.
    Destination,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// What went wrong in a copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// An end was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An end cannot be used by commands.
    #[error(transparent)]
    Passthrough(#[from] PassthroughError),
    /// Commands were wanted of an end that takes none.
    #[error("the {side} {} takes no commands: --passthrough is for whole disks", .path.display())]
    NoCommands {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
    },
    /// A later file of a tape could not be begun on disk.
    #[error("file {number} of the tape: {why}; the files before it are written")]
    TapeFile {
        /// Which, from 1 on.
        number: u32,
        /// Why not.
        why: Box<CopyError>,
    },
    /// An end could not be probed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// An option is out of range.
    #[error("the {what} is {value}; it must be from {min} to {max}")]
    Option {
        /// Which.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The range starts past the end of the source.
    #[error("{} holds {len} bytes, so there is nothing at byte {skip}; choose a smaller --skip", .path.display())]
    SkipPastEnd {
        /// The source.
        path: PathBuf,
        /// Bytes that it holds.
        len: u64,
        /// Where the range was to start.
        skip: u64,
    },
    /// A stream has no positions.
    #[error("{} is a stream and cannot start at byte {seek}; leave --seek out", .path.display())]
    SeekOnStream {
        /// The destination.
        path: PathBuf,
        /// Where the range was to start.
        seek: u64,
    },
    /// Direct I/O was demanded and cannot be had.
    #[error("direct I/O is required, but not possible on the {side} {}: {why}; leave --direct require out", .path.display())]
    DirectRequired {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// Why not.
        why: DirectRefused,
    },
    /// Direct I/O was demanded, and the blocks or the start of one side do not allow it.
    #[error("direct I/O is required, but not possible on the {side} {}: {why}", .path.display())]
    DirectLayout {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A tape was refused before anything was written.
    #[error(transparent)]
    TapeRefused(TapeError),
    /// A tape failed.
    #[error("{why}")]
    Tape {
        /// Which side.
        side: Side,
        /// How, and where.
        why: TapeError,
    },
    /// A grabber was refused before anything was written.
    #[error(transparent)]
    VideoRefused(VideoError),
    /// A grabber failed.
    #[error("{0}; what came before is written")]
    Video(VideoError),
    /// A sound device was refused before anything was written.
    #[error(transparent)]
    AudioRefused(AudioError),
    /// A sound device failed.
    #[error(transparent)]
    Audio(AudioError),
    /// A header of sound was refused.
    #[error("{}: {why}", .path.display())]
    Wav {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A source of sound of unknown length ended within a frame.
    #[error(
        "{} ended within a frame: behind {frames} frames of {frame_len} bytes ({format}) come {over} bytes more; what is whole was played. Is it \
         complete, and are --sample and --channels right?",
        .path.display()
    )]
    SoundRagged {
        /// The source.
        path: PathBuf,
        /// Whole frames before.
        frames: u64,
        /// Bytes behind them.
        over: u64,
        /// Bytes of a frame.
        frame_len: u64,
        /// What was agreed on, in words.
        format: String,
    },
    /// A WAV file takes no more sound.
    #[error(
        "{} is full: a WAV file holds no more than these {data_len} bytes of sound, which are whole; record raw (--container raw), or less \
         at a time", .path.display()
    )]
    WavFull {
        /// The file.
        path: PathBuf,
        /// The bytes of sound that it holds.
        data_len: u64,
    },
    /// An option is for devices with a clock, and there is none.
    #[error(
        "{what} is for copies from a video grabber or from or to a sound device, and neither end is one; leave it out"
    )]
    StreamOption {
        /// The option.
        what: &'static str,
    },
    /// An option does not fit the ends of this copy.
    #[error("{what} {why}; leave it out")]
    StreamUnfit {
        /// The option.
        what: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// Two ends that no copy goes between.
    #[error("no copy goes from {} to {}: {why}", .source_path.display(), .destination_path.display())]
    StreamEnds {
        /// The source.
        source_path: PathBuf,
        /// The destination.
        destination_path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A grabber fills no memory that there is.
    #[error("{} fills no memory that there is: {refused}", .path.display())]
    StreamMemory {
        /// The grabber.
        path: PathBuf,
        /// Each kind of memory, and why not.
        refused: String,
    },
    /// A device with a clock could not be waited for.
    #[error("the device cannot be waited for: {}; what came before is written", Reason(*.status))]
    StreamWatch {
        /// How.
        status: Status,
    },
    /// Nothing came from a device with a clock.
    #[error("{} has given nothing for {} s; {frames} frames came before. Is there a signal, and is the device started?", .path.display(), .waited.as_secs())]
    StreamStalled {
        /// The device.
        path: PathBuf,
        /// For how long.
        waited: Duration,
        /// Frames before.
        frames: u64,
    },
    /// An end that is not planned, since it has no bytes at positions.
    #[error("{} is {what}, with no bytes at positions to plan; {instead}", .path.display())]
    NotPlanned {
        /// The end.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What to use in place of a plan.
        instead: &'static str,
    },
    /// A kind of end that no copy to several destinations has.
    #[error("{} is {what}, and a copy to several destinations is between files, disks and pipes; copy it by itself", .path.display())]
    FanOutEnd {
        /// The end.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// An option is for one destination, and there are several.
    #[error("{what}, and there are {destinations}; leave it out, or copy to each by itself")]
    FanOutOption {
        /// The option, and what it is about.
        what: &'static str,
        /// How many destinations there are.
        destinations: usize,
    },
    /// An option is for tapes, and there is none.
    #[error("{what} is for copies from or to a tape drive, and neither end is one; leave it out")]
    TapeOption {
        /// The option.
        what: &'static str,
    },
    /// A tape has no positions in bytes.
    #[error(
        "{what} {value} counts bytes, and {} has none at positions; move the tape with bulkio tape fsf or fsr and leave {what} out",
        .path.display()
    )]
    TapeBytes {
        /// The tape.
        path: PathBuf,
        /// The option.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The bytes do not fill blocks of one length.
    #[error(
        "{} takes blocks of {block} bytes, and {len} bytes leave {ragged} over; fill the last block with zeros (--tape-pad) or set \
         variable mode (bulkio tape setblk {} 0)", .path.display(), .path.display()
    )]
    TapeNotWhole {
        /// The tape.
        path: PathBuf,
        /// Bytes of the range.
        len: u64,
        /// Bytes of a block.
        block: u64,
        /// Bytes of the last, short block.
        ragged: u64,
    },
    /// A source of unknown length ended within a block.
    #[error(
        "the source ended with {left} bytes that fill no tape block of {block}; they are not on the tape, all before is. Fill the last \
         block with zeros (--tape-pad) or use variable mode"
    )]
    TapeRagged {
        /// Bytes that are left over.
        left: u64,
        /// Bytes of a block.
        block: u64,
    },
    /// Several files of a tape cannot go to one destination.
    #[error(
        "several files of a tape become files on disk with numbers behind a name, and {} is something else; name a folder, or a file \
         that does not exist", .path.display()
    )]
    TapeFilesToOne {
        /// The destination.
        path: PathBuf,
    },
    /// The thread of a tape ended by a panic.
    #[error("the thread of the tape ended by a panic, told above; where the tape stands is not known")]
    TapeThread,
    /// The engine cannot be woken by a tape's thread.
    #[error(transparent)]
    Wake(RemoteError),
    /// The thread that hashes or compares could not be started.
    #[error("no thread for hashing could be started: {0}")]
    NoThread(io::Error),
    /// The thread that hashes or compares ended by a panic.
    #[error(
        "the thread that hashes or compares ended by a panic, told above; nothing is known of what it had"
    )]
    WorkThread,
    /// The destination cannot be read back.
    #[error("{} cannot be verified: {why}", .path.display())]
    CannotVerify {
        /// The destination.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The bytes that were copied have another digest than expected.
    #[error(
        "the {algorithm} of the {bytes} bytes copied is {found}, and {expected} was expected; the source is not what it should be"
    )]
    DigestDiffers {
        /// Which hash.
        algorithm: HashAlgorithm,
        /// Bytes copied.
        bytes: u64,
        /// What was expected.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// What is at the destination is not what was written there.
    #[error(
        "{} does not hold what was written to it: {} of {} bytes read back lie in a mebibyte that differs: {}; do not rely on the copy",
        .path.display(), .verified.differing_bytes, .verified.bytes, Shown::of(.verified)
    )]
    VerifyDiffers {
        /// The destination.
        path: PathBuf,
        /// What was found.
        verified: Box<Verified>,
    },
    /// Direct I/O was demanded and the two positions do not agree.
    #[error(
        "direct I/O is required, but source byte {skip} and destination byte {seek} differ modulo {unit}, \
         so no memory suits both; choose --skip and --seek that agree modulo {unit}"
    )]
    DirectIncongruent {
        /// Start in the source.
        skip: u64,
        /// Start in the destination.
        seek: u64,
        /// What they would have to agree modulo.
        unit: u64,
    },
    /// An end takes commands of whole blocks, and the layout has others.
    #[error("the {side} {} takes commands of whole blocks, and {why}; copy from or to its block device", .path.display())]
    CommandsLayout {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// Both ends take commands, and the two positions do not agree.
    #[error(
        "source byte {skip} and destination byte {seek} differ modulo {unit}: both ends take commands of whole blocks, so no \
         memory suits both; choose --skip and --seek that agree modulo {unit}, or copy from or to the block device"
    )]
    CommandsIncongruent {
        /// Start in the source.
        skip: u64,
        /// Start in the destination.
        seek: u64,
        /// What they would have to agree modulo.
        unit: u64,
    },
    /// No memory satisfies both ends.
    #[error("no memory suits both {} and {}: {why}", .source_path.display(), .destination_path.display())]
    Memory {
        /// The source.
        source_path: PathBuf,
        /// The destination.
        destination_path: PathBuf,
        /// The pair that cannot be met.
        why: StackError,
    },
    /// The pool of pages could not be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The engine could not be made.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file could not be given to the engine.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel refused to wait.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// A call on the destination failed.
    #[error("{}: {why}{}", .path.display(), advice(.why))]
    Prepare {
        /// The destination.
        path: PathBuf,
        /// The call.
        why: PrepareError,
    },
    /// A transfer failed.
    #[error(
        "{} {} failed at byte {at} ({len} bytes{}): {}",
        if *.side == Side::Source { "reading" } else { "writing" }, .path.display(),
        Blocks(*.at, *.len, *.block), Meaning(*.status, .meaning.as_deref())
    )]
    Transfer {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// Byte of that side at which the failing transfer began.
        at: u64,
        /// Bytes that it was to move; those that cannot be read, where [`block`](Self::Transfer::block) is known.
        len: u64,
        /// How it failed.
        status: Status,
        /// What a status of the device itself means, in words.
        meaning: Option<String>,
        /// Where it was found out exactly what cannot be read: the bytes of a block.
        block: Option<u64>,
    },
    /// A copy of this kind keeps no account of areas.
    #[error(
        "going around bad blocks and keeping a map are for files and disks, and {kind} has no positions; leave --on-error, --reverse and --map out"
    )]
    RescueKind {
        /// What has none.
        kind: &'static str,
    },
    /// Digests are made of bytes in order, and a rescue has none.
    #[error(
        "--hash and --verify go with a copy that stops at errors and keeps no map; leave them out, and compare both ends afterwards with \
         bulkio verify"
    )]
    RescueDigest,
    /// A search for zeros and an account of areas were wanted of one copy.
    #[error("--sparse always goes with a copy that stops at errors and keeps no map; leave it out")]
    RescueSparse,
    /// Zeros were to be made holes of a destination that takes none.
    #[error("--sparse always needs a file or disk that takes holes, and {} does not: {why}; leave it out", .path.display())]
    SparseDestination {
        /// The destination.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// An end has no positions, or no length.
    #[error(
        "going around bad blocks and keeping a map need positions on both sides and a length, and the {side} {} is a stream; copy to a \
         file first", .path.display()
    )]
    RescueStream {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
    },
    /// A map was refused before anything was written.
    #[error(transparent)]
    Map(#[from] MapFileError),
    /// The map is an end of the copy.
    #[error("{} is the map and an end of the copy; nothing was written", .path.display())]
    MapItself {
        /// The file.
        path: PathBuf,
    },
    /// A map is of something longer.
    #[error(
        "the map {} covers {covered} bytes, and {} has {held}: is it the map of this source?",
        .path.display(), .source_path.display()
    )]
    MapLong {
        /// The map.
        path: PathBuf,
        /// Bytes that it covers.
        covered: u64,
        /// The source.
        source_path: PathBuf,
        /// Bytes that it has.
        held: u64,
    },
    /// A map says of more bytes that they are copied than the destination has.
    #[error(
        "the map {} says that {} is filled up to byte {needed}, and it has {found} bytes: is it the map of this destination?",
        .path.display(), .destination_path.display()
    )]
    MapAhead {
        /// The map.
        path: PathBuf,
        /// Where the last byte that is copied ends.
        needed: u64,
        /// The destination.
        destination_path: PathBuf,
        /// Bytes that it has.
        found: u64,
    },
    /// A map says of itself that it is of another copy.
    #[error(
        "the map {} is of a copy {said}, and this one is {given}: nothing was written. If it is the same copy all the same, take the line that begins \
         with `# bulkio:` out of the map", .path.display()
    )]
    MapOther {
        /// The map.
        path: PathBuf,
        /// What differs, as the map says it.
        said: String,
        /// The same, as it is now.
        given: String,
    },
    /// A map says what is durable.
    #[error(
        "--map needs a destination that is made durable, since who goes on relies on it; leave --no-sync out"
    )]
    MapNeedsSync,
    /// The map has as many areas as one that is read may have.
    #[error(
        "more than {max} areas differ, and no map with more is read; the copy ends, and its map is kept: is it the right source?"
    )]
    MapFull {
        /// Most areas of a map.
        max: usize,
    },
    /// The map could not be kept.
    #[error("{0}; what is copied is copied, but the map on disk is older")]
    MapLost(MapFileError),
    /// The source does not answer any more.
    #[error(
        "{} does not answer any more: {failures} reads in a row failed, and so did one of byte {at}, which could be read before ({}). Bring it \
         back and go on with --map FILE --resume", .path.display(), Meaning(*.status, .meaning.as_deref())
    )]
    SourceGone {
        /// The source.
        path: PathBuf,
        /// The byte that could be read before.
        at: u64,
        /// Reads that failed in a row.
        failures: usize,
        /// How it failed.
        status: Status,
        /// What a status of the device itself means, in words.
        meaning: Option<String>,
    },
    /// Nothing of the source can be read.
    #[error(
        "nothing of {} can be read: {failures} reads in a row failed, and so did {blocks} blocks all over the range ({}). Where some part of it is known \
         to be good, copy that (--skip, --count)", .path.display(), Meaning(*.status, .meaning.as_deref())
    )]
    SourceUnreadable {
        /// The source.
        path: PathBuf,
        /// Reads that failed in a row.
        failures: usize,
        /// Blocks that were tried after that.
        blocks: usize,
        /// How the last failed.
        status: Status,
        /// What a status of the device itself means, in words.
        meaning: Option<String>,
    },
    /// A transfer could not be planned or submitted.
    #[error("{side} {}: {why}", .path.display())]
    Submit {
        /// Which side.
        side: Side,
        /// Its name.
        path: PathBuf,
        /// Why.
        why: SubmitReason,
    },
    /// The source ended before the bytes that it had at the start.
    #[error(
        "{} shrank while it was read: it held {expected} bytes at the start and ended at byte {at}; \
         the copy holds what was there",
        .path.display()
    )]
    SourceShrank {
        /// The source.
        path: PathBuf,
        /// Where it was to end.
        expected: u64,
        /// Where it ended.
        at: u64,
    },
    /// Something is left that was neither read nor refused: a fault of this library.
    #[error(
        "the copy ended behind byte {at} of the range{}, and nothing says why: this is a fault of bulkio, please report it",
        .len.map_or_else(String::new, |len| format!(" of {len}"))
    )]
    Unfinished {
        /// Byte of the range up to which everything is written.
        at: u64,
        /// Bytes of the range, where they are known.
        len: Option<u64>,
    },
    /// The destination device is full.
    #[error("{} is full: it holds {capacity} bytes and the source goes on", .path.display())]
    DestinationFull {
        /// The destination.
        path: PathBuf,
        /// Bytes that it holds.
        capacity: u64,
    },
    /// The reader of the destination stream went away.
    #[error("{} was closed by its reader after {bytes} bytes", .path.display())]
    Closed {
        /// The destination.
        path: PathBuf,
        /// Bytes that were taken before.
        bytes: u64,
    },
    /// Making the destination durable failed.
    #[error("making {} durable failed: {}; do not rely on the copy", .path.display(), Reason(*.status))]
    Flush {
        /// The destination.
        path: PathBuf,
        /// How.
        status: Status,
    },
    /// Reading ahead on a stream failed.
    #[error("cannot duplicate the descriptor of {what}: {errno}")]
    Descriptor {
        /// Which.
        what: &'static str,
        /// How.
        errno: rustix::io::Errno,
    },
}
