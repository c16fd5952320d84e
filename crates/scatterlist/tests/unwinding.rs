//! Code of the user's that panics in the middle of a mapping: an oracle of regions, a watch, a memory that is told who owns
//! what. Whatever unwinds, a device never reaches memory that was given back.
#![expect(unsafe_code, reason = "a memory of the tests")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use scatterlist::fake::{Bus, Device, DeviceMemory, Refusal, Work};
use scatterlist::map::checked::{Checked, Finding, Place, Region, Touched, Watch};
use scatterlist::map::{
    Borrowed, CoherentLayout, Direct, DmaDevice as _, FromDevice, HeapMemory, Leak, Memory, Offset,
    RawCoherent, with_mapped,
};
use scatterlist::{Addr as _, BusAddr, CpuAddr, Lease, Limits, OwnedBytes, Segment};

fn unwinds<T>(act: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(act)).is_err(), "it must panic");
}

fn lease() -> (Lease<CpuAddr, OwnedBytes>, BusAddr) {
    let lease = Lease::from_vec(vec![0; 4096]).unwrap();
    let addr = BusAddr::new(lease.list().first().unwrap().addr().raw());
    (lease, addr)
}

#[track_caller]
fn is_out_of_reach<D: scatterlist::fake::Resolve>(bus: &Bus<D>, addr: BusAddr) {
    assert!(bus.live().is_empty(), "{:?}", bus.live());
    let refused = Device::new(bus, &Limits::default()).read(addr, &mut [0]);
    assert!(matches!(refused, Err(Refusal::Unmapped { .. })), "{refused:?}");
}

fn heap_bus() -> Bus<Direct<HeapMemory>> {
    Bus::new(Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap())
}

#[test]
fn an_oracle_that_panics_leaves_nothing_mapped() {
    let bus = heap_bus();
    let checked = Checked::new(&bus, |_| {}).with_regions(|_, _| -> Region { panic!("the oracle is lost") });
    let (lease, addr) = lease();
    unwinds(|| (&checked).map(lease, FromDevice));
    is_out_of_reach(&bus, addr);
}

/// Panics when the device is about to do something.
struct Fearful;

impl Watch for Fearful {
    fn device_access(&self, _: BusAddr, _: u64, _: bool, _: Place) -> Option<Finding> {
        panic!("the device moved")
    }

    fn cpu_wrote_while_device_owned(&self, _: Touched, _: u64, _: Place) {}
}

#[test]
fn borrowed_memory_is_unmapped_when_quiescing_panics() {
    let bus = heap_bus();
    let device = Device::new(&bus, &Limits::default()).watched(&Fearful);
    let mut buffer = [0_u8; 512];
    let addr = BusAddr::new(CpuAddr::from_ptr(buffer.as_ptr()).raw());
    let mut slots = [Segment::new(BusAddr::new(0), 1).unwrap()];
    let mut segments = [Segment::new(CpuAddr::new(0), 1).unwrap()];
    unwinds(|| {
        let mut slices = [&mut buffer[..]];
        let borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).unwrap();
        with_mapped(&(&bus).target(), borrowed, &mut slots, &device, |bus, device| {
            device.start(bus, Work::Scatter(vec![7; 512])).unwrap();
        })
    });
    assert_eq!(device.pending(), 0);
    is_out_of_reach(&bus, addr);
    assert_eq!(buffer, [0; 512]);
}

/// The heap, which panics when it is told that somebody else owns bytes.
#[derive(Debug)]
struct Jumpy {
    heap: HeapMemory,
    handed_over: Cell<bool>,
    taken_back: Cell<bool>,
}

// SAFETY: the heap's.
unsafe impl Memory for Jumpy {
    type Addr = CpuAddr;

    fn cpu_addr(&self, addr: CpuAddr, len: u64) -> Option<CpuAddr> {
        self.heap.cpu_addr(addr, len)
    }

    fn clean(&self, _: CpuAddr, _: u64) {}

    unsafe fn invalidate(&self, _: CpuAddr, _: u64) {}

    fn alloc_coherent(&self, layout: CoherentLayout) -> Option<RawCoherent<CpuAddr>> {
        self.heap.alloc_coherent(layout)
    }

    unsafe fn free_coherent(&self, raw: RawCoherent<CpuAddr>) {
        // SAFETY: passed on.
        unsafe { self.heap.free_coherent(raw) }
    }

    fn leaked(&self, leak: Leak) {
        self.heap.leaked(leak);
    }
}

impl DeviceMemory for Jumpy {
    fn handed_over(&self, _: CpuAddr, _: u64) {
        assert!(!self.handed_over.get(), "handed over");
    }

    fn taken_back(&self, _: CpuAddr, _: u64) {
        assert!(!self.taken_back.get(), "taken back");
    }
}

#[test]
fn a_memory_that_panics_leaves_nothing_mapped_and_leaks_the_lease() {
    for at_the_start in [true, false] {
        let (heap, no) = (HeapMemory::default(), Cell::new(false));
        let memory = Jumpy { heap, handed_over: Cell::new(at_the_start), taken_back: no };
        let table = scatterlist::map::iommu::FourLevelTable::<CpuAddr>::new(16);
        let iommu = scatterlist::map::iommu::Iommu::<_, _>::new(&memory, table, &Limits::default()).unwrap();
        let bus = Bus::new(&iommu);
        let (lease, addr) = lease();
        match at_the_start {
            true => unwinds(|| (&bus).map(lease, FromDevice)),
            false => {
                let mapped = (&bus).map(lease, FromDevice).unwrap();
                memory.taken_back.set(true);
                unwinds(|| mapped.unmap());
            }
        }
        is_out_of_reach(&bus, addr);
        assert_eq!(iommu.bytes_out(), 0);
    }
}
