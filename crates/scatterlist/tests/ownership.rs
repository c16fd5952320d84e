//! No way of ending, dropping, forgetting or failing to make a mapping hands a device memory that is somebody else's, nor
//! takes memory from a device that still has it. Told with a device that does what it should not. The half of this that
//! does not compile is in the documentation tests.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "some tests break the rules, to see that it is found")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use scatterlist::fake::{Bus, Device, FakeFault, FakeFinding, Refusal, Work};
use scatterlist::map::{
    Borrowed, Both, CoherentLayout, Direct, DmaDevice as _, DmaDirection, FromDevice, Hardware as _,
    HeapMemory, Leak, MapError, Offset, ToDevice, with_mapped,
};
use scatterlist::{Addr, BusAddr, CacheCoherence, CpuAddr, LimitId, Limits, PhysAddr, Segment, Segments};

mod machine;
use machine::{
    BASE, OFFSETS, PAGE, PhysLease, device, machine, machine_with, memory, on_each_machine, pages, pattern,
};

fn segments<S: Segments<Addr = BusAddr> + ?Sized>(bus: &S) -> Vec<Segment<BusAddr>> {
    bus.segments().collect()
}

#[test]
fn own_02_a_range_past_the_buffer_is_an_error() {
    let memory = memory(CacheCoherence::Synced);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let mut mapped = machine.map(pages(&memory, 2, 1), Both).unwrap();
    let past = |start, end| Err(MapError::OutOfRange { start, end, bytes: 8192 });
    assert_eq!(mapped.read_at(8190, &mut [0; 3]), past(8190, 8193));
    assert_eq!(mapped.write_at(8192, &[1]), past(8192, 8193));
    assert_eq!(mapped.write_at(u64::MAX, &[1, 2]), past(u64::MAX, u64::MAX));
    assert_eq!(mapped.sync_for_cpu(0..8193), past(0, 8193));
    assert_eq!(mapped.sync_for_device(8193..8193), past(8193, 8193));
    let flight = mapped.into_flight();
    let too_many = device.scatter(flight.bus(), &[0; 8193]);
    assert_eq!(too_many, Err(Refusal::Length { given: 8193, have: 8192 }));
    let end = segments(flight.bus())[1].end();
    let beyond = device.write(BusAddr::new(end - 1), &[1, 2]);
    assert_eq!(beyond, Err(Refusal::Unmapped { addr: end, len: 1 }));
    let lease = flight.reclaim(&device).unwrap().unmap();
    assert_eq!(memory.bytes(&lease).unwrap(), pattern(1, 8192), "nothing was written by any of them");
}

#[test]
fn own_04_there_is_nothing_to_read_in_a_mapping_to_the_device() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let flight = machine.map(pages(&memory, 1, 1), ToDevice).unwrap().into_flight();
    let refusal = Refusal::Direction { addr: BASE, len: 2, writes: true, direction: DmaDirection::ToDevice };
    assert_eq!(device.write(BusAddr::new(BASE), &[1, 2]), Err(refusal));
    assert_eq!(machine.findings(), [FakeFinding::Refused(refusal)]);
    let lease = flight.reclaim(&device).unwrap().unmap();
    assert_eq!(memory.bytes(&lease).unwrap(), pattern(1, 4096));
}

#[test]
fn own_05_the_device_cannot_read_a_mapping_from_it() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let flight = machine.map(pages(&memory, 1, 1), FromDevice).unwrap().into_flight();
    let refusal = device.gather(flight.bus()).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Direction { addr: BASE, len: 4096, writes: false, direction: DmaDirection::FromDevice }
    );
    assert_eq!(
        refusal.to_string(),
        "the device may not read 4096 bytes at bus address 0x100000000: they are mapped FromDevice"
    );
    drop(flight.reclaim(&device).unwrap());
}

