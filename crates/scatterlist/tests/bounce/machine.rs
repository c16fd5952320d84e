//! A machine for the tests: memory at physical addresses, with what the CPU sees and what a device sees apart where
//! caches are not coherent, and a device that reads and writes by bus addresses.
#![expect(unsafe_code, reason = "stands for the memory of a machine")]

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::Location;

use scatterlist::map::{
    Backend, Bounce, BounceLayout, Bounced, BusSink, CoherentLayout, Direct, DmaDirection, InFlight, Leak,
    MapDirection, MapError, Mapped, Memory, Offset, RawCoherent, Reach, TargetError, Terms, Usage,
};
use scatterlist::{
    Addr, BusAddr, CacheCoherence, CpuAddr, Lease, Limits, PhysAddr, ScatterList, Segment, Segments,
};

/// Memory from `base` on. No reference into it is ever made: devices and mappings share it.
#[derive(Debug)]
pub(crate) struct Ram {
    base: u64,
    len: usize,
    cpu: *mut u8,
    /// What a device sees where caches are not coherent.
    device: *mut u8,
    /// The CPU does not see this range.
    pub(crate) hidden: Cell<(u64, u64)>,
    pub(crate) leaks: RefCell<Vec<Leak>>,
}

impl Ram {
    pub(crate) fn new(base: u64, len: u64) -> Self {
        let len = usize::try_from(len).unwrap();
        let new = |byte| Box::into_raw(vec![byte; len].into_boxed_slice()).cast::<u8>();
        // What a device finds where nothing was cleaned is something else than what the CPU wrote.
        let (cpu, device) = (new(0), new(0xEE));
        Self { base, len, cpu, device, hidden: Cell::new((0, 0)), leaks: RefCell::default() }
    }

    fn offset(&self, addr: u64, len: usize) -> usize {
        let offset = usize::try_from(addr.checked_sub(self.base).unwrap()).unwrap();
        assert!(offset + len <= self.len, "{addr:#x} is not memory");
        offset
    }

    fn move_bytes(&self, from: *mut u8, to: *mut u8, addr: u64, len: u64) {
        let len = usize::try_from(len).unwrap();
        let at = self.offset(addr, len);
        // SAFETY: both buffers hold `self.len` bytes, and `offset` checked the range.
        unsafe { from.wrapping_add(at).copy_to_nonoverlapping(to.wrapping_add(at), len) };
    }

    pub(crate) fn load(&self, addr: u64, len: u64) -> Vec<u8> {
        self.load_from(self.cpu, addr, len)
    }

    pub(crate) fn load_list(&self, list: &ScatterList<PhysAddr>) -> Vec<u8> {
        let parts: Vec<_> = list.iter().map(|part| self.load(part.addr().raw(), part.len())).collect();
        parts.concat()
    }

    fn load_from(&self, view: *mut u8, addr: u64, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let at = self.offset(addr, bytes.len());
        // SAFETY: `offset` checked the range.
        unsafe { view.wrapping_add(at).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        bytes
    }

    /// Says whether the CPU sees `bytes` at `addr`.
    pub(crate) fn holds(&self, addr: u64, bytes: &[u8]) -> bool {
        self.view_holds(self.cpu, addr, bytes)
    }

    fn view_holds(&self, view: *mut u8, addr: u64, bytes: &[u8]) -> bool {
        let parts = (addr..).step_by(1 << 16).zip(bytes.chunks(1 << 16));
        parts.into_iter().all(|(at, part)| self.load_from(view, at, part.len() as u64) == part)
    }

    pub(crate) fn store(&self, addr: u64, bytes: &[u8]) {
        self.store_to(self.cpu, addr, bytes);
    }

    fn store_to(&self, view: *mut u8, addr: u64, bytes: &[u8]) {
        let at = self.offset(addr, bytes.len());
        // SAFETY: `offset` checked the range.
        unsafe { view.wrapping_add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Leases segments `(addr, len)`. The caller leaves them alone meanwhile, but for `load` and `store`.
    pub(crate) fn lease(&self, segments: &[(u64, u64)]) -> Lease<PhysAddr, ()> {
        self.lease_of(segments, ())
    }

    pub(crate) fn lease_of<O>(&self, segments: &[(u64, u64)], owner: O) -> Lease<PhysAddr, O> {
        let list = segments.iter().map(|&(addr, len)| Segment::new(PhysAddr::new(addr), len).unwrap());
        // SAFETY: the memory lives as long as the machine, whose tests use no references to it.
        unsafe { Lease::from_raw(ScatterList::from_segments(list).unwrap(), owner) }
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        for view in [self.cpu, self.device] {
            // SAFETY: made by `new` from a boxed slice of this length.
            drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(view, self.len)) });
        }
    }
}

