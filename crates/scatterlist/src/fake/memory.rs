//! [`FakeMemory`]: memory at addresses of a test's choice, whose caches can be seen.
//!
//! Where CPU and device need syncs between them, each byte has a **shadow**, which is what the device sees: `clean` copies CPU
//! to shadow, `invalidate` shadow to CPU, and a missing sync shows as stale bytes. What is given back goes to a **quarantine** filled with
//! canaries, so that a late write is found. A handle; all of it is of one thread.
#![expect(unsafe_code, reason = "a memory and an owner of it; see the invariants of FakeMemory")]

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;

use super::finding::{FakeError, FakeFinding};
use super::resolve::DeviceMemory;
use super::store::{Kind, Store};
use crate::map::{CoherentLayout, Leak, Memory, RawCoherent, Translate};
use crate::{Addr, CacheCoherence, CpuAddr, Lease, PhysAddr, ScatterList, Segment, ShareOwner};

/// Memory of a fake machine whose leases hold addresses of kind `A`. Physical addresses are of the test's choice, so a lease of
/// them is for devices over fake memory only: to a device that reaches real memory the numbers mean other bytes. Clones are handles to the same memory, and so is each
/// owner of a lease: the bytes stay until the last of them is gone.
///
/// # Invariants
/// 1. A run that is taken for a lease or as coherent memory is nobody else's until it is given back, and then rests in the
///    quarantine before it is taken again.
/// 2. Arenas stay where they are as long as the store lives, and no reference to their bytes is made.
pub struct FakeMemory<A: Addr> {
    store: Rc<RefCell<Store>>,
    coherence: CacheCoherence,
    kind: PhantomData<A>,
}

impl FakeMemory<PhysAddr> {
    /// Makes a memory of `len` bytes at physical address `base`. With [`CacheCoherence::Synced`] the device sees shadows.
    ///
    /// # Errors
    /// [`FakeError::Arena`].
    pub fn physical(coherence: CacheCoherence, base: u64, len: u64) -> Result<Self, FakeError> {
        Self::new(coherence).with_arena(base, len)
    }

    /// Adds `len` bytes at physical address `base`, which must not touch what is there.
    ///
    /// # Errors
    /// [`FakeError::Arena`].
    pub fn with_arena(self, base: u64, len: u64) -> Result<Self, FakeError> {
        self.store.borrow_mut().add_arena(Some(base), len)?;
        Ok(self)
    }
}

impl FakeMemory<CpuAddr> {
    /// Makes a memory of `len` bytes wherever the heap has them, known by their real addresses.
    ///
    /// # Errors
    /// [`FakeError::Arena`].
    pub fn cpu(coherence: CacheCoherence, len: u64) -> Result<Self, FakeError> {
        let memory = Self::new(coherence);
        memory.store.borrow_mut().add_arena(None, len)?;
        Ok(memory)
    }
}

impl<A: Addr> FakeMemory<A> {
    fn new(coherence: CacheCoherence) -> Self {
        let store = Store::new(coherence == CacheCoherence::Synced);
        Self { store: Rc::new(RefCell::new(store)), coherence, kind: PhantomData }
    }

    /// Bounds the quarantine, which is of 1 MiB otherwise. With 0 memory is free at once.
    #[must_use]
    pub fn with_quarantine(self, bytes_max: u64) -> Self {
        self.store.borrow_mut().set_quarantine_max(bytes_max);
        self
    }

    /// Makes syncs move whole cache lines of this many bytes, a power of two, as caches do, rather than single bytes.
    #[must_use]
    pub fn with_line_len(self, bytes: u64) -> Self {
        self.store.borrow_mut().set_line_len(bytes);
        self
    }

    /// Returns how CPU and device see each other's writes.
    #[must_use]
    pub const fn coherence(&self) -> CacheCoherence {
        self.coherence
    }

    /// Leases `len` free bytes at a multiple of `align`, all zero.
    ///
    /// # Errors
    /// [`FakeError::Full`].
    pub fn take(&self, len: u64, align: u64) -> Result<Lease<A, FakeOwner>, FakeError> {
        let addr = self.free_run(len, align, 0, u64::MAX)?;
        self.take_at(&[(A::new(addr), len)])
    }

    /// Leases `count` runs of `len` bytes each at multiples of `align`, no two of them adjacent.
    ///
    /// # Errors
    /// [`FakeError::Full`], [`FakeError::Runs`] for none.
    pub fn take_scattered(
        &self,
        count: usize,
        len: u64,
        align: u64,
    ) -> Result<Lease<A, FakeOwner>, FakeError> {
        let mut runs = Vec::new();
        let mut from = 0;
        for _ in 0..count {
            let addr = self.free_run(len, align, from, u64::MAX)?;
            runs.push((A::new(addr), len));
            from = addr.saturating_add(len).saturating_add(1);
        }
        self.take_at(&runs)
    }

