//! Where [`Limits`] come from: what a path or an open file can take, asked of the kernel and written down
//! with who said so.
//!
//! Neighbours: `sysfs`, `mounts`, `ioctl` ask; `pieces` tries a real read; `assemble` turns the answers into
//! limits. Contract: a probe writes nothing, never moves the position of the caller's descriptor, never opens
//! a FIFO, a socket or a character device, and invents nothing silently: what nobody stated carries the source
//! [`Default`](scatterlist::Source::Default).

mod assemble;
pub(crate) mod chars;
mod error;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod host;
pub(crate) mod ioctl;
mod kind;
pub(crate) mod mounts;
mod pieces;
mod reopen;
pub(crate) mod sysfs;
mod tape;
#[cfg(test)]
mod tests;

pub use assemble::{DEFAULT_ALIGN_BYTES, DEFAULT_TRANSFER_BYTES, QueueLimits};
pub use chars::CharClass;
pub use error::{Operation, ProbeError};
pub use kind::{BlockDevice, File, Kind, TapeNode};
pub use pieces::{NotTried, PieceProbe};
pub use sysfs::DeviceNumber;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};
use scatterlist::{Limits, Source};

use assemble::{DeviceFacts, DirectFacts, Facts, Stated};
use host::Host;
use reopen::Reopened;
use sysfs::BlockFolder;

/// `STATX_DIO_READ_ALIGN`, `include/uapi/linux/stat.h` (newer than the crate's own list).
const STATX_DIO_READ_ALIGN: StatxFlags = StatxFlags::from_bits_retain(0x2_0000);

/// Whether direct I/O (`O_DIRECT`) works on a file or device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DirectIo {
    /// It does, within the limits.
    Supported,
    /// It does not.
    Unsupported {
        /// How that is known.
        reason: NoDirectIo,
    },
    /// The kernel does not say, and the limits are stated defaults.
    Unknown,
}

/// How it is known that direct I/O does not work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NoDirectIo {
    /// Only files and block devices know direct I/O.
    NotStorage,
    /// `statx(2)` states alignments of zero: the file system (or this file's features, such as encryption)
    /// rules it out.
    StatxSaysNo,
    /// `open(2)` refused the flag `O_DIRECT`.
    OpenRefused,
}

/// What a path or an open file is and can take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Probe {
    /// The path that was asked about.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Bytes that it holds; `None` for streams, and where it cannot be found out.
    pub size: Option<u64>,
    /// What one call may move: for direct I/O unless [`direct`](Self::direct) is `Unsupported`.
    pub limits: Limits,
    /// Whether direct I/O works.
    pub direct: DirectIo,
    /// The alignment that direct *reads* need, where the kernel states that it is smaller than that of writes
    /// (which is what [`limits`](Self::limits) hold).
    pub read_position_align: Option<u64>,
    /// What the disk's queue states, whether or not a hard limit of the same name stands in the limits.
    pub queue: QueueLimits,
    /// What the probing read found.
    pub pieces: PieceProbe,
    buffered: Limits,
}

impl Probe {
    /// Returns the limits of transfers through the page cache: those without any alignment.
    #[must_use]
    pub const fn buffered_limits(&self) -> &Limits {
        &self.buffered
    }
}

/// Probes what a path leads to (symbolic links are followed).
///
/// # Errors
/// [`ProbeError`], when nothing is there or it may not be reached. A file that may not be *read* is no error:
/// its limits are then those that can be known without reading it.
pub fn probe_path(path: &Path) -> Result<Probe, ProbeError> {
    // O_PATH opens no device and waits for no FIFO's other end.
    let fd = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| ProbeError::of(path.to_owned(), Operation::Find, errno))?;
    probe_fd(fd.as_fd(), path)
}

/// Probes an open file; `path` is its name for messages.
///
/// # Errors
/// [`ProbeError`], when the kernel does not say what the descriptor is, or contradicts itself.
pub fn probe_fd(fd: BorrowedFd<'_>, path: &Path) -> Result<Probe, ProbeError> {
    probe_on(&Host::default(), fd, path)
}

