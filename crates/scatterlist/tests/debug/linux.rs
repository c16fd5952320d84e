//! The scenarios of `vectors/debug.json`, by id.

use scatterlist::map::DmaDirection::{Both, FromDevice, ToDevice};
use scatterlist::map::checked::{
    Call, Finding, Freed, LedgerOptions, MapCall, MapKind, Region, RegionTable, Span, SyncFor,
};
use scatterlist::plan::Why;
use scatterlist::{LimitId, Limits, Source};

use super::support::*;
use scatterlist::map::checked::Ledger;

const B: u64 = 0x8000;

#[test]
fn debug_01_unmap_twice() {
    let mut ledger = ledger();
    let mapping = map_checked(&mut ledger, MapKind::Single, 0x1000, 64, ToDevice);
    assert_eq!(mapping.place.line(), line!() - 1, "the place of the mapping is its own");
    let first = line!() + 1;
    assert_eq!(ledger.unmap(Call::single(bus(0x1000), 64, ToDevice)), []);
    let found = told!(ledger.unmap(Call::single(bus(0x1000), 64, ToDevice)));
    let Some(Finding::UnmapUnknown { freed: Some(freed), .. }) = found.1.first().copied() else {
        panic!("{found:?}")
    };
    assert_eq!(freed.place.line(), first);
    expect(found, |place| {
        let freed = Some(Freed { mapping, place: freed.place });
        vec![Finding::UnmapUnknown { place, bus_addr: bus(0x1000), inside: None, freed }]
    });
}

#[test]
fn debug_02_unmap_of_the_error_value() {
    let mut ledger = ledger();
    let error = LedgerOptions::default().error_addr;
    let found = told!(ledger.unmap(Call::single(bus(error), 64, ToDevice)));
    expect(found, |place| vec![Finding::UnmapError { place, addr: u64::MAX, failed: None }]);
}

#[test]
fn debug_03_unmap_of_another_size() {
    let mut ledger = ledger();
    let mapping = map_checked(&mut ledger, MapKind::Single, B, 4096, ToDevice);
    let found = told!(ledger.unmap(Call::single(bus(B), 2048, ToDevice)));
    expect(found, |place| vec![Finding::UnmapLen { place, len: 2048, mapping }]);
    assert_eq!(ledger.live().len(), 0, "it is unmapped all the same");
}

#[test]
fn debug_04_unmap_by_the_wrong_function() {
    let mut ledger = ledger();
    let mapping = map_checked(&mut ledger, MapKind::Single, B, 66, ToDevice);
    let found = told!(ledger.unmap(Call::page(bus(B), 66, ToDevice)));
    expect(found, |place| vec![Finding::UnmapKind { place, kind: MapKind::Page, mapping }]);
}

#[test]
fn debug_05_coherent_freed_with_another_cpu_address() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Coherent, B, 4096, Both);
    let cpu_addr = mapping.cpu_addr + 64;
    let found = told!(ledger.unmap(Call::coherent(cpu_addr, bus(B), 4096)));
    expect(found, |place| vec![Finding::UnmapCpuAddr { place, cpu_addr, mapping }]);
}

/// Four entries that the device sees as two segments.
fn map_list_of_four(ledger: &mut Ledger) -> scatterlist::map::checked::Mapping {
    let memory = [0x1000, 0x2000, 0x5000, 0x6000].map(|addr| Span::new(addr, 4096));
    let bus = [Span::new(0x10_0000, 8192), Span::new(0x20_0000, 8192)];
    assert_eq!(ledger.map(MapCall::new(MapKind::List, ToDevice, &memory, &bus)), []);
    *ledger.live().last().expect("it is recorded")
}

#[test]
fn debug_06_list_unmapped_with_the_mapped_count() {
    let mut ledger = ledger();
    let mapping = map_list_of_four(&mut ledger);
    assert_eq!((mapping.entries, mapping.bytes), (4, 16_384));
    let found = told!(ledger.unmap(Call::list(bus(0x10_0000), 2, ToDevice)));
    expect(found, |place| vec![Finding::UnmapEntries { place, entries: 2, mapping }]);
}

#[test]
fn debug_07_unmap_in_another_direction() {
    let mut ledger = ledger();
    let mapping = map_checked(&mut ledger, MapKind::Single, B, 64, ToDevice);
    let found = told!(ledger.unmap(Call::single(bus(B), 64, FromDevice)));
    expect(found, |place| vec![Finding::UnmapDirection { place, direction: FromDevice, mapping }]);
}

#[test]
fn debug_08_error_never_checked() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, ToDevice);
    let found = told!(ledger.unmap(Call::single(bus(B), 64, ToDevice)));
    expect(found, |place| vec![Finding::ErrorUnchecked { place, mapping }]);
}

