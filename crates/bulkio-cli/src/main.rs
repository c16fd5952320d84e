//! The `bulkio` command: glue between arguments, the library, and what a person reads.
//!
//! `args` is the one table of flags, `size` reads sizes, `copying` runs a copy under a terminal's eyes (`progress`, `signals`),
//! `report` says what was done, `probing` prints limits, `exit` is the one table of exit codes.

mod args;
mod copying;
mod exit;
mod probing;
mod progress;
mod report;
mod signals;
mod size;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let command = args::Bulkio::parse_from(args::explain_dd(std::env::args_os()));
    match command.command {
        args::Command::Copy(copy) => copying::run(&copy),
        args::Command::Probe(probe) => probing::run(&probe),
    }
    .into()
}
