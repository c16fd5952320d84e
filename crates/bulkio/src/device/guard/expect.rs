//! What the caller knows of the destination disk, held against what is there: its serial number, its size.
//!
//! Names of disks change from boot to boot; these do not. Contract: nothing is guessed: a destination that has no serial number or no
//! fixed size is refused where one is expected, and so is one that says another. The refusal names what was found.

use std::fmt;
use std::os::fd::AsFd as _;

use super::Identity;
use super::refusal::Refusal;
use crate::device::Device;

/// The longest serial number that can be expected: what the pages of SCSI hold at most (SPC-4, "PAGE LENGTH" of page 80h).
pub const SERIAL_LEN_MAX: usize = 255;

/// A serial number, without blanks around it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Serial {
    bytes: [u8; SERIAL_LEN_MAX],
    len: usize,
}

impl Serial {
    /// Takes a serial number; `None` where nothing is left without the blanks around it, or it is longer than
    /// [`SERIAL_LEN_MAX`] bytes.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim().as_bytes();
        let mut bytes = [0; SERIAL_LEN_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        (!text.is_empty()).then_some(Self { bytes, len: text.len() })
    }

    /// Returns it as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the destination disk must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expectations {
    /// One of its serial numbers or world-wide names, exactly.
    pub serial: Option<Serial>,
    /// Its capacity in bytes, exactly.
    pub size: Option<u64>,
}

impl Expectations {
    /// Says whether nothing is expected.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.serial.is_none() && self.size.is_none()
    }

    /// Holds a destination against what is expected of it.
    ///
    /// # Errors
    /// [`Refusal::NotAsExpected`], with what was found.
    pub fn check(&self, device: &dyn Device) -> Result<(), Refusal> {
        if self.is_empty() {
            return Ok(());
        }
        let is_disk = device.class().is_disk();
        let identity =
            if is_disk { Identity::of(device.routes().buffered().as_fd()) } else { Identity::default() };
        let size = device.len_bytes().filter(|_| is_disk);
        self.compare(&identity, size).map_err(|(what, expected, found)| Refusal::NotAsExpected {
            path: device.path().to_owned(),
            what,
            expected,
            found,
        })
    }

    /// Refuses a destination that is no disk, where anything is expected.
    ///
    /// # Errors
    /// [`Refusal::NotAsExpected`].
    pub(crate) fn check_no_disk(&self, path: &std::path::Path) -> Result<(), Refusal> {
        self.compare(&Identity::default(), None).map_err(|(what, expected, found)| Refusal::NotAsExpected {
            path: path.to_owned(),
            what,
            expected,
            found,
        })
    }

    /// Says what differs first: its name, what is expected, what was found.
    fn compare(&self, identity: &Identity, size: Option<u64>) -> Result<(), (&'static str, String, String)> {
        if let Some(serial) = self.serial
            && !identity.serials.iter().any(|found| found.trim() == serial.as_str())
        {
            let found = match identity.serials.as_slice() {
                [] => "none".to_owned(),
                found => found.join(" or "),
            };
            return Err(("serial number", serial.to_string(), found));
        }
        if let Some(expected) = self.size
            && size != Some(expected)
        {
            let found = size.map_or_else(|| "none that is fixed".to_owned(), |size| format!("{size} bytes"));
            return Err(("size", format!("{expected} bytes"), found));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(serials: &[&str]) -> Identity {
        Identity { model: None, serials: serials.iter().map(|&serial| serial.to_owned()).collect() }
    }

    #[test]
    fn serial_numbers_are_trimmed_and_bounded() {
        assert_eq!(Serial::new("  S1 2 ").map(|serial| serial.to_string()), Some("S1 2".to_owned()));
        assert_eq!((Serial::new(" "), Serial::new(&"x".repeat(SERIAL_LEN_MAX + 1))), (None, None));
        assert!(Serial::new(&"x".repeat(SERIAL_LEN_MAX)).is_some());
    }

    #[test]
    fn what_differs_is_named_with_what_was_found() {
        let wants = Expectations { serial: Serial::new("S1"), size: Some(512) };
        assert_eq!(wants.compare(&identity(&["naa.5", "S1 "]), Some(512)), Ok(()));
        let differs = |identity: &Identity, size| wants.compare(identity, size).unwrap_err();
        let text = str::to_owned;
        assert_eq!(
            differs(&identity(&["S2", "naa.5"]), Some(512)),
            ("serial number", text("S1"), text("S2 or naa.5"))
        );
        // Case and length count.
        assert_eq!(differs(&identity(&["s1"]), None).2, "s1");
        assert_eq!(differs(&identity(&["S10"]), None).2, "S10");
        assert_eq!(differs(&identity(&[]), Some(512)), ("serial number", text("S1"), text("none")));
        assert_eq!(differs(&identity(&["S1"]), Some(1024)), ("size", text("512 bytes"), text("1024 bytes")));
        assert_eq!(
            differs(&identity(&["S1"]), None),
            ("size", text("512 bytes"), text("none that is fixed"))
        );
        assert_eq!(Expectations::default().compare(&identity(&[]), None), Ok(()));
    }
}
