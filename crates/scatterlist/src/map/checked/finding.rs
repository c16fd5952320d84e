//! [`Finding`]: one misuse, with its numbers, the place of the call and the place of the mapping.
//!
//! A value, so that a test can assert it; its text is one sentence. Addresses are hexadecimal, lengths decimal bytes.

use core::fmt;
use core::panic::Location;

use super::call::{MapKind, Span, Touched};
use super::regions::Region;
use crate::BusAddr;
use crate::map::DmaDirection;
use crate::plan::Why;

/// Where in the source a call was made.
pub type Place = &'static Location<'static>;

/// A mapping as a finding shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mapping {
    /// Which function made it.
    pub kind: MapKind,
    /// Which way its bytes go.
    pub direction: DmaDirection,
    /// Its first bus address.
    pub bus_addr: BusAddr,
    /// Its first CPU-side address.
    pub cpu_addr: u64,
    /// Its bytes.
    pub bytes: u64,
    /// How many entries the caller's list had.
    pub entries: u64,
    /// Where it was made.
    pub place: Place,
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, direction, bus_addr, bytes, place, .. } = self;
        write!(
            f,
            "the {kind} mapping of {bytes} bytes at {bus_addr} ({}, made at {place})",
            Named(*direction)
        )
    }
}

/// A mapping that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Freed {
    /// What it was.
    pub mapping: Mapping,
    /// Where it was unmapped, or its device released.
    pub place: Place,
}

/// For whom a buffer is synced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SyncFor {
    /// The CPU is to touch it.
    Cpu,
    /// The device is to touch it.
    Device,
}

impl fmt::Display for SyncFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpu => "the CPU",
            Self::Device => "the device",
        })
    }
}

/// Which of the two lists of a mapping a span stands in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SpanSide {
    /// The memory.
    Cpu,
    /// What the device sees.
    Bus,
}

impl fmt::Display for SpanSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpu => "cpu",
            Self::Bus => "bus",
        })
    }
}

