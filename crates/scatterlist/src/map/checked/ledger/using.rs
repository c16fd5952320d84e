//! What happens while a mapping lives: syncs by the driver, accesses by the device, and what a fake device saw of the
//! CPU.

use core::cmp::Reverse;
use core::ops::Range;
use core::panic::Location;

use super::{Ledger, Record};
use crate::map::DmaDirection;
use crate::map::checked::call::{Call, MapKind, Span, Touched, bytes_of};
use crate::map::checked::finding::{Finding, Mapping, Place, SyncFor};
use crate::map::checked::spans::Owner;
use crate::{Addr, BusAddr};

impl Record {
    /// Returns how many bytes of the bus follow each other from `addr` on, which lies in segment `index`; counts no
    /// further than to `enough`.
    fn adjacent(&self, index: usize, addr: u64, enough: u64) -> u64 {
        let mut spans = self.bus.iter().skip(index);
        let Some(first) = spans.next() else { return 0 };
        let mut last = first.last();
        let mut bytes = last.saturating_sub(addr).saturating_add(1);
        for span in spans {
            if bytes >= enough || span.len == 0 || last.checked_add(1) != Some(span.addr) {
                break;
            }
            last = span.last();
            bytes = bytes.saturating_add(span.len);
        }
        bytes
    }

    /// Returns the bus address of byte `at`, or just past the last one where there is no such byte.
    fn bus_at(&self, at: u64) -> BusAddr {
        let mut rest = at;
        for span in &self.bus {
            if rest < span.len {
                return BusAddr::new(span.addr.saturating_add(rest));
            }
            rest = rest.saturating_sub(span.len);
        }
        BusAddr::new(self.bus.last().map_or(0, |span| span.addr.saturating_add(span.len)))
    }

    /// Returns the first segment of `cpu` that is not the one that was mapped. Where only the count differs, that is
    /// told as such.
    pub(super) fn other_memory(&self, cpu: &[Span]) -> Option<(usize, Span)> {
        let mut both = cpu.iter().zip(&self.cpu).enumerate();
        both.find(|(_, (span, mapped))| span != mapped).map(|(index, (span, _))| (index, *span))
    }

    /// Returns how many bytes of the whole mapping are left from `addr` on, which lies in segment `index`.
    fn left(&self, index: usize, addr: u64) -> u64 {
        let before = self.bus.get(index).map_or(0, |span| addr.saturating_sub(span.addr));
        bytes_of(self.bus.get(index..).unwrap_or_default()).saturating_sub(before)
    }
}

/// The candidate of the highest rank, the oldest among equals.
fn best<'a, R: Ord>(
    found: impl Iterator<Item = (Owner, &'a Record)>,
    rank: impl Fn(Owner, &Record) -> R,
) -> Option<(Owner, &'a Record)> {
    found.max_by_key(|(owner, record)| (rank(*owner, record), Reverse(owner.id)))
}

impl Ledger {
    /// The CPU is to see what the device wrote, in all or part of a mapping.
    ///
    /// A list is named by its entries and synced whole; the function's `kind` is not compared, since parts of any
    /// mapping may be synced as a single buffer.
    #[track_caller]
    pub fn sync_for_cpu(&mut self, call: Call) -> &[Finding] {
        let (place, mark) = (Location::caller(), self.findings.len());
        self.sync_at(call, SyncFor::Cpu, place);
        self.since(mark)
    }

    /// The device is to see what the CPU wrote, in all or part of a mapping.
    #[track_caller]
    pub fn sync_for_device(&mut self, call: Call) -> &[Finding] {
        let (place, mark) = (Location::caller(), self.findings.len());
        self.sync_at(call, SyncFor::Device, place);
        self.since(mark)
    }

    /// The device reads or `writes` `len` bytes. One access lies in one mapping: going on into the next is a finding
    /// even where that is adjacent, since a driver cannot mean it.
    #[track_caller]
    pub fn device_access(&mut self, bus_addr: BusAddr, len: u64, writes: bool) -> &[Finding] {
        self.device_access_at(bus_addr, len, writes, Location::caller())
    }

