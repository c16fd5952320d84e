//! Scenario vectors of tables as tests of their own; each name starts with the case's id.
//!
//! `PT`: which pages an IOMMU's table picks, and what it does with ranges that overlap or end inside a page. `VTOPHYS`: what
//! a user-space driver knows of where its huge pages lie, and how far from an address on they are contiguous.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use scatterlist::map::DmaDirection;
use scatterlist::map::iommu::{
    FourLevelTable, LeafCursor as _, PageMapError, PageTable, PageUnmapError, Unmapped,
};
use scatterlist::map::translation_table::{TranslationError, TranslationTable};
use scatterlist::{Addr as _, BusAddr, CpuAddr, PhysAddr};

const KIB_4: u64 = 4 << 10;
const MIB_2: u64 = 2 << 20;
const GIB: u64 = 1 << 30;

type Table = FourLevelTable<PhysAddr>;

fn map(table: &mut Table, iova: u64, target: u64, bytes: u64) -> Result<(), PageMapError> {
    table.map(BusAddr::new(iova), PhysAddr::new(target), bytes, DmaDirection::Both)
}

fn leads_to(table: &Table, iova: u64) -> Option<u64> {
    table.translate(BusAddr::new(iova)).map(|page| page.target.raw())
}

/// Every page, as bus address, target and size.
fn pages(table: &Table) -> Vec<(u64, u64, u64)> {
    table.pages().map(|(iova, page)| (iova.raw(), page.target.raw(), page.page_bytes)).collect()
}

#[test]
fn pt_01_a_range_is_covered_by_the_largest_aligned_pages() {
    let (iova, bytes) = (17_150_509_056, 3_256_877_056);
    let mut table = Table::new(64);
    map(&mut table, iova, iova, bytes).unwrap();
    let pages = pages(&table);
    let sizes: Vec<u64> = pages.iter().map(|page| page.2).collect();
    let expected: Vec<u64> = [[MIB_2; 14].as_slice(), &[GIB; 3], &[MIB_2; 3]].concat();
    assert_eq!(sizes, expected);
    let mut at = iova;
    for (start, target, size) in pages {
        assert_eq!((start, target), (at, at));
        at += size;
    }
    assert_eq!(at, iova + bytes);
    assert_eq!(leads_to(&table, iova + bytes - 1), Some(iova + bytes - 1));
    assert_eq!((leads_to(&table, iova - 1), leads_to(&table, iova + bytes)), (None, None));
}

#[test]
fn pt_01_the_target_must_be_aligned_too() {
    let mut table = Table::new(64);
    map(&mut table, GIB, 5 * GIB + KIB_4, 2 * MIB_2).unwrap();
    assert!(pages(&table).iter().all(|page| page.2 == KIB_4));
    let mut table = Table::new(64);
    map(&mut table, GIB - KIB_4, GIB - KIB_4, MIB_2 + 2 * KIB_4).unwrap();
    let sizes: Vec<u64> = pages(&table).iter().map(|page| page.2).collect();
    assert_eq!(sizes, [KIB_4, MIB_2, KIB_4]);
}

#[test]
fn pt_02_small_pages_across_a_table_boundary_all_translate() {
    let (iova, target, bytes) = (4_277_665_792, 139_780_804_608, 131_072);
    let mut table = Table::with_page_sizes(KIB_4, 64).unwrap();
    map(&mut table, iova, target, bytes).unwrap();
    for offset in (0..bytes).step_by(0x800) {
        assert_eq!(leads_to(&table, iova + offset), Some(target + offset));
    }
    assert_eq!(pages(&table).len(), 32);
    let unmapped = table.unmap(BusAddr::new(iova), bytes).unwrap();
    assert_eq!(unmapped, Unmapped { bytes, span_bytes: bytes });
    assert_eq!(pages(&table), []);
}

