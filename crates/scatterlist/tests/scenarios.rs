//! Scenario vectors as tests of their own; each name starts with the case's id.
//!
//! `SGV`: which ranges may be selected from a list. `TARGET`: limits made from device descriptions of illumos,
//! and plans that obey them. `REG`: mistakes that real systems made.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use scatterlist::plan::{Piece, PlanError, Policy, plan};
use scatterlist::{
    Addr as _, BounceMemory, CacheCoherence, LimitId, Limits, PhysAddr, Position, ScatterList, Segment,
    SelectError,
};

type List = ScatterList<PhysAddr>;

fn list(segments: &[(u64, u64)]) -> List {
    let segment = |&(addr, len): &(u64, u64)| Segment::new(PhysAddr::new(addr), len).unwrap();
    ScatterList::from_segments(segments.iter().map(segment)).unwrap()
}

/// The pieces of one request: address (none for a bounce) and length.
type Pieces = Vec<(Option<u64>, u64)>;

/// Each request of a plan, as its pieces.
fn requests(list: &List, limits: &Limits, policy: Policy) -> Result<Vec<Pieces>, PlanError> {
    let piece = |piece: Piece<PhysAddr>| match piece {
        Piece::Direct(segment) => (Some(segment.addr().raw()), segment.len()),
        Piece::Bounce(bounce) => (None, bounce.len),
    };
    let ready = plan(list, Position::At(0), limits, policy);
    ready.map(|ready| Ok(ready?.pieces().map(piece).collect())).collect()
}

fn refused_by(list: &List, limits: &Limits, policy: Policy) -> LimitId {
    match requests(list, limits, policy).unwrap_err() {
        PlanError::Refused { why, .. } | PlanError::Unsatisfiable { why, .. } => why.limit,
        other => panic!("{other}"),
    }
}

/// A request of 12,288 bytes, and ranges of it as (length, offset).
fn selected(ranges: &[(u64, u64)]) -> Result<u64, SelectError> {
    let whole = list(&[(0x10000, 4096), (0x30000, 8192)]);
    let ranges: Vec<(u64, u64)> = ranges.iter().map(|&(len, offset)| (offset, len)).collect();
    whole.select(&ranges).map(|part| part.len_bytes())
}

#[test]
fn sgv_01_wrapped_order_ok() {
    assert_eq!(selected(&[(10, 12_278), (50, 0)]).unwrap(), 60);
}

#[test]
fn sgv_02_unordered_ok() {
    assert_eq!(selected(&[(100, 8192), (50, 500), (10, 2000)]).unwrap(), 160);
}

#[test]
fn sgv_03_entry_past_end() {
    let error = selected(&[(10, 12_288)]).unwrap_err();
    assert_eq!(error, SelectError::PastEnd { index: 0, offset: 12_288, len: 10, bytes: 12_288 });
    assert!(matches!(selected(&[(1, 0), (2, 12_287)]), Err(SelectError::PastEnd { index: 1, .. })));
    assert!(matches!(selected(&[(u64::MAX, 1)]), Err(SelectError::PastEnd { .. })));
}

#[test]
fn sgv_04_zero_length_entry() {
    assert_eq!(selected(&[(0, 0)]).unwrap_err(), SelectError::Empty { index: 0, offset: 0 });
}

/// The attributes of a device as illumos states them (`ddi_dma_attr(9S)`): `count_max`, `seg` and `addr_hi` are
/// the largest values, inclusive.
struct Attributes {
    addr_lo: u64,
    addr_hi: u64,
    count_max: u64,
    align: u64,
    minxfer: u64,
    maxxfer: u64,
    seg: u64,
    sgllen: u64,
    granular: u64,
}

