//! The unsafe parts once more under the address sanitizer, which sees reads and writes of freed memory, past the end
//! of it, and leaks.
//!
//! Its runtime comes with the compiler. The target is named explicitly, so that build scripts and procedural macros
//! are not instrumented. What the kernel writes is not seen. A test that leaks on purpose says so in its name:
//! [`LEAKS_ON_PURPOSE`].

use std::path::Path;

use anyhow::{Context as _, Result};

use super::skips::SkipLog;
use super::suite;
use super::tally::Step;
use crate::toolchain;
use crate::workspace::Workspace;

/// A leak is expected where one of these is in the name of a function that allocated it.
const LEAKS_ON_PURPOSE: [&str; 3] = ["leak", "forget", "forgotten"];

/// The packages with unsafe code that tests reach in their own process.
const PACKAGES: [&str; 8] =
    ["--package", "scatterlist", "--package", "bulkio", "--package", "nvme-driver", "--package", "kernel"];

/// Those whose tests are over sooner than they would be optimised.
const SOON_RUN: [&str; 2] = ["nvme-driver", "kernel"];

pub(crate) fn run(workspace: &Workspace, scratch: &Path, step: &mut Step) -> Result<()> {
    let host = toolchain::host()?;
    if !toolchain::has_address_sanitizer(&host)? {
        let reason = format!("the toolchain has no runtime of it for {host}");
        println!("{reason}");
        step.skip("address sanitizer", reason);
        return Ok(());
    }
    let suppressions = scratch.join("leaks-on-purpose");
    let lines: Vec<String> = LEAKS_ON_PURPOSE.iter().map(|name| format!("leak:{name}\n")).collect();
    std::fs::write(&suppressions, lines.concat())
        .with_context(|| format!("cannot write {}", suppressions.display()))?;

    let log = SkipLog::new(scratch, "skipped-sanitizer")?;
    let mut command = workspace.cargo(&["test", "--lib", "--tests", "--locked", "--no-fail-fast"]);
    command.args(PACKAGES).args(["--target", &host]);
    command.arg("--target-dir").arg(workspace.target.join("asan"));
    let (name, value) = toolchain::BOOTSTRAP;
    // Frame pointers, so that a leak's stack reaches the function whose name says that it is meant.
    command.env(name, value).env("RUSTFLAGS", "-Zsanitizer=address -Cforce-frame-pointers=yes");
    // The instrumented code is slow without any optimisation; debug assertions stay on.
    command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    for package in SOON_RUN {
        command.args(["--config", &format!("profile.dev.package.{package}.opt-level=0")]);
    }
    command.env("LSAN_OPTIONS", format!("suppressions={}:print_suppressions=0", suppressions.display()));

    let mut reports = Vec::new();
    let ended = suite::count(command, &log, scratch, LABEL, step, |line| {
        if let Some(report) = report(line) {
            reports.push(report.to_owned());
        }
    })?;
    let quiet = reports.is_empty() && step.failed == 0;
    for report in reports {
        step.fail(report);
    }
    if !ended.success() && quiet {
        step.fail(format!("cargo test ended with {ended}, though no test failed"));
    }
    Ok(())
}

const LABEL: &str = " (address sanitizer)";

/// The first line of a report: `==12==ERROR: AddressSanitizer: heap-use-after-free on address ...`.
fn report(line: &str) -> Option<&str> {
    let (process, what) = line.strip_prefix("==")?.split_once("==ERROR: ")?;
    process.bytes().all(|byte| byte.is_ascii_digit()).then_some(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_known_by_its_first_line() {
        let line = "==11344==ERROR: LeakSanitizer: detected memory leaks";
        assert_eq!(report(line), Some("LeakSanitizer: detected memory leaks"));
        assert_eq!(report("=================="), None);
        assert_eq!(report("SUMMARY: AddressSanitizer: 232 byte(s) leaked in 7 allocation(s)."), None);
    }
}
