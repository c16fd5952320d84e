//! The checks that need no test binary: format, lints, documentation, and the core without `std`.

use std::process::Command;

use anyhow::Result;

use super::tally::Step;
use super::{STEP_TIME, bare};
use crate::workspace::Workspace;
use crate::{process, toolchain};

/// A target without an operating system; the core is built for it where its library is installed.
const BARE_TARGETS: [&str; 3] = ["x86_64-unknown-none", "aarch64-unknown-none", "thumbv7em-none-eabihf"];

/// Packages that are not of the workspace.
const OUTSIDE: [&str; 2] = ["fuzz/Cargo.toml", bare::MANIFEST];

pub(crate) fn format(workspace: &Workspace, step: &mut Step) -> Result<()> {
    if component_missing(workspace, "fmt", "rustfmt", step) {
        return Ok(());
    }
    cargo(workspace, &["fmt", "--all", "--check"], step)?;
    for manifest in OUTSIDE {
        cargo(workspace, &["fmt", "--manifest-path", manifest, "--check"], step)?;
    }
    Ok(())
}

pub(crate) fn clippy(workspace: &Workspace, step: &mut Step) -> Result<()> {
    if component_missing(workspace, "clippy", "clippy", step) {
        return Ok(());
    }
    cargo(workspace, &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], step)
}

/// Two runs, because the library and the command share the name `bulkio` and so the same folder.
pub(crate) fn documentation(workspace: &Workspace, step: &mut Step) -> Result<()> {
    let both: [&[&str]; 2] = [&["--workspace", "--exclude", "bulkio-cli"], &["--package", "bulkio-cli"]];
    for part in both {
        let mut command = workspace.cargo(&["doc", "--no-deps", "--locked"]);
        command.args(part).env("RUSTDOCFLAGS", "-Dwarnings");
        run(command, &format!("cargo doc {}", part.join(" ")), step)?;
    }
    Ok(())
}

pub(crate) fn without_std(workspace: &Workspace, step: &mut Step) -> Result<()> {
    let base = ["rustc", "--package", "scatterlist", "--lib", "--locked", "--no-default-features"];
    let bare = bare_target()?;
    let variants: [&[&str]; 2] = [&[], &["--features", "alloc"]];
    for features in variants {
        let mut arguments = [base.as_slice(), features].concat();
        if let Some(target) = bare {
            arguments.extend(["--target", target]);
        }
        arguments.extend(["--", "-Dwarnings"]);
        cargo(workspace, &arguments, step)?;
    }
    if bare.is_none() {
        println!("built for this machine; `rustup target add {}` would prove more", BARE_TARGETS[0]);
    }
    Ok(())
}

fn bare_target() -> Result<Option<&'static str>> {
    for target in BARE_TARGETS {
        if toolchain::libraries(target)?.is_dir() {
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// Counts a skip when the subcommand of a toolchain component is not there.
pub(crate) fn component_missing(
    workspace: &Workspace,
    subcommand: &str,
    component: &str,
    step: &mut Step,
) -> bool {
    let there = workspace.cargo(&[subcommand, "--version"]).output().is_ok_and(|o| o.status.success());
    if !there {
        let reason = format!("the component is not installed: rustup component add {component}");
        println!("{reason}");
        step.skip(format!("cargo {subcommand}"), reason);
    }
    !there
}

fn cargo(workspace: &Workspace, arguments: &[&str], step: &mut Step) -> Result<()> {
    run(workspace.cargo(arguments), &format!("cargo {}", arguments.join(" ")), step)
}

pub(crate) fn run(command: Command, name: &str, step: &mut Step) -> Result<()> {
    println!("+ {name}");
    let ended = process::run_loud(command, STEP_TIME)?;
    step.check(&format!("{name}: {ended}"), ended.success());
    Ok(())
}
