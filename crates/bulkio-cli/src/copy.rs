//! `bulkio copy`: from parsed arguments to the library and on to reports and an exit status.
//!
//! Contract: with `--json` exactly one object is printed, whatever happens; errors are said on standard error
//! also with `--quiet`; standard output carries nothing but the object, or the data where it is the destination.

use std::sync::Arc;

use anyhow::Context as _;
use bulkio::copy::{CopyFailure, End, Report, copy};

use crate::args::CopyArgs;
use crate::exit::Exit;
use crate::progress::{Watch, Watcher};
use crate::report::{self, Json, JsonError};
use crate::screen::{self, Screen};
use crate::signals;

/// Where the outcome is printed and how.
#[derive(Clone, Debug)]
struct Output {
    json: bool,
    quiet: bool,
    data_on_stdout: bool,
    screen: Arc<Screen>,
}

/// Runs the command.
///
/// # Errors
/// Only what keeps it from starting or from printing; a copy that fails is an [`Exit`].
pub(crate) fn run(args: &CopyArgs) -> anyhow::Result<Exit> {
    let output = Output {
        json: args.output.json,
        quiet: args.output.quiet,
        data_on_stdout: args.destination_end() == End::Stdout,
        screen: Arc::default(),
    };
    let watch = Watch::new();
    let ended_early = {
        let output = output.clone();
        move |exit: Exit, message: &str| {
            // The command ends in any case.
            let _ = output.failure(None, exit, message);
        }
    };
    signals::listen(Arc::clone(&watch), Arc::clone(&output.screen), Box::new(ended_early))
        .context("cannot listen for signals")?;

    let mut watcher = Watcher::new(Arc::clone(&watch), Arc::clone(&output.screen), args.output.quiet);
    let outcome = copy(args.source_end(), args.destination_end(), &args.options(), &mut watcher);
    let signal = watch.end();
    match outcome {
        // A signal that came too late to stop anything changes nothing.
        Ok(report) if !report.interrupted => output.success(&report),
        Ok(report) => {
            let exit = Exit::Signal(signal.unwrap_or(signal_hook::consts::SIGINT));
            output.failure(Some(&report), exit, &stopped(&report, exit))
        }
        Err(CopyFailure { error, report, .. }) => {
            let class = error.class().into();
            let message = match &report {
                Some(report) if class == Exit::Failed => format!("{error} ({})", how_far(report)),
                _ => error.to_string(),
            };
            output.failure(report.as_deref(), class, &message)
        }
    }
}

impl Output {
    fn success(&self, report: &Report) -> anyhow::Result<Exit> {
        self.screen.clear_bar();
        if self.json {
            self.object(&Json::new(Some(report), None))?;
        } else if !self.quiet {
            self.screen.say(&report::human(report));
        }
        Ok(Exit::Done)
    }

    fn failure(&self, report: Option<&Report>, exit: Exit, message: &str) -> anyhow::Result<Exit> {
        self.screen.clear_bar();
        self.screen.say(&format!("bulkio: {message}"));
        if self.json {
            self.object(&Json::new(report, Some(JsonError::new(exit, message))))?;
        } else if !self.quiet
            && let Some(report) = report
        {
            self.screen.say(&report::human(report));
        }
        Ok(exit)
    }

    fn object(&self, object: &Json) -> anyhow::Result<()> {
        if self.data_on_stdout {
            self.screen.say(&object.line());
            return Ok(());
        }
        screen::print(&object.line()).context("the copy ended, but its report cannot be printed")
    }
}

fn stopped(report: &Report, exit: Exit) -> String {
    let name = match exit {
        Exit::Signal(number) => Exit::signal_name(number),
        _ => "the user",
    };
    format!("interrupted by {name}: {}", how_far(report))
}

fn how_far(report: &Report) -> String {
    let bytes = report.bytes;
    let copied =
        if bytes == 1 { "1 byte was copied".to_owned() } else { format!("{bytes} bytes were copied") };
    format!("{copied}, {} of them durable", report.durable_bytes)
}
