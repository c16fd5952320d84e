//! `cargo xtask bench depth`: the depth that a copy finds beside fixed ones.
//!
//! One big file to another on the same disk, then one zram device to another where the kernel lets us add some, then the lab's group `depth`, two
//! devices that answer after 20 ms. Every round copies once at each depth, in an order that moves on by one from round to round, with cold caches. Speeds
//! include everything, the flush as well; what is compared are medians.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use super::cache::chill;
use super::data;
use super::iops::target::{Kind, Target};
use super::measure::measure;
use super::report::{Report, Table};
use super::stats::{median, range};
use super::told;
use crate::args::{options, size_bytes};
use crate::workspace::Workspace;
use crate::{lab, scratch};

const MIB: f64 = (1 << 20) as f64;

/// What is compared; the first is ours to judge.
const DEPTHS: [&str; 8] = ["auto", "1", "2", "4", "8", "16", "32", "64"];

/// What the best fixed depth must not be faster by.
const FLOOR: f64 = 0.9;

struct Setting {
    command: PathBuf,
    rounds: usize,
}

pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    // At 700 MiB a second, which is a fast disk, a run takes three seconds.
    let (mut rounds, mut bytes, mut folder) = (5, 2_u64 << 30, workspace.target.join("bench"));
    let mut in_lab = true;
    for (name, value) in options(words, &["--rounds", "--size", "--dir", "--lab"])? {
        match name {
            "--rounds" => rounds = value.parse().with_context(|| format!("--rounds {value}"))?,
            "--size" => bytes = size_bytes(value)?,
            "--lab" => in_lab = value == "yes",
            _ => folder = PathBuf::from(value),
        }
    }
    ensure!(rounds > 0 && bytes > 0, "--rounds and --size must be more than 0");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let shown = folder.display();
    ensure!(!scratch::is_in_memory(&folder)?, "{shown} is kept in memory: it would say nothing about a disk");
    let setting = Setting { command: workspace.command_to_bench()?, rounds };
    let (mut report, mut table) =
        (Report::default(), Table::new(&["", "MiB/s", "(lowest - highest)", "of the best"]));
    {
        let scratch = scratch::in_folder(&folder)?;
        let (source, destination) = (scratch.path().join("source"), scratch.path().join("destination"));
        println!("{rounds} rounds of {:.0} MiB from file to file in {shown}", bytes as f64 / MIB);
        data::write_random(&source, bytes)?;
        compare(&setting, "file", &source, &destination, &mut table, &mut report)?;
    }
    match two_devices(&folder) {
        Ok((source, destination)) => {
            let bytes = Kind::ZramSource.bytes() as f64;
            println!("{rounds} rounds of {:.0} MiB from zram to zram", bytes / MIB);
            compare(&setting, "zram", &source.device, &destination.device, &mut table, &mut report)?;
        }
        Err(error) => report.gate(None, format!("zram is left out: {error:#}")),
    }
    let file = workspace.target.join("bench/depth.json");
    report.write(&file)?;
    print!("\n{table}\n{report}");
    println!("written to {}", file.display());
    if in_lab { lab::bench("depth") } else { Ok(ExitCode::SUCCESS) }
}

/// Makes two devices in memory, where there is enough.
fn two_devices(folder: &Path) -> Result<(Target, Target)> {
    let text = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).context("no MemAvailable")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("MemAvailable")?;
    let need = Kind::ZramSource.bytes() * 3;
    ensure!(kib << 10 >= need, "{kib} KiB of memory are available; {} are needed", need >> 10);
    Ok((Target::make(Kind::ZramSource, folder)?, Target::make(Kind::ZramSink, folder)?))
}

/// Copies at every depth in turns.
fn compare(
    setting: &Setting,
    what: &str,
    source: &Path,
    destination: &Path,
    table: &mut Table,
    report: &mut Report,
) -> Result<()> {
    // Whoever comes first makes the pages of a device in memory.
    copy(setting, source, destination, "8")?;
    let mut speeds = vec![Vec::new(); DEPTHS.len()];
    for round in 0..setting.rounds {
        let mut line = format!("round {}:", round + 1);
        for turn in 0..DEPTHS.len() {
            let which = (round + turn) % DEPTHS.len();
            let (Some(depth), Some(speeds)) = (DEPTHS.get(which), speeds.get_mut(which)) else { continue };
            let (speed, found) = copy(setting, source, destination, depth)?;
            line += &format!(
                "  {depth}{} {speed:.0}",
                found.map_or(String::new(), |found| format!(" ({found})"))
            );
            speeds.push(speed);
        }
        println!("{line} MiB/s");
    }
    let medians: Vec<f64> = speeds.iter().map(|speeds| median(speeds)).collect();
    let best = medians.iter().skip(1).copied().fold(0.0, f64::max);
    for ((depth, speeds), of_depth) in DEPTHS.iter().zip(&speeds).zip(&medians) {
        let (low, high) = range(speeds);
        report.figure(format!("copy speed, {what}, depth {depth}"), "MiB/s", speeds);
        table.row(vec![
            format!("{what}, depth {depth}"),
            format!("{of_depth:.0}"),
            format!("({low:.0} - {high:.0})"),
            format!("{:.3}", of_depth / best),
        ]);
    }
    let ratio = medians.first().map(|auto| auto / best);
    let shown = ratio.map_or("not measured".to_owned(), |ratio| format!("{ratio:.3}"));
    report.gate(
        ratio.map(|ratio| ratio >= FLOOR),
        format!("{what}: auto at least {FLOOR} of the best fixed depth: {shown}"),
    );
    Ok(())
}

/// Copies once; the speed in MiB/s by the command's own clock, and the depth that was found.
fn copy(setting: &Setting, source: &Path, destination: &Path, depth: &str) -> Result<(f64, Option<u64>)> {
    if destination.is_file() {
        std::fs::remove_file(destination)
            .with_context(|| format!("cannot remove {}", destination.display()))?;
    }
    chill(source)?;
    let mut command = Command::new(&setting.command);
    command.arg("copy").arg(source).arg(destination).args(["--json", "--quiet", "--depth", depth]);
    let cost = measure(command)?;
    let number = |pointer| told::number(&cost.stdout, pointer);
    let (bytes, seconds) = (number("/bytes")?, number("/seconds")?);
    let found = told::report(&cost.stdout)?.pointer("/tuned/depth").and_then(serde_json::Value::as_u64);
    Ok((bytes / MIB / seconds, found))
}
