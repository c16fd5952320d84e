//! The fake machine itself: memory at chosen addresses, a quarantine that notices late writes, a device that is refused
//! what it must not do and fails on demand. A test that trusts the machine trusts what is shown here.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "some tests break the rules, to see that it is found")]

use scatterlist::desc::{BusRead, Unreadable};
use scatterlist::fake::{Bus, Device, FakeError, FakeFault, FakeFinding, FakeMemory, Refusal, Work};
use scatterlist::map::{
    Both, Bounce, BounceLayout, CoherentLayout, Direct, DmaDevice as _, FromDevice, Hardware as _, MapError,
    Memory as _, Offset, ToDevice,
};
use scatterlist::{
    Addr, BusAddr, CacheCoherence, CpuAddr, LimitId, Limits, PhysAddr, Segment, Segments as _,
};

mod machine;
use machine::{BASE, PAGE, device, machine, memory, on_each_machine, pages, pattern};

fn phys(addr: u64) -> PhysAddr {
    PhysAddr::new(addr)
}

#[test]
fn leases_have_the_addresses_that_were_chosen() {
    let memory = memory(CacheCoherence::Synced);
    let runs = [(phys(BASE + 0x3000), 100), (phys(BASE << 4), 5000), (phys(BASE), 1), (phys(BASE + 1), 2)];
    let mut lease = memory.take_at(&runs).unwrap();
    let addrs: Vec<_> = lease.list().segments().map(|segment| (segment.addr(), segment.len())).collect();
    // The last two are adjacent, in memory too.
    assert_eq!(addrs, [(runs[0].0, 100), (runs[1].0, 5000), (phys(BASE), 3)]);
    assert_eq!(memory.bytes(&lease).unwrap(), vec![0; 5103]);
    assert_eq!(memory.device_bytes(&lease).unwrap(), vec![0xEE; 5103], "nothing was cleaned yet");
    memory.write(&mut lease, 99, &[1, 2]).unwrap();
    let mut read = [0; 4];
    memory.read(&lease, 98, &mut read).unwrap();
    assert_eq!(read, [0, 1, 2, 0]);
    // The CPU sees each run as one, with the low bits of its address.
    let cpu = memory.cpu_addr(phys(BASE << 4), 5000).unwrap();
    assert_eq!(cpu.raw() % PAGE, 0);
    assert_eq!(memory.cpu_addr(phys(BASE + (1 << 20) - 1), 2), None, "past the arena");
}

#[test]
fn scattered_pages_are_never_adjacent() {
    let memory = memory(CacheCoherence::Coherent);
    let lease = memory.take_scattered(100, PAGE, PAGE).unwrap();
    assert_eq!(lease.list().len_segments(), 100);
    let next = memory.take(PAGE, PAGE).unwrap();
    assert!(lease.list().segments().all(|page| page.addr() != next.list().first().unwrap().addr()));
}

#[test]
fn cpu_addresses_are_the_real_ones() {
    let memory = FakeMemory::cpu(CacheCoherence::Synced, 1 << 16).unwrap();
    let mut lease = memory.take(100, 64).unwrap();
    memory.write(&mut lease, 0, &pattern(3, 100)).unwrap();
    let addr = lease.list().first().unwrap().addr();
    assert_eq!((addr.raw() % 64, memory.cpu_addr(addr, 100)), (0, Some(addr)));
    // SAFETY: the lease is held, and no reference is to its bytes.
    let read = unsafe { addr.as_ptr().wrapping_add(7).read() };
    assert_eq!(read, pattern(3, 100)[7]);
}

#[test]
fn a_cpu_lease_translates_to_where_the_memory_is() {
    let memory = memory(CacheCoherence::Coherent);
    let cpu = memory.cpu_addr(phys(BASE + 0x1234), 10).unwrap();
    use scatterlist::map::Translate as _;
    assert_eq!(memory.translate(cpu, 10), Some((phys(BASE + 0x1234), 10)));
    assert_eq!(memory.translate(cpu, u64::MAX), Some((phys(BASE + 0x1234), (1 << 20) - 0x1234)));
    assert_eq!(memory.translate(CpuAddr::new(1), 1), None);
}

