//! `cargo xtask bench hash`: what digests and reading back cost a copy of one big file to another on the same disk.
//!
//! Every round makes a plain copy, one with each hash, one that is verified, and a plain direct read of what the first copied, in an order that
//! moves on by one from round to round, with cold caches and an absent destination. Ratios are taken inside a round.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use super::cache::chill;
use super::copy::{check_folder, ensure_same};
use super::data;
use super::measure::{Cost, measure};
use super::report::{Report, Table};
use super::stats::{median, range};
use super::told;
use crate::args::{options, size_bytes};
use crate::scratch;
use crate::workspace::Workspace;

const MIB: f64 = (1 << 20) as f64;

/// What is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    Plain,
    Blake3,
    Sha256,
    Verified,
}

const ALL: [What; 4] = [What::Plain, What::Blake3, What::Sha256, What::Verified];

/// What all rounds took.
#[derive(Default)]
struct Times {
    wall_seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
}

/// Seconds of reading back, and of a plain read of the same file.
#[derive(Default)]
struct Reads {
    verified: Vec<f64>,
    plain: Vec<f64>,
}

struct Setting {
    command: PathBuf,
    source: PathBuf,
    destination: PathBuf,
    bytes: u64,
}

pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let (mut rounds, mut bytes, mut folder) = (7_u32, 1_u64 << 30, workspace.target.join("bench"));
    for (name, value) in options(words, &["--rounds", "--size", "--dir"])? {
        match name {
            "--rounds" => rounds = value.parse().with_context(|| format!("--rounds {value}"))?,
            "--size" => bytes = size_bytes(value)?,
            _ => folder = PathBuf::from(value),
        }
    }
    ensure!(rounds > 0 && bytes > 0, "--rounds and --size must be more than 0");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    check_folder(&folder, bytes)?;
    let scratch = scratch::in_folder(&folder)?;
    let setting = Setting {
        command: workspace.command_to_bench()?,
        source: scratch.path().join("source"),
        destination: scratch.path().join("destination"),
        bytes,
    };
    println!("{rounds} rounds of {:.0} MiB in {}", bytes as f64 / MIB, folder.display());
    println!("bulkio is {}", setting.command.display());
    data::write_random(&setting.source, bytes)?;

    let mut times: [Times; ALL.len()] = Default::default();
    let mut reads = Reads::default();
    for round in 0..rounds as usize {
        let mut line = format!("round {}:", round + 1);
        for turn in 0..ALL.len() {
            let place = (round + turn) % ALL.len();
            let (Some(what), Some(series)) = (ALL.get(place).copied(), times.get_mut(place)) else {
                continue;
            };
            let cost = setting.copy(what)?;
            line += &format!("  {} {:.2} s", what.name(), cost.wall_seconds);
            series.wall_seconds.push(cost.wall_seconds);
            series.cpu_seconds.push(cost.cpu_seconds);
            match what {
                What::Verified => reads.verified.push(told::number(&cost.stdout, "/verified/seconds")?),
                // Right after a copy, as when it is read back.
                What::Plain => reads.plain.push(setting.read()?),
                _ => {}
            }
            if round == 0 {
                ensure_same(&setting.source, &setting.destination)?;
            }
        }
        println!("{line} (read back {:.2} s, plain {:.2} s)", last(&reads.verified), last(&reads.plain));
    }
    let report = report(&times, &reads, bytes)?;
    let file = workspace.target.join("bench/hash.json");
    report.write(&file)?;
    print!("\n{}\n{report}", table(&times, &reads, bytes));
    println!("written to {}", file.display());
    Ok(ExitCode::SUCCESS)
}

fn last(values: &[f64]) -> f64 {
    values.last().copied().unwrap_or(f64::NAN)
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha256",
            Self::Verified => "verified",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Blake3 => &["--hash", "blake3"],
            Self::Sha256 => &["--hash", "sha256"],
            Self::Verified => &["--verify"],
        }
    }
}

impl Setting {
    fn copy(&self, what: What) -> Result<Cost> {
        if self.destination.exists() {
            std::fs::remove_file(&self.destination)
                .with_context(|| format!("cannot remove {}", self.destination.display()))?;
        }
        chill(&self.source)?;
        let cost = measure(self.command(&self.destination, what.flags())).context(what.name())?;
        let written = self.destination.metadata().context("nothing was written")?.len();
        ensure!(written == self.bytes, "{} wrote {written} bytes of {}", what.name(), self.bytes);
        Ok(cost)
    }

    /// Reads the destination as a copy does and leaves the bytes alone; returns the seconds.
    fn read(&self) -> Result<f64> {
        let mut command = Command::new(&self.command);
        command.arg("copy").arg(&self.destination).args(["/dev/null", "--json", "--quiet"]);
        let cost = measure(command).context("a plain read")?;
        told::number(&cost.stdout, "/seconds")
    }

    fn command(&self, destination: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command.arg("copy").arg(&self.source).arg(destination).args(["--json", "--quiet"]).args(flags);
        command
    }
}

fn report(times: &[Times; ALL.len()], reads: &Reads, bytes: u64) -> Result<Report> {
    let [plain, blake3, sha256, verified] = times;
    let mut report = Report::default();
    let speeds: Vec<f64> = plain.wall_seconds.iter().map(|seconds| bytes as f64 / MIB / seconds).collect();
    report.figure("copy speed without a digest", "MiB/s", &speeds);
    let mut beside = |name: &str, series: &Times| {
        let cpu = format!("copy cpu seconds, {name}");
        report.beside(&cpu, "s", &series.cpu_seconds, "plain", &plain.cpu_seconds);
        let wall = format!("copy wall seconds, {name}");
        report.beside(&wall, "s", &series.wall_seconds, "plain", &plain.wall_seconds).recip()
    };
    let (with_blake3, with_sha256) = (beside("blake3", blake3), beside("sha256", sha256));
    beside("verified", verified);
    let read =
        report.beside("seconds of reading back", "s", &reads.verified, "plain direct read", &reads.plain);
    report.gate(
        Some(with_blake3 >= 0.9),
        format!("speed with blake3 at least 0.9 of without: {with_blake3:.3}"),
    );
    report.gate(None, format!("speed with sha256, for comparison: {with_sha256:.3}"));
    report.gate(Some(read <= 1.1), format!("reading back at most 1.1 of one plain read: {read:.3}"));
    Ok(report)
}

fn table(times: &[Times; ALL.len()], reads: &Reads, bytes: u64) -> Table {
    let mut table = Table::new(&["", "wall s", "(lowest - highest)", "MiB/s", "CPU s"]);
    let mut row = |name: &str, wall: &[f64], cpu: &[f64]| {
        let (low, high) = range(wall);
        let cpu = if cpu.is_empty() { String::new() } else { format!("{:.3}", median(cpu)) };
        table.row(vec![
            name.to_owned(),
            format!("{:.3}", median(wall)),
            format!("({low:.3} - {high:.3})"),
            format!("{:.0}", bytes as f64 / MIB / median(wall)),
            cpu,
        ]);
    };
    for (what, series) in ALL.iter().zip(times) {
        row(what.name(), &series.wall_seconds, &series.cpu_seconds);
    }
    row("of which reading back", &reads.verified, &[]);
    row("a plain read", &reads.plain, &[]);
    table
}
