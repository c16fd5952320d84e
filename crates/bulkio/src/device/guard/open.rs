//! Opening both ends of a copy: looked at before they are opened, compared after, block destinations held
//! exclusively, missing files created only where a file may be. Nothing is truncated here.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::below::{Below, Hold};
use super::claim::Claims;
use super::refusal::{Refusal, Role};
use super::sibling;
use crate::probe::DeviceNumber;
use crate::probe::chars::CharFolder;
use crate::probe::host::Host;
use crate::probe::mounts::mounts;

/// How often an end is looked at anew when it changes between look and open.
const TRIES_MAX: u32 = 8;

/// How many symbolic links are followed to find what a missing name stands for: `MAXSYMLINKS`,
/// `include/linux/namei.h`.
const LINKS_MAX: u32 = 40;

/// Mode of created files, before the umask.
const CREATE_MODE: Mode = Mode::from_raw_mode(0o666);

/// What to do about a destination disk that somebody uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClaimPolicy {
    /// Refuse it.
    #[default]
    Exclusive,
    /// Write to it all the same, with a [`Warning`]. Lifts no other check.
    Forced,
}

/// What to do about a destination file that does not exist, or does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Create {
    /// Create it if it is missing.
    #[default]
    IfMissing,
    /// Refuse a missing one (`conv=nocreat`).
    Never,
    /// Refuse an existing one (`conv=excl`).
    Always,
}

/// What a destination is opened for. Streams are always opened for writing alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Writing.
    #[default]
    Write,
    /// Writing and reading back: ragged ends, verification.
    ReadWrite,
}

/// How a destination is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DestinationOptions {
    /// What to do about a disk that somebody uses.
    pub claim: ClaimPolicy,
    /// What to do about a missing file.
    pub create: Create,
    /// What it is opened for.
    pub access: Access,
}

/// What an opened end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EndKind {
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A pipe, named or not.
    Pipe,
}

/// A source, open for reading.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedSource {
    /// The descriptor.
    pub fd: OwnedFd,
    /// What it is.
    pub kind: EndKind,
}

/// A destination, open for writing and not truncated. Its descriptor holds the exclusive claim on a block
/// device: keep it until the copy is done, and open further ones (for direct I/O) beside it.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedDestination {
    /// The descriptor.
    pub fd: OwnedFd,
    /// The claim on the disk, where it is not this descriptor's: that of the block device behind a node for commands. Keep it
    /// as long.
    pub claim: Option<OwnedFd>,
    /// The claims on the disks that loop devices below a block device stand on. Keep them as long, too.
    pub below: Vec<OwnedFd>,
    /// Whether the file was created by this open (and is the caller's to remove if the copy is refused later).
    pub created: bool,
    /// Where it was created, symbolic links followed: what is to be removed then. `None` where it was there before.
    pub created_path: Option<PathBuf>,
    /// What it is.
    pub kind: EndKind,
    /// What was overruled.
    pub warnings: Vec<Warning>,
}

/// Something that would have been refused, had the caller not overruled it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Warning {
    /// The destination disk is in use.
    ClaimOverridden {
        /// The destination.
        path: PathBuf,
        /// Who uses it, as far as it can be found.
        claims: Claims,
    },
    /// Nobody can say whether the disk is in use, and nothing keeps others from using it.
    Unheld {
        /// The destination.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClaimOverridden { path, claims } => {
                write!(f, "writing to {} although it is in use: {claims}", path.display())
            }
            Self::Unheld { path, why } => write!(
                f,
                "nobody can say whether {} is in use, and nothing keeps others from it: {why}",
                path.display()
            ),
        }
    }
}

/// Opens the source of a copy. A FIFO waits for its writer, as everywhere.
///
/// # Errors
/// [`Refusal`]: it is missing, a directory, a socket, or the system refuses to open it.
pub fn open_source(path: &Path) -> Result<OpenedSource, Refusal> {
    let role = Role::Source;
    for _ in 0..TRIES_MAX {
        let Some(seen) = look(path, role)? else {
            return Err(Refusal::Missing { path: path.to_owned(), role });
        };
        match open_seen(path, OFlags::RDONLY, &seen) {
            Ok(Some(fd)) => return Ok(OpenedSource { fd, kind: seen.kind }),
            Ok(None) => {}
            Err(errno) => return Err(Refusal::Open { path: path.to_owned(), role, errno }),
        }
    }
    Err(Refusal::Changing { path: path.to_owned(), role, tries: TRIES_MAX })
}

