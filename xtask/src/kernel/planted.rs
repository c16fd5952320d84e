//! The planted mistakes: one boot makes one of each class, and each class is a case of its own.
//!
//! A case passes where the checker told exactly that class (and what always goes with it), once. What the kernel must name is
//! [`CLASSES`], which it shares with the kernel.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use kernel::misuse::{CLASSES, Class};

use super::judge::Content;
use super::qemu::{Board, Boot, Facts, Folder};

/// Bytes of the disk.
const DISK_LEN: u64 = 1 << 20;

/// Bytes that stay taken on purpose: the frame of `dropped-in-flight`.
const LEAKED_BYTES: u64 = 4096;

/// The classes whose case has `filter` in its name.
pub(super) fn wanted(filter: Option<&str>) -> Vec<Class> {
    let named = |class: &&Class| filter.is_none_or(|filter| name(class).contains(filter));
    CLASSES.iter().filter(named).copied().collect()
}

/// The name of a case, and of the fact that it judges by.
pub(super) fn name(class: &Class) -> String {
    format!("planted-{}", class.name)
}

/// Makes all mistakes, and judges those of `classes`.
pub(super) fn run(kernel: &Path, scratch: &Path, classes: &[Class]) -> Vec<(String, Result<()>)> {
    let facts = boot(kernel, scratch);
    let verdict = |class: &Class| match &facts {
        Ok(facts) => judge(facts, class),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    classes.iter().map(|class| (name(class), verdict(class))).collect()
}

fn boot(kernel: &Path, scratch: &Path) -> Result<Facts> {
    let folder = Folder::new(scratch, "planted")?;
    let disk = Content::Random(3).bytes(DISK_LEN);
    folder.write("disk", &disk)?;
    let file = folder.file("disk");
    let devices = [
        "-global",
        "virtio-mmio.force-legacy=false",
        "-drive",
        &format!("file={},if=none,id=disk,format=raw,cache=unsafe", file.display()),
        "-device",
        "virtio-blk-device,drive=disk",
    ];
    let boot = Boot {
        kernel,
        board: Board::Microvm,
        memory_mib: 128,
        words: "scenario=planted bug=all".to_owned(),
        devices: devices.map(str::to_owned).to_vec(),
    };
    let facts = boot.run()?;
    // Whatever went wrong on purpose, the machine is whole.
    facts.expect("leaked", LEAKED_BYTES)?;
    facts.expect("planted", u64::try_from(CLASSES.len())?)?;
    let honest = facts.text("honest")?;
    if !honest.is_empty() {
        bail!("without any mistake the checker told {honest}");
    }
    if folder.read("disk")? != disk {
        bail!("the disk was only read, and has changed");
    }
    Ok(facts)
}

fn judge(facts: &Facts, class: &Class) -> Result<()> {
    let found = facts.text(&name(class)).context("nobody made the mistake")?;
    let expected = class.with.iter().chain([&class.name]).copied().collect::<Vec<_>>().join("+");
    if found != expected {
        bail!("the checker told `{found}`, it must tell `{expected}`");
    }
    Ok(())
}
