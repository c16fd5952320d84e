//! [`Zeroer`]: makes ranges of a destination zeros without moving bytes, by the best way that it has.
//!
//! A file keeps a hole where it ends, and gets one punched where it has bytes. A disk is asked to unmap, then to have zeros written by itself or by the
//! kernel. What fails once is not tried again: the caller reads and writes the range as any other, and finds the error there if
//! there is one.

use super::SparseReport;
use crate::device::{Class, Device, PrepareError, Zeroing};

/// The most that one call zeroes, in bytes: a stop is heard between two.
pub(super) const STEP_LEN: u64 = 64 << 20;

/// The same where zeros are written, perhaps to a slow disk.
const WRITE_STEP_LEN: u64 = 8 << 20;

/// How a destination takes zeros.
#[derive(Clone, Debug)]
pub(in super::super) struct Zeroer {
    /// The way that works, as far as is known; `None` when none does.
    how: Option<Zeroing>,
    /// Byte up to which a file holds bytes.
    kept_len: u64,
    is_file: bool,
    /// Why a better way was not taken.
    refused: Vec<PrepareError>,
}

impl Zeroer {
    /// `None` where a destination of this class takes no zeros but written ones.
    pub(super) fn new(destination: &dyn Device, kept_len: u64) -> Option<Self> {
        let is_file = destination.class() == Class::File;
        let able = is_file || destination.class() == Class::Block;
        let able = able && !destination.is_stream() && destination.commands().is_none();
        able.then(|| Self { how: Some(Zeroing::Free), kept_len, is_file, refused: Vec::new() })
    }

    /// Says whether zeros need no call from byte `at` of the destination on.
    pub(super) const fn is_free(&self, at: u64) -> bool {
        self.is_file && at >= self.kept_len
    }

    /// Says whether it is worth to look for zeros.
    pub(super) const fn is_able(&self) -> bool {
        self.is_file || self.how.is_some()
    }

    pub(super) fn refused(&self) -> &[PrepareError] {
        &self.refused
    }

    /// Returns how many of `len` bytes at byte `at` should be made zeros at a time.
    pub(super) fn step_len(&self, at: u64, len: u64) -> u64 {
        match self.how {
            _ if self.is_free(at) => len,
            Some(Zeroing::Write) => len.min(WRITE_STEP_LEN),
            _ => len.min(STEP_LEN),
        }
    }

    /// Makes `len` bytes at byte `at` zeros and counts them, each as what was done. Says whether all are; what is zeros all the same does no harm.
    pub(super) fn make(&mut self, device: &dyn Device, at: u64, len: u64, report: &mut SparseReport) -> bool {
        if self.is_free(at) {
            report.kept_bytes = report.kept_bytes.saturating_add(len);
            return true;
        }
        let mut done = 0_u64;
        while done < len {
            let Some(how) = self.how else { return false };
            let left = len.saturating_sub(done);
            let step = left.min(if how == Zeroing::Write { WRITE_STEP_LEN } else { STEP_LEN });
            match device.zero(at.saturating_add(done), step, how) {
                Ok(()) => {
                    let sum = match how {
                        Zeroing::Free if self.is_file => &mut report.punched_bytes,
                        Zeroing::Free => &mut report.discarded_bytes,
                        Zeroing::Write => &mut report.zeroed_bytes,
                    };
                    // Behind the end of a file nothing was there.
                    let start = at.saturating_add(done);
                    let there = self.kept_len.clamp(start, start.saturating_add(step)).saturating_sub(start);
                    let there = if self.is_file { there } else { step };
                    *sum = sum.saturating_add(there);
                    report.kept_bytes = report.kept_bytes.saturating_add(step.saturating_sub(there));
                    done = done.saturating_add(step);
                }
                Err(why) => {
                    self.refused.push(why);
                    // In a file that would be written zeros with their space: no better than writing them.
                    self.how = (how == Zeroing::Free && !self.is_file).then_some(Zeroing::Write);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{DirectMode, Routes, device_of};
    use crate::probe::probe_fd;
    use rustix::io::Errno;
    use std::cell::RefCell;
    use std::os::fd::AsFd as _;
    use std::path::Path;
    use std::sync::Arc;

    /// A disk that refuses what it is told to.
    #[derive(Debug)]
    struct Disk {
        real: Box<dyn Device>,
        able: Vec<Zeroing>,
        calls: RefCell<Vec<(u64, u64, Zeroing)>>,
    }

    impl Device for Disk {
        fn class(&self) -> Class {
            Class::Block
        }

        fn path(&self) -> &Path {
            self.real.path()
        }

        fn routes(&self) -> &Routes {
            self.real.routes()
        }

        fn len_bytes(&self) -> Option<u64> {
            None
        }

        fn zero(&self, at: u64, len: u64, how: Zeroing) -> Result<(), PrepareError> {
            self.calls.borrow_mut().push((at, len, how));
            let errno = Errno::OPNOTSUPP;
            if self.able.contains(&how) {
                Ok(())
            } else {
                Err(PrepareError { operation: "", bytes: len, errno })
            }
        }
    }

    fn disk(able: &[Zeroing]) -> Disk {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fd = std::os::fd::OwnedFd::from(file.reopen().unwrap());
        let probe = probe_fd(fd.as_fd(), file.path()).unwrap();
        let real = device_of(Arc::new(fd), probe, DirectMode::Never, true, false);
        Disk { real, able: able.to_vec(), calls: RefCell::default() }
    }

    #[test]
    fn the_next_way_is_tried_once_and_kept() {
        const MIB: u64 = 1 << 20;
        for (able, done, calls) in [
            (&[Zeroing::Free, Zeroing::Write][..], MIB, 2),
            (&[Zeroing::Write], MIB, 3),
            // Two refusals, and then nobody is asked any more.
            (&[], 0, 2),
        ] {
            let disk = disk(able);
            let mut zeroer = Zeroer::new(&disk, 0).unwrap();
            let mut report = SparseReport::default();
            for at in [0, MIB] {
                assert_eq!(zeroer.make(&disk, at, MIB, &mut report), done > 0);
            }
            assert_eq!(disk.calls.borrow().len(), calls, "{able:?}");
            assert_eq!(report.unwritten_bytes(), 2 * done);
            assert_eq!(zeroer.is_able(), done > 0);
        }
    }

    #[test]
    fn one_call_zeroes_no_more_than_a_step() {
        let free = disk(&[Zeroing::Free]);
        let mut zeroer = Zeroer::new(&free, 0).unwrap();
        assert_eq!(zeroer.step_len(4096, u64::MAX), STEP_LEN);
        assert!(zeroer.make(&free, 4096, STEP_LEN + 512, &mut SparseReport::default()));
        let calls = [(4096, STEP_LEN, Zeroing::Free), (4096 + STEP_LEN, 512, Zeroing::Free)];
        assert_eq!(free.calls.borrow()[..], calls);
        let written = disk(&[Zeroing::Write]);
        let mut zeroer = Zeroer::new(&written, 0).unwrap();
        assert!(zeroer.make(&written, 0, WRITE_STEP_LEN + 512, &mut SparseReport::default()));
        assert_eq!((zeroer.step_len(0, u64::MAX), written.calls.borrow().len()), (WRITE_STEP_LEN, 3));
    }
}
