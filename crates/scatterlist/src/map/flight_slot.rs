//! [`FlightSlot`]: a place for one prepared request in flight.
//!
//! What [`prepare`](super::prepare()) returns is large, and a driver moves it to its table of commands. A table of these is
//! filled in place instead, and the request comes out of it alone: the data path of a driver copies little more than the
//! request itself.
#![expect(
    unsafe_code,
    reason = "a value that is made and taken apart in place; see the invariants of FlightSlot"
)]

use core::fmt;
use core::mem::MaybeUninit;
use core::panic::Location;

use super::device::DmaDevice;
use super::direction::MapDirection as _;
use super::error::{MapError, Resource};
use super::flight::InFlight;
use super::flight::sealed::Parts as _;
use super::mapped::{MapFailed, Mapped};
use super::prepare::{DescriptorPool, Objects, PrepareFailed, Prepared, describe};
use super::target::DmaTarget;
use super::terms::CpuSync;
use crate::desc::DescriptorFormat;
use crate::plan::fits_device;
use crate::request::Shell;
use crate::{Complete, Direction, Outcome, Request};

/// A place for one prepared request in flight. Dropping a full one leaks what it holds, and says so, as for [`InFlight`].
///
/// # Invariants
/// 1. Where it is `full` the value is there, and in flight: the device may use the bus segments until it is known not to.
pub struct FlightSlot<D: DmaDevice, P: DescriptorPool, O, C, T> {
    full: bool,
    held: MaybeUninit<Prepared<D, P, O, C, T>>,
}

/// A prepared request in flight.
type Flight<D, P, O, C, T> = InFlight<Prepared<D, P, O, C, T>>;

/// What preparing in place gives.
type InPlace<'a, D, O, C, F> = Result<
    &'a <F as DescriptorFormat>::Command,
    PrepareFailed<Request<<D as super::Backend>::Addr, O, C>, <F as DescriptorFormat>::Error>,
>;

