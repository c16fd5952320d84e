//! [`patiently`]: how a scenario waits: it looks again and again, and gives up where nothing has changed for too long.
//!
//! Every loop of a scenario that waits for a device is this one, so each has a bound.

use alloc::format;

use super::{Failure, failure};
use crate::machine::Machine;
use crate::registers::Clock as _;

/// How long nothing may change.
pub(super) const IDLE_NS: u64 = 20_000_000_000;

/// What a look saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// There is nothing more to wait for.
    Done,
    /// Something has changed since the last look.
    Moved,
    /// All is as it was.
    Same,
}

impl Look {
    /// Says whether a number is another than it was, and keeps it.
    pub(super) fn at<T: PartialEq>(last: &mut T, now: T) -> Self {
        if *last == now {
            return Self::Same;
        }
        *last = now;
        Self::Moved
    }
}

/// Looks until it is done. A look may wait itself, at most until the time that it is given.
///
/// # Errors
/// That of a look; or that nothing has changed for `idle_ns`, in `what`.
pub(super) fn patiently(
    machine: &Machine,
    what: &str,
    idle_ns: u64,
    mut look: impl FnMut(u64) -> Result<Look, Failure>,
) -> Result<(), Failure> {
    let mut last_ns = machine.clock.now_ns();
    loop {
        // Read before the look: one that was itself delayed does not miss what happened meanwhile.
        let now_ns = machine.clock.now_ns();
        let until_ns = last_ns.saturating_add(idle_ns);
        match look(until_ns)? {
            Look::Done => return Ok(()),
            Look::Moved => last_ns = machine.clock.now_ns(),
            Look::Same if now_ns > until_ns => {
                let ns = now_ns.saturating_sub(last_ns);
                return Err(failure(format!(
                    "{what}: nothing has changed for {ns} ns, {idle_ns} ns are allowed"
                )));
            }
            Look::Same => machine.clock.pause(),
        }
    }
}
