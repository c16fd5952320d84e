//! One [`Slot`] of the in-flight table: a request or a flush, cut into parts, from its submission to its completion.
//!
//! It makes the operations of its parts and sums their results up. What is issued and when, and that nothing in
//! flight is moved or freed, `table` sees to; what a result means for a part, `part`.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use scatterlist::{Addr, CpuAddr, Direction, Fault, Outcome, Position, Status};

use super::super::backend::{Act, Backend, Memory, Operation};
use super::super::commands::{Action, CommandSet};
use super::super::files::{Carrier, FileId};
use super::super::issue::Issue;
use super::super::log::{LogEntry, LoggedKind};
use super::super::part::{Part, ResumeRule, ShortTransfer};
use super::super::{Completion, Token};

/// Vectors that a slot keeps memory for when it goes back.
const VECTORS_KEPT_MAX: usize = 1 << 14;

#[derive(Debug)]
pub(super) struct Slot<O, C> {
    /// What the slot is for, as it will be given out: requests are large, so they move as little as may be. The
    /// outcome is entered last.
    pub(super) work: Option<Completion<O, C>>,
    /// Kept when the slot is free again, until the file is removed or another one comes.
    pub(super) file: Option<Arc<OwnedFd>>,
    /// Those of the file, where its transfers are commands.
    pub(super) commands: Option<Arc<dyn CommandSet>>,
    pub(super) id: FileId,
    pub(super) token: Token,
    pub(super) direction: Direction,
    pub(super) rule: ResumeRule,
    pub(super) always_ready: bool,
    pub(super) direct: bool,
    pub(super) pipe: bool,
    pub(super) carrier: Carrier,
    pub(super) file_slot: Option<u32>,
    /// Stream transfers keep order within their lane; all others have none.
    pub(super) lane: Option<u64>,
    pub(super) parts: Vec<Part>,
    pub(super) vectors: Vec<libc::iovec>,
    /// The first part that was never issued.
    pub(super) next: usize,
    /// Operations with the back end.
    pub(super) issued: u32,
    /// No further part is issued.
    pub(super) stopped: bool,
    pub(super) cancelled: bool,
    pub(super) finished: bool,
}

pub(super) const fn key(slot: u32, part: u32) -> u64 {
    // Widening, lossless.
    ((slot as u64) << 32) | part as u64
}

pub(super) const fn unkey(key: u64) -> (usize, usize) {
    ((key >> 32) as usize, (key & 0xffff_ffff) as usize)
}

impl<O, C> Slot<O, C> {
    pub(super) const fn new() -> Self {
        Self {
            work: None,
            file: None,
            commands: None,
            id: FileId { index: 0, generation: 0 },
            token: Token(0),
            direction: Direction::FromDevice,
            rule: ResumeRule { block: 1, addr_mask: 0, short: ShortTransfer::Resume },
            always_ready: false,
            direct: false,
            pipe: false,
            carrier: Carrier::Engine,
            file_slot: None,
            lane: None,
            parts: Vec::new(),
            vectors: Vec::new(),
            next: 0,
            issued: 0,
            stopped: false,
            cancelled: false,
            finished: false,
        }
    }

