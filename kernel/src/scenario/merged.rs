//! The queue in front of the disks: as few commands as the limits allow, and stripes over two namespaces.
//!
//! `workload=sequential`: requests one behind the other. `workload=interleaved`: several sequential streams, a request of each in turn.
//! Everything is read through a queue in front of the source, and written through one in front of the destination. `striped` reads
//! random parts of two namespaces as one disk, and writes them to a third.

use alloc::format;
use alloc::vec::Vec;

use nvme_driver::Options;
use scatterlist::map::DmaDevice;
use scatterlist::{Direction, LimitId, Outcome, PhysAddr, Position, Request, Shared};

use super::board::{Board, Note};
use super::disks::{self, Facts, Work};
use super::drive::{Disk, Done, Job, drive, whole};
use super::patience::{IDLE_NS, Look, patiently};
use super::stack::{no_limits, on_device};
use super::{Arguments, Failure, fact, failure};
use crate::block::{BlockDevice, MergeQueue, QueueOptions, Retry, StripeSet};
use crate::driver::nvme::NvmeDisk;
use crate::fixed;
use crate::machine::Machine;
use crate::memory::{Buffer, Choice, Owner};
use crate::script::Script;

/// Whether a front took a request.
type Pushed = Result<(), (Request<PhysAddr, Owner, Note>, Retry, Failure)>;

/// What stands in front of disks.
trait Front {
    fn push(&mut self, request: Request<PhysAddr, Owner, Note>) -> Pushed;
    fn flush(&mut self);
    fn poll(&mut self) -> Result<(), Failure>;
}

macro_rules! front {
    ($front:ident) => {
        impl<B: Disk> Front for $front<B> {
            fn push(&mut self, request: Request<PhysAddr, Owner, Note>) -> Pushed {
                $front::push(self, request)
                    .map_err(|refused| (refused.request, refused.retry, refused.error.into()))
            }

            fn flush(&mut self) {
                $front::flush(self);
            }

            fn poll(&mut self) -> Result<(), Failure> {
                $front::poll(self)?;
                Ok(())
            }
        }
    };
}

front!(MergeQueue);
front!(StripeSet);

/// Pushes jobs and waits for all of them; the answers are in the order of the jobs.
fn pushed(machine: &Machine, front: &mut impl Front, jobs: Vec<Job>) -> Result<Vec<Done>, Failure> {
    let board = Board::new();
    let mut owners = Vec::new();
    for (number, job) in jobs.into_iter().enumerate() {
        let lease = job.buffer.lease()?;
        owners.push(Owner::clone(lease.owner()));
        let request = Request::new(lease, job.direction, Position::At(job.position), board.note(number));
        let (mut waiting, mut ended) = (Some(request), board.len());
        patiently(machine, &format!("request {number} in front of a full disk"), IDLE_NS, |_| {
            let Some(request) = waiting.take() else { return Ok(Look::Done) };
            match front.push(request) {
                Ok(()) => Ok(Look::Done),
                Err((back, Retry::Later, _)) => {
                    waiting = Some(back);
                    front.poll()?;
                    Ok(Look::at(&mut ended, board.len()))
                }
                Err((_, Retry::Never, error)) => Err(error),
            }
        })?;
    }
    front.flush();
    let mut outcomes: Vec<Option<Outcome>> = owners.iter().map(|_| None).collect();
    let mut left = owners.len();
    patiently(machine, &format!("{left} merged requests"), IDLE_NS, |_| {
        front.poll()?;
        let mut before = left;
        for (number, outcome) in board.take() {
            let place = outcomes.get_mut(number).filter(|place| place.is_none());
            *place.ok_or_else(|| failure(format!("request {number} completed twice")))? = Some(outcome);
            left = left.saturating_sub(1);
        }
        Ok(if left == 0 { Look::Done } else { Look::at(&mut before, left) })
    })?;
    let done = owners.into_iter().zip(outcomes.into_iter().flatten());
    Ok(done.map(|(owner, outcome)| Done { buffer: Owner::into_inner(owner), outcome }).collect())
}

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    let workload = arguments.text("workload")?;
    let bad = || Arguments::bad_value("workload", workload, "`sequential` or `interleaved`");
    let streams = fixed::merged::streams(workload).ok_or_else(bad)?;
    let (len, requests) = (arguments.number("len")?, arguments.number("requests")?);
    disks::with(machine, arguments, Merged { machine, streams, len, requests })
}

struct Merged {
    machine: &'static Machine,
    streams: u64,
    /// Bytes of a request.
    len: u64,
    /// Requests of a stream.
    requests: u64,
}

