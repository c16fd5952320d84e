//! The command line: every flag and what its help says.
//!
//! Contract: what is parsed here is well formed (sizes read, choices known); whether it makes sense for the two
//! ends is for the library to say. dd's operands, typed by habit, are answered by `dd`.

use std::path::{Path, PathBuf};

use bulkio::copy::{CopyOptions, DirectMode, End, EngineChoice};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::size::{self, SizeError};

/// Copies between files, disks and pipes, and says what it did.
#[derive(Parser, Debug)]
#[command(name = "bulkio", version, about, after_help = exit::HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Copy one end to the other: files, block devices, pipes
    #[command(after_help = COPY_HELP, override_usage = "bulkio copy [OPTIONS] SRC DST")]
    Copy(CopyArgs),
    /// Print what a path is and the limits that its transfers must keep
    #[command(after_help = PROBE_HELP)]
    Probe(ProbeArgs),
}

const COPY_HELP: &str = "\
SIZE is a whole number of bytes, with K, M, G, T (or KiB, ...) for units of 1024 and kB, MB, GB, TB for
units of 1000. --skip, --seek and --count are bytes too, not blocks as in dd.

SIGUSR1 prints one status line. SIGINT and SIGTERM stop the copy, make durable what was written and say
how much that is; a second one ends it at once.

The JSON object (on one line; on standard error, as its last line, if DST is -) has these fields:
  bytes, seconds, bytes_per_second      what was copied, without a gap from the start
  durable_bytes, synced, interrupted    how much of it is on the medium; whether it was flushed, stopped
  engine, engine_refused                io_uring or blocking; why not io_uring, or null
  pages, pages_reason                   the pages of the pool; why not better ones, or null
  pool_bytes, registered_bytes          memory of the pool, and how much of it is registered
  block_bytes, depth                    bytes of a request, requests in flight on each side
  source, destination                   path, class (file, block, pipe, char), direct (true, false),
                                        direct_bytes, bounced_bytes, bounces [{reason, bytes}], requests
  notes                                 what else there is to know, as an array of texts
  error                                 null, or class (refused, failed, interrupted), message, exit_status
Where a copy was refused before it began, what is not known is null.

Exit status:
  0    done, and durable unless --no-sync
  1    the transfer failed
  2    the command line was not understood; nothing was touched
  3    refused before anything was written
  130  interrupted by SIGINT; the report says how many bytes are durable
  143  terminated by SIGTERM; likewise";

const PROBE_HELP: &str = "\
A hard limit is one that the device (or the kernel) refuses to see broken; for a soft one somebody below
splits. The source says who stated it: statx, ioctl, sysfs, probing_read, interface, default.

The JSON object has these fields: path, kind, size_bytes, direct (true, false or null), direct_reason,
limits [{name, value, source, force}], queue_limits (the same), read_position_align, short_pieces, and
file or device with what is known about it. On a failure it has path and error {class, message,
exit_status}.";

#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// What to read: a file, a block device, a named pipe, or - for standard input
    #[arg(value_name = "SRC")]
    pub(crate) source: PathBuf,
    /// What to write: a file, a block device, a named pipe, or - for standard output
    #[arg(value_name = "DST")]
    pub(crate) destination: PathBuf,
    /// Bytes of one request; rounded up to what both ends need
    #[arg(long, value_name = "SIZE", default_value = "1M", value_parser = size::parse_nonzero)]
    bs: u64,
    /// Requests in flight on each side
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    depth: u32,
    /// Leave out the first SIZE bytes of the source
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    skip: u64,
    /// Start at byte SIZE of the destination
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    seek: u64,
    /// Copy at most SIZE bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    count: Option<u64>,
    /// Which engine moves the bytes; auto falls back and reports it, uring fails where it is refused
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    engine: Engine,
    /// Whether bytes pass by the page cache; require fails where they cannot
    #[arg(long, value_enum, default_value_t = Direct::Auto)]
    direct: Direct,
    /// Do not make the destination durable at the end
    #[arg(long)]
    no_sync: bool,
    /// Leave what the destination file holds behind the written range
    #[arg(long)]
    no_truncate: bool,
    /// Write to a disk although it is mounted or claimed; lifts no other check
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What is printed.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OutputArgs {
    /// Print the report as one JSON object on standard output (standard error if DST is -)
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress and no report for people; errors and warnings are printed all the same
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ProbeArgs {
    /// A file, a device, anything
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show also the limits that say nothing
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Engine {
    Auto,
    Uring,
    Blocking,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Direct {
    Auto,
    Require,
    Never,
}

fn parse_size(text: &str) -> Result<u64, SizeError> {
    size::parse(text)
}

impl CopyArgs {
    /// What the library is asked to do.
    pub(crate) fn options(&self) -> CopyOptions {
        CopyOptions {
            block_len: self.bs,
            depth: self.depth,
            skip: self.skip,
            seek: self.seek,
            count: self.count,
            engine: match self.engine {
                Engine::Auto => EngineChoice::Auto,
                Engine::Uring => EngineChoice::Uring,
                Engine::Blocking => EngineChoice::Blocking,
            },
            direct: match self.direct {
                Direct::Auto => DirectMode::Auto,
                Direct::Require => DirectMode::Require,
                Direct::Never => DirectMode::Never,
            },
            sync: !self.no_sync,
            truncate: !self.no_truncate,
            force: self.force,
        }
    }

    pub(crate) fn source_end(&self) -> End<'_> {
        if is_dash(&self.source) { End::Stdin } else { End::Path(&self.source) }
    }

    pub(crate) fn destination_end(&self) -> End<'_> {
        if is_dash(&self.destination) { End::Stdout } else { End::Path(&self.destination) }
    }
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_library() {
        let cli = Cli::try_parse_from(["bulkio", "copy", "a", "b"]).unwrap();
        let Command::Copy(args) = cli.command else { panic!("not a copy") };
        assert_eq!(args.options(), CopyOptions::default());
        assert_eq!(args.source_end(), End::Path(Path::new("a")));
    }

    #[test]
    fn a_dash_is_a_standard_stream_and_a_path_to_one_is_not() {
        let cli = Cli::try_parse_from(["bulkio", "copy", "-", "./-"]).unwrap();
        let Command::Copy(args) = cli.command else { panic!("not a copy") };
        assert_eq!(args.source_end(), End::Stdin);
        assert_eq!(args.destination_end(), End::Path(Path::new("./-")));
    }

    #[test]
    fn the_help_of_copy_names_the_exit_statuses() {
        assert!(COPY_HELP.ends_with(exit::HELP));
    }
}
