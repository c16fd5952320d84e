//! [`Mistaken`]: a bus that makes one [`Mistake`], and is right in everything else.
//!
//! Above the checker it stands for a driver that calls wrongly, between an honest driver and the checked device; beneath, for a
//! back end that answers wrongly. No byte moves elsewhere than it should: all addresses are of memory that the test owns.
#![expect(unsafe_code, reason = "a back end that makes the mistakes that safe code cannot make")]

use core::cell::Cell;
use core::ops::Range;
use core::panic::Location;

use scatterlist::map::{
    Backend, Bounced, BusSink, CoherentLayout, DmaDirection, Leak, MapError, RawCoherent, Reach, TargetError,
    Terms, Usage,
};
use scatterlist::plan::Why;
use scatterlist::{
    Addr as _, BusAddr, CpuAddr, LimitId, Limits, PhysAddr, ScatterList, Segment, Segments, Source,
};

/// The one mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mistake {
    /// None.
    None,
    /// Unmaps a second time.
    UnmapTwice,
    /// Unmaps in the other direction.
    UnmapTurned,
    /// Unmaps a run of other memory.
    UnmapOther(PhysAddr),
    /// Never unmaps.
    UnmapNever,
    /// Frees coherent memory as 8 bytes more than it is.
    FreeLen,
    /// Frees coherent memory at 64 bytes past where the CPU sees it.
    FreeCpuAddr,
    /// Maps, and unmaps, in the other direction.
    MapTurned,
    /// Maps half of a run, and tells the device all of it.
    MapHalf,
    /// Unmaps at once what the device is told of.
    MapGone,
    /// Answers with no bus address at all.
    AnswerNone,
    /// Answers with half of the first run.
    AnswerHalf,
    /// Answers that all was copied to this address, whose low bits are others.
    AnswerElsewhere(BusAddr),
}

impl Mistake {
    const fn is_of_coherent(self) -> bool {
        matches!(self, Self::FreeLen | Self::FreeCpuAddr)
    }
}

/// The bus that makes it: with the first mapping, or with the first coherent memory that is freed.
#[derive(Debug)]
pub(super) struct Mistaken<D> {
    device: D,
    mistake: Mistake,
    made: Cell<bool>,
}

/// A mapping of the device.
#[derive(Debug)]
pub(super) struct MistakenMapping<M> {
    /// `None` where it is gone.
    inner: Option<M>,
    /// The mistake that was or will be made with it.
    mistake: Mistake,
    bytes: u64,
}

impl<D> Mistaken<D> {
    pub(super) const fn new(device: D, mistake: Mistake) -> Self {
        Self { device, mistake, made: Cell::new(false) }
    }

    /// Returns the mistake, the first time.
    fn once(&self) -> Mistake {
        if self.made.replace(true) { Mistake::None } else { self.mistake }
    }
}

/// The other direction.
const fn turned(usage: Usage) -> Usage {
    let direction = match usage.direction {
        DmaDirection::ToDevice => DmaDirection::FromDevice,
        DmaDirection::FromDevice | DmaDirection::Both => DmaDirection::ToDevice,
    };
    Usage { direction, ..usage }
}

fn first_of<S: Segments + ?Sized>(list: &S) -> Result<Segment<S::Addr>, MapError> {
    list.segments().next().ok_or(MapError::Empty)
}

fn half_of<A: scatterlist::Addr>(run: Segment<A>) -> Result<Segment<A>, MapError> {
    Segment::new(run.addr(), run.len().wrapping_shr(1)).map_err(|_| MapError::Empty)
}

// SAFETY: none, but for addresses that only the test uses: breaking the promises is what it is for.
unsafe impl<D: Backend<Addr = PhysAddr>> Backend for Mistaken<D> {
    type Addr = PhysAddr;
    type Mapping = MistakenMapping<D::Mapping>;

    fn reach(&self) -> &Reach {
        self.device.reach()
    }

