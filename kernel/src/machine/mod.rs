//! The machine: what is not our subject, and what every kernel has.
//!
//! [`Machine`] is made once from what the loader says and then passed around; it is the only way to frames, clock and buses.
#![expect(unsafe_code, reason = "the first memory is made of numbers, as registers are")]

mod access;
mod apic;
mod clock;
mod exceptions;
mod exit;
mod interrupts;
mod msix;
mod paging;
pub mod pci;
mod segments;
mod serial;
mod start_info;

pub use access::{Mmio, Ports};
pub use apic::ApicError;
pub use clock::{ClockError, Tsc};
pub use exit::Exit;
pub use interrupts::{Interrupts, Lines, LinesError};
pub use msix::MsixError;
pub use paging::{AddressSpace, PagingError};
pub use serial::{Serial, say};
pub use start_info::StartInfoError;

use alloc::boxed::Box;
use alloc::string::String;

use scatterlist::{Addr as _, PhysAddr};

use crate::memory::{Choice, FRAME_LEN, Frames, KernelMemory};
use pci::Pci;
use start_info::StartInfo;

/// Memory that the boot tables map one to one.
const MAPPED_END: u64 = 1 << 32;

/// Where the heap is mapped: far from where its frames lie.
const HEAP_START: u64 = 0x5000_0000_0000;

/// Bytes of the heap.
const HEAP_LEN: u64 = 24 << 20;

/// The frames of the heap end here, so that above it runs of frames are left.
const HEAP_FRAMES_END: u64 = 96 << 20;

/// Memory below is left to the firmware and the loader.
const LOW_END: u64 = 1 << 20;

/// The machine.
#[derive(Debug)]
pub struct Machine {
    /// Its memory.
    pub memory: &'static KernelMemory,
    /// The map of the CPU.
    pub space: AddressSpace,
    /// The clock.
    pub clock: Tsc,
    /// Its interrupts, for those who choose them.
    pub interrupts: Interrupts,
    /// What the loader passed on from the command line.
    pub command_line: String,
    /// Where memory ends: registers lie behind it.
    memory_end: u64,
}

/// Why there can be no registers at a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{len} bytes of registers at {base:#x}: they must lie between {memory_end:#x}, where memory ends, and {MAPPED_END:#x}"
)]
pub struct PlaceError {
    /// Where they were to be.
    pub base: u64,
    /// Their bytes.
    pub len: u64,
    /// Where memory ends.
    pub memory_end: u64,
}

/// Why the machine does not start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The loader's information.
    #[error(transparent)]
    StartInfo(#[from] StartInfoError),
    /// No place for the bits of the frame allocator.
    #[error("no run of {bytes} bytes of memory is free for the frame allocator")]
    NoRoom {
        /// Bytes needed.
        bytes: u64,
    },
    /// The heap could not be mapped.
    #[error("the heap of {HEAP_LEN} bytes: {0}")]
    Heap(#[from] PagingError),
    /// The clock.
    #[error(transparent)]
    Clock(#[from] ClockError),
    /// The interrupt controller.
    #[error(transparent)]
    Apic(#[from] ApicError),
}

impl Machine {
    /// Starts the machine. `image_end` is where the kernel's image ends; `give_heap` is called once with the memory of the heap,
    /// before anything is allocated.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Safety
    /// Called once, on the only CPU, with the start info of a PVH loader, while memory below 4 GiB is mapped one to one.
    pub unsafe fn start(
        start_info: u64,
        image_end: u64,
        give_heap: impl FnOnce(*mut u8, usize),
    ) -> Result<Self, StartError> {
        Serial::start();
        // SAFETY: the caller's promise; the image, the bits and every frame lie above.
        let info = unsafe { StartInfo::at(start_info, LOW_END) }?;
        // The bits of the frame allocator lie behind the image, in the region that holds it.
        let end = info.ram().map(|(_, end)| end).max().unwrap_or(0).min(MAPPED_END);
        let words = Frames::words_for(end);
        let bits_start = image_end.next_multiple_of(FRAME_LEN);
        let bits_end = bits_start.saturating_add(words.saturating_mul(8)).next_multiple_of(FRAME_LEN);
        let bytes = bits_end.saturating_sub(bits_start);
        let room = info.ram().any(|(start, end)| start <= bits_start && bits_end <= end);
        let words = usize::try_from(words).ok().filter(|_| room).ok_or(StartError::NoRoom { bytes })?;
        let pointer = core::ptr::with_exposed_provenance_mut(usize::try_from(bits_start).unwrap_or(0));
        // SAFETY: memory behind the image, mapped, aligned, and used for nothing else from here on.
        let bits = unsafe { core::slice::from_raw_parts_mut(pointer, words) };
        let frames = Frames::new(bits);
        for (start, end) in info.ram() {
            // SAFETY: memory, as the loader says, behind the image and the bits; what lies below is left alone, and nothing was taken.
            unsafe { frames.add(start.max(bits_end).max(LOW_END), end.min(MAPPED_END)) };
        }
        // SAFETY: the boot tables map all of it one to one, and nothing else holds the tables.
        let mut space = unsafe { AddressSpace::current() };
        // Scattered, so that what the heap holds is contiguous to the CPU alone.
        let scattered = Choice::SCATTERED.up_to(HEAP_FRAMES_END.saturating_sub(1));
        space.map_heap(&frames, scattered, HEAP_START, HEAP_LEN)?;
        give_heap(
            core::ptr::with_exposed_provenance_mut(usize::try_from(HEAP_START).unwrap_or(0)),
            usize::try_from(HEAP_LEN).unwrap_or(0),
        );
        let handlers = exceptions::install();
        let frames: &'static Frames = Box::leak(Box::new(frames));
        // SAFETY: the boot tables map 4 GiB for good; frames are added once, below that.
        let memory = unsafe { KernelMemory::new(frames, MAPPED_END) };
        let command_line = String::from(info.command_line());
        let clock = Tsc::calibrated()?;
        // SAFETY: the caller's promise; interrupts are off since the entry.
        let interrupts = unsafe { Interrupts::start(handlers, clock) }?;
        let memory = Box::leak(Box::new(memory));
        Ok(Self { memory, space, clock, interrupts, command_line, memory_end: end })
    }

    /// Returns the PCI bus.
    #[must_use]
    pub const fn pci(&self) -> Pci {
        Pci::new(self.memory_end)
    }

    /// Takes the registers of a device that is on no bus that could be asked.
    ///
    /// # Errors
    /// [`PlaceError`]: there is memory, or nothing is mapped.
    ///
    /// # Safety
    /// 1. `len` bytes at `base`, a multiple of 8, are registers of one device.
    /// 2. They are for the driver of that device and for nobody else: promise 3 of [`Registers`](crate::registers::Registers).
    pub unsafe fn registers(&self, base: PhysAddr, len: u64) -> Result<Mmio, PlaceError> {
        let end = base.raw().checked_add(len).filter(|end| *end <= MAPPED_END);
        if end.is_none() || base.raw() < self.memory_end {
            return Err(PlaceError { base: base.raw(), len, memory_end: self.memory_end });
        }
        // SAFETY: the caller's promises; the boot tables map all below 4 GiB one to one.
        Ok(unsafe { Mmio::new(base, len) })
    }
}