/// One misuse.
///
/// The fields mean the same everywhere: `place` is where the wrong call was made (a [`Mapping`] and a [`Freed`] have
/// their own); `mapping` is the mapping that the call was about; `kind`, `direction`, `len` (bytes), `entries`,
/// `cpu_addr` and `bus_addr` are what the caller passed; `index` and `span` tell which segment of the mapping;
/// `fits` is how many bytes of the mapping are left from `bus_addr` on; `writes` says that the device wrote, else it
/// read; `freed` is the mapping that had the address last, where the ledger still knows; `first` is the first bus
/// address that the device may use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are explained once, above")]
#[non_exhaustive]
pub enum Finding {
    /// Bytes that are none, or that reach past the last address, were mapped.
    #[error(
        "{place}: {side} segment {index} of a {kind} mapping, {span}, is empty or reaches past the last address"
    )]
    SpanUnsound { place: Place, kind: MapKind, side: SpanSide, index: usize, span: Span },
    /// A mapping has no bus address at all, so it is not recorded.
    #[error("{place}: a {kind} mapping of {bytes} bytes has no bus segment")]
    MapEmpty { place: Place, kind: MapKind, bytes: u64 },
    /// The device sees more or fewer bytes than were mapped.
    #[error("{place}: {cpu_bytes} bytes of memory are mapped as {bus_bytes} bytes of the bus")]
    MapBytes { place: Place, kind: MapKind, cpu_bytes: u64, bus_bytes: u64 },
    /// Memory was mapped that must not be: a stack, code, constants, what only looks contiguous, or no memory.
    #[error("{place}: a {kind} mapping takes {span}, which is {region}")]
    MapRegion { place: Place, kind: MapKind, region: Region, span: Span },
    /// A bus segment breaks a limit of the device.
    #[error("{place}: bus segment {index}, {span}, of a {kind} mapping breaks a limit of the device: {why}")]
    MapLimit { place: Place, kind: MapKind, index: usize, span: Span, why: Why },
    /// A bus segment does not keep the low address bits of its memory, as the device needs.
    #[error(
        "{place}: bus segment {index}, {span}, does not keep the low bits {mask:#x} of the memory at {cpu_addr:#x}"
    )]
    MapOffset { place: Place, index: usize, span: Span, cpu_addr: u64, mask: u64 },
    /// Two live mappings share a cache line, and a device writes one of them.
    #[error("{place}: {mapping} shares the cache line of {line_len} bytes at {line_addr:#x} with {other}")]
    LineShared { place: Place, line_addr: u64, line_len: u64, mapping: Mapping, other: Mapping },
    /// More live mappings that a device writes share a cache line than can be right.
    #[error(
        "{place}: {mapping} overlaps {overlaps} others in the cache line at {line_addr:#x}, the most is {max}"
    )]
    LineOverlaps { place: Place, line_addr: u64, overlaps: u64, max: u64, mapping: Mapping },
    /// The record is full; this mapping is not in it. Until the device is released only what is certain is found.
    #[error("{place}: a mapping of {spans} segments is not recorded: {live} of at most {max} are live")]
    RecordFull { place: Place, spans: usize, live: usize, max: usize },

    /// The error value was unmapped.
    #[error("{place}: unmaps {addr:#x}, which stands for a failed mapping{}", AfterFailure(.failed))]
    UnmapError { place: Place, addr: u64, failed: Option<Place> },
    /// What is unmapped does not start a live mapping: never mapped, unmapped already, or the middle of one.
    #[error("{place}: unmaps {bus_addr}, where no mapping starts{}{}", Inside(.inside), Was(.freed))]
    UnmapUnknown { place: Place, bus_addr: BusAddr, inside: Option<Mapping>, freed: Option<Freed> },
    /// It was unmapped with another size.
    #[error("{place}: unmaps {len} bytes of {mapping}")]
    UnmapLen { place: Place, len: u64, mapping: Mapping },
    /// It was unmapped by the counterpart of another function.
    #[error("{place}: unmaps as {kind} {mapping}")]
    UnmapKind { place: Place, kind: MapKind, mapping: Mapping },
    /// Coherent memory was freed with another CPU-side address.
    #[error("{place}: frees cpu-side address {cpu_addr:#x}, but {:#x} belongs to {mapping}", .mapping.cpu_addr)]
    UnmapCpuAddr { place: Place, cpu_addr: u64, mapping: Mapping },
    /// A list was unmapped with another number of entries than it was mapped with.
    #[error("{place}: unmaps {entries} of {} entries of {mapping}", .mapping.entries)]
    UnmapEntries { place: Place, entries: u64, mapping: Mapping },
    /// It was unmapped with another direction.
    #[error("{place}: unmaps as {} {mapping}", Named(*.direction))]
    UnmapDirection { place: Place, direction: DmaDirection, mapping: Mapping },
    /// Nobody ever looked whether the mapping had failed.
    #[error("{place}: nobody checked for failure of {mapping} before it was unmapped")]
    ErrorUnchecked { place: Place, mapping: Mapping },
    /// A mapping was still live when its device was released.
    #[error("{place}: the device is released with {live} mappings, among them {mapping}")]
    Leaked { place: Place, live: usize, mapping: Mapping },

    /// A mapping is unmapped or synced with a list of other memory than was mapped.
    #[error("{place}: passes segment {index}, {span}, which is not that of {mapping}")]
    OtherMemory { place: Place, index: usize, span: Span, mapping: Mapping },
    /// What a device may hold was dropped, so it stays taken for good. The place is that of the mapping, where it is
    /// known.
    #[error("{place}: {what} of {bytes} bytes was dropped while a device may hold it{}", Held(.mapping))]
    DroppedInFlight {
        place: Place,
        what: &'static str,
        bytes: u64,
        first: Option<BusAddr>,
        mapping: Option<Mapping>,
    },

    /// What is synced is not mapped.
    #[error("{place}: syncs {bus_addr} for {sync_for}, which is not mapped{}", Was(.freed))]
    SyncUnknown { place: Place, sync_for: SyncFor, bus_addr: BusAddr, freed: Option<Freed> },
    /// What is synced begins in a mapping but ends past it.
    #[error(
        "{place}: syncs {len} bytes from {bus_addr} on for {sync_for}, but only {fits} are left of {mapping}"
    )]
    SyncRange { place: Place, sync_for: SyncFor, bus_addr: BusAddr, len: u64, fits: u64, mapping: Mapping },
    /// It was synced with another direction.
    #[error("{place}: syncs as {} for {sync_for} {mapping}", Named(*.direction))]
    SyncDirection { place: Place, sync_for: SyncFor, direction: DmaDirection, mapping: Mapping },
    /// The CPU is to see what the device wrote, but the device only reads.
    #[error("{place}: syncs for the CPU what the device only reads, {mapping}")]
    SyncReadOnly { place: Place, mapping: Mapping },
    /// The device is to see what the CPU wrote, but the device only writes.
    #[error("{place}: syncs for the device what the device only writes, {mapping}")]
    SyncWriteOnly { place: Place, mapping: Mapping },
    /// A list was synced with another number of entries than it was mapped with.
    #[error("{place}: syncs {entries} of {} entries for {sync_for} of {mapping}", .mapping.entries)]
    SyncEntries { place: Place, sync_for: SyncFor, entries: u64, mapping: Mapping },

    /// The device touched what is not mapped, or is no longer.
    #[error("{place}: the device {} {len} bytes at {bus_addr}, which is not mapped{}", Verb(*.writes), Was(.freed))]
    DeviceUnmapped { place: Place, bus_addr: BusAddr, len: u64, writes: bool, freed: Option<Freed> },
    /// The device began in a mapping and went on past it.
    #[error(
        "{place}: the device {} {len} bytes from {bus_addr} on, but only {fits} are left of {mapping}",
        Verb(*.writes)
    )]
    DeviceOutside { place: Place, bus_addr: BusAddr, len: u64, fits: u64, writes: bool, mapping: Mapping },
    /// The device read what was mapped for it to write, or the other way round.
    #[error("{place}: the device {} {len} bytes at {bus_addr} against the direction of {mapping}", Verb(*.writes))]
    DeviceDirection { place: Place, bus_addr: BusAddr, len: u64, writes: bool, mapping: Mapping },

    /// The CPU wrote into memory while the device owned it.
    #[error("{place}: the CPU wrote byte {offset} from {at} on while the device owned {}", Maybe(.mapping))]
    CpuWrote { place: Place, at: Touched, offset: u64, mapping: Option<Mapping> },
    /// The CPU read what the device wrote without a sync, and so may have seen old bytes.
    #[error("{place}: the CPU read byte {offset} from {at} on without a sync of {}", Maybe(.mapping))]
    CpuReadUnsynced { place: Place, at: Touched, offset: u64, mapping: Option<Mapping> },
}

