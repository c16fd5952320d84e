//! The `bulkio` command: glue between arguments, the library, and what a person reads.
//!
//! `args` is the one table of flags, `size` reads sizes, `dd` answers dd's operands, `copying` runs a copy under a
//! terminal's eyes (`progress`, `events`, `question`, `pace`, `signals`, `screen`), `sidecar` writes what a device with a clock did, `report`
//! says what was done, `planning` shows what a copy would do, `probing` prints limits and what devices with a clock can do, `tape` moves tapes, `verifying` compares two ends, `exit` is the
//! one table of exit codes, `manual` makes manual pages and completions of the tables.

mod args;
mod copying;
mod dd;
mod events;
mod exit;
mod manual;
mod pace;
mod planning;
mod probing;
mod progress;
mod question;
mod report;
mod screen;
mod sidecar;
mod signals;
mod size;
mod tape;
mod verifying;

use std::process::ExitCode;

use exit::Exit;
use screen::Screen;

fn main() -> ExitCode {
    run().into()
}

fn run() -> Exit {
    let screen = Screen::default();
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(answer) = dd::answer(&words) {
        screen.say(&format!("bulkio: {answer}"));
        return Exit::Usage;
    }
    let parsed = match args::Bulkio::read() {
        Ok(parsed) => parsed,
        // Help and the version come as errors, too.
        Err(asked) if !asked.use_stderr() => {
            return if asked.print().is_ok() { Exit::Done } else { Exit::Failed };
        }
        Err(error) => {
            let text = error.render().to_string();
            screen.say(&match text.strip_prefix("error: ") {
                Some(text) => format!("bulkio: {text}"),
                None => text,
            });
            return Exit::Usage;
        }
    };
    match parsed.command {
        args::Command::Copy(copy) => copying::run(&copy),
        args::Command::Verify(verify) => verifying::run(&verify),
        args::Command::Plan(copy) => planning::run(&copy, &screen),
        args::Command::Probe(probe) => probing::run(&probe, &screen),
        args::Command::Tape(command) => tape::run(&command, &screen),
        args::Command::Man { folder } => manual::pages(folder.as_deref(), &screen),
        args::Command::Completions { shell } => manual::completions(shell, &screen),
        args::Command::Schema => manual::print(events::SCHEMA, &screen),
    }
}
