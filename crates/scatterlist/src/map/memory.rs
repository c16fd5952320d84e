//! [`Memory`]: what the owner of the machine's memory tells the back ends.
//!
//! A back end knows buses, not memory: where the CPU sees an address, how caches are cleaned, and where coherent
//! memory comes from is said here, by a value, never by a global hook. [`HeapMemory`] is the one for a process or a
//! kernel heap whose devices see what the CPU sees.
#![expect(unsafe_code, reason = "traits that promise where memory is, and an implementation over the heap")]

use core::fmt;

use crate::{Addr, BusAddr, CpuAddr};

/// What a piece of coherent memory must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoherentLayout {
    /// Bytes, at least 1.
    pub len: u64,
    /// The address is a multiple of this, a power of two.
    pub align: u64,
    /// Highest address (inclusive) of the last byte, in the memory's own addresses.
    pub addr_max: u64,
}

impl CoherentLayout {
    /// Returns the layout of `len` bytes at a multiple of `align`, anywhere.
    #[must_use]
    pub const fn new(len: u64, align: u64) -> Self {
        Self { len, align, addr_max: u64::MAX }
    }
}

/// Coherent memory as raw parts: where the CPU sees it, where the list sees it, how long it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawCoherent<A: Addr> {
    /// Where the CPU loads and stores.
    pub cpu: CpuAddr,
    /// The same memory in the addresses of leases.
    pub addr: A,
    /// What it was allocated as: what was asked for, or more.
    pub layout: CoherentLayout,
}

/// Memory that was not given back because a device may still hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leak {
    /// What was dropped.
    pub what: &'static str,
    /// Bytes that stay taken.
    pub bytes: u64,
    /// The first bus address that the device may still use.
    pub first: Option<BusAddr>,
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes was dropped while a device may hold it", self.what, self.bytes)?;
        if let Some(first) = self.first {
            write!(f, " at {first}")?;
        }
        f.write_str(": the memory stays taken for good")
    }
}

/// The memory of a machine, as its owner gives it to a back end.
///
/// # Safety
/// 1. [`Memory::cpu_addr`] returns where the CPU loads and stores exactly the `len` bytes at `addr`, for as long as
///    they are leased, or `None`.
/// 2. Memory of [`Memory::alloc_coherent`] keeps the layout asked for, is zeroed, and nobody else's until it is freed, also when
///    this value is gone before. The CPU sees all of it at `cpu`, aligned as its address is up to 8 bytes.
/// 3. After [`Memory::clean`] a device sees what the CPU wrote; after [`Memory::invalidate`] the CPU sees
///    what the device wrote. Neither loses a byte that is not leased: a cache line that is leased in part is written back
///    before it is dropped.
pub unsafe trait Memory {
    /// The kind of address that leases hold.
    type Addr: Addr;

    /// Returns where the CPU sees `len` bytes at `addr`, as one run; `None` where it does not.
    fn cpu_addr(&self, addr: Self::Addr, len: u64) -> Option<CpuAddr>;

    /// Writes the CPU's caches back for `len` bytes at `addr`. Called only for devices that are not coherent.
    fn clean(&self, addr: Self::Addr, len: u64);

    /// Drops the CPU's caches for `len` bytes at `addr`. Called only for devices that are not coherent.
    ///
    /// # Safety
    /// The bytes are leased, and no CPU store to them is still wanted: stores that were not written back may be lost.
    unsafe fn invalidate(&self, addr: Self::Addr, len: u64);

    /// Allocates memory that CPU and device see alike without any sync; `None` where there is none such.
    fn alloc_coherent(&self, layout: CoherentLayout) -> Option<RawCoherent<Self::Addr>>;

    /// Takes coherent memory back.
    ///
    /// # Safety
    /// `raw` came from [`Memory::alloc_coherent`] of this memory, once, and neither CPU nor device uses it any more.
    unsafe fn free_coherent(&self, raw: RawCoherent<Self::Addr>);

    /// Is told of memory that stays taken because a device may hold it. Must make itself heard.
    fn leaked(&self, leak: Leak);
}

