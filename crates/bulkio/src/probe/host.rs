//! Where the kernel's own trees are: sysfs and procfs, as one value that tests replace with folders of their
//! own. Everything read from them is text that may be missing or nonsense: it is then `None`, never a panic.

use std::fs;
use std::path::{Path, PathBuf};

/// The roots of the kernel's trees.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Normally `/sys`.
    pub(crate) sys: PathBuf,
    /// Normally `/proc`.
    pub(crate) proc: PathBuf,
    /// Normally `/dev`: where the nodes of devices that are known by name are looked for.
    pub(crate) dev: PathBuf,
}

impl Default for Host {
    fn default() -> Self {
        Self { sys: PathBuf::from("/sys"), proc: PathBuf::from("/proc"), dev: PathBuf::from("/dev") }
    }
}

/// Reads a file of one line, without its line end.
pub(crate) fn read_line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// Reads a file that holds one decimal number.
pub(crate) fn read_number(path: &Path) -> Option<u64> {
    read_line(path)?.parse().ok()
}
