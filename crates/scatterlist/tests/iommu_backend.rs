//! The IOMMU back end as a driver sees it: what is merged, what is flushed, what is undone, and what it refuses to
//! promise. That the right bytes move is shown through the fake device, with the other back ends.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "leases over pages of a buffer")]

use scatterlist::map::iommu::{FourLevelTable, Iommu, PageTable as _};
use scatterlist::map::{
    Borrowed, CoherentLayout, DmaDevice as _, FromDevice, Hardware, HeapMemory, MapError, Resource,
    TargetError, ToDevice, with_mapped,
};
use scatterlist::{
    Addr as _, BusAddr, CpuAddr, Lease, LimitId, Limits, MapPolicy, ScatterList, Segment, Segments,
};

const PAGE: u64 = 4096;

type Device = Iommu<HeapMemory, FourLevelTable<CpuAddr>>;

fn device(pairs: &[(LimitId, u64)], tables_max: u32) -> Device {
    Iommu::new(HeapMemory::default(), FourLevelTable::new(tables_max), &limits(pairs)).unwrap()
}

fn limits(pairs: &[(LimitId, u64)]) -> Limits {
    pairs.iter().fold(Limits::builder(), |builder, &(id, value)| builder.hard(id, value)).build().unwrap()
}

/// A lease of parts of a buffer, given as offsets from its first page and lengths.
fn lease(parts: &[(u64, u64)]) -> Lease<CpuAddr, Vec<u8>> {
    let end = parts.iter().map(|(at, len)| at + len).max().unwrap();
    let buffer = vec![0_u8; usize::try_from(end + PAGE).unwrap()];
    let first = CpuAddr::from_ptr(buffer.as_ptr()).raw().next_multiple_of(PAGE);
    let segment = |&(at, len): &(u64, u64)| Segment::new(CpuAddr::new(first + at), len).unwrap();
    let list = ScatterList::from_segments(parts.iter().map(segment)).unwrap();
    // SAFETY: the list lies within the buffer, which goes along and which nobody touches meanwhile.
    unsafe { Lease::from_raw(list, buffer) }
}

fn flushes(device: &Device) -> u64 {
    device.with_table(FourLevelTable::flushes)
}

fn pages(device: &Device) -> usize {
    device.with_table(|table| table.pages().count())
}

#[test]
fn joins_on_the_granule_merge_and_each_unmapping_flushes_once() {
    let device = &device(&[], 64);
    let parts = [(512, PAGE - 512), (3 * PAGE, PAGE), (5 * PAGE, 100), (7 * PAGE + 8, 64)];
    let flight = device.map(lease(&parts), FromDevice).unwrap().into_flight();
    let lengths: Vec<u64> = flight.bus().iter().map(|segment| segment.len()).collect();
    assert_eq!(lengths, [2 * PAGE - 512 + 100, 64], "the last ends and starts inside a page");
    assert_eq!(flight.bus().first().unwrap().addr().raw() % PAGE, 512, "the offset in a page is kept");
    assert_eq!((pages(device), device.bytes_out()), (4, 4 * PAGE));
    let before = flushes(device);
    // SAFETY: no device was told.
    drop(unsafe { flight.complete() });
    assert_eq!((pages(device), device.bytes_out(), flushes(device)), (0, 0, before + 1));
}

#[test]
fn a_device_of_one_segment_is_given_scattered_pages() {
    let device = &device(&[(LimitId::SegmentsMax, 1)], 64);
    let parts: Vec<(u64, u64)> = (0..64).map(|page| (page * 2 * PAGE, PAGE)).collect();
    let flight = device.map(lease(&parts), ToDevice).unwrap().into_flight();
    assert_eq!(flight.bus().len_segments(), 1);
    // SAFETY: no device was told.
    drop(unsafe { flight.complete() });
    // One that ends inside a page cannot be joined, and the error says what stands in the way.
    let failed = device.map(lease(&[(0, 100), (2 * PAGE, 100)]), ToDevice).unwrap_err();
    assert!(failed.error.to_string().contains("2 is more than 1 (segments_max"), "{}", failed.error);
    assert_eq!(failed.given.list().len_segments(), 2);
}

#[test]
fn no_bus_segment_crosses_the_boundary() {
    let device = &device(&[(LimitId::SegmentBoundary, 4 * PAGE), (LimitId::AddrMax, 0xffff_ffff)], 64);
    let parts: Vec<(u64, u64)> = (0..5).map(|index| (index * 8 * PAGE, 3 * PAGE)).collect();
    let flight = device.map(lease(&parts), ToDevice).unwrap().into_flight();
    assert_eq!(flight.bus().len_bytes(), 15 * PAGE);
    for segment in flight.bus() {
        let (first, last) = (segment.addr().raw(), segment.end() - 1);
        assert_eq!(first / (4 * PAGE), last / (4 * PAGE), "{segment:?}");
    }
    // SAFETY: no device was told.
    drop(unsafe { flight.complete() });
    assert_eq!(device.bytes_out(), 0);
}

