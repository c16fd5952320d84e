//! [`Checked`]: any back end, with a [`Ledger`] that is asked before each call.
//!
//! A driver's test or a debug kernel puts its device into one and gives the driver the handle to that instead; a device
//! without it has no code of it. What the caller must promise to a [`Backend`] is checked as far as numbers tell, and a call that
//! breaks it is kept from the back end inside, which would do harm. See [`Checked`] for what is passed on.
#![expect(
    unsafe_code,
    reason = "a back end that passes on what it has checked; see the invariants of Checked"
)]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::panic::Location;

use lock_api::{Mutex, RawMutex};

use super::call::{Call, MapCall, MapKind, Span, Touched, bytes_of};
use super::finding::{Finding, Place, SyncFor};
use super::ledger::{Judge, Ledger, When};
use super::options::{LedgerOptions, OptionsError};
use super::regions::Regions;
use crate::map::{
    Backend, Bounced, BusSink, CoherentLayout, CpuSync, DmaDirection, Leak, MapError, MappingGuard,
    RawCoherent, Recorder, TargetError, Terms, Usage, facts_of_inner,
};
use crate::sync::Spin;
use crate::{Addr as _, BusAddr, CacheCoherence, Limits, Segment, Segments};

/// A back end around another, `D`, that finds the misuse of it. `R` is the lock around the record; a kernel that maps in an
/// interrupt handler needs one that keeps interrupts off.
///
/// | call | findings | passed on |
/// |---|---|---|
/// | map | memory that must not be mapped, shared cache lines, limits | always; a refusal comes back |
/// | unmap | unknown, direction, other memory | once for each mapping, with its own list only, always as it was mapped |
/// | sync | unknown, direction, range, other memory | live mappings, within them, with their own list; as they were mapped |
/// | allocate coherent memory | as map | always |
/// | free coherent memory | unknown, other addresses | once, and only if all agrees |
/// | drop in flight | always | always |
///
/// What is not passed on stays as it is inside: nothing is unmapped, freed or copied. Mappings beyond
/// [`LedgerOptions::spans_max`] are not recorded and passed on unseen; the ledger says so.
///
/// A mapping that breaks a limit as a whole is told when it is synced, reached by the device or unmapped, unless it is
/// unmapped by the call that made it: the safe layer looks at the limits after mapping and undoes it so.
/// Segments that the [planner](mod@crate::plan) can cut to the limits break none, see [`Checked::without_planner`].
///
/// ```
/// use scatterlist::map::checked::{Checked, Finding};
/// use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset};
/// use scatterlist::{Lease, Limits};
///
/// let device = Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default())?;
/// let device = Checked::new(device, |findings| panic!("{findings:?}"));
/// let lease = Lease::from_vec(vec![0; 4096]).map_err(|(_, error)| error)?;
/// let mapped = (&device).map(lease, FromDevice)?;
/// std::mem::forget(mapped);
/// assert!(matches!(device.release()[..], [Finding::Leaked { live: 1, .. }]));
/// assert_eq!(device.take_findings().len(), 1); // Else the device hands it over when it is dropped.
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Invariants
/// 1. The ids in `inside` are those of recorded mappings that live in `device`; an id is never used again.
/// 2. `coherent` is, by bus address, what `device` allocated and has not been given back, but for `unseen` pieces.
pub struct Checked<D: Backend, R: RawMutex = Spin> {
    device: D,
    state: Mutex<R, State<D::Addr>>,
    /// The most entries of `inside`, and of `coherent`.
    entries_max: usize,
    planned: bool,
    on_release: fn(&[Finding]),
}

struct State<A: crate::Addr> {
    ledger: Ledger,
    inside: BTreeSet<u64>,
    coherent: BTreeMap<BusAddr, RawCoherent<A>>,
    /// Coherent memory that was not recorded.
    unseen: u64,
}

/// A mapping of the back end inside, and what finds it in the record.
#[derive(Debug)]
pub struct CheckedMapping<M> {
    inner: M,
    /// `None` where it is not recorded.
    id: Option<u64>,
    usage: Usage,
    bus_addr: BusAddr,
    bytes: u64,
}

fn spans<S: Segments + ?Sized>(list: &S) -> Vec<Span> {
    list.segments().map(Span::from).collect()
}

