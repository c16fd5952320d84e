//! [`Backend`]: what stands between a list and a device: an offset, an IOMMU, a bounce pool, a checker.
//!
//! Implemented by back ends, called by the safe layer above ([`DmaDevice`](super::DmaDevice) and
//! [`DmaTarget`](crate::DmaTarget)), which owns the memory and keeps the order of calls. Nothing here knows a bus, and nothing
//! here allocates: bus segments go to a [`BusSink`].
#![expect(unsafe_code, reason = "a trait that promises where a device reads and writes")]

use core::fmt;
use core::ops::Range;
use core::panic::Location;

use super::direction::DmaDirection;
use super::memory::{CoherentLayout, Leak, RawCoherent};
use crate::plan::{PlanError, Policy, plan};
use crate::{Addr, BusAddr, CpuAddr, LimitId, Limits, Position, Segment, Segments};

/// Whether mapping and unmapping also hand the bytes over between CPU and device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum CpuSync {
    /// They do.
    #[default]
    Whole,
    /// They do not: the caller syncs the parts that it touches.
    Skip,
}

/// What one mapping is made under.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The rules for memory that the device keeps, in bus addresses.
    pub bus_limits: &'a Limits,
    /// The same rules in the addresses of the list, see [`Backend::list_limits`].
    pub list_limits: &'a Limits,
    /// How the mapping is used.
    pub usage: Usage,
}

impl Terms<'_> {
    /// Checks that bus segments keep the limits as one transfer.
    ///
    /// # Errors
    /// [`MapError::Limit`] with the limit that they break.
    pub fn check<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S) -> Result<(), MapError> {
        match plan(bus, Position::Stream, self.bus_limits, Policy::WholeOrError).next() {
            Some(Err(error)) => Err(MapError::Limit(error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

/// How one mapping is used: what stays with it to its end.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Which way the bytes go.
    pub direction: DmaDirection,
    /// Whether the bytes are handed over too.
    pub sync: CpuSync,
    /// Whether the target's reserve may be used where there is nothing else, see [`Backend::reserve`].
    pub reserved: bool,
    /// Where the call came from.
    pub place: &'static Location<'static>,
}

/// Takes the bus segments of a mapping, in order.
pub trait BusSink {
    /// Takes the next segment.
    ///
    /// # Errors
    /// [`MapError::Shortage`] where there is no room for it.
    fn put(&mut self, segment: Segment<BusAddr>) -> Result<(), MapError>;

    /// Is told that about so many segments come, to make room at once. What comes may be more or less.
    #[inline]
    fn expect(&mut self, _segments: u64) {}
}

#[cfg(feature = "alloc")]
impl BusSink for crate::ScatterList<BusAddr> {
    #[inline]
    fn put(&mut self, segment: Segment<BusAddr>) -> Result<(), MapError> {
        self.append(segment).map(|_| ()).map_err(|error| MapError::TooLong { bytes: error.bytes })
    }

    #[inline]
    fn expect(&mut self, segments: u64) {
        self.reserve(usize::try_from(segments).unwrap_or(0));
    }
}

/// A sink over a slice of the caller's.
#[derive(Debug)]
pub struct BusSlots<'a> {
    slots: &'a mut [Segment<BusAddr>],
    len: usize,
}

impl<'a> BusSlots<'a> {
    /// Starts with no segment; what `slots` hold is overwritten.
    pub const fn new(slots: &'a mut [Segment<BusAddr>]) -> Self {
        Self { slots, len: 0 }
    }

    /// Returns the segments so far.
    #[must_use]
    pub fn as_slice(&self) -> &[Segment<BusAddr>] {
        self.slots.get(..self.len).unwrap_or_default()
    }
}

impl BusSink for BusSlots<'_> {
    fn put(&mut self, segment: Segment<BusAddr>) -> Result<(), MapError> {
        let last = self.len.checked_sub(1).and_then(|last| self.slots.get_mut(last));
        if let Some(last) = last
            && let Some(joined) = last.joined(segment)
        {
            *last = joined;
            return Ok(());
        }
        let have = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        let place = self.slots.get_mut(self.len).ok_or(MapError::Shortage {
            what: Resource::Slots,
            need: have.saturating_add(1),
            have,
        })?;
        *place = segment;
        self.len = self.len.saturating_add(1);
        Ok(())
    }
}

/// What a mapping can run short of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of bounce memory in one run.
    BounceMemory,
    /// Bytes of bus addresses in one run.
    BusAddresses,
    /// Entries of a page table.
    PageTable,
    /// Bytes of coherent memory.
    CoherentMemory,
    /// Objects of a pool.
    PoolObjects,
    /// Segments that the caller's slice holds.
    Slots,
    /// Mappings that a table holds.
    Mappings,
    /// Mappings that a target keeps a reserve for.
    Reserve,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BounceMemory => "bytes of bounce memory in one run",
            Self::BusAddresses => "bytes of bus addresses in one run",
            Self::PageTable => "page table entries",
            Self::CoherentMemory => "bytes of coherent memory",
            Self::PoolObjects => "pool objects",
            Self::Slots => "segment slots",
            Self::Mappings => "entries of the mapping table",
            Self::Reserve => "reserved mappings",
        })
    }
}

