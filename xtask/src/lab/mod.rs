//! `cargo xtask lab`: a Linux guest in QEMU that has the devices which development machines lack, and tests that run there.
//!
//! The test binaries are built here and run in the guest from the host's own root, which is shared read-only. A boot serves one group
//! (`groups`). `kernel_image` fetches the guest's kernel, `initramfs` packs what it starts with, `machine` boots it, `wire` is what both sides say
//! to each other, `report` what comes of it, and `guest` the side in the guest. The last line is `lab: N passed, N failed, N skipped`.
//!
//! Correctness only: under emulation times mean nothing.

mod cpio;
mod groups;
pub(crate) mod guest;
mod initramfs;
mod kernel_image;
mod machine;
mod modules;
mod report;
mod run;
mod wire;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::at_once;
use crate::programs::{self, Program};
use crate::test::Step;
use crate::workspace::{Built, Workspace};
use groups::{GROUPS, Group};
use run::Lab;

/// What every group calls, on the host and in the guest.
const PROGRAMS: &[Program] = &[
    (machine::QEMU, "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("modprobe", "kmod"),
    ("xz", "xz-utils"),
    ("setsid", "util-linux"),
    ("nice", "coreutils"),
];

/// Runs the groups with these names, or all.
pub(crate) fn run(names: &[&str]) -> Result<ExitCode> {
    let groups = groups::named(names)?;
    let workspace = Workspace::find()?;
    let (mut step, start) = (Step::new("lab"), Instant::now());
    run_groups(&workspace, &groups, &mut step)?;
    for skip in &step.skips {
        println!("skipped {}: {}", skip.name, skip.reason);
    }
    for failure in &step.failures {
        println!("FAILED {failure}");
    }
    println!("the run took {:.0} s, with the building of the tests", start.elapsed().as_secs_f64());
    println!("lab: {} passed, {} failed, {} skipped", step.passed, step.failed, step.skipped);
    Ok(if step.failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs all groups as a step of the tests.
pub(crate) fn test(workspace: &Workspace, step: &mut Step) -> Result<()> {
    run_groups(workspace, &groups::named(&[])?, step)
}

/// Runs a group that measures, and prints what its tests said about `name`.
pub(crate) fn bench(name: &str) -> Result<ExitCode> {
    let code = run(&[name])?;
    let log = Workspace::find()?.target.join("lab/groups").join(name).join("output.log");
    let said = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let start = format!("{name}: ");
    said.lines().filter(|line| line.starts_with(&start)).for_each(|line| println!("{line}"));
    Ok(code)
}

/// Gives a person a prompt in the guest, with the devices of the group `name`, or without any.
pub(crate) fn shell(name: Option<&str>) -> Result<ExitCode> {
    let group = match name {
        Some(name) => groups::named(&[name])?.pop(),
        None => None,
    };
    let workspace = Workspace::find()?;
    if let Some(reason) = cannot_run(group.as_slice()) {
        bail!("{reason}");
    }
    let lab = Lab::open(&workspace)?;
    lab.shell(group)?;
    Ok(ExitCode::SUCCESS)
}

/// The groups, for `--help`.
pub(crate) fn list() -> String {
    GROUPS.iter().map(|group| format!("\n  {:<16}{}", group.name, group.about)).collect()
}

fn run_groups(workspace: &Workspace, groups: &[&Group], step: &mut Step) -> Result<()> {
    if let Some(reason) = cannot_run(groups) {
        println!("{reason}");
        for group in groups {
            step.skip(format!("lab {}", group.name), &reason);
        }
        return Ok(());
    }
    let lab = Lab::open(workspace)?;
    let built = lab.build(groups)?;
    let (by_the_clock, others): (Vec<&Group>, Vec<&Group>) =
        groups.iter().partition(|group| group.by_the_clock);
    let run = |groups| at_once::each(groups, |group| run_group(&lab, group, &built));
    for found in at_once::each(vec![others, by_the_clock], run)? {
        match found {
            Ok(found) => found.into_iter().for_each(|found| step.add(found)),
            Err(error) => step.fail(format!("{error:#}")),
        }
    }
    Ok(())
}

/// Runs a group, and says how long it took.
fn run_group(lab: &Lab<'_>, group: &Group, built: &[Built]) -> Step {
    let start = Instant::now();
    println!("--- {}: {}", group.name, group.about);
    let found = lab.run(group, built).unwrap_or_else(|error| {
        println!("{}: {error:#}", group.name);
        let mut step = Step::new(group.name);
        step.fail(format!("lab {}: {error:#}", group.name));
        step
    });
    println!("{}: {:.0} s with its boot", group.name, start.elapsed().as_secs_f64());
    found
}

/// Why none of `groups` can run here, if so; installs what they need where it may.
fn cannot_run(groups: &[&Group]) -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("the lab's guest is one for x86_64".to_owned());
    }
    if programs::find("apt-get").is_none() || programs::find("dpkg").is_none() {
        return Some("the lab takes its kernel from Debian, with apt-get and dpkg".to_owned());
    }
    let mut needed = PROGRAMS.to_vec();
    needed.extend_from_slice(programs::FOR_TESTS);
    needed.extend(groups.iter().flat_map(|group| group.programs));
    programs::ensure(&needed).context("the lab").err().map(|error| format!("{error:#}"))
}
