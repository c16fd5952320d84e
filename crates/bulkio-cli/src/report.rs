//! What a copy did, for people and as JSON.
//!
//! The JSON field names are stable and documented in `bulkio copy --help`: fields are added, never renamed.
//! Contract: every bounced byte shows up with its reason in both forms.

use std::fmt::Write as _;

use bulkio::copy::{Report, SideReport};
use serde::Serialize;

use crate::exit::Exit;
use crate::size;

/// The JSON object of a copy.
#[derive(Serialize, Debug)]
pub(crate) struct Json {
    bytes: u64,
    seconds: Option<f64>,
    bytes_per_second: Option<f64>,
    engine: Option<&'static str>,
    engine_refused: Option<String>,
    pages: Option<String>,
    pages_reason: Option<String>,
    pool_bytes: Option<u64>,
    registered_bytes: Option<u64>,
    block_bytes: Option<u64>,
    depth: Option<u32>,
    durable_bytes: u64,
    synced: bool,
    interrupted: bool,
    source: Option<JsonSide>,
    destination: Option<JsonSide>,
    notes: Vec<String>,
    error: Option<JsonError>,
}

#[derive(Serialize, Debug)]
struct JsonSide {
    path: String,
    class: &'static str,
    direct: bool,
    direct_bytes: u64,
    bounced_bytes: u64,
    bounces: Vec<JsonBounce>,
    requests: u64,
}

#[derive(Serialize, Debug)]
struct JsonBounce {
    reason: String,
    bytes: u64,
}

/// What went wrong, as in the objects of all commands.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct JsonError {
    class: &'static str,
    message: String,
    exit_status: u8,
}

impl JsonError {
    pub(crate) fn new(exit: Exit, message: &str) -> Self {
        Self { class: exit.class(), message: message.to_owned(), exit_status: exit.status() }
    }
}

impl Json {
    /// The object of a copy that may not have begun (then there is no report) and may have failed.
    pub(crate) fn new(report: Option<&Report>, error: Option<JsonError>) -> Self {
        let interrupted = error.as_ref().is_some_and(|error| error.class == Exit::Signal(0).class());
        let side = |of: fn(&Report) -> &SideReport| report.map(|report| JsonSide::new(of(report)));
        Self {
            bytes: report.map_or(0, |report| report.bytes),
            seconds: report.map(|report| report.elapsed.as_secs_f64()),
            bytes_per_second: report.and_then(rate),
            engine: report.map(|report| report.engine.kind.name()),
            engine_refused: report.and_then(|report| report.engine.refused.clone()),
            pages: report.map(|report| report.page_kind.to_string()),
            pages_reason: report.and_then(|report| not_empty(&report.page_reason)),
            pool_bytes: report.map(|report| report.pool_bytes),
            registered_bytes: report.map(|report| report.registered_bytes),
            block_bytes: report.map(|report| report.block_len),
            depth: report.map(|report| report.depth),
            durable_bytes: report.map_or(0, |report| report.durable_bytes),
            synced: report.is_some_and(|report| report.synced),
            interrupted: report.map_or(interrupted, |report| report.interrupted || interrupted),
            source: side(|report| &report.source),
            destination: side(|report| &report.destination),
            notes: report.map(|report| report.notes.clone()).unwrap_or_default(),
            error,
        }
    }

    /// The object on one line.
    pub(crate) fn line(&self) -> String {
        line(self)
    }
}

impl JsonSide {
    fn new(side: &SideReport) -> Self {
        let bounce = |(reason, bytes): &(String, u64)| JsonBounce { reason: reason.clone(), bytes: *bytes };
        Self {
            path: side.path.clone(),
            class: side.class,
            direct: side.direct,
            direct_bytes: side.direct_bytes,
            bounced_bytes: side.bounced_bytes,
            bounces: side.bounces.iter().map(bounce).collect(),
            requests: side.requests,
        }
    }
}

/// Writes an object of this command on one line.
pub(crate) fn line(object: &impl Serialize) -> String {
    // Only maps with keys that are no texts and failing writers make this fail; there are none.
    serde_json::to_string(object).unwrap_or_else(|error| format!("{{\"error\":{{\"message\":\"{error}\"}}}}"))
}

/// The report for people.
pub(crate) fn human(report: &Report) -> String {
    let mut text = String::new();
    let seconds = report.elapsed.as_secs_f64();
    let rate = rate(report).map(size::show_rate).map_or(String::new(), |rate| format!(", {rate}"));
    let state = match (report.interrupted, report.synced) {
        (true, _) => format!("; interrupted, {} bytes are durable", report.durable_bytes),
        (false, true) => ", durable".to_owned(),
        (false, false) => ", not flushed to the medium".to_owned(),
    };
    let bytes = match report.bytes {
        1 => "1 byte".to_owned(),
        bytes if bytes < 1024 => format!("{bytes} bytes"),
        bytes => format!("{bytes} bytes ({})", size::show(bytes)),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{bytes} copied in {seconds:.3} s{rate}{state}");
    let engine = &report.engine;
    let _ = writeln!(
        text,
        "engine {}, requests of {}, {} deep on each side",
        engine.kind,
        size::show(report.block_len),
        report.depth
    );
    if let Some(refused) = &engine.refused {
        let _ = writeln!(text, "  not io_uring: {refused}");
    }
    let _ = writeln!(
        text,
        "pages {}: {}, {} registered",
        report.page_kind,
        size::show(report.pool_bytes),
        size::show(report.registered_bytes)
    );
    if let Some(reason) = not_empty(&report.page_reason) {
        let _ = writeln!(text, "  {reason}");
    }
    human_side(&mut text, "from", &report.source);
    human_side(&mut text, "to", &report.destination);
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn human_side(text: &mut String, preposition: &str, side: &SideReport) {
    let SideReport { path, class, requests, direct_bytes, bounced_bytes, .. } = side;
    let plural = if *requests == 1 { "request" } else { "requests" };
    let _ = writeln!(
        text,
        "{preposition} {path} ({class}): {requests} {plural}, {direct_bytes} bytes direct, {bounced_bytes} bounced"
    );
    for (reason, bytes) in &side.bounces {
        let _ = writeln!(text, "  {bytes} bounced: {reason}");
    }
}

/// Bytes per second; `None` where there was no time.
fn rate(report: &Report) -> Option<f64> {
    let seconds = report.elapsed.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
    let bytes = report.bytes as f64;
    (seconds > 0.0).then(|| bytes / seconds)
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_copy_has_every_field() {
        let error = JsonError::new(Exit::Refused, "no");
        let object: serde_json::Value =
            serde_json::from_str(&Json::new(None, Some(error)).line()).expect("an object");
        assert_eq!(object["bytes"], 0);
        assert_eq!(object["durable_bytes"], 0);
        assert!(object["source"].is_null() && object["engine"].is_null());
        assert_eq!(object["error"]["class"], "refused");
        assert_eq!(object["error"]["exit_status"], 3);
        assert_eq!(object["interrupted"], false);
    }

    #[test]
    fn an_interrupted_copy_says_so_even_without_a_report() {
        let error = JsonError::new(Exit::Signal(15), "stop");
        let object: serde_json::Value =
            serde_json::from_str(&Json::new(None, Some(error)).line()).expect("an object");
        assert_eq!(object["interrupted"], true);
        assert_eq!(object["error"]["exit_status"], 143);
    }
}
