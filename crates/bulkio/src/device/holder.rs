//! Who has a device open, for messages that say that it is in use.
//!
//! The links in `/proc/PID/fd` are followed and compared by device number (proc(5)): nothing is opened. What this process may not see is left out, so an
//! empty answer says nothing. Bounded: so many processes and descriptors, then it stops.

use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use crate::probe::DeviceNumber;
use crate::probe::host::{Host, read_line};

/// The most links that are looked at.
const LINKS_MAX: usize = 100_000;
/// The most holders that are named.
const HOLDERS_MAX: usize = 8;

/// A process that has a device open.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// The name of its program, as the kernel keeps it.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

/// Finds the processes that have the character device with this number open; this one is not among them.
pub(crate) fn holders(number: DeviceNumber) -> Vec<Holder> {
    holders_on(&Host::default(), number)
}

fn holders_on(host: &Host, number: DeviceNumber) -> Vec<Holder> {
    let Ok(processes) = fs::read_dir(&host.proc) else { return Vec::new() };
    let (own, mut left, mut found) = (std::process::id(), LINKS_MAX, Vec::new());
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == own || found.len() >= HOLDERS_MAX {
            continue;
        }
        let Ok(links) = fs::read_dir(process.path().join("fd")) else { continue };
        let mut is_it = |link: fs::DirEntry| {
            left = left.saturating_sub(1);
            left > 0 && fs::metadata(link.path()).is_ok_and(|file| is_device(&file, number))
        };
        if links.flatten().any(&mut is_it) {
            let command = read_line(&process.path().join("comm")).unwrap_or_else(|| "?".to_owned());
            found.push(Holder { pid, command });
        }
        if left == 0 {
            break;
        }
    }
    found.sort_by_key(|holder: &Holder| holder.pid);
    found
}

fn is_device(file: &fs::Metadata, number: DeviceNumber) -> bool {
    let rdev = file.rdev();
    file.file_type().is_char_device()
        && libc::major(rdev) == number.major
        && libc::minor(rdev) == number.minor
}

/// Writes holders one after the other: "v4l2-ctl (pid 123), obs (pid 7)".
pub(crate) fn list(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "this process itself, or one that cannot be seen from here,".to_owned();
    }
    holders.iter().map(Holder::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::probe::fake::FakeHost;

    #[test]
    fn processes_are_named_by_what_they_have_open() {
        let made_up = FakeHost::new();
        let process = |pid: u32, command: &str, node: &str| {
            let folder = made_up.host.proc.join(pid.to_string());
            fs::create_dir_all(folder.join("fd")).expect("a folder");
            fs::write(folder.join("comm"), format!("{command}\n")).expect("a file");
            symlink("/proc/self/exe", folder.join("fd/0")).expect("a link");
            symlink(node, folder.join("fd/3")).expect("a link");
        };
        process(500_001, "grabber", "/dev/null");
        process(500_002, "other", "/dev/zero");
        process(500_003, "second", "/dev/null");
        // 1 char, 3: Linux, Documentation/admin-guide/devices.txt.
        let found = holders_on(&made_up.host, DeviceNumber { major: 1, minor: 3 });
        assert_eq!(list(&found), "grabber (pid 500001), second (pid 500003)");
        assert_eq!(holders_on(&made_up.host, DeviceNumber { major: 81, minor: 0 }), []);
        assert!(list(&[]).contains("cannot be seen"));
    }
}