    fn free_run(&self, len: u64, align: u64, from: u64, addr_max: u64) -> Result<u64, FakeError> {
        let run = self.store.borrow().free_run(len, align, from, addr_max);
        run.ok_or(FakeError::Full { len, align, addr_max })
    }

    /// Leases runs of the caller's choice, in this order, each an address and its bytes.
    ///
    /// # Errors
    /// [`FakeError::NotFree`], [`FakeError::Runs`] for none; nothing is leased then.
    pub fn take_at(&self, runs: &[(A, u64)]) -> Result<Lease<A, FakeOwner>, FakeError> {
        let bytes = runs.iter().fold(0_u64, |sum, run| sum.saturating_add(run.1));
        let error = FakeError::Runs { runs: u64::try_from(runs.len()).unwrap_or(u64::MAX), bytes };
        if runs.is_empty() {
            return Err(error);
        }
        let mut held = Held { store: Rc::clone(&self.store), runs: Vec::new() };
        let mut list = ScatterList::new();
        for (addr, len) in runs {
            self.store.borrow_mut().take(addr.raw(), *len, Kind::Leased)?;
            held.runs.push(addr.raw());
            let segment = Segment::new(*addr, *len).map_err(|_| error)?;
            list.append(segment).map_err(|_| error)?;
        }
        // SAFETY: (1) the runs were free and are now held by the owner; (2) they stay valid as long as it lives.
        Ok(unsafe { Lease::from_raw(list, FakeOwner { held: Rc::new(held) }) })
    }

    /// Applies `act` to the runs of bytes `at..at + len` of a lease.
    fn each(
        &self,
        lease: &Lease<A, FakeOwner>,
        at: u64,
        len: usize,
        mut act: impl FnMut(&mut Store, u64, usize) -> bool,
    ) -> Result<(), FakeError> {
        let own = Rc::ptr_eq(&lease.owner().held.store, &self.store);
        let bytes = if own { lease.list().len_bytes() } else { 0 };
        let end = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        let error = FakeError::OutOfRange { start: at, end, bytes };
        if end > bytes {
            return Err(error);
        }
        for part in crate::map::parts(lease.list(), at..end) {
            let len = usize::try_from(part.len()).map_err(|_| error)?;
            if !act(&mut self.store.borrow_mut(), part.addr().raw(), len) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads bytes of a lease as the CPU sees them.
    ///
    /// # Errors
    /// [`FakeError::OutOfRange`], also for a lease of another memory.
    pub fn read(&self, lease: &Lease<A, FakeOwner>, at: u64, into: &mut [u8]) -> Result<(), FakeError> {
        let len = into.len();
        let mut rest = into;
        self.each(lease, at, len, |store, addr, len| {
            let Some((here, after)) = core::mem::take(&mut rest).split_at_mut_checked(len) else {
                return false;
            };
            rest = after;
            store.cpu_read(addr, here)
        })
    }

    /// Returns all bytes of a lease as the CPU sees them.
    ///
    /// # Errors
    /// As [`FakeMemory::read`].
    pub fn bytes(&self, lease: &Lease<A, FakeOwner>) -> Result<Vec<u8>, FakeError> {
        let mut bytes = vec![0; usize::try_from(lease.list().len_bytes()).unwrap_or(0)];
        self.read(lease, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes bytes of a lease as the CPU does: without a sync the device does not see them.
    ///
    /// # Errors
    /// As [`FakeMemory::read`].
    pub fn write(&self, lease: &mut Lease<A, FakeOwner>, at: u64, from: &[u8]) -> Result<(), FakeError> {
        let mut rest = from;
        self.each(lease, at, from.len(), |store, addr, len| {
            let Some((here, after)) = rest.split_at_checked(len) else { return false };
            rest = after;
            store.cpu_write(addr, here)
        })
    }

    /// Returns all bytes of a lease as a device sees them.
    ///
    /// # Errors
    /// As [`FakeMemory::read`].
    pub fn device_bytes(&self, lease: &Lease<A, FakeOwner>) -> Result<Vec<u8>, FakeError> {
        let mut bytes = vec![0; usize::try_from(lease.list().len_bytes()).unwrap_or(0)];
        let len = bytes.len();
        let mut rest = &mut bytes[..];
        self.each(lease, 0, len, |store, addr, len| {
            let Some((here, after)) = core::mem::take(&mut rest).split_at_mut_checked(len) else {
                return false;
            };
            rest = after;
            store.device_read(addr, here)
        })?;
        Ok(bytes)
    }

    /// Returns what was found so far.
    #[must_use]
    pub fn findings(&self) -> Vec<FakeFinding> {
        self.store.borrow_mut().findings()
    }

    /// Looks for late writes to what was given back, and returns what was found so far.
    #[must_use]
    pub fn check_quarantine(&self) -> Vec<FakeFinding> {
        self.store.borrow_mut().check_quarantine();
        self.findings()
    }

    /// Returns the bytes that are leased now.
    #[must_use]
    pub fn leased_bytes(&self) -> u64 {
        self.store.borrow().taken_bytes(Kind::Leased)
    }

    /// Returns the bytes of coherent memory that is out now.
    #[must_use]
    pub fn coherent_bytes(&self) -> u64 {
        self.store.borrow().taken_bytes(Kind::Coherent)
    }

    /// Returns the bytes in the quarantine.
    #[must_use]
    pub fn quarantined_bytes(&self) -> u64 {
        self.store.borrow().taken_bytes(Kind::Quarantined)
    }
}

impl<A: Addr> Clone for FakeMemory<A> {
    fn clone(&self) -> Self {
        Self { store: Rc::clone(&self.store), coherence: self.coherence, kind: PhantomData }
    }
}

impl<A: Addr> fmt::Debug for FakeMemory<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeMemory").field("coherence", &self.coherence).finish_non_exhaustive()
    }
}

/// Runs that are given back when this is dropped.
struct Held {
    store: Rc<RefCell<Store>>,
    runs: Vec<u64>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut store = self.store.borrow_mut();
        for run in &self.runs {
            store.give_back(*run);
        }
    }
}

/// The owner of leased runs. Clones share them; with the last they go to the quarantine.
#[derive(Clone)]
pub struct FakeOwner {
    held: Rc<Held>,
}

impl fmt::Debug for FakeOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeOwner").field("runs", &self.held.runs.len()).finish_non_exhaustive()
    }
}

