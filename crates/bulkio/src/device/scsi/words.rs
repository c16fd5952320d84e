//! Words for the codes of sense data that people meet: SPC-4, table "ASC and ASCQ assignments". The numbers are always said too.

use std::fmt;

use super::SenseKey;

/// Writes a fault as `medium error: unrecovered read error (sense 3/11/00)`.
pub(super) fn sense(
    f: &mut fmt::Formatter<'_>,
    key: SenseKey,
    asc: u8,
    ascq: u8,
    deferred: bool,
) -> fmt::Result {
    if deferred {
        f.write_str("of an earlier command: ")?;
    }
    write!(f, "{key}")?;
    if let Some(words) = additional(asc, ascq) {
        write!(f, ": {words}")?;
    }
    write!(f, " (sense {:x}/{asc:02x}/{ascq:02x})", key.number())
}

/// Returns words for an additional sense code and its qualifier.
const fn additional(asc: u8, ascq: u8) -> Option<&'static str> {
    Some(match (asc, ascq) {
        (0x00, 0x01) => "filemark detected",
        (0x00, 0x02) => "end of partition or medium detected",
        (0x00, 0x04) => "beginning of partition or medium detected",
        (0x00, 0x05) => "end of data detected",
        (0x02, 0x00) => "no seek complete",
        (0x03, 0x00) => "write fault of the device",
        (0x04, 0x00) => "the unit is not ready, for no stated reason",
        (0x04, 0x01) => "the unit is becoming ready",
        (0x04, 0x02) => "the unit must be started first",
        (0x04, 0x03) => "the unit is not ready, somebody must see to it",
        (0x04, 0x04) => "the unit is being formatted",
        (0x04, 0x0c) => "the unit cannot be reached by this port",
        (0x08, 0x00) => "the unit does not communicate",
        (0x08, 0x01) => "the unit answers too late",
        (0x0b, 0x00) => "warning",
        (0x0b, 0x01) => "warning: too hot",
        (0x0c, 0x00) => "write error",
        (0x0c, 0x02) => "write error, and no block to put in its place",
        (0x0c, 0x03) => "write error, the block should be replaced",
        (0x10, 0x00) => "check of identifier or checksum failed",
        (0x10, 0x01) => "guard check failed",
        (0x10, 0x02) => "application tag check failed",
        (0x10, 0x03) => "reference tag check failed",
        (0x11, 0x00) => "unrecovered read error",
        (0x11, 0x01) => "read retries exhausted",
        (0x11, 0x04) => "unrecovered read error, the block should be replaced",
        (0x11, 0x0b) => "unrecovered read error, the block should be rewritten",
        (0x14, 0x00) => "recorded entity not found",
        (0x14, 0x01) => "record not found",
        (0x14, 0x03) => "end of data not found",
        (0x15, 0x01) => "mechanical positioning error",
        (0x17, 0x01) => "recovered with retries",
        (0x18, 0x00) => "recovered with error correction",
        (0x1a, 0x00) => "parameter list of a wrong length",
        (0x20, 0x00) => "the device does not know the command",
        (0x21, 0x00) => "the block address is past the end",
        (0x21, 0x01) => "invalid element address",
        (0x24, 0x00) => "invalid field in the command",
        (0x25, 0x00) => "no such logical unit",
        (0x26, 0x00) => "invalid field in the parameters",
        (0x27, 0x00) => "write-protected",
        (0x27, 0x01) => "write-protected by hardware",
        (0x27, 0x02) => "write-protected by software",
        (0x27, 0x07) => "no space left in a thin pool",
        (0x28, 0x00) => "the medium may have been changed",
        (0x29, 0x00) => "power on or reset occurred",
        (0x29, 0x01) => "power on occurred",
        (0x29, 0x02) => "bus reset occurred",
        (0x29, 0x03) => "device reset occurred",
        (0x29, 0x04) => "the device reset itself",
        (0x29, 0x07) => "the nexus was lost",
        (0x2a, 0x01) => "mode parameters changed",
        (0x2a, 0x03) => "reservations preempted",
        (0x2a, 0x09) => "the capacity changed",
        (0x30, 0x00) => "medium of a kind that the device does not know",
        (0x31, 0x00) => "the medium is not formatted, or its format is broken",
        (0x3a, 0x00) => "no medium",
        (0x3a, 0x01) => "no medium, the tray is closed",
        (0x3a, 0x02) => "no medium, the tray is open",
        (0x3e, 0x01) => "logical unit failure",
        (0x3e, 0x03) => "self-test failed",
        (0x3f, 0x01) => "the microcode was changed",
        (0x3f, 0x0e) => "the list of logical units changed",
        (0x44, 0x00) => "internal failure of the target",
        (0x47, 0x00) => "parity error",
        (0x47, 0x01) => "parity error of data",
        (0x48, 0x00) => "the initiator detected an error",
        (0x4b, 0x00) => "error in the data phase",
        (0x4e, 0x00) => "overlapped commands attempted",
        (0x50, 0x00) => "append error",
        (0x53, 0x02) => "removal of the medium is prevented",
        (0x55, 0x03) => "insufficient resources",
        (0x5d, 0x00) => "failure predicted",
        (0x64, 0x00) => "the track cannot be read this way",
        (0x74, 0x71) => "no right to access the unit",
        _ => return None,
    })
}
