//! One mistake each. The comment before a scenario of `vectors/debug.json` names its id.
#![expect(unsafe_code, reason = "the mistakes that safe code cannot make")]

use scatterlist::map::DmaDirection::{Both, FromDevice, ToDevice};
use scatterlist::map::checked::{
    Checked, Finding, Freed, LedgerOptions, MapKind, Region, Span, SyncFor, Touched,
};
use scatterlist::map::{
    Backend as _, CoherentLayout, CpuSync, DmaDevice as _, FromDevice as FromDeviceType, MapError,
    RawCoherent,
};
use scatterlist::plan::Why;
use scatterlist::{Addr as _, BusAddr, CacheCoherence, Lease, LimitId, Limits, Source};

use super::support::*;

fn hard(pairs: &[(LimitId, u64)]) -> Limits {
    pairs.iter().fold(Limits::builder(), |builder, &(id, value)| builder.hard(id, value)).build().unwrap()
}

fn plain() -> Device {
    device(&Limits::default())
}

/// A device whose memory the CPU caches, on lines of 64 bytes.
fn synced() -> Device {
    device(&Limits::builder().coherence(CacheCoherence::Synced).build().unwrap())
}

/// Ends a raw mapping as it must be.
fn unmap(device: &Device, raw: Raw) {
    // SAFETY: the parts of one mapping; no device was told.
    unsafe { device.raw_unmap(&raw.list[..], at_caller(raw.usage), raw.mapping) };
}

// DEBUG-01
#[test]
fn a_second_unmapping_is_found_and_not_passed_on() {
    let (device, memory) = (plain(), Lines::new(1));
    let (Raw { list, usage, mapping, bus }, mapped) =
        (raw_map(&device, &[memory.segment(0, 64)], ToDevice), line!());
    // SAFETY: what the second call must not do.
    let copy = unsafe { core::ptr::read(&mapping) };
    let first = at_caller(usage);
    // SAFETY: the parts of one mapping; no device was told.
    unsafe { device.raw_unmap(&list[..], first, mapping) };
    assert_eq!(device.findings(), []);
    let second = at_caller(usage);
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_unmap(&list[..], second, copy) };
    let found = taken(&device, second.place.line());
    let [Finding::UnmapUnknown { bus_addr, inside: None, freed: Some(Freed { mapping, place }), .. }] =
        found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((bus_addr, place), (bus[0].addr(), first.place));
    assert_eq!((mapping.place.line(), mapping.bytes, mapping.entries), (mapped, 64, 1));
    assert_eq!(device.device().seen().unmaps, 1);
}

#[test]
fn the_second_unmapping_of_one_does_not_end_another_at_the_same_address() {
    let (device, memory) = (plain(), Lines::new(1));
    let list = [memory.segment(0, 64)];
    let one = raw_map(&device, &list, ToDevice);
    let other = raw_map(&device, &list, ToDevice);
    // SAFETY: what the second call must not do.
    let copy = unsafe { core::ptr::read(&one.mapping) };
    let usage = one.usage;
    unmap(&device, one);
    let again = at_caller(usage);
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_unmap(&list[..], again, copy) };
    assert!(matches!(taken(&device, again.place.line())[..], [Finding::UnmapUnknown { .. }]));
    unmap(&device, other);
    assert_eq!(device.findings(), []);
    assert_eq!(device.device().seen().unmaps, 2);
}