    fn list_limits(&self, limits: &Limits) -> Result<Limits, TargetError> {
        self.device.list_limits(limits)
    }

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
        S: Segments<Addr = PhysAddr> + ?Sized,
        K: BusSink + ?Sized,
    {
        let mistake = if self.mistake.is_of_coherent() { Mistake::None } else { self.once() };
        let whole = first_of(list)?;
        let bytes = list.segments().fold(0_u64, |sum, run| sum.saturating_add(run.len()));
        let mut real = ScatterList::new();
        let inner = match mistake {
            Mistake::MapTurned => {
                let terms = Terms { usage: turned(terms.usage), ..*terms };
                // SAFETY: the caller's promise is passed on; the direction is the mistake.
                unsafe { self.device.raw_map(list, &terms, &mut real) }
            }
            Mistake::MapHalf => {
                let half = [half_of(whole)?];
                // SAFETY: a part of the caller's list.
                unsafe { self.device.raw_map(&half[..], terms, &mut real) }
            }
            // SAFETY: the caller's promise is passed on.
            _ => unsafe { self.device.raw_map(list, terms, &mut real) },
        }?;
        let start = first_of(&real)?;
        match mistake {
            Mistake::AnswerNone => {}
            Mistake::AnswerHalf => bus.put(half_of(start)?)?,
            Mistake::AnswerElsewhere(elsewhere) => {
                bus.put(Segment::new(elsewhere, bytes).map_err(|_| MapError::Empty)?)?;
            }
            Mistake::MapHalf => {
                bus.put(Segment::new(start.addr(), bytes).map_err(|_| MapError::Empty)?)?;
            }
            _ => bus.put_all(real.segments())?,
        }
        let mut mapping = MistakenMapping { inner: Some(inner), mistake, bytes };
        if mistake == Mistake::MapGone
            && let Some(inner) = mapping.inner.take()
        {
            // SAFETY: the parts of one mapping; the device will be told of it, which is the mistake.
            unsafe { self.device.raw_unmap(list, terms.usage, inner) };
        }
        Ok(mapping)
    }

    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
    where
        S: Segments<Addr = PhysAddr> + ?Sized,
    {
        let Some(inner) = mapping.inner else { return };
        let whole = first_of(list);
        match mapping.mistake {
            Mistake::UnmapNever => core::mem::forget(inner),
            Mistake::UnmapTwice => {
                // SAFETY: what is used a second time; this is the mistake.
                let copy = unsafe { core::ptr::read(&raw const inner) };
                // SAFETY: the caller's promise is passed on.
                unsafe { self.device.raw_unmap(list, usage, inner) };
                // SAFETY: none; this is the mistake.
                unsafe { self.device.raw_unmap(list, usage, copy) };
            }
            Mistake::UnmapTurned | Mistake::MapTurned => {
                // SAFETY: none for the one; this is the mistake. The other was mapped so.
                unsafe { self.device.raw_unmap(list, turned(usage), inner) };
            }
            Mistake::UnmapOther(elsewhere) => {
                if let Ok(other) = Segment::new(elsewhere, mapping.bytes) {
                    // SAFETY: none; this is the mistake.
                    unsafe { self.device.raw_unmap(&[other][..], usage, inner) };
                }
            }
            Mistake::MapHalf => {
                if let Ok(half) = whole.and_then(half_of) {
                    // SAFETY: what was mapped.
                    unsafe { self.device.raw_unmap(&[half][..], usage, inner) };
                }
            }
            // SAFETY: the caller's promise is passed on.
            _ => unsafe { self.device.raw_unmap(list, usage, inner) },
        }
    }

    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, mapping: &Self::Mapping, range: Range<u64>)
    where
        S: Segments<Addr = PhysAddr> + ?Sized,
    {
        if let Some(inner) = &mapping.inner {
            // SAFETY: the caller's promise is passed on.
            unsafe { self.device.raw_sync_for_cpu(list, usage, inner, range) };
        }
    }

    unsafe fn raw_sync_for_device<S>(
        &self,
        list: &S,
        usage: Usage,
        mapping: &Self::Mapping,
        range: Range<u64>,
    ) where
        S: Segments<Addr = PhysAddr> + ?Sized,
    {
        if let Some(inner) = &mapping.inner {
            // SAFETY: the caller's promise is passed on.
            unsafe { self.device.raw_sync_for_device(list, usage, inner, range) };
        }
    }

    fn visit_bounces(&self, mapping: &Self::Mapping, visit: &mut dyn FnMut(Bounced)) {
        match (mapping.mistake, &mapping.inner) {
            (Mistake::AnswerElsewhere(elsewhere), _) => {
                let why = Why {
                    limit: LimitId::AddrMax,
                    value: elsewhere.raw(),
                    need: elsewhere.raw(),
                    source: Source::User,
                };
                visit(Bounced { at: 0, len: mapping.bytes, why });
            }
            (_, Some(inner)) => self.device.visit_bounces(inner, visit),
            (_, None) => {}
        }
    }

    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<PhysAddr>, BusAddr), MapError> {
        self.device.raw_alloc_coherent(layout, place)
    }

    unsafe fn raw_free_coherent(&self, raw: RawCoherent<PhysAddr>, bus: BusAddr) {
        let mut raw = raw;
        match if self.mistake.is_of_coherent() { self.once() } else { Mistake::None } {
            Mistake::FreeLen => raw.layout.len = raw.layout.len.saturating_add(8),
            Mistake::FreeCpuAddr => raw.cpu = CpuAddr::new(raw.cpu.raw().saturating_add(64)),
            _ => {}
        }
        // SAFETY: the caller's promise is passed on; what was changed is the mistake, and the checker keeps it from the device.
        unsafe { self.device.raw_free_coherent(raw, bus) };
    }

    fn cpu_addr(&self, addr: PhysAddr, len: u64) -> Option<CpuAddr> {
        self.device.cpu_addr(addr, len)
    }

    fn granule_len(&self) -> u64 {
        self.device.granule_len()
    }

    fn write_back(&self, addr: PhysAddr, len: u64) {
        self.device.write_back(addr, len);
    }

    fn leaked(&self, leak: Leak) {
        self.device.leaked(leak);
    }
}
