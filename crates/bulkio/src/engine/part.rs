//! [`Part`]: one device-ready piece of a request and how far it has come.
//!
//! Pure bookkeeping: a result goes in ([`Part::advance`]), what to do next comes out. It knows when a short
//! transfer is resumed and where, what the end of a file looks like, and when to give up. No memory is touched here.

use scatterlist::{Addr, CpuAddr, Direction, LimitId, Limits, Position, Status};

use super::commands::Ended;

/// The most bytes one operation moves: `MAX_RW_COUNT` of `include/linux/fs.h` with 4 KiB pages.
const OPERATION_BYTES_MAX: u64 = 0x7fff_f000;

/// Interrupted or refused tries in a row, without a byte moved, before a part is given up.
const RETRIES_MAX: u32 = 64;

/// Tries in a row that come short of the end of the file, before that is a fault.
const DOUBTS_MAX: u32 = 2;

/// Steps back in search of a place to resume at that suits the memory too.
const RESUME_STEPS_MAX: u32 = 64;

/// What a short transfer means on a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShortTransfer {
    /// Go on from where it stopped, until an operation moves nothing: files, disks, pipes.
    #[default]
    Resume,
    /// It is the answer: tapes and everything else that keeps records apart.
    Final,
}

/// Where a part may be resumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ResumeRule {
    /// Resumes at multiples of this position.
    pub(super) block: u64,
    /// Bits of an address that must be 0 there.
    pub(super) addr_mask: u64,
    pub(super) short: ShortTransfer,
}

impl ResumeRule {
    pub(super) fn new(limits: &Limits, position: Position, short: ShortTransfer) -> Self {
        if position == Position::Stream {
            return Self { block: 1, addr_mask: 0, short };
        }
        Self {
            block: limits.hard_value(LimitId::PositionAlign).max(1),
            addr_mask: limits.hard_value(LimitId::AddrAlign).saturating_sub(1),
            short,
        }
    }
}

/// What to do after a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The part is over: done in full, at the end of the file, or at fault.
    Over,
    /// Issue the part again, from `base` on.
    Again,
    /// Wait until the file is ready, then issue the part again.
    Poll,
}

/// One device-ready piece of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    /// Byte of the request at which it starts.
    pub(super) at: u64,
    /// Its bytes.
    pub(super) len: u64,
    /// Where it starts on the file.
    pub(super) position: Position,
    /// Its first vector that is not done with, an index into the slot's.
    pub(super) vector: usize,
    /// Its vectors from there on.
    pub(super) vectors: usize,
    /// Byte of the part from which the operation in hand starts: all before are done for good.
    pub(super) base: u64,
    /// Bytes of the part that are done, at least `base`.
    pub(super) done: u64,
    /// Whether the operation in hand only waits for the file to be ready.
    pub(super) polling: bool,
    /// Whether an operation of it is with the back end.
    pub(super) issued: bool,
    /// How it failed, and the byte of the request at which the failing operation began.
    pub(super) fault: Option<(u64, Status)>,
    retries: u32,
}

impl Part {
    pub(super) const fn new(at: u64, position: Position, vector: usize) -> Self {
        Self {
            at,
            len: 0,
            position,
            vector,
            vectors: 0,
            base: 0,
            done: 0,
            polling: false,
            issued: false,
            fault: None,
            retries: 0,
        }
    }

    /// Returns the bytes that the next operation asks for, at most what the kernel takes.
    pub(super) fn ask(&self, rule: &ResumeRule) -> u64 {
        let left = self.len.saturating_sub(self.base);
        if left <= OPERATION_BYTES_MAX {
            return left;
        }
        let over = OPERATION_BYTES_MAX.checked_rem(rule.block).unwrap_or(0);
        OPERATION_BYTES_MAX.saturating_sub(over)
    }

    /// Returns the bytes of the one command that the part is: the table takes no longer ones.
    pub(super) fn command_bytes(&self) -> u32 {
        u32::try_from(self.len).unwrap_or(u32::MAX)
    }

    /// Returns the position of the next operation; `None` for the file's own.
    pub(super) fn offset(&self) -> Option<u64> {
        match self.position {
            Position::At(at) => Some(at.saturating_add(self.base)),
            Position::Stream => None,
        }
    }

    /// Returns the address of byte `at` of the part, given the vectors of its slot.
    pub(super) fn addr_at(&self, vectors: &[libc::iovec], at: u64) -> Option<CpuAddr> {
        let mut skip = at.checked_sub(self.base)?;
        for vector in vectors.get(self.vector..)?.get(..self.vectors)? {
            let len = u64::try_from(vector.iov_len).ok()?;
            if skip < len {
                return CpuAddr::from_ptr(vector.iov_base.cast::<u8>()).checked_add(skip);
            }
            skip = skip.checked_sub(len)?;
        }
        None
    }

