//! [`Raw`]: a mapping by the raw calls of the device, which take whatever is passed.
#![expect(unsafe_code, reason = "raw calls, right ones and wrong ones")]

use alloc::vec::Vec;
use core::ops::Range;
use core::panic::Location;

use scatterlist::map::checked::{Checked, SyncFor};
use scatterlist::map::{Backend, CpuSync, DmaDirection, Terms, Usage};
use scatterlist::{BusAddr, Lease, PhysAddr, ScatterList, Segment, Segments as _};

use super::Device;
use crate::memory::Owner;
use crate::scenario::Failure;
use crate::scenario::stack::Plain;

/// What the device answered.
type Mapping = <Checked<Plain> as Backend>::Mapping;

/// A mapping. Dropped, it leaks: the memory goes back, and the record says that it is mapped.
pub(super) struct Raw {
    device: Device,
    lease: Lease<PhysAddr, Owner>,
    usage: Usage,
    mapping: Mapping,
    bus: ScatterList<BusAddr>,
}

impl Raw {
    #[track_caller]
    pub(super) fn map(
        device: Device,
        lease: Lease<PhysAddr, Owner>,
        direction: DmaDirection,
    ) -> Result<Self, Failure> {
        let usage = Usage { direction, sync: CpuSync::Whole, reserved: false, place: Location::caller() };
        let reach = device.reach();
        let terms = Terms { bus_limits: reach.bus_memory(), list_limits: reach.list_memory(), usage };
        let mut bus = ScatterList::new();
        // SAFETY: the lease keeps the memory, and lives as long as the mapping; no device is told of it.
        let mapping = unsafe { device.raw_map(lease.list(), &terms, &mut bus) }?;
        Ok(Self { device, lease, usage, mapping, bus })
    }

    /// Returns the segments of the memory.
    pub(super) fn list(&self) -> Vec<Segment<PhysAddr>> {
        self.lease.list().segments().collect()
    }

    pub(super) const fn bus(&self) -> &ScatterList<BusAddr> {
        &self.bus
    }

    /// Syncs, whether that is right or not.
    #[track_caller]
    pub(super) fn sync(
        &self,
        sync_for: SyncFor,
        direction: DmaDirection,
        list: &[Segment<PhysAddr>],
        range: Range<u64>,
    ) {
        let usage = Usage { direction, place: Location::caller(), ..self.usage };
        match sync_for {
            // SAFETY: none; this is the mistake.
            SyncFor::Cpu => unsafe { self.device.raw_sync_for_cpu(list, usage, &self.mapping, range) },
            // SAFETY: none; this is the mistake.
            SyncFor::Device => unsafe { self.device.raw_sync_for_device(list, usage, &self.mapping, range) },
        }
    }

    /// Unmaps as it must be. What is left can still be synced, which is a mistake.
    #[track_caller]
    pub(super) fn unmapped(self) -> Self {
        // SAFETY: what the later call must not do with it.
        let copy = unsafe { core::ptr::read(&raw const self.mapping) };
        let usage = Usage { place: Location::caller(), ..self.usage };
        // SAFETY: the parts of one mapping; no device was told.
        unsafe { self.device.raw_unmap(self.lease.list(), usage, copy) };
        self
    }
}
