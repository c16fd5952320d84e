//! The pool on other back ends: a fake machine that finds what goes wrong, borrowed memory, threads, a hostile device.
#![expect(unsafe_code, reason = "a device that breaks the rules, to see that it gains nothing")]

use std::sync::Arc;
use std::thread;

use scatterlist::fake::{Bus, Device, FakeMemory};
use scatterlist::map::{
    Borrowed, Both, Bounce, BounceError, BounceLayout, Direct, DmaDevice as _, FromDevice, HeapMemory,
    Offset, ToDevice, with_mapped,
};
use scatterlist::{
    Addr as _, BusAddr, CacheCoherence, CpuAddr, Lease, LimitId, Limits, PhysAddr, ScatterList, Segment,
};

use crate::{KIB, MIB};

/// Memory that the device reaches, and memory that it does not.
const NEAR: u64 = 0x1_0000_0000;
const FAR: u64 = NEAR << 4;

/// Runs `story` on coherent and other machines, whose bus sees memory where it is, further up and further down, and
/// expects that nothing was found and the pool is whole.
fn on_each_machine(story: impl Fn(&FakeMemory<PhysAddr>, &Pool<'_>, &Device<'_, Beneath>)) {
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        for (offset, near) in [
            (Offset::NONE, NEAR),
            (Offset::Up(0x40_0000_0000), NEAR + 0x40_0000_0000),
            (Offset::Down(0x8000_0000), NEAR - 0x8000_0000),
        ] {
            let memory = FakeMemory::physical(coherence, NEAR, MIB).unwrap().with_line_len(64);
            let memory = memory.with_arena(FAR, MIB).unwrap();
            let limits = Limits::builder()
                .hard(LimitId::AddrMax, near + MIB - 1)
                .hard(LimitId::GapBoundary, 4096)
                .coherence(coherence)
                .build()
                .unwrap();
            let bus = Bus::new(Direct::new(memory.clone(), offset, &limits).unwrap());
            let device = Device::new(&bus, &limits);
            let lease = memory.take_at(&[(PhysAddr::new(NEAR), 512 * KIB)]).unwrap();
            let pool =
                Bounce::new(&bus, lease, BounceLayout::default()).map_err(|failed| failed.error).unwrap();
            story(&memory, &pool, &device);
            assert_eq!(pool.free_bytes(), pool.pool_bytes());
            drop(pool);
            assert_eq!(memory.check_quarantine(), [], "{coherence:?} {offset:?}");
            assert_eq!((memory.findings(), bus.findings()), (vec![], vec![]), "{coherence:?} {offset:?}");
        }
    }
}

type Beneath = Direct<FakeMemory<PhysAddr>>;
type Pool<'a> = Bounce<&'a Bus<Beneath>, scatterlist::fake::FakeOwner>;

fn pattern(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 167) ^ (at >> 8)).to_le_bytes()[0].wrapping_add(seed)).collect()
}

/// Bytes in and out of reach, some of them odd.
fn mixed(
    memory: &FakeMemory<PhysAddr>,
    seed: u8,
) -> (Lease<PhysAddr, scatterlist::fake::FakeOwner>, Vec<u8>) {
    let near = NEAR + 600 * KIB;
    let runs = [
        (near + 3584, 512),
        (near + 8192, 4096),
        (FAR + 100, 4096),
        (near + 16384, 4096),
        (FAR + 8192 + 60, 8192),
        (near + 0x8000, 3000),
    ];
    let mut lease = memory.take_at(&runs.map(|(addr, len)| (PhysAddr::new(addr), len))).unwrap();
    let bytes = pattern(seed, 512 + 3 * 4096 + 8192 + 3000);
    memory.write(&mut lease, 0, &bytes).unwrap();
    (lease, bytes)
}

#[test]
fn bytes_arrive_both_ways_on_any_machine() {
    on_each_machine(|memory, pool, device| {
        let (lease, mut bytes) = mixed(memory, 1);
        let flight = pool.map(lease, ToDevice).unwrap().into_flight();
        assert_eq!(device.gather(flight.bus()).unwrap(), bytes);
        let mapped = flight.reclaim(device).unwrap();
        assert_eq!(mapped.bounced_bytes(), 3 * 4096);
        let flight = pool.map(mapped.unmap(), FromDevice).unwrap().into_flight();
        let written = pattern(2, 12_345);
        device.scatter(flight.bus(), &written).unwrap();
        let lease = flight.reclaim(device).unwrap().unmap();
        bytes[..12_345].copy_from_slice(&written);
        assert_eq!(memory.bytes(&lease).unwrap(), bytes);
    });
}

#[test]
fn one_mapping_is_used_again_and_again() {
    on_each_machine(|memory, pool, device| {
        let (lease, bytes) = mixed(memory, 1);
        let mut mapped = pool.map(lease, Both).unwrap();
        for seed in 2..5 {
            mapped.write_at(9000, &pattern(seed, 4000)).unwrap();
            let flight = mapped.into_flight();
            assert_eq!(device.gather(flight.bus()).unwrap()[9000..13_000], pattern(seed, 4000));
            device.scatter(flight.bus(), &pattern(seed + 50, 15_000)).unwrap();
            mapped = flight.reclaim(device).unwrap();
            let mut answer = vec![0; 5000];
            mapped.read_at(10_000, &mut answer).unwrap();
            assert_eq!(answer, pattern(seed + 50, 15_000)[10_000..]);
        }
        assert_eq!(memory.bytes(&mapped.unmap()).unwrap()[15_000..], bytes[15_000..]);
    });
}

