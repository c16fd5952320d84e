//! `bulkio copy`: from the arguments to the library, and from its outcome to reports and an exit code.
//!
//! Contract: with `--json` the last line is the event `end`, unless a second signal comes while nobody reads; errors and warnings are said also
//! with `--quiet`; standard output carries the events, or the data where it is the destination, and nothing else.

use std::sync::Arc;

use bulkio::copy::{CopyFailure, End, Report, copy_all};
use bulkio::device::audio::is_pcm;
use bulkio::device::video::Capture;
use signal_hook::consts::SIGINT;

use crate::args::Copy;
use crate::events::Events;
use crate::exit::Exit;
use crate::pace::Waiting;
use crate::progress::{Watch, Watcher};
use crate::question::Question;
use crate::report;
use crate::screen::Screen;
use crate::sidecar::{Sidecar, Written};
use crate::signals;

/// Where the outcome is told, and how.
#[derive(Clone, Debug)]
struct Output {
    json: bool,
    quiet: bool,
    events: Arc<Events>,
    screen: Arc<Screen>,
}

pub(crate) fn run(args: &Copy) -> Exit {
    let screen = Arc::<Screen>::default();
    let events = Events::new(args.json, args.destinations().contains(&End::Stdout), Arc::clone(&screen));
    let output = Output { json: args.json, quiet: args.quiet, events: Arc::new(events), screen };
    let options = args.options();
    let sidecar = Sidecar::new(args.sidecar(), args.source(), args.destination(), options.sync);
    let ends = [args.source(), args.destination()];
    let is_sound = ends.into_iter().any(|end| matches!(end, End::Path(path) if is_pcm(path)));
    let is_grabber = matches!(args.source(), End::Path(path) if Capture::is_capture(path));
    if let Err(why) = sidecar.check(is_sound || is_grabber) {
        return output.tell(Outcome { error: Some(&why), ..Outcome::of(Exit::Refused) });
    }
    let watch = Watch::new(if is_sound { Waiting::Bytes } else { Waiting::Buffers });
    let tell = {
        let output = output.clone();
        Arc::new(move |exit, message: &str| {
            // The command ends in any case.
            let _ = output.tell(Outcome { error: Some(message), ..Outcome::of(exit) });
        })
    };
    if let Err(error) = signals::listen(Arc::clone(&watch), Arc::clone(&output.screen), tell) {
        let error = format!("cannot listen for signals: {error}");
        return output.tell(Outcome { error: Some(&error), ..Outcome::of(Exit::Failed) });
    }
    let mut watcher = Watcher::new(
        Arc::clone(&watch),
        Arc::clone(&output.screen),
        args.quiet,
        sidecar,
        Arc::clone(&output.events),
        Question::new(args),
    );
    let result = copy_all(args.source(), &args.destinations(), &options, &mut watcher);
    let sidecar = watcher.finish();
    let signal = watch.end();
    let (exit, report, error) = match &result {
        // A signal that came too late to stop anything changes nothing.
        Ok(report) if !report.interrupted => match (report::failed_line(report), report::lost_line(report)) {
            (Some(failed), _) => (Exit::Partial, Some(report), Some(failed)),
            (None, Some(lost)) => (Exit::Lost, Some(report), Some(lost)),
            (None, None) => (Exit::Done, Some(report), None),
        },
        Ok(report) => {
            let signal = signal.unwrap_or(u8::try_from(SIGINT).unwrap_or_default());
            let failed = report::failed_line(report).map(|failed| format!("; {failed}"));
            let stopped = stopped_line(report) + &failed.unwrap_or_default();
            (Exit::Signal(signal), Some(report), Some(stopped))
        }
        Err(CopyFailure { error, report, .. }) => {
            (error.class().into(), report.as_deref(), Some(error.to_string()))
        }
    };
    output.tell(Outcome { exit, report, error: error.as_deref(), sidecar: Some(&sidecar) })
}

/// How a copy ended, and what there is to tell.
#[derive(Clone, Copy, Debug)]
struct Outcome<'a> {
    exit: Exit,
    report: Option<&'a Report>,
    error: Option<&'a str>,
    sidecar: Option<&'a Written>,
}

impl Outcome<'_> {
    const fn of(exit: Exit) -> Self {
        Self { exit, report: None, error: None, sidecar: None }
    }
}

