//! [`CommandStatus`]: what a controller says of a command, taken out of a [`Status::Device`].
//!
//! The kernel hands the status field of the completion on, without the phase bit: bits 7:0 the status code (SC), 10:8 its type (SCT),
//! 12:11 which delay to retry after (CRD), 13 that a log says more (M), 14 that a retry is in vain (DNR). NVM Express Base
//! Specification 2.0, section 3.3.3.2.1; the codes are those of its figures 93 to 101 and of the NVM Command Set Specification 1.0, section 3.1.

use core::fmt;

use scatterlist::Status;

const CODE_MASK: u32 = 0x7ff;
const MORE: u32 = 1 << 13;
const DO_NOT_RETRY: u32 = 1 << 14;
const FIELD_MASK: u32 = 0x7fff;

/// The status of a command that the controller completed, or that the host's driver ended for it (type 3h, codes 70h and up).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CommandStatus(u32);

impl CommandStatus {
    /// Takes the status of a fault; `None` where it is not of a device. That the device is one of NVMe, the caller knows.
    #[must_use]
    pub const fn from_status(status: Status) -> Option<Self> {
        match status {
            Status::Device(field) => Some(Self(field & FIELD_MASK)),
            _ => None,
        }
    }

    /// Returns the field: 15 bits, without the phase bit.
    #[must_use]
    pub const fn field(self) -> u32 {
        self.0
    }

    /// Returns the status code type (SCT): 0 generic, 1 of the command, 2 of medium and data, 3 of the path, 7 of the vendor.
    #[must_use]
    pub const fn code_type(self) -> u32 {
        (self.0 & CODE_MASK) >> 8
    }

    /// Returns the status code (SC), which means something together with its type.
    #[must_use]
    pub const fn code(self) -> u32 {
        self.0 & 0xff
    }

    /// Says whether the same command would fail again (DNR).
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.0 & DO_NOT_RETRY != 0
    }

    /// Says whether the error log of the controller says more (M).
    #[must_use]
    pub const fn has_more(self) -> bool {
        self.0 & MORE != 0
    }

    /// Says whether the medium lost bytes or took none: write faults, unrecovered reads, and data that does not match its guard.
    #[must_use]
    pub const fn is_medium_error(self) -> bool {
        matches!(self.0 & CODE_MASK, 0x280..=0x284 | 0x288)
    }

    /// Says whether the namespace, or these blocks of it, may not be written.
    #[must_use]
    pub const fn is_write_protected(self) -> bool {
        matches!(self.0 & CODE_MASK, 0x020 | 0x182)
    }

    /// Says whether blocks past the end of the namespace were asked for.
    #[must_use]
    pub const fn is_out_of_range(self) -> bool {
        self.0 & CODE_MASK == 0x080
    }

    /// Says whether blocks were read that were never written, or were deallocated, where the controller makes that an error.
    #[must_use]
    pub const fn is_unwritten(self) -> bool {
        self.0 & CODE_MASK == 0x287
    }

    /// Says whether the controller was not reached, or the command was ended on the way: what it did is not known.
    #[must_use]
    pub const fn is_path_error(self) -> bool {
        self.code_type() == 3
    }

    /// Returns what it means, in words; "unknown" for codes that this table does not have.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self.0 & CODE_MASK {
            0x000 => "success",
            0x001 => "invalid opcode",
            0x002 => "invalid field in the command",
            0x003 => "command identifier in use",
            0x004 => "data transfer error",
            0x005 => "aborted by a loss of power",
            0x006 => "internal error",
            0x007 => "aborted on request",
            0x008 => "aborted with its queue",
            0x009 | 0x00a => "aborted with the command it was fused to",
            0x00b => "invalid namespace or format",
            0x00c => "commands out of sequence",
            0x00d..=0x012 => "invalid scatter gather list",
            0x013 => "invalid offset of a page",
            0x014 => "longer than the atomic write unit",
            0x015 => "operation denied",
            0x016 => "invalid offset in a scatter gather list",
            0x018 => "inconsistent host identifier",
            0x01b => "wrong sanitize state",
            0x01c | 0x01d => "sanitizing",
            0x01e => "invalid granularity of a scatter gather list",
            0x01f => "not supported in the controller memory buffer",
            0x020 => "namespace is write protected",
            0x021 => "interrupted, may be repeated",
            0x022 => "transient transport error",
            0x023 => "prohibited by lockdown",
            0x024 => "admin command while media are not ready",
            0x080 => "blocks past the end of the namespace",
            0x081 => "capacity exceeded",
            0x082 => "namespace not ready",
            0x083 => "reservation conflict",
            0x084 => "format in progress",
            0x085 => "invalid value size",
            0x100 => "invalid completion queue",
            0x101 => "invalid queue identifier",
            0x102 => "invalid queue size",
            0x103 => "too many aborts at a time",
            0x109 => "invalid log page",
            0x10a => "invalid format",
            0x10b..=0x10d => "unsupported or invalid feature",
            0x10e => "feature not of a namespace",
            0x115 => "not enough capacity for the namespace",
            0x116 => "namespace identifier not available",
            0x118 => "namespace attached already",
            0x119 => "namespace is private",
            0x11a => "namespace not attached",
            0x11b => "thin provisioning not supported",
            0x11d => "self test in progress",
            0x11e => "boot partition write prohibited",
            0x11f => "invalid controller identifier",
            0x180 => "conflicting attributes",
            0x181 => "invalid protection information",
            0x182 => "write to a read-only range",
            0x183 => "command size limit exceeded",
            0x280 => "write fault",
            0x281 => "unrecovered read error",
            0x282 => "guard check error",
            0x283 => "application tag check error",
            0x284 => "reference tag check error",
            0x285 => "compare failure",
            0x286 => "access denied",
            0x287 => "deallocated or unwritten block",
            0x288 => "storage tag check error",
            0x300 => "internal path error",
            0x301 => "access lost for good",
            0x302 => "inaccessible",
            0x303 => "access in transition",
            0x360 => "controller path error",
            0x370 => "host path error",
            0x371 => "aborted by the host",
            0x700..=0x7ff => "vendor's own error",
            _ => "unknown error",
        }
    }
}

