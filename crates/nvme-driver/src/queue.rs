//! [`IoQueue`]: a pair of I/O queues, of one thread at a time. The data path.
//!
//! `submit` any number of commands, `ring` once for all of them, `poll` for what came back. None of the three allocates for
//! requests of up to four bus segments; a longer one allocates the chunk of its chain. Work per command does not
//! depend on the depth of the queue.
#![expect(
    unsafe_code,
    reason = "tells the controller of memory and takes it back; see the invariants of IoQueue"
)]

use alloc::sync::Arc;
use core::fmt;
use core::mem::ManuallyDrop;
use core::ops::Range;

use scatterlist::desc::DescriptorMemory as _;
use scatterlist::map::{DmaDevice, DmaPool, MapError, PoolObject, PrepareError};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr as _, Complete, Direction, Position, Request, Status};

use crate::done::{CommandId, Control, Done};
use crate::entry::{Completion, Entry};
use crate::error::{PollError, SubmitError, SubmitFailed};
use crate::format::{DataPointer, Format};
use crate::link::Link;
use crate::namespace::{Namespace, Owner};
use crate::pair::Pair;
use crate::registers::{Interrupts, Registers};
use crate::slots::{Plain, Slots};
use crate::spec::{self, io};

/// A pair of I/O queues.
///
/// # Invariants
/// 1. What a command names is in flight in its slot from before the entry is written until the controller has reported the
///    command as done, or is disabled.
/// 2. Entries are of namespaces of the same controller, so bus addresses are those of its device.
pub struct IoQueue<R, I, D: DmaDevice, O, C: Complete> {
    pub(crate) link: Arc<Link<R, I>>,
    pub(crate) pair: Pair<D>,
    pub(crate) slots: Slots<D, O, C>,
    pub(crate) owner: Owner,
    pub(crate) format: Format,
    pub(crate) pool: DmaPool<D>,
    pub(crate) oncs: u16,
    pub(crate) command_timeout_ns: u64,
    /// The controller can be told of commands.
    pub(crate) live: bool,
    pub(crate) vector: u16,
}

/// A request that was not submitted.
type Refused<D, O, C> = SubmitFailed<Request<<D as scatterlist::map::Backend>::Addr, O, C>>;

impl<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> IoQueue<R, I, D, O, C> {
    /// Returns the identifier of the queue, from 1.
    pub const fn id(&self) -> u16 {
        self.pair.id()
    }

    /// Returns the vector of its interrupts.
    pub const fn vector(&self) -> u16 {
        self.vector
    }

    /// Returns how many commands it takes at a time.
    pub const fn commands_max(&self) -> usize {
        self.slots.len()
    }

    /// Returns how many commands are in flight.
    pub const fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// Waits for an interrupt of this queue, or until `until_ns`.
    pub fn wait(&self, until_ns: u64) {
        self.link.interrupts.wait(self.vector, until_ns);
    }

    /// Returns the clock that deadlines are kept by.
    pub fn now_ns(&self) -> u64 {
        self.link.interrupts.now_ns()
    }

    /// Puts a request into the queue, as one command. The controller learns of it by [`IoQueue::ring`].
    ///
    /// The request must fit the namespace's [target](Namespace::target) as it is: plan it, and split it where the plan says.
    ///
    /// # Errors
    /// The request as it was, with the reason; see [`SubmitError::is_backpressure`].
    #[track_caller]
    pub fn submit(
        &mut self,
        namespace: &Namespace<D>,
        request: Request<D::Addr, O, C>,
    ) -> Result<CommandId, Refused<D, O, C>> {
        let command = match self.next(namespace) {
            Ok(command) => command,
            Err(error) => return Err(SubmitFailed { request, error }),
        };
        let Position::At(at) = request.position() else {
            return Err(SubmitFailed { request, error: SubmitError::NoPosition });
        };
        let opcode = match request.direction() {
            Direction::ToDevice => io::WRITE,
            Direction::FromDevice => io::READ,
        };
        let bytes = request.len_bytes();
        let Some((block, blocks)) = namespace.blocks(at, bytes, namespace.transfer_len_max()) else {
            let error = refusal(namespace, &request, at);
            return Err(SubmitFailed { request, error });
        };
        let data =
            self.slots.prepare(namespace.target(), request, &self.format, (command, self.deadline_ns()))?;
        let (namespace, cdw12) = (namespace.id(), blocks.wrapping_sub(1));
        self.pair.push(&Entry { opcode, command, namespace, data, cdw10: block, cdw12 });
        Ok(CommandId { queue: self.id(), command })
    }

