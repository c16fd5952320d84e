//! [`Retries`]: which faults are worth another try, how many, and how long to wait before it.
//!
//! A unit attention is an event that was to be told; the command was not executed, and goes again at once. What is busy or aborted goes
//! again after a pause that doubles. Both are counted, and neither without end (rule `bounded`).

use std::time::Duration;

use super::sense::SenseKey;
use super::status::{HostStatus, SamStatus, ScsiStatus};

/// Most unit attentions in a row: a unit keeps a few at most.
const ATTENTIONS_MAX: u32 = 8;

/// Most tries after a fault that may pass, which take 1.3 s of pauses together.
const PAUSES_MAX: u32 = 7;

/// The first pause; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(10);

/// The retries of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retries {
    attentions: u32,
    pauses: u32,
}

impl Retries {
    /// Returns how long to wait before the command goes again; `None` where it does not.
    pub fn next(&mut self, status: ScsiStatus) -> Option<Duration> {
        if status.is_unit_attention() {
            let tells = self.attentions < ATTENTIONS_MAX;
            self.attentions = self.attentions.saturating_add(u32::from(tells));
            return tells.then_some(Duration::ZERO);
        }
        if !passes(status) || self.pauses >= PAUSES_MAX {
            return None;
        }
        let pause = PAUSE_FIRST.saturating_mul(1_u32.checked_shl(self.pauses).unwrap_or(u32::MAX));
        self.pauses = self.pauses.saturating_add(1);
        Some(pause)
    }

    /// Returns how many tries there were beside the first.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.attentions.saturating_add(self.pauses)
    }
}

/// Says whether a fault may pass by itself. One that took a whole timeout is not worth another.
const fn passes(status: ScsiStatus) -> bool {
    match status {
        ScsiStatus::Sense { key: SenseKey::Aborted, deferred: false, .. } => true,
        ScsiStatus::Sense { .. } => status.is_becoming_ready(),
        ScsiStatus::Status(status) => {
            matches!(status, SamStatus::BUSY | SamStatus::TASK_SET_FULL | SamStatus::TASK_ABORTED)
        }
        ScsiStatus::Host(host) => matches!(
            host,
            HostStatus::BUS_BUSY
                | HostStatus::ABORT
                | HostStatus::RESET
                | HostStatus::SOFT_ERROR
                | HostStatus::IMM_RETRY
                | HostStatus::REQUEUE
                | HostStatus::TRANSPORT_DISRUPTED
        ),
        ScsiStatus::Driver(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(status: ScsiStatus) -> (u32, Duration) {
        let mut retries = Retries::default();
        let mut waited = Duration::ZERO;
        while let Some(pause) = retries.next(status) {
            waited += pause;
            assert!(retries.count() < 100, "{status}");
        }
        (retries.count(), waited)
    }

    #[test]
    fn every_fault_ends() {
        let sense = |key, asc, ascq| ScsiStatus::Sense { key, asc, ascq, deferred: false };
        let (count, waited) = tries(ScsiStatus::Status(SamStatus::BUSY));
        assert_eq!((count, waited), (PAUSES_MAX, Duration::from_millis(1270)));
        assert_eq!(tries(sense(SenseKey::Aborted, 0, 0)).0, PAUSES_MAX);
        assert_eq!(tries(sense(SenseKey::NotReady, 4, 1)).0, PAUSES_MAX);
        assert_eq!(tries(sense(SenseKey::UnitAttention, 0x29, 0)), (ATTENTIONS_MAX, Duration::ZERO));
        for (key, asc) in
            [(SenseKey::Medium, 0x11), (SenseKey::NotReady, 0x3a), (SenseKey::IllegalRequest, 0x20)]
        {
            assert_eq!(tries(sense(key, asc, 0)).0, 0);
        }
        assert_eq!(tries(ScsiStatus::Host(HostStatus::TIME_OUT)).0, 0);
        assert_eq!(tries(ScsiStatus::Host(HostStatus::NO_CONNECT)).0, 0);
    }

    #[test]
    fn a_deferred_error_is_never_passed_over() {
        for key in [SenseKey::Aborted, SenseKey::UnitAttention] {
            assert_eq!(tries(ScsiStatus::Sense { key, asc: 0, ascq: 0, deferred: true }).0, 0);
        }
    }
}
