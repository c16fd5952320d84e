//! [`ScsiStatus`]: how a command failed, in one word for everything that can fail: the device's sense data, its status byte, the host
//! adapter beneath it.
//!
//! It travels as the `u32` of [`Status::Device`]: [`ScsiStatus::code`] and [`ScsiStatus::from_code`]. The top four bits say what the rest is:
//!
//! | top | rest |
//! |---|---|
//! | 1 | sense data: bit 20 deferred, bits 19 to 16 key, 15 to 8 additional code, 7 to 0 qualifier |
//! | 2 | bits 7 to 0: status byte (SAM-5, "Status codes") |
//! | 3 | bits 7 to 0: host byte (`include/scsi/scsi_status.h`, `enum scsi_host_status`) |
//! | 4 | bits 7 to 0: driver byte of kernels before 5.14 |

use std::fmt;

use rustix::io::Errno;
use scatterlist::Status;

use super::sense::{Sense, SenseKey};
use super::words;

const KIND_SHIFT: u32 = 28;
const DEFERRED: u32 = 1 << 20;

/// The status byte of a command: SAM-5, table "Status codes".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SamStatus(pub u8);

impl SamStatus {
    /// The command succeeded.
    pub const GOOD: Self = Self(0x00);
    /// There is sense data.
    pub const CHECK_CONDITION: Self = Self(0x02);
    /// What was searched for was found: success.
    pub const CONDITION_MET: Self = Self(0x04);
    /// The unit can take no command now.
    pub const BUSY: Self = Self(0x08);
    /// Another initiator has reserved the unit.
    pub const RESERVATION_CONFLICT: Self = Self(0x18);
    /// The queue of the unit is full.
    pub const TASK_SET_FULL: Self = Self(0x28);
    /// An auto contingent allegiance is in force.
    pub const ACA_ACTIVE: Self = Self(0x30);
    /// Another initiator's doing aborted the command.
    pub const TASK_ABORTED: Self = Self(0x40);

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::GOOD => "good",
            Self::CHECK_CONDITION => "check condition, without sense data",
            Self::CONDITION_MET => "condition met",
            Self::BUSY => "the unit is busy",
            Self::RESERVATION_CONFLICT => "another host has reserved the unit",
            Self::TASK_SET_FULL => "the queue of the unit is full",
            Self::ACA_ACTIVE => "an auto contingent allegiance is in force",
            Self::TASK_ABORTED => "another host's doing aborted the command",
            _ => return None,
        })
    }
}

/// What the host adapter and the kernel say of a command: `include/scsi/scsi_status.h`, `enum scsi_host_status`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HostStatus(pub u8);

impl HostStatus {
    /// Nothing went wrong on the way.
    pub const OK: Self = Self(0x00);
    /// The device cannot be reached, or is gone.
    pub const NO_CONNECT: Self = Self(0x01);
    /// The bus stayed busy.
    pub const BUS_BUSY: Self = Self(0x02);
    /// The command took longer than it was given.
    pub const TIME_OUT: Self = Self(0x03);
    /// There is no such target.
    pub const BAD_TARGET: Self = Self(0x04);
    /// The command was aborted.
    pub const ABORT: Self = Self(0x05);
    /// Parity error.
    pub const PARITY: Self = Self(0x06);
    /// An error inside the host adapter.
    pub const ERROR: Self = Self(0x07);
    /// Somebody reset the bus.
    pub const RESET: Self = Self(0x08);
    /// An interrupt that nobody expected.
    pub const BAD_INTR: Self = Self(0x09);
    /// The host adapter asks for another try.
    pub const SOFT_ERROR: Self = Self(0x0b);
    /// The same, at once.
    pub const IMM_RETRY: Self = Self(0x0c);
    /// The command is to be queued again.
    pub const REQUEUE: Self = Self(0x0d);
    /// The transport was disrupted while the command ran.
    pub const TRANSPORT_DISRUPTED: Self = Self(0x0e);
    /// The transport is down, and does not come back soon.
    pub const TRANSPORT_FAILFAST: Self = Self(0x0f);
    /// The target failed for good (kernels before 6.1).
    pub const TARGET_FAILURE: Self = Self(0x10);
    /// Another initiator has reserved the unit (kernels before 6.1).
    pub const NEXUS_FAILURE: Self = Self(0x11);
    /// The device has no space left (kernels before 6.1).
    pub const ALLOC_FAILURE: Self = Self(0x12);
    /// A flaw in the medium (kernels before 6.1).
    pub const MEDIUM_ERROR: Self = Self(0x13);
    /// The transport works, but badly.
    pub const TRANSPORT_MARGINAL: Self = Self(0x14);

