//! Mapping: a list made reachable at an offset and given back, with and without the checker around the device.
//!
//! The checker is a type around a device; a device without it has none of its code. So the first subject is what every user
//! pays, beside the same written by hand, and the second is told for information.
#![expect(unsafe_code, reason = "leases over addresses that nobody ever reads")]

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use scatterlist::map::checked::Checked;
use scatterlist::map::{Direct, DmaDevice, HeapMemory, Offset, ToDevice};
use scatterlist::{Addr as _, BusAddr, CpuAddr, DmaTarget, Lease, LimitId, Limits, ScatterList, Segment};

use super::{PAGE, Subject, scattered, time_each};

const PAGES: u64 = 32;
const OFFSET: u64 = 1 << 40;

type Pages = Lease<CpuAddr, ()>;

fn direct() -> Result<Direct<HeapMemory>> {
    let limits = Limits::builder().hard(LimitId::AddrAlign, 4).hard(LimitId::SegmentsMax, 128).build()?;
    Direct::new(HeapMemory::default(), Offset::Up(OFFSET), &limits).context("a direct device")
}

fn pages() -> Result<Pages> {
    let segments = scattered(PAGES).map(|page| Segment::new(CpuAddr::new(page), PAGE));
    let list = ScatterList::from_segments(segments.collect::<Result<Vec<_>, _>>()?)?;
    // SAFETY: the addresses are numbers of a bench; nobody reads them, so no memory needs to be there.
    Ok(unsafe { Lease::from_raw(list, ()) })
}

pub(super) fn subjects() -> Result<Vec<Subject>> {
    let (device, checked) = (Arc::new(direct()?), Arc::new(Checked::new(direct()?, |_| {})));
    let name = "map and unmap 32 pages, direct";
    let raw: Vec<u64> = scattered(PAGES).collect();
    let by_hand = move || {
        time_each(5_000, || {
            let bus: Vec<(u64, u64)> =
                black_box(&raw).iter().map(|page| (page + black_box(OFFSET), PAGE)).collect();
            black_box(&bus);
        })
    };
    Ok(vec![
        Subject::new(name, sample(device.target(), pages()?)).beside("Vec<(u64, u64)>", by_hand),
        Subject::new(format!("{name}, checked"), sample(checked.target(), pages()?)),
    ])
}

/// Maps and unmaps through the safe calls; what the device is told is the first bus address.
fn sample<D>(target: DmaTarget<D>, pages: Pages) -> impl FnMut() -> f64
where
    D: DmaDevice<Addr = CpuAddr>,
{
    let mut pages = Some(pages);
    move || {
        time_each(5_000, || {
            let lease = pages.take().and_then(|lease| target.map(black_box(lease), ToDevice).ok());
            pages = lease.map(|mapped| {
                let flight = mapped.into_flight();
                black_box(flight.bus().first().map(|segment| segment.addr()) == Some(BusAddr::new(0)));
                // SAFETY: there is no device.
                unsafe { flight.complete() }.unmap()
            });
        })
    }
}