#[test]
fn a_device_does_not_reach_what_is_unmapped() {
    for offset in OFFSETS {
        let memory = memory(CacheCoherence::Synced);
        let machine = &machine(&memory, offset);
        let device = device(machine);
        let flight = machine.map(pages(&memory, 2, 1), Both).unwrap().into_flight();
        let old = segments(flight.bus());
        let lease = flight.reclaim(&device).unwrap().unmap();
        let refusal = Refusal::Unmapped { addr: old[0].addr().raw(), len: 4096 };
        assert_eq!(device.gather(&old[..]), Err(refusal));
        assert_eq!(device.scatter(&old[..], &[9; 4096]), Err(refusal));
        // Also where it was told of them, and does it later.
        device.start(&old[..], Work::Scatter(vec![9; 4096])).unwrap();
        assert_eq!(device.step(), 1);
        assert_eq!(device.take_done().unwrap().moved, Err(refusal));
        assert_eq!(machine.findings(), [FakeFinding::Refused(refusal); 3]);
        assert_eq!(memory.bytes(&lease).unwrap(), pattern(1, 8192));
    }
}

#[test]
fn a_forgotten_mapping_keeps_its_memory() {
    on_each_machine(|memory, machine| {
        let mapped = machine.map(pages(memory, 2, 1), FromDevice).unwrap();
        std::mem::forget(mapped);
        assert_eq!(memory.leased_bytes(), 8192);
        assert_eq!(machine.live().len(), 2);
        let held: Vec<_> = machine.live().into_iter().map(|(segment, _)| segment).collect();
        // Somebody else takes memory, gets other memory, and the device reaches none of it by the old addresses.
        let other = pages(memory, 4, 5);
        device(machine).scatter(&held[..], &pattern(2, 8192)).unwrap();
        assert_eq!(memory.bytes(&other).unwrap(), pattern(5, 4 * 4096));
    });
}

#[test]
fn a_forgotten_flight_keeps_its_memory_and_the_device_may_still_write() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let flight = machine.map(pages(memory, 2, 1), FromDevice).unwrap().into_flight();
        let held = segments(flight.bus());
        std::mem::forget(flight);
        // Somebody else takes memory meanwhile, and does not get this.
        let other = pages(memory, 4, 5);
        device.scatter(&held[..], &pattern(2, 8192)).unwrap();
        assert_eq!(memory.bytes(&other).unwrap(), pattern(5, 4 * 4096));
        drop(other);
        device.scatter(&held[..], &pattern(3, 8192)).unwrap();
    });
}

#[test]
fn a_dropped_flight_says_so_and_leaks_its_memory() {
    let memory = memory(CacheCoherence::Synced);
    let machine = &machine(&memory, Offset::Up(PAGE));
    let device = device(machine);
    let flight = machine.map(pages(&memory, 2, 1), FromDevice).unwrap().into_flight();
    let held = segments(flight.bus());
    drop(flight);
    let leak = Leak { what: "a mapping", bytes: 8192, first: Some(BusAddr::new(BASE + PAGE)) };
    assert_eq!(memory.findings(), [FakeFinding::Leaked(leak)]);
    assert_eq!((memory.leased_bytes(), memory.quarantined_bytes()), (8192, 0));
    // A late write is not one into freed memory.
    device.scatter(&held[..], &pattern(2, 8192)).unwrap();
    assert_eq!(memory.check_quarantine().len(), 1);
    assert_eq!(machine.findings(), []);
    let again = memory.take_at(&[(PhysAddr::new(BASE), PAGE)]);
    assert_eq!(again.unwrap_err().to_string(), "4096 bytes at 0x100000000 are not free");
}

#[test]
fn a_dropped_mapping_unmaps_and_gives_its_memory_back() {
    on_each_machine(|memory, machine| {
        let mapped = machine.map(pages(memory, 2, 1), FromDevice).unwrap();
        assert_eq!(machine.live().len(), 2);
        drop(mapped);
        assert_eq!(machine.live(), []);
        assert_eq!((memory.leased_bytes(), memory.quarantined_bytes()), (0, 8192));
    });
}