#[test]
fn memory_that_is_not_there_or_not_free_is_refused_with_the_numbers() {
    let memory = memory(CacheCoherence::Synced);
    let _taken = memory.take_at(&[(phys(BASE + 100), 100)]).unwrap();
    let not_free = |addr: u64, len| {
        assert_eq!(memory.take_at(&[(phys(addr), len)]).unwrap_err(), FakeError::NotFree { addr, len });
    };
    not_free(BASE + 199, 1);
    not_free(BASE, 101);
    not_free(BASE, 1000);
    not_free(BASE - 1, 2);
    not_free(BASE + (1 << 20) - 1, 2);
    not_free(u64::MAX, 2);
    not_free(BASE, 0);
    assert_eq!(memory.take_at(&[]).unwrap_err(), FakeError::Runs { runs: 0, bytes: 0 });
    // The first run is not kept where the second is refused.
    memory.take_at(&[(phys(BASE), 10), (phys(BASE + 5), 10)]).unwrap_err();
    assert_eq!(memory.leased_bytes(), 100);
    let full = FakeError::Full { len: 1 << 21, align: 1, addr_max: u64::MAX };
    assert_eq!(memory.take(1 << 21, 1).unwrap_err(), full);
    assert_eq!(full.to_string(), "no 2097152 free bytes at a multiple of 1 up to 0xffffffffffffffff");
    for (base, len) in [(BASE + 5, 1), (BASE + (1 << 20), 1), (5, 0), (u64::MAX, 2)] {
        assert_eq!(memory.clone().with_arena(base, len).unwrap_err(), FakeError::Arena { base, len });
    }
    let foreign = machine::memory(CacheCoherence::Synced).take(10, 1).unwrap();
    let mut into = [0; 3];
    let error = FakeError::OutOfRange { start: 0, end: 3, bytes: 0 };
    assert_eq!(memory.read(&foreign, 0, &mut into), Err(error));
}

#[test]
fn a_lease_goes_to_the_quarantine_with_its_last_part() {
    let memory = memory(CacheCoherence::Coherent);
    let lease = pages(&memory, 4, 0);
    let (front, back) = lease.split_at(6000).map_err(|_| ()).unwrap();
    drop(front);
    assert_eq!((memory.leased_bytes(), memory.quarantined_bytes()), (4 * PAGE, 0));
    drop(back);
    assert_eq!((memory.leased_bytes(), memory.quarantined_bytes()), (0, 4 * PAGE));
    assert_eq!(memory.check_quarantine(), []);
}

#[test]
fn the_quarantine_frees_its_oldest_when_it_is_full() {
    let memory = memory(CacheCoherence::Synced).with_quarantine(2 * PAGE);
    for page in 0..3 {
        drop(memory.take_at(&[(phys(BASE + page * PAGE), PAGE)]).unwrap());
    }
    assert_eq!(memory.quarantined_bytes(), 2 * PAGE);
    drop(memory.take_at(&[(phys(BASE), PAGE)]).unwrap());
    memory.take_at(&[(phys(BASE + 2 * PAGE), PAGE)]).unwrap_err();
}

#[test]
fn a_late_write_of_device_or_cpu_is_found_where_it_hit() {
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        let memory = memory(coherence).with_quarantine(2 * PAGE);
        let machine = &machine(&memory, Offset::Up(1 << 32));
        let device = device(machine);
        let flight = machine
            .map(memory.take_at(&[(phys(BASE), 2 * PAGE)]).unwrap(), FromDevice)
            .unwrap()
            .into_flight();
        let bus = flight.bus().first().unwrap().addr();
        drop(flight.reclaim(&device).unwrap());
        // SAFETY: no reference is to the fake memory's bytes.
        assert!(unsafe { device.write_rogue(bus.checked_add(4095).unwrap(), &[1, 2, 3]) });
        let device_wrote = FakeFinding::QuarantineWrite { addr: BASE + 4095, offset: 4095, bytes: 3 };
        assert_eq!(memory.check_quarantine(), [device_wrote]);
        let cpu = memory.cpu_addr(phys(BASE + 7), 1).unwrap();
        // SAFETY: the arena lives as long as the memory, and no reference is to its bytes.
        unsafe { cpu.as_ptr().write(1) };
        // Making room for others looks at what is freed.
        drop(memory.take(PAGE, PAGE).unwrap());
        let cpu_wrote = FakeFinding::QuarantineWrite { addr: BASE + 7, offset: 7, bytes: 1 };
        assert_eq!(memory.findings(), [device_wrote, cpu_wrote]);
        assert_eq!(
            cpu_wrote.to_string(),
            "1 bytes were written after they were given back, the first at 0x100000007, byte 7 of that memory"
        );
        // Past the memory there is nothing to hit.
        // SAFETY: as above.
        assert!(!unsafe { device.write_rogue(BusAddr::new(5), &[1]) });
    }
}

