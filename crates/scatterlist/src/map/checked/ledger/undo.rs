//! The end of mappings: unmapped one by one, or left over when their device is released.

use core::panic::Location;

use super::{ErrorCheck, Ledger, Record, starts_at};
use crate::Addr;
use crate::map::checked::call::{Call, MapKind};
use crate::map::checked::finding::{Finding, Freed, Place};

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
            if let Some(mapping) = self.forget(id, place) {
                self.report(Finding::Leaked { place, live, mapping });
            }
        }
        self.unrecorded = 0;
        self.since(mark)
    }

    fn unmap_at(&mut self, call: Call, place: Place) {
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
        let unchecked = self.is_unchecked(id, addr);
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
            self.report(Finding::ErrorUnchecked { place, mapping });
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
        self.history.push(Freed { mapping, place }, bus);
        Some(mapping)
    }
}
