//! A device that cannot use memory where it is gets a copy of it, and nothing but that.
//!
//! `BOUNCE` and `REG-02` are the scenario vectors of Linux's pool and of a mistake that was made over one. Then: what a
//! full pool says, what is set aside for mappings that must succeed, what is undone, and that no old byte is ever
//! seen. [`properties`] has any list and any limits, [`machine`] the memory and the device.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod compose;
mod machine;
mod properties;

use std::sync::Arc;

use machine::{Bus, Ram, Watched, device, land};
use scatterlist::map::{
    Both, Bounce, BounceError, BounceLayout, Direct, DmaDevice as _, FromDevice, MapError, Offset, Resource,
    TargetError, ToDevice,
};
use scatterlist::plan::PlanError;
use scatterlist::{Addr as _, CacheCoherence, LimitId, Limits, LimitsBuilder, MapPolicy};
use serde_json::Value;

const KIB: u64 = 1024;
const MIB: u64 = 1 << 20;

/// The machine has memory from 1 MiB to 10 MiB; the device reaches what lies below 2 MiB, where the pool is.
const BASE: u64 = MIB;
const FAR: u64 = 4 * MIB;

fn near() -> LimitsBuilder {
    Limits::builder().hard(LimitId::AddrMax, 2 * MIB - 1)
}

fn ram() -> Ram {
    Ram::new(BASE, 9 * MIB)
}

fn vector(id: &str) -> Value {
    let suite: Value = serde_json::from_str(include_str!("../vectors/bounce.json")).unwrap();
    let cases = suite["cases"].as_array().unwrap();
    cases.iter().find(|case| case["id"] == id).unwrap().clone()
}

/// The longest piece of a pool like Linux's, and whether a piece that long maps as one run, and one byte more does not.
fn longest_piece(id: &str) {
    let case = vector(id);
    let mask = case["min_align_mask"].as_u64().unwrap();
    let longest = BounceLayout::default().map_len_max(mask);
    assert_eq!(longest, case["expect_max"].as_u64().unwrap());
    let ram = ram();
    let limits = near().hard(LimitId::BounceOffsetMask, mask).hard(LimitId::SegmentsMax, 1).build().unwrap();
    let device = device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default());
    // The worst address: it keeps the most of a set from the piece.
    let mapped = (&device).map(ram.lease(&[(FAR + mask, longest)]), ToDevice).unwrap();
    assert_eq!(mapped.bounced_bytes(), longest);
    drop(mapped);
    let over = 256 * KIB + 1;
    let failed = (&device).map(ram.lease(&[(FAR, over)]), ToDevice).unwrap_err();
    assert!(
        matches!(failed.error, MapError::Shortage { what: Resource::BounceMemory, need, .. } if need == over)
    );
}

#[test]
fn bounce_01_a_piece_is_at_most_a_set() {
    longest_piece("BOUNCE-01");
}

#[test]
fn bounce_02_keeping_512_costs_a_slot() {
    longest_piece("BOUNCE-02");
}

#[test]
fn bounce_03_keeping_4096_costs_two_slots() {
    longest_piece("BOUNCE-03");
}

#[test]
fn bounce_04_keeping_65536_costs_as_much() {
    longest_piece("BOUNCE-04");
}

#[test]
fn bounce_05_the_low_bits_of_the_original_are_kept() {
    let case = vector("BOUNCE-05");
    let (mask, original) = (case["min_align_mask"].as_u64().unwrap(), case["orig"].as_u64().unwrap());
    let ram = Ram::new(0x1200_0000, 8 * MIB);
    let limits = Limits::builder()
        .hard(LimitId::AddrMax, 0x1220_0000 - 1)
        .hard(LimitId::BounceOffsetMask, mask)
        .build()
        .unwrap();
    let device = device(&ram, &limits, &[(0x1210_0800, 512 * KIB)], BounceLayout::default());
    for len in [1, 3000, 100_000] {
        let mapped = (&device).map(ram.lease(&[(original, len)]), ToDevice).unwrap();
        let flight = mapped.into_flight();
        let bus = flight.bus().first().unwrap().addr().raw();
        assert_eq!(bus & mask, case["expect_low_bits"].as_u64().unwrap());
        assert!(bus < 0x1220_0000);
        land(flight).unmap();
    }
}

