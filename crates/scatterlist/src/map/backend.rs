//! [`Backend`]: what stands between a list and a device: an offset, an IOMMU, a bounce pool, a checker.
//!
//! Implemented by back ends, called by the safe layer above ([`DmaDevice`](super::DmaDevice) and
//! [`DmaTarget`](crate::DmaTarget)), which owns the memory and keeps the order of calls. Nothing here knows a bus, and nothing
//! here allocates: bus segments go to a [`BusSink`].
#![expect(unsafe_code, reason = "a trait that promises where a device reads and writes")]

use core::fmt;
use core::ops::Range;
use core::panic::Location;

use super::error::{MapError, TargetError};
use super::memory::{CoherentLayout, Leak, RawCoherent};
use super::sink::BusSink;
use super::terms::{Bounced, Terms, Usage};
use crate::{Addr, BusAddr, CpuAddr, Limits, Segments};

/// A way from memory to a device.
///
/// # Safety
/// 1. Between a successful [`Backend::raw_map`] and [`Backend::raw_unmap`], the bus segments that went to the sink reach,
///    in order, the bytes of the list, or memory of the back end's own that stands for them; and nothing else.
/// 2. After `raw_unmap` the back end neither reads nor writes the list's memory, and what the device wrote is there.
/// 3. Where `raw_map` fails or unwinds, nothing stays mapped. Where `raw_unmap` unwinds, it keeps promise 2 all the same.
/// 4. [`Backend::cpu_addr`] and coherent memory keep the promises of [`Memory`](super::Memory).
/// 5. A back end that is moved keeps its promises. Where it is dropped with mappings or coherent memory left, devices reach no
///    memory through it from then on but what was leaked.
pub unsafe trait Backend {
    /// The kind of address that leases for this device hold.
    type Addr: Addr;

    /// What the back end must remember of one mapping.
    type Mapping: fmt::Debug;

    /// Returns the limits of the bus and device, in bus addresses and in those of lists.
    fn reach(&self) -> &super::Reach;

    /// Returns rules for a list's own addresses that are enough for its bus segments to keep `limits`.
    ///
    /// # Errors
    /// [`TargetError::Bus`] for a limit that the bus cannot keep.
    fn list_limits(&self, limits: &Limits) -> Result<Limits, TargetError>;

    /// Says whether memory that breaks the limits is copied rather than refused.
    fn bounces(&self) -> bool;

    /// Sets aside what `transfers` mappings at a time under `limits` need, for mappings whose [`Usage`] says `reserved`.
    ///
    /// # Errors
    /// [`TargetError::Reserve`] where that is more than there is.
    fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError>;

    /// Maps a list: its bus segments go to `bus`, in order.
    ///
    /// # Errors
    /// [`MapError`]; nothing is mapped then, whatever the sink took.
    ///
    /// # Safety
    /// Until the mapping is unmapped, the list's memory is valid; nobody writes it, nor reads it where the device writes, through
    /// a Rust reference. The list says the same segments each time that it is asked.
    unsafe fn raw_map<S, K>(
        &self,
        list: &S,
        terms: &Terms<'_>,
        bus: &mut K,
    ) -> Result<Self::Mapping, MapError>
    where
        S: Segments<Addr = Self::Addr> + ?Sized,
        K: BusSink + ?Sized;

    /// Ends a mapping, and hands its bytes to the CPU unless `usage` says [`CpuSync::Skip`](super::CpuSync::Skip).
    ///
    /// # Safety
    /// `list`, `usage` (but for its place) and `mapping` are those of one `raw_map` of this back end; the list's memory is valid; the device no
    /// longer uses the bus segments.
    unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
    where
        S: Segments<Addr = Self::Addr> + ?Sized;

    /// Hands bytes `range` of the list to the CPU.
    ///
    /// # Safety
    /// `list`, `usage` (but for its place) and `mapping` are those of a live mapping; the list's memory is valid, the range within it, and the
    /// device does not write there.
    unsafe fn raw_sync_for_cpu<S>(&self, list: &S, usage: Usage, mapping: &Self::Mapping, range: Range<u64>)
    where
        S: Segments<Addr = Self::Addr> + ?Sized;

    /// Hands bytes `range` of the list to the device.
    ///
    /// # Safety
    /// As [`Backend::raw_sync_for_cpu`].
    unsafe fn raw_sync_for_device<S>(
        &self,
        list: &S,
        usage: Usage,
        mapping: &Self::Mapping,
        range: Range<u64>,
    ) where
        S: Segments<Addr = Self::Addr> + ?Sized;

    /// Tells which of the mapping's bytes go through other memory, in order, and why.
    fn visit_bounces(&self, mapping: &Self::Mapping, visit: &mut dyn FnMut(Bounced));

    /// Returns how many of the mapping's bytes go through other memory.
    fn bounced_bytes(&self, mapping: &Self::Mapping) -> u64 {
        let mut bytes = 0_u64;
        self.visit_bounces(mapping, &mut |bounced| bytes = bytes.saturating_add(bounced.len));
        bytes
    }

