//! `cargo test --workspace`: unit, integration and documentation tests, as the user who runs this.
//!
//! [`count`] is shared with the other steps that run test binaries.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::libtest::Reader;
use super::skips::{self, SkipLog};
use super::tally::Step;
use super::{INSIDE, STEP_TIME};
use crate::process::{self, Ended};
use crate::workspace::Workspace;
use crate::{programs, toolchain};

/// Runs the tests; their temporary files go below `scratch`.
pub(crate) fn run(
    workspace: &Workspace,
    filter: Option<&str>,
    scratch: &Path,
    step: &mut Step,
) -> Result<()> {
    let log = SkipLog::new(scratch, "skipped")?;
    let mut command = workspace.cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(filter).env("RUSTDOC", rustdoc_that_reads_error_codes(scratch)?);
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

/// A rustdoc that obeys the error code of a `compile_fail,E0382` test. A stable one ignores it, so that such a test would
/// pass whatever the reason is for which its code does not compile. The variable must not be set for all of cargo:
/// build scripts look at it, and everything would be built twice.
fn rustdoc_that_reads_error_codes(scratch: &Path) -> Result<PathBuf> {
    let rustdoc = std::env::var("RUSTDOC").unwrap_or_else(|_| "rustdoc".to_owned());
    let (name, value) = toolchain::BOOTSTRAP;
    let file = scratch.join("rustdoc");
    std::fs::write(&file, format!("#!/bin/sh\n{name}={value} exec '{rustdoc}' \"$@\"\n"))
        .and_then(|()| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
