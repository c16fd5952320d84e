//! [`Direct`]: the bus sees physical memory, or CPU memory, at a fixed offset.
//!
//! Memory out of the device's window is refused; put a bounce pool on top to copy it instead. Nothing is allocated and
//! nothing remembered.
#![expect(unsafe_code, reason = "promises where a device reads and writes")]

use core::ops::Range;
use core::panic::Location;

use super::backend::Backend;
use super::caches::Caches;
use super::error::{MapError, TargetError};
use super::memory::{CoherentLayout, Leak, Memory, RawCoherent};
use super::sink::BusSink;
use super::terms::{Bounced, Terms, Usage};
use super::{CpuSync, Reach};
use crate::{Addr, BusAddr, CpuAddr, LimitId, Limits, Segment, Segments, Totals};

/// A device that sees memory at a fixed offset.
///
/// ```
/// use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset};
/// use scatterlist::{Lease, Limits};
///
/// let device = Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default())?;
/// let lease = Lease::from_vec(vec![0; 4096]).map_err(|(_, error)| error)?;
/// let mapped = (&device).map(lease, FromDevice)?;
/// assert_eq!(mapped.len_bytes(), 4096);
/// let lease = mapped.unmap();
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Direct<M> {
    memory: M,
    offset: Offset,
    reach: Reach,
}

/// How far the bus sees memory from where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offset {
    /// The bus address is the memory's address and this many bytes more.
    Up(u64),
    /// The bus address is the memory's address and this many bytes less.
    Down(u64),
}

impl Offset {
    /// The bus sees memory where it is.
    pub const NONE: Self = Self::Up(0);

    const fn bytes(self) -> u64 {
        match self {
            Self::Up(bytes) | Self::Down(bytes) => bytes,
        }
    }

    const fn to_bus(self, addr: u64) -> Option<u64> {
        match self {
            Self::Up(bytes) => addr.checked_add(bytes),
            Self::Down(bytes) => addr.checked_sub(bytes),
        }
    }

    const fn to_bus_wrapping(self, addr: u64) -> u64 {
        match self {
            Self::Up(bytes) => addr.wrapping_add(bytes),
            Self::Down(bytes) => addr.wrapping_sub(bytes),
        }
    }

    const fn to_memory(self, bus: u64) -> Option<u64> {
        match self {
            Self::Up(bytes) => bus.checked_sub(bytes),
            Self::Down(bytes) => bus.checked_add(bytes),
        }
    }

    /// The lowest memory address whose bus address is `bus` or more.
    const fn lowest(self, bus: u64) -> Option<u64> {
        match self {
            Self::Up(bytes) => Some(bus.saturating_sub(bytes)),
            Self::Down(bytes) => bus.checked_add(bytes),
        }
    }

    /// The highest memory address whose bus address is `bus` or less.
    const fn highest(self, bus: u64) -> Option<u64> {
        match self {
            Self::Up(bytes) => bus.checked_sub(bytes),
            Self::Down(bytes) => Some(bus.saturating_add(bytes)),
        }
    }
}

impl<M: Memory> Direct<M> {
    /// Makes a device that sees `memory` at `offset` and keeps `limits`, which are in bus addresses.
    ///
    /// # Errors
    /// [`TargetError::Bus`] for an offset that keeps no memory aligned as the limits demand, or all of it out of reach.
    pub fn new(memory: M, offset: Offset, limits: &Limits) -> Result<Self, TargetError> {
        let reach = Reach::new(limits, &behind_offset(limits, offset)?);
        Ok(Self { memory, offset, reach })
    }

    /// Returns the memory.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Returns the memory that a bus address leads to.
    pub fn list_addr(&self, bus: BusAddr) -> Option<M::Addr> {
        self.offset.to_memory(bus.raw()).map(M::Addr::new)
    }

    /// Returns the bus address of a run, when the device reaches all of it under `limits`.
    fn bus(&self, segment: Segment<M::Addr>, limits: &Limits) -> Result<Segment<BusAddr>, MapError> {
        let (addr, len) = (segment.addr().raw(), segment.len());
        let hard = limits.hard();
        let bus = self.offset.to_bus(addr).and_then(|start| Segment::new(BusAddr::new(start), len).ok());
        let fits = |bus: &Segment<BusAddr>| {
            bus.addr().raw() >= hard.addr_min && bus.end().saturating_sub(1) <= hard.addr_max
        };
        match bus.filter(fits) {
            Some(bus) if segment.has_barrier() => Ok(bus.with_barrier()),
            Some(bus) => Ok(bus),
            None => {
                let min = self.offset.lowest(hard.addr_min).unwrap_or(u64::MAX);
                let max = self.offset.highest(hard.addr_max).unwrap_or(0);
                Err(MapError::OutOfReach { addr, len, min, max })
            }
        }
    }

    /// Says whether the device reaches everything between the bounds of `totals` under `limits`.
    fn reaches(&self, totals: &Totals, limits: &Limits) -> bool {
        let hard = limits.hard();
        let lowest = self.offset.to_bus(totals.addr_min);
        let end = self.offset.to_bus(totals.addr_end);
        lowest.is_some_and(|lowest| lowest >= hard.addr_min)
            && end.is_some_and(|end| end.saturating_sub(1) <= hard.addr_max)
    }

    fn caches(&self) -> Caches<'_, M> {
        Caches::of(&self.memory, self.reach.bus())
    }
}

