//! What Linux's checker does not see, and the bounds of ours.

use scatterlist::map::DmaDirection::{Both, FromDevice, ToDevice};
use scatterlist::map::checked::{
    Call, Finding, Freed, Ledger, LedgerOptions, MapCall, MapKind, OptionsError, Region, Span, SpanSide,
    Touched,
};
use scatterlist::plan::Why;
use scatterlist::{LimitId, Limits, Source};

use super::support::*;

const B: u64 = 0x8000;

/// Maps for a device with these limits; every finding must be a broken limit, of which the segment and the value
/// are returned.
fn broken(limits: &[(LimitId, u64)], kind: MapKind, bus: &[Span]) -> Vec<(LimitId, usize, u64)> {
    let builder = limits.iter().fold(Limits::builder(), |builder, (id, value)| builder.hard(*id, *value));
    let mut ledger = Ledger::new(builder.build().expect("valid limits"));
    let found = ledger.map(MapCall::new(kind, ToDevice, &memory(bus), bus)).to_vec();
    assert_eq!(ledger.live().len(), 1, "it is recorded all the same");
    found
        .into_iter()
        .map(|finding| match finding {
            Finding::MapLimit { index, why: Why { limit, value, need, source }, span, .. } => {
                assert_eq!((span, source), (bus[index], Source::User));
                assert!(limits.contains(&(limit, need)), "{limit} {need}");
                (limit, index, value)
            }
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn bus_addresses_outside_of_the_window() {
    let window = [(LimitId::AddrMin, 0x1000), (LimitId::AddrMax, 0xffff)];
    for kind in [MapKind::Single, MapKind::Page, MapKind::List, MapKind::Coherent, MapKind::Resource] {
        assert_eq!(broken(&window, kind, &[Span::new(0x1000, 0xf000)]), []);
        assert_eq!(broken(&window, kind, &[Span::new(0xff8, 8)]), [(LimitId::AddrMin, 0, 0xff8)]);
        assert_eq!(broken(&window, kind, &[Span::new(0xfff9, 8)]), [(LimitId::AddrMax, 0, 0x1_0000)]);
    }
    let coherent = [(LimitId::CoherentAddrMax, 0xffff)];
    let high = [Span::new(0x1_0000, 64)];
    assert_eq!(broken(&coherent, MapKind::Single, &high), []);
    assert_eq!(broken(&coherent, MapKind::Coherent, &high), [(LimitId::CoherentAddrMax, 0, 0x1_003f)]);
}

#[test]
fn bus_segments_against_alignment_and_lengths() {
    let aligned = [(LimitId::AddrAlign, 512), (LimitId::PieceLenAlign, 512)];
    let list = [Span::new(0x1000, 512), Span::new(0x2004, 512), Span::new(0x3000, 100), Span::new(0x4001, 3)];
    assert_eq!(
        broken(&aligned, MapKind::List, &list),
        [(LimitId::AddrAlign, 1, 0x2004), (LimitId::PieceLenAlign, 2, 100)],
        "each limit is told once, with the first segment that breaks it"
    );
    let counts = [(LimitId::SegmentsMax, 2), (LimitId::PiecesMax, 3)];
    assert_eq!(
        broken(&counts, MapKind::List, &list),
        [(LimitId::PiecesMax, 3, 4), (LimitId::SegmentsMax, 3, 4)]
    );
    let pages = [(LimitId::PageLen, 4096), (LimitId::SegmentsMax, 2)];
    assert_eq!(broken(&pages, MapKind::Single, &[Span::new(0x1fff, 4098)]), [(LimitId::SegmentsMax, 0, 3)]);
    assert_eq!(broken(&pages, MapKind::Single, &[Span::new(0x1fff, 4097)]), []);
    let whole = [(LimitId::TotalLenAlign, 512)];
    assert_eq!(broken(&whole, MapKind::List, &list), [(LimitId::TotalLenAlign, 3, 1127)]);
}

#[test]
fn joins_off_the_gap_boundary() {
    let gap = [(LimitId::GapBoundary, 4096)];
    let legal = [Span::new(0x1200, 0xe00), Span::new(0x5000, 4096), Span::new(0x9000, 5)];
    assert_eq!(broken(&gap, MapKind::List, &legal), []);
    let ends = [Span::new(0x1200, 0x200), Span::new(0x5000, 4096)];
    assert_eq!(broken(&gap, MapKind::List, &ends), [(LimitId::GapBoundary, 0, 0x1400)]);
    let starts = [Span::new(0x1000, 4096), Span::new(0x5200, 0xe00)];
    assert_eq!(broken(&gap, MapKind::List, &starts), [(LimitId::GapBoundary, 1, 0x5200)]);
}

#[test]
fn soft_limits_are_no_finding() {
    let soft = Limits::builder()
        .set(LimitId::SegmentLenMax, 64, Source::Sysfs, scatterlist::Force::Soft)
        .build()
        .expect("valid");
    let span = [Span::new(0, 4096)];
    assert_eq!(Ledger::new(soft).map(MapCall::new(MapKind::List, ToDevice, &span, &span)), []);
}

#[test]
fn a_bounce_that_loses_the_low_bits() {
    let limits = Limits::builder().hard(LimitId::BounceOffsetMask, 0xfff).build().expect("valid");
    let mut ledger = Ledger::new(limits);
    let memory = [Span::new(0x1234, 100), Span::new(0x9000, 50), Span::new(0xa000, 60)];
    let kept = [Span::new(0x50_0234, 30), Span::new(0x60_0252, 120), Span::new(0x70_0000, 60)];
    assert_eq!(ledger.map(MapCall::new(MapKind::List, ToDevice, &memory, &kept)), []);
    let lost = [Span::new(0x51_0234, 30), Span::new(0x61_0000, 120), Span::new(0x71_0000, 60)];
    let found = told!(ledger.map(MapCall::new(MapKind::List, ToDevice, &memory, &lost)));
    expect(found, |place| {
        let (span, cpu_addr) = (lost[1], 0x1234 + 30);
        vec![Finding::MapOffset { place, index: 1, span, cpu_addr, mask: 0xfff }]
    });
}

#[test]
fn a_back_end_that_maps_other_bytes_than_it_was_given() {
    let mut ledger = ledger();
    let (memory, bus) = ([Span::new(B, 4096)], [Span::new(0x1000, 2048)]);
    let found = told!(ledger.map(MapCall::new(MapKind::Page, ToDevice, &memory, &bus)));
    expect(found, |place| {
        vec![Finding::MapBytes { place, kind: MapKind::Page, cpu_bytes: 4096, bus_bytes: 2048 }]
    });
    let found = told!(ledger.map(MapCall::new(MapKind::List, ToDevice, &memory, &[])));
    expect(found, |place| vec![Finding::MapEmpty { place, kind: MapKind::List, bytes: 4096 }]);
}

#[test]
fn spans_that_no_memory_has() {
    let mut ledger = ledger();
    let (empty, wraps) = (Span::new(0x1000, 0), Span::new(u64::MAX, 2));
    let found = told!(ledger.map(MapCall::new(MapKind::Single, ToDevice, &[empty], &[empty])));
    let kind = MapKind::Single;
    expect(found, |place| {
        let side = |side| Finding::SpanUnsound { place, kind, side, index: 0, span: empty };
        vec![side(SpanSide::Cpu), side(SpanSide::Bus)]
    });
    let found = told!(ledger.map(MapCall::new(kind, ToDevice, &[wraps], &[Span::new(0x2000, 2)])));
    let side = SpanSide::Cpu;
    expect(found, |place| vec![Finding::SpanUnsound { place, kind, side, index: 0, span: wraps }]);
}

#[test]
fn the_device_touches_what_is_not_mapped() {
    let mut ledger = ledger();
    let found = told!(ledger.device_access(bus(B), 8, true));
    expect(found, |place| {
        vec![Finding::DeviceUnmapped { place, bus_addr: bus(B), len: 8, writes: true, freed: None }]
    });
}

#[test]
fn the_device_touches_what_was_unmapped() {
    let mut ledger = ledger();
    let mapping = map_checked(&mut ledger, MapKind::Single, B, 64, FromDevice);
    assert_eq!(ledger.device_access(bus(B + 60), 4, true), []);
    let unmapped = line!() + 1;
    assert_eq!(ledger.unmap(Call::single(bus(B), 64, FromDevice)), []);
    let found = told!(ledger.device_access(bus(B + 60), 4, true));
    let Some(Finding::DeviceUnmapped { freed: Some(Freed { place: freed_at, .. }), .. }) =
        found.1.first().copied()
    else {
        panic!("{found:?}")
    };
    assert_eq!(freed_at.line(), unmapped);
    let text = found.1[0].to_string();
    assert!(
        text.contains("the device writes 4 bytes at bus address 0x803c, which is not mapped; "),
        "{text}"
    );
    assert!(
        text.contains("the single mapping of 64 bytes at bus address 0x8000 (from the device, "),
        "{text}"
    );
    expect(found, |place| {
        let freed = Some(Freed { mapping, place: freed_at });
        vec![Finding::DeviceUnmapped { place, bus_addr: bus(B + 60), len: 4, writes: true, freed }]
    });
}

#[test]
fn the_device_runs_past_the_end_of_a_mapping() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, Both);
    map(&mut ledger, MapKind::Single, B + 64, 64, Both);
    let bus_addr = bus(B + 48);
    let found = told!(ledger.device_access(bus_addr, 32, false));
    expect(found, |place| {
        vec![Finding::DeviceOutside { place, bus_addr, len: 32, fits: 16, writes: false, mapping }]
    });
}

#[test]
fn an_access_may_run_on_through_adjacent_segments_of_one_mapping() {
    let mut ledger = ledger();
    let list = [Span::new(0x1000, 4096), Span::new(0x2000, 4096), Span::new(0x4000, 4096)];
    assert_eq!(ledger.map(MapCall::new(MapKind::List, ToDevice, &memory(&list), &list)), []);
    let mapping = *ledger.live().next().expect("recorded");
    assert_eq!(ledger.device_access(bus(0x1800), 0x1800, false), []);
    let found = told!(ledger.device_access(bus(0x1800), 0x1801, false));
    expect(found, |place| {
        let (bus_addr, len, fits) = (bus(0x1800), 0x1801, 0x1800);
        vec![Finding::DeviceOutside { place, bus_addr, len, fits, writes: false, mapping }]
    });
}

#[test]
fn the_device_goes_against_the_direction() {
    for (direction, writes) in [(ToDevice, true), (FromDevice, false)] {
        let mut ledger = ledger();
        let mapping = map(&mut ledger, MapKind::Single, B, 64, direction);
        assert_eq!(ledger.device_access(bus(B), 64, !writes), []);
        let found = told!(ledger.device_access(bus(B), 64, writes));
        expect(found, |place| {
            vec![Finding::DeviceDirection { place, bus_addr: bus(B), len: 64, writes, mapping }]
        });
    }
}

#[test]
fn the_device_may_touch_the_last_byte_of_the_address_space() {
    let options = LedgerOptions { error_addr: 0, ..LedgerOptions::default() };
    let mut ledger = Ledger::with_options(Limits::default(), options).expect("valid options");
    let top = [Span::new(u64::MAX - 63, 64)];
    assert_eq!(ledger.map(MapCall::new(MapKind::Page, Both, &top, &top)), []);
    assert_eq!(ledger.device_access(bus(u64::MAX), 1, true), []);
    assert_eq!(ledger.device_access(bus(u64::MAX - 63), 64, true), []);
    assert_eq!(ledger.device_access(bus(u64::MAX), 2, true).len(), 1);
}

#[test]
fn the_cpu_in_memory_that_the_device_owns() {
    let mut ledger = ledger();
    let mapping = map(&mut ledger, MapKind::Single, B, 64, FromDevice);
    let by_bus = Touched::Bus(bus(B));
    let found = told!(ledger.cpu_wrote_while_device_owned(by_bus, 5));
    expect(found, |place| vec![Finding::CpuWrote { place, at: by_bus, offset: 5, mapping: Some(mapping) }]);
    let by_cpu = Touched::Cpu(B + MEMORY + 63);
    let found = told!(ledger.cpu_read_without_sync(by_cpu, 0));
    expect(found, |place| {
        vec![Finding::CpuReadUnsynced { place, at: by_cpu, offset: 0, mapping: Some(mapping) }]
    });
    let nowhere = Touched::Cpu(B + MEMORY + 64);
    let found = told!(ledger.cpu_read_without_sync(nowhere, 0));
    expect(found, |place| vec![Finding::CpuReadUnsynced { place, at: nowhere, offset: 0, mapping: None }]);
}

#[test]
fn a_line_that_one_device_reads_and_another_writes() {
    for (first, second) in [(ToDevice, FromDevice), (FromDevice, ToDevice), (Both, ToDevice)] {
        let mut ledger = ledger();
        let other = map(&mut ledger, MapKind::Single, B, 96, first);
        let span = [Span::new(B + 100, 4)];
        let memory = memory(&span);
        let found = told!(ledger.map(MapCall::new(MapKind::Single, second, &memory, &span)));
        let mapping = *ledger.live().last().expect("recorded");
        expect(found, |place| {
            let line_addr = B + MEMORY + 64;
            vec![Finding::LineShared { place, line_addr, line_len: 64, mapping, other }]
        });
    }
}

#[test]
fn within_one_mapping_and_after_unmapping_lines_may_be_shared() {
    let mut ledger = ledger();
    let list: Vec<Span> = (0..16).map(|at| Span::new(B + at * 4, 4)).collect();
    for _ in 0..3 {
        assert_eq!(ledger.map(MapCall::new(MapKind::List, FromDevice, &memory(&list), &list)), []);
        assert_eq!(ledger.unmap(Call::list(bus(B), 16, FromDevice).len(64)), []);
    }
}

#[test]
fn the_line_length_is_the_machines() {
    let options = LedgerOptions { cache_line_len: 128, ..LedgerOptions::default() };
    let mut ledger = Ledger::with_options(Limits::default(), options).expect("valid options");
    map(&mut ledger, MapKind::Single, B, 64, FromDevice);
    let span = [Span::new(B + 64, 64)];
    assert_eq!(ledger.map(MapCall::new(MapKind::Single, FromDevice, &memory(&span), &span)).len(), 1);
    let bad = LedgerOptions { cache_line_len: 48, ..LedgerOptions::default() };
    let error = Ledger::with_options(Limits::default(), bad).expect_err("no power of two");
    assert_eq!(error, OptionsError::CacheLineLen { value: 48 });
    assert_eq!(error.to_string(), "cache_line_len is 48, it must be a power of two");
}

#[test]
fn unmapping_the_middle_names_the_mapping_around_it() {
    let mut ledger = ledger();
    let mapping = map_checked(&mut ledger, MapKind::Single, B, 64, ToDevice);
    let found = told!(ledger.unmap(Call::single(bus(B + 32), 32, ToDevice)));
    expect(found, |place| {
        let inside = Some(mapping);
        vec![Finding::UnmapUnknown { place, bus_addr: bus(B + 32), inside, freed: None }]
    });
    assert_eq!(ledger.live().len(), 1);
}

#[test]
fn a_failed_mapping_is_named_when_its_error_value_is_unmapped() {
    let mut ledger = ledger();
    let failed = line!() + 1;
    ledger.map_failed();
    ledger.check_error(bus(u64::MAX));
    let found = told!(ledger.unmap(Call::single(bus(u64::MAX), 64, ToDevice)));
    let Some(Finding::UnmapError { failed: Some(place), .. }) = found.1.first() else { panic!("{found:?}") };
    assert_eq!((found.1.len(), place.line()), (1, failed));
}

#[test]
fn a_released_device_is_told_of_everything_that_leaked() {
    let mut ledger = ledger();
    let mappings: Vec<_> =
        (0..3).map(|at| map(&mut ledger, MapKind::Page, B + at * 4096, 64, FromDevice)).collect();
    let found = told!(ledger.release());
    expect(found, |place| {
        mappings.iter().map(|mapping| Finding::Leaked { place, live: 3, mapping: *mapping }).collect()
    });
    let freed = ledger.device_access(bus(B), 1, true);
    assert!(matches!(freed, [Finding::DeviceUnmapped { freed: Some(_), .. }]), "{freed:?}");
}

#[test]
fn a_full_record_says_so_once_and_accuses_nobody() {
    let options = LedgerOptions { spans_max: 4, ..LedgerOptions::default() };
    let mut ledger = Ledger::with_options(Limits::default(), options).expect("valid options");
    map_checked(&mut ledger, MapKind::Single, B, 64, ToDevice);
    map_checked(&mut ledger, MapKind::Single, B + 0x1000, 64, FromDevice);
    let third = [Span::new(B + 0x2000, 64)];
    let memory = memory(&third);
    let found = told!(ledger.map(MapCall::new(MapKind::Single, ToDevice, &memory, &third)));
    expect(found, |place| vec![Finding::RecordFull { place, spans: 2, live: 4, max: 4 }]);
    assert_eq!(ledger.map(MapCall::new(MapKind::Single, ToDevice, &memory, &third)), []);
    assert_eq!((ledger.unrecorded(), ledger.live().len()), (2, 2));
    assert_eq!(ledger.sync_for_device(Call::single(bus(B + 0x2000), 64, ToDevice)), []);
    assert_eq!(ledger.device_access(bus(B + 0x2000), 64, false), []);
    assert_eq!(ledger.unmap(Call::single(bus(B + 0x2000), 64, ToDevice)), []);
    assert_eq!(ledger.unmap(Call::single(bus(B), 64, ToDevice)), [], "what is recorded is still known");
    assert_eq!(ledger.release().len(), 1);
    assert_eq!((ledger.unrecorded(), ledger.unmap(Call::single(bus(B), 64, ToDevice)).len()), (0, 1));
}

/// A check and an unmapping name a mapping by its address alone. Here they belong to one that is not recorded, and what
/// the record knows there is another, that was not checked yet.
#[test]
fn with_a_full_record_a_check_may_have_been_for_another() {
    let options = LedgerOptions { spans_max: 2, ..LedgerOptions::default() };
    let mut ledger = Ledger::with_options(Limits::default(), options).expect("valid options");
    let (addr, call) = (bus(B), Call::single(bus(B), 64, ToDevice));
    map_checked(&mut ledger, MapKind::Single, B + 0x1000, 64, ToDevice);
    let spans = [Span::new(B, 64)];
    let memory = memory(&spans);
    let found = told!(ledger.map(MapCall::new(MapKind::Single, ToDevice, &memory, &spans)));
    expect(found, |place| vec![Finding::RecordFull { place, spans: 2, live: 2, max: 2 }]);
    ledger.check_error(addr);
    assert_eq!(ledger.unmap(Call::single(bus(B + 0x1000), 64, ToDevice)), [], "that makes room");
    map(&mut ledger, MapKind::Single, B, 64, ToDevice);
    assert_eq!(ledger.unmap(call), [], "this may end the first of the two, which was checked");
    ledger.check_error(addr);
    assert_eq!(ledger.unmap(call), []);
    assert_eq!(ledger.release(), []);
    map(&mut ledger, MapKind::Single, B, 64, ToDevice);
    let found = told!(ledger.unmap(call));
    assert!(matches!(found.1[..], [Finding::ErrorUnchecked { .. }]), "after a release all is recorded again");
}

#[test]
fn findings_past_the_most_are_counted() {
    let options = LedgerOptions { findings_max: 2, ..LedgerOptions::default() };
    let mut ledger = Ledger::with_options(Limits::default(), options).expect("valid options");
    for at in 0..5 {
        assert_eq!(ledger.device_access(bus(at), 1, true).len(), usize::from(at < 2));
    }
    assert_eq!((ledger.findings().len(), ledger.dropped()), (2, 3));
    assert_eq!(ledger.take_findings().len(), 2);
    assert_eq!(ledger.device_access(bus(0), 1, true).len(), 1, "there is room again");
    assert_eq!(ledger.dropped(), 3);
}

#[test]
fn only_the_last_mappings_are_remembered() {
    let options = LedgerOptions { freed_max: 1, ..LedgerOptions::default() };
    let mut ledger = Ledger::with_options(Limits::default(), options).expect("valid options");
    for addr in [B, B + 64] {
        map_checked(&mut ledger, MapKind::Single, addr, 64, ToDevice);
        assert_eq!(ledger.unmap(Call::single(bus(addr), 64, ToDevice)), []);
    }
    let older = ledger.device_access(bus(B), 1, false);
    assert!(matches!(older, [Finding::DeviceUnmapped { freed: None, .. }]), "{older:?}");
    let newer = ledger.device_access(bus(B + 64), 1, false);
    assert!(matches!(newer, [Finding::DeviceUnmapped { freed: Some(_), .. }]), "{newer:?}");
}

#[test]
fn any_function_can_tell_the_regions() {
    let mut ledger = ledger().with_regions(|addr: u64, _: u64| match addr {
        0..0x1000 => Region::Invalid,
        _ => Region::Ordinary,
    });
    let null = [Span::new(0, 64)];
    let found = ledger.map(MapCall::new(MapKind::Single, ToDevice, &null, &[Span::new(B, 64)]));
    let [finding] = found else { panic!("{found:?}") };
    let text = finding.to_string();
    assert!(text.ends_with("a single mapping takes 64 bytes at 0x0, which is no memory"), "{text}");
}
