//! Where each slot of a pool lies, and the parts that io_uring can register.
//!
//! One registered buffer is at most 1 GiB, and one request uses one buffer: so no slot may lie across two. Up to
//! 1 GiB a pool is one range and its classes touch. Beyond, ranges have one length, a multiple of the longest
//! slot's, so that an address tells its range by a division; what the shorter slots leave at the end of a range
//! stays unused. Classes lie longest first: lengths that are powers of two waste nothing and lie on multiples of
//! themselves, so that a slot of 2 MiB is one huge page. All is arithmetic: nothing here grows with the pool.

use std::cmp::Reverse;

use scatterlist::{Addr, CpuAddr};

use super::mapping::Place;
use super::{PoolError, SlotClass};

/// The longest buffer that io_uring registers, in bytes, and so the longest slot
/// (`io_uring_registered_buffers(7)`: 1 GiB).
pub const REGISTERED_LEN_MAX: usize = 1 << 30;

/// Most classes of slots in one pool.
pub const CLASSES_MAX: usize = 16;

/// A part of a pool: one registered buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolRange {
    /// Address of the first byte.
    pub addr: CpuAddr,
    /// Length in bytes, at most [`REGISTERED_LEN_MAX`].
    pub len: u64,
}

/// The places of all slots.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    classes: Box<[SlotClass]>,
    /// One for each class, in the order of addresses.
    placed: Box<[Placed]>,
    slots: u32,
    len: usize,
    range_len: usize,
}

/// Where the slots of one class lie: some up to the end of a range, the others from the next range on.
#[derive(Clone, Copy, Debug)]
struct Placed {
    /// Index of the class.
    class: u32,
    slot_len: usize,
    slots: usize,
    /// Number of the first slot in the pool.
    first: u32,
    start: usize,
    head_slots: usize,
    /// Where the next range begins.
    next: usize,
    range_len: usize,
}

impl Placed {
    fn new(class: u32, SlotClass { slot_len, slots }: SlotClass, start: usize, range_len: usize) -> Self {
        let used = start % range_len;
        let head_slots = slots.min((range_len - used) / slot_len);
        Self {
            class,
            slot_len,
            slots,
            first: 0,
            start,
            head_slots,
            next: start - used + range_len,
            range_len,
        }
    }

    /// Returns where slot `number` of this class begins, or `None` where that is no number.
    fn offset(&self, number: usize) -> Option<usize> {
        let Some(number) = number.checked_sub(self.head_slots) else {
            return self.start.checked_add(number.checked_mul(self.slot_len)?);
        };
        let per_range = self.range_len / self.slot_len;
        let range = self.next.checked_add((number / per_range).checked_mul(self.range_len)?)?;
        range.checked_add((number % per_range).checked_mul(self.slot_len)?)
    }

    /// Returns where the last slot ends.
    fn end(&self) -> Option<usize> {
        self.offset(self.slots.checked_sub(1)?)?.checked_add(self.slot_len)
    }
}

impl Layout {
    /// Lays out `classes`, their slots rounded up to `page_len` bytes.
    pub(super) fn new(classes: &[SlotClass], page_len: usize) -> Result<Self, PoolError> {
        if classes.is_empty() || classes.len() > CLASSES_MAX {
            return Err(PoolError::Classes { classes: classes.len(), classes_max: CLASSES_MAX });
        }
        let (mut total, mut slots_all) = (0_usize, 0_u32);
        let mut rounded = Vec::with_capacity(classes.len());
        let mut firsts = Vec::with_capacity(classes.len());
        for &SlotClass { slot_len, slots } in classes {
            if slot_len == 0 || slots == 0 {
                return Err(PoolError::Empty { slot_len, slots });
            }
            if slot_len > REGISTERED_LEN_MAX {
                return Err(PoolError::SlotTooLong { slot_len, slot_len_max: REGISTERED_LEN_MAX });
            }
            let too_large = PoolError::TooLarge { slot_len, slots };
            let len = slot_len.next_multiple_of(page_len);
            firsts.push(slots_all);
            slots_all =
                u32::try_from(slots).ok().and_then(|slots| slots_all.checked_add(slots)).ok_or(too_large)?;
            total = len.checked_mul(slots).and_then(|len| total.checked_add(len)).ok_or(too_large)?;
            rounded.push(SlotClass { slot_len: len, slots });
        }
        let longest = rounded.iter().map(|class| class.slot_len).max().unwrap_or(page_len);
        let range_len =
            if total <= REGISTERED_LEN_MAX { total } else { REGISTERED_LEN_MAX / longest * longest };

        let mut order: Vec<_> = (0_u32..).zip(&rounded).zip(firsts).collect();
        order.sort_by_key(|((_, class), _)| Reverse(class.slot_len));
        let mut len = 0;
        let mut placed = Vec::with_capacity(order.len());
        for ((index, &class), first) in order {
            let here = Placed { first, ..Placed::new(index, class, len, range_len) };
            let SlotClass { slot_len, slots } = class;
            // With slack for rounding up to huge pages and for alignment.
            let end =
                here.end().filter(|end| isize::try_from(*end).is_ok_and(|end| end <= isize::MAX - (1 << 31)));
            len = end.ok_or(PoolError::TooLarge { slot_len, slots })?;
            placed.push(here);
        }
        Ok(Self { classes: rounded.into(), placed: placed.into(), slots: slots_all, len, range_len })
    }

