//! The body of a job: whole blocks, cut into operations by the planner.

use scatterlist::plan::{Piece, Policy, plan};
use scatterlist::{Direction, LimitId, Position, Status};

use super::super::bounce::Bounce;
use super::super::memory::Memory;
use super::{Job, Operation, Role, Step, Supplies, Want};

impl Job {
    /// Cuts the next operation off the rest.
    pub(super) fn next_body(&mut self, supplies: &mut dyn Supplies) -> Option<Step> {
        let wait = (self.in_flight > 0).then_some(Step::Wait);
        let one_by_one = self.serial == Some(true) || self.step_max.is_some();
        if self.rest.is_empty() || !self.stops.is_empty() || (one_by_one && self.in_flight > 0) {
            return wait;
        }
        let narrowed;
        let mut limits = self.file.limits(self.target, &self.rest);
        if let Some(step_max) = self.step_max
            && let Ok(tighter) = limits.to_builder().hard(LimitId::TransferLenMax, step_max).build()
        {
            narrowed = tighter;
            limits = &narrowed;
        }
        let position = Position::At(self.position);
        let ready = match plan(self.rest.list(), position, limits, Policy::SplitOrBounce).next()? {
            Ok(ready) => ready,
            Err(error) => {
                self.refuse(self.position, self.rest.len(), error.to_string());
                return wait;
            }
        };
        let len = ready.len_bytes();
        if self.direction == Direction::ToDevice && self.serial.is_none() && len < self.rest.len() {
            match self.file.size() {
                Ok(size) => self.serial = Some(self.cover.end > size),
                Err(errno) => {
                    self.fail(self.position, Status::Errno(errno), len, Memory::empty());
                    return wait;
                }
            }
        }
        let mut memory;
        let mut bounce = None;
        if ready.bounced_bytes() == 0 {
            memory = self.rest.take_front(len);
        } else {
            let Some(slot) = supplies.take(Want::Operation(len)) else { return Some(Step::Starved) };
            let pieces: Vec<Piece<_>> = ready.pieces().collect();
            memory = self.rest.take_front(len);
            match Bounce::new(memory, &pieces, slot, limits) {
                Ok((mut bounced, through)) => {
                    if self.direction == Direction::ToDevice {
                        bounced.fill();
                    }
                    bounce = Some(Box::new(bounced));
                    memory = through;
                }
                Err(slot) => {
                    supplies.give(slot);
                    self.refuse(self.position, len, "its pieces do not fit into one slot".to_owned());
                    return wait;
                }
            }
        }
        let position = self.position;
        self.position = position.saturating_add(len);
        self.in_flight = self.in_flight.saturating_add(1);
        let alone = self.in_flight == 1 && (self.serial == Some(true) || self.rest.is_empty());
        let (direction, target) = (self.direction, self.target);
        Some(Step::Issue(Operation { direction, target, position, memory, role: Role::Body, bounce, alone }))
    }
}
