//! Targets and channels: what is derived is tighter, or it is refused with both values; and limits seen through a bus
//! that shows memory elsewhere.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, MapError, Offset, TargetError};
use scatterlist::{DmaTarget, Force, Lease, LimitId, Limits, MapPolicy, Source};

type Device = Direct<HeapMemory>;

fn device(offset: Offset, limits: &Limits) -> Device {
    Direct::new(HeapMemory::default(), offset, limits).unwrap()
}

fn hard(pairs: &[(LimitId, u64)]) -> Limits {
    pairs.iter().fold(Limits::builder(), |builder, &(id, value)| builder.hard(id, value)).build().unwrap()
}

/// What a controller states.
fn controller() -> Limits {
    Limits::builder()
        .hard(LimitId::AddrMax, 0xffff_ffff)
        .hard(LimitId::AddrAlign, 4)
        .hard(LimitId::GapBoundary, 4096)
        .hard(LimitId::SegmentsMax, 128)
        .hard(LimitId::TransferLenMax, 1 << 20)
        .hard(LimitId::PositionAlign, 512)
        .set(LimitId::TransferLenOpt, 65_536, Source::Identify, Force::Soft)
        .build()
        .unwrap()
}

#[test]
fn a_channel_inherits_what_it_leaves_open() {
    let device = &device(Offset::NONE, &controller());
    let channel = device.target().channel(&hard(&[(LimitId::SegmentsMax, 16)])).unwrap();
    let expected = controller().to_builder().hard(LimitId::SegmentsMax, 16).build().unwrap();
    assert_eq!(*channel.limits(), expected);
    assert_eq!(channel.limits().looser_than(device.target().limits()), None);
    // A channel of a channel is tighter than both.
    let narrow = channel.channel(&hard(&[(LimitId::AddrMax, 0x0fff_ffff)])).unwrap();
    assert_eq!(narrow.limits().get(LimitId::AddrMax).value, 0x0fff_ffff);
    assert_eq!(narrow.limits().get(LimitId::SegmentsMax).value, 16);
    let error = narrow.channel(&hard(&[(LimitId::SegmentsMax, 17)])).unwrap_err();
    assert_eq!(error.to_string(), "segments_max of 17 (hard) is looser than the parent's 16 (hard)");
}

#[test]
fn each_kind_of_rule_knows_what_is_looser() {
    let parent = hard(&[
        (LimitId::AddrMin, 0x1000),
        (LimitId::AddrMax, 0xffff_ffff),
        (LimitId::AddrAlign, 64),
        (LimitId::PieceLenAlign, 512),
        (LimitId::SegmentLenMax, 65_536),
        (LimitId::SegmentBoundary, 65_536),
        (LimitId::GapBoundary, 4096),
        (LimitId::ChunkLen, 131_072),
        (LimitId::TransferLenMin, 512),
        (LimitId::Capacity, 1 << 30),
    ]);
    let device = &device(Offset::NONE, &parent);
    let looser = [
        (LimitId::AddrMin, 0xfff),
        (LimitId::AddrMax, 0x1_0000_0000),
        (LimitId::AddrAlign, 32),
        (LimitId::PieceLenAlign, 768),
        (LimitId::SegmentLenMax, 65_537),
        (LimitId::SegmentBoundary, 131_072),
        (LimitId::GapBoundary, 2048),
        (LimitId::ChunkLen, 196_608),
        (LimitId::TransferLenMin, 511),
        (LimitId::Capacity, (1 << 30) + 1),
    ];
    for (limit, value) in looser {
        let error = device.target().channel(&hard(&[(limit, value)])).unwrap_err();
        match error {
            TargetError::Looser { limit: named, value: stated, .. } => {
                assert_eq!((named, stated), (limit, value));
            }
            other => panic!("{limit}: {other}"),
        }
    }
    let tighter = [
        (LimitId::AddrMin, 0x2000),
        (LimitId::AddrMax, 0xfff_ffff),
        (LimitId::AddrAlign, 128),
        (LimitId::PieceLenAlign, 1024),
        (LimitId::SegmentLenMax, 32_768),
        (LimitId::SegmentBoundary, 32_768),
        (LimitId::GapBoundary, 8192),
        (LimitId::ChunkLen, 65_536),
        (LimitId::TransferLenMin, 1024),
        (LimitId::Capacity, 1 << 29),
    ];
    for (limit, value) in tighter {
        let channel = device.target().channel(&hard(&[(limit, value)])).unwrap();
        assert_eq!(channel.limits().get(limit).value, value, "{limit}");
    }
}