    const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::OK => "ok",
            Self::NO_CONNECT => "the device cannot be reached, or is gone",
            Self::BUS_BUSY => "the bus stayed busy",
            Self::TIME_OUT => "the command timed out",
            Self::BAD_TARGET => "there is no such target",
            Self::ABORT => "the command was aborted",
            Self::PARITY => "parity error",
            Self::ERROR => "error inside the host adapter",
            Self::RESET => "the bus was reset",
            Self::BAD_INTR => "unexpected interrupt",
            Self::SOFT_ERROR => "the host adapter asks for another try",
            Self::IMM_RETRY => "the host adapter asks for another try at once",
            Self::REQUEUE => "the command was to be queued again",
            Self::TRANSPORT_DISRUPTED => "the transport was disrupted",
            Self::TRANSPORT_FAILFAST => "the transport is down",
            Self::TARGET_FAILURE => "the target failed for good",
            Self::NEXUS_FAILURE => "another host has reserved the unit",
            Self::ALLOC_FAILURE => "no space left on the device",
            Self::MEDIUM_ERROR => "medium error",
            Self::TRANSPORT_MARGINAL => "the transport is marginal",
            _ => return None,
        })
    }
}

/// How a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ScsiStatus {
    /// The device said why.
    Sense {
        /// The kind of the fault.
        key: SenseKey,
        /// Additional sense code.
        asc: u8,
        /// Additional sense code qualifier.
        ascq: u8,
        /// Whether it is about an earlier command; this one was not executed.
        deferred: bool,
    },
    /// The device answered with a status byte alone.
    Status(SamStatus),
    /// The command did not get through.
    Host(HostStatus),
    /// A driver of a kernel before 5.14 said so.
    Driver(u8),
}

impl ScsiStatus {
    /// Returns the number that stands for it in [`Status::Device`].
    #[must_use]
    pub const fn code(self) -> u32 {
        let (kind, rest) = match self {
            Self::Sense { key, asc, ascq, deferred } => {
                let code = u32::from_be_bytes([0, key.number(), asc, ascq]);
                (1, if deferred { code | DEFERRED } else { code })
            }
            Self::Status(status) => (2, u32::from_be_bytes([0, 0, 0, status.0])),
            Self::Host(host) => (3, u32::from_be_bytes([0, 0, 0, host.0])),
            Self::Driver(driver) => (4, u32::from_be_bytes([0, 0, 0, driver])),
        };
        (kind << KIND_SHIFT) | rest
    }

    /// Returns what the number stands for; `None` for one that [`code`](Self::code) does not make.
    #[must_use]
    pub const fn from_code(code: u32) -> Option<Self> {
        let [_, key, asc, ascq] = code.to_be_bytes();
        let found = match code >> KIND_SHIFT {
            1 => {
                let deferred = code & DEFERRED != 0;
                Self::Sense { key: SenseKey::from_low_bits(key), asc, ascq, deferred }
            }
            2 => Self::Status(SamStatus(ascq)),
            3 => Self::Host(HostStatus(ascq)),
            4 => Self::Driver(ascq),
            _ => return None,
        };
        if found.code() == code { Some(found) } else { None }
    }

    /// Returns what a fault of a transfer says, if it is the device's word.
    #[must_use]
    pub const fn of_fault(status: &Status) -> Option<Self> {
        match status {
            Status::Device(code) => Self::from_code(*code),
            _ => None,
        }
    }

