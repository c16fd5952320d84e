//! The report of a copy: for people on standard error, for programs as one JSON object, the last of the events (`events`).
//!
//! The JSON names are stable: fields are added, never renamed. Lengths are bytes, times seconds. `stream` has what a device with a
//! clock did, `digest` what was hashed and read back, `sparse` what became of zeros, `destinations` what became of each where there are several.

mod destinations;
mod digest;
mod rescue;
mod sparse;
mod stream;

use std::path::Path;

use bulkio::copy::{Buffered, Report, Side, SideReport, TapeReport, Tuned};
use serde::Serialize;

use crate::exit::Exit;
use crate::progress::{per_second, rate, seconds};
use crate::sidecar::Written;
use crate::size::human;
use destinations::JsonDestination;
pub(crate) use destinations::failed_line;
use digest::{JsonDigest, JsonVerified};
use rescue::JsonRescue;
use sparse::{JsonOffload, JsonSparse};
use stream::JsonStream;

/// The object of a copy; what is not known because the copy never began is `null`.
#[derive(Serialize)]
struct Json<'a> {
    /// `end`: it is the last of the events.
    event: &'static str,
    outcome: &'static str,
    exit_code: u8,
    bytes: u64,
    seconds: Option<f64>,
    bytes_per_second: Option<u64>,
    engine: Option<&'static str>,
    /// Why better engines are not used; `null` where there are none, or they were not wanted.
    engine_refused: Option<String>,
    pages: Option<String>,
    /// Why they are not better ones.
    pages_reason: Option<&'a str>,
    pool_bytes: Option<u64>,
    registered_bytes: Option<u64>,
    /// Why that is not all of the pool; empty where it is.
    registered_reason: Option<&'a str>,
    block_bytes: Option<u64>,
    depth: Option<u32>,
    /// `null` where the depth was fixed.
    tuned: Option<JsonTuned>,
    /// `null` where there was none.
    buffered: Option<JsonBuffered>,
    durable_bytes: u64,
    synced: bool,
    interrupted: bool,
    /// `null` where the copy stops at errors and keeps no map.
    rescue: Option<JsonRescue>,
    /// `null` where none was wanted, or none could be made.
    digest: Option<JsonDigest>,
    /// `null` where nothing was read back.
    verified: Option<JsonVerified>,
    /// `null` where there were no holes, or none were looked for.
    sparse: Option<JsonSparse>,
    /// `null` where all moved through here.
    offload: Option<JsonOffload>,
    source: Option<JsonSide<'a>>,
    /// The first, where there are several.
    destination: Option<JsonSide<'a>>,
    /// `null` where there is one.
    destinations: Option<Vec<JsonDestination<'a>>>,
    /// Where the events of a device with a clock are; `null` where there is none, or nowhere.
    sidecar: Option<String>,
    notes: &'a [String],
    /// The message of a copy that failed, was interrupted or lost something; `null` on success.
    error: Option<&'a str>,
}

/// What was found about the depth.
#[derive(Serialize)]
struct JsonTuned {
    depth: u32,
    block_bytes: u64,
    /// `null` where the copy was over before.
    found_after_seconds: Option<f64>,
    steps: u32,
}

impl JsonTuned {
    fn of(tuned: &Tuned) -> Self {
        Self {
            depth: tuned.depth,
            block_bytes: tuned.block_len,
            found_after_seconds: tuned.found_after.map(|time| time.as_secs_f64()),
            steps: tuned.steps,
        }
    }
}

/// What a buffer did.
#[derive(Serialize)]
struct JsonBuffered {
    bytes: u64,
    starts: u64,
    filled_max_bytes: u64,
}

impl JsonBuffered {
    const fn of(buffered: &Buffered) -> Self {
        Self { bytes: buffered.len, starts: buffered.starts, filled_max_bytes: buffered.filled_max }
    }
}

#[derive(Serialize)]
struct JsonSide<'a> {
    path: &'a str,
    class: &'static str,
    direct: bool,
    direct_bytes: u64,
    bounced_bytes: u64,
    bounces: Vec<JsonBounce<'a>>,
    requests: u64,
    in_flight_max: u32,
    /// `null` where it is no tape.
    tape: Option<JsonTape>,
    /// `null` where it is no device with a clock.
    stream: Option<JsonStream<'a>>,
}

#[derive(Serialize)]
struct JsonTape {
    /// 0 in variable mode.
    block_bytes: u32,
    records: u64,
    filemarks: u64,
    starts: u64,
    /// Places before and after; what the driver does not know is `null`.
    from_file: Option<u32>,
    from_block: Option<u32>,
    to_file: Option<u32>,
    to_block: Option<u32>,
    at_end_of_data: bool,
}