impl fmt::Display for CommandStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, field, kind, code) = (self.words(), self.field(), self.code_type(), self.code());
        write!(f, "{words} (NVMe status {field:#06x}: type {kind:x}h, code {code:02x}h")?;
        if self.is_final() {
            f.write_str(", a retry is in vain")?;
        }
        if self.has_more() {
            f.write_str(", the error log says more")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: u32) -> CommandStatus {
        CommandStatus::from_status(Status::Device(field)).unwrap()
    }

    #[test]
    fn a_field_is_taken_apart() {
        let read = of(0x6281);
        assert_eq!((read.code_type(), read.code(), read.is_final(), read.has_more()), (2, 0x81, true, true));
        assert!(read.is_medium_error() && !read.is_write_protected() && !read.is_path_error());
        assert_eq!(
            read.to_string(),
            "unrecovered read error (NVMe status 0x6281: type 2h, code 81h, a retry is in vain, the error log says more)"
        );
        assert_eq!(
            of(0x0080).to_string(),
            "blocks past the end of the namespace (NVMe status 0x0080: type 0h, code 80h)"
        );
        assert_eq!(of(0x4abc).words(), "unknown error");
        // Whether retries are in vain is no part of what happened; nor is the delay.
        for flags in [0, 0x1800, 0x2000, 0x4000, 0x7800] {
            assert!(of(0x080 | flags).is_out_of_range());
            assert!(of(0x020 | flags).is_write_protected() && of(0x182 | flags).is_write_protected());
            assert!(of(0x371 | flags).is_path_error() && of(0x287 | flags).is_unwritten());
            assert!(!of(0x285 | flags).is_medium_error() && !of(0x286 | flags).is_medium_error());
        }
        assert_eq!(CommandStatus::from_status(Status::Errno(5)), None);
    }
}
