//! [`DeviceStatus`]: what a completion says of its command.
//!
//! In a fault of a request it stands as [`Status::Device`] with this packing: bits 7:0 the status code (SC), bits 10:8 the
//! status code type (SCT), bit 14 "do not retry" (DNR), as in the status field itself (NVM Express Base Specification 2.0,
//! section 3.3.3.2.1); the bits for a retry delay (CRD) and for more information (M) are left out.

use core::fmt;

use scatterlist::Status;

const CODE_MASK: u32 = 0x7ff;
const DO_NOT_RETRY: u32 = 1 << 14;

/// The status of a command that the controller completed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DeviceStatus(u32);

impl DeviceStatus {
    /// Takes the 15 bits of the status field, without the phase bit.
    pub(crate) const fn from_field(field: u16) -> Self {
        #[expect(clippy::as_conversions, reason = "16 bits widened to 32")]
        Self(field as u32 & (CODE_MASK | DO_NOT_RETRY))
    }

    /// Takes a fault's status apart; `None` where it is not of a device.
    #[must_use]
    pub const fn from_status(status: Status) -> Option<Self> {
        match status {
            Status::Device(packed) => Some(Self(packed & (CODE_MASK | DO_NOT_RETRY))),
            _ => None,
        }
    }

    /// Returns the packing that faults of requests carry.
    #[must_use]
    pub const fn packed(self) -> u32 {
        self.0
    }

    /// Says whether the command did what it was told.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.0 & CODE_MASK == 0
    }

    /// Returns the status code type (SCT).
    #[must_use]
    pub const fn code_type(self) -> u32 {
        (self.0 & CODE_MASK).wrapping_shr(8)
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

    /// Returns what the status means.
    #[must_use]
    pub const fn meaning(self) -> Meaning {
        match self.0 & CODE_MASK {
            0x000 => Meaning::Success,
            0x001 => Meaning::InvalidOpcode,
            0x002 => Meaning::InvalidField,
            0x003 => Meaning::CommandIdConflict,
            0x004 => Meaning::DataTransferError,
            0x005 => Meaning::PowerLoss,
            0x006 => Meaning::InternalError,
            0x007 => Meaning::Aborted,
            0x008 => Meaning::QueueDeleted,
            0x00b => Meaning::InvalidNamespace,
            0x00d..=0x011 => Meaning::InvalidSgl,
            0x013 => Meaning::InvalidPrpOffset,
            0x020 => Meaning::WriteProtected,
            0x021 => Meaning::CommandInterrupted,
            0x080 => Meaning::OutOfRange,
            0x081 => Meaning::CapacityExceeded,
            0x082 => Meaning::NamespaceNotReady,
            0x084 => Meaning::FormatInProgress,
            0x100 => Meaning::CompletionQueueInvalid,
            0x101 => Meaning::QueueIdInvalid,
            0x102 => Meaning::QueueSizeInvalid,
            0x103 => Meaning::AbortLimitExceeded,
            0x182 => Meaning::ReadOnlyRange,
            0x280 => Meaning::WriteFault,
            0x281 => Meaning::UnrecoveredRead,
            0x282 => Meaning::GuardCheck,
            0x285 => Meaning::CompareFailure,
            0x286 => Meaning::AccessDenied,
            0x287 => Meaning::Deallocated,
            0x300..=0x3ff => Meaning::Path,
            _ => Meaning::Other,
        }
    }
}

impl fmt::Display for DeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(packed) = self;
        write!(
            f,
            "{} (NVMe status {packed:#x}{})",
            self.meaning(),
            if self.is_final() { ", final" } else { "" }
        )
    }
}

/// What a status means: Base specification, figures of section 3.3.3.2.1, and the codes of the NVM command set,
/// NVM Command Set Specification 1.0, section 3.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Meaning {
    /// 00h/00h.
    Success,
    /// 00h/01h.
    InvalidOpcode,
    /// 00h/02h.
    InvalidField,
    /// 00h/03h.
    CommandIdConflict,
    /// 00h/04h.
    DataTransferError,
    /// 00h/05h.
    PowerLoss,
    /// 00h/06h.
    InternalError,
    /// 00h/07h: by an abort command.
    Aborted,
    /// 00h/08h: its queue was deleted.
    QueueDeleted,
    /// 00h/0Bh.
    InvalidNamespace,
    /// 00h/0Dh to 11h.
    InvalidSgl,
    /// 00h/13h.
    InvalidPrpOffset,
    /// 00h/20h.
    WriteProtected,
    /// 00h/21h.
    CommandInterrupted,
    /// 00h/80h: blocks past the end.
    OutOfRange,
    /// 00h/81h.
    CapacityExceeded,
    /// 00h/82h.
    NamespaceNotReady,
    /// 00h/84h.
    FormatInProgress,
    /// 01h/00h.
    CompletionQueueInvalid,
    /// 01h/01h.
    QueueIdInvalid,
    /// 01h/02h.
    QueueSizeInvalid,
    /// 01h/03h.
    AbortLimitExceeded,
    /// 01h/82h.
    ReadOnlyRange,
    /// 02h/80h.
    WriteFault,
    /// 02h/81h.
    UnrecoveredRead,
    /// 02h/82h.
    GuardCheck,
    /// 02h/85h.
    CompareFailure,
    /// 02h/86h.
    AccessDenied,
    /// 02h/87h: a read of blocks that are deallocated.
    Deallocated,
    /// 03h: on the way to the controller.
    Path,
    /// Another one; its numbers say more.
    Other,
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Success => "success",
            Self::InvalidOpcode => "invalid opcode",
            Self::InvalidField => "invalid field",
            Self::CommandIdConflict => "command identifier in use",
            Self::DataTransferError => "data transfer error",
            Self::PowerLoss => "aborted by a loss of power",
            Self::InternalError => "internal error",
            Self::Aborted => "aborted",
            Self::QueueDeleted => "aborted with its queue",
            Self::InvalidNamespace => "invalid namespace or format",
            Self::InvalidSgl => "invalid scatter gather list",
            Self::InvalidPrpOffset => "invalid page offset",
            Self::WriteProtected => "write protected",
            Self::CommandInterrupted => "interrupted",
            Self::OutOfRange => "blocks out of range",
            Self::CapacityExceeded => "capacity exceeded",
            Self::NamespaceNotReady => "namespace not ready",
            Self::FormatInProgress => "format in progress",
            Self::CompletionQueueInvalid => "invalid completion queue",
            Self::QueueIdInvalid => "invalid queue identifier",
            Self::QueueSizeInvalid => "invalid queue size",
            Self::AbortLimitExceeded => "too many aborts at a time",
            Self::ReadOnlyRange => "write to a read-only range",
            Self::WriteFault => "write fault",
            Self::UnrecoveredRead => "unrecovered read error",
            Self::GuardCheck => "guard check error",
            Self::CompareFailure => "compare failure",
            Self::AccessDenied => "access denied",
            Self::Deallocated => "deallocated or unwritten block",
            Self::Path => "path error",
            Self::Other => "error",
        })
    }
}
