//! Temporary directories that are on a disk (rule `never-tmpfs`).
//!
//! tmpfs accepts any address under O_DIRECT, so a test that ran there would prove nothing.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

// Linux, include/uapi/linux/magic.h: TMPFS_MAGIC and RAMFS_MAGIC.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Makes a directory that everybody may enter, in the first of TMPDIR, /var/tmp and `fallback` that allows it
/// and is on a disk.
pub(crate) fn on_disk(fallback: &Path) -> Result<TempDir> {
    let wanted = std::env::var_os("TMPDIR").map(PathBuf::from);
    let candidates = wanted.into_iter().chain([PathBuf::from("/var/tmp"), fallback.to_path_buf()]);
    for parent in candidates {
        if parent.is_dir() && everybody_may_enter(&parent)? && !is_in_memory(&parent)? {
            return in_folder(&parent);
        }
    }
    bail!(
        "neither TMPDIR nor /var/tmp nor {} is a folder on a disk that \
         everybody may enter; set TMPDIR to one",
        fallback.display()
    )
}

/// Makes a directory that everybody may enter, inside `parent`.
pub(crate) fn in_folder(parent: &Path) -> Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("bulkio-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
    // The mode above was cut by the umask.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open {} to everybody", folder.path().display()))?;
    Ok(folder)
}

fn everybody_may_enter(folder: &Path) -> Result<bool> {
    let folder = folder.canonicalize().with_context(|| format!("cannot resolve {}", folder.display()))?;
    for part in folder.ancestors() {
        let mode = part.metadata().with_context(|| format!("cannot look at {}", part.display()))?;
        if mode.permissions().mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether files in `folder` are kept in memory alone.
pub(crate) fn is_in_memory(folder: &Path) -> Result<bool> {
    let stat = rustix::fs::statfs(folder)
        .with_context(|| format!("cannot ask for the file system of {}", folder.display()))?;
    Ok(MEMORY_FILE_SYSTEMS.contains(&(stat.f_type as u64)))
}
