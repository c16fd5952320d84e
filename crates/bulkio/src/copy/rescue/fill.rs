//! What is lost, in the destination: zeros, unless what is there is to stay.

use scatterlist::{Direction, Position};

use super::{LostBytes, lost_areas};
use crate::copy::fan::Peer;
use crate::copy::options::{Observer, Phase};
use crate::copy::pipeline::single::Single;
use crate::copy::pipeline::{Pipeline, clear};
use crate::device::Class;

impl Pipeline<'_> {
    /// Zeroes what could not be read, where something else may be there. A file that this copy emptied has zeros there.
    pub(super) fn fill_lost(&mut self, lost: LostBytes, truncated: bool, observer: &mut dyn Observer) {
        let is_zero = truncated && self.ends.destinations.first().device.class() == Class::File;
        if lost == LostBytes::Keep || is_zero {
            return;
        }
        let Some(rescue) = &self.state.rescue else { return };
        let start = rescue.range.start;
        for area in lost_areas(&rescue.map, &rescue.range) {
            let (mut at, end) = (area.start.saturating_sub(start), area.end.saturating_sub(start));
            while at < end && !self.state.ends() {
                let Some(filled) = self.zero(at, end, observer) else { return };
                at = at.saturating_add(filled);
                self.state.tell(observer, Phase::Copying, false);
            }
        }
    }

    /// Zeroes from byte `at` of the range to the next cut; how many bytes, `None` where that failed.
    fn zero(&mut self, at: u64, end: u64, observer: &mut dyn Observer) -> Option<u64> {
        let chunk = self.ends.geometry.chunk(0, at, end)?;
        let mut slot = self.pool.take()?;
        clear(&mut slot, chunk.slot_offset, chunk.len);
        let write = self.ends.geometry.write(&chunk, chunk.len, self.ends.destinations.first().unit);
        for edge in [write.head, write.tail] {
            self.state.writings.first_mut().edges.put_aside(&self.ends.geometry, &slot, edge);
        }
        let place = write.middle;
        if place.len > 0 {
            let (peer, direction) = (Peer::Destination(0), Direction::ToDevice);
            let (file, position) = (self.state.writings.first().to, Position::At(place.position));
            let single =
                Single { peer, file, direction, position, slot_offset: place.slot_offset, len: place.len };
            let (_, outcome) = self.transfer_one(slot, single, observer)?;
            self.state.writings.first_mut().count(outcome.done);
            if let Some(fault) = outcome.fault {
                self.transfer_failed(peer, chunk.at, place.position, outcome, fault);
                return None;
            }
        }
        self.write_edges(observer);
        self.with_rescue(|rescue| rescue.zeroed_bytes = rescue.zeroed_bytes.saturating_add(chunk.len));
        (!self.state.failed()).then_some(chunk.len)
    }
}