/// Why memory could not be mapped. Nothing is mapped then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The device does not reach the memory, and nothing here bounces.
    #[error("{len} bytes at {addr:#x} are out of the device's reach: it reaches {min:#x} to {max:#x}")]
    OutOfReach {
        /// Where the segment starts, in the list's addresses.
        addr: u64,
        /// Its bytes.
        len: u64,
        /// The lowest address in reach.
        min: u64,
        /// The highest address in reach.
        max: u64,
    },
    /// The memory breaks a limit of the device.
    #[error("the memory breaks a limit of the device: {0}")]
    Limit(#[source] PlanError),
    /// Something is used up, or too small. The same mapping may succeed later.
    #[error("{need} {what} are needed, {have} are there")]
    Shortage {
        /// What there is too little of.
        what: Resource,
        /// How much is needed.
        need: u64,
        /// How much there is.
        have: u64,
    },
    /// The CPU does not see memory that has to be copied.
    #[error("the CPU does not see {len} bytes at {addr:#x}, which must be copied")]
    NotVisible {
        /// Where they start.
        addr: u64,
        /// How many.
        len: u64,
    },
    /// A list of no bytes.
    #[error("a list of no bytes cannot be mapped")]
    Empty,
    /// The bus segments pass 64 bits.
    #[error("bus segments of {bytes} bytes and more pass 64 bits")]
    TooLong {
        /// Bytes so far.
        bytes: u64,
    },
    /// A range that is not within the mapping.
    #[error("bytes {start} to {end} are not within a mapping of {bytes} bytes")]
    OutOfRange {
        /// First byte of the range.
        start: u64,
        /// Byte just past the range.
        end: u64,
        /// Bytes that are mapped.
        bytes: u64,
    },
    /// A layout that no memory can have.
    #[error(
        "coherent memory of {len} bytes at a multiple of {align} cannot be: {align} must be a power of two and {len} at least 1"
    )]
    Layout {
        /// Bytes asked for.
        len: u64,
        /// Alignment asked for.
        align: u64,
    },
    /// The address is in use already.
    #[error("{len} bytes of bus addresses at {bus:#x} are mapped already")]
    InUse {
        /// Where they start.
        bus: u64,
        /// How many.
        len: u64,
    },
    /// A device of a test refuses on demand.
    #[error("the device refuses mapping {count}, as it was told to")]
    Refused {
        /// Which mapping since it was made, from 1.
        count: u64,
    },
}