impl Attributes {
    fn limits(&self) -> Limits {
        Limits::builder()
            .hard(LimitId::AddrMin, self.addr_lo)
            .hard(LimitId::AddrMax, self.addr_hi)
            .hard(LimitId::CoherentAddrMax, self.addr_hi)
            .hard(LimitId::SegmentLenMax, self.count_max + 1)
            .hard(LimitId::AddrAlign, self.align)
            .hard(LimitId::TransferLenMin, self.minxfer)
            .hard(LimitId::TransferLenMax, self.maxxfer)
            .hard(LimitId::SegmentBoundary, self.seg + 1)
            .hard(LimitId::SegmentsMax, self.sgllen)
            .hard(LimitId::TotalLenAlign, self.granular)
            .build()
            .unwrap()
    }
}

#[test]
fn target_01_sbus_device() {
    let limits = Attributes {
        addr_lo: 0xff00_0000,
        addr_hi: 0xffff_ffff,
        count_max: 0xffff_ffff,
        align: 1,
        minxfer: 1,
        maxxfer: 0xffff_ffff,
        seg: 0xffff_ffff,
        sgllen: 1,
        granular: 512,
    }
    .limits();
    let whole = requests(&list(&[(0xff00_1003, 8 << 20)]), &limits, Policy::WholeOrError).unwrap();
    assert_eq!(whole, [[(Some(0xff00_1003), 8 << 20)]]);
    // One segment a command.
    let two = list(&[(0xff00_0000, 4096), (0xff80_0000, 4096)]);
    let split = requests(&two, &limits, Policy::SplitOrError).unwrap();
    assert_eq!(split, [[(Some(0xff00_0000), 4096)], [(Some(0xff80_0000), 4096)]]);
    assert_eq!(refused_by(&two, &limits, Policy::WholeOrError), LimitId::SegmentsMax);
    // Cuts keep the granularity: what is cut at 700 bytes ends at 512.
    let ragged = list(&[(0xff00_0000, 700), (0xff80_0000, 836)]);
    let split = requests(&ragged, &limits, Policy::SplitOrBounce).unwrap();
    assert!(split.iter().flatten().map(|piece| piece.1).sum::<u64>() == 1536, "{split:?}");
    assert!(split.iter().all(|pieces| pieces.iter().map(|piece| piece.1).sum::<u64>() % 512 == 0));
    assert!(split.iter().all(|pieces| pieces.len() == 1));
    // The window is 16 MiB at the top of 32 bits.
    for out_of_reach in [(0xfeff_f000, 4096), (0x1_0000_0000, 4096)] {
        let list = list(&[out_of_reach]);
        let limit = refused_by(&list, &limits, Policy::SplitOrError);
        assert_eq!(limit, if out_of_reach.0 < 0xff00_0000 { LimitId::AddrMin } else { LimitId::AddrMax });
        assert_eq!(requests(&list, &limits, Policy::SplitOrBounce).unwrap(), [[(None, 4096)]]);
    }
    assert_eq!(
        refused_by(&list(&[(0xff00_0000, 100)]), &limits, Policy::SplitOrBounce),
        LimitId::TotalLenAlign
    );
}

#[test]
fn target_02_vmebus_device() {
    let limits = Attributes {
        addr_lo: 0,
        addr_hi: 0xffff_ffff,
        count_max: 0xffff_ffff,
        align: 1,
        minxfer: 2,
        maxxfer: 0xffff_ffff,
        seg: 0x00ff_ffff,
        sgllen: 17,
        granular: 512,
    }
    .limits();
    // Segments do not cross 16 MiB.
    let crossing = requests(&list(&[(0x00ff_f000, 8192)]), &limits, Policy::WholeOrError).unwrap();
    assert_eq!(crossing, [[(Some(0x00ff_f000), 4096), (Some(0x0100_0000), 4096)]]);
    // Seventeen segments a command.
    let pages: Vec<(u64, u64)> = (1..=18).map(|page| (page * 8192, 4096)).collect();
    let counts: Vec<usize> =
        requests(&list(&pages), &limits, Policy::SplitOrError).unwrap().iter().map(Vec::len).collect();
    assert_eq!(counts, [17, 1]);
    assert_eq!(requests(&list(&pages[..17]), &limits, Policy::WholeOrError).unwrap().len(), 1);
    assert_eq!(refused_by(&list(&[(1 << 32, 4096)]), &limits, Policy::SplitOrError), LimitId::AddrMax);
    assert_eq!(refused_by(&list(&[(0x1000, 511)]), &limits, Policy::SplitOrError), LimitId::TotalLenAlign);
}