fn probe_on(host: &Host, fd: BorrowedFd<'_>, path: &Path) -> Result<Probe, ProbeError> {
    let asked = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID | StatxFlags::DIOALIGN | STATX_DIO_READ_ALIGN;
    let statx = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, asked)
        .map_err(|errno| ProbeError::of(path.to_owned(), Operation::Statx, errno))?;
    let storage = match FileType::from_raw_mode(statx.stx_mode.into()) {
        FileType::RegularFile => Storage::of_file(host, &statx),
        FileType::BlockDevice => Storage::of_device(host, &statx),
        other => return stream(host, path, kind::stream_kind(host, other, &statx)),
    };
    storage.probe(fd, path, &statx)
}

/// Everything but files and block devices: the rules of the calls are all there is, but for tape drives.
fn stream(host: &Host, path: &Path, kind: Kind) -> Result<Probe, ProbeError> {
    let limits = match &kind {
        Kind::Tape(node) => tape::limits(host, node),
        _ => assemble::interface_limits(),
    };
    let limits = limits.build().map_err(|source| contradiction(path, source))?;
    Ok(Probe {
        path: path.to_owned(),
        kind,
        size: None,
        limits,
        direct: DirectIo::Unsupported { reason: NoDirectIo::NotStorage },
        read_position_align: None,
        queue: QueueLimits::default(),
        pieces: PieceProbe::NotTried(NotTried::NotStorage),
        buffered: limits,
    })
}

fn contradiction(path: &Path, source: scatterlist::LimitsError) -> ProbeError {
    ProbeError::Contradiction { path: path.to_owned(), source }
}

/// A file or a block device, with what sysfs knows about the device at or below it.
struct Storage {
    kind: Kind,
    is_device: bool,
    folder: Option<BlockFolder>,
}

impl Storage {
    fn of_file(host: &Host, statx: &Statx) -> Self {
        let file = kind::file(host, statx);
        let folder = BlockFolder::find(host, file.device);
        Self { kind: Kind::File(file), is_device: false, folder }
    }

    fn of_device(host: &Host, statx: &Statx) -> Self {
        let number = DeviceNumber { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor };
        let folder = BlockFolder::find(host, number);
        let device = kind::block_device(number, folder.as_ref());
        Self { kind: Kind::BlockDevice(device), is_device: true, folder }
    }

    fn probe(self, fd: BorrowedFd<'_>, path: &Path, statx: &Statx) -> Result<Probe, ProbeError> {
        let reopened = Reopened::open(fd, path, statx);
        let queue = self.folder.as_ref().map(QueueLimits::read).unwrap_or_default();
        let size = self.size(&reopened, statx);
        let aligns = StatxAligns::of(statx);
        let direct = direct_io(aligns, &reopened, self.is_device);
        let facts = match direct {
            DirectIo::Unsupported { .. } => None,
            DirectIo::Supported | DirectIo::Unknown => {
                let mut facts = DirectFacts::with_defaults(self.block(&reopened, aligns), aligns.mem());
                facts.pieces = match reopened.direct() {
                    Ok(fd) => {
                        let size = size.map_or(0, |stated| stated.value);
                        pieces::try_pieces(fd, size, facts.block.value, facts.mem_align.value)
                    }
                    Err(errno) => PieceProbe::NotTried(NotTried::Unopened(errno)),
                };
                Some(facts)
            }
        };
        let device = self.is_device.then(|| DeviceFacts {
            physical_block: self.physical_block(&reopened),
            capacity: size,
            partition_start: self
                .folder
                .as_ref()
                .and_then(|folder| Some(folder.partition_span()?.start_bytes)),
        });
        let limits = |direct| {
            assemble::storage_limits(&Facts { direct, device, queue: &queue })
                .map_err(|source| contradiction(path, source))
        };
        let (direct_limits, buffered) = (limits(facts)?, limits(None)?);
        let untried = PieceProbe::NotTried(NotTried::NoDirectIo);
        Ok(Probe {
            path: path.to_owned(),
            kind: self.kind,
            size: size.map(|stated| stated.value),
            limits: direct_limits,
            direct,
            read_position_align: aligns.read_offset(),
            queue,
            pieces: facts.map_or(untried, |facts| facts.pieces),
            buffered,
        })
    }