#[test]
fn debug_09_sync_of_what_is_not_mapped() {
    let mut ledger = ledger();
    let found = told!(ledger.sync_for_cpu(Call::single(bus(0x1000), 64, FromDevice)));
    expect(found, |place| {
        vec![Finding::SyncUnknown { place, sync_for: SyncFor::Cpu, bus_addr: bus(0x1000), freed: None }]
    });
}

#[test]
fn debug_10_sync_beyond_the_end() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, FromDevice);
    let bus_addr = bus(B + 32);
    let found = told!(ledger.sync_for_cpu(Call::single(bus_addr, 64, FromDevice)));
    expect(found, |place| {
        let sync_for = SyncFor::Cpu;
        vec![Finding::SyncRange { place, sync_for, bus_addr, len: 64, fits: 32, mapping }]
    });
}

#[test]
fn debug_11_sync_in_another_direction() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, FromDevice);
    let found = told!(ledger.sync_for_cpu(Call::single(bus(B), 64, ToDevice)));
    expect(found, |place| {
        let sync_for = SyncFor::Cpu;
        vec![Finding::SyncDirection { place, sync_for, direction: ToDevice, mapping }]
    });
}

#[test]
fn debug_12_sync_for_the_cpu_of_what_the_device_only_reads() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, ToDevice);
    let found = told!(ledger.sync_for_cpu(Call::single(bus(B), 64, FromDevice)));
    expect(found, |place| {
        let sync_for = SyncFor::Cpu;
        vec![
            Finding::SyncDirection { place, sync_for, direction: FromDevice, mapping },
            Finding::SyncReadOnly { place, mapping },
        ]
    });
    assert_eq!(ledger.sync_for_cpu(Call::single(bus(B), 64, ToDevice)), [], "the direction agrees");
}

#[test]
fn debug_13_sync_for_the_device_of_what_it_only_writes() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, FromDevice);
    let found = told!(ledger.sync_for_device(Call::single(bus(B), 64, ToDevice)));
    expect(found, |place| {
        let sync_for = SyncFor::Device;
        vec![
            Finding::SyncDirection { place, sync_for, direction: ToDevice, mapping },
            Finding::SyncWriteOnly { place, mapping },
        ]
    });
}

#[test]
fn debug_14_mapped_both_ways_syncs_in_any_direction() {
    let mut ledger = ledger();
    map(&mut ledger, MapKind::Single, B, 64, Both);
    for direction in [FromDevice, ToDevice, Both] {
        assert_eq!(ledger.sync_for_cpu(Call::single(bus(B), 64, direction)), []);
        assert_eq!(ledger.sync_for_device(Call::single(bus(B), 64, direction)), []);
    }
}

#[test]
fn debug_15_list_synced_with_another_count() {
    let mut ledger = ledger();
    let mapping = map_list_of_four(&mut ledger);
    let found = told!(ledger.sync_for_cpu(Call::list(bus(0x10_0000), 3, ToDevice)));
    expect(found, |place| vec![Finding::SyncEntries { place, sync_for: SyncFor::Cpu, entries: 3, mapping }]);
}

#[test]
fn debug_16_two_mappings_that_the_device_writes_in_one_line() {
    let mut ledger = ledger();
    let other = map(&mut ledger, MapKind::Single, B, 32, FromDevice);
    let second = [Span::new(B + 32, 32)];
    let memory = memory(&second);
    let found = told!(ledger.map(MapCall::new(MapKind::Single, FromDevice, &memory, &second)));
    let mapping = *ledger.live().last().expect("the second is recorded");
    expect(found, |place| {
        vec![Finding::LineShared { place, line_addr: B + MEMORY, line_len: 64, mapping, other }]
    });
    assert_eq!(ledger.live().len(), 2);
}

#[test]
fn debug_17_two_mappings_that_the_device_reads_in_one_line() {
    let mut ledger = ledger();
    map(&mut ledger, MapKind::Single, B, 32, ToDevice);
    map(&mut ledger, MapKind::Single, B + 32, 32, ToDevice);
    assert_eq!(ledger.findings(), []);
}

#[test]
fn debug_18_shared_line_whose_caches_the_caller_looks_after() {
    let mut ledger = ledger();
    map(&mut ledger, MapKind::Single, B, 32, FromDevice);
    let second = [Span::new(B + 32, 32)];
    let memory = memory(&second);
    let call = MapCall::new(MapKind::Single, FromDevice, &memory, &second).skip_cpu_sync();
    assert_eq!(ledger.map(call), []);
}

/// The memory that must not be mapped, at 64 KiB each.
fn ledger_with_regions() -> Ledger {
    let regions = RegionTable::new()
        .with(Region::Stack, 0x1_0000, 0x1_0000)
        .with(Region::TextOrRodata, 0x2_0000, 0x1_0000)
        .with(Region::Vmalloc, 0x3_0000, 0x1_0000)
        .with(Region::Invalid, 0x4_0000, 0x1_0000);
    ledger().with_regions(regions)
}