// DEBUG-07
#[test]
fn unmapped_in_another_direction_is_passed_on_in_its_own() {
    let (device, memory) = (plain(), Lines::new(1));
    let (raw, mapped) = (raw_map(&device, &[memory.segment(0, 64)], ToDevice), line!());
    let usage = at_caller(raw.usage);
    let usage = scatterlist::map::Usage { direction: FromDevice, ..usage };
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_unmap(&raw.list[..], usage, raw.mapping) };
    let found = taken(&device, usage.place.line());
    let [Finding::UnmapDirection { direction: FromDevice, mapping, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(mapping.place.line(), mapped);
    let seen = device.device().seen();
    assert_eq!((seen.unmaps, seen.direction), (1, Some(ToDevice)));
}

// DEBUG-06, DEBUG-03
#[test]
fn unmapped_with_part_of_its_list_is_not_passed_on() {
    let (device, memory) = (plain(), Lines::new(8));
    let raw = raw_map(&device, &[memory.segment(0, 64), memory.segment(128, 64)], ToDevice);
    let usage = at_caller(raw.usage);
    // SAFETY: what the first call must not do.
    let copy = unsafe { core::ptr::read(&raw.mapping) };
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_unmap(&raw.list[..1], usage, raw.mapping) };
    let found = taken(&device, usage.place.line());
    assert!(
        matches!(
            found[..],
            [Finding::UnmapLen { len: 64, mapping, .. }, Finding::UnmapEntries { entries: 1, .. }]
            if mapping.entries == 2 && mapping.bytes == 128
        ),
        "{found:?}"
    );
    assert_eq!(device.device().seen().unmaps, 0);
    // It lives inside still, so the right call reaches it; the ledger has closed the case.
    let usage = at_caller(usage);
    // SAFETY: the parts of one mapping; no device was told.
    unsafe { device.raw_unmap(&raw.list[..], usage, copy) };
    assert!(matches!(taken(&device, usage.place.line())[..], [Finding::UnmapUnknown { .. }]));
    assert_eq!(device.device().seen().unmaps, 1);
}

#[test]
fn unmapped_with_other_memory_is_not_passed_on() {
    let (device, memory) = (plain(), Lines::new(8));
    let raw = raw_map(&device, &[memory.segment(0, 64), memory.segment(128, 64)], ToDevice);
    let usage = at_caller(raw.usage);
    let other = [raw.list[0], memory.segment(256, 64)];
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_unmap(&other[..], usage, raw.mapping) };
    let found = taken(&device, usage.place.line());
    assert!(matches!(found[..], [Finding::OtherMemory { index: 1, span, .. }] if span == other[1].into()));
    assert!(found[0].to_string().contains("passes segment 1, 64 bytes at "), "{}", found[0]);
    assert_eq!(device.device().seen().unmaps, 0);
}

// DEBUG-10
#[test]
fn a_sync_past_the_end_is_not_passed_on() {
    let (device, memory) = (plain(), Lines::new(1));
    let raw = raw_map(&device, &[memory.segment(0, 64)], FromDevice);
    let usage = at_caller(raw.usage);
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_sync_for_cpu(&raw.list[..], usage, &raw.mapping, 32..96) };
    let found = taken(&device, usage.place.line());
    let [Finding::SyncRange { sync_for: SyncFor::Cpu, bus_addr, len: 64, fits: 32, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(bus_addr.raw(), raw.addr().raw() + 32);
    for range in [64..65, 100..u64::MAX, core::ops::Range { start: 8, end: 4 }] {
        let usage = at_caller(raw.usage);
        // SAFETY: none; this is the mistake.
        unsafe { device.raw_sync_for_device(&raw.list[..], usage, &raw.mapping, range) };
        let found = taken(&device, usage.place.line());
        assert!(matches!(found[..], [Finding::SyncRange { sync_for: SyncFor::Device, .. }]), "{found:?}");
    }
    assert_eq!(device.device().seen().syncs, 0);
    unmap(&device, raw);
    assert_eq!(device.findings(), []);
}

#[test]
fn a_sync_across_segments_that_are_not_adjacent_is_right() {
    let (device, memory) = (plain(), Lines::new(8));
    let raw = raw_map(&device, &[memory.segment(0, 64), memory.segment(256, 64)], FromDevice);
    // SAFETY: a live mapping, and within it; no device was told.
    unsafe { device.raw_sync_for_cpu(&raw.list[..], raw.usage, &raw.mapping, 10..128) };
    // SAFETY: as above.
    unsafe { device.raw_sync_for_device(&raw.list[..], raw.usage, &raw.mapping, 0..0) };
    assert_eq!((device.findings(), device.device().seen().syncs), (vec![], 2));
    unmap(&device, raw);
}

// DEBUG-11, DEBUG-12, DEBUG-13
#[test]
fn a_sync_in_another_direction_is_passed_on_in_its_own() {
    let (device, memory) = (plain(), Lines::new(4));
    let reads = raw_map(&device, &[memory.segment(0, 64)], ToDevice);
    let usage = scatterlist::map::Usage { direction: FromDevice, ..at_caller(reads.usage) };
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_sync_for_cpu(&reads.list[..], usage, &reads.mapping, 0..64) };
    let found = taken(&device, usage.place.line());
    assert!(matches!(found[..], [Finding::SyncDirection { .. }, Finding::SyncReadOnly { .. }]), "{found:?}");
    assert_eq!(device.device().seen().direction, Some(ToDevice));
    let writes = raw_map(&device, &[memory.segment(128, 64)], FromDevice);
    let usage = scatterlist::map::Usage { direction: ToDevice, ..at_caller(writes.usage) };
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_sync_for_device(&writes.list[..], usage, &writes.mapping, 0..64) };
    let found = taken(&device, usage.place.line());
    assert!(matches!(found[..], [Finding::SyncDirection { .. }, Finding::SyncWriteOnly { .. }]), "{found:?}");
    unmap(&device, reads);
    unmap(&device, writes);
}

