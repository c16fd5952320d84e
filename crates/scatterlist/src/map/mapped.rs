//! [`Mapped`]: memory that a device may be told of, and that nobody else can touch.
//!
//! A mapping owns its lease, so forgetting it leaks and frees nothing. While it is idle the CPU reads and writes it
//! through the mapping, with the sync that needs; its bus addresses come out only by [`Mapped::into_flight`].
//! Dropping an idle mapping unmaps it.
#![expect(unsafe_code, reason = "calls the back end with what it mapped; see the invariants of Mapped")]

use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::panic::Location;

use super::backend::Backend;
use super::bytes::{copy_in, copy_out, within};
use super::direction::{CpuWrites, DeviceWrites, DmaDirection, MapDirection};
use super::error::MapError;
use super::flight::InFlight;
use super::flight::sealed::Parts;
use super::memory::Leak;
use super::terms::{Bounced, Terms, Usage};
use crate::{BusAddr, Lease, ScatterList};

/// A mapping that failed: what was given comes back.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct MapFailed<T> {
    /// What was to be mapped, as it was.
    pub given: T,
    /// Why it was not.
    #[source]
    pub error: MapError,
}

/// A mapping, or the lease back.
pub type MapResult<D, O, Dir> = Result<Mapped<D, O, Dir>, MapFailed<Lease<<D as Backend>::Addr, O>>>;

/// Memory mapped for a device, idle: no device holds it.
///
/// # Invariants
/// 1. The lease was mapped by the device under `usage`, with the mapping as the answer and `bus` as its segments, and is
///    unmapped once: by whoever takes `live` out.
/// 2. No device uses the bus segments: they leave this type only by way of [`InFlight`].
/// 3. `live` is taken only by [`Mapped::unmap`], which forgets the rest, and by `drop`, after which there is nothing.
pub struct Mapped<D: Backend, O, Dir: MapDirection> {
    live: ManuallyDrop<Live<D, O>>,
    usage: Usage,
    direction: Dir,
}

/// A live mapping.
struct Live<D: Backend, O> {
    device: D,
    lease: Lease<D::Addr, O>,
    mapping: D::Mapping,
    bus: ScatterList<BusAddr>,
}

/// Where the parts of a mapping are. No reference to it is made.
struct Fields<D: Backend, O, Dir> {
    device: *mut D,
    lease: *mut Lease<D::Addr, O>,
    mapping: *mut D::Mapping,
    bus: *mut ScatterList<BusAddr>,
    usage: *mut Usage,
    direction: *mut Dir,
}

impl<D: Backend, O, Dir: MapDirection> Fields<D, O, Dir> {
    /// Returns the addresses.
    ///
    /// # Safety
    /// `place` is memory of its type, whatever is there.
    #[inline]
    const unsafe fn of(place: *mut Mapped<D, O, Dir>) -> Self {
        // SAFETY: within the place, the caller's promise. `ManuallyDrop` is transparent.
        let live = unsafe { &raw mut (*place).live }.cast::<Live<D, O>>();
        Self {
            // SAFETY: as above.
            device: unsafe { &raw mut (*live).device },
            // SAFETY: as above.
            lease: unsafe { &raw mut (*live).lease },
            // SAFETY: as above.
            mapping: unsafe { &raw mut (*live).mapping },
            // SAFETY: as above.
            bus: unsafe { &raw mut (*live).bus },
            // SAFETY: as above.
            usage: unsafe { &raw mut (*place).usage },
            // SAFETY: as above.
            direction: unsafe { &raw mut (*place).direction },
        }
    }
}

impl<D: Backend, O> Live<D, O> {
    /// Unmaps.
    ///
    /// # Safety
    /// These are the parts of one mapping, made under `usage` but for its place, and no device uses it.
    unsafe fn end(self, usage: Usage) -> Lease<D::Addr, O> {
        let Self { device, lease, mapping, .. } = self;
        // Leaked where the back end unwinds: who knows how far it came.
        let lease = ManuallyDrop::new(lease);
        // SAFETY: the caller's promise; the lease keeps the memory valid.
        unsafe { device.raw_unmap(lease.list(), usage, mapping) };
        ManuallyDrop::into_inner(lease)
    }
}

impl<D: Backend, O, Dir: MapDirection> Mapped<D, O, Dir> {
    /// Maps `lease` under `terms`, whose direction is that of `direction`. Where that is undone, its place is the caller's.
    #[track_caller]
    pub(crate) fn map(
        device: D,
        lease: Lease<D::Addr, O>,
        direction: Dir,
        terms: &Terms<'_>,
    ) -> MapResult<D, O, Dir> {
        let mapped = Self::map_unchecked(device, lease, direction, terms)?;
        match terms.check(mapped.bus()) {
            Ok(()) => Ok(mapped),
            Err(error) => Err(MapFailed { given: mapped.unmap(), error }),
        }
    }