/// A target that cannot be built over a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A channel that would be looser than what it is derived from.
    #[error("{limit} of {value} ({force}) is looser than the parent's {parent} ({parent_force})", force = force.name(), parent_force = parent_force.name())]
    Looser {
        /// The limit.
        limit: LimitId,
        /// The value asked for.
        value: u64,
        /// Its force.
        force: crate::Force,
        /// The parent's value.
        parent: u64,
        /// The parent's force.
        parent_force: crate::Force,
    },
    /// Limits that cannot be met together.
    #[error(transparent)]
    Stack(#[from] crate::StackError),
    /// Limits that are none.
    #[error(transparent)]
    Limits(#[from] crate::LimitsError),
    /// The device's bus cannot keep a limit for memory anywhere.
    #[error("{limit} of {need} cannot be kept behind {what} {value:#x}")]
    Bus {
        /// The limit.
        limit: LimitId,
        /// Its value.
        need: u64,
        /// What of the bus is in the way.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A reserve that the device cannot set aside.
    #[error("a reserve for {transfers} transfers of {len} bytes needs {need} {what}, {have} are there")]
    Reserve {
        /// Transfers at a time.
        transfers: u32,
        /// Bytes of each.
        len: u64,
        /// What there is too little of.
        what: Resource,
        /// How much is needed.
        need: u64,
        /// How much there is.
        have: u64,
    },
}

/// A way from memory to a device.
///
/// # Safety
/// 1. Between a successful [`Backend::raw_map`] and [`Backend::raw_unmap`], the bus segments that went to the sink reach,
///    in order, the bytes of the list, or memory of the back end's own that stands for them; and nothing else.
/// 2. After `raw_unmap` the back end neither reads nor writes the list's memory, and what the device wrote is there.
/// 3. Where `raw_map` fails, nothing stays mapped.
/// 4. [`Backend::cpu_addr`] and coherent memory keep the promises of [`Memory`](super::Memory).
pub unsafe trait Backend {
    /// The kind of address that leases for this device hold.
    type Addr: Addr;

    /// What the back end must remember of one mapping.
    type Mapping: fmt::Debug;

    /// Returns the limits of the bus and device, in bus addresses and in those of lists.
    fn reach(&self) -> &super::Reach;

    /// Returns rules for a list's own addresses that are enough for its bus segments to keep `limits`.
    ///
    /// # Errors
    /// [`TargetError::Bus`] for a limit that the bus cannot keep.
    fn list_limits(&self, limits: &Limits) -> Result<Limits, TargetError>;

    /// Says whether memory that breaks the limits is copied rather than refused.
    fn bounces(&self) -> bool;

    /// Sets aside what `transfers` mappings at a time under `limits` need, for mappings whose [`Usage`] says `reserved`.
    ///
    /// # Errors
    /// [`TargetError::Reserve`] where that is more than there is.
    fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError>;

    /// Maps a list: its bus segments go to `bus`, in order.
    ///
    /// # Errors
    /// [`MapError`]; nothing is mapped then, whatever the sink took.
    fn raw_map<S, K>(&self, list: &S, terms: &Terms<'_>, bus: &mut K) -> Result<Self::Mapping, MapError>
    where
        S: Segments<Addr = Self::Addr> + ?Sized,
        K: BusSink + ?Sized;

    /// Ends a mapping, and hands its bytes to the CPU unless `usage` says [`CpuSync::Skip`].
    ///
    /// # Safety
    /// `list`, `usage` (but for its place) and `mapping` are those of one `raw_map` of this back end; the list's memory is valid; the device no
    /// longer uses the bus segments.
    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
    where
        S: Segments<Addr = Self::Addr> + ?Sized;

    /// Hands bytes `range` of the list to the CPU.
    ///
    /// # Safety
    /// `list`, `usage` (but for its place) and `mapping` are those of a live mapping; the list's memory is valid, the range within it, and the
    /// device does not write there.
    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, mapping: &Self::Mapping, range: Range<u64>)
    where
        S: Segments<Addr = Self::Addr> + ?Sized;

    /// Hands bytes `range` of the list to the device.
    ///
    /// # Safety
    /// As [`Backend::raw_sync_for_cpu`].
    unsafe fn raw_sync_for_device<S>(
        &self,
        list: &S,
        usage: Usage,
        mapping: &Self::Mapping,
        range: Range<u64>,
    ) where
        S: Segments<Addr = Self::Addr> + ?Sized;

    /// Returns how many of the mapping's bytes go through other memory.
    fn bounced_bytes(&self, mapping: &Self::Mapping) -> u64;

    /// Allocates coherent memory that the device sees at the bus address returned.
    ///
    /// # Errors
    /// [`MapError::Shortage`] where there is none such, [`MapError::Layout`] for a layout that cannot be.
    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<Self::Addr>, BusAddr), MapError>;

    /// Takes coherent memory back.
    ///
    /// # Safety
    /// Both came from [`Backend::raw_alloc_coherent`] of this back end, once; neither CPU nor device uses the memory any more.
    #[track_caller]
    unsafe fn raw_free_coherent(&self, raw: RawCoherent<Self::Addr>, bus: BusAddr);

    /// Returns where the CPU sees `len` bytes at `addr`.
    fn cpu_addr(&self, addr: Self::Addr, len: u64) -> Option<CpuAddr>;

    /// Returns the size of the blocks, a power of two, in which the device sees memory: with a mapped segment it sees the
    /// whole of every block that the segment touches. 1 where it sees no byte too many, or all of memory anyway.
    fn granule_len(&self) -> u64;

    /// Makes the device see what the CPU wrote to `len` bytes at `addr`, mapped or not: for a back end above, which
    /// clears memory around what it maps. Does nothing where caches need no care.
    fn write_back(&self, addr: Self::Addr, len: u64);

    /// Is told of memory that stays taken because a device may hold it.
    fn leaked(&self, leak: Leak);
}

/// Passes every call on to what a pointer points to.
macro_rules! by_pointer {
    ($(#[$attribute:meta])* $pointer:ty) => {
        $(#[$attribute])*
        // SAFETY: every promise is passed on.
        unsafe impl<D: Backend + ?Sized> Backend for $pointer {
            type Addr = D::Addr;
            type Mapping = D::Mapping;

            fn reach(&self) -> &super::Reach {
                (**self).reach()
            }

            fn list_limits(&self, limits: &Limits) -> Result<Limits, TargetError> {
                (**self).list_limits(limits)
            }

            fn bounces(&self) -> bool {
                (**self).bounces()
            }

            fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError> {
                (**self).reserve(limits, transfers)
            }

            #[inline]
            fn raw_map<S, K>(
                &self,
                list: &S,
                terms: &Terms<'_>,
                bus: &mut K,
            ) -> Result<Self::Mapping, MapError>
            where
                S: Segments<Addr = Self::Addr> + ?Sized,
                K: BusSink + ?Sized,
            {
                (**self).raw_map(list, terms, bus)
            }

            #[inline]
            unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
            where
                S: Segments<Addr = Self::Addr> + ?Sized,
            {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_unmap(list, usage, mapping) }
            }

            unsafe fn raw_sync_for_cpu<S>(
                &self,
                list: &S,
                usage: Usage,
                mapping: &Self::Mapping,
                range: Range<u64>,
            ) where
                S: Segments<Addr = Self::Addr> + ?Sized,
            {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_sync_for_cpu(list, usage, mapping, range) }
            }

            unsafe fn raw_sync_for_device<S>(
                &self,
                list: &S,
                usage: Usage,
                mapping: &Self::Mapping,
                range: Range<u64>,
            ) where
                S: Segments<Addr = Self::Addr> + ?Sized,
            {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_sync_for_device(list, usage, mapping, range) }
            }

            fn bounced_bytes(&self, mapping: &Self::Mapping) -> u64 {
                (**self).bounced_bytes(mapping)
            }

            fn raw_alloc_coherent(
                &self,
                layout: CoherentLayout,
                place: &'static Location<'static>,
            ) -> Result<(RawCoherent<Self::Addr>, BusAddr), MapError> {
                (**self).raw_alloc_coherent(layout, place)
            }

            unsafe fn raw_free_coherent(&self, raw: RawCoherent<Self::Addr>, bus: BusAddr) {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_free_coherent(raw, bus) }
            }

            fn cpu_addr(&self, addr: Self::Addr, len: u64) -> Option<CpuAddr> {
                (**self).cpu_addr(addr, len)
            }

            fn granule_len(&self) -> u64 {
                (**self).granule_len()
            }

            fn write_back(&self, addr: Self::Addr, len: u64) {
                (**self).write_back(addr, len);
            }

            fn leaked(&self, leak: Leak) {
                (**self).leaked(leak);
            }
        }
    };
}

by_pointer!(&D);
by_pointer!(
    #[cfg(feature = "alloc")]
    alloc::sync::Arc<D>
);
