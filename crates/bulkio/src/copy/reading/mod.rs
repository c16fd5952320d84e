//! [`Reading`]: reads one end, or two side by side, in order and at a depth, and hands the bytes to a thread beside it.
//!
//! `lane` is one end. What lies at the same byte of all ranges is handed on together, in order. Each lane has its own slots and reads in order, so
//! the lowest byte that is missing always has a slot: nobody waits for ever. The slots of all lanes stay below `slots::bytes_max`, down to a depth
//! of one. A read that fails ends it, with the exact block (`narrow`).

mod lane;
mod narrow;

use std::time::{Duration, Instant};

use scatterlist::{Fault, Outcome, Status};

pub(super) use lane::Part;
use lane::{Lane, Read, depth_in};

use super::beside::{Beside, Work};
use super::digest::Piece;
use super::options::Phase;
use super::pipeline::slots::bytes_max;
use super::pipeline::{STOP_GRACE, WAIT, wants_command_ring};
use super::watch::Watch;
use super::{CopyError, SideReport};
use crate::engine::{Completion, Engine, EngineChoice, EngineOptions, EngineReport, Remote};
use crate::pages::Slot;

/// What is handed on: bytes at the same place of all ranges.
pub(super) type Group<const N: usize> = [Option<Piece>; N];

/// How it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    pub(super) block_len: u64,
    pub(super) depth: u32,
    pub(super) engine: EngineChoice,
}

/// A read that failed.
#[derive(Clone, Copy, Debug)]
struct Failed {
    read: Read,
    outcome: Outcome,
    fault: Fault,
}

/// Returns the end whose blocks decide where chunks are cut and differences are told: the last that has some.
pub(super) fn reference<'a, 'b>(parts: &'b [Part<'a>]) -> Option<&'b Part<'a>> {
    parts.iter().rfind(|part| !part.device.is_stream()).or(parts.last())
}

/// `N` ends that are read side by side.
#[derive(Debug)]
pub(super) struct Reading<'a, const N: usize> {
    engine: Engine<Slot, Read>,
    /// One for each of the `N` ends.
    lanes: Vec<Lane<'a>>,
    chunk_len: u64,
    /// How far before the ranges a chunk would begin: they are cut at whole blocks of the `reference`.
    lead: u64,
    depth: u32,
    /// Byte of the ranges up to which all is handed on.
    front: u64,
    failed: Option<Failed>,
    stopped_at: Option<Instant>,
}

/// How long what is in flight may take after a stop, as a part of a second: a pipe may stay silent.
const STOP_WAIT: Duration = Duration::from_millis(100);