#[test]
fn what_the_owner_writes_between_mappings_is_no_finding() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let mut lease = memory.take_scattered(2, PAGE, PAGE).unwrap();
        for seed in 0..4 {
            memory.write(&mut lease, 0, &pattern(seed, 8192)).unwrap();
            let mut mapped = machine.map(lease, ToDevice).unwrap();
            mapped.write_at(4000, &[seed; 200]).unwrap();
            let flight = mapped.into_flight();
            assert_eq!(device.gather(flight.bus()).unwrap()[4000..4200], [seed; 200]);
            let mut mapped = machine.map(flight.reclaim(&device).unwrap().unmap(), Both).unwrap();
            mapped.write_at(0, &[seed; 5000]).unwrap();
            let flight = mapped.into_flight();
            device.scatter(flight.bus(), &[seed ^ 1; 300]).unwrap();
            let mut mapped = flight.reclaim(&device).unwrap();
            mapped.read_at(100, &mut [0; 5]).unwrap();
            mapped.write_at(100, &[seed; 5]).unwrap();
            lease = mapped.unmap();
        }
    });
}

#[test]
fn two_owners_of_one_cache_line_harm_each_other() {
    let memory = memory(CacheCoherence::Synced).with_line_len(64);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let (mine, mut other) =
        (memory.take_at(&[(phys(BASE), 32)]).unwrap(), memory.take_at(&[(phys(BASE + 32), 64)]).unwrap());
    let flight = machine.map(mine, FromDevice).unwrap().into_flight();
    device.scatter(flight.bus(), &[1; 32]).unwrap();
    memory.write(&mut other, 0, &[2; 64]).unwrap();
    let mine = flight.reclaim(&device).unwrap().unmap();
    assert_eq!(memory.bytes(&mine).unwrap(), [1; 32]);
    // The sync dropped the half of the line that the CPU had just written, and nothing past the line.
    assert_eq!(memory.bytes(&other).unwrap()[30..34], [0, 0, 2, 2]);
}

#[test]
fn coherent_memory_keeps_its_layout() {
    let memory = memory(CacheCoherence::Synced);
    let raws = [(1, 1), (4096, 4096), (64, 1 << 16), (100, 8)].map(|(len, align)| {
        let raw = memory.alloc_coherent(CoherentLayout::new(len, align)).unwrap();
        assert_eq!((raw.addr.raw() % align.max(8), raw.cpu.raw() % 8), (0, 0));
        raw
    });
    let low = CoherentLayout { addr_max: BASE - 1, ..CoherentLayout::new(8, 8) };
    assert_eq!(memory.alloc_coherent(low), None);
    assert_eq!(memory.alloc_coherent(CoherentLayout::new(1 << 21, 8)), None);
    assert_eq!(memory.coherent_bytes(), 1 + 4096 + 64 + 100);
    for raw in raws {
        // SAFETY: allocated above, and nobody was told.
        unsafe { memory.free_coherent(raw) };
    }
    assert_eq!(memory.coherent_bytes(), 0);
}

#[test]
fn the_device_keeps_its_own_limits() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine(&memory, Offset::NONE);
    let limits = Limits::builder()
        .hard(LimitId::AddrMin, BASE + PAGE)
        .hard(LimitId::AddrMax, BASE + 0x1_0000 - 1)
        .hard(LimitId::AddrAlign, 64)
        .hard(LimitId::SegmentLenMax, PAGE)
        .hard(LimitId::SegmentsMax, 1)
        .build()
        .unwrap();
    let device = Device::new(machine, &limits);
    let flight = machine.map(memory.take_at(&[(phys(BASE), 0x2_0000)]).unwrap(), Both).unwrap().into_flight();
    let window = |addr, len| Refusal::Window { addr, len, min: BASE + PAGE, max: BASE + 0x1_0000 - 1 };
    let segment = |addr, len| [Segment::new(BusAddr::new(addr), len).unwrap()];
    assert_eq!(device.read(BusAddr::new(BASE), &mut [0; 8]), Err(window(BASE, 8)));
    assert_eq!(device.write(BusAddr::new(BASE + 0xFFFF), &[1, 2]), Err(window(BASE + 0xFFFF, 2)));
    assert_eq!(device.gather(&segment(BASE, 64)[..]), Err(window(BASE, 64)));
    let limit = |refusal: Refusal| match refusal {
        Refusal::Limit(error) => error.to_string(),
        other => panic!("{other}"),
    };
    let aligned = limit(device.gather(&segment(BASE + PAGE + 8, 64)[..]).unwrap_err());
    assert!(aligned.contains("addr_align"), "{aligned}");
    let long = limit(device.start(&segment(BASE + PAGE, PAGE + 64)[..], Work::Gather).unwrap_err());
    // It takes a second segment, and there may be one.
    assert!(long.contains("segment"), "{long}");
    assert_eq!(machine.findings().len(), 5);
    assert_eq!(device.gather(&segment(BASE + PAGE, PAGE)[..]).unwrap(), vec![0; 4096]);
    drop(flight.reclaim(&device).unwrap());
}