impl Output {
    /// Tells the outcome, and returns the exit; what cannot be told, or stands in no sidecar, is a failure.
    fn tell(&self, outcome: Outcome<'_>) -> Exit {
        let Outcome { mut exit, report, error, sidecar } = outcome;
        self.screen.clear_bar();
        if let Some(report) = report
            && !self.json
            && !self.quiet
        {
            self.screen.say(&report::human_lines(report, sidecar));
        }
        if let Some(error) = error {
            self.screen.say(&format!("bulkio: {error}"));
        }
        let unwritten = sidecar.and_then(|sidecar| sidecar.error.as_deref());
        if let Some(error) = unwritten {
            if !sidecar.is_some_and(|sidecar| sidecar.told) {
                self.screen.say(&format!("bulkio: {error}"));
            }
            exit = exit.and_failed();
        }
        if !self.json {
            return exit;
        }
        let path = sidecar.and_then(|sidecar| sidecar.path.as_deref());
        let line = report::json(exit, report, error.or(unwritten), path);
        if let Err(error) = self.events.end(&line) {
            self.screen.say(&format!("bulkio: cannot print the report: {error}"));
            return exit.and_failed();
        }
        exit
    }
}

fn stopped_line(report: &Report) -> String {
    if !report.destinations.is_empty() {
        return stopped_of_several(report);
    }
    if let Some(verified) = &report.verified {
        let (copied, bytes) = (report.durable_bytes, verified.bytes);
        return format!("stopped: all {copied} bytes are copied and durable, {bytes} of them were verified");
    }
    if report.synced {
        return format!(
            "stopped: {} bytes are copied and durable; what lies behind is not",
            report.durable_bytes
        );
    }
    format!("stopped: {} bytes are copied, none is known to be durable", report.bytes)
}

/// The same where there are several destinations; those that failed are told elsewhere.
fn stopped_of_several(report: &Report) -> String {
    let left = || report.destinations.iter().filter(|destination| destination.failed.is_none());
    // Reading back begins when everything is written and durable.
    let is_copied = report.destinations.iter().any(|destination| destination.verified.is_some());
    let each: Vec<String> = left()
        .map(|destination| {
            let (path, bytes) = (&destination.side.path, destination.bytes);
            match (&destination.verified, destination.synced) {
                (Some(verified), _) => format!("{} bytes of {path}", verified.bytes),
                (None, _) if is_copied => format!("none of {path}"),
                (None, true) => format!("{bytes} bytes of {path} are durable"),
                (None, false) => format!("{bytes} bytes of {path} are copied, none is known to be durable"),
            }
        })
        .collect();
    let each = each.join(", ");
    if !is_copied {
        return format!("stopped: {each}; what lies behind is not copied");
    }
    let (bytes, left, all) = (report.durable_bytes, left().count(), report.destinations.len());
    format!(
        "stopped: all {bytes} bytes are copied and durable at {left} of {all} destinations, verified are {each}"
    )
}

#[cfg(test)]
mod tests {
    use bulkio::copy::{Control, CopyOptions, Observer, Phase, Progress};

    use super::*;

    /// Stops in a phase.
    struct Stops(Phase);

    impl Observer for Stops {
        fn progress(&mut self, progress: &Progress) -> Control {
            if progress.phase == self.0 { Control::Stop } else { Control::Go }
        }

        fn warning(&mut self, _: &str) {}
    }

    #[test]
    fn a_stop_says_what_each_of_several_destinations_has() {
        const LEN: usize = 8 << 20;
        let folder = ["/var/tmp".into(), std::env::temp_dir()]
            .into_iter()
            .find_map(|parent| tempfile::tempdir_in(parent).ok())
            .expect("a folder for files");
        let path = |name| folder.path().join(name);
        let (from, one, two) = (path("from"), path("one"), path("two"));
        std::fs::write(&from, vec![7; LEN]).expect("a source");
        let options = CopyOptions {
            verify: true,
            block_len: (64 << 10).into(),
            depth: 1.into(),
            ..CopyOptions::default()
        };
        let stopped = |phase| {
            let to = [End::Path(&one), End::Path(&two)];
            let report = copy_all(End::Path(&from), &to, &options, &mut Stops(phase)).expect("a report");
            assert!(report.interrupted, "{report:?}");
            stopped_line(&report)
        };
        let (first, second) = (one.display(), two.display());
        let line = stopped(Phase::Verifying);
        let all =
            format!("stopped: all {LEN} bytes are copied and durable at 2 of 2 destinations, verified are ");
        assert!(line.starts_with(&all), "{line}");
        assert!(line.ends_with(&format!(" bytes of {first}, none of {second}")), "{line}");
        // Nothing was copied yet.
        let line = stopped(Phase::Copying);
        assert!(line.starts_with("stopped: 0 bytes of ") && !line.contains("all"), "{line}");
        assert!(line.contains(&format!("of {second}")), "{line}");
    }
}
