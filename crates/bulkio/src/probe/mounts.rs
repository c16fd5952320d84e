//! What is mounted and what is swap: `/proc/self/mountinfo` and `/proc/swaps`, parsed.
//!
//! Both write odd bytes of names as octal escapes (`\040`). A line that does not parse is passed over.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::host::Host;
use super::sysfs::DeviceNumber;

/// One line of mountinfo (`Documentation/filesystems/proc.rst`, section 3.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Mount {
    /// The mount's number, the `stx_mnt_id` of its files.
    pub(crate) id: u64,
    /// The device number of its files, made up for file systems without a single disk.
    pub(crate) device: DeviceNumber,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// The file system's name.
    pub(crate) file_system: String,
    /// What was mounted: a device node, or any text.
    pub(crate) source: PathBuf,
}

/// Reads the mounts that this process sees.
pub(crate) fn mounts(host: &Host) -> Vec<Mount> {
    let text = fs::read(host.proc.join("self/mountinfo")).unwrap_or_default();
    text.split(|&byte| byte == b'\n').filter_map(parse_mount).collect()
}

/// Reads the files and devices that are swapped to.
pub(crate) fn swaps(host: &Host) -> Vec<PathBuf> {
    let text = fs::read(host.proc.join("swaps")).unwrap_or_default();
    let lines = text.split(|&byte| byte == b'\n').skip(1);
    lines.filter_map(|line| fields(line).next()).map(unescape).collect()
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty())
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = fields(line);
    let id = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let _parent = fields.next()?;
    let device = str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let _root = fields.next()?;
    let point = unescape(fields.next()?);
    // Mount options and any number of optional fields end with a lone dash.
    let mut rest = fields.skip_while(|&field| field != b"-").skip(1);
    let file_system = String::from_utf8_lossy(rest.next()?).into_owned();
    let source = unescape(rest.next()?);
    Some(Mount { id, device, point, file_system, source })
}

/// Replaces `\ooo` by the byte that it stands for.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'\\').then(|| after.get(..3).and_then(octal_byte)).flatten();
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal_byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_gives_its_fields() {
        let line = b"36 35 259:3 / /mnt/a\\040b rw,noatime shared:1 master:2 - ext4 /dev/nvme0n1p2 rw";
        let mount = parse_mount(line).expect("a good line");
        assert_eq!(mount.id, 36);
        assert_eq!(mount.device, DeviceNumber { major: 259, minor: 3 });
        assert_eq!(mount.point, PathBuf::from("/mnt/a b"));
        assert_eq!((mount.file_system.as_str(), mount.source.to_str()), ("ext4", Some("/dev/nvme0n1p2")));
    }

    #[test]
    fn nonsense_is_passed_over() {
        for line in [
            "",
            "36",
            "36 35",
            "x y z",
            "36 35 8:1 / /mnt rw",
            "36 35 8 / /mnt rw - ext4 x",
            "36 35 8:1 / /m - ",
        ] {
            assert_eq!(parse_mount(line.as_bytes()), None, "{line}");
        }
        assert_eq!(unescape(b"a\\04"), PathBuf::from("a\\04"));
        assert_eq!(unescape(b"a\\999\\"), PathBuf::from("a\\999\\"));
        assert_eq!(unescape(b"\\011x\\134"), PathBuf::from("\tx\\"));
    }
}
