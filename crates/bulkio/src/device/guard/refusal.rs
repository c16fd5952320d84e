//! Why a copy is refused before anything is written, each reason with its numbers and what to do.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use rustix::io::Errno;

use super::claim::Claims;
use crate::probe::DeviceNumber;

/// Which end of a copy a refusal is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The end that is read.
    Source,
    /// The end that is written.
    Destination,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

/// The storage that both ends of a copy reach.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Shared {
    /// One file, perhaps by two names or through a loop device.
    File {
        /// The device that its file system numbers files by.
        device: DeviceNumber,
        /// Its inode number.
        inode: u64,
    },
    /// One disk, perhaps through partitions, loop devices or devices made of it.
    Disk {
        /// Its number.
        number: DeviceNumber,
        /// Its name, if sysfs tells.
        name: Option<String>,
    },
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { device, inode } => write!(f, "one file (inode {inode} of device {device})"),
            Self::Disk { number, name: Some(name) } => write!(f, "the disk {name} ({number})"),
            Self::Disk { number, name: None } => write!(f, "the disk {number}"),
        }
    }
}

/// Why a copy is refused before anything is written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The destination would be a plain file among the device nodes.
    #[error(
        "{} does not exist, and a plain file in the device folder {} would fill memory instead of a disk; \
         check the device's name and that it is plugged in",
        .path.display(), .folder.display()
    )]
    MissingDeviceNode {
        /// The destination.
        path: PathBuf,
        /// The device folder that it would have been created in.
        folder: PathBuf,
    },
    /// There is no such source, or no such destination and none was to be created.
    #[error("the {role} {} does not exist; check the spelling", .path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// Which end it is.
        role: Role,
    },
    /// The destination exists, and it was to be created.
    #[error("the destination {} exists already; choose a new name, or allow existing files", .path.display())]
    Exists {
        /// The destination.
        path: PathBuf,
    },
    /// Somebody uses the destination disk.
    #[error(
        "{} is in use: {claims}; unmount or release it first (--force overrides this check and destroys what \
         its user has stored)",
        .path.display()
    )]
    Claimed {
        /// The destination.
        path: PathBuf,
        /// Who uses it, as far as it can be found.
        claims: Claims,
    },
    /// Standard output is a disk, which nobody checked when it was opened.
    #[error(
        "standard output is the disk {}, opened by somebody who did not check whether it is in use; name it as DST instead of \
         writing to standard output, so that it is checked and held",
        disk_name(.node.as_deref(), *.number)
    )]
    StandardOutputDisk {
        /// Its number.
        number: DeviceNumber,
        /// Its node, if that is known.
        node: Option<PathBuf>,
    },
    /// Nobody can say whether the disk behind a node for commands is in use: its block node is missing.
    #[error(
        "{} is the disk {number}, whose block node is missing below /dev, so that nobody can say whether it is in use; make the node, or \
         write to it all the same (--force)",
        .path.display()
    )]
    NoBlockNode {
        /// The destination.
        path: PathBuf,
        /// The number of its block device.
        number: DeviceNumber,
    },
    /// Somebody uses the destination disk, and this kernel lets nobody overrule that.
    #[error(
        "{} is in use: {claims}; this kernel refuses every write to a disk in use, also a forced one: unmount or \
         release it",
        .path.display()
    )]
    ClaimedForGood {
        /// The destination.
        path: PathBuf,
        /// Who uses it, as far as it can be found.
        claims: Claims,
    },
    /// The copy would overwrite bytes that it reads.
    #[error(
        "writing {} would overwrite what is read from {}: both reach bytes {} to {} of {shared}; choose another \
         destination, or ranges that do not meet",
        .destination.display(), .source_path.display(), .range.start, .range.end
    )]
    Overlap {
        /// The end that is read.
        source_path: PathBuf,
        /// The end that is written.
        destination: PathBuf,
        /// What both reach.
        shared: Shared,
        /// The bytes of it that both reach.
        range: Range<u64>,
    },
    /// One destination is named twice.
    #[error("{} and {} are one destination; name each once", .first.display(), .second.display())]
    DestinationTwice {
        /// The one name.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Two destinations reach the same bytes.
    #[error(
        "writing {} and {} would change the same bytes twice: both reach bytes {} to {} of {shared}; choose destinations that do not meet",
        .first.display(), .second.display(), .range.start, .range.end
    )]
    DestinationsOverlap {
        /// The one destination.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// What both reach.
        shared: Shared,
        /// The bytes of it that both reach.
        range: Range<u64>,
    },
    /// The devices below one end are stacked too deep to follow, so that nobody can say whether the ends meet, or who uses them.
    #[error(
        "{} stands on more than {layers_max} layers of devices, so that nobody can say what is at their end, \
         and who uses it; use one of the devices below it",
        .path.display()
    )]
    TooDeep {
        /// The end in question.
        path: PathBuf,
        /// How many layers are followed.
        layers_max: usize,
    },
    /// One end is a directory.
    #[error("the {role} {} is a directory; name a file in it, or a device", .path.display())]
    Directory {
        /// The path.
        path: PathBuf,
        /// Which end it is.
        role: Role,
    },
    /// One end is a socket.
    #[error("the {role} {} is a socket, which cannot be opened as a file; connect it to a pipe", .path.display())]
    Socket {
        /// The path.
        path: PathBuf,
        /// Which end it is.
        role: Role,
    },
    /// The destination device is smaller than what is to be written.
    #[error("{}", too_small(.path, *.needed_bytes, *.seek, *.capacity, *.shortfall))]
    TooSmall {
        /// The destination.
        path: PathBuf,
        /// Bytes to write, if that is known.
        needed_bytes: Option<u64>,
        /// Position of the first of them.
        seek: u64,
        /// Bytes that the destination holds.
        capacity: u64,
        /// Bytes that do not fit.
        shortfall: u64,
    },
    /// The destination is not the disk that it was expected to be.
    #[error(
        "{} is not the disk that was expected: its {what} is {found}, and not {expected}; check which disk it is",
        .path.display()
    )]
    NotAsExpected {
        /// The destination.
        path: PathBuf,
        /// What differs: the serial number, the size.
        what: &'static str,
        /// What was expected.
        expected: String,
        /// What the destination says.
        found: String,
    },
    /// The destination disk holds something, and the one who was asked does not want it overwritten.
    #[error("{} is left as it is: it holds {holds}, and that is not to be overwritten", .path.display())]
    Kept {
        /// The destination.
        path: PathBuf,
        /// What it holds, in words.
        holds: String,
    },
    /// The system refused to open one end.
    #[error("cannot open the {role} {}: {errno}; {}", .path.display(), open_advice(*.errno))]
    Open {
        /// The path.
        path: PathBuf,
        /// Which end it is.
        role: Role,
        /// The system's answer.
        errno: Errno,
    },
    /// The path led to something else each time that it was looked at.
    #[error(
        "the {role} {} changed while it was opened ({tries} times); stop what replaces it, and try again",
        .path.display()
    )]
    Changing {
        /// The path.
        path: PathBuf,
        /// Which end it is.
        role: Role,
        /// How often it was tried.
        tries: u32,
    },
}