// DEBUG-09
#[test]
fn a_sync_after_the_unmapping_is_not_passed_on() {
    let (device, memory) = (plain(), Lines::new(1));
    let Raw { list, usage, mapping, .. } = raw_map(&device, &[memory.segment(0, 64)], FromDevice);
    // SAFETY: what the second call must not do.
    let copy = unsafe { core::ptr::read(&mapping) };
    // SAFETY: the parts of one mapping; no device was told.
    unsafe { device.raw_unmap(&list[..], usage, mapping) };
    let late = at_caller(usage);
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_sync_for_cpu(&list[..], late, &copy, 0..64) };
    let found = taken(&device, late.place.line());
    assert!(matches!(found[..], [Finding::SyncUnknown { freed: Some(_), .. }]), "{found:?}");
    assert_eq!(device.device().seen().syncs, 0);
}

// DEBUG-15
#[test]
fn a_sync_with_part_of_the_list_is_not_passed_on() {
    let (device, memory) = (plain(), Lines::new(8));
    let raw = raw_map(&device, &[memory.segment(0, 64), memory.segment(128, 64)], FromDevice);
    let usage = at_caller(raw.usage);
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_sync_for_cpu(&raw.list[..1], usage, &raw.mapping, 0..64) };
    assert!(matches!(taken(&device, usage.place.line())[..], [Finding::SyncEntries { entries: 1, .. }]));
    assert_eq!(device.device().seen().syncs, 0);
    unmap(&device, raw);
}

