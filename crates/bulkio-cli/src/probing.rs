//! `bulkio probe`: the limits of a path, with who stated each and what happens to a transfer that breaks it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use bulkio::device::{Device as _, Passthrough, PassthroughError, takes_commands};
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
    let (probe, facts) = match with_facts(probe) {
        Ok(found) => found,
        Err(error) => {
            screen.say(&format!("bulkio: {error}"));
            return Exit::Refused;
        }
    };
    let printed = if args.json {
        print_json(&args.path, &probe, &facts)
    } else {
        print_table(&args.path, &probe, &facts, args.all)
    };
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

type Facts = Vec<(&'static str, String)>;

/// Asks a node that takes commands what it is, and what it takes: the system does not say.
fn with_facts(mut probe: Probe) -> Result<(Probe, Facts), PassthroughError> {
    if !takes_commands(&probe) {
        return Ok((probe, Facts::new()));
    }
    let device = Passthrough::open(&probe)?;
    probe.limits = *device.limits();
    probe.size = device.len_bytes();
    probe.direct = match device.routes().direct() {
        Ok(_) => DirectIo::Supported,
        Err(_) => DirectIo::Unsupported { reason: NoDirectIo::OpenRefused },
    };
    Ok((probe, device.facts()))
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
    /// What a device that takes commands says of itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<&'static str, &'a str>,
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

fn print_json(path: &Path, probe: &Probe, facts: &Facts) -> io::Result<()> {
    let json = Json {
        path: path.display().to_string(),
        kind: kind(&probe.kind),
        size_bytes: probe.size,
        direct: direct(probe),
        limits: probe.limits.iter().map(JsonLimit::new).collect(),
        queue: probe.queue.iter().map(JsonLimit::new).collect(),
        disk: disk(&probe.kind),
        facts: facts.iter().map(|(name, words)| (*name, &**words)).collect(),
    };
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &json)?;
    writeln!(out)
}

fn print_table(path: &Path, probe: &Probe, facts: &Facts, all: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{}: {}", path.display(), kind(&probe.kind))?;
    if let Some(size) = probe.size {
        write!(out, ", {size} bytes")?;
    }
    if let Some(disk) = disk(&probe.kind) {
        write!(out, ", on {disk}")?;
    }
    writeln!(out, ", direct I/O {}", direct(probe))?;
    for (name, words) in facts {
        writeln!(out, "  {name}: {words}")?;
    }
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
        Kind::CharDevice { class, .. } => class.name(),
        Kind::Tape(_) => "tape",
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

const fn direct(probe: &Probe) -> &'static str {
    if matches!(probe.kind, Kind::Tape(_)) {
        return "tried by the driver";
    }
    match probe.direct {
        DirectIo::Supported => "supported",
        DirectIo::Unsupported { reason: NoDirectIo::NotStorage } => "not for streams",
        DirectIo::Unsupported { .. } => "not supported",
        _ => "unknown",
    }
}
