//! [`Own`]: the driver's own buffers, mapped: which are queued, which hold a frame, which wait to be queued.
#![expect(unsafe_code, reason = "gives mapped memory to a device")]

use std::sync::Arc;

use rustix::io::Errno;

use super::abi::PLANES_MAX;
use super::driver::{Driver, Place};
use super::frame::MappedFrame;
use super::mapped::{MappedSet, Region};
use super::model::MemoryModel;

/// Where a buffer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Here, to be queued.
    Idle,
    /// At the device.
    Queued,
    /// A frame, outside.
    Out,
}

/// The buffers of a stream.
///
/// # Invariants
/// 1. A [`MappedFrame`] of a buffer exists only while its state is `Out`: it is made where the state becomes that, and the state is left only for a
///    buffer whose frame was dropped (`MappedSet::take_dropped`).
/// 2. A buffer is queued only while it is `Idle`.
#[derive(Debug)]
pub(super) struct Own {
    set: Arc<MappedSet>,
    states: Vec<State>,
}

impl Own {
    pub(super) fn new(regions: Vec<Region>) -> Self {
        let states = vec![State::Idle; regions.len()];
        Self { set: Arc::new(MappedSet::new(regions)), states }
    }

    /// Returns how many buffers are not queued.
    pub(super) fn free(&self) -> u32 {
        let free = self.states.iter().filter(|state| **state != State::Queued).count();
        u32::try_from(free).unwrap_or(u32::MAX)
    }

    /// Takes back the buffers whose frames were dropped.
    fn collect(&mut self) {
        for index in self.set.take_dropped() {
            if let Some(state) = usize::try_from(index).ok().and_then(|index| self.states.get_mut(index)) {
                *state = State::Idle;
            }
        }
    }

    /// Queues all that wait for it.
    pub(super) fn queue(&mut self, driver: &mut dyn Driver, planes: usize) -> Result<(), Errno> {
        self.collect();
        let places = [Place::Own; PLANES_MAX];
        let places = places.get(..planes).unwrap_or_default();
        for (index, state) in self.states.iter_mut().enumerate() {
            if *state != State::Idle {
                continue;
            }
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            // SAFETY: the memory is the driver's own, and nobody here reads it: the buffer is idle, so no frame of it exists (invariants 1 and 2).
            unsafe { driver.queue(MemoryModel::Mapped, index, places)? };
            *state = State::Queued;
        }
        Ok(())
    }

    /// Takes the frame of a buffer that was dequeued, with the places of its planes.
    pub(super) fn take(&mut self, index: u32) -> Option<(MappedFrame, Vec<(usize, usize)>)> {
        let state = self.states.get_mut(usize::try_from(index).ok()?)?;
        let planes = self.set.get(index)?.planes().to_vec();
        if *state != State::Queued {
            return None;
        }
        *state = State::Out;
        Some((MappedFrame::new(Arc::clone(&self.set), index), planes))
    }

    /// The device is done with all of them.
    pub(super) fn release(&mut self) {
        for state in self.states.iter_mut().filter(|state| **state == State::Queued) {
            *state = State::Idle;
        }
    }
}