    pub(in crate::map::checked) fn device_access_at(
        &mut self,
        bus_addr: BusAddr,
        len: u64,
        writes: bool,
        place: Place,
    ) -> &[Finding] {
        let mark = self.findings.len();
        let held_back = self.reaching(bus_addr.raw()).find(|(_, record)| !record.pending.is_empty());
        if let Some((owner, _)) = held_back {
            self.report_pending(owner.id);
        }
        if let Err(finding) = self.check_access(bus_addr, len, writes, place) {
            self.report_if_complete(finding);
        }
        self.since(mark)
    }

    /// Somebody saw that the CPU wrote a mapping while the device owned it: byte `offset`, counted from the address.
    #[track_caller]
    pub fn cpu_wrote_while_device_owned(&mut self, at: Touched, offset: u64) -> &[Finding] {
        let mark = self.findings.len();
        self.cpu_wrote_at(at, offset, Location::caller());
        self.since(mark)
    }

    pub(in crate::map::checked) fn cpu_wrote_at(&mut self, at: Touched, offset: u64, place: Place) {
        let mapping = self.touched(at);
        self.report(Finding::CpuWrote { place, at, offset, mapping });
    }

    /// Somebody saw that the CPU read what the device had written, before any sync: byte `offset`, counted from the
    /// address.
    #[track_caller]
    pub fn cpu_read_without_sync(&mut self, at: Touched, offset: u64) -> &[Finding] {
        let (place, mark) = (Location::caller(), self.findings.len());
        let mapping = self.touched(at);
        self.report(Finding::CpuReadUnsynced { place, at, offset, mapping });
        self.since(mark)
    }

    fn sync_at(&mut self, call: Call, sync_for: SyncFor, place: Place) {
        let (bus_addr, addr) = (call.bus_addr, call.bus_addr.raw());
        let as_list = |record: &Record| call.kind == MapKind::List && record.mapping.kind == MapKind::List;
        let reach = |owner: Owner, record: &Record| match as_list(record) {
            true => record.left(owner.index, addr),
            false => record.adjacent(owner.index, addr, call.len.unwrap_or(0)),
        };
        let fits = |owner, record: &Record| call.len.is_none_or(|len| len <= reach(owner, record));
        let turns = |record: &Record| {
            record.mapping.direction == DmaDirection::Both || record.mapping.direction == call.direction
        };
        let counts = |record: &Record| {
            !as_list(record) || call.entries.is_none_or(|entries| entries == record.mapping.entries)
        };
        let found =
            best(self.reaching(addr), |owner, record| (fits(owner, record), turns(record), counts(record)));
        let Some((owner, record)) = found else {
            let freed = self.history.last_at(addr);
            self.report_if_complete(Finding::SyncUnknown { place, sync_for, bus_addr, freed });
            return;
        };
        let (mapping, direction) = (record.mapping, call.direction);
        let (reach, fits, turns, counts) =
            (reach(owner, record), fits(owner, record), turns(record), counts(record));
        if !fits {
            let len = call.len.unwrap_or(reach);
            self.report_if_complete(Finding::SyncRange {
                place,
                sync_for,
                bus_addr,
                len,
                fits: reach,
                mapping,
            });
        }
        if !turns && self.unrecorded == 0 {
            self.report_turned(mapping, sync_for, direction, place);
        }
        if !counts {
            let entries = call.entries.unwrap_or(mapping.entries);
            self.report_if_complete(Finding::SyncEntries { place, sync_for, entries, mapping });
        }
    }

    fn report_turned(&mut self, mapping: Mapping, sync_for: SyncFor, direction: DmaDirection, place: Place) {
        self.report(Finding::SyncDirection { place, sync_for, direction, mapping });
        match (sync_for, mapping.direction) {
            (SyncFor::Cpu, DmaDirection::ToDevice) => self.report(Finding::SyncReadOnly { place, mapping }),
            (SyncFor::Device, DmaDirection::FromDevice) => {
                self.report(Finding::SyncWriteOnly { place, mapping });
            }
            _ => {}
        }
    }

