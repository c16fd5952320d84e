//! A controller for tests, in software: registers, queues, commands, and faults on demand.
//!
//! [`FakeController`] is both [`Registers`] and [`Interrupts`]; it reads and writes memory by a [`FakeBus`], and finds data as
//! hardware does, by the walkers of [`scatterlist::desc`]. It acts only when it is told: by [`FakeController::run`], or while the
//! driver waits for an interrupt, when its time passes as well. What a driver does that no controller would take is
//! a [complaint](FakeController::complaints).

mod bus;
mod command;
mod device;
mod fault;
mod setup;
mod state;

pub use bus::{FakeBus, HeapBus};
pub use device::{Doorbells, FakeController};
pub use fault::{Aborts, Condition, Fault};
pub use setup::{FakeNamespace, Setup};

#[cfg(doc)]
use crate::registers::{Interrupts, Registers};
