//! [`Driver`]: what the kernel does for an open PCM, one call a method.
//!
//! `node` is the kernel itself, the tests' `fake` a card in memory. All logic is above: `negotiate` asks for a configuration, `pcm` counts frames.
//! The descriptor is the driver's, too: the ring is mapped from it, and it is what is polled.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::abi::{HwParams, RawStatus, SwParams, SyncPtr};

/// A call without an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    Prepare,
    Start,
    /// Stop at once.
    Drop,
    /// Play what is there, then stop.
    Drain,
}

impl Op {
    /// Its name in messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Prepare => "PREPARE",
            Self::Start => "START",
            Self::Drop => "DROP",
            Self::Drain => "DRAIN",
        }
    }
}

/// An open PCM.
pub(super) trait Driver: fmt::Debug + Send {
    /// Narrows a space of configurations to what the device has of it; `EINVAL` where that is nothing.
    fn refine(&mut self, params: &mut HwParams) -> Result<(), Errno>;

    /// Sets a configuration up, the first that is in the space, and makes the ring.
    fn set_hw(&mut self, params: &mut HwParams) -> Result<(), Errno>;

    /// Sets when to wake, start and stop.
    fn set_sw(&mut self, params: &mut SwParams) -> Result<(), Errno>;

    /// Exchanges pointers.
    fn sync(&mut self, sync: &mut SyncPtr) -> Result<(), Errno>;

    /// Asks how things are, with times.
    fn status(&mut self) -> Result<RawStatus, Errno>;

    /// Makes a call without an argument.
    fn control(&mut self, op: Op) -> Result<(), Errno>;

    /// The open file.
    fn fd(&self) -> &Arc<OwnedFd>;
}
