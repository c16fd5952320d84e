//! Any list, any limits: what the device reads is the list's bytes, what it writes comes back and nothing else does,
//! every limit is kept, and nothing bounces that need not.

use proptest::prelude::*;
use scatterlist::map::{
    BounceLayout, CpuSync, DmaDevice as _, FromDevice, MapError, Offset, Resource, ToDevice,
};
use scatterlist::plan::{Piece, Policy, plan};
use scatterlist::{
    Addr as _, BusAddr, CacheCoherence, Force, LimitId, Limits, MapPolicy, PhysAddr, Position, ScatterList,
};

use crate::machine::{Bus, Ram, device_at, land};

const MIB: u64 = 1 << 20;
/// The machine has memory from 1 MiB to 10 MiB; the pool is in the middle.
const BASE: u64 = MIB;
const POOL: (u64, u64) = (4 * MIB, 4 * MIB);
/// A last segment that fills a list up to what its limits demand starts here.
const FILLER: u64 = 9 * MIB;

fn limits() -> impl Strategy<Value = (Limits, u64)> {
    let power = || prop_oneof![5 => Just(0_u64), 1 => Just(512_u64), 2 => Just(4096), 1 => Just(65536)];
    let memory = (
        prop_oneof![2 => Just(1_u64), 1 => Just(4), 1 => Just(512), 1 => Just(4096)],
        prop_oneof![3 => Just(1_u64), 1 => Just(4), 1 => Just(64), 1 => Just(512), 1 => Just(520)],
        prop_oneof![Just(1_u64), Just(512)],
        prop_oneof![3 => Just(u64::MAX), 3 => 1..60_u64],
        prop_oneof![3 => Just(u64::MAX), 1 => 1..60_u64],
        prop_oneof![2 => Just(u64::MAX), 1 => Just(4096_u64), 1 => 1..200_000_u64],
        (power(), power(), power()),
    );
    let window = (
        prop_oneof![1 => Just(0_u64), 1 => MIB..2 * MIB],
        prop_oneof![1 => Just(u64::MAX), 1 => 8 * MIB..9 * MIB],
        prop_oneof![4 => Just(0_u64), 1 => Just(511_u64), 1 => Just(4095_u64)],
        prop_oneof![5 => Just(0_u64), 1 => 1..9000_u64],
        any::<bool>(),
        prop_oneof![Just(0), Just(MIB)],
    );
    (memory, window).prop_filter_map("limits that no device can have", |(memory, window)| {
        let (align, piece, total, segments, pieces, longest, (boundary, gap, page)) = memory;
        let (min, max, kept, copy, coherent, offset) = window;
        let coherence = if coherent { CacheCoherence::Coherent } else { CacheCoherence::Synced };
        let limits = Limits::builder()
            .hard(LimitId::AddrAlign, align)
            .hard(LimitId::PieceLenAlign, piece)
            .hard(LimitId::TotalLenAlign, total)
            .hard(LimitId::SegmentsMax, segments)
            .hard(LimitId::PiecesMax, pieces)
            .hard(LimitId::SegmentLenMax, longest)
            .hard(LimitId::SegmentBoundary, boundary)
            .hard(LimitId::GapBoundary, gap)
            .hard(LimitId::PageLen, page)
            .hard(LimitId::AddrMin, min.saturating_add(offset))
            .hard(LimitId::AddrMax, max.saturating_add(offset))
            .hard(LimitId::BounceOffsetMask, kept)
            .hard(LimitId::CopyBelow, copy)
            .coherence(coherence)
            .build()
            .ok()?;
        Some((limits, offset))
    })
}

