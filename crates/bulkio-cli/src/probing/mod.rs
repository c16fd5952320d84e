//! `bulkio probe`: the limits of a path, with who stated each and what happens to a transfer that breaks it.
//!
//! Devices with a clock have no limits but abilities: `video` and `sound` print those, and with `--to` what would be copied on the way to
//! another end (`other_end`).

mod other_end;
mod sound;
mod video;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use bulkio::device::audio::{AudioError, Direction, PcmName, describe as describe_sound, is_pcm};
use bulkio::device::video::{Capture, describe as describe_video};
use bulkio::device::{Device as _, Passthrough, PassthroughError, takes_commands};
use bulkio::probe::{DirectIo, Kind, NoDirectIo, Probe, ProbeError, probe_path};
use scatterlist::{Limit, LimitId};
use serde::Serialize;

use crate::args;
use crate::exit::Exit;
use crate::screen::{self, Screen};
use other_end::OtherEnd;

pub(crate) fn run(args: &args::Probe, screen: &Screen) -> Exit {
    if let Some(text) = with_clock(args, screen) {
        return match text {
            Ok(text) => printed(screen::print(&text), screen),
            Err((exit, error)) => {
                screen.say(&format!("bulkio: {error}"));
                exit
            }
        };
    }
    if args.to.is_some() {
        let path = args.path.display();
        screen.say(&format!(
            "bulkio: --to is for video grabbers and sound devices, and {path} is neither; leave it out"
        ));
        return Exit::Refused;
    }
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
    let result = if args.json {
        print_json(&args.path, &probe, &facts)
    } else {
        print_table(&args.path, &probe, &facts, args.all)
    };
    printed(result, screen)
}

/// The exit, once an answer was printed, or was not.
fn printed(result: io::Result<()>, screen: &Screen) -> Exit {
    match result {
        Ok(()) => Exit::Done,
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            screen.say(&format!("bulkio: cannot print: {error}"));
            Exit::Failed
        }
    }
}

/// What was found, or why not.
type Text = Result<String, (Exit, String)>;

/// Answers for a device with a clock; `None` where it is none.
fn with_clock(args: &args::Probe, screen: &Screen) -> Option<Text> {
    if is_pcm(&args.path) {
        return Some(of_sound(args, screen));
    }
    Capture::is_capture(&args.path).then(|| of_video(args))
}

fn of_video(args: &args::Probe) -> Text {
    let facts = describe_video(&args.path).map_err(|error| (Exit::Refused, error.to_string()))?;
    let to = other_end(args)?;
    if args.json { json(video::json(&facts, to.as_ref())) } else { Ok(video::table(&facts, to.as_ref())) }
}

/// A name without a direction is that of two nodes, of which one may be missing.
fn of_sound(args: &args::Probe, screen: &Screen) -> Text {
    let refused = |error: AudioError| {
        (if error.is_refusal() { Exit::Refused } else { Exit::Failed }, error.to_string())
    };
    let name = PcmName::of_path(&args.path).map_err(refused)?;
    let directions = match name.direction() {
        Some(direction) => vec![direction],
        None => vec![Direction::Capture, Direction::Playback],
    };
    let (mut facts, mut errors) = (Vec::new(), Vec::new());
    for direction in directions {
        match describe_sound(&name, direction) {
            Ok(found) => facts.push(found),
            Err(error) => errors.push(error),
        }
    }
    if facts.is_empty() && !errors.is_empty() {
        return Err(refused(errors.swap_remove(0)));
    }
    for error in errors.iter().filter(|error| !matches!(error, AudioError::NoNode { .. })) {
        screen.say(&format!("bulkio: {error}"));
    }
    let (path, to) = (args.path.display().to_string(), other_end(args)?);
    if args.json {
        json(sound::json(&path, &facts, to.as_ref()))
    } else {
        Ok(sound::table(&path, &facts, to.as_ref()))
    }
}

fn other_end(args: &args::Probe) -> Result<Option<OtherEnd>, (Exit, String)> {
    args.to.as_deref().map(OtherEnd::ask).transpose().map_err(|error| (Exit::Refused, error))
}

fn json(text: serde_json::Result<String>) -> Text {
    text.map_err(|error| (Exit::Failed, format!("cannot print: {error}")))
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

/// One limit, as every command shows it.
#[derive(Serialize)]
pub(crate) struct JsonLimit {
    name: &'static str,
    value: u64,
    source: &'static str,
    force: &'static str,
    /// Whether the value stands for "no rule".
    neutral: bool,
}

impl JsonLimit {
    pub(crate) fn new((id, limit): (LimitId, Limit)) -> Self {
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
