//! An [`Operation`] as io_uring takes it, in an entry of 64 bytes, or of 128 where there is room for a command too. What the
//! entry points to is promised by [`Backend::push`](super::backend::Backend::push).
#![expect(unsafe_code, reason = "asks command sets for what they encode")]

use io_uring::squeue::Flags;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use scatterlist::Direction;

use super::backend::{Act, FlushKind, Memory, Operation};
use super::files::Carrier;

/// An entry of a ring's submission queue.
pub(super) trait Submission: squeue::EntryMarker {
    /// Whether it has room for commands.
    const COMMANDS: bool;

    /// Encodes an operation; `None` for a command that does not go through a ring with such entries. `fixes` says whether the
    /// kernel takes registered memory for commands.
    ///
    /// # Safety
    /// As [`Backend::push`](super::backend::Backend::push).
    unsafe fn of(operation: &Operation, fixes: bool) -> Option<Self>;
}

impl Submission for squeue::Entry {
    const COMMANDS: bool = false;

    unsafe fn of(operation: &Operation, _: bool) -> Option<Self> {
        entry(operation)
    }
}

impl Submission for squeue::Entry128 {
    const COMMANDS: bool = true;

    unsafe fn of(operation: &Operation, fixes: bool) -> Option<Self> {
        let Act::Command(issue) = operation.act else { return entry(operation).map(Self::from) };
        // SAFETY: the caller's promise.
        let command = unsafe { issue.ring() }?;
        let (fd, flags) = file(operation);
        let fixed = issue.fixed.filter(|_| command.takes_fixed && fixes);
        let entry = opcode::UringCmd80::new(fd, command.op).cmd(command.command).buf_index(fixed);
        Some(entry.build().flags(flags).user_data(operation.key))
    }
}

/// Returns how an entry names the file.
fn file(operation: &Operation) -> (Fd, Flags) {
    let slot = operation.file_slot.and_then(|slot| i32::try_from(slot).ok());
    (Fd(slot.unwrap_or(operation.fd)), if slot.is_some() { Flags::FIXED_FILE } else { Flags::empty() })
}

/// Encodes an operation that is no command.
fn entry(operation: &Operation) -> Option<squeue::Entry> {
    let (fd, mut flags) = file(operation);
    // "The file's own position" is written as -1.
    let entry = match operation.act {
        Act::Command(_) => return None,
        Act::Flush(kind) => {
            let flags = match kind {
                FlushKind::Data => FsyncFlags::DATASYNC,
                FlushKind::All => FsyncFlags::empty(),
            };
            opcode::Fsync::new(fd).flags(flags).build()
        }
        Act::Poll(direction) => {
            let events = match direction {
                Direction::FromDevice => libc::POLLIN,
                Direction::ToDevice => libc::POLLOUT,
            };
            opcode::PollAdd::new(fd, u32::from(events.unsigned_abs())).build()
        }
        Act::Transfer { direction, memory, offset } => {
            let offset = offset.unwrap_or(u64::MAX);
            match (direction, memory) {
                (Direction::FromDevice, Memory::One { addr, len, fixed: Some(index) }) => {
                    opcode::ReadFixed::new(fd, addr, len, index).offset(offset).build()
                }
                (Direction::ToDevice, Memory::One { addr, len, fixed: Some(index) }) => {
                    opcode::WriteFixed::new(fd, addr, len, index).offset(offset).build()
                }
                (Direction::FromDevice, Memory::One { addr, len, fixed: None }) => {
                    opcode::Read::new(fd, addr, len).offset(offset).build()
                }
                (Direction::ToDevice, Memory::One { addr, len, fixed: None }) => {
                    opcode::Write::new(fd, addr, len).offset(offset).build()
                }
                (Direction::FromDevice, Memory::Many { vectors, count, fixed: Some(index) }) => {
                    opcode::ReadvFixed::new(fd, vectors, count, index).offset(offset).build()
                }
                (Direction::ToDevice, Memory::Many { vectors, count, fixed: Some(index) }) => {
                    opcode::WritevFixed::new(fd, vectors, count, index).offset(offset).build()
                }
                (Direction::FromDevice, Memory::Many { vectors, count, fixed: None }) => {
                    opcode::Readv::new(fd, vectors, count).offset(offset).build()
                }
                (Direction::ToDevice, Memory::Many { vectors, count, fixed: None }) => {
                    opcode::Writev::new(fd, vectors, count).offset(offset).build()
                }
            }
        }
    };
    // The ring would try, be refused, undo it and hand it to a thread: so at once to the thread.
    flags.set(
        Flags::ASYNC,
        operation.carrier != Carrier::Engine && matches!(operation.act, Act::Transfer { .. }),
    );
    Some(entry.flags(flags).user_data(operation.key))
}
