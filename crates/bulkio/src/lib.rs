//! Planned transfers between memory and files or devices on Linux: any memory, any offset, any length, without `EINVAL` and without a
//! silent copy.
//!
//! A whole program. It reads a million bytes of itself from an odd offset, past the page cache, into memory of no particular
//! alignment, and is told what of it had to be copied and which engine did the work:
//!
//! ```
//! use bulkio::direct::File;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let path = std::env::current_exe()?;
//!     let file = File::open(&path)?;
//!     let mut bytes = vec![0_u8; 1_000_000];
//!     let moved = file.read(&mut bytes, 123)?;
//!     println!("{}: {moved}", path.display());
//!     println!("engine: {}", file.io().engine().kind);
//!     match file.direct() {
//!         Ok(()) => println!("past the page cache"),
//!         Err(why) => println!("through the page cache: {why}"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # From the top down
//!
//! - [`copy`]: one end to another, as the command `bulkio copy` does it.
//! - [`direct`]: reads and writes of any slice, blocking and asynchronous. Start here, with [`guide::from_pread`].
//! - [`device`]: what a copy reads from and writes to, one file a class.
//! - [`engine`]: many operations in flight, by io_uring, native AIO or threads. The layer for those who plan for themselves.
//! - [`pages`]: memory for I/O: pools, nodes, contiguity.
//! - [`probe`]: what a file or device can take, and who says so.
//!
//! Lists, leases, limits and the planner come from the crate `scatterlist`. What does not work stands in [`guide::limitations`].

pub mod copy;
pub mod device;
pub mod direct;
pub mod engine;
pub mod guide;
pub mod pages;
pub mod probe;
