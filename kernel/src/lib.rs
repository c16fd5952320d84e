//! A small kernel that boots in QEMU and moves data between disks and a sound device through `scatterlist` alone.
//!
//! The second consumer of the core: physical addresses, coherent memory, bounces and descriptors are literal here. It is a worked
//! example for authors of kernels; `README.md` walks a byte from the disk to the loudspeaker. From the bottom to the top:
//!
//! - [`machine`]: what is not our subject: boot information, page tables, frames, clock, interrupts, serial port, PCI. Well-kept crates do
//!   the most of it.
//! - [`memory`]: what the kernel is to `scatterlist`: `Memory`, `Translate`, and buffers made of frames.
//! - [`scenario`]: what it does in QEMU; `cargo xtask kernel` runs and judges each.
#![no_std]
#![warn(
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::std_instead_of_core,
    clippy::alloc_instead_of_core
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod block;
pub mod driver;
pub mod fixed;
#[cfg(target_arch = "x86_64")]
pub mod machine;
pub mod memory;
pub mod misuse;
pub mod refused;
pub mod registers;
#[cfg(target_arch = "x86_64")]
pub mod scenario;
pub mod script;
