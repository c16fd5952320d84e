//! The one table of flags: the commands, and what concerns every copy, and tapes.
//!
//! Neighbours: `guards` has what keeps from overwriting the wrong disk, `digest` the flags of digests, `rescue` what is done about bad blocks, `sparse` that of holes, and what the kernel copies by itself, `stream` has the flags of
//! devices with a clock, `verify` those of comparisons, `values` reads what is written behind them.

mod buffer;
mod digest;
mod guards;
mod rescue;
mod sparse;
mod stream;
mod values;
mod verify;

pub(crate) use stream::SidecarChoice;
pub(crate) use verify::Verify;

use std::path::{Path, PathBuf};

use bulkio::copy::{CopyOptions, DirectMode, End, EngineChoice, Setting, TapeCopy, TapeFiles};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::{exit, size};
use buffer::BufferFlags;
use digest::DigestFlags;
use guards::GuardFlags;
use rescue::RescueFlags;
use sparse::SparseFlags;
use stream::StreamFlags;

/// Moves bytes between files, disks, pipes, tapes, video grabbers and sound devices by direct I/O, and says what happened to each of
/// them.
#[derive(Parser, Debug)]
#[command(name = "bulkio", version, after_help = exit::table())]
pub(crate) struct Bulkio {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Bulkio {
    /// Reads the command line.
    ///
    /// # Errors
    /// What is wrong with it; help and the version, too.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let parsed = Self::try_parse()?;
        let (name, copy) = match &parsed.command {
            Command::Copy(copy) => ("copy", copy),
            Command::Plan(copy) => ("plan", copy),
            _ => return Ok(parsed),
        };
        let Err(why) = copy.rescue.check() else { return Ok(parsed) };
        let mut all = Self::command();
        // So that the usage that is shown has the whole name.
        all.build();
        Err(match all.find_subcommand_mut(name) {
            Some(command) => command.error(ErrorKind::MissingRequiredArgument, why),
            None => Self::command().error(ErrorKind::MissingRequiredArgument, why),
        })
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Copies SRC to DST, or to several at once. SIZE is bytes, or a number with K, M, G, T (1024) or kB, MB, GB, TB (1000)
    Copy(Box<Copy>),
    /// Compares A and B, and lists the ranges that differ. SIZE is as for copy
    Verify(Verify),
    /// Shows what copying SRC to DST would do, and what would refuse it, before anything moves. Takes the flags of copy
    #[command(after_help = PLAN_FIELDS)]
    Plan(Box<Copy>),
    /// Prints the limits of a file or device, with the source and force of each, or what a grabber or sound device can do
    Probe(Probe),
    /// Tells where a tape stands, and moves it
    #[command(subcommand, after_help = TAPE_NODES)]
    Tape(TapeCommand),
    /// Prints the manual page of all commands, or writes it and one of each command to DIR
    Man {
        /// An existing folder
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// Prints a script that makes a shell complete commands and flags
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Prints the JSON Schema of the lines of copy --json
    Schema,
}

#[derive(Args, Debug)]
#[command(after_help = copy_help())]
pub(crate) struct Copy {
    /// A file, device, named pipe, grabber (/dev/video0) or sound device (hw:CARD,DEV or /dev/snd/pcmC0D0c); - reads standard
    /// input
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// A file, device, named pipe or sound device (hw:CARD,DEV or /dev/snd/pcmC0D0p); - writes standard output
    #[arg(value_name = "DST")]
    destination: PathBuf,
    /// Further files, disks and pipes, written from the same read of SRC; one that fails is dropped, and the others go on
    #[arg(value_name = "DST")]
    more_destinations: Vec<PathBuf>,
    /// Bytes of one request, rounded up to what both ends need; auto is 1M, or up to 4M where the ends wish for that
    #[arg(long, value_name = "SIZE", value_parser = values::request_len, default_value = "auto")]
    bs: Setting<u64>,
    /// Requests in flight on each side; auto begins with 8 and finds out in the first second what pays, up to 64
    #[arg(long, value_name = "N", value_parser = values::depth, default_value = "auto")]
    depth: Setting<u32>,
    /// Bytes to leave out at the start of the source
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0")]
    skip: u64,
    /// Byte of the destination at which to start
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0")]
    seek: u64,
    /// Most bytes to copy
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    count: Option<u64>,
    /// How requests reach the kernel
    #[arg(long, value_enum, default_value_t = Engine::Auto, env = "BULKIO_ENGINE")]
    engine: Engine,
    /// Whether to pass by the page cache: where it works, everywhere or an error, nowhere
    #[arg(long, value_enum, default_value_t = Direct::Auto)]
    direct: Direct,
    /// Do not wait until the bytes are durable
    #[arg(long)]
    no_sync: bool,
    /// Do not cut a destination file before writing
    #[arg(long)]
    no_truncate: bool,
    /// Send SCSI commands to a block device, in place of reads and writes, on these sides
    #[arg(long, value_enum, value_name = "SIDE")]
    passthrough: Option<Passthrough>,
    /// Print events as JSON, one object a line, on standard output (on standard error when DST is -)
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress and no report, only errors and warnings
    #[arg(long, short)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    digest: DigestFlags,
    #[command(flatten)]
    guards: GuardFlags,
    #[command(flatten)]
    rescue: RescueFlags,
    #[command(flatten)]
    buffer: BufferFlags,
    #[command(flatten)]
    sparse: SparseFlags,
    #[command(flatten)]
    tape: TapeFlags,
    #[command(flatten)]
    stream: StreamFlags,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Tapes")]
struct TapeFlags {
    /// Bytes of a block that is written (the drive's own in fixed mode, else 256K), or the longest that is read
    #[arg(long, value_name = "SIZE", value_parser = size::parse_block)]
    tape_block: Option<u32>,
    /// Copy N files of the tape; on disk each becomes DST.0001, DST.0002 ...
    #[arg(long, value_name = "N", conflicts_with = "all")]
    files: Option<u32>,
    /// Copy all files of the tape up to the end of its data
    #[arg(long)]
    all: bool,
    /// Two filemarks in a row end the tape
    #[arg(long)]
    double_filemark: bool,
    /// Fill the last block with zeros
    #[arg(long)]
    tape_pad: bool,
    /// Bytes between a tape and the other end
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "64M")]
    tape_buffer: u64,
    /// How full the buffer is, in percent, when a tape starts to be written
    #[arg(long, value_name = "PERCENT", default_value_t = 80)]
    tape_start: u8,
    /// How empty it is when a tape pauses, or goes on to be read
    #[arg(long, value_name = "PERCENT", default_value_t = 20)]
    tape_pause: u8,
}

impl TapeFlags {
    const fn options(&self) -> TapeCopy {
        TapeCopy {
            block_len: self.tape_block,
            files: match (self.all, self.files) {
                (true, _) => TapeFiles::All,
                (false, Some(count)) => TapeFiles::Count(count),
                (false, None) => TapeFiles::One,
            },
            double_filemark_ends: self.double_filemark,
            pad: self.tape_pad,
            buffer_len: self.tape_buffer,
            start_percent: self.tape_start,
            pause_percent: self.tape_pause,
        }
    }
}

/// What the flags have in common, the fields of the report, which are stable, and the exit codes.
fn copy_help() -> String {
    format!("{SIZES_AND_SIGNALS}\n\n{JSON_FIELDS}\n\n{}", exit::table())
}

const SIZES_AND_SIGNALS: &str = "\
Sizes are bytes, or numbers with K, M, G, T (1024) or kB, MB, GB, TB (1000). Unlike dd's, --skip, --seek
and --count are bytes too, not blocks.

SIGUSR1 prints a status line. SIGINT, SIGTERM and SIGHUP (unless it is ignored, as by nohup) end the copy after
what is in flight, make that durable and say how much it is; a second SIGINT or SIGTERM ends it at once.";

const JSON_FIELDS: &str = "\
With --json each line is an object. Its field event is start (version, source and destination {path, class}, destinations [{path,
class}] or null, total_bytes, block_bytes, depth), progress once a second (phase, done_bytes, total_bytes, seconds, bytes_per_second, reads_in_flight,
writes_in_flight, rescue: of a copy with --on-error, --map or --reverse {phase (copying, trimming, scraping, retrying, finished), pass, failed_bytes}, else null),
error (position, bytes, phase, pass, reason: a read that failed and was gone around, as it happens; left out where the reader is slow, rescue.failed_reads counts all),
lost (position, bytes, reason: what of the source could not be read in any pass, told when all are over), warning (text), and last end. A copy
that is refused has end too, perhaps behind warnings and start. A command line that cannot be understood (code 2) has no line,
nor has SIGKILL an end, or a second SIGINT or SIGTERM where nobody takes it for a second. bulkio schema prints the JSON Schema of the lines.

