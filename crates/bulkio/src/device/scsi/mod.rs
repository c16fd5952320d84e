//! What everything that speaks SCSI shares: command blocks, sense data, status codes, and the doors to a device.
//!
//! [`Cdb`] is a command, [`Transport`] carries one to a device and brings back an [`Answer`], [`Sense`] and [`ScsiStatus`] say what the
//! answer means, [`ask`] and [`order`] make the small commands around transfers. [`door`] has the transports of Linux, [`folder`]
//! finds the nodes of one device by each other. Tests, and classes with a drive of their own in memory, give another [`Transport`].
//!
//! Nothing here knows a class of devices: disks and tapes have modules of their own.

mod cdb;
mod control;
pub mod door;
mod error;
pub mod folder;
mod inquiry;
mod retry;
mod sense;
mod status;
mod transport;
mod words;

pub use cdb::{Cdb, CdbError};
pub use control::{ask, order};
pub use error::CommandError;
pub use inquiry::{Inquiry, PeripheralType, Vpd, serial_of, wwid_of};
pub use retry::Retries;
pub use sense::{Sense, SenseFormat, SenseKey};
pub use status::{HostStatus, SamStatus, ScsiStatus};
pub use transport::{Answer, DataDirection, Exchange, Moved, SENSE_BYTES_MAX, SenseBytes, Transport};
