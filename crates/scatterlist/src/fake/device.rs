//! [`Device`]: what a device does, through the bus, with faults on demand.
//!
//! It reads and writes by bus address, at once or by transfers in a queue, and only what is mapped for it: everything else is
//! refused and found. It never looks into the CPU's memory. Drivers' completions are its [`Hardware`] implementation.
#![expect(unsafe_code, reason = "promises what the device leaves alone")]

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::panic::Location;

use super::bus::Bus;
use super::finding::{FakeFinding, Refusal};
use super::resolve::Resolve;
use crate::desc::{BusRead, Unreadable};
use crate::map::Hardware;
use crate::map::checked::Watch;
use crate::plan::{PlanError, Policy, plan};
use crate::{Addr as _, BusAddr, LimitId, Limits, Position, Segment, Segments};

/// Transfers that the queue takes.
const PENDING_MAX: usize = 1024;
/// Completions that are kept; the oldest go first.
const DONE_MAX: usize = 1024;

/// A fake device on a bus.
pub struct Device<'b, D> {
    bus: &'b Bus<D>,
    limits: Limits,
    watch: Option<&'b dyn Watch>,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Transfers since the device was made.
    count: u64,
    faults: BTreeMap<u64, FakeFault>,
    pending: VecDeque<Pending>,
    done: VecDeque<Done>,
}

/// What goes wrong with a transfer, on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FakeFault {
    /// It is refused when it is started.
    Refuse,
    /// Only so many of the first bytes are moved.
    Partial(u64),
    /// It completes at this step, counted from 1, rather than at the next.
    Delay(u32),
    /// It never completes, until [`Device::reset`].
    Never,
}

/// What a transfer does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Work {
    /// The device reads the segments.
    Gather,
    /// The device writes these bytes to the segments, from the first on.
    Scatter(Vec<u8>),
}

/// A transfer that the device was told of.
#[derive(Clone, Debug)]
struct Pending {
    id: u64,
    segments: Vec<Segment<BusAddr>>,
    work: Work,
    bytes_max: u64,
    /// Steps to its completion; `None` for never.
    steps: Option<u32>,
}

/// A transfer that completed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// Which transfer, as [`Device::start`] said.
    pub id: u64,
    /// How many bytes were moved, or why none were.
    pub moved: Result<u64, Refusal>,
    /// The bytes that were gathered; none for [`Work::Scatter`].
    pub gathered: Vec<u8>,
}

impl<'b, D: Resolve> Device<'b, D> {
    /// Puts a device with limits of its own on a bus.
    pub fn new(bus: &'b Bus<D>, limits: &Limits) -> Self {
        Self { bus, limits: *limits, watch: None, state: RefCell::default() }
    }

    /// Tells `watch`, the checker above the bus, of each access, refused or not.
    #[must_use]
    pub fn watched(self, watch: &'b dyn Watch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    #[track_caller]
    fn tell(&self, addr: BusAddr, len: usize, writes: bool) {
        if let Some(watch) = self.watch {
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            watch.device_access(addr, len, writes, Location::caller());
        }
    }

    /// Returns the bus.
    pub const fn bus(&self) -> &'b Bus<D> {
        self.bus
    }

    /// Returns the device's own limits. Their window rules every access, the others the segments of a transfer, which may
    /// be longer than the device takes in one as long as their parts are not too many.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns what the bus found so far.
    pub fn findings(&self) -> Vec<FakeFinding> {
        self.bus.findings()
    }

    fn window(&self, addr: BusAddr, len: usize) -> Result<(), Refusal> {
        let (min, max) = (self.limits.hard_value(LimitId::AddrMin), self.limits.hard_value(LimitId::AddrMax));
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let last = addr.raw().checked_add(len.saturating_sub(1));
        if addr.raw() >= min && last.is_some_and(|last| last <= max) {
            return Ok(());
        }
        Err(Refusal::Window { addr: addr.raw(), len, min, max })
    }

    /// Fills `into` from bus address `addr` on.
    ///
    /// # Errors
    /// [`Refusal`], found too; what `into` holds is not said then.
    #[track_caller]
    pub fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Refusal> {
        self.tell(addr, into.len(), false);
        self.window(addr, into.len())
            .and_then(|()| self.bus.read(addr, into))
            .map_err(|refusal| self.bus.refused(refusal))
    }

    /// Writes `from` from bus address `addr` on.
    ///
    /// # Errors
    /// [`Refusal`], found too; nothing was written then.
    #[track_caller]
    pub fn write(&self, addr: BusAddr, from: &[u8]) -> Result<(), Refusal> {
        self.tell(addr, from.len(), true);
        self.window(addr, from.len())
            .and_then(|()| self.bus.write(addr, from))
            .map_err(|refusal| self.bus.refused(refusal))
    }

