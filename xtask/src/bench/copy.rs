//! `cargo xtask bench copy`: one big file to another on the same disk, beside dd, cp and fio.
//!
//! Every round runs each program once, in an order that moves on by one from round to round, with cold
//! caches, an absent destination and nothing dirty on the disk. The data cannot be compressed. All
//! ratios are taken inside a round. What dd reads and writes past the page cache is reported and is no gate: it
//! varies twofold from round to round.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};

use super::cache::{Cold, chill};
use super::measure::{Cost, measure};
use super::report::{Report, Table};
use super::stats::{median, median_ratio, range};
use super::told;
use super::{data, fio};
use crate::args::{options, size_bytes};
use crate::workspace::Workspace;
use crate::{programs, scratch};

const MIB: f64 = (1 << 20) as f64;

/// What the command may need beside its pool.
const MEMORY_BESIDE_POOL_BYTES: u64 = 40_000_000;

/// Who copies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Ours,
    FioOverlap,
    CpSync,
    DdFsync,
    DdDirect,
}

const PEERS: [Who; 4] = [Who::FioOverlap, Who::CpSync, Who::DdFsync, Who::DdDirect];

/// All runs of one program, which is left out once it is `broken`.
struct Series {
    who: Who,
    wall_seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    peak_mib: Vec<f64>,
    last: Option<Cost>,
    broken: bool,
}

struct Setting {
    command: PathBuf,
    source: PathBuf,
    destination: PathBuf,
    bytes: u64,
}

pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let (mut rounds, mut bytes, mut folder) = (7_u32, 2_u64 << 30, workspace.target.join("bench"));
    for (name, value) in options(words, &["--rounds", "--size", "--dir"])? {
        match name {
            "--rounds" => rounds = value.parse().with_context(|| format!("--rounds {value}"))?,
            "--size" => bytes = size_bytes(value)?,
            _ => folder = PathBuf::from(value),
        }
    }
    ensure!(rounds > 0 && bytes > 0, "--rounds and --size must be more than 0");
    if let Err(error) = programs::ensure(&[("fio", "fio")]) {
        println!("{error:#}");
    }
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
    let series = run_rounds(&setting, rounds)?;

    let report = report(&series, bytes)?;
    let file = workspace.target.join("bench/copy.json");
    report.write(&file)?;
    print!("\n{}ratios are ours over theirs, the median of the rounds\n\n{report}", table(&series, bytes));
    println!("written to {}", file.display());
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check_folder(folder: &Path, bytes: u64) -> Result<()> {
    let shown = folder.display();
    ensure!(!scratch::is_in_memory(folder)?, "{shown} is kept in memory: it would say nothing about a disk");
    let stat =
        rustix::fs::statvfs(folder).with_context(|| format!("cannot ask for the free space of {shown}"))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let need = bytes.saturating_mul(2).saturating_add(bytes / 20);
    ensure!(free >= need, "{shown} has {free} bytes free; source and destination need {need}");
    Ok(())
}

fn run_rounds(setting: &Setting, rounds: u32) -> Result<Vec<Series>> {
    let mut series: Vec<Series> = std::iter::once(Who::Ours).chain(PEERS).map(Series::new).collect();
    let count = series.len();
    for round in 0..rounds as usize {
        let mut line = format!("round {}:", round + 1);
        for turn in 0..count {
            let Some(runner) = series.get_mut((round + turn) % count).filter(|runner| !runner.broken) else {
                continue;
            };
            match run_once(setting, runner.who) {
                Ok((cost, cold)) => {
                    if round == 0 && turn == 0 && cold == Cold::SourceOnly {
                        println!("not root: only the source is dropped from the cache");
                    }
                    line += &format!("  {} {:.2} s", runner.who.name(), cost.wall_seconds);
                    runner.add(cost);
                }
                Err(error) if runner.who != Who::Ours => {
                    println!("{} is left out: {error:#}", runner.who.name());
                    runner.broken = true;
                }
                Err(error) => return Err(error),
            }
            if round == 0 && runner.who == Who::Ours {
                ensure_same(&setting.source, &setting.destination)?;
            }
        }
        println!("{line}");
    }
    series.retain(|runner| !runner.broken);
    Ok(series)
}