    /// Bytes `range` of mapping `id` are synced; the call names it by its first bus address, and `cpu` is the list that
    /// the caller passed. Says whether these are bytes of the list that was mapped, as far as is known.
    pub(in crate::map::checked) fn sync_id(
        &mut self,
        id: u64,
        call: Call,
        (sync_for, range): (SyncFor, &Range<u64>),
        cpu: &[Span],
        place: Place,
    ) -> bool {
        self.report_pending(id);
        let Some(record) = self.live.get(&id) else {
            let (bus_addr, freed) = (call.bus_addr, self.history.last_at(call.bus_addr.raw()));
            self.report(Finding::SyncUnknown { place, sync_for, bus_addr, freed });
            return true;
        };
        let (mapping, other, direction) = (record.mapping, record.other_memory(cpu), call.direction);
        let turns = mapping.direction == DmaDirection::Both || mapping.direction == direction;
        let entries = call.entries.filter(|entries| *entries != mapping.entries);
        let fits = range.start <= range.end && range.end <= mapping.bytes;
        if !fits {
            let fits = mapping.bytes.saturating_sub(range.start);
            let bus_addr = record.bus_at(range.start);
            let len = range.end.saturating_sub(range.start);
            self.report(Finding::SyncRange { place, sync_for, bus_addr, len, fits, mapping });
        }
        if !turns {
            self.report_turned(mapping, sync_for, direction, place);
        }
        if let Some(entries) = entries {
            self.report(Finding::SyncEntries { place, sync_for, entries, mapping });
        }
        if let Some((index, span)) = other {
            self.report(Finding::OtherMemory { place, index, span, mapping });
        }
        fits && entries.is_none() && other.is_none()
    }

    fn check_access(&self, bus_addr: BusAddr, len: u64, writes: bool, place: Place) -> Result<(), Finding> {
        if len == 0 {
            return Ok(());
        }
        let addr = bus_addr.raw();
        let fits = |owner: Owner, record: &Record| len <= record.adjacent(owner.index, addr, len);
        let allows = |record: &Record| match record.mapping.direction {
            DmaDirection::ToDevice => !writes,
            DmaDirection::FromDevice => writes,
            DmaDirection::Both => true,
        };
        let found = best(self.reaching(addr), |owner, record| (fits(owner, record), allows(record)));
        let Some((owner, record)) = found else {
            let freed = self.history.last_at(addr);
            return Err(Finding::DeviceUnmapped { place, bus_addr, len, writes, freed });
        };
        let mapping = record.mapping;
        if !fits(owner, record) {
            let fits = record.adjacent(owner.index, addr, len);
            return Err(Finding::DeviceOutside { place, bus_addr, len, fits, writes, mapping });
        }
        if !allows(record) {
            return Err(Finding::DeviceDirection { place, bus_addr, len, writes, mapping });
        }
        Ok(())
    }

    /// Iterates over the live mappings with a segment at this bus address.
    fn reaching(&self, addr: u64) -> impl Iterator<Item = (Owner, &Record)> + '_ {
        self.bus.containing(addr).filter_map(|owner| Some((owner, self.live.get(&owner.id)?)))
    }

    /// The live mapping, or else the last one: what was written is often seen only when the mapping ends.
    fn touched(&self, at: Touched) -> Option<Mapping> {
        let record = match at {
            Touched::Bus(addr) => best(self.reaching(addr.raw()), |_, _| ()).map(|(_, record)| record),
            Touched::Cpu(addr) => {
                let has = |record: &&Record| record.cpu.iter().any(|span: &Span| span.contains(addr));
                self.lines.containing(addr).filter_map(|id| self.live.get(&id)).find(has)
            }
        };
        let freed = || match at {
            Touched::Bus(addr) => self.history.last_at(addr.raw()),
            Touched::Cpu(addr) => self.history.last_at_cpu(addr),
        };
        record.map(|record| record.mapping).or_else(|| freed().map(|freed| freed.mapping))
    }
}
