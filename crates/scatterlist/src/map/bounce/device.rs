//! [`Bounce`]: the pool's memory, the copies, and the back end that other layers see.
//!
//! Everything that touches bounce memory is here. A device may write there at any time while a mapping lives, and a hostile one
//! always: the memory is touched by copies between raw pointers only, never through a reference, and nothing read from it
//! decides anything. The lock guards which slots are free; no byte is copied under it.
//!
//! Order, for devices that are not coherent: copies in come before the device beneath maps (and cleans the caches), copies
//! back after it unmaps (and drops them); the same for ranges.
#![expect(
    unsafe_code,
    reason = "copies to and from memory that a device shares; see the invariants of Bounce"
)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::panic::Location;

use lock_api::{Mutex, RawMutex};

use super::super::backend::{Backend, facts_of_inner};
use super::super::error::{MapError, Resource, TargetError};
use super::super::memory::{CoherentLayout, Leak, RawCoherent};
use super::super::sink::BusSink;
use super::super::terms::{Bounced, CpuSync, Terms, Usage};
use super::draft::{Draft, FromRegion, Span, draft, short, whole};
use super::pool::{FromPool, State, divide};
use super::reserve::{Region, Shape};
use super::slots::{Run, Slots};
use super::{BounceError, BounceFailed, BounceLayout};
use crate::sync::{AtomicU64, Ordering, Spin};
use crate::{Addr, BusAddr, CpuAddr, Lease, LimitId, Limits, Segments};

/// A device that copies what it cannot use where it is.
///
/// `D` is the device beneath, `O` owns the pool's memory, `R` is the lock: an interrupt handler that maps needs one that
/// keeps interrupts off.
///
/// ```
/// use scatterlist::map::{Bounce, BounceLayout, Direct, DmaDevice as _, HeapMemory, Offset, ToDevice};
/// use scatterlist::{Lease, LimitId, Limits};
///
/// // Buffers below 64 KiB are cheaper to copy than to map.
/// let limits = Limits::builder().hard(LimitId::CopyBelow, 64 << 10).build()?;
/// let beneath = Direct::new(HeapMemory::default(), Offset::NONE, &limits)?;
/// let memory = Lease::from_vec(vec![0; 1 << 20]).map_err(|(_, error)| error)?;
/// let device = &Bounce::new(beneath, memory, BounceLayout::default()).map_err(|failed| failed.error)?;
///
/// let mapped = device.map_bytes(vec![7; 5000], ToDevice).map_err(|failed| failed.error)?;
/// assert_eq!(mapped.bounced_bytes(), 5000);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// 1. `memory` is the lease of all sets of `state`, so the bytes are valid and nobody else's while it lives. It is forgotten,
///    never dropped, while a run is out: a device may still use that.
/// 2. No two sets share a byte, and no two runs. A run is in one place at a time: free in `slots`, in one region, or held
///    by one mapping or one unfinished draft. Who has it is alone with its slots, but for a device. The CPU sees all of a
///    set at the set's address: asked when it was made.
/// 3. A span's `pool` bytes lie within a run that its mapping holds; its `list` is where the device beneath said that the CPU
///    sees these bytes of the mapping's list.
/// 4. The CPU wrote nothing but zeros to slots that are free or in a region.
pub struct Bounce<D: Backend, O, R: RawMutex = Spin> {
    inner: D,
    layout: BounceLayout,
    pool_bytes: u64,
    /// `None` only while this is dropped.
    memory: Option<Lease<D::Addr, O>>,
    state: Mutex<R, State>,
    /// Bytes copied, either way.
    copied_bytes: AtomicU64,
}

/// What [`Bounce`] remembers of a mapping: `M` is what the device beneath does.
#[derive(Debug)]
pub struct BounceMapping<A: Addr, M> {
    inner: M,
    /// `None` where nothing is bounced: the device beneath has the list itself.
    copies: Option<Box<Copies<A>>>,
}

#[derive(Debug)]
struct Copies<A: Addr> {
    draft: Draft<A>,
    held: Held,
}

/// Memory that a mapping holds.
#[derive(Debug)]
enum Held {
    Runs(Vec<Run>),
    Region(Region),
}

impl Held {
    fn runs(&self) -> &[Run] {
        match self {
            Self::Runs(runs) | Self::Region(runs) => runs,
        }
    }
}

