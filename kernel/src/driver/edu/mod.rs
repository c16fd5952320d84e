//! [`Edu`]: the DMA engine of QEMU's educational device, which reaches 28 bits of address.
//!
//! QEMU, `docs/specs/edu.rst`. One segment at a time between memory and a buffer in the device, which is here a very
//! small [`BlockDevice`]. What lies above its mask is refused, or bounces where the bus has a pool. There is no descriptor: address and
//! count are registers.
#![expect(unsafe_code, reason = "takes back what the device had; see the invariants of Edu")]

mod single;

pub use single::SingleError;

use core::fmt;

use scatterlist::map::{DmaDevice, InFlight, MapError, PrepareError, Prepared, TargetError, prepare};
use scatterlist::plan::Policy;
use scatterlist::{
    Addr as _, BusAddr, Complete, Direction, DmaTarget, Force, LimitId, Limits, LimitsError, Outcome,
    PhysAddr, Position, Request, Segment, Source, StackError,
};

use super::bare::NoPool;
use crate::block::BlockDevice;
use crate::refused::{Refused, Retry};
use crate::registers::{Clock, Registers, wait_until};
use single::SingleFormat;

/// Registers, and what they hold (`docs/specs/edu.rst`, "MMIO area spec" and "DMA").
mod at {
    pub(super) const IDENTIFICATION: u64 = 0x00;
    pub(super) const LIVENESS: u64 = 0x04;
    pub(super) const SOURCE: u64 = 0x80;
    pub(super) const DESTINATION: u64 = 0x88;
    pub(super) const COUNT: u64 = 0x90;
    pub(super) const COMMAND: u64 = 0x98;
}

/// The low half of the identification; the high one is a version.
const IDENTIFICATION: u32 = 0x00ed;
/// Where the buffer stands in the addresses of the device itself.
const BUFFER: u32 = 0x4_0000;
/// Bytes of the buffer that can be used. It has one more, which QEMU up to 8.1 takes for one too many (`edu_check_range` in
/// `hw/misc/edu.c`) and ends the machine.
const BUFFER_LEN: u64 = 4095;
/// The highest address that the engine reaches: 28 bits.
const ADDR_MAX: u64 = 0x0fff_ffff;
/// Starts a transfer; set while it lasts.
const START: u32 = 1 << 0;
/// From the device to memory.
const TO_MEMORY: u32 = 1 << 1;
/// How long a transfer may take. In QEMU each takes 100 milliseconds (`hw/misc/edu.c`).
const TRANSFER_NS_MAX: u64 = 5_000_000_000;

/// Why the device is not up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another device is there.
    #[error("the identification is {identification:#x}, its low half should be {need:#x}")]
    Identification {
        /// What stands there.
        identification: u32,
        /// What should.
        need: u32,
    },
    /// It does not answer.
    #[error("the device answers {answer:#x} to {question:#x}")]
    Liveness {
        /// What was written.
        question: u32,
        /// What was read: it should be the complement.
        answer: u32,
    },
    /// It is in the middle of a transfer that nobody here started.
    #[error("the device is busy: its command is {command:#x}")]
    Busy {
        /// The command register.
        command: u32,
    },
    /// The limits of the engine.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// Its limits and those of the bus together.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The one transfer that the device does at a time is under way.
    #[error("the device is busy")]
    Busy,
    /// A request for a stream.
    #[error("the buffer of the device has positions, a stream has none")]
    NoPosition,
    /// The address or the count is no number of 32 bits. The limits of the target should have kept it away.
    #[error("{len} bytes at {addr} are out of the engine's reach")]
    OutOfReach {
        /// The address.
        addr: BusAddr,
        /// The count.
        len: u64,
    },
    /// It breaks a limit, or something is short.
    #[error(transparent)]
    Prepare(#[from] PrepareError<SingleError>),
}

impl SubmitError {
    const fn retry(&self) -> Retry {
        match self {
            Self::Busy | Self::Prepare(PrepareError::Map(MapError::Shortage { .. })) => Retry::Later,
            _ => Retry::Never,
        }
    }
}

/// Why a transfer did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// It was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It did not end in time. The device keeps the memory until it does: [`BlockDevice::poll_with`] gives it back then.
    #[error("the transfer is not done after {ns} ns")]
    Timeout {
        /// How long was waited.
        ns: u64,
    },
}

/// The device never fails: it is done, or it is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PollError {}

/// The request that the device has.
type Flight<D, O, C> = InFlight<Prepared<D, NoPool, O, C, Segment<BusAddr>>>;

/// A driver of the DMA engine. `D` is the bus, `R` the registers, `K` the time, `O` owns the memory of requests, `C` is told of
/// their ends.
///
/// # Invariants
/// 1. The device knows addresses only of the request in `flight`.
/// 2. It is taken out when the start bit is clear again: the device uses its memory no more then.
pub struct Edu<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    registers: R,
    clock: K,
    target: DmaTarget<D, NoPool>,
    flight: Option<Flight<D, O, C>>,
    bounced_bytes: u64,
}

