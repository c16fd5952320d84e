//! SCSI disks by commands: READ and WRITE that this library plans, past the block layer's own splitting.
//!
//! One class behind three doors ([`door`](super::scsi::door)): the block node, `/dev/bsg`, `/dev/sg`. [`Disk`] opens one, or the one of the
//! device's nodes that does not copy, and asks the device for its facts; `limits` makes [`Limits`](scatterlist::Limits) of them, with
//! the source of each; `commands` is the [`CommandSet`](crate::engine::CommandSet) for an [`Engine`](crate::engine::Engine),
//! `locate` finds the exact block where a command failed.
//!
//! Contract: a command never exceeds what the device takes, because the planner splits by the limits; every byte that the kernel copies
//! on the way is counted ([`Counts`]), and [`Disk::direct`] says why.

mod admit;
mod commands;
mod counts;
mod disk;
mod error;
mod facts;
#[cfg(test)]
mod fake;
mod limits;
mod locate;
mod options;
#[cfg(test)]
mod tests;

pub use commands::DiskCommands;
pub use counts::Counts;
pub use disk::{Disk, block_sibling};
pub use error::OpenError;
pub use facts::{BlockLimits, DiskFacts};
pub use options::{CopyReason, DiskOptions, DoorChoice, SgDirect};
