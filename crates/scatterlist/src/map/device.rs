//! [`DmaDevice`]: what a driver calls. The generic `struct device` of the 2002 proposal, for any bus.
//!
//! Every [`Backend`] handle that can be cloned (`&D`, `Arc<D>`) is one; a back end itself is not, so keep it behind a
//! reference or `Arc`: `let device = &Direct::new(..)?`, then `device.map(..)`. With a target's tighter limits, policy and pool the same calls are
//! on [`DmaTarget`]. `sync_for_cpu`, `sync_for_device` and `unmap` are the [mapping's](Mapped) own.

use alloc::vec::Vec;
use core::panic::Location;

use super::backend::Backend;
use super::coherent::Coherent;
use super::direction::MapDirection;
use super::error::MapError;
use super::mapped::{MapFailed, MapResult, Mapped};
use super::memory::CoherentLayout;
use super::target::DmaTarget;
use super::terms::{CpuSync, Usage};
use crate::{CpuAddr, Lease, OwnedBytes};

/// What a driver calls.
pub trait DmaDevice: Backend + Clone {
    /// Returns the target of the device's own limits, from which channels are derived.
    fn target(&self) -> DmaTarget<Self> {
        DmaTarget::of_device(self.clone())
    }

    /// Allocates coherent memory: zeroed, a multiple of `layout.align`, seen by the device.
    ///
    /// # Errors
    /// [`MapError::Layout`] for a layout that cannot be, [`MapError::Shortage`] where there is no such memory.
    #[track_caller]
    fn alloc_coherent(&self, layout: CoherentLayout) -> Result<Coherent<Self>, MapError> {
        Coherent::new(self.clone(), layout, Location::caller())
    }

    /// Maps a lease within the device's own limits.
    ///
    /// # Errors
    /// The lease back, with the [`MapError`].
    #[track_caller]
    fn map<O, Dir: MapDirection>(
        &self,
        lease: Lease<Self::Addr, O>,
        direction: Dir,
    ) -> MapResult<Self, O, Dir> {
        let usage = Usage {
            direction: direction.value(),
            sync: CpuSync::Whole,
            reserved: false,
            place: Location::caller(),
        };
        Mapped::map(self.clone(), lease, direction, &self.reach().terms(usage))
    }

    /// Maps one buffer.
    ///
    /// # Errors
    /// The buffer back, with the [`MapError`].
    #[track_caller]
    fn map_bytes<Dir: MapDirection>(
        &self,
        bytes: Vec<u8>,
        direction: Dir,
    ) -> Result<Mapped<Self, OwnedBytes, Dir>, MapFailed<Vec<u8>>>
    where
        Self: Backend<Addr = CpuAddr>,
    {
        let lease =
            Lease::from_vec(bytes).map_err(|(given, _)| MapFailed { given, error: MapError::Empty })?;
        self.map(lease, direction).map_err(|MapFailed { given, error }| MapFailed {
            // It is of the one vector that was given.
            given: given.into_vecs().next().unwrap_or_default(),
            error,
        })
    }
}

impl<D: Backend + Clone> DmaDevice for D {}

impl<D: DmaDevice, P> DmaTarget<D, P> {
    /// Maps a lease within the target's rules for memory, as one transfer. Rules for positions and sizes are those of requests,
    /// see [`prepare`](crate::map::prepare).
    ///
    /// # Errors
    /// The lease back, with the [`MapError`].
    #[track_caller]
    pub fn map<O, Dir: MapDirection>(
        &self,
        lease: Lease<D::Addr, O>,
        direction: Dir,
    ) -> MapResult<D, O, Dir> {
        let terms = self.terms(direction.value(), CpuSync::Whole, Location::caller());
        Mapped::map(self.device().clone(), lease, direction, &terms)
    }

    /// Maps a lease without handing its bytes over: only what is read, written or synced through the mapping is.
    ///
    /// # Errors
    /// The lease back, with the [`MapError`].
    #[track_caller]
    pub fn map_unsynced<O, Dir: MapDirection>(
        &self,
        lease: Lease<D::Addr, O>,
        direction: Dir,
    ) -> MapResult<D, O, Dir> {
        let terms = self.terms(direction.value(), CpuSync::Skip, Location::caller());
        Mapped::map(self.device().clone(), lease, direction, &terms)
    }
}