/// Names a whole list to the ledger.
fn call_of(cpu: &[Span], bus_addr: BusAddr, direction: DmaDirection) -> Call {
    let entries = u64::try_from(cpu.len()).unwrap_or(u64::MAX);
    Call::list(bus_addr, entries, direction).len(bytes_of(cpu))
}

impl<D: Backend> Checked<D> {
    /// Puts `device` into a checker with [`Checked::options_for`] it. `on_release` gets what was found and not taken,
    /// leaks among it, when the checker is dropped.
    pub fn new(device: D, on_release: fn(&[Finding])) -> Self {
        let options = Self::options_for(&device);
        let ledger = Ledger::from_parts(*device.reach().bus(), options);
        Self::around(device, ledger, options.spans_max, on_release)
    }
}

impl<D: Backend, R: RawMutex> Checked<D, R> {
    /// As [`Checked::new`], with options and a lock of the caller's choice.
    ///
    /// # Errors
    /// [`OptionsError`] for options that no ledger can work with.
    pub fn with_options(
        device: D,
        options: LedgerOptions,
        on_release: fn(&[Finding]),
    ) -> Result<Self, OptionsError> {
        let ledger = Ledger::with_options(*device.reach().bus(), options)?;
        Ok(Self::around(device, ledger, options.spans_max, on_release))
    }

    /// Returns the default options, but for a device that sees the CPU's caches with a cache line of one byte: then only
    /// bytes that two mappings have in common are shared.
    pub fn options_for(device: &D) -> LedgerOptions {
        let options = LedgerOptions::default();
        match device.reach().bus().memory().coherence() {
            CacheCoherence::Coherent => LedgerOptions { cache_line_len: 1, ..options },
            CacheCoherence::Synced | CacheCoherence::Uncached => options,
        }
    }

    fn around(device: D, ledger: Ledger, entries_max: usize, on_release: fn(&[Finding])) -> Self {
        let state = State { ledger, inside: BTreeSet::new(), coherent: BTreeMap::new(), unseen: 0 };
        Self { device, state: Mutex::new(state), entries_max, planned: true, on_release }
    }

    /// Asks `regions` what is mapped from here on.
    #[must_use]
    pub fn with_regions(mut self, regions: impl Regions + Send + Sync + 'static) -> Self {
        self.state.get_mut().ledger.set_regions(regions);
        self
    }

    /// For drivers that tell their device bus segments as they are, without planning them: each must keep the limits on
    /// segments and pieces by itself.
    #[must_use]
    pub const fn without_planner(mut self) -> Self {
        self.planned = false;
        self
    }

    /// Returns the device inside. What it is told directly is not checked.
    pub const fn device(&self) -> &D {
        &self.device
    }

