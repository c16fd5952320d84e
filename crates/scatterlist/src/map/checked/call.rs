//! What the [`Ledger`](super::Ledger) is told: [`MapCall`], and [`Call`] for unmapping and syncing.
//!
//! Plain numbers, since a checker must be able to hold what a wrong call passes. CPU-side addresses are whatever the
//! mapped memory is named by (CPU or physical addresses): one kind for one ledger.

use core::fmt;

use crate::map::DmaDirection;
use crate::{Addr, BusAddr, Segment};

/// Which function made a mapping; it must be undone by its counterpart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MapKind {
    /// One buffer by its address.
    Single,
    /// A part of a page, or pages.
    Page,
    /// A list of segments (scatter and gather).
    List,
    /// Memory that device and CPU use at the same time.
    Coherent,
    /// Registers of another device, which are no memory.
    Resource,
}

impl MapKind {
    /// Says whether the caller learns of a failure from the address alone, and so has to check it.
    pub(super) const fn error_is_in_address(self) -> bool {
        matches!(self, Self::Single | Self::Page | Self::Resource)
    }
}

impl fmt::Display for MapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Single => "single",
            Self::Page => "page",
            Self::List => "list",
            Self::Coherent => "coherent",
            Self::Resource => "resource",
        })
    }
}

/// Some bytes by address: unlike a [`Segment`] it may be empty or reach past the last address, which is a finding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Span {
    /// The address of the first byte.
    pub addr: u64,
    /// The length in bytes.
    pub len: u64,
}

impl Span {
    /// Returns `len` bytes at `addr`.
    #[must_use]
    pub const fn new(addr: u64, len: u64) -> Self {
        Self { addr, len }
    }

    /// Says whether there are bytes, none of them past the last address.
    pub(super) const fn is_sound(self) -> bool {
        self.len != 0 && self.addr.checked_add(self.len.saturating_sub(1)).is_some()
    }

    /// The last byte, or the first where there is none; never past the last address.
    pub(super) const fn last(self) -> u64 {
        self.addr.saturating_add(self.len.saturating_sub(1))
    }

    pub(super) const fn contains(self, addr: u64) -> bool {
        self.len != 0 && self.addr <= addr && addr <= self.last()
    }
}

impl<A: Addr> From<Segment<A>> for Span {
    fn from(segment: Segment<A>) -> Self {
        Self { addr: segment.addr().raw(), len: segment.len() }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {:#x}", self.len, self.addr)
    }
}

/// The sum of the bytes.
pub(super) fn bytes_of(spans: &[Span]) -> u64 {
    spans.iter().fold(0, |sum, span| sum.saturating_add(span.len))
}

/// A mapping that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapCall<'a> {
    /// Which function made it.
    pub kind: MapKind,
    /// Which way the bytes go.
    pub direction: DmaDirection,
    /// The memory, in order. For [`MapKind::Resource`] the registers.
    pub cpu: &'a [Span],
    /// The same bytes as the device sees them, in order.
    pub bus: &'a [Span],
    /// How many entries the caller's list had: the number that must be passed again to sync and to unmap it, not
    /// the number of bus segments.
    pub entries: u64,
    /// The caller looks after the caches itself, so sharing a cache line with a live mapping is its own affair.
    pub skip_cpu_sync: bool,
    /// The caller knows already that the mapping did not fail (the back end returned a `Result`).
    pub error_checked: bool,
}

impl<'a> MapCall<'a> {
    /// Returns a mapping of `cpu` to `bus`, with as many entries as there are CPU-side spans.
    #[must_use]
    pub fn new(kind: MapKind, direction: DmaDirection, cpu: &'a [Span], bus: &'a [Span]) -> Self {
        let entries = u64::try_from(cpu.len()).unwrap_or(u64::MAX);
        Self { kind, direction, cpu, bus, entries, skip_cpu_sync: false, error_checked: false }
    }

    /// States how many entries the caller's list had.
    #[must_use]
    pub const fn entries(self, entries: u64) -> Self {
        Self { entries, ..self }
    }

    /// Says that the caller looks after the caches itself.
    #[must_use]
    pub const fn skip_cpu_sync(self) -> Self {
        Self { skip_cpu_sync: true, ..self }
    }

    /// Says that the caller knows that the mapping did not fail.
    #[must_use]
    pub const fn error_checked(self) -> Self {
        Self { error_checked: true, ..self }
    }
}

/// What a caller says of a mapping when it unmaps or syncs it. What is `None` is not compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Which function is called.
    pub kind: MapKind,
    /// The bus address: of the first segment to unmap, of any mapped byte to sync.
    pub bus_addr: BusAddr,
    /// Bytes; for a list those of all segments. `None`: the whole mapping.
    pub len: Option<u64>,
    /// Which way the bytes go.
    pub direction: DmaDirection,
    /// For a list: the number of entries of the caller's list.
    pub entries: Option<u64>,
    /// For coherent memory: its CPU-side address.
    pub cpu_addr: Option<u64>,
}

impl Call {
    const fn new(kind: MapKind, bus_addr: BusAddr, len: Option<u64>, direction: DmaDirection) -> Self {
        Self { kind, bus_addr, len, direction, entries: None, cpu_addr: None }
    }

    /// Names a single buffer, or a part of any mapping to sync.
    #[must_use]
    pub const fn single(bus_addr: BusAddr, len: u64, direction: DmaDirection) -> Self {
        Self::new(MapKind::Single, bus_addr, Some(len), direction)
    }

    /// Names a mapping of pages.
    #[must_use]
    pub const fn page(bus_addr: BusAddr, len: u64, direction: DmaDirection) -> Self {
        Self::new(MapKind::Page, bus_addr, Some(len), direction)
    }

    /// Names a list by its first bus address and the number of entries of the caller's list.
    #[must_use]
    pub const fn list(bus_addr: BusAddr, entries: u64, direction: DmaDirection) -> Self {
        Self { entries: Some(entries), ..Self::new(MapKind::List, bus_addr, None, direction) }
    }

    /// Names coherent memory by both its addresses.
    #[must_use]
    pub const fn coherent(cpu_addr: u64, bus_addr: BusAddr, len: u64) -> Self {
        let call = Self::new(MapKind::Coherent, bus_addr, Some(len), DmaDirection::Both);
        Self { cpu_addr: Some(cpu_addr), ..call }
    }

    /// Names mapped registers.
    #[must_use]
    pub const fn resource(bus_addr: BusAddr, len: u64, direction: DmaDirection) -> Self {
        Self::new(MapKind::Resource, bus_addr, Some(len), direction)
    }

    /// States the bytes as well.
    #[must_use]
    pub const fn len(self, len: u64) -> Self {
        Self { len: Some(len), ..self }
    }
}

/// A mapping by one of its two addresses, as the one who saw the CPU touch it knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Touched {
    /// By an address of the bus.
    Bus(BusAddr),
    /// By an address of the CPU's side.
    Cpu(u64),
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(addr) => addr.fmt(f),
            Self::Cpu(addr) => write!(f, "address {addr:#x}"),
        }
    }
}
