//! `cargo xtask bench iops`: many operations in flight on one core, beside fio with io_uring and with libaio.
//!
//! The target is a block device in memory of our own ([`target`]): what is measured is the way to the device, not a
//! disk. Each side is a process, pinned to one core with all that it starts; wait4 tells the CPU time of both alike, less that
//! of a run of no time. A round runs each side once, in an order that moves on by one, and ratios are taken inside a
//! round. Latencies come from rounds of their own, since a clock per operation costs.
//!
//! One file to a group of cases: [`patterns`] runs those of [`case`].

mod case;
mod histogram;
mod ours;
mod patterns;
mod peer;
mod scattered;
mod slices;
pub(super) mod target;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use self::case::Case;
use self::target::Kind;
use super::report::{Report, Table};
use crate::args::options;
use crate::programs;
use crate::workspace::Workspace;

pub(crate) use ours::run as run_ours;
pub(crate) use target::keep;

/// One run, for us or for fio. It crosses to our process as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    device: PathBuf,
    case: Case,
    /// 0 for a run that only starts and ends.
    seconds: f64,
    /// Whether to take the latency of each operation.
    latency: bool,
    /// Bytes of the device to use.
    bytes: u64,
    /// Our engine, by its name; `auto` for the one that a program gets.
    engine: String,
}

/// What a run says of itself.
#[derive(Clone, Copy, Debug)]
struct Took {
    operations: u64,
    wall_seconds: f64,
    /// The median, and what 99.9 % do not exceed.
    latency_ns: Option<(f64, f64)>,
}

impl Took {
    fn per_second(&self) -> f64 {
        self.operations as f64 / self.wall_seconds
    }
}

/// How much is run, and on what.
#[derive(Clone, Debug)]
struct Plan {
    rounds: u32,
    seconds: f64,
    latency_rounds: u32,
    /// Rounds and seconds of the choice of fio's batches.
    trial_rounds: u32,
    trial_seconds: f64,
    /// Only cases whose name contains this.
    filter: String,
    /// The target of reads.
    reads: Kind,
    /// Our engine.
    engine: String,
}

const FULL: (u32, f64, u32, u32, f64) = (7, 1.0, 3, 3, 0.4);
const QUICK: (u32, f64, u32, u32, f64) = (3, 0.3, 1, 1, 0.2);

pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    let quick = words.contains(&"--quick");
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != "--quick").collect();
    let (rounds, seconds, latency_rounds, trial_rounds, trial_seconds) = if quick { QUICK } else { FULL };
    let (filter, reads) = (String::new(), Kind::of_reads(None)?);
    let engine = "auto".to_owned();
    let mut plan =
        Plan { rounds, seconds, latency_rounds, trial_rounds, trial_seconds, filter, reads, engine };
    let mut core = None;
    let names = ["--rounds", "--seconds", "--case", "--cpu", "--target", "--engine"];
    for (name, value) in options(&words, &names)? {
        let what = || format!("{name} {value}");
        match name {
            "--rounds" => plan.rounds = value.parse().with_context(what)?,
            "--seconds" => plan.seconds = value.parse().with_context(what)?,
            "--cpu" => core = Some(value.parse().with_context(what)?),
            "--target" => plan.reads = Kind::of_reads(Some(value))?,
            "--engine" => {
                ours::choice(value)?;
                value.clone_into(&mut plan.engine);
            }
            _ => value.clone_into(&mut plan.filter),
        }
    }
    ensure!(plan.rounds > 0 && plan.seconds > 0.0, "--rounds and --seconds must be more than 0");
    let fio = programs::ensure(&[("fio", "fio"), ("losetup", "mount")]);
    if let Err(error) = &fio {
        println!("{error:#}; fio is left out");
    }
    let workspace = Workspace::find()?;
    let core = pin(core)?;
    println!("{} rounds of {} s on core {core}", plan.rounds, plan.seconds);

    let mut report = Report::default();
    let mut table = patterns::headings();
    patterns::run(&plan, &workspace.target, fio.is_ok(), &mut table, &mut report)?;
    slices::run(&plan, &workspace.target, &mut table, &mut report)?;
    scattered::run(&plan, &workspace.target, &mut table, &mut report)?;
    finish(&workspace, &table, &report)
}

fn finish(workspace: &Workspace, table: &Table, report: &Report) -> Result<ExitCode> {
    let file = workspace.target.join("bench/iops.json");
    report.write(&file)?;
    print!("\n{table}ratios are ours over theirs, the median of the rounds\n\n{report}");
    println!("\nwritten to {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// Pins this thread, and with it every process that it starts, to one core: `core`, or the last it may use.
fn pin(core: Option<usize>) -> Result<usize> {
    let allowed = sched_getaffinity(None).context("cannot ask for the cores of this process")?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    let Some(core) = core.or(last) else { bail!("this process may run on no core") };
    ensure!(core < CpuSet::MAX_CPU && allowed.is_set(core), "this process may not run on core {core}");
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one).with_context(|| format!("cannot stay on core {core}"))?;
    Ok(core)
}