    /// Allocates coherent memory that the device sees at the bus address returned.
    ///
    /// # Errors
    /// [`MapError::Shortage`] where there is none such, [`MapError::Layout`] for a layout that cannot be.
    fn raw_alloc_coherent(
        &self,
        layout: CoherentLayout,
        place: &'static Location<'static>,
    ) -> Result<(RawCoherent<Self::Addr>, BusAddr), MapError>;

    /// Takes coherent memory back.
    ///
    /// # Safety
    /// Both came from [`Backend::raw_alloc_coherent`] of this back end, once; neither CPU nor device uses the memory any more.
    #[track_caller]
    unsafe fn raw_free_coherent(&self, raw: RawCoherent<Self::Addr>, bus: BusAddr);

    /// Returns where the CPU sees `len` bytes at `addr`.
    fn cpu_addr(&self, addr: Self::Addr, len: u64) -> Option<CpuAddr>;

    /// Returns the size of the blocks, a power of two, in which the device sees memory: with a mapped segment it sees the
    /// whole of every block that the segment touches. 1 where it sees no byte too many, or all of memory anyway.
    fn granule_len(&self) -> u64;

    /// Makes the device see what the CPU wrote to `len` bytes at `addr`, mapped or not: for a back end above, which
    /// clears memory around what it maps. Does nothing where caches need no care.
    fn write_back(&self, addr: Self::Addr, len: u64);

    /// Is told of memory that stays taken because a device may hold it.
    fn leaked(&self, leak: Leak);
}

/// What a back end says of itself where it is what the one beneath says.
macro_rules! facts_of_inner {
    ($this:ident => $inner:expr) => {
        fn reach(&$this) -> &$crate::map::Reach {
            $inner.reach()
        }

        fn list_limits(
            &$this,
            limits: &$crate::Limits,
        ) -> Result<$crate::Limits, $crate::map::TargetError> {
            $inner.list_limits(limits)
        }

        fn granule_len(&$this) -> u64 {
            $inner.granule_len()
        }

        fn write_back(&$this, addr: Self::Addr, len: u64) {
            $inner.write_back(addr, len);
        }

        fn cpu_addr(&$this, addr: Self::Addr, len: u64) -> Option<$crate::CpuAddr> {
            $inner.cpu_addr(addr, len)
        }
    };
}

#[cfg(feature = "alloc")]
pub(crate) use facts_of_inner;

/// Passes every call on to what a pointer points to.
macro_rules! by_pointer {
    ($(#[$attribute:meta])* $pointer:ty) => {
        $(#[$attribute])*
        // SAFETY: every promise is passed on.
        unsafe impl<D: Backend + ?Sized> Backend for $pointer {
            type Addr = D::Addr;
            type Mapping = D::Mapping;

            facts_of_inner!(self => (**self));

            fn bounces(&self) -> bool {
                (**self).bounces()
            }

            fn reserve(&self, limits: &Limits, transfers: u32) -> Result<(), TargetError> {
                (**self).reserve(limits, transfers)
            }

            #[inline]
            unsafe fn raw_map<S, K>(
                &self,
                list: &S,
                terms: &Terms<'_>,
                bus: &mut K,
            ) -> Result<Self::Mapping, MapError>
            where
                S: Segments<Addr = Self::Addr> + ?Sized,
                K: BusSink + ?Sized,
            {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_map(list, terms, bus) }
            }

            #[inline]
            unsafe fn raw_unmap<S>(&self, list: &S, usage: Usage, mapping: Self::Mapping)
            where
                S: Segments<Addr = Self::Addr> + ?Sized,
            {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_unmap(list, usage, mapping) }
            }

            unsafe fn raw_sync_for_cpu<S>(
                &self,
                list: &S,
                usage: Usage,
                mapping: &Self::Mapping,
                range: Range<u64>,
            ) where
                S: Segments<Addr = Self::Addr> + ?Sized,
            {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_sync_for_cpu(list, usage, mapping, range) }
            }

            unsafe fn raw_sync_for_device<S>(
                &self,
                list: &S,
                usage: Usage,
                mapping: &Self::Mapping,
                range: Range<u64>,
            ) where
                S: Segments<Addr = Self::Addr> + ?Sized,
            {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_sync_for_device(list, usage, mapping, range) }
            }

            fn visit_bounces(&self, mapping: &Self::Mapping, visit: &mut dyn FnMut(Bounced)) {
                (**self).visit_bounces(mapping, visit);
            }

            fn raw_alloc_coherent(
                &self,
                layout: CoherentLayout,
                place: &'static Location<'static>,
            ) -> Result<(RawCoherent<Self::Addr>, BusAddr), MapError> {
                (**self).raw_alloc_coherent(layout, place)
            }

            unsafe fn raw_free_coherent(&self, raw: RawCoherent<Self::Addr>, bus: BusAddr) {
                // SAFETY: the caller's promise is passed on.
                unsafe { (**self).raw_free_coherent(raw, bus) }
            }

            fn leaked(&self, leak: Leak) {
                (**self).leaked(leak);
            }
        }
    };
}

by_pointer!(&D);
by_pointer!(
    #[cfg(feature = "alloc")]
    alloc::sync::Arc<D>
);
