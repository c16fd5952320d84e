//! `bulkio verify`: two ends compared, and the result for people or programs.
//!
//! Contract: the result goes to standard output, with `--json` as exactly one object; what went wrong is said on standard error, also with
//! `--quiet`; the exit code is 0 only where everything was compared and is equal.

use std::sync::Arc;

use bulkio::copy::{Compared, Comparison, ComparisonFailure, End, compare};
use serde::Serialize;
use signal_hook::consts::SIGINT;

use crate::args::{SidecarChoice, Verify};
use crate::events::Events;
use crate::exit::Exit;
use crate::pace::Waiting;
use crate::progress::{Watch, Watcher, per_second, rate, seconds};
use crate::question::Question;
use crate::report::{JsonBounce, bounces_json};
use crate::screen::{self, Screen};
use crate::sidecar::Sidecar;
use crate::signals;
use crate::size::human;

pub(crate) fn run(args: &Verify) -> Exit {
    let screen: Arc<Screen> = Arc::default();
    let [a, b] = args.ends();
    if a == End::Stdin && b == End::Stdin {
        screen.say("bulkio: standard input cannot be both ends; name another one");
        return Exit::Usage;
    }
    let watch = Watch::new(Waiting::Bytes);
    let tell = {
        let (screen, json) = (Arc::clone(&screen), args.json);
        Arc::new(move |exit, _: &str| {
            // The command ends in any case.
            let _ = told(&screen, json, true, None, exit, Some("stopped: nothing is known to be equal"));
        })
    };
    if let Err(error) = signals::listen(Arc::clone(&watch), Arc::clone(&screen), tell) {
        let error = format!("cannot listen for signals: {error}");
        return told(&screen, args.json, args.quiet, None, Exit::Failed, Some(&error));
    }
    let sidecar = Sidecar::new(SidecarChoice::Nowhere, a, b, false);
    let mut watcher = Watcher::new(
        Arc::clone(&watch),
        Arc::clone(&screen),
        args.quiet,
        sidecar,
        Arc::new(Events::new(false, false, Arc::clone(&screen))),
        Question::Nobody,
    );
    let result = compare(a, b, &args.options(), &mut watcher);
    watcher.finish();
    let signal = watch.end();
    let (exit, report, error) = match &result {
        Ok(found) if found.interrupted => {
            let signal = signal.unwrap_or(u8::try_from(SIGINT).unwrap_or_default());
            let differ = if found.ranges_count > 0 { "some of them differ" } else { "all of them equal" };
            let error = format!("stopped: {} bytes are compared, {differ}", found.bytes);
            (Exit::Signal(signal), Some(found), Some(error))
        }
        Ok(found) if found.is_equal() => (Exit::Done, Some(found), None),
        Ok(found) if found.complete => (Exit::Differ, Some(found), Some(differ_line(found))),
        Ok(found) => {
            let error = format!("only {} bytes were compared; verify again", found.bytes);
            (Exit::Failed, Some(found), Some(error))
        }
        Err(ComparisonFailure { error, report }) => {
            (error.class().into(), report.as_deref(), Some(error.to_string()))
        }
    };
    told(&screen, args.json, args.quiet, report, exit, error.as_deref())
}

/// Tells the result, and returns the exit; a result that cannot be told is a failure.
fn told(
    screen: &Screen,
    json: bool,
    quiet: bool,
    found: Option<&Comparison>,
    exit: Exit,
    error: Option<&str>,
) -> Exit {
    screen.clear_bar();
    let text = match found {
        _ if json => Some(json_line(found, matches!(exit, Exit::Signal(_)), error)),
        Some(found) if !quiet => Some(human_lines(found)),
        _ => None,
    };
    let printed = text.map_or(Ok(()), |text| screen::print(&text));
    if let Some(error) = error {
        screen.say(&format!("bulkio: {error}"));
    }
    if let Err(error) = printed {
        screen.say(&format!("bulkio: cannot print the result: {error}"));
        return exit.and_failed();
    }
    exit
}

/// Says how two ends differ.
fn differ_line(found: &Comparison) -> String {
    let mut parts = Vec::new();
    if let Some(first) = found.first_difference {
        let ranges = if found.ranges_count == 1 { "range" } else { "ranges" };
        parts.push(format!(
            "{} bytes in {} {ranges}, the first different byte is {} of {} and {} of {}",
            found.differing_bytes,
            found.ranges_count,
            found.a.start.saturating_add(first),
            found.a.side.path,
            found.b.start.saturating_add(first),
            found.b.side.path,
        ));
    }
    if !found.has_same_len() {
        let len = |end: &Compared| match end.len {
            Some(len) => format!("{} bytes", len),
            None => "more".to_owned(),
        };
        parts.push(format!(
            "{} has {} from byte {} on and {} has {} from byte {} on (--count compares a part)",
            found.a.side.path,
            len(&found.a),
            found.a.start,
            found.b.side.path,
            len(&found.b),
            found.b.start,
        ));
    }
    format!("they differ: {}", parts.join("; "))
}

