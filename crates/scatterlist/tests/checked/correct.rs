//! A correct driver at random, over each back end: it is never accused, and what it gave back is gone from the record.
#![expect(unsafe_code, reason = "the word of a device that was never told")]

use proptest::prelude::*;
use scatterlist::desc::sgl::Granularity;
use scatterlist::desc::{DescriptorMemory as _, SglFormat};
use scatterlist::map::checked::{Checked, Finding};
use scatterlist::map::iommu::{FourLevelTable, Iommu};
use scatterlist::map::{
    Backend, Both, Bounce, BounceLayout, Coherent, CoherentLayout, Direct, DmaDevice, DmaDirection, DmaPool,
    FromDevice, HeapMemory, InFlight, Mapped, Offset, PoolLayout, PoolObject, Prepared, ToDevice, prepare,
};
use scatterlist::{
    Addr as _, BusAddr, CacheCoherence, CpuAddr, Direction, DmaTarget, Lease, LimitId, Limits, Position,
    Request, Segments,
};

use super::support::{Lines, OFFSET};

/// What a driver has.
enum Held<D: DmaDevice> {
    To(Mapped<D, Lines, ToDevice>),
    From(Mapped<D, Lines, FromDevice>),
    Both(Mapped<D, Lines, Both>),
    Ring(Coherent<D>),
    Object(PoolObject<D>),
    Request(Prepared<D, DmaPool<D>, Lines, (), <SglFormat as scatterlist::desc::DescriptorFormat>::Command>),
}

/// A step by numbers: what to do, to which, and two more.
type Step = (u8, usize, u64, u64);

/// The device as the driver's test plays it: told where, how many bytes, and whether it writes.
type Access<'a> = &'a dyn Fn(BusAddr, u64, bool);

struct Driver<'a, D: DmaDevice> {
    target: DmaTarget<D, DmaPool<D>>,
    held: Vec<Held<D>>,
    access: Access<'a>,
}

/// Bytes within `len`, at least one.
fn part(len: u64, at: u64, count: u64) -> (u64, u64) {
    let at = at % len;
    (at, count % (len - at) + 1)
}

fn bytes(count: u64) -> Vec<u8> {
    vec![0x5a; usize::try_from(count).unwrap()]
}

