//! [`Iommu`]: a device whose bus addresses go through a page table.
//!
//! A list gets one range of bus addresses, in which it lies by [`Layout`]: neighbours whose joins fall on the granule become
//! one bus segment. An unmapping takes the whole range away and flushes once, before addresses and memory are anybody
//! else's. The device sees whole granules: what shares one with a segment is exposed too, so lists for a device that is not
//! trusted are whole granules, or are bounced on top of this.
#![expect(unsafe_code, reason = "promises where a device reads and writes")]

use alloc::collections::BTreeMap;
use core::fmt;
use core::ops::Range;
use core::panic::Location;

use lock_api::{Mutex, RawMutex};

use super::iova::{IovaAllocator, IovaError, IovaRange, IovaRequest};
use super::layout::{Layout, LayoutError, LayoutRules};
use super::page_table::{LeafCursor as _, PageMapError, PageTable};
use crate::map::caches::Caches;
use crate::map::{
    Backend, Bounced, BusSink, CoherentLayout, CpuSync, DmaDirection, Leak, MapError, Memory, RawCoherent,
    Reach, Resource, TargetError, Terms, Usage,
};
use crate::sync::Spin;
use crate::{Addr as _, BusAddr, CpuAddr, LimitId, Limits, Segments};

/// Devices behind one page table. `R` is the lock around the table and the bus addresses.
///
/// # Invariants
/// 1. Every page in the table lies in a range that is out, and leads to memory of a live mapping or of live coherent memory.
/// 2. A range goes back only after its pages are gone and flushed.
pub struct Iommu<M, T, R: RawMutex = Spin> {
    memory: M,
    granule: u64,
    domain: Mutex<R, Domain<T>>,
    reach: Reach,
}

struct Domain<T> {
    table: T,
    addresses: IovaAllocator,
    /// Ranges of coherent memory, by bus address.
    coherent: BTreeMap<BusAddr, IovaRange>,
    /// Ranges that could not be taken back: always 0, unless a page table breaks its word.
    lost: u64,
}

/// What an IOMMU remembers of one mapping.
#[derive(Debug)]
pub struct IommuMapping {
    range: IovaRange,
    /// Bytes of the range that the list takes, padding included.
    bytes: u64,
}

impl<M: Memory, T: PageTable<Target = M::Addr>> Iommu<M, T> {
    /// Puts `memory` behind `table`. Bus addresses come from within the limits' window and the table's reach, never
    /// the first granule, so that no bus address is 0.
    ///
    /// # Errors
    /// [`TargetError::Bus`] for a limit that cannot be kept behind this table's granule, [`TargetError::Window`] where no bus address
    /// is left.
    pub fn new(memory: M, table: T, limits: &Limits) -> Result<Self, TargetError> {
        Self::with_lock(memory, table, limits)
    }
}

impl<M: Memory, T: PageTable<Target = M::Addr>, R: RawMutex> Iommu<M, T, R> {
    /// As [`Iommu::new`], with a lock of the caller's choice.
    ///
    /// # Errors
    /// As there.
    pub fn with_lock(memory: M, table: T, limits: &Limits) -> Result<Self, TargetError> {
        let sizes = table.page_sizes();
        let granule = sizes & sizes.wrapping_neg();
        let hard = limits.hard();
        let lowest = hard.addr_min.max(granule);
        let highest = hard.addr_max.min(table.iova_max().raw());
        let window = |_| TargetError::Window { min: lowest, max: highest, granule };
        let addresses =
            IovaAllocator::new(granule, BusAddr::new(lowest), BusAddr::new(highest)).map_err(window)?;
        let reach = Reach::new(limits, &behind_granule(limits, granule)?);
        let domain = Mutex::new(Domain { table, addresses, coherent: BTreeMap::new(), lost: 0 });
        Ok(Self { memory, granule, domain, reach })
    }

    /// Returns the memory.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Returns the smallest page, in bytes: what a device sees at a time.
    pub const fn granule(&self) -> u64 {
        self.granule
    }

