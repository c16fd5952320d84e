//! The end of mappings: unmapped one by one, dropped while a device holds them, or left over when it is released.

use core::panic::Location;

use super::{ErrorCheck, Ledger, Record, starts_at};
use crate::map::Leak;
use crate::map::checked::call::{Call, MapKind, Span};
use crate::map::checked::finding::{Finding, Freed, Place};
use crate::{Addr, BusAddr};

/// What an unmapping and the mapping that it means have in common.
#[derive(Clone, Copy)]
struct Agreement {
    len: bool,
    kind: bool,
    cpu_addr: bool,
    entries: bool,
    direction: bool,
}

impl Agreement {
    fn of(call: &Call, record: &Record) -> Self {
        let mapping = &record.mapping;
        let both = |kind: MapKind| call.kind == kind && mapping.kind == kind;
        Self {
            len: call.len.is_none_or(|len| len == mapping.bytes),
            kind: call.kind == mapping.kind,
            // Of another kind of mapping there is nothing to compare.
            cpu_addr: !both(MapKind::Coherent) || call.cpu_addr.is_none_or(|addr| addr == mapping.cpu_addr),
            entries: !both(MapKind::List) || call.entries.is_none_or(|entries| entries == mapping.entries),
            direction: call.direction == mapping.direction,
        }
    }

    fn count(self) -> usize {
        let Self { len, kind, cpu_addr, entries, direction } = self;
        [len, kind, cpu_addr, entries, direction].into_iter().filter(|agrees| *agrees).count()
    }

    const fn is_full(self) -> bool {
        self.len && self.kind && self.cpu_addr && self.entries && self.direction
    }
}

impl Ledger {
    /// Ends the mapping that starts at `call.bus_addr`: of several that do, the one that agrees best. It is gone from
    /// the record then, also when something does not agree.
    #[track_caller]
    pub fn unmap(&mut self, call: Call) -> &[Finding] {
        let (place, mark) = (Location::caller(), self.findings.len());
        self.unmap_at(call, place);
        self.since(mark)
    }

    /// Ends the record of the device: what is still mapped has leaked, each a finding, and is forgotten.
    #[track_caller]
    pub fn release(&mut self) -> &[Finding] {
        let (place, mark) = (Location::caller(), self.findings.len());
        let live = self.live.len();
        while let Some(id) = self.live.keys().next().copied() {
            self.report_pending(id);
            let dropped = self.live.get(&id).is_some_and(|record| record.dropped);
            if let Some(mapping) = self.forget(id, place)
                && !dropped
            {
                self.report(Finding::Leaked { place, live, mapping });
            }
        }
        self.unrecorded = 0;
        self.since(mark)
    }

    /// Notes that what a device may hold was dropped. It stays mapped, and is not told again at the release.
    #[track_caller]
    pub fn dropped_in_flight(&mut self, leak: Leak) -> &[Finding] {
        let mark = self.findings.len();
        let Leak { what, bytes, first } = leak;
        let id = first.and_then(|first| self.held(first, bytes));
        if let Some(id) = id {
            self.report_pending(id);
        }
        let record = id.and_then(|id| self.live.get_mut(&id));
        let mapping = record.map(|record| {
            record.dropped = true;
            record.mapping
        });
        let place = mapping.map_or(Location::caller(), |mapping| mapping.place);
        self.report(Finding::DroppedInFlight { place, what, bytes, first, mapping });
        self.since(mark)
    }

    /// Returns the mapping that starts at `first`, of `bytes` if there is one such, and not dropped yet.
    fn held(&self, first: BusAddr, bytes: u64) -> Option<u64> {
        let ids = self.heads.range(starts_at(first.raw())).map(|(_, id)| *id);
        let rank = |id: &u64| {
            let record = self.live.get(id)?;
            (!record.dropped).then_some(record.mapping.bytes == bytes)
        };
        ids.filter_map(|id| Some((rank(&id)?, core::cmp::Reverse(id)))).max().map(|(_, id)| id.0)
    }

    /// Ends mapping `id`, whose bus addresses start at that of the call; `cpu` is the list that the caller passed.
    /// Says whether it is the list that was mapped, as far as is known.
    pub(in crate::map::checked) fn unmap_id(
        &mut self,
        id: u64,
        call: Call,
        cpu: &[Span],
        place: Place,
    ) -> bool {
        let Some(record) = self.live.get(&id) else {
            let (bus_addr, freed) = (call.bus_addr, self.history.last_at(call.bus_addr.raw()));
            self.report(Finding::UnmapUnknown { place, bus_addr, inside: None, freed });
            return true;
        };
        let agreement = Agreement::of(&call, record);
        let (mapping, other) = (record.mapping, record.other_memory(cpu));
        if place != mapping.place {
            self.report_pending(id);
        }
        if let Some((index, span)) = other {
            self.report(Finding::OtherMemory { place, index, span, mapping });
        }
        self.end(id, agreement, call, place);
        other.is_none() && agreement.len && agreement.entries
    }

