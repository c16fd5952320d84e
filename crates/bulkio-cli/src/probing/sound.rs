//! What a sound device says of itself, for people and programs, and whether its ring would be the memory of transfers of another end.

use std::fmt::Write as _;

use bulkio::device::audio::{AudioFacts, Direction, Pinned, SampleFormat, Supported};
use serde::Serialize;

use super::other_end::{JsonOtherEnd, OtherEnd, Verdict};

#[derive(Serialize)]
struct Json<'a> {
    path: &'a str,
    kind: &'static str,
    /// Capture, playback, or both.
    directions: Vec<JsonDirection<'a>>,
    /// The other end that was asked about, if one was.
    to: Option<JsonOtherEnd<'a>>,
}

#[derive(Serialize)]
struct JsonDirection<'a> {
    direction: &'static str,
    node: String,
    card: u32,
    card_id: Option<&'a str>,
    device: u32,
    name: &'a str,
    subdevices: u32,
    subdevices_free: u32,
    formats: Vec<String>,
    /// Numbers of the kernel of formats that have no name here.
    other_formats: &'a [u32],
    rates_hz: JsonSupported<'a>,
    channels: JsonSupported<'a>,
    period_frames: JsonSupported<'a>,
    buffer_frames: JsonSupported<'a>,
    buffer_bytes: JsonSupported<'a>,
    usual: JsonParams,
    notes: &'a [String],
    pinnable: Option<bool>,
    /// What would become of sound on the way from or to the other end (direct, edges, copied); null where none was asked about.
    verdict: Option<&'static str>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct JsonSupported<'a> {
    min: u32,
    max: u32,
    /// The common ones that work.
    usual: &'a [u32],
}

#[derive(Serialize)]
struct JsonParams {
    sample: String,
    rate_hz: u32,
    channels: u32,
    frame_bytes: u64,
    period_frames: u32,
    buffer_frames: u32,
    ring_bytes: u64,
}

impl<'a> JsonSupported<'a> {
    fn of(supported: &'a Supported) -> Self {
        Self { min: supported.min, max: supported.max, usual: &supported.usual }
    }
}

impl<'a> JsonDirection<'a> {
    fn of(facts: &'a AudioFacts, to: Option<&OtherEnd>) -> Self {
        let verdict = to.map(|to| verdict(facts, to));
        let usual = &facts.usual;
        Self {
            direction: name(facts.direction),
            node: facts.path.display().to_string(),
            card: facts.card,
            card_id: facts.card_id.as_deref(),
            device: facts.device,
            name: &facts.name,
            subdevices: facts.subdevices,
            subdevices_free: facts.subdevices_free,
            formats: facts.formats.iter().map(SampleFormat::to_string).collect(),
            other_formats: &facts.other_formats,
            rates_hz: JsonSupported::of(&facts.rates_hz),
            channels: JsonSupported::of(&facts.channels),
            period_frames: JsonSupported::of(&facts.period_frames),
            buffer_frames: JsonSupported::of(&facts.buffer_frames),
            buffer_bytes: JsonSupported::of(&facts.buffer_bytes),
            usual: JsonParams {
                sample: usual.sample.to_string(),
                rate_hz: usual.rate_hz,
                channels: usual.channels,
                frame_bytes: usual.frame_len,
                period_frames: usual.period_frames,
                buffer_frames: usual.buffer_frames,
                ring_bytes: usual.ring_len,
            },
            notes: &facts.notes,
            pinnable: match facts.pinned {
                Pinned::Yes => Some(true),
                Pinned::No(_) => Some(false),
                _ => None,
            },
            verdict: verdict.as_ref().map(Verdict::name),
            reason: verdict.as_ref().and_then(Verdict::reason).map(str::to_owned),
        }
    }
}

/// Returns one JSON object.
pub(super) fn json(path: &str, facts: &[AudioFacts], to: Option<&OtherEnd>) -> serde_json::Result<String> {
    serde_json::to_string(&Json {
        path,
        kind: "audio",
        directions: facts.iter().map(|facts| JsonDirection::of(facts, to)).collect(),
        to: to.map(OtherEnd::json),
    })
}

/// Returns a table for people, several lines.
pub(super) fn table(path: &str, facts: &[AudioFacts], to: Option<&OtherEnd>) -> String {
    let mut text = String::new();
    for facts in facts {
        let _ = write!(
            text,
            "{path}: audio, {} from {}, {}",
            name(facts.direction),
            facts.path.display(),
            facts.name
        );
        let id = facts.card_id.as_ref().map_or_else(String::new, |id| format!(" ({id})"));
        let _ = writeln!(text, ", device {} of card {}{id}", facts.device, facts.card);
        let formats: Vec<String> = facts.formats.iter().map(SampleFormat::to_string).collect();
        let others = match facts.other_formats.len() {
            0 => String::new(),
            count => format!(", and {count} that have no name here"),
        };
        let rows = [
            ("subdevices", format!("{} of {} are free", facts.subdevices_free, facts.subdevices)),
            ("samples", format!("{}{others}", formats.join(", "))),
            ("rates", format!("{} Hz", facts.rates_hz)),
            ("channels", facts.channels.to_string()),
            ("period", format!("{} frames", facts.period_frames)),
            ("ring", format!("{} frames, {} bytes", facts.buffer_frames, facts.buffer_bytes)),
            ("where nothing is given", format!("{}: {} bytes", facts.usual, facts.usual.ring_len)),
            ("memory", facts.pinned.to_string()),
        ];
        for (name, words) in rows {
            let _ = writeln!(text, "  {name:<22} {words}");
        }
        for note in &facts.notes {
            let _ = writeln!(text, "  note: {note}");
        }
        if let Some(to) = to {
            let side = if facts.direction == Direction::Capture { "to" } else { "from" };
            let _ = writeln!(text, "  {side} {to}\n    {}", verdict(facts, to));
        }
    }
    text
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Capture => "capture",
        Direction::Playback => "playback",
    }
}

/// What would become of sound on the way from or to the other end, with the ring as it is where nothing is given.
fn verdict(facts: &AudioFacts, to: &OtherEnd) -> Verdict {
    let pinned = match facts.pinned {
        Pinned::Yes => Ok(()),
        ref pinned => Err(pinned.to_string()),
    };
    to.ring_verdict(facts.usual.ring_len, pinned)
}