    /// Shows the record to `look`. The lock is held meanwhile.
    pub fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.state.lock().ledger)
    }

    /// Returns the findings that are kept, in order.
    pub fn findings(&self) -> Vec<Finding> {
        self.with_ledger(|ledger| ledger.findings().to_vec())
    }

    /// Takes the findings out and so makes room for more.
    pub fn take_findings(&self) -> Vec<Finding> {
        self.state.lock().ledger.take_findings()
    }

    /// Ends the record of the device: each mapping that is live has leaked. Returns the findings that this makes; they
    /// are kept too.
    #[track_caller]
    pub fn release(&self) -> Vec<Finding> {
        self.state.lock().ledger.release().to_vec()
    }

    /// The device reads or `writes` `len` bytes: see [`Ledger::device_access`]. For what stands in for a device. Returns
    /// the first finding.
    #[track_caller]
    pub fn device_access(&self, bus_addr: BusAddr, len: u64, writes: bool) -> Option<Finding> {
        self.state.lock().ledger.device_access(bus_addr, len, writes).first().copied()
    }

    /// Somebody saw that the CPU wrote while the device owned the memory: see
    /// [`Ledger::cpu_wrote_while_device_owned`].
    #[track_caller]
    pub fn cpu_wrote_while_device_owned(&self, at: Touched, offset: u64) {
        self.state.lock().ledger.cpu_wrote_while_device_owned(at, offset);
    }

    /// Somebody saw that the CPU read what it must sync first: see [`Ledger::cpu_read_without_sync`].
    #[track_caller]
    pub fn cpu_read_without_sync(&self, at: Touched, offset: u64) {
        self.state.lock().ledger.cpu_read_without_sync(at, offset);
    }

    pub(super) fn tell<T>(&self, tell: impl FnOnce(&mut Ledger) -> T) -> T {
        tell(&mut self.state.lock().ledger)
    }

    /// Records a mapping that was made; returns its id.
    fn record_map(
        &self,
        call: MapCall<'_>,
        bus: &[Segment<BusAddr>],
        terms: &Terms<'_>,
        bounced: bool,
    ) -> Option<u64> {
        let segments = if self.planned && terms.check(bus).is_ok() { When::Never } else { When::Later };
        let judge = Judge { limits: terms.bus_limits, segments, offsets: bounced };
        let mut state = self.state.lock();
        if state.inside.len() >= self.entries_max {
            // Left over from before a release: they live inside all the same.
            state.ledger.leave_out(call.cpu.len().saturating_add(call.bus.len()), terms.usage.place);
            return None;
        }
        let id = state.ledger.map_at(call, judge, terms.usage.place)?;
        state.inside.insert(id);
        Some(id)
    }

    /// Asks the ledger about an unmapping, and says whether to pass it on.
    fn may_unmap<M>(&self, cpu: &[Span], usage: Usage, mapping: &CheckedMapping<M>) -> bool {
        let Some(id) = mapping.id else { return true };
        let call = call_of(cpu, mapping.bus_addr, usage.direction);
        let mut state = self.state.lock();
        let same = state.ledger.unmap_id(id, call, cpu, usage.place);
        same && state.inside.remove(&id)
    }

    /// Asks the ledger about a sync, and says whether to pass it on.
    fn may_sync<M>(
        &self,
        cpu: &[Span],
        usage: Usage,
        mapping: &CheckedMapping<M>,
        part: (SyncFor, &Range<u64>),
    ) -> bool {
        let within = part.1.start <= part.1.end && part.1.end <= mapping.bytes;
        let Some(id) = mapping.id else { return within };
        let call = call_of(cpu, mapping.bus_addr, usage.direction);
        let mut state = self.state.lock();
        let sound = state.ledger.sync_id(id, call, part, cpu, usage.place);
        within && sound && state.inside.contains(&id)
    }

    /// Asks the ledger about coherent memory that is given back, and returns what to pass on.
    fn may_free(
        &self,
        raw: RawCoherent<D::Addr>,
        bus: BusAddr,
        place: Place,
    ) -> Option<RawCoherent<D::Addr>> {
        let mut state = self.state.lock();
        let known = state.coherent.get(&bus).copied();
        let elsewhere = known.filter(|known| known.addr == raw.addr && known.cpu != raw.cpu);
        // The ledger knows one of its two addresses: where the other is wrong, it is told that.
        let cpu_addr = elsewhere.map_or(raw.addr.raw(), |_| raw.cpu.raw());
        state.ledger.unmap_at(Call::coherent(cpu_addr, bus, raw.layout.len), place);
        match known {
            Some(known) => {
                let agrees = (known.addr, known.cpu, known.layout.len) == (raw.addr, raw.cpu, raw.layout.len);
                if agrees {
                    state.coherent.remove(&bus);
                }
                agrees.then_some(known)
            }
            None => (state.unseen > 0).then_some(raw),
        }
    }
}

// SAFETY: (1), (3), (4) the device inside keeps them, and it is asked the same; (2) unmapping is passed on for every mapping
// that is unmapped as its caller must.
unsafe impl<D: Backend, R: RawMutex> Backend for Checked<D, R> {
    type Addr = D::Addr;
    type Mapping = CheckedMapping<D::Mapping>;

    facts_of_inner!(self => self.device);

    fn bounces(&self) -> bool {
        self.device.bounces()
    }

    fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError> {
        self.device.reserve(limits, transfers)
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
        let usage = terms.usage;
        let mut recorder = Recorder::new(bus);
        // SAFETY: the caller's promise is passed on.
        let inner = match unsafe { self.device.raw_map(list, terms, &mut recorder) } {
            Ok(inner) => inner,
            Err(error) => {
                self.state.lock().ledger.map_failed_at(usage.place);
                return Err(error);
            }
        };
        // From here to the end code of the user's runs, such as an oracle of regions.
        // SAFETY: mapped just now with these, and told to no device; the caller keeps the list's memory.
        let guard = unsafe { MappingGuard::new(&self.device, list, usage, inner) };
        let bus = recorder.into_segments();
        let (cpu_spans, bus_spans) = (spans(list), spans(&bus[..]));
        let call = MapCall::new(MapKind::List, usage.direction, &cpu_spans, &bus_spans).error_checked();
        let call = if usage.sync == CpuSync::Skip { call.skip_cpu_sync() } else { call };
        let id = self.record_map(call, &bus, terms, self.device.bounced_bytes(guard.mapping()) > 0);
        let bus_addr = bus.first().map_or(BusAddr::new(0), |segment| segment.addr());
        let bytes = bytes_of(&cpu_spans);
        Ok(CheckedMapping { inner: guard.keep(), id, usage, bus_addr, bytes })
    }

    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
    where
        S: Segments<Addr = D::Addr> + ?Sized,
    {
        let passed_on = self.may_unmap(&spans(list), usage, &mapping);
        let CheckedMapping { inner, usage: mapped, .. } = mapping;
        if !passed_on {
            // What unsafe code duplicated must not be dropped twice.
            core::mem::forget(inner);
            return;
        }
        let usage = Usage { place: usage.place, ..mapped };
        // SAFETY: (1) the mapping lives inside and is taken out once; list and usage are those that it was made with, as
        // far as it is recorded; the caller promises the rest.
        unsafe { self.device.raw_unmap(list, usage, inner) };
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, mapping: &Self::Mapping, range: Range<u64>)
    where
        S: Segments<Addr = D::Addr> + ?Sized,
    {
        if self.may_sync(&spans(list), usage, mapping, (SyncFor::Cpu, &range)) {
            let usage = Usage { place: usage.place, ..mapping.usage };
            // SAFETY: (1) the mapping lives inside; list, usage and range are checked, as far as it is recorded; the
            // caller promises the rest.
            unsafe { self.device.raw_sync_for_cpu(list, usage, &mapping.inner, range) };
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
        if self.may_sync(&spans(list), usage, mapping, (SyncFor::Device, &range)) {
            let usage = Usage { place: usage.place, ..mapping.usage };
            // SAFETY: as for the CPU.
            unsafe { self.device.raw_sync_for_device(list, usage, &mapping.inner, range) };
        }
    }

    fn visit_bounces(&self, mapping: &Self::Mapping, visit: &mut dyn FnMut(Bounced)) {
        self.device.visit_bounces(&mapping.inner, visit);
    }

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<D::Addr>, BusAddr), MapError> {
        let (raw, bus) = match self.device.raw_alloc_coherent(layout, place) {
            Ok(made) => made,
            Err(error) => {
                self.state.lock().ledger.map_failed_at(place);
                return Err(error);
            }
        };
        let len = raw.layout.len;
        let (cpu_spans, bus_spans) = ([Span::new(raw.addr.raw(), len)], [Span::new(bus.raw(), len)]);
        let call = MapCall::new(MapKind::Coherent, DmaDirection::Both, &cpu_spans, &bus_spans);
        let limits = self.device.reach().bus();
        let mut state = self.state.lock();
        state.ledger.map_at(call, Judge { limits, segments: When::Now, offsets: false }, place);
        if state.coherent.len() < self.entries_max {
            state.coherent.insert(bus, raw);
        } else {
            state.unseen = state.unseen.saturating_add(1);
        }
        drop(state);
        Ok((raw, bus))
    }

    #[track_caller]
    unsafe fn raw_free_coherent(&self, raw: RawCoherent<D::Addr>, bus: BusAddr) {
        if let Some(raw) = self.may_free(raw, bus, Location::caller()) {
            // SAFETY: (2) the device allocated it, and it is taken out once, as far as it is recorded; the caller promises
            // that nobody uses it.
            unsafe { self.device.raw_free_coherent(raw, bus) };
        }
    }

    fn leaked(&self, leak: Leak) {
        self.state.lock().ledger.dropped_in_flight(leak);
        self.device.leaked(leak);
    }
}

impl<D: Backend, R: RawMutex> Drop for Checked<D, R> {
    fn drop(&mut self) {
        let findings = {
            let ledger = &mut self.state.get_mut().ledger;
            ledger.release();
            ledger.take_findings()
        };
        if !findings.is_empty() {
            (self.on_release)(&findings);
        }
    }
}

impl<D: Backend + fmt::Debug, R: RawMutex> fmt::Debug for Checked<D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("device", &self.device).finish_non_exhaustive()
    }
}
