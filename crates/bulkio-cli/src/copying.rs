//! `bulkio copy`.

use std::io::Write as _;

use bulkio::copy::{CopyFailure, End, FailureClass, Report, copy};

use crate::args::Copy;
use crate::exit::Exit;
use crate::progress::Watcher;
use crate::report;
use crate::signals::Signals;

pub(crate) fn run(args: &Copy) -> Exit {
    let signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => {
            eprintln!("bulkio: cannot catch signals: {error}");
            return Exit::Refused;
        }
    };
    let mut watcher = Watcher::new(&signals, args.quiet);
    let result = copy(args.source(), args.destination(), &args.options(), &mut watcher);
    watcher.finish();
    match result {
        Ok(report) => {
            let stopped = signals.stop().filter(|_| report.interrupted);
            show(args, Some(&report), None);
            match stopped {
                None => Exit::Done,
                Some(signal) => {
                    eprintln!("bulkio: {}", stopped_line(&report));
                    Exit::Signal(signal)
                }
            }
        }
        Err(CopyFailure { error, report, .. }) => {
            let text = error.to_string();
            show(args, report.as_deref(), Some(&text));
            eprintln!("bulkio: {text}");
            match error.class() {
                FailureClass::Refused => Exit::Refused,
                FailureClass::Failed => Exit::Failed,
            }
        }
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

fn show(args: &Copy, report: Option<&Report>, error: Option<&str>) {
    if args.json {
        let line = report::json(report, error);
        if args.destination() == End::Stdout {
            eprintln!("{line}");
        } else if let Err(error) = writeln!(std::io::stdout(), "{line}") {
            eprintln!("bulkio: cannot print the report: {error}");
        }
    } else if let Some(report) = report
        && !args.quiet
    {
        eprint!("{}", report::human_lines(report));
    }
}
