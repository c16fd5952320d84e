//! [`with_mapped`]: lends borrowed memory to a device for the time of a closure. No allocation.
//!
//! A mapping over borrowed memory must not be forgotten, so it never leaves this function: the closure gets the bus
//! segments, and after it, even when it panics, the hardware is made to let go before the borrow ends.
#![expect(unsafe_code, reason = "unmaps what it mapped, after the hardware has let go")]

use core::marker::PhantomData;
use core::panic::Location;

use super::backend::Backend;
use super::direction::{Both, FromDevice, MapDirection, ToDevice};
use super::error::MapError;
use super::guard::MappingGuard;
use super::hardware::Hardware;
use super::sink::BusSlots;
use super::target::DmaTarget;
use super::terms::CpuSync;
use crate::{Addr, BusAddr, CpuAddr, Segment};

/// Borrowed memory that a device may use in direction `Dir`, as segments that the caller provides.
///
/// # Invariants
/// 1. For `'a` the memory of the segments is valid and nobody else's; for a direction in which no device writes, others may
///    read it.
#[derive(Debug)]
pub struct Borrowed<'a, A: Addr, Dir> {
    segments: &'a [Segment<A>],
    direction: Dir,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a, A: Addr, Dir: MapDirection> Borrowed<'a, A, Dir> {
    /// Borrows memory that the caller vouches for.
    ///
    /// # Safety
    /// Invariant 1 of [`Borrowed`] holds.
    #[must_use]
    pub const unsafe fn from_raw(segments: &'a [Segment<A>], direction: Dir) -> Self {
        Self { segments, direction, memory: PhantomData }
    }
}

macro_rules! from_mut {
    ($direction:ident) => {
        impl<'a> Borrowed<'a, CpuAddr, $direction> {
            /// Borrows slices; `segments` must have room for as many.
            ///
            /// # Errors
            /// [`MapError::Empty`] for a slice of no bytes, [`MapError::Shortage`] where `segments` are too few.
            pub fn from_mut(
                slices: &'a mut [&mut [u8]],
                segments: &'a mut [Segment<CpuAddr>],
            ) -> Result<Self, MapError> {
                let runs =
                    slices.iter_mut().map(|slice| (CpuAddr::from_ptr(slice.as_mut_ptr()), slice.len()));
                let segments = gather(runs, segments)?;
                // SAFETY: the slices are borrowed exclusively for `'a`.
                Ok(unsafe { Self::from_raw(segments, $direction) })
            }
        }
    };
}

from_mut!(FromDevice);
from_mut!(Both);

impl<'a> Borrowed<'a, CpuAddr, ToDevice> {
    /// Borrows slices that the device only reads; `segments` must have room for as many.
    ///
    /// # Errors
    /// As for the other directions.
    pub fn from_shared(slices: &'a [&[u8]], segments: &'a mut [Segment<CpuAddr>]) -> Result<Self, MapError> {
        let runs = slices.iter().map(|slice| (CpuAddr::from_ptr(slice.as_ptr()), slice.len()));
        let segments = gather(runs, segments)?;
        // SAFETY: the slices are borrowed for `'a`, and the device only reads.
        Ok(unsafe { Self::from_raw(segments, ToDevice) })
    }
}

fn gather(
    runs: impl ExactSizeIterator<Item = (CpuAddr, usize)>,
    segments: &mut [Segment<CpuAddr>],
) -> Result<&[Segment<CpuAddr>], MapError> {
    let (need, have) = (runs.len(), segments.len());
    let Some(places) = segments.get_mut(..need) else {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let what = super::error::Resource::Slots;
        return Err(MapError::Shortage { what, need: number(need), have: number(have) });
    };
    for (place, (addr, len)) in places.iter_mut().zip(runs) {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        // Slices of different owners never merge.
        *place = Segment::new(addr, len).map_err(|_| MapError::Empty)?.with_barrier();
    }
    Ok(places)
}

/// Makes the hardware let go and then ends the mapping, whatever happens in the closure. The mapping ends as well where
/// quiescing unwinds: fields are dropped all the same.
struct Guard<'a, D: Backend, H: Hardware> {
    hardware: &'a H,
    bus: &'a [Segment<BusAddr>],
    told: bool,
    _mapping: MappingGuard<'a, D, [Segment<D::Addr>]>,
}

impl<D: Backend, H: Hardware> Drop for Guard<'_, D, H> {
    fn drop(&mut self) {
        if self.told {
            self.hardware.quiesce(self.bus);
        }
    }
}

/// Maps `borrowed` for the time of `work`, which gets the bus segments and the hardware to give them to.
///
/// `slots` take the bus segments. Before this returns, `hardware` is made to let go of them.
///
/// ```compile_fail,E0502
/// # use scatterlist::map::{Borrowed, Direct, Hardware, HeapMemory, FromDevice, DmaDevice, Offset, with_mapped};
/// # use scatterlist::{Addr, BusAddr, CpuAddr, Limits, Segment, Segments};
/// # fn f<H: Hardware>(hardware: &H) {
/// # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
/// # let mut slots = [Segment::new(BusAddr::new(0), 1).unwrap(); 1];
/// # let mut segments = [Segment::new(CpuAddr::new(0), 1).unwrap(); 1];
/// let mut buffer = [0_u8; 512];
/// let mut slices = [&mut buffer[..]];
/// let borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).unwrap();
/// with_mapped(&device.target(), borrowed, &mut slots, hardware, |bus, hardware| {
///     println!("{}", buffer[0]); // the device holds it
/// });
/// # }
/// ```
///
/// # Errors
/// [`MapError`]; `work` was not called then.
#[track_caller]
pub fn with_mapped<D, P, H, Dir, T>(
    target: &DmaTarget<D, P>,
    borrowed: Borrowed<'_, D::Addr, Dir>,
    slots: &mut [Segment<BusAddr>],
    hardware: &H,
    work: impl FnOnce(&[Segment<BusAddr>], &H) -> T,
) -> Result<T, MapError>
where
    D: Backend,
    H: Hardware,
    Dir: MapDirection,
{
    let list = borrowed.segments;
    if list.is_empty() {
        return Err(MapError::Empty);
    }
    let terms = target.terms(borrowed.direction.value(), CpuSync::Whole, Location::caller());
    let mut bus = BusSlots::new(slots);
    // SAFETY: the memory is borrowed for longer than this call (1), and the guard ends the mapping before it returns.
    let mapping = unsafe { target.device().raw_map(list, &terms, &mut bus)? };
    // SAFETY: mapped just now with these; the memory is still borrowed when the guard ends it, and the hardware was not told
    // or has let go by then (2).
    let mapping = unsafe { MappingGuard::new(target.device(), list, terms.usage, mapping) };
    let bus = bus.as_slice();
    let mut guard = Guard { hardware, bus, told: false, _mapping: mapping };
    terms.check(bus)?;
    guard.told = true;
    let done = work(bus, hardware);
    drop(guard);
    Ok(done)
}
