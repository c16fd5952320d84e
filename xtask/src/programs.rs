//! The system's programs that tests and benches call: finds them, and installs what is missing where it may.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use rustix::process::geteuid;

/// A program and the Debian package that has it.
pub(crate) type Program = (&'static str, &'static str);

/// What the tests call.
pub(crate) const FOR_TESTS: &[Program] = &[
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("blockdev", "util-linux"),
    ("setpriv", "util-linux"),
    ("sfdisk", "fdisk"),
    ("ddrescue", "gddrescue"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// What `cargo xtask kernel` calls.
pub(crate) const FOR_KERNEL: &[Program] = &[("qemu-system-x86_64", "qemu-system-x86")];

const SYSTEM_FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// PATH with the folders of system programs added, which an ordinary user's PATH may lack.
pub(crate) fn search_path() -> String {
    let mut path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    for folder in SYSTEM_FOLDERS {
        if !path.split(':').any(|part| part == folder) {
            path.push(':');
            path.push_str(folder);
        }
    }
    path
}

/// Where `name` is, if it is anywhere.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    search_path().split(':').map(|folder| PathBuf::from(folder).join(name)).find(|file| file.is_file())
}

/// Sees that all `programs` are there; the error holds the one line that would install the missing ones.
pub(crate) fn ensure(programs: &[Program]) -> Result<()> {
    let packages = missing(programs);
    if packages.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install -y {}", packages.join(" "));
    if !geteuid().is_root() || find("apt-get").is_none() {
        bail!("programs are missing; to install them run: sudo {line}");
    }
    println!("installing {}", packages.join(" "));
    // Old package lists may still do, so a failure here does not end it.
    apt_get(&["update"]);
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(&packages);
    if !apt_get(&arguments) || !missing(programs).is_empty() {
        bail!("could not install {}; run: {line}", packages.join(" "));
    }
    Ok(())
}

fn missing(programs: &[Program]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        programs.iter().filter(|(name, _)| find(name).is_none()).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn apt_get(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}
