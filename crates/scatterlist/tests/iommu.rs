//! The parts of an IOMMU back end against models that are too simple to be wrong: a page table against a map of pages, a
//! layout against its rule written out byte by byte, a translation table against a map of granules. Any sequence of
//! calls, refused ones among them, leaves both sides equal.

mod iommu_model;

use iommu_model::{
    PAGE, Table, TableCall, agrees, contents, layout_follows_its_rule, translations_are_those_of_granules,
};
use proptest::prelude::*;
use scatterlist::map::DmaDirection;
use scatterlist::map::iommu::{
    FourLevelTable, Layout, LayoutError, LayoutRules, LeafCursor as _, PageMapError, PageTable, table,
};
use scatterlist::{Addr as _, BusAddr, CpuAddr, PhysAddr, Segment};

// The page table.

/// Addresses around the edges of tables of each level.
fn edges() -> impl Strategy<Value = u64> {
    let base =
        prop_oneof![Just(0), Just(1 << 21), Just(3 << 30), Just(1_u64 << 39), Just((1 << 48) - (1 << 31))];
    let step = prop_oneof![4 => 0..8_u64, 1 => 500..524_u64];
    let unit = prop_oneof![4 => Just(PAGE), 3 => Just(1 << 21), 1 => Just(1 << 30)];
    (base, step, unit)
        .prop_map(|(base, step, unit)| base + step.min(if unit == 1 << 30 { 1 } else { step }) * unit)
}

fn lengths() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (1..6_u64).prop_map(|pages| pages * PAGE),
        2 => (508..1030_u64).prop_map(|pages| pages * PAGE),
        2 => (1..4_u64).prop_map(|pages| pages << 21),
        1 => Just(1 << 30),
    ]
}

fn accesses() -> impl Strategy<Value = DmaDirection> {
    prop_oneof![Just(DmaDirection::ToDevice), Just(DmaDirection::FromDevice), Just(DmaDirection::Both)]
}