    /// As [`Mapped::map`], without holding the bus segments against the limits.
    #[inline]
    pub(super) fn map_unchecked(
        device: D,
        lease: Lease<D::Addr, O>,
        direction: Dir,
        terms: &Terms<'_>,
    ) -> MapResult<D, O, Dir> {
        if lease.list().is_empty() {
            return Err(MapFailed { given: lease, error: MapError::Empty });
        }
        let mut bus = ScatterList::new();
        let usage = terms.usage;
        // SAFETY: by its invariants the lease keeps the memory valid and nobody else's; it is kept until the mapping ends.
        let mapping = match unsafe { device.raw_map(lease.list(), terms, &mut bus) } {
            Ok(mapping) => mapping,
            Err(error) => return Err(MapFailed { given: lease, error }),
        };
        let live = ManuallyDrop::new(Live { device, lease, mapping, bus });
        Ok(Self { live, usage, direction })
    }

    /// As [`Mapped::map_unchecked`], at a place of the caller's, where it is in the end; nothing is there on an error.
    ///
    /// # Safety
    /// `place` is valid for writes, and nothing is there.
    #[inline]
    pub(super) unsafe fn map_in_place(
        place: *mut Self,
        device: D,
        lease: Lease<D::Addr, O>,
        direction: Dir,
        terms: &Terms<'_>,
    ) -> Result<(), MapFailed<Lease<D::Addr, O>>> {
        if lease.list().is_empty() {
            return Err(MapFailed { given: lease, error: MapError::Empty });
        }
        // SAFETY: the caller's promise.
        let fields = unsafe { Fields::of(place) };
        // SAFETY: the caller's promise.
        unsafe { fields.bus.write(ScatterList::new()) };
        // SAFETY: written just now, and nobody else's.
        let bus = unsafe { &mut *fields.bus };
        // SAFETY: by its invariants the lease keeps the memory valid and nobody else's; it is kept until the mapping ends.
        let mapping = match unsafe { device.raw_map(lease.list(), terms, bus) } {
            Ok(mapping) => mapping,
            Err(error) => {
                // SAFETY: written above, and not used again.
                unsafe { fields.bus.drop_in_place() };
                return Err(MapFailed { given: lease, error });
            }
        };
        // SAFETY: the caller's promise, for this field and each below.
        unsafe { fields.mapping.write(mapping) };
        // SAFETY: as above.
        unsafe { fields.device.write(device) };
        // SAFETY: as above.
        unsafe { fields.lease.write(lease) };
        // SAFETY: as above.
        unsafe { fields.usage.write(terms.usage) };
        // SAFETY: as above.
        unsafe { fields.direction.write(direction) };
        Ok(())
    }

    /// As [`Mapped::unmap`], of a mapping that stays where it is and is not used again.
    ///
    /// # Safety
    /// A mapping is there, and is not used again, nor dropped. No device uses it.
    #[inline]
    pub(super) unsafe fn unmap_in_place(
        place: *mut Self,
        at: &'static Location<'static>,
    ) -> Lease<D::Addr, O> {
        // SAFETY: the caller's promise.
        let fields = unsafe { Fields::of(place) };
        // SAFETY: the mapping is there.
        let usage = Usage { place: at, ..unsafe { fields.usage.read() } };
        // SAFETY: as above; it is taken out, and not used where it was.
        let mapping = unsafe { fields.mapping.read() };
        // SAFETY: as above; nothing else refers to it.
        let device = unsafe { &*fields.device };
        // SAFETY: as above.
        let lease = unsafe { &*fields.lease };
        // SAFETY: (1), (2): the caller's promise; the lease keeps the memory valid, also where this unwinds.
        unsafe { device.raw_unmap(lease.list(), usage, mapping) };
        // SAFETY: not used again.
        unsafe { fields.bus.drop_in_place() };
        // SAFETY: not used again.
        unsafe { fields.device.drop_in_place() };
        // SAFETY: taken out, and not used where it was.
        unsafe { fields.lease.read() }
    }

    /// Returns the bytes that are mapped.
    pub fn len_bytes(&self) -> u64 {
        self.live.bus.len_bytes()
    }

    /// Returns the direction.
    pub const fn direction(&self) -> Dir {
        self.direction
    }

    /// Tells which of the bytes go through other memory, in order, and why.
    pub fn visit_bounces(&self, mut visit: impl FnMut(Bounced)) {
        self.live.device.visit_bounces(&self.live.mapping, &mut visit);
    }

    /// Returns how many of the bytes go through other memory.
    pub fn bounced_bytes(&self) -> u64 {
        self.live.device.bounced_bytes(&self.live.mapping)
    }

