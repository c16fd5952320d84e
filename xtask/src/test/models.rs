//! The models of what threads share (`crates/scatterlist/tests/models`): loom runs them in every order that the memory
//! model allows. Built with `--cfg loom`, so in a target directory of their own.

use std::path::Path;

use anyhow::Result;

use super::skips::SkipLog;
use super::tally::Step;
use super::{checks, suite};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, scratch: &Path, step: &mut Step) -> Result<()> {
    let log = SkipLog::new(scratch, "skipped-models")?;
    let cargo = |subcommand| {
        let arguments = [subcommand, "--locked", "--package", "scatterlist", "--test", "models"];
        let mut command = workspace.cargo(&arguments);
        command.arg("--target-dir").arg(workspace.target.join("models")).env("RUSTFLAGS", "--cfg loom");
        command
    };
    let ended = suite::count(cargo("test"), &log, scratch, "", step, |_| {})?;
    if !ended.success() && step.failed == 0 {
        step.fail(format!("cargo test ended with {ended}, though no test failed"));
    }
    if step.passed == 0 && step.failed == 0 {
        step.fail("no model was run");
    }
    if !checks::component_missing(workspace, "clippy", "clippy", step) {
        // What is only there under `--cfg loom` the workspace's own run does not see.
        let mut command = cargo("clippy");
        command.args(["--", "-D", "warnings"]);
        checks::run(command, "cargo clippy on the models", step)?;
    }
    Ok(())
}
