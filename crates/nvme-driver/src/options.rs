//! [`Options`]: what the owner of a controller decides.

use crate::error::InitError;
use crate::format::DataFormat;
use crate::slots::COMMANDS_MAX;

const SECOND_NS: u64 = 1_000_000_000;

/// What the owner of a controller decides. What the controller allows less of is taken as it allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// I/O queue pairs wanted, at least 1.
    pub queues: u16,
    /// Entries of each I/O queue, from 2 to 1024; one command fewer is in flight at a time.
    pub queue_entries: u16,
    /// Interrupt vectors that reach the driver. Queue `n` gets vector `n % vectors`; with 0 every queue is polled and
    /// interrupts stay masked.
    pub vectors: u16,
    /// How commands name their data.
    pub format: DataFormat,
    /// List pages for all queues together, allocated at bring-up; 0 for one a command, so that they are never short.
    pub list_pages: u32,
    /// Namespaces that are looked at; further ones are left alone.
    pub namespaces_max: u32,
    /// How long a command may take until it is overdue, in nanoseconds.
    pub command_timeout_ns: u64,
    /// How long an aborted command may take to come back until the controller is reset, in nanoseconds.
    pub abort_timeout_ns: u64,
    /// How long an admin command may take, in nanoseconds.
    pub admin_timeout_ns: u64,
    /// How long a shutdown may take, in nanoseconds.
    pub shutdown_timeout_ns: u64,
}

impl Default for Options {
    /// One polled queue of 64 entries, whatever format the controller has, 30 s a command.
    fn default() -> Self {
        Self {
            queues: 1,
            queue_entries: 64,
            vectors: 0,
            format: DataFormat::Auto,
            list_pages: 0,
            namespaces_max: 256,
            command_timeout_ns: 30 * SECOND_NS,
            abort_timeout_ns: 5 * SECOND_NS,
            admin_timeout_ns: 30 * SECOND_NS,
            shutdown_timeout_ns: 10 * SECOND_NS,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), InitError> {
        let entries_max = u64::from(COMMANDS_MAX).saturating_add(1);
        let options = [
            ("queues", self.queues, 1, u64::from(u16::MAX)),
            ("queue_entries", self.queue_entries, 2, entries_max),
        ];
        for (option, value, min, max) in options {
            let value = u64::from(value);
            if !(min..=max).contains(&value) {
                return Err(InitError::Option { option, value, min, max });
            }
        }
        Ok(())
    }

    /// Returns the vector of a queue; `None` for a queue that is polled.
    pub(crate) const fn vector(&self, queue: u16) -> Option<u16> {
        queue.checked_rem(self.vectors)
    }
}
