//! What a mapping promises, seen from the device's side of a fake machine: the bytes arrive both ways, a missing sync
//! shows, exactly what was synced moves, and any list through any offset is the same bytes in the same order. Who owns
//! them meanwhile is told in `ownership.rs`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "some tests break the rules, to see that it is found")]

use proptest::prelude::*;
use scatterlist::fake::{Bus, Device, FakeFault, FakeFinding, Work};
use scatterlist::map::{
    Both, CoherentLayout, Direct, DmaDevice as _, FromDevice, HeapMemory, Memory as _, Offset, ToDevice,
};
use scatterlist::{Addr, CacheCoherence, Limits, PhysAddr, Segments as _};

mod machine;
use machine::{BASE, OFFSETS, PAGE, device, machine, machine_with, memory, on_each_machine, pages, pattern};

#[test]
fn what_the_cpu_wrote_reaches_the_device_in_order() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let flight = machine.map(pages(memory, 3, 1), ToDevice).unwrap().into_flight();
        assert_eq!(device.gather(flight.bus()).unwrap(), pattern(1, 3 * 4096));
        let lease = flight.reclaim(&device).unwrap().unmap();
        assert_eq!(memory.bytes(&lease).unwrap(), pattern(1, 3 * 4096));
    });
}

#[test]
fn what_the_device_wrote_reaches_the_cpu_in_order() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let flight = machine.map(pages(memory, 3, 1), FromDevice).unwrap().into_flight();
        device.scatter(flight.bus(), &pattern(2, 3 * 4096)).unwrap();
        let lease = flight.reclaim(&device).unwrap().unmap();
        assert_eq!(memory.bytes(&lease).unwrap(), pattern(2, 3 * 4096));
    });
}

#[test]
fn both_ways_the_device_reads_and_writes_one_mapping() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let mut mapped = machine.map(pages(memory, 2, 1), Both).unwrap();
        for seed in 2..5 {
            let sent = pattern(seed, 100);
            mapped.write_at(4050, &sent).unwrap();
            let flight = mapped.into_flight();
            assert_eq!(device.gather(flight.bus()).unwrap()[4050..4150], sent);
            device.scatter(flight.bus(), &pattern(seed + 100, 4150)).unwrap();
            mapped = flight.reclaim(&device).unwrap();
            let mut answer = vec![0; 4150];
            mapped.read_at(0, &mut answer).unwrap();
            assert_eq!(answer, pattern(seed + 100, 4150));
        }
        let bytes = memory.bytes(&mapped.unmap()).unwrap();
        assert_eq!(bytes[4150..], pattern(1, 2 * 4096)[4150..]);
    });
}

#[test]
fn a_back_end_that_forgets_the_sync_shows_stale_bytes() {
    // The memory needs syncs, and the back end is told that it does not.
    let memory = memory(CacheCoherence::Synced);
    let machine = &machine_with(&memory, Offset::NONE, &Limits::default());
    let device = device(machine);
    let flight = machine.map(pages(&memory, 1, 1), ToDevice).unwrap().into_flight();
    let seen = device.gather(flight.bus()).unwrap();
    assert!(seen.iter().all(|byte| *byte == 0xEE), "the device sees what lay there before");
    drop(flight.reclaim(&device).unwrap());

    let flight = machine.map(pages(&memory, 1, 1), FromDevice).unwrap().into_flight();
    device.scatter(flight.bus(), &pattern(2, 4096)).unwrap();
    let lease = flight.reclaim(&device).unwrap().unmap();
    assert_eq!(memory.bytes(&lease).unwrap(), pattern(1, 4096), "the CPU sees what it wrote itself");
}

#[test]
fn an_unsynced_mapping_hands_over_only_what_is_synced() {
    let memory = memory(CacheCoherence::Synced);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let mut mapped = machine.target().map_unsynced(pages(&memory, 1, 1), ToDevice).unwrap();
    mapped.sync_for_device(100..200).unwrap();
    let flight = mapped.into_flight();
    let seen = device.gather(flight.bus()).unwrap();
    assert_eq!(seen[100..200], pattern(1, 4096)[100..200]);
    assert!(seen[..100].iter().chain(&seen[200..]).all(|byte| *byte == 0xEE));
    drop(flight.reclaim(&device).unwrap());
    assert_eq!(memory.check_quarantine(), []);
}

