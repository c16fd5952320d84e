//! The fake machines that several test files run on: physical memory in two arenas, seen by the bus at an offset.

use scatterlist::fake::{Bus, Device, FakeMemory, FakeOwner};
use scatterlist::map::{Direct, Offset};
use scatterlist::{CacheCoherence, Lease, Limits, PhysAddr};

pub(crate) type Memory = FakeMemory<PhysAddr>;
pub(crate) type Machine = Bus<Direct<Memory>>;

/// Where the memory starts: above 4 GiB.
pub(crate) const BASE: u64 = 0x1_0000_0000;
pub(crate) const PAGE: u64 = 4096;

pub(crate) const OFFSETS: [Offset; 3] = [Offset::NONE, Offset::Up(0x40_0000_0000), Offset::Down(0x8000_0000)];

pub(crate) fn memory(coherence: CacheCoherence) -> Memory {
    FakeMemory::physical(coherence, BASE, 1 << 20).unwrap().with_arena(BASE << 4, 1 << 20).unwrap()
}

/// A bus that sees the memory at `offset`, and syncs as the memory needs.
pub(crate) fn machine(memory: &Memory, offset: Offset) -> Machine {
    let limits = Limits::builder().coherence(memory.coherence()).build().unwrap();
    machine_with(memory, offset, &limits)
}

pub(crate) fn machine_with(memory: &Memory, offset: Offset, limits: &Limits) -> Machine {
    Bus::new(Direct::new(memory.clone(), offset, limits).unwrap())
}

/// A device without limits of its own.
pub(crate) fn device(machine: &Machine) -> Device<'_, Direct<Memory>> {
    Device::new(machine, &Limits::default())
}

/// Runs `story` on a machine of each kind, and expects that nothing was found.
pub(crate) fn on_each_machine(story: impl Fn(&Memory, &Machine)) {
    for coherence in [CacheCoherence::Coherent, CacheCoherence::Synced] {
        for offset in OFFSETS {
            let memory = memory(coherence);
            let machine = machine(&memory, offset);
            story(&memory, &machine);
            assert_eq!(memory.check_quarantine(), [], "{coherence:?} {offset:?}");
            assert_eq!(machine.findings(), [], "{coherence:?} {offset:?}");
        }
    }
}

pub(crate) type PhysLease = Lease<PhysAddr, FakeOwner>;

/// A lease of scattered pages, with a pattern in them.
pub(crate) fn pages(memory: &Memory, count: usize, seed: u8) -> PhysLease {
    let mut lease = memory.take_scattered(count, PAGE, PAGE).unwrap();
    memory.write(&mut lease, 0, &pattern(seed, count * 4096)).unwrap();
    lease
}

/// Bytes that differ from one to the next, and from those of other seeds.
pub(crate) fn pattern(seed: u8, len: usize) -> Vec<u8> {
    let byte = |index: usize| (index.wrapping_mul(167) ^ (index >> 8)).to_le_bytes()[0].wrapping_add(seed);
    (0..len).map(byte).collect()
}
