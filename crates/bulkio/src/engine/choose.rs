//! Which back end an engine gets: the demand of the options, of the environment, or the first of the ladder that works.
//!
//! Each rung proves itself with real operations (`setup`, `aio`). What is refused goes into the report when a
//! worse rung takes its place, and is an error when it was demanded.

use std::ffi::OsStr;

use io_uring::{cqueue, squeue};

use super::aio::Aio;
use super::backend::Backend;
use super::entry::Submission;
use super::error::EngineError;
use super::options::{DEPTH_MAX, EngineChoice, EngineOptions};
use super::report::{ChosenBy, CommandRing, EngineKind, EngineReport, Refused, Registration, Sharing};
use super::setup::{self, Ready};
use super::threads::Threads;

/// The ladder, best first.
const LADDER: [EngineKind; 3] = [EngineKind::Uring, EngineKind::Aio, EngineKind::Threads];

/// Makes the back end that the options ask for.
pub(super) fn make(options: &EngineOptions) -> Result<(Backend, EngineReport), EngineError> {
    let depth = options.depth;
    if depth == 0 || depth > DEPTH_MAX {
        return Err(EngineError::Depth { depth, max: DEPTH_MAX });
    }
    let (demanded, chosen_by) = demand(options, std::env::var_os(EngineChoice::VARIABLE).as_deref())?;
    let rungs: &[EngineKind] = match &demanded {
        Some(kind) => &[*kind],
        None => &LADDER,
    };
    let mut refused: Vec<Refused> = Vec::new();
    for &kind in rungs {
        let reason = match try_one(kind, options) {
            Ok((backend, report)) => return Ok((backend, EngineReport { chosen_by, refused, ..report })),
            Err(reason) => reason,
        };
        refused.push(Refused { kind, reason });
    }
    let last = refused.pop().unwrap_or(Refused { kind: EngineKind::Threads, reason: String::new() });
    Err(EngineError::Unavailable { kind: last.kind, chosen_by, reason: last.reason })
}

/// Says which kind is demanded, if one is, and by whom.
fn demand(
    options: &EngineOptions,
    variable: Option<&OsStr>,
) -> Result<(Option<EngineKind>, ChosenBy), EngineError> {
    let needs_uring = match (options.polled, options.kernel_submission) {
        (true, _) => Some("polled"),
        (false, Some(_)) => Some("kernel_submission"),
        (false, None) => None,
    };
    if options.share.is_some() && !options.fixed.is_empty() {
        return Err(EngineError::Conflict { option: "share", with: "regions in fixed" });
    }
    if options.commands && options.polled {
        return Err(EngineError::Conflict { option: "commands", with: "polled" });
    }
    let (choice, by) = match (options.kind, variable) {
        (EngineChoice::Auto, Some(value)) if needs_uring.is_none() => {
            let named = value.to_str().and_then(|name| name.parse().ok());
            let value = || value.to_string_lossy().into_owned();
            (named.ok_or_else(|| EngineError::Environment { value: value() })?, ChosenBy::Environment)
        }
        (choice, _) => (choice, ChosenBy::Option),
    };
    match (choice, needs_uring) {
        (EngineChoice::Auto, None) => Ok((None, ChosenBy::Probe)),
        (EngineChoice::Auto, Some(_)) => Ok((Some(EngineKind::Uring), ChosenBy::Option)),
        (EngineChoice::Uring, _) => Ok((Some(EngineKind::Uring), by)),
        (EngineChoice::Aio, None) => Ok((Some(EngineKind::Aio), by)),
        (EngineChoice::Threads, None) => Ok((Some(EngineKind::Threads), by)),
        (EngineChoice::Aio, Some(option)) => Err(EngineError::Conflict { option, with: "the aio engine" }),
        (EngineChoice::Threads, Some(option)) => {
            Err(EngineError::Conflict { option, with: "the threads engine" })
        }
    }
}