#[test]
fn own_06_a_sync_across_a_page_boundary_moves_exactly_its_bytes() {
    let straddling = 4096 - 64..4096 + 64;
    for offset in OFFSETS {
        let memory = memory(CacheCoherence::Synced);
        let machine = &machine(&memory, offset);
        let device = device(machine);

        let mapped = machine.target().map_unsynced(pages(&memory, 2, 1), FromDevice).unwrap();
        let flight = mapped.into_flight();
        device.scatter(flight.bus(), &pattern(2, 8192)).unwrap();
        let mut mapped = flight.reclaim(&device).unwrap();
        let mut read = [0; 128];
        mapped.read_at(4096 - 64, &mut read).unwrap();
        assert_eq!(read, pattern(2, 8192)[straddling.clone()]);
        let mut expected = pattern(1, 8192);
        expected[straddling.clone()].copy_from_slice(&read);
        assert_eq!(memory.bytes(&mapped.unmap()).unwrap(), expected, "the CPU got those bytes only");

        let mut mapped = machine.target().map_unsynced(pages(&memory, 2, 1), ToDevice).unwrap();
        mapped.write_at(4096 - 64, &read).unwrap();
        let mut expected = vec![0xEE; 8192];
        expected[straddling.clone()].copy_from_slice(&read);
        let lease = mapped.unmap();
        assert_eq!(memory.device_bytes(&lease).unwrap(), expected, "the device got those bytes only");
        assert_eq!(memory.check_quarantine(), []);
    }
}

#[test]
fn a_write_to_a_part_of_a_cache_line_keeps_what_the_device_wrote_to_the_rest() {
    let memory = memory(CacheCoherence::Synced).with_line_len(64);
    let machine = &machine(&memory, Offset::NONE);
    let device = device(machine);
    let flight = machine.map(pages(&memory, 1, 1), Both).unwrap().into_flight();
    device.scatter(flight.bus(), &pattern(2, 4096)).unwrap();
    let mut mapped = flight.reclaim(&device).unwrap();
    mapped.write_at(100, &[0; 4]).unwrap();
    let mut expected = pattern(2, 4096);
    expected[100..104].fill(0);
    let mut read = vec![0; 4096];
    mapped.read_at(0, &mut read).unwrap();
    assert_eq!(read, expected);
    assert_eq!(memory.bytes(&mapped.unmap()).unwrap(), expected);
    assert_eq!(memory.check_quarantine(), []);
}

/// Writes a byte behind the back of the owner.
fn cpu_pokes(memory: &machine::Memory, addr: u64) {
    let cpu = memory.cpu_addr(PhysAddr::new(addr), 1).unwrap();
    // SAFETY: the arena lives as long as `memory`, and no reference is to its bytes. It breaks the rule that the device
    // owns them, which is what the test is about.
    unsafe { cpu.as_ptr().write(0x77) };
}

#[test]
fn a_cpu_write_to_what_the_device_owns_is_found() {
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        for from_device in [false, true] {
            let memory = memory(coherence);
            let machine = &machine(&memory, Offset::Up(PAGE));
            let device = device(machine);
            let lease = pages(&memory, 2, 1);
            let second = lease.list().segments().nth(1).unwrap().addr().raw();
            if from_device {
                let flight = machine.map(lease, FromDevice).unwrap().into_flight();
                device.scatter(flight.bus(), &pattern(3, 4096)).unwrap();
                cpu_pokes(&memory, second + 5);
                drop(flight.reclaim(&device).unwrap());
            } else {
                let flight = machine.map(lease, ToDevice).unwrap().into_flight();
                cpu_pokes(&memory, second + 5);
                drop(flight.reclaim(&device).unwrap());
            }
            let found = FakeFinding::CpuWrite { addr: second + 5, offset: 5, bytes: 1 };
            assert_eq!(memory.findings(), [found], "{coherence:?} {from_device}");
        }
    }
}

#[test]
fn a_partial_write_leaves_the_rest_as_it_was() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let flight = machine.map(pages(memory, 2, 1), FromDevice).unwrap().into_flight();
        device.fault_next(FakeFault::Partial(5000));
        device.start(flight.bus(), Work::Scatter(pattern(2, 8192))).unwrap();
        device.step();
        assert_eq!(device.take_done().unwrap().moved, Ok(5000));
        let bytes = memory.bytes(&flight.reclaim(&device).unwrap().unmap()).unwrap();
        assert_eq!(bytes[..5000], pattern(2, 8192)[..5000]);
        assert_eq!(bytes[5000..], pattern(1, 8192)[5000..]);
    });
}

