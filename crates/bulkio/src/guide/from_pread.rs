//! From `pread` to bulkio: what a program has today, and what it becomes.
//!
//! # One line
//!
//! A program that reads and writes at offsets uses [`FileExt`](std::os::unix::fs::FileExt). [`direct::File`](crate::direct::File)
//! is one more of those, so only the line that opens changes:
//!
//! ```
//! use std::os::unix::fs::FileExt;
//! # let path = std::env::current_exe()?;
//!
//! // let file = std::fs::File::open(&path)?;
//! let file = bulkio::direct::File::open(&path)?;
//!
//! let mut header = [0_u8; 4];
//! file.read_exact_at(&mut header, 0)?;
//! assert_eq!(&header, b"\x7fELF");
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! From then on nothing goes through the page cache that need not. Whole blocks move between your memory and the device as they are,
//! wherever your memory is aligned as its position in the file is (modulo what the device demands, often 512 or 4 bytes). The ends
//! of a call that lie inside a block go through registered pages. Memory that is not aligned so goes through these pages
//! altogether, in pieces that overlap with the device's work.
//!
//! # Being told
//!
//! `FileExt` has no room for more than a number. The calls of `File` itself say what was copied, and why:
//!
//! ```
//! use bulkio::direct::File;
//! # let path = std::env::current_exe()?;
//!
//! let file = File::open(&path)?;
//! let mut bytes = vec![0_u8; 100_000];
//! let moved = file.read(&mut bytes, 7)?;
//! println!("{} of {} bytes without a copy", moved.direct_bytes(), moved.bytes);
//! for (reason, bytes) in moved.reasons() {
//!     println!("{bytes} copied: {reason}");
//! }
//! # assert_eq!(moved.bytes, 100_000);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # What becomes of what
//!
//! | today | with bulkio |
//! |---|---|
//! | `pread`, `pwrite` | [`File::read_at`](crate::direct::File#impl-FileExt-for-File), `write_at`; with counts [`File::read`](crate::direct::File::read), [`File::write`](crate::direct::File::write) |
//! | `preadv`, at most 1,024 slices | [`File::read_vectored`](crate::direct::File::read_vectored), any number |
//! | `O_DIRECT` with `posix_memalign`, sizes rounded by hand, `EINVAL` | the same calls: alignment is the library's work |
//! | a bounce buffer for the last block | nothing: the end of the file is exact |
//! | read-modify-write of a header | [`File::write`](crate::direct::File::write): locked against the writes of all threads |
//! | threads, to have several reads under way | [`Io::scope`](crate::direct::Io::scope) over borrowed memory |
//! | libaio, io_uring | [`Driver`](crate::direct::Driver) with futures, or [`engine`](crate::engine) |
//! | registering buffers | [`PagePool`](crate::pages::PagePool); memory of your own in [`IoOptions::regions`](crate::direct::IoOptions::regions) |
//! | "is io_uring allowed in this container?" | the engine is chosen by trying it: io_uring, native AIO, threads; [`Io::engine`](crate::direct::Io::engine) tells which and why |
//! | `fdatasync` | [`File::sync_data`](crate::direct::File::sync_data): direct I/O makes nothing durable by itself |
//!
//! # Several at a time, over borrowed memory
//!
//! ```
//! use bulkio::direct::File;
//! # let path = std::env::current_exe()?;
//!
//! let file = File::open(&path)?;
//! let mut parts = vec![vec![0_u8; 50_000]; 4];
//! file.io().scope(|scope| {
//!     for (number, part) in parts.iter_mut().enumerate() {
//!         let _ = scope.read(&file, part, 50_000 * number as u64);
//!     }
//! })?; // All parts are read here, or the error says which was not.
//! # assert_eq!(&parts[0][..4], b"\x7fELF");
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Futures
//!
//! Owned memory goes in and comes back with the result, also where the transfer fails. No executor is assumed; this one is as
//! small as they get:
//!
//! ```
//! use std::pin::pin;
//! use std::sync::Arc;
//! use std::task::{Context, Poll, Wake, Waker};
//!
//! use bulkio::direct::{Driver, File, IoOptions};
//!
//! struct Unpark(std::thread::Thread);
//! impl Wake for Unpark {
//!     fn wake(self: Arc<Self>) {
//!         self.0.unpark();
//!     }
//! }
//! fn block_on<F: Future>(future: F) -> F::Output {
//!     let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(std::thread::current()))));
//!     loop {
//!         match future.as_mut().poll(&mut Context::from_waker(&waker)) {
//!             Poll::Ready(output) => return output,
//!             Poll::Pending => std::thread::park(),
//!         }
//!     }
//! }
//! # let path = std::env::current_exe()?;
//!
//! let driver = Driver::new(IoOptions::default())?;
//! let file = driver.file(File::open(&path)?).map_err(|_| "blocks longer than bounce_len")?;
//! let (moved, bytes) = block_on(file.read(vec![0_u8; 4096], 0));
//! assert_eq!((moved?.bytes, &bytes[..4]), (4096, &b"\x7fELF"[..]));
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Choosing the engine
//!
//! `BULKIO_ENGINE=threads your-program` forces one for a look; [`IoOptions::engine`](crate::direct::IoOptions::engine) does so in the
//! program, and then it is an error where it does not work.