impl Work for Merged {
    fn work<B: Disk>(self, source: &mut B, destination: &mut B, facts: Facts) -> Result<(), Failure> {
        let Self { machine, streams, len, requests } = self;
        let apart = facts.capacity.checked_div(streams).unwrap_or(0);
        let positions = (0..requests).flat_map(|request| {
            (0..streams)
                .map(move |stream| stream.saturating_mul(apart).saturating_add(request.saturating_mul(len)))
        });
        let positions: Vec<u64> = positions.collect();
        fact!("limit_bytes", source.limits().hard_value(LimitId::TransferLenMax));
        fact!("limit_segments", source.limits().hard_value(LimitId::SegmentsMax));
        let options = QueueOptions { streams_max: usize::try_from(streams)?, ..QueueOptions::default() };
        let read = positions.iter().map(|position| {
            let buffer = Buffer::new(machine.memory, len, 0, Choice::SCATTERED)?;
            Ok(Job { buffer, direction: Direction::FromDevice, position: *position })
        });
        let mut queue = MergeQueue::new(source, options);
        let read = pushed(machine, &mut queue, read.collect::<Result<_, Failure>>()?)?;
        fact!("read_commands", queue.counts().commands);
        fact!("read_merges", queue.counts().merges);
        let write = whole(read)?.into_iter().zip(&positions).map(|(buffer, position)| Job {
            buffer,
            direction: Direction::ToDevice,
            position: *position,
        });
        let mut queue = MergeQueue::new(destination, options);
        whole(pushed(machine, &mut queue, write.collect())?)?;
        fact!("write_commands", queue.counts().commands);
        fact!("write_merges", queue.counts().merges);
        Ok(())
    }
}

pub(super) fn striped(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    on_device!(machine, arguments, &no_limits(), |device| on(machine, arguments, device))
}

fn on<D>(machine: &'static Machine, arguments: &Arguments<'_>, device: D) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let options = Options { queues: 4, ..Options::default() };
    let (mut controller, _, told) =
        disks::controller::<_, Owner, Shared<Note>>(machine, arguments, device, options)?;
    let (namespaces, queues) = controller.parts_mut();
    let have = (namespaces.len(), queues.len());
    let ([even, odd, plain, ordered, ..], [first, second, third, fourth, ..]) = (namespaces, queues) else {
        return Err(disks::too_few(have, 4));
    };
    let (mut plain, mut ordered) = (NvmeDisk::new(plain, third), NvmeDisk::new(ordered, fourth));
    let member = |namespace, queue| MergeQueue::new(NvmeDisk::new(namespace, queue), QueueOptions::default());
    let chunk_len = arguments.number("stripe")?;
    let mut set = StripeSet::new(Vec::from([member(even, first), member(odd, second)]), chunk_len)?;
    // All of the first part in order: each member's chunks are contiguous there, and merge.
    let (len, count) = (arguments.number("len")?, arguments.number("requests")?);
    fact!("limit_bytes", plain.limits().hard_value(LimitId::TransferLenMax));
    fact!("limit_segments", plain.limits().hard_value(LimitId::SegmentsMax));
    let read = (0..count).map(|request| {
        let buffer = Buffer::new(machine.memory, len, 0, Choice::SCATTERED)?;
        Ok(Job { buffer, direction: Direction::FromDevice, position: request.saturating_mul(len) })
    });
    let read = whole(pushed(machine, &mut set, read.collect::<Result<_, Failure>>()?)?)?;
    fact!("commands", set.counts().commands);
    let write = (0_u64..).zip(read).map(|(request, buffer)| Job {
        buffer,
        direction: Direction::ToDevice,
        position: request.saturating_mul(len),
    });
    let (written, _) = drive(machine, &mut ordered, write.collect())?;
    whole(written)?;
    // And random parts of all of it.
    let capacity = plain.limits().hard_value(LimitId::Capacity);
    let script = Script {
        seed: arguments.number("seed")?,
        batches: arguments.number("batches")?,
        batch_len: arguments.number("batch")?,
        block_len: plain.limits().hard_value(LimitId::PositionAlign),
        // Two disks in stripes hold twice as much.
        source_capacity: capacity.saturating_mul(2),
        capacity,
        len_max: arguments.number("max")?,
        offset_unit: arguments.number("unit")?,
    };
    for batch in script.batches() {
        let read = batch.iter().map(|transfer| {
            let buffer = Buffer::new(machine.memory, transfer.len, transfer.offset, Choice::SCATTERED)?;
            Ok(Job { buffer, direction: Direction::FromDevice, position: transfer.from })
        });
        let read = pushed(machine, &mut set, read.collect::<Result<_, Failure>>()?)?;
        let write = whole(read)?.into_iter().zip(&batch).map(|(buffer, transfer)| Job {
            buffer,
            direction: Direction::ToDevice,
            position: transfer.to,
        });
        let (written, _) = drive(machine, &mut plain, write.collect())?;
        whole(written)?;
    }
    drop((set, plain, ordered));
    told.state()?;
    Ok(controller.shut_down()?)
}
