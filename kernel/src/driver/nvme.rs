//! NVMe: what this kernel gives to the crate `nvme-driver`, and a namespace with a queue of its own as a [`BlockDevice`].
//!
//! The driver is the crate's; here are its registers, its time, and its place on the bus. How it waits is its owner's choice:
//! [`Polled`], queue memory is looked at until something came back, or by the interrupts of the machine.
#![expect(unsafe_code, reason = "passes registers on; see the invariants of Window")]

use nvme_driver::{Finished, IoQueue, Namespace, PollError, SubmitError, SubmitFailed};
use scatterlist::map::DmaDevice;
use scatterlist::plan::Policy;
use scatterlist::{Complete, Limits, Outcome, PhysAddr};

use crate::block::{BlockDevice, BlockRequest, Refused, Retry};
use crate::registers::{Clock, Registers};

/// The registers of an NVMe controller.
///
/// # Invariants
/// 1. The registers are those of an NVMe controller, and nobody else uses them.
#[derive(Clone, Copy, Debug)]
pub struct Window<R>(R);

impl<R: Registers> Window<R> {
    /// Takes the registers behind base address 0 of a function.
    ///
    /// # Safety
    /// Invariant 1.
    #[must_use]
    pub const unsafe fn new(registers: R) -> Self {
        Self(registers)
    }
}

// SAFETY: (1), and the promises of the kernel's registers.
unsafe impl<R: Registers> nvme_driver::Registers for Window<R> {
    fn read32(&self, at: u64) -> u32 {
        self.0.read32(at)
    }

    fn read64(&self, at: u64) -> u64 {
        self.0.read64(at)
    }

    unsafe fn write32(&self, at: u64, value: u32) {
        self.0.write32(at, value);
    }

    unsafe fn write64(&self, at: u64, value: u64) {
        self.0.write64(at, value);
    }
}

/// Time for a driver that nothing interrupts.
#[derive(Clone, Copy, Debug)]
pub struct Polled<K>(pub K);

impl<K: Clock> nvme_driver::Interrupts for Polled<K> {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }

    fn wait(&self, _vector: u16, _until_ns: u64) {
        self.0.pause();
    }
}

/// A namespace, and a queue that is for it alone.
pub struct NvmeDisk<'a, R, I, D: DmaDevice, O, C: Complete> {
    namespace: &'a Namespace<D>,
    queue: &'a mut IoQueue<R, I, D, O, C>,
}

impl<'a, R, I, D: DmaDevice, O, C: Complete> NvmeDisk<'a, R, I, D, O, C> {
    /// Puts a namespace behind a queue of its controller.
    #[must_use]
    pub const fn new(namespace: &'a Namespace<D>, queue: &'a mut IoQueue<R, I, D, O, C>) -> Self {
        Self { namespace, queue }
    }
}

impl<R, I, D, O, C> BlockDevice for NvmeDisk<'_, R, I, D, O, C>
where
    R: nvme_driver::Registers,
    I: nvme_driver::Interrupts,
    D: DmaDevice<Addr = PhysAddr>,
    C: Complete,
{
    type Owner = O;
    type Completion = C;
    type SubmitError = SubmitError;
    type Error = PollError;

    fn limits(&self) -> &Limits {
        self.namespace.target().list_limits()
    }

    fn plan_policy(&self) -> Policy {
        self.namespace.target().plan_policy()
    }

    fn submit(
        &mut self,
        request: BlockRequest<Self>,
    ) -> Result<(), Refused<BlockRequest<Self>, SubmitError>> {
        match self.queue.submit(self.namespace, request) {
            Ok(_) => Ok(()),
            Err(SubmitFailed { request, error }) => {
                let retry = if error.is_backpressure() { Retry::Later } else { Retry::Never };
                Err(Refused { request, retry, error })
            }
        }
    }

    fn kick(&mut self) {
        self.queue.ring();
    }

    fn poll_with(&mut self, back: &mut dyn FnMut(BlockRequest<Self>, Outcome)) -> Result<usize, PollError> {
        self.queue.poll(|done| {
            // Commands without data come back to nobody here.
            if let Finished::Transfer(request) = done.finished {
                back(request, done.outcome);
            }
        })
    }

    fn wait(&self, until_ns: u64) {
        self.queue.wait(until_ns);
    }
}

impl<R, I, D: DmaDevice, O, C: Complete> core::fmt::Debug for NvmeDisk<'_, R, I, D, O, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NvmeDisk").field("namespace", &self.namespace.id()).finish_non_exhaustive()
    }
}
