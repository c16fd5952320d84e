//! `cargo xtask test`: every check and every test of the workspace, counted together.
//!
//! Each step is printed under a heading and all of them run, whatever failed before. The last line is
//! `N passed, N failed, N skipped`. The steps know nothing of each other; what two need is made here.

mod bare;
pub(crate) mod checks;
mod fuzzing;
mod libtest;
mod licences;
mod models;
mod ordinary;
mod readme;
mod sanitizer;
mod skips;
mod spdx;
mod suite;
mod tally;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{kernel, lab, programs, scratch};
pub(crate) use libtest::{Reader, skip_line};
pub(crate) use skips::{SkipLog, VARIABLE as SKIP_LOG};
use tally::Tally;
pub(crate) use tally::{Skip, Step};

/// Set for every program that a run starts: a run inside a run would never end.
const INSIDE: &str = "BULKIO_XTASK_TEST";

/// How long one program of a step may take: with the builds on two slow cores all steps stay well under 90 minutes.
const STEP_TIME: Duration = Duration::from_secs(30 * 60);

/// Runs everything, or with a `filter` only the tests whose name contains it.
pub(crate) fn run(filter: Option<&str>) -> Result<ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        bail!("`cargo xtask test` was called by a test of its own run ({INSIDE} is set)");
    }
    let workspace = Workspace::find()?;
    let scratch = scratch::on_disk(&workspace.target)?;
    let mut tally = Tally::default();

    println!("=== programs of the system");
    match programs::ensure(programs::FOR_TESTS) {
        Ok(()) => println!("all there"),
        // The tests that need one skip themselves and say so.
        Err(error) => println!("{error:#}"),
    }

    if filter.is_none() {
        tally.step("format", |step| checks::format(&workspace, step));
        tally.step("licences, bans, sources, advisories", |step| licences::check(&workspace, step));
        tally.step("clippy", |step| checks::clippy(&workspace, step));
        tally.step("documentation", |step| checks::documentation(&workspace, step));
        tally.step("core without std", |step| checks::without_std(&workspace, step));
        tally.step("core in a bare program", |step| bare::run(&workspace, step));
    }
    tally.step("tests", |step| suite::run(&workspace, filter, scratch.path(), step));
    tally.step(ordinary::title(), |step| ordinary::run(&workspace, filter, scratch.path(), step));
    if filter.is_none() {
        tally.step("address sanitizer", |step| sanitizer::run(&workspace, scratch.path(), step));
        tally.step("models of threads", |step| models::run(&workspace, scratch.path(), step));
        tally.step("kernel in QEMU", |step| kernel::test(&workspace, step));
        tally.step("device lab", |step| lab::test(&workspace, step));
        tally.step("fuzz targets", |step| fuzzing::run(&workspace, step));
        tally.step("README", |step| readme::run(&workspace, scratch.path(), step));
    } else {
        println!("\nonly tests were run; without NAME the checks and the README run too");
    }

    // What went to standard error must not end up behind the last line.
    std::io::stderr().flush().context("cannot write to standard error")?;
    println!("{tally}");
    Ok(if tally.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
