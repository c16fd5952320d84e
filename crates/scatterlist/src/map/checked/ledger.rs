//! [`Ledger`]: what is mapped, and the rules that every call must keep.
//!
//! Each event looks its mapping up, compares, and updates the record: `map` here, the end of mappings in `undo`, what
//! happens while they live in `using`. A look-up by bus address costs a few tree searches, however much is mapped.
//! Nothing panics or refuses: a wrong call is a [`Finding`], and the record then follows what the caller did.

mod undo;
mod using;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::panic::Location;

use super::call::{MapCall, MapKind, Span, bytes_of};
use super::finding::{Finding, Mapping, Place, SpanSide};
use super::history::History;
use super::limits;
use super::lines::{Lines, OVERLAPS_MAX};
use super::options::{LedgerOptions, OptionsError};
use super::regions::{Oracle, Regions};
use super::spans::SpanIndex;
use crate::{Addr, BusAddr, Limits};

/// The record of one device: what is mapped for it, and what was wrong.
///
/// Each event returns the findings that it made, the ones that were kept (see [`Ledger::dropped`]).
///
/// ```
/// use scatterlist::map::DmaDirection::ToDevice;
/// use scatterlist::map::checked::{Call, Finding, Ledger, MapCall, MapKind, Span};
/// use scatterlist::{Addr, BusAddr, Limits};
///
/// let mut ledger = Ledger::new(Limits::default());
/// let bus = BusAddr::new(0x1000);
/// ledger.map(MapCall::new(MapKind::Single, ToDevice, &[Span::new(0x8000, 64)], &[Span::new(0x1000, 64)]));
/// ledger.check_error(bus);
/// assert!(ledger.unmap(Call::single(bus, 64, ToDevice)).is_empty());
/// let again = ledger.unmap(Call::single(bus, 64, ToDevice));
/// assert!(matches!(again, [Finding::UnmapUnknown { freed: Some(_), .. }]));
/// ```
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    options: LedgerOptions,
    regions: Oracle,
    live: BTreeMap<u64, Record>,
    /// First bus address and id of each live mapping.
    heads: BTreeSet<(u64, u64)>,
    bus: SpanIndex,
    lines: Lines,
    next_id: u64,
    /// Spans of all live mappings.
    spans: usize,
    /// Mappings that were not recorded: what is not found may be one of them.
    unrecorded: u64,
    history: History,
    failed: Option<Place>,
    findings: Vec<Finding>,
    dropped: u64,
}

/// A live mapping.
#[derive(Debug)]
struct Record {
    mapping: Mapping,
    cpu: Vec<Span>,
    bus: Vec<Span>,
    error: ErrorCheck,
    /// Findings that hold unless the mapping is undone unused.
    pending: Vec<Finding>,
    /// It was told that this stays mapped for good.
    dropped: bool,
}

/// How the bus segments of a mapping are judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    pub(super) limits: &'a Limits,
    pub(super) segments: When,
    /// Whether they must keep the low bits of their memory.
    pub(super) offsets: bool,
}

/// When broken limits are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum When {
    /// At once.
    Now,
    /// Once the mapping is used or ends elsewhere than where it was made: who made it may look, and undo it.
    Later,
    /// Never: they were found kept.
    Never,
}

/// Whether the caller looked if the mapping had failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ErrorCheck {
    /// It did not, and must.
    Missing,
    /// It did.
    Made,
    /// It was told another way.
    NotNeeded,
}

