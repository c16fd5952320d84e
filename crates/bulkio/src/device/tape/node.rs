//! [`Node`]: a drive behind the Linux driver `st`.
//!
//! `/dev/stN` rewinds when it is closed, `/dev/nstN` does not (Documentation/scsi/st.rst, "Minor and major numbers"): [`find`] takes the
//! second where the first is named. The node is opened without waiting for a tape, so that an empty drive is told from a broken one.
//! Only plain calls: `read(2)`, `write(2)` and the ioctls of `mtio`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::direct::DirectRule;
use super::drive::{BlockLimits, Drive, Op, Status};
use super::error::TapeError;
use super::{limits, mtio};
use crate::probe::host::{Host, read_line};
use crate::probe::{DeviceNumber, TapeNode};

/// Where the driver keeps its parameters in sysfs (Documentation/scsi/st.rst, "Sysfs and driver parameters").
const DRIVER: &str = "bus/scsi/drivers/st";

/// Segments of the driver's buffer where it does not say: `max_sg_segs`, Documentation/scsi/st.rst.
const SEGMENTS_DEFAULT: u64 = 256;

/// Alignment of direct I/O: a queue's default, `SECTOR_SIZE` (`blk_set_default_limits`, Linux, block/blk-settings.c). A tape has no queue folder that
/// would say otherwise.
const ALIGN_DEFAULT_BYTES: u64 = 512;

/// An open drive.
#[derive(Debug)]
pub struct Node {
    fd: OwnedFd,
    rule: DirectRule,
    block_limits: Option<BlockLimits>,
}

/// A node that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) number: DeviceNumber,
    /// What the user should know about the choice.
    pub(super) note: Option<String>,
}

/// Looks at a path without opening it; `None` where it is no tape drive.
fn look(path: &Path) -> Result<Option<DeviceNumber>, Errno> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    let number = DeviceNumber { major: found.stx_rdev_major, minor: found.stx_rdev_minor };
    let is_char = FileType::from_raw_mode(found.stx_mode.into()) == FileType::CharacterDevice;
    Ok((is_char && number.major == TapeNode::MAJOR).then_some(number))
}

/// Says whether a path leads to a tape drive, without opening it.
#[must_use]
pub fn is_tape(path: &Path) -> bool {
    look(path).is_ok_and(|found| found.is_some())
}

/// Finds the node to open for `path`: the one that does not rewind, unless `rewinding`.
pub(super) fn find(host: &Host, path: &Path, rewinding: bool) -> Result<Found, TapeError> {
    let number = look(path).map_err(|errno| TapeError::open(path, errno))?;
    let number = number.ok_or_else(|| TapeError::NotATape { path: path.to_owned() })?;
    let named = TapeNode::of(number);
    if rewinding || !named.rewinds {
        return Ok(Found { path: path.to_owned(), number, note: None });
    }
    let wanted = DeviceNumber { minor: number.minor | TapeNode::KEEPS_POSITION, ..number };
    let candidates = [node_of(host, wanted), beside(path)];
    let is_it = |candidate: &PathBuf| look(candidate).is_ok_and(|found| found == Some(wanted));
    match candidates.into_iter().flatten().find(is_it) {
        Some(sibling) => {
            let note = format!(
                "{} rewinds the tape when it is closed; {}, the same drive, does not and is used instead",
                path.display(),
                sibling.display()
            );
            Ok(Found { path: sibling, number: wanted, note: Some(note) })
        }
        None => {
            let sibling = beside(path).unwrap_or_else(|| path.to_owned());
            Err(TapeError::Rewinds { path: path.to_owned(), sibling })
        }
    }
}

/// The node that sysfs names for a number.
fn node_of(host: &Host, number: DeviceNumber) -> Option<PathBuf> {
    let folder = std::fs::canonicalize(host.sys.join("dev/char").join(number.to_string())).ok()?;
    Some(host.dev.join(folder.file_name()?))
}

/// The customary name of the node that does not rewind: `nst0` beside `st0`.
fn beside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    Some(path.with_file_name(format!("n{name}")))
}

/// Returns the driver's rule for direct I/O, for the drive with this number.
pub(crate) fn direct_rule(host: &Host, number: DeviceNumber) -> DirectRule {
    let parameter = |name: &str| read_line(&host.sys.join(DRIVER).join(name))?.parse::<u64>().ok();
    let segments = parameter("max_sg_segs").unwrap_or(SEGMENTS_DEFAULT);
    let adapter = adapter_segments(host, number).unwrap_or(u64::MAX);
    DirectRule {
        tried: parameter("try_direct_io").is_none_or(|tried| tried != 0),
        addr_align: ALIGN_DEFAULT_BYTES,
        pages_max: segments.min(adapter),
        page_len: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
    }
}

