//! A borrowed buffer is mapped without an allocator, its PRP list encoded and read back as the controller would.
#![expect(unsafe_code, reason = "promises where memory is, and that no device uses it")]

use scatterlist::desc::{PlainMemory, prp};
use scatterlist::map::{
    Borrowed, CoherentLayout, Direct, DmaTarget, FromDevice, Hardware, Leak, Memory, Offset, RawCoherent,
    with_mapped,
};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr as _, BusAddr, CpuAddr, LimitId, Position, Segment, Segments};

use crate::{Checked, check};

/// Memory that devices see where the CPU does, and no coherent memory.
struct Flat;

// SAFETY: a CPU address is where the CPU sees it; nothing is allocated; there are no caches to care for.
unsafe impl Memory for Flat {
    type Addr = CpuAddr;

    fn cpu_addr(&self, addr: CpuAddr, _len: u64) -> Option<CpuAddr> {
        Some(addr)
    }

    fn clean(&self, _addr: CpuAddr, _len: u64) {}

    unsafe fn invalidate(&self, _addr: CpuAddr, _len: u64) {}

    fn alloc_coherent(&self, _layout: CoherentLayout) -> Option<RawCoherent<CpuAddr>> {
        None
    }

    unsafe fn free_coherent(&self, _raw: RawCoherent<CpuAddr>) {}

    fn leaked(&self, _leak: Leak) {}
}

/// No device at all.
struct Idle;

// SAFETY: nothing uses any address.
unsafe impl Hardware for Idle {
    fn is_done_with<S: Segments<Addr = BusAddr> + ?Sized>(&self, _bus: &S) -> bool {
        true
    }

    fn quiesce<S: Segments<Addr = BusAddr> + ?Sized>(&self, _bus: &S) {}
}

/// Where the device sees the list page.
const LIST: u64 = 0x700_0000;

/// No page, but where an entry may start.
#[repr(align(8))]
struct Buffer([u8; 4 * 4096]);

pub(crate) fn check_all() -> Checked {
    let page = prp::MemoryPage::new(4096).map_err(|_| 40)?;
    let limits = prp::limits(page, page.list_entries(512, 1)).map_err(|_| 41)?;
    let offset = Offset::Up(1 << 40);
    let device = Direct::new(Flat, offset, &limits).map_err(|_| 42)?;
    let target = DmaTarget::of_device(&device);

    let mut buffer = Buffer([0; 4 * 4096]);
    let from = CpuAddr::from_ptr(&raw const buffer).raw() + (1 << 40);
    let mut lists = [0_u64; 512];
    let mut segments = [filler()?];
    let mut slots = [Segment::new(BusAddr::new(0), 1).map_err(|_| 43)?];
    let mut slices = [&mut buffer.0[..]];
    let borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).map_err(|_| 44)?;
    with_mapped(&target, borrowed, &mut slots, &Idle, |bus, _| {
        check(45, bus.len() == 1 && bus[0].addr().raw() == from && bus[0].len() == 4 * 4096)?;
        let ready = plan(bus, Position::At(0), target.limits(), Policy::WholeOrError).next();
        let ready = ready.ok_or(46)?.map_err(|_| 47)?;
        let mut memories = [PlainMemory::new(BusAddr::new(LIST), &mut lists)];
        let prps = prp::encode(&ready, page, &mut memories).map_err(|_| 48)?;
        let mut next = from;
        for run in prp::walk(&memories[..], page, prps, 4 * 4096) {
            let run = run.map_err(|_| 49)?;
            check(50, run.addr().raw() == next)?;
            next = run.end();
        }
        check(51, next == from + 4 * 4096)
    })
    .map_err(|_| 52)??;

    // A window that the buffer is not in: nothing is mapped, and nobody is asked.
    let low = limits.to_builder().hard(LimitId::AddrMax, (1 << 40) | 0xffff).build().map_err(|_| 53)?;
    let device = Direct::new(Flat, offset, &low).map_err(|_| 54)?;
    let mut byte = [0_u8];
    let mut slices = [&mut byte[..]];
    let mut segments = [filler()?];
    let borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).map_err(|_| 55)?;
    let refused = with_mapped(&DmaTarget::of_device(&device), borrowed, &mut slots, &Idle, |_, _| ());
    check(56, refused.is_err())
}

fn filler() -> Result<Segment<CpuAddr>, u8> {
    Segment::new(CpuAddr::new(0), 1).map_err(|_| 57)
}
