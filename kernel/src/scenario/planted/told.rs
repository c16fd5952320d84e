//! Mistakes that Rust has no call for: a list with an empty entry, a count beside the list, an error to look for in an address.
//!
//! A driver of another language makes them; what it does is told to a record, with addresses of this machine.

use alloc::vec::Vec;

use scatterlist::map::DmaDirection::ToDevice;
use scatterlist::map::checked::{Call, Finding, Ledger, MapCall, MapKind, Span};
use scatterlist::{Addr as _, BusAddr, Limits, Segments as _};

use super::{Bench, Failure, failure};
use crate::memory::FRAME_LEN;

/// Shows a frame of its own and an empty record to `driver`.
fn told(bench: &Bench<'_>, driver: impl FnOnce(&mut Ledger, u64)) -> Result<Vec<Finding>, Failure> {
    let lease = bench.lease(FRAME_LEN)?;
    let frame = lease.list().segments().next().ok_or_else(|| failure("a lease of nothing"))?;
    let mut ledger = Ledger::new(Limits::default());
    driver(&mut ledger, frame.addr().raw());
    ledger.release();
    Ok(ledger.take_findings())
}

/// The last entry of a list was never filled.
pub(super) fn an_empty_entry(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    told(bench, |ledger, frame| {
        let list = [Span::new(frame, 512), Span::new(frame, 0)];
        ledger.map(MapCall::new(MapKind::List, ToDevice, &list, &[Span::new(frame, 512)]));
        ledger.unmap(Call::list(BusAddr::new(frame), 2, ToDevice));
    })
}

/// Two entries became one bus segment, and the driver unmaps with the one.
pub(super) fn the_count_of_the_bus(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    told(bench, |ledger, frame| {
        let list = [Span::new(frame, 512), Span::new(frame.saturating_add(512), 512)];
        ledger.map(MapCall::new(MapKind::List, ToDevice, &list, &[Span::new(frame, 1024)]));
        ledger.unmap(Call::list(BusAddr::new(frame), 1, ToDevice));
    })
}

/// Uses an address that could stand for a failure.
pub(super) fn never_looks(bench: &Bench<'_>) -> Result<Vec<Finding>, Failure> {
    told(bench, |ledger, frame| {
        let span = [Span::new(frame, 512)];
        ledger.map(MapCall::new(MapKind::Single, ToDevice, &span, &span));
        ledger.device_access(BusAddr::new(frame), 512, false);
        ledger.unmap(Call::single(BusAddr::new(frame), 512, ToDevice));
    })
}