// SAFETY: one buffer at fixed addresses; `clean` and `invalidate` move exactly what they are told.
unsafe impl Memory for Ram {
    type Addr = PhysAddr;

    fn cpu_addr(&self, addr: PhysAddr, len: u64) -> Option<CpuAddr> {
        let (start, end) = self.hidden.get();
        let at = self.offset(addr.raw(), usize::try_from(len).unwrap());
        if addr.raw() < end && addr.raw() + len > start {
            return None;
        }
        Some(CpuAddr::from_ptr(self.cpu.wrapping_add(at)))
    }

    fn clean(&self, addr: PhysAddr, len: u64) {
        self.move_bytes(self.cpu, self.device, addr.raw(), len);
    }

    unsafe fn invalidate(&self, addr: PhysAddr, len: u64) {
        self.move_bytes(self.device, self.cpu, addr.raw(), len);
    }

    fn alloc_coherent(&self, _layout: CoherentLayout) -> Option<RawCoherent<PhysAddr>> {
        None
    }

    unsafe fn free_coherent(&self, _raw: RawCoherent<PhysAddr>) {}

    fn leaked(&self, leak: Leak) {
        self.leaks.borrow_mut().push(leak);
    }
}

/// What a device sees: memory by bus addresses.
#[derive(Clone, Copy)]
pub(crate) struct Bus<'a> {
    ram: &'a Ram,
    offset: u64,
    coherence: CacheCoherence,
}

impl<'a> Bus<'a> {
    pub(crate) fn new(ram: &'a Ram, offset: u64, limits: &Limits) -> Self {
        Self { ram, offset, coherence: limits.memory().coherence() }
    }

    fn view(&self) -> *mut u8 {
        if self.coherence == CacheCoherence::Coherent { self.ram.cpu } else { self.ram.device }
    }

    pub(crate) fn read(&self, addr: u64, len: u64) -> Vec<u8> {
        self.ram.load_from(self.view(), addr - self.offset, len)
    }

    /// Says whether a device sees nothing but zeros there.
    pub(crate) fn is_clear(&self, addr: u64, len: u64) -> bool {
        let zeros = vec![0; usize::try_from(len).unwrap()];
        self.ram.view_holds(self.view(), addr - self.offset, &zeros)
    }

    /// Reads all that a transfer's segments hold.
    pub(crate) fn gather(&self, bus: &ScatterList<BusAddr>) -> Vec<u8> {
        let parts: Vec<_> = bus.iter().map(|part| self.read(part.addr().raw(), part.len())).collect();
        parts.concat()
    }

    /// Writes `bytes` from byte `at` of the transfer on.
    pub(crate) fn scatter(&self, bus: &ScatterList<BusAddr>, at: u64, bytes: &[u8]) {
        let (mut skip, mut rest) = (at, bytes);
        for segment in bus {
            let start = skip.min(segment.len());
            let len = usize::try_from(segment.len() - start).unwrap().min(rest.len());
            let (now, later) = rest.split_at(len);
            self.ram.store_to(self.view(), segment.addr().raw() - self.offset + start, now);
            (skip, rest) = (skip - start, later);
        }
        assert!(rest.is_empty());
    }
}

/// Ends a flight that no device uses.
pub(crate) fn land<D: Backend, Dir: MapDirection>(
    flight: InFlight<Mapped<D, (), Dir>>,
) -> Mapped<D, (), Dir> {
    // SAFETY: the device of these tests acts only when it is called.
    unsafe { flight.complete() }
}

pub(crate) type Beneath<'a> = Watched<Direct<&'a Ram>>;
pub(crate) type Device<'a> = Bounce<Beneath<'a>, ()>;