impl<D: DmaDevice<Addr = CpuAddr>> Driver<'_, D> {
    /// A device uses some bytes of each segment.
    fn use_segments<S: Segments<Addr = BusAddr> + ?Sized>(
        &self,
        bus: &S,
        way: DmaDirection,
        at: u64,
        len: u64,
    ) {
        for segment in bus.segments() {
            let (at, len) = part(segment.len(), at, len);
            let addr = segment.addr().checked_add(at).unwrap();
            if way.device_reads() {
                (self.access)(addr, len, false);
            }
            if way.device_writes() {
                (self.access)(addr, len, true);
            }
        }
    }

    /// Scattered lines: `parts` runs, each of one line or two.
    fn lease(parts: u64) -> Lease<CpuAddr, Lines> {
        let count = parts % 12 + 1;
        let runs: Vec<(u64, u64)> = (0..count).map(|run| (run * 192, 64 * (1 + run % 2))).collect();
        Lines::new(usize::try_from(count * 3).unwrap()).lease(&runs)
    }

    fn map(&mut self, op: u8, at: u64, len: u64) {
        let (lease, target) = (Self::lease(at), &self.target);
        let unsynced = len.is_multiple_of(3);
        // More segments than the device takes: the lease comes back, and that is no misuse.
        let held = match (op, unsynced) {
            (0, false) => target.map(lease, ToDevice).map(Held::To),
            (0, true) => target.map_unsynced(lease, ToDevice).map(Held::To),
            (1, false) => target.map(lease, FromDevice).map(Held::From),
            (1, true) => target.map_unsynced(lease, FromDevice).map(Held::From),
            (_, false) => target.map(lease, Both).map(Held::Both),
            (_, true) => target.map_unsynced(lease, Both).map(Held::Both),
        };
        self.held.extend(held);
    }

    fn prepare(&mut self, at: u64, len: u64) {
        let direction = if len.is_multiple_of(2) { Direction::ToDevice } else { Direction::FromDevice };
        let request = Request::new(Self::lease(at), direction, Position::At(0), ());
        self.held
            .extend(prepare(&self.target, request, &SglFormat::new(Granularity::Byte)).map(Held::Request));
    }

    fn allocate(&mut self, at: u64) {
        let layout = CoherentLayout::new((at % 8 + 1) * 64, 64);
        self.held.extend(self.target.device().alloc_coherent(layout).map(Held::Ring));
    }

    fn touch<Dir: scatterlist::map::MapDirection>(
        &self,
        mapped: Mapped<D, Lines, Dir>,
        way: DmaDirection,
        (at, len): (u64, u64),
    ) -> Mapped<D, Lines, Dir> {
        let flight = mapped.into_flight();
        self.use_segments(flight.bus(), way, at, len);
        // SAFETY: no device was told.
        unsafe { flight.complete() }
    }

    /// Uses what it holds, and keeps it.
    fn use_held(&self, held: Held<D>, at: u64, len: u64) -> Held<D> {
        match held {
            Held::To(mut mapped) => {
                let (at, len) = part(mapped.len_bytes(), at, len);
                mapped.write_at(at, &bytes(len)).unwrap();
                mapped.sync_for_device(at..at + len).unwrap();
                Held::To(self.touch(mapped, DmaDirection::ToDevice, (at, len)))
            }
            Held::From(mapped) => {
                let mut mapped = self.touch(mapped, DmaDirection::FromDevice, (at, len));
                let (at, len) = part(mapped.len_bytes(), at, len);
                mapped.read_at(at, &mut bytes(len)).unwrap();
                mapped.sync_for_device(at..at + len).unwrap();
                Held::From(mapped)
            }
            Held::Both(mut mapped) => {
                let (from, count) = part(mapped.len_bytes(), at, len);
                mapped.write_at(from, &bytes(count)).unwrap();
                let mut mapped = self.touch(mapped, DmaDirection::Both, (at, len));
                mapped.sync_for_cpu(from..from + count).unwrap();
                mapped.read_at(0, &mut []).unwrap();
                Held::Both(mapped)
            }
            Held::Ring(mut ring) => {
                ring.store(0, at).unwrap();
                let flight: InFlight<_> = ring.into_flight();
                self.use_segments(flight.bus(), DmaDirection::Both, at, len);
                // SAFETY: no device was told.
                Held::Ring(unsafe { flight.complete() })
            }
            Held::Object(mut object) => {
                assert!(object.put(0, at));
                (self.access)(object.bus_addr(), 64, false);
                Held::Object(object)
            }
            Held::Request(prepared) => {
                let flight = prepared.into_flight();
                for object in flight.descriptors() {
                    (self.access)(object.bus_addr(), 16, false);
                }
                // SAFETY: no device was told.
                Held::Request(unsafe { flight.complete() })
            }
        }
    }

    fn step(&mut self, (op, pick, at, len): Step) {
        match op {
            0..=2 => self.map(op, at, len),
            3 => self.allocate(at),
            4 => self.held.extend(self.target.pool().fetch().map(Held::Object)),
            5 => self.prepare(at, len),
            _ if self.held.is_empty() => {}
            6..=8 => {
                let index = pick % self.held.len();
                let held = self.held.swap_remove(index);
                let held = self.use_held(held, at, len);
                self.held.push(held);
            }
            _ => match self.held.swap_remove(pick % self.held.len()) {
                Held::To(mapped) if at.is_multiple_of(2) => drop(mapped.unmap()),
                Held::Request(prepared) => drop(prepared.unprepare()),
                held => drop(held),
            },
        }
    }
}

/// What the checker says between two steps.
trait Record {
    fn findings(&self) -> Vec<Finding>;
    fn live(&self) -> usize;
}