#[test]
fn bounce_06_what_a_device_does_not_write_stays_as_it_was() {
    let case = vector("BOUNCE-06");
    let (size, writes) = (case["size"].as_u64().unwrap(), &case["device_writes"]);
    let (start, end) = (writes[0].as_u64().unwrap(), writes[1].as_u64().unwrap());
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        let ram = ram();
        let limits = near().coherence(coherence).build().unwrap();
        let (device, bus) =
            (device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default()), Bus::new(&ram, 0, &limits));
        ram.store(FAR, &vec![0x55; size as usize]);
        let flight = (&device).map(ram.lease(&[(FAR, size)]), FromDevice).unwrap().into_flight();
        bus.scatter(flight.bus(), start, &vec![0xAA; (end - start) as usize]);
        land(flight).unmap();
        let found = ram.load(FAR, size);
        let (written, rest) = found.split_at(end as usize);
        assert!(written.iter().all(|byte| *byte == 0xAA) && rest.iter().all(|byte| *byte == 0x55));
    }
}

#[test]
fn reg_02_bounced_segments_obey_the_limits() {
    let ram = ram();
    let limits = near()
        .hard(LimitId::SegmentLenMax, 4096)
        .hard(LimitId::SegmentsMax, 1)
        .hard(LimitId::SegmentBoundary, 4096)
        .build()
        .unwrap();
    let device = device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default());
    for transfer in [[(0x110_1000, 4096), (0x110_9000, 4096)], [(FAR, 4096), (FAR + 0x8000, 4096)]] {
        let transfer =
            transfer.map(|(addr, len)| (if addr > 9 * MIB { addr - 0x100_0000 } else { addr }, len));
        let failed = (&device).map(ram.lease(&transfer), ToDevice).unwrap_err();
        let MapError::Limit(PlanError::Unsatisfiable { why, .. }) = failed.error else {
            panic!("{}", failed.error)
        };
        assert_eq!(why.limit, LimitId::SegmentsMax);
    }
    assert_eq!(device.free_bytes(), MIB);
    // Each half alone is one segment of a page.
    let flight = (&device).map(ram.lease(&[(FAR + 100, 4096)]), ToDevice).unwrap().into_flight();
    let segments: Vec<_> = flight.bus().iter().map(|bus| (bus.addr().raw() % 4096, bus.len())).collect();
    assert_eq!(segments, [(0, 4096)]);
    land(flight).unmap();
}

#[test]
fn what_is_in_reach_is_not_copied() {
    let ram = ram();
    let limits = near().hard(LimitId::GapBoundary, 4096).build().unwrap();
    let device = device(&ram, &limits, &[(BASE, 512 * KIB)], BounceLayout::default());
    let near = BASE + 600 * KIB;
    let flight =
        (&device).map(ram.lease(&[(near, 8192), (near + 0x8000, 512)]), ToDevice).unwrap().into_flight();
    assert_eq!(device.free_bytes(), 512 * KIB);
    let told: Vec<_> = flight.bus().iter().map(|bus| (bus.addr().raw(), bus.len())).collect();
    assert_eq!(told, [(near, 8192), (near + 0x8000, 512)]);
    land(flight).unmap();
    // One page out of reach between two that are not: that one is copied.
    let mixed = [(near, 4096), (FAR, 4096), (near + 0x8000, 4096)];
    let mapped = (&device).map(ram.lease(&mixed), ToDevice).unwrap();
    assert_eq!((mapped.bounced_bytes(), device.free_bytes()), (4096, 508 * KIB));
    assert_eq!(device.inner().maps.get(), 2);
}

#[test]
fn short_pieces_are_copied_where_that_is_asked_for() {
    let ram = ram();
    let limits = Limits::builder().hard(LimitId::CopyBelow, 4096).build().unwrap();
    let short = [(FAR, 100), (FAR + 8192, 4096)];
    let device = device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default());
    assert_eq!((&device).map(ram.lease(&short), ToDevice).unwrap().bounced_bytes(), 100);
    // Without a pool there is nothing to copy through, and no reason to refuse.
    let direct = Direct::new(&ram, Offset::NONE, &limits).unwrap();
    assert_eq!((&direct).map(ram.lease(&short), ToDevice).unwrap().bounced_bytes(), 0);
}

