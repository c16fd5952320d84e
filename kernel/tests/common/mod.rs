//! A machine for the tests of drivers: memory below and above 4 GiB, a bus, a bounce pool, the checker, and a clock.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    clippy::allow_attributes,
    reason = "each test takes its own part of this, so that an expectation would fail in some"
)]

use std::cell::Cell;

use kernel::registers::Clock;
use scatterlist::desc::{BusRead, Unreadable};
use scatterlist::fake::{Bus, Device, FakeMemory, FakeOwner, Resolve};
use scatterlist::map::Direct;
use scatterlist::{Addr, BusAddr, CacheCoherence, Lease, PhysAddr};

pub(crate) type Memory = FakeMemory<PhysAddr>;
pub(crate) type FakeBus<'m> = Bus<Direct<&'m Memory>>;
pub(crate) type Owned = Lease<PhysAddr, FakeOwner>;

/// Memory that every device reaches.
pub(crate) const LOW: u64 = 0x10_0000;
/// Memory past 4 GiB.
pub(crate) const HIGH: u64 = 0x1_0000_0000;
/// Bytes of each.
pub(crate) const LEN: u64 = 4 << 20;
/// Memory for bouncing, below 16 MiB.
pub(crate) const POOL: u64 = 0x80_0000;
pub(crate) const POOL_LEN: u64 = 512 << 10;

pub(crate) fn memory() -> Memory {
    let memory = FakeMemory::physical(CacheCoherence::Coherent, LOW, LEN).unwrap();
    memory.with_arena(HIGH, LEN).unwrap().with_arena(POOL, POOL_LEN).unwrap().with_quarantine(0)
}

/// Leases runs of `len` bytes `stride` apart.
pub(crate) fn runs(memory: &Memory, first: u64, stride: u64, len: u64, count: u64) -> Owned {
    let runs: Vec<_> = (0..count).map(|run| (PhysAddr::new(first + run * stride), len)).collect();
    memory.take_at(&runs).unwrap()
}

/// Bytes that look like nothing else.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng(seed);
    (0..len).map(|_| rng.next().to_le_bytes()[3]).collect()
}

/// Numbers from a seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 ^ (self.0 >> 29)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

/// Time that goes on whenever somebody looks at it.
#[derive(Debug, Default)]
pub(crate) struct Ticks(Cell<u64>);

impl Clock for Ticks {
    fn now_ns(&self) -> u64 {
        self.0.set(self.0.get() + 100);
        self.0.get()
    }

    fn pause(&self) {
        self.0.set(self.0.get() + 100_000);
    }
}

/// Memory as a fake device reaches it.
pub(crate) trait Ram {
    fn get(&self, addr: u64, into: &mut [u8]) -> bool;
    fn put(&self, addr: u64, from: &[u8]) -> bool;
}

impl<D: Resolve> Ram for Device<'_, D> {
    fn get(&self, addr: u64, into: &mut [u8]) -> bool {
        Device::read(self, BusAddr::new(addr), into).is_ok()
    }

    fn put(&self, addr: u64, from: &[u8]) -> bool {
        Device::write(self, BusAddr::new(addr), from).is_ok()
    }
}

/// What a walker reads through.
pub(crate) struct Reader<'r, M>(pub(crate) &'r M);

impl<M: Ram> BusRead for Reader<'_, M> {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        if self.0.get(addr.raw(), into) { Ok(()) } else { Err(Unreadable { addr }) }
    }
}

/// Runs `$scenario(&memory, device, hardware)` over the bus itself and over a bounce pool on it, each with the checker around, and
/// sees to it that nothing was found and nothing is left.
macro_rules! on_every_bus {
    ($limits:expr, $scenario:expr) => {{
        use scatterlist::map::checked::Checked;
        use scatterlist::map::{Bounce, BounceLayout, Direct, Offset};
        for bounces in [false, true] {
            let memory = common::memory();
            let limits = $limits;
            let bus = scatterlist::fake::Bus::new(Direct::new(&memory, Offset::NONE, &limits).unwrap());
            if bounces {
                let pool = [(scatterlist::Addr::new(common::POOL), common::POOL_LEN)];
                let pool = memory.take_at(&pool).unwrap();
                let device = Bounce::new(&bus, pool, BounceLayout::default()).unwrap();
                let device = Checked::new(device, |findings| panic!("{findings:?}"));
                let hardware = scatterlist::fake::Device::new(&bus, &limits).watched(&device);
                $scenario(&memory, &device, hardware);
                assert_eq!((device.take_findings(), device.release()), (vec![], vec![]));
            } else {
                let device = Checked::new(&bus, |findings| panic!("{findings:?}"));
                let hardware = scatterlist::fake::Device::new(&bus, &limits).watched(&device);
                $scenario(&memory, &device, hardware);
                assert_eq!((device.take_findings(), device.release()), (vec![], vec![]));
            }
            assert_eq!((bus.findings(), memory.check_quarantine()), (vec![], vec![]));
            assert_eq!((memory.leased_bytes(), memory.coherent_bytes()), (0, 0));
        }
    }};
}

pub(crate) use on_every_bus;