    /// Returns the bytes of bus addresses that are in use.
    pub fn bytes_out(&self) -> u64 {
        self.domain.lock().addresses.bytes_out()
    }

    /// Shows the page table to `look`. The lock is held meanwhile.
    pub fn with_table<Y>(&self, look: impl FnOnce(&T) -> Y) -> Y {
        look(&self.domain.lock().table)
    }

    /// Returns where the device's `bus` address leads, and how many bytes from there on follow in the page.
    pub fn translate(&self, bus: BusAddr) -> Option<(M::Addr, u64, DmaDirection)> {
        let found = self.domain.lock().table.translate(bus)?;
        Some((found.target, found.bytes, found.access))
    }

    /// The rules of a layout for bus segments within `limits`.
    fn rules(&self, limits: &Limits) -> LayoutRules {
        let hard = limits.hard();
        // Padding before a boundary would leave a gap. Where gaps count for more than a granule, the join is left to the
        // planner, which cuts there.
        let padded = hard.gap_mask < self.granule;
        let boundary = if padded { hard.boundary_mask.wrapping_add(1) } else { 0 };
        LayoutRules { granule: self.granule, boundary, segment_len_max: hard.segment_len_max }
    }

    fn caches(&self) -> Caches<'_, M> {
        Caches::of(&self.memory, self.reach.bus())
    }
}

impl<T: PageTable> Domain<T> {
    /// Takes a range and fills it by `map`, or leaves all as it was.
    fn enter<E: Into<MapError>>(
        &mut self,
        request: &IovaRequest,
        map: impl FnOnce(&mut T, BusAddr) -> Result<(), E>,
    ) -> Result<IovaRange, MapError> {
        let range = self.addresses.alloc(request).map_err(shortage)?;
        match map(&mut self.table, range.addr()) {
            Ok(()) => Ok(range),
            Err(error) => {
                self.leave(range, request.bytes);
                Err(error.into())
            }
        }
    }

    /// Takes all pages of a range away, flushes once, and gives the range back.
    fn leave(&mut self, range: IovaRange, bytes: u64) {
        let gone = self.table.unmap(range.addr(), bytes);
        // A table that says it could not has its pages still: such a range is never used again.
        match gone {
            Ok(gone) => {
                if gone.span_bytes > 0 {
                    self.table.flush(range.addr(), gone.span_bytes);
                }
                if self.addresses.free(range).is_err() {
                    self.lost = self.lost.saturating_add(bytes);
                }
            }
            Err(_) => self.lost = self.lost.saturating_add(bytes),
        }
    }
}

fn shortage(error: IovaError) -> MapError {
    match error {
        IovaError::Exhausted { bytes, largest_free, .. } => {
            MapError::Shortage { what: Resource::BusAddresses, need: bytes, have: largest_free }
        }
        // The request was made of checked numbers: what is refused is too long for any window.
        _ => MapError::Shortage { what: Resource::BusAddresses, need: u64::MAX, have: 0 },
    }
}

impl From<PageMapError> for MapError {
    fn from(error: PageMapError) -> Self {
        use PageMapError as Table;
        match error {
            Table::AddressInUse { iova, bytes, .. } => Self::InUse { bus: iova, len: bytes },
            Table::TablesMax { tables, tables_max } => {
                Self::Shortage { what: Resource::PageTable, need: tables.saturating_add(1), have: tables_max }
            }
            Table::NoMemory { tables, .. } => {
                Self::Shortage { what: Resource::PageTable, need: tables.saturating_add(1), have: tables }
            }
            Table::TargetWraps { target, bytes } => {
                Self::OutOfReach { addr: target, len: bytes, min: 0, max: u64::MAX }
            }
            Table::OutOfRange { iova, bytes, last } => {
                Self::OutOfReach { addr: iova, len: bytes, min: 0, max: last }
            }
            Table::Misaligned { value, need, .. } => Self::Misaligned { value, need },
            Table::Empty { .. } => Self::Empty,
        }
    }
}

