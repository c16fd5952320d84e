//! Our side: a process of its own that drives [`Engine`] as a program would, through the safe API alone.
//!
//! Slots of a registered pool travel as leases. The engine is filled up to its depth, all that is over is
//! taken, and each lease goes in again at the next position. The parent measures what the process cost, as it does for fio.

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bulkio::engine::{Completion, Engine, EngineChoice, EngineOptions, FileId, FixedRegion};
use bulkio::pages::{PagePool, PoolOptions, Slot};
use bulkio::probe::probe_path;
use rustix::fs::{Mode, OFlags, open};
use scatterlist::{CpuAddr, Direction, Lease, Limits, Outcome, Position, Request};
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::histogram::Histogram;
use super::{Job, Took};
use crate::bench::data::Random;

/// Operations between two looks at the clock, where no latency is taken.
const CLOCK_EVERY: u64 = 256;

/// The command that runs `job`.
pub(super) fn command(job: &Job) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(["bench", "iops-ours"]).arg(serde_json::to_string(job).context("cannot write a job")?);
    Ok(command)
}

/// What the process prints.
#[derive(Debug, Serialize, Deserialize)]
struct Printed {
    operations: u64,
    wall_seconds: f64,
    p50_ns: Option<f64>,
    p999_ns: Option<f64>,
    /// The engine, and who carried the transfers.
    way: String,
}

/// The engine that ran, and who carried its transfers.
pub(super) fn read_way(printed: &str) -> Result<String> {
    let Printed { way, .. } = serde_json::from_str(printed.trim()).context("our own output")?;
    Ok(way)
}

pub(super) fn read(printed: &str) -> Result<Took> {
    let Printed { operations, wall_seconds, p50_ns, p999_ns, .. } =
        serde_json::from_str(printed.trim()).context("our own output")?;
    Ok(Took { operations, wall_seconds, latency_ns: p50_ns.zip(p999_ns) })
}

/// The engine with this name.
pub(super) fn choice(name: &str) -> Result<EngineChoice> {
    name.parse().with_context(|| format!("--engine {name}"))
}

/// The process: `bench iops-ours JOB`.
pub(crate) fn run(job: &str) -> Result<ExitCode> {
    let job: Job = serde_json::from_str(job).context("the job")?;
    let mut driver = Driver::new(&job)?;
    let (operations, wall) = driver.drive(job.seconds)?;
    let shares = driver.histogram.as_ref().filter(|_| operations > 0);
    let printed = Printed {
        operations,
        wall_seconds: wall.as_secs_f64(),
        p50_ns: shares.map(|histogram| histogram.percentile_ns(0.5)),
        p999_ns: shares.map(|histogram| histogram.percentile_ns(0.999)),
        way: driver.way(),
    };
    println!("{}", serde_json::to_string(&printed).context("cannot write figures")?);
    Ok(ExitCode::SUCCESS)
}

struct Driver {
    engine: Engine<Slot, Sent>,
    file: FileId,
    limits: Limits,
    case: Case,
    places: Places,
    /// Leases that are not in flight.
    idle: Vec<Lease<CpuAddr, Slot>>,
    histogram: Option<Histogram>,
}

/// When a request went in; the engine hands it back with the request.
struct Sent(Option<Instant>);

impl Driver {
    fn new(job: &Job) -> Result<Self> {
        let Job { device, case, latency, bytes, engine, .. } = job;
        let way = if case.write { OFlags::WRONLY } else { OFlags::RDONLY };
        let what = || format!("cannot open {}", device.display());
        let file = open(device, way | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()).with_context(what)?;
        let limits = probe_path(device).context("the limits of the device")?.limits;
        let slot_len = usize::try_from(case.block_bytes).context("a block past the address space")?;
        let pool = Arc::new(PagePool::new(PoolOptions::uniform(slot_len, case.depth as usize))?);
        let options = EngineOptions {
            kind: choice(engine)?,
            depth: case.depth,
            fixed: vec![FixedRegion::from_pool(Arc::clone(&pool))],
            ..EngineOptions::default()
        };
        let mut engine = Engine::new(options)?;
        let file = engine.add_file(Arc::new(file))?;
        let mut random = Random::default();
        let mut idle = Vec::new();
        while let Some(mut slot) = pool.take() {
            if case.write {
                random.fill(slot.as_mut_slice());
            }
            idle.push(slot.into_lease(0, case.block_bytes)?);
        }
        let places = Places::new(case, *bytes);
        let histogram = latency.then(Histogram::new);
        Ok(Self { engine, file, limits, case: *case, places, idle, histogram })
    }

