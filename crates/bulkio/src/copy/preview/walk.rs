//! The transfers of a planned copy, one by one, by the arithmetic of the copy itself.
//!
//! `geometry` says where each chunk is read and written, the planner of the core how each of those becomes calls or commands. Nothing is
//! moved: memory is an address that a slot could have.

use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, CpuAddr, Limits, Position, ScatterList, Segment};

use super::{Cut, PlannedCall, PlannedTransfer, Step};
use crate::copy::Side;
use crate::copy::ends::Ends;
use crate::copy::geometry::{Chunk, Place, Unit};
use crate::copy::pipeline::edges::REASON;

/// An address that slots could begin at: of a pool, which begins on a huge page.
const SLOT_ADDR: u64 = 1 << 40;

/// Walks the chunks of a range.
pub(super) struct Walk<'a> {
    ends: &'a Ends,
    read_bounce: Option<String>,
    write_bounce: Option<String>,
    kept: Option<u64>,
    unit: Unit,
    len: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(ends: &'a Ends, len: u64) -> Self {
        let to = ends.destinations.first();
        Self {
            ends,
            read_bounce: ends.read_bounce(),
            write_bounce: to.bounce(),
            kept: to.kept(),
            unit: to.unit,
            len,
        }
    }

    /// Returns the read and the write of one chunk; nothing past the end.
    pub(super) fn chunk(&self, number: u64) -> Vec<PlannedTransfer> {
        let geometry = &self.ends.geometry;
        let Some(chunk) = geometry.nth_chunk(number, self.len) else { return Vec::new() };
        let laid = geometry.laid(&chunk, chunk.len, self.unit, self.kept);
        let aside = laid.aside.iter().map(|place| place.len).fold(0, u64::saturating_add);
        let mut found = vec![self.transfer(Step::Read, geometry.read(&chunk), self.cut(&chunk))];
        if laid.place.len > 0 {
            let mut write = self.transfer(Step::Write, laid.place, self.cut(&chunk));
            (write.padding, write.aside) = (laid.padding, aside);
            found.push(write);
        }
        found
    }

    /// Returns how the ragged ends of the destination are written, after everything else: for each a read of its block, and a write.
    pub(super) fn edges(&self) -> Vec<PlannedTransfer> {
        let edges = self.ragged().into_iter().flat_map(|place| {
            let block = self.unit.blocks_around(place.position, place.len);
            [Step::EdgeRead, Step::EdgeWrite].map(|step| self.transfer(step, block, Cut::Ragged))
        });
        edges.collect()
    }

    /// Returns what is copied on the way of one side: bytes, and why.
    pub(super) fn bounced(&self, side: Side) -> Vec<(String, u64)> {
        let whole = match side {
            Side::Source => &self.read_bounce,
            Side::Destination => &self.write_bounce,
        };
        if let Some(why) = whole {
            return vec![(why.clone(), self.len)];
        }
        let ragged = self.ragged().into_iter().map(|place| place.len).fold(0, u64::saturating_add);
        if side == Side::Source || ragged == 0 { Vec::new() } else { vec![(REASON.to_owned(), ragged)] }
    }

    /// The ragged ends: only the first and the last chunk can have any.
    fn ragged(&self) -> Vec<Place> {
        let geometry = &self.ends.geometry;
        let last = geometry.chunks(self.len).saturating_sub(1);
        let numbers = [Some(0), (last > 0).then_some(last)];
        let chunks = numbers.into_iter().flatten().filter_map(|number| geometry.nth_chunk(number, self.len));
        let aside = chunks.flat_map(|chunk| geometry.laid(&chunk, chunk.len, self.unit, self.kept).aside);
        aside.filter(|place| place.len > 0).collect()
    }

    /// Why a chunk ends where it does.
    fn cut(&self, chunk: &Chunk) -> Cut {
        if chunk.at.saturating_add(chunk.len) == self.len { Cut::Range } else { Cut::Slot }
    }

    fn transfer(&self, step: Step, place: Place, cut: Cut) -> PlannedTransfer {
        let (device, bounce) = match step.side() {
            Side::Source => (&*self.ends.source, &self.read_bounce),
            Side::Destination => (&*self.ends.destinations.first().device, &self.write_bounce),
        };
        let limits = match bounce {
            None => device.limits(),
            Some(_) => device.routes().buffered_limits(),
        };
        let position = if device.is_stream() { Position::Stream } else { Position::At(place.position) };
        let calls = calls(position, place, limits);
        let is_edge = matches!(step, Step::EdgeRead | Step::EdgeWrite);
        PlannedTransfer {
            step,
            position: (position != Position::Stream).then_some(place.position),
            len: place.len,
            slot_offset: place.slot_offset,
            padding: 0,
            aside: 0,
            direct: bounce.is_none() && !is_edge,
            cut,
            calls: calls.unwrap_or_default(),
        }
    }
}

/// Returns the calls or commands of one transfer; `None` where it cannot be planned, which the copy would tell.
fn calls(position: Position, place: Place, limits: &Limits) -> Option<Vec<PlannedCall>> {
    let addr = CpuAddr::new(SLOT_ADDR.checked_add(place.slot_offset)?);
    let list = ScatterList::from(Segment::new(addr, place.len).ok()?);
    let calls = plan(&list, position, limits, Policy::SplitOrError).map(|ready| {
        let ready = ready.ok()?;
        let position = match ready.position() {
            Position::At(position) => Some(position),
            Position::Stream => None,
        };
        let (len, pieces) = (ready.len_bytes(), ready.len_pieces());
        Some(PlannedCall { position, len, pieces, cut: ready.cut() })
    });
    calls.collect()
}