    /// Writes as a broken device does: whether the address is mapped or not. Says `false` where it leads nowhere.
    ///
    /// # Safety
    /// No reference is to what the address leads to. [`FakeMemory`](super::FakeMemory) never makes one, so over it this is sound on the
    /// memory's thread.
    #[track_caller]
    pub unsafe fn write_rogue(&self, addr: BusAddr, from: &[u8]) -> bool {
        self.tell(addr, from.len(), true);
        // SAFETY: the caller's promise.
        unsafe { self.bus.write_rogue(addr, from) }
    }

    /// Checks segments against the device's limits as one transfer.
    fn check<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S) -> Result<(), Refusal> {
        // What is cheaper to copy was copied before it came here, or is not.
        let limits = self.limits.memory_only().with_copy_below(0);
        match plan(bus, Position::Stream, &limits, Policy::WholeOrError).next() {
            Some(Err(error @ (PlanError::Refused { why, .. } | PlanError::Unsatisfiable { why, .. }))) => {
                let (min, max) = (limits.hard_value(LimitId::AddrMin), limits.hard_value(LimitId::AddrMax));
                let outside = |segment: &Segment<BusAddr>| {
                    segment.addr().raw() < min || segment.end().saturating_sub(1) > max
                };
                let first = bus.segments().find(outside);
                match first.filter(|_| matches!(why.limit, LimitId::AddrMin | LimitId::AddrMax)) {
                    Some(segment) => {
                        Err(Refusal::Window { addr: segment.addr().raw(), len: segment.len(), min, max })
                    }
                    None => Err(Refusal::Limit(error)),
                }
            }
            Some(Err(error)) => Err(Refusal::Limit(error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    /// Reads all bytes of the segments at once, in order.
    ///
    /// # Errors
    /// [`Refusal`], found too.
    #[track_caller]
    pub fn gather<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S) -> Result<Vec<u8>, Refusal> {
        self.check(bus).map_err(|refusal| self.bus.refused(refusal))?;
        self.gather_first(bus, u64::MAX)
    }

    /// Writes `bytes` to the segments at once, in order. What they hold past that stays.
    ///
    /// # Errors
    /// [`Refusal`], found too; segments before the refused one were written.
    #[track_caller]
    pub fn scatter<S: Segments<Addr = BusAddr> + ?Sized>(
        &self,
        bus: &S,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        self.check(bus).and_then(|()| self.fits(bus, bytes)).map_err(|refusal| self.bus.refused(refusal))?;
        self.scatter_first(bus, bytes, u64::MAX).map(|_| ())
    }

    fn fits<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S, bytes: &[u8]) -> Result<(), Refusal> {
        let (given, have) = (u64::try_from(bytes.len()).unwrap_or(u64::MAX), bus.bytes());
        if given <= have { Ok(()) } else { Err(Refusal::Length { given, have }) }
    }

    #[track_caller]
    fn gather_first<S>(&self, bus: &S, bytes_max: u64) -> Result<Vec<u8>, Refusal>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        let mut gathered = Vec::new();
        for part in crate::map::parts(bus, 0..bytes_max) {
            // The table is asked before the memory for it is taken: a length may be any number.
            let mut rest = part.len();
            let mut addr = Some(part.addr());
            while let Some(here) = addr.filter(|_| rest > 0) {
                let mut chunk = vec![0; usize::try_from(rest.min(1 << 16)).unwrap_or(1)];
                self.read(here, &mut chunk)?;
                let len = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                gathered.append(&mut chunk);
                rest = rest.saturating_sub(len);
                addr = here.checked_add(len);
            }
        }
        Ok(gathered)
    }

    #[track_caller]
    fn scatter_first<S>(&self, bus: &S, bytes: &[u8], bytes_max: u64) -> Result<u64, Refusal>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        let end = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(bytes_max);
        let mut rest = bytes;
        for part in crate::map::parts(bus, 0..end) {
            let len = usize::try_from(part.len()).unwrap_or(usize::MAX);
            let Some((here, after)) = rest.split_at_checked(len) else { break };
            self.write(part.addr(), here)?;
            rest = after;
        }
        Ok(end.min(bus.bytes()))
    }

    /// Puts a fault on the next transfer.
    pub fn fault_next(&self, fault: FakeFault) {
        self.fault_nth(1, fault);
    }

    /// Puts a fault on the `n`-th transfer from now, counted from 1.
    pub fn fault_nth(&self, n: u64, fault: FakeFault) {
        let mut state = self.state.borrow_mut();
        let count = state.count.saturating_add(n);
        state.faults.insert(count, fault);
    }

    /// Queues a transfer, which completes at the next [`Device::step`]. Returns its number.
    ///
    /// # Errors
    /// [`Refusal`]: out of the device's limits (found too), told to refuse, more bytes than segments, or a full queue.
    pub fn start<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S, work: Work) -> Result<u64, Refusal> {
        let fault = {
            let mut state = self.state.borrow_mut();
            let count = state.count.saturating_add(1);
            state.count = count;
            state.faults.remove(&count).map_or(Ok(None), |fault| match fault {
                FakeFault::Refuse => Err(Refusal::Demanded { count }),
                fault => Ok(Some(fault)),
            })?
        };
        self.check(bus).map_err(|refusal| self.bus.refused(refusal))?;
        if let Work::Scatter(bytes) = &work {
            self.fits(bus, bytes)?;
        }
        let mut state = self.state.borrow_mut();
        let pending = state.pending.len();
        if pending >= PENDING_MAX {
            let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
            return Err(Refusal::Full { pending: number(pending), max: number(PENDING_MAX) });
        }
        let id = state.count;
        let (bytes_max, steps) = match fault {
            Some(FakeFault::Partial(bytes)) => (bytes, Some(1)),
            Some(FakeFault::Delay(steps)) => (u64::MAX, Some(steps)),
            Some(FakeFault::Never) => (u64::MAX, None),
            Some(FakeFault::Refuse) | None => (u64::MAX, Some(1)),
        };
        state.pending.push_back(Pending { id, segments: bus.segments().collect(), work, bytes_max, steps });
        Ok(id)
    }

    /// Lets one unit of time pass. Returns how many transfers completed.
    #[track_caller]
    pub fn step(&self) -> usize {
        self.complete(|pending| match &mut pending.steps {
            Some(steps) => {
                *steps = steps.saturating_sub(1);
                *steps == 0
            }
            None => false,
        })
    }

    /// Completes the pending transfers that `due` says.
    #[track_caller]
    fn complete(&self, mut due: impl FnMut(&mut Pending) -> bool) -> usize {
        let mut state = self.state.borrow_mut();
        let mut ready = Vec::new();
        let mut kept = VecDeque::new();
        for mut pending in core::mem::take(&mut state.pending) {
            if due(&mut pending) { ready.push(pending) } else { kept.push_back(pending) }
        }
        state.pending = kept;
        drop(state);
        let count = ready.len();
        for pending in ready {
            let done = self.perform(pending);
            let mut state = self.state.borrow_mut();
            if state.done.len() >= DONE_MAX {
                state.done.pop_front();
            }
            state.done.push_back(done);
        }
        count
    }

    #[track_caller]
    fn perform(&self, pending: Pending) -> Done {
        let Pending { id, segments, work, bytes_max, .. } = pending;
        match work {
            Work::Gather => match self.gather_first(&segments[..], bytes_max) {
                Ok(gathered) => {
                    Done { id, moved: Ok(u64::try_from(gathered.len()).unwrap_or(u64::MAX)), gathered }
                }
                Err(refusal) => Done { id, moved: Err(refusal), gathered: Vec::new() },
            },
            Work::Scatter(bytes) => {
                let moved = self.scatter_first(&segments[..], &bytes, bytes_max);
                Done { id, moved, gathered: Vec::new() }
            }
        }
    }

    /// Takes the oldest completion.
    pub fn take_done(&self) -> Option<Done> {
        self.state.borrow_mut().done.pop_front()
    }

    /// Returns how many transfers are pending.
    pub fn pending(&self) -> usize {
        self.state.borrow().pending.len()
    }

    /// Drops every pending transfer, undone: the device forgets what it was told.
    pub fn reset(&self) {
        self.state.borrow_mut().pending.clear();
    }
}

