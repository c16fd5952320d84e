//! How contiguous real memory is, and what plans make of it: the made-up layouts are tested beside the source.

use bulkio::pages::contiguity::NotKnown;
use bulkio::pages::{Contiguity, ContiguitySource, PageKindRequest, PagePool, Pagemap, PoolOptions, Slot};
use scatterlist::plan::{Piece, Policy, plan};
use scatterlist::{CpuAddr, LimitId, Limits, Position, Segment};

use crate::kinds::{HugePages, huge_pages_alone};
use crate::{MIB, nobody, page_len, pool, skipped};

fn segment(slot: &Slot) -> Segment<CpuAddr> {
    Segment::new(slot.addr(), slot.len() as u64).unwrap()
}

/// Plans a slot for a device of 128 segments; the requests' segments, as their memory really is.
fn requests(slot: &Slot, contiguity: Contiguity, pagemap: &Pagemap) -> Vec<u64> {
    let device = Limits::builder().hard(LimitId::SegmentsMax, 128).build().unwrap();
    let limits = contiguity.refine(&device).unwrap();
    let direct = |piece: Piece<CpuAddr>| match piece {
        Piece::Direct(segment) => segment,
        Piece::Bounce(bounce) => panic!("{bounce:?}"),
    };
    plan(&[segment(slot)][..], Position::Stream, &limits, Policy::SplitOrError)
        .map(|ready| ready.unwrap().pieces().map(direct).collect::<Vec<_>>())
        .map(|pieces| pagemap.contiguity(&pieces[..]).segments)
        .collect()
}

#[test]
fn small_pages_never_make_more_segments_than_the_device_takes() {
    let name = "contiguity::small_pages_never_make_more_segments_than_the_device_takes";
    let pagemap = Pagemap::open();
    let pool = pool(2 * MIB, 2, PageKindRequest::Small);
    // Held, so that the two are apart in what follows.
    let (slot, _other) = (pool.take().unwrap(), pool.take().unwrap());
    let contiguity = pool.contiguity(&slot, &pagemap);
    let ContiguitySource::Pagemap { pages_unknown: 0 } = contiguity.source else {
        return skipped(name, &contiguity.source.to_string());
    };
    assert!(contiguity.segments <= (slot.len() / page_len()) as u64);
    assert!(contiguity.segment_len_max >= page_len() as u64 && contiguity.block_len >= page_len() as u64);
    let requests = requests(&slot, contiguity, &pagemap);
    assert!(requests.iter().all(|segments| *segments <= 128), "{requests:?}");
    assert_eq!(pagemap.contiguity(&[segment(&slot)][..]), contiguity);
}

#[test]
fn pages_never_touched_are_unknown() {
    let name = "contiguity::pages_never_touched_are_unknown";
    // Far more than an allocator keeps, so it is mapped afresh.
    let bytes = Vec::<u8>::with_capacity(64 * MIB);
    let segment = Segment::new(CpuAddr::from_ptr(bytes.as_ptr()), bytes.capacity() as u64).unwrap();
    match Pagemap::open().contiguity(&[segment][..]).source {
        ContiguitySource::Pagemap { pages_unknown } => assert!(pages_unknown > 0),
        other => skipped(name, &other.to_string()),
    }
}

#[test]
fn a_slot_in_a_transparent_huge_page_is_one_request() {
    let name = "contiguity::a_slot_in_a_transparent_huge_page_is_one_request";
    let _alone = huge_pages_alone();
    let options = PoolOptions::uniform(2 * MIB, 2).with_kind(PageKindRequest::Transparent);
    let pool = match PagePool::new(options) {
        Ok(pool) if pool.page_len() == 2 * MIB => pool,
        Ok(pool) => return skipped(name, &format!("huge pages of {} bytes", pool.page_len())),
        Err(error) => return skipped(name, &error.to_string()),
    };
    let (slot, pagemap) = (pool.take().unwrap(), Pagemap::open());
    let contiguity = pool.contiguity(&slot, &pagemap);
    match contiguity.source {
        ContiguitySource::Pagemap { pages_unknown: 0 } => {
            // The kernel gathers most of a pool, so perhaps not this slot.
            let huge = contiguity.segments == 1;
            assert_eq!(requests(&slot, contiguity, &pagemap).len() == 1, huge, "{contiguity:?}");
            assert!(huge || contiguity.block_len < 2 * MIB as u64);
        }
        other => skipped(name, &other.to_string()),
    }
}

#[test]
fn a_slot_in_a_hugetlb_page_is_one_request_without_privileges() {
    let name = "contiguity::a_slot_in_a_hugetlb_page_is_one_request_without_privileges";
    let _alone = huge_pages_alone();
    let _pages = match HugePages::reserve(3) {
        Ok(pages) => pages,
        Err(reason) => return skipped(name, &reason),
    };
    let options = PoolOptions::uniform(2 * MIB, 1).and(4 * MIB, 1).with_kind(PageKindRequest::Huge);
    let pool = PagePool::new(options).unwrap();
    let pagemap = Pagemap::open();
    for (len, segments) in [(2 * MIB, 1), (4 * MIB, 2)] {
        let slot = pool.take_len(len).unwrap();
        let contiguity = pool.contiguity(&slot, &pagemap);
        assert_eq!(contiguity.source, ContiguitySource::HugePages);
        assert_eq!((contiguity.segments, contiguity.block_len), (segments, 2 * MIB as u64));
        assert_eq!(contiguity.segment_len_max, 2 * MIB as u64);
        assert_eq!(requests(&slot, contiguity, &pagemap).len(), 1);
        // Where the kernel tells, it agrees.
        let told = pagemap.contiguity(&[segment(&slot)][..]);
        if let ContiguitySource::Pagemap { .. } = told.source {
            assert!(told.segments <= segments && told.block_len >= 2 * MIB as u64, "{told:?}");
        }
    }
    // A slot of another pool is not taken for one of these.
    let other = crate::pool(2 * MIB, 1, PageKindRequest::Small).take().unwrap();
    assert_ne!(pool.contiguity(&other, &pagemap).source, ContiguitySource::HugePages);
}

#[test]
fn without_privileges_each_page_is_a_segment_and_the_reason_is_said() {
    let name = "contiguity::without_privileges_each_page_is_a_segment_and_the_reason_is_said";
    if !nobody::is_nobody() {
        return nobody::run(name).unwrap_or_else(|reason| skipped(name, &reason));
    }
    let pool = pool(2 * MIB, 1, PageKindRequest::Small);
    let (slot, pagemap) = (pool.take().unwrap(), Pagemap::open());
    let contiguity = pool.contiguity(&slot, &pagemap);
    assert_eq!(contiguity.source, ContiguitySource::Assumed { reason: NotKnown::Hidden });
    assert!(contiguity.source.to_string().contains("CAP_SYS_ADMIN"));
    assert_eq!(
        (contiguity.segments, contiguity.block_len),
        ((slot.len() / page_len()) as u64, page_len() as u64)
    );
    assert_eq!(requests(&slot, contiguity, &pagemap).len(), (slot.len() / page_len()).div_ceil(128));
}
