//! The calls of a worker: one operation in, out come its bytes, its negative error number, or how its command ended.
#![expect(unsafe_code, reason = "system calls on raw addresses")]

use core::slice;
use std::io;

use scatterlist::Direction;

use super::super::backend::{Act, Answer, FlushKind, Memory, Operation};

/// Bytes after which a pipe's writer reports how far it is.
const STEPS_BYTES_MAX: i32 = 1 << 24;

/// Runs an operation. Where `nowait` is set and the file can tell, it ends with `-EAGAIN` instead of waiting.
///
/// # Safety
/// As [`Backend::push`](super::super::backend::Backend::push), until this returns.
pub(super) unsafe fn execute(operation: &Operation, nowait: bool) -> Answer {
    match operation.act {
        Act::Poll(_) => Answer::Kernel(0),
        Act::Flush(kind) => Answer::Kernel(result(flush(operation.fd, kind))),
        // SAFETY: the caller's promise.
        Act::Command(issue) => Answer::Ended(unsafe { issue.execute(operation.fd) }),
        Act::Transfer { direction, memory, offset } => {
            // SAFETY: the caller's promise.
            Answer::Kernel(unsafe { transfer(operation, direction, memory, offset, nowait) })
        }
    }
}

/// # Safety
/// The memory and vectors are valid and accessed by nobody else, and the file of the operation is open, until
/// this returns.
unsafe fn transfer(
    operation: &Operation,
    direction: Direction,
    memory: Memory,
    offset: Option<u64>,
    nowait: bool,
) -> i32 {
    // "The file's own position" is written as -1 (preadv2(2)).
    let Ok(offset) = offset.map_or(Ok(-1), libc::off_t::try_from) else { return -libc::EINVAL };
    let one;
    let (vectors, count) = match memory {
        Memory::One { addr, len, .. } => {
            let Ok(len) = usize::try_from(len) else { return -libc::EINVAL };
            one = libc::iovec { iov_base: addr.cast(), iov_len: len };
            (&raw const one, 1)
        }
        Memory::Many { vectors, count, .. } => {
            (vectors, libc::c_int::try_from(count).unwrap_or(libc::c_int::MAX))
        }
    };
    let call = |flags: libc::c_int| match direction {
        // SAFETY: the caller's promise, for the vectors, what they name, and the file.
        Direction::FromDevice => unsafe { libc::preadv2(operation.fd, vectors, count, offset, flags) },
        // SAFETY: as before.
        Direction::ToDevice => unsafe { libc::pwritev2(operation.fd, vectors, count, offset, flags) },
    };
    if nowait {
        let moved = result(call(libc::RWF_NOWAIT));
        // Files that cannot tell, and kernels that do not know the flag.
        if ![-libc::EOPNOTSUPP, -libc::EINVAL, -libc::ENOSYS].contains(&moved) {
            return moved;
        }
        if operation.pipe && direction == Direction::ToDevice {
            // SAFETY: the caller's promise: the vectors are valid.
            let vectors = unsafe { slice::from_raw_parts(vectors, usize::try_from(count).unwrap_or(0)) };
            // SAFETY: the caller's promise, for what they name and the file.
            return unsafe { fill_pipe(operation.fd, vectors) };
        }
    }
    result(call(0))
}

/// Writes to a pipe what it takes without waiting: named pipes know no `RWF_NOWAIT`. One that is ready takes
/// `PIPE_BUF` bytes (`pipe(7)`, unless somebody else is faster), so it is asked before each such step.
///
/// # Safety
/// The memory that the vectors name is valid, and the file is open.
unsafe fn fill_pipe(fd: libc::c_int, vectors: &[libc::iovec]) -> i32 {
    let mut written = 0_i32;
    for vector in vectors {
        let mut at = 0;
        while at < vector.iov_len && written < STEPS_BYTES_MAX {
            let mut file = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
            // SAFETY: the record is valid for the call.
            let ready = unsafe { libc::poll(&raw mut file, 1, 0) };
            if ready <= 0 {
                return if written > 0 { written } else { -libc::EAGAIN };
            }
            let len = vector.iov_len.saturating_sub(at).min(libc::PIPE_BUF);
            // SAFETY: the caller's promise; the bytes lie within the vector.
            let step = result(unsafe { libc::write(fd, vector.iov_base.wrapping_byte_add(at), len) });
            let Ok(moved @ 1..) = usize::try_from(step) else {
                return if written > 0 { written } else { step };
            };
            written = written.saturating_add(step);
            at = at.saturating_add(moved);
        }
    }
    written
}

fn flush(fd: libc::c_int, kind: FlushKind) -> isize {
    let result = match kind {
        // SAFETY: takes no memory.
        FlushKind::Data => unsafe { libc::fdatasync(fd) },
        // SAFETY: takes no memory.
        FlushKind::All => unsafe { libc::fsync(fd) },
    };
    if result == 0 { 0 } else { -1 }
}

/// Returns the bytes moved, or the negative error number. The kernel moves less than 2 GiB in one call.
fn result(moved: isize) -> i32 {
    if moved >= 0 {
        return i32::try_from(moved).unwrap_or(i32::MAX);
    }
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO).wrapping_neg()
}