fn unlaid(error: LayoutError) -> MapError {
    match error {
        LayoutError::TooLong { bytes, .. } | LayoutError::Wraps { bytes, .. } => MapError::TooLong { bytes },
        // Rules of powers of two and a base on the granule refuse nothing else.
        _ => MapError::Empty,
    }
}

/// Returns `limits`, which are in bus addresses, for memory behind pages of `granule` bytes.
fn behind_granule(limits: &Limits, granule: u64) -> Result<Limits, TargetError> {
    for limit in [LimitId::AddrAlign, LimitId::PageLen, LimitId::BounceOffsetMask] {
        let need = limits.hard_value(limit);
        if need > granule {
            return Err(TargetError::Bus { limit, need, what: "a granule of", value: granule });
        }
    }
    let mut list = limits.to_builder();
    // Any memory is in reach by some bus address.
    for free in [LimitId::AddrMin, LimitId::AddrMax, LimitId::CoherentAddrMax] {
        let own = limits.get(free);
        list = list.set(free, free.neutral(), own.source, own.force);
    }
    // Joins on the granule disappear, so none is left that a wider gap could forbid.
    let gap = limits.get(LimitId::GapBoundary);
    list = list.set(LimitId::GapBoundary, gap.value.min(granule), gap.source, gap.force);
    let boundary = limits.get(LimitId::SegmentBoundary);
    if boundary.value > granule {
        // A list knows no bus boundary. A segment of no more than this is padded to lie within one.
        list = list.set(LimitId::SegmentBoundary, 0, boundary.source, boundary.force);
        let longest = limits.get(LimitId::SegmentLenMax);
        let within = boundary.value.saturating_sub(granule);
        if within < longest.value && boundary.force >= longest.force {
            let shorter = list.set(LimitId::SegmentLenMax, within, boundary.source, boundary.force);
            // Where other limits need longer segments, the planner cuts at the boundary instead.
            if shorter.build().is_ok() {
                list = shorter;
            }
        }
    }
    Ok(list.build()?)
}

// SAFETY: (1) the pages lead to the list's own memory, by whole granules, and the bus segments are its bytes in order (the
// layout's contract); (2) unmapping takes the pages away and flushes; no memory is touched; (3) `enter` undoes; (4) passed
// on to the memory.
unsafe impl<M: Memory, T: PageTable<Target = M::Addr>, R: RawMutex> Backend for Iommu<M, T, R> {
    type Addr = M::Addr;
    type Mapping = IommuMapping;

    fn reach(&self) -> &Reach {
        &self.reach
    }

    fn list_limits(&self, limits: &Limits) -> Result<Limits, TargetError> {
        behind_granule(limits, self.granule)
    }

    fn bounces(&self) -> bool {
        false
    }

    fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError> {
        // Pages of the table and bus addresses are shared by all devices behind it: nothing can be promised here.
        let len = limits.hard().transfer_len_max;
        let (what, need) = (Resource::Reserve, u64::from(transfers));
        Err(TargetError::Reserve { transfers, len, what, need, have: 0 })
    }

