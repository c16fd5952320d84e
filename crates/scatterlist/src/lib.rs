//! Linked scatterlists, device limits and a transfer planner, for user space, drivers and kernels.
#![no_std]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::std_instead_of_core,
    clippy::alloc_instead_of_core
)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::as_conversions, reason = "tests may panic"))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod addr;
pub mod limits;
pub mod list;

pub use addr::{Addr, BusAddr, CpuAddr, PhysAddr};
pub use limits::{
    BounceMemory, CacheCoherence, DeviceLimits, Force, Limit, LimitId, Limits, LimitsBuilder, LimitsError,
    MemoryLimits, Source, StackError,
};
#[cfg(feature = "alloc")]
pub use list::{Appended, ListError, ScatterList, SelectError, SplitError};
pub use list::{Segment, SegmentError, Segments, Totals};