// DEBUG-16, DEBUG-17, DEBUG-18
#[test]
fn two_leases_that_share_a_cache_line_are_found_where_a_device_writes() {
    let (device, memory) = (synced(), Lines::new(1));
    let first = raw_map(&device, &[memory.segment(0, 32)], FromDevice);
    let half = [memory.segment(32, 32)];
    let (second, line) = (raw_map(&device, &half, FromDevice), line!());
    let found = taken(&device, line);
    let [Finding::LineShared { line_len: 64, line_addr, mapping, other, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(line_addr, first.list[0].addr().raw());
    assert_eq!((mapping.place.line(), other.place), (line, first.usage.place));
    unmap(&device, second);
    // The caller looks after the caches.
    let own = raw_map_as(&device, &half, FromDevice, CpuSync::Skip);
    assert_eq!(device.findings(), []);
    unmap(&device, own);
    unmap(&device, first);
    // Devices that only read may share.
    let reads = [0, 32].map(|at| raw_map(&device, &[memory.segment(at, 32)], ToDevice));
    reads.into_iter().for_each(|raw| unmap(&device, raw));
    assert_eq!(device.findings(), []);
}

#[test]
fn a_device_that_sees_the_caches_may_share_lines_but_not_bytes() {
    let (device, memory) = (plain(), Lines::new(1));
    let first = raw_map(&device, &[memory.segment(0, 32)], FromDevice);
    let apart = raw_map(&device, &[memory.segment(32, 16)], FromDevice);
    assert_eq!(device.findings(), []);
    let (same, line) = (raw_map(&device, &[memory.segment(47, 16)], FromDevice), line!());
    assert!(matches!(taken(&device, line)[..], [Finding::LineShared { line_len: 1, .. }]));
    [first, apart, same].into_iter().for_each(|raw| unmap(&device, raw));
}

#[test]
fn two_leases_of_the_same_bytes_are_found_through_the_safe_calls() {
    let (device, memory) = (plain(), std::sync::Arc::new(Lines::new(2)));
    let lease = |at| {
        let list = memory.segment(at, 64).into();
        // SAFETY: none; two leases share bytes, this is the mistake.
        unsafe { Lease::from_raw(list, std::sync::Arc::clone(&memory)) }
    };
    let first = (&device).map(lease(0), FromDeviceType).unwrap();
    let (second, line) = ((&device).map(lease(32), FromDeviceType).unwrap(), line!());
    assert!(matches!(taken(&device, line)[..], [Finding::LineShared { .. }]));
    drop((first, second));
    assert_eq!(device.with_ledger(|ledger| ledger.live().len()), 0);
}

// DEBUG-19, DEBUG-20, DEBUG-21
#[test]
fn memory_that_must_not_be_mapped_is_found() {
    let on_stack = Lines::new(1);
    let segment = on_stack.segment(0, 64);
    let stack = segment.addr().raw();
    let regions = move |addr: u64, len: u64| {
        let touches = addr < stack + 64 && stack < addr + len;
        if touches { Region::Stack } else { Region::Ordinary }
    };
    let device = plain().with_regions(regions);
    let (raw, line) = (raw_map(&device, &[segment], ToDevice), line!());
    let found = taken(&device, line);
    let [Finding::MapRegion { kind: MapKind::List, region: Region::Stack, span, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(span, Span::new(stack, 64));
    unmap(&device, raw);
    let elsewhere = Lines::new(1);
    let raw = raw_map(&device, &[elsewhere.segment(0, 64)], ToDevice);
    unmap(&device, raw);
    assert_eq!(device.findings(), []);
}

// DEBUG-22
#[test]
fn a_segment_that_is_longer_than_the_device_takes_is_found() {
    let limits = hard(&[(LimitId::SegmentLenMax, 128)]);
    let why = Why { limit: LimitId::SegmentLenMax, value: 256, need: 128, source: Source::User };
    let memory = Lines::new(4);
    let list = [memory.segment(0, 256)];
    // A driver that plans cuts it.
    let planned = device(&limits);
    let raw = raw_map(&planned, &list, ToDevice);
    unmap(&planned, raw);
    assert_eq!(planned.findings(), []);
    // One that does not tells the device a segment that it does not take.
    let device = device(&limits).without_planner();
    let (raw, line) = (raw_map(&device, &list, ToDevice), line!());
    assert_eq!(device.findings(), [], "it may look and undo");
    let span = Span::new(raw.addr().raw(), 256);
    unmap(&device, raw);
    let found = taken(&device, line);
    assert!(
        matches!(found[..], [Finding::MapLimit { index: 0, span: told, why: because, .. }] if (told, because) == (span, why)),
        "{found:?}"
    );
}

// DEBUG-23
#[test]
fn a_segment_across_a_boundary_is_found_when_the_device_uses_it() {
    // One piece only, so no cut helps.
    let limits = hard(&[(LimitId::SegmentBoundary, 64), (LimitId::PiecesMax, 1)]);
    let (device, memory) = (device(&limits), Lines::new(2));
    let (raw, line) = (raw_map(&device, &[memory.segment(32, 64)], ToDevice), line!());
    assert_eq!(device.findings(), []);
    let found = device.device_access(raw.addr(), 64, false);
    assert!(matches!(
        found,
        Some(Finding::MapLimit { why: Why { limit: LimitId::SegmentBoundary, .. }, .. })
    ));
    assert_eq!(taken(&device, line).len(), 1);
    unmap(&device, raw);
    assert_eq!(device.findings(), [], "told once");
}

#[test]
fn a_list_that_breaks_a_limit_and_is_refused_by_the_safe_layer_is_no_misuse() {
    let device = device(&hard(&[(LimitId::TotalLenAlign, 512)]));
    let failed = (&device).map(Lease::from_vec(vec![0; 1000]).unwrap(), FromDeviceType).unwrap_err();
    assert!(matches!(failed.error, MapError::Limit(_)), "{failed}");
    let seen = device.device().seen();
    assert_eq!((seen.maps, seen.unmaps), (1, 1));
    assert_eq!((device.findings(), device.with_ledger(|ledger| ledger.live().len())), (vec![], 0));
}

#[test]
fn a_refused_mapping_comes_back_as_the_device_refused_it() {
    let device = device(&hard(&[(LimitId::AddrMax, OFFSET + 4096)]));
    let failed = (&device).map(Lease::from_vec(vec![0; 64]).unwrap(), FromDeviceType).unwrap_err();
    assert!(matches!(failed.error, MapError::OutOfReach { len: 64, .. }), "{failed}");
    assert_eq!(device.findings(), []);
}

// DEBUG-24
#[test]
fn what_is_mapped_at_the_release_has_leaked() {
    let device = plain();
    let (mapped, line) =
        ((&device).map(Lease::from_vec(vec![0; 64]).unwrap(), FromDeviceType).unwrap(), line!());
    let (found, release) = (device.release(), line!());
    assert_eq!(found, taken(&device, release));
    let [Finding::Leaked { live: 1, mapping, .. }] = found[..] else { panic!("{found:?}") };
    assert_eq!(mapping.place.line(), line);
    // It lives inside all the same, and is unmapped there; the ledger says that this is late.
    let (lease, unmap) = (mapped.unmap(), line!());
    assert!(matches!(taken(&device, unmap)[..], [Finding::UnmapUnknown { freed: Some(_), .. }]));
    assert_eq!(device.device().seen().unmaps, 1);
    drop(lease);
}

#[test]
fn a_device_that_is_dropped_hands_its_leaks_over() {
    use std::cell::Cell;
    thread_local!(static TOLD: Cell<Option<(usize, Finding)>> = const { Cell::new(None) });
    let device = Checked::new(Counted::new(&Limits::default()), |findings| {
        TOLD.set(Some((findings.len(), findings[0])));
    });
    let memory = Lines::new(1);
    let (mapped, line) = (raw_map(&device, &[memory.segment(0, 64)], Both), line!());
    drop(mapped);
    drop(device);
    let Some((1, Finding::Leaked { mapping, .. })) = TOLD.get() else { panic!("{:?}", TOLD.get()) };
    assert_eq!(mapping.place.line(), line);
}

#[test]
fn what_is_dropped_in_flight_leaks_and_is_told_once() {
    let device = plain();
    let lease = || Lease::from_vec(vec![0; 64]).unwrap();
    let (mapped, line) = ((&device).map(lease(), FromDeviceType).unwrap(), line!());
    let flight = mapped.into_flight();
    let first = flight.bus().first().map(|segment| segment.addr());
    drop(flight);
    let found = taken(&device, line);
    assert!(
        matches!(found[..], [Finding::DroppedInFlight { what: "a mapping", bytes: 64, first: at, mapping: Some(_), .. }]
            if at == first),
        "{found:?}"
    );
    assert_eq!(device.device().seen().leaks, 1, "passed on");
    let (memory, line) = ((&device).alloc_coherent(CoherentLayout::new(64, 64)).unwrap(), line!());
    drop(memory.into_flight());
    assert!(matches!(taken(&device, line)[..], [Finding::DroppedInFlight { what: "coherent memory", .. }]));
    assert_eq!(device.release(), [], "told already");
}

// DEBUG-05
#[test]
fn coherent_memory_freed_by_another_address_is_not_passed_on() {
    let device = plain();
    let place = here();
    let (raw, bus) = device.raw_alloc_coherent(CoherentLayout::new(4096, 64), place).unwrap();
    let other = raw.cpu.checked_add(64).unwrap();
    for wrong in [RawCoherent { cpu: other, ..raw }, RawCoherent { addr: other, ..raw }] {
        let (again, at) = device.raw_alloc_coherent(CoherentLayout::new(64, 64), place).unwrap();
        let wrong = if wrong.cpu == other {
            RawCoherent { cpu: other, ..again }
        } else {
            RawCoherent { addr: other, ..again }
        };
        // SAFETY: none; this is the mistake.
        unsafe { device.raw_free_coherent(wrong, at) };
        let line = line!() - 1;
        let found = taken(&device, line);
        assert!(
            matches!(found[..], [Finding::UnmapCpuAddr { cpu_addr, mapping, .. }]
                if cpu_addr == other.raw() && mapping.place == place && mapping.bus_addr == at),
            "{found:?}"
        );
        assert_eq!(device.device().seen().frees, 0);
        // SAFETY: the device inside allocated it, and the checker did not pass the other call on.
        unsafe { device.device().raw_free_coherent(again, at) };
        device.device().forget_frees();
    }
    let nowhere = BusAddr::new(bus.raw() + 8);
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_free_coherent(raw, nowhere) };
    let line = line!() - 1;
    assert!(matches!(taken(&device, line)[..], [Finding::UnmapUnknown { inside: Some(_), .. }]));
    // SAFETY: allocated above, and nobody uses it.
    unsafe { device.raw_free_coherent(raw, bus) };
    assert_eq!((device.findings(), device.device().seen().frees), (vec![], 1));
    // SAFETY: none; this is the mistake.
    unsafe { device.raw_free_coherent(raw, bus) };
    let line = line!() - 1;
    assert!(matches!(taken(&device, line)[..], [Finding::UnmapUnknown { freed: Some(_), .. }]));
    assert_eq!(device.device().seen().frees, 1);
}

#[test]
fn the_device_reaching_what_is_not_mapped_for_it_is_found() {
    let (device, memory) = (plain(), Lines::new(2));
    let raw = raw_map(&device, &[memory.segment(0, 64)], FromDevice);
    let addr = raw.addr();
    assert_eq!(device.device_access(addr, 64, true), None);
    let at = |by: u64| BusAddr::new(addr.raw() + by);
    assert!(matches!(device.device_access(at(32), 64, true), Some(Finding::DeviceOutside { fits: 32, .. })));
    assert!(matches!(
        device.device_access(at(64), 1, true),
        Some(Finding::DeviceUnmapped { freed: None, .. })
    ));
    assert!(matches!(device.device_access(addr, 8, false), Some(Finding::DeviceDirection { .. })));
    unmap(&device, raw);
    let (late, line) = (device.device_access(addr, 8, true), line!());
    assert!(matches!(late, Some(Finding::DeviceUnmapped { freed: Some(_), .. })));
    assert_eq!(late.unwrap().place().line(), line);
    assert_eq!(device.take_findings().len(), 4);
}

#[test]
fn what_others_saw_of_the_cpu_is_told_with_the_mapping() {
    let (device, memory) = (plain(), Lines::new(2));
    let raw = raw_map(&device, &[memory.segment(0, 64)], Both);
    device.cpu_wrote_while_device_owned(Touched::Bus(raw.addr()), 3);
    device.cpu_read_without_sync(Touched::Cpu(raw.list[0].addr().raw() + 9), 0);
    let found = device.take_findings();
    let [
        Finding::CpuWrote { offset: 3, mapping: Some(one), .. },
        Finding::CpuReadUnsynced { mapping: Some(other), .. },
    ] = found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((one.place, other.place), (raw.usage.place, raw.usage.place));
    unmap(&device, raw);
}

#[test]
fn a_full_record_passes_on_unseen_and_says_so() {
    let options = LedgerOptions { spans_max: 4, ..LedgerOptions::default() };
    let device =
        Checked::with_options(Counted::new(&Limits::default()), options, |findings| panic!("{findings:?}"))
            .unwrap();
    let memory = Lines::new(8);
    let mapped: Vec<Raw> =
        (0..5).map(|at| raw_map(&device, &[memory.segment(at * 64, 64)], FromDevice)).collect();
    let found = device.take_findings();
    assert!(matches!(found[..], [Finding::RecordFull { spans: 2, live: 4, max: 4, .. }]), "{found:?}");
    for raw in mapped {
        // SAFETY: a live mapping, and within it; no device was told.
        unsafe { device.raw_sync_for_cpu(&raw.list[..], raw.usage, &raw.mapping, 0..64) };
        unmap(&device, raw);
    }
    let seen = device.device().seen();
    assert_eq!((seen.maps, seen.syncs, seen.unmaps), (5, 5, 5));
    assert_eq!((device.findings(), device.release()), (vec![], vec![]));
}

#[test]
fn options_that_are_none_are_refused() {
    let options = LedgerOptions { cache_line_len: 48, ..LedgerOptions::default() };
    let error = Device::with_options(Counted::new(&Limits::default()), options, |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "cache_line_len is 48, it must be a power of two");
}
