//! Direct I/O for any slice: any memory, any offset, any length, past the page cache, and the truth about what was copied.
//!
//! [`File`] opens a regular file or a block device. Its calls block; [`Io::scope`] has many under way over borrowed memory; a [`Driver`]
//! and its [`AsyncFile`]s take owned memory and are futures. All say what they [`Moved`].
//!
//! # How bytes go
//!
//! A call is rounded out to the blocks that it touches. Whole blocks move between the caller's memory and the device without a copy
//! where the addresses suit the positions; memory that does not goes through pages of our own, piece by piece; so do the parts
//! of a first and a last block. In one operation all three may stand side by side. A write of a part of a block reads the block,
//! changes it and writes it back, under a lock on the range for all of the process; what would make a file too long that way goes through the
//! page cache, last, so that nobody ever sees a size that is wrong. Without direct I/O all goes through the page cache, and is counted so.
//!
//! # Odd input
//!
//! | a call with | gives |
//! |---|---|
//! | no bytes | nothing moved, if the file is open for it and the position exists |
//! | an end past the last position: 2^63 - 1 rounded down to a block, or a device's size for writes | [`TransferErrorKind::Position`] with the last one; nothing moved |
//! | a read at or past the end | fewer bytes, or none; no error |
//! | a write past the end of a file | a longer file; zeros where nothing was written |
//! | a file not open for it | [`TransferErrorKind::NotReadable`], [`TransferErrorKind::NotWritable`], also for no bytes |
//! | a driver that has ended | [`TransferErrorKind::Closed`]; the memory comes back |
//! | a write to blocks that a scope of the same thread writes | `EDEADLK`; nothing moved |
//! | a pipe, a terminal, a folder | [`OpenError::NotPositioned`], [`OpenError::Refused`] |
//!
//! # Inside
//!
//! `cover` rounds and decides, `job` is one call as a state machine of operations, `channel` runs jobs on an engine (`lane`) and supplies them (`stores`), `memory` is the
//! promise behind the bytes, `bounce` copies, `range_lock` locks. The fronts are `call`, `scope`, and `driver` with `future` and the `queue` between them.

mod bounce;
mod call;
mod channel;
mod cover;
mod driver;
mod error;
mod file;
mod future;
mod io;
mod job;
mod lane;
mod lend;
mod memory;
mod moved;
mod open;
mod queue;
mod range_lock;
mod scope;
mod stores;
mod wait;

pub use driver::Driver;
pub use error::{DriverFileError, IoError, OpenError, TransferError, TransferErrorKind};
pub use future::{AsyncFile, Flush, Transfer};
pub use io::{Io, IoOptions};
pub use lend::Lend;
pub use moved::{Moved, Reason};
pub use open::{File, OpenOptions};
pub use scope::{Pending, Scope, ScopeError};