#[test]
fn a_piece_longer_than_a_set_is_cut_where_its_limits_allow() {
    let ram = ram();
    let limits = near().hard(LimitId::GapBoundary, 4096).build().unwrap();
    let device = device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default());
    let bus = Bus::new(&ram, 0, &limits);
    let bytes: Vec<u8> = (0..600 * KIB + 512).map(|at| (at % 251) as u8).collect();
    ram.store(FAR, &bytes);
    let list = [(FAR, bytes.len() as u64)];
    let flight = (&device).map(ram.lease(&list), ToDevice).unwrap().into_flight();
    assert!(bus.gather(flight.bus()) == bytes);
    let segments: Vec<_> = flight.bus().iter().collect();
    assert_eq!(segments.len(), 3);
    for pair in segments.windows(2) {
        assert_eq!((pair[0].end() | pair[1].addr().raw()) % 4096, 0);
    }
    land(flight).unmap();
    // Bigger sets hold it whole.
    let layout = BounceLayout { set_slots: 512, ..BounceLayout::default() };
    let device = machine::device(&ram, &limits, &[(BASE, MIB)], layout);
    let flight = (&device).map(ram.lease(&list), ToDevice).unwrap().into_flight();
    assert_eq!(flight.bus().len_segments(), 1);
    land(flight).unmap();
}

#[test]
fn a_full_pool_says_what_there_is_and_works_again_later() {
    let ram = ram();
    let limits = near().hard(LimitId::SegmentsMax, 1).build().unwrap();
    let device = &device(&ram, &limits, &[(BASE, 64 * KIB)], BounceLayout::default());
    let map = |at: u64, len| device.map(ram.lease(&[(FAR + at, len)]), ToDevice);
    let held: Vec<_> = (0..4).map(|index| map(index * 16 * KIB, 14 * KIB).unwrap()).collect();
    assert_eq!(device.free_bytes(), 8 * KIB);
    let failed = map(MIB, 14 * KIB).unwrap_err();
    assert_eq!(
        failed.error,
        MapError::Shortage { what: Resource::BounceMemory, need: 14 * KIB, have: 8 * KIB }
    );
    assert_eq!(
        failed.error.to_string(),
        "14336 bytes of bounce memory in one run are needed, 8192 are there"
    );
    assert_eq!(failed.given.list().len_bytes(), 14 * KIB);
    drop(held);
    assert_eq!(device.free_bytes(), 64 * KIB);
    assert_eq!(map(MIB, 64 * KIB).unwrap().bounced_bytes(), 64 * KIB);
}

/// Fills the pool, and maps three lists of `count` pieces of `len` bytes, every other one out of reach, from the reserve.
fn reserve_serves(gap: u64, count: u64, len: u64) {
    let ram = ram();
    let transfer = count * len;
    let limits =
        near().hard(LimitId::GapBoundary, gap).hard(LimitId::TransferLenMax, transfer).build().unwrap();
    let device = &device(&ram, &limits, &[(BASE, 256 * KIB)], BounceLayout::default());
    let bus = Bus::new(&ram, 0, &limits);
    let sure = device.target().with_policy(MapPolicy::MustSucceed { transfers: 3 }).unwrap();
    let set_aside = 256 * KIB - device.free_bytes();
    assert!(set_aside >= 3 * transfer && set_aside <= 3 * (transfer + 2 * gap), "{set_aside}");
    // Others take all that is left.
    let greedy: Vec<_> =
        std::iter::from_fn(|| device.map(ram.lease(&[(FAR, 4096)]), ToDevice).ok()).collect();
    assert_eq!(device.free_bytes(), 0);
    let near = BASE + 512 * KIB;
    let list: Vec<_> = (0..count).map(|at| (if at % 2 == 0 { FAR } else { near } + at * 8192, len)).collect();
    let bytes: Vec<u8> = (0..transfer).map(|at| (at % 253) as u8).collect();
    for (&(addr, len), part) in list.iter().zip(bytes.chunks(len as usize)) {
        assert_eq!(len, part.len() as u64);
        ram.store(addr, part);
    }
    for _ in 0..2 {
        let flights: Vec<_> =
            (0..3).map(|_| sure.map(ram.lease(&list), ToDevice).unwrap().into_flight()).collect();
        for flight in &flights {
            assert!(bus.gather(flight.bus()) == bytes);
        }
        let failed = sure.map(ram.lease(&list), ToDevice).unwrap_err();
        assert_eq!(failed.error, MapError::Shortage { what: Resource::Reserve, need: 4, have: 3 });
        // Who has no such policy gets none of it.
        let failed = device.map(ram.lease(&list), ToDevice).unwrap_err();
        assert!(matches!(failed.error, MapError::Shortage { what: Resource::BounceMemory, have: 0, .. }));
        for flight in flights {
            land(flight).unmap();
        }
    }
    drop(greedy);
    assert_eq!(device.free_bytes(), 256 * KIB - set_aside);
}

