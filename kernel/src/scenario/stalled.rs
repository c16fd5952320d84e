//! A disk that stalls: every request comes back, done or cancelled by a reset, and the disk goes on.
//!
//! More is read at once than the disk gives in the time that a command has. NVMe: the driver aborts what is overdue, and then
//! resets the controller; polled, or with `interrupts=1` interrupted, where the timer keeps the deadlines, since it wakes the CPU where
//! the controller does not. Virtio has no abort: the device is reset. Each request ends once. Then the same is read again, as slow as
//! it is, and written to the other disk.

use alloc::format;
use alloc::vec::Vec;

use nvme_driver::{Finished, Options};
use scatterlist::map::DmaDevice;
use scatterlist::{Direction, Outcome, PhysAddr, Position, Request, Shared, Status};

use super::board::{Board, Note};
use super::drive::{Disk, Job, drive, whole};
use super::patience::{IDLE_NS, Look, patiently};
use super::stack::{no_limits, on_device};
use super::waiting::{self, LOOK_NS};
use super::{Arguments, Failure, disks, fact, failure};
use crate::block::BlockDevice as _;
use crate::driver::nvme::NvmeDisk;
use crate::fixed::stalled::{LEN, REQUESTS};
use crate::machine::Machine;
use crate::memory::{Buffer, Choice, Owner};
use crate::registers::Clock as _;

/// How long a command may take, and what an abort may take. A disk of eight reads a second stalls all but the first few.
const COMMAND_NS: u64 = 150_000_000;
const ABORT_NS: u64 = 50_000_000;

type Part = Request<PhysAddr, Owner, Shared<Note>>;

pub(super) fn run(machine: &'static Machine, arguments: &Arguments<'_>) -> Result<(), Failure> {
    match arguments.text("disk")? {
        "nvme" => on_device!(machine, arguments, &no_limits(), |device| nvme(machine, arguments, device)),
        "virtio" => on_device!(machine, arguments, &no_limits(), |device| virtio(machine, arguments, device)),
        other => Err(disks::no_disk(other).into()),
    }
}

/// The requests of the scenario, and what became of them.
struct Batch {
    machine: &'static Machine,
    board: Board,
    owners: Vec<Owner>,
    outcomes: Vec<(usize, Outcome)>,
    start_ns: u64,
}

/// What a driver did about commands that took too long.
#[derive(Clone, Copy, Debug, Default)]
struct Recovered {
    resets: u64,
    overdue: usize,
    cancelled: usize,
}

impl Batch {
    fn new(machine: &'static Machine) -> Self {
        let start_ns = machine.clock.now_ns();
        Self { machine, board: Board::new(), owners: Vec::new(), outcomes: Vec::new(), start_ns }
    }

    /// Makes the next request.
    fn next(&mut self) -> Result<Part, Failure> {
        let number = self.owners.len();
        let lease = Buffer::new(self.machine.memory, LEN, 512, Choice::SCATTERED)?.lease()?;
        self.owners.push(Owner::clone(lease.owner()));
        let position = Position::At(u64::try_from(number)?.saturating_mul(LEN));
        Ok(Request::new(lease, Direction::FromDevice, position, self.board.note(number)).into_shared())
    }

    fn age_ns(&self) -> u64 {
        self.machine.clock.now_ns().saturating_sub(self.start_ns)
    }

    /// Looks, by a look at the driver, until all have ended.
    fn wait(&mut self, mut look: impl FnMut(&Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let machine = self.machine;
        let what = format!("{} requests of a stalled disk", self.owners.len());
        patiently(machine, &what, IDLE_NS, |_| {
            look(self)?;
            let mut before = self.outcomes.len();
            self.outcomes.extend(self.board.take());
            let now = self.outcomes.len();
            Ok(if now >= self.owners.len() { Look::Done } else { Look::at(&mut before, now) })
        })
    }

    /// States what became of the requests, and what the driver did.
    fn state(&self, recovered: Recovered) -> Result<(), Failure> {
        let Recovered { resets, overdue, cancelled } = recovered;
        let is_cancelled =
            |outcome: &Outcome| outcome.fault.is_some_and(|fault| fault.status == Status::Cancelled);
        let by_reset = self.outcomes.iter().filter(|(_, outcome)| is_cancelled(outcome)).count();
        fact!("ended", self.outcomes.len());
        fact!("done", self.outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::whole(LEN)).count());
        fact!("cancelled", by_reset);
        fact!("resets", resets);
        fact!("overdue", overdue);
        if by_reset != cancelled {
            let says = format!("{by_reset} requests were cancelled, the driver counts {cancelled}");
            return Err(failure(says));
        }
        Ok(())
    }

