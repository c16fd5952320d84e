//! [`Transport`]: carries one command to a device and brings back its [`Answer`].
//!
//! The contract is about memory: the pieces of an [`Exchange`] are plain addresses that the device reads or writes while the command runs,
//! and never afterwards. Real transports are in [`door`](super::door).
#![expect(unsafe_code, reason = "the trait's promise is about raw memory")]

use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

use super::cdb::Cdb;
use super::sense::{Sense, SenseKey};
use super::status::{HostStatus, SamStatus, ScsiStatus};

/// Most bytes of sense data that are asked for: what the kernel keeps, `SCSI_SENSE_BUFFERSIZE` of `include/scsi/scsi_cmnd.h`.
pub const SENSE_BYTES_MAX: usize = 96;

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DataDirection {
    /// The command has no data.
    None,
    /// From the device to memory.
    FromDevice,
    /// From memory to the device.
    ToDevice,
}

/// A command with its data.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The command.
    pub cdb: &'a Cdb,
    /// Which way the data goes.
    pub direction: DataDirection,
    /// The memory, in order; none where there is no data. Plain addresses.
    pub pieces: &'a [libc::iovec],
    /// The bytes of all pieces.
    pub bytes: u32,
    /// How long the command may take, before the kernel aborts it. Milliseconds count; 0 stands for the kernel's own default.
    pub timeout: Duration,
}

/// Whether the device reached the memory itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Moved {
    /// There was no data.
    Nothing,
    /// The device read or wrote the memory of the exchange.
    Direct,
    /// The kernel copied all of it.
    Copied,
}

impl Moved {
    /// Returns what became of the data of an exchange.
    #[must_use]
    pub const fn of(bytes: u32, direct: bool) -> Self {
        match (bytes, direct) {
            (0, _) => Self::Nothing,
            (_, true) => Self::Direct,
            (_, false) => Self::Copied,
        }
    }
}

/// Sense data as it came, at most [`SENSE_BYTES_MAX`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SenseBytes {
    bytes: [u8; SENSE_BYTES_MAX],
    len: u8,
}

impl SenseBytes {
    /// No sense data.
    pub const NONE: Self = Self { bytes: [0; SENSE_BYTES_MAX], len: 0 };

    /// Takes sense data; what is past the longest is left out.
    #[must_use]
    pub fn new(sense: &[u8]) -> Self {
        let mut taken = Self::NONE;
        let len = sense.len().min(SENSE_BYTES_MAX);
        for (to, from) in taken.bytes.iter_mut().zip(sense) {
            *to = *from;
        }
        taken.len = u8::try_from(len).unwrap_or(0);
        taken
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl fmt::Debug for SenseBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenseBytes({:02x?})", self.as_bytes())
    }
}

/// What came back from a command that reached the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The device's status byte.
    pub status: SamStatus,
    /// The host adapter's word.
    pub host: HostStatus,
    /// The driver's, which only kernels before 5.14 have.
    pub driver: u8,
    /// Bytes of the exchange that were not moved.
    pub residual_bytes: u32,
    /// Sense data.
    pub sense: SenseBytes,
    /// Whether the device reached the memory itself.
    pub moved: Moved,
}

impl Answer {
    /// The answer to a command that did all that it should.
    pub const GOOD: Self = Self {
        status: SamStatus::GOOD,
        host: HostStatus::OK,
        driver: 0,
        residual_bytes: 0,
        sense: SenseBytes::NONE,
        moved: Moved::Nothing,
    };

    /// Returns the sense data, decoded.
    #[must_use]
    pub fn sense(&self) -> Option<Sense> {
        Sense::parse(self.sense.as_bytes())
    }

    /// Returns how the command failed; `None` where it worked. An error that the device recovered from is none, and sense data without
    /// a fault (the bits of a tape) is none: look at [`sense`](Self::sense).
    #[must_use]
    pub fn fault(&self) -> Option<ScsiStatus> {
        // The device's own word is the most exact. Older kernels set the host byte beside it.
        let checked = self.status == SamStatus::CHECK_CONDITION;
        let sense = if checked { self.sense() } else { None };
        let harmless = |key| matches!(key, SenseKey::NoSense | SenseKey::Recovered | SenseKey::Completed);
        if let Some(sense) = sense.filter(|sense| sense.deferred || !harmless(sense.key)) {
            return Some(ScsiStatus::from(&sense));
        }
        if self.host != HostStatus::OK {
            return Some(ScsiStatus::Host(self.host));
        }
        if sense.is_none() && !matches!(self.status, SamStatus::GOOD | SamStatus::CONDITION_MET) {
            return Some(ScsiStatus::Status(self.status));
        }
        // The low half is the driver's; 8 says that there is sense data (`DRIVER_SENSE`).
        let driver = self.driver & 0x0f;
        (driver != 0 && driver != 0x08).then_some(ScsiStatus::Driver(driver))
    }
}