#[test]
fn a_reserve_serves_mappings_when_the_pool_is_full() {
    reserve_serves(4096, 6, 4096);
}

/// Each piece takes a slot, so that all of them need more than the whole does in one piece.
#[test]
fn a_reserve_serves_scattered_pieces_by_bouncing_the_whole() {
    reserve_serves(0, 40, 512);
}

#[test]
fn the_reserve_is_not_touched_while_the_pool_has_room() {
    let ram = ram();
    let limits = near().hard(LimitId::TransferLenMax, 8192).build().unwrap();
    let device = &device(&ram, &limits, &[(BASE, 256 * KIB)], BounceLayout::default());
    let sure = device.target().with_policy(MapPolicy::MustSucceed { transfers: 1 }).unwrap();
    let held: Vec<_> = (0..5).map(|_| sure.map(ram.lease(&[(FAR, 8192)]), ToDevice).unwrap()).collect();
    assert_eq!(held.len(), 5);
}

#[test]
fn a_reserve_that_cannot_be_is_refused_with_numbers() {
    let ram = ram();
    let unbounded = &device(&ram, &near().build().unwrap(), &[(BASE, 256 * KIB)], BounceLayout::default());
    let refused = |device: &machine::Device<'_>, transfers| {
        device.target().with_policy(MapPolicy::MustSucceed { transfers }).unwrap_err()
    };
    let error = refused(unbounded, 2);
    assert!(
        matches!(error, TargetError::Reserve { transfers: 2, len: u64::MAX, have: 262_144, .. }),
        "{error}"
    );
    let limits = near().hard(LimitId::TransferLenMax, 65536).build().unwrap();
    let small = &device(&ram, &limits, &[(BASE + MIB / 2, 256 * KIB)], BounceLayout::default());
    let error = refused(small, 5);
    assert_eq!(
        error.to_string(),
        "a reserve for 5 transfers of 65536 bytes needs 327680 bytes of bounce memory in one run, 262144 are there"
    );
    assert_eq!(small.free_bytes(), 256 * KIB, "nothing stays set aside");
    small.target().with_policy(MapPolicy::MustSucceed { transfers: 4 }).unwrap();
    assert_eq!(small.free_bytes(), 0);
}

#[test]
fn a_reserve_for_pieces_that_cannot_be_cut_is_refused() {
    let ram = ram();
    let with = |transfer_len| {
        // Joins fall on 512, lengths are multiples of 64, and a piece may start anywhere: behind an odd start there is no place to cut.
        let limits = near().hard(LimitId::GapBoundary, 512).hard(LimitId::PieceLenAlign, 64);
        let limits = limits.hard(LimitId::PageLen, 65536).hard(LimitId::BounceOffsetMask, 511);
        let limits = limits.hard(LimitId::TransferLenMax, transfer_len).build().unwrap();
        let device = &device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default());
        device.target().with_policy(MapPolicy::MustSucceed { transfers: 1 }).map(drop)
    };
    // One run holds it, wherever it starts.
    with(100_032).unwrap();
    let error = with(200_640).unwrap_err();
    assert!(matches!(error, TargetError::Reserve { len: 200_640, .. }), "{error}");
}

