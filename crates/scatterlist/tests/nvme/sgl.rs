//! SGLs: one descriptor in the command, segments and chains of them, metadata pointers.

use proptest::prelude::*;
use scatterlist::desc::PlainMemory;
use scatterlist::desc::sgl::{
    DESCRIPTORS_MAX, Descriptor, EncodeError, Granularity, Kind, MetadataError, SegmentView, WalkError,
    descriptors_max, encode, limits, metadata_contiguous, metadata_limits, metadata_segment, segments_needed,
    walk,
};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, BusAddr, Force, LimitId, Limits, Position, ScatterList, Source};

use super::any_segments;
use super::nvme_model::sgl::{LISTS, check_request, collected, memories};
use super::nvme_model::{Memories, PutOnly, bounced, joined, list, segment, whole};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_list_planned_for_sgls_moves_exactly_its_bytes(
        segments in any_segments(4096),
        (descriptors, lists) in (prop_oneof![1..5_u64, 1..64_u64], 0..=4_u64),
        dword in any::<bool>(),
    ) {
        let granularity = if dword { Granularity::Dword } else { Granularity::Byte };
        let limits = limits(descriptors_max(descriptors, lists), granularity).unwrap();
        let list = ScatterList::from_segments(segments).unwrap();
        let policy = if dword { Policy::SplitOrBounce } else { Policy::SplitOrError };
        // Whole dwords, or no bouncing of single bytes makes the whole one.
        let list = if dword {
            let mut list = list;
            let rest = list.len_bytes() % 4;
            if rest > 0 {
                list.append(segment(1 << 50, 4 - rest).with_barrier()).unwrap();
            }
            list
        } else {
            list
        };
        let mut bytes = 0;
        for ready in plan(&list, Position::Stream, &limits, policy) {
            let ready = ready.unwrap();
            let data = bounced(&ready);
            bytes += ready.len_bytes();
            if ready.bounced_bytes() == 0 {
                check_request(&ready, descriptors, lists, &data);
            }
            whole(&data, &limits, |again| check_request(again, descriptors, lists, &data));
        }
        prop_assert_eq!(bytes, list.len_bytes());
    }

    #[test]
    fn what_was_planned_for_nothing_is_refused_or_right(
        segments in any_segments(4096),
        (descriptors, lists) in (1..12_u64, 0..=4_u64),
    ) {
        let list = ScatterList::from_segments(segments).unwrap();
        whole(&list, &Limits::default(), |ready| {
            let mut memories = memories(descriptors, lists);
            let mut same = memories.clone();
            let encoded = encode(ready, &mut memories.as_bus());
            prop_assert_eq!(encoded.is_ok(), ready.len_pieces() <= descriptors_max(descriptors, lists));
            if let Ok(pointer) = encoded {
                let runs = collected(pointer, ready.len_bytes(), &mut memories).unwrap();
                prop_assert_eq!(joined(runs), joined(&list));
            }
            let mut put_only: Vec<_> = same.as_bus().into_iter().map(PutOnly).collect();
            prop_assert_eq!(encode(ready, &mut put_only), encoded);
            drop(put_only);
            if encoded.is_ok() {
                prop_assert_eq!(same, memories);
            }
            Ok(())
        })?;
    }

}

