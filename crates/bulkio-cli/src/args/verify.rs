//! The flags of `bulkio verify`.

use std::path::{Path, PathBuf};

use bulkio::copy::{self, CompareOptions, End};
use clap::Args;

use super::{Direct, Engine, Passthrough};
use crate::{exit, size};

#[derive(Args, Debug)]
#[command(after_help = help())]
pub(crate) struct Verify {
    /// A file, device or named pipe; - reads standard input
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Bytes of one request, rounded up to what both ends need
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "1M")]
    bs: u64,
    /// Requests in flight on each side
    #[arg(long, value_name = "N", default_value_t = 8)]
    depth: u32,
    /// Byte of A at which to start
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0")]
    skip: u64,
    /// Byte of B at which to start
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0")]
    seek: u64,
    /// Most bytes to compare
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    count: Option<u64>,
    /// How requests reach the kernel
    #[arg(long, value_enum, default_value_t = Engine::Auto, env = "BULKIO_ENGINE")]
    engine: Engine,
    /// Whether to pass by the page cache: where it works, everywhere or an error, nowhere
    #[arg(long, value_enum, default_value_t = Direct::Auto)]
    direct: Direct,
    /// Send SCSI commands to a block device, in place of reads: A is the source, B the destination
    #[arg(long, value_enum, value_name = "SIDE")]
    passthrough: Option<Passthrough>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Print no progress and no result, only errors; the exit code tells
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl Verify {
    pub(crate) fn ends(&self) -> [End<'_>; 2] {
        let end = |path: &'_ PathBuf| -> bool { path.as_os_str() == "-" };
        let of = |path| if end(path) { End::Stdin } else { End::Path(Path::new(path)) };
        [of(&self.a), of(&self.b)]
    }

    pub(crate) fn options(&self) -> CompareOptions {
        CompareOptions {
            block_len: self.bs,
            depth: self.depth,
            skip: self.skip,
            seek: self.seek,
            count: self.count,
            engine: self.engine.choice(),
            direct: self.direct.mode(),
            passthrough: Passthrough::sides(self.passthrough),
        }
    }
}

impl Passthrough {
    pub(super) fn sides(wanted: Option<Self>) -> copy::Passthrough {
        copy::Passthrough {
            source: matches!(wanted, Some(Self::Source | Self::Both)),
            destination: matches!(wanted, Some(Self::Destination | Self::Both)),
        }
    }
}

/// The fields of the result, which are stable, and the exit codes.
fn help() -> String {
    format!("{RULES}\n\n{JSON_FIELDS}\n\n{}", exit::table())
}

const RULES: &str = "\
Nothing is written and no disk is claimed; both ends are read by direct I/O where they have it. Ranges that differ are whole blocks of
B, neighbouring ones as one; the first 256 are listed, all are counted. Of ends of different lengths the common part is compared, and
they differ.";

const JSON_FIELDS: &str = "\
Fields of the JSON object:
  equal, complete, same_length           whether all was compared and nothing differs, whether all was compared (a stop or an
                                         error leaves both false), whether both ranges end at the same byte
  bytes, seconds, bytes_per_second       compared, from the start of both ranges on
  ranges                                 the first that differ [{at (from the start of the range), bytes, a_byte, b_byte}]
  differing_ranges, differing_bytes      how many there are in all, and their bytes
  first_difference                       the first byte that differs, from the start of the range; null where none does
  a, b                                   path, class, start_byte, range_bytes (null: its end was not seen), direct, direct_bytes,
                                         bounced_bytes, bounces [{reason, bytes}], requests, in_flight_max
  engine, block_bytes, depth             io_uring, aio or threads; bytes of one request, requests in flight on each side
  interrupted, error                     whether it was stopped; the message where it failed, was stopped or found a difference
What is not known because nothing was compared is null.";