#[test]
fn an_access_is_whole_or_not_at_all() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    // Two mappings side by side: an access may go from one into the other, and not past it.
    let map =
        |addr| machine.map(memory.take_at(&[(phys(addr), 64)]).unwrap(), FromDevice).unwrap().into_flight();
    let (one, two) = (map(BASE), map(BASE + 64));
    device.write(BusAddr::new(BASE + 60), &[1; 8]).unwrap();
    let past = device.write(BusAddr::new(BASE + 120), &[2; 9]);
    assert_eq!(past, Err(Refusal::Unmapped { addr: BASE + 128, len: 1 }));
    let one = one.reclaim(&device).unwrap().unmap();
    let two = two.reclaim(&device).unwrap().unmap();
    assert_eq!(memory.bytes(&one).unwrap()[58..], [0, 0, 1, 1, 1, 1]);
    assert_eq!(memory.bytes(&two).unwrap()[..6], [1, 1, 1, 1, 0, 0]);
    assert_eq!(memory.bytes(&two).unwrap()[56..], [0; 8]);
    assert_eq!(
        device.write(BusAddr::new(u64::MAX), &[1; 2]),
        Err(Refusal::Window { addr: u64::MAX, len: 2, min: 0, max: u64::MAX })
    );
}

#[test]
fn a_walker_reads_what_is_mapped_and_is_told_the_first_address_that_is_not() {
    let memory = memory(CacheCoherence::Synced);
    let machine = &machine(&memory, Offset::Down(PAGE));
    let device = device(machine);
    let walk = |addr: BusAddr, into: &mut [u8]| BusRead::read(&device, addr, into);
    let mut ring = machine.alloc_coherent(CoherentLayout::new(64, 64)).unwrap();
    ring.store(56, 0x0102_0304_0506_0708_u64).unwrap();
    let last = ring.bus_addr().checked_add(56).unwrap();
    let mut word = [0; 8];
    walk(last, &mut word).unwrap();
    assert_eq!(u64::from_le_bytes(word), 0x0102_0304_0506_0708);
    let end = ring.bus_addr().checked_add(64).unwrap();
    assert_eq!(walk(last, &mut [0; 9]), Err(Unreadable { addr: end }));
    let trait_object = &device as &dyn BusRead;
    assert_eq!(trait_object.read(end, &mut word), Err(Unreadable { addr: end }));
}

#[test]
fn faults_hit_the_transfer_that_they_were_meant_for() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let flight = machine.map(memory.take(PAGE, PAGE).unwrap(), Both).unwrap().into_flight();
        let start = |seed| device.start(flight.bus(), Work::Scatter(pattern(seed, 4096)));
        device.fault_nth(2, FakeFault::Refuse);
        device.fault_nth(3, FakeFault::Never);
        device.fault_nth(4, FakeFault::Delay(2));
        device.fault_nth(5, FakeFault::Partial(0));
        assert_eq!(start(1), Ok(1));
        assert_eq!(start(2), Err(Refusal::Demanded { count: 2 }));
        assert_eq!((start(3), start(4), start(5)), (Ok(3), Ok(4), Ok(5)));
        assert_eq!(device.start(flight.bus(), Work::Gather), Ok(6));
        assert_eq!(device.step(), 3);
        let ids: Vec<_> = core::iter::from_fn(|| device.take_done()).collect();
        assert_eq!(
            ids.iter().map(|done| (done.id, done.moved)).collect::<Vec<_>>(),
            [(1, Ok(4096)), (5, Ok(0)), (6, Ok(4096))]
        );
        assert_eq!(ids[2].gathered, pattern(1, 4096));
        assert_eq!((device.step(), device.pending()), (1, 1));
        assert_eq!(device.gather(flight.bus()).unwrap(), pattern(4, 4096));
        for _ in 0..100 {
            assert_eq!(device.step(), 0);
        }
        assert!(!device.is_done_with(flight.bus()));
        let flight = flight.reclaim(&device).unwrap_err();
        device.reset();
        let lease = flight.reclaim(&device).unwrap().unmap();
        assert_eq!(memory.bytes(&lease).unwrap(), pattern(4, 4096), "a dead device never wrote");
    });
}

