//! Destinations, their bytes, and an observer that keeps what it hears.

use std::path::{Path, PathBuf};

use bulkio::copy::{
    Control, CopyFailure, CopyOptions, DestinationReport, End, Observer, Overwrite, Progress, Report,
    copy_all,
};

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: usize = 1 << 20;

pub(crate) fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| ((at * 7 + at / 509 + (at >> 15)) & 0xff) as u8).collect()
}

/// Bytes of a disk that holds an ext4, as far as its superblock tells.
pub(crate) fn ext4(len: usize) -> Vec<u8> {
    let mut disk = vec![0xa5; len];
    disk[1024 + 56..][..2].copy_from_slice(&[0x53, 0xef]);
    disk
}

/// Hears everything.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) warnings: Vec<String>,
    /// Disks about which it was asked.
    pub(crate) asked: Vec<PathBuf>,
    /// A disk that is not to be overwritten.
    pub(crate) keeps: Option<PathBuf>,
}

impl Observer for Heard {
    fn overwrite(&mut self, disk: &Overwrite<'_>) -> Control {
        self.asked.push(disk.path.to_owned());
        if self.keeps.as_deref() == Some(disk.path) { Control::Stop } else { Control::Go }
    }

    fn progress(&mut self, _: &Progress) -> Control {
        Control::Go
    }

    fn warning(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }
}

/// Copies to all these paths.
pub(crate) fn run(
    from: &Path,
    to: &[&Path],
    options: &CopyOptions,
    observer: &mut dyn Observer,
) -> Result<Report, CopyFailure> {
    let to: Vec<_> = to.iter().map(|path| End::Path(path)).collect();
    copy_all(End::Path(from), &to, options, observer)
}

/// Looks at what became of those destinations that did not fail: all bytes, durable.
#[track_caller]
pub(crate) fn assert_whole(found: &DestinationReport, len: u64) {
    assert!(found.failed.is_none() && found.synced, "{found:?}");
    assert_eq!((found.bytes, found.durable_bytes), (len, len), "{found:?}");
}

/// Looks at what became of one that failed: where, and that its name is said.
#[track_caller]
pub(crate) fn assert_failed(found: &DestinationReport, at: u64, says: &str) {
    let failed = found.failed.as_ref().unwrap_or_else(|| panic!("it should have failed: {found:?}"));
    assert_eq!(failed.at, at, "{found:?}");
    assert!(failed.message.contains(says) && failed.message.contains(&found.side.path), "{found:?}");
    assert!(!found.synced && found.durable_bytes == 0, "{found:?}");
    assert!(found.bytes <= at, "{found:?}");
}