fn try_one(kind: EngineKind, options: &EngineOptions) -> Result<(Backend, EngineReport), String> {
    let mut report = EngineReport {
        kind,
        chosen_by: ChosenBy::Probe,
        refused: Vec::new(),
        flags: Vec::new(),
        fixed: Registration::None { reason: format!("the {kind} engine registers nothing") },
        sharing: Sharing::NotAsked,
        vectored_fixed: false,
        files_registered: 0,
        commands: CommandRing::NotAsked,
    };
    if options.commands {
        report.commands = CommandRing::Refused { reason: format!("the {kind} engine has no ring") };
    }
    if options.share.is_some() {
        report.sharing = Sharing::Anew { reason: format!("the {kind} engine registers nothing") };
    }
    match kind {
        EngineKind::Uring => {
            if options.commands {
                match setup::set_up::<squeue::Entry128, cqueue::Entry32>(options) {
                    Ok(ready) => {
                        report.commands = CommandRing::Ring;
                        enter(&mut report, &ready);
                        return Ok((Backend::CommandUring(Box::new(ready.uring)), report));
                    }
                    Err(reason) => report.commands = CommandRing::Refused { reason },
                }
            }
            let ready = setup::set_up(options)?;
            enter(&mut report, &ready);
            Ok((Backend::Uring(Box::new(ready.uring)), report))
        }
        EngineKind::Aio => Ok((Backend::Aio(Box::new(Aio::new(options.depth)?)), report)),
        EngineKind::Threads => match Threads::new(options.depth) {
            Ok(threads) => Ok((Backend::Threads(threads), report)),
            Err(errno) => {
                Err(format!("making an eventfd failed: {errno}; too many files may be open (ulimit -n)"))
            }
        },
    }
}

/// Enters into a report what a ring became.
fn enter<S: Submission, C: cqueue::EntryMarker>(report: &mut EngineReport, ready: &Ready<S, C>) {
    report.flags.clone_from(&ready.flags);
    report.fixed = ready.registration.clone();
    report.sharing = ready.sharing.clone();
    report.vectored_fixed = ready.uring.takes_vectored_fixed();
    report.files_registered = ready.file_slots;
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    fn asked(kind: EngineChoice, value: Option<&str>) -> Result<(Option<EngineKind>, ChosenBy), EngineError> {
        demand(&EngineOptions { kind, ..EngineOptions::default() }, value.map(OsStr::new))
    }

    #[test]
    fn the_option_goes_before_the_environment() {
        let of = |kind, by| Ok((Some(kind), by));
        assert_eq!(asked(EngineChoice::Auto, None), Ok((None, ChosenBy::Probe)));
        assert_eq!(asked(EngineChoice::Auto, Some("auto")), Ok((None, ChosenBy::Probe)));
        assert_eq!(asked(EngineChoice::Auto, Some("aio")), of(EngineKind::Aio, ChosenBy::Environment));
        assert_eq!(asked(EngineChoice::Auto, Some("io_uring")), of(EngineKind::Uring, ChosenBy::Environment));
        assert_eq!(asked(EngineChoice::Aio, Some("threads")), of(EngineKind::Aio, ChosenBy::Option));
        assert_eq!(asked(EngineChoice::Threads, Some("steam")), of(EngineKind::Threads, ChosenBy::Option));
        let wrong = asked(EngineChoice::Auto, Some("steam")).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "BULKIO_ENGINE is \"steam\", which is no engine: set it to auto, io_uring, aio, threads"
        );
    }

    #[test]
    fn what_only_io_uring_can_do_demands_it() {
        let polled = |kind| {
            let options = EngineOptions { kind, polled: true, ..EngineOptions::default() };
            demand(&options, Some(OsStr::new("threads")))
        };
        assert_eq!(polled(EngineChoice::Auto), Ok((Some(EngineKind::Uring), ChosenBy::Option)));
        let refused = polled(EngineChoice::Threads).unwrap_err();
        assert_eq!(refused.to_string(), "the option polled cannot be had together with the threads engine");
        let idle = Some(Duration::from_millis(1));
        let options =
            EngineOptions { kind: EngineChoice::Aio, kernel_submission: idle, ..EngineOptions::default() };
        assert!(matches!(demand(&options, None), Err(EngineError::Conflict { .. })));
    }
}
