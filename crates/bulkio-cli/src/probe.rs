//! `bulkio probe`: what a path is and the limits that transfers there must keep, with who stated each.

use std::fmt::Write as _;

use bulkio::probe::{DirectIo, Kind, NoDirectIo, NotTried, PieceProbe, Probe, ProbeError, probe_path};
use scatterlist::{Limit, LimitId};
use serde::Serialize;

use crate::args::ProbeArgs;
use crate::exit::Exit;
use crate::report::{self, JsonError};
use crate::screen::{self, Screen};
use crate::size;

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn run(args: &ProbeArgs, screen: &Screen) -> anyhow::Result<Exit> {
    let probe = match probe_path(&args.path) {
        Ok(probe) => probe,
        Err(error) => {
            screen.say(&format!("bulkio: {error}"));
            if args.json {
                screen::print(&report::line(&Failed::new(args, &error)))?;
            }
            return Ok(Exit::Failed);
        }
    };
    if args.json {
        screen::print(&report::line(&Json::new(&probe, args.all)))?;
    } else {
        screen::print(&human(&probe, args.all))?;
    }
    Ok(Exit::Done)
}

/// The JSON object of a probe. The names are stable.
#[derive(Serialize, Debug)]
struct Json {
    path: String,
    kind: &'static str,
    size_bytes: Option<u64>,
    direct: Option<bool>,
    direct_reason: Option<&'static str>,
    limits: Vec<JsonLimit>,
    queue_limits: Vec<JsonLimit>,
    read_position_align: Option<u64>,
    short_pieces: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<JsonFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<JsonDevice>,
}

#[derive(Serialize, Debug)]
struct JsonLimit {
    name: &'static str,
    value: u64,
    source: &'static str,
    force: &'static str,
}

#[derive(Serialize, Debug)]
struct JsonFile {
    file_system: Option<String>,
    mount_point: Option<String>,
    block_device: Option<String>,
}

#[derive(Serialize, Debug)]
struct JsonDevice {
    number: String,
    name: Option<String>,
    disk_name: Option<String>,
    partition_start: Option<u64>,
    loop_backing: Option<String>,
}

#[derive(Serialize, Debug)]
struct Failed {
    path: String,
    error: JsonError,
}

impl Failed {
    fn new(args: &ProbeArgs, error: &ProbeError) -> Self {
        let error = JsonError::new(Exit::Failed, &error.to_string());
        Self { path: args.path.display().to_string(), error }
    }
}

impl Json {
    fn new(probe: &Probe, all: bool) -> Self {
        let (direct, direct_reason) = direct(probe.direct);
        let limits = |limits: &mut dyn Iterator<Item = (LimitId, Limit)>| {
            limits.filter(|&(id, limit)| all || says_something(id, limit)).map(JsonLimit::new).collect()
        };
        let shown = |path: &std::path::PathBuf| path.display().to_string();
        Self {
            path: shown(&probe.path),
            kind: kind_name(&probe.kind),
            size_bytes: probe.size,
            direct,
            direct_reason,
            limits: limits(&mut probe.limits.iter()),
            queue_limits: limits(&mut probe.queue.iter()),
            read_position_align: probe.read_position_align,
            short_pieces: short_pieces(probe.pieces).0,
            file: match &probe.kind {
                Kind::File(file) => Some(JsonFile {
                    file_system: file.file_system.clone(),
                    mount_point: file.mount_point.as_ref().map(shown),
                    block_device: file.block_device.clone(),
                }),
                _ => None,
            },
            device: match &probe.kind {
                Kind::BlockDevice(device) => Some(JsonDevice {
                    number: device.number.to_string(),
                    name: device.name.clone(),
                    disk_name: device.disk_name.clone(),
                    partition_start: device.partition_start,
                    loop_backing: device.loop_backing.as_ref().map(shown),
                }),
                _ => None,
            },
        }
    }
}

impl JsonLimit {
    fn new((id, limit): (LimitId, Limit)) -> Self {
        let Limit { value, source, force } = limit;
        Self { name: id.name(), value, source: source.name(), force: force.name() }
    }
}

fn says_something(id: LimitId, limit: Limit) -> bool {
    limit.value != id.neutral()
}

