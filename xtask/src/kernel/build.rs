//! Builds the kernel with the installed toolchain, for the host's own target.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::toolchain;
use crate::workspace::Workspace;

/// At fixed addresses, and without the red zone in our own code.
const FLAGS: &str = "-C relocation-model=static -C no-redzone=yes";

/// The image, built now.
pub(super) fn kernel(workspace: &Workspace) -> Result<PathBuf> {
    let built = workspace.build_with(cargo(workspace, "build")?)?;
    let kernel = built.into_iter().find(|file| file.name == "kernel");
    Ok(kernel.context("the package kernel built no program")?.file)
}

/// The lints of the program.
pub(super) fn clippy(workspace: &Workspace) -> Result<Command> {
    let mut command = cargo(workspace, "clippy")?;
    command.args(["--", "-D", "warnings"]);
    Ok(command)
}

/// A cargo command for the program. In a target directory of its own: with other flags everything would be built again.
fn cargo(workspace: &Workspace, subcommand: &str) -> Result<Command> {
    let base = [subcommand, "--locked", "--package", "kernel", "--bin", "kernel", "--features", "boot"];
    let mut command = workspace.cargo(&base);
    // Named, so that the flags are not for build scripts and procedural macros.
    command.args(["--profile", "kernel", "--target", toolchain::host()?.as_str()]);
    command.arg("--target-dir").arg(workspace.target.join("kernel")).env("RUSTFLAGS", FLAGS);
    Ok(command)
}
