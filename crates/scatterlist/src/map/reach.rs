//! [`Reach`]: limits as the bus sees them and as lists see them, for whole transfers and for memory alone.
//!
//! A request is planned in its own addresses before it is mapped; what is mapped is judged in bus addresses. Both
//! views are made once, when a device or a target is built, so that mapping builds nothing.

use super::backend::Backend;
use super::error::TargetError;
use super::terms::{Terms, Usage};
use crate::Limits;

/// The limits of a device or target in both views.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    bus: Limits,
    bus_memory: Limits,
    list: Limits,
    list_memory: Limits,
}

impl Reach {
    /// Makes the views: `bus` are the limits in bus addresses, `list` what a list must keep for them.
    #[must_use]
    pub fn new(bus: &Limits, list: &Limits) -> Self {
        // What a mapping must keep says nothing of what is cheaper to copy, which was copied already.
        let bus_memory = bus.memory_only().with_copy_below(0);
        Self { bus: *bus, bus_memory, list: *list, list_memory: list.memory_only() }
    }

    /// Makes the views of `limits` over `device`.
    ///
    /// # Errors
    /// [`TargetError::Bus`] for a limit that the bus cannot keep.
    pub fn of<D: Backend>(device: &D, limits: &Limits) -> Result<Self, TargetError> {
        Ok(Self::new(limits, &device.list_limits(limits)?))
    }

    /// Returns the limits in bus addresses.
    #[must_use]
    pub const fn bus(&self) -> &Limits {
        &self.bus
    }

    /// Returns the limits in the addresses of lists: what a request is planned by.
    #[must_use]
    pub const fn list(&self) -> &Limits {
        &self.list
    }

    /// Returns the rules for memory alone, in bus addresses: what a mapping must keep.
    #[must_use]
    pub const fn bus_memory(&self) -> &Limits {
        &self.bus_memory
    }

    /// Returns the terms of a mapping that is used so.
    pub(crate) const fn terms(&self, usage: Usage) -> Terms<'_> {
        Terms { bus_limits: &self.bus_memory, list_limits: &self.list_memory, usage }
    }

    /// Returns the rules for memory alone, in the addresses of lists.
    #[must_use]
    pub const fn list_memory(&self) -> &Limits {
        &self.list_memory
    }
}
