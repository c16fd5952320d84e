//! What the tests of the checker share: short calls, and findings compared with the lines of the calls.

use scatterlist::map::DmaDirection;
use scatterlist::map::checked::{Finding, Ledger, MapCall, MapKind, Mapping, Place, Span};
use scatterlist::{Addr, BusAddr, Limits};

/// The memory behind a bus address: any fixed distance will do.
pub(crate) const MEMORY: u64 = 0x10_0000;

pub(crate) fn bus(addr: u64) -> BusAddr {
    BusAddr::new(addr)
}

pub(crate) fn ledger() -> Ledger {
    Ledger::new(Limits::default())
}

/// The spans of the memory that the device sees at `bus`.
pub(crate) fn memory(bus: &[Span]) -> Vec<Span> {
    bus.iter().map(|span| Span::new(span.addr + MEMORY, span.len)).collect()
}

/// Maps what the device sees at `addr`.
#[track_caller]
pub(crate) fn map(
    ledger: &mut Ledger,
    kind: MapKind,
    addr: u64,
    len: u64,
    direction: DmaDirection,
) -> Mapping {
    let bus = [Span::new(addr, len)];
    assert_eq!(ledger.map(MapCall::new(kind, direction, &memory(&bus), &bus)), []);
    *ledger.live().last().expect("it is recorded")
}

/// As [`map`], and looks whether it failed.
#[track_caller]
pub(crate) fn map_checked(
    ledger: &mut Ledger,
    kind: MapKind,
    addr: u64,
    len: u64,
    direction: DmaDirection,
) -> Mapping {
    let mapping = map(ledger, kind, addr, len, direction);
    ledger.check_error(bus(addr));
    mapping
}

/// The line of a call and its findings.
macro_rules! told {
    ($call:expr) => {
        (line!(), $call.to_vec())
    };
}
pub(crate) use told;

/// Compares findings with those expected, which are made with the place of the call; that place is on its line.
#[track_caller]
pub(crate) fn expect((line, found): (u32, Vec<Finding>), expected: impl FnOnce(Place) -> Vec<Finding>) {
    let place = found.first().expect("a finding").place();
    assert_eq!(found, expected(place), "{}", found.iter().map(Finding::to_string).collect::<String>());
    assert!(place.file().contains("debug") && place.line() == line, "{place} is not on line {line}");
}
