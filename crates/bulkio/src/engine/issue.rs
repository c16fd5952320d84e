//! [`Issue`]: a command of a device on its way through a back end, as raw as every other operation.
//!
//! The table makes it of a part or a flush of a file that was added with a [`CommandSet`]; whoever carries it asks that set, either for
//! the entry of a ring or to make the call.
#![expect(unsafe_code, reason = "asks a command set by raw pointers, promised by Backend::push")]

use core::slice;
use std::os::fd::{BorrowedFd, RawFd};

use super::commands::{Action, Command, CommandSet, Ended, RingCommand};

/// One command.
///
/// # Invariants
/// 1. Under the promise of [`Backend::push`](super::backend::Backend::push), `set` and the `count` pieces at `pieces` are valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issue {
    pub(super) set: *const dyn CommandSet,
    pub(super) action: Action,
    /// Not looked at where `count` is 0.
    pub(super) pieces: *const libc::iovec,
    pub(super) count: u32,
    pub(super) bytes: u32,
    /// The registered buffer that its one piece lies in.
    pub(super) fixed: Option<u16>,
}

impl Issue {
    /// Makes the call of a command, and waits until the command is over.
    ///
    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push), until this returns.
    pub(super) unsafe fn execute(&self, fd: RawFd) -> Ended {
        // SAFETY: (1).
        let set = unsafe { &*self.set };
        // SAFETY: the caller's promise.
        let command = unsafe { self.command() };
        // SAFETY: the caller's promise: it is open.
        let file = unsafe { BorrowedFd::borrow_raw(fd) };
        // SAFETY: the caller's promise: memory that is valid, and accessed by nobody else.
        unsafe { set.execute(file, &command) }
    }

    /// Returns the command as a ring takes it, if it can.
    ///
    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push).
    pub(super) unsafe fn ring(&self) -> Option<RingCommand> {
        // SAFETY: (1).
        let set = unsafe { &*self.set };
        // SAFETY: the caller's promise.
        let command = unsafe { self.command() };
        set.ring(&command)
    }

    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push).
    unsafe fn command(&self) -> Command<'_> {
        let pieces: &[libc::iovec] = if self.count == 0 {
            &[]
        } else {
            // SAFETY: (1). Widening, lossless.
            unsafe { slice::from_raw_parts(self.pieces, self.count as usize) }
        };
        Command { action: self.action, pieces, bytes: self.bytes }
    }
}
