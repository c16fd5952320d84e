//! [`Terms`] and [`Usage`]: what one mapping is made under, and what of it stays to its end; [`Bounced`], what is copied.

use core::panic::Location;

use super::direction::DmaDirection;
use super::error::MapError;
use crate::plan::{Policy, Why, plan};
use crate::{BusAddr, Limits, Position, Segments};

/// Whether mapping and unmapping also hand the bytes over between CPU and device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum CpuSync {
    /// They do.
    #[default]
    Whole,
    /// They do not: the caller syncs the parts that it touches.
    Skip,
}

/// What one mapping is made under.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The rules for memory that the device keeps, in bus addresses.
    pub bus_limits: &'a Limits,
    /// The same rules in the addresses of the list, see [`Backend::list_limits`](super::Backend::list_limits).
    pub list_limits: &'a Limits,
    /// How the mapping is used.
    pub usage: Usage,
}

impl Terms<'_> {
    /// Checks that bus segments keep the limits as one transfer.
    ///
    /// # Errors
    /// [`MapError::Limit`] with the limit that they break.
    pub fn check<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S) -> Result<(), MapError> {
        match plan(bus, Position::Stream, self.bus_limits, Policy::WholeOrError).next() {
            Some(Err(error)) => Err(MapError::Limit(error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

/// Bytes of a mapping that go through other memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounced {
    /// The first of them, counted from the start of the mapping.
    pub at: u64,
    /// How many.
    pub len: u64,
    /// The limit that they break where they are.
    pub why: Why,
}

/// How one mapping is used: what stays with it to its end.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Which way the bytes go.
    pub direction: DmaDirection,
    /// Whether the bytes are handed over too.
    pub sync: CpuSync,
    /// Whether the target's reserve may be used where there is nothing else, see [`Backend::reserve`](super::Backend::reserve).
    pub reserved: bool,
    /// Where the call came from.
    pub place: &'static Location<'static>,
}
