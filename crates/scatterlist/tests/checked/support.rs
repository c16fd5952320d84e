//! What the tests of the checker share: a back end that counts what reaches it, and memory on whole cache lines.
#![expect(unsafe_code, reason = "a back end of the tests, and leases over memory of the tests")]

use std::cell::Cell;
use std::ops::Range;
use std::panic::Location;

use scatterlist::map::checked::{Checked, Finding};
use scatterlist::map::{
    Backend, Bounced, BusSink, BusSlots, CoherentLayout, CpuSync, Direct, DmaDirection, HeapMemory, Leak,
    MapError, Offset, RawCoherent, Reach, TargetError, Terms, Usage,
};
use scatterlist::{Addr as _, BusAddr, CpuAddr, Lease, Limits, ScatterList, Segment, Segments};

/// How far the bus sees memory from where it is.
pub(crate) const OFFSET: u64 = 1 << 40;

/// What reached a back end.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Seen {
    pub(crate) maps: u32,
    pub(crate) unmaps: u32,
    pub(crate) syncs: u32,
    pub(crate) frees: u32,
    pub(crate) leaks: u32,
    /// The direction of the last unmapping or sync.
    pub(crate) direction: Option<DmaDirection>,
}

/// The heap at an offset; counts what reaches it.
#[derive(Debug)]
pub(crate) struct Counted {
    inner: Direct<HeapMemory>,
    seen: Cell<Seen>,
}

impl Counted {
    pub(crate) fn new(limits: &Limits) -> Self {
        let inner = Direct::new(HeapMemory::new(|_| {}), Offset::Up(OFFSET), limits).unwrap();
        Self { inner, seen: Cell::default() }
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.get()
    }

    pub(crate) fn forget_frees(&self) {
        self.note(|seen| seen.frees = 0);
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.get();
        note(&mut seen);
        self.seen.set(seen);
    }
}

// SAFETY: every promise is passed on.
unsafe impl Backend for Counted {
    type Addr = CpuAddr;
    type Mapping = ();

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

    unsafe fn raw_map<S, K>(&self, list: &S, terms: &Terms<'_>, bus: &mut K) -> Result<(), MapError>
    where
        S: Segments<Addr = CpuAddr> + ?Sized,
        K: BusSink + ?Sized,
    {
        self.note(|seen| seen.maps += 1);
        // SAFETY: passed on.
        unsafe { self.inner.raw_map(list, terms, bus) }
    }

    unsafe fn raw_unmap<S: Segments<Addr = CpuAddr> + ?Sized>(&self, list: &S, usage: Usage, (): ()) {
        self.note(|seen| {
            seen.unmaps += 1;
            seen.direction = Some(usage.direction);
        });
        // SAFETY: passed on.
        unsafe { self.inner.raw_unmap(list, usage, ()) };
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, (): &(), range: Range<u64>)
    where
        S: Segments<Addr = CpuAddr> + ?Sized,
    {
        self.note(|seen| {
            seen.syncs += 1;
            seen.direction = Some(usage.direction);
        });
        // SAFETY: passed on.
        unsafe { self.inner.raw_sync_for_cpu(list, usage, &(), range) };
    }

    unsafe fn raw_sync_for_device<S>(&self, list: &S, usage: Usage, (): &(), range: Range<u64>)
    where
        S: Segments<Addr = CpuAddr> + ?Sized,
    {
        self.note(|seen| {
            seen.syncs += 1;
            seen.direction = Some(usage.direction);
        });
        // SAFETY: passed on.
        unsafe { self.inner.raw_sync_for_device(list, usage, &(), range) };
    }

    fn visit_bounces(&self, (): &(), _: &mut dyn FnMut(Bounced)) {}

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<CpuAddr>, BusAddr), MapError> {
        self.inner.raw_alloc_coherent(layout, place)
    }

    unsafe fn raw_free_coherent(&self, raw: RawCoherent<CpuAddr>, bus: BusAddr) {
        self.note(|seen| seen.frees += 1);
        // SAFETY: passed on.
        unsafe { self.inner.raw_free_coherent(raw, bus) };
    }

    fn cpu_addr(&self, addr: CpuAddr, len: u64) -> Option<CpuAddr> {
        self.inner.cpu_addr(addr, len)
    }

    fn granule_len(&self) -> u64 {
        self.inner.granule_len()
    }

