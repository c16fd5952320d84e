//! [`Commands`]: parts of requests as commands of a namespace, for the engine's rings and threads.
#![expect(unsafe_code, reason = "fulfils the promise of CommandSet about raw memory")]

use std::os::fd::BorrowedFd;

use scatterlist::Status;

use super::abi::{self, Door};
use super::command::{Blocks, Passthru};
use crate::engine::{Action, Command, CommandSet, Ended, RingCommand};

/// The commands of one namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Commands {
    pub(super) nsid: u32,
    pub(super) block_len: u64,
    /// Whether the node is open for writing: the kernel lets a privileged process write through one that is not.
    pub(super) writes: bool,
}

impl Commands {
    /// Encodes a command, without its memory; the error number where there is none.
    ///
    /// A controller moves as many blocks as a command names, into whatever follows where that is more than the memory. So the pieces are
    /// added up here, whoever else did it.
    fn encode(&self, command: &Command<'_>) -> Result<Passthru, i32> {
        let (position, reads) = match command.action {
            Action::Flush(_) => return Ok(Passthru::flush(self.nsid)),
            Action::Read { position } => (position, true),
            Action::Write { position } => (position, false),
        };
        let bytes = u64::from(command.bytes);
        let lens = command.pieces.iter().map(|piece| piece.iov_len as u64);
        let sum = lens.into_iter().try_fold(0_u64, u64::checked_add);
        if sum != Some(bytes) {
            return Err(libc::EINVAL);
        }
        let blocks = Blocks::of(position, bytes, self.block_len).ok_or(libc::EINVAL)?;
        match (reads, self.writes) {
            (true, _) => Ok(Passthru::read(self.nsid, blocks)),
            (false, true) => Ok(Passthru::write(self.nsid, blocks)),
            (false, false) => Err(libc::EBADF),
        }
    }
}

/// Names the memory of a command; says whether it is a vector.
fn with_pieces(passthru: Passthru, pieces: &[libc::iovec]) -> Option<(Passthru, bool)> {
    let addr = |pointer: usize| pointer as u64;
    match pieces {
        [] => Some((passthru, false)),
        [one] => {
            let len = u32::try_from(one.iov_len).ok()?;
            Some((passthru.with_data(addr(one.iov_base.expose_provenance()), len), false))
        }
        many => {
            let count = u32::try_from(many.len()).ok()?;
            Some((passthru.with_data(addr(many.as_ptr().expose_provenance()), count), true))
        }
    }
}

// SAFETY: a command names the pieces and as many blocks as they hold, in whole blocks of the format that the namespace was opened with,
// which has no metadata. The kernel holds the pages until the controller has ended the command, or is disabled. (A namespace that is formatted
// with longer blocks while it is open is refused by nobody: `Namespace::open` says so.)
unsafe impl CommandSet for Commands {
    unsafe fn execute(&self, file: BorrowedFd<'_>, command: &Command<'_>) -> Ended {
        let failed = |status| Ended { bytes: 0, fault: Some(status) };
        let encoded = match self.encode(command) {
            Ok(passthru) => with_pieces(passthru, command.pieces),
            Err(errno) => return failed(Status::Errno(errno.unsigned_abs())),
        };
        let Some((passthru, is_vector)) = encoded else {
            return failed(Status::Errno(libc::EINVAL.unsigned_abs()));
        };
        let door = if is_vector { Door::IoVector } else { Door::Io };
        // SAFETY: the caller's promise for the pieces, and the command moves as many bytes as they have.
        match unsafe { abi::call(file, door, &passthru) } {
            Ok(()) => Ended { bytes: command.bytes, fault: None },
            // How far it came a controller does not say.
            Err(status) => failed(status),
        }
    }

    fn ring(&self, command: &Command<'_>) -> Option<RingCommand> {
        // What cannot be encoded is refused by `execute`, with the reason.
        let (passthru, is_vector) = with_pieces(self.encode(command).ok()?, command.pieces)?;
        // `struct nvme_uring_cmd` is the front of the bytes, and what follows is 0.
        let op = if is_vector { abi::RING_IO_VEC } else { abi::RING_IO };
        Some(RingCommand { op, command: passthru.bytes(), takes_fixed: command.pieces.len() == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FlushKind;

    const SET: Commands = Commands { nsid: 1, block_len: 512, writes: true };

    fn piece(len: usize) -> libc::iovec {
        libc::iovec { iov_base: core::ptr::without_provenance_mut(0x10_0000), iov_len: len }
    }

    #[test]
    fn a_ring_is_told_of_data_or_of_a_vector() {
        let (one, many) = ([piece(4096)], [piece(4096), piece(512)]);
        let read = Action::Read { position: 8192 };
        let ring = SET.ring(&Command { action: read, pieces: &one, bytes: 4096 }).unwrap();
        assert_eq!((ring.op, ring.takes_fixed), (abi::RING_IO, true));
        assert_eq!(
            (ring.command[0], &ring.command[24..32], &ring.command[36..40]),
            (2, &0x10_0000_u64.to_le_bytes()[..], &[0, 16, 0, 0][..])
        );
        assert_eq!((&ring.command[40..44], &ring.command[48..52]), (&[16, 0, 0, 0][..], &[7, 0, 0, 0][..]));
        let ring = SET.ring(&Command { action: read, pieces: &many, bytes: 4608 }).unwrap();
        assert_eq!((ring.op, ring.takes_fixed), (abi::RING_IO_VEC, false));
        let vector = (many.as_ptr().expose_provenance() as u64).to_le_bytes();
        assert_eq!((&ring.command[24..32], &ring.command[36..40]), (&vector[..], &[2, 0, 0, 0][..]));
        let flush = Command { action: Action::Flush(FlushKind::All), pieces: &[], bytes: 0 };
        assert_eq!(SET.ring(&flush).unwrap().command[..5], [0, 0, 0, 0, 1]);
    }

    #[test]
    fn what_would_move_other_bytes_is_no_command() {
        let pieces = [piece(4096)];
        let made = |set: Commands, action, bytes| set.encode(&Command { action, pieces: &pieces, bytes });
        let read = |position| Action::Read { position };
        assert!(made(SET, read(0), 4096).is_ok());
        // Other bytes than the pieces have; half a block; more than none.
        for (position, bytes) in [(0, 8192), (0, 4095), (0, 0), (100, 4096)] {
            assert_eq!(made(SET, read(position), bytes), Err(libc::EINVAL), "{position} {bytes}");
        }
        let reader = Commands { writes: false, ..SET };
        assert_eq!(made(reader, Action::Write { position: 0 }, 4096), Err(libc::EBADF));
        assert!(
            reader
                .ring(&Command { action: Action::Write { position: 0 }, pieces: &pieces, bytes: 4096 })
                .is_none()
        );
    }
}
