//! Devices that misbehave on demand, for tests: include this folder with `mod faulty;` beside `mod common;`.
//!
//! [`FaultyFs`] has files that are late, short or broken by [`Rule`]s, a [`FaultyDisk`] is a block device of such a
//! file. Memory of a [`Quarantine`] notices what is written to it after it was freed. A [`Child`] is a test in a process
//! of its own, where [`refuse`] forbids system calls.
//!
//! ```text
//! let fs = or_skip!(NAME, FaultyFs::new(vec![bytes]));
//! let file = fs.file(0);
//! file.add(Rule::reads().touching(4096..4608).bad(libc::EIO));    // one bad block
//! file.add(Rule::writes().after(2).once().short(1000));           // the third write is short
//! file.add(Rule::any().hold());                                   // everything waits at the gate
//! let fd = file.open(libc::O_RDWR | libc::O_DIRECT);              // or file.path(), for what opens by itself
//! ...                                                             // start transfers
//! file.wait_held(3);
//! file.free_last();                                               // the youngest first
//! file.open_gate();                                               // and all others; the bytes are in memory now
//! ```
//!
//! Contract: nothing is left behind when a test fails, and of a killed one at most the loop device of a disk, or, where AIO operations
//! were held, now and then the process itself; nothing waits without a bound; no sleeps.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::allow_attributes,
    reason = "each test binary uses its own part of this, so that an expectation would fail in some"
)]

mod child;
mod disk;
mod fs;
mod quarantine;
mod rules;
mod seccomp;
mod server;
mod shared;
mod wire;

pub use child::{Child, Ended};
pub use disk::FaultyDisk;
pub use fs::{FaultyFile, FaultyFs, FsOptions};
pub use quarantine::{IoMemory, Quarantine};
pub use rules::{Effect, Op, Rule};
pub use seccomp::{Family, refuse};
pub use shared::{Answer, Seen};
pub use wire::MESSAGE_BYTES_MAX;
