//! The events of a copy with `--json`: one object a line, the last of them the report.
//!
//! `schema/copy-events.schema.json` describes every line; names are stable: fields are added, never renamed. Contract: a line is one
//! write; behind the line `end` there is none, whichever thread wrote it. A reader that went away stops no copy: that the report could
//! not be printed is an error at the end. Progress and errors are dropped where their reader is slow, all other lines wait for it, but for the end of a
//! command that is told twice to stop: it comes without the line (`signals`).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkio::copy::{LostRange, Phase, Progress, ReadFailure, RescuePhase, RescueProgress, Start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::progress::per_second;
use crate::screen::{self, Screen};

/// The description of every line.
pub(crate) const SCHEMA: &str = include_str!("../schema/copy-events.schema.json");

/// The time between two lines about progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Why bytes of a source are lost.
const UNREADABLE: &str = "unreadable";

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Start {
        version: &'static str,
        source: EndOf<'a>,
        destination: EndOf<'a>,
        /// `None` where there is one.
        destinations: Option<Vec<EndOf<'a>>>,
        total_bytes: Option<u64>,
        block_bytes: u64,
        depth: u32,
    },
    Progress {
        phase: &'static str,
        done_bytes: u64,
        total_bytes: Option<u64>,
        seconds: f64,
        bytes_per_second: u64,
        reads_in_flight: u32,
        writes_in_flight: u32,
        /// `None` where the copy keeps no account of areas.
        rescue: Option<RescueOf>,
    },
    Error {
        position: u64,
        bytes: u64,
        phase: &'static str,
        pass: u32,
        reason: &'a str,
    },
    Lost {
        position: u64,
        bytes: u64,
        reason: &'static str,
    },
    Warning {
        text: &'a str,
    },
}

#[derive(Clone, Copy, Serialize)]
struct EndOf<'a> {
    path: &'a str,
    class: &'static str,
}

#[derive(Clone, Copy, Serialize)]
struct RescueOf {
    phase: &'static str,
    pass: u32,
    failed_bytes: u64,
}

impl RescueOf {
    const fn new(progress: &RescueProgress) -> Self {
        let RescueProgress { phase, pass, failed_bytes } = *progress;
        Self { phase: rescue_phase_name(phase), pass, failed_bytes }
    }
}

/// Where events go.
#[derive(Debug)]
pub(crate) struct Events {
    /// `None` where nobody wants them.
    to: Option<Outlet>,
    screen: Arc<Screen>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outlet {
    Stdout,
    /// Standard output carries the data.
    Stderr,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    /// When the copy began, or progress was told last.
    told: Option<Instant>,
}

impl Events {
    pub(crate) fn new(wanted: bool, data_on_stdout: bool, screen: Arc<Screen>) -> Self {
        let to = if data_on_stdout { Outlet::Stderr } else { Outlet::Stdout };
        Self { to: wanted.then_some(to), screen, state: Mutex::default() }
    }

    pub(crate) fn start(&self, start: &Start<'_>) {
        self.lock().told = Some(Instant::now());
        let destination = EndOf { path: start.destination_path, class: start.destination_class };
        let others = start.others.iter().map(|other| EndOf { path: other.path, class: other.class });
        let all = std::iter::once(destination).chain(others);
        self.line(&Event::Start {
            version: env!("CARGO_PKG_VERSION"),
            source: EndOf { path: start.source_path, class: start.source_class },
            destination,
            destinations: (!start.others.is_empty()).then(|| all.collect()),
            total_bytes: start.total_bytes,
            block_bytes: start.block_len,
            depth: start.depth,
        });
    }

    /// Tells how far the copy is, if it is time.
    pub(crate) fn progress(&self, progress: &Progress) {
        let is_due = |state: &State| state.told.is_some_and(|told| told.elapsed() >= PROGRESS_EVERY);
        if !is_due(&self.lock()) || progress.phase == Phase::Done || !self.takes_more() {
            return;
        }
        self.lock().told = Some(Instant::now());
        self.line(&Event::Progress {
            phase: phase_name(progress.phase),
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
            seconds: progress.elapsed.as_secs_f64(),
            bytes_per_second: per_second(progress.done_bytes, progress.elapsed),
            reads_in_flight: progress.reads_in_flight,
            writes_in_flight: progress.writes_in_flight,
            rescue: progress.rescue.as_ref().map(RescueOf::new),
        });
    }

    /// Tells of a read that failed, unless the reader is slow: a drive that dies is read on, and the report counts all.
    pub(crate) fn error(&self, failure: &ReadFailure) {
        if !self.takes_more() {
            return;
        }
        self.line(&Event::Error {
            position: failure.position,
            bytes: failure.bytes,
            phase: rescue_phase_name(failure.phase),
            pass: failure.pass,
            reason: &failure.reason,
        });
    }

    pub(crate) fn lost(&self, range: &LostRange) {
        self.line(&Event::Lost { position: range.position, bytes: range.bytes, reason: UNREADABLE });
    }

    pub(crate) fn warning(&self, text: &str) {
        self.line(&Event::Warning { text });
    }

    /// Writes the report, and nothing behind it.
    ///
    /// # Errors
    /// The system's, where standard output does not take it.
    pub(crate) fn end(&self, report: &str) -> io::Result<()> {
        let mut state = self.lock();
        if std::mem::replace(&mut state.ended, true) {
            return Ok(());
        }
        self.write(report)
    }

