//! Random and sequential operations on a device: ours, fio's io_uring and fio's libaio, in turns.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::case::{self, Case};
use super::peer::{self, Batches, Via};
use super::target::{Kind, Target};
use super::{Job, Plan, Took, ours};
use crate::bench::measure::measure;
use crate::bench::report::{Report, Table};
use crate::bench::stats::{median, median_ratio};

const MIB: f64 = (1 << 20) as f64;

/// Who runs.
#[derive(Clone, Copy, Debug)]
enum Who {
    Ours,
    Fio(Via, Batches),
}

impl Who {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "bulkio",
            Self::Fio(via, _) => via.name(),
        }
    }

    /// Runs `job` and returns what it did and the CPU seconds of its process.
    fn run(self, job: &Job) -> Result<(Took, f64)> {
        let command = match self {
            Self::Ours => ours::command(job)?,
            Self::Fio(via, batches) => peer::command(job, via, batches),
        };
        let cost = measure(command).with_context(|| self.name().to_owned())?;
        let took = match self {
            Self::Ours => ours::read(&cost.stdout)?,
            Self::Fio(..) => peer::read(&cost.stdout)?,
        };
        Ok((took, cost.cpu_seconds))
    }
}

/// All runs of one side in one case.
struct Series {
    who: Who,
    /// CPU seconds of a process that only starts and ends.
    idle_seconds: f64,
    per_second: Vec<f64>,
    cpu_ns: Vec<f64>,
    p50_us: Vec<f64>,
    p999_us: Vec<f64>,
}

impl Series {
    fn new(who: Who, job: &Job) -> Result<Self> {
        let idle = Job { seconds: 0.0, ..job.clone() };
        let runs: Vec<f64> = (0..3).map(|_| Ok(who.run(&idle)?.1)).collect::<Result<_>>()?;
        let none = Vec::new;
        let idle_seconds = median(&runs);
        Ok(Self { who, idle_seconds, per_second: none(), cpu_ns: none(), p50_us: none(), p999_us: none() })
    }

    fn round(&mut self, job: &Job) -> Result<()> {
        let (took, cpu_seconds) = self.who.run(job)?;
        ensure!(took.operations > 0, "{} did nothing", self.who.name());
        if job.latency {
            let (p50, p999) = took.latency_ns.with_context(|| format!("{}: latencies", self.who.name()))?;
            self.p50_us.push(p50 / 1e3);
            self.p999_us.push(p999 / 1e3);
        } else {
            self.per_second.push(took.per_second());
            self.cpu_ns.push((cpu_seconds - self.idle_seconds) * 1e9 / took.operations as f64);
        }
        Ok(())
    }
}

pub(super) fn headings() -> Table {
    Table::new(&[
        "",
        "op/s",
        "MiB/s",
        "CPU ns/op",
        "p50 us",
        "p99.9 us",
        "op/s ratio",
        "CPU ratio",
        "fio's batches",
    ])
}

/// Runs the cases that the plan leaves: those that read, then those that write.
pub(super) fn run(
    plan: &Plan,
    folder: &Path,
    fio: bool,
    table: &mut Table,
    report: &mut Report,
) -> Result<()> {
    let cases: Vec<Case> =
        case::all().into_iter().filter(|case| case.to_string().contains(&plan.filter)).collect();
    for (write, kind) in [(false, plan.reads), (true, plan.reads.of_writes())] {
        let cases: Vec<Case> = cases.iter().copied().filter(|case| case.write == write).collect();
        if cases.is_empty() {
            continue;
        }
        let target = Target::make(kind, folder)?;
        println!("{}: {}, {} MiB", target.device.display(), kind.name(), kind.bytes() >> 20);
        table.row(vec![kind.name().to_owned()]);
        for case in cases {
            let series = measure_case(plan, &target, case, fio)?;
            show(case, kind, &series, table, report);
        }
    }
    Ok(())
}

