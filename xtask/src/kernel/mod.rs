//! `cargo xtask kernel`: builds the small kernel, boots it in QEMU once for each case, and judges what it did on the host.
//!
//! A case is a machine, some disks and a scenario (`cases`). The kernel states facts and moves bytes; that they are the right
//! ones is seen from outside: from the images of the disks and from what the sound device played (`judge`). The last line is
//! `kernel: N passed, N failed, N skipped`.

mod build;
mod cases;
mod judge;
mod planted;
mod qemu;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::at_once;
use crate::test::{Step, checks};
use crate::workspace::Workspace;
use crate::{programs, scratch};

/// Runs all cases, or those whose name contains `filter`.
pub(crate) fn run(filter: Option<&str>) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    if let Err(error) = programs::ensure(programs::FOR_KERNEL) {
        // The cases skip themselves and say so.
        println!("{error:#}");
    }
    let (mut step, start) = (Step::new("kernel"), Instant::now());
    run_cases(&workspace, filter, &mut step)?;
    for skip in &step.skips {
        println!("skipped {}: {}", skip.name, skip.reason);
    }
    for failure in &step.failures {
        println!("FAILED {failure}");
    }
    println!("the run took {:.0} s, with the building of the kernel", start.elapsed().as_secs_f64());
    println!("kernel: {} passed, {} failed, {} skipped", step.passed, step.failed, step.skipped);
    Ok(if step.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all cases as a step of the tests, and looks at the program, which the workspace's own checks do not build.
pub(crate) fn test(workspace: &Workspace, step: &mut Step) -> Result<()> {
    if cannot_run().is_none() && !checks::component_missing(workspace, "clippy", "clippy", step) {
        checks::run(build::clippy(workspace)?, "cargo clippy on the kernel", step)?;
    }
    run_cases(workspace, None, step)
}

/// Runs the cases whose name contains `filter` and counts each in `step`.
fn run_cases(workspace: &Workspace, filter: Option<&str>, step: &mut Step) -> Result<()> {
    let wanted = |case: &cases::Case| filter.is_none_or(|filter| case.name.contains(filter));
    let cases: Vec<cases::Case> = cases::all().into_iter().filter(wanted).collect();
    let planted = planted::wanted(filter);
    if cases.is_empty() && planted.is_empty() {
        bail!("no case has `{}` in its name", filter.unwrap_or(""));
    }
    if let Some(reason) = cannot_run() {
        for case in &cases {
            step.skip(&case.name, &reason);
        }
        for class in &planted {
            step.skip(planted::name(class), &reason);
        }
        return Ok(());
    }
    let built = build::kernel(workspace)?;
    let scratch = scratch::on_disk(&workspace.target)?;
    // A copy: another build may replace the image while cases boot it.
    let kernel = scratch.path().join("kernel.elf");
    std::fs::copy(&built, &kernel).with_context(|| format!("cannot copy {}", built.display()))?;
    let mut verdicts = at_once::each(cases, |case| {
        let verdict = case.run(&kernel, scratch.path());
        match &verdict {
            Ok(took) => println!("{}: passed ({:.1} s)", case.name, took.as_secs_f64()),
            Err(error) => println!("{}: FAILED: {error:#}", case.name),
        }
        (case.name, verdict.map(drop))
    })?;
    if !planted.is_empty() {
        let start = Instant::now();
        let judged = planted::run(&kernel, scratch.path(), &planted);
        for (name, verdict) in &judged {
            match verdict {
                Ok(()) => println!("{name}: passed"),
                Err(error) => println!("{name}: FAILED: {error:#}"),
            }
        }
        println!("planted: one boot for all ({:.1} s)", start.elapsed().as_secs_f64());
        verdicts.extend(judged);
    }
    for (name, verdict) in verdicts {
        match verdict {
            Ok(()) => step.pass(),
            Err(error) => step.fail(format!("{name}: {error:#}")),
        }
    }
    Ok(())
}

/// Why no case can run here, if none can.
fn cannot_run() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the kernel is one for x86_64".to_owned());
    }
    programs::find("qemu-system-x86_64").is_none().then(|| "qemu-system-x86_64 is not installed".to_owned())
}