impl<D, R, K, O, C> Edu<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    /// Makes sure that the device is there, alive, and at rest.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Safety
    /// `registers` are those of a device that reaches memory as `device` says, and nobody else uses them.
    pub unsafe fn new(registers: R, clock: K, device: D) -> Result<Self, StartError> {
        let identification = registers.read32(at::IDENTIFICATION);
        if identification & 0xffff != IDENTIFICATION {
            return Err(StartError::Identification { identification, need: IDENTIFICATION });
        }
        let question = 0x1234_5678;
        registers.write32(at::LIVENESS, question);
        let answer = registers.read32(at::LIVENESS);
        if answer != !question {
            return Err(StartError::Liveness { question, answer });
        }
        let command = registers.read32(at::COMMAND);
        if command & START != 0 {
            return Err(StartError::Busy { command });
        }
        let target = target(device)?;
        Ok(Self { registers, clock, target, flight: None, bounced_bytes: 0 })
    }

    /// Returns the target: what a request must be.
    pub const fn target(&self) -> &DmaTarget<D, NoPool> {
        &self.target
    }

    /// Returns how many bytes went through other memory, because the engine does not reach them.
    pub const fn bounced_bytes(&self) -> u64 {
        self.bounced_bytes
    }

    /// Transfers one request and waits for its end, which nobody has been told.
    ///
    /// # Errors
    /// The request back, with why; after [`TransferError::Timeout`] the device still has it.
    #[expect(clippy::type_complexity, reason = "a request and its outcome, or the request and why")]
    pub fn transfer(
        &mut self,
        request: Request<PhysAddr, O, C>,
    ) -> Result<(Request<PhysAddr, O, C>, Outcome), Refused<Option<Request<PhysAddr, O, C>>, TransferError>>
    {
        if let Err(Refused { request, retry, error }) = self.submit(request) {
            return Err(Refused { request: Some(request), retry, error: error.into() });
        }
        wait_until(&self.clock, TRANSFER_NS_MAX, || self.is_done());
        let timeout = || {
            let error = TransferError::Timeout { ns: TRANSFER_NS_MAX };
            Refused { request: None, retry: Retry::Later, error }
        };
        self.take().ok_or_else(timeout)
    }

    fn is_done(&self) -> bool {
        self.registers.read32(at::COMMAND) & START == 0
    }

    /// Takes back what the device has, if it is done with it.
    fn take(&mut self) -> Option<(Request<PhysAddr, O, C>, Outcome)> {
        if !self.is_done() {
            return None;
        }
        let flight = self.flight.take()?;
        // SAFETY: (2) the start bit is clear.
        let request = unsafe { flight.complete() }.unprepare();
        let outcome = Outcome::whole(request.len_bytes());
        Some((request, outcome))
    }
}

/// Derives the target of the engine.
fn target<D>(device: D) -> Result<DmaTarget<D, NoPool>, StartError>
where
    D: DmaDevice<Addr = PhysAddr>,
{
    let set = [
        (LimitId::AddrMax, ADDR_MAX),
        (LimitId::SegmentsMax, 1),
        (LimitId::PiecesMax, 1),
        (LimitId::TransferLenMax, BUFFER_LEN),
        (LimitId::Capacity, BUFFER_LEN),
    ];
    let engine = set
        .into_iter()
        .fold(Limits::builder(), |rules, (id, value)| rules.set(id, value, Source::Interface, Force::Hard));
    let bus = device.target();
    let limits = engine.build()?.stack(bus.limits())?;
    Ok(bus.channel(&limits)?.with_pool(NoPool))
}

impl<D, R, K, O, C> BlockDevice for Edu<D, R, K, O, C>
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
        let refused = |request, error: SubmitError| Err(Refused { request, retry: error.retry(), error });
        if self.flight.is_some() {
            return refused(request, SubmitError::Busy);
        }
        let Position::At(position) = request.position() else {
            return refused(request, SubmitError::NoPosition);
        };
        let direction = request.direction();
        let prepared = match prepare(&self.target, request, &SingleFormat) {
            Ok(prepared) => prepared,
            Err(failed) => return refused(failed.request, SubmitError::Prepare(failed.error)),
        };
        let bounced = prepared.bounced_bytes();
        let flight = prepared.into_flight();
        let segment = *flight.command();
        let (addr, len) = (segment.addr(), segment.len());
        let own = u32::try_from(position).ok().and_then(|position| BUFFER.checked_add(position));
        let (Ok(memory), Ok(count), Some(own)) = (u32::try_from(addr.raw()), u32::try_from(len), own) else {
            // SAFETY: the device was not told.
            let request = unsafe { flight.complete() }.unprepare();
            return refused(request, SubmitError::OutOfReach { addr, len });
        };
        let (source, destination, way) = match direction {
            Direction::ToDevice => (memory, own, 0),
            Direction::FromDevice => (own, memory, TO_MEMORY),
        };
        self.bounced_bytes = self.bounced_bytes.saturating_add(bounced);
        self.flight = Some(flight);
        self.registers.write32(at::SOURCE, source);
        self.registers.write32(at::DESTINATION, destination);
        self.registers.write32(at::COUNT, count);
        self.registers.write32(at::COMMAND, START | way);
        Ok(())
    }

    /// Does nothing: a request is started when it is submitted.
    fn kick(&mut self) {}

    fn poll_with(
        &mut self,
        back: &mut dyn FnMut(Request<PhysAddr, O, C>, Outcome),
    ) -> Result<usize, PollError> {
        if self.flight.is_none() {
            return Ok(0);
        }
        Ok(self.take().map_or(0, |(request, outcome)| {
            back(request, outcome);
            1
        }))
    }
}

impl<D, R, K, O, C> Drop for Edu<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    fn drop(&mut self) {
        if self.flight.is_none() {
            return;
        }
        wait_until(&self.clock, TRANSFER_NS_MAX, || self.is_done());
        // There is no reset. What is not done stays in flight, which leaks it and says so.
        if let Some((request, outcome)) = self.take() {
            drop(request.complete(outcome));
        }
    }
}

impl<D, R, K, O, C> fmt::Debug for Edu<D, R, K, O, C>
where
    D: DmaDevice<Addr = PhysAddr>,
    R: Registers,
    K: Clock,
    C: Complete,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edu").field("busy", &self.flight.is_some()).finish_non_exhaustive()
    }
}