    /// Gives the part up with `status`.
    pub(super) fn fail(&mut self, status: Status) {
        self.fault = Some((self.at.saturating_add(self.base), status));
    }

    /// Takes the result of the operation in hand: bytes, or a negative error number.
    ///
    /// `addr_at` gives the address of a byte of the part.
    pub(super) fn advance(
        &mut self,
        result: i32,
        direction: Direction,
        rule: &ResumeRule,
        cancelled: bool,
        addr_at: impl Fn(u64) -> Option<CpuAddr>,
    ) -> Next {
        let moved = u64::try_from(result);
        let Ok(moved) = moved else { return self.refused(result.unsigned_abs(), cancelled) };
        if self.polling {
            self.polling = false;
            if cancelled {
                self.fail(Status::Cancelled);
                return Next::Over;
            }
            return Next::Again;
        }
        let end = self.base.saturating_add(moved).min(self.len);
        let progress = end > self.done;
        self.done = self.done.max(end);
        if self.done == self.len || rule.short == ShortTransfer::Final {
            return Next::Over;
        }
        if !progress {
            if direction == Direction::ToDevice {
                self.fail(Status::Short);
            }
            return Next::Over;
        }
        self.retries = 0;
        if cancelled {
            self.base = self.done;
            self.fail(Status::Cancelled);
            return Next::Over;
        }
        self.base = self.resume_at(rule, addr_at);
        Next::Again
    }

    /// Takes how the one command of the part ended. It is over, whatever came: a command is neither repeated nor gone on with,
    /// since nobody but the device knows what it did of it.
    pub(super) fn end(&mut self, ended: Ended, short: ShortTransfer) {
        self.done = u64::from(ended.bytes).min(self.len);
        let is_short = self.done < self.len && short == ShortTransfer::Resume;
        let status = ended.fault.or(is_short.then_some(Status::Short));
        self.fault = status.map(|status| (self.at.saturating_add(self.done), status));
    }

    /// Returns the position where a read that is over found the end of its file inside a block. A fault in that block looks the same:
    /// what was resumed at the block's start came as short as before.
    pub(super) fn doubtful_end(&self, direction: Direction, rule: &ResumeRule) -> Option<u64> {
        let Position::At(position) = self.position else { return None };
        let end = position.checked_add(self.done)?;
        let ended = self.fault.is_none() && self.done < self.len && rule.short == ShortTransfer::Resume;
        let inside = end.checked_rem(rule.block)? != 0;
        (ended && inside && direction == Direction::FromDevice).then_some(end)
    }

    /// Tries again what ended before the end of its file did, in case the file grew meanwhile; then that is a fault.
    pub(super) fn doubt(&mut self) -> Next {
        if self.retries < DOUBTS_MAX {
            self.retries = self.retries.saturating_add(1);
            return Next::Again;
        }
        self.fault = Some((self.at.saturating_add(self.done), Status::Short));
        Next::Over
    }

    fn refused(&mut self, errno: u32, cancelled: bool) -> Next {
        let is = |number: i32| number.unsigned_abs() == errno;
        let transient = is(libc::EINTR) || is(libc::EAGAIN);
        self.polling = false;
        if is(libc::ECANCELED) || (transient && cancelled) {
            self.fail(Status::Cancelled);
        } else if transient && self.retries < RETRIES_MAX {
            self.retries = self.retries.saturating_add(1);
            self.polling = is(libc::EAGAIN);
            return if self.polling { Next::Poll } else { Next::Again };
        } else {
            self.fail(Status::Errno(errno));
        }
        Next::Over
    }