#[test]
fn too_few_bus_addresses_are_a_shortage_and_nothing_stays() {
    // Fifteen pages of bus addresses.
    let device = &device(&[(LimitId::AddrMax, 16 * PAGE - 1)], 64);
    let failed = device.map(lease(&[(0, 9 * PAGE)]), ToDevice).unwrap_err();
    let MapError::Shortage { what: Resource::BusAddresses, need, have } = failed.error else {
        panic!("{}", failed.error)
    };
    assert_eq!((need, have), (9 * PAGE, 8 * PAGE));
    let eight = device.map(lease(&[(0, 8 * PAGE)]), ToDevice).unwrap();
    assert!(device.map(lease(&[(0, 8 * PAGE)]), ToDevice).is_err());
    drop(eight);
    assert!(device.map(lease(&[(0, 8 * PAGE)]), ToDevice).is_ok());
    assert_eq!((pages(device), device.bytes_out()), (0, 0));
}

#[test]
fn a_full_page_table_undoes_what_was_mapped() {
    // Room for the root and one path below it: what lies in another 2 MiB needs one table more.
    let device = &device(&[], 4);
    let small = device.map(lease(&[(0, PAGE)]), ToDevice).unwrap();
    let failed = device.map(lease(&[(0, 4 << 20)]), ToDevice).unwrap_err();
    assert!(
        matches!(failed.error, MapError::Shortage { what: Resource::PageTable, have: 4, .. }),
        "{}",
        failed.error
    );
    assert_eq!((pages(device), device.bytes_out()), (1, PAGE));
    drop(small);
    assert_eq!((pages(device), device.bytes_out()), (0, 0));
}

struct Idle;

// SAFETY: there is no device.
unsafe impl Hardware for Idle {
    fn is_done_with<S: Segments<Addr = BusAddr> + ?Sized>(&self, _: &S) -> bool {
        true
    }

    fn quiesce<S: Segments<Addr = BusAddr> + ?Sized>(&self, _: &S) {}
}

#[test]
fn too_few_slots_for_bus_segments_undo_the_mapping() {
    let device = &device(&[], 64);
    let (mut first, mut second) = ([0_u8; 100], [0_u8; 100]);
    let filler = Segment::new(CpuAddr::new(0), 1).unwrap();
    let mut map = |room: usize| {
        let (mut segments, mut slots) = ([filler; 2], vec![Segment::new(BusAddr::new(0), 1).unwrap(); room]);
        let mut slices = [&mut first[..], &mut second[..]];
        let borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).unwrap();
        with_mapped(&device.target(), borrowed, &mut slots, &Idle, |bus, _| bus.len())
    };
    let error = map(1).unwrap_err();
    assert_eq!(error, MapError::Shortage { what: Resource::Slots, need: 2, have: 1 });
    assert_eq!(device.bytes_out(), 0);
    assert_eq!(map(2).unwrap(), 2);
    assert_eq!((pages(device), device.bytes_out()), (0, 0));
}

#[test]
fn coherent_memory_shares_its_granules_with_nobody() {
    let device = &device(&[(LimitId::CoherentAddrMax, 0xff_ffff)], 64);
    let ring = device.alloc_coherent(CoherentLayout::new(100, 16)).unwrap();
    let other = device.alloc_coherent(CoherentLayout::new(100, 16)).unwrap();
    assert_eq!((ring.len_bytes(), ring.bus_addr().raw() % PAGE), (100, 0));
    assert!(ring.bus_addr().raw() + PAGE <= 0x100_0000 && ring.bus_addr() != other.bus_addr());
    assert_eq!((pages(device), device.bytes_out()), (2, 2 * PAGE));
    let (target, _, _) = device.translate(ring.bus_addr()).unwrap();
    assert_eq!(target.raw() % PAGE, 0);
    drop((ring, other));
    assert_eq!((pages(device), device.bytes_out()), (0, 0));
}

#[test]
fn a_limit_that_pages_cannot_keep_is_refused_when_it_is_built() {
    for limit in [LimitId::AddrAlign, LimitId::PageLen] {
        let table = FourLevelTable::<CpuAddr>::new(4);
        let wide = limits(&[(limit, 8192), (LimitId::SegmentLenMax, 1 << 20)]);
        let error = Iommu::<_, _>::new(HeapMemory::default(), table, &wide).map(drop).unwrap_err();
        assert_eq!(error, TargetError::Bus { limit, need: 8192, what: "a granule of", value: 4096 });
    }
    let nothing = limits(&[(LimitId::AddrMax, PAGE - 1)]);
    let table = FourLevelTable::<CpuAddr>::new(4);
    let error = Iommu::<_, _>::new(HeapMemory::default(), table, &nothing).map(drop).unwrap_err();
    assert_eq!(error, TargetError::Window { min: PAGE, max: PAGE - 1, granule: PAGE });
}

#[test]
fn shared_tables_promise_nothing() {
    let device = &device(&[(LimitId::TransferLenMax, 1 << 20)], 64);
    let error = device.target().with_policy(MapPolicy::MustSucceed { transfers: 2 }).unwrap_err();
    assert!(matches!(error, TargetError::Reserve { transfers: 2, .. }), "{error}");
}

#[test]
fn the_device_may_do_what_the_direction_says() {
    let device = &device(&[], 64);
    let flight = device.map(lease(&[(0, PAGE)]), ToDevice).unwrap().into_flight();
    let (_, bytes, direction) = device.translate(flight.bus().first().unwrap().addr()).unwrap();
    assert!(bytes == PAGE && direction.device_reads() && !direction.device_writes());
    let sizes = device.with_table(|table| table.page_sizes());
    assert_eq!(sizes & sizes.wrapping_neg(), device.granule());
    // SAFETY: no device was told.
    drop(unsafe { flight.complete() });
}