    /// Puts a flush into the queue: when it is done, what was written by commands that were done before is durable.
    ///
    /// # Errors
    /// The completion, with the reason.
    pub fn submit_flush(
        &mut self,
        namespace: &Namespace<D>,
        completion: C,
    ) -> Result<CommandId, SubmitFailed<C>> {
        let entry = Entry { opcode: io::FLUSH, ..Entry::default() };
        self.submit_control(namespace, Control::Flush, completion, |_| Ok((entry, 0, None)))
    }

    /// Puts a command into the queue that makes blocks read as zeros: `bytes` at byte `at`, whole blocks, at most 65536.
    ///
    /// # Errors
    /// The completion, with the reason.
    pub fn submit_write_zeroes(
        &mut self,
        namespace: &Namespace<D>,
        at: u64,
        bytes: u64,
        completion: C,
    ) -> Result<CommandId, SubmitFailed<C>> {
        self.submit_control(namespace, Control::WriteZeroes, completion, |queue| {
            queue.supports(3, "write zeroes")?;
            let bytes_max = spec::BLOCKS_MAX.saturating_mul(namespace.block_len());
            let (block, blocks) = namespace
                .blocks(at, bytes, bytes_max)
                .ok_or_else(|| range_error(namespace, at, bytes, bytes_max))?;
            let (opcode, cdw12) = (io::WRITE_ZEROES, blocks.wrapping_sub(1));
            let entry = Entry { opcode, cdw10: block, cdw12, ..Entry::default() };
            Ok((entry, bytes, None))
        })
    }

    /// Puts a command into the queue that says that blocks hold nothing of use: from 1 to 256 ranges of bytes, whole blocks.
    ///
    /// # Errors
    /// The completion, with the reason.
    pub fn submit_deallocate(
        &mut self,
        namespace: &Namespace<D>,
        ranges: &[Range<u64>],
        completion: C,
    ) -> Result<CommandId, SubmitFailed<C>> {
        self.submit_control(namespace, Control::Deallocate, completion, |queue| {
            queue.supports(2, "deallocate")?;
            let (page, bytes) = queue.list(namespace, ranges)?;
            let last = u64::try_from(ranges.len()).unwrap_or(u64::MAX).saturating_sub(1);
            let entry = Entry {
                opcode: io::DATASET_MANAGEMENT,
                data: DataPointer::page(page.bus_addr().raw()),
                cdw10: last | u64::from(io::DEALLOCATE).wrapping_shl(32),
                ..Entry::default()
            };
            Ok((entry, bytes, Some(page)))
        })
    }

    /// Tells the controller of all that was submitted since: one write to a register, or none.
    #[inline]
    pub fn ring(&mut self) {
        if self.live {
            // SAFETY: (1), (2).
            unsafe { self.pair.ring(&self.link.registers) };
        }
    }

