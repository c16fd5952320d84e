//! [`Lane`]: one end that is read in order: its range, its slots, and what was read and not yet handed on.
//!
//! A read is widened to the blocks of its end, and begins at the front of its slot, so no other end matters to its alignment.

use std::collections::BTreeMap;
use std::sync::Arc;

use scatterlist::{CpuAddr, Direction, LimitId, Limits, Outcome, Position, Request};

use super::super::digest::Piece;
use super::super::geometry::{Unit, congruent, up};
use super::super::pipeline::add;
use super::super::{CopyError, Side, SideReport, ends};
use crate::device::Device;
use crate::engine::{Engine, FileId, FixedRegion, SubmitReason};
use crate::pages::{PagePool, PoolOptions, Slot};

/// Slots for each read in flight; a third part for what waits to be hashed or compared: the reads never wait for a thread that is a little late.
const SLOTS_EACH: u64 = 3;

/// Returns the depth, no more than is wanted and at least one, at which the slots of this many lanes fit into this much memory.
pub(super) fn depth_in(memory: u64, chunk_len: u64, lanes: u64, wanted: u32) -> u32 {
    let each = chunk_len.saturating_mul(SLOTS_EACH).saturating_mul(lanes);
    let depth = memory.checked_div(each).unwrap_or(u64::MAX);
    u32::try_from(depth).unwrap_or(u32::MAX).min(wanted).max(1)
}

/// A range of one end.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Part<'a> {
    pub(in super::super) device: &'a dyn Device,
    /// Byte of the end at which it starts.
    pub(in super::super) start: u64,
    /// Its bytes; `None` where only the end tells.
    pub(in super::super) len: Option<u64>,
    /// The most bytes that are read.
    pub(in super::super) len_max: Option<u64>,
}

impl Part<'_> {
    pub(in super::super) fn unit(&self) -> Unit {
        match ends::direct_unit(self.device) {
            Some(unit) if !self.device.is_stream() => unit,
            _ => Unit::BYTE,
        }
    }

    /// Returns the blocks in which differences are told, in bytes: those of the medium, where it says.
    pub(in super::super) fn block(&self) -> u64 {
        let physical = self.device.limits().get(LimitId::PositionAlignOpt).value;
        physical.max(self.unit().end).clamp(512, 1 << 20)
    }
}

/// Which read of which lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) lane: usize,
    /// Byte of the range.
    pub(super) at: u64,
    pub(super) len: u64,
}

/// One end that is read.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    pub(super) part: Part<'a>,
    pub(super) pool: Arc<PagePool>,
    limits: Limits,
    unit: Unit,
    file: Option<FileId>,
    /// Byte of the range at which the next read begins.
    pub(super) next: u64,
    pub(super) reads: u32,
    /// Read, and not handed on.
    pub(super) ready: BTreeMap<u64, Piece>,
    /// Where the range ended, if it did.
    pub(super) end: Option<u64>,
    /// The last byte that was seen, and one more.
    pub(super) seen: u64,
    pub(super) report: SideReport,
    /// Why bytes are copied on the way.
    bounce: Option<String>,
}

impl<'a> Lane<'a> {
    /// Chunks begin `lead` bytes before the range, and at multiples of `chunk_len` from there.
    pub(super) fn new(part: Part<'a>, chunk_len: u64, lead: u64, depth: u32) -> Result<Self, CopyError> {
        let unit = part.unit();
        let whole = |bytes: u64, unit: u64| bytes.checked_rem(unit) == Some(0);
        // Where blocks end within chunks, a read may begin and end within a block. Else it fits, and slots lie well in huge pages.
        let is_cut = !congruent(part.start, lead, unit.start)
            || !whole(chunk_len, unit.start)
            || !whole(chunk_len, unit.end);
        let around = if is_cut { unit.start.saturating_add(unit.end) } else { 0 };
        let slot_len = up(chunk_len, unit.end).saturating_add(around);
        let chunks =
            part.len.or(part.len_max).map_or(u64::MAX, |len| len.div_ceil(chunk_len).saturating_add(1));
        let slots = chunks.min(u64::from(depth).saturating_mul(SLOTS_EACH));
        let usable = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let pool = PagePool::new(PoolOptions::uniform(usable(slot_len), usable(slots)))?;
        let routes = part.device.routes();
        let bounce = routes.direct().err().map(|why| why.to_string());
        let (path, class) = (part.device.path().display().to_string(), part.device.class().name());
        Ok(Self {
            part,
            pool: Arc::new(pool),
            limits: *part.device.limits(),
            unit,
            file: None,
            next: 0,
            reads: 0,
            ready: BTreeMap::new(),
            end: part.len,
            seen: 0,
            report: SideReport::new(path, class, bounce.is_none()),
            bounce,
        })
    }