fn human(probe: &Probe, all: bool) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{}: {}", probe.path.display(), description(&probe.kind));
    let _ = match probe.size {
        Some(bytes) if bytes >= 1024 => writeln!(text, ", {bytes} bytes ({})", size::show(bytes)),
        Some(bytes) => writeln!(text, ", {bytes} bytes"),
        None => writeln!(text),
    };
    let _ = match direct(probe.direct) {
        (Some(true), _) => writeln!(text, "direct I/O: yes"),
        (_, reason) => {
            let answer = if probe.direct == DirectIo::Unknown { "not known" } else { "no" };
            writeln!(text, "direct I/O: {answer}, {}", reason.unwrap_or("for no stated reason"))
        }
    };
    if let Some(align) = probe.read_position_align {
        let _ = writeln!(text, "direct reads start at multiples of {align}");
    }
    let _ = writeln!(text, "pieces shorter than a block: {}", short_pieces(probe.pieces).1);
    table(&mut text, "limit", probe.limits.iter().filter(|&(id, limit)| all || says_something(id, limit)));
    table(&mut text, "queue", probe.queue.iter());
    text
}

fn table(text: &mut String, title: &str, limits: impl Iterator<Item = (LimitId, Limit)>) {
    let rows: Vec<(&str, String, Limit)> = limits
        .map(|(id, limit)| {
            let value = if limit.value == u64::MAX { "none".to_owned() } else { limit.value.to_string() };
            (id.name(), value, limit)
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    let value_width = rows.iter().map(|(_, value, _)| value.len()).max().unwrap_or(0).max("value".len());
    let _ = writeln!(text, "\n{title:<19} {:>value_width$}  {:<17} force", "value", "source");
    for (name, value, limit) in rows {
        let _ = writeln!(text, "{name:<19} {value:>value_width$}  {:<17} {}", limit.source, limit.force);
    }
}

fn description(kind: &Kind) -> String {
    match kind {
        Kind::File(file) => {
            let system = file.file_system.as_deref().map_or(String::new(), |name| format!(" on {name}"));
            let device = file.block_device.as_deref().map_or(String::new(), |name| format!(" ({name})"));
            format!("file{system}{device}")
        }
        Kind::BlockDevice(device) => {
            let number = device.number;
            let backing = device.loop_backing.as_ref();
            let backing = backing.map_or(String::new(), |path| format!(" over {}", path.display()));
            match (device.partition_start, &device.disk_name) {
                (Some(start), Some(disk)) => {
                    format!("block device {number}, a partition of {disk} from byte {start} on{backing}")
                }
                _ => format!("block device {number}{backing}"),
            }
        }
        Kind::CharDevice { number } => format!("character device {number}"),
        other => kind_name(other).to_owned(),
    }
}

const fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::File(_) => "file",
        Kind::BlockDevice(_) => "block",
        Kind::Pipe => "pipe",
        Kind::CharDevice { .. } => "char",
        Kind::Directory => "directory",
        Kind::Socket => "socket",
        _ => "other",
    }
}

const fn direct(direct: DirectIo) -> (Option<bool>, Option<&'static str>) {
    match direct {
        DirectIo::Supported => (Some(true), None),
        DirectIo::Unsupported { reason } => (Some(false), Some(no_direct(reason))),
        _ => (None, Some("the kernel does not say; the limits are stated defaults")),
    }
}

const fn no_direct(reason: NoDirectIo) -> &'static str {
    match reason {
        NoDirectIo::NotStorage => "only files and block devices have it",
        NoDirectIo::StatxSaysNo => "the file system rules it out for this file (statx)",
        NoDirectIo::OpenRefused => "opening with O_DIRECT is refused",
        _ => "the kernel refuses it",
    }
}

/// Whether pieces may be shorter than a block: the stable name, and in words.
fn short_pieces(pieces: PieceProbe) -> (&'static str, String) {
    match pieces {
        PieceProbe::Accepted { piece_bytes } => ("accepted", format!("taken (tried {piece_bytes} bytes)")),
        PieceProbe::Refused { piece_bytes } => ("refused", format!("refused (tried {piece_bytes} bytes)")),
        PieceProbe::NotTried(why) => ("not_tried", format!("not tried, {}", not_tried(why))),
        _ => ("inconclusive", "no answer: what was read obeys no rule at all".to_owned()),
    }
}

fn not_tried(why: NotTried) -> String {
    match why {
        NotTried::NotStorage => "this is no storage".to_owned(),
        NotTried::NoDirectIo => "there is no direct I/O".to_owned(),
        NotTried::Unopened(errno) => format!("it cannot be opened for reading: {errno}"),
        NotTried::TooShort { size_bytes, block_bytes } => {
            format!("there are {size_bytes} bytes of data, less than one block of {block_bytes}")
        }
        NotTried::Failed(errno) => format!("an aligned read failed: {errno}"),
        _ => "the blocks or alignments are too large to try".to_owned(),
    }
}
