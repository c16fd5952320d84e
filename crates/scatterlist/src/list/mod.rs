//! [`Segment`], [`ScatterList`] (the chain) and [`Totals`].
//!
//! A list is data for planning: its addresses are plain numbers, and safe code may build any. What reaches a
//! device is a [`Lease`](crate::Lease), which adds the owner of the memory. The planner reads any
//! [`Segments`]: a chain, or a borrowed slice where there is no allocator.

#[cfg(feature = "alloc")]
mod build;
#[cfg(feature = "alloc")]
mod chain;
#[cfg(feature = "alloc")]
mod chunk;
#[cfg(feature = "alloc")]
mod entries;
#[cfg(feature = "alloc")]
mod scatter_list;
mod segment;
#[cfg(feature = "alloc")]
mod splice;
mod totals;

#[cfg(feature = "alloc")]
pub use build::SelectError;
#[cfg(feature = "alloc")]
pub use chain::Iter;
#[cfg(feature = "alloc")]
pub use scatter_list::{Appended, ListError, ScatterList};
pub use segment::{Segment, SegmentError};
#[cfg(feature = "alloc")]
pub use splice::SplitError;
pub use totals::Totals;

use core::ops::ControlFlow;

use crate::Addr;

/// A list of segments that the planner can walk.
///
/// Implemented by [`ScatterList`] and by slices of [`Segment`]. Slices need not be canonical: the planner
/// joins adjacent segments that no barrier parts. A list that keeps totals is canonical.
pub trait Segments {
    /// The kind of address.
    type Addr: Addr;
    /// A cheap cursor over the segments.
    type Iter<'a>: Iterator<Item = Segment<Self::Addr>> + Clone
    where
        Self: 'a;

    /// Starts at the first segment.
    fn segments(&self) -> Self::Iter<'_>;

    /// Returns the running totals, where the list keeps them; else `None`, and the planner walks.
    fn totals(&self) -> Option<Totals>;

    /// Returns the bytes of the list; `u64::MAX` where they pass 64 bits.
    fn bytes(&self) -> u64;

    /// Returns the only segment of a list that knows it has one; `None` may be too careful.
    #[inline]
    fn only(&self) -> Option<Segment<Self::Addr>> {
        None
    }

    /// Hands every segment to `visit`, in order, in slices as long as the list has them, some of which may be empty:
    /// for loops that must be fast. Ends early where `visit` breaks.
    fn visit_runs<B>(
        &self,
        mut visit: impl FnMut(&[Segment<Self::Addr>]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.segments().try_for_each(|segment| visit(core::slice::from_ref(&segment)))
    }
}

impl<A: Addr> Segments for [Segment<A>] {
    type Addr = A;
    type Iter<'a> = core::iter::Copied<core::slice::Iter<'a, Segment<A>>>;

    fn segments(&self) -> Self::Iter<'_> {
        self.iter().copied()
    }

    fn totals(&self) -> Option<Totals> {
        None
    }

    fn bytes(&self) -> u64 {
        self.iter().fold(0, |sum, segment| segment.len().saturating_add(sum))
    }

    fn visit_runs<B>(&self, mut visit: impl FnMut(&[Segment<A>]) -> ControlFlow<B>) -> ControlFlow<B> {
        visit(self)
    }
}