#[test]
fn a_mapping_that_fails_gives_the_lease_back_as_it_was() {
    let memory = memory(CacheCoherence::Synced);
    let limits = Limits::builder()
        .coherence(CacheCoherence::Synced)
        .hard(LimitId::AddrMax, BASE + (1 << 20) - 1)
        .hard(LimitId::SegmentsMax, 3)
        .build()
        .unwrap();
    let machine = &machine_with(&memory, Offset::NONE, &limits);
    let target = machine.target();
    let intact = |given: PhysLease, count: usize| {
        assert_eq!(memory.bytes(&given).unwrap(), pattern(1, count * 4096));
        assert_eq!(given.list().segments().count(), count);
        assert_eq!(machine.live(), []);
    };

    machine.refuse_nth(2);
    drop(machine.map(pages(&memory, 1, 1), Both).unwrap());
    let failed = machine.map(pages(&memory, 3, 1), Both).unwrap_err();
    assert_eq!(failed.error, MapError::Refused { count: 2 });
    intact(failed.given, 3);

    let failed = target.map(pages(&memory, 4, 1), Both).unwrap_err();
    assert!(matches!(failed.error, MapError::Limit(_)), "{}", failed.error);
    intact(failed.given, 4);

    let near = (PhysAddr::new(BASE + 0x8_0000), PAGE);
    let far = (PhysAddr::new(BASE << 4), PAGE);
    let mut lease = memory.take_at(&[near, far]).unwrap();
    memory.write(&mut lease, 0, &pattern(1, 8192)).unwrap();
    let failed = target.map(lease, FromDevice).unwrap_err();
    assert_eq!(
        failed.error,
        MapError::OutOfReach { addr: BASE << 4, len: PAGE, min: 0, max: BASE + (1 << 20) - 1 }
    );
    intact(failed.given, 2);
    assert_eq!(memory.check_quarantine(), []);
}

#[test]
fn reclaim_while_the_device_is_busy_gives_the_flight_back() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let busy = machine.map(pages(memory, 2, 1), FromDevice).unwrap().into_flight();
        let idle = machine.map(pages(memory, 2, 1), FromDevice).unwrap().into_flight();
        device.fault_next(FakeFault::Delay(3));
        device.start(busy.bus(), Work::Scatter(pattern(2, 8192))).unwrap();
        let lease = idle.reclaim(&device).unwrap().unmap();
        assert_eq!(memory.bytes(&lease).unwrap(), pattern(1, 8192));
        let busy = busy.reclaim(&device).unwrap_err();
        assert_eq!((device.step(), device.step()), (0, 0));
        let busy = busy.reclaim(&device).unwrap_err();
        assert_eq!(device.step(), 1);
        let lease = busy.reclaim(&device).unwrap().unmap();
        assert_eq!(memory.bytes(&lease).unwrap(), pattern(2, 8192));
    });
}

type HeapBus = Bus<Direct<HeapMemory>>;

fn heap_bus() -> HeapBus {
    let memory = HeapMemory::new(|leak| panic!("{leak}"));
    Bus::new(Direct::new(memory, Offset::NONE, &Limits::default()).unwrap())
}

fn no_segments<A: Addr, const N: usize>() -> [Segment<A>; N] {
    [Segment::new(A::new(0), 1).unwrap(); N]
}

#[test]
fn borrowed_memory_is_mapped_for_the_time_of_the_closure() {
    let bus = &heap_bus();
    let device = Device::new(bus, &Limits::default());
    let (mut first, mut second) = ([1_u8; 300], [2_u8; 200]);
    let (mut segments, mut slots) = (no_segments::<CpuAddr, 2>(), no_segments::<BusAddr, 2>());
    let mut slices = [&mut first[..], &mut second[..]];
    let borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).unwrap();
    let told = with_mapped(&bus.target(), borrowed, &mut slots, &device, |bus, device| {
        // One completes at a step that never comes, and one never would.
        device.fault_next(FakeFault::Delay(1000));
        device.start(bus, Work::Scatter(pattern(7, 500))).unwrap();
        device.fault_next(FakeFault::Never);
        device.start(bus, Work::Scatter(pattern(8, 500))).unwrap();
        assert!(!device.is_done_with(bus));
        bus.to_vec()
    })
    .unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!((device.pending(), bus.live()), (0, vec![]));
    assert_eq!([&first[..], &second[..]].concat(), pattern(7, 500));
    assert_eq!(
        device.write(told[0].addr(), &[9]),
        Err(Refusal::Unmapped { addr: told[0].addr().raw(), len: 1 })
    );
    assert_eq!(first[0], pattern(7, 1)[0]);
}