/// A device with a pool of `pool` over `ram`.
pub(crate) fn device<'a>(
    ram: &'a Ram,
    limits: &Limits,
    pool: &[(u64, u64)],
    layout: BounceLayout,
) -> Device<'a> {
    device_at(ram, Offset::NONE, limits, pool, layout)
}

pub(crate) fn device_at<'a>(
    ram: &'a Ram,
    offset: Offset,
    limits: &Limits,
    pool: &[(u64, u64)],
    layout: BounceLayout,
) -> Device<'a> {
    let beneath = Watched::new(Direct::new(ram, offset, limits).unwrap(), 1);
    Bounce::new(beneath, ram.lease(pool), layout).map_err(|failed| failed.error).unwrap()
}

/// A back end that says how coarse it is, counts its mappings, and refuses when told to.
#[derive(Debug)]
pub(crate) struct Watched<D> {
    inner: D,
    granule_len: u64,
    pub(crate) maps: Cell<u64>,
    pub(crate) live: Cell<i64>,
    pub(crate) refuse: Cell<bool>,
}

impl<D> Watched<D> {
    pub(crate) const fn new(inner: D, granule_len: u64) -> Self {
        Self { inner, granule_len, maps: Cell::new(0), live: Cell::new(0), refuse: Cell::new(false) }
    }
}

// SAFETY: everything is passed on.
unsafe impl<D: Backend> Backend for Watched<D> {
    type Addr = D::Addr;
    type Mapping = D::Mapping;

    fn reach(&self) -> &Reach {
        self.inner.reach()
    }

    fn list_limits(&self, limits: &Limits) -> Result<Limits, TargetError> {
        self.inner.list_limits(limits)
    }

    fn bounces(&self) -> bool {
        self.inner.bounces()
    }

    fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError> {
        self.inner.reserve(limits, transfers)
    }

    unsafe fn raw_map<S, K>(
        &self,
        list: &S,
        terms: &Terms<'_>,
        bus: &mut K,
    ) -> Result<Self::Mapping, MapError>
    where
        S: Segments<Addr = Self::Addr> + ?Sized,
        K: BusSink + ?Sized,
    {
        self.maps.set(self.maps.get() + 1);
        if self.refuse.get() {
            return Err(MapError::Refused { count: self.maps.get() });
        }
        // SAFETY: passed on.
        let mapping = unsafe { self.inner.raw_map(list, terms, bus)? };
        self.live.set(self.live.get() + 1);
        Ok(mapping)
    }

    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
    where
        S: Segments<Addr = Self::Addr> + ?Sized,
    {
        self.live.set(self.live.get() - 1);
        // SAFETY: passed on.
        unsafe { self.inner.raw_unmap(list, usage, mapping) };
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, mapping: &Self::Mapping, range: Range<u64>)
    where
        S: Segments<Addr = Self::Addr> + ?Sized,
    {
        assert_ne!(usage.direction, DmaDirection::ToDevice, "there is nothing to take");
        // SAFETY: passed on.
        unsafe { self.inner.raw_sync_for_cpu(list, usage, mapping, range) };
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
        // SAFETY: passed on.
        unsafe { self.inner.raw_sync_for_device(list, usage, mapping, range) };
    }

    fn visit_bounces(&self, mapping: &Self::Mapping, visit: &mut dyn FnMut(Bounced)) {
        self.inner.visit_bounces(mapping, visit);
    }

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<Self::Addr>, BusAddr), MapError> {
        self.inner.raw_alloc_coherent(layout, place)
    }

    unsafe fn raw_free_coherent(&self, raw: RawCoherent<Self::Addr>, bus: BusAddr) {
        // SAFETY: passed on.
        unsafe { self.inner.raw_free_coherent(raw, bus) };
    }

    fn cpu_addr(&self, addr: Self::Addr, len: u64) -> Option<CpuAddr> {
        self.inner.cpu_addr(addr, len)
    }

    fn granule_len(&self) -> u64 {
        self.granule_len.max(self.inner.granule_len())
    }

    fn write_back(&self, addr: Self::Addr, len: u64) {
        self.inner.write_back(addr, len);
    }

    fn leaked(&self, leak: Leak) {
        self.inner.leaked(leak);
    }
}
