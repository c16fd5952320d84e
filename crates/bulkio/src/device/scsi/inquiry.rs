//! [`Inquiry`]: what a unit says it is; its serial number and world-wide name. SPC-4: INQUIRY and the vital product data.
//!
//! The parsers take any bytes; what is missing is `None`.

use std::fmt;
use std::time::Duration;

use super::cdb::Cdb;
use super::control::ask;
use super::error::CommandError;
use super::transport::Transport;

/// Bytes of standard INQUIRY data that are asked for: the least that a device must have (SPC-4, "Standard INQUIRY data").
const INQUIRY_BYTES: u8 = 36;

/// Most bytes of a page that are asked for: one byte holds it, so that devices answer that know only the old form of the field.
const VPD_BYTES: u8 = 252;

/// A page of vital product data (SPC-4, "Vital product data parameters"; SBC-3 for block limits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vpd(pub u8);

impl Vpd {
    /// Which pages there are.
    pub const SUPPORTED: Self = Self(0x00);
    /// Unit serial number.
    pub const SERIAL: Self = Self(0x80);
    /// Device identification.
    pub const IDENTIFICATION: Self = Self(0x83);
    /// Block limits.
    pub const BLOCK_LIMITS: Self = Self(0xb0);

    /// Asks for the page, and returns what follows its header of four bytes.
    ///
    /// # Errors
    /// [`CommandError`]; [`CommandError::Short`] also where the answer is about another page.
    pub fn ask(self, transport: &dyn Transport, timeout: Duration) -> Result<Vec<u8>, CommandError> {
        let mut bytes = [0; VPD_BYTES as usize];
        let cdb = Cdb::inquiry_vpd(self.0, VPD_BYTES.into());
        let came = ask(transport, &cdb, &mut bytes, 4, timeout)?;
        let short = CommandError::Short { command: cdb.name(), bytes: 0, need: 4 };
        let [_, page, high, low, rest @ ..] = bytes.get(..came).unwrap_or(&[]) else { return Err(short) };
        if *page != self.0 {
            return Err(short);
        }
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        Ok(rest.get(..len).unwrap_or(rest).to_vec())
    }
}

/// What kind of device it is: SPC-4, table "Peripheral device type".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PeripheralType(pub u8);

impl PeripheralType {
    /// A disk.
    pub const DISK: Self = Self(0x00);
    /// A tape drive.
    pub const TAPE: Self = Self(0x01);
    /// A disk that is written once.
    pub const WRITE_ONCE: Self = Self(0x04);
    /// A CD or DVD.
    pub const CD: Self = Self(0x05);
    /// An optical disk.
    pub const OPTICAL: Self = Self(0x07);
    /// A disk with reduced commands.
    pub const REDUCED_DISK: Self = Self(0x0e);
    /// A disk whose zones the host manages.
    pub const ZONED: Self = Self(0x14);

    /// Says whether it is read and written by blocks at addresses.
    #[must_use]
    pub const fn is_disk(self) -> bool {
        matches!(self, Self::DISK | Self::WRITE_ONCE | Self::CD | Self::OPTICAL | Self::REDUCED_DISK)
    }
}

impl fmt::Display for PeripheralType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::DISK => "a disk",
            Self::TAPE => "a tape drive",
            Self(0x02) => "a printer",
            Self(0x03) => "a processor",
            Self::WRITE_ONCE => "a disk that is written once",
            Self::CD => "a CD or DVD",
            Self::OPTICAL => "an optical disk",
            Self(0x08) => "a medium changer",
            Self(0x0c) => "a controller of disk arrays",
            Self(0x0d) => "an enclosure",
            Self::REDUCED_DISK => "a disk with reduced commands",
            Self::ZONED => "a disk whose zones the host manages",
            Self(0x1e) => "a well-known logical unit",
            Self(0x1f) => "no device",
            Self(_) => "a device of an unknown type",
        };
        write!(f, "{name} (type {:#04x})", self.0)
    }
}

/// Standard INQUIRY data.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Inquiry {
    /// What kind of device it is.
    pub kind: PeripheralType,
    /// Whether the unit is there: the peripheral qualifier is 0.
    pub is_connected: bool,
    /// Whether the medium can be taken out.
    pub is_removable: bool,
    /// Which standard it follows: 5 is SPC-3, 6 is SPC-4.
    pub version: u8,
    /// Whether it can protect its blocks by checksums.
    pub can_protect: bool,
    /// The vendor's name.
    pub vendor: String,
    /// The product's name.
    pub product: String,
    /// The product's revision.
    pub revision: String,
}