    /// Hands over what came back, at most as many commands as the queue has entries, and tells the controller so: at most
    /// one write to a register. Returns how many. What was submitted and not rung is rung first: so a controller that completes a
    /// command before it was told of it is not told later of memory that was let go.
    ///
    /// # Errors
    /// [`PollError`], after those that came before have been handed over.
    #[inline]
    pub fn poll(&mut self, mut each: impl FnMut(Done<D::Addr, O, C>)) -> Result<usize, PollError> {
        if !self.live {
            return Err(PollError::Stopped { queue: self.id() });
        }
        self.ring();
        let mut count = 0_usize;
        let mut outcome = Ok(());
        for _ in 0..self.pair.entries() {
            let Some(completion) = self.pair.take() else { break };
            match self.finish(&completion, &mut each) {
                Ok(()) => count = count.wrapping_add(1),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.pair.ring_taken(&self.link.registers);
        outcome.map(|()| count)
    }

    /// Ends the command of a completion.
    #[inline]
    fn finish(
        &mut self,
        completion: &Completion,
        each: impl FnOnce(Done<D::Addr, O, C>),
    ) -> Result<(), PollError> {
        self.pair.accept(completion)?;
        let (queue, command) = (self.id(), completion.command);
        let status = completion.status;
        let fault = if status.is_success() { None } else { Some(Status::Device(status.packed())) };
        // SAFETY: (1) the controller reported the command as done.
        match unsafe { self.slots.finish(CommandId { queue, command }, fault, each) } {
            true => Ok(()),
            false => Err(PollError::UnknownCommand { queue, command }),
        }
    }

    /// Returns the identifier of the next command.
    #[inline]
    fn next(&self, namespace: &Namespace<D>) -> Result<u16, SubmitError> {
        let (queue, commands) = (self.id(), self.slots.len());
        if !self.live {
            return Err(SubmitError::Stopped);
        }
        if !self.owner.is(namespace.owner()) {
            return Err(SubmitError::Foreign { namespace: namespace.id(), queue });
        }
        self.slots.next().ok_or(SubmitError::QueueFull { queue, commands })
    }

    fn supports(&self, bit: u32, command: &'static str) -> Result<(), SubmitError> {
        let oncs = self.oncs;
        if oncs.wrapping_shr(bit) & 1 == 1 { Ok(()) } else { Err(SubmitError::Unsupported { command, oncs }) }
    }

    #[inline]
    fn deadline_ns(&self) -> u64 {
        self.link.interrupts.now_ns().saturating_add(self.command_timeout_ns)
    }

    fn submit_control(
        &mut self,
        namespace: &Namespace<D>,
        control: Control,
        completion: C,
        make: impl FnOnce(&Self) -> Result<(Entry, u64, Option<PoolObject<D>>), SubmitError>,
    ) -> Result<CommandId, SubmitFailed<C>> {
        let made = self.next(namespace).and_then(|command| Ok((command, make(self)?)));
        let (command, (entry, bytes, page)) = match made {
            Ok(made) => made,
            Err(error) => return Err(SubmitFailed { request: completion, error }),
        };
        let page = page.map(ManuallyDrop::new);
        self.slots.put(Plain { control, completion, bytes, page }, self.deadline_ns());
        self.pair.push(&Entry { command, namespace: namespace.id(), ..entry });
        Ok(CommandId { queue: self.id(), command })
    }

    /// Writes ranges into a list page: NVM Command Set Specification 1.0, section 3.2.3. Returns it and the sum of bytes.
    fn list(
        &self,
        namespace: &Namespace<D>,
        ranges: &[Range<u64>],
    ) -> Result<(PoolObject<D>, u64), SubmitError> {
        if ranges.is_empty() || ranges.len() > spec::RANGES_MAX {
            return Err(SubmitError::Ranges { ranges: ranges.len(), max: spec::RANGES_MAX });
        }
        let mut page = self.pool.fetch().map_err(SubmitError::ListPage)?;
        let bytes_max = u64::from(u32::MAX).saturating_mul(namespace.block_len());
        let mut sum = 0_u64;
        for (index, range) in ranges.iter().enumerate() {
            let bytes = range.end.saturating_sub(range.start);
            let (block, blocks) = namespace
                .blocks(range.start, bytes, bytes_max)
                .ok_or_else(|| range_error(namespace, range.start, bytes, bytes_max))?;
            sum = sum.saturating_add(bytes);
            let at = index.saturating_mul(spec::RANGE_WORDS);
            // Context attributes (none) and the number of blocks, then the first block. A page holds all ranges.
            page.put(at, blocks.wrapping_shl(32));
            page.put(at.saturating_add(1), block);
        }
        Ok((page, sum))
    }
}

/// Says which limit a request breaks that is not whole blocks of a transfer, with what headers and trailers add to it.
#[cold]
fn refusal<D: DmaDevice, O, C>(
    namespace: &Namespace<D>,
    request: &Request<D::Addr, O, C>,
    at: u64,
) -> SubmitError {
    let limits = namespace.target().list_limits();
    match plan(request.lease().list(), request.position(), limits, Policy::WholeOrError).next() {
        Some(Err(error)) => PrepareError::Map(MapError::Limit(error)).into(),
        _ => range_error(namespace, at, request.len_bytes(), namespace.transfer_len_max()),
    }
}

#[cold]
fn range_error<D: DmaDevice>(namespace: &Namespace<D>, at: u64, bytes: u64, bytes_max: u64) -> SubmitError {
    let (block_len, capacity) = (namespace.block_len(), namespace.capacity_bytes());
    SubmitError::Range { at, bytes, block_len, capacity, bytes_max }
}

impl<R, I, D: DmaDevice, O, C: Complete> fmt::Debug for IoQueue<R, I, D, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoQueue")
            .field("pair", &self.pair)
            .field("in_flight", &self.slots.in_flight())
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}
