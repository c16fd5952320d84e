//! What a destination is and what would refuse it, found out without claiming, creating or writing anything: for a plan.
//!
//! A file that is not there is stood for by one without a name in its folder, which is gone when it is closed. Where the file system has
//! none, a file in memory stands for it, and that its limits are not those of the new file is told. What only the attempt
//! tells, such as another program that holds a disk exclusively, is not known here.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;

use super::below::{Below, Hold};
use super::claim::Claims;
use super::open::{ClaimPolicy, EndKind, Seen, Warning, device_folder, follow_missing, look, open_seen};
use super::refusal::{Refusal, Role};
use super::sibling::Sibling;
use crate::probe::DeviceNumber;
use crate::probe::chars::CharFolder;
use crate::probe::host::Host;

/// A destination that was only looked at.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inspected {
    /// A descriptor to ask: for reading where it is a file or disk that may be read, else `O_PATH`.
    pub fd: OwnedFd,
    /// What it is.
    pub kind: EndKind,
    /// Whether the file would be created. The descriptor is then that of an unnamed file in the same folder.
    pub is_new: bool,
    /// The answer of a file system that has no unnamed files: the descriptor is then that of a file in memory, whose limits are not those
    /// of the file that would be created. `None` where they are.
    pub stand_in: Option<Errno>,
    /// What would refuse it.
    pub refusals: Vec<Refusal>,
    /// What would be overruled.
    pub warnings: Vec<Warning>,
}

/// Looks at the destination of a copy as [`open_destination`](super::open_destination) would, and leaves no trace.
///
/// # Errors
/// The [`Refusal`] of what is no destination at all: a folder, a socket, a missing device node, a folder of the path that is missing.
pub fn inspect_destination(path: &Path, policy: ClaimPolicy) -> Result<Inspected, Refusal> {
    let host = Host::default();
    let role = Role::Destination;
    let refused = |errno| Refusal::Open { path: path.to_owned(), role, errno };
    let Some(seen) = look(path, role)? else { return unnamed(&host, path) };
    let mut found = (Vec::new(), Vec::new());
    if let Err(errno) = rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS) {
        found.0.push(refused(errno));
    }
    let number = DeviceNumber { major: seen.statx.stx_rdev_major, minor: seen.statx.stx_rdev_minor };
    let takes_commands = seen.kind == EndKind::CharDevice
        && CharFolder::find(&host, number).is_some_and(|folder| folder.class().takes_commands());
    if seen.kind == EndKind::BlockDevice {
        let mut claims = Claims::find(&host, number);
        match Below::find(&host, path, (number, None), Hold::Leave) {
            Ok(below) => claims.add(below.claims),
            Err(refusal) => found.0.push(refusal),
        }
        judge(path, claims, policy, &mut found);
    } else if takes_commands {
        judge_sibling(&host, path, number, policy, &mut found);
    }
    let fd = open(path, &seen).map_err(refused)?;
    let Some(fd) = fd else {
        return Err(Refusal::Changing { path: path.to_owned(), role, tries: 1 });
    };
    let (refusals, warnings) = found;
    Ok(Inspected { fd, kind: seen.kind, is_new: false, stand_in: None, refusals, warnings })
}

/// Opens what was seen; pipes and character devices would notice, so they are only named.
fn open(path: &Path, seen: &Seen) -> Result<Option<OwnedFd>, Errno> {
    let flags = match seen.kind {
        EndKind::File | EndKind::BlockDevice => OFlags::RDONLY | OFlags::NONBLOCK,
        EndKind::CharDevice | EndKind::Pipe => OFlags::PATH,
    };
    match open_seen(path, flags, seen) {
        Err(Errno::ACCESS | Errno::PERM) => open_seen(path, OFlags::PATH, seen),
        other => other,
    }
}

type Found = (Vec<Refusal>, Vec<Warning>);

/// Adds who uses a disk, by what is done about that.
fn judge(path: &Path, claims: Claims, policy: ClaimPolicy, found: &mut Found) {
    let path = path.to_owned();
    match policy {
        _ if claims.is_empty() => {}
        ClaimPolicy::Exclusive => found.0.push(Refusal::Claimed { path, claims }),
        ClaimPolicy::Forced => found.1.push(Warning::ClaimOverridden { path, claims }),
    }
}

/// The same of the disk behind a node for commands.
fn judge_sibling(host: &Host, path: &Path, number: DeviceNumber, policy: ClaimPolicy, found: &mut Found) {
    let unheld = |why| Warning::Unheld { path: path.to_owned(), why };
    let Some(sibling) = Sibling::find(host, number) else {
        found.1.push(unheld("no driver makes a block device of it"));
        return;
    };
    let claims = Claims::find(host, sibling.number);
    match (&sibling.node, policy) {
        (None, ClaimPolicy::Exclusive) if claims.is_empty() => {
            found.0.push(Refusal::NoBlockNode { path: path.to_owned(), number: sibling.number });
        }
        (None, ClaimPolicy::Forced) => found.1.push(unheld("the node of its block device is missing")),
        _ => judge(path, claims, policy, found),
    }
}

/// Stands in for a file that is not there.
fn unnamed(host: &Host, path: &Path) -> Result<Inspected, Refusal> {
    let refused = |errno| Refusal::Open { path: path.to_owned(), role: Role::Destination, errno };
    let target = follow_missing(path).map_err(refused)?;
    if let Some(folder) = device_folder(host, &target) {
        return Err(Refusal::MissingDeviceNode { path: path.to_owned(), folder });
    }
    let folder = match target.parent() {
        Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
        Some(folder) => folder.to_owned(),
        None => return Err(refused(Errno::NOENT)),
    };
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, &folder, flags, Mode::from_raw_mode(0o600));
    let (fd, stand_in) = match opened {
        Ok(fd) => (fd, None),
        // open(2): the file system has no such files, or the kernel does not know the flag.
        Err(errno @ (Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL)) => {
            (in_memory(&folder).map_err(refused)?, Some(errno))
        }
        Err(errno) => return Err(refused(errno)),
    };
    let (refusals, warnings) = (Vec::new(), Vec::new());
    Ok(Inspected { fd, kind: EndKind::File, is_new: true, stand_in, refusals, warnings })
}

/// Makes a file in memory, if one could be created in the folder as far as its permissions say.
fn in_memory(folder: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::accessat(CWD, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
    rustix::fs::memfd_create("new file", MemfdFlags::CLOEXEC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let (there, new) = (folder.path().join("there"), folder.path().join("new"));
        std::fs::write(&there, b"some bytes").expect("a file");
        let look = |path: &Path| inspect_destination(path, ClaimPolicy::Exclusive);
        let found = look(&there).expect("a file");
        assert!(!found.is_new && found.kind == EndKind::File && found.refusals.is_empty());
        assert!(look(&new).is_ok_and(|found| found.is_new && found.kind == EndKind::File));
        assert_eq!(std::fs::read(&there).expect("it is there"), b"some bytes");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
        assert!(matches!(look(folder.path()), Err(Refusal::Directory { .. })));
        assert!(matches!(look(&folder.path().join("no/file")), Err(Refusal::Open { .. })));
        let missing = look(Path::new("/dev/bulkio-no-such-disk"));
        assert!(matches!(missing, Err(Refusal::MissingDeviceNode { .. })), "{missing:?}");
        let null = look(Path::new("/dev/null")).expect("a stream");
        assert_eq!(null.kind, EndKind::CharDevice);
    }
}