fn expect_region(kind: MapKind, addr: u64, region: Region) {
    let mut ledger = ledger_with_regions();
    let span = Span::new(addr, 64);
    let found = told!(ledger.map(MapCall::new(kind, ToDevice, &[span], &[span])));
    expect(found, |place| vec![Finding::MapRegion { place, kind, region, span }]);
}

#[test]
fn debug_19_stack_is_mapped() {
    for kind in [MapKind::Single, MapKind::Page, MapKind::List] {
        expect_region(kind, 0x1_0000, Region::Stack);
        expect_region(kind, 0x1_0000 - 63, Region::Stack);
    }
}

#[test]
fn debug_20_code_or_constants_are_mapped() {
    for kind in [MapKind::Single, MapKind::Page, MapKind::List] {
        expect_region(kind, 0x2_0100, Region::TextOrRodata);
    }
}

#[test]
fn debug_21_vmalloc_is_mapped_as_one_buffer() {
    expect_region(MapKind::Single, 0x3_0000, Region::Vmalloc);
    let mut ledger = ledger_with_regions();
    let pages = [Span::new(0x3_0000, 4096), Span::new(0x3_1000, 4096)];
    let call = MapCall::new(MapKind::List, ToDevice, &pages, &pages);
    assert_eq!(ledger.map(call), [], "page by page it may be mapped");
}

#[test]
fn what_is_no_memory_is_mapped() {
    expect_region(MapKind::Single, 0x4_0000, Region::Invalid);
    let mut ledger = ledger_with_regions();
    let span = [Span::new(0x4_0000, 64)];
    let call = MapCall::new(MapKind::Resource, Both, &span, &span);
    assert_eq!(ledger.map(call), [], "registers are no memory, and are no finding");
}

/// Maps a list of one segment for a device with one limit.
fn expect_limit(limit: LimitId, need: u64, span: Span, value: u64) {
    let limits = Limits::builder().hard(limit, need).build().expect("a valid limit");
    let mut ledger = Ledger::new(limits);
    let found = told!(ledger.map(MapCall::new(MapKind::List, ToDevice, &[span], &[span])));
    let why = Why { limit, value, need, source: Source::User };
    let kind = MapKind::List;
    expect(found, |place| vec![Finding::MapLimit { place, kind, index: 0, span, why }]);
}

#[test]
fn debug_22_segment_longer_than_the_device_takes() {
    expect_limit(LimitId::SegmentLenMax, 65_536, Span::new(0, 131_072), 131_072);
}

#[test]
fn debug_23_segment_crosses_the_boundary() {
    expect_limit(LimitId::SegmentBoundary, 0x1_0000, Span::new(0xf000, 8192), 0x1_0fff);
}

#[test]
fn debug_24_leak_when_the_device_is_released() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, ToDevice);
    let found = told!(ledger.release());
    expect(found, |place| vec![Finding::Leaked { place, live: 1, mapping }]);
    assert_eq!(ledger.live().len(), 0);
    assert_eq!(ledger.release(), [], "it is told once");
}

#[test]
fn more_than_seven_overlaps_of_one_line() {
    let mut ledger = ledger();
    let span = [Span::new(B, 64)];
    let memory = memory(&span);
    let call = MapCall::new(MapKind::Single, FromDevice, &memory, &span).skip_cpu_sync();
    for _ in 0..8 {
        assert_eq!(ledger.map(call), []);
    }
    let found = told!(ledger.map(call));
    let mapping = *ledger.live().last().expect("recorded");
    expect(found, |place| {
        vec![Finding::LineOverlaps { place, line_addr: B + MEMORY, overlaps: 8, max: 7, mapping }]
    });
}

#[test]
fn a_resource_is_checked_as_a_single_buffer_is() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Resource, B, 64, Both);
    let found = told!(ledger.unmap(Call::resource(bus(B), 64, ToDevice)));
    expect(found, |place| {
        vec![
            Finding::UnmapDirection { place, direction: ToDevice, mapping },
            Finding::ErrorUnchecked { place, mapping },
        ]
    });
}

#[test]
fn of_mappings_at_one_address_the_one_that_agrees_is_unmapped() {
    let mut ledger = ledger();
    for len in [64, 4096, 128] {
        map_checked(&mut ledger, MapKind::Single, B, len, ToDevice);
    }
    for len in [128, 64, 4096] {
        assert_eq!(ledger.unmap(Call::single(bus(B), len, ToDevice)), []);
    }
    assert_eq!(ledger.live().len(), 0);
}

/// A vector without a test, or the other way round, shows here.
#[test]
fn every_vector_has_its_test() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/debug.json")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    let source = include_str!("linux.rs");
    for case in cases {
        let id = case["id"].as_str().expect("an id").to_lowercase().replace('-', "_");
        assert!(source.contains(&format!("fn {id}_")), "{id} has no test");
    }
    assert_eq!(source.matches("\nfn debug_").count(), cases.len());
}