Fields of the event end:
  outcome, exit_code                     done, failed, refused, lost, partial or stopped; the code as below
  bytes, seconds, bytes_per_second       copied from the start of the range without a gap, holes included, but for the speed
  engine, engine_refused                 io_uring, aio or threads; why better ones are not used
  pages, pool_bytes, registered_bytes    the memory of the copy
  block_bytes, depth                     bytes of one request, requests in flight on each side
  tuned                                  what --depth auto found: {depth, block_bytes, found_after_seconds (null: the
                                         copy was over before), steps (depths that were measured)}, else null
  buffered                               what --buffer did: {bytes, starts (how often writing began), filled_max_bytes}, else null
  durable_bytes, synced, interrupted     what survives a power cut, whether flushed, whether stopped
  rescue                                 of a copy with --on-error, --map or --reverse {map, resumed_bytes (copied before, by the map), lost_bytes,
                                         lost_ranges, lost [{position (of SRC), bytes}] the first thousand, untried_bytes (the copy
                                         ended before), zeroed_bytes (in DST), healed_bytes (bad once, and read later), failed_reads,
                                         block_bytes (the least that is read by itself)}, else null
  digest                                 {algorithm (blake3, sha256), value} of exactly these bytes where --hash asked for it, else null
  verified                               {bytes, seconds, direct, equal (false: also if not all was read back), differing_bytes (of mebibytes in which something differs), ranges
                                         [{byte (of DST), bytes}] the first that differ} where --verify read DST back, else null
  sparse                                 what of bytes was not written, since it is zeros: {bytes (of the range), and in sums of all DST kept_bytes (holes of DST without a call), punched_bytes
                                         (holes made in DST), discarded_bytes (zeros by a command of the disk), zeroed_bytes (written
                                         by the disk or the kernel), found_bytes (those of all these that were found in what was
                                         read), filled_bytes (holes that were written all the same)}, else null
  offload                                what neither side counts, since the file system copied it: {kind (reflink: blocks are shared; in_kernel: copied there,
                                         or shared in silence), bytes}, else null
  source, destination                    path, class (file, block, pipe, char, scsi, nvme, tape, video, audio), direct,
                                         direct_bytes, bounced_bytes, bounces [{reason, bytes}], requests,
                                         in_flight_max, and of a tape {block_bytes (0: variable), records,
                                         filemarks, starts, from_file, from_block, to_file, to_block,
                                         at_end_of_data}, else null, and of a device with a clock stream
                                         {format, memory, memory_reason, frame_bytes (0: they differ), frames,
                                         dropped, errored, xruns, losses [{reason (dropped, errored, short,
                                         xrun), at_frame, sequence, count (null: unknown), time}],
                                         losses_unlisted, buffers, waiting_max, latency_max_seconds}, else null
  destinations                           of several [{side (as destination, which is the first of them), bytes, durable_bytes, synced, verified
                                         (as above), failed_at (byte of what is copied, null: it did not fail), error}], else null;
                                         bytes, durable_bytes and synced above are then of all that did not fail
  sidecar                                where the events of such a device are, else null
  notes, error                           what else to know; the message if it failed or lost data, else null
