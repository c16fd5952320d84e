//! Bytes to look at: a disk, or a part of one.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

/// Something with bytes at positions.
pub(super) trait Bytes {
    /// How many there are.
    fn len(&self) -> u64;

    /// Reads up to `len` bytes from `at` on; fewer where they end.
    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, Errno>;
}

/// An open disk of `len` bytes.
pub(super) struct Disk<'a> {
    pub(super) fd: BorrowedFd<'a>,
    pub(super) len: u64,
}

impl Bytes for Disk<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let len = len.min(self.len.saturating_sub(at));
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let position = at.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
            match rustix::io::pread(self.fd, rest, position) {
                Ok(0) => break,
                Ok(now) => done = done.saturating_add(now),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }
}

/// A part of a disk.
pub(super) struct Window<'a> {
    pub(super) disk: &'a dyn Bytes,
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Bytes for Window<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let len = len.min(self.len.saturating_sub(at));
        self.disk.read(self.start.saturating_add(at), len)
    }
}

/// Returns `len` bytes from `at` on; `None` where they are not all there.
pub(super) fn slice(bytes: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    bytes.get(at..at.checked_add(len)?)
}

/// Returns a number of `N` bytes.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    slice(bytes, at, N)?.try_into().ok()
}

pub(super) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The longest label that is shown, in characters.
const LABEL_MAX: usize = 64;

/// Makes text of a label: up to the first zero, without blanks around it; `None` where nothing is left. What could steer a terminal
/// is replaced: the disk is a stranger's.
fn label_of(text: &str) -> Option<String> {
    let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let text = text.split('\0').next().unwrap_or_default().trim();
    (!text.is_empty()).then(|| text.chars().map(plain).take(LABEL_MAX).collect())
}

/// A label of bytes.
pub(super) fn label(bytes: &[u8], at: usize, len: usize) -> Option<String> {
    label_of(&String::from_utf8_lossy(slice(bytes, at, len)?))
}

/// A label of UTF-16, little-endian, of `units` units.
pub(super) fn label_utf16(bytes: &[u8], at: usize, units: usize) -> Option<String> {
    let bytes = slice(bytes, at, units.checked_mul(2)?)?;
    let units: Vec<u16> = bytes.as_chunks().0.iter().copied().map(u16::from_le_bytes).collect();
    label_of(&String::from_utf16_lossy(&units))
}
