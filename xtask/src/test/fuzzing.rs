//! The lints of the fuzz targets, and each of them for a few seconds: enough to see that it builds and runs, and to meet shallow faults.
//!
//! Every run starts from the same noise and chooses alike, so that it says the same about the same code; longer runs are a
//! developer's (`cargo xtask fuzz`).

use anyhow::Result;

use super::checks;
use super::tally::Step;
use crate::at_once;
use crate::fuzz::{self, Run};
use crate::programs;
use crate::workspace::Workspace;

const RUN: Run<'_> = Run { seconds: 10, corpus: None, same_each_time: true };

/// Lines of a crash that are shown; what comes before is the report of progress.
const LINES_SHOWN: usize = 60;

pub(crate) fn run(workspace: &Workspace, step: &mut Step) -> Result<()> {
    if let Err(error) = programs::ensure(fuzz::PROGRAMS) {
        println!("{error:#}");
        step.skip("fuzz targets", format!("libFuzzer needs a C++ compiler: {error:#}"));
        return Ok(());
    }
    let targets = fuzz::build(workspace)?;
    if !checks::component_missing(workspace, "clippy", "clippy", step) {
        let mut clippy = fuzz::cargo(workspace, "clippy")?;
        clippy.args(["--", "-D", "warnings"]);
        checks::run(clippy, "cargo clippy on the fuzz targets", step)?;
    }
    let ended = at_once::each(targets, |target| {
        let mut lines = Vec::new();
        let crash = fuzz::run_target(workspace, &target, RUN, |line| lines.push(line.to_owned()));
        let runs = lines.iter().rev().find(|line| line.starts_with("Done ")).cloned();
        match &crash {
            Ok(None) => println!("{}: {}", target.name, runs.unwrap_or_default()),
            Ok(Some(crash)) => {
                let from = lines.len().saturating_sub(LINES_SHOWN);
                println!("{}\n{crash}", lines.split_off(from).join("\n"));
            }
            Err(_) => {}
        }
        crash
    })?;
    for crash in ended {
        match crash? {
            None => step.pass(),
            Some(crash) => step.fail(crash),
        }
    }
    Ok(())
}
