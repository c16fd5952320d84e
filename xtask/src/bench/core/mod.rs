//! `cargo xtask bench core`: the list and the planner, in nanoseconds, beside plain vectors of segments.
//!
//! Everything runs in one process on warm memory. A round takes one sample of each subject, ours and its
//! peer one after the other, each sample a loop long enough for the clock; the figures are medians over all
//! rounds, so a noisy moment is shared and then dropped. Beside them stands the best round, which a machine
//! that others work on disturbed least. What is made and dropped around an operation is not timed
//! unless the name says so.

mod append;
mod chains;
mod descriptors;
mod iova;
mod mapping;
mod planning;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use scatterlist::{Addr as _, PhysAddr, Segment};

use super::report::{Report, Table};
use super::stats::{median, range};
use crate::args::options;
use crate::workspace::Workspace;

/// Takes one sample: nanoseconds of one operation.
type Sample = Box<dyn FnMut() -> f64>;

/// One thing that is measured, with what its figures must keep.
struct Subject {
    name: String,
    ours: Sample,
    peer: Option<(&'static str, Sample)>,
    /// The figure must be below this.
    below_ns: Option<f64>,
    ours_ns: Vec<f64>,
    peer_ns: Vec<f64>,
}

impl Subject {
    fn new(name: impl Into<String>, ours: impl FnMut() -> f64 + 'static) -> Self {
        let name = name.into();
        Self {
            name,
            ours: Box::new(ours),
            peer: None,
            below_ns: None,
            ours_ns: Vec::new(),
            peer_ns: Vec::new(),
        }
    }

    fn beside(mut self, peer: &'static str, sample: impl FnMut() -> f64 + 'static) -> Self {
        self.peer = Some((peer, Box::new(sample)));
        self
    }

    const fn below(mut self, ns: f64) -> Self {
        self.below_ns = Some(ns);
        self
    }
}

pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    let mut rounds = 21_u32;
    for (_, value) in options(words, &["--rounds"])? {
        rounds = value.parse().with_context(|| format!("--rounds {value}"))?;
    }
    ensure!(rounds > 0, "--rounds must be more than 0");
    let mut subjects = append::subjects()?;
    subjects.extend(mapping::subjects()?);
    subjects.extend(planning::subjects()?);
    subjects.extend(descriptors::subjects()?);
    subjects.extend(chains::subjects()?);
    subjects.extend(iova::subjects()?);
    println!("{rounds} rounds of {} subjects", subjects.len());
    for _ in 0..rounds {
        for subject in &mut subjects {
            subject.ours_ns.push((subject.ours)());
            if let Some((_, peer)) = &mut subject.peer {
                subject.peer_ns.push(peer());
            }
        }
    }

    let mut report = Report::default();
    let mut table = Table::new(&["ns per operation", "ours", "best", "peer", "ours/peer", "peer is"]);
    for subject in &subjects {
        let ours = median(&subject.ours_ns);
        let (best, _) = range(&subject.ours_ns);
        let mut row = vec![subject.name.clone(), format!("{ours:.1}"), format!("{best:.1}")];
        if let Some((peer, _)) = &subject.peer {
            let ratio = report.beside(&subject.name, "ns", &subject.ours_ns, peer, &subject.peer_ns);
            row.extend([format!("{:.1}", median(&subject.peer_ns)), format!("{ratio:.2}")]);
            row.push((*peer).to_owned());
        } else {
            report.figure(&subject.name, "ns", &subject.ours_ns);
        }
        table.row(row);
        if let Some(below) = subject.below_ns {
            let text = format!("{}: {ours:.1} ns (best {best:.1}), must be below {below}", subject.name);
            report.gate(Some(ours < below), text);
        }
    }
    append::flatness(&subjects, &mut report);
    chains::growth(&subjects, &mut report);
    let workspace = Workspace::find()?;
    let file = workspace.target.join("bench/core.json");
    report.write(&file)?;
    print!("\n{table}\n{report}");
    println!("\nwritten to {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// Nanoseconds of each of `count` runs of `work`.
fn time_each(count: u64, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        work();
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

/// The median of the subject `name`, which was measured.
fn median_of(subjects: &[Subject], name: &str) -> f64 {
    subjects.iter().find(|subject| subject.name == name).map_or(f64::NAN, |found| median(&found.ours_ns))
}

const PAGE: u64 = 4096;

/// Pages that are not adjacent to each other.
fn scattered(count: u64) -> impl Iterator<Item = u64> {
    (1..=count).map(|index| index * 3 * PAGE)
}

fn segments(count: u64) -> Result<Vec<Segment<PhysAddr>>> {
    let segment = |addr| Segment::new(PhysAddr::new(addr), PAGE);
    scattered(count).map(segment).collect::<Result<_, _>>().context("a page is no segment")
}