#[test]
fn reg_01_fits_in_one_element_counts_the_unconsumed_part() {
    let mut chain = list(&[(65_536, 8192), (262_144, 4096)]);
    let rest = chain.split_off(4096).unwrap();
    let expected = [(Some(0x11000), 4096), (Some(0x40000), 4096)];
    assert_eq!(rest.totals().segments, 2);
    assert_eq!(requests(&rest, &Limits::default(), Policy::WholeOrError).unwrap(), [expected]);
    let one = Limits::builder().hard(LimitId::SegmentsMax, 1).build().unwrap();
    assert_eq!(requests(&rest, &one, Policy::SplitOrError).unwrap(), [[expected[0]], [expected[1]]]);
    // The same when the planner itself stops inside an element.
    let chain = list(&[(65_536, 8192), (262_144, 4096)]);
    let half = Limits::builder()
        .hard(LimitId::ChunkLen, 12_288)
        .hard(LimitId::PositionOffset, 8192)
        .hard(LimitId::PositionAlign, 4096)
        .build()
        .unwrap();
    let planned = requests(&chain, &half, Policy::SplitOrError).unwrap();
    assert_eq!(planned, [vec![(Some(65_536), 4096)], expected.to_vec()]);
}

#[test]
fn reg_02_bounce_buffers_obey_the_limits() {
    let limits = Limits::builder()
        .hard(LimitId::SegmentLenMax, 4096)
        .hard(LimitId::SegmentsMax, 1)
        .hard(LimitId::SegmentBoundary, 4096)
        .build()
        .unwrap();
    let transfer = list(&[(4096, 4096), (36_864, 4096)]);
    assert!(requests(&transfer, &limits, Policy::WholeOrBounce).is_err());
    let split = requests(&transfer, &limits, Policy::SplitOrBounce).unwrap();
    assert_eq!(split, [[(Some(4096), 4096)], [(Some(36_864), 4096)]]);
    // Out of reach, so every byte must be bounced.
    let bounced = limits.to_builder().hard(LimitId::AddrMax, 0xfff).build().unwrap();
    assert!(requests(&transfer, &bounced, Policy::WholeOrBounce).is_err());
    let split = requests(&transfer, &bounced, Policy::SplitOrBounce).unwrap();
    assert_eq!(split, [[(None, 4096)], [(None, 4096)]]);
}

#[test]
fn reg_03_gap_boundary_alone_leaves_segments_unlimited() {
    let limits = Limits::builder().hard(LimitId::GapBoundary, 4096).build().unwrap();
    assert_eq!(limits.get(LimitId::SegmentLenMax).value, u64::MAX);
    let long = list(&[(1 << 30, 1 << 30)]);
    assert_eq!(requests(&long, &limits, Policy::WholeOrError).unwrap(), [[(Some(1 << 30), 1 << 30)]]);
    // Nor does stacking with a device that states a longest segment lose the gap boundary, or the other way round.
    let other = Limits::builder().hard(LimitId::SegmentLenMax, 65_536).build().unwrap();
    let both = limits.stack(&other).unwrap();
    assert_eq!(both.get(LimitId::GapBoundary).value, 4096);
    assert_eq!(both.get(LimitId::SegmentLenMax).value, 65_536);
}

#[test]
fn reg_04_bounce_memory_is_write_back_wherever_caches_can_be_synchronised() {
    let memory = |coherence| *Limits::builder().coherence(coherence).build().unwrap().memory();
    assert_eq!(memory(CacheCoherence::Coherent).bounce_memory(), BounceMemory::WriteBack);
    assert_eq!(memory(CacheCoherence::Synced).bounce_memory(), BounceMemory::WriteBack);
    assert_eq!(memory(CacheCoherence::Uncached).bounce_memory(), BounceMemory::Uncached);
}