fn run_once(setting: &Setting, who: Who) -> Result<(Cost, Cold)> {
    let Setting { source, destination, bytes, .. } = setting;
    if destination.exists() {
        std::fs::remove_file(destination)
            .with_context(|| format!("cannot remove {}", destination.display()))?;
    }
    let cold = chill(source)?;
    let mut cost = measure(who.command(setting)).with_context(|| who.name().to_owned())?;
    if who == Who::FioOverlap {
        cost.wall_seconds = fio::later_job_seconds(&cost.stdout)?;
    }
    let written = destination.metadata().with_context(|| format!("{} wrote nothing", who.name()))?.len();
    ensure!(written == *bytes, "{} wrote {written} bytes of {bytes}", who.name());
    Ok((cost, cold))
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "bulkio",
            Self::FioOverlap => "fio overlap",
            Self::CpSync => "cp + sync",
            Self::DdFsync => "dd fsync",
            Self::DdDirect => "dd direct",
        }
    }

    fn command(self, setting: &Setting) -> Command {
        let Setting { command, source, destination, bytes } = setting;
        match self {
            Self::Ours => {
                let mut command = Command::new(command);
                command.arg("copy").arg(source).arg(destination).args(["--json", "--quiet"]);
                command
            }
            Self::FioOverlap => fio::overlap(source, destination, *bytes),
            Self::CpSync => {
                let mut command = Command::new("sh");
                command.args(["-c", "cp --reflink=never \"$1\" \"$2\" && sync \"$2\"", "sh"]);
                command.arg(source).arg(destination);
                command
            }
            Self::DdFsync => dd(source, destination, &["conv=fsync"]),
            Self::DdDirect => dd(source, destination, &["iflag=direct", "oflag=direct"]),
        }
    }
}

fn dd(source: &Path, destination: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new("dd");
    command.arg(format!("if={}", source.display())).arg(format!("of={}", destination.display()));
    command.args(["bs=1M", "status=none"]).args(flags);
    command
}

impl Series {
    fn new(who: Who) -> Self {
        let none = Vec::new;
        Self { who, wall_seconds: none(), cpu_seconds: none(), peak_mib: none(), last: None, broken: false }
    }

    fn add(&mut self, cost: Cost) {
        self.wall_seconds.push(cost.wall_seconds);
        self.cpu_seconds.push(cost.cpu_seconds);
        self.peak_mib.push(cost.peak_bytes as f64 / MIB);
        self.last = Some(cost);
    }
}

fn report(series: &[Series], bytes: u64) -> Result<Report> {
    let of = |who| series.iter().find(|runner| runner.who == who);
    let ours = of(Who::Ours).context("bulkio did not run")?;
    let mut report = Report::default();
    let speeds: Vec<f64> = ours.wall_seconds.iter().map(|seconds| bytes as f64 / MIB / seconds).collect();
    report.figure("copy speed", "MiB/s", &speeds);
    let (mut fio_wall, mut cp_wall, mut cp_cpu) = (None, None, None);
    for peer in PEERS.into_iter().filter_map(of) {
        let name = peer.who.name();
        let wall = report.beside("copy wall seconds", "s", &ours.wall_seconds, name, &peer.wall_seconds);
        let cpu = report.beside("copy cpu seconds", "s", &ours.cpu_seconds, name, &peer.cpu_seconds);
        report.beside("copy peak memory", "MiB", &ours.peak_mib, name, &peer.peak_mib);
        match peer.who {
            Who::FioOverlap => fio_wall = Some(wall),
            Who::CpSync => (cp_wall, cp_cpu) = (Some(wall), Some(cpu)),
            _ => {}
        }
    }

    let shown = |value: Option<f64>| value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
    let speed = fio_wall.map(f64::recip);
    let text = format!("speed at least 0.9 of fio reading and writing at once: {}", shown(speed));
    report.gate(speed.map(|speed| speed >= 0.9), text);
    let faster = cp_wall.map(f64::recip);
    let text = format!("at least 2 times as fast as cp and sync: {}", shown(faster));
    report.gate(faster.map(|faster| faster >= 2.0), text);
    let text = format!("at most 0.2 of the CPU time of cp and sync: {}", shown(cp_cpu));
    report.gate(cp_cpu.map(|ratio| ratio <= 0.2), text);
    memory_gate(ours, &mut report);
    Ok(report)
}

