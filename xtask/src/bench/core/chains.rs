#![expect(unsafe_code, reason = "leases over addresses that nobody ever reads")]
//! What a chain is for: merging queued requests, splitting over stripes, putting data before and after.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use scatterlist::request::Stripes;
use scatterlist::{Direction, Lease, Limits, PhysAddr, Position, Request, ScatterList, Segment};

use super::super::report::Report;
use super::{PAGE, Subject, median_of, segments};

type Owner = Arc<()>;
type Queued = Request<PhysAddr, Owner, ()>;
type Plain = Vec<Segment<PhysAddr>>;

const SIZES: [u64; 3] = [16, 256, 65_536];
const MEMBERS: usize = 8;

const MERGE: &str = "merge two requests";
const STRIPE: &str = "split over 8 stripes";
const WRAP: &str = "header and trailer";

fn name(what: &str, size: u64) -> String {
    format!("{what} of {size}")
}

pub(super) fn subjects() -> Result<Vec<Subject>> {
    let mut all = Vec::new();
    for size in SIZES {
        // As many as make a sample worth timing, within 64 MiB of lists.
        let count = usize::try_from((1 << 21) / size).unwrap_or(1).clamp(16, 2048);
        let seed = Seed::new(size)?;
        let (a, b) = (seed.clone(), seed.clone());
        all.push(
            Subject::new(name(MERGE, size), move || {
                let pair = || (a.request(0), a.request(a.bytes));
                batch(count, pair, |(first, second)| first.merge(second, &a.limits).map_err(drop))
            })
            .beside("Vec::extend_from_slice", move || {
                batch(
                    count,
                    || (b.plain(), b.plain()),
                    |(mut first, second)| {
                        first.extend_from_slice(&second);
                        (first, second)
                    },
                )
            }),
        );
        let (a, b) = (seed.clone(), seed.clone());
        let stripe = usize::try_from(size).unwrap_or(0) / MEMBERS;
        let stripes = Stripes::new(a.bytes / 8, MEMBERS).context("stripes")?;
        all.push(
            Subject::new(name(STRIPE, size), move || {
                batch(
                    count,
                    || a.request(0).into_shared(),
                    |request| request.into_stripes(stripes).map_err(drop),
                )
            })
            .beside("Vec::split_off", move || {
                batch(
                    count,
                    || b.plain(),
                    |mut rest| {
                        let mut parts = Vec::with_capacity(MEMBERS);
                        for _ in 1..MEMBERS {
                            let after = rest.split_off(stripe);
                            parts.push(std::mem::replace(&mut rest, after));
                        }
                        parts.push(rest);
                        parts
                    },
                )
            }),
        );
        let (a, b) = (seed.clone(), seed);
        all.push(
            Subject::new(name(WRAP, size), move || {
                let parts = || (a.request(0), a.lease(a.edge(64)), a.lease(a.edge(1)));
                batch(count, parts, |(request, header, trailer)| {
                    let request = request.with_header(header).map_err(drop)?;
                    request.with_trailer(trailer).map_err(drop)
                })
            })
            .beside("Vec::insert(0), push", move || {
                batch(
                    count,
                    || b.plain(),
                    |mut plain| {
                        plain.insert(0, b.edge);
                        plain.push(b.edge);
                        plain
                    },
                )
            }),
        );
    }
    Ok(all)
}

/// Reports by how much the cost grows from the smallest list to the largest.
pub(super) fn growth(subjects: &[Subject], report: &mut Report) {
    for what in [MERGE, STRIPE, WRAP] {
        let [small, .., large] = SIZES.map(|size| median_of(subjects, &name(what, size)));
        report.figure(format!("{what}, 65,536 over 16"), "times", &[large / small]);
        report
            .gate(None, format!("{what}: {:.1} times the cost for 4,096 times the segments", large / small));
    }
}

/// Times `work` over `count` inputs made beforehand; results are dropped afterwards.
fn batch<I, O>(count: usize, mut make: impl FnMut() -> I, mut work: impl FnMut(I) -> O) -> f64 {
    let inputs: Vec<I> = std::iter::repeat_with(&mut make).take(count).collect();
    let mut outputs: Vec<O> = Vec::with_capacity(count);
    let start = Instant::now();
    for input in inputs {
        outputs.push(work(black_box(input)));
    }
    let elapsed = start.elapsed();
    drop(black_box(outputs));
    elapsed.as_nanos() as f64 / count as f64
}

/// What each input of a sample is copied from.
#[derive(Clone)]
struct Seed {
    segments: Plain,
    bytes: u64,
    owner: Owner,
    edge: Segment<PhysAddr>,
    limits: Limits,
}

impl Seed {
    fn new(size: u64) -> Result<Self> {
        let segments = segments(size)?;
        let edge = *segments.first().context("no segments")?;
        let (bytes, limits) = (size * PAGE, Limits::default());
        Ok(Self { segments, bytes, owner: Arc::new(()), edge, limits })
    }

    fn lease(&self, list: ScatterList<PhysAddr>) -> Lease<PhysAddr, Owner> {
        // SAFETY: the addresses are numbers of a bench; nobody reads them, so no memory needs to be there.
        unsafe { Lease::from_raw(list, self.owner.clone()) }
    }

    fn request(&self, at: u64) -> Queued {
        // Built as producers build it, not cloned: a clone has no room for one segment more.
        let mut list = ScatterList::new();
        for segment in &self.segments {
            let appended = list.append(*segment);
            debug_assert!(appended.is_ok());
        }
        Request::new(self.lease(list), Direction::ToDevice, Position::At(at), ())
    }

    fn plain(&self) -> Plain {
        self.segments.clone()
    }

    fn edge(&self, bytes: u64) -> ScatterList<PhysAddr> {
        ScatterList::from(self.edge.head(bytes))
    }
}
