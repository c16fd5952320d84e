//! [`Link`]: registers and clock of one controller, shared by its queues; stopping and starting it.
#![expect(unsafe_code, reason = "writes registers; see the safety of Registers::write32")]

use crate::capability::Capability;
use crate::error::ReadyError;
use crate::registers::{Interrupts, Registers};
use crate::spec;

/// How often CSTS is looked at while the controller starts or stops.
const READY_STEP_NS: u64 = 1_000_000;
/// The vector of the admin queue, Base section 3.3.1.2.
pub(crate) const ADMIN_VECTOR: u16 = 0;

/// What reaches a controller.
#[derive(Debug)]
pub(crate) struct Link<R, I> {
    pub(crate) registers: R,
    pub(crate) interrupts: I,
    pub(crate) capability: Capability,
}

impl<R: Registers, I: Interrupts> Link<R, I> {
    /// Returns CSTS of a controller that is there.
    fn status(&self) -> Result<u32, ReadyError> {
        match self.registers.read32(spec::CSTS) {
            u32::MAX => Err(ReadyError::Gone),
            status => Ok(status),
        }
    }

    /// Says whether the controller is there and well.
    pub(crate) fn check(&self) -> Result<(), ReadyError> {
        if self.status()? & spec::CSTS_FATAL != 0 { Err(ReadyError::Fatal) } else { Ok(()) }
    }

    /// Waits until `done` says so of CSTS; `false` where it did not within `timeout_ns`.
    fn wait(
        &self,
        timeout_ns: u64,
        mut done: impl FnMut(u32) -> Result<bool, ReadyError>,
    ) -> Result<bool, ReadyError> {
        let deadline = self.interrupts.now_ns().saturating_add(timeout_ns);
        loop {
            // In this order: who was kept from looking until after the deadline looks once more.
            let now = self.interrupts.now_ns();
            if done(self.status()?)? {
                return Ok(true);
            }
            if now >= deadline {
                return Ok(false);
            }
            self.interrupts.wait(ADMIN_VECTOR, deadline.min(now.saturating_add(READY_STEP_NS)));
        }
    }

    /// Disables the controller and waits until it is idle: from then on it uses no memory, and it has forgotten its queues, unless this
    /// fails (NVM Express Base Specification 2.0, section 3.7.2, "Controller Reset").
    pub(crate) fn stop(&self) -> Result<(), ReadyError> {
        let timeout_ns = self.capability.disable_timeout_ns;
        let settled = self.settle()?;
        // SAFETY: a controller that is being disabled is told of no memory.
        unsafe { self.registers.write32(spec::CC, 0) };
        // A controller that failed is stopped just as well.
        let stopped = self.wait(timeout_ns, |status| Ok(status & spec::CSTS_READY == 0))?;
        match (settled, stopped) {
            (true, true) => Ok(()),
            (true, false) => Err(ReadyError::Timeout { ready: false, timeout_ns }),
            // It was told all the same; what it does now nobody knows.
            (false, _) => {
                Err(ReadyError::Timeout { ready: true, timeout_ns: self.capability.enable_timeout_ns })
            }
        }
    }

    /// Waits for a controller that is starting: clearing CC.EN while it is set and CSTS.RDY is not has undefined results
    /// (NVM Express Base Specification 2.0, section 3.1.3.5, CC.EN). Says `false` where it does not come to be ready, or to fail.
    fn settle(&self) -> Result<bool, ReadyError> {
        const SETTLED: u32 = spec::CSTS_READY | spec::CSTS_FATAL;
        let starting =
            self.status()? & SETTLED == 0 && self.registers.read32(spec::CC) & spec::CC_ENABLE != 0;
        Ok(!starting || self.wait(self.capability.enable_timeout_ns, |status| Ok(status & SETTLED != 0))?)
    }

    /// Enables the controller with the admin queue at these addresses and waits until it is ready.
    ///
    /// # Safety
    /// Both are coherent memory of `entries` entries that stays in flight until the controller is disabled. The controller is
    /// disabled.
    pub(crate) unsafe fn start(
        &self,
        submission: u64,
        completion: u64,
        entries: u16,
        polled: bool,
    ) -> Result<(), ReadyError> {
        let (timeout_ns, last) = (self.capability.enable_timeout_ns, u32::from(entries.saturating_sub(1)));
        if polled {
            // SAFETY: masks interrupts; no memory is named.
            unsafe { self.registers.write32(spec::INTMS, u32::MAX) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.registers.write32(spec::AQA, last | last.wrapping_shl(16)) };
        // SAFETY: the caller's promise.
        unsafe { self.registers.write64(spec::ASQ, submission) };
        // SAFETY: the caller's promise.
        unsafe { self.registers.write64(spec::ACQ, completion) };
        // SAFETY: the caller's promise; there is no other memory that the controller knows.
        unsafe { self.registers.write32(spec::CC, self.capability.configuration()) };
        let started = self.wait(timeout_ns, |status| match status & spec::CSTS_FATAL {
            0 => Ok(status & spec::CSTS_READY != 0),
            _ => Err(ReadyError::Fatal),
        })?;
        if started { Ok(()) } else { Err(ReadyError::Timeout { ready: true, timeout_ns }) }
    }

    /// Tells the controller that power may go, and waits until it has written back what it caches (Base section 3.6).
    pub(crate) fn shut_down(&self, timeout_ns: u64) -> Result<(), ReadyError> {
        self.status()?;
        let notice = self.registers.read32(spec::CC) & !spec::CC_SHUTDOWN_MASK | spec::CC_SHUTDOWN_NORMAL;
        // SAFETY: no memory is named.
        unsafe { self.registers.write32(spec::CC, notice) };
        let done = self
            .wait(timeout_ns, |status| Ok(status & spec::CSTS_SHUTDOWN_MASK == spec::CSTS_SHUTDOWN_DONE))?;
        if done { Ok(()) } else { Err(ReadyError::Timeout { ready: false, timeout_ns }) }
    }
}