// Some of these are circles, which are walked to the bound.
proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_that_nobody_encoded_end_the_walk(
        words in prop::collection::vec(any_word(), 64),
        pointer in [any_word(), any_word()],
        bytes in prop_oneof![any::<u64>(), 0..(8_u64 << 20)],
    ) {
        let mut memories = Memories((0..4).map(|list| (LISTS + list * 0x10_0008, words.clone())).collect());
        let bus = memories.as_bus();
        let runs: Vec<_> = walk(&bus[..], Descriptor::from_words(pointer), bytes).collect();
        let sum: u64 = runs.iter().flatten().map(|run| run.len()).sum();
        prop_assert!(runs.iter().any(Result::is_err) || sum == bytes);
        prop_assert!(u64::try_from(runs.len()).unwrap() <= DESCRIPTORS_MAX + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_flipped_bit_moves_as_many_bytes_or_none(
        segments in any_segments(4096),
        (word, bit) in (0..8_usize, 0..64_u32),
    ) {
        let list = ScatterList::from_segments(segments).unwrap();
        let limits = limits(descriptors_max(4, 20), Granularity::Byte).unwrap();
        let ready = plan(&list, Position::Stream, &limits, Policy::SplitOrError).next().unwrap().unwrap();
        let mut memories = memories(4, 20);
        let pointer = encode(&ready, &mut memories.as_bus()).unwrap();
        for (_, words) in &mut memories.0 {
            words[word] ^= 1 << bit;
        }
        if let Ok(runs) = collected(pointer, ready.len_bytes(), &mut memories) {
            prop_assert_eq!(runs.iter().map(|run| run.len()).sum::<u64>(), ready.len_bytes());
        }
    }
}

/// Words that look like parts of descriptors more often than chance would.
fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..4_u64).prop_map(|list| LISTS + list * 0x10_0008),
        (0..6_u64, 0..64_u64).prop_map(|(kind, count)| (kind << 60) | (count * 16)),
    ]
}

#[test]
fn a_segment_longer_than_a_descriptor_can_say_is_cut_and_else_refused() {
    let long = list(&[(0x1000, 9 << 30)]);
    let format = limits(8, Granularity::Dword).unwrap();
    assert_eq!(format.get(LimitId::SegmentLenMax).value, 0xffff_fffc);
    whole(&long, &format, |ready| {
        let mut memories = memories(8, 1);
        let pointer = encode(ready, &mut memories.as_bus()).unwrap();
        assert_eq!((pointer.kind(), pointer.len()), (Kind::LastSegment, 48));
        assert_eq!(joined(collected(pointer, 9 << 30, &mut memories).unwrap()), long);
    });
    whole(&long, &Limits::default(), |ready| {
        let error = encode(ready, &mut memories(8, 1).as_bus()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a piece of the 9663676416 bytes of the request has 9663676416, the most is 4294967295 (SGL descriptor)"
        );
    });
    let behind = list(&[(0x1000, 4096), (0x10_0000, 1 << 32), (1 << 40, 4096)]);
    whole(&behind, &Limits::default(), |ready| {
        let error = encode(ready, &mut memories(8, 1).as_bus()).unwrap_err();
        assert_eq!(error, EncodeError::TooLong { bytes: (1 << 32) + 8192, len: 1 << 32 });
    });
}

#[test]
fn missing_or_misplaced_list_memory_is_refused_with_numbers() {
    let five = list(&[(0x1000, 8), (0x2001, 8), (0x3002, 8), (0x4000, 8), (0x5000, 8)]);
    let refused = |memories: &mut Memories| {
        whole(&five, &Limits::default(), |ready| encode(ready, &mut memories.as_bus()).unwrap_err())
    };
    let none = EncodeError::NoRoom { descriptors: 5, list: 0, lists: 0, room: 0 };
    assert_eq!(refused(&mut memories(4, 0)), none);
    let one = EncodeError::NoRoom { descriptors: 5, list: 0, lists: 1, room: 4 };
    assert_eq!(refused(&mut memories(4, 1)), one);
    assert_eq!(one.to_string(), "5 descriptors are left for list memory 0, of the 1 given, which holds 4");
    let second = EncodeError::NoRoom { descriptors: 4, list: 1, lists: 2, room: 2 };
    assert_eq!(refused(&mut memories(2, 2)), second);
    let mut misplaced = memories(3, 2);
    misplaced.0[1].0 += 4;
    let error = refused(&mut misplaced);
    assert!(matches!(error, EncodeError::ListMisaligned { list: 1, .. }), "{error}");
    whole(&five, &Limits::default(), |ready| {
        assert_eq!([8, 5, 4, 3, 2].map(|size| segments_needed(ready, size).unwrap()), [1, 1, 2, 2, 4]);
        assert!(segments_needed(ready, 1).is_err() && segments_needed(ready, 0).is_err());
    });
    assert_eq!(
        [(4, 0), (4, 1), (4, 2), (1, 9), (0, 9)].map(|(size, count)| descriptors_max(size, count)),
        [1, 4, 7, 1, 1]
    );
}

