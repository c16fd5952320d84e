//! [`drive`]: requests of a scenario, cut to what a disk takes, in flight together until all are done.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec::Vec;

use scatterlist::plan::plan;
use scatterlist::{Direction, Outcome, PhysAddr, Position, Request, Shared};

use super::board::{Board, Note};
use super::patience::{IDLE_NS, Look, patiently};
use super::{Failure, failure};
use crate::block::{BlockDevice, Retry};
use crate::machine::Machine;
use crate::memory::{Buffer, Owner};

/// A disk that scenarios drive.
pub(super) trait Disk: BlockDevice<Owner = Owner, Completion = Shared<Note>> {}

impl<B: BlockDevice<Owner = Owner, Completion = Shared<Note>>> Disk for B {}

/// A request before it is cut.
pub(super) struct Job {
    pub(super) buffer: Buffer,
    pub(super) direction: Direction,
    pub(super) position: u64,
}

/// What became of it.
pub(super) struct Done {
    pub(super) buffer: Option<Buffer>,
    pub(super) outcome: Outcome,
}

/// What driving took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Effort {
    /// Times that it was full.
    pub(super) refusals: u64,
    /// Bytes that were planned to be bounced.
    pub(super) bounced_bytes: u64,
}

impl Effort {
    pub(super) fn add(&mut self, other: Self) {
        self.refusals = self.refusals.saturating_add(other.refusals);
        self.bounced_bytes = self.bounced_bytes.saturating_add(other.bounced_bytes);
    }
}

type Part = Request<PhysAddr, Owner, Shared<Note>>;

/// Drives jobs through `disk`; the answers are in the order of the jobs.
pub(super) fn drive<B: Disk>(
    machine: &Machine,
    disk: &mut B,
    jobs: Vec<Job>,
) -> Result<(Vec<Done>, Effort), Failure> {
    let board = Board::new();
    let mut effort = Effort::default();
    let (mut waiting, mut owners) = (VecDeque::new(), Vec::new());
    for (number, job) in jobs.into_iter().enumerate() {
        let lease = job.buffer.lease()?;
        owners.push(Owner::clone(lease.owner()));
        let request = Request::new(lease, job.direction, Position::At(job.position), board.note(number));
        cut(disk, request.into_shared(), &mut waiting, &mut effort)?;
    }
    let mut in_flight = 0_usize;
    let what = format!("{} requests of a disk", owners.len());
    patiently(machine, &what, IDLE_NS, |until_ns| {
        if waiting.is_empty() && in_flight == 0 {
            return Ok(Look::Done);
        }
        let mut before = (waiting.len(), in_flight);
        while let Some(part) = waiting.pop_front() {
            match disk.submit(part) {
                Ok(()) => in_flight = in_flight.saturating_add(1),
                Err(refused) if refused.retry == Retry::Later && in_flight > 0 => {
                    effort.refusals = effort.refusals.saturating_add(1);
                    waiting.push_front(refused.request);
                    break;
                }
                Err(refused) => return Err(refused.error.into()),
            }
        }
        disk.kick();
        let back = disk.poll()?;
        in_flight = in_flight.saturating_sub(back);
        if back == 0 && in_flight > 0 {
            disk.wait(until_ns);
        }
        Ok(Look::at(&mut before, (waiting.len(), in_flight)))
    })?;
    let mut outcomes: Vec<Option<Outcome>> = owners.iter().map(|_| None).collect();
    for (number, outcome) in board.take() {
        let place = outcomes.get_mut(number).filter(|place| place.is_none());
        *place.ok_or_else(|| failure(format!("request {number} completed twice")))? = Some(outcome);
    }
    let done = owners.into_iter().zip(outcomes).enumerate().map(|(number, (owner, outcome))| {
        let outcome = outcome.ok_or_else(|| failure(format!("request {number} was never completed")))?;
        Ok(Done { buffer: Owner::into_inner(owner), outcome })
    });
    Ok((done.collect::<Result<_, Failure>>()?, effort))
}

/// Cuts a request to what the disk takes at once.
fn cut<B: Disk>(
    disk: &B,
    request: Part,
    parts: &mut VecDeque<Part>,
    effort: &mut Effort,
) -> Result<(), Failure> {
    let mut lengths = Vec::new();
    let list = request.lease().list();
    for ready in plan(list, request.position(), disk.limits(), disk.plan_policy()) {
        let ready = ready?;
        lengths.push(ready.len_bytes());
        effort.bounced_bytes = effort.bounced_bytes.saturating_add(ready.bounced_bytes());
    }
    let mut rest = Some(request);
    for len in lengths {
        let Some(whole) = rest.take() else { break };
        match whole.split_at(len) {
            Ok((part, after)) => {
                parts.push_back(part);
                rest = Some(after);
            }
            Err((last, _)) => parts.push_back(last),
        }
    }
    Ok(())
}

/// Returns the buffers of jobs that all went well.
pub(super) fn whole(done: Vec<Done>) -> Result<Vec<Buffer>, Failure> {
    done.into_iter()
        .map(|Done { buffer, outcome }| {
            if outcome != Outcome::whole(outcome.asked) {
                return Err(failure(format!("a transfer ended with {outcome:?}")));
            }
            let bytes = outcome.asked;
            buffer.ok_or_else(|| {
                failure(format!("somebody still holds the {bytes} bytes of a transfer that is done"))
            })
        })
        .collect()
}