    /// Makes the slot ready for the next request, keeping its memory within bounds.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.vectors.clear();
        if self.vectors.capacity() > VECTORS_KEPT_MAX {
            self.vectors.shrink_to(VECTORS_KEPT_MAX);
        }
        if self.parts.capacity() > VECTORS_KEPT_MAX {
            self.parts.shrink_to(VECTORS_KEPT_MAX);
        }
        (self.next, self.lane) = (0, None);
        (self.stopped, self.cancelled, self.finished) = (false, false, false);
    }

    /// Says whether the slot is in flight and not finished.
    pub(super) const fn is_pending(&self) -> bool {
        self.work.is_some() && !self.finished
    }

    pub(super) fn asked(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.at.saturating_add(part.len))
    }

    /// Sums the parts up: bytes done without a gap from the start, and the fault at the lowest offset.
    pub(super) fn outcome(&self) -> Outcome {
        let (asked, mut done) = (self.asked(), 0_u64);
        for part in &self.parts {
            done = done.saturating_add(part.done);
            if part.done < part.len {
                break;
            }
        }
        let faults = self.parts.iter().filter_map(|part| part.fault);
        let first = faults.min_by_key(|(at, _)| *at).map(|(at, status)| Fault { at, status });
        let no_bytes = !matches!(self.work, Some(Completion::Transfer { .. }));
        let cut = self.cancelled && (done < asked || (no_bytes && self.next == 0));
        let cancelled = cut.then_some(Fault { at: done, status: Status::Cancelled });
        Outcome { asked, done, fault: first.or(cancelled) }
    }

    /// Makes the next operation of a part.
    pub(super) fn operation(&self, index: u32, place: usize, backend: &Backend) -> Option<Operation> {
        let part = self.parts.get(place)?;
        let mut bytes = part.ask(&self.rule);
        let mut carrier = self.carrier;
        let act = match (self.work.as_ref()?, &self.commands) {
            (Completion::Ready { direction, .. }, _) => Act::Poll(*direction),
            (work, Some(set)) => {
                bytes = part.len;
                Act::Command(self.issue(set, work, part, backend)?)
            }
            _ if part.polling => Act::Poll(self.direction),
            (Completion::Flush { kind, .. }, None) => Act::Flush(*kind),
            (Completion::Transfer { .. }, None) => {
                let vectors = self.vectors.get(part.vector..)?.get(..part.vectors)?;
                // Native AIO knows no registered memory.
                let rings = self.carrier != Carrier::Aio;
                let memory = match vectors {
                    [one] => {
                        let addr = one.iov_base.cast::<u8>();
                        let fixed = if rings {
                            backend.fixed_index(CpuAddr::from_ptr(addr).raw(), bytes)
                        } else {
                            None
                        };
                        Memory::One { addr, len: u32::try_from(bytes).ok()?, fixed }
                    }
                    many => {
                        let fixed = backend.fixed_index_of_all(many);
                        if fixed.is_some() && !rings {
                            // To pin each piece anew costs more than a worker of the ring.
                            carrier = Carrier::Workers;
                        }
                        Memory::Many { vectors: many.as_ptr(), count: u32::try_from(many.len()).ok()?, fixed }
                    }
                };
                Act::Transfer { direction: self.direction, memory, offset: part.offset() }
            }
        };
        Some(Operation {
            key: key(index, u32::try_from(place).ok()?),
            fd: self.file.as_ref()?.as_raw_fd(),
            file_slot: self.file_slot,
            always_ready: self.always_ready,
            direct: self.direct,
            pipe: self.pipe,
            carrier,
            bytes,
            act,
        })
    }

    /// Makes the command of a part, or of a flush.
    fn issue(
        &self,
        set: &Arc<dyn CommandSet>,
        work: &Completion<O, C>,
        part: &Part,
        backend: &Backend,
    ) -> Option<Issue> {
        let action = match (work, part.position, self.direction) {
            (Completion::Flush { kind, .. }, ..) => Action::Flush(*kind),
            (_, Position::At(position), Direction::FromDevice) => Action::Read { position },
            (_, Position::At(position), Direction::ToDevice) => Action::Write { position },
            (_, Position::Stream, _) => return None,
        };
        let vectors = self.vectors.get(part.vector..)?.get(..part.vectors)?;
        let fixed = match vectors {
            [one] if self.carrier == Carrier::Commands => {
                let addr = CpuAddr::from_ptr(one.iov_base.cast::<u8>()).raw();
                backend.command_fixed_index(addr, part.len)
            }
            _ => None,
        };
        let (pieces, count) = (vectors.as_ptr(), u32::try_from(vectors.len()).ok()?);
        let set = Arc::as_ptr(set);
        Some(Issue { set, action, pieces, count, bytes: part.command_bytes(), fixed })
    }

    /// Takes the vectors off a part that lie before its base, which was at `before`.
    pub(super) fn trim(&mut self, place: usize, before: u64) {
        let Some(part) = self.parts.get_mut(place) else { return };
        let mut skip = part.base.saturating_sub(before);
        while skip > 0
            && let Some(vector) = self.vectors.get_mut(part.vector)
        {
            let len = vector.iov_len as u64;
            if skip < len {
                vector.iov_base = vector.iov_base.wrapping_byte_add(skip as usize);
                vector.iov_len = vector.iov_len.saturating_sub(skip as usize);
                break;
            }
            skip = skip.saturating_sub(len);
            part.vector = part.vector.saturating_add(1);
            part.vectors = part.vectors.saturating_sub(1);
        }
    }

    pub(super) fn logged(&self, place: usize, operation: &Operation) -> LogEntry {
        let (token, file) = (self.token, self.id);
        let mut entry = LogEntry {
            token,
            file,
            kind: LoggedKind::Read,
            position: Position::Stream,
            pieces: Vec::new(),
            fixed: None,
        };
        match operation.act {
            Act::Flush(kind) => entry.kind = LoggedKind::Flush(kind),
            Act::Poll(_) => {}
            Act::Command(Issue { action: Action::Flush(kind), .. }) => entry.kind = LoggedKind::Flush(kind),
            Act::Command(Issue { action: Action::Read { position }, fixed, .. }) => {
                entry.position = Position::At(position);
                entry.fixed = fixed;
                entry.pieces = self.pieces(place);
            }
            Act::Command(Issue { action: Action::Write { position }, fixed, .. }) => {
                entry.kind = LoggedKind::Write;
                entry.position = Position::At(position);
                entry.fixed = fixed;
                entry.pieces = self.pieces(place);
            }
            Act::Transfer { direction, memory, offset } => {
                if direction == Direction::ToDevice {
                    entry.kind = LoggedKind::Write;
                }
                entry.position = offset.map_or(Position::Stream, Position::At);
                entry.fixed = memory.fixed();
                entry.pieces = self.pieces(place);
            }
        }
        entry
    }

    fn pieces(&self, place: usize) -> Vec<(CpuAddr, u64)> {
        let part = self.parts.get(place);
        let vectors = part.and_then(|part| self.vectors.get(part.vector..)?.get(..part.vectors));
        let piece =
            |vector: &libc::iovec| (CpuAddr::from_ptr(vector.iov_base.cast::<u8>()), vector.iov_len as u64);
        vectors.unwrap_or_default().iter().map(piece).collect()
    }
}
