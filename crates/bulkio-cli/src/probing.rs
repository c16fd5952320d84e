//! `bulkio probe`: the limits of a path, with who stated each and what happens to a transfer that breaks it.

use std::io::{self, Write};
use std::path::Path;

use bulkio::probe::{DirectIo, Kind, NoDirectIo, Probe, ProbeError, probe_path};
use scatterlist::{Limit, LimitId};
use serde::Serialize;

use crate::args;
use crate::exit::Exit;
use crate::screen::Screen;

pub(crate) fn run(args: &args::Probe, screen: &Screen) -> Exit {
    let probe = match probe_path(&args.path) {
        Ok(probe) => probe,
        Err(error) => {
            screen.say(&format!("bulkio: {error}"));
            return match error {
                ProbeError::NotFound { .. } | ProbeError::Denied { .. } => Exit::Refused,
                _ => Exit::Failed,
            };
        }
    };
    let printed =
        if args.json { print_json(&args.path, &probe) } else { print_table(&args.path, &probe, args.all) };
    match printed {
        Ok(()) => Exit::Done,
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            screen.say(&format!("bulkio: cannot print: {error}"));
            Exit::Failed
        }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    path: String,
    kind: &'static str,
    size_bytes: Option<u64>,
    direct: &'static str,
    limits: Vec<JsonLimit>,
    /// What the disk's queue states, whether or not a harder limit of the same name rules.
    queue: Vec<JsonLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonLimit {
    name: &'static str,
    value: u64,
    source: &'static str,
    force: &'static str,
    /// Whether the value stands for "no rule".
    neutral: bool,
}

impl JsonLimit {
    fn new((id, limit): (LimitId, Limit)) -> Self {
        Self {
            name: id.name(),
            value: limit.value,
            source: limit.source.name(),
            force: limit.force.name(),
            neutral: limit.value == id.neutral(),
        }
    }
}

fn print_json(path: &Path, probe: &Probe) -> io::Result<()> {
    let json = Json {
        path: path.display().to_string(),
        kind: kind(&probe.kind),
        size_bytes: probe.size,
        direct: direct(probe.direct),
        limits: probe.limits.iter().map(JsonLimit::new).collect(),
        queue: probe.queue.iter().map(JsonLimit::new).collect(),
        disk: disk(&probe.kind),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &json)?;
    writeln!(out)
}

fn print_table(path: &Path, probe: &Probe, all: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{}: {}", path.display(), kind(&probe.kind))?;
    if let Some(size) = probe.size {
        write!(out, ", {size} bytes")?;
    }
    if let Some(disk) = disk(&probe.kind) {
        write!(out, ", on {disk}")?;
    }
    writeln!(out, ", direct I/O {}", direct(probe.direct))?;
    writeln!(out, "{:<20} {:>20}  {:<12} force", "limit", "value", "source")?;
    for (id, limit) in probe.limits.iter() {
        if all || limit.value != id.neutral() {
            writeln!(out, "{id:<20} {:>20}  {:<12} {}", limit.value, limit.source, limit.force)?;
        }
    }
    for (id, limit) in probe.queue.iter() {
        if probe.limits.get(id) != limit {
            writeln!(out, "{id:<20} {:>20}  {:<12} {} (queue)", limit.value, limit.source, limit.force)?;
        }
    }
    Ok(())
}

const fn kind(kind: &Kind) -> &'static str {
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

fn disk(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::File(file) => file.block_device.as_deref(),
        Kind::BlockDevice(device) => device.disk_name.as_deref(),
        _ => None,
    }
}

const fn direct(direct: DirectIo) -> &'static str {
    match direct {
        DirectIo::Supported => "supported",
        DirectIo::Unsupported { reason: NoDirectIo::NotStorage } => "not for streams",
        DirectIo::Unsupported { .. } => "not supported",
        _ => "unknown",
    }
}
