//! The files of an engine: a bounded table of shared descriptors, the first of them registered with the ring.

use core::fmt;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, open};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use scatterlist::Direction;

use super::backend::Backend;
use super::commands::CommandSet;
use super::error::FileError;
use super::part::ShortTransfer;
use super::polled;

/// Most files of one engine.
const FILES_MAX: usize = 256;

/// A file of one engine. Ids are not used twice, so a removed file's id fits no other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// What an engine is told about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileOptions {
    /// What a short transfer means on it.
    pub short: ShortTransfer,
    /// Whether to register it with the ring, which saves time on each operation and costs a system call now and
    /// one when it is removed: not worth it for a few operations.
    pub registered: bool,
    /// Whether its transfers never wait for somebody else, as those of regular files and disks: `None` asks the
    /// system. Where a pipe is said to be always ready, its transfers cannot be cancelled on every engine.
    pub always_ready: Option<bool>,
}

impl Default for FileOptions {
    /// Short transfers are resumed, the file is registered, and the system is asked what it is.
    fn default() -> Self {
        Self { short: ShortTransfer::Resume, registered: true, always_ready: None }
    }
}

/// Who carries the transfers of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Carrier {
    /// The engine itself.
    Engine,
    /// Native AIO beneath a ring: a disk that cannot say "later" (it has no `RWF_NOWAIT`) makes a ring hand every transfer to
    /// a thread of the kernel, while native AIO starts it in line. Registered memory is of no use there.
    Aio,
    /// Threads of the kernel, behind a ring: the file cannot say "later", and native AIO is not to be had for it.
    Workers,
    /// The ring, as commands of the device.
    Commands,
    /// Threads, which make a call for each command of the device.
    Calls,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Engine => "by the engine",
            Self::Aio => "by aio: the device has no RWF_NOWAIT",
            Self::Workers => "by threads of the kernel: the file has no RWF_NOWAIT",
            Self::Commands => "as commands of the device, by the ring",
            Self::Calls => "as commands of the device, by calls of threads",
        })
    }
}

/// What a file became in its engine.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// Whether it is registered with the ring.
    pub registered: bool,
    /// Who carries its transfers.
    pub carrier: Carrier,
    /// Why native AIO does not, where it should.
    pub aio_refused: Option<String>,
}

/// One file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) fd: Arc<OwnedFd>,
    /// What its transfers are, where they are no reads and writes.
    pub(super) commands: Option<Arc<dyn CommandSet>>,
    pub(super) short: ShortTransfer,
    /// Regular files and disks are always ready: nothing to poll for.
    pub(super) always_ready: bool,
    /// Open with `O_DIRECT`; told only to back ends that ask.
    pub(super) direct: bool,
    pub(super) carrier: Carrier,
    /// Why it is not native AIO that carries it.
    pub(super) aio_refused: Option<String>,
    /// Slot of the ring's table.
    pub(super) slot: Option<u32>,
    /// Requests in flight, or done and not yet taken.
    pub(super) in_flight: u32,
    generation: u32,
    two_way: bool,
    /// Whether it is a pipe, as far as the system was asked.
    pub(super) pipe: bool,
}

impl File {
    pub(super) fn report(&self) -> FileReport {
        let aio_refused = self.aio_refused.clone();
        FileReport { registered: self.slot.is_some(), carrier: self.carrier, aio_refused }
    }

    /// Returns the queue that stream transfers of this direction keep order in: a socket's two directions
    /// are independent, anything else has one position.
    pub(super) fn lane(&self, id: FileId, direction: Direction) -> u64 {
        let back = self.two_way && direction == Direction::ToDevice;
        u64::from(id.index).wrapping_mul(2).wrapping_add(u64::from(back))
    }
}

/// A position that no file reaches, and that no rule of alignment or range forbids.
const BEHIND_ALL: u64 = 1 << 62;

/// Asks whether the file can say "later" instead of waiting (`RWF_NOWAIT`, `preadv2(2)`). Some file systems and disks
/// cannot, and say so before they look at anything else. Where it cannot be asked the answer is "no": an
/// operation is then tried in line first.
fn waits_in_call(fd: &OwnedFd) -> bool {
    let refused = |fd: BorrowedFd<'_>| {
        let mut byte = [0_u8];
        // One byte far behind the end: at the end of the file, or refused for this or that. A byte that is there would make the
        // kernel read ahead of it.
        preadv2(fd, &mut [IoSliceMut::new(&mut byte)], BEHIND_ALL, ReadWriteFlags::NOWAIT).err()
    };
    let answer = match refused(fd.as_fd()) {
        // Open for writing only: asked of the same file, open for reading.
        Some(Errno::BADF) => {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            open(path, flags, Mode::empty()).ok().and_then(|again| refused(again.as_fd()))
        }
        answer => answer,
    };
    answer == Some(Errno::OPNOTSUPP)
}

fn is_disk(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice)
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
        commands: Option<Arc<dyn CommandSet>>,
        options: FileOptions,
        backend: &mut Backend,
    ) -> Result<FileId, FileError> {
        let kind = match options.always_ready {
            // Nothing more needs to be known.
            Some(true) => FileType::RegularFile,
            _ if commands.is_some() => FileType::RegularFile,
            _ => {
                let stat = rustix::fs::fstat(&*fd)
                    .map_err(|errno| FileError::Stat { errno: errno.raw_os_error().unsigned_abs() })?;
                FileType::from_raw_mode(stat.st_mode)
            }
        };
        if backend.is_polled() {
            if commands.is_some() {
                return Err(FileError::PolledCommands);
            }
            polled::check(&fd)?;
        }
        let ready = matches!(kind, FileType::RegularFile | FileType::BlockDevice);
        let place = match self.files.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.files.len() < FILES_MAX => {
                self.files.push(None);
                self.files.len().saturating_sub(1)
            }
            None => return Err(FileError::Full { max: FILES_MAX }),
        };
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        let waits_in_call = ready && commands.is_none() && backend.hands_to_threads() && waits_in_call(&fd);
        let direct = (waits_in_call || backend.goes_by_direct())
            && rustix::fs::fcntl_getfl(&*fd).is_ok_and(|flags| flags.contains(OFlags::DIRECT));
        let carried = commands.as_ref().map(|set| backend.carry(&**set)).transpose();
        let carried = carried.map_err(|errno| FileError::Eventfd { errno })?;
        let (carrier, aio_refused) = match waits_in_call {
            false => (carried.unwrap_or(Carrier::Engine), None),
            // A file system may well do the whole transfer inside io_submit; disks start it there.
            true if direct && is_disk(&fd) => match backend.lay_aio_beneath() {
                Ok(()) => (Carrier::Aio, None),
                Err(reason) => (Carrier::Workers, Some(reason)),
            },
            true => (Carrier::Workers, None),
        };
        let registered =
            options.registered && index < self.slots && backend.register_file(index, fd.as_raw_fd());
        self.generation = self.generation.wrapping_add(1);
        let file = File {
            fd,
            short: options.short,
            // There is nothing to poll for before a command.
            always_ready: commands.is_some() || options.always_ready.unwrap_or(ready),
            commands,
            direct,
            carrier,
            aio_refused,
            slot: registered.then_some(index),
            in_flight: 0,
            generation: self.generation,
            two_way: matches!(kind, FileType::Socket | FileType::Fifo),
            pipe: kind == FileType::Fifo,
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