#[test]
fn a_bounce_is_refused_until_its_buffer_is_named() {
    let list = list(&[(0x1000, 4096), (1 << 40, 4096)]);
    let low = Limits::builder().hard(LimitId::AddrMax, u32::MAX.into()).build().unwrap();
    let ready = plan(&list, Position::Stream, &low, Policy::WholeOrBounce).next().unwrap().unwrap();
    let error = encode(&ready, &mut memories(8, 1).as_bus()).unwrap_err();
    assert_eq!(error, EncodeError::Bounced { len: 4096 });
}

#[test]
fn limits_are_the_formats_and_hard() {
    let limits = limits(7, Granularity::Byte).unwrap();
    for (id, value) in [(LimitId::SegmentsMax, 7), (LimitId::SegmentLenMax, u32::MAX.into())] {
        let limit = limits.get(id);
        assert_eq!((limit.value, limit.source, limit.force), (value, Source::DescriptorFormat, Force::Hard));
    }
    assert!(super::sgl::limits(0, Granularity::Byte).is_err());
}

/// Walks descriptors that lie one behind the other at `LISTS`.
fn walked(pointer: Descriptor, descriptors: &[Descriptor], bytes: u64) -> WalkError {
    let words = descriptors.iter().flat_map(|descriptor| descriptor.words()).collect();
    collected(pointer, bytes, &mut Memories(vec![(LISTS, words)])).unwrap_err()
}

#[test]
fn what_a_controller_does_not_accept_is_named() {
    let data = |addr: u64, len: u32| Descriptor::new(Kind::DataBlock, BusAddr::new(addr), len);
    let at = |kind: Kind, addr: u64, len: u32| Descriptor::new(kind, BusAddr::new(addr), len);
    let last = |count: u32| at(Kind::LastSegment, LISTS, count * 16);
    let more = |count: u32| at(Kind::Segment, LISTS, count * 16);

    assert_eq!(walked(data(0x1000, 5), &[], 6), WalkError::Length { bytes: 6, found: 5 });
    assert_eq!(walked(data(0x1000, 7), &[], 6), WalkError::Length { bytes: 6, found: 7 });
    assert_eq!(walked(more(1), &[data(0, 6)], 6), WalkError::Unlinked { index: 1 });
    let error = walked(last(2), &[data(0, 6), last(1)], 7);
    assert_eq!(error, WalkError::Misplaced { index: 2, left: 0, last: true });
    let error = walked(more(3), &[data(0, 6), last(1), data(0, 6)], 12);
    assert_eq!(error, WalkError::Misplaced { index: 2, left: 1, last: false });
    for (addr, len) in [(LISTS + 4, 16), (LISTS, 0), (LISTS, 24), (u64::MAX - 7, 16)] {
        let error = walked(at(Kind::LastSegment, addr, len), &[data(0, 6)], 6);
        assert_eq!(error, WalkError::SegmentShape { addr: BusAddr::new(addr), len });
    }
    for kind in [Kind::BitBucket, Kind::KeyedDataBlock, Kind::TransportDataBlock, Kind::Other(0xf)] {
        let error = walked(last(1), &[at(kind, 0, 6)], 6);
        assert_eq!(error, WalkError::Unsupported { index: 1, kind: kind.value(), subtype: 0 });
    }
    let [low, high] = data(0x1000, 6).words();
    let error = walked(Descriptor::from_words([low, high | (1 << 56)]), &[], 6);
    assert_eq!(error, WalkError::Unsupported { index: 0, kind: 0, subtype: 1 });
    let error = walked(Descriptor::from_words([low, high | (1 << 40)]), &[], 6);
    assert_eq!(error, WalkError::Reserved { index: 0, bits: 0x100 });
    let error = walked(data(u64::MAX - 4, 6), &[], 6);
    assert!(matches!(error, WalkError::Wraps { index: 0, len: 6, .. }), "{error}");
    let error = walked(last(3), &[data(0x1000, 3), data(0x1000, 3)], 9);
    assert!(matches!(error, WalkError::Unreadable(_)), "{error}");
}