/// Where the parts of a prepared request are. No reference to it is made.
struct Fields<D: DmaDevice, P: DescriptorPool, O, C, T> {
    command: *mut T,
    objects: *mut Objects<P::Object>,
    mapped: *mut Mapped<D, O, Direction>,
    shell: *mut Shell<C>,
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> Fields<D, P, O, C, T> {
    /// Returns the addresses.
    ///
    /// # Safety
    /// `place` is memory of its type, whatever is there.
    #[inline]
    const unsafe fn of(place: *mut Prepared<D, P, O, C, T>) -> Self {
        Self {
            // SAFETY: within the place, the caller's promise.
            command: unsafe { &raw mut (*place).command },
            // SAFETY: as above.
            objects: unsafe { &raw mut (*place).objects },
            // SAFETY: as above.
            mapped: unsafe { &raw mut (*place).mapped },
            // SAFETY: as above.
            shell: unsafe { &raw mut (*place).shell },
        }
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> FlightSlot<D, P, O, C, T> {
    /// Returns an empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { full: false, held: MaybeUninit::uninit() }
    }

    /// Says whether a request is in flight here.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// Prepares a request here, as [`prepare`](super::prepare()) does, and gives it to a device: the command comes out.
    ///
    /// # Errors
    /// As there; and a shortage of slots where this one is full.
    #[inline(always)]
    #[track_caller]
    pub fn prepare<F>(
        &mut self,
        target: &DmaTarget<D, P>,
        request: Request<D::Addr, O, C>,
        format: &F,
    ) -> InPlace<'_, D, O, C, F>
    where
        F: DescriptorFormat<Command = T>,
    {
        let direction = request.direction();
        if self.full {
            let error = MapError::Shortage { what: Resource::Slots, need: 1, have: 0 };
            return Err(PrepareFailed { request, error: error.into() });
        }
        // What headers and trailers added lies nowhere on the device.
        if let Err(error) = fits_device(request.position(), request.payload_bytes(), target.limits()) {
            return Err(PrepareFailed { request, error: MapError::Limit(error).into() });
        }
        let (lease, shell) = request.detach();
        let terms = target.terms(direction.value(), CpuSync::Whole, Location::caller());
        // SAFETY: memory of this value's own.
        let fields = unsafe { Fields::of(self.held.as_mut_ptr()) };
        let mapped = fields.mapped;
        // SAFETY: nothing is there.
        let made = unsafe { Mapped::map_in_place(mapped, target.device().clone(), lease, direction, &terms) };
        if let Err(MapFailed { given, error }) = made {
            return Err(PrepareFailed { request: shell.attach(given), error: error.into() });
        }
        // SAFETY: made just now. Where describing it panics it stays mapped, which no device knows.
        let held = unsafe { &*mapped };
        match describe(target, held, format) {
            Ok((command, objects)) => {
                // SAFETY: memory that is this value's own, with nothing there.
                unsafe { fields.command.write(command) };
                // SAFETY: as above.
                unsafe { fields.objects.write(objects) };
                // SAFETY: as above.
                unsafe { fields.shell.write(shell) };
                self.full = true;
                // SAFETY: written just now.
                Ok(unsafe { &*fields.command })
            }
            Err(error) => {
                // SAFETY: made just now; it is taken out, and the slot stays empty.
                let lease = unsafe { mapped.read() }.unmap();
                Err(PrepareFailed { request: shell.attach(lease), error })
            }
        }
    }

    /// Takes the request back: unmapped, its descriptors back in the pool. `None` where there is none.
    ///
    /// # Safety
    /// As for [`InFlight::complete`]: the device does not use the bus segments any more.
    #[inline(always)]
    #[track_caller]
    pub unsafe fn complete(&mut self) -> Option<Request<D::Addr, O, C>> {
        if !core::mem::take(&mut self.full) {
            return None;
        }
        // SAFETY: memory of this value's own.
        let fields = unsafe { Fields::of(self.held.as_mut_ptr()) };
        // SAFETY: (1) it was there, and is taken apart once: the slot is empty from now on.
        unsafe { fields.command.drop_in_place() };
        // SAFETY: as above.
        unsafe { fields.objects.drop_in_place() };
        // SAFETY: as above.
        let shell = unsafe { fields.shell.read() };
        // SAFETY: as above; the caller says that the device is done.
        let lease = unsafe { Mapped::unmap_in_place(fields.mapped, Location::caller()) };
        Some(shell.attach(lease))
    }

    /// Takes the whole out as a flight of its own.
    pub fn take(&mut self) -> Option<Flight<D, P, O, C, T>> {
        if !core::mem::take(&mut self.full) {
            return None;
        }
        // SAFETY: (1) it was there, and is taken once: the slot is empty from now on.
        Some(InFlight::new(unsafe { self.held.assume_init_read() }))
    }

    /// Returns the bytes of the transfer that is in flight here; 0 where there is none.
    pub fn len_bytes(&self) -> u64 {
        self.held().map_or(0, Prepared::len_bytes)
    }

    fn held(&self) -> Option<&Prepared<D, P, O, C, T>> {
        // SAFETY: (1).
        self.full.then(|| unsafe { self.held.assume_init_ref() })
    }

    /// Gives the request up, as [`InFlight::abandon`] does.
    pub fn abandon(&mut self, outcome: Outcome)
    where
        C: Complete,
    {
        if let Some(flight) = self.take() {
            flight.abandon(outcome);
        }
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> Default for FlightSlot<D, P, O, C, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> Drop for FlightSlot<D, P, O, C, T> {
    fn drop(&mut self) {
        if let Some(held) = self.held() {
            held.say_leaked();
        }
    }
}

impl<D: DmaDevice, P: DescriptorPool, O, C, T> fmt::Debug for FlightSlot<D, P, O, C, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightSlot").field("held", &self.held()).finish()
    }
}
