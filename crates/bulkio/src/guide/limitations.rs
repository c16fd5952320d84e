//! What bulkio's direct I/O does not do, or does otherwise than you may expect.
//!
//! # Other processes, and other doors to the same bytes
//!
//! - A write of a part of a block reads the block, changes it and writes it back. Writes of **this process** to the same inode or
//!   the same device number wait for one another. Another process that writes another part of the same block in
//!   that moment may lose its bytes, or undo ours. Writers in several processes need a lock of their own (`flock(2)`), or whole blocks.
//! - The locks know inodes and device numbers: a partition and its whole disk, or two loop devices over one file, are not one thing to
//!   them.
//! - Reads take no lock. One that overlaps a write may see a mixture of old and new bytes, as with `pread`.
//! - Memory mapped files (`mmap`) are coherent with direct I/O as far as the file system sees to that: after the call, not during it.
//!
//! # Sizes and ends
//!
//! - A write whose last block is longer than the file may become goes through the page cache for the bytes in that block. They are on the disk
//!   after [`sync_data`](crate::direct::File::sync_data), like all others are for certain.
//! - A write that makes a file longer runs one operation after the other, so that the file never has a gap where a write failed.
//! - A read leaves the memory behind the bytes that it returns unspecified.
//! - On a device, reads end at its size, and a write that would pass it is refused before anything is written. The size is that at opening.
//! - No position past 2^63 - 1 rounded down to a block, for reads either.
//! - There is no append mode; the end is where [`len`](crate::direct::File::len) says.
//!
//! # What is below
//!
//! - Whether a file system that took `O_DIRECT` copies all the same is not seen from here (some do for files that they compress, checksum
//!   or encrypt). File systems in memory do, are known, and are reported as without direct I/O.
//! - `statx` tells a smaller alignment for reads than for writes on some file systems. The larger one is used for both.
//! - A failed read is tried again in smaller steps, down to a block or sector, so the error names the place; a failed write is not:
//!   its error names the operation.
//! - Pipes, terminals, sockets and tapes have no positions: see [`copy`](mod@crate::copy) and [`engine`](crate::engine).
//!
//! # Copies to several destinations
//!
//! - [`copy_all`](crate::copy::copy_all) takes up to [`DESTINATIONS_MAX`](crate::copy::DESTINATIONS_MAX) files, disks and pipes: no tapes, grabbers and sound devices, no
//!   [`rescue`](crate::copy::CopyOptions::rescue), no [`expect`](crate::copy::CopyOptions::expect), and no [`plan`](crate::copy::plan()). One seek is for all.
//! - A destination that was dropped is not taken in again, and not flushed; what it holds is the start of the range at best, on a disk with old bytes between.
//! - A device that neither answers nor fails holds all others up, as it does a copy to it alone.
//! - Memory is not added for a slow destination: the others wait for it once all slots do. A pipe among the destinations has one write in flight.
//!
//! # Tapes
//!
//! - A read that fails in fixed mode may mean a block of another length: drives that say so are answered with the length found, others call it
//!   a bad spot. After that the place is known again when the tape was rewound.
//! - Data that no filemark closes ends with an error of the read behind it, as the driver has it; what was before is kept.
//! - Blocks are read up to 4 MiB, or half of what [`TapeCopy::block_len`](crate::copy::TapeCopy::block_len) makes a slot.
//! - tgt before 1.0.94, an emulated drive, answers a read behind the data with a block of zeros, again and again: copy a known number of files there.
//!
//! # Streams with a clock
//!
//! - Video is captured, not put out; sound goes both ways. There are no plugins between: nothing is resampled, mixed or converted, and a name such as `default` is
//!   no device. Compressed frames go one behind the other as the driver gives them.
//! - A grabber that gives both fields of a picture one number (`V4L2_FIELD_ALTERNATE`) can lose one of them without a gap in the numbers.
//! - A first frame that is cut off is taken as whole where the format does not say how long it must be; later ones are held against it.
//! - A dma-buf begins on a page, so frames that end within a block of the file are copied every time they do not lie as it does; user pointers need no copy there.
//! - Before Linux 6.13 the CPU's view of a dma-buf of huge pages is wrong, so such pools are of base pages.
//! - What a sound device wrote over before it stopped is counted as far as its own counters tell; the time of a gap is theirs, too, and not known behind a suspend.
//! - WAV holds 4 GiB at most; a longer recording is raw. A WAV is played from a file, not from a pipe.
//! - Setting a grabber up changes its input, format and rate, as with every program; a copy that is refused later leaves them so.
//!
//! # Cancelling
//!
//! - Dropping a future, or a driver, ends what has not begun. What a disk is doing already ends by itself, and the memory is kept until
//!   then. After a write was dropped, nothing, a part or all of it may have been written.
//! - A device that never answers keeps what it was lent: a driver's end waits for it at most
//!   [`drain_max`](crate::direct::IoOptions::drain_max), then leaks that memory and says so. A blocking call and a scope wait as
//!   long as it takes, since they only borrow.
//!
//! # Memory
//!
//! - Each [`Io`](crate::direct::Io) has slots for its [`channels_max`](crate::direct::IoOptions::channels_max) from the start: 16 times
//!   1.1 MiB with the defaults.
//! - A child of `fork(2)` must not write to memory that a transfer of its parent is under way on; slots are not inherited.
//! - Where the limit of locked memory (`ulimit -l`) refuses registration, transfers work without; the report says so.
//! - The blocking front's rings may move between threads, which costs some of io_uring's speed. A [`Driver`](crate::direct::Driver) or an
//!   [`Engine`](crate::engine::Engine) of one thread is faster for many small operations.
//!
//! # Polling
//!
//! - [`polled`](crate::direct::IoOptions::polled) takes io_uring and a device with queues for it, and cannot flush:
//!   [`sync_data`](crate::direct::File::sync_data) of the blocking front can. [`kernel_submission`](crate::direct::IoOptions::kernel_submission)
//!   wants a processor for itself. Where they cannot be had, making the [`Io`](crate::direct::Io) or the first transfer fails and says why.
//!
//! # SCSI commands
//!
//! - `/dev/sg` copies, also where its module allows direct I/O: a command may outlive its call there. [`SgDirect`](crate::device::scsi_generic::SgDirect) is the promise that
//!   changes this. The block node and bsg reach the memory itself.
//! - Whether the kernel maps the memory of a command or copies it is stated by `/dev/sg` alone. For block nodes and bsg it is told by the kernel's own rule, from
//!   what sysfs states of the queue; a padding of lengths, which some ATAPI drives want, is not shown there.
//! - A command goes past the page cache and past the file systems: what a block node's readers have cached stays as it was.
//! - A unit that lost power after a write is noticed if the news comes to a command of ours; if the kernel's own driver was told first, it is not. Like
//!   every device, it keeps what was flushed.
//! - Disks that are formatted with protection information, and disks whose zones the host manages, are refused.
//! - A command in flight cannot be cancelled; it ends by itself, at the latest after its timeout and the kernel's attempts to abort it.
