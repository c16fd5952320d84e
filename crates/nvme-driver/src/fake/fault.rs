//! What goes wrong, on demand: [`Fault`] of one command, [`Condition`] of the controller, [`Aborts`].

use scatterlist::BusAddr;

/// What goes wrong with one I/O command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It is not done, and completes with this status field (15 bits: DNR, M, CRD, SCT, SC).
    Status(u16),
    /// It is neither done nor completed, unless it is aborted.
    Stall,
    /// It is done, and its completion never written.
    Lose,
    /// Its completion names this command instead.
    WrongCommand(u16),
    /// Its completion names this queue instead.
    WrongQueue(u16),
    /// Its completion says this of the head of the submission queue.
    WrongHead(u16),
    /// Its completion has the phase tag of the last round.
    WrongPhase,
    /// It completes twice.
    Twice,
    /// The controller also writes 8 bytes here.
    Rogue(BusAddr),
}

/// What is wrong with the whole controller from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Condition {
    /// Enabled, it never becomes ready.
    NeverReady,
    /// Disabled, it stays ready and goes on.
    NeverStops,
    /// CSTS.CFS is set until it is disabled; it does nothing until then.
    Fatal,
    /// Every register reads as all ones.
    Gone,
}

/// What it does with abort commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Aborts {
    /// It aborts what has stalled.
    #[default]
    Accept,
    /// It says that it did not.
    Refuse,
    /// They do not complete.
    Stall,
}