What is not known because the copy never began is null.

A sidecar has one object a line. Its field event is start (device, format, memory, frame_len, time (null: unknown)), frame (index,
sequence, time, position, len), lost (reason, at_frame, sequence, count, time, and first and last of the numbers that are
missing where frames were dropped), clock (frames, time) or end (frames, dropped, errored, xruns). Times are seconds of
CLOCK_MONOTONIC, positions and lengths bytes of DST. A sidecar that cannot be written stops nothing; the exit code is 1.";

const PLAN_FIELDS: &str = "\
Nothing is opened for writing, claimed, created or changed; a file that is not there yet is planned by an unnamed one in its
folder, which is gone at once. A copy that would be refused is planned all the same; the exit code is then 3. Whether another
program holds a disk exclusively, only the copy can tell. Of the flags those count that lay out a copy; tapes, grabbers and sound
devices have no bytes at positions and are not planned: see bulkio probe. Nor is a copy to several destinations: plan that to each.

Fields of the JSON object (on one line; lengths are bytes):
  source, destination   path, class, is_new, len_bytes (null: not known), limits [{name, value, source, force, neutral}] as
                        bulkio probe has them, direct, direct_refused (null: it is), bounces [{reason, bytes}], start_unit and
                        end_unit (what transfers start and end at multiples of), splits_below (the kernel splits there,
                        and planning changes nothing but sizes)
  together              the limits of memory that suit both, alike; null where none does
  layout                skip, seek, bytes (null: the end of the source will tell), block_bytes, requests (of each side), depth,
                        depth_max, pool_bytes, and first, last and edges: transfers {step (read, write, edge_read,
                        edge_write), position (null: a stream), bytes, slot_offset, padding (zeros at the end), aside (bytes
                        that fill no block and go last), direct, cut (slot, range, ragged), calls [{position, bytes, pieces,
                        cut (the limit, or null)}]}; null where it is refused
  refusals, notes       messages";

