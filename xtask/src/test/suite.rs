//! `cargo test --workspace`: unit, integration and documentation tests, as the user who runs this.
//!
//! [`count`] is shared with the other steps that run test binaries.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::libtest::Reader;
use super::skips::{self, SkipLog};
use super::tally::Step;
use super::{INSIDE, STEP_TIME};
use crate::process::{self, Ended};
use crate::programs;
use crate::workspace::Workspace;

/// Runs the tests; their temporary files go below `scratch`.
pub(crate) fn run(
    workspace: &Workspace,
    filter: Option<&str>,
    scratch: &Path,
    step: &mut Step,
) -> Result<()> {
    let log = SkipLog::new(scratch, "skipped")?;
    let mut command = workspace.cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(filter);
    let ended = count(command, &log, scratch, "", step, |_| {})?;
    if !ended.success() && step.failed == 0 {
        bail!("cargo test ended with {ended}, though no test failed");
    }
    if filter.is_some() && step.passed + step.failed + step.skipped == 0 {
        bail!("no test has a name that contains `{}`", filter.unwrap_or_default());
    }
    Ok(())
}

/// Runs `command`, a `cargo test` of some kind, prints what it prints and counts its tests. `label` is put behind the
/// names of what failed or was skipped; `line` sees each line.
pub(crate) fn count(
    mut command: Command,
    log: &SkipLog,
    scratch: &Path,
    label: &str,
    step: &mut Step,
    mut line: impl FnMut(&str),
) -> Result<Ended> {
    // The development build is what this run tests, whatever was benched before.
    command.env_remove("BULKIO_BIN");
    command.env(skips::VARIABLE, log.path()).env(INSIDE, "1");
    command.env("TMPDIR", scratch).env("PATH", programs::search_path());
    let mut reader = Reader::default();
    let ended = process::run(command, STEP_TIME, |text| {
        println!("{text}");
        reader.line(text);
        line(text);
    })?;
    reader.finish(step, log.read()?, label);
    Ok(ended)
}