#[test]
fn the_queue_of_the_device_is_bounded() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let flight = machine.map(memory.take(64, 64).unwrap(), ToDevice).unwrap().into_flight();
    let refusal = (0..10_000).find_map(|_| device.start(flight.bus(), Work::Gather).err());
    assert_eq!(refusal, Some(Refusal::Full { pending: 1024, max: 1024 }));
    device.quiesce(flight.bus());
    assert_eq!(device.pending(), 0);
    drop(flight.reclaim(&device).unwrap());
}

#[test]
fn the_bus_refuses_the_mappings_that_it_was_told_to() {
    let memory = memory(CacheCoherence::Coherent);
    let machine = &machine(&memory, Offset::NONE);
    let map = || machine.map(memory.take(64, 64).unwrap(), ToDevice).map(drop).map_err(|failed| failed.error);
    machine.refuse_next();
    machine.refuse_nth(3);
    let refused = |count| Err(MapError::Refused { count });
    assert_eq!([map(), map(), map(), map()], [refused(1), Ok(()), refused(3), Ok(())]);
    assert_eq!(machine.maps(), 4);
}

#[test]
fn what_is_cheaper_to_copy_is_no_rule_for_what_a_device_is_told() {
    let memory = memory(CacheCoherence::Coherent);
    let limits = Limits::builder().hard(LimitId::CopyBelow, 4096).build().unwrap();
    let bus = &Bus::new(Direct::new(&memory, Offset::NONE, &limits).unwrap());
    let device = Device::new(bus, &limits);
    let pool = memory.take(8192, 4096).unwrap();
    let bounce = &Bounce::new(bus, pool, BounceLayout::default()).map_err(|failed| failed.error).unwrap();
    let mut lease = memory.take(100, 64).unwrap();
    memory.write(&mut lease, 0, &pattern(1, 100)).unwrap();
    let mapped = bounce.map(lease, ToDevice).unwrap();
    assert_eq!(mapped.bounced_bytes(), 100);
    let flight = mapped.into_flight();
    assert_eq!(device.gather(flight.bus()).unwrap(), pattern(1, 100));
    drop(flight.reclaim(&device).unwrap());
    assert_eq!(device.findings(), []);
}

#[test]
fn memory_that_is_mapped_twice_for_reading_stays_in_reach_until_the_second_end() {
    use scatterlist::map::{Borrowed, HeapMemory, with_mapped};
    let bus = &Bus::new(
        Direct::new(HeapMemory::new(|leak| panic!("{leak}")), Offset::NONE, &Limits::default()).unwrap(),
    );
    let device = Device::new(bus, &Limits::default());
    let buffer = pattern(1, 100);
    let segment = [Segment::new(CpuAddr::new(0), 1).unwrap(); 2];
    let slot = [Segment::new(BusAddr::new(0), 1).unwrap(); 2];
    let (mut segments, mut slots) = (segment, slot);
    let (mut segments_2, mut slots_2) = (segment, slot);
    // In one list twice, and in a second mapping.
    let slices = [&buffer[..100], &buffer[..10]];
    let borrowed = Borrowed::from_shared(&slices, &mut segments).unwrap();
    with_mapped(&bus.target(), borrowed, &mut slots, &device, |told, device| {
        let slices = [&buffer[..50]];
        let borrowed = Borrowed::from_shared(&slices, &mut segments_2).unwrap();
        with_mapped(&bus.target(), borrowed, &mut slots_2, device, |inner, device| {
            assert_eq!(device.gather(inner).unwrap(), buffer[..50]);
        })
        .unwrap();
        assert_eq!(device.gather(told).unwrap(), [&buffer[..], &buffer[..10]].concat());
    })
    .unwrap();
    assert_eq!((bus.live(), bus.findings()), (vec![], vec![]));
}

#[test]
fn coherent_memory_in_flight_outlives_the_fake_memory_as_a_leak() {
    let memory = FakeMemory::cpu(CacheCoherence::Coherent, 1 << 16).unwrap();
    let direct = Direct::new(memory, Offset::NONE, &Limits::default()).unwrap();
    let flight = (&direct).alloc_coherent(CoherentLayout::new(64, 64)).unwrap().into_flight();
    let addr = CpuAddr::new(flight.bus_addr().raw());
    drop(flight);
    drop(direct);
    // SAFETY: nobody took it back, so it is valid; a device that still writes there does no harm.
    unsafe { addr.as_ptr().write_volatile(1) };
}
