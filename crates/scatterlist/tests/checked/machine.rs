//! A fake device on a bus with the checker above it: what the device does wrong, and what the CPU does behind its
//! back, stands in the checker's record with the mapping that it was about.

use scatterlist::fake::{Bus, Device, FakeMemory, FakeOwner, Refusal, Work};
use scatterlist::map::checked::{Checked, Finding};
use scatterlist::map::{Direct, DmaDevice as _, FromDevice, Offset, ToDevice};
use scatterlist::{Addr as _, BusAddr, CacheCoherence, Lease, Limits, PhysAddr, Segment};

use super::support::poke;

type Memory = FakeMemory<PhysAddr>;
type FakeBus<'m> = Bus<Direct<&'m Memory>>;

const BASE: u64 = 0x10_0000;

fn memory() -> Memory {
    FakeMemory::physical(CacheCoherence::Synced, BASE, 1 << 16).unwrap()
}

fn limits() -> Limits {
    Limits::builder().coherence(CacheCoherence::Synced).build().unwrap()
}

fn bus(memory: &Memory) -> FakeBus<'_> {
    Bus::new(Direct::new(memory, Offset::Up(1 << 32), &limits()).unwrap())
}

fn checked<'b, 'm>(bus: &'b FakeBus<'m>) -> Checked<&'b FakeBus<'m>> {
    Checked::new(bus, |findings| panic!("{findings:?}"))
}

fn page(memory: &Memory) -> Lease<PhysAddr, FakeOwner> {
    memory.take(4096, 4096).unwrap()
}

/// The one finding, made on `line` of this file.
#[track_caller]
fn only(checked: &Checked<&FakeBus<'_>>, line: u32) -> Finding {
    let found = checked.take_findings();
    let [finding] = found[..] else { panic!("{found:?}") };
    let place = finding.place();
    assert!(place.file().ends_with("machine.rs") && place.line() == line, "{finding}");
    finding
}

#[test]
fn a_transfer_as_it_should_be_leaves_nothing_behind() {
    let memory = memory();
    let bus = bus(&memory);
    let checked = checked(&bus);
    let device = Device::new(&bus, &limits()).watched(&checked);
    let flight = (&checked).map(page(&memory), FromDevice).unwrap().into_flight();
    device.start(flight.bus(), Work::Scatter(vec![7; 4096])).unwrap();
    assert_eq!(device.step(), 1);
    let mut mapped = flight.reclaim(&device).unwrap();
    let mut byte = [0];
    mapped.read_at(4095, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    assert_eq!(memory.bytes(&mapped.unmap()).unwrap(), [7; 4096]);
    assert_eq!((checked.findings(), checked.release()), (vec![], vec![]));
    assert!(bus.findings().is_empty() && memory.check_quarantine().is_empty());
}

#[test]
fn an_access_after_the_unmapping_names_both_its_ends() {
    let memory = memory();
    let bus = bus(&memory);
    let checked = checked(&bus);
    let device = Device::new(&bus, &limits()).watched(&checked);
    let mapped = (&checked).map(page(&memory), FromDevice).unwrap();
    let mapped_at = line!() - 1;
    let flight = mapped.into_flight();
    let addr = flight.bus().first().unwrap().addr();
    let lease = flight.reclaim(&device).unwrap().unmap();
    let unmapped_at = line!() - 1;
    let refused = device.write(addr, &[1; 8]).unwrap_err();
    let line = line!() - 1;
    assert!(matches!(refused, Refusal::Unmapped { .. }), "{refused}");
    let Finding::DeviceUnmapped { len: 8, writes: true, freed: Some(freed), .. } = only(&checked, line)
    else {
        panic!("the mapping is remembered")
    };
    assert_eq!((freed.mapping.place.line(), freed.place.line()), (mapped_at, unmapped_at));
    drop(lease);
}

#[test]
fn an_access_past_the_end_or_against_the_direction_names_the_mapping() {
    let memory = memory();
    let bus = bus(&memory);
    let checked = checked(&bus);
    let device = Device::new(&bus, &limits()).watched(&checked);
    let flight = (&checked).map(page(&memory), ToDevice).unwrap().into_flight();
    let mapped_at = line!() - 1;
    let addr = flight.bus().first().unwrap().addr();
    let longer = [Segment::new(BusAddr::new(addr.raw() + 4000), 200).unwrap()];
    device.gather(&longer[..]).unwrap_err();
    let line = line!() - 1;
    let Finding::DeviceOutside { fits: 96, len: 200, mapping, .. } = only(&checked, line) else {
        panic!("outside")
    };
    assert_eq!(mapping.place.line(), mapped_at);
    device.scatter(flight.bus(), &[1; 16]).unwrap_err();
    let line = line!() - 1;
    let Finding::DeviceDirection { writes: true, mapping, .. } = only(&checked, line) else {
        panic!("direction")
    };
    assert_eq!(mapping.place.line(), mapped_at);
    drop(flight.reclaim(&device).unwrap());
    assert_eq!(checked.findings(), []);
}

#[test]
fn what_the_cpu_wrote_while_the_device_owned_it_names_the_mapping() {
    let memory = memory();
    let bus = bus(&memory);
    let checked = checked(&bus);
    let lease = page(&memory);
    let start = lease.list().first().unwrap().addr();
    let mapped = (&checked).map(lease, FromDevice).unwrap();
    let mapped_at = line!() - 1;
    // Somebody who kept a pointer.
    let cpu = scatterlist::map::Backend::cpu_addr(&checked, start, 4096).unwrap();
    poke(cpu.checked_add(100).unwrap(), 0xAB);
    drop(mapped.unmap());
    let findings = memory.findings();
    findings.iter().for_each(|finding| finding.tell(&checked));
    let found = checked.take_findings();
    let [Finding::CpuWrote { offset, mapping: Some(mapping), .. }] = found[..] else {
        panic!("{findings:?} {found:?}")
    };
    assert_eq!((mapping.place.line(), offset), (mapped_at, 100));
}
