//! An [`Operation`] as io_uring takes it. What the entry points to is promised by
//! [`Backend::push`](super::backend::Backend::push); nothing is looked at here.

use io_uring::squeue::Flags;
use io_uring::types::{Fd, FsyncFlags};
use io_uring::{opcode, squeue};
use scatterlist::Direction;

use super::backend::{Act, FlushKind, Memory, Operation};
use super::files::Carrier;

/// Encodes an operation.
pub(super) fn entry(operation: &Operation) -> squeue::Entry {
    let slot = operation.file_slot.and_then(|slot| i32::try_from(slot).ok());
    let fd = Fd(slot.unwrap_or(operation.fd));
    // "The file's own position" is written as -1.
    let entry = match operation.act {
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
    let mut flags = if slot.is_some() { Flags::FIXED_FILE } else { Flags::empty() };
    // The ring would try, be refused, undo it and hand it to a thread: so at once to the thread.
    flags.set(
        Flags::ASYNC,
        operation.carrier != Carrier::Engine && matches!(operation.act, Act::Transfer { .. }),
    );
    entry.flags(flags).user_data(operation.key)
}