    fn size(&self, reopened: &Reopened, statx: &Statx) -> Option<Stated> {
        if !self.is_device {
            return Some(Stated::new(statx.stx_size, Source::Statx));
        }
        let asked = reopened.any().and_then(|fd| ioctl::block_size_bytes(fd).ok());
        let asked = asked.map(|value| Stated::new(value, Source::Ioctl));
        asked.or_else(|| Some(Stated::new(self.folder.as_ref()?.size_bytes()?, Source::Sysfs)))
    }

    /// Returns the block that positions and lengths are multiples of: the larger of what was stated.
    fn block(&self, reopened: &Reopened, aligns: StatxAligns) -> Option<Stated> {
        let statx = aligns.offset();
        if !self.is_device {
            return statx;
        }
        let asked = reopened.any().and_then(|fd| rustix::fs::ioctl_blksszget(fd).ok());
        let asked = asked.map(|value| Stated::new(value.into(), Source::Ioctl));
        let read = || Some(Stated::new(self.queue_number("logical_block_size")?, Source::Sysfs));
        let stated = asked.or_else(read).filter(|stated| stated.value != 0);
        Stated::larger(stated, statx)
    }

    fn physical_block(&self, reopened: &Reopened) -> Option<Stated> {
        let asked = reopened.any().and_then(|fd| rustix::fs::ioctl_blkpbszget(fd).ok());
        let asked = asked.map(|value| Stated::new(value.into(), Source::Ioctl));
        asked.or_else(|| Some(Stated::new(self.queue_number("physical_block_size")?, Source::Sysfs)))
    }

    fn queue_number(&self, attribute: &str) -> Option<u64> {
        self.folder.as_ref()?.queue_number(attribute)
    }
}

/// What `statx(2)` states about the alignment of direct I/O.
#[derive(Clone, Copy)]
struct StatxAligns {
    stated: bool,
    mem: u32,
    offset: u32,
    read_offset: u32,
}

impl StatxAligns {
    fn of(statx: &Statx) -> Self {
        let has = |flag: StatxFlags| statx.stx_mask & flag.bits() != 0;
        Self {
            stated: has(StatxFlags::DIOALIGN),
            mem: statx.stx_dio_mem_align,
            offset: statx.stx_dio_offset_align,
            read_offset: if has(STATX_DIO_READ_ALIGN) { statx.stx_dio_read_offset_align } else { 0 },
        }
    }

    fn number(self, value: u32) -> Option<Stated> {
        (self.stated && value != 0).then(|| Stated::new(value.into(), Source::Statx))
    }

    fn mem(self) -> Option<Stated> {
        self.number(self.mem)
    }

    fn offset(self) -> Option<Stated> {
        self.number(self.offset)
    }

    fn read_offset(self) -> Option<u64> {
        (self.read_offset != 0).then_some(self.read_offset.into())
    }
}

fn direct_io(aligns: StatxAligns, reopened: &Reopened, is_device: bool) -> DirectIo {
    if aligns.stated && aligns.mem == 0 && aligns.offset == 0 {
        return DirectIo::Unsupported { reason: NoDirectIo::StatxSaysNo };
    }
    if reopened.refuses_direct() {
        return DirectIo::Unsupported { reason: NoDirectIo::OpenRefused };
    }
    // Every block device does direct I/O in its blocks, also on kernels that do not state it.
    if aligns.stated || (is_device && reopened.direct().is_ok()) {
        return DirectIo::Supported;
    }
    DirectIo::Unknown
}