/// Returns `limits`, which are in bus addresses, for memory that the bus sees at `offset`.
fn behind_offset(limits: &Limits, offset: Offset) -> Result<Limits, TargetError> {
    let bytes = offset.bytes();
    if bytes == 0 {
        return Ok(*limits);
    }
    let error =
        |limit: LimitId, need: u64| TargetError::Bus { limit, need, what: "an offset of", value: bytes };
    // Every multiple of this on the bus is one in memory, and the other way round.
    let kept = bytes & bytes.wrapping_neg();
    for id in [LimitId::AddrAlign, LimitId::GapBoundary, LimitId::PageLen] {
        let need = limits.hard_value(id);
        if need > kept {
            return Err(error(id, need));
        }
    }
    let mut list = limits.to_builder();
    let boundary = limits.get(LimitId::SegmentBoundary);
    if boundary.value > kept {
        list = list.set(LimitId::SegmentBoundary, kept, boundary.source, boundary.force);
    }
    let (min, max) = (limits.get(LimitId::AddrMin), limits.get(LimitId::AddrMax));
    let low = offset.lowest(min.value).ok_or(error(LimitId::AddrMin, min.value))?;
    let high = offset.highest(max.value).ok_or(error(LimitId::AddrMax, max.value))?;
    list = list.set(LimitId::AddrMin, low, min.source, min.force);
    list = list.set(LimitId::AddrMax, high, max.source, max.force);
    Ok(list.build()?)
}

// SAFETY: (1) a bus segment is the list's own memory moved by the offset; (2) it never touches memory itself, and
// caches are dropped first; (3) nothing is remembered; (4) passed on to the memory.
unsafe impl<M: Memory> Backend for Direct<M> {
    type Addr = M::Addr;
    type Mapping = ();

    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn list_limits(&self, limits: &Limits) -> Result<Limits, TargetError> {
        behind_offset(limits, self.offset)
    }

    fn bounces(&self) -> bool {
        false
    }

    fn reserve(&self, _limits: &Limits, _transfers: u32) -> Result<(), TargetError> {
        // A mapping takes nothing that could run short.
        Ok(())
    }

    #[inline]
    unsafe fn raw_map<S, K>(&self, list: &S, terms: &Terms<'_>, bus: &mut K) -> Result<(), MapError>
    where
        S: Segments<Addr = M::Addr> + ?Sized,
        K: BusSink + ?Sized,
    {
        if let Some(run) = list.only() {
            bus.put(self.bus(run, terms.bus_limits)?)?;
            if terms.usage.sync == CpuSync::Whole {
                self.caches().clean(list, 0..u64::MAX);
            }
            return Ok(());
        }
        let totals = list.totals();
        if let Some(totals) = totals {
            bus.expect(totals.segments);
        }
        if totals.is_some_and(|totals| self.reaches(&totals, terms.bus_limits)) {
            // Between bounds in reach no sum wraps.
            let offset = self.offset;
            let moved = |segment: Segment<M::Addr>| {
                segment.moved(BusAddr::new(offset.to_bus_wrapping(segment.addr().raw())))
            };
            bus.put_all(list.segments().map(moved))?;
        } else {
            for segment in list.segments() {
                bus.put(self.bus(segment, terms.bus_limits)?)?;
            }
        }
        if terms.usage.sync == CpuSync::Whole {
            self.caches().clean(list, 0..u64::MAX);
        }
        Ok(())
    }

    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, (): ())
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        if usage.sync == CpuSync::Whole && usage.direction.device_writes() {
            // SAFETY: the list is leased, and the device's bytes are wanted now.
            unsafe { self.caches().invalidate(list, 0..u64::MAX) };
        }
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, (): &(), range: Range<u64>)
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        if usage.direction.device_writes() {
            // SAFETY: the list is leased, and the device's bytes are wanted now.
            unsafe { self.caches().invalidate(list, range) };
        }
    }

    unsafe fn raw_sync_for_device<S>(&self, list: &S, _usage: Usage, (): &(), range: Range<u64>)
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        self.caches().clean(list, range);
    }

    fn visit_bounces(&self, (): &(), _visit: &mut dyn FnMut(Bounced)) {}

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        _place: &'static Location<'static>,
    ) -> Result<(RawCoherent<M::Addr>, BusAddr), MapError> {
        let hard = self.reach.bus().hard();
        let coherent_max = self.reach.bus().hard_value(LimitId::CoherentAddrMax);
        let bus_max = hard.addr_max.min(coherent_max);
        let addr_max = layout.addr_max.min(self.offset.highest(bus_max).unwrap_or(0));
        let refused = MapError::NoCoherent { len: layout.len, align: layout.align, addr_max };
        let raw = self.memory.alloc_coherent(CoherentLayout { addr_max, ..layout }).ok_or(refused)?;
        let run = Segment::new(raw.addr, layout.len).ok();
        let bus = run.and_then(|run| self.bus(run, self.reach.bus()).ok()).map(|bus| bus.addr());
        match bus.filter(|bus| bus.raw() & layout.align.saturating_sub(1) == 0) {
            Some(bus) => Ok((raw, bus)),
            None => {
                // SAFETY: allocated just now, and told to nobody.
                unsafe { self.memory.free_coherent(raw) };
                Err(refused)
            }
        }
    }

    unsafe fn raw_free_coherent(&self, raw: RawCoherent<M::Addr>, _bus: BusAddr) {
        // SAFETY: the caller's promise: it came from this memory, once, and nobody uses it.
        unsafe { self.memory.free_coherent(raw) };
    }

    fn cpu_addr(&self, addr: M::Addr, len: u64) -> Option<CpuAddr> {
        self.memory.cpu_addr(addr, len)
    }

    fn granule_len(&self) -> u64 {
        1
    }

    fn write_back(&self, addr: M::Addr, len: u64) {
        self.caches().clean_run(addr, len);
    }

    fn leaked(&self, leak: Leak) {
        self.memory.leaked(leak);
    }
}
