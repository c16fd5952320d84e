//! What a disk holds before it is overwritten: partition tables, file systems, and what else marks a disk as somebody's.
//!
//! `magic` knows the marks, `tables` the two kinds of partition table, `source` reads. Contract: a few reads of bounded length through
//! the page cache, and what they leave there is dropped; nothing is written. A disk that cannot be looked at is
//! said to be so ([`Unseen`]), and is never taken for an empty one.

mod magic;
mod source;
mod tables;
#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags};
use rustix::io::Errno;

use super::sibling::open_sibling;
use crate::device::{Device, cached, reopen};
use crate::probe::DeviceNumber;
use source::{Bytes, Disk, Window};

/// Bytes that are looked at from the start of a disk: up to the end of the first label of ZFS.
const HEAD_LEN: u64 = 256 << 10;

/// Bytes that are looked at from the start of a partition: the mark furthest in is that of btrfs.
const PARTITION_HEAD_LEN: u64 = 72 << 10;

/// Bytes that are looked at up to the end: the superblock of md 0.90 is the furthest from it.
const TAIL_LEN: u64 = 128 << 10;

/// Partitions whose contents are looked at; of more there are only counts.
const PARTITIONS_SEEN_MAX: usize = 16;

/// One thing that a disk or a partition holds.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Found {
    /// Its stable name, such as `GPT` or `ext4`.
    pub kind: &'static str,
    /// The name that its owner gave it.
    pub label: Option<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        match &self.label {
            Some(label) => write!(f, " \"{label}\""),
            None => Ok(()),
        }
    }
}

/// One partition of a table on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Partition {
    /// Its number, from 1 on.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Its bytes.
    pub len: u64,
    /// Its name in the table.
    pub label: Option<String>,
    /// What it holds; empty where that is nothing known, or was not looked at.
    pub holds: Vec<Found>,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {}, {} bytes", self.number, self.len)?;
        if let Some(label) = &self.label {
            write!(f, ", \"{label}\"")?;
        }
        self.holds.iter().try_for_each(|found| write!(f, ", {found}"))
    }
}

/// What a disk holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Contents {
    /// What was found on the disk as a whole; empty where nothing is known.
    pub found: Vec<Found>,
    /// The partitions of its table, in the order of the table.
    pub partitions: Vec<Partition>,
}

impl Contents {
    /// Says whether nothing was found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Looks at a destination that is a disk, while it is held.
    ///
    /// # Errors
    /// [`Unseen`], why it could not be looked at.
    pub fn of(device: &dyn Device) -> Result<Self, Unseen> {
        let fd = device.routes().buffered();
        let statx = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        let statx = statx.map_err(Unseen::Failed)?;
        let seen: OwnedFd = if FileType::from_raw_mode(statx.stx_mode.into()) == FileType::BlockDevice {
            // It was opened for writing alone.
            reopen(fd, OFlags::RDONLY | OFlags::NONBLOCK).map_err(Unseen::Failed)?
        } else {
            let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
            open_sibling(number).map_err(Unseen::Failed)?.ok_or(Unseen::NoBlockDevice)?
        };
        let len = device.len_bytes().ok_or(Unseen::NoBlockDevice)?;
        let contents = Self::look(&Disk { fd: seen.as_fd(), len });
        cached::drop_clean(seen.as_fd());
        contents.map_err(Unseen::Failed)
    }

    fn look(disk: &dyn Bytes) -> Result<Self, Errno> {
        let head = disk.read(0, HEAD_LEN)?;
        let mut found = magic::in_head(&head);
        let (table, mut partitions) = tables::read(disk, &head, found.is_empty())?;
        let is_gpt = table.as_ref().is_some_and(|table| table.kind.starts_with("GPT"));
        found.splice(0..0, table);
        let end = || {
            let second = if is_gpt { None } else { tables::second_header(disk)? };
            Ok(second.into_iter().chain(magic::at_end(disk, TAIL_LEN)?).collect::<Vec<_>>())
        };
        // Where the end cannot be read, what the start says stands.
        match end() {
            Ok(more) => found.extend(more),
            Err(errno) if found.is_empty() => return Err(errno),
            Err(_) => {}
        }
        for partition in partitions.iter_mut().take(PARTITIONS_SEEN_MAX) {
            let inside = Window { disk, start: partition.start, len: partition.len };
            // A partition that cannot be read is one all the same.
            partition.holds =
                inside.read(0, PARTITION_HEAD_LEN).map(|head| magic::in_head(&head)).unwrap_or_default();
        }
        Ok(Self { found, partitions })
    }
}

impl fmt::Display for Contents {
    /// In a few words: `GPT, 3 partitions`, `ext4 "root"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, found) in self.found.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{found}")?;
        }
        match self.partitions.len() {
            0 => Ok(()),
            1 => f.write_str(", 1 partition"),
            count => write!(f, ", {count} partitions"),
        }
    }
}

/// Why nobody can say what a disk holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unseen {
    /// The system does not open or read it.
    #[error("could not be looked at: {0}")]
    Failed(Errno),
    /// It takes commands alone.
    #[error("could not be looked at: no driver makes a block device of it")]
    NoBlockDevice,
}
