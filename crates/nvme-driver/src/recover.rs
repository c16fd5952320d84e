//! Timeouts: what is overdue is aborted, and where that does not help the controller is reset.
//!
//! [`Controller::check_timeouts`] is called now and then by the owner of the controller, on whatever thread has all queues at
//! that time. Every command comes back in the end: done, failed, or cancelled.

use alloc::vec::Vec;

use scatterlist::Complete;
use scatterlist::map::DmaDevice;

use crate::controller::Controller;
use crate::done::Done;
use crate::error::{InitError, PollError};
use crate::link::ADMIN_VECTOR;
use crate::namespace::Owner;
use crate::registers::{Interrupts, Registers};

/// How often the queues are looked at while aborted commands are waited for.
const STEP_NS: u64 = 1_000_000;

/// What a look at the deadlines led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Commands that came back by themselves, or after an abort.
    pub came_back: usize,
    /// Commands that were overdue.
    pub overdue: usize,
    /// Of those, commands that the controller said it aborted.
    pub aborted: usize,
    /// Whether the controller was reset.
    pub reset: bool,
    /// Commands that a reset cancelled.
    pub cancelled: usize,
}

impl<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> Controller<R, I, D, O, C> {
    /// Takes back what is done, aborts what is overdue, and resets the controller where that does not bring it back within the
    /// [time](crate::Options::abort_timeout_ns) for that, or where the controller failed or lied.
    ///
    /// # Errors
    /// As [`Controller::reset`].
    pub fn check_timeouts(
        &mut self,
        mut each: impl FnMut(Done<D::Addr, O, C>),
    ) -> Result<Recovery, InitError> {
        let mut recovery = Recovery::default();
        let helped = self.abort_overdue(&mut recovery, &mut each);
        if !helped {
            recovery.reset = true;
            recovery.cancelled = self.reset(each)?;
        }
        Ok(recovery)
    }

    /// Says whether all is well without a reset.
    fn abort_overdue(&mut self, recovery: &mut Recovery, each: &mut impl FnMut(Done<D::Addr, O, C>)) -> bool {
        let core = &mut self.core;
        let Some(admin) = core.admin.as_mut() else { return false };
        if poll_all(&mut core.queues, &core.owner, recovery, each).is_err() || core.link.check().is_err() {
            return false;
        }
        let now = core.link.interrupts.now_ns();
        let own = core.queues.iter().filter(|queue| queue.owner.is(&core.owner));
        let overdue = own.flat_map(|queue| queue.slots.overdue(now).map(|command| (queue.id(), command)));
        let overdue: Vec<(u16, u16)> = overdue.collect();
        recovery.overdue = overdue.len();
        if overdue.is_empty() {
            return true;
        }
        // One at a time, which keeps ACL, the limit of aborts at a time (Base section 5.17.2.1), whatever it is.
        for (queue, command) in &overdue {
            match admin.abort(&core.link, *queue, *command, core.options.admin_timeout_ns) {
                Ok(aborted) => recovery.aborted = recovery.aborted.saturating_add(usize::from(aborted)),
                // The controller answered; the command may have come back meanwhile.
                Err(crate::AdminError::Status { .. }) => {}
                Err(_) => return false,
            }
        }
        let deadline = core.link.interrupts.now_ns().saturating_add(core.options.abort_timeout_ns);
        loop {
            let now = core.link.interrupts.now_ns();
            if poll_all(&mut core.queues, &core.owner, recovery, each).is_err() || core.link.check().is_err()
            {
                return false;
            }
            let held = |(id, command): &(u16, u16)| {
                core.queues.iter().any(|queue| {
                    queue.id() == *id && queue.owner.is(&core.owner) && queue.slots.holds(*command)
                })
            };
            if !overdue.iter().any(held) {
                return true;
            }
            if now >= deadline {
                return false;
            }
            core.link.interrupts.wait(ADMIN_VECTOR, deadline.min(now.saturating_add(STEP_NS)));
        }
    }

    /// Resets the controller (NVM Express Base Specification 2.0, section 3.7.2): disabled, it uses no memory any more, so every
    /// command in flight comes back as cancelled; then it is enabled and its queues are created again. Returns how many
    /// commands came back.
    ///
    /// # Errors
    /// [`InitError`] where it does not stop or start again. A controller that does not stop is [dead](Controller::is_dead): the
    /// completions are told, and memory that it may still use stays taken. One that does not start takes no commands until a
    /// reset succeeds.
    pub fn reset(&mut self, each: impl FnMut(Done<D::Addr, O, C>)) -> Result<usize, InitError> {
        let cancelled = self.core.stop(each)?;
        self.core.restart()?;
        Ok(cancelled)
    }
}

type Queues<R, I, D, O, C> = [crate::queue::IoQueue<R, I, D, O, C>];

/// Takes back what is done, from every queue of this controller.
fn poll_all<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete>(
    queues: &mut Queues<R, I, D, O, C>,
    owner: &Owner,
    recovery: &mut Recovery,
    each: &mut impl FnMut(Done<D::Addr, O, C>),
) -> Result<(), PollError> {
    for queue in queues.iter_mut().filter(|queue| queue.owner.is(owner)) {
        queue.poll(|done| {
            recovery.came_back = recovery.came_back.saturating_add(1);
            each(done);
        })?;
    }
    Ok(())
}