    unsafe fn raw_map<S, K>(&self, list: &S, terms: &Terms<'_>, bus: &mut K) -> Result<IommuMapping, MapError>
    where
        S: Segments<Addr = M::Addr> + ?Sized,
        K: BusSink + ?Sized,
    {
        let layout = Layout::new(list, self.rules(terms.bus_limits)).map_err(unlaid)?;
        let bytes = layout.reserve_bytes();
        // Its start is a multiple of its length's power of two, as a layout needs.
        let request = IovaRequest::new(bytes).limit(terms.bus_limits.hard().addr_max);
        let access = terms.usage.direction;
        let enter = |table: &mut T, base: BusAddr| {
            let mut cursor = table.cursor(base, access);
            let mut at = 0_u64;
            for placed in layout.placed() {
                if placed.offset > at {
                    cursor.skip(placed.offset.wrapping_sub(at));
                }
                cursor.map(placed.target, placed.bytes)?;
                at = placed.offset.saturating_add(placed.bytes);
            }
            Ok::<(), PageMapError>(())
        };
        let range = self.domain.lock().enter(&request, enter)?;
        let told = layout
            .bus_segments(range.addr())
            .map_err(unlaid)
            .and_then(|mut segments| segments.try_for_each(|segment| bus.put(segment)));
        if let Err(error) = told {
            self.domain.lock().leave(range, bytes);
            return Err(error);
        }
        if terms.usage.sync == CpuSync::Whole {
            self.caches().clean(list, 0..u64::MAX);
        }
        Ok(IommuMapping { range, bytes })
    }

    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: IommuMapping)
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        self.domain.lock().leave(mapping.range, mapping.bytes);
        if usage.sync == CpuSync::Whole && usage.direction.device_writes() {
            // SAFETY: the list is leased, and the device's bytes are wanted now.
            unsafe { self.caches().invalidate(list, 0..u64::MAX) };
        }
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, _: &IommuMapping, range: Range<u64>)
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        if usage.direction.device_writes() {
            // SAFETY: the list is leased, and the device's bytes are wanted now.
            unsafe { self.caches().invalidate(list, range) };
        }
    }

    unsafe fn raw_sync_for_device<S>(&self, list: &S, _usage: Usage, _: &IommuMapping, range: Range<u64>)
    where
        S: Segments<Addr = M::Addr> + ?Sized,
    {
        self.caches().clean(list, range);
    }

    fn visit_bounces(&self, _: &IommuMapping, _visit: &mut dyn FnMut(Bounced)) {}

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        _place: &'static Location<'static>,
    ) -> Result<(RawCoherent<M::Addr>, BusAddr), MapError> {
        let refused = MapError::Layout { len: layout.len, align: layout.align };
        // Whole granules: a ring shares its page with nobody.
        let len = layout.len.checked_next_multiple_of(self.granule).ok_or(refused)?;
        let align = layout.align.max(self.granule);
        // Words of 8 bytes are stored there, whatever the smallest page is.
        let whole = CoherentLayout { len, align: self.granule.max(8), addr_max: u64::MAX };
        let shortage = MapError::NoCoherent { len, align, addr_max: u64::MAX };
        let raw = self.memory.alloc_coherent(whole).ok_or(shortage)?;
        let coherent_max = self.reach.bus().hard_value(LimitId::CoherentAddrMax);
        let limit = coherent_max.min(self.reach.bus().hard().addr_max);
        let request = IovaRequest::new(len).limit(limit).align(align);
        let enter = |table: &mut T, base| table.map(base, raw.addr, len, DmaDirection::Both);
        let mut domain = self.domain.lock();
        match domain.enter(&request, enter) {
            Ok(range) => {
                domain.coherent.insert(range.addr(), range);
                Ok((raw, range.addr()))
            }
            Err(error) => {
                // SAFETY: allocated just now, and told to nobody.
                unsafe { self.memory.free_coherent(raw) };
                Err(error)
            }
        }
    }

    unsafe fn raw_free_coherent(&self, raw: RawCoherent<M::Addr>, bus: BusAddr) {
        let mut domain = self.domain.lock();
        // The caller promises that it is there; what is not is not given away either.
        let Some(range) = domain.coherent.remove(&bus) else { return };
        domain.leave(range, raw.layout.len);
        drop(domain);
        // SAFETY: the caller's promise: it came from this memory, once, and nobody uses it.
        unsafe { self.memory.free_coherent(raw) };
    }

    fn cpu_addr(&self, addr: M::Addr, len: u64) -> Option<CpuAddr> {
        self.memory.cpu_addr(addr, len)
    }

    fn granule_len(&self) -> u64 {
        self.granule
    }

    fn write_back(&self, addr: M::Addr, len: u64) {
        self.caches().clean_run(addr, len);
    }

    fn leaked(&self, leak: Leak) {
        self.memory.leaked(leak);
    }
}

impl<M: fmt::Debug, T, R: RawMutex> fmt::Debug for Iommu<M, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iommu")
            .field("memory", &self.memory)
            .field("granule", &self.granule)
            .finish_non_exhaustive()
    }
}
