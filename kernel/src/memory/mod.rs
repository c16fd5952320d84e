//! What the kernel is to `scatterlist`: the owner of the machine's memory.
//!
//! [`Frames`] says which frames are free, [`KernelMemory`] tells back ends where the CPU sees them and where coherent memory comes
//! from, [`Buffer`] is frames that can be leased to a device. Nothing here is global: whoever maps holds a handle.

mod buffer;
mod frames;
mod kernel_memory;

pub use buffer::{Buffer, BufferError, Owner};
pub use frames::{Choice, FRAME_LEN, Frames, Order};
pub use kernel_memory::KernelMemory;