impl<D: fmt::Debug> fmt::Debug for Device<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("bus", &self.bus).field("state", &self.state).finish_non_exhaustive()
    }
}

/// Says whether two lists of segments share a byte.
fn overlap<S: Segments<Addr = BusAddr> + ?Sized>(bus: &S, segments: &[Segment<BusAddr>]) -> bool {
    bus.segments().any(|one| {
        segments.iter().any(|other| one.addr().raw() < other.end() && other.addr().raw() < one.end())
    })
}

// SAFETY: (1) the device uses segments only while a transfer of them is pending, or when it is told of them again; (2)
// quiesce takes them out of the queue before the first of them is performed, so none is pending even where a watch panics; (3) the bus checks each access and refuses what is not mapped. What is
// mapped but idle is behind no reference, and the bus is of one thread.
unsafe impl<D: Resolve> Hardware for Device<'_, D> {
    fn is_done_with<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S) -> bool {
        !self.state.borrow().pending.iter().any(|pending| overlap(bus, &pending.segments))
    }

    /// Completes the pending transfers of these segments, however long they would take; drops those that never would.
    fn quiesce<S: Segments<Addr = BusAddr> + ?Sized>(&self, bus: &S) {
        let stuck = |pending: &Pending| pending.steps.is_none() && overlap(bus, &pending.segments);
        self.state.borrow_mut().pending.retain(|pending| !stuck(pending));
        self.complete(|pending| overlap(bus, &pending.segments));
    }
}

impl<D: Resolve> BusRead for Device<'_, D> {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        Self::read(self, addr, into).map_err(|refusal| {
            let addr = match refusal {
                Refusal::Unmapped { addr, .. }
                | Refusal::Direction { addr, .. }
                | Refusal::Nowhere { addr, .. } => BusAddr::new(addr),
                _ => addr,
            };
            Unreadable { addr }
        })
    }
}
