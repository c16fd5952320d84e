#![doc = include_str!("../README.md")]
#![no_std]
#![warn(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::std_instead_of_core,
    clippy::alloc_instead_of_core
)]

extern crate alloc;
#[cfg(feature = "fake")]
extern crate std;

mod admin;
mod capability;
mod controller;
mod done;
mod entry;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod format;
mod identify;
mod link;
mod namespace;
mod options;
mod pair;
mod parts;
mod queue;
mod recover;
mod registers;
mod slots;
mod spec;
mod status;

pub use capability::Capability;
pub use controller::Controller;
pub use done::{CommandId, Control, Done, Finished};
pub use error::{AdminError, InitError, NamespaceError, PollError, ReadyError, SubmitError, SubmitFailed};
pub use format::{DataFormat, DataPointer, Format, FormatError};
pub use identify::{Information, NamespaceInformation};
pub use namespace::Namespace;
pub use options::Options;
pub use queue::IoQueue;
pub use recover::Recovery;
pub use registers::{Interrupts, Registers};
pub use status::{DeviceStatus, Meaning};
