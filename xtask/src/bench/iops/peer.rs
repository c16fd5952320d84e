//! fio beside us: io_uring with registered files and buffers, and libaio, each with the batches that suit it best here.
//!
//! Which batches are best differs by device, depth and kernel, so nobody's word is taken for it: before the
//! rounds of a case every [`Batches`] runs on the device ([`tournament`]), and the rounds use the one with the
//! most operations a second. It waits for whole batches where that wins, though ours never does:
//! it gives each operation back as it ends. Clocks are off (`gtod_reduce`) but where latencies are taken.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::case::Case;
use super::{Job, Took};
use crate::bench::measure::measure;
use crate::bench::stats::median;

/// fio's way to the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Via {
    Uring,
    Libaio,
}

/// How fio groups its operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Batches {
    /// Operations of one submission at most.
    submit: u32,
    /// Completions to wait for and to take at most.
    complete_min: u32,
    complete_max: u32,
    /// io_uring only: operations go to a worker thread at once, without a try in line (`IOSQE_ASYNC`).
    always_worker: bool,
}

impl Via {
    /// All that is tried at `depth`, without what the depth makes equal.
    pub(super) fn candidates(self, depth: u32) -> Vec<Batches> {
        let mut all = Vec::new();
        let half = (depth / 2).max(1);
        for (submit, complete_min) in [(16, 1), (32, 1), (half, half), (depth, 1), (depth, depth)] {
            for always_worker in [false, true] {
                let submit = submit.min(depth);
                let batches = Batches {
                    submit,
                    complete_min,
                    complete_max: submit.max(complete_min),
                    always_worker: always_worker && self == Self::Uring,
                };
                if !all.contains(&batches) {
                    all.push(batches);
                }
            }
        }
        all
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Uring => "fio io_uring",
            Self::Libaio => "fio libaio",
        }
    }
}

impl std::fmt::Display for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "submit {}, complete {} to {}", self.submit, self.complete_min, self.complete_max)?;
        if self.always_worker { f.write_str(", force_async") } else { Ok(()) }
    }
}

/// The command that runs `job`.
pub(super) fn command(job: &Job, via: Via, batches: Batches) -> Command {
    let Job { device, case, seconds, latency, bytes, .. } = job;
    let Case { write, random, block_bytes, depth } = case;
    let mut command = Command::new("fio");
    command.args(["--output-format=json", "--name=bulkio", "--direct=1", "--scramble_buffers=0"]);
    command.args(["--norandommap", "--randrepeat=0"]);
    // fio would take a colon in a file name as a separator.
    command.arg(format!("--filename={}", device.display().to_string().replace(':', "\\:")));
    command.arg(match (random, write) {
        (true, false) => "--rw=randread",
        (true, true) => "--rw=randwrite",
        (false, false) => "--rw=read",
        (false, true) => "--rw=write",
    });
    command.arg(format!("--bs={block_bytes}")).arg(format!("--size={bytes}"));
    command.arg(format!("--iodepth={depth}"));
    command.arg(format!("--iodepth_batch_submit={}", batches.submit));
    command.arg(format!("--iodepth_batch_complete_min={}", batches.complete_min));
    command.arg(format!("--iodepth_batch_complete_max={}", batches.complete_max));
    match via {
        Via::Uring => {
            command.args(["--ioengine=io_uring", "--registerfiles=1", "--fixedbufs=1", "--hipri=0"]);
        }
        Via::Libaio => {
            command.arg("--ioengine=libaio");
        }
    }
    if batches.always_worker {
        command.arg("--force_async=1");
    }
    if *latency {
        command.args(["--lat_percentiles=1", "--clat_percentiles=0", "--percentile_list=50:99.9"]);
    } else {
        command.arg("--gtod_reduce=1");
    }
    if *seconds > 0.0 {
        command.arg("--time_based").arg(format!("--runtime={:.0}ms", seconds * 1e3));
    } else {
        command.arg("--number_ios=1");
    }
    command
}

/// What fio printed of a run.
pub(super) fn read(printed: &str) -> Result<Took> {
    #[derive(Deserialize)]
    struct Output {
        jobs: Vec<OneJob>,
    }
    #[derive(Deserialize)]
    struct OneJob {
        error: i64,
        read: Side,
        write: Side,
    }
    #[derive(Deserialize)]
    struct Side {
        total_ios: u64,
        /// In milliseconds.
        runtime: f64,
        short_ios: u64,
        lat_ns: Latency,
    }
    #[derive(Deserialize)]
    struct Latency {
        #[serde(default)]
        percentile: BTreeMap<String, f64>,
    }
    // Warnings may stand before the JSON.
    let start = printed.find('{').context("fio printed no JSON")?;
    let output: Output =
        serde_json::from_str(printed.get(start..).unwrap_or_default()).context("the output of fio")?;
    let [OneJob { error, read, write }] = output.jobs.as_slice() else {
        anyhow::bail!("fio ran {} jobs instead of one", output.jobs.len());
    };
    let side = if write.total_ios > 0 { write } else { read };
    ensure!(*error == 0 && side.short_ios == 0, "fio: error {error}, {} short transfers", side.short_ios);
    ensure!(side.total_ios > 0 && side.runtime > 0.0, "fio moved nothing");
    let share = |name| side.lat_ns.percentile.get(name).copied();
    Ok(Took {
        operations: side.total_ios,
        wall_seconds: side.runtime / 1e3,
        latency_ns: share("50.000000").zip(share("99.900000")),
    })
}

/// Runs every candidate `rounds` times in turns and returns the one with the most operations a second.
pub(super) fn tournament(job: &Job, via: Via, rounds: u32) -> Result<Batches> {
    let mut candidates: Vec<_> =
        via.candidates(job.case.depth).into_iter().map(|batches| (batches, Vec::new())).collect();
    for _ in 0..rounds {
        for (batches, speeds) in &mut candidates {
            let cost = measure(command(job, via, *batches))?;
            speeds.push(read(&cost.stdout)?.per_second());
        }
    }
    let best = candidates.into_iter().max_by(|(_, a), (_, b)| median(a).total_cmp(&median(b)));
    best.map(|(batches, _)| batches).context("nothing was tried")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_candidates_are_tried_once() {
        let one = Via::Libaio.candidates(1);
        assert_eq!(one, [Batches { submit: 1, complete_min: 1, complete_max: 1, always_worker: false }]);
        assert_eq!(Via::Uring.candidates(1).len(), 2);
        assert_eq!(Via::Libaio.candidates(64).len(), 5);
        for batches in Via::Uring.candidates(16) {
            assert!(batches.submit <= 16 && batches.complete_min <= batches.complete_max);
        }
    }

    #[test]
    fn the_side_that_ran_counts() {
        let side = |ios: u32| {
            format!(
                "{{\"total_ios\": {ios}, \"runtime\": 500, \"short_ios\": 0, \"lat_ns\": {{\"percentile\": \
                 {{\"50.000000\": 75264, \"99.900000\": 1662976}}}}}}"
            )
        };
        let printed = format!(
            "fio: a warning\n{{\"jobs\": [{{\"error\": 0, \"read\": {}, \"write\": {}}}]}}",
            side(0),
            side(1000)
        );
        let took = read(&printed).unwrap();
        assert_eq!((took.operations, took.per_second()), (1000, 2000.0));
        assert_eq!(took.latency_ns, Some((75264.0, 1_662_976.0)));
        assert!(read(&printed.replace("1000", "0")).is_err());
    }
}
