//! Reads of any slice through [`bulkio::direct`]: 1 MiB at a time that is aligned, that is not but suits its position, and that does not,
//! on a file system and on a device in memory.
//!
//! One process reads them in turns, so that each round met the same disk; the ratios are those of speeds.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bulkio::device::DirectMode;
use bulkio::direct::File;

use super::Plan;
use super::target::{Kind, Target};
use crate::bench::data;
use crate::bench::report::{Report, Table};
use crate::bench::stats::{median, median_ratio};
use crate::scratch;

const READ_LEN: usize = 1 << 20;
const PAGE: usize = 4096;

/// Bytes read by one side in one round.
const ROUND_BYTES: u64 = 512 << 20;

/// One way to ask for the same bytes.
struct Side {
    name: &'static str,
    /// Bytes behind a page boundary: of the memory, and of the position.
    memory: usize,
    position: u64,
    /// The least part of the speed of aligned reads.
    floor: Option<f64>,
}

const SIDES: [Side; 3] = [
    Side { name: "aligned", memory: 0, position: 0, floor: None },
    Side { name: "congruent", memory: 7, position: 7, floor: Some(0.95) },
    Side { name: "misaligned", memory: 13, position: 0, floor: Some(0.85) },
];

/// Runs the reads on a file and on a device.
pub(super) fn run(plan: &Plan, folder: &Path, table: &mut Table, report: &mut Report) -> Result<()> {
    if !"slices".contains(&plan.filter) {
        return Ok(());
    }
    let scratch = scratch::on_disk(folder)?;
    let file = scratch.path().join("file");
    data::write_random(&file, ROUND_BYTES + READ_LEN as u64)?;
    measure(plan, &file, "file", true, table, report)?;
    if plan.reads == Kind::ZramEmpty {
        let target = Target::make(plan.reads, folder)?;
        // Reads of a device that holds nothing cost the clearing of memory and no more: a copy doubles that.
        measure(plan, &target.device, plan.reads.name(), false, table, report)?;
    }
    Ok(())
}

fn measure(
    plan: &Plan,
    path: &Path,
    what: &str,
    gates: bool,
    table: &mut Table,
    report: &mut Report,
) -> Result<()> {
    let file = File::options().read(true).direct(DirectMode::Require).open(path)?;
    let mut bytes = vec![0; READ_LEN + 2 * PAGE];
    let to_page = bytes.as_ptr().align_offset(PAGE);
    let mut speeds: [Vec<f64>; SIDES.len()] = Default::default();
    for _ in 0..plan.rounds {
        for (side, speeds) in SIDES.iter().zip(&mut speeds) {
            let from = to_page + side.memory;
            let buf = bytes.get_mut(from..from + READ_LEN).context("the memory is too short")?;
            let start = Instant::now();
            for at in (0..ROUND_BYTES).step_by(READ_LEN) {
                let moved = file.read(buf, at + side.position)?;
                ensure!(moved.bytes == READ_LEN as u64, "a read ended early: {moved}");
            }
            speeds.push(ROUND_BYTES as f64 / start.elapsed().as_secs_f64() / (1 << 20) as f64);
        }
    }
    let [aligned, ..] = &speeds;
    for (side, speed) in SIDES.iter().zip(&speeds) {
        let name = format!("{} read of 1 MiB, {what}", side.name);
        let ratio = median_ratio(speed, aligned);
        table.row(vec![name.clone(), format!("{:.0}", median(speed)), format!("{ratio:.2}")]);
        report.beside(&name, "MiB/s", speed, "aligned", aligned);
        if let Some(floor) = side.floor.filter(|_| gates) {
            report.gate(
                Some(ratio >= floor),
                format!("{name}: {ratio:.2} of an aligned one, at least {floor}"),
            );
        }
    }
    Ok(())
}
