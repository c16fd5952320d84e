//! Coherent memory and pools cut from it: alignment and boundary kept, bounded, words only, and everything back at
//! the end.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use scatterlist::desc::DescriptorMemory;
use scatterlist::desc::virtqueue::RingMemory as _;
use scatterlist::map::{
    CoherentLayout, Direct, DmaDevice as _, DmaPool, HeapMemory, MapError, Offset, PoolError, PoolLayout,
    Resource,
};
use scatterlist::{Addr as _, LimitId, Limits};

fn device() -> Direct<HeapMemory> {
    Direct::new(HeapMemory::default(), Offset::Up(1 << 40), &Limits::default()).unwrap()
}

#[test]
fn words_are_little_endian_and_stay_within() {
    let device = &device();
    let mut memory = device.alloc_coherent(CoherentLayout::new(20, 64)).unwrap();
    assert_eq!(memory.bus_addr().raw() % 64, 0);
    assert_eq!(memory.load::<u64>(8).unwrap(), 0, "new memory is zeroed");
    memory.store(8, 0x1122_3344_5566_7788_u64).unwrap();
    assert_eq!(memory.load::<u8>(8).unwrap(), 0x88);
    assert_eq!(memory.load::<u16>(10).unwrap(), 0x5566);
    assert_eq!(memory.load::<u32>(12).unwrap(), 0x1122_3344);
    let past = MapError::OutOfRange { start: 16, end: 24, bytes: 20 };
    assert_eq!(memory.load::<u64>(16).unwrap_err(), past);
    assert_eq!(memory.store(16, 0_u64).unwrap_err(), past);
    assert!(memory.load::<u32>(16).is_ok());
    assert!(memory.load::<u32>(2).is_err(), "not aligned to its own size");
    assert!(memory.load::<u8>(u64::MAX).is_err());
    // Two whole words fit.
    assert_eq!(memory.len_words(), 2);
    assert!(memory.put(1, 5) && !memory.put(2, 5));
}

#[test]
fn memory_in_flight_takes_words_and_leaks_when_forgotten() {
    let device = &device();
    let mut flight = device.alloc_coherent(CoherentLayout::new(20, 64)).unwrap().into_flight();
    flight.store(0, 7_u32).unwrap();
    assert_eq!(flight.load::<u32>(0).unwrap(), 7);
    // A ring stays where it is told of: as memory of words too.
    assert_eq!((flight.len_words(), flight.put(1, 9), flight.put(2, 9)), (2, true, false));
    assert_eq!((flight.get(0), flight.get(1), flight.get(2)), (Some(7), Some(9), None));
    assert_eq!(DescriptorMemory::bus_addr(&flight), flight.bus_addr());
    // Nobody was told.
    std::mem::forget(flight);
}

#[test]
fn a_layout_that_cannot_be_is_refused() {
    let device = &device();
    for (len, align) in [(0, 8), (8, 0), (8, 24)] {
        let error = device.alloc_coherent(CoherentLayout::new(len, align)).unwrap_err();
        assert_eq!(error, MapError::Layout { len, align });
    }
    let error = device.alloc_coherent(CoherentLayout::new(u64::MAX, 8)).unwrap_err();
    assert_eq!(error, MapError::NoCoherent { len: u64::MAX, align: 8, addr_max: u64::MAX - (1 << 40) });
}

#[test]
fn coherent_memory_is_aligned_as_the_device_needs() {
    let limits = Limits::builder().hard(LimitId::AddrAlign, 512).build().unwrap();
    let device = &Direct::new(HeapMemory::default(), Offset::Up(1 << 40), &limits).unwrap();
    let pieces: Vec<_> = (0..8).map(|_| device.alloc_coherent(CoherentLayout::new(24, 8)).unwrap()).collect();
    assert!(pieces.iter().all(|piece| piece.bus_addr().raw() % 512 == 0 && piece.len_bytes() == 24));
}

#[test]
fn coherent_memory_out_of_reach_is_no_coherent_memory() {
    let limits = Limits::builder().hard(LimitId::CoherentAddrMax, 0xffff).build().unwrap();
    let device = &Direct::new(HeapMemory::default(), Offset::NONE, &limits).unwrap();
    let error = device.alloc_coherent(CoherentLayout::new(64, 8)).unwrap_err();
    assert_eq!(error, MapError::NoCoherent { len: 64, align: 8, addr_max: 0xffff });
}

