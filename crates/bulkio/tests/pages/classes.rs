//! Pools with slots of several lengths: which slot a length gets, and where the slots lie.

use bulkio::pages::{CLASSES_MAX, PageKindRequest, PagePool, PoolError, PoolOptions, Slot, SlotClass};
use scatterlist::Addr;

use crate::{ALLOCATIONS, page_len};

/// The first class is neither the shortest nor the longest.
fn three() -> PagePool {
    let options = PoolOptions::uniform(4 * page_len(), 2).and(16 * page_len(), 1).and(page_len(), 3);
    PagePool::new(options.with_kind(PageKindRequest::Small)).unwrap()
}

#[test]
fn a_length_gets_the_shortest_slot_that_holds_it_and_a_longer_one_when_those_are_out() {
    let pool = three();
    let pages = |len: usize| pool.take_len(len).map(|slot| (slot.len() / page_len(), slot));
    let mut held = Vec::new();
    for (len, expected) in [
        (1, Some(1)),
        (page_len() + 1, Some(4)),
        (0, Some(1)),
        (page_len(), Some(1)),
        // The short ones are out.
        (1, Some(4)),
        (1, Some(16)),
        (1, None),
    ] {
        let taken = pages(len);
        assert_eq!(taken.as_ref().map(|(pages, _)| *pages), expected, "{len}");
        held.extend(taken);
    }
    assert_eq!(pool.free_slots(), 0);
    // Each goes back to its own class.
    held.clear();
    assert_eq!(pool.free_slots(), 6);
    assert_eq!(pages(16 * page_len()).unwrap().0, 16);
    assert!(pool.take_len(pool.slot_len_max() + 1).is_none());
    assert!(pool.take_len(usize::MAX).is_none());
}

#[test]
fn take_takes_from_the_first_class_alone() {
    let pool = three();
    let slots: Vec<Slot> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!(slots.iter().map(Slot::index).collect::<Vec<_>>(), [0, 1]);
    assert!(slots.iter().all(|slot| slot.len() == pool.slot_len()));
    assert_eq!((pool.slots(), pool.free_slots()), (6, 4));
}

#[test]
fn slots_of_all_classes_are_aligned_disjoint_and_in_one_range() {
    let pool = three();
    let (start, len) = pool.range();
    let rounded =
        [(4, 2), (16, 1), (1, 3)].map(|(pages, slots)| SlotClass { slot_len: pages * page_len(), slots });
    assert_eq!(pool.classes(), rounded);
    assert_eq!((len, pool.bytes()), (27 * page_len() as u64, len));
    let ranges: Vec<_> = pool.ranges().collect();
    assert_eq!(ranges.iter().map(|range| (range.addr, range.len)).collect::<Vec<_>>(), [(start, len)]);
    let mut slots: Vec<Slot> = std::iter::from_fn(|| pool.take_len(0)).collect();
    for (value, slot) in (1..).zip(&mut slots) {
        assert_eq!(slot.addr().raw() % page_len() as u64, 0);
        slot.as_mut_slice().fill(value);
    }
    for (value, slot) in (1..).zip(&slots) {
        assert!(slot.as_slice().iter().all(|&byte| byte == value));
    }
    slots.sort_by_key(Slot::index);
    assert_eq!(slots.iter().map(Slot::index).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(slots.iter().map(|slot| slot.len() / page_len()).collect::<Vec<_>>(), [4, 4, 16, 1, 1, 1]);
    slots.sort_by_key(Slot::addr);
    let ends = slots.iter().map(|slot| slot.addr().raw() + slot.len() as u64);
    assert!(ends.zip(&slots[1..]).all(|(end, next)| end <= next.addr().raw()));
}

#[test]
fn taking_by_length_and_returning_allocate_nothing() {
    let pool = three();
    let mut held = Vec::with_capacity(pool.slots());
    let before = ALLOCATIONS.get();
    for len in [0, page_len() + 1, 5 * page_len()] {
        held.extend(std::iter::from_fn(|| pool.take_len(len)));
        held.clear();
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(pool.free_slots(), 6);
}

#[test]
fn the_number_of_classes_is_bounded() {
    let none = PoolOptions { classes: Vec::new(), ..PoolOptions::uniform(1, 1) };
    let classes_max = CLASSES_MAX;
    assert_eq!(PagePool::new(none).unwrap_err(), PoolError::Classes { classes: 0, classes_max });
    let many = (0..CLASSES_MAX).fold(PoolOptions::uniform(1, 1), |options, _| options.and(1, 1));
    let classes = CLASSES_MAX + 1;
    assert_eq!(PagePool::new(many).unwrap_err(), PoolError::Classes { classes, classes_max });
    let empty = PoolOptions::uniform(1, 1).and(0, 7);
    assert_eq!(PagePool::new(empty).unwrap_err(), PoolError::Empty { slot_len: 0, slots: 7 });
}