#[test]
fn a_soft_limit_does_not_replace_a_hard_one() {
    let device = &device(Offset::NONE, &hard(&[(LimitId::TransferLenMax, 65_536)]));
    let soft =
        Limits::builder().set(LimitId::TransferLenMax, 4096, Source::User, Force::Soft).build().unwrap();
    let error = device.target().channel(&soft).unwrap_err();
    assert!(matches!(error, TargetError::Looser { limit: LimitId::TransferLenMax, .. }), "{error}");
}

#[test]
fn limits_that_cannot_be_met_together_are_refused() {
    let device = &device(Offset::NONE, &hard(&[(LimitId::AddrMin, 0x8000_0000)]));
    let error = device.target().channel(&hard(&[(LimitId::AddrMax, 0x7fff_ffff)])).unwrap_err();
    assert!(matches!(error, TargetError::Stack(_)), "{error}");
}

#[test]
fn targets_are_shared_by_queues_and_threads() {
    fn shared<T: Send + Sync + Clone>(target: &T) -> T {
        target.clone()
    }
    let device = std::sync::Arc::new(device(Offset::NONE, &controller()));
    let target: DmaTarget<_> = device.target();
    let target = shared(&target);
    assert_eq!(target.policy(), MapPolicy::MayFail);
    // An offset has nothing that could run short, so every mapping can be promised.
    let sure = target.with_policy(MapPolicy::MustSucceed { transfers: 64 }).unwrap();
    assert_eq!(sure.policy(), MapPolicy::MustSucceed { transfers: 64 });
}

#[test]
fn an_offset_moves_the_window_of_lists() {
    let limits = hard(&[(LimitId::AddrMin, 0xc000_0000), (LimitId::AddrMax, 0xffff_ffff)]);
    let up = device(Offset::Up(0xc000_0000), &limits);
    let list = *(&up).target().list_limits();
    assert_eq!((list.get(LimitId::AddrMin).value, list.get(LimitId::AddrMax).value), (0, 0x3fff_ffff));
    let down = device(Offset::Down(0x1_0000_0000), &hard(&[(LimitId::AddrMax, 0xffff_ffff)]));
    let list = *(&down).target().list_limits();
    assert_eq!(
        (list.get(LimitId::AddrMin).value, list.get(LimitId::AddrMax).value),
        (0x1_0000_0000, 0x1_ffff_ffff)
    );
}

#[test]
fn an_offset_that_breaks_alignment_is_refused_and_a_boundary_narrows() {
    let gap = hard(&[(LimitId::GapBoundary, 4096)]);
    let error = Direct::new(HeapMemory::default(), Offset::Up(0x800), &gap).unwrap_err();
    assert_eq!(error.to_string(), "gap_boundary of 4096 cannot be kept behind an offset of 0x800");
    // Boundaries of 4 GiB on a bus that shows memory 2 GiB further up lie at every odd 2 GiB of memory.
    let boundary = hard(&[(LimitId::SegmentBoundary, 1 << 32)]);
    let moved = device(Offset::Up(1 << 31), &boundary);
    assert_eq!((&moved).target().list_limits().get(LimitId::SegmentBoundary).value, 1 << 31);
    // A device that reaches only below the offset reaches no memory at all.
    let low = hard(&[(LimitId::AddrMax, 0xfff)]);
    let error = Direct::new(HeapMemory::default(), Offset::Up(0x1000), &low).unwrap_err();
    assert!(matches!(error, TargetError::Bus { limit: LimitId::AddrMax, .. }), "{error}");
}

#[test]
fn a_mapping_keeps_the_channels_limits_and_gives_the_lease_back() {
    let device = &device(Offset::NONE, &Limits::default());
    let channel = device.target().channel(&hard(&[(LimitId::TotalLenAlign, 512)])).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let failed = channel.map(Lease::from_vec(bytes.clone()).unwrap(), FromDevice).unwrap_err();
    assert!(matches!(failed.error, MapError::Limit(_)), "{}", failed.error);
    assert!(failed.to_string().contains("1000 is not a multiple of 512"), "{failed}");
    let back = failed.given.into_vecs().next().unwrap();
    assert_eq!(back, bytes);
    // Rules on positions and sizes are a request's, not a mapping's: a log page is shorter than a block.
    let blocks = device.target().channel(&hard(&[(LimitId::PositionAlign, 512)])).unwrap();
    assert!(blocks.map(Lease::from_vec(vec![0; 20]).unwrap(), FromDevice).is_ok());
}

#[test]
fn nothing_is_no_mapping() {
    let device = &device(Offset::NONE, &Limits::default());
    let failed = device.map_bytes(Vec::new(), FromDevice).unwrap_err();
    assert_eq!(failed.error, MapError::Empty);
}