/// Opens the destination of a copy, and creates it if it is a file that does not exist. Never truncates. A FIFO
/// waits for its reader, as everywhere.
///
/// # Errors
/// [`Refusal`]: a missing device node, a disk in use, a directory, a socket, or the system refuses to open it.
pub fn open_destination(path: &Path, options: &DestinationOptions) -> Result<OpenedDestination, Refusal> {
    open_destination_on(&Host::default(), path, options)
}

fn open_destination_on(
    host: &Host,
    path: &Path,
    options: &DestinationOptions,
) -> Result<OpenedDestination, Refusal> {
    let role = Role::Destination;
    for _ in 0..TRIES_MAX {
        let opened = match look(path, role)? {
            Some(_) if options.create == Create::Always => {
                return Err(Refusal::Exists { path: path.to_owned() });
            }
            Some(seen) => open_existing(host, path, options, &seen)?,
            None => create(host, path, options)?,
        };
        if let Some(opened) = opened {
            return Ok(opened);
        }
    }
    Err(Refusal::Changing { path: path.to_owned(), role, tries: TRIES_MAX })
}

/// What stood behind a path before it was opened.
pub(super) struct Seen {
    pub(super) kind: EndKind,
    pub(super) statx: Statx,
}

/// Looks at a path without opening it; `None` when nothing is there.
pub(super) fn look(path: &Path, role: Role) -> Result<Option<Seen>, Refusal> {
    let statx = match rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS) {
        Ok(statx) => statx,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(Refusal::Open { path: path.to_owned(), role, errno }),
    };
    let kind = match FileType::from_raw_mode(statx.stx_mode.into()) {
        FileType::RegularFile => EndKind::File,
        FileType::BlockDevice => EndKind::BlockDevice,
        FileType::CharacterDevice => EndKind::CharDevice,
        FileType::Fifo => EndKind::Pipe,
        FileType::Directory => return Err(Refusal::Directory { path: path.to_owned(), role }),
        FileType::Socket => return Err(Refusal::Socket { path: path.to_owned(), role }),
        _ => return Err(Refusal::Open { path: path.to_owned(), role, errno: Errno::NXIO }),
    };
    Ok(Some(Seen { kind, statx }))
}

/// Opens what was seen; `None` when the path leads to something else by now.
pub(super) fn open_seen(path: &Path, flags: OFlags, seen: &Seen) -> Result<Option<OwnedFd>, Errno> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    let fd = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::ISDIR) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let opened = rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    let id = |s: &Statx| {
        let device = (s.stx_dev_major, s.stx_dev_minor, s.stx_rdev_major, s.stx_rdev_minor);
        (device, s.stx_ino, s.stx_mode & 0o17_0000)
    };
    Ok((id(&opened) == id(&seen.statx)).then_some(fd))
}

