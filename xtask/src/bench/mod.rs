//! Benches: us beside a peer, in one run, in turns.
//!
//! Absolute figures say little about another machine, so what counts are ratios of pairs measured in
//! the same round ([`stats`]). A bench prints a table and gates and writes `target/bench/<name>.json`
//! ([`report`]); a missed gate is shown, it is not an exit status.

mod cache;
pub(crate) mod copy;
pub(crate) mod core;
mod data;
pub(crate) mod depth;
mod fio;
pub(crate) mod hash;
pub(crate) mod iops;
mod measure;
pub(crate) mod nvme;
mod report;
pub(crate) mod sparse;
mod stats;
mod told;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::workspace::Workspace;

/// Runs the task `words` in an optimised build of this program: where it runs the library itself, instead of starting the command.
pub(crate) fn optimised(words: &[&str]) -> Result<ExitCode> {
    let mut command =
        Workspace::find()?.cargo(&["run", "--quiet", "--release", "--locked", "--package", "xtask", "--"]);
    let status = command.args(words).status().with_context(|| format!("cannot run {command:?}"))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
