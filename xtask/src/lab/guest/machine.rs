//! Makes the guest a machine that tests can run on: file systems, modules, a disk for test files, devices.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::lab::wire::Plan;
use crate::{process, programs};

/// The disk for test files, which is the first of its kind.
const DISK: &str = "/dev/vda";

/// Where it is mounted first.
const DISK_AT: &str = "/run/lab/disk";

/// What every group has: type, folder and options.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("tmpfs", "/run", "mode=0755"),
    ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tracefs", "/sys/kernel/tracing", "rw"),
    ("debugfs", "/sys/kernel/debug", "rw"),
    ("configfs", "/sys/kernel/config", "rw"),
];

/// What udev would make: links in `/dev`.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Modules that every group has.
const MODULES: &[&str] = &["virtio_blk", "ext4", "configfs"];

/// How long a step of the set-up may take.
const STEP_TIME: Duration = Duration::from_secs(300);

/// Does all of it.
pub(super) fn prepare(plan: &Plan) -> Result<()> {
    make_folder(Path::new("/lib/modules"))?;
    mount(&["--bind".as_ref(), plan.modules_folder.as_os_str(), "/lib/modules".as_ref()])?;
    for module in MODULES.iter().copied().chain(plan.modules.iter().map(String::as_str)) {
        let mut command = Command::new("modprobe");
        command.args(module.split_ascii_whitespace());
        run(command).with_context(|| format!("the module `{module}`"))?;
    }
    for (kind, folder, options) in MOUNTS {
        make_folder(Path::new(folder))?;
        mount(&[
            "-t".as_ref(),
            kind.as_ref(),
            "-o".as_ref(),
            options.as_ref(),
            kind.as_ref(),
            folder.as_ref(),
        ])?;
    }
    for (to, link) in LINKS {
        std::os::unix::fs::symlink(to, link).with_context(|| format!("cannot make {link}"))?;
    }
    disk(plan)?;
    if !plan.setup.trim().is_empty() {
        let mut command = Command::new("sh");
        command.args(["-euc", &plan.setup]).env(super::tests::GROUP, &plan.group).current_dir("/");
        run(command).context("the set-up of devices")?;
    }
    Ok(())
}

/// An ext4 of its own on the disk, at each of the folders where tests put files.
fn disk(plan: &Plan) -> Result<()> {
    let mut format = Command::new("mkfs.ext4");
    format.args(["-q", "-F", DISK]);
    run(format)?;
    make_folder(Path::new(DISK_AT))?;
    mount(&["-t".as_ref(), "ext4".as_ref(), DISK.as_ref(), DISK_AT.as_ref()])?;
    std::fs::set_permissions(DISK_AT, std::fs::Permissions::from_mode(0o1777)).context(DISK_AT)?;
    for place in &plan.disk_at {
        make_folder(place)?;
        mount(&["--bind".as_ref(), DISK_AT.as_ref(), place.as_os_str()])?;
    }
    Ok(())
}

/// Writes a script that can be run.
pub(super) fn program(file: &Path, script: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        make_folder(folder)?;
    }
    let written = std::fs::write(file, script)
        .and_then(|()| std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)));
    written.with_context(|| format!("cannot write {}", file.display()))
}

fn make_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn mount(words: &[&std::ffi::OsStr]) -> Result<()> {
    let mut command = Command::new("mount");
    command.args(words);
    run(command)
}

/// Runs a program; the error has what it said.
fn run(mut command: Command) -> Result<()> {
    command.env("PATH", programs::search_path());
    let (name, mut lines) = (format!("{:?}", command.get_program()), Vec::new());
    let ended = process::run_within(command, Some(STEP_TIME), |line| lines.push(line.to_owned()))?;
    if !ended.success() {
        bail!("{name}: {ended}: {}", lines.join(" | "));
    }
    Ok(())
}