impl<'a, const N: usize> Reading<'a, N> {
    pub(super) fn new(parts: [Part<'a>; N], how: &How) -> Result<Self, CopyError> {
        let block = parts.iter().map(Part::block).max().unwrap_or(1);
        let known = parts.iter().filter_map(|part| part.len.or(part.len_max)).min();
        // No more than the range, in whole blocks where that costs nothing.
        let wanted = known.map_or(how.block_len, |len| how.block_len.min(len.max(1)));
        let chunk_len = wanted.checked_next_multiple_of(block).unwrap_or(wanted);
        let lead = reference(&parts).and_then(|part| part.start.checked_rem(chunk_len)).unwrap_or(0);
        let lane_count = u32::try_from(N).unwrap_or(1);
        let depth = depth_in(bytes_max(), chunk_len, lane_count.into(), how.depth);
        let mut lanes = Vec::with_capacity(N);
        for part in parts {
            lanes.push(Lane::new(part, chunk_len, lead, depth)?);
        }
        let fixed = lanes.iter().map(Lane::region).collect();
        let mut engine = Engine::new(EngineOptions {
            kind: how.engine,
            depth: depth.saturating_mul(lane_count).saturating_add(1),
            fixed,
            commands: parts.iter().any(|part| wants_command_ring(part.device)),
            ..EngineOptions::default()
        })?;
        for lane in &mut lanes {
            lane.add(&mut engine)?;
        }
        Ok(Self { engine, lanes, chunk_len, lead, depth, front: 0, failed: None, stopped_at: None })
    }

    /// Returns what wakes it.
    pub(super) fn remote(&mut self) -> Result<Remote, CopyError> {
        self.engine.remote().map_err(CopyError::Wake)
    }

    /// Returns the slots of all lanes: no more is ever handed on at a time.
    pub(super) fn slots(&self) -> usize {
        self.lanes.iter().map(|lane| lane.pool.slots()).sum()
    }

    pub(super) const fn engine_report(&self) -> &EngineReport {
        self.engine.report()
    }

    pub(super) const fn chunk_len(&self) -> u64 {
        self.chunk_len
    }

    /// Returns the depth of each lane, which is less than was wanted where its slots would take more memory than [`bytes_max`].
    pub(super) const fn depth(&self) -> u32 {
        self.depth
    }

    /// Returns the byte up to which all was handed on.
    pub(super) const fn front(&self) -> u64 {
        self.front
    }

    /// Returns the bytes of a lane's range where they are known, and how many there are at least.
    pub(super) fn len_of(&self, lane: usize) -> (Option<u64>, u64) {
        self.lanes.get(lane).map_or((None, 0), |lane| (lane.end, lane.seen))
    }

    pub(super) fn side(&self, lane: usize) -> Option<&SideReport> {
        self.lanes.get(lane).map(|lane| &lane.report)
    }

    /// Reads the first bytes of streams and drops them: what lies before their ranges.
    pub(super) fn skip_streams(&mut self, watch: &mut Watch<'_>) -> Result<(), CopyError> {
        for lane in 0..N {
            let Some(start) = self.lanes.get(lane).filter(|lane| lane.part.device.is_stream()) else {
                continue;
            };
            let mut left = start.part.start;
            while left > 0 && !watch.stopped {
                let read = Read { lane, at: 0, len: left.min(self.chunk_len) };
                let Some((_, outcome)) = self.read_alone(read, watch)? else { return Ok(()) };
                left = left.saturating_sub(outcome.done);
                if let Some(fault) = outcome.fault {
                    return Err(self.error(&Failed { read, outcome, fault }, None));
                }
                if outcome.done < read.len {
                    let Some(lane) = self.lanes.get(lane) else { return Ok(()) };
                    let (path, skip) = (lane.part.device.path().to_owned(), lane.part.start);
                    return Err(CopyError::SkipPastEnd { path, len: skip.saturating_sub(left), skip });
                }
            }
        }
        Ok(())
    }

    /// Reads all and hands it to `beside`, until the first range ends, a read fails, or the observer stops it.
    pub(super) fn run<W>(&mut self, beside: &Beside<W>, watch: &mut Watch<'_>) -> Result<(), CopyError>
    where
        W: Work<Item = Group<N>>,
    {
        watch.tell(Phase::Verifying, (0, 0));
        loop {
            let starved = self.read_more(beside, watch.stopped)?;
            self.hand_on(beside, watch);
            let reads = self.lanes.iter().map(|lane| lane.reads).fold(0, u32::saturating_add);
            if reads == 0 && !starved {
                break;
            }
            let ends = watch.stopped || self.failed.is_some() || self.is_settled();
            if ends && self.stopped_at.get_or_insert_with(Instant::now).elapsed() >= STOP_GRACE {
                self.engine.cancel();
            }
            if let Some(completion) = self.engine.wait_or_wake(Some(if ends { STOP_WAIT } else { WAIT }))? {
                self.completed(completion);
            }
            watch.tell(Phase::Verifying, (reads, 0));
        }
        match self.failed.take() {
            Some(failed) if !watch.stopped => {
                beside.settle();
                Err(self.narrow(failed, watch))
            }
            _ => Ok(()),
        }
    }

    /// Says whether all was handed on that there is, and it is known of each range whether it goes on.
    pub(super) fn is_complete(&self) -> bool {
        self.is_settled()
    }

    /// Says whether no byte is left that all ranges have.
    fn is_over(&self) -> bool {
        self.lanes.iter().any(|lane| lane.ended_by(self.front))
    }

    /// Says whether it is over, and known of each range whether it goes on.
    fn is_settled(&self) -> bool {
        let end = self.end();
        self.is_over() && self.lanes.iter().all(|lane| lane.end.is_some() || lane.seen > end)
    }

    /// The byte at which the first range ends, as far as that is known.
    fn end(&self) -> u64 {
        self.lanes.iter().filter_map(|lane| lane.end).min().unwrap_or(u64::MAX)
    }

    /// Fills up what is in flight. Says whether a lane lacks slots: these come back by themselves, and wake the engine.
    fn read_more<W>(&mut self, beside: &Beside<W>, stopped: bool) -> Result<bool, CopyError>
    where
        W: Work<Item = Group<N>>,
    {
        if stopped || self.failed.is_some() {
            return Ok(false);
        }
        let end = self.end();
        let mut starved = false;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            // A range of unknown length is read a little past the end of the other, to see whether it goes on.
            let past = lane.end.is_none() && N > 1;
            while lane.reads < self.depth && (lane.next < end || (past && lane.next == end)) {
                let max = lane.end.or(lane.part.len_max).unwrap_or(u64::MAX);
                let room = if past { max } else { max.min(end) }.saturating_sub(lane.next);
                if room == 0 {
                    lane.end = Some(lane.next);
                    break;
                }
                let Some(slot) = lane.pool.take().or_else(|| {
                    beside.wants_slots();
                    lane.pool.take()
                }) else {
                    starved = true;
                    break;
                };
                let into = self.lead.saturating_add(lane.next).checked_rem(self.chunk_len).unwrap_or(0);
                let len = room.min(self.chunk_len.saturating_sub(into));
                let read = Read { lane: index, at: lane.next, len };
                lane.next = lane.next.saturating_add(read.len);
                lane.read(&mut self.engine, slot, read)?;
            }
        }
        Ok(starved)
    }

    fn hand_on<W>(&mut self, beside: &Beside<W>, watch: &Watch<'_>)
    where
        W: Work<Item = Group<N>>,
    {
        while self.failed.as_ref().is_none_or(|failed| failed.read.at > self.front)
            && self.lanes.iter().all(|lane| lane.ready.contains_key(&self.front))
        {
            let front = self.front;
            let mut group = [const { None }; N];
            let mut len = u64::MAX;
            for (place, lane) in group.iter_mut().zip(&mut self.lanes) {
                *place = lane.ready.remove(&front);
                len = len.min(place.as_ref().map_or(0, |piece| piece.len));
            }
            beside.push(group);
            self.front = front.saturating_add(len);
            watch.count(len);
        }
        if self.is_over() {
            // What one range has beyond the end of the other is not compared.
            self.lanes.iter_mut().for_each(|lane| lane.ready.clear());
        }
    }

    fn completed(&mut self, completion: Completion<Slot, Read>) {
        let Completion::Transfer { request, outcome, .. } = completion else { return };
        let (lease, mut reads) = request.into_parts();
        let Some((read, slot)) = reads.next().zip(lease.into_owners().next()) else { return };
        let Some(lane) = self.lanes.get_mut(read.lane) else { return };
        lane.take(read, slot, outcome);
        let Some(fault) = outcome.fault.filter(|fault| fault.status != Status::Cancelled) else { return };
        if self.failed.as_ref().is_none_or(|failed| read.at < failed.read.at) {
            self.failed = Some(Failed { read, outcome, fault });
        }
    }

    /// Makes one read and waits for it. `None` where it was stopped.
    fn read_alone(
        &mut self,
        read: Read,
        watch: &mut Watch<'_>,
    ) -> Result<Option<(Slot, Outcome)>, CopyError> {
        let Some(lane) = self.lanes.get_mut(read.lane) else { return Ok(None) };
        let Some(slot) = lane.pool.take() else { return Ok(None) };
        lane.read(&mut self.engine, slot, read)?;
        let mut stopped: Option<Instant> = None;
        loop {
            if watch.stopped && stopped.get_or_insert_with(Instant::now).elapsed() >= STOP_GRACE {
                self.engine.cancel();
            }
            if let Some(Completion::Transfer { request, outcome, .. }) =
                self.engine.wait_or_wake(Some(STOP_WAIT))?
            {
                if let Some(lane) = self.lanes.get_mut(read.lane) {
                    lane.reads = lane.reads.saturating_sub(1);
                }
                let (lease, _) = request.into_parts();
                let read = lease.into_owners().next().map(|slot| (slot, outcome));
                return Ok(read.filter(|(_, outcome)| {
                    outcome.fault.is_none_or(|fault| fault.status != Status::Cancelled)
                }));
            }
            watch.tell(Phase::Verifying, (1, 0));
        }
    }
}
