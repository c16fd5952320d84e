//! [`Stream`]: a pending request of a [queue](super::MergeQueue), and the [`Extent`] of the device that it covers.
//!
//! By extents alone the queue knows what goes on where something else ends, and whose order matters.

use scatterlist::{Direction, PhysAddr, Position, Request};

use super::load::Load;
use super::queue::PushError;

/// A pending request that may grow, and where it lies on the device.
pub(super) struct Stream<R> {
    pub(super) request: R,
    pub(super) extent: Extent,
    pub(super) load: Load,
}

/// Bytes of the device, and what is done with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) direction: Direction,
}

impl Extent {
    pub(super) fn of<O, C>(request: &Request<PhysAddr, O, C>) -> Result<Self, PushError> {
        let Position::At(start) = request.position() else { return Err(PushError::NoPosition) };
        // What passes 64 bits is refused by the planner: its end is of no account.
        let end = start.saturating_add(request.len_bytes());
        Ok(Self { start, end, direction: request.direction() })
    }

    /// Says whether the order of the two matters.
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        let reads = self.direction == Direction::FromDevice && other.direction == Direction::FromDevice;
        !reads && self.start < other.end && other.start < self.end
    }

    /// Says whether `next` goes on where this ends.
    pub(super) fn leads_to(&self, next: &Self) -> bool {
        self.direction == next.direction && self.end == next.start
    }
}