#[test]
fn a_panic_in_the_closure_still_quiesces_the_device() {
    let bus = &heap_bus();
    let device = Device::new(bus, &Limits::default());
    let mut buffer = [1_u8; 300];
    let (mut segments, mut slots) = (no_segments::<CpuAddr, 1>(), no_segments::<BusAddr, 1>());
    let mut told = None;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut slices = [&mut buffer[..]];
        let borrowed = Borrowed::<_, Both>::from_mut(&mut slices, &mut segments).unwrap();
        with_mapped(&bus.target(), borrowed, &mut slots, &device, |bus, device| {
            device.fault_next(FakeFault::Delay(1000));
            device.start(bus, Work::Scatter(pattern(7, 300))).unwrap();
            told = bus.first().copied();
            panic!("the driver has a bug");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!((device.pending(), bus.live()), (0, vec![]));
    assert_eq!(buffer[..], pattern(7, 300), "it completed while the memory was still borrowed");
    let old = told.unwrap();
    assert_eq!(device.read(old.addr(), &mut [0]), Err(Refusal::Unmapped { addr: old.addr().raw(), len: 1 }));
}

#[test]
fn a_mapping_that_fails_never_calls_the_closure() {
    let bus = &heap_bus();
    let device = Device::new(bus, &Limits::default());
    let (one, two) = ([1_u8; 300], [2_u8; 300]);
    let (mut segments, mut slots) = (no_segments::<CpuAddr, 2>(), no_segments::<BusAddr, 1>());
    let slices = [&one[..], &two[..]];
    let borrowed = Borrowed::from_shared(&slices, &mut segments).unwrap();
    let error = with_mapped(&bus.target(), borrowed, &mut slots, &device, |_, _| unreachable!());
    assert_eq!(error.unwrap_err().to_string(), "2 segment slots are needed, 1 are there");
    assert_eq!(bus.live(), []);
}

#[test]
fn a_device_does_not_reach_freed_coherent_memory_and_a_late_write_is_found() {
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        let memory = memory(coherence);
        let machine = &machine(&memory, Offset::Up(PAGE));
        let device = device(machine);
        let ring = machine.alloc_coherent(CoherentLayout::new(512, 64)).unwrap();
        let bus = ring.bus_addr();
        drop(ring);
        let refusal = Refusal::Unmapped { addr: bus.raw(), len: 3 };
        assert_eq!(device.write(bus, &[1, 2, 3]), Err(refusal));
        assert_eq!(memory.check_quarantine(), []);
        let late = bus.checked_add(100).unwrap();
        // SAFETY: nobody has a reference to the fake memory's bytes.
        assert!(unsafe { device.write_rogue(late, &[1, 2, 3]) });
        let found = FakeFinding::QuarantineWrite { addr: late.raw() - PAGE, offset: 100, bytes: 3 };
        assert_eq!(memory.check_quarantine(), [found]);
        assert_eq!(memory.check_quarantine(), [found], "it is told once");
    }
}

#[test]
fn coherent_memory_that_a_device_holds_leaks_rather_than_being_freed() {
    let memory = memory(CacheCoherence::Synced);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let flight = machine.alloc_coherent(CoherentLayout::new(512, 64)).unwrap().into_flight();
    let bus = flight.bus_addr();
    drop(flight);
    device.write(bus, &[5; 512]).unwrap();
    let leak = Leak { what: "coherent memory", bytes: 512, first: Some(bus) };
    assert_eq!(memory.check_quarantine(), [FakeFinding::Leaked(leak)]);
    assert_eq!(memory.coherent_bytes(), 512);
}
