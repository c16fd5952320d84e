//! Puts the disk into the same state before each run: nothing dirty, nothing cached.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, fadvise, sync};

/// How cold the cache can be made here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cold {
    /// The whole cache is dropped; only root may.
    Everything,
    /// The pages of the source file are dropped.
    SourceOnly,
}

// Linux, Documentation/admin-guide/sysctl/vm.rst, drop_caches: 3 frees the page cache and slab objects.
const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";

/// Writes out what is dirty and drops `source` from the cache, with everything else where we may.
pub(crate) fn chill(source: &Path) -> Result<Cold> {
    sync();
    if std::fs::write(DROP_CACHES, "3").is_ok() {
        return Ok(Cold::Everything);
    }
    let file = File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
    fadvise(&file, 0, None, Advice::DontNeed)
        .with_context(|| format!("cannot drop {} from the cache", source.display()))?;
    Ok(Cold::SourceOnly)
}