    /// Returns it as the fault of a transfer.
    #[must_use]
    pub const fn into_fault(self) -> Status {
        Status::Device(self.code())
    }

    const fn key(self) -> Option<SenseKey> {
        match self {
            Self::Sense { key, .. } => Some(key),
            _ => None,
        }
    }

    /// Says whether the medium cannot be read or written there. What is said of an earlier command is not about this one.
    #[must_use]
    pub const fn is_medium_error(self) -> bool {
        matches!(
            self,
            Self::Sense { key: SenseKey::Medium, deferred: false, .. } | Self::Host(HostStatus::MEDIUM_ERROR)
        )
    }

    /// Says whether the unit reports an event, and has not executed the command.
    #[must_use]
    pub const fn is_unit_attention(self) -> bool {
        matches!(self, Self::Sense { key: SenseKey::UnitAttention, deferred: false, .. })
    }

    /// Says whether what the unit held in a volatile cache may be lost: it was switched on, or reset itself (SPC-4, additional
    /// sense codes 29h/00h, 01h, 04h).
    #[must_use]
    pub const fn says_cache_lost(self) -> bool {
        matches!(self, Self::Sense { key: SenseKey::UnitAttention, asc: 0x29, ascq: 0x00 | 0x01 | 0x04, .. })
    }

    /// Says whether the medium is write-protected.
    #[must_use]
    pub const fn is_write_protected(self) -> bool {
        // 27h/07h is a thin pool without space, which has the same key (SBC-3).
        matches!(self, Self::Sense { key: SenseKey::DataProtect, asc, ascq, .. } if asc == 0x27 && ascq != 0x07)
    }

    /// Says whether the unit is not ready; see [`is_becoming_ready`](Self::is_becoming_ready).
    #[must_use]
    pub const fn is_not_ready(self) -> bool {
        matches!(self.key(), Some(SenseKey::NotReady))
    }

    /// Says whether the unit will be ready by itself (SPC-4, 04h/01h).
    #[must_use]
    pub const fn is_becoming_ready(self) -> bool {
        matches!(self, Self::Sense { key: SenseKey::NotReady, asc: 0x04, ascq: 0x01, deferred: false })
    }

    /// Says whether there is no medium (SPC-4, 3Ah).
    #[must_use]
    pub const fn is_no_medium(self) -> bool {
        matches!(self, Self::Sense { key: SenseKey::NotReady, asc: 0x3a, .. })
    }

    /// Says whether the device does not know the command or takes no such field.
    #[must_use]
    pub const fn is_unsupported(self) -> bool {
        matches!(self, Self::Sense { key: SenseKey::IllegalRequest, asc: 0x20 | 0x24, .. })
    }

    /// Says whether another host has reserved the unit.
    #[must_use]
    pub const fn is_reservation_conflict(self) -> bool {
        matches!(self, Self::Status(SamStatus::RESERVATION_CONFLICT) | Self::Host(HostStatus::NEXUS_FAILURE))
    }

    /// Says whether the command took longer than it was given.
    #[must_use]
    pub const fn is_timeout(self) -> bool {
        // Kernels before 5.14: `DRIVER_TIMEOUT`.
        matches!(self, Self::Host(HostStatus::TIME_OUT) | Self::Driver(0x06))
    }

    /// Says whether the device is gone, or cannot be reached.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Host(HostStatus::NO_CONNECT | HostStatus::BAD_TARGET))
    }

    /// Says whether a fault of a transfer means that the device is gone: by the host adapter's word, or by the kernel's, which has no
    /// device any more.
    #[must_use]
    pub fn fault_is_gone(status: &Status) -> bool {
        match status {
            Status::Errno(number) => {
                [Errno::NODEV, Errno::NXIO].iter().any(|errno| errno.raw_os_error().unsigned_abs() == *number)
            }
            other => Self::of_fault(other).is_some_and(Self::is_gone),
        }
    }
}

impl From<&Sense> for ScsiStatus {
    fn from(sense: &Sense) -> Self {
        Self::Sense { key: sense.key, asc: sense.asc, ascq: sense.ascq, deferred: sense.deferred }
    }
}