    fn line(&self, event: &Event<'_>) {
        let state = self.lock();
        if self.to.is_none() || state.ended {
            return;
        }
        // Plain strings and numbers always serialise. What is not written now is missed by nobody who still reads: the end is tried,
        // too, and is told.
        if let Ok(text) = serde_json::to_string(event) {
            let _ = self.write(&text);
        }
    }

    fn write(&self, line: &str) -> io::Result<()> {
        match self.to {
            Some(Outlet::Stdout) => screen::print(line),
            Some(Outlet::Stderr) => {
                self.screen.say(line);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Says whether a line would be taken at once: a pipe that is ready has room for `PIPE_BUF` bytes, many more than a line has.
    fn takes_more(&self) -> bool {
        match self.to {
            Some(Outlet::Stdout) => is_ready(io::stdout().as_fd()),
            Some(Outlet::Stderr) => is_ready(io::stderr().as_fd()),
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What cannot be asked takes what it is given.
    poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&now)).map_or(true, |ready| ready > 0)
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Copying => "copying",
        Phase::Flushing => "flushing",
        Phase::Verifying => "verifying",
        Phase::Done => "done",
    }
}

const fn rescue_phase_name(phase: RescuePhase) -> &'static str {
    match phase {
        RescuePhase::Copying => "copying",
        RescuePhase::Trimming => "trimming",
        RescuePhase::Scraping => "scraping",
        RescuePhase::Retrying => "retrying",
        RescuePhase::Finished => "finished",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The schema, or that of one of its parts.
    fn schema(part: Option<&str>) -> jsonschema::Validator {
        let mut schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
        if let (Some(part), Some(schema)) = (part, schema.as_object_mut()) {
            schema.remove("oneOf");
            schema.insert("$ref".to_owned(), format!("#/$defs/{part}").into());
        }
        jsonschema::draft202012::new(&schema).expect("a schema")
    }

    #[test]
    fn every_event_is_described() {
        let end_of = || EndOf { path: "a", class: "file" };
        let events = [
            Event::Start {
                version: "1",
                source: end_of(),
                destination: end_of(),
                destinations: Some(vec![end_of(), end_of()]),
                total_bytes: None,
                block_bytes: 1,
                depth: 8,
            },
            Event::Progress {
                phase: phase_name(Phase::Flushing),
                done_bytes: 1,
                total_bytes: Some(2),
                seconds: 0.5,
                bytes_per_second: 2,
                reads_in_flight: 0,
                writes_in_flight: 1,
                rescue: None,
            },
            Event::Lost { position: 512, bytes: 4096, reason: UNREADABLE },
            Event::Error { position: 512, bytes: 4096, phase: "copying", pass: 1, reason: "medium error" },
            Event::Warning { text: "\"careful\"\n" },
        ];
        let schema = schema(None);
        for event in &events {
            let value = serde_json::to_value(event).expect("an object");
            assert!(schema.is_valid(&value), "{value}");
            assert!(!serde_json::to_string(event).expect("an object").contains('\n'), "{value}");
        }
        let lost = serde_json::to_value(&events[2]).expect("an object");
        assert_eq!(lost, json!({"event": "lost", "position": 512, "bytes": 4096, "reason": "unreadable"}));
        let phases = [
            RescuePhase::Copying,
            RescuePhase::Trimming,
            RescuePhase::Scraping,
            RescuePhase::Retrying,
            RescuePhase::Finished,
        ];
        for phase in phases {
            let rescue = RescueOf::new(&RescueProgress { phase, pass: 2, failed_bytes: 512 });
            let mut value = serde_json::to_value(&events[1]).expect("an object");
            value["rescue"] = serde_json::to_value(rescue).expect("an object");
            assert!(schema.is_valid(&value), "{value}");
            value["rescue"]["phase"] = "asleep".into();
            assert!(!schema.is_valid(&value), "{value}");
        }
        for wrong in [
            json!({"event": "lost"}),
            json!({"event": "new"}),
            json!({"event": "warning", "text": "", "x": 1}),
        ] {
            assert!(!schema.is_valid(&wrong), "{wrong}");
        }
    }

    #[test]
    fn reports_of_tapes_and_clocks_are_described() {
        let [tape, stream] = crate::report::samples();
        for (part, sample) in [("tape", tape), ("stream", stream)] {
            assert!(schema(Some(part)).is_valid(&sample), "{part}: {sample}");
            assert!(!schema(Some(part)).is_valid(&json!({})), "{part}");
        }
    }

    #[test]
    fn nothing_follows_the_end() {
        let events = Events::new(false, false, Arc::default());
        assert!(!events.lock().ended);
        assert!(events.end("").is_ok() && events.lock().ended);
    }

    #[test]
    fn every_field_of_the_schema_is_described() {
        fn check(value: &Value, place: &str) {
            let Some(object) = value.as_object() else { return };
            for (name, field) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let says = field
                    .get("description")
                    .is_some_and(|text| text.as_str().is_some_and(|text| !text.is_empty()));
                assert!(says || field.get("$ref").is_some(), "{place}.{name}");
            }
            if object.contains_key("properties") {
                assert_eq!(object.get("additionalProperties"), Some(&json!(false)), "{place}");
            }
            object.iter().for_each(|(name, inside)| check(inside, &format!("{place}.{name}")));
        }
        check(&serde_json::from_str(SCHEMA).expect("JSON"), "");
    }
}