    /// Returns the classes in the order given, their lengths rounded.
    pub(super) fn classes(&self) -> &[SlotClass] {
        &self.classes
    }

    /// Returns the number of slots of all classes.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Returns where the last slot ends, in bytes from the start.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns the distance of the ranges' starts.
    pub(super) fn range_len(&self) -> usize {
        self.range_len
    }

    /// Returns every slot's place, in the order of addresses.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.placed.iter().flat_map(|placed| {
            (0..placed.slots).zip(placed.first..).filter_map(|(number, index)| {
                let offset = placed.offset(number)?;
                Some(Place { offset, len: placed.slot_len, index, class: placed.class })
            })
        })
    }

    /// Returns the ranges of a pool that begins at `start`.
    pub(super) fn ranges(&self, start: CpuAddr) -> impl Iterator<Item = PoolRange> + Clone + use<> {
        let (len, range_len) = (self.len, self.range_len);
        (0..len).step_by(range_len).filter_map(move |offset| {
            // Lossless: Linux has no lengths beyond 64 bits.
            let addr = start.checked_add(offset as u64)?;
            Some(PoolRange { addr, len: range_len.min(len - offset) as u64 })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: usize = 4096;
    const MIB: usize = 1 << 20;
    const GIB: usize = 1 << 30;

    fn layout(classes: &[(usize, usize)]) -> Result<Layout, PoolError> {
        let classes: Vec<_> =
            classes.iter().map(|&(slot_len, slots)| SlotClass { slot_len, slots }).collect();
        Layout::new(&classes, PAGE)
    }

    fn ranges(classes: &[(usize, usize)]) -> Vec<(u64, u64)> {
        let ranges = layout(classes).unwrap().ranges(CpuAddr::new(0x1000));
        ranges.map(|range| (range.addr.raw() - 0x1000, range.len)).collect()
    }

    #[test]
    fn ranges_are_one_up_to_a_gib_and_whole_slots_beyond() {
        let mib = |mib: u64| mib << 20;
        assert_eq!(ranges(&[(PAGE, 6)]), [(0, 6 * 4096)]);
        assert_eq!(ranges(&[(PAGE, 6), (3 * PAGE, 2), (1, 1)]), [(0, 13 * 4096)]);
        assert_eq!(ranges(&[(GIB, 2)]), [(0, mib(1024)), (mib(1024), mib(1024))]);
        // Three slots of 300 MiB make 900; a fourth would lie across the limit.
        assert_eq!(ranges(&[(300 * MIB, 7)]), [(0, mib(900)), (mib(900), mib(900)), (mib(1800), mib(300))]);
        assert_eq!(ranges(&[(MIB, 2048)]).len(), 2);
    }

    #[test]
    fn powers_of_two_waste_nothing_and_lie_on_multiples_of_themselves() {
        let layout = layout(&[(PAGE, 1000), (256 * MIB, 8), (64 * PAGE, 33), (2 * MIB, 3)]).unwrap();
        let total = 1000 * PAGE + 8 * 256 * MIB + 33 * 64 * PAGE + 6 * MIB;
        assert_eq!(layout.len(), total);
        assert!(layout.places().all(|place| place.offset % place.len == 0));
        // The first class is numbered first, wherever it lies.
        let first = layout.places().find(|place| place.index == 0).unwrap();
        assert_eq!((first.class, first.len), (0, PAGE));
    }

    #[test]
    fn sizes_past_every_machine_are_refused_without_walking_them() {
        let most = u32::MAX as usize;
        for classes in [&[(GIB, most), (GIB, most)][..], &[(PAGE, most), (PAGE, 1)], &[(PAGE, usize::MAX)]] {
            assert!(matches!(layout(classes), Err(PoolError::TooLarge { .. })), "{classes:?}");
        }
        assert_eq!(layout(&[(GIB, most)]).unwrap().len(), GIB * most);
    }

    proptest! {
        #[test]
        fn slots_are_disjoint_and_each_within_one_range(
            classes in prop::collection::vec((1..=GIB, 1..40_usize), 1..=CLASSES_MAX),
        ) {
            let layout = layout(&classes).unwrap();
            let mut end = 0;
            let mut seen = vec![false; layout.slots() as usize];
            for place in layout.places() {
                prop_assert!(place.offset >= end && place.offset % PAGE == 0);
                end = place.offset + place.len;
                let range = |offset| offset / layout.range_len();
                prop_assert_eq!(range(place.offset), range(end - 1));
                prop_assert!(place.len >= classes[place.class as usize].0);
                prop_assert!(!std::mem::replace(&mut seen[place.index as usize], true));
            }
            prop_assert_eq!(end, layout.len());
            prop_assert!(seen.into_iter().all(|seen| seen));
            let mut at = 0x1000;
            for range in layout.ranges(CpuAddr::new(at)) {
                prop_assert_eq!(range.addr.raw(), at);
                prop_assert!(range.len <= REGISTERED_LEN_MAX as u64);
                at = range.addr.raw() + range.len;
            }
            prop_assert_eq!(at, 0x1000 + end as u64);
        }
    }
}
