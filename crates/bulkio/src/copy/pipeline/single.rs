//! One transfer at a time: what happens before and after the overlapped part of a copy.

use std::time::Instant;

use scatterlist::{Direction, Outcome, Position, Request};

use super::super::CopyError;
use super::super::fan::Peer;
use super::super::options::{Observer, Phase};
use super::{Op, Pipeline, STOP_GRACE, WAIT};
use crate::engine::{Completion, FileId};
use crate::pages::{Slot, SlotShare};

/// One transfer from or to a slot.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Single {
    pub(in super::super) peer: Peer,
    pub(in super::super) file: FileId,
    pub(in super::super) direction: Direction,
    pub(in super::super) position: Position,
    /// Where in the slot.
    pub(in super::super) slot_offset: u64,
    pub(in super::super) len: u64,
}

impl Pipeline<'_> {
    /// Moves bytes and waits. `None` where the engine failed, which is then recorded.
    pub(in super::super) fn transfer_one(
        &mut self,
        slot: Slot,
        single: Single,
        observer: &mut dyn Observer,
    ) -> Option<(Slot, Outcome)> {
        let Single { peer, file, direction, position, slot_offset, len } = single;
        let routes = self.device(peer).routes();
        let best = match peer {
            Peer::Source => self.read_bounce.is_none(),
            Peer::Destination(number) => {
                let writing = self.state.writings.at(number);
                writing.bounce.is_none() && file == writing.to
            }
        };
        let limits = if best { routes.limits() } else { routes.buffered_limits() };
        let lease = self.lease(peer, slot, slot_offset, len)?;
        let request = Request::new(lease, direction, position, Op::Single);
        if let Err(refused) = self.engine.submit(file, request, limits) {
            self.refused(peer, 0, refused.reason);
            return None;
        }
        let report = match peer {
            Peer::Source => &mut self.state.source,
            Peer::Destination(number) => &mut self.state.writings.at_mut(number).side,
        };
        report.count_request(1);
        let mut stopped: Option<Instant> = None;
        loop {
            // Files and disks answer by themselves, and a ragged end that is cancelled would be lost.
            if self.state.stopped
                && position == Position::Stream
                && stopped.get_or_insert_with(Instant::now).elapsed() >= STOP_GRACE
            {
                self.engine.cancel();
            }
            match self.engine.wait_timeout(WAIT) {
                Ok(Some(Completion::Transfer { request, outcome, .. })) => {
                    let (lease, _) = request.into_parts();
                    let slot = lease.into_owners().next().and_then(SlotShare::into_slot);
                    return slot.map(|slot| (slot, outcome));
                }
                Ok(Some(Completion::Flush { .. } | Completion::Ready { .. })) => {}
                Ok(None) => self.state.tell(observer, Phase::Copying, true),
                Err(error) => {
                    self.state.fail(0, CopyError::from(error));
                    return None;
                }
            }
        }
    }

    /// Reads the first `skip` bytes of a stream and drops them. A stream that ends before has nothing to copy.
    pub(in super::super) fn skip_stream(&mut self, skip: u64, observer: &mut dyn Observer) {
        if !self.ends.source.is_stream() {
            return;
        }
        let mut left = skip;
        while left > 0 && !self.state.ends() {
            let Some(slot) = self.pool.take() else { return };
            let len = left.min(self.ends.geometry.slot_len);
            let (peer, direction) = (Peer::Source, Direction::FromDevice);
            let (file, position, slot_offset) = (self.from, Position::Stream, 0);
            let single = Single { peer, file, direction, position, slot_offset, len };
            let Some((_, outcome)) = self.transfer_one(slot, single, observer) else { return };
            left = left.saturating_sub(outcome.done);
            if let Some(fault) = outcome.fault.filter(|_| !self.state.stopped) {
                self.transfer_failed(Peer::Source, 0, skip.saturating_sub(left), outcome, fault);
            } else if outcome.done < len {
                let path = self.ends.source.path().to_owned();
                let held = skip.saturating_sub(left);
                self.state.fail(0, CopyError::SkipPastEnd { path, len: held, skip });
            }
            self.state.tell(observer, Phase::Copying, false);
        }
    }
}