fn human_lines(found: &Comparison) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let of = [found.a.len, found.b.len].into_iter().flatten().min();
    let of = of.map_or_else(String::new, |len| format!(", of {len} bytes"));
    let result = match (found.complete, found.is_equal(), found.ranges_count) {
        (true, true, _) => "equal".to_owned(),
        (true, false, _) => "different".to_owned(),
        (false, _, 0) => format!("not all was compared{of}; no difference so far"),
        (false, ..) => format!("not all was compared{of}; different"),
    };
    let _ = writeln!(
        text,
        "{} bytes ({}) compared in {}, {}: {result}",
        found.bytes,
        human(found.bytes),
        seconds(found.elapsed),
        rate(per_second(found.bytes, found.elapsed)),
    );
    for (name, end) in [("a", &found.a), ("b", &found.b)] {
        let side = &end.side;
        let _ = writeln!(
            text,
            "  {name}  {}, {}: {} bytes direct, {} bounced, at most {} in flight",
            side.path, side.class, side.direct_bytes, side.bounced_bytes, side.in_flight_max,
        );
        for (reason, bytes) in &side.bounces {
            let _ = writeln!(text, "     {bytes} bounced: {reason}");
        }
    }
    for range in &found.ranges {
        let (a, b) = (found.a.start.saturating_add(range.at), found.b.start.saturating_add(range.at));
        let _ = writeln!(text, "  {} bytes differ from byte {a} of a and byte {b} of b on", range.len);
    }
    let listed = u64::try_from(found.ranges.len()).unwrap_or(u64::MAX);
    if found.ranges_count > listed {
        let _ = writeln!(text, "  and {} more ranges", found.ranges_count.saturating_sub(listed));
    }
    text
}

/// The object of a comparison; what is not known because nothing was compared is `null`.
#[derive(Serialize)]
struct Json<'a> {
    equal: Option<bool>,
    complete: Option<bool>,
    same_length: Option<bool>,
    bytes: u64,
    seconds: Option<f64>,
    bytes_per_second: Option<u64>,
    ranges: Vec<JsonRange>,
    differing_ranges: u64,
    differing_bytes: u64,
    first_difference: Option<u64>,
    a: Option<JsonEnd<'a>>,
    b: Option<JsonEnd<'a>>,
    engine: Option<&'static str>,
    block_bytes: Option<u64>,
    depth: Option<u32>,
    interrupted: bool,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonRange {
    at: u64,
    bytes: u64,
    a_byte: u64,
    b_byte: u64,
}

#[derive(Serialize)]
struct JsonEnd<'a> {
    path: &'a str,
    class: &'static str,
    start_byte: u64,
    range_bytes: Option<u64>,
    direct: bool,
    direct_bytes: u64,
    bounced_bytes: u64,
    bounces: Vec<JsonBounce<'a>>,
    requests: u64,
    in_flight_max: u32,
}

impl<'a> JsonEnd<'a> {
    fn of(end: &'a Compared) -> Self {
        let side = &end.side;
        Self {
            path: &side.path,
            class: side.class,
            start_byte: end.start,
            range_bytes: end.len,
            direct: side.direct,
            direct_bytes: side.direct_bytes,
            bounced_bytes: side.bounced_bytes,
            bounces: bounces_json(side),
            requests: side.requests,
            in_flight_max: side.in_flight_max,
        }
    }
}

fn json_line(found: Option<&Comparison>, interrupted: bool, error: Option<&str>) -> String {
    let ranges = found.map_or_else(Vec::new, |found| {
        let range = |range: &bulkio::copy::DifferingRange| JsonRange {
            at: range.at,
            bytes: range.len,
            a_byte: found.a.start.saturating_add(range.at),
            b_byte: found.b.start.saturating_add(range.at),
        };
        found.ranges.iter().map(range).collect()
    });
    let text = serde_json::to_string(&Json {
        equal: found.map(Comparison::is_equal),
        complete: found.map(|found| found.complete),
        same_length: found.map(Comparison::has_same_len),
        bytes: found.map_or(0, |found| found.bytes),
        seconds: found.map(|found| found.elapsed.as_secs_f64()),
        bytes_per_second: found.map(|found| per_second(found.bytes, found.elapsed)),
        ranges,
        differing_ranges: found.map_or(0, |found| found.ranges_count),
        differing_bytes: found.map_or(0, |found| found.differing_bytes),
        first_difference: found.and_then(|found| found.first_difference),
        a: found.map(|found| JsonEnd::of(&found.a)),
        b: found.map(|found| JsonEnd::of(&found.b)),
        engine: found.map(|found| found.engine.kind.name()),
        block_bytes: found.map(|found| found.block_len),
        depth: found.map(|found| found.depth),
        interrupted: interrupted || found.is_some_and(|found| found.interrupted),
        error,
    });
    // Plain strings and numbers always serialise.
    text.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

#[cfg(test)]
mod tests {
    use bulkio::copy::{CompareOptions, Control, Observer, Progress};

    use super::*;

    /// Stops at once.
    struct Stops;

    impl Observer for Stops {
        fn progress(&mut self, _: &Progress) -> Control {
            Control::Stop
        }

        fn warning(&mut self, _: &str) {}
    }

    #[test]
    fn what_was_not_compared_to_its_end_is_not_called_equal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        std::fs::write(&path, [7; 5000]).expect("a file");
        let end = End::Path(&path);
        let found = compare(end, end, &CompareOptions::default(), &mut Stops).expect("no error");
        assert!(!found.complete && found.ranges_count == 0, "{found:?}");
        let text = human_lines(&found);
        assert!(text.contains(": not all was compared, of 5000 bytes; no difference so far"), "{text}");
        assert!(!text.contains("equal"), "{text}");
        let line = json_line(Some(&found), false, Some("an error"));
        assert!(line.contains("\"equal\":false,\"complete\":false"), "{line}");
    }
}
