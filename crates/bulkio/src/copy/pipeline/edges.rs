//! Ragged ends of a direct destination: blocks of which only a part is written.
//!
//! Two in a copy, the first and the last block of the range; more where it goes around bad places. Their new bytes are put aside; when
//! everything else is written, each block is read, changed and written back, through one slot. Bytes that go this way are
//! counted as bounced. Where the destination may not be read, the kernel does the same in its page cache.

use std::ops::Range;

use scatterlist::{Direction, Fault, Outcome, Position, Status};

use super::super::fan::Peer;
use super::super::geometry::{Geometry, Place};
use super::super::options::Observer;
use super::single::Single;
use super::{Pipeline, clear};
use crate::pages::Slot;

/// Most ends that are put aside: an ordinary copy has two, one around bad places has two for each.
const EDGES_MAX: usize = 64;

pub(in super::super) const REASON: &str = "ragged end: the block is read, changed and written back";
const REASON_CACHE: &str = "ragged end: written through the page cache, the destination may not be read";

/// The ragged ends of a copy.
#[derive(Debug, Default)]
pub(in super::super) struct Edges {
    edges: Vec<Edge>,
}

/// New bytes for a part of one block.
#[derive(Debug)]
struct Edge {
    /// Byte of the range at which they start.
    at: u64,
    /// Byte of the destination at which they start.
    position: u64,
    bytes: Vec<u8>,
}

impl Edge {
    fn len(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(u64::MAX)
    }
}

impl Edges {
    /// Returns the parts of the range that are put aside and not written yet.
    pub(in super::super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.edges.iter().map(|edge| edge.at..edge.at.saturating_add(edge.len()))
    }

    /// Says whether as many are put aside as may be.
    pub(in super::super) const fn is_full(&self) -> bool {
        self.edges.len() >= EDGES_MAX
    }

    /// Keeps the bytes of a place that is no whole block.
    pub(in super::super) fn put_aside(&mut self, geometry: &Geometry, slot: &Slot, place: Place) {
        let range = usize::try_from(place.slot_offset)
            .ok()
            .zip(usize::try_from(place.slot_offset.saturating_add(place.len)).ok());
        let bytes = range.and_then(|(from, to)| slot.as_slice().get(from..to)).unwrap_or_default();
        if !bytes.is_empty() {
            let at = place.position.saturating_sub(geometry.seek);
            self.edges.push(Edge { at, position: place.position, bytes: bytes.to_vec() });
        }
    }
}

impl Pipeline<'_> {
    /// Writes the ragged ends that were put aside.
    pub(in super::super) fn write_edges(&mut self, observer: &mut dyn Observer) {
        for number in 0..self.state.writings.len() {
            for edge in core::mem::take(&mut self.state.writings.at_mut(number).edges.edges) {
                if self.state.writings.at(number).is_dropped() {
                    // Nothing more goes to it, and what was put aside never came there.
                    self.state.unwrote(number, edge.at, edge.len());
                } else {
                    self.settle_edge(number, &edge, observer);
                }
            }
        }
    }

    fn settle_edge(&mut self, number: usize, edge: &Edge, observer: &mut dyn Observer) {
        let asked = edge.len();
        match self.write_edge(number, edge, observer) {
            Ok(reason) => self.state.writings.at_mut(number).side.count_bounced(asked, reason),
            Err(fault) => {
                self.state.unwrote(number, edge.at, asked);
                if let Some(fault) = fault {
                    let outcome = Outcome { asked, done: 0, fault: Some(fault) };
                    self.transfer_failed(Peer::Destination(number), edge.at, edge.position, outcome, fault);
                }
            }
        }
    }

    /// Returns how the bytes went, or the fault; `None` where it is recorded already.
    fn write_edge(
        &mut self,
        number: usize,
        edge: &Edge,
        observer: &mut dyn Observer,
    ) -> Result<&'static str, Option<Fault>> {
        let len = edge.len();
        let unit = self.ends.destinations.at(number).unit;
        let Place { position: start, len: block, .. } = unit.blocks_around(edge.position, len);
        let before = edge.position.saturating_sub(start);

        let writing = self.state.writings.at(number);
        let (to, to_buffered) = (writing.to, writing.to_buffered);
        let slot = self.spare_slot().ok_or(None)?;
        let unreadable = Status::Errno(rustix::io::Errno::BADF.raw_os_error().unsigned_abs());
        let single = |file, direction, position, len| {
            let position = Position::At(position);
            Single { peer: Peer::Destination(number), file, direction, position, slot_offset: 0, len }
        };
        let read = single(to, Direction::FromDevice, start, block);
        let (mut slot, outcome) = self.transfer_one(slot, read, observer).ok_or(None)?;
        let (write, reason) = match outcome.fault {
            None => {
                // Past the end of a file there are zeros.
                clear(&mut slot, outcome.done, block.saturating_sub(outcome.done));
                put(&mut slot, before, &edge.bytes);
                (single(to, Direction::ToDevice, start, block), REASON)
            }
            Some(fault) if fault.status == unreadable => {
                put(&mut slot, 0, &edge.bytes);
                (single(to_buffered, Direction::ToDevice, edge.position, len), REASON_CACHE)
            }
            Some(fault) => return Err(Some(fault)),
        };
        let (_, outcome) = self.transfer_one(slot, write, observer).ok_or(None)?;
        match outcome.fault {
            Some(fault) => Err(Some(fault)),
            None if outcome.done < outcome.asked => {
                Err(Some(Fault { at: outcome.done, status: Status::Short }))
            }
            None => Ok(reason),
        }
    }
}

fn put(slot: &mut Slot, offset: u64, bytes: &[u8]) {
    let to = usize::try_from(offset).ok().and_then(|from| slot.as_mut_slice().get_mut(from..));
    if let Some(to) = to.and_then(|to| to.get_mut(..bytes.len())) {
        to.copy_from_slice(bytes);
    }
}