const PROBE_FIELDS: &str = "\
Of a grabber, the JSON object has path, kind (video), driver, card, bus, inputs, input, format (as it stands), formats (each with
sizes, each with rates; null where the driver does not say), memory and to. Of a sound device, path, kind (audio), directions and
to. memory and directions say with --to what becomes of frames on the way: verdict is direct (nothing is copied), edges (what lies
around the ends of frames or of the ring) or copied, and reason says why.";

#[derive(Args, Debug)]
#[command(after_help = PROBE_FIELDS)]
pub(crate) struct Probe {
    /// A file, device, folder entry, grabber (/dev/video0) or sound device (hw:CARD,DEV or /dev/snd/pcmC0D0c)
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Say what would be copied on the way between a grabber or sound device and this other end, and why
    #[arg(long, value_name = "PATH")]
    pub(crate) to: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the limits that rule nothing, too
    #[arg(long)]
    pub(crate) all: bool,
}

const TAPE_NODES: &str = "\
DEV is the drive, such as /dev/nst0. /dev/st0 is the same drive by a node that rewinds the tape whenever it is closed, so
that nothing but the beginning could ever be reached; /dev/nst0 is used in its place.

A tape is blocks with filemarks between them. Positions are counted in filemarks from the beginning (file) and in blocks
since the last of them (block), both from 0.";

