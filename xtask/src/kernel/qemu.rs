//! One boot of the kernel: a machine, its disks, what it said.
//!
//! QEMU has an end, whatever becomes of the kernel and of us: a time limit, at a terminal as well, and a signal where we end first.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{process, tied};

/// How long one boot may take.
const BOOT_TIME: Duration = Duration::from_secs(100);

/// How many of a kernel's last lines a failure shows.
const LINES_SHOWN: usize = 12;

/// QEMU's status when the kernel wrote `0x10` to its exit port: `2 * 0x10 + 1`.
const STATUS_PASSED: i32 = 33;

/// The machines of QEMU that the kernel knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Board {
    /// No PCI: virtio over MMIO.
    Microvm,
    /// PCI.
    Q35,
}

/// What is booted.
#[derive(Debug)]
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    pub(super) board: Board,
    pub(super) memory_mib: u32,
    pub(super) words: String,
    pub(super) devices: Vec<String>,
}

/// The facts that a kernel stated.
#[derive(Debug, Default)]
pub(super) struct Facts(BTreeMap<String, String>);

impl Facts {
    /// Returns a fact.
    pub(super) fn text(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).with_context(|| format!("the kernel stated no `{key}`"))
    }

    /// Returns a fact that is a number.
    pub(super) fn number(&self, key: &str) -> Result<u64> {
        let text = self.text(key)?;
        text.parse().with_context(|| format!("the fact {key}={text} is no number"))
    }

    /// Fails unless a fact has this value.
    pub(super) fn expect(&self, key: &str, value: u64) -> Result<()> {
        let stated = self.number(key)?;
        if stated != value {
            bail!("{key} is {stated}, it must be {value}");
        }
        Ok(())
    }
}

impl Boot<'_> {
    /// Boots, and returns the facts where the kernel says that all went well.
    pub(super) fn run(self) -> Result<Facts> {
        let mut command = Command::new("qemu-system-x86_64");
        let board = match self.board {
            // The bases of its devices come by the command line.
            Board::Microvm => "microvm,acpi=off",
            Board::Q35 => "q35",
        };
        command.args(["-M", board, "-accel", "tcg", "-cpu", "max", "-nodefaults", "-nographic"]);
        command.args(["-no-reboot", "-serial", "stdio", "-m", &format!("{}M", self.memory_mib)]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        command.args(&self.devices).arg("-kernel").arg(self.kernel).args(["-append", &self.words]);
        tied::tie(&mut command);
        let (mut facts, mut twice, mut lines) = (Facts::default(), None, VecDeque::new());
        let ended = process::run_within(command, Some(BOOT_TIME), |line| {
            // The firmware may leave something before the kernel's first line.
            if let Some((_, fact)) = line.split_once("fact ")
                && let Some((key, value)) = fact.split_once('=')
                && let Some(first) = facts.0.insert(key.to_owned(), value.to_owned())
            {
                twice.get_or_insert(format!("{key}={first}, and then {key}={value}"));
            }
            if lines.len() == LINES_SHOWN {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        })?;
        if ended.status.code() != Some(STATUS_PASSED) || ended.late {
            let said = lines.iter().map(|line| line.trim()).collect::<Vec<_>>();
            bail!("QEMU ended with {ended}; the kernel said: {}", said.join(" | "));
        }
        match twice {
            Some(twice) => bail!("the kernel stated a fact twice: {twice}"),
            None => Ok(facts),
        }
    }
}

/// Where the files of a case lie.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(scratch: &Path, case: &str) -> Result<Self> {
        let folder = scratch.join(case);
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// The file `name`.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let file = self.file(name);
        std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))
    }

    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.file(name);
        std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The scratch directory goes at the end anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
