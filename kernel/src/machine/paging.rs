//! [`AddressSpace`]: the page tables of the CPU, by the crate `x86_64`.
//!
//! Physical memory is mapped one to one, the heap far away and page by page. So the kernel's own memory is contiguous for the CPU and
//! scattered for devices, and [`Translate`] has something to say.
#![expect(unsafe_code, reason = "page tables by address, and the promise of Translate")]

use scatterlist::map::Translate;
use scatterlist::{Addr as _, CpuAddr, PhysAddr};
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::mapper::{MapToError, TranslateResult};
use x86_64::structures::paging::{
    FrameAllocator, Mapper as _, OffsetPageTable, Page, PageTable, PageTableFlags, PhysFrame, Size4KiB,
    Translate as _,
};
use x86_64::{PhysAddr as X86PhysAddr, VirtAddr};

use crate::memory::{Choice, FRAME_LEN, Frames};

/// Why memory could not be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PagingError {
    /// No frame is left.
    #[error("no frame is left for the page at {page:#x}")]
    NoFrame {
        /// The page.
        page: u64,
    },
    /// The page is mapped already.
    #[error("the page at {page:#x} is mapped already")]
    Mapped {
        /// The page.
        page: u64,
    },
}

/// The tables that the CPU uses.
///
/// # Invariants
/// 1. Physical memory that holds tables is mapped one to one, and only this changes them.
/// 2. What was mapped stays mapped.
#[derive(Debug)]
pub struct AddressSpace {
    table: OffsetPageTable<'static>,
}

impl AddressSpace {
    /// Takes the tables that the CPU uses now.
    ///
    /// # Safety
    /// Its invariants hold: nobody else has them.
    pub(super) unsafe fn current() -> Self {
        let (frame, _) = Cr3::read();
        let addr = usize::try_from(frame.start_address().as_u64()).unwrap_or(0);
        let pointer = core::ptr::with_exposed_provenance_mut::<PageTable>(addr);
        // SAFETY: the CPU uses this table, it is mapped one to one, and the caller says it is nobody else's.
        let level_4 = unsafe { &mut *pointer };
        // SAFETY: the map is one to one: an offset of 0.
        let table = unsafe { OffsetPageTable::new(level_4, VirtAddr::zero()) };
        Self { table }
    }

    /// Maps `len` bytes at `start`, each page to a frame of the choice.
    pub(super) fn map_heap(
        &mut self,
        frames: &Frames,
        choice: Choice,
        start: u64,
        len: u64,
    ) -> Result<(), PagingError> {
        let flags = PageTableFlags::PRESENT | PageTableFlags::WRITABLE | PageTableFlags::NO_EXECUTE;
        for index in 0..len.div_ceil(FRAME_LEN) {
            let page = start.saturating_add(index.saturating_mul(FRAME_LEN));
            let no_frame = PagingError::NoFrame { page };
            let frame = frames.take(choice).ok_or(no_frame)?;
            let frame = PhysFrame::containing_address(X86PhysAddr::new(frame.raw()));
            let at = Page::<Size4KiB>::containing_address(VirtAddr::new_truncate(page));
            // SAFETY: the frame was taken just now, and the page is mapped to nothing.
            match unsafe { self.table.map_to(at, frame, flags, &mut Tables(frames)) } {
                Ok(flush) => flush.flush(),
                Err(MapToError::FrameAllocationFailed) => return Err(no_frame),
                Err(_) => return Err(PagingError::Mapped { page }),
            }
        }
        Ok(())
    }
}

/// Frames for the tables themselves: low ones in order, since the boot tables map those.
struct Tables<'a>(&'a Frames);

// SAFETY: a frame that was taken is nobody else's.
unsafe impl FrameAllocator<Size4KiB> for Tables<'_> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = self.0.take(Choice::ANY)?;
        Some(PhysFrame::containing_address(X86PhysAddr::new(frame.raw())))
    }
}

// SAFETY: the CPU's own tables say so; (2) what was mapped stays.
unsafe impl Translate for AddressSpace {
    fn translate(&self, cpu: CpuAddr, len: u64) -> Option<(PhysAddr, u64)> {
        let mut run: Option<(u64, u64)> = None;
        loop {
            let (addr, so_far) = run.unwrap_or((0, 0));
            if run.is_some() && so_far >= len {
                break;
            }
            let at = VirtAddr::try_new(cpu.raw().checked_add(so_far)?).ok()?;
            let TranslateResult::Mapped { frame, offset, .. } = self.table.translate(at) else { break };
            let here = frame.start_address().as_u64().checked_add(offset)?;
            if run.is_some() && addr.checked_add(so_far) != Some(here) {
                break;
            }
            let first = if run.is_some() { addr } else { here };
            run = Some((first, so_far.checked_add(frame.size().checked_sub(offset)?)?));
        }
        run.map(|(addr, bytes)| (PhysAddr::new(addr), bytes.min(len)))
    }
}