#[test]
fn no_old_byte_is_seen_by_a_device() {
    const SECRET: u8 = 0xA5;
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        let ram = ram();
        let limits = near().coherence(coherence).hard(LimitId::BounceOffsetMask, 4095).build().unwrap();
        ram.store(BASE, &vec![SECRET; MIB as usize]);
        // The device beneath sees whole blocks of 4096.
        let beneath = Watched::new(Direct::new(&ram, Offset::NONE, &limits).unwrap(), 4096);
        let device = &Bounce::new(beneath, ram.lease(&[(BASE, MIB)]), BounceLayout::default()).unwrap();
        let bus = Bus::new(&ram, 0, &limits);
        assert!(!bus.read(BASE, MIB).contains(&SECRET), "what the pool held before");
        ram.store(FAR, &vec![SECRET; MIB as usize]);
        // Mapped in each direction, and unmapped.
        let list = [(FAR + 5, 200_000), (FAR + 0x40000, 262_144), (FAR + 0x80000, 300_000)];
        drop(device.map(ram.lease(&list), ToDevice).unwrap());
        drop(device.map(ram.lease(&list), FromDevice).unwrap());
        let mut both = device.map(ram.lease(&list), Both).unwrap();
        both.sync_for_device(0..500_000).unwrap();
        drop(both);
        device.inner().refuse.set(true);
        device.map(ram.lease(&list), ToDevice).unwrap_err();
        device.inner().refuse.set(false);
        ram.store(FAR, &vec![1; MIB as usize]);
        let odd = [(FAR + 7, 100), (FAR + 8192 + 13, 5000), (FAR + 0x10000, 1)];
        let flight = device.map(ram.lease(&odd), FromDevice).unwrap().into_flight();
        assert!(!bus.read(BASE, MIB).contains(&SECRET), "{coherence:?}");
        // While it is mapped no other mapping shares a block with it.
        let other = device.map(ram.lease(&[(FAR + 0x20000, 10)]), ToDevice).unwrap().into_flight();
        let blocks = |bus: &scatterlist::ScatterList<scatterlist::BusAddr>| -> Vec<u64> {
            bus.iter().flat_map(|part| part.addr().raw() / 4096..=(part.end() - 1) / 4096).collect()
        };
        let (one, two) = (blocks(flight.bus()), blocks(other.bus()));
        assert!(one.iter().all(|block| !two.contains(block)));
        land(flight).unmap();
        land(other).unmap();
    }
}

#[test]
fn ranges_are_handed_over_exactly() {
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        let ram = ram();
        let limits = near().coherence(coherence).build().unwrap();
        let device = &device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default());
        let bus = Bus::new(&ram, 0, &limits);
        ram.store(FAR, &[1; 8192]);
        let list = [(FAR, 3000), (FAR + 4096, 3000)];
        let mut mapped = device.map(ram.lease(&list), Both).unwrap();
        mapped.write_at(2990, &[2; 20]).unwrap();
        let flight = mapped.into_flight();
        let seen = bus.gather(flight.bus());
        assert!(seen[2990..3010].iter().all(|byte| *byte == 2) && seen[..2990].iter().all(|byte| *byte == 1));
        bus.scatter(flight.bus(), 2000, &[3; 2000]);
        let mut mapped = land(flight);
        let mut read = [0; 10];
        mapped.read_at(2995, &mut read).unwrap();
        assert_eq!(read, [3; 10]);
        assert_eq!((ram.load(FAR + 2994, 2), ram.load(FAR + 4096, 6)), (vec![2, 3], vec![3, 3, 3, 3, 3, 2]));
        mapped.sync_for_cpu(0..1).unwrap();
        assert_eq!(ram.load(FAR + 2994, 1), [2]);
        drop(mapped);
        assert_eq!((ram.load(FAR + 1999, 2), ram.load(FAR + 4096 + 999, 2)), (vec![1, 3], vec![3, 1]));
    }
}

#[test]
fn an_unsynced_mapping_moves_what_is_asked_for() {
    let ram = ram();
    let limits = near().coherence(CacheCoherence::Synced).build().unwrap();
    let device = &device(&ram, &limits, &[(BASE, MIB)], BounceLayout::default());
    let bus = Bus::new(&ram, 0, &limits);
    ram.store(FAR, &[1; 4096]);
    let target = device.target();
    let flight = target.map_unsynced(ram.lease(&[(FAR, 4096)]), FromDevice).unwrap().into_flight();
    bus.scatter(flight.bus(), 0, &[2; 100]);
    let mut mapped = land(flight);
    mapped.sync_for_cpu(50..150).unwrap();
    drop(mapped);
    let expected: Vec<u8> = (0..4096).map(|at| if (50..100).contains(&at) { 2 } else { 1 }).collect();
    assert_eq!(ram.load(FAR, 4096), expected, "unwritten bytes stay, though they were synced");
}

#[test]
fn what_the_cpu_does_not_see_cannot_be_copied() {
    let ram = ram();
    let device = &device(&ram, &near().build().unwrap(), &[(BASE, MIB)], BounceLayout::default());
    ram.hidden.set((FAR + 4096, FAR + 8192));
    let failed = device.map(ram.lease(&[(FAR, 4096), (FAR + 0x1800, 100)]), ToDevice).unwrap_err();
    assert_eq!(failed.error, MapError::NotVisible { addr: FAR + 0x1800, len: 100 });
    assert_eq!(device.free_bytes(), MIB);
    let beneath = Direct::new(&ram, Offset::NONE, &Limits::default()).unwrap();
    let failed = Bounce::new(beneath, ram.lease(&[(FAR, 64 * KIB)]), BounceLayout::default()).unwrap_err();
    assert_eq!(failed.error, BounceError::NotVisible { addr: FAR, len: 64 * KIB });
    assert_eq!(failed.memory.list().len_bytes(), 64 * KIB);
}

