//! Linked scatterlists, device limits, a transfer planner, mapping and descriptors, for user space, drivers and kernels.
//!
//! The layers, top to bottom; each knows only those below it.
//!
//! - [`fake`]: a machine for tests, whose caches, mappings and device can be seen and made to fail.
//! - [`map`]: [`DmaTarget`], and leases mapped for a device on any bus: [`map::prepare`] takes a request all the way to its
//!   descriptors. Back ends: an offset, an IOMMU, a bounce pool, a checker.
//! - [`desc`]: the descriptors of NVMe, virtio and AC97: encoders, views, walkers.
//! - [`plan`]: a list and limits in, device-ready requests out; [`plan::Appender`] for producers that stream.
//! - [`request`]: [`Request`], a lease with direction, position and completion; merge, split, stripe, encapsulate.
//! - [`lease`]: [`Lease`], a list together with the owner of its memory. Only a lease reaches a device.
//! - [`limits`]: [`Limits`], what a device can take, each limit with its source and force; stacking.
//! - [`list`]: [`Segment`], [`ScatterList`] (the chain) and [`Totals`].
//! - [`addr`]: [`CpuAddr`], [`PhysAddr`], [`BusAddr`], never mixed.
//!
//! Nothing here knows an operating system or a bus. No function panics on any input, and arithmetic cannot overflow.
//! Driver authors start at [`guide`]; every promise that unsafe code rests on is on [one page](guide::invariants).
//!
//! # Features
//! - `alloc`: the chain, leases, requests and the appender; mappings that own, pools, and all back ends but the offset.
//!   Without it the planner and the encoders work on slices of [`Segment`], and [`map::with_mapped`] maps borrowed memory.
//! - `fake` (default): the machine for tests. Leave it out where devices are real: it makes leases of made-up addresses.
//! - `std` (default): memory that stays taken is reported on standard error by [`map::HeapMemory`]'s default.
//!
//! # Example
//! A device that takes three segments a command, and a list of four:
//!
//! ```
//! use scatterlist::plan::{Piece, Policy, plan};
//! use scatterlist::{Addr, LimitId, Limits, PhysAddr, Position, Segment};
//!
//! let pages: Vec<Segment<PhysAddr>> = [0x1000, 0x3000, 0x5000, 0x7000]
//!     .map(|page| Segment::new(PhysAddr::new(page), 4096))
//!     .into_iter()
//!     .collect::<Result<_, _>>()?;
//! let limits = Limits::builder().hard(LimitId::SegmentsMax, 3).build()?;
//! for ready in plan(&pages[..], Position::At(0), &limits, Policy::SplitOrError) {
//!     let ready = ready?;
//!     assert!(ready.pieces().all(|piece| matches!(piece, Piece::Direct(_))));
//!     if let Some(why) = ready.cut() {
//!         assert_eq!(why.to_string(), "4 is more than 3 (segments_max, from user)");
//!     }
//! }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
#![no_std]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::std_instead_of_core,
    clippy::alloc_instead_of_core
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod addr;
pub mod desc;
#[cfg(feature = "alloc")]
mod extents;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(feature = "alloc")]
pub mod guide;
#[cfg(feature = "alloc")]
pub mod lease;
pub mod limits;
pub mod list;
pub mod map;
pub mod plan;
mod position;
#[cfg(feature = "alloc")]
pub mod request;
#[cfg(feature = "alloc")]
pub mod sync;

pub use addr::{Addr, BusAddr, CpuAddr, PhysAddr};
#[cfg(feature = "alloc")]
pub use lease::{Lease, OwnedBytes, ShareOwner};
pub use limits::{
    BounceMemory, CacheCoherence, DeviceLimits, Force, Limit, LimitId, Limits, LimitsBuilder, LimitsError,
    MemoryLimits, Source, StackError,
};
#[cfg(feature = "alloc")]
pub use list::{Appended, ListError, ScatterList, SelectError, SplitError};
pub use list::{Segment, SegmentError, Segments, Totals};
pub use map::{DmaTarget, MapPolicy};
pub use position::Position;
#[cfg(feature = "alloc")]
pub use request::{Complete, Direction, Fault, Outcome, Request, Shared, Status};