/// The direction in words.
struct Named(DmaDirection);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            DmaDirection::ToDevice => "to the device",
            DmaDirection::FromDevice => "from the device",
            DmaDirection::Both => "both ways",
        })
    }
}

/// What the device does.
struct Verb(bool);

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "writes" } else { "reads" })
    }
}

struct Was<'a>(&'a Option<Freed>);

impl fmt::Display for Was<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Freed { mapping, place }) => write!(f, "; {mapping} was unmapped at {place}"),
            None => Ok(()),
        }
    }
}

struct Inside<'a>(&'a Option<Mapping>);

impl fmt::Display for Inside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(mapping) => write!(f, "; it lies in {mapping}"),
            None => Ok(()),
        }
    }
}

struct AfterFailure<'a>(&'a Option<Place>);

impl fmt::Display for AfterFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => write!(f, "; the last one failed at {place}"),
            None => Ok(()),
        }
    }
}

struct Held<'a>(&'a Option<Mapping>);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(mapping) => write!(f, ": {mapping}"),
            None => Ok(()),
        }
    }
}

struct Maybe<'a>(&'a Option<Mapping>);

impl fmt::Display for Maybe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(mapping) => mapping.fmt(f),
            None => f.write_str("it, which is no mapping that is recorded"),
        }
    }
}

impl Finding {
    /// Returns where the wrong call was made.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::SpanUnsound { place, .. }
            | Self::MapEmpty { place, .. }
            | Self::MapBytes { place, .. }
            | Self::MapRegion { place, .. }
            | Self::MapLimit { place, .. }
            | Self::MapOffset { place, .. }
            | Self::LineShared { place, .. }
            | Self::LineOverlaps { place, .. }
            | Self::RecordFull { place, .. }
            | Self::UnmapError { place, .. }
            | Self::UnmapUnknown { place, .. }
            | Self::UnmapLen { place, .. }
            | Self::UnmapKind { place, .. }
            | Self::UnmapCpuAddr { place, .. }
            | Self::UnmapEntries { place, .. }
            | Self::UnmapDirection { place, .. }
            | Self::ErrorUnchecked { place, .. }
            | Self::Leaked { place, .. }
            | Self::OtherMemory { place, .. }
            | Self::DroppedInFlight { place, .. }
            | Self::SyncUnknown { place, .. }
            | Self::SyncRange { place, .. }
            | Self::SyncDirection { place, .. }
            | Self::SyncReadOnly { place, .. }
            | Self::SyncWriteOnly { place, .. }
            | Self::SyncEntries { place, .. }
            | Self::DeviceUnmapped { place, .. }
            | Self::DeviceOutside { place, .. }
            | Self::DeviceDirection { place, .. }
            | Self::CpuWrote { place, .. }
            | Self::CpuReadUnsynced { place, .. } => place,
        }
    }
}
