//! What the Rust toolchain here has: its host, its libraries, the runtime of a sanitizer.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Lets a stable compiler take the options that it keeps for nightly ones. Builds that set it go to a target
/// directory of their own: build scripts look at it, so everything would be built again.
pub(crate) const BOOTSTRAP: (&str, &str) = ("RUSTC_BOOTSTRAP", "1");

/// The target that the compiler builds for if nobody says otherwise.
pub(crate) fn host() -> Result<String> {
    let text = rustc(&["-vV"])?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The folder with the libraries that come with the compiler for `target`; it may not be there.
pub(crate) fn libraries(target: &str) -> Result<PathBuf> {
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"])?.trim());
    Ok(sysroot.join("lib/rustlib").join(target).join("lib"))
}

/// Whether a program for `target` can be linked with the address sanitizer.
pub(crate) fn has_address_sanitizer(target: &str) -> Result<bool> {
    // The file's name holds the channel: librustc-stable_rt.asan.a.
    let Ok(files) = std::fs::read_dir(libraries(target)?) else { return Ok(false) };
    Ok(files.flatten().any(|file| file.file_name().to_string_lossy().ends_with("_rt.asan.a")))
}

fn rustc(arguments: &[&str]) -> Result<String> {
    let output = Command::new("rustc").args(arguments).output().context("cannot run rustc")?;
    if !output.status.success() {
        bail!("rustc {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