fn disk_name(node: Option<&std::path::Path>, number: DeviceNumber) -> String {
    node.map_or_else(|| number.to_string(), |node| node.display().to_string())
}

fn too_small(
    path: &std::path::Path,
    needed: Option<u64>,
    seek: u64,
    capacity: u64,
    shortfall: u64,
) -> String {
    let path = path.display();
    match needed {
        Some(needed) => format!(
            "{path} holds {capacity} bytes, but {needed} bytes from position {seek} on are to be written: \
             {shortfall} bytes too few; use a larger device, or copy less (count, seek)"
        ),
        None => format!(
            "{path} holds {capacity} bytes, but writing is to start at position {seek}: {shortfall} bytes past \
             its end; lower seek, or use a larger device"
        ),
    }
}

fn open_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS | Errno::PERM => "ask for permission to it, or run as a user who has it",
        Errno::ROFS => "it is read-only: check its write protection and its mount",
        Errno::NOENT | Errno::NOTDIR => "a folder of its path is missing",
        Errno::NXIO | Errno::NODEV => "no device stands behind this node",
        Errno::NOMEDIUM => "insert a medium",
        Errno::TXTBSY => "it is a running program or a swap file",
        Errno::MFILE | Errno::NFILE => "too many files are open: raise the limit (ulimit -n)",
        _ => "see open(2) for this error",
    }
}
