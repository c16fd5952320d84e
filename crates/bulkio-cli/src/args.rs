//! The one table of flags.

use std::path::PathBuf;

use bulkio::copy::{CopyOptions, DirectMode, End, EngineChoice};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{exit, size};

/// Moves bytes between files, disks and pipes by direct I/O, and says what happened to each of them.
#[derive(Parser, Debug)]
#[command(name = "bulkio", version, after_help = exit::TABLE)]
pub(crate) struct Bulkio {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Copies SRC to DST. SIZE is bytes, or a number with K, M, G, T (1024) or kB, MB, GB, TB (1000)
    Copy(Copy),
    /// Prints the limits of a file or device, with the source and force of each
    Probe(Probe),
}

#[derive(Args, Debug)]
#[command(after_help = copy_help())]
pub(crate) struct Copy {
    /// A file, device or named pipe; - reads standard input
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// A file, device or named pipe; - writes standard output
    #[arg(value_name = "DST")]
    destination: PathBuf,
    /// Bytes of one request, rounded up to what both ends need
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "1M")]
    bs: u64,
    /// Requests in flight on each side
    #[arg(long, value_name = "N", default_value_t = 8)]
    depth: u32,
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
    /// Write to a disk although it is mounted or in use; lifts no other check
    #[arg(long)]
    force: bool,
    /// Print the report as one JSON object on standard output (on standard error when DST is -)
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress and no report, only errors and warnings
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// What the flags have in common, the fields of the report, which are stable, and the exit codes.
fn copy_help() -> String {
    format!("{SIZES_AND_SIGNALS}\n\n{JSON_FIELDS}\n\n{}", exit::TABLE)
}

const SIZES_AND_SIGNALS: &str = "\
Sizes are bytes, or numbers with K, M, G, T (1024) or kB, MB, GB, TB (1000). Unlike dd's, --skip, --seek
and --count are bytes too, not blocks.

SIGUSR1 prints a status line. SIGINT and SIGTERM end the copy after what is in flight, make that durable
and say how much it is; a second one ends it at once.";

const JSON_FIELDS: &str = "\
Fields of the JSON object (on one line; the last line of standard error when DST is -):
  bytes, seconds, bytes_per_second       copied from the start of the range without a gap
  engine, engine_refused                 io_uring, aio or threads; why better ones are not used
  pages, pool_bytes, registered_bytes    the memory of the copy
  block_bytes, depth                     bytes of one request, requests in flight on each side
  durable_bytes, synced, interrupted     what survives a power cut, whether flushed, whether stopped
  source, destination                    path, class (file, block, pipe, char), direct, direct_bytes,
                                         bounced_bytes, bounces [{reason, bytes}], requests
  notes, error                           what else to know; the message if it failed, else null
What is not known because the copy never began is null.";

#[derive(Args, Debug)]
pub(crate) struct Probe {
    /// A file, device or folder entry
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the limits that rule nothing, too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Engine {
    Auto,
    #[value(name = "io_uring")]
    Uring,
    Aio,
    Threads,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Direct {
    Auto,
    Require,
    Never,
}

impl Copy {
    pub(crate) fn source(&self) -> End<'_> {
        if self.source.as_os_str() == "-" { End::Stdin } else { End::Path(&self.source) }
    }

    pub(crate) fn destination(&self) -> End<'_> {
        if self.destination.as_os_str() == "-" { End::Stdout } else { End::Path(&self.destination) }
    }

    pub(crate) const fn options(&self) -> CopyOptions {
        CopyOptions {
            block_len: self.bs,
            depth: self.depth,
            skip: self.skip,
            seek: self.seek,
            count: self.count,
            engine: match self.engine {
                Engine::Auto => EngineChoice::Auto,
                Engine::Uring => EngineChoice::Uring,
                Engine::Aio => EngineChoice::Aio,
                Engine::Threads => EngineChoice::Threads,
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_flags_is_consistent() {
        <Bulkio as clap::CommandFactory>::command().debug_assert();
    }
}
