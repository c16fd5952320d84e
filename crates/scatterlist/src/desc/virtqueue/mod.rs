//! The split virtqueue: Virtual I/O Device (VIRTIO) Version 1.2, section 2.7.
//!
//! [`SplitQueue`] is the driver's side: it puts requests into the descriptor table or into an indirect table,
//! publishes them in the available ring and takes them back from the used ring. What the driver must not lose stands
//! in [`Slot`]s that the device cannot write. The device's side is [`DeviceRings`], which walks the bytes as a device
//! does. [`TableView`], [`AvailableView`] and [`UsedView`] read the raw bytes; [`limits`] is what a plan must keep.
//!
//! There is no register access: offering the addresses, notifying and resetting are the transport's. Both
//! `VIRTIO_F_EVENT_IDX` and `VIRTIO_F_IN_ORDER` must not be negotiated: they give the rings another meaning.

mod error;
mod format;
mod limits;
mod memory;
mod queue;
mod view;
mod walk;

pub use error::{AddError, QueueError, UsedError};
pub use format::{Descriptor, QueueSize, Side};
pub use limits::{Frame, Shape, limits};
pub use memory::{RingMemory, Rings};
pub use queue::{Slot, SplitQueue, Used};
pub use view::{AvailableView, TableView, UsedElement, UsedView};
pub use walk::{DeviceRings, RingError, Run, Walk, WalkError};
