//! Mapping: memory made reachable for a device, on any bus, and given back.
//!
//! A driver calls [`DmaDevice`] or a [`DmaTarget`] and gets a [`Mapped`], which owns the memory; its bus addresses come out
//! of [`InFlight`] only, which the device's completion turns back. [`prepare`] maps a whole [`Request`](crate::Request) and
//! fetches its descriptors. Beneath stand the [back ends](Backend): [`Direct`] (an offset), the IOMMU, the bounce pool on top of
//! either, the checker around any. Where memory is and how caches are cared for is said by its owner: [`Memory`].
//! Without an allocator, [`with_mapped`] lends borrowed memory for the time of a closure.

mod backend;
#[cfg(feature = "alloc")]
mod bounce;
#[cfg(feature = "alloc")]
mod bytes;
mod caches;
#[cfg(feature = "alloc")]
pub mod checked;
#[cfg(feature = "alloc")]
mod coherent;
#[cfg(feature = "alloc")]
mod device;
mod direct;
mod direction;
mod error;
#[cfg(feature = "alloc")]
mod flight;
#[cfg(feature = "alloc")]
mod flight_slot;
mod guard;
mod hardware;
#[cfg(feature = "alloc")]
pub mod iommu;
#[cfg(feature = "alloc")]
mod mapped;
mod memory;
mod parts;
#[cfg(feature = "alloc")]
mod pool;
#[cfg(feature = "alloc")]
mod prepare;
mod reach;
mod scope;
mod sink;
mod target;
mod terms;
mod translate;
#[cfg(feature = "alloc")]
pub mod translation_table;

pub use backend::Backend;
#[cfg(feature = "alloc")]
pub(crate) use backend::facts_of_inner;
#[cfg(feature = "alloc")]
pub use bounce::{Bounce, BounceError, BounceFailed, BounceLayout, BounceMapping};
#[cfg(feature = "alloc")]
pub use coherent::{Coherent, Word};
#[cfg(feature = "alloc")]
pub use device::DmaDevice;
pub use direct::{Direct, Offset};
pub use direction::{Both, CpuWrites, DeviceWrites, DmaDirection, FromDevice, MapDirection, ToDevice};
pub use error::{MapError, Resource, TargetError};
#[cfg(feature = "alloc")]
pub use flight::{Held, InFlight};
#[cfg(feature = "alloc")]
pub use flight_slot::FlightSlot;
#[cfg(feature = "alloc")]
pub(crate) use guard::MappingGuard;
pub use hardware::Hardware;
#[cfg(feature = "alloc")]
pub use mapped::{MapFailed, MapResult, Mapped};
#[cfg(feature = "alloc")]
pub use memory::HeapMemory;
pub use memory::{CoherentLayout, Leak, Memory, RawCoherent};
pub use parts::parts;
#[cfg(feature = "alloc")]
pub use pool::{DmaPool, PoolError, PoolLayout, PoolObject};
#[cfg(feature = "alloc")]
pub use prepare::{
    DescriptorPool, PrepareError, PrepareFailed, PrepareResult, Prepared, PreparedFor, prepare,
};
pub use reach::Reach;
pub use scope::{Borrowed, with_mapped};
#[cfg(feature = "alloc")]
pub(crate) use sink::Recorder;
pub use sink::{BusSink, BusSlots};
pub use target::{DmaTarget, MapPolicy};
pub use terms::{Bounced, CpuSync, Terms, Usage};
pub use translate::{Translate, Untranslatable};