#[test]
fn coherent_memory_is_seen_alike_until_it_is_dropped() {
    on_each_machine(|memory, machine| {
        let device = device(machine);
        let mut ring = machine.alloc_coherent(CoherentLayout::new(PAGE, PAGE)).unwrap();
        let bus = ring.bus_addr();
        assert_eq!(bus.raw() % PAGE, 0);
        assert_eq!(ring.load::<u64>(8).unwrap(), 0);
        ring.store(8, 0x1122_3344_u32).unwrap();
        let mut seen = [0; 4];
        device.read(bus.checked_add(8).unwrap(), &mut seen).unwrap();
        assert_eq!(seen, [0x44, 0x33, 0x22, 0x11]);
        device.write(bus.checked_add(16).unwrap(), &[1, 0, 0, 0, 0, 0, 0, 0x80]).unwrap();
        assert_eq!(ring.load::<u64>(16).unwrap(), 0x8000_0000_0000_0001);
        assert_eq!(memory.coherent_bytes(), PAGE);
        drop(ring);
        assert_eq!((memory.coherent_bytes(), memory.quarantined_bytes()), (0, PAGE));
    });
}

#[test]
fn a_heap_buffer_makes_the_trip_as_it_is() {
    let memory = HeapMemory::new(|leak| panic!("{leak}"));
    let bus = &Bus::new(Direct::new(memory, Offset::NONE, &Limits::default()).unwrap());
    let device = Device::new(bus, &Limits::default());
    let flight = bus.map_bytes(vec![0; 1000], FromDevice).unwrap().into_flight();
    device.scatter(flight.bus(), &pattern(4, 1000)).unwrap();
    let mut mapped = flight.reclaim(&device).unwrap();
    let mut read = vec![0; 1000];
    mapped.read_at(0, &mut read).unwrap();
    assert_eq!(read, pattern(4, 1000));
    let bytes = mapped.unmap().into_vecs().next().unwrap();
    assert_eq!(bytes, pattern(4, 1000));
    assert_eq!(bus.findings(), []);
}

/// Runs of bytes that share no page, some of them adjacent.
fn runs() -> impl Strategy<Value = Vec<(PhysAddr, u64)>> {
    proptest::collection::vec((0_u64..3, 0_u64..4096, 1_u64..9000), 1..20).prop_map(|runs| {
        let mut next = BASE;
        runs.into_iter()
            .map(|(gap, skip, len)| {
                // Without a gap it starts where the last one ended.
                let start = if gap == 0 { next } else { next + gap * PAGE + skip };
                next = start + len;
                (PhysAddr::new(start), len)
            })
            .collect()
    })
}

fn any_machine() -> impl Strategy<Value = (CacheCoherence, Offset)> {
    let coherence = prop_oneof![Just(CacheCoherence::Coherent), Just(CacheCoherence::Synced)];
    let offset = prop_oneof![
        Just(Offset::NONE),
        (0_u64..1 << 40).prop_map(Offset::Up),
        (0_u64..=BASE).prop_map(Offset::Down)
    ];
    (coherence, offset)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_list_reaches_the_device_and_comes_back(
        mut runs in runs(),
        (coherence, offset) in any_machine(),
        backwards in any::<bool>(),
        direction in 0..3,
        moved in 0.0..1.0,
    ) {
        if backwards {
            runs.reverse();
        }
        let memory = memory(coherence);
        let machine = &machine(&memory, offset);
        let device = device(machine);
        let mut lease = memory.take_at(&runs).unwrap();
        let len = usize::try_from(lease.list().len_bytes()).unwrap();
        let before = pattern(1, len);
        memory.write(&mut lease, 0, &before).unwrap();
        #[expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of a length")]
        let part = (moved * len as f64) as usize;
        let mut after = before.clone();
        after[..part].copy_from_slice(&pattern(2, len)[..part]);

        let lease = match direction {
            0 => {
                let flight = machine.map(lease, ToDevice).unwrap().into_flight();
                prop_assert_eq!(device.gather(flight.bus()).unwrap(), &before[..]);
                after.copy_from_slice(&before);
                flight.reclaim(&device).unwrap().unmap()
            }
            1 => {
                let flight = machine.map(lease, FromDevice).unwrap().into_flight();
                device.scatter(flight.bus(), &after[..part]).unwrap();
                flight.reclaim(&device).unwrap().unmap()
            }
            _ => {
                let flight = machine.map(lease, Both).unwrap().into_flight();
                prop_assert_eq!(device.gather(flight.bus()).unwrap(), &before[..]);
                device.scatter(flight.bus(), &after[..part]).unwrap();
                prop_assert_eq!(device.gather(flight.bus()).unwrap(), &after[..]);
                let mut mapped = flight.reclaim(&device).unwrap();
                let mut read = vec![0; len - part / 2];
                mapped.read_at(u64::try_from(part / 2).unwrap(), &mut read).unwrap();
                prop_assert_eq!(&read[..], &after[part / 2..]);
                mapped.unmap()
            }
        };
        prop_assert_eq!(memory.bytes(&lease).unwrap(), after);
        drop(lease);
        prop_assert_eq!(memory.check_quarantine(), []);
        prop_assert_eq!(machine.findings(), []);
        prop_assert_eq!(machine.live(), []);
    }
}