impl<D: Backend> Record for Checked<D> {
    fn findings(&self) -> Vec<Finding> {
        Self::findings(self)
    }

    fn live(&self) -> usize {
        self.with_ledger(|ledger| ledger.live().len())
    }
}

fn drive<D>(device: D, record: &dyn Record, access: Access<'_>, steps: &[Step]) -> Result<(), TestCaseError>
where
    D: DmaDevice<Addr = CpuAddr>,
{
    let objects = PoolLayout { len: 64, align: 64, boundary: 0, slab_len: 512, objects_max: 20 };
    let channel = Limits::builder().hard(LimitId::PiecesMax, 8).build().unwrap();
    let pool = DmaPool::new(device.clone(), objects).unwrap();
    let target = device.target().channel(&channel).unwrap().with_pool(pool);
    let mut driver = Driver { target, held: Vec::new(), access };
    for step in steps {
        driver.step(*step);
        prop_assert_eq!(record.findings(), [], "after {:?}", step);
    }
    drop(driver);
    prop_assert_eq!((record.findings(), record.live()), (vec![], 0));
    Ok(())
}

/// Drives a device that is checked from the outside.
fn drive_checked<D>(inner: D, steps: &[Step]) -> Result<(), TestCaseError>
where
    D: Backend<Addr = CpuAddr>,
{
    let device = Checked::new(inner, |_| {});
    let access = |bus, len, writes| {
        device.device_access(bus, len, writes);
    };
    drive(&device, &device, &access, steps)
}

fn limits(coherence: CacheCoherence) -> Limits {
    let limits = Limits::builder().hard(LimitId::SegmentLenMax, 100).hard(LimitId::AddrAlign, 4);
    limits.coherence(coherence).build().unwrap()
}

fn heap() -> HeapMemory {
    HeapMemory::new(|leak| panic!("{leak}"))
}

fn pool() -> Lease<CpuAddr, Lines> {
    Lines::new(1024).lease(&[(0, 65_536)])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..12_u8, any::<usize>(), 0..1_000_u64, 0..1_000_u64), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_correct_driver_of_a_direct_device_is_never_accused(steps in steps(), synced in any::<bool>()) {
        let coherence = if synced { CacheCoherence::Synced } else { CacheCoherence::Coherent };
        drive_checked(Direct::new(heap(), Offset::Up(OFFSET), &limits(coherence)).unwrap(), &steps)?;
    }

    #[test]
    fn a_correct_driver_behind_an_iommu_is_never_accused(steps in steps()) {
        let limits = limits(CacheCoherence::Coherent);
        let device = Iommu::new(heap(), FourLevelTable::<CpuAddr>::new(256), &limits).unwrap();
        drive_checked(&device, &steps)?;
        prop_assert_eq!(device.bytes_out(), 0);
    }

    #[test]
    fn a_correct_driver_of_a_device_that_bounces_is_never_accused(steps in steps()) {
        // Lines start at no multiple of 128: half of what is mapped is copied.
        let limits = Limits::builder().hard(LimitId::AddrAlign, 128).build().unwrap();
        let direct = Direct::new(heap(), Offset::Up(OFFSET), &limits).unwrap();
        let device = Bounce::new(direct, pool(), BounceLayout::default()).unwrap();
        drive_checked(&device, &steps)?;
        prop_assert_eq!(device.free_bytes(), device.pool_bytes());
    }

    #[test]
    fn a_correct_driver_of_a_bounce_pool_over_the_checker_is_never_accused(steps in steps()) {
        let limits = Limits::builder().hard(LimitId::AddrAlign, 128).build().unwrap();
        let direct = Direct::new(heap(), Offset::Up(OFFSET), &limits).unwrap();
        let checked = Checked::new(direct, |_| {});
        let access = |bus, len, writes| {
            checked.device_access(bus, len, writes);
        };
        let device = Bounce::new(&checked, pool(), BounceLayout::default()).unwrap();
        drive(&device, &checked, &access, &steps)?;
    }
}