/// A list for the device beneath, and the memory in it.
type Granted<'a, D, O, R> = (Draft<<D as Backend>::Addr>, Guard<'a, D, O, R>);

/// Memory that goes back when this is dropped.
struct Guard<'a, D: Backend, O, R: RawMutex> {
    bounce: &'a Bounce<D, O, R>,
    held: Held,
}

impl<D: Backend, O, R: RawMutex> Guard<'_, D, O, R> {
    fn keep(mut self) -> Held {
        core::mem::replace(&mut self.held, Held::Runs(Vec::new()))
    }
}

impl<D: Backend, O, R: RawMutex> Drop for Guard<'_, D, O, R> {
    fn drop(&mut self) {
        self.bounce.release(core::mem::replace(&mut self.held, Held::Runs(Vec::new())));
    }
}

impl<D: Backend, O> Bounce<D, O> {
    /// Puts a pool of bounce memory on top of `inner`, which must reach it.
    ///
    /// Whole slots of each segment of `memory` are used; they are cleared now.
    ///
    /// # Errors
    /// What was given, with [`BounceError`].
    pub fn new(
        inner: D,
        memory: Lease<D::Addr, O>,
        layout: BounceLayout,
    ) -> Result<Self, BounceFailed<D, Lease<D::Addr, O>>> {
        Self::with_lock(inner, memory, layout)
    }
}

impl<D: Backend, O, R: RawMutex> Bounce<D, O, R> {
    /// As [`Bounce::new`], with a lock of the caller's choice.
    ///
    /// # Errors
    /// As there.
    pub fn with_lock(
        inner: D,
        memory: Lease<D::Addr, O>,
        layout: BounceLayout,
    ) -> Result<Self, BounceFailed<D, Lease<D::Addr, O>>> {
        let slot_len = layout.slot_len.max(inner.granule_len());
        let set_slots = layout.set_len().checked_div(slot_len).unwrap_or(0).max(1);
        let divided = BounceLayout { slot_len, set_slots };
        let bad = !layout.slot_len.is_power_of_two()
            || !slot_len.is_power_of_two()
            || layout.set_slots == 0
            || divided.set_len() > i64::MAX.unsigned_abs();
        let sets = if bad {
            Err(BounceError::Layout { slot_len: layout.slot_len, set_slots: layout.set_slots })
        } else {
            divide(&inner, memory.list(), divided)
        };
        let sets = match sets {
            Ok(sets) => sets,
            Err(error) => return Err(BounceFailed { inner, memory, error }),
        };
        let slots = Slots::new(sets, slot_len);
        let pool_bytes = slots.free_bytes();
        let state = Mutex::new(State { slots, regions: Vec::new(), regions_all: 0 });
        let copied_bytes = AtomicU64::new(0);
        let bounce = Self { inner, layout: divided, pool_bytes, memory: Some(memory), state, copied_bytes };
        let sets = bounce.state.lock().slots.sets_as_runs();
        sets.iter().for_each(|run| bounce.wipe(run));
        Ok(bounce)
    }

    /// Returns the device beneath.
    pub const fn inner(&self) -> &D {
        &self.inner
    }

    /// Returns how the pool is divided, with slots as long as the device beneath demands.
    pub const fn layout(&self) -> BounceLayout {
        self.layout
    }

    /// Returns the bytes of all slots.
    pub const fn pool_bytes(&self) -> u64 {
        self.pool_bytes
    }

    /// Returns the bytes of the slots that are neither in use nor set aside.
    pub fn free_bytes(&self) -> u64 {
        self.state.lock().slots.free_bytes()
    }

