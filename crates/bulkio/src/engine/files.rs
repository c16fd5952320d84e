//! The files of an engine: a bounded table of shared descriptors, the first of them registered with the ring.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::FileType;
use scatterlist::Direction;

use super::backend::Backend;
use super::error::FileError;
use super::part::ShortTransfer;

/// Most files of one engine.
const FILES_MAX: usize = 256;

/// A file of one engine. Ids are not used twice, so a removed file's id fits no other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) short: ShortTransfer,
    /// Regular files and disks are always ready: nothing to poll for.
    pub(super) always_ready: bool,
    /// Slot of the ring's table.
    pub(super) slot: Option<u32>,
    /// Requests in flight, or done and not yet taken.
    pub(super) in_flight: u32,
    generation: u32,
    two_way: bool,
}

impl File {
    /// Returns the queue that stream transfers of this direction keep order in: a socket's two directions
    /// are independent, anything else has one position.
    pub(super) fn lane(&self, id: FileId, direction: Direction) -> u64 {
        let back = self.two_way && direction == Direction::ToDevice;
        u64::from(id.index).wrapping_mul(2).wrapping_add(u64::from(back))
    }
}

/// The table of files.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: Vec<Option<File>>,
    generation: u32,
    /// Slots of the ring's table.
    slots: u32,
}

impl Files {
    pub(super) const fn new(slots: u32) -> Self {
        Self { files: Vec::new(), generation: 0, slots }
    }

    pub(super) fn get(&self, id: FileId) -> Option<&File> {
        let index = usize::try_from(id.index).ok()?;
        self.files.get(index)?.as_ref().filter(|file| file.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: FileId) -> Option<&mut File> {
        let index = usize::try_from(id.index).ok()?;
        self.files.get_mut(index)?.as_mut().filter(|file| file.generation == id.generation)
    }

    pub(super) fn add(
        &mut self,
        fd: Arc<OwnedFd>,
        short: ShortTransfer,
        backend: &mut Backend,
    ) -> Result<FileId, FileError> {
        let stat = rustix::fs::fstat(&*fd)
            .map_err(|errno| FileError::Stat { errno: errno.raw_os_error().unsigned_abs() })?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let place = match self.files.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.files.len() < FILES_MAX => {
                self.files.push(None);
                self.files.len().saturating_sub(1)
            }
            None => return Err(FileError::Full { max: FILES_MAX }),
        };
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        let registered = index < self.slots && backend.register_file(index, fd.as_raw_fd());
        self.generation = self.generation.wrapping_add(1);
        let file = File {
            fd,
            short,
            always_ready: matches!(kind, FileType::RegularFile | FileType::BlockDevice),
            slot: registered.then_some(index),
            in_flight: 0,
            generation: self.generation,
            two_way: matches!(kind, FileType::Socket | FileType::Fifo),
        };
        if let Some(entry) = self.files.get_mut(place) {
            *entry = Some(file);
        }
        Ok(FileId { index, generation: self.generation })
    }

    pub(super) fn remove(&mut self, id: FileId, backend: &mut Backend) -> Result<Arc<OwnedFd>, FileError> {
        let file = self.get(id).ok_or(FileError::Unknown { file: id })?;
        if file.in_flight > 0 {
            return Err(FileError::Busy { file: id, in_flight: file.in_flight });
        }
        if let Some(slot) = file.slot {
            backend.unregister_file(slot);
        }
        let entry = usize::try_from(id.index).ok().and_then(|index| self.files.get_mut(index));
        entry.and_then(Option::take).map(|file| file.fd).ok_or(FileError::Unknown { file: id })
    }
}
