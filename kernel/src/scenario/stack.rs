//! The devices that scenarios hand to drivers: an offset of none, a bounce pool on top, a checker around either.
//!
//! A driver is generic over its device and knows none of this. Each device lives for good, as one of a machine does.

use alloc::boxed::Box;
use alloc::format;

use scatterlist::map::checked::{Checked, Finding};
use scatterlist::map::{Backend, Bounce, BounceLayout, Direct, Offset};
use scatterlist::{LimitId, Limits};

use super::{Failure, failure};
use crate::machine::{Machine, say};
use crate::memory::{Buffer, Choice, KernelMemory, Owner};

/// A device that sees physical memory where it is.
pub(super) type Plain = Direct<&'static KernelMemory>;

/// The same behind a bounce pool.
pub(super) type Bounced = Bounce<Plain, Owner>;

/// Counts copies in the one place that makes any.
pub(super) trait Copies {
    /// Returns the bytes that were copied between memory and the device.
    fn copied_bytes(&self) -> u64;
}

impl Copies for Plain {
    fn copied_bytes(&self) -> u64 {
        0
    }
}

impl Copies for Bounced {
    fn copied_bytes(&self) -> u64 {
        Bounce::copied_bytes(self)
    }
}

impl<D: Copies + Backend> Copies for Checked<D> {
    fn copied_bytes(&self) -> u64 {
        self.device().copied_bytes()
    }
}

impl<D: Copies> Copies for &D {
    fn copied_bytes(&self) -> u64 {
        (**self).copied_bytes()
    }
}

/// Makes a device of `limits`.
pub(super) fn plain(machine: &'static Machine, limits: &Limits) -> Result<Plain, Failure> {
    Ok(Direct::new(machine.memory, Offset::NONE, limits)?)
}

/// Makes a device of `limits` behind a pool of `pool_len` bytes that it reaches.
pub(super) fn bounced(machine: &'static Machine, limits: &Limits, pool_len: u64) -> Result<Bounced, Failure> {
    let beneath = plain(machine, limits)?;
    let choice = Choice::ANY.up_to(limits.hard_value(LimitId::AddrMax));
    let buffer = Buffer::contiguous(machine.memory, pool_len, 0, choice)?;
    let pool = buffer.lease()?;
    Bounce::new(beneath, pool, BounceLayout::default()).map_err(|failed| Failure::from(failed.error))
}

/// Puts the checker around a device. What it finds is said, and fails the scenario at [`released`].
pub(super) fn checked<D: Backend + 'static>(device: D) -> &'static Checked<D> {
    Box::leak(Box::new(Checked::new(device, |_: &[Finding]| {})))
}

/// Keeps a device for good.
pub(super) fn kept<D>(device: D) -> &'static D {
    Box::leak(Box::new(device))
}

/// States what a device has copied.
pub(super) fn ended<D: Copies>(device: &D) {
    super::fact!("copied", device.copied_bytes());
}

/// Ends a checked device: the scenario must leave nothing and have done nothing wrong. Returns how much was found: nothing.
///
/// # Errors
/// How much was found, if anything; each finding is said.
pub(super) fn released<D: Backend>(device: &Checked<D>) -> Result<usize, Failure> {
    device.release();
    let findings = device.take_findings();
    for finding in &findings {
        say!("finding: {finding}");
    }
    match findings.len() {
        0 => Ok(0),
        count => Err(failure(format!("the checker tells {count} findings, it must tell none"))),
    }
}

/// Runs `$run` with a device of `$limits`: plain, or as the arguments say bounced (`bounce=BYTES`) and checked (`checked=1`).
macro_rules! on_device {
    ($machine:expr, $arguments:expr, $limits:expr, |$device:ident| $run:expr) => {{
        use $crate::scenario::stack;
        let pool_len = $arguments.number_or("bounce", 0)?;
        match (pool_len > 0, $arguments.number_or("checked", 0)? != 0) {
            (false, false) => {
                let $device = stack::kept(stack::plain($machine, $limits)?);
                $run?;
                stack::ended($device)
            }
            (true, false) => {
                let $device = stack::kept(stack::bounced($machine, $limits, pool_len)?);
                $run?;
                stack::ended($device)
            }
            (false, true) => {
                let $device = stack::checked(stack::plain($machine, $limits)?);
                $run?;
                stack::ended($device);
                $crate::scenario::fact!("findings", stack::released($device)?);
            }
            (true, true) => {
                let $device = stack::checked(stack::bounced($machine, $limits, pool_len)?);
                $run?;
                stack::ended($device);
                $crate::scenario::fact!("findings", stack::released($device)?);
            }
        }
        Ok(())
    }};
}
pub(super) use on_device;

/// The limits of a device that reaches all memory.
pub(super) fn no_limits() -> Limits {
    Limits::default()
}