#[test]
fn pt_03_an_overlapping_map_is_refused_and_nothing_changes() {
    let mut table = Table::new(64);
    let taken = 8 * GIB + 7 * KIB_4;
    map(&mut table, taken, KIB_4, KIB_4).unwrap();
    map(&mut table, 16 * GIB, 0, GIB).unwrap();
    let before = (pages(&table), table.tables());
    let refused = |table: &mut Table, iova, bytes| map(table, iova, 1 << 40, bytes).unwrap_err();

    // From its start, across it, up to its last page; within, across and up to the end of a large one.
    assert_eq!(
        refused(&mut table, taken, KIB_4),
        PageMapError::AddressInUse { iova: taken, bytes: KIB_4, page: taken, page_bytes: KIB_4 }
    );
    assert_eq!(
        refused(&mut table, 8 * GIB - MIB_2, 2 * MIB_2).to_string(),
        "4194304 bytes at bus address 0x1ffe00000: in use, a page of 4096 bytes is mapped at 0x200007000"
    );
    for (iova, bytes) in [
        (8 * GIB, 8 * KIB_4),
        (7 * GIB, 2 * GIB),
        (16 * GIB + MIB_2, KIB_4),
        (15 * GIB, 4 * GIB),
        (17 * GIB - KIB_4, MIB_2),
    ] {
        let error = refused(&mut table, iova, bytes);
        assert!(matches!(error, PageMapError::AddressInUse { .. }), "{error}");
    }
    assert_eq!((pages(&table), table.tables()), before);

    // Page by page, the cursor stays where it is and goes on where it may.
    let mut cursor = table.cursor(BusAddr::new(taken - KIB_4), DmaDirection::ToDevice);
    cursor.map(PhysAddr::new(0x5000), KIB_4).unwrap();
    let error = cursor.map(PhysAddr::new(0x9000), KIB_4).unwrap_err();
    assert_eq!(
        error,
        PageMapError::AddressInUse { iova: taken, bytes: KIB_4, page: taken, page_bytes: KIB_4 }
    );
    assert_eq!(cursor.iova().raw(), taken);
    cursor.skip(KIB_4);
    cursor.map(PhysAddr::new(0x9000), KIB_4).unwrap();
    assert_eq!(leads_to(&table, taken), Some(KIB_4));
    assert_eq!(leads_to(&table, taken + KIB_4), Some(0x9000));
}

#[test]
fn pt_04_unmapping_the_start_of_a_large_page_takes_all_of_it_and_says_so() {
    let mut table = Table::new(64);
    for (page, small) in [(MIB_2, KIB_4), (GIB, KIB_4), (GIB, MIB_2)] {
        map(&mut table, 4 * GIB, 8 * GIB, page).unwrap();
        let unmapped = table.unmap(BusAddr::new(4 * GIB), small).unwrap();
        assert_eq!(unmapped, Unmapped { bytes: page, span_bytes: page });
        assert_eq!(pages(&table), []);
    }
    // A range that ends inside one takes all of it too; one that starts inside is refused.
    map(&mut table, 4 * GIB, 8 * GIB, KIB_4).unwrap();
    map(&mut table, 4 * GIB + MIB_2, 8 * GIB, MIB_2).unwrap();
    let before = pages(&table);
    assert_eq!(
        table.unmap(BusAddr::new(4 * GIB + MIB_2 + KIB_4), KIB_4).unwrap_err(),
        PageUnmapError::InsidePage {
            iova: 4 * GIB + MIB_2 + KIB_4,
            page: 4 * GIB + MIB_2,
            page_bytes: MIB_2
        }
    );
    assert_eq!(pages(&table), before);
    let unmapped = table.unmap(BusAddr::new(4 * GIB), MIB_2 + KIB_4).unwrap();
    assert_eq!(unmapped, Unmapped { bytes: KIB_4 + MIB_2, span_bytes: 2 * MIB_2 });
    assert_eq!(pages(&table), []);
}