    pub(super) fn region(&self) -> FixedRegion {
        FixedRegion::from_pool(Arc::clone(&self.pool))
    }

    pub(super) fn add(&mut self, engine: &mut Engine<Slot, Read>) -> Result<(), CopyError> {
        let routes = self.part.device.routes();
        let fd = routes.direct().unwrap_or_else(|_| routes.buffered());
        self.file = Some(add(engine, self.part.device, fd)?);
        Ok(())
    }

    /// Submits a read into a slot.
    pub(super) fn read(
        &mut self,
        engine: &mut Engine<Slot, Read>,
        slot: Slot,
        read: Read,
    ) -> Result<(), CopyError> {
        let refused =
            |why| CopyError::Submit { side: Side::Source, path: self.part.device.path().to_owned(), why };
        let (position, len) = self.place(read.at, read.len);
        let at = if self.part.device.is_stream() { Position::Stream } else { Position::At(position) };
        let lease = slot.into_lease(0, len);
        // The slots are long enough for every read; if one were not, nothing would be sent.
        let lease = lease.map_err(|_| refused(SubmitReason::Empty { position: at }))?;
        let request: Request<CpuAddr, Slot, Read> = Request::new(lease, Direction::FromDevice, at, read);
        // Every lane is added before it reads.
        let Some(file) = self.file else { return Err(refused(SubmitReason::Empty { position: at })) };
        engine.submit(file, request, &self.limits).map_err(|error| refused(error.reason))?;
        self.reads = self.reads.saturating_add(1);
        self.report.count_request(self.reads);
        Ok(())
    }

    /// Returns where a read begins on its end, and its bytes, whole blocks.
    fn place(&self, at: u64, len: u64) -> (u64, u64) {
        let from = self.part.start.saturating_add(at);
        let position = from.saturating_sub(self.before(at));
        let end = up(from.saturating_add(len), self.unit.end);
        (position, end.saturating_sub(position))
    }

    /// Returns how many bytes of its block lie before byte `at` of the range.
    fn before(&self, at: u64) -> u64 {
        self.part.start.saturating_add(at).checked_rem(self.unit.start).unwrap_or(0)
    }

    /// Returns the byte of the end at which a read began.
    pub(super) fn position(&self, read: Read) -> u64 {
        self.place(read.at, read.len).0
    }

    /// Takes what a read brought, and returns how many bytes of the range that is.
    pub(super) fn take(&mut self, read: Read, slot: Slot, outcome: Outcome) -> u64 {
        self.reads = self.reads.saturating_sub(1);
        let slot_offset = self.before(read.at);
        let len = outcome.done.saturating_sub(slot_offset).min(read.len);
        match &self.bounce {
            None => self.report.count_direct(len),
            Some(why) => self.report.count_bounced(len, why),
        }
        let end = read.at.saturating_add(len);
        if outcome.fault.is_none() && len < read.len {
            self.end = Some(self.end.map_or(end, |known| known.min(end)));
        }
        if len > 0 {
            self.seen = self.seen.max(end);
            self.ready.insert(read.at, Piece { at: read.at, len, slot, slot_offset });
        }
        len
    }

    /// Says whether the range has ended at or before a byte.
    pub(super) fn ended_by(&self, at: u64) -> bool {
        self.end.is_some_and(|end| end <= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_falls_where_its_slots_exceed_the_memory() {
        assert_eq!(depth_in(128 << 20, 1 << 20, 1, 8), 8);
        assert_eq!(depth_in(128 << 20, 1 << 20, 2, 64), 21, "both lanes count");
        assert_eq!(depth_in(128 << 20, 16 << 20, 1, 64), 2);
        assert_eq!(depth_in(16 << 20, 64 << 20, 2, 64), 1, "one read is always in flight");
        assert_eq!(depth_in(0, 0, 0, 4), 4);
    }
}
