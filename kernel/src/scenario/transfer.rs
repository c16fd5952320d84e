//! Random reads of one disk and writes to another, as a [`Script`] says.
//!
//! What is read goes to the other disk from the very pages that it was read to; the CPU looks at no byte. The host replays the script
//! and compares both images.

use alloc::vec::Vec;

use scatterlist::{Direction, LimitId};

use super::drive::{Disk, Effort, Job, drive, whole};
use super::{Arguments, Failure, disks, fact};
use crate::machine::Machine;
use crate::memory::{Buffer, Choice};
use crate::script::Script;

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    disks::with(machine, arguments, Transfers { machine, arguments })
}

struct Transfers<'a> {
    machine: &'static Machine,
    arguments: &'a Arguments<'a>,
}

impl disks::Work for Transfers<'_> {
    fn work<B: Disk>(self, source: &mut B, destination: &mut B, facts: disks::Facts) -> Result<(), Failure> {
        let script = Script {
            seed: self.arguments.number("seed")?,
            batches: self.arguments.number("batches")?,
            batch_len: self.arguments.number("batch")?,
            block_len: facts.block_len,
            source_capacity: facts.capacity,
            capacity: facts.capacity,
            len_max: self.arguments.number("max")?,
            offset_unit: self.arguments.number("unit")?,
        };
        fact!("limit_bytes", source.limits().hard_value(LimitId::TransferLenMax));
        fact!("limit_segments", source.limits().hard_value(LimitId::SegmentsMax));
        let mut effort = Effort::default();
        for batch in script.batches() {
            let read = batch.iter().map(|transfer| {
                let buffer =
                    Buffer::new(self.machine.memory, transfer.len, transfer.offset, Choice::SCATTERED)?;
                Ok(Job { buffer, direction: Direction::FromDevice, position: transfer.from })
            });
            let (read, took) = drive(self.machine, source, read.collect::<Result<_, Failure>>()?)?;
            effort.add(took);
            let write = whole(read)?.into_iter().zip(&batch).map(|(buffer, transfer)| Job {
                buffer,
                direction: Direction::ToDevice,
                position: transfer.to,
            });
            let (written, took) = drive(self.machine, destination, write.collect::<Vec<_>>())?;
            effort.add(took);
            whole(written)?;
        }
        fact!("refusals", effort.refusals);
        fact!("bounced", effort.bounced_bytes);
        Ok(())
    }
}
