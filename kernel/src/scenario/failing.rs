//! A disk with a bad block: what fails is told, with the device's own status, and nothing else is lost.
//!
//! The whole source is read in equal requests, several at a time; what was read is written to the same place of the destination.
//! What failed is stated, and not written.

use alloc::vec::Vec;

use scatterlist::{Direction, Outcome, Status};

use super::drive::{Disk, Done, Job, drive, whole};
use super::{Arguments, Failure, disks, fact, failure};
use crate::machine::Machine;
use crate::memory::{Buffer, Choice};

/// Requests at a time.
const AT_ONCE: u64 = 8;

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    disks::with(machine, arguments, Failing { machine, len: arguments.number("len")? })
}

struct Failing {
    machine: &'static Machine,
    /// Bytes of a request.
    len: u64,
}

impl disks::Work for Failing {
    fn work<B: Disk>(self, source: &mut B, destination: &mut B, facts: disks::Facts) -> Result<(), Failure> {
        let mut positions = Vec::new();
        let mut at = 0;
        while at < facts.capacity {
            positions.push(at);
            at = at.saturating_add(self.len);
        }
        let (mut failed, mut first, mut status) = (0_u64, None, None);
        for batch in positions.chunks(usize::try_from(AT_ONCE)?) {
            let read = batch.iter().map(|position| {
                let buffer = Buffer::new(self.machine.memory, self.len, 0, Choice::SCATTERED)?;
                Ok(Job { buffer, direction: Direction::FromDevice, position: *position })
            });
            let (read, _) = drive(self.machine, source, read.collect::<Result<_, Failure>>()?)?;
            let mut write = Vec::new();
            for (Done { buffer, outcome }, position) in read.into_iter().zip(batch) {
                let held =
                    || failure(alloc::format!("the memory of the request at {position} did not come back"));
                let buffer = buffer.ok_or_else(held)?;
                match outcome.fault {
                    None if outcome == Outcome::whole(self.len) => {
                        write.push(Job { buffer, direction: Direction::ToDevice, position: *position });
                    }
                    None => {
                        return Err(failure(alloc::format!(
                            "the request at {position} ended without a fault: {outcome:?}"
                        )));
                    }
                    Some(fault) => {
                        failed = failed.saturating_add(1);
                        first = first.or(Some(*position));
                        status = status.or(Some(fault.status));
                    }
                }
            }
            let (written, _) = drive(self.machine, destination, write)?;
            whole(written)?;
        }
        fact!("failed", failed);
        fact!("failed_at", first.unwrap_or(u64::MAX));
        if let Some(Status::Device(status)) = status {
            fact!("status", status);
        }
        Ok(())
    }
}
