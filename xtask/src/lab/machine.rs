//! One boot of the guest in QEMU: the machine, its devices, how it ended.
//!
//! In software emulation, whatever the processor could do, so that it is the same everywhere. The host's root is shared read-only. Without a prompt
//! the console goes to a file and what QEMU prints is the guest's report.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::kernel_image::Kernel;
use super::report::Report;
use super::wire::{MARK, PORT};
use crate::{process, programs, tied};

/// How long the guest may take until it says that it is up. A quiet machine takes about ten seconds.
const START_TIME: Duration = Duration::from_secs(450);

/// The processor: all that emulation has, but for CMPXCHG16B. In QEMU 7.2 the flags behind it are now and then garbage (seen: the low bits of RDI),
/// whereupon the kernel's allocator, which uses it all the time, double faults early in the boot.
const CPU: &str = "max,cx16=off";

/// What QEMU's command is called.
pub(super) const QEMU: &str = "qemu-system-x86_64";

/// How nice a guest is. A nicer one would not come up on a machine that does something else, too.
const NICENESS: &str = "10";

/// MiB of the disk for test files; the file behind it has as many as were written.
const DISK_MIB: u64 = 8 << 10;

/// How many of the console's last lines a failure shows.
const LINES_SHOWN: usize = 8;

/// A machine that can be booted.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) initramfs: PathBuf,
    /// Where disks and logs lie.
    pub(super) folder: &'a Path,
    pub(super) images: &'a [(&'a str, u64)],
    pub(super) devices: &'a [&'a str],
    /// It leaves the processors to the guests that go by the clock.
    pub(super) nice: bool,
}

/// How a boot ended, where it was not well.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Broken {
    /// The kernel gave up, with this line.
    Panic(String),
    /// Nothing was heard of the guest.
    NeverUp,
    /// Its time was over.
    Late,
    /// It went off before it was done.
    Off,
}

impl Broken {
    /// Whether the machine is to blame, which emulation makes now and then, and not what ran on it.
    pub(super) fn is_worth_another_boot(&self) -> bool {
        matches!(self, Self::Panic(_) | Self::NeverUp)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panic(line) => write!(f, "the guest panicked: {line}"),
            Self::NeverUp => {
                write!(f, "the guest did not come up (it has {} s)", START_TIME.as_secs())
            }
            Self::Late => f.write_str("the group's time was over"),
            Self::Off => f.write_str("the guest went off before it was done"),
        }
    }
}

impl Machine<'_> {
    /// The console's log.
    pub(super) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Boots, and lets the guest report to `report`. `test_time` is what it has from when it is up.
    pub(super) fn run(&self, test_time: Duration, report: &mut Report) -> Result<Option<Broken>> {
        self.make_disks()?;
        let mut command = self.command()?;
        command.args(["-display", "none", "-serial"]).arg(format!("file:{}", self.console().display()));
        command.args(["-chardev", "file,id=report,path=/dev/stdout", "-device", "virtio-serial-pci"]);
        command.arg("-device").arg(format!("virtserialport,chardev=report,name={PORT}"));
        let ended = process::run_watched(command, Some(START_TIME), |line| {
            let was_up = report.is_up();
            report.line(line);
            (!was_up && report.is_up()).then_some(test_time)
        })?;
        self.remove_disks();
        let console = std::fs::read(self.console()).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        if report.is_done() && ended.success() {
            return Ok(None);
        }
        let broken = match panic_line(&console) {
            Some(line) => Broken::Panic(line.to_owned()),
            None if !report.is_up() && (ended.late || ended.success()) => Broken::NeverUp,
            None if ended.late => Broken::Late,
            None if ended.success() => Broken::Off,
            None => bail!("QEMU ended with {ended}: {}", report.last_lines()),
        };
        for line in last_lines(&console) {
            println!("  console: {line}");
        }
        Ok(Some(broken))
    }

    /// Boots with the console on the terminal.
    pub(super) fn run_on_terminal(&self) -> Result<()> {
        self.make_disks()?;
        let mut command = self.command()?;
        command.args(["-nographic", "-serial", "mon:stdio"]);
        let status = command.status().with_context(|| format!("cannot run {QEMU}"));
        self.remove_disks();
        let status = status?;
        if !status.success() {
            bail!("QEMU ended with {status}");
        }
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let qemu = programs::find(QEMU).with_context(|| format!("{QEMU} is not installed"))?;
        let mut command = Command::new(if self.nice { Path::new("nice") } else { &qemu });
        if self.nice {
            command.args(["-n", NICENESS]).arg(&qemu);
        }
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", "2"]);
        command.args(["-m", "3G", "-nodefaults", "-no-reboot", "-net", "none"]);
        command.arg("-kernel").arg(self.kernel.image()).arg("-initrd").arg(&self.initramfs);
        command.args(["-append", &format!("console=ttyS0 panic=-1 oops=panic quiet {MARK}")]);
        let share = "local,path=/,security_model=none,readonly=on,mount_tag=host,multidevs=remap";
        command.args(["-virtfs", share]);
        let disk = format!("file={},if=none,id=disk,format=raw,cache=unsafe", self.disk().display());
        // The first of its kind, so /dev/vda.
        command.args(["-drive", &disk, "-device", "virtio-blk-pci,drive=disk"]);
        let folder = format!("{}/", self.folder.display());
        command.args(self.devices.iter().map(|word| word.replace("FOLDER/", &folder)));
        tied::tie(&mut command);
        Ok(command)
    }

    fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    /// All disks, with their MiB. Holes, all of them.
    fn disks(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        let images = self.images.iter().map(|&(name, mib)| (self.folder.join(name), mib));
        images.chain([(self.disk(), DISK_MIB)])
    }

    fn make_disks(&self) -> Result<()> {
        for (file, mib) in self.disks() {
            let made = std::fs::File::create(&file).and_then(|disk| disk.set_len(mib << 20));
            made.with_context(|| format!("cannot make {}", file.display()))?;
        }
        Ok(())
    }

    fn remove_disks(&self) {
        for (file, _) in self.disks() {
            // The next boot makes it anew anyway.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// The line with which a kernel gave up.
fn panic_line(console: &str) -> Option<&str> {
    let at = console.find("Kernel panic - not syncing")?;
    console[at..].lines().next()
}

fn last_lines(console: &str) -> VecDeque<&str> {
    let mut last = VecDeque::new();
    for line in console.lines().filter(|line| !line.trim().is_empty()) {
        if last.len() == LINES_SHOWN {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_known_by_its_line() {
        let console =
            "[    1.0] BUG: x\r\n[    1.5] Kernel panic - not syncing: Fatal exception\r\n[    1.6] more\r\n";
        assert_eq!(panic_line(console), Some("Kernel panic - not syncing: Fatal exception"));
        assert_eq!(panic_line("all is well\n"), None);
    }

    #[test]
    fn only_the_machine_is_tried_again() {
        assert!(
            Broken::Panic(String::new()).is_worth_another_boot() && Broken::NeverUp.is_worth_another_boot()
        );
        assert!(!Broken::Late.is_worth_another_boot() && !Broken::Off.is_worth_another_boot());
    }
}