/// The segments that the adapter takes (`sg_tablesize` of its `scsi_host`), found by the name of the folder `hostN` above the drive.
fn adapter_segments(host: &Host, number: DeviceNumber) -> Option<u64> {
    let folder = std::fs::canonicalize(host.sys.join("dev/char").join(number.to_string())).ok()?;
    let is_adapter = |name: &&str| {
        name.strip_prefix("host")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let names = folder.ancestors().filter_map(|folder| folder.file_name()?.to_str());
    let adapter = names.into_iter().find(is_adapter)?.to_owned();
    let file = host.sys.join("class/scsi_host").join(adapter).join("sg_tablesize");
    read_line(&file)?.parse().ok().filter(|segments| *segments > 0)
}

impl Node {
    /// Opens a node that was found.
    pub(super) fn open(
        host: &Host,
        found: &Found,
        writes: bool,
        block_limits: Option<BlockLimits>,
    ) -> Result<Self, TapeError> {
        let access = if writes { OFlags::RDWR } else { OFlags::RDONLY };
        // Without O_NONBLOCK the open waits for a tape for minutes, and a protected one is refused before it can be asked for its position.
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = rustix::fs::open(&found.path, flags, Mode::empty());
        let fd = fd.map_err(|errno| TapeError::open(&found.path, errno))?;
        let block_limits = block_limits.or_else(|| limits::ask(fd.as_fd()));
        Ok(Self { fd, rule: direct_rule(host, found.number), block_limits })
    }
}

/// Repeats a call that a signal came before: the driver looks for signals only before it begins.
fn through_signals<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

impl Drive for Node {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Errno> {
        through_signals(|| rustix::io::read(&self.fd, &mut *bytes))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        through_signals(|| rustix::io::write(&self.fd, bytes))
    }

    fn control(&mut self, op: Op, count: u32) -> Result<(), Errno> {
        through_signals(|| mtio::control(self.fd.as_fd(), op, count))
    }

    fn status(&mut self) -> Result<Status, Errno> {
        through_signals(|| mtio::status(self.fd.as_fd()))
    }

    fn tell(&mut self) -> Result<u64, Errno> {
        through_signals(|| mtio::tell(self.fd.as_fd()))
    }

    fn block_limits(&mut self) -> Option<BlockLimits> {
        self.block_limits
    }

    fn direct_rule(&self) -> DirectRule {
        self.rule
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::probe::fake::FakeHost;

    #[test]
    fn what_is_no_tape_is_refused_without_opening_it() {
        let host = Host::default();
        for path in ["/dev/null", "/proc/self/exe"] {
            let error = find(&host, Path::new(path), false).expect_err("no tape");
            assert_eq!(error, TapeError::NotATape { path: path.into() });
        }
        let missing = Path::new("/dev/nst-none");
        let error = find(&host, missing, false).expect_err("no node");
        assert_eq!(error, TapeError::Open { path: missing.to_owned(), errno: Errno::NOENT });
    }

    #[test]
    fn the_rule_is_the_drivers_and_the_adapters() {
        let made_up = FakeHost::new();
        let number = DeviceNumber { major: TapeNode::MAJOR, minor: 128 };
        let rule = direct_rule(&made_up.host, number);
        assert_eq!((rule.tried, rule.addr_align, rule.pages_max), (true, 512, 256), "nothing is stated");

        let place = made_up.host.sys.join("devices/host7/session1/target7:0:0/7:0:0:1/scsi_tape/nst0");
        std::fs::create_dir_all(&place).expect("a folder");
        std::fs::create_dir_all(made_up.host.sys.join("dev/char")).expect("a folder");
        symlink(&place, made_up.host.sys.join("dev/char/9:128")).expect("a link");
        assert_eq!(node_of(&made_up.host, number), Some(made_up.host.dev.join("nst0")));
        for (file, text) in [
            ("bus/scsi/drivers/st/max_sg_segs", "128\n"),
            ("bus/scsi/drivers/st/try_direct_io", "0\n"),
            ("class/scsi_host/host7/sg_tablesize", "64\n"),
        ] {
            let file = made_up.host.sys.join(file);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
            std::fs::write(file, text).expect("a file");
        }
        let rule = direct_rule(&made_up.host, number);
        assert_eq!((rule.tried, rule.pages_max), (false, 64));
    }

    #[test]
    fn nodes_are_named_by_custom_where_nobody_else_names_them() {
        assert_eq!(beside(Path::new("/dev/st0")), Some(PathBuf::from("/dev/nst0")));
    }
}