impl Inquiry {
    /// Asks a device what it is.
    ///
    /// # Errors
    /// [`CommandError`].
    pub fn ask(transport: &dyn Transport, timeout: Duration) -> Result<Self, CommandError> {
        let mut bytes = [0; INQUIRY_BYTES as usize];
        let cdb = Cdb::inquiry(INQUIRY_BYTES.into());
        let came = ask(transport, &cdb, &mut bytes, 5, timeout)?;
        let short = CommandError::Short { command: cdb.name(), bytes: came, need: 5 };
        Self::parse(bytes.get(..came).unwrap_or(&[])).ok_or(short)
    }

    /// Decodes standard INQUIRY data (SPC-4, "Standard INQUIRY data"); `None` where not even its fixed start is there.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, removable, version, _, _, rest @ ..] = bytes else { return None };
        Some(Self {
            kind: PeripheralType(first & 0x1f),
            is_connected: first >> 5 == 0,
            is_removable: removable & 0x80 != 0,
            version: *version,
            can_protect: rest.first().is_some_and(|flags| flags & 0x01 != 0),
            vendor: text(bytes.get(8..16)),
            product: text(bytes.get(16..32)),
            revision: text(bytes.get(32..36)),
        })
    }
}

/// Returns the serial number in the data of page 80h; `None` for one of blanks.
#[must_use]
pub fn serial_of(page: &[u8]) -> Option<String> {
    Some(text(Some(page))).filter(|serial| !serial.is_empty())
}

/// Returns the unit's own world-wide name in the data of page 83h, in the form of udev: `naa.5000...`, `eui....`; an identifier in words
/// where there is no such number. SPC-4, "Device Identification VPD page".
#[must_use]
pub fn wwid_of(page: &[u8]) -> Option<String> {
    let mut best: Option<(u8, String)> = None;
    let mut rest = page;
    while let [code_set, kind, _, len, ..] = rest {
        let end = usize::from(*len).saturating_add(4);
        let id = rest.get(4..end).unwrap_or(&[]);
        rest = rest.get(end..).unwrap_or(&[]);
        // Association 0: the name of the unit, not of its port or target.
        if kind & 0x30 != 0 || id.is_empty() {
            continue;
        }
        let hex = || id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let found = match (kind & 0x0f, code_set & 0x0f) {
            (3, 1) => (3, format!("naa.{}", hex())),
            (2, 1) => (2, format!("eui.{}", hex())),
            (1, 2 | 3) => (1, format!("t10.{}", text(Some(id)))),
            _ => continue,
        };
        if best.as_ref().is_none_or(|best| best.0 < found.0) {
            best = Some(found);
        }
    }
    best.map(|(_, name)| name)
}

/// Reads ASCII, padded with blanks; anything else becomes a dot.
fn text(bytes: Option<&[u8]>) -> String {
    let printable = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    let all: String = bytes.unwrap_or(&[]).iter().map(printable).collect();
    all.trim_matches([' ', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn standard_data_is_read() {
        let mut bytes = vec![0x05, 0x80, 0x06, 0x02, 31, 0x01, 0, 0];
        bytes.extend(b"Linux   scsi_debug      0191");
        let inquiry = Inquiry::parse(&bytes).unwrap();
        let names = [&*inquiry.vendor, &*inquiry.product, &*inquiry.revision];
        assert_eq!(names, ["Linux", "scsi_debug", "0191"]);
        assert_eq!((inquiry.kind, inquiry.is_removable, inquiry.version), (PeripheralType::CD, true, 6));
        assert!(inquiry.is_connected && inquiry.can_protect && inquiry.kind.is_disk());
        assert_eq!(Inquiry::parse(&bytes[..4]), None);
        // Cut off: names that are not there are empty.
        assert_eq!(Inquiry::parse(&bytes[..20]).unwrap().product, "");
    }

    #[test]
    fn names_are_found() {
        assert_eq!(serial_of(b"  S123  "), Some("S123".to_owned()));
        assert_eq!(serial_of(b"    "), None);
        // A target's name first, then the unit's in words, then its number.
        let mut page = vec![1, 0x13, 0, 2, 9, 9, 2, 0x01, 0, 4];
        page.extend(b"abcd");
        page.extend([1, 0x03, 0, 8, 0x50, 0, 0, 0, 0, 0, 0, 0x2a]);
        assert_eq!(wwid_of(&page), Some("naa.500000000000002a".to_owned()));
        assert_eq!(wwid_of(&page[..14]), Some("t10.abcd".to_owned()));
        assert_eq!(wwid_of(&page[..6]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = (Inquiry::parse(&bytes), serial_of(&bytes), wwid_of(&bytes));
        }
    }
}