/// Carries commands to one device. Called by many threads at once.
///
/// # Safety
/// [`send`](Self::send) makes the device read (to the device) or write (from the device) the pieces of the exchange, and nothing else in
/// memory that it was not given; and nothing of it once `send` has returned.
pub unsafe trait Transport: fmt::Debug + Send + Sync {
    /// Sends a command and waits until it is over.
    ///
    /// # Safety
    /// The pieces are valid, for writes where the data comes from the device, and accessed by nobody else, until this returns.
    ///
    /// # Errors
    /// The kernel's error number, where the command did not reach the device.
    unsafe fn send(&self, exchange: &Exchange<'_>) -> Result<Answer, Errno>;
}

/// Sends a command whose data comes into `bytes`.
pub(super) fn receive(
    transport: &dyn Transport,
    cdb: &Cdb,
    bytes: &mut [u8],
    timeout: Duration,
) -> Result<Answer, Errno> {
    let len = u32::try_from(bytes.len()).map_err(|_| Errno::INVAL)?;
    let piece = [libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
    let (direction, pieces) =
        if len == 0 { (DataDirection::None, &[][..]) } else { (DataDirection::FromDevice, &piece[..]) };
    let exchange = Exchange { cdb, direction, pieces, bytes: len, timeout };
    // SAFETY: the piece is the slice, which is borrowed mutably until this returns.
    unsafe { transport.send(&exchange) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: SamStatus, host: HostStatus, driver: u8, sense: &[u8]) -> Answer {
        Answer { status, host, driver, sense: SenseBytes::new(sense), ..Answer::GOOD }
    }

    #[test]
    fn the_most_exact_word_is_taken() {
        let (good, check) = (SamStatus::GOOD, SamStatus::CHECK_CONDITION);
        let medium: &[u8] = &[0x72, 3, 0x11, 0, 0, 0, 0, 0];
        let sense = |key, asc| ScsiStatus::Sense { key, asc, ascq: 0, deferred: false };
        let cases = [
            (answer(good, HostStatus::OK, 0, &[]), None),
            (answer(SamStatus::CONDITION_MET, HostStatus::OK, 0, &[]), None),
            (answer(check, HostStatus::OK, 8, medium), Some(sense(SenseKey::Medium, 0x11))),
            (answer(check, HostStatus::MEDIUM_ERROR, 8, medium), Some(sense(SenseKey::Medium, 0x11))),
            // Recovered, and the bits of a tape: no fault.
            (answer(check, HostStatus::OK, 8, &[0x72, 1, 0x18, 0, 0, 0, 0, 0]), None),
            (answer(check, HostStatus::OK, 8, &[0x70, 0, 0x80, 0, 0, 0, 0, 10]), None),
            (answer(check, HostStatus::OK, 0, &[]), Some(ScsiStatus::Status(check))),
            (answer(good, HostStatus::TIME_OUT, 0, &[]), Some(ScsiStatus::Host(HostStatus::TIME_OUT))),
            (answer(SamStatus::BUSY, HostStatus::OK, 0, &[]), Some(ScsiStatus::Status(SamStatus::BUSY))),
            (answer(good, HostStatus::OK, 6, &[]), Some(ScsiStatus::Driver(6))),
        ];
        for (answer, fault) in cases {
            assert_eq!(answer.fault(), fault, "{answer:?}");
        }
        // A deferred error is a fault whatever its key: an earlier write may be lost.
        let deferred = answer(check, HostStatus::OK, 8, &[0x73, 1, 0x18, 0, 0, 0, 0, 0]);
        assert!(deferred.fault().is_some());
    }

    #[test]
    fn sense_bytes_keep_what_fits() {
        let long = [7_u8; 300];
        assert_eq!(SenseBytes::new(&long).as_bytes(), &long[..SENSE_BYTES_MAX]);
        assert_eq!(SenseBytes::NONE.as_bytes(), &[]);
    }
}