fn open_existing(
    host: &Host,
    path: &Path,
    options: &DestinationOptions,
    seen: &Seen,
) -> Result<Option<OpenedDestination>, Refusal> {
    let refused = |errno| Refusal::Open { path: path.to_owned(), role: Role::Destination, errno };
    let number = DeviceNumber { major: seen.statx.stx_rdev_major, minor: seen.statx.stx_rdev_minor };
    let takes_commands = seen.kind == EndKind::CharDevice
        && CharFolder::find(host, number).is_some_and(|folder| folder.class().takes_commands());
    let flags = match (seen.kind, options.access) {
        (EndKind::File | EndKind::BlockDevice, Access::ReadWrite) => OFlags::RDWR,
        // Commands go both ways.
        _ if takes_commands => OFlags::RDWR,
        _ => OFlags::WRONLY,
    };
    let (claim, warnings) =
        if takes_commands { sibling::hold(host, path, number, options.claim)? } else { (None, Vec::new()) };
    if seen.kind != EndKind::BlockDevice {
        let fd = open_seen(path, flags, seen).map_err(refused)?;
        return Ok(fd.map(|fd| OpenedDestination {
            fd,
            claim,
            below: Vec::new(),
            created: false,
            created_path: None,
            kind: seen.kind,
            warnings,
        }));
    }
    let opened = |fd: Option<OwnedFd>, below, warnings| {
        fd.map(|fd| OpenedDestination {
            fd,
            claim,
            below,
            created: false,
            created_path: None,
            kind: EndKind::BlockDevice,
            warnings,
        })
    };
    // O_EXCL on a block device, without O_CREAT, asks for the claim that mounts and swap hold (open(2)).
    match open_seen(path, flags | OFlags::EXCL, seen) {
        Ok(None) => return Ok(None),
        Ok(Some(fd)) => {
            let Below { claims, in_use, unheld, held } =
                Below::find(host, path, (number, Some(fd.as_fd())), Hold::Take)?;
            let path = path.to_owned();
            if in_use && options.claim == ClaimPolicy::Exclusive {
                return Err(Refusal::Claimed { path, claims });
            }
            let mut warnings = Vec::new();
            if unheld {
                let why = "a disk that it stands on cannot be opened";
                warnings.push(Warning::Unheld { path: path.clone(), why });
            }
            if in_use {
                warnings.push(Warning::ClaimOverridden { path, claims });
            }
            return Ok(opened(Some(fd), held, warnings));
        }
        Err(Errno::BUSY) => {}
        Err(errno) => return Err(refused(errno)),
    }
    let claims = Claims::find(host, number);
    let path = path.to_owned();
    if options.claim == ClaimPolicy::Exclusive {
        return Err(Refusal::Claimed { path, claims });
    }
    match open_seen(&path, flags, seen) {
        Ok(fd) => Ok(opened(fd, Vec::new(), vec![Warning::ClaimOverridden { path, claims }])),
        Err(Errno::BUSY) => Err(Refusal::ClaimedForGood { path, claims }),
        Err(errno) => Err(Refusal::Open { path, role: Role::Destination, errno }),
    }
}

/// Creates a missing file, unless its name stands among the device nodes; `None` when somebody else was faster.
fn create(
    host: &Host,
    path: &Path,
    options: &DestinationOptions,
) -> Result<Option<OpenedDestination>, Refusal> {
    let role = Role::Destination;
    let target =
        follow_missing(path).map_err(|errno| Refusal::Open { path: path.to_owned(), role, errno })?;
    if let Some(folder) = device_folder(host, &target) {
        return Err(Refusal::MissingDeviceNode { path: path.to_owned(), folder });
    }
    if options.create == Create::Never {
        return Err(Refusal::Missing { path: path.to_owned(), role });
    }
    let access = match options.access {
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let flags = access | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::openat(CWD, &target, flags, CREATE_MODE) {
        Ok(fd) => {
            let (claim, warnings) = (None, Vec::new());
            Ok(Some(OpenedDestination {
                fd,
                claim,
                below: Vec::new(),
                created: true,
                created_path: Some(target),
                kind: EndKind::File,
                warnings,
            }))
        }
        Err(Errno::EXIST) => Ok(None),
        Err(errno) => Err(Refusal::Open { path: path.to_owned(), role, errno }),
    }
}

/// Returns the name that a file would get if it were created: symbolic links to nothing are followed by hand,
/// so that what they stand for can be judged.
pub(super) fn follow_missing(path: &Path) -> Result<PathBuf, Errno> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            // An absolute target replaces the whole.
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(Errno::LOOP)
}

/// Returns the device folder that a missing file would lie in, if it would lie in one: any folder of a
/// devtmpfs, and what else belongs to `/dev` itself. Other file systems mounted below it (`/dev/shm`) are not.
pub(super) fn device_folder(host: &Host, missing: &Path) -> Option<PathBuf> {
    // Missing folders cannot be judged; the nearest one that exists can.
    let folder = missing.ancestors().skip(1).find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        fs::canonicalize(folder).ok()
    })?;
    let device = device_of(&folder)?;
    let in_devtmpfs =
        mounts(host).iter().any(|mount| mount.device == device && mount.file_system == "devtmpfs");
    // In containers `/dev` is often an ordinary tmpfs, or a folder of the root.
    let in_dev = folder.starts_with(&host.dev) && Some(device) == device_of(&host.dev);
    (in_devtmpfs || in_dev).then_some(folder)
}

/// Returns the device that a file's file system numbers its files by.
fn device_of(path: &Path) -> Option<DeviceNumber> {
    let statx = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
    Some(DeviceNumber { major: statx.stx_dev_major, minor: statx.stx_dev_minor })
}

impl AsFd for OpenedSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for OpenedDestination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