    /// Unmaps: the bytes are the CPU's again.
    #[track_caller]
    pub fn unmap(self) -> Lease<D::Addr, O> {
        let mut whole = ManuallyDrop::new(self);
        let usage = Usage { place: Location::caller(), ..whole.usage };
        // SAFETY: (3) `whole` is neither dropped nor used again.
        let live = unsafe { ManuallyDrop::take(&mut whole.live) };
        // SAFETY: (1), (2).
        unsafe { live.end(usage) }
    }

    /// Gives the mapping to a device: its bus addresses come out, and the CPU has no way to the bytes until the device
    /// is done.
    pub const fn into_flight(self) -> InFlight<Self> {
        InFlight::new(self)
    }

    /// Hands bytes `range` to the CPU, for an owner that reads them by means of its own.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`].
    #[track_caller]
    pub fn sync_for_cpu(&mut self, range: Range<u64>) -> Result<(), MapError>
    where
        Dir: DeviceWrites,
    {
        within(&range, self.len_bytes())?;
        self.take_for_cpu(range, Location::caller());
        Ok(())
    }

    /// Hands bytes `range` to the device, after an owner wrote them by means of its own.
    ///
    /// What a device wrote there and was not synced for the CPU is lost: the device is handed the CPU's bytes.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`].
    #[track_caller]
    pub fn sync_for_device(&mut self, range: Range<u64>) -> Result<(), MapError> {
        within(&range, self.len_bytes())?;
        let usage = Usage { place: Location::caller(), ..self.usage };
        let Live { device, lease, mapping, .. } = &*self.live;
        // SAFETY: (1) the parts of one mapping; (2) no device writes; the range was checked.
        unsafe { device.raw_sync_for_device(lease.list(), usage, mapping, range) };
        Ok(())
    }

    /// Reads what the device wrote, from byte `at` on: exactly these bytes are synced.
    ///
    /// # Errors
    /// [`MapError::OutOfRange`]; [`MapError::NotVisible`] where the CPU does not see the memory.
    #[track_caller]
    pub fn read_at(&mut self, at: u64, into: &mut [u8]) -> Result<(), MapError>
    where
        Dir: DeviceWrites,
    {
        self.sync_for_cpu(at..end_of(at, into.len()))?;
        let Live { device, lease, .. } = &*self.live;
        // SAFETY: the lease's memory is valid and nobody else's (its invariants); `into` is a reference, so
        // none of it.
        unsafe { copy_out(device, lease.list(), at, into) }
    }

    /// Writes what the device shall read, from byte `at` on: exactly these bytes are synced.
    ///
    /// # Errors
    /// As [`Mapped::read_at`].
    #[track_caller]
    pub fn write_at(&mut self, at: u64, from: &[u8]) -> Result<(), MapError>
    where
        Dir: CpuWrites,
    {
        let range = at..end_of(at, from.len());
        within(&range, self.len_bytes())?;
        if self.usage.direction == DmaDirection::Both {
            // Writing a part of a cache line must not lose what the device wrote to the rest.
            self.take_for_cpu(range.clone(), Location::caller());
        }
        let Live { device, lease, .. } = &*self.live;
        // SAFETY: the lease's memory is valid and nobody else's (its invariants); `from` is a reference, so
        // none of it.
        unsafe { copy_in(device, lease.list(), at, from) }?;
        self.sync_for_device(range)
    }

    /// Hands a range, which was checked, to the CPU.
    fn take_for_cpu(&self, range: Range<u64>, place: &'static Location<'static>) {
        let usage = Usage { place, ..self.usage };
        let Live { device, lease, mapping, .. } = &*self.live;
        // SAFETY: (1) the parts of one mapping; (2) no device writes; the range was checked.
        unsafe { device.raw_sync_for_cpu(lease.list(), usage, mapping, range) };
    }

    pub(super) fn bus(&self) -> &ScatterList<BusAddr> {
        &self.live.bus
    }
}

fn end_of(at: u64, len: usize) -> u64 {
    at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX))
}

impl<D: Backend, O, Dir: MapDirection> Parts for Mapped<D, O, Dir> {
    type Bus = ScatterList<BusAddr>;

    fn held_bus(&self) -> &Self::Bus {
        self.bus()
    }

    fn say_leaked(&self) {
        let first = self.bus().first().map(|segment| segment.addr());
        self.live.device.leaked(Leak { what: "a mapping", bytes: self.len_bytes(), first });
    }
}

impl<D: Backend, O, Dir: MapDirection> Drop for Mapped<D, O, Dir> {
    fn drop(&mut self) {
        // SAFETY: (3) nothing comes after this.
        let live = unsafe { ManuallyDrop::take(&mut self.live) };
        // SAFETY: (1), (2).
        drop(unsafe { live.end(self.usage) });
    }
}

impl<D: Backend, O, Dir: MapDirection> fmt::Debug for Mapped<D, O, Dir> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the bus addresses: they are for devices.
        f.debug_struct("Mapped")
            .field("bytes", &self.len_bytes())
            .field("direction", &self.direction)
            .finish_non_exhaustive()
    }
}
