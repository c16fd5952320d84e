//! Block devices as those in front of them see them: [`BlockDevice`], which drivers implement; the [queue](MergeQueue) and the
//! [stripes](StripeSet) in front.
//!
//! A request that is submitted is one command: who submits plans it by the device's limits first, or puts a queue in
//! front, which does. What comes back does so with its [`Outcome`]: the queue in front of a driver decides nothing about memory.

mod load;
mod queue;
mod stream;
mod stripe;

pub use queue::{MergeQueue, PushError, QueueCounts, QueueError, QueueErrorOf, QueueOptions};
pub use stripe::{SetError, StripePollError, StripePollErrorOf, StripePushError, StripeSet};

pub use crate::refused::{Refused, Retry};

use scatterlist::plan::Policy;
use scatterlist::{Complete, Limits, Outcome, PhysAddr, Request};

/// A request of a block device.
pub type BlockRequest<B> = Request<PhysAddr, <B as BlockDevice>::Owner, <B as BlockDevice>::Completion>;

/// What a block driver is to those in front of it.
pub trait BlockDevice: Sized {
    /// What owns the memory of its requests.
    type Owner;

    /// Who is told how a request ended.
    type Completion: Complete;

    /// Why a request is not taken.
    type SubmitError: core::error::Error + 'static;

    /// What goes wrong with the device itself.
    type Error: core::error::Error + 'static;

    /// Returns the limits by which requests are planned: those of the target, in the addresses of lists.
    fn limits(&self) -> &Limits;

    /// Returns how requests are planned: with bounces where the device bounces.
    fn plan_policy(&self) -> Policy;

    /// Takes one device-ready request. The device learns of it by [`kick`](Self::kick).
    ///
    /// # Errors
    /// The request back, with why. Where something is full (slots, descriptors, a pool), that is backpressure: [`Retry::Later`].
    fn submit(
        &mut self,
        request: BlockRequest<Self>,
    ) -> Result<(), Refused<BlockRequest<Self>, Self::SubmitError>>;

    /// Tells the device of every request that was submitted since the last time, by one doorbell.
    fn kick(&mut self);

    /// Takes what the device gave back: each request with its outcome, which nobody has been told. Returns how many.
    ///
    /// # Errors
    /// What is wrong with the device; what it gave back before that was handed over.
    fn poll_with(&mut self, back: &mut dyn FnMut(BlockRequest<Self>, Outcome)) -> Result<usize, Self::Error>;

    /// Returns when the device may have given something back, or at `until_ns` by the driver's clock: what a loop does that has nothing
    /// else to do. A device that is polled returns at once.
    fn wait(&self, until_ns: u64) {
        let _ = until_ns;
    }

    /// Completes what the device gave back, and lets the memory go to its owners. Returns how many requests.
    ///
    /// # Errors
    /// As [`poll_with`](Self::poll_with).
    fn poll(&mut self) -> Result<usize, Self::Error> {
        self.poll_with(&mut |request, outcome| drop(request.complete(outcome)))
    }
}

/// A borrowed device is one too.
impl<B: BlockDevice> BlockDevice for &mut B {
    type Owner = B::Owner;
    type Completion = B::Completion;
    type SubmitError = B::SubmitError;
    type Error = B::Error;

    fn limits(&self) -> &Limits {
        (**self).limits()
    }

    fn plan_policy(&self) -> Policy {
        (**self).plan_policy()
    }

    fn submit(
        &mut self,
        request: BlockRequest<B>,
    ) -> Result<(), Refused<BlockRequest<B>, Self::SubmitError>> {
        (**self).submit(request)
    }

    fn kick(&mut self) {
        (**self).kick();
    }

    fn poll_with(&mut self, back: &mut dyn FnMut(BlockRequest<B>, Outcome)) -> Result<usize, Self::Error> {
        (**self).poll_with(back)
    }

    fn wait(&self, until_ns: u64) {
        (**self).wait(until_ns);
    }
}