    pub(in crate::map::checked) fn unmap_at(&mut self, call: Call, place: Place) {
        let addr = call.bus_addr.raw();
        if addr == self.options.error_addr {
            self.report(Finding::UnmapError { place, addr, failed: self.failed });
            return;
        }
        let Some((id, agreement)) = self.meant(&call) else {
            let inside = self.bus.containing(addr).next().and_then(|owner| self.live.get(&owner.id));
            let (inside, freed) = (inside.map(|record| record.mapping), self.history.last_at(addr));
            let bus_addr = call.bus_addr;
            self.report_if_complete(Finding::UnmapUnknown { place, bus_addr, inside, freed });
            return;
        };
        if self.unrecorded > 0 && !agreement.is_full() {
            // It may be one that is not recorded and starts at the same address.
            return;
        }
        self.report_pending(id);
        self.end(id, agreement, call, place);
    }

    /// Takes a mapping out of the record, and reports what the call says of it that is not so.
    fn end(&mut self, id: u64, agreement: Agreement, call: Call, place: Place) {
        let unchecked = self.is_unchecked(id, call.bus_addr.raw());
        let Some(mapping) = self.forget(id, place) else { return };
        let Call { kind, len, direction, entries, cpu_addr, .. } = call;
        if !agreement.len {
            self.report(Finding::UnmapLen { place, len: len.unwrap_or(mapping.bytes), mapping });
        }
        if !agreement.kind {
            self.report(Finding::UnmapKind { place, kind, mapping });
        }
        if !agreement.cpu_addr {
            let cpu_addr = cpu_addr.unwrap_or(mapping.cpu_addr);
            self.report(Finding::UnmapCpuAddr { place, cpu_addr, mapping });
        }
        if !agreement.entries {
            let entries = entries.unwrap_or(mapping.entries);
            self.report(Finding::UnmapEntries { place, entries, mapping });
        }
        if !agreement.direction {
            self.report(Finding::UnmapDirection { place, direction, mapping });
        }
        if unchecked {
            // A mapping that is not recorded may have been meant, whose check found nothing to mark.
            self.report_if_complete(Finding::ErrorUnchecked { place, mapping });
        }
    }

    /// Returns the mapping that an unmapping means, the oldest among equals.
    fn meant(&self, call: &Call) -> Option<(u64, Agreement)> {
        let mut best: Option<(u64, Agreement)> = None;
        for (_, id) in self.heads.range(starts_at(call.bus_addr.raw())) {
            let Some(record) = self.live.get(id) else { continue };
            let agreement = Agreement::of(call, record);
            if agreement.is_full() {
                return Some((*id, agreement));
            }
            if best.is_none_or(|(_, most)| agreement.count() > most.count()) {
                best = Some((*id, agreement));
            }
        }
        best
    }

    /// Says whether a mapping was never checked for failure. A check names an address only: where several mappings
    /// start there, this one takes a check that another was given.
    fn is_unchecked(&mut self, id: u64, addr: u64) -> bool {
        if self.live.get(&id).is_none_or(|record| record.error != ErrorCheck::Missing) {
            return false;
        }
        let (heads, live) = (&self.heads, &mut self.live);
        for (_, other) in heads.range(starts_at(addr)) {
            if let Some(record) = live.get_mut(other)
                && record.error == ErrorCheck::Made
            {
                record.error = ErrorCheck::Missing;
                return false;
            }
        }
        true
    }

    /// Takes a mapping out of the record.
    fn forget(&mut self, id: u64, place: Place) -> Option<super::Mapping> {
        let Record { mapping, cpu, bus, .. } = self.live.remove(&id)?;
        self.heads.remove(&(mapping.bus_addr.raw(), id));
        self.bus.remove_all(&bus, id);
        self.lines.remove(&self.lines.of(&cpu), mapping.direction, id);
        self.spans = self.spans.saturating_sub(cpu.len().saturating_add(bus.len()));
        self.history.push(Freed { mapping, place }, cpu, bus);
        Some(mapping)
    }
}