#[derive(Subcommand, Debug)]
pub(crate) enum TapeCommand {
    /// Prints where the tape stands, the block mode, and what the drive says of itself
    Status {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Moves to the beginning
    Rewind {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
    },
    /// Moves forward to behind the Nth filemark
    Fsf {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
        /// How many filemarks
        #[arg(value_name = "N", default_value_t = 1)]
        count: u32,
    },
    /// Moves back to before the Nth filemark
    Bsf {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
        /// How many filemarks
        #[arg(value_name = "N", default_value_t = 1)]
        count: u32,
    },
    /// Moves forward over N blocks
    Fsr {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
        /// How many blocks
        #[arg(value_name = "N", default_value_t = 1)]
        count: u32,
    },
    /// Moves back over N blocks
    Bsr {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
        /// How many blocks
        #[arg(value_name = "N", default_value_t = 1)]
        count: u32,
    },
    /// Writes N filemarks; what is behind them on the tape is gone
    Weof {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
        /// How many filemarks
        #[arg(value_name = "N", default_value_t = 1)]
        count: u32,
    },
    /// Moves behind the last data, for writing more
    Eod {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
    },
    /// Sets the length of all blocks to SIZE; 0 is variable mode, blocks of any length
    Setblk {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
        /// Bytes of a block
        #[arg(value_name = "SIZE", value_parser = size::parse_block)]
        bytes: u32,
    },
    /// Rewinds and takes the tape out
    Offline {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
    },
    /// Takes the tape in, where the drive can
    Load {
        /// The drive
        #[arg(value_name = "DEV")]
        device: PathBuf,
    },
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Engine {
    Auto,
    #[value(name = "io_uring")]
    Uring,
    Aio,
    Threads,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Passthrough {
    Source,
    Destination,
    Both,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Direct {
    Auto,
    Require,
    Never,
}

impl Engine {
    const fn choice(self) -> EngineChoice {
        match self {
            Self::Auto => EngineChoice::Auto,
            Self::Uring => EngineChoice::Uring,
            Self::Aio => EngineChoice::Aio,
            Self::Threads => EngineChoice::Threads,
        }
    }
}

impl Direct {
    const fn mode(self) -> DirectMode {
        match self {
            Self::Auto => DirectMode::Auto,
            Self::Require => DirectMode::Require,
            Self::Never => DirectMode::Never,
        }
    }
}

fn destination(path: &Path) -> End<'_> {
    if path.as_os_str() == "-" { End::Stdout } else { End::Path(path) }
}

impl Copy {
    pub(crate) fn source(&self) -> End<'_> {
        if self.source.as_os_str() == "-" { End::Stdin } else { End::Path(&self.source) }
    }

    /// The destination, the first where there are several.
    pub(crate) fn destination(&self) -> End<'_> {
        destination(&self.destination)
    }

    /// All destinations.
    pub(crate) fn destinations(&self) -> Vec<End<'_>> {
        let more = self.more_destinations.iter().map(|path| destination(path));
        std::iter::once(self.destination()).chain(more).collect()
    }

    pub(crate) fn options(&self) -> CopyOptions {
        CopyOptions {
            block_len: self.bs,
            depth: self.depth,
            skip: self.skip,
            seek: self.seek,
            count: self.count,
            engine: self.engine.choice(),
            direct: self.direct.mode(),
            sync: !self.no_sync,
            truncate: !self.no_truncate,
            force: self.guards.force,
            expect: self.guards.expectations(),
            passthrough: Passthrough::sides(self.passthrough),
            rescue: self.rescue.options(),
            hash: self.digest.hash,
            verify: self.digest.verify,
            buffer: self.buffer.options(),
            sparse: self.sparse.sparse(),
            offload: self.sparse.offload(),
            tape: self.tape.options(),
            stream: self.stream.options(),
        }
    }

    /// Says whether nobody is to be asked before a disk is overwritten.
    pub(crate) const fn asks_nothing(&self) -> bool {
        self.json || self.guards.yes
    }

    pub(crate) fn sidecar(&self) -> SidecarChoice {
        self.stream.sidecar()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_flags_is_consistent() {
        Bulkio::command().debug_assert();
    }
}
