//! The `bulkio` command: copies between files, disks and pipes, and says what it did.
//!
//! Glue: `args` reads the command line, `copy` and `probe` run it over the library, `exit` says what the exit
//! status means. Everything that moves bytes is in the library.

mod args;
mod copy;
mod dd;
mod exit;
mod probe;
mod progress;
mod report;
mod screen;
mod signals;
mod size;

use std::env;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use exit::Exit;
use screen::Screen;

fn main() -> ExitCode {
    run().into()
}

fn run() -> Exit {
    let screen = Screen::default();
    let words: Vec<_> = env::args_os().skip(1).collect();
    if let Some(answer) = dd::answer(&words) {
        screen.say(&format!("bulkio: {answer}"));
        return Exit::Usage;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors, though they come as one.
        Err(asked) if !asked.use_stderr() => {
            return match asked.print() {
                Ok(()) => Exit::Done,
                Err(_) => Exit::Failed,
            };
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
    let ended = match &cli.command {
        Command::Copy(args) => copy::run(args),
        Command::Probe(args) => probe::run(args, &screen),
    };
    ended.unwrap_or_else(|error| {
        screen.say(&format!("bulkio: {error:#}"));
        Exit::Failed
    })
}
