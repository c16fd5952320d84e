//! The models of what threads share (`crates/scatterlist/tests/models`): loom runs them in every order that the memory
//! model allows. Built with `--cfg loom`, so in a target directory of their own.

use std::path::Path;

use anyhow::Result;

use super::skips::SkipLog;
use super::suite;
use super::tally::Step;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, scratch: &Path, step: &mut Step) -> Result<()> {
    let log = SkipLog::new(scratch, "skipped-models")?;
    let mut command =
        workspace.cargo(&["test", "--release", "--locked", "--package", "scatterlist", "--test", "models"]);
    command
        .arg("--target-dir")
        .arg(workspace.target.join("models"))
        .env("RUSTFLAGS", "--cfg loom -Dwarnings");
    let ended = suite::count(command, &log, scratch, "", step, |_| {})?;
    if !ended.success() && step.failed == 0 {
        step.fail(format!("cargo test ended with {ended}, though no test failed"));
    }
    if step.passed == 0 && step.failed == 0 {
        step.fail("no model was run");
    }
    Ok(())
}