fn layout(len: u64, align: u64, boundary: u64, slab_len: u64, objects_max: u64) -> PoolLayout {
    PoolLayout { len, align, boundary, slab_len, objects_max }
}

#[test]
fn pool_layouts_that_cannot_be_are_refused() {
    let refused = |layout| DmaPool::new(&device(), layout).map(drop).unwrap_err();
    assert!(matches!(refused(layout(0, 8, 0, 64, 1)), PoolError::Empty { .. }));
    assert!(matches!(refused(layout(8, 8, 0, 64, 0)), PoolError::Empty { .. }));
    assert!(matches!(refused(layout(8, 3, 0, 64, 1)), PoolError::NotPowerOfTwo { value: 3, .. }));
    assert!(matches!(refused(layout(8, 8, 100, 64, 1)), PoolError::NotPowerOfTwo { value: 100, .. }));
    let error = refused(layout(4097, 64, 4096, 0, 1));
    assert_eq!(error, PoolError::Boundary { len: 4097, align: 64, boundary: 4096 });
    assert!(matches!(refused(layout(u64::MAX, 8, 0, 0, 1)), PoolError::Boundary { .. }));
}

#[test]
fn a_pool_is_bounded_and_objects_come_back() {
    let device = &device();
    let pool = DmaPool::new(device, layout(64, 64, 0, 4096, 3)).unwrap();
    let mut out: Vec<_> = (0..3).map(|_| pool.fetch().unwrap()).collect();
    assert_eq!(pool.objects_out(), 3);
    let error = pool.fetch().map(drop).unwrap_err();
    assert_eq!(error, MapError::Shortage { what: Resource::PoolObjects, need: 4, have: 3 });
    let last = out.pop().unwrap().bus_addr();
    assert_eq!(pool.objects_out(), 2);
    assert_eq!(pool.fetch().unwrap().bus_addr(), last, "the one that came back");
    // Objects outlive the handle to their pool.
    drop(pool);
    assert!(out[0].put(7, 1) && !out[0].put(8, 1));
    assert_eq!((out[0].get(7), out[0].get(8)), (Some(1), None));
}

#[test]
fn threads_share_a_pool_and_no_two_hold_one_object() {
    let device = &device();
    let pool = DmaPool::new(device, layout(32, 32, 0, 256, 40)).unwrap();
    let fetched = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for id in 1..=4_u64 {
            let (pool, fetched) = (pool.clone(), &fetched);
            scope.spawn(move || {
                for turn in 0..500 {
                    let mut mine: Vec<_> = (0..10).map(|_| pool.fetch().unwrap()).collect();
                    let word = id << 32 | turn;
                    assert!(mine.iter_mut().all(|object| object.put(0, word)));
                    assert!(mine.iter().all(|object| object.get(0) == Some(word)));
                    fetched.fetch_add(10, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((fetched.into_inner(), pool.objects_out()), (20_000, 0));
}

proptest! {
    #[test]
    fn objects_keep_alignment_and_boundary_and_are_apart(
        len in 1_u64..600,
        align in 0_u32..8,
        boundary in prop::option::of(0_u32..12),
        slab_len in 1_u64..5000,
        count in 1_usize..60,
    ) {
        let (align, boundary) = (1 << align, boundary.map_or(0, |bits| 1 << bits));
        let count_max = u64::try_from(count).unwrap();
        let device = &device();
        let pool = match DmaPool::new(device, layout(len, align, boundary, slab_len, count_max)) {
            Ok(pool) => pool,
            Err(error) => {
                let stride = len.next_multiple_of(align.max(8));
                prop_assert!(boundary != 0 && stride > boundary, "{error}");
                return Ok(());
            }
        };
        let objects: Vec<_> = (0..count).map(|_| pool.fetch().unwrap()).collect();
        prop_assert!(pool.fetch().is_err());
        let mut seen = BTreeSet::new();
        for object in &objects {
            let start = object.bus_addr().raw();
            prop_assert_eq!(start % align, 0);
            let window = |at: u64| at.checked_div(boundary);
            prop_assert_eq!(window(start), window(start + len - 1));
            for byte in start..start + len {
                prop_assert!(seen.insert(byte), "two objects share {byte:#x}");
            }
        }
        drop(objects);
        prop_assert_eq!(pool.objects_out(), 0);
    }
}