    /// Returns the last byte of the part, not past `done`, that lies on a block of the file and on suitable
    /// memory.
    fn resume_at(&self, rule: &ResumeRule, addr_at: impl Fn(u64) -> Option<CpuAddr>) -> u64 {
        let Position::At(position) = self.position else { return self.done };
        let end = position.saturating_add(self.done);
        let over = end.checked_rem(rule.block).unwrap_or(0);
        let mut place = self.done.checked_sub(over);
        for _ in 0..RESUME_STEPS_MAX {
            let Some(at) = place.filter(|at| *at > self.base) else { break };
            if addr_at(at).is_some_and(|addr| addr.raw() & rule.addr_mask == 0) {
                return at;
            }
            place = at.checked_sub(rule.block);
        }
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: ResumeRule = ResumeRule { block: 512, addr_mask: 511, short: ShortTransfer::Resume };

    fn part(len: u64) -> Part {
        Part { len, vectors: 1, ..Part::new(4096, Position::At(8192), 0) }
    }

    fn step(part: &mut Part, result: i32, direction: Direction, rule: &ResumeRule) -> Next {
        part.advance(result, direction, rule, false, |at| Some(CpuAddr::new(0x10000 + at)))
    }

    #[test]
    fn short_read_resumes_at_a_block_and_ends_without_progress() {
        let mut part = part(8192);
        assert_eq!(step(&mut part, 5000, Direction::FromDevice, &RULE), Next::Again);
        assert_eq!((part.base, part.done, part.offset()), (4608, 5000, Some(8192 + 4608)));
        assert_eq!(step(&mut part, 392, Direction::FromDevice, &RULE), Next::Over);
        assert_eq!((part.done, part.fault), (5000, None));
    }

    #[test]
    fn an_end_inside_a_block_is_doubted_and_then_a_fault() {
        let mut part = part(8192);
        assert_eq!(step(&mut part, 5000, Direction::FromDevice, &RULE), Next::Again);
        assert_eq!(step(&mut part, 392, Direction::FromDevice, &RULE), Next::Over);
        assert_eq!(part.doubtful_end(Direction::FromDevice, &RULE), Some(8192 + 5000));
        for _ in 0..DOUBTS_MAX {
            assert_eq!(part.doubt(), Next::Again);
            assert_eq!(step(&mut part, 392, Direction::FromDevice, &RULE), Next::Over);
        }
        assert_eq!((part.doubt(), part.fault), (Next::Over, Some((4096 + 5000, Status::Short))));
        // One on a block is none: what follows was asked for, and did not come.
        let mut part = Part { done: 512, ..part };
        part.fault = None;
        assert_eq!(part.doubtful_end(Direction::FromDevice, &RULE), None);
    }

    #[test]
    fn write_without_progress_is_short() {
        let mut part = part(4096);
        assert_eq!(step(&mut part, 0, Direction::ToDevice, &RULE), Next::Over);
        assert_eq!((part.done, part.fault), (0, Some((4096, Status::Short))));
    }

    #[test]
    fn resume_steps_back_to_aligned_memory() {
        let rule = ResumeRule { addr_mask: 4095, ..RULE };
        let mut part = part(16384);
        assert_eq!(step(&mut part, 9000, Direction::FromDevice, &rule), Next::Again);
        assert_eq!((part.base, part.done), (8192, 9000));
    }

    #[test]
    fn a_record_ends_short() {
        let rule = ResumeRule { short: ShortTransfer::Final, ..RULE };
        let mut part = part(4096);
        assert_eq!(step(&mut part, 100, Direction::FromDevice, &rule), Next::Over);
        assert_eq!((part.done, part.fault), (100, None));
    }

    #[test]
    fn a_command_is_over_when_it_has_ended() {
        let mut part = part(4096);
        let medium = Some(Status::Device(7));
        part.end(Ended { bytes: 1024, fault: medium }, ShortTransfer::Resume);
        assert_eq!((part.done, part.fault), (1024, Some((4096 + 1024, Status::Device(7)))));
        part.end(Ended { bytes: 1024, fault: None }, ShortTransfer::Resume);
        assert_eq!((part.done, part.fault), (1024, Some((4096 + 1024, Status::Short))));
        part.end(Ended { bytes: 1024, fault: None }, ShortTransfer::Final);
        assert_eq!((part.done, part.fault), (1024, None));
        // More than was asked for is not believed.
        part.end(Ended { bytes: 5000, fault: None }, ShortTransfer::Resume);
        assert_eq!((part.done, part.fault), (4096, None));
    }

    #[test]
    fn interruptions_are_retried_a_bounded_number_of_times() {
        let mut part = part(4096);
        for _ in 0..RETRIES_MAX {
            assert_eq!(step(&mut part, -libc::EINTR, Direction::FromDevice, &RULE), Next::Again);
        }
        assert_eq!(step(&mut part, -libc::EINTR, Direction::FromDevice, &RULE), Next::Over);
        assert_eq!(part.fault, Some((4096, Status::Errno(libc::EINTR.unsigned_abs()))));
    }

    #[test]
    fn not_ready_polls_then_goes_again() {
        let mut part = part(4096);
        assert_eq!(step(&mut part, -libc::EAGAIN, Direction::FromDevice, &RULE), Next::Poll);
        assert_eq!(step(&mut part, libc::POLLIN.into(), Direction::FromDevice, &RULE), Next::Again);
        assert_eq!(part.done, 0);
    }

    #[test]
    fn long_parts_go_in_several_operations() {
        let mut part = part(6 << 30);
        let first = part.ask(&ResumeRule { block: 1 << 16, ..RULE });
        assert_eq!((first % (1 << 16), first <= OPERATION_BYTES_MAX), (0, true));
        let moved = i32::try_from(first).unwrap();
        assert_eq!(step(&mut part, moved, Direction::ToDevice, &RULE), Next::Again);
        assert_eq!(part.base, first);
    }
}
