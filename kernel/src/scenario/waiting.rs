//! [`Waiting`]: how a scenario's NVMe driver waits: it polls, or with `interrupts=1` halts the CPU until an interrupt has come.
//!
//! Everything else polls in every scenario: virtio over MMIO, AC97 and the `edu` engine.

use nvme_driver::{Interrupts, IoQueue, Registers};
use scatterlist::Complete;
use scatterlist::map::DmaDevice;

use super::{Arguments, Failure, fact};
use crate::driver::nvme::Polled;
use crate::machine::pci::Function;
use crate::machine::{Lines, Machine, Tsc, say};
use crate::registers::Clock as _;

/// How long a scenario waits at most before it looks again, where it looks after more than one thing.
pub(super) const LOOK_NS: u64 = 20_000_000;

/// How the driver waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    /// It looks.
    Polled(Polled<Tsc>),
    /// It is interrupted: vector `n` of the driver is line `n`.
    Interrupted(Tsc, Lines),
}

impl Waiting {
    /// Returns what the arguments say; where the function is to interrupt, it does so by a vector for each of `queues` and one for
    /// the admin queue. Call it before the driver gets the registers.
    pub(super) fn of(
        machine: &'static Machine,
        arguments: &Arguments<'_>,
        function: &mut Function,
        queues: u16,
    ) -> Result<Self, Failure> {
        if arguments.number_or("interrupts", 0)? == 0 {
            return Ok(Self::Polled(Polled(machine.clock)));
        }
        let lines = function.interrupt_by(&machine.interrupts, queues.saturating_add(1))?;
        Ok(Self::Interrupted(machine.clock, lines))
    }

    /// Returns the vectors that reach the driver.
    pub(super) const fn vectors(&self) -> u16 {
        match self {
            Self::Polled(_) => 0,
            Self::Interrupted(_, lines) => lines.len(),
        }
    }

    /// States what handlers counted for each of `vectors`, and how the CPU was halted.
    pub(super) fn state(&self, machine: &Machine, vectors: impl IntoIterator<Item = u16>) {
        let Self::Interrupted(_, lines) = self else { return };
        let mut interrupts = 0_u64;
        for vector in vectors {
            let count = lines.count(vector);
            interrupts = interrupts.saturating_add(count);
            say!("fact interrupts_{vector}={count}");
        }
        fact!("interrupts", interrupts);
        fact!("interrupts_admin", lines.count(0));
        fact!("interrupts_timer", machine.interrupts.timer());
        fact!("interrupts_spurious", machine.interrupts.spurious());
        fact!("halts", machine.interrupts.halts());
        fact!("halts_in_vain", machine.interrupts.halts_in_vain());
    }
}

impl Interrupts for Waiting {
    fn now_ns(&self) -> u64 {
        match self {
            Self::Polled(polled) => polled.now_ns(),
            Self::Interrupted(clock, _) => clock.now_ns(),
        }
    }

    fn wait(&self, vector: u16, until_ns: u64) {
        match self {
            Self::Polled(polled) => polled.wait(vector, until_ns),
            Self::Interrupted(_, lines) => lines.wait(vector, until_ns),
        }
    }
}

/// Returns the vectors of queues.
pub(super) fn vectors<R, I, D, O, C>(queues: &[IoQueue<R, I, D, O, C>]) -> alloc::vec::Vec<u16>
where
    R: Registers,
    I: Interrupts,
    D: DmaDevice,
    C: Complete,
{
    queues.iter().map(IoQueue::vector).collect()
}
