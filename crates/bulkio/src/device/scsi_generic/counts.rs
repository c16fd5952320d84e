//! [`Counts`]: what went through a door, counted by the threads that carried it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::scsi::{Answer, Moved};

/// What went through a door since it was opened. Commands that ask for facts are not among it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Reads and writes sent, repeated ones too.
    pub commands: u64,
    /// Those of them whose memory the device reached itself.
    pub direct_commands: u64,
    /// Bytes that the device moved from or to the memory itself.
    pub direct_bytes: u64,
    /// Bytes that the kernel copied.
    pub copied_bytes: u64,
    /// Commands that were sent again: unit attentions, busy units, aborted commands.
    pub retries: u64,
    /// Commands sent to find the exact block of a fault.
    pub searches: u64,
    /// Most reads, writes and flushes that were in flight at a time.
    pub in_flight_max: u64,
}

/// The counts as they grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    commands: AtomicU64,
    direct_commands: AtomicU64,
    direct_bytes: AtomicU64,
    copied_bytes: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) searches: AtomicU64,
    in_flight: AtomicU64,
    in_flight_max: AtomicU64,
}

/// A command that is in flight while this is there.
#[derive(Debug)]
pub(super) struct InFlight<'a>(&'a Counters);

impl Counters {
    /// Counts a command as in flight.
    pub(super) fn enter(&self) -> InFlight<'_> {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.in_flight_max.fetch_max(now, Ordering::Relaxed);
        InFlight(self)
    }

    /// Counts the answer to a read or write.
    pub(super) fn add(&self, answer: &Answer, moved_bytes: u32) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let bytes = match answer.moved {
            Moved::Nothing => return,
            Moved::Direct => {
                self.direct_commands.fetch_add(1, Ordering::Relaxed);
                &self.direct_bytes
            }
            Moved::Copied => &self.copied_bytes,
        };
        bytes.fetch_add(moved_bytes.into(), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            commands: read(&self.commands),
            direct_commands: read(&self.direct_commands),
            direct_bytes: read(&self.direct_bytes),
            copied_bytes: read(&self.copied_bytes),
            retries: read(&self.retries),
            searches: read(&self.searches),
            in_flight_max: read(&self.in_flight_max),
        }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
