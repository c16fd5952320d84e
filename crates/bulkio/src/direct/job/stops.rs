//! Where a job ends early: faults and ends of files, and the narrowing down of failed reads.

use scatterlist::{Direction, Status};

use super::super::file::Target;
use super::super::memory::Memory;
use super::super::range_lock::Lost;
use super::Job;

/// Why a job cannot go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::direct) enum Cause {
    /// An operation failed.
    Status(Status),
    /// An operation was refused before it began, for this reason.
    Refused(String),
    /// A write that was given up has a part of its range.
    Lost(Lost),
}

/// Where a job ended early, and why if that is a fault.
#[derive(Debug)]
pub(super) struct Stop {
    /// Everything before this position is moved.
    pub(super) position: u64,
    pub(super) fault: Option<Fault>,
    /// The memory of the failed operation, to be tried in smaller steps.
    pub(super) memory: Memory,
}

/// Why a job ended early.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    /// The bytes that the failed operation was on.
    pub(super) at: u64,
    pub(super) bytes: u64,
}

/// What is left of a transfer while a part of it is tried again in smaller steps.
#[derive(Debug)]
pub(super) struct Later {
    pub(super) memory: Memory,
    pub(super) position: u64,
    pub(super) step_max: Option<u64>,
}

/// The shortest operation that a failed read is narrowed down to: a sector.
const STEP_MIN: u64 = 512;

/// Into how many steps a failed operation is cut.
const STEPS: u64 = 8;

impl Job {
    pub(super) fn fail(&mut self, position: u64, status: Status, bytes: u64, memory: Memory) {
        let fault = Some(Fault { cause: Cause::Status(status), at: position, bytes });
        self.stops.push(Stop { position, fault, memory });
    }

    pub(super) fn refuse(&mut self, position: u64, bytes: u64, reason: String) {
        let fault = Some(Fault { cause: Cause::Refused(reason), at: position, bytes });
        self.stops.push(Stop { position, fault, memory: Memory::empty() });
    }

    /// Ends the job at the lowest of the stops, if there is one.
    pub(super) fn settle_stops(&mut self) -> bool {
        self.stop = take_lowest(&mut self.stops);
        self.stop.is_some()
    }

    /// While nothing is in flight: finds what is to be done next, if `rest` is done or stopped. A failed read of several blocks is
    /// tried again in smaller steps, so that all bytes before the bad block arrive and the error names it; what comes the second
    /// time is no fault.
    pub(super) fn go_on(&mut self) -> bool {
        self.others.append(&mut self.stops);
        if self.rest.is_empty()
            && let Some(later) = self.later.last()
            && self.others.iter().all(|stop| later.position < stop.position)
            && let Some(Later { memory, position, step_max }) = self.later.pop()
        {
            (self.rest, self.position, self.step_max) = (memory, position, step_max);
            return true;
        }
        match take_lowest(&mut self.others) {
            Some(stop) => self.narrow(stop),
            None => false,
        }
    }

    /// Tries a stop again in smaller steps, or ends the job there.
    fn narrow(&mut self, mut stop: Stop) -> bool {
        let least = self.block_of(self.target).max(STEP_MIN);
        let len = stop.memory.len();
        let medium = stop.fault.as_ref().is_some_and(|fault| is_medium(&fault.cause));
        if self.direction == Direction::ToDevice || !medium || len <= least {
            self.stop = Some(stop);
            return false;
        }
        let memory = core::mem::replace(&mut stop.memory, Memory::empty());
        let memory = core::mem::replace(&mut self.rest, memory);
        let position = core::mem::replace(&mut self.position, stop.position);
        let step_max = self.step_max.replace((len / STEPS).next_multiple_of(least));
        if !memory.is_empty() {
            self.later.push(Later { memory, position, step_max });
        }
        true
    }

    fn block_of(&self, target: Target) -> u64 {
        if target == Target::Direct { self.file.block() } else { 1 }
    }
}

/// Takes the stop at the lowest position out; of two at one position, one with a fault.
fn take_lowest(stops: &mut Vec<Stop>) -> Option<Stop> {
    let order = |stop: &Stop| (stop.position, stop.fault.is_none());
    let (place, _) = stops.iter().enumerate().min_by_key(|(_, stop)| order(stop))?;
    Some(stops.swap_remove(place))
}

/// Says whether a status tells of a bad place on the medium: the table `blk_errors` of `block/blk-core.c`.
const fn is_medium(cause: &Cause) -> bool {
    match cause {
        Cause::Status(Status::Errno(number)) => matches!(
            number.cast_signed(),
            libc::EIO | libc::ENODATA | libc::EILSEQ | libc::EREMOTEIO | libc::EBADMSG
        ),
        Cause::Status(status) => matches!(status, Status::Device(_) | Status::Short),
        Cause::Refused(_) | Cause::Lost(_) => false,
    }
}