fn measure_case(plan: &Plan, target: &Target, case: Case, fio: bool) -> Result<Vec<Series>> {
    let device = target.device.clone();
    let (seconds, bytes, engine) = (plan.seconds, target.kind.bytes(), plan.engine.clone());
    let job = Job { device, case, seconds, latency: false, bytes, engine };
    let start = measure(ours::command(&Job { seconds: 0.0, ..job.clone() })?)?;
    println!("{case}: bulkio goes through {}", ours::read_way(&start.stdout)?);
    let mut sides = vec![Who::Ours];
    for via in [Via::Uring, Via::Libaio].into_iter().filter(|_| fio) {
        let trial = Job { seconds: plan.trial_seconds, ..job.clone() };
        sides.push(Who::Fio(via, peer::tournament(&trial, via, plan.trial_rounds)?));
    }
    let mut series = sides.into_iter().map(|who| Series::new(who, &job)).collect::<Result<Vec<_>>>()?;
    let with_latency = Job { latency: true, ..job.clone() };
    let jobs = (0..plan.rounds).map(|_| &job).chain((0..plan.latency_rounds).map(|_| &with_latency));
    let count = series.len();
    for (round, job) in jobs.enumerate() {
        for turn in 0..count {
            if let Some(side) = series.get_mut((round + turn) % count) {
                side.round(job)?;
            }
        }
    }
    let mut line = format!("{case}:");
    for side in &series {
        line += &format!("  {} {:.0}", side.who.name(), median(&side.per_second));
    }
    println!("{line}");
    Ok(series)
}

fn show(case: Case, kind: Kind, series: &[Series], table: &mut Table, report: &mut Report) {
    let Some(ours) = series.first() else { return };
    table.row(vec![case.to_string()]);
    for side in series {
        let per_second = median(&side.per_second);
        let mut row = vec![
            format!("  {}", side.who.name()),
            format!("{per_second:.0}"),
            format!("{:.0}", per_second * case.block_bytes as f64 / MIB),
            format!("{:.0}", median(&side.cpu_ns)),
            format!("{:.1}", median(&side.p50_us)),
            format!("{:.1}", median(&side.p999_us)),
        ];
        if let Who::Fio(via, batches) = side.who {
            let figures: [(&str, &'static str, &[f64], &[f64]); 4] = [
                ("operations", "1/s", &ours.per_second, &side.per_second),
                ("CPU time", "ns", &ours.cpu_ns, &side.cpu_ns),
                ("p50 latency", "us", &ours.p50_us, &side.p50_us),
                ("p99.9 latency", "us", &ours.p999_us, &side.p999_us),
            ];
            for (what, unit, ours, theirs) in figures {
                report.beside(&format!("{case}, {what}"), unit, ours, via.name(), theirs);
            }
            row.push(format!("{:.3}", median_ratio(&ours.per_second, &side.per_second)));
            row.push(format!("{:.3}", median_ratio(&ours.cpu_ns, &side.cpu_ns)));
            row.push(batches.to_string());
        }
        table.row(row);
    }
    if series.len() == 1 {
        report.figure(format!("{case}, operations"), "1/s", &ours.per_second);
        report.figure(format!("{case}, CPU time"), "ns", &ours.cpu_ns);
    }
    if case == case::FLOOR {
        floors(kind, ours, series, report);
    }
}

/// The floors hold for a device that is no limit itself, so elsewhere they are not judged.
fn floors(kind: Kind, ours: &Series, series: &[Series], report: &mut Report) {
    let fio = series.iter().find(|side| matches!(side.who, Who::Fio(Via::Uring, _)));
    let fio = fio.filter(|_| kind == Kind::ZramEmpty);
    let shown = |value: Option<f64>| value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
    let speed = fio.map(|fio| median_ratio(&ours.per_second, &fio.per_second));
    let text = format!("{}: at least the operations of fio's best io_uring: {}", case::FLOOR, shown(speed));
    report.gate(speed.map(|ratio| ratio >= 1.0), text);
    let cpu = fio.map(|fio| median_ratio(&ours.cpu_ns, &fio.cpu_ns));
    let text = format!("{}: at most its CPU time for each: {}", case::FLOOR, shown(cpu));
    report.gate(cpu.map(|ratio| ratio <= 1.0), text);
}