impl fmt::Display for ScsiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, what, number) = match *self {
            Self::Sense { key, asc, ascq, deferred } => return words::sense(f, key, asc, ascq, deferred),
            Self::Status(status) => (status.name(), "status", status.0),
            Self::Host(host) => (host.name(), "host status", host.0),
            Self::Driver(driver) => (None, "driver status", driver),
        };
        match name {
            Some(name) => write!(f, "{name} ({what} {number:#04x})"),
            None => write!(f, "{what} {number:#04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statuses() -> impl Strategy<Value = ScsiStatus> {
        let sense =
            (any::<u8>(), any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(key, asc, ascq, deferred)| {
                ScsiStatus::Sense { key: SenseKey::from_low_bits(key), asc, ascq, deferred }
            });
        prop_oneof![
            sense,
            any::<u8>().prop_map(|status| ScsiStatus::Status(SamStatus(status))),
            any::<u8>().prop_map(|host| ScsiStatus::Host(HostStatus(host))),
            any::<u8>().prop_map(ScsiStatus::Driver),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_status_survives_its_code(status in statuses()) {
            prop_assert_eq!(ScsiStatus::from_code(status.code()), Some(status));
            prop_assert_eq!(ScsiStatus::of_fault(&status.into_fault()), Some(status));
            prop_assert!(!status.to_string().is_empty());
        }

        #[test]
        fn a_code_that_is_taken_is_that_of_its_status(code in prop_oneof![any::<u32>(), (1..5_u32, 0..1_u32 << 22)
            .prop_map(|(kind, rest)| (kind << 28) | rest)])
        {
            if let Some(status) = ScsiStatus::from_code(code) {
                prop_assert_eq!(status.code(), code);
            }
        }
    }

    #[test]
    fn words_have_their_numbers() {
        let sense = |key, asc, ascq| ScsiStatus::Sense { key, asc, ascq, deferred: false };
        let said = [
            (sense(SenseKey::Medium, 0x11, 0), "medium error: unrecovered read error (sense 3/11/00)"),
            (sense(SenseKey::Vendor, 0x80, 0x12), "vendor specific (sense 9/80/12)"),
            (ScsiStatus::Status(SamStatus::BUSY), "the unit is busy (status 0x08)"),
            (ScsiStatus::Status(SamStatus(0x99)), "status 0x99"),
            (ScsiStatus::Host(HostStatus::TIME_OUT), "the command timed out (host status 0x03)"),
        ];
        for (status, words) in said {
            assert_eq!(status.to_string(), words);
        }
        let deferred = ScsiStatus::Sense { key: SenseKey::Medium, asc: 0x0c, ascq: 0, deferred: true };
        assert_eq!(deferred.to_string(), "of an earlier command: medium error: write error (sense 3/0c/00)");
    }

    #[test]
    fn kinds_are_told_apart() {
        let sense = |key, asc, ascq| ScsiStatus::Sense { key, asc, ascq, deferred: false };
        assert!(sense(SenseKey::DataProtect, 0x27, 0).is_write_protected());
        assert!(!sense(SenseKey::DataProtect, 0x27, 7).is_write_protected());
        assert!(sense(SenseKey::NotReady, 0x3a, 1).is_no_medium());
        assert!(sense(SenseKey::NotReady, 4, 1).is_becoming_ready());
        assert!(!sense(SenseKey::NotReady, 4, 2).is_becoming_ready());
        assert!(sense(SenseKey::UnitAttention, 0x29, 1).says_cache_lost());
        assert!(!sense(SenseKey::UnitAttention, 0x29, 3).says_cache_lost());
        let gone = [
            Status::Errno(libc::ENODEV.unsigned_abs()),
            ScsiStatus::Host(HostStatus::NO_CONNECT).into_fault(),
        ];
        assert!(gone.iter().all(ScsiStatus::fault_is_gone));
        assert!(!ScsiStatus::fault_is_gone(&Status::Errno(libc::EIO.unsigned_abs())));
    }
}
