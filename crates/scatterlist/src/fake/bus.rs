//! [`Bus`]: lets the fake device reach what is mapped, and nothing else.
//!
//! A back end around an innermost one, which does the mapping. It keeps the table of live bus segments with their
//! directions, tells the memory who owns which bytes, and refuses mappings on demand. Bounce pool and checker go above it. The
//! device reaches memory through it only, on the one thread that maps: CPU accesses through an idle mapping are not
//! locked, so a device on another thread would race with them.
#![expect(unsafe_code, reason = "passes a back end's promises on, and turns bus addresses into accesses")]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ops::Range;
use core::panic::Location;

use super::finding::{FakeFinding, Refusal};
use super::resolve::{DeviceMemory as _, Resolve};
use crate::map::{
    Backend, Bounced, BusSink, CoherentLayout, DmaDirection, Leak, MapError, MappingGuard, RawCoherent,
    Recorder, TargetError, Terms, Usage, facts_of_inner, parts,
};
use crate::{Addr as _, BusAddr, Limits, Segment, Segments};

/// Findings kept; later ones are counted nowhere.
const FINDINGS_MAX: usize = 4096;

/// The bus of a fake machine.
///
/// # Invariants
/// 1. `state.live` holds the bus segments that are mapped through this bus and its coherent memory, and nothing else.
/// 2. All of it is of one thread: the type is not `Sync`, for the sake of its `RefCell`.
#[derive(Debug)]
pub struct Bus<D> {
    inner: D,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By start and number of the mapping.
    live: BTreeMap<(u64, u64), Live>,
    /// Mappings since the bus was made.
    maps: u64,
    /// The number of the next mapping or coherent memory.
    next: u64,
    /// Counts of mappings to refuse.
    refuse: BTreeSet<u64>,
    findings: Vec<FakeFinding>,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    /// Byte just past the segment.
    end: u64,
    direction: DmaDirection,
    coherent: bool,
}

/// What the bus remembers of a mapping.
#[derive(Debug)]
pub struct BusMapping<M> {
    inner: M,
    segments: Vec<Segment<BusAddr>>,
    number: u64,
}

impl State {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    /// Returns where the device's access stops: the end of a live range that holds `addr` and allows it.
    fn reach(&self, addr: u64, rest: u64, writes: bool) -> Result<u64, Refusal> {
        let mut refusal = Refusal::Unmapped { addr, len: rest };
        for (_, live) in self.live.range(..=(addr, u64::MAX)).rev() {
            if live.end <= addr {
                continue;
            }
            let direction = live.direction;
            if if writes { direction.device_writes() } else { direction.device_reads() } {
                return Ok(live.end);
            }
            refusal = Refusal::Direction { addr, len: rest, writes, direction };
        }
        Err(refusal)
    }
}

impl<D: Resolve> Bus<D> {
    /// Puts a bus over the innermost back end.
    pub fn new(inner: D) -> Self {
        Self { inner, state: RefCell::default() }
    }

    /// Returns the back end beneath.
    pub const fn inner(&self) -> &D {
        &self.inner
    }

    /// Refuses the next mapping, with [`MapError::Refused`].
    pub fn refuse_next(&self) {
        self.refuse_nth(1);
    }

    /// Refuses the `n`-th mapping from now, counted from 1.
    pub fn refuse_nth(&self, n: u64) {
        let mut state = self.state.borrow_mut();
        let count = state.maps.saturating_add(n);
        state.refuse.insert(count);
    }

    /// Returns how often something was mapped or refused.
    pub fn maps(&self) -> u64 {
        self.state.borrow().maps
    }

    /// Returns the live bus segments of mappings, by address, with what the device may do there.
    pub fn live(&self) -> Vec<(Segment<BusAddr>, DmaDirection)> {
        let state = self.state.borrow();
        let mapped = state.live.iter().filter(|(_, live)| !live.coherent);
        let segment = |((start, _), live): (&(u64, u64), &Live)| {
            let segment = Segment::new(BusAddr::new(*start), live.end.saturating_sub(*start)).ok()?;
            Some((segment, live.direction))
        };
        mapped.filter_map(segment).collect()
    }

    /// Returns what was found so far. The memory's own findings are with the memory.
    pub fn findings(&self) -> Vec<FakeFinding> {
        self.state.borrow().findings.clone()
    }

    /// Keeps a finding, and hands the refusal on.
    pub(super) fn refused(&self, refusal: Refusal) -> Refusal {
        let mut state = self.state.borrow_mut();
        if state.findings.len() < FINDINGS_MAX {
            state.findings.push(FakeFinding::Refused(refusal));
        }
        refusal
    }

    /// Returns the memory behind a run of bus addresses, part by part, if all of it is mapped for this.
    fn resolve(&self, addr: BusAddr, len: u64, writes: bool) -> Result<Vec<(D::Addr, u64)>, Refusal> {
        let state = self.state.borrow();
        let mut runs = Vec::new();
        let (mut at, mut rest) = (addr.raw(), len);
        while rest > 0 {
            let end = state.reach(at, rest, writes)?;
            let here = end.saturating_sub(at).min(rest);
            let nowhere = Refusal::Nowhere { addr: at, len: rest };
            let (memory, run) = self.inner.resolve(BusAddr::new(at), here).ok_or(nowhere)?;
            let run = run.min(here);
            if run == 0 {
                return Err(nowhere);
            }
            runs.push((memory, run));
            at = at.saturating_add(run);
            rest = rest.saturating_sub(run);
        }
        Ok(runs)
    }