fn table_calls() -> impl Strategy<Value = Vec<TableCall>> {
    let map = (edges(), edges(), lengths(), accesses())
        .prop_map(|(iova, target, bytes, access)| TableCall::Map { iova, target, bytes, access });
    let target = prop_oneof![4 => (0..1_u64 << 36).prop_map(|page| Some(page * PAGE)), 1 => Just(None)];
    let pages = (edges(), prop::collection::vec(target, 1..40), accesses())
        .prop_map(|(iova, targets, access)| TableCall::Pages { iova, targets, access });
    let unmap = (edges(), lengths()).prop_map(|(iova, bytes)| TableCall::Unmap { iova, bytes });
    let call = prop_oneof![4 => map, 3 => pages, 4 => unmap, 1 => Just(TableCall::Flush)];
    prop::collection::vec(call, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_translates_as_a_map_of_pages(calls in table_calls(), sizes in 0..3_usize) {
        let sizes = [table::PAGE_SIZES, PAGE, PAGE | 1 << 30][sizes];
        agrees(sizes, &calls);
    }

    #[test]
    fn no_range_panics_a_table(ranges in prop::collection::vec(any::<(u64, u64, u64)>(), 1..8), shift in 0..3_u32) {
        let mut table: FourLevelTable<CpuAddr> = FourLevelTable::new(16);
        for (iova, target, bytes) in ranges {
            for mask in [0, PAGE - 1] {
                let (iova, bytes) = (BusAddr::new(iova >> (16 * shift) & !mask), bytes >> (16 * shift) & !mask);
                let mapped = table.map(iova, CpuAddr::new(target & !mask), bytes, DmaDirection::ToDevice);
                if mapped.is_ok() {
                    prop_assert_eq!(table.translate(iova).unwrap().target.raw(), target & !mask);
                }
                let mut cursor = table.cursor(iova, DmaDirection::FromDevice);
                cursor.skip(bytes);
                let _ = cursor.map(CpuAddr::new(target), PAGE);
                if let Ok(unmapped) = table.unmap(iova, bytes) {
                    prop_assert!(unmapped.bytes <= unmapped.span_bytes);
                }
                table.flush(iova, bytes);
            }
        }
    }
}

#[test]
fn empty_tables_are_kept_up_to_their_bound_and_no_further() {
    let mut table = Table::new(1000);
    let many = 300_u64;
    for block in 0..many {
        table.map(BusAddr::new(block << 21), PhysAddr::new(0), PAGE, DmaDirection::ToDevice).unwrap();
    }
    assert_eq!(table.tables(), 3 + many);
    for block in 0..many {
        table.unmap(BusAddr::new(block << 21), PAGE).unwrap();
        table.flush(BusAddr::new(block << 21), PAGE);
    }
    let kept = u64::try_from(table::EMPTY_TABLES_MAX).unwrap();
    assert!(table.tables() <= 3 + kept, "{} tables", table.tables());
    // The last ones are among them, so coming back allocates nothing.
    let before = table.tables();
    table.map(BusAddr::new((many - 1) << 21), PhysAddr::new(0), PAGE, DmaDirection::ToDevice).unwrap();
    assert_eq!(table.tables(), before);
    // A larger page takes the place of empty tables.
    table.unmap(BusAddr::new((many - 1) << 21), PAGE).unwrap();
    table.map(BusAddr::new(0), PhysAddr::new(0), 1 << 30, DmaDirection::ToDevice).unwrap();
    assert_eq!(contents(&table).len(), 1);
    assert_eq!(table.tables(), 2);
    // Where pages come and go all over the space, empty tables of the upper levels go too.
    for block in 1..many {
        let far = BusAddr::new(block << 39);
        table.map(far, PhysAddr::new(0), PAGE, DmaDirection::ToDevice).unwrap();
        table.unmap(far, PAGE).unwrap();
        table.flush(far, PAGE);
    }
    assert!(table.tables() <= 2 + 3 * kept, "{} tables", table.tables());
}

#[test]
fn a_table_that_may_not_grow_refuses_and_changes_nothing() {
    let mut table = Table::new(5);
    table.map(BusAddr::new(0), PhysAddr::new(0), PAGE, DmaDirection::ToDevice).unwrap();
    let before = contents(&table);
    // Three more tables of the lowest level are needed, one is left.
    let error = table.map(BusAddr::new(PAGE), PhysAddr::new(0), 3 << 21, DmaDirection::ToDevice).unwrap_err();
    assert_eq!(error, PageMapError::TablesMax { tables: 5, tables_max: 5 });
    assert_eq!(contents(&table), before);
    assert_eq!(
        Table::new(0)
            .map(BusAddr::new(0), PhysAddr::new(0), PAGE, DmaDirection::ToDevice)
            .unwrap_err()
            .to_string(),
        "the table has 0 pages, no more than 0 are allowed"
    );
    assert_eq!(Table::new(0).translate(BusAddr::new(0)), None);
    assert!(Table::with_page_sizes(8192, 1).unwrap_err().to_string().contains("0x2000"));
}

// The layout.

proptest! {
    #[test]
    fn a_layout_follows_its_rule(
        order in 0..3_u32,
        boundary_order in 0..8_u32,
        segment_len_max in prop_oneof![Just(u64::MAX), (1..64_u64).prop_map(|pages| pages * 2048)],
        spans in prop::collection::vec((0..4_u64, 0..9_u64, prop_oneof![2 => Just(0), 1 => 1..4096_u64]), 1..20),
    ) {
        let granule = PAGE << (2 * order);
        let boundary = if boundary_order == 0 { 0 } else { granule << (boundary_order - 1) };
        let rules = LayoutRules { granule, boundary, segment_len_max };
        let mut free = 1 << 40;
        let mut list = Vec::new();
        for (offset, quarters, odd) in spans {
            let (addr, len) = (free + offset * granule / 4, (quarters * granule / 4 + odd).max(1));
            free = (addr + len).next_multiple_of(granule) + (len % 3) * granule;
            list.push((addr, len));
        }
        layout_follows_its_rule(&list, rules);
    }

    #[test]
    fn no_list_panics_a_layout(
        parts in prop::collection::vec(any::<(u64, u64)>(), 1..6),
        (granule, boundary, base) in any::<(u64, u64, u64)>(),
        orders in (0..64_u32, 0..64_u32),
    ) {
        let list: Vec<Segment<PhysAddr>> =
            parts.iter().filter_map(|&(addr, len)| Segment::new(PhysAddr::new(addr), len >> 1).ok()).collect();
        for (granule, boundary) in [(granule, boundary), (1 << orders.0, 1 << orders.1), (1 << orders.0, 0)] {
            let rules = LayoutRules { granule, boundary, segment_len_max: base };
            let Ok(layout) = Layout::new(&list[..], rules) else { continue };
            let placed: u64 = layout.placed().map(|placed| placed.bytes).sum();
            prop_assert!(placed <= layout.reserve_bytes());
            if let Ok(bus) = layout.bus_segments(BusAddr::new(base & !(granule - 1))) {
                let sum: u128 = bus.map(|bus| u128::from(bus.len())).sum();
                prop_assert_eq!(sum, list.iter().map(|segment| u128::from(segment.len())).sum::<u128>());
            }
        }
    }
}

#[test]
fn a_layout_refuses_with_numbers() {
    let segment = |addr, len| Segment::new(PhysAddr::new(addr), len).unwrap();
    let rules = LayoutRules { granule: PAGE, boundary: 0x1_0000, segment_len_max: 0x8000 };
    let list = [segment(0x1000, 0x1000), segment(0x4800, 0xf900)];
    let layout = Layout::new(&list[..], rules).unwrap();
    assert_eq!(
        layout.obeys_rules().unwrap_err().to_string(),
        "segment 1 at 0x4800 of 63744 bytes always crosses a multiple of 65536"
    );
    let list = [segment(0x1000, 0x8001)];
    assert_eq!(
        Layout::new(&list[..], rules).unwrap().obeys_rules().unwrap_err().to_string(),
        "segment 0 at 0x1000 is 32769 bytes long, the longest may be 32768"
    );
    let error = |rules| Layout::new(&list[..], rules).unwrap_err();
    assert_eq!(
        error(LayoutRules { granule: 3, ..rules }),
        LayoutError::NotPowerOfTwo { what: "granule", value: 3 }
    );
    let huge = [segment(0, (1 << 63) - 1); 3];
    assert!(matches!(Layout::new(&huge[..], rules), Err(LayoutError::TooLong { index: 1, .. })));
    let layout = Layout::new(&list[..], rules).unwrap();
    assert!(matches!(layout.bus_segments(BusAddr::new(1)), Err(LayoutError::Base { .. })));
    let last = BusAddr::new(!(PAGE - 1));
    assert!(matches!(layout.bus_segments(last), Err(LayoutError::Wraps { .. })));
}

// The translation table.

proptest! {
    #[test]
    fn a_translation_table_is_a_map_of_granules(
        calls in prop::collection::vec((0..12_u64, 1..6_u64, prop::option::of(0..12_u64)), 1..40),
        queries in prop::collection::vec((0..16 * PAGE, 0..16 * PAGE), 20),
    ) {
        translations_are_those_of_granules(&calls, &queries);
    }
}