    /// Returns how many bytes were copied since the device was made, into the pool and out of it: every copy there is between
    /// memory and device is counted here. A bounced byte is copied in when it is mapped and, where the device writes, out when
    /// it is unmapped.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes.load(Ordering::Relaxed)
    }

    /// Clears a run, in memory too.
    fn wipe(&self, run: &Run) {
        let bytes = run.slots.saturating_mul(self.layout.slot_len);
        let len = usize::try_from(bytes).unwrap_or(0);
        // SAFETY: (1) the memory is valid; (2) the caller has the run, and the CPU sees all of it here.
        unsafe { core::ptr::write_bytes(run.cpu.as_ptr(), 0, len) };
        self.inner.write_back(D::Addr::new(run.addr), bytes);
    }

    /// Takes memory back that no device uses any more.
    fn release(&self, held: Held) {
        held.runs().iter().for_each(|run| self.wipe(run));
        let mut state = self.state.lock();
        match held {
            Held::Runs(ref runs) => runs.iter().for_each(|run| state.slots.give_back(*run)),
            // It came from there, so there is room.
            Held::Region(region) => state.regions.push(region),
        }
    }

    /// Finds memory for what `list` must bounce, and builds the list for the device beneath.
    fn grant<S>(&self, list: &S, terms: &Terms<'_>) -> Result<Granted<'_, D, O, R>, MapError>
    where
        S: Segments<Addr = D::Addr> + ?Sized,
    {
        let error = match self.grant_from_pool(list, terms.list_limits) {
            Err(error @ MapError::Shortage { .. }) if terms.usage.reserved => error,
            granted => return granted,
        };
        let Some(guard) = self.region()? else { return Err(error) };
        let slot_len = self.layout.slot_len;
        let from_region = |limits: &Limits| {
            draft(&self.inner, list, limits, slot_len, &mut FromRegion::new(guard.held.runs(), slot_len))
        };
        let drafted = match from_region(terms.list_limits) {
            // Scattered pieces take more room than the whole.
            Err(MapError::Shortage { .. }) => from_region(&terms.list_limits.with_copy_below(u64::MAX)),
            drafted => drafted,
        };
        // Where the whole does not fit either, the pool's own shortage says more.
        drafted.map(|draft| (draft, guard)).map_err(|failed| match failed {
            MapError::NotVisible { .. } => failed,
            _ => error,
        })
    }

    fn grant_from_pool<S>(&self, list: &S, limits: &Limits) -> Result<Granted<'_, D, O, R>, MapError>
    where
        S: Segments<Addr = D::Addr> + ?Sized,
    {
        let mut guard = Guard { bounce: self, held: Held::Runs(Vec::new()) };
        let Held::Runs(runs) = &mut guard.held else { return Err(short(list.bytes())) };
        let mut source = FromPool { state: &self.state, runs, layout: self.layout };
        match draft(&self.inner, list, limits, self.layout.slot_len, &mut source) {
            Ok(draft) => Ok((draft, guard)),
            Err(MapError::Shortage { what: Resource::BounceMemory, need, .. }) => {
                drop(guard);
                let have = self.state.lock().slots.longest_free_bytes();
                Err(MapError::Shortage { what: Resource::BounceMemory, need, have })
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a region; `None` where none was ever set aside.
    fn region(&self) -> Result<Option<Guard<'_, D, O, R>>, MapError> {
        let mut state = self.state.lock();
        match state.regions.pop() {
            Some(region) => Ok(Some(Guard { bounce: self, held: Held::Region(region) })),
            None if state.regions_all == 0 => Ok(None),
            None => {
                let have = state.regions_all;
                Err(MapError::Shortage { what: Resource::Reserve, need: have.saturating_add(1), have })
            }
        }
    }

    /// Calls `copy` for the spans of a mapping that lie in `range`, with where they are in the list and in the pool.
    fn each(&self, spans: &[Span], range: &Range<u64>, copy: impl Fn(CpuAddr, CpuAddr, usize)) {
        let mut bytes = 0_u64;
        let first = spans.partition_point(|span| span.end() <= range.start);
        for span in spans.iter().skip(first).take_while(|span| span.start < range.end) {
            let start = range.start.saturating_sub(span.start);
            let end = range.end.min(span.end()).saturating_sub(span.start);
            let at = |addr: CpuAddr| addr.checked_add(start);
            if let (Some(list), Some(pool)) = (at(span.list), at(span.pool)) {
                let len = end.saturating_sub(start);
                copy(list, pool, usize::try_from(len).unwrap_or(0));
                bytes = bytes.saturating_add(len);
            }
        }
        self.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Copies bytes `range` of a list to the pool.
    ///
    /// # Safety
    /// The spans are those of a list whose memory is valid, and the runs are still held.
    unsafe fn copy_to_pool(&self, spans: &[Span], range: &Range<u64>) {
        self.each(spans, range, |list, pool, len| {
            // SAFETY: (2), (3): `len` bytes are valid at both ends; the caller vouches for the list's, (1) for the pool's. They
            // can overlap: the list may be a lease of another memory, whose addresses mean the pool's bytes here.
            unsafe { core::ptr::copy(list.as_ptr().cast_const(), pool.as_ptr(), len) };
        });
    }

    /// Copies bytes `range` back.
    ///
    /// # Safety
    /// As [`Bounce::copy_to_pool`]; nobody else uses the list's memory.
    unsafe fn copy_from_pool(&self, spans: &[Span], range: &Range<u64>) {
        self.each(spans, range, |list, pool, len| {
            // SAFETY: as in the other direction.
            unsafe { core::ptr::copy(pool.as_ptr().cast_const(), list.as_ptr(), len) };
        });
    }
}

// SAFETY: (1) the device beneath maps the list itself, or the list with runs of the pool in the place of what is bounced,
// byte for byte; (2) copies back end before the mapping does; (3) what was taken goes back by the guard, and
// nothing is mapped after a failure of the one call beneath; (4) passed on.
unsafe impl<D: Backend, O, R: RawMutex> Backend for Bounce<D, O, R> {
    type Addr = D::Addr;
    type Mapping = BounceMapping<D::Addr, D::Mapping>;

    facts_of_inner!(self => self.inner);

    fn bounces(&self) -> bool {
        true
    }

    /// Sets regions aside, on top of those there are. A region is for one mapping, of any list as long as the longest
    /// transfer, which must be a hard limit.
    fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError> {
        let list = self.inner.list_limits(limits)?;
        let len = limits.hard_value(LimitId::TransferLenMax);
        let slot_len = self.layout.slot_len;
        let have = self.free_bytes();
        let refused =
            |need| TargetError::Reserve { transfers, len, what: Resource::BounceMemory, need, have };
        let shape = Shape::new(list.hard(), self.layout, len).ok_or(refused(len))?;
        let need = shape.bytes(u64::from(transfers), slot_len);
        if need > have {
            return Err(refused(need));
        }
        let mut regions: Vec<Region> = Vec::new();
        let back = |regions: Vec<Region>| {
            let mut state = self.state.lock();
            regions.into_iter().flatten().for_each(|run| state.slots.give_back(run));
        };
        for _ in 0..transfers {
            let region = shape.empty_region();
            let region = shape.take(region, &mut self.state.lock().slots);
            match region {
                Some(region) => regions.push(region),
                None => {
                    back(regions);
                    return Err(refused(need));
                }
            }
        }
        if let Err(error) = self.inner.reserve(limits, transfers) {
            back(regions);
            return Err(error);
        }
        let mut state = self.state.lock();
        state.regions_all = state.regions_all.saturating_add(u64::from(transfers));
        // Room for all of them, those that are out too: giving one back allocates nothing.
        let all = usize::try_from(state.regions_all).unwrap_or(usize::MAX);
        let more = all.saturating_sub(state.regions.len());
        state.regions.reserve(more);
        state.regions.append(&mut regions);
        Ok(())
    }

    unsafe fn raw_map<S, K>(
        &self,
        list: &S,
        terms: &Terms<'_>,
        bus: &mut K,
    ) -> Result<Self::Mapping, MapError>
    where
        S: Segments<Addr = D::Addr> + ?Sized,
        K: BusSink + ?Sized,
    {
        if whole(list, terms.list_limits)?.bounced_bytes() == 0 {
            // SAFETY: the caller's promise is passed on.
            let inner = unsafe { self.inner.raw_map(list, terms, bus)? };
            return Ok(BounceMapping { inner, copies: None });
        }
        let (draft, guard) = self.grant(list, terms)?;
        // SAFETY: the caller says that the list's memory is valid; the guard holds the runs.
        unsafe { self.copy_to_pool(&draft.spans, &(0..u64::MAX)) };
        if terms.usage.sync == CpuSync::Skip {
            // Nobody hands these bytes over, and caches that wrote them back late would undo what the device writes.
            for run in guard.held.runs() {
                self.inner.write_back(D::Addr::new(run.addr), run.slots.saturating_mul(self.layout.slot_len));
            }
        }
        // SAFETY: the draft's list is parts of the list, for which the caller vouches, and runs, which are the mapping's until
        // it is unmapped (1), (2).
        let inner = unsafe { self.inner.raw_map(&draft.list, terms, bus)? };
        Ok(BounceMapping { inner, copies: Some(Box::new(Copies { draft, held: guard.keep() })) })
    }

    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
    where
        S: Segments<Addr = D::Addr> + ?Sized,
    {
        let BounceMapping { inner, copies } = mapping;
        let Some(copies) = copies else {
            // SAFETY: the caller's promise: the device beneath mapped this list.
            return unsafe { self.inner.raw_unmap(list, usage, inner) };
        };
        let Copies { draft, held } = *copies;
        // SAFETY: the caller's promise: the device beneath mapped the draft's list, of which (1) keeps the pool's part.
        unsafe { self.inner.raw_unmap(&draft.list, usage, inner) };
        if usage.sync == CpuSync::Whole && usage.direction.device_writes() {
            // SAFETY: the caller's promise: the list's memory is valid, and the mapping ends only now.
            unsafe { self.copy_from_pool(&draft.spans, &(0..u64::MAX)) };
        }
        self.release(held);
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, mapping: &Self::Mapping, range: Range<u64>)
    where
        S: Segments<Addr = D::Addr> + ?Sized,
    {
        let Some(copies) = &mapping.copies else {
            // SAFETY: the caller's promise: the device beneath mapped this list.
            return unsafe { self.inner.raw_sync_for_cpu(list, usage, &mapping.inner, range) };
        };
        let Draft { list, spans, .. } = &copies.draft;
        // SAFETY: as above; the draft's list has the same bytes at the same places.
        unsafe { self.inner.raw_sync_for_cpu(list, usage, &mapping.inner, range.clone()) };
        if usage.direction.device_writes() {
            // SAFETY: the caller's promise: the list's memory is valid and the mapping lives.
            unsafe { self.copy_from_pool(spans, &range) };
        }
    }

    unsafe fn raw_sync_for_device<S>(
        &self,
        list: &S,
        usage: Usage,
        mapping: &Self::Mapping,
        range: Range<u64>,
    ) where
        S: Segments<Addr = D::Addr> + ?Sized,
    {
        let Some(copies) = &mapping.copies else {
            // SAFETY: the caller's promise: the device beneath mapped this list.
            return unsafe { self.inner.raw_sync_for_device(list, usage, &mapping.inner, range) };
        };
        let Draft { list, spans, .. } = &copies.draft;
        // SAFETY: the caller's promise: the list's memory is valid and the mapping lives.
        unsafe { self.copy_to_pool(spans, &range) };
        // SAFETY: as above; the draft's list has the same bytes at the same places.
        unsafe { self.inner.raw_sync_for_device(list, usage, &mapping.inner, range) };
    }

    fn visit_bounces(&self, mapping: &Self::Mapping, visit: &mut dyn FnMut(Bounced)) {
        let spans = mapping.copies.iter().flat_map(|copies| &copies.draft.spans);
        for Span { start, len, why, .. } in spans {
            visit(Bounced { at: *start, len: *len, why: *why });
        }
        self.inner.visit_bounces(&mapping.inner, visit);
    }

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<D::Addr>, BusAddr), MapError> {
        self.inner.raw_alloc_coherent(layout, place)
    }

    unsafe fn raw_free_coherent(&self, raw: RawCoherent<D::Addr>, bus: BusAddr) {
        // SAFETY: the caller's promise is passed on.
        unsafe { self.inner.raw_free_coherent(raw, bus) };
    }

    fn leaked(&self, leak: Leak) {
        self.inner.leaked(leak);
    }
}

impl<D: Backend, O, R: RawMutex> Drop for Bounce<D, O, R> {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let idle = state.regions.iter().flatten().fold(0_u64, |sum, run| sum.saturating_add(run.slots));
        let free = idle.saturating_mul(self.layout.slot_len).saturating_add(state.slots.free_bytes());
        let bytes = self.pool_bytes.saturating_sub(free);
        if bytes > 0 {
            // A device may hold it: (1).
            core::mem::forget(self.memory.take());
            self.inner.leaked(Leak { what: "a bounce pool with mappings", bytes, first: None });
        }
    }
}

impl<D: Backend, O, R: RawMutex> fmt::Debug for Bounce<D, O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounce")
            .field("layout", &self.layout)
            .field("pool_bytes", &self.pool_bytes)
            .finish_non_exhaustive()
    }
}