    fn write_back(&self, addr: CpuAddr, len: u64) {
        self.inner.write_back(addr, len);
    }

    fn leaked(&self, leak: Leak) {
        self.note(|seen| seen.leaks += 1);
        self.inner.leaked(leak);
    }
}

pub(crate) type Device = Checked<Counted>;

/// A checker over the heap; what nobody took by its end fails the test.
pub(crate) fn device(limits: &Limits) -> Device {
    Checked::new(Counted::new(limits), |findings| panic!("{findings:?}"))
}

/// A cache line.
#[repr(align(64))]
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "it is there for its length")]
pub(crate) struct Line([u8; 64]);

/// Memory of whole cache lines, or the part of it from `at` on.
#[derive(Debug)]
pub(crate) struct Lines {
    #[expect(dead_code, reason = "it keeps the memory")]
    lines: Vec<Line>,
    start: CpuAddr,
}

impl Lines {
    pub(crate) fn new(count: usize) -> Self {
        let mut lines = vec![Line([0; 64]); count];
        let start = CpuAddr::from_ptr(lines.as_mut_ptr().cast::<u8>());
        Self { lines, start }
    }

    pub(crate) fn segment(&self, at: u64, len: u64) -> Segment<CpuAddr> {
        Segment::new(self.start.checked_add(at).unwrap(), len).unwrap()
    }

    /// Leases runs of it, each where it starts and its bytes.
    pub(crate) fn lease(self, runs: &[(u64, u64)]) -> Lease<CpuAddr, Self> {
        let list = ScatterList::from_segments(runs.iter().map(|(at, len)| self.segment(*at, *len))).unwrap();
        // SAFETY: the owner keeps the lines, and gives nobody a reference to them.
        unsafe { Lease::from_raw(list, self) }
    }
}

/// A raw mapping with its bus segments.
pub(crate) struct Raw {
    pub(crate) list: Vec<Segment<CpuAddr>>,
    pub(crate) usage: Usage,
    pub(crate) mapping: <Device as Backend>::Mapping,
    pub(crate) bus: Vec<Segment<BusAddr>>,
}

impl Raw {
    pub(crate) fn addr(&self) -> BusAddr {
        self.bus[0].addr()
    }
}

/// Maps by the raw call; the place is the caller's.
#[track_caller]
pub(crate) fn raw_map(device: &Device, list: &[Segment<CpuAddr>], direction: DmaDirection) -> Raw {
    raw_map_as(device, list, direction, CpuSync::Whole)
}

#[track_caller]
pub(crate) fn raw_map_as(
    device: &Device,
    list: &[Segment<CpuAddr>],
    direction: DmaDirection,
    sync: CpuSync,
) -> Raw {
    let reach = *device.reach();
    let usage = Usage { direction, sync, reserved: false, place: Location::caller() };
    let terms = Terms { bus_limits: reach.bus_memory(), list_limits: reach.list_memory(), usage };
    let mut slots = [Segment::new(BusAddr::new(0), 1).unwrap(); 8];
    let mut bus = BusSlots::new(&mut slots);
    // SAFETY: the tests keep the memory, and no device is there that uses it.
    let mapping = unsafe { device.raw_map(list, &terms, &mut bus) }.unwrap();
    let bus = bus.as_slice().to_vec();
    Raw { list: list.to_vec(), usage, mapping, bus }
}

/// The caller's place.
#[track_caller]
pub(crate) fn here() -> &'static Location<'static> {
    Location::caller()
}

/// The usage with the caller's place.
#[track_caller]
pub(crate) fn at_caller(usage: Usage) -> Usage {
    Usage { place: Location::caller(), ..usage }
}

/// Takes the findings and checks where they were made.
#[track_caller]
pub(crate) fn taken(device: &Device, line: u32) -> Vec<Finding> {
    let findings = device.take_findings();
    assert!(!findings.is_empty(), "nothing was found");
    for finding in &findings {
        let place = finding.place();
        assert!(place.file().ends_with("wrong.rs") && place.line() == line, "{finding}");
    }
    findings
}

/// Writes a byte by its address, as somebody who kept a pointer.
pub(crate) fn poke(at: CpuAddr, byte: u8) {
    // SAFETY: a byte of the fake memory, which no reference is to.
    unsafe { at.as_ptr().write(byte) };
}
