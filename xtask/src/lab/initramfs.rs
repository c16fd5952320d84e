//! The first root of the guest: busybox, the modules that reach the host's root, and the script `lab/init`.
//!
//! Everything else comes from the host's root, so this is all that is ever packed.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use super::kernel_image::Kernel;
use super::modules::Modules;
use crate::programs;

/// What the guest needs before it has the host's root.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

const INIT: &str = include_str!("../../../lab/init");

/// Packs it, for a guest that then runs `xtask` with `plan`.
pub(super) fn pack(kernel: &Kernel, xtask: &Path, plan: &Path) -> Result<Vec<u8>> {
    let busybox = programs::find("busybox").context("busybox is not installed")?;
    let busybox = std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "sys", "lower", "upper", "root", "lab", "lab/modules"] {
        archive.folder(folder);
    }
    archive.file("bin/busybox", &busybox);
    archive.file("init", INIT.as_bytes());
    let tree = kernel.tree();
    let mut order = String::new();
    for file in Modules::of(&tree)?.in_order(&MODULES)? {
        let name = format!("{}.ko", super::modules::name(&file.to_string_lossy()));
        archive.file(&format!("lab/modules/{name}"), &unpacked(&tree.join(&file))?);
        order += &name;
        order.push('\n');
    }
    archive.file("lab/order", order.as_bytes());
    let paths = format!("{}\n{}\n", xtask.display(), plan.display());
    archive.file("lab/paths", paths.as_bytes());
    Ok(archive.finish())
}

/// The bytes of a module; busybox cannot load one that is packed.
fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|ending| ending.to_str()) {
        Some("ko") => return std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => bail!("{} is packed in an unknown way", file.display()),
    };
    let mut command = Command::new(program);
    command.arg("-dc").arg(file);
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
