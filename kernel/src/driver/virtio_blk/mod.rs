//! [`VirtioBlk`]: a virtio block device over MMIO, which is a disk that is on no PCI bus.
//!
//! Virtual I/O Device (VIRTIO) Version 1.2, sections 4.2 and 5.2. One queue; requests are [prepared](mod@scatterlist::map) by
//! the target, whose limits are the device's own, and encoded as chains of the queue. Several are in flight; a full queue or pool is
//! backpressure. `transport` has the registers, `facts` the limits, `rings` the memory of the
//! queue, `chain` the descriptors of one request.
#![expect(unsafe_code, reason = "takes back what the device had; see the invariants of VirtioBlk")]

mod chain;
mod error;
mod facts;
mod rings;
mod transport;

pub use chain::ChainError;
pub use error::{PollError, StartError, SubmitError};
pub use facts::{Facts, FactsError, Options};
pub use transport::TransportError;

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;

use scatterlist::desc::virtqueue::{Rings, Shape};
use scatterlist::map::{DmaDevice, DmaPool, InFlight, PoolLayout, PoolObject, Prepared, prepare};
use scatterlist::plan::Policy;
use scatterlist::{
    Complete, Direction, DmaTarget, Fault, Limits, Outcome, PhysAddr, Position, Request, Status,
};

use crate::block::{BlockDevice, Refused, Retry};
use crate::registers::{Clock, Registers};
use chain::{Chain, Operation, frame_len};
use facts::SECTOR_LEN;
use rings::{Parts, Queue, Ring, new_queue, new_rings};
use transport::Transport;

/// The class of block devices (section 5).
const CLASS: u32 = 2;
/// The only queue that is used (section 5.2.2).
const QUEUE: u32 = 0;
/// Bytes that the pool of frames takes at a time.
const SLAB_LEN: u64 = 16 << 10;

/// A request that the device has.
type Flight<D, O, C> = InFlight<Prepared<D, DmaPool<D>, O, C, u16>>;

/// What a queue was given: counted where descriptors are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// Requests that read.
    pub reads: u64,
    /// Requests that write.
    pub writes: u64,
    /// Descriptors of their data.
    pub segments: u64,
}

/// What the device has under one head.
#[expect(
    clippy::large_enum_variant,
    reason = "transfers are the rule, and a box for each would be an allocation"
)]
enum Job<D: DmaDevice<Addr = PhysAddr>, O, C> {
    Transfer(Flight<D, O, C>),
    /// A flush has no memory but its frame, which stays out of the pool for as long as the device may write it.
    Flush(ManuallyDrop<PoolObject<D>>, C),
}

/// A driver of one virtio block device. `D` is the bus, `R` the registers, `K` the time, `O` owns the memory of requests, `C`
/// is told of their ends.
///
/// # Invariants
/// 1. The device knows addresses only of rings that `queue` holds in flight, and of requests and frames that `jobs` holds in
///    flight, each under its head.
/// 2. What is in `jobs` is taken out when the queue says that the device gave its head back, or after a reset that
///    the device confirmed. It uses that memory no more then.
/// 3. The rings are taken out of flight only after a reset that the device confirmed.
pub struct VirtioBlk<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    transport: Transport<R>,
    clock: K,
    target: DmaTarget<D, DmaPool<D>>,
    options: Options,
    facts: Facts,
    /// `None` while the device is down.
    queue: Option<Queue<D>>,
    jobs: Vec<Option<Job<D, O, C>>>,
    doorbells: u64,
    told: Told,
    bounced_bytes: u64,
}