    /// Takes the memory back.
    fn buffers(self) -> Result<Vec<Buffer>, Failure> {
        let whole = |owner| Owner::into_inner(owner);
        let held =
            |number| failure(format!("somebody still holds the memory of request {number}, which ended"));
        let owners = self.owners.into_iter().enumerate();
        owners.map(|(number, owner)| whole(owner).ok_or_else(|| held(number))).collect()
    }
}

/// Reads the same again from a disk that is as slow as before, and writes it to the other.
fn again<B: Disk>(
    machine: &Machine,
    source: &mut B,
    destination: &mut B,
    buffers: Vec<Buffer>,
) -> Result<(), Failure> {
    for (number, buffer) in (0_u64..).zip(buffers) {
        let position = number.saturating_mul(LEN);
        let read = Job { buffer, direction: Direction::FromDevice, position };
        let (read, _) = drive(machine, source, Vec::from([read]))?;
        let write =
            whole(read)?.into_iter().map(|buffer| Job { buffer, direction: Direction::ToDevice, position });
        let (written, _) = drive(machine, destination, write.collect())?;
        whole(written)?;
    }
    Ok(())
}

fn nvme<D>(machine: &'static Machine, arguments: &Arguments<'_>, device: D) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let (command_timeout_ns, abort_timeout_ns) = (COMMAND_NS, ABORT_NS);
    let options = Options { queues: 2, command_timeout_ns, abort_timeout_ns, ..Options::default() };
    let (mut controller, waiting, told) =
        disks::controller::<_, Owner, Shared<Note>>(machine, arguments, device, options)?;
    let mut batch = Batch::new(machine);
    let (namespaces, queues) = controller.parts_mut();
    let have = (namespaces.len(), queues.len());
    let ([source, ..], [queue, ..]) = (namespaces, queues) else {
        return Err(disks::too_few(have, 1));
    };
    for _ in 0..REQUESTS {
        queue.submit(source, batch.next()?)?;
    }
    queue.ring();
    let mut recovered = Recovered::default();
    batch.wait(|_| {
        let recovery = controller.check_timeouts(|done| {
            if let Finished::Transfer(request) = done.finished {
                drop(request.complete(done.outcome));
            }
        })?;
        recovered.resets = recovered.resets.saturating_add(u64::from(recovery.reset));
        recovered.overdue = recovered.overdue.saturating_add(recovery.overdue);
        recovered.cancelled = recovered.cancelled.saturating_add(recovery.cancelled);
        if let [queue, ..] = controller.queues_mut() {
            queue.wait(queue.now_ns().saturating_add(LOOK_NS));
        }
        Ok(())
    })?;
    batch.state(recovered)?;
    fact!("in_flight", controller.queues_mut().iter().map(|queue| queue.in_flight()).sum::<usize>());
    let (namespaces, queues) = controller.parts_mut();
    let have = (namespaces.len(), queues.len());
    let ([one, other, ..], [first, second, ..]) = (namespaces, queues) else {
        return Err(disks::too_few(have, 2));
    };
    let (mut source, mut destination) = (NvmeDisk::new(one, first), NvmeDisk::new(other, second));
    again(machine, &mut source, &mut destination, batch.buffers()?)?;
    waiting.state(machine, waiting::vectors(controller.queues_mut()));
    told.state()?;
    Ok(controller.shut_down()?)
}

fn virtio<D>(machine: &'static Machine, arguments: &Arguments<'_>, device: D) -> Result<(), Failure>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let [mut source, mut destination] =
        disks::virtio_pair::<_, Owner, Shared<Note>>(machine, arguments, device)?;
    let mut batch = Batch::new(machine);
    for _ in 0..REQUESTS {
        let request = batch.next()?;
        source.submit(request).map_err(|refused| refused.error)?;
    }
    source.kick();
    let mut recovered = Recovered::default();
    batch.wait(|batch| {
        source.poll()?;
        if batch.age_ns() > COMMAND_NS && source.pending() > 0 {
            recovered.resets = recovered.resets.saturating_add(1);
            recovered.overdue = recovered.overdue.saturating_add(source.pending());
            source.reset_with(&mut |request, outcome| {
                recovered.cancelled = recovered.cancelled.saturating_add(1);
                drop(request.complete(outcome));
            })?;
        }
        Ok(())
    })?;
    batch.state(recovered)?;
    fact!("in_flight", source.pending());
    again(machine, &mut source, &mut destination, batch.buffers()?)?;
    disks::state_virtio(&source, &destination);
    Ok(())
}
