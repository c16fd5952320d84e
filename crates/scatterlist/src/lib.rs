//! Linked scatterlists, device limits and a transfer planner, for user space, drivers and kernels.
#![no_std]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod addr;
pub mod limits;

pub use addr::{Addr, BusAddr, CpuAddr, PhysAddr};
pub use limits::{
    BounceMemory, CacheCoherence, DeviceLimits, Force, Limit, LimitId, Limits, LimitsBuilder, LimitsError,
    MemoryLimits, Source, StackError,
};