#[test]
fn a_hostile_device_gets_nothing_and_spoils_its_own_bytes_only() {
    on_each_machine(|memory, pool, device| {
        let mut lease = memory.take_at(&[(PhysAddr::new(FAR), 100)]).unwrap();
        memory.write(&mut lease, 0, &[1; 100]).unwrap();
        let flight = pool.map(lease, FromDevice).unwrap().into_flight();
        let told = flight.bus().first().unwrap();
        let slot = BusAddr::new(told.addr().raw() & !2047);
        // It writes around what it was told, while it may and after.
        // SAFETY: the slot is bounce memory, to which there is no reference.
        assert!(unsafe { device.write_rogue(slot, &[9; 2048]) });
        let lease = flight.reclaim(device).unwrap().unmap();
        assert_eq!(memory.bytes(&lease).unwrap(), [9; 100], "what it was told is its to write");
        // SAFETY: as before.
        assert!(unsafe { device.write_rogue(slot, &[8; 2048]) });
        let mut lease = lease;
        memory.write(&mut lease, 0, &[2; 100]).unwrap();
        let flight = pool.map(lease, ToDevice).unwrap().into_flight();
        assert_eq!(flight.bus().first(), Some(told));
        assert_eq!(device.gather(flight.bus()).unwrap(), [2; 100]);
        let lease = flight.reclaim(device).unwrap().unmap();
        assert_eq!(memory.bytes(&lease).unwrap(), [2; 100]);
    });
}

#[test]
fn borrowed_memory_goes_through_the_pool_too() {
    let limits = Limits::builder().hard(LimitId::CopyBelow, 4096).build().unwrap();
    let bus = Bus::new(Direct::new(HeapMemory::default(), Offset::NONE, &limits).unwrap());
    let device = Device::new(&bus, &Limits::default());
    let memory = Lease::from_vec(vec![0; 64 << 10]).unwrap();
    let pool = &Bounce::new(&bus, memory, BounceLayout::default()).unwrap();
    let (mut one, mut two) = ([1_u8; 300], [2_u8; 200]);
    let mut segments = [Segment::new(CpuAddr::new(0), 1).unwrap(); 2];
    let mut slots = [Segment::new(BusAddr::new(0), 1).unwrap(); 4];
    let mut slices = [&mut one[..], &mut two[..]];
    let borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).unwrap();
    with_mapped(&pool.target(), borrowed, &mut slots, &device, |told, device| {
        assert_eq!(told.iter().map(Segment::len).sum::<u64>(), 500);
        device.scatter(told, &[7; 400]).unwrap();
    })
    .unwrap();
    assert_eq!((one, two[..100].to_vec(), two[100..].to_vec()), ([7; 300], vec![7; 100], vec![2; 100]));
    assert_eq!(pool.free_bytes(), pool.pool_bytes());
}

#[test]
fn threads_share_a_pool_and_no_slot() {
    let limits = Limits::builder().hard(LimitId::CopyBelow, 1 << 20).build().unwrap();
    let beneath = Direct::new(HeapMemory::default(), Offset::NONE, &limits).unwrap();
    let memory = Lease::from_vec(vec![0; 256 << 10]).unwrap();
    let pool = Arc::new(Bounce::new(beneath, memory, BounceLayout::default()).unwrap());
    thread::scope(|scope| {
        for id in 1..=4_u8 {
            let pool = pool.clone();
            scope.spawn(move || {
                for round in 0..300_usize {
                    let bytes = vec![id; 1 + round * 97 % 20_000];
                    let mut mapped = pool.map_bytes(bytes, Both).map_err(|failed| failed.error).unwrap();
                    // What comes back was in the pool meanwhile.
                    mapped.write_at(0, &[id ^ 0x80]).unwrap();
                    let mut seen = vec![0; mapped.len_bytes() as usize];
                    mapped.read_at(0, &mut seen).unwrap();
                    assert!(seen[0] == id ^ 0x80 && seen[1..].iter().all(|byte| *byte == id));
                }
            });
        }
    });
    assert_eq!(pool.free_bytes(), pool.pool_bytes());
}

#[test]
fn a_lease_of_another_memory_may_name_the_pool_itself() {
    let one = FakeMemory::physical(CacheCoherence::Coherent, NEAR, MIB).unwrap();
    let other = FakeMemory::physical(CacheCoherence::Coherent, NEAR, MIB).unwrap();
    let limits = Limits::builder().hard(LimitId::CopyBelow, MIB).build().unwrap();
    let bus = Bus::new(Direct::new(&one, Offset::NONE, &limits).unwrap());
    let pool = one.take_at(&[(PhysAddr::new(NEAR), 64 * KIB)]).unwrap();
    let device = &Bounce::new(&bus, pool, BounceLayout::default()).map_err(|failed| failed.error).unwrap();
    // The same numbers, and the copies overlap.
    let lease = other.take_at(&[(PhysAddr::new(NEAR + 16), 4096)]).unwrap();
    let mapped = device.map(lease, Both).unwrap();
    assert_eq!(mapped.bounced_bytes(), 4096);
    drop(mapped.unmap());
}

#[test]
fn a_pool_has_no_byte_twice() {
    let memory = Lease::from_vec(vec![0; 64 << 10]).unwrap();
    let whole = memory.list().first().unwrap();
    let list = ScatterList::from_segments([whole, whole]).unwrap();
    // SAFETY: the memory is valid as long as its lease lives, and nobody else's.
    let lease = unsafe { Lease::from_raw(list, memory) };
    let limits = Limits::builder().hard(LimitId::CopyBelow, MIB).build().unwrap();
    let beneath = Direct::new(HeapMemory::default(), Offset::NONE, &limits).unwrap();
    let failed = Bounce::new(beneath, lease, BounceLayout::default()).map(drop).unwrap_err();
    assert!(matches!(failed.error, BounceError::Twice { .. }), "{failed}");
}
