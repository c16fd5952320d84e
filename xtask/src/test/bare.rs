//! The core in a program that has nothing below it: built, linked without any library, and run.
//!
//! The step "core without std" only compiles; here the plans are made and checked. Two variants: slices of segments
//! without an allocator, and with `alloc` the chain and the appender.

use anyhow::Result;

use super::checks;
use super::tally::Step;
use crate::toolchain;
use crate::workspace::Workspace;

pub(crate) const MANIFEST: &str = "crates/scatterlist/tests/bare/Cargo.toml";

/// The architectures whose start code and calls the program has.
const ARCHITECTURES: [&str; 2] = ["x86_64-", "aarch64-"];

pub(crate) fn run(workspace: &Workspace, step: &mut Step) -> Result<()> {
    let host = toolchain::host()?;
    if !ARCHITECTURES.iter().any(|architecture| host.starts_with(architecture)) {
        step.skip("core in a bare program", format!("it has no start code for {host}"));
        return Ok(());
    }
    let base = ["--locked", "--manifest-path", MANIFEST];
    let target = workspace.target.join("bare");
    for features in [&[][..], &["--features", "alloc"]] {
        let mut command = workspace.cargo(&["run"]);
        command.args(base).args(features).arg("--target-dir").arg(&target);
        checks::run(command, &format!("cargo run {} {}", base.join(" "), features.join(" ")), step)?;
    }
    if !checks::component_missing(workspace, "clippy", "clippy", step) {
        let mut command = workspace.cargo(&["clippy"]);
        command.args(base).args(["--features", "alloc", "--target-dir"]).arg(&target);
        command.args(["--", "-D", "warnings"]);
        checks::run(command, "cargo clippy on the bare program", step)?;
    }
    Ok(())
}
