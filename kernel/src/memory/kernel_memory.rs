//! [`KernelMemory`]: the machine's memory as the back ends of `scatterlist` see it.
//!
//! Physical memory is mapped one to one, x86 keeps caches coherent with devices, and coherent memory is any run of frames: the
//! short form of `Memory`. A machine with an offset or without coherence differs here and nowhere else.
#![expect(unsafe_code, reason = "promises where memory is")]

use core::sync::atomic::{AtomicU64, Ordering};

use scatterlist::map::{CoherentLayout, Leak, Memory, RawCoherent};
use scatterlist::{Addr as _, CpuAddr, PhysAddr};

use super::frames::{Choice, FRAME_LEN, Frames};

/// The memory of this machine; share it by reference.
///
/// # Invariants
/// 1. The CPU sees the physical memory below `mapped_end` at the same address, for good, but for pages that are never leased.
/// 2. `frames` hands out frames below `mapped_end`, each to one owner at a time.
#[derive(Debug)]
pub struct KernelMemory {
    frames: &'static Frames,
    mapped_end: u64,
    leaked_bytes: AtomicU64,
}

impl KernelMemory {
    /// Makes it.
    ///
    /// # Safety
    /// Its invariants hold.
    #[must_use]
    pub const unsafe fn new(frames: &'static Frames, mapped_end: u64) -> Self {
        Self { frames, mapped_end, leaked_bytes: AtomicU64::new(0) }
    }

    /// Returns the frames.
    #[must_use]
    pub const fn frames(&self) -> &'static Frames {
        self.frames
    }

    /// Returns how many bytes stay taken because a device may hold them.
    #[must_use]
    pub fn leaked_bytes(&self) -> u64 {
        self.leaked_bytes.load(Ordering::Relaxed)
    }
}

// SAFETY: (1) the map is one to one for good; (2) the frames are nobody else's until they are given back, whole pages at a
// multiple of the alignment, zeroed below; (3) x86 devices see what the CPU sees.
unsafe impl Memory for KernelMemory {
    type Addr = PhysAddr;

    fn cpu_addr(&self, addr: PhysAddr, len: u64) -> Option<CpuAddr> {
        let end = addr.checked_add(len)?;
        (end.raw() <= self.mapped_end).then(|| CpuAddr::new(addr.raw()))
    }

    fn clean(&self, _addr: PhysAddr, _len: u64) {}

    unsafe fn invalidate(&self, _addr: PhysAddr, _len: u64) {}

    fn alloc_coherent(&self, layout: CoherentLayout) -> Option<RawCoherent<PhysAddr>> {
        let choice = Choice::ANY.up_to(layout.addr_max.min(self.mapped_end.saturating_sub(1)));
        let frames = layout.len.div_ceil(FRAME_LEN);
        let addr = self.frames.take_run(frames, layout.align, choice)?;
        let cpu = CpuAddr::new(addr.raw());
        let bytes = usize::try_from(frames.saturating_mul(FRAME_LEN)).ok()?;
        // SAFETY: (2) these frames were taken just now; (1) the CPU sees them here.
        unsafe { core::ptr::write_bytes(cpu.as_ptr(), 0, bytes) };
        Some(RawCoherent { cpu, addr, layout })
    }

    unsafe fn free_coherent(&self, raw: RawCoherent<PhysAddr>) {
        // SAFETY: the caller's promise: what `alloc_coherent` took for this layout, which nobody uses any more.
        unsafe { self.frames.give_back(raw.addr, raw.layout.len.div_ceil(FRAME_LEN)) };
    }

    fn leaked(&self, leak: Leak) {
        self.leaked_bytes.fetch_add(leak.bytes, Ordering::Relaxed);
        #[cfg(target_arch = "x86_64")]
        crate::machine::say!("leaked: {leak}");
    }
}