    fn way(&self) -> String {
        let carrier = self.engine.file_report(self.file).map(|report| report.carrier.to_string());
        format!("{}, {}", self.engine.report().kind, carrier.unwrap_or_default())
    }

    /// Runs for `seconds`, then until nothing is in flight; returns the operations and the time.
    fn drive(&mut self, seconds: f64) -> Result<(u64, Duration)> {
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(seconds);
        let (mut operations, mut look_at) = (0_u64, 0_u64);
        let mut more = true;
        loop {
            if operations >= look_at {
                more = Instant::now() < end;
                look_at = operations + CLOCK_EVERY;
            }
            if more {
                self.fill()?;
            } else if self.engine.in_flight() == 0 {
                return Ok((operations, start.elapsed()));
            }
            let mut waits = true;
            loop {
                // A completion is large, and moved as often as it is named: so it is taken apart at once.
                match if waits { self.engine.wait() } else { self.engine.poll() } {
                    Ok(Some(Completion::Transfer { request, outcome, .. })) => self.take(request, outcome)?,
                    Ok(Some(_)) => bail!("nobody flushed"),
                    Ok(None) => break,
                    Err(error) => return Err(error.into()),
                }
                operations += 1;
                waits = false;
            }
        }
    }

    /// Submits everything that is idle.
    fn fill(&mut self) -> Result<()> {
        let direction = if self.case.write { Direction::ToDevice } else { Direction::FromDevice };
        while let Some(lease) = self.idle.pop() {
            let sent = Sent(self.histogram.is_some().then(Instant::now));
            let request = Request::new(lease, direction, Position::At(self.places.next()), sent);
            if let Err(refused) = self.engine.submit(self.file, request, &self.limits) {
                bail!("{refused}");
            }
        }
        Ok(())
    }

    fn take(&mut self, request: Request<CpuAddr, Slot, Sent>, outcome: Outcome) -> Result<()> {
        ensure!(outcome.done == self.case.block_bytes, "a transfer ended with {outcome:?}");
        if let Some(histogram) = &mut self.histogram {
            let sent = request.completion().and_then(|sent| sent.0).context("a request without its time")?;
            histogram.add(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        let (lease, _) = request.into_parts();
        self.idle.push(lease);
        Ok(())
    }
}

/// Where the operations go.
struct Places {
    random: Option<Random>,
    blocks: u64,
    block_bytes: u64,
    next: u64,
}

impl Places {
    fn new(case: &Case, bytes: u64) -> Self {
        let random = case.random.then(Random::default);
        Self { random, blocks: bytes / case.block_bytes, block_bytes: case.block_bytes, next: 0 }
    }

    fn next(&mut self) -> u64 {
        let block = match &mut self.random {
            // The high half of a product: even, and cheaper than a division.
            Some(random) => ((u128::from(random.next()) * u128::from(self.blocks)) >> 64) as u64,
            None => {
                let block = self.next;
                self.next = if block + 1 < self.blocks { block + 1 } else { 0 };
                block
            }
        };
        block * self.block_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lie_on_the_device() {
        let case = |random| Case { write: false, random, block_bytes: 4096, depth: 1 };
        let mut places = Places::new(&case(true), 8 * 4096 + 5);
        let mut seen = [0; 8];
        for _ in 0..800 {
            let place = places.next();
            assert_eq!(place % 4096, 0);
            seen[(place / 4096) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (50..150).contains(count)), "{seen:?}");
        let mut places = Places::new(&case(false), 2 * 4096);
        assert_eq!([places.next(), places.next(), places.next()], [0, 4096, 0]);
    }
}