/// The table of the source: granules of 2 MiB.
fn vtophys() -> TranslationTable {
    TranslationTable::new(MIB_2).unwrap()
}

/// 0 to 6 MiB, set granule by granule, contiguous.
fn six_mib() -> TranslationTable {
    let mut table = vtophys();
    for granule in 0..3 {
        let (addr, target) = (CpuAddr::new(granule * MIB_2), PhysAddr::new(GIB + granule * MIB_2));
        table.set(addr, MIB_2, target).unwrap();
    }
    table
}

fn query(table: &TranslationTable, addr: u64, bytes: u64) -> Option<(u64, u64)> {
    table.translate(CpuAddr::new(addr), bytes).map(|(target, bytes)| (target.raw(), bytes))
}

#[test]
fn vtophys_01_a_length_off_the_granule_is_refused() {
    let mut table = vtophys();
    let error = table.set(CpuAddr::new(2_097_152), 1234, PhysAddr::new(0)).unwrap_err();
    assert_eq!(error, TranslationError::Misaligned { what: "length", value: 1234, granule: MIB_2 });
    assert_eq!(error.to_string(), "length 0x4d2 is not a multiple of 2097152, the granule of the table");
    assert_eq!(query(&table, 2_097_152, 1), None);
}

#[test]
fn vtophys_02_an_address_off_the_granule_is_refused() {
    let mut table = vtophys();
    let error = table.set(CpuAddr::new(1234), 2_097_152, PhysAddr::new(0)).unwrap_err();
    assert_eq!(error, TranslationError::Misaligned { what: "address", value: 1234, granule: MIB_2 });
    assert!(table.clear(CpuAddr::new(1234), 2_097_152).is_err());
    assert_eq!(query(&table, 1234, 1), None);
}

#[test]
fn vtophys_03_contiguous_granules_are_one_run() {
    assert_eq!(query(&six_mib(), 0, 6_291_456), Some((GIB, 6_291_456)));
    // Whatever the order they were set in, and only where the targets follow each other.
    let mut table = vtophys();
    for granule in [2, 0, 1, 3] {
        let target = if granule == 3 { 0 } else { GIB + granule * MIB_2 };
        table.set(CpuAddr::new(granule * MIB_2), MIB_2, PhysAddr::new(target)).unwrap();
    }
    assert_eq!(query(&table, 0, 4 * MIB_2), Some((GIB, 6_291_456)));
    assert_eq!(query(&table, 3 * MIB_2, 4 * MIB_2), Some((0, MIB_2)));
}

#[test]
fn vtophys_04_a_run_counts_from_the_address() {
    assert_eq!(query(&six_mib(), 4096, 6_291_456), Some((GIB + 4096, 6_287_360)));
}

#[test]
fn vtophys_05_a_run_ends_at_a_hole() {
    let mut table = six_mib();
    table.clear(CpuAddr::new(MIB_2), MIB_2).unwrap();
    assert_eq!(query(&table, 0, 6_291_456), Some((GIB, 2_097_152)));
    assert_eq!(query(&table, 2 * MIB_2, 6_291_456), Some((GIB + 2 * MIB_2, MIB_2)));
}

#[test]
fn vtophys_06_a_hole_has_no_translation() {
    let mut table = six_mib();
    table.clear(CpuAddr::new(MIB_2), MIB_2).unwrap();
    for addr in [MIB_2, MIB_2 + 1, 2 * MIB_2 - 1, 3 * MIB_2, u64::MAX] {
        assert_eq!(query(&table, addr, 1), None);
    }
}

#[test]
fn vtophys_07_a_short_query_is_not_made_longer() {
    assert_eq!(query(&six_mib(), 0, 543), Some((GIB, 543)));
}

#[test]
fn vtophys_08_a_query_is_clipped_at_the_end_of_the_run() {
    assert_eq!(query(&six_mib(), 6_291_456 - 196, 543), Some((GIB + 6_291_456 - 196, 196)));
}