// SAFETY: clones share one `Held`, which keeps runs and store.
unsafe impl ShareOwner for FakeOwner {}

// SAFETY: (1) arenas stay where they are (invariant 2), and leases keep the store; (2) `take` zeroes what was free, at the
// layout's place, and the arenas are leaked rather than freed while it is out; (3) clean and invalidate copy exactly the bytes.
unsafe impl<A: Addr> Memory for FakeMemory<A> {
    type Addr = A;

    fn cpu_addr(&self, addr: A, len: u64) -> Option<CpuAddr> {
        self.store.borrow().cpu_addr(addr.raw(), len)
    }

    fn clean(&self, addr: A, len: u64) {
        if self.coherence == CacheCoherence::Synced {
            self.store.borrow_mut().clean(addr.raw(), len);
        }
    }

    unsafe fn invalidate(&self, addr: A, len: u64) {
        if self.coherence == CacheCoherence::Synced {
            self.store.borrow_mut().invalidate(addr.raw(), len);
        }
    }

    fn alloc_coherent(&self, layout: CoherentLayout) -> Option<RawCoherent<A>> {
        let mut store = self.store.borrow_mut();
        // Words of 8 bytes are stored there.
        let addr = store.free_run(layout.len, layout.align.max(8), 0, layout.addr_max)?;
        let cpu = store.cpu_addr(addr, layout.len)?;
        store.take(addr, layout.len, Kind::Coherent).ok()?;
        Some(RawCoherent { cpu, addr: A::new(addr), layout })
    }

    unsafe fn free_coherent(&self, raw: RawCoherent<A>) {
        self.store.borrow_mut().give_back(raw.addr.raw());
    }

    fn leaked(&self, leak: Leak) {
        self.store.borrow_mut().find(FakeFinding::Leaked(leak));
    }
}

// SAFETY: an arena is one run in both kinds of address, for as long as the store lives.
unsafe impl Translate for FakeMemory<PhysAddr> {
    fn translate(&self, cpu: CpuAddr, len: u64) -> Option<(PhysAddr, u64)> {
        let (addr, rest) = self.store.borrow().behind(cpu)?;
        Some((PhysAddr::new(addr), rest.min(len)))
    }
}

impl<A: Addr> DeviceMemory for FakeMemory<A> {
    unsafe fn device_read(&self, addr: A, into: &mut [u8]) -> bool {
        self.store.borrow_mut().device_read(addr.raw(), into)
    }

    unsafe fn device_write(&self, addr: A, from: &[u8]) -> bool {
        self.store.borrow_mut().device_write(addr.raw(), from)
    }

    fn handed_over(&self, addr: A, len: u64) {
        self.store.borrow_mut().hand_over(addr.raw(), len);
    }

    fn taken_back(&self, addr: A, len: u64) {
        self.store.borrow_mut().take_back(addr.raw(), len);
    }
}
