//! PRPs: entries, lists, chains of list pages, lists that all slices of a buffer share.

use proptest::prelude::*;
use scatterlist::desc::PlainMemory;
use scatterlist::desc::prp::{
    EncodeError, ListPage, MemoryPage, Prps, Second, SharedList, Slot, WalkError, encode, limits,
    lists_needed, walk,
};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, BusAddr, Force, LimitId, Limits, Position, ScatterList, Source};

use super::nvme_model::prp::{LISTS, check_plan, collected, memories, page};
use super::nvme_model::{Memories, PutOnly, joined, list, whole};
use super::{any_segments, prp_segments};

fn pages() -> impl Strategy<Value = MemoryPage> {
    prop_oneof![4 => Just(4096), 1 => Just(16384), 1 => Just(65536)].prop_map(page)
}

fn shapes() -> impl Strategy<Value = (MemoryPage, u64, u64)> {
    pages().prop_flat_map(|page| {
        let first = prop_oneof![3 => 1..6_u64, 2 => 1..=page.slots(), 1 => Just(page.slots())];
        (Just(page), first, 0..=3_u64)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_list_planned_for_prps_moves_exactly_its_bytes(
        (page, first, lists, segments) in shapes().prop_flat_map(|(page, first, lists)| {
            (Just(page), Just(first), Just(lists), any_segments(page.len()))
        }),
    ) {
        check_plan(segments, page, first, lists, Policy::SplitOrBounce);
    }

    #[test]
    fn a_list_of_pages_is_never_bounced(
        (page, first, lists, segments) in shapes().prop_flat_map(|(page, first, lists)| {
            (Just(page), Just(first), Just(lists), prp_segments(page.len()))
        }),
    ) {
        check_plan(segments, page, first, lists, Policy::SplitOrError);
    }

    #[test]
    fn what_was_planned_for_other_limits_is_refused_or_right(
        (page, first, lists, segments) in shapes().prop_flat_map(|(page, first, lists)| {
            let segments = prop_oneof![any_segments(page.len()), prp_segments(page.len())];
            (Just(page), Just(first), Just(lists), segments)
        }),
        tear in any::<bool>(),
        other in prop::option::of(pages()),
    ) {
        let segments = segments.into_iter().map(|run| if tear { run.with_barrier() } else { run });
        let list = ScatterList::from_segments(segments).unwrap();
        let fits = |other: &MemoryPage| limits(*other, 1 << 40).unwrap();
        let limits = other.as_ref().map(fits).unwrap_or_default();
        let planned = plan(&list, Position::Stream, &limits, Policy::WholeOrError).next().unwrap().is_ok();
        if !planned {
            return Ok(());
        }
        whole(&list, &limits, |ready| {
            let mut memories = memories(page, first, lists);
            let mut same = memories.clone();
            let encoded = encode(ready, page, &mut memories.as_bus());
            if let Ok(prps) = encoded {
                prop_assert_eq!(collected(page, prps, ready.len_bytes(), &mut memories).unwrap(), joined(&list));
            }
            let mut put_only: Vec<_> = same.as_bus().into_iter().map(PutOnly).collect();
            prop_assert_eq!(encode(ready, page, &mut put_only), encoded);
            drop(put_only);
            if encoded.is_ok() {
                prop_assert_eq!(same, memories);
            }
            Ok(())
        })?;
    }

    #[test]
    fn bytes_that_nobody_encoded_end_the_walk(
        words in prop::collection::vec(prop_oneof![
            any::<u64>(),
            (0..4_u64, 0..512_u64).prop_map(|(list, slot)| LISTS + (list << 32) + slot * 8),
            (0..4_u64).prop_map(|list| LISTS + (list << 32)),
        ], 16..48),
        prp1 in any::<u64>(),
        prp2 in prop_oneof![any::<u64>(), (0..512_u64).prop_map(|slot| LISTS + slot * 8)],
        bytes in prop_oneof![any::<u64>(), 0..(8_u64 << 20)],
    ) {
        let page = page(4096);
        let words: Vec<u64> = words.into_iter().cycle().take(512).collect();
        let mut memories = Memories((0..4).map(|list| (LISTS + (list << 32), words.clone())).collect());
        // Each run is a page, so the length bounds the walk; a thousand of them are enough to see.
        let most = 1_000;
        let bus = memories.as_bus();
        let runs: Vec<_> = walk(&bus[..], page, Prps::new(prp1, prp2), bytes).take(most).collect();
        let failed = runs.iter().any(Result::is_err);
        let sum: u64 = runs.iter().flatten().map(|run| run.len()).sum();
        prop_assert!(failed || sum == bytes || runs.len() == most);
    }

    #[test]
    fn a_flipped_bit_moves_as_many_bytes_or_none(
        segments in prp_segments(4096),
        (list_bit, bit) in (0..512_usize, 0..64_u32),
    ) {
        let page = page(4096);
        let list = ScatterList::from_segments(segments).unwrap();
        let limits = limits(page, page.list_entries(4, 60)).unwrap();
        let next = plan(&list, Position::Stream, &limits, Policy::SplitOrError).next().unwrap().unwrap();
        let mut memories = memories(page, 4, lists_needed(&next, page, 4).unwrap());
        let prps = encode(&next, page, &mut memories.as_bus()).unwrap();
        for (_, words) in &mut memories.0 {
            if let Some(word) = words.get_mut(list_bit) {
                *word ^= 1 << bit;
            }
        }
        if let Ok(runs) = collected(page, prps, next.len_bytes(), &mut memories) {
            prop_assert_eq!(runs.len_bytes(), next.len_bytes());
        }
    }

    #[test]
    fn every_slice_of_a_shared_list_is_right(
        pages in 1..512_u64,
        first_slot in 0..2_u64,
        (dwords, len) in (0..500_000_u64, 1..(2_u64 << 20)),
    ) {
        let page = page(4096);
        let slots = page.slots() - first_slot;
        let mut memories = memories(page, slots, 1);
        let (buffer, bytes) = (0x70_0000, pages * 4096 - 8);
        let shared = SharedList::new(page, BusAddr::new(buffer), bytes, &mut memories.as_bus()[0]).unwrap();
        let offset = dwords * 4 % bytes;
        let len = len.min(bytes - offset);
        let prps = shared.slice(offset, len).unwrap();
        prop_assert_eq!(collected(page, prps, len, &mut memories).unwrap(), list(&[(buffer + offset, len)]));
        let past = shared.slice(offset, bytes - offset + 1).unwrap_err();
        prop_assert_eq!(past, EncodeError::PastEnd { offset, len: bytes - offset + 1, bytes });
    }
}

fn refused(segments: &[(u64, u64)], memories: &mut Memories) -> EncodeError {
    let list = list(segments);
    whole(&list, &Limits::default(), |ready| encode(ready, page(4096), &mut memories.as_bus()).unwrap_err())
}

#[test]
fn a_gap_is_refused_with_both_addresses() {
    let mut memories = memories(page(4096), 512, 1);
    let error = refused(&[(0x10_0800, 0x1000), (0x90_0000, 0x1000)], &mut memories);
    assert_eq!(
        error.to_string(),
        "at byte 4096 one piece ends at bus address 0x101800 and the next starts at bus address 0x900000: both must \
         be multiples of 4096 (PRP entry)"
    );
    let error = refused(&[(0x10_0000, 0x1000), (0x90_0004, 0x1000)], &mut memories);
    assert!(matches!(error, EncodeError::Gap { at: 4096, .. }), "{error}");
    // Behind pages that were already written.
    let pages =
        [(0x1000, 4096), (0x3000, 4096), (0x5000, 4096), (0x7000, 4000), (0x9000, 4096), (0xb000, 4096)];
    let error = refused(&pages, &mut memories);
    assert!(matches!(error, EncodeError::Gap { at: 16288, .. }), "{error}");
}

#[test]
fn a_first_byte_that_is_no_dword_is_refused() {
    let error = refused(&[(0x10_0001, 0x1000)], &mut memories(page(4096), 512, 1));
    assert_eq!(
        error.to_string(),
        "the first piece, at bus address 0x100001, does not start at a multiple of 4 (PRP entry)"
    );
}

#[test]
fn missing_list_memory_is_refused_with_what_is_left() {
    let three = [(0x10_0000, 3 * 4096)];
    let error = refused(&three, &mut memories(page(4096), 512, 0));
    assert_eq!(error, EncodeError::NoRoom { entries: 2, list: 0, lists: 0, slots: 0 });
    let error = refused(&three, &mut memories(page(4096), 1, 1));
    assert_eq!(error, EncodeError::NoRoom { entries: 2, list: 0, lists: 1, slots: 1 });
    // 511 entries fit the first list page beside its link, 512 the second.
    let error = refused(&[(0x10_0000, 1025 * 4096)], &mut memories(page(4096), 512, 2));
    assert_eq!(error, EncodeError::NoRoom { entries: 513, list: 1, lists: 2, slots: 512 });
    assert_eq!(error.to_string(), "513 entries are left for list 1, of the 2 given, which holds 512");
}

#[test]
fn list_memory_in_the_wrong_place_is_refused() {
    let long = [(0x10_0000, 600 * 4096)];
    let mut misplaced = memories(page(4096), 512, 2);
    misplaced.0[0].0 += 4;
    let error = refused(&long, &mut misplaced);
    assert!(matches!(error, EncodeError::ListMisaligned { list: 0, need: 8, .. }), "{error}");
    let mut misplaced = memories(page(4096), 512, 2);
    misplaced.0[1].0 += 8;
    let error = refused(&long, &mut misplaced);
    assert!(matches!(error, EncodeError::ListMisaligned { list: 1, need: 4096, .. }), "{error}");
    // 503 slots at the start of a page: a controller would look for the link in slot 511.
    let mut short = memories(page(4096), 512, 2);
    short.0[0].1.truncate(503);
    let error = refused(&long, &mut short);
    assert!(matches!(error, EncodeError::NoLink { list: 0, slots: 503, link: 511, .. }), "{error}");
}

#[test]
fn list_memory_counts_only_to_the_end_of_its_page() {
    let mut long = memories(page(4096), 4, 1);
    long.0[0].1.resize(2048, 0);
    let error = refused(&[(0x10_0000, 6 * 4096)], &mut long);
    let full = EncodeError::NoRoom { entries: 5, list: 0, lists: 1, slots: 4 };
    assert_eq!(error, full);
    // The same as single pages, planned for more list memory than there is.
    let pages = list(&[1, 3, 5, 7, 9, 11].map(|index| (index << 12, 4096)));
    let more = limits(page(4096), 512).unwrap();
    whole(&pages, &more, |ready| assert_eq!(encode(ready, page(4096), &mut long.as_bus()), Err(full)));
}

#[test]
fn a_bounce_is_refused_until_its_buffer_is_named() {
    let list = list(&[(0x1000, 4096), (1 << 40, 4096)]);
    let low = Limits::builder().hard(LimitId::AddrMax, u32::MAX.into()).build().unwrap();
    let ready = plan(&list, Position::Stream, &low, Policy::WholeOrBounce).next().unwrap().unwrap();
    let error = encode(&ready, page(4096), &mut memories(page(4096), 512, 1).as_bus()).unwrap_err();
    assert_eq!(error, EncodeError::Bounced { at: 4096, len: 4096 });
}

#[test]
fn page_sizes_that_no_controller_has_are_refused() {
    for len in [0, 1, 2048, 4097, 12288, 1 << 28, u64::MAX] {
        assert_eq!(MemoryPage::new(len).unwrap_err().len, len);
    }
    assert_eq!(
        MemoryPage::new(12288).unwrap_err().to_string(),
        "a memory page of 12288 bytes: it must be a power of two from 4096 to 134217728"
    );
    assert_eq!(MemoryPage::new(1 << 27).unwrap().slots(), 1 << 24);
}

#[test]
fn limits_are_the_formats_and_hard() {
    let page = page(16384);
    let limits = limits(page, page.list_entries(503, 1)).unwrap();
    let hard = [
        (LimitId::AddrAlign, 4),
        (LimitId::GapBoundary, 16384),
        (LimitId::PageLen, 16384),
        (LimitId::SegmentsMax, 504),
    ];
    for (id, value) in hard {
        let limit = limits.get(id);
        assert_eq!((limit.value, limit.source, limit.force), (value, Source::DescriptorFormat, Force::Hard));
    }
    assert_eq!((page.list_entries(1, 0), page.list_entries(5, 1), page.list_entries(1, 2)), (0, 5, 2048));
    assert_eq!(page.list_entries(u64::MAX, u64::MAX), u64::MAX);
    // Two pages need no list.
    assert_eq!(super::prp::limits(page, 0).unwrap().get(LimitId::SegmentsMax).value, 2);
}

#[test]
fn a_transfer_past_every_length_is_counted_and_refused() {
    let list = list(&[(0x1000, u64::MAX >> 1)]);
    whole(&list, &Limits::default(), |ready| {
        let needed = lists_needed(ready, page(4096), 512).unwrap();
        assert!(needed > 1 << 40, "{needed}");
        let error = encode(ready, page(4096), &mut memories(page(4096), 512, 1).as_bus()).unwrap_err();
        assert!(matches!(error, EncodeError::NoRoom { list: 0, slots: 512, .. }), "{error}");
    });
}

fn walked(prp1: u64, prp2: u64, bytes: u64, memories: &mut Memories) -> WalkError {
    let bus = memories.as_bus();
    walk(&bus[..], page(4096), Prps::new(prp1, prp2), bytes).find_map(Result::err).unwrap()
}

#[test]
fn what_a_controller_does_not_accept_is_named() {
    let mut lists = memories(page(4096), 512, 2);
    lists.0[0].1[0] = 0x3008;
    let error = walked(0x1002, 0, 4, &mut lists);
    assert_eq!(error, WalkError::FirstMisaligned { addr: BusAddr::new(0x1002) });
    let error = walked(0x1000, 0x2010, 8192, &mut lists);
    assert_eq!(error, WalkError::EntryMisaligned { index: 1, addr: BusAddr::new(0x2010), page_len: 4096 });
    let error = walked(0x1000, LISTS, 3 * 4096, &mut lists);
    assert_eq!(error, WalkError::EntryMisaligned { index: 1, addr: BusAddr::new(0x3008), page_len: 4096 });
    let error = walked(0x1000, LISTS + 4, 3 * 4096, &mut lists);
    assert_eq!(error, WalkError::ListMisaligned { addr: BusAddr::new(LISTS + 4), need: 8 });
    lists.0[0].1[511] = LISTS + 8;
    let error = walked(0x1000, LISTS + 511 * 8, 3 * 4096, &mut lists);
    assert_eq!(error, WalkError::ListMisaligned { addr: BusAddr::new(LISTS + 8), need: 4096 });
    let error = walked(0x1000, 0x7_0000, 3 * 4096, &mut lists);
    assert_eq!(error.to_string(), "the device cannot read bus address 0x70000");
    let error = walked(u64::MAX - 3, 0, 4, &mut lists);
    assert!(matches!(error, WalkError::Wraps { index: 0, len: 4, .. }), "{error}");
    let error = walked(0x1000, LISTS, (1 << 32) + 1, &mut lists);
    assert_eq!(error, WalkError::TooMany { bytes: (1 << 32) + 1, entries: (1 << 20) + 1 });
}

#[test]
fn the_views_show_every_field() {
    let prps = Prps::new(0x1234, 0xfeed_0000_0000_0008);
    let bytes = prps.to_le_bytes();
    assert_eq!((bytes[0], bytes[1], bytes[8], bytes[15]), (0x34, 0x12, 8, 0xfe));
    assert_eq!(Prps::from_le_bytes(bytes), prps);
    assert_eq!(prps.second(page(4096), 0x1000 - 0x234), Second::Unused);
    assert_eq!(prps.second(page(4096), 0x1000), Second::Page(prps.prp2()));
    assert_eq!(prps.second(page(4096), 0x2000), Second::List { addr: prps.prp2(), entries: 2 });

    let bytes: Vec<u8> = [0x5000_u64, 0x6000, 0x7000].iter().flat_map(|word| word.to_le_bytes()).collect();
    let view = ListPage::new(page(4096), BusAddr::new(4096 - 16), &bytes).unwrap();
    assert_eq!(view.len(), 2, "the page ends there");
    assert_eq!(view.get(0, 2), Some(Slot::Data(BusAddr::new(0x5000))));
    assert_eq!(view.get(1, 2), Some(Slot::Data(BusAddr::new(0x6000))));
    assert_eq!(view.get(1, 3), Some(Slot::Link(BusAddr::new(0x6000))));
    assert_eq!((view.get(2, 3), view.get(1, 1), view.get(u64::MAX, u64::MAX)), (None, None, None));
    assert!(ListPage::new(page(4096), BusAddr::new(4), &bytes).is_err());
    assert_eq!(ListPage::new(page(4096), BusAddr::new(0), &bytes[..20]).unwrap().len(), 2);
}

#[test]
fn a_shared_list_has_one_page_and_a_buffer_that_starts_one() {
    let page = page(4096);
    let mut words = vec![0; 1024];
    let mut new = |buffer: u64, bytes: u64, at: u64| {
        let mut memory = PlainMemory::new(BusAddr::new(at), &mut words);
        SharedList::new(page, BusAddr::new(buffer), bytes, &mut memory)
    };
    assert!(new(0x10_0000, 513 * 4096, 0x2000).is_ok());
    let full = EncodeError::NoRoom { entries: 513, list: 0, lists: 1, slots: 512 };
    assert_eq!(new(0x10_0000, 514 * 4096, 0x2000), Err(full));
    assert!(matches!(new(0x10_0004, 4096, 0x2000), Err(EncodeError::Gap { .. })));
    assert!(matches!(new(0x10_0000, 4096, 0x2004), Err(EncodeError::ListMisaligned { .. })));
    assert!(matches!(new(u64::MAX - 4095, 8192, 0x2000), Err(EncodeError::PastEnd { .. })));
    let shared = new(0x10_0000, 16 * 4096, 0x2000).unwrap();
    assert_eq!(shared.slice(2, 4), Err(EncodeError::Misaligned { addr: BusAddr::new(0x10_0002) }));
    assert_eq!(shared.slice(4 * 4096, 4 * 4096), Ok(Prps::new(0x10_4000, 0x2020)));
}