impl<D, R, K, O, C> VirtioBlk<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    /// Resets the device and brings it up.
    ///
    /// # Errors
    /// [`StartError`]: no modern block device is there, it lacks a feature, or there is no memory for its rings.
    ///
    /// # Safety
    /// `registers` are those of a device that reaches memory as `device` says, and nobody else uses them.
    pub unsafe fn new(registers: R, clock: K, device: D, options: Options) -> Result<Self, StartError> {
        let transport = Transport::new(registers, CLASS)?;
        transport.reset(&clock)?;
        let made = Facts::read(&transport, options).map_err(StartError::from).and_then(|facts| {
            let target = target(device, &facts, options)?;
            let queue = new_queue(facts.queue_size(), new_rings(target.device(), facts.queue_size())?)?;
            Ok((facts, target, queue))
        });
        let (facts, target, queue) = match made {
            Ok(made) => made,
            Err(error) => {
                transport.give_up();
                return Err(error);
            }
        };
        let mut jobs = Vec::new();
        jobs.resize_with(usize::from(facts.queue_size().get()), || None);
        let mut driver = Self {
            transport,
            clock,
            target,
            options,
            facts,
            queue: None,
            jobs,
            doorbells: 0,
            told: Told::default(),
            bounced_bytes: 0,
        };
        driver.start(queue);
        Ok(driver)
    }

    /// Shows the queue to a device that has agreed on features.
    fn start(&mut self, mut queue: Queue<D>) {
        // It is polled: see `want_interrupts`.
        queue.want_interrupts(false);
        self.transport.set_queue(QUEUE, queue.size(), queue.rings());
        self.transport.start();
        self.queue = Some(queue);
    }

    /// Returns what the device said of itself.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns the target: the limits of requests, and the pool of their frames.
    pub const fn target(&self) -> &DmaTarget<D, DmaPool<D>> {
        &self.target
    }

    /// Returns how many requests the device has or will have with the next kick.
    pub fn pending(&self) -> usize {
        self.queue
            .as_ref()
            .map_or(0, |queue| usize::from(queue.in_flight()).saturating_add(usize::from(queue.added())))
    }

    /// Returns how often the device was notified.
    pub const fn doorbells(&self) -> u64 {
        self.doorbells
    }

    /// Returns what the queue was given since the start.
    pub const fn told(&self) -> Told {
        self.told
    }

    /// Returns how many bytes went through other memory, because the device could not use them where they are.
    pub const fn bounced_bytes(&self) -> u64 {
        self.bounced_bytes
    }

    /// Says whether the device cannot go on without a reset.
    pub fn needs_reset(&self) -> bool {
        self.queue.is_none() || self.transport.needs_reset()
    }

    /// Asks for interrupts when requests are done, or for none, which is how a device starts.
    pub fn want_interrupts(&mut self, wanted: bool) {
        if let Some(queue) = &mut self.queue {
            queue.want_interrupts(wanted);
        }
    }

    /// Acknowledges an interrupt. Says whether it was this device's.
    pub fn acknowledge(&self) -> bool {
        self.transport.acknowledge()
    }

    /// Makes what was written and completed before durable. `completion` is told, of no bytes.
    ///
    /// A device without a cache (no `VIRTIO_BLK_F_FLUSH`, section 5.2.5) has nothing to do, and the completion is told at once.
    ///
    /// # Errors
    /// The completion back, with why; the queue or the pool may be full.
    pub fn flush(&mut self, completion: C) -> Result<(), Refused<C, SubmitError>> {
        let refused = |request, error: SubmitError| Refused { request, retry: error.retry(), error };
        let Some(queue) = &mut self.queue else { return Err(refused(completion, SubmitError::Down)) };
        if !self.facts.has_flush() {
            completion.complete(Outcome::whole(0));
            return Ok(());
        }
        let mut frame = match self.target.pool().fetch() {
            Ok(frame) => frame,
            Err(error) => return Err(refused(completion, SubmitError::Prepare(error.into()))),
        };
        let chain = Chain::new(queue, Operation::Flush, 0, self.facts.has_indirect());
        match chain.add(&mut frame, core::iter::empty()) {
            Ok(head) => {
                self.put(head, Job::Flush(ManuallyDrop::new(frame), completion));
                Ok(())
            }
            Err(error) => {
                let error = scatterlist::map::PrepareError::Encode(error);
                Err(refused(completion, SubmitError::Prepare(error)))
            }
        }
    }

    /// Keeps what the device is to have under `head`, which was free.
    fn put(&mut self, head: u16, job: Job<D, O, C>) {
        if let Some(place) = self.jobs.get_mut(usize::from(head)) {
            *place = Some(job);
        }
    }

    /// Resets the device: what it had is cancelled, its memory comes back, and it starts anew.
    ///
    /// # Errors
    /// [`StartError`]. Where the device does not confirm the reset, it keeps what it has, and another reset may be tried;
    /// where it does not come up again, it is down, and has nothing.
    pub fn reset_with(
        &mut self,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<(), StartError> {
        let parts = self.stop(back)?;
        let facts = Facts::read(&self.transport, self.options)?;
        if facts != self.facts {
            self.transport.give_up();
            let (capacity, was) = (facts.capacity_bytes(), self.facts.capacity_bytes());
            return Err(StartError::Changed { capacity, was });
        }
        let parts = match parts {
            Some(parts) => parts,
            None => new_rings(self.target.device(), facts.queue_size())?,
        };
        self.start(new_queue(facts.queue_size(), parts)?);
        Ok(())
    }

    /// As [`reset_with`](Self::reset_with): the completions are told, and the memory goes to its owners.
    ///
    /// # Errors
    /// As there.
    pub fn reset(&mut self) -> Result<(), StartError> {
        self.reset_with(&mut |request, outcome| drop(request.complete(outcome)))
    }

    /// Resets the device and takes everything back that it had, the rings with it.
    fn stop(
        &mut self,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<Option<Parts<D>>, StartError> {
        self.transport.reset(&self.clock)?;
        for place in &mut self.jobs {
            let Some(job) = place.take() else { continue };
            let cancelled = |asked| {
                let fault = Some(Fault { at: 0, status: Status::Cancelled });
                Outcome { asked, done: 0, fault }
            };
            match job {
                Job::Transfer(flight) => {
                    // SAFETY: (2) the device confirmed the reset.
                    let request = unsafe { flight.complete() }.unprepare();
                    let outcome = cancelled(request.len_bytes());
                    back(request, outcome);
                }
                Job::Flush(frame, completion) => {
                    drop(ManuallyDrop::into_inner(frame));
                    completion.complete(cancelled(0));
                }
            }
        }
        Ok(self.queue.take().map(|queue| {
            let (rings, slots) = queue.into_parts();
            // SAFETY: (3) the device confirmed the reset.
            let idle = |ring: Ring<D>| unsafe { ring.complete() };
            let Rings { table, available, used } = rings;
            (Rings { table: idle(table), available: idle(available), used: idle(used) }, slots)
        }))
    }

    /// Judges one request that the device gave back.
    fn end(job: Job<D, O, C>, written: u32, back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome)) {
        match job {
            Job::Transfer(flight) => {
                // A device that gives back a frame it never wrote to says nothing good.
                let status = flight.descriptors().first().map_or(chain::UNANSWERED, chain::status);
                // SAFETY: (2) the queue said that the device gave this head back.
                let request = unsafe { flight.complete() }.unprepare();
                let outcome = outcome(&request, status, written);
                back(request, outcome);
            }
            Job::Flush(frame, completion) => {
                let frame = ManuallyDrop::into_inner(frame);
                let fault = fault(chain::status(&frame));
                drop(frame);
                completion.complete(Outcome { asked: 0, done: 0, fault });
            }
        }
    }
}