impl Ledger {
    /// Returns the empty record of a device with these limits, with the default options.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::from_parts(limits, LedgerOptions::default())
    }

    /// Returns the empty record of a device with these limits.
    ///
    /// # Errors
    /// [`OptionsError`] for a cache line that is no power of two.
    pub fn with_options(limits: Limits, options: LedgerOptions) -> Result<Self, OptionsError> {
        if !options.cache_line_len.is_power_of_two() {
            return Err(OptionsError::CacheLineLen { value: options.cache_line_len });
        }
        Ok(Self::from_parts(limits, options))
    }

    /// Asks `regions` what is mapped from here on.
    #[must_use]
    pub fn with_regions(mut self, regions: impl Regions + Send + Sync + 'static) -> Self {
        self.set_regions(regions);
        self
    }

    pub(super) fn set_regions(&mut self, regions: impl Regions + Send + Sync + 'static) {
        self.regions = Oracle::new(regions);
    }

    /// `cache_line_len` is a power of two.
    pub(super) const fn from_parts(limits: Limits, options: LedgerOptions) -> Self {
        Self {
            limits,
            options,
            regions: Oracle::NONE,
            live: BTreeMap::new(),
            heads: BTreeSet::new(),
            bus: SpanIndex::new(),
            lines: Lines::new(options.cache_line_len),
            next_id: 0,
            spans: 0,
            unrecorded: 0,
            history: History::new(options.freed_max),
            failed: None,
            findings: Vec::new(),
            dropped: 0,
        }
    }

    /// Returns the findings that are kept, in order.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Takes the findings out and so makes room for more.
    #[must_use]
    pub fn take_findings(&mut self) -> Vec<Finding> {
        core::mem::take(&mut self.findings)
    }

    /// Returns how many findings found no room, ever (see [`LedgerOptions::findings_max`]).
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns how many mappings were not recorded since the last release (see [`LedgerOptions::spans_max`]). Unless
    /// it is 0, an address that is not known is no finding, nor is a check for failure that is missing: a call may mean
    /// one of those.
    #[must_use]
    pub const fn unrecorded(&self) -> u64 {
        self.unrecorded
    }

    /// Iterates over the live mappings, the oldest first.
    pub fn live(&self) -> impl ExactSizeIterator<Item = &Mapping> + '_ {
        self.live.values().map(|record| &record.mapping)
    }

    /// Records a mapping that was made.
    #[track_caller]
    pub fn map(&mut self, call: MapCall<'_>) -> &[Finding] {
        let (place, mark, limits) = (Location::caller(), self.findings.len(), self.limits);
        self.map_at(call, Judge { limits: &limits, segments: When::Now, offsets: true }, place);
        self.since(mark)
    }

    /// Notes that a mapping was refused, so that a use of the error value can name the place.
    #[track_caller]
    pub fn map_failed(&mut self) {
        self.map_failed_at(Location::caller());
    }

    pub(super) const fn map_failed_at(&mut self, place: Place) {
        self.failed = Some(place);
    }

    /// Notes that the caller checked whether the mapping at `bus_addr` failed. Of several mappings that start there each
    /// needs a check, no matter in which order. An address without one is in order: the error value is checked too.
    pub fn check_error(&mut self, bus_addr: BusAddr) {
        let (heads, live) = (&self.heads, &mut self.live);
        for (_, id) in heads.range(starts_at(bus_addr.raw())) {
            if let Some(record) = live.get_mut(id)
                && record.error == ErrorCheck::Missing
            {
                record.error = ErrorCheck::Made;
                return;
            }
        }
    }

    /// Returns the id of the mapping, when it is recorded.
    pub(super) fn map_at(&mut self, call: MapCall<'_>, judge: Judge<'_>, place: Place) -> Option<u64> {
        let MapCall { kind, direction, cpu, bus, entries, .. } = call;
        let (bytes, bus_bytes) = (bytes_of(cpu), bytes_of(bus));
        let Some(head) = bus.first() else {
            self.report(Finding::MapEmpty { place, kind, bytes });
            return None;
        };
        if head.addr == self.options.error_addr {
            self.failed = Some(place);
            return None;
        }
        let mapping = Mapping {
            kind,
            direction,
            bus_addr: BusAddr::new(head.addr),
            cpu_addr: cpu.first().map_or(0, |span| span.addr),
            bytes,
            entries,
            place,
        };
        for (side, spans) in [(SpanSide::Cpu, cpu), (SpanSide::Bus, bus)] {
            if let Some((index, span)) = spans.iter().copied().enumerate().find(|(_, span)| !span.is_sound())
            {
                self.report(Finding::SpanUnsound { place, kind, side, index, span });
            }
        }
        if bytes != bus_bytes {
            self.report(Finding::MapBytes { place, kind, cpu_bytes: bytes, bus_bytes });
        }
        self.check_regions(&call, place);
        let mut pending = Vec::new();
        if judge.segments != When::Never {
            for limits::Broken { why, index } in limits::broken(judge.limits, &call) {
                let span = bus.get(index).copied().unwrap_or(*head);
                let finding = Finding::MapLimit { place, kind, index, span, why };
                match judge.segments {
                    When::Later => pending.push(finding),
                    When::Now | When::Never => self.report(finding),
                }
            }
        }
        if judge.offsets
            && let Some(shifted) = limits::shifted(judge.limits, &call)
        {
            let limits::Shifted { index, cpu_addr, mask } = shifted;
            let span = bus.get(index).copied().unwrap_or(*head);
            self.report(Finding::MapOffset { place, index, span, cpu_addr, mask });
        }
        let lines = if kind == MapKind::Resource { Vec::new() } else { self.lines.of(cpu) };
        self.check_lines(&lines, &call, mapping);

        let spans = cpu.len().saturating_add(bus.len());
        if self.spans.saturating_add(spans) > self.options.spans_max {
            self.leave_out(spans, place);
            return None;
        }
        let id = self.next_id;
        // One mapping a nanosecond would take five centuries to come round.
        self.next_id = id.wrapping_add(1);
        self.spans = self.spans.saturating_add(spans);
        self.heads.insert((head.addr, id));
        self.bus.insert_all(bus, id);
        self.lines.insert(&lines, direction, id);
        let needed = kind.error_is_in_address() && !call.error_checked;
        let error = if needed { ErrorCheck::Missing } else { ErrorCheck::NotNeeded };
        let (cpu, bus) = (cpu.to_vec(), bus.to_vec());
        self.live.insert(id, Record { mapping, cpu, bus, error, pending, dropped: false });
        Some(id)
    }

    /// Counts a mapping that is not recorded.
    pub(super) fn leave_out(&mut self, spans: usize, place: Place) {
        if self.unrecorded == 0 {
            let (live, max) = (self.spans, self.options.spans_max);
            self.report(Finding::RecordFull { place, spans, live, max });
        }
        self.unrecorded = self.unrecorded.saturating_add(1);
    }

    /// Reports what was found of a mapping and held back.
    fn report_pending(&mut self, id: u64) {
        let pending = self.live.get_mut(&id).map(|record| core::mem::take(&mut record.pending));
        pending.into_iter().flatten().for_each(|finding| self.report(finding));
    }

    /// Each kind of forbidden memory is told once for a mapping.
    fn check_regions(&mut self, call: &MapCall<'_>, place: Place) {
        let kind = call.kind;
        let mut told = Vec::new();
        for span in call.cpu.iter().copied().filter(|span| span.len != 0) {
            let region = self.regions.region(span);
            if !region.allows(kind) && !told.contains(&region) {
                told.push(region);
                self.report(Finding::MapRegion { place, kind, region, span });
            }
        }
    }

    fn check_lines(&mut self, lines: &[Span], call: &MapCall<'_>, mapping: Mapping) {
        let place = mapping.place;
        if !call.skip_cpu_sync
            && let Some((line_addr, other)) = self.lines.conflict(lines, call.direction)
            && let Some(other) = self.live.get(&other).map(|record| record.mapping)
        {
            let line_len = self.lines.line_len();
            self.report(Finding::LineShared { place, line_addr, line_len, mapping, other });
        }
        if let Some((line_addr, overlaps)) = self.lines.most_written(lines, call.direction)
            && overlaps > OVERLAPS_MAX
        {
            let max = OVERLAPS_MAX;
            self.report(Finding::LineOverlaps { place, line_addr, overlaps, max, mapping });
        }
    }

    fn report(&mut self, finding: Finding) {
        if self.findings.len() < self.options.findings_max {
            self.findings.push(finding);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Reports what is only sure while every mapping is recorded.
    fn report_if_complete(&mut self, finding: Finding) {
        if self.unrecorded == 0 {
            self.report(finding);
        }
    }

    fn since(&self, mark: usize) -> &[Finding] {
        self.findings.get(mark..).unwrap_or_default()
    }
}

/// The range of the ids of all mappings that start at a bus address.
const fn starts_at(addr: u64) -> core::ops::RangeInclusive<(u64, u64)> {
    (addr, 0)..=(addr, u64::MAX)
}