#[test]
fn segments_that_point_to_each_other_end_in_an_error() {
    let circle = Descriptor::new(Kind::Segment, BusAddr::new(LISTS), 16);
    assert_eq!(walked(circle, &[circle], 4096), WalkError::TooMany);
    // Each turn moves a byte, of far more than there are turns.
    let two = Descriptor::new(Kind::Segment, BusAddr::new(LISTS), 32);
    let byte = Descriptor::new(Kind::DataBlock, BusAddr::new(0x1000), 1);
    assert_eq!(walked(two, &[byte, two], u64::MAX), WalkError::TooMany);
}

#[test]
fn empty_data_blocks_are_legal_and_move_nothing() {
    let data = |addr: u64, len: u32| Descriptor::new(Kind::DataBlock, BusAddr::new(addr), len);
    let words = [data(0, 0), data(0x1000, 6), data(7, 0)].iter().flat_map(|one| one.words()).collect();
    let pointer = Descriptor::new(Kind::LastSegment, BusAddr::new(LISTS), 48);
    let runs = collected(pointer, 6, &mut Memories(vec![(LISTS, words)])).unwrap();
    assert_eq!(runs, [segment(0x1000, 6)]);
}

#[test]
fn the_views_show_every_field() {
    let descriptor = Descriptor::new(Kind::LastSegment, BusAddr::new(0x1234), 0x30);
    let bytes = descriptor.to_le_bytes();
    assert_eq!(bytes, [0x34, 0x12, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0x30]);
    assert_eq!(Descriptor::from_le_bytes(bytes), descriptor);
    for value in 0..=0xf {
        assert_eq!(Kind::from_value(value).value(), value);
    }
    let view = SegmentView::new(&bytes);
    assert_eq!((view.len(), view.get(0), view.get(1)), (1, Some(descriptor), None));
    assert!(SegmentView::new(&bytes[..15]).is_empty());
}

#[test]
fn metadata_is_one_run_or_refused() {
    let dword = metadata_limits(Granularity::Dword).unwrap();
    let scattered = list(&[(0x1000, 1024), (0x9000, 1024)]);
    assert!(plan(&scattered, Position::Stream, &dword, Policy::WholeOrError).next().unwrap().is_err());
    whole(&scattered, &Limits::default(), |ready| {
        let error = metadata_contiguous(ready, Granularity::Byte).unwrap_err();
        assert_eq!(error, MetadataError::Scattered { bytes: 2048, first: 1024 });
    });
    let one = list(&[(0x1002, 64)]);
    whole(&one, &Limits::default(), |ready| {
        assert_eq!(metadata_contiguous(ready, Granularity::Byte), Ok(BusAddr::new(0x1002)));
        let error = metadata_contiguous(ready, Granularity::Dword).unwrap_err();
        assert_eq!(error, MetadataError::Misaligned { addr: BusAddr::new(0x1002), need: 4 });
        let mut words = [u64::MAX; 2];
        let mut memory = PlainMemory::new(BusAddr::new(LISTS), &mut words);
        assert_eq!(metadata_segment(ready, &mut memory), Ok(BusAddr::new(LISTS)));
        assert_eq!(words.map(u64::from_le), [0x1002, 64]);
        let mut misplaced = PlainMemory::new(BusAddr::new(LISTS + 4), &mut words);
        assert!(matches!(
            metadata_segment(ready, &mut misplaced),
            Err(MetadataError::Memory { words: 2, .. })
        ));
        let mut short = PlainMemory::new(BusAddr::new(LISTS), &mut words[..1]);
        assert!(matches!(metadata_segment(ready, &mut short), Err(MetadataError::Memory { words: 1, .. })));
    });
}