/// Returns the fault of a status that is not `VIRTIO_BLK_S_OK` (section 5.2.6).
fn fault(status: u8) -> Option<Fault> {
    (status != 0).then(|| Fault { at: 0, status: Status::Device(u32::from(status)) })
}

/// Returns how a request ended, by its status and the bytes that the device says it wrote.
fn outcome<O, C>(request: &Request<PhysAddr, O, C>, status: u8, written: u32) -> Outcome {
    let asked = request.len_bytes();
    if let Some(fault) = fault(status) {
        return Outcome { asked, done: 0, fault: Some(fault) };
    }
    // Data that was read, then the status: what was not written still holds old bytes (section 2.7.8.2).
    let done = match request.direction() {
        Direction::FromDevice => u64::from(written).saturating_sub(1).min(asked),
        Direction::ToDevice => asked,
    };
    let fault = (done < asked).then_some(Fault { at: done, status: Status::Short });
    Outcome { asked, done, fault }
}

/// Derives the target of the device: by its own limits, those of its queue, and those of the bus.
fn target<D>(device: D, facts: &Facts, options: Options) -> Result<DmaTarget<D, DmaPool<D>>, StartError>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let bus = device.target();
    let limits = facts.limits(options)?.stack(bus.limits()).map_err(FactsError::from)?;
    let descriptors = match facts.shape(options) {
        Shape::Direct => 0,
        Shape::Indirect { descriptors } => descriptors,
    };
    let layout = PoolLayout {
        len: frame_len(descriptors),
        align: 16,
        boundary: 0,
        slab_len: SLAB_LEN,
        objects_max: u64::from(options.requests_max.max(1)),
    };
    Ok(bus.channel(&limits)?.with_pool(DmaPool::new(device, layout)?))
}