#[test]
fn a_failure_beneath_is_undone() {
    let ram = ram();
    let device = &device(&ram, &near().build().unwrap(), &[(BASE, MIB)], BounceLayout::default());
    device.inner().refuse.set(true);
    let failed = device.map(ram.lease(&[(FAR, 100_000)]), FromDevice).unwrap_err();
    assert_eq!(failed.error, MapError::Refused { count: 1 });
    assert_eq!(device.free_bytes(), MIB);
}

#[test]
fn a_pool_must_be_memory_that_the_device_reaches() {
    let ram = ram();
    let make = |segments: &[(u64, u64)], layout| {
        let beneath = Direct::new(&ram, Offset::NONE, &near().build().unwrap()).unwrap();
        Bounce::new(beneath, ram.lease(segments), layout).map(drop).map_err(|failed| failed.error)
    };
    let layout = BounceLayout::default();
    let error = make(&[(BASE, 4096), (2 * MIB - 2048, 4096)], layout).unwrap_err();
    assert_eq!(error, BounceError::OutOfReach { addr: 2 * MIB - 2048, len: 4096, min: 0, max: 2 * MIB - 1 });
    assert_eq!(
        make(&[(BASE + 1, 4094)], layout).unwrap_err(),
        BounceError::NoSlot { bytes: 4094, slot_len: 2048 }
    );
    for (slot_len, set_slots) in [(0, 128), (1000, 128), (2048, 0), (1 << 40, 1 << 40)] {
        let error = make(&[(BASE, MIB)], BounceLayout { slot_len, set_slots }).unwrap_err();
        assert_eq!(error, BounceError::Layout { slot_len, set_slots });
    }
}

#[test]
fn a_pool_that_a_device_may_hold_leaks_rather_than_being_freed() {
    let ram = ram();
    let owner = Arc::new(());
    let make = || {
        let beneath = Direct::new(&ram, Offset::NONE, &near().build().unwrap()).unwrap();
        Bounce::new(beneath, ram.lease_of(&[(BASE, MIB)], owner.clone()), BounceLayout::default()).unwrap()
    };
    let idle = make();
    drop((&idle).map(ram.lease(&[(FAR, 5000)]), FromDevice).unwrap());
    drop(idle);
    assert_eq!((Arc::strong_count(&owner), ram.leaks.borrow().len()), (1, 0));
    let pool = make();
    drop((&pool).map(ram.lease(&[(FAR, 5000)]), FromDevice).unwrap().into_flight());
    drop(pool);
    let leaks: Vec<_> = ram.leaks.borrow().iter().map(|leak| (leak.what, leak.bytes)).collect();
    assert_eq!(leaks, [("a mapping", 5000), ("a bounce pool with mappings", 6144)]);
    assert_eq!(Arc::strong_count(&owner), 2);
}

#[test]
fn every_copied_byte_is_counted_where_it_is_copied() {
    let ram = ram();
    let device = device(&ram, &near().build().unwrap(), &[(BASE, 64 * KIB)], BounceLayout::default());
    // What is in reach is not copied at all.
    drop((&device).map(ram.lease(&[(BASE + 512 * KIB, 4096)]), FromDevice).unwrap());
    assert_eq!(device.copied_bytes(), 0);
    // In, for either direction; and out where the device writes.
    drop((&device).map(ram.lease(&[(FAR, 1000)]), ToDevice).unwrap());
    assert_eq!(device.copied_bytes(), 1000);
    drop((&device).map(ram.lease(&[(BASE + 512 * KIB, 4096), (FAR, 1000)]), FromDevice).unwrap());
    assert_eq!(device.copied_bytes(), 3000);
    // A range, as far as it is bounced.
    let mut mapped = (&device).map(ram.lease(&[(FAR, 1000)]), FromDevice).unwrap();
    mapped.sync_for_cpu(100..150).unwrap();
    assert_eq!(device.copied_bytes(), 4050);
}
