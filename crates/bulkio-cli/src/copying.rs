//! `bulkio copy`: from the arguments to the library, and from its outcome to reports and an exit code.
//!
//! Contract: with `--json` exactly one object is printed, whatever happens; errors and warnings are said also
//! with `--quiet`; standard output carries the object, or the data where it is the destination, and nothing else.

use std::sync::Arc;

use bulkio::copy::{CopyFailure, End, Report, copy};
use signal_hook::consts::SIGINT;

use crate::args::Copy;
use crate::exit::Exit;
use crate::progress::{Watch, Watcher};
use crate::report;
use crate::screen::{self, Screen};
use crate::signals;

/// Where the outcome is told, and how.
#[derive(Clone, Debug)]
struct Output {
    json: bool,
    quiet: bool,
    data_on_stdout: bool,
    screen: Arc<Screen>,
}

pub(crate) fn run(args: &Copy) -> Exit {
    let output = Output {
        json: args.json,
        quiet: args.quiet,
        data_on_stdout: args.destination() == End::Stdout,
        screen: Arc::default(),
    };
    let watch = Watch::new();
    let tell = {
        let output = output.clone();
        Box::new(move |message: &str| {
            // The command ends in any case.
            let _ = output.tell(Exit::Signal(0), None, Some(message));
        })
    };
    if let Err(error) = signals::listen(Arc::clone(&watch), Arc::clone(&output.screen), tell) {
        return output.tell(Exit::Failed, None, Some(&format!("cannot listen for signals: {error}")));
    }
    let mut watcher = Watcher::new(Arc::clone(&watch), Arc::clone(&output.screen), args.quiet);
    let result = copy(args.source(), args.destination(), &args.options(), &mut watcher);
    let signal = watch.end();
    match result {
        // A signal that came too late to stop anything changes nothing.
        Ok(report) if !report.interrupted => output.tell(Exit::Done, Some(&report), None),
        Ok(report) => {
            let signal = signal.unwrap_or(u8::try_from(SIGINT).unwrap_or_default());
            output.tell(Exit::Signal(signal), Some(&report), Some(&stopped_line(&report)))
        }
        Err(CopyFailure { error, report, .. }) => {
            output.tell(error.class().into(), report.as_deref(), Some(&error.to_string()))
        }
    }
}

impl Output {
    /// Tells the outcome, and returns the exit; what cannot be told is a failure.
    fn tell(&self, exit: Exit, report: Option<&Report>, error: Option<&str>) -> Exit {
        self.screen.clear_bar();
        if let Some(report) = report
            && !self.json
            && !self.quiet
        {
            self.screen.say(&report::human_lines(report));
        }
        if let Some(error) = error {
            self.screen.say(&format!("bulkio: {error}"));
        }
        if !self.json {
            return exit;
        }
        let line = report::json(report, error, matches!(exit, Exit::Signal(_)));
        if self.data_on_stdout {
            self.screen.say(&line);
        } else if let Err(error) = screen::print(&line) {
            self.screen.say(&format!("bulkio: cannot print the report: {error}"));
            return if exit == Exit::Done { Exit::Failed } else { exit };
        }
        exit
    }
}

fn stopped_line(report: &Report) -> String {
    if report.synced {
        return format!(
            "stopped: {} bytes are copied and durable; what lies behind is not",
            report.durable_bytes
        );
    }
    format!("stopped: {} bytes are copied, none is known to be durable", report.bytes)
}