impl<D, R, K, O, C> BlockDevice for VirtioBlk<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    type Owner = O;
    type Completion = C;
    type SubmitError = SubmitError;
    type Error = PollError;

    fn limits(&self) -> &Limits {
        self.target.list_limits()
    }

    fn plan_policy(&self) -> Policy {
        self.target.plan_policy()
    }

    fn submit(
        &mut self,
        request: Request<PhysAddr, O, C>,
    ) -> Result<(), Refused<Request<PhysAddr, O, C>, SubmitError>> {
        let never = |request, error| Err(Refused { request, retry: Retry::Never, error });
        let Some(queue) = &mut self.queue else { return never(request, SubmitError::Down) };
        let operation = Operation::from(request.direction());
        if operation == Operation::Write && self.facts.is_read_only() {
            return never(request, SubmitError::ReadOnly);
        }
        let Position::At(at) = request.position() else { return never(request, SubmitError::NoPosition) };
        // The limits make positions multiples of a block, which is one of a sector.
        let sector = at / SECTOR_LEN;
        let chain = Chain::new(queue, operation, sector, self.facts.has_indirect());
        match prepare(&self.target, request, &chain) {
            Ok(prepared) => {
                let segments = chain.segments();
                self.bounced_bytes = self.bounced_bytes.saturating_add(prepared.bounced_bytes());
                let flight = prepared.into_flight();
                let head = *flight.command();
                let way = match operation {
                    Operation::Write => &mut self.told.writes,
                    _ => &mut self.told.reads,
                };
                *way = way.saturating_add(1);
                self.told.segments = self.told.segments.saturating_add(segments);
                self.put(head, Job::Transfer(flight));
                Ok(())
            }
            Err(failed) => {
                let error = SubmitError::Prepare(failed.error);
                Err(Refused { request: failed.request, retry: error.retry(), error })
            }
        }
    }

    fn kick(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        if queue.publish() > 0 && queue.notify_wanted() {
            self.transport.notify(QUEUE);
            self.doorbells = self.doorbells.saturating_add(1);
        }
    }

    fn poll_with(
        &mut self,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<usize, PollError> {
        let Some(queue) = &mut self.queue else { return Err(PollError::Down) };
        let mut ended = 0_usize;
        // At most what was in flight: nothing is submitted meanwhile.
        while let Some(used) = queue.take()? {
            let head = used.head;
            let job = self.jobs.get_mut(usize::from(head)).and_then(Option::take);
            Self::end(job.ok_or(PollError::Unknown { head })?, used.written_bytes, back);
            ended = ended.saturating_add(1);
        }
        Ok(ended)
    }
}

impl<D, R, K, O, C> Drop for VirtioBlk<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    fn drop(&mut self) {
        // Where the device does not confirm the reset, all that it has stays in flight, which leaks it and says so.
        let stopped = self.stop(&mut |request, outcome| drop(request.complete(outcome)));
        drop(stopped);
    }
}

impl<D, R, K, O, C> fmt::Debug for VirtioBlk<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioBlk")
            .field("facts", &self.facts)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