/// Passes every call on to what a pointer points to.
macro_rules! by_pointer {
    ($(#[$attribute:meta])* $pointer:ty) => {
        $(#[$attribute])*
        // SAFETY: every promise is passed on.
        unsafe impl<M: Memory + ?Sized> Memory for $pointer {
            type Addr = M::Addr;

            fn cpu_addr(&self, addr: Self::Addr, len: u64) -> Option<CpuAddr> {
                (**self).cpu_addr(addr, len)
            }

            fn clean(&self, addr: Self::Addr, len: u64) {
                (**self).clean(addr, len);
            }

            unsafe fn invalidate(&self, addr: Self::Addr, len: u64) {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).invalidate(addr, len) };
            }

            fn alloc_coherent(&self, layout: CoherentLayout) -> Option<RawCoherent<Self::Addr>> {
                (**self).alloc_coherent(layout)
            }

            unsafe fn free_coherent(&self, raw: RawCoherent<Self::Addr>) {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).free_coherent(raw) }
            }

            fn leaked(&self, leak: Leak) {
                (**self).leaked(leak);
            }
        }
    };
}

by_pointer!(&M);
by_pointer!(
    #[cfg(feature = "alloc")]
    alloc::sync::Arc<M>
);

#[cfg(feature = "alloc")]
mod heap {
    use super::{CoherentLayout, Leak, Memory, RawCoherent};
    use crate::{Addr as _, CpuAddr};
    use core::alloc::Layout;

    /// The heap, for devices that see memory where the CPU sees it and need no cache care: a process whose devices
    /// are simulated or behind an IOMMU that maps CPU addresses, or a kernel that is mapped one to one.
    #[derive(Clone, Copy, Debug)]
    pub struct HeapMemory {
        on_leak: fn(Leak),
    }

    impl HeapMemory {
        /// Uses the global allocator; `on_leak` is told of memory that stays taken.
        #[must_use]
        pub const fn new(on_leak: fn(Leak)) -> Self {
            Self { on_leak }
        }
    }

    #[cfg(feature = "std")]
    impl Default for HeapMemory {
        /// Says on standard error what stays taken.
        fn default() -> Self {
            Self::new(|leak| std::eprintln!("scatterlist: {leak}"))
        }
    }

    fn layout(wanted: CoherentLayout) -> Option<Layout> {
        let len = usize::try_from(wanted.len).ok().filter(|len| *len > 0)?;
        // Words of 8 bytes are stored there.
        Layout::from_size_align(len, usize::try_from(wanted.align).ok()?.max(8)).ok()
    }

    // SAFETY: (1) a CPU address is where the CPU sees it; (2) the allocator's zeroed memory, checked against
    // the layout; (3) there are no caches to care for.
    unsafe impl Memory for HeapMemory {
        type Addr = CpuAddr;

        fn cpu_addr(&self, addr: CpuAddr, _len: u64) -> Option<CpuAddr> {
            Some(addr)
        }

        fn clean(&self, _addr: CpuAddr, _len: u64) {}

        unsafe fn invalidate(&self, _addr: CpuAddr, _len: u64) {}

        fn alloc_coherent(&self, wanted: CoherentLayout) -> Option<RawCoherent<CpuAddr>> {
            let layout = layout(wanted)?;
            // SAFETY: `layout` refuses a length of 0.
            let pointer = unsafe { alloc::alloc::alloc_zeroed(layout) };
            if pointer.is_null() {
                return None;
            }
            let cpu = CpuAddr::from_ptr(pointer);
            let raw = RawCoherent { cpu, addr: cpu, layout: wanted };
            let last = cpu.raw().saturating_add(wanted.len.saturating_sub(1));
            if last > wanted.addr_max {
                // SAFETY: just allocated, and told to nobody.
                unsafe { self.free_coherent(raw) };
                return None;
            }
            Some(raw)
        }

        unsafe fn free_coherent(&self, raw: RawCoherent<CpuAddr>) {
            let Some(layout) = layout(raw.layout) else { return };
            // SAFETY: the caller promises that this came from `alloc_coherent`, so from this allocator with
            // this layout, and that nobody uses it.
            unsafe { alloc::alloc::dealloc(raw.cpu.as_ptr(), layout) };
        }

        fn leaked(&self, leak: Leak) {
            (self.on_leak)(leak);
        }
    }
}

#[cfg(feature = "alloc")]
pub use heap::HeapMemory;
