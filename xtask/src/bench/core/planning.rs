//! Planning: a list that fits, and one of 100,000 segments that is cut into requests.

use std::hint::black_box;

use anyhow::{Context as _, Result};
use scatterlist::plan::{Policy, plan};
use scatterlist::{LimitId, Limits, PhysAddr, Position, ScatterList, Segment, Segments};

use super::{Subject, segments, time_each};

const MANY: u64 = 100_000;

/// An NVMe device as its identify data describe it: PRPs, 512 KiB a command, 512-byte blocks.
fn nvme() -> Result<Limits> {
    let limits = Limits::builder()
        .hard(LimitId::GapBoundary, 4096)
        .hard(LimitId::AddrAlign, 4)
        .hard(LimitId::SegmentsMax, 128)
        .hard(LimitId::TransferLenMax, 512 << 10)
        .hard(LimitId::PositionAlign, 512)
        .build();
    limits.context("the limits of NVMe")
}

pub(super) fn subjects() -> Result<Vec<Subject>> {
    let limits = nvme()?;
    let few = ScatterList::from_segments(segments(32)?).context("a list of 32")?;
    let many = ScatterList::from_segments(segments(MANY)?).context("a list of many")?;
    let few_slice = segments(32)?;
    let many_slice = segments(MANY)?;
    let twin = few.clone();
    Ok(vec![
        Subject::new("32 pages planned", move || time_each(20_000, || first(black_box(&few), &limits)))
            .below(20.0),
        Subject::new("32 pages planned, pieces walked", move || {
            time_each(10_000, || walk(black_box(&twin), &limits))
        }),
        Subject::new("32 pages planned from a slice, pieces walked", move || {
            time_each(5_000, || walk(black_box(&few_slice[..]), &limits))
        }),
        Subject::new("100 k pages planned, per page", move || {
            time_each(1, || requests(black_box(&many), &limits)) / MANY as f64
        }),
        Subject::new("100 k pages planned from a slice, per page", move || {
            time_each(1, || requests(black_box(&many_slice[..]), &limits)) / MANY as f64
        }),
    ])
}

fn first(list: &ScatterList<PhysAddr>, limits: &Limits) {
    let ready = plan(list, Position::At(0), black_box(limits), Policy::SplitOrBounce).next();
    black_box(ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.len_bytes() > 0)));
}

fn walk<S: Segments<Addr = PhysAddr> + ?Sized>(list: &S, limits: &Limits) {
    for ready in plan(list, Position::At(0), black_box(limits), Policy::SplitOrBounce) {
        let Ok(ready) = ready else { continue };
        for piece in ready.pieces() {
            black_box::<u64>(piece.len_bytes());
        }
    }
}

fn requests<S: Segments<Addr = PhysAddr> + ?Sized>(list: &S, limits: &Limits) {
    let planned = plan(list, Position::At(0), black_box(limits), Policy::SplitOrBounce);
    black_box(planned.filter(Result::is_ok).count());
}

const _: () = assert!(size_of::<Segment<PhysAddr>>() == 16);