/// Segments apart from each other and from the pool, in any order.
fn segments() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let page = (0..40_u64, 1..5_u64).prop_map(|(skip, count)| (skip << 12, count << 12));
    let block = (0..80_u64, 1..20_u64).prop_map(|(skip, count)| (skip << 9, count << 9));
    let ragged = (0..100_000_u64, 1..20_000_u64);
    let one = prop_oneof![4 => page, 2 => block, 2 => ragged];
    let placed = (any::<bool>(), prop::collection::vec(one, 1..40)).prop_map(|(high, runs)| {
        let mut at = if high { 7 * MIB + MIB / 2 } else { BASE };
        let mut segments = Vec::new();
        for (skip, len) in runs {
            at += skip;
            if at < POOL.0 + POOL.1 && at + len > POOL.0 {
                at = POOL.0 + POOL.1;
            }
            if at + len > FILLER {
                break;
            }
            segments.push((at, len));
            at += len;
        }
        segments
    });
    placed.prop_shuffle()
}

fn hard(limits: &Limits, id: LimitId) -> u64 {
    let limit = limits.get(id);
    if limit.force == Force::Hard { limit.value } else { id.neutral() }
}

/// Checks what the device is told against every limit, as the documentation of each states it.
fn check(bus: &ScatterList<BusAddr>, limits: &Limits) {
    let get = |id| hard(limits, id);
    let rules = limits.to_builder().hard(LimitId::CopyBelow, 0).build().unwrap();
    let ready = plan(bus, Position::Stream, &rules, Policy::WholeOrError).next().unwrap();
    let pieces: Vec<Piece<BusAddr>> = ready.unwrap().pieces().collect();
    let (gap, boundary, page) =
        (get(LimitId::GapBoundary).max(1), get(LimitId::SegmentBoundary), get(LimitId::PageLen));
    let (mut count, mut end, mut bytes) = (0, None, 0);
    for piece in &pieces {
        let Piece::Direct(segment) = piece else { panic!("{piece:?}") };
        let (start, len) = (segment.addr().raw(), segment.len());
        assert!(start >= get(LimitId::AddrMin) && segment.end() - 1 <= get(LimitId::AddrMax), "window");
        assert_eq!(start % get(LimitId::AddrAlign), 0, "addr_align");
        assert_eq!(len % get(LimitId::PieceLenAlign), 0, "piece_len_align");
        assert!(len <= get(LimitId::SegmentLenMax), "segment_len_max");
        assert_eq!(start.checked_div(boundary), (start + len - 1).checked_div(boundary), "segment_boundary");
        if let Some(end) = end {
            assert_eq!((end | start) % gap, 0, "gap_boundary");
        }
        count += if page == 0 { 1 } else { (start % page + len).div_ceil(page) };
        end = Some(start + len);
        bytes += len;
    }
    assert_eq!(bytes, bus.len_bytes());
    assert_eq!(bytes % get(LimitId::TotalLenAlign), 0, "total_len_align");
    assert!(count <= get(LimitId::SegmentsMax), "segments_max");
    assert!(pieces.len() as u64 <= get(LimitId::PiecesMax), "pieces_max");
}