    /// Reads as the device. Nothing is found; see [`Bus::refused`].
    pub(super) fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Refusal> {
        let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
        let mut rest = into;
        for (memory, run) in self.resolve(addr, len, false)? {
            let count = usize::try_from(run).unwrap_or(usize::MAX);
            let Some((here, after)) = rest.split_at_mut_checked(count) else { break };
            // SAFETY: (1) mapped for this, so `resolve` leads to what the mapping reaches; (2).
            if !unsafe { self.inner.memory().device_read(memory, here) } {
                return Err(Refusal::Nowhere { addr: addr.raw(), len });
            }
            rest = after;
        }
        Ok(())
    }

    /// Writes as the device. Nothing is found; see [`Bus::refused`].
    pub(super) fn write(&self, addr: BusAddr, from: &[u8]) -> Result<(), Refusal> {
        let len = u64::try_from(from.len()).unwrap_or(u64::MAX);
        let mut rest = from;
        for (memory, run) in self.resolve(addr, len, true)? {
            let count = usize::try_from(run).unwrap_or(usize::MAX);
            let Some((here, after)) = rest.split_at_checked(count) else { break };
            // SAFETY: (1) mapped for this, so `resolve` leads to what the mapping reaches; (2).
            if !unsafe { self.inner.memory().device_write(memory, here) } {
                return Err(Refusal::Nowhere { addr: addr.raw(), len });
            }
            rest = after;
        }
        Ok(())
    }

    /// Writes past the table: says `false` where the back end leads nowhere.
    ///
    /// # Safety
    /// What the back end leads to is memory that no reference is to, on this thread.
    pub(super) unsafe fn write_rogue(&self, addr: BusAddr, from: &[u8]) -> bool {
        let len = u64::try_from(from.len()).unwrap_or(u64::MAX);
        let Some((memory, run)) = self.inner.resolve(addr, len) else { return false };
        // SAFETY: the caller's promise.
        run >= len && unsafe { self.inner.memory().device_write(memory, from) }
    }
}

// SAFETY: every promise is passed on; (3) the mapping beneath ends where the memory panics when it is told.
unsafe impl<D: Resolve> Backend for Bus<D> {
    type Addr = D::Addr;
    type Mapping = BusMapping<D::Mapping>;

    facts_of_inner!(self => self.inner);

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
        let number = {
            let mut state = self.state.borrow_mut();
            state.maps = state.maps.saturating_add(1);
            let count = state.maps;
            if state.refuse.remove(&count) {
                return Err(MapError::Refused { count });
            }
            state.number()
        };
        let mut recorder = Recorder::new(bus);
        // SAFETY: the caller's promise is passed on.
        let inner = unsafe { self.inner.raw_map(list, terms, &mut recorder)? };
        let segments = recorder.into_segments();
        // SAFETY: mapped just now with these, and told to no device; the caller keeps the list's memory.
        let guard = unsafe { MappingGuard::new(&self.inner, list, terms.usage, inner) };
        for segment in list.segments() {
            self.inner.memory().handed_over(segment.addr(), segment.len());
        }
        // Nothing is live before the memory, which may panic, was told.
        let inner = guard.keep();
        let mut state = self.state.borrow_mut();
        for segment in &segments {
            let live = Live { end: segment.end(), direction: terms.usage.direction, coherent: false };
            // Memory that may only be read can be in a list twice.
            let entry = state.live.entry((segment.addr().raw(), number)).or_insert(live);
            entry.end = entry.end.max(live.end);
        }
        drop(state);
        Ok(BusMapping { inner, segments, number })
    }

    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
    where
        S: Segments<Addr = Self::Addr> + ?Sized,
    {
        let BusMapping { inner, segments, number } = mapping;
        let mut state = self.state.borrow_mut();
        for segment in &segments {
            state.live.remove(&(segment.addr().raw(), number));
        }
        drop(state);
        // SAFETY: the caller's promise is passed on.
        let guard = unsafe { MappingGuard::new(&self.inner, list, usage, inner) };
        for segment in list.segments() {
            self.inner.memory().taken_back(segment.addr(), segment.len());
        }
        drop(guard);
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, mapping: &Self::Mapping, range: Range<u64>)
    where
        S: Segments<Addr = Self::Addr> + ?Sized,
    {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.inner.raw_sync_for_cpu(list, usage, &mapping.inner, range) }
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
        unsafe { self.inner.raw_sync_for_device(list, usage, &mapping.inner, range.clone()) }
        for part in parts(list, range) {
            self.inner.memory().handed_over(part.addr(), part.len());
        }
    }

    fn visit_bounces(&self, mapping: &Self::Mapping, visit: &mut dyn FnMut(Bounced)) {
        self.inner.visit_bounces(&mapping.inner, visit);
    }

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<Self::Addr>, BusAddr), MapError> {
        let (raw, bus) = self.inner.raw_alloc_coherent(layout, place)?;
        let mut state = self.state.borrow_mut();
        let end = bus.raw().saturating_add(layout.len);
        let live = Live { end, direction: DmaDirection::Both, coherent: true };
        // Nothing else can be coherent memory at this address: the last number is free for it.
        state.live.insert((bus.raw(), u64::MAX), live);
        Ok((raw, bus))
    }

    unsafe fn raw_free_coherent(&self, raw: RawCoherent<Self::Addr>, bus: BusAddr) {
        self.state.borrow_mut().live.remove(&(bus.raw(), u64::MAX));
        // SAFETY: the caller's promise is passed on.
        unsafe { self.inner.raw_free_coherent(raw, bus) };
    }

    fn leaked(&self, leak: Leak) {
        self.inner.leaked(leak);
    }
}
