//! A disk with bad sectors, and what a copy of it must be.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bulkio::copy::{
    AreaStatus, CopyFailure, CopyOptions, DirectMode, End, MapOptions, OnError, RecoveryMap, Report,
    RescueOptions, Silent, copy,
};
use tempfile::TempDir;

use crate::common::storage_dir;
use crate::faulty::{FaultyDisk, Rule};

pub(crate) const LEN: usize = 4 << 20;
pub(crate) const SECTOR: u64 = 512;

pub(crate) fn content() -> Vec<u8> {
    (0..LEN).map(|at| ((at * 7 + at / 509 + (at >> 15)) & 0xff) as u8 | 1).collect()
}

/// The bytes of sectors.
pub(crate) fn sectors(first: u64, count: u64) -> Range<u64> {
    first * SECTOR..(first + count) * SECTOR
}

pub(crate) fn place(range: &Range<u64>) -> Range<usize> {
    usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
}

/// The content with zeros in these ranges.
pub(crate) fn zeroed(bad: &[Range<u64>]) -> Vec<u8> {
    let mut content = content();
    for range in bad {
        content[place(range)].fill(0);
    }
    content
}

/// A disk that is broken, and a folder on a real file system.
pub(crate) struct Patient {
    pub(crate) disk: FaultyDisk,
    folder: TempDir,
}

impl Patient {
    pub(crate) fn new(block: u32, bad: &[Range<u64>]) -> Result<Self, String> {
        let disk = FaultyDisk::new(content(), block)?;
        let patient = Self { disk, folder: storage_dir()? };
        patient.break_at(bad);
        Ok(patient)
    }

    pub(crate) fn break_at(&self, bad: &[Range<u64>]) {
        for range in bad {
            self.disk.file().add(Rule::reads().touching(range.clone()).errno(libc::ENODATA));
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        fs::read(self.path("image")).unwrap()
    }

    pub(crate) fn map(&self) -> RecoveryMap {
        RecoveryMap::from_text(&fs::read_to_string(self.path("map")).unwrap()).unwrap()
    }

    pub(crate) fn copy(&self, options: &CopyOptions) -> Result<Report, CopyFailure> {
        copy(End::Path(self.disk.node()), End::Path(&self.path("image")), options, &mut Silent)
    }

    /// With a map of the folder.
    pub(crate) fn with_map(&self, rescue: RescueOptions, resume: bool) -> CopyOptions {
        let map = MapOptions {
            path: self.path("map"),
            resume,
            command: "a test".to_owned(),
            every: MapOptions::EVERY,
        };
        with(RescueOptions { map: Some(map), ..rescue })
    }

    /// Reads of the disk: how often each sector was asked for.
    pub(crate) fn reads_of_sectors(&self) -> Vec<u32> {
        let mut reads = vec![0_u32; LEN / 512];
        for seen in self.disk.file().take_seen() {
            if seen.op == crate::faulty::Op::Read {
                for sector in seen.at / SECTOR..(seen.at + seen.len) / SECTOR {
                    reads[usize::try_from(sector).unwrap()] += 1;
                }
            }
        }
        reads
    }
}

pub(crate) fn with(rescue: RescueOptions) -> CopyOptions {
    CopyOptions { rescue, direct: DirectMode::Require, ..CopyOptions::default() }
}

pub(crate) fn skip_errors() -> RescueOptions {
    RescueOptions { on_error: OnError::Skip, ..RescueOptions::default() }
}

pub(crate) fn retry_errors(retries: u32) -> RescueOptions {
    RescueOptions { on_error: OnError::Retry, retries, ..RescueOptions::default() }
}

/// The ranges of a status.
pub(crate) fn areas(map: &RecoveryMap, status: AreaStatus) -> Vec<Range<u64>> {
    map.areas_of(status).collect()
}

/// What a report says is lost.
pub(crate) fn lost(report: &Report) -> Vec<Range<u64>> {
    let rescue = report.rescue.as_ref().unwrap();
    rescue.lost.iter().map(|lost| lost.position..lost.position + lost.bytes).collect()
}

pub(crate) fn lines_of_map(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}