/// Checks that each byte is where it was unless the planner bounced it, and that those that it bounced are counted.
fn check_moved(
    list: &ScatterList<PhysAddr>,
    bus: &ScatterList<BusAddr>,
    limits: &Limits,
    bounced: u64,
    offset: u64,
) {
    let ready = plan(list, Position::Stream, limits, Policy::WholeOrBounce).next().unwrap().unwrap();
    assert_eq!(bounced, ready.bounced_bytes());
    let mut at = 0;
    for piece in ready.pieces() {
        if let Piece::Direct(segment) = piece {
            let moved = bus.select(&[(at, segment.len())]).unwrap();
            let moved: Vec<_> = moved.iter().map(|part| (part.addr().raw() - offset, part.len())).collect();
            assert_eq!(moved, [(segment.addr().raw(), segment.len())]);
        }
        at += piece.len_bytes();
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What the bytes of a list must be a multiple of.
fn unit(limits: &Limits) -> u64 {
    let (piece, total) = (hard(limits, LimitId::PieceLenAlign), hard(limits, LimitId::TotalLenAlign));
    piece * total / gcd(piece, total)
}

/// Makes the bytes of a list what they must be a multiple of, by a last segment, and returns them.
fn fill(segments: &mut Vec<(u64, u64)>, limits: &Limits) -> u64 {
    let (sum, unit): (u64, u64) = (segments.iter().map(|&(_, len)| len).sum(), unit(limits));
    if sum == 0 || !sum.is_multiple_of(unit) {
        segments.push((FILLER, unit - sum % unit));
    }
    segments.iter().map(|&(_, len)| len).sum()
}

/// Bytes of which no two pages are alike.
fn pattern(len: u64, seed: u64) -> Vec<u8> {
    let block: Vec<u8> = (0..65_521_u64).map(|at| ((at ^ (at >> 8)).wrapping_mul(seed) >> 1) as u8).collect();
    let len = usize::try_from(len).unwrap();
    let mut bytes = block.repeat(len / block.len() + 1);
    bytes.truncate(len);
    bytes
}

/// Says whether a mapping may fail so. The pool is empty and larger than any list.
fn may_fail(error: MapError, list: &ScatterList<PhysAddr>, limits: &Limits, layout: BounceLayout) -> bool {
    let planned = plan(list, Position::Stream, limits, Policy::WholeOrBounce).next().unwrap();
    match error {
        // Bits to preserve that are not aligned: the piece was planned so, as its limits demand.
        MapError::Limit(_) => {
            planned.is_err()
                || hard(limits, LimitId::BounceOffsetMask) != 0 && hard(limits, LimitId::AddrAlign) > 1
        }
        MapError::Shortage { what: Resource::BounceMemory, need, .. } => {
            let mask = [LimitId::GapBoundary, LimitId::AddrAlign, LimitId::PageLen, LimitId::SegmentBoundary]
                .map(|id| hard(limits, id).saturating_sub(1))
                .into_iter()
                .fold(hard(limits, LimitId::BounceOffsetMask), |mask, other| mask | other);
            need > layout.map_len_max(mask)
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn any_list_goes_both_ways_within_every_limit(
        (limits, offset) in limits(), mut segments in segments(),
        seed in (1..5000_u64).prop_map(|seed| 2 * seed + 1),
        part in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        slot_len in prop_oneof![3 => Just(2048_u64), 1 => Just(512), 1 => Just(4096)],
        sync in prop_oneof![3 => Just(CpuSync::Whole), 1 => Just(CpuSync::Skip)],
    ) {
        fill(&mut segments, &limits);
        let ram = Ram::new(BASE, 9 * MIB);
        ram.store(BASE, &pattern(9 * MIB, seed));
        let layout = BounceLayout { slot_len, set_slots: (256 << 10) / slot_len };
        let device = device_at(&ram, Offset::Up(offset), &limits, &[POOL], layout);
        let bus = Bus::new(&ram, offset, &limits);
        let before = ram.load(BASE, 9 * MIB);
        let lease = ram.lease(&segments);
        let bytes = ram.load_list(lease.list());
        let len = lease.list().len_bytes();
        let list_limits = *(&device).target().reach().list_memory();
        let target = (&device).target();

        // To the device.
        let mapped = match sync {
            CpuSync::Whole => target.map(lease, ToDevice),
            CpuSync::Skip => target.map_unsynced(lease, ToDevice),
        };
        let mut mapped = match mapped {
            Ok(mapped) => mapped,
            Err(failed) => {
                let failure = (failed.error, failed.given.list());
                prop_assert!(may_fail(failure.0, failure.1, &list_limits, layout), "{}", failed.error);
                prop_assert_eq!(device.free_bytes(), POOL.1);
                prop_assert_eq!(device.inner().live.get(), 0);
                prop_assert!(ram.holds(BASE, &before));
                return Ok(());
            }
        };
        prop_assert!(device.inner().maps.get() == 1, "one call beneath");
        let bounced = mapped.bounced_bytes();
        if sync == CpuSync::Skip {
            mapped.sync_for_device(0..len).unwrap();
        }
        let flight = mapped.into_flight();
        check(flight.bus(), &limits);
        prop_assert!(bus.gather(flight.bus()) == bytes);
        let told = flight.bus().clone();
        let lease = land(flight).unmap();
        check_moved(lease.list(), &told, &list_limits, bounced, offset);
        prop_assert!(ram.holds(BASE, &before));
        prop_assert_eq!(device.free_bytes(), POOL.1);

        // From the device, which writes only a part.
        let mapped = target.map(lease, FromDevice);
        let flight = mapped.map_err(|failed| failed.error).unwrap().into_flight();
        check(flight.bus(), &limits);
        prop_assert!(bus.gather(flight.bus()) == bytes, "the original is copied in");
        let (a, b) = (part.0.index(bytes.len()), part.1.index(bytes.len()));
        let (start, end) = (a.min(b), a.max(b) + 1);
        let written = pattern((end - start) as u64, seed + 2);
        bus.scatter(flight.bus(), start as u64, &written);
        let lease = land(flight).unmap();
        let mut expected = bytes;
        expected[start..end].copy_from_slice(&written);
        prop_assert!(ram.load_list(lease.list()) == expected);
        for part in lease.list() {
            let at = (part.addr().raw() - BASE) as usize;
            ram.store(part.addr().raw(), &before[at..at + part.len() as usize]);
        }
        prop_assert!(ram.holds(BASE, &before), "nothing else changed, and the pool is clear");
        prop_assert_eq!(device.free_bytes(), POOL.1);
        prop_assert!(bus.is_clear(POOL.0 + offset, POOL.1));
    }

    /// What maps while the pool is empty maps from the reserve while it is full.
    #[test]
    fn a_reserve_is_enough_for_any_list(
        (limits, offset) in limits(), mut segments in segments(),
        slot_len in prop_oneof![3 => Just(2048_u64), 1 => Just(512), 1 => Just(4096)],
    ) {
        let transfer = fill(&mut segments, &limits);
        let limits = limits.to_builder().hard(LimitId::TransferLenMax, transfer).build().unwrap();
        let ram = Ram::new(BASE, 9 * MIB);
        let layout = BounceLayout { slot_len, set_slots: (256 << 10) / slot_len };
        let device = &device_at(&ram, Offset::Up(offset), &limits, &[POOL], layout);
        let list = device.target().reach().list_memory().to_builder();
        let whole = list.hard(LimitId::CopyBelow, u64::MAX).build().unwrap();
        let lease = ram.lease(&segments);
        let list = lease.list().clone();
        let whole = plan(&list, Position::Stream, &whole, Policy::WholeOrBounce).next();
        let Ok(mapped) = device.map(lease, FromDevice) else { return Ok(()) };
        let Some(Ok(_)) = whole else { return Ok(()) };
        drop(mapped);
        let Ok(target) = device.target().with_policy(MapPolicy::MustSucceed { transfers: 2 }) else {
            return Ok(());
        };
        let mut greedy = Vec::new();
        let far = (POOL.0 + POOL.1, (hard(&limits, LimitId::PieceLenAlign) * 512).max(slot_len));
        let far = (far.0, far.1 - far.1 % unit(&limits));
        while let Ok(mapped) = device.map(ram.lease(&[far]), FromDevice) && mapped.bounced_bytes() > 0 {
            greedy.push(mapped);
        }
        for _ in 0..2 {
            let flights = [(); 2].map(|()| target.map(ram.lease(&segments), FromDevice).map_err(|f| f.error));
            for flight in flights {
                let flight = flight.map_err(|error| TestCaseError::fail(error.to_string()))?.into_flight();
                check(flight.bus(), &limits);
                land(flight).unmap();
            }
        }
    }
}