fn memory_gate(ours: &Series, report: &mut Report) {
    let Some(pool) =
        ours.last.as_ref().and_then(|cost| told::report(&cost.stdout).ok()?.get("pool_bytes")?.as_u64())
    else {
        report.gate(None, "peak memory: the report of bulkio has no pool_bytes");
        return;
    };
    report.figure("copy pool memory", "MiB", &[pool as f64 / MIB]);
    let (_, peak) = range(&ours.peak_mib);
    let bound = pool.saturating_add(MEMORY_BESIDE_POOL_BYTES) as f64 / MIB;
    let text = format!("peak memory under the pool and 40 MB, {bound:.1} MiB: {peak:.1} MiB");
    report.gate(Some(peak < bound), text);
}

fn table(series: &[Series], bytes: u64) -> Table {
    let mut table = Table::new(&[
        "",
        "wall s",
        "(lowest - highest)",
        "MiB/s",
        "CPU s",
        "peak MiB",
        "wall ratio",
        "CPU ratio",
    ]);
    let ours = series.iter().find(|runner| runner.who == Who::Ours);
    for Series { who, wall_seconds, cpu_seconds, peak_mib, .. } in series {
        let (low, high) = range(wall_seconds);
        let wall = median(wall_seconds);
        let ratio = |of: fn(&Series) -> &Vec<f64>, theirs: &[f64]| {
            let ours = ours.filter(|_| *who != Who::Ours);
            ours.map_or(String::new(), |ours| format!("{:.3}", median_ratio(of(ours), theirs)))
        };
        table.row(vec![
            who.name().to_owned(),
            format!("{wall:.3}"),
            format!("({low:.3} - {high:.3})"),
            format!("{:.0}", bytes as f64 / MIB / wall),
            format!("{:.3}", median(cpu_seconds)),
            format!("{:.1}", median(peak_mib)),
            ratio(|s| &s.wall_seconds, wall_seconds),
            ratio(|s| &s.cpu_seconds, cpu_seconds),
        ]);
    }
    table
}

/// A fast copy that is wrong is no result.
pub(super) fn ensure_same(source: &Path, destination: &Path) -> Result<()> {
    let open = |path: &Path| -> Result<BufReader<File>> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(BufReader::with_capacity(1 << 20, file))
    };
    let (mut left, mut right) = (open(source)?, open(destination)?);
    let mut position = 0_u64;
    loop {
        let (a, b) = (left.fill_buf()?, right.fill_buf()?);
        let length = a.len().min(b.len());
        if length == 0 {
            ensure!(a.is_empty() && b.is_empty(), "the copy has another length than the source");
            return Ok(());
        }
        if a.get(..length) != b.get(..length) {
            bail!("the copy differs from the source within {length} bytes of position {position}");
        }
        left.consume(length);
        right.consume(length);
        position += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&a, [7; 5000]).unwrap();
        std::fs::write(&b, [7; 5000]).unwrap();
        assert!(ensure_same(&a, &b).is_ok());
        std::fs::write(&b, [7; 4999]).unwrap();
        assert!(ensure_same(&a, &b).is_err());
        std::fs::write(&b, [8; 5000]).unwrap();
        assert!(ensure_same(&a, &b).is_err());
    }
}
