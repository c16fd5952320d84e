//! Planning allocates nothing: counted by a global allocator of this test's own, over 100,000 segments with
//! cuts and bounces, from a list and from a slice.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use scatterlist::plan::{Piece, Policy, coalesce, plan};
use scatterlist::{Addr, LimitId, Limits, PhysAddr, Position, ScatterList, Segment, Segments};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // The thread may be at its end; what it allocates then is not what is measured.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is handed to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and returns how often it allocated.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

const SEGMENTS: u64 = 100_000;

/// Pages with holes between them; every 1,000th is ragged, so its join breaks the gap rule.
fn segments() -> Vec<Segment<PhysAddr>> {
    let segment = |index: u64| {
        let ragged = index % 1000 == 999;
        let addr = (index + 1) * 8192 + if ragged { 512 } else { 0 };
        Segment::new(PhysAddr::new(addr), if ragged { 1536 } else { 4096 }).unwrap()
    };
    (0..SEGMENTS).map(segment).collect()
}

#[derive(Debug, Default)]
struct Seen {
    bytes: u64,
    requests: u64,
    bounces: u64,
}

fn walk<S: Segments + ?Sized>(list: &S, limits: &Limits, policy: Policy) -> Seen {
    let mut seen = Seen::default();
    for ready in plan(list, Position::At(0), limits, policy) {
        let ready = ready.unwrap();
        seen.requests += 1;
        for piece in ready.pieces() {
            seen.bytes += piece.len_bytes();
            seen.bounces += u64::from(matches!(piece, Piece::Bounce(_)));
        }
    }
    seen
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1);
}

#[test]
fn planning_allocates_nothing() {
    let limits = Limits::builder()
        .hard(LimitId::GapBoundary, 4096)
        .hard(LimitId::SegmentsMax, 127)
        .hard(LimitId::TransferLenMax, 512 << 10)
        .hard(LimitId::PositionAlign, 512)
        // The last quarter is out of the device's reach.
        .hard(LimitId::AddrMax, SEGMENTS * 6144 - 1)
        .build()
        .unwrap();
    let segments = segments();
    let list = ScatterList::from_segments(segments.iter().copied()).unwrap();
    let bytes = list.len_bytes();
    for policy in [Policy::SplitOrBounce, Policy::WholeOrBounce] {
        // The second policy cannot cut, so it gets limits without a count or a size.
        let whole = Limits::builder().hard(LimitId::AddrMax, SEGMENTS * 6144 - 1).build().unwrap();
        let limits = if policy == Policy::WholeOrBounce { &whole } else { &limits };
        let (mut from_list, mut from_slice) = (Seen::default(), Seen::default());
        assert_eq!(allocations(|| from_list = walk(&list, limits, policy)), 0, "{policy:?}, a list");
        assert_eq!(
            allocations(|| from_slice = walk(&segments[..], limits, policy)),
            0,
            "{policy:?}, a slice"
        );
        for seen in [from_list, from_slice] {
            assert_eq!(seen.bytes, bytes, "{policy:?}");
            assert!(seen.bounces > 0, "{policy:?}: {seen:?}");
            assert!(policy == Policy::WholeOrBounce || seen.requests > 800, "{seen:?}");
        }
    }
    let mut pieces = 0;
    assert_eq!(allocations(|| pieces = coalesce(&list, &limits).count()), 0);
    assert_eq!(pieces, usize::try_from(SEGMENTS).unwrap());
}

#[test]
fn appending_to_reserved_memory_allocates_nothing() {
    let segments = segments();
    let mut list = ScatterList::new();
    list.reserve(segments.len());
    let fill = |list: &mut ScatterList<PhysAddr>| {
        for segment in &segments {
            list.append(*segment).unwrap();
        }
    };
    assert_eq!(allocations(|| fill(&mut list)), 0, "reserved");
    list.clear();
    assert_eq!(allocations(|| fill(&mut list)), 0, "cleared and warm");
    let few = &segments[..4];
    let mut short = ScatterList::<PhysAddr>::new();
    assert_eq!(allocations(|| short.reserve(4)), 0, "a few segments need no memory");
    assert_eq!(allocations(|| drop(ScatterList::from_segments(few.iter().copied()))), 0, "a few segments");
}
