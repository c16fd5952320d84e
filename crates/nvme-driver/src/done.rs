//! [`Done`]: a command that came back, with what it held and how it ended.

use scatterlist::{Addr, Complete, Lease, Outcome, Request};

use crate::status::DeviceStatus;

/// Which command. Unique among those in flight on one controller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CommandId {
    pub(crate) queue: u16,
    pub(crate) command: u16,
}

impl CommandId {
    /// Returns the identifier of its queue, from 1.
    #[must_use]
    pub const fn queue(self) -> u16 {
        self.queue
    }

    /// Returns the identifier of the command (CID).
    #[must_use]
    pub const fn command(self) -> u16 {
        self.command
    }
}

/// A command without the data of a request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Control {
    /// What was written is durable.
    Flush,
    /// Blocks read as zeros.
    WriteZeroes,
    /// Blocks are of no use to anyone.
    Deallocate,
}

/// What a command held.
#[derive(Debug)]
pub enum Finished<A: Addr, O, C> {
    /// A request, its memory the CPU's again.
    Transfer(Request<A, O, C>),
    /// A command without data, and its completion.
    Control(Control, C),
}

/// A command that came back.
#[derive(Debug)]
#[must_use = "its completion is told by `complete`"]
pub struct Done<A: Addr, O, C> {
    /// Which.
    pub id: CommandId,
    /// How it ended. A fault of the device is packed as in [`DeviceStatus`].
    pub outcome: Outcome,
    /// What it held.
    pub finished: Finished<A, O, C>,
}

impl<A: Addr, O, C> Done<A, O, C> {
    /// Returns the status of a command that the device failed.
    #[must_use]
    pub fn device_status(&self) -> Option<DeviceStatus> {
        self.outcome.fault.and_then(|fault| DeviceStatus::from_status(fault.status))
    }
}

impl<A: Addr, O, C: Complete> Done<A, O, C> {
    /// Tells the completions how it ended; the memory of a request comes back.
    pub fn complete(self) -> Option<Lease<A, O>> {
        let Self { outcome, finished, .. } = self;
        match finished {
            Finished::Transfer(request) => Some(request.complete(outcome)),
            Finished::Control(_, completion) => {
                completion.complete(outcome);
                None
            }
        }
    }
}