impl JsonTape {
    const fn of(tape: &TapeReport) -> Self {
        Self {
            block_bytes: tape.block_len,
            records: tape.records,
            filemarks: tape.filemarks,
            starts: tape.starts,
            from_file: tape.from.file,
            from_block: tape.from.block,
            to_file: tape.to.file,
            to_block: tape.to.block,
            at_end_of_data: tape.at_end_of_data,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct JsonBounce<'a> {
    reason: &'a str,
    bytes: u64,
}

/// The bounced bytes of a side by reason.
pub(crate) fn bounces_json(side: &SideReport) -> Vec<JsonBounce<'_>> {
    side.bounces.iter().map(|(reason, bytes)| JsonBounce { reason, bytes: *bytes }).collect()
}

/// Returns the object of a copy on one line. Without a report it never began.
pub(crate) fn json(
    exit: Exit,
    report: Option<&Report>,
    error: Option<&str>,
    sidecar: Option<&Path>,
) -> String {
    let text = serde_json::to_string(&Json {
        event: "end",
        outcome: exit.outcome(),
        exit_code: exit.code(),
        bytes: report.map_or(0, |report| report.bytes),
        seconds: report.map(|report| report.elapsed.as_secs_f64()),
        bytes_per_second: report.map(|report| per_second(moved_bytes(report), report.elapsed)),
        engine: report.map(|report| report.engine.kind.name()),
        engine_refused: report.and_then(refused_engines),
        pages: report.map(|report| report.page_kind.to_string()),
        pages_reason: report.map(|report| &*report.page_reason),
        pool_bytes: report.map(|report| report.pool_bytes),
        registered_bytes: report.map(|report| report.registered_bytes),
        registered_reason: report.map(|report| &*report.registered_reason),
        block_bytes: report.map(|report| report.block_len),
        depth: report.map(|report| report.depth),
        tuned: report.and_then(|report| report.tuned.as_ref()).map(JsonTuned::of),
        buffered: report.and_then(|report| report.buffered.as_ref()).map(JsonBuffered::of),
        durable_bytes: report.map_or(0, |report| report.durable_bytes),
        synced: report.is_some_and(|report| report.synced),
        interrupted: matches!(exit, Exit::Signal(_)) || report.is_some_and(|report| report.interrupted),
        rescue: report.and_then(JsonRescue::of),
        digest: report.and_then(JsonDigest::of),
        verified: report.and_then(|report| report.verified.as_ref()).map(JsonVerified::of),
        sparse: report.and_then(JsonSparse::of),
        offload: report.and_then(JsonOffload::of),
        source: report.map(|report| side_json(&report.source)),
        destination: report.map(|report| side_json(&report.destination)),
        destinations: report.and_then(JsonDestination::all),
        sidecar: sidecar.map(|path| path.display().to_string()),
        notes: report.map_or(&[], |report| &report.notes),
        error,
    });
    // Plain strings and numbers always serialise.
    text.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// Says why better engines are not used, if there are any.
fn refused_engines(report: &Report) -> Option<String> {
    let refused: Vec<String> = report.engine.refused.iter().map(ToString::to_string).collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}

/// Bytes that this copy moved; others were copied before, by a map, or are holes.
fn moved_bytes(report: &Report) -> u64 {
    let before = report.rescue.as_ref().map_or(0, |rescue| rescue.resumed_bytes);
    let holes = report.sparse.as_ref().map_or(0, |sparse| sparse.bytes);
    report.bytes.saturating_sub(before).saturating_sub(holes)
}

fn side_json(side: &SideReport) -> JsonSide<'_> {
    JsonSide {
        path: &side.path,
        class: side.class,
        direct: side.direct,
        direct_bytes: side.direct_bytes,
        bounced_bytes: side.bounced_bytes,
        bounces: bounces_json(side),
        requests: side.requests,
        in_flight_max: side.in_flight_max,
        tape: side.tape.as_ref().map(JsonTape::of),
        stream: side.stream.as_ref().map(JsonStream::of),
    }
}

/// Says what was lost although the copy succeeded; `None` where nothing was.
pub(crate) fn lost_line(report: &Report) -> Option<String> {
    let lost = rescue::lost(report).or_else(|| stream::lost(&report.source, &report.destination))?;
    Some(format!("data was lost: {lost}; the report lists where"))
}

/// Returns the report for people, several lines.
pub(crate) fn human_lines(report: &Report, sidecar: Option<&Written>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let rate = rate(per_second(moved_bytes(report), report.elapsed));
    let state = if report.synced { "durable" } else { "not synced" };
    let _ = writeln!(
        text,
        "{} bytes ({}) in {}, {rate}, {state}",
        report.bytes,
        human(report.bytes),
        seconds(report.elapsed),
    );
    let _ = writeln!(
        text,
        "  {} engine, {} requests of {} at depth {}, pool of {} in {} pages, {}",
        report.engine.kind,
        requests(report),
        human(report.block_len),
        report.depth,
        human(report.pool_bytes),
        report.page_kind,
        registered(report),
    );
    if let Some(Tuned { depth, found_after: Some(after), steps, .. }) = &report.tuned {
        let _ = writeln!(text, "  depth {depth} found in {:.1} s, {steps} measured", after.as_secs_f64());
    }
    if let Some(Buffered { len, starts, filled_max, .. }) = &report.buffered {
        let _ = writeln!(
            text,
            "  buffer of {}, {} of it filled at most; writing began {}",
            human(*len),
            human(*filled_max),
            times(*starts),
        );
    }
    for refused in &report.engine.refused {
        let _ = writeln!(text, "  {} is not used: {}", refused.kind, refused.reason);
    }
    if !report.registered_reason.is_empty() && report.engine.refused.is_empty() {
        let _ = writeln!(text, "  not all is registered: {}", report.registered_reason);
    }
    side_lines(&mut text, "source", Side::Source, &report.source);
    if report.destinations.is_empty() {
        side_lines(&mut text, "destination", Side::Destination, &report.destination);
    }
    for destination in &report.destinations {
        side_lines(&mut text, "destination", Side::Destination, &destination.side);
        let _ = writeln!(text, "              {}", destinations::line(destination));
        if let Some(verified) = &destination.verified {
            let _ = writeln!(text, "              {}", digest::verified(verified, destination.bytes));
        }
    }
    let lines = rescue::lines(report)
        .into_iter()
        .chain(digest::lines(report))
        .chain(sparse::line(report))
        .chain(sparse::offload_line(report));
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    if let Some(Written { path: Some(path), lines, error: None, .. }) = sidecar {
        let _ = writeln!(text, "  sidecar     {}: {lines} lines", path.display());
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}

/// Adds what happened on one side.
fn side_lines(text: &mut String, name: &str, which: Side, side: &SideReport) {
    use std::fmt::Write as _;
    let _ = writeln!(
        text,
        "  {name:<11} {}, {}: {} bytes direct, {} bounced, at most {} in flight",
        side.path, side.class, side.direct_bytes, side.bounced_bytes, side.in_flight_max,
    );
    if let Some(tape) = &side.tape {
        let _ = writeln!(
            text,
            "              {} blocks and {} filemarks from {} to {}{}, started {}",
            tape.records,
            tape.filemarks,
            tape.from,
            tape.to,
            if tape.at_end_of_data { ", the end of the data" } else { "" },
            times(tape.starts),
        );
    }
    for (reason, bytes) in &side.bounces {
        let _ = writeln!(text, "              {bytes} bounced: {reason}");
    }
    for line in stream::lines(which, side) {
        let _ = writeln!(text, "              {line}");
    }
}

/// Requests of all sides.
fn requests(report: &Report) -> u64 {
    let more = report.destinations.iter().skip(1).map(|destination| destination.side.requests);
    let both = report.source.requests.saturating_add(report.destination.requests);
    more.fold(both, u64::saturating_add)
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn registered(report: &Report) -> String {
    match report.registered_bytes {
        0 => "not registered".to_owned(),
        bytes if bytes >= report.pool_bytes => "registered".to_owned(),
        bytes => format!("{} registered", human(bytes)),
    }
}

/// A tape and a device with a clock as the object has them.
#[cfg(test)]
pub(crate) fn samples() -> [serde_json::Value; 2] {
    use bulkio::copy::{Loss, LossReason, StreamReport};
    let tape = JsonTape {
        block_bytes: 0,
        records: 1,
        filemarks: 1,
        starts: 1,
        from_file: Some(0),
        from_block: None,
        to_file: None,
        to_block: Some(3),
        at_end_of_data: true,
    };
    let time = std::time::Duration::from_millis(1);
    let loss = Loss { reason: LossReason::Dropped, at_frame: 1, sequence: 2, count: None, time };
    let mut stream = StreamReport::default();
    stream.losses = vec![loss];
    [serde_json::to_value(tape), serde_json::to_value(JsonStream::of(&stream))]
        .map(|value| value.expect("an object"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::exit::Exit;

    #[test]
    fn a_copy_that_never_began_has_every_field() {
        let object: Value =
            serde_json::from_str(&super::json(Exit::Refused, None, Some("no"), None)).expect("an object");
        assert_eq!((&object["outcome"], &object["exit_code"]), (&json!("refused"), &json!(3)));
        assert_eq!(object["bytes"], 0);
        assert_eq!(object["notes"], json!([]));
        assert_eq!(object["error"], "no");
        assert_eq!(object["interrupted"], false);
        assert!(object["source"].is_null() && object["engine"].is_null() && object["sidecar"].is_null());
    }
}
