//! [`Core`]: the parts of a controller that hardware knows of, and their end.
//!
//! Whatever happens at bring-up or later, a core that is dropped first disables the controller, and only then lets go of memory.
//! Where the controller does not stop, memory stays taken and completions are told all the same.
#![expect(
    unsafe_code,
    reason = "takes memory back from a controller that is disabled; see the invariants of Core"
)]

use alloc::sync::Arc;
use alloc::vec::Vec;

use scatterlist::map::DmaDevice;
use scatterlist::{Complete, Status};

use crate::admin::Admin;
use crate::done::{CommandId, Done};
use crate::error::{AdminError, InitError, ReadyError};
use crate::link::Link;
use crate::namespace::Owner;
use crate::options::Options;
use crate::queue::IoQueue;
use crate::registers::{Interrupts, Registers};

/// Admin queue and I/O queues.
///
/// # Invariants
/// 1. The controller knows of no memory but that of `admin` and of those of `queues` that are `owner`'s, and what is in flight
///    in them: queues of another controller, which safe code can swap in, are left alone.
/// 2. After a [`Link::stop`] that succeeded it uses none of it.
pub(crate) struct Core<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> {
    pub(crate) link: Arc<Link<R, I>>,
    /// `None` for a controller that is dead: it did not stop.
    pub(crate) admin: Option<Admin<D>>,
    pub(crate) queues: Vec<IoQueue<R, I, D, O, C>>,
    pub(crate) owner: Owner,
    pub(crate) options: Options,
}

impl<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> Core<R, I, D, O, C> {
    /// Enables the controller, which is disabled.
    pub(crate) fn start(&mut self) -> Result<(), InitError> {
        let Self { link, admin, options, .. } = self;
        let dead = InitError::Admin { what: "enabling", error: AdminError::Dead };
        Ok(admin.as_mut().ok_or(dead)?.start(link, options.vectors == 0)?)
    }

    /// Creates the I/O queues that there are.
    pub(crate) fn create_queues(&mut self) -> Result<(), InitError> {
        let Self { link, admin, queues, owner, options } = self;
        let failed = |error| InitError::Admin { what: "creating an I/O queue", error };
        let admin = admin.as_mut().ok_or(failed(AdminError::Dead))?;
        for queue in queues.iter_mut().filter(|queue| queue.owner.is(owner)) {
            queue.pair.restart();
            let vector = options.vector(queue.pair.id());
            admin.create(link, &queue.pair, vector, options.admin_timeout_ns).map_err(failed)?;
            queue.live = true;
        }
        Ok(())
    }

    /// Enables a controller that was stopped, with the queues that it had.
    pub(crate) fn restart(&mut self) -> Result<(), InitError> {
        let started = self.start().and_then(|()| self.grant()).and_then(|_| self.create_queues());
        if started.is_err() {
            // Queues that were created have taken nothing yet.
            let _ = self.stop(|done| drop(done.complete()));
        }
        started
    }

    /// Asks for the queues wanted. Returns how many pairs the controller grants, at most those.
    pub(crate) fn grant(&mut self) -> Result<u16, InitError> {
        let Self { link, admin, options, .. } = self;
        let granted =
            admin.as_mut().map(|admin| admin.set_queue_count(link, options.queues, options.admin_timeout_ns));
        let what = "setting the number of queues";
        granted.unwrap_or(Err(AdminError::Dead)).map_err(|error| InitError::Admin { what, error })
    }

    /// Disables the controller. Every command in flight comes back as cancelled; where the controller does not stop, it is
    /// dead. Returns how many there were.
    pub(crate) fn stop(&mut self, mut each: impl FnMut(Done<D::Addr, O, C>)) -> Result<usize, ReadyError> {
        if let Err(error) = self.link.stop() {
            self.give_up();
            return Err(error);
        }
        self.silence();
        let mut count = 0_usize;
        for queue in self.queues.iter_mut().filter(|queue| queue.owner.is(&self.owner)) {
            while let Some(command) = queue.slots.any() {
                let id = CommandId { queue: queue.pair.id(), command };
                // SAFETY: (2) the controller is disabled.
                let finished = unsafe { queue.slots.finish(id, Some(Status::Cancelled), &mut each) };
                count = count.saturating_add(usize::from(finished));
            }
        }
        Ok(count)
    }

    /// Keeps every queue from telling the controller anything, before any completion is told, which may panic.
    fn silence(&mut self) {
        for queue in self.queues.iter_mut().filter(|queue| queue.owner.is(&self.owner)) {
            queue.live = false;
        }
    }

    /// Lets go of a controller that does not stop: completions are told, memory stays taken. Returns how many commands there
    /// were.
    pub(crate) fn give_up(&mut self) -> usize {
        self.admin = None;
        self.silence();
        let mut count = 0_usize;
        for queue in self.queues.iter_mut().filter(|queue| queue.owner.is(&self.owner)) {
            count = count.saturating_add(queue.slots.abandon(Status::Cancelled));
        }
        count
    }
}

impl<R: Registers, I: Interrupts, D: DmaDevice, O, C: Complete> Drop for Core<R, I, D, O, C> {
    fn drop(&mut self) {
        if self.admin.is_none() || self.stop(|done| drop(done.complete())).is_err() {
            return;
        }
        for queue in self.queues.drain(..).filter(|queue| queue.owner.is(&self.owner)) {
            // SAFETY: (2) the controller is disabled.
            unsafe { queue.pair.release() };
        }
        if let Some(admin) = self.admin.take() {
            // SAFETY: (2) the controller is disabled.
            unsafe { admin.release() };
        }
    }
}
