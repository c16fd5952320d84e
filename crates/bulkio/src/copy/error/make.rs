//! The errors of transfers, with what the device itself says.

use scatterlist::{Fault, Status};

use super::{CopyError, Side, words};
use crate::device::Device;

impl CopyError {
    /// Refuses an option that is not in its range.
    pub(in super::super) fn check_option(
        what: &'static str,
        value: u64,
        min: u64,
        max: u64,
    ) -> Result<(), Self> {
        if (min..=max).contains(&value) { Ok(()) } else { Err(Self::Option { what, value, min, max }) }
    }

    /// Makes the error of a fault in a request of `asked` bytes that began at byte `position` of a side. `bytes` is what was copied before,
    /// for a stream whose reader went away.
    pub(in crate::copy) fn of_fault(
        side: Side,
        device: &dyn Device,
        position: u64,
        asked: u64,
        fault: Fault,
        bytes: u64,
    ) -> Self {
        let broken_pipe = Status::Errno(rustix::io::Errno::PIPE.raw_os_error().unsigned_abs());
        if side == Side::Destination && fault.status == broken_pipe {
            return Self::Closed { path: device.path().to_owned(), bytes };
        }
        let (at, len) = (position.saturating_add(fault.at), asked.saturating_sub(fault.at));
        Self::transfer(side, device, at, len, fault.status)
    }

    /// Makes the error of a source of which `failures` reads in a row failed, and one of byte `at` too, which could be read before.
    pub(in crate::copy) fn source_gone(
        source: &dyn Device,
        at: u64,
        failures: usize,
        status: Status,
    ) -> Self {
        let meaning = words::meaning(source, status);
        Self::SourceGone { path: source.path().to_owned(), at, failures, status, meaning }
    }

    /// Makes the error of a source of which `failures` reads in a row failed, and then `blocks` all over the range.
    pub(in crate::copy) fn source_unreadable(
        source: &dyn Device,
        failures: usize,
        blocks: usize,
        status: Status,
    ) -> Self {
        let meaning = words::meaning(source, status);
        Self::SourceUnreadable { path: source.path().to_owned(), failures, blocks, status, meaning }
    }

    /// Makes the error of a transfer of `len` bytes from byte `at` of a side on.
    pub(in crate::copy) fn transfer(
        side: Side,
        device: &dyn Device,
        at: u64,
        len: u64,
        status: Status,
    ) -> Self {
        let meaning = words::meaning(device, status);
        Self::Transfer { side, path: device.path().to_owned(), at, len, status, meaning, block: None }
    }
}
