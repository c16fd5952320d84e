//! The file in which tests say that they did not run.
//!
//! libtest has no word for it, so such a test prints `SKIPPED name: reason`, appends `name: reason` to
//! the file named by [`VARIABLE`] and returns. Tests that run as somebody else write there too.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::libtest::skip_line;
use super::tally::Skip;

/// The variable that names the file.
pub(crate) const VARIABLE: &str = "BULKIO_SKIP_LOG";

/// An empty file that everybody may append to.
#[derive(Debug)]
pub(crate) struct SkipLog {
    file: PathBuf,
}

impl SkipLog {
    /// Makes the file `name` in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self> {
        let file = folder.join(name);
        File::create(&file)
            .and_then(|_| std::fs::set_permissions(&file, Permissions::from_mode(0o666)))
            .with_context(|| format!("cannot make the list of skipped tests {}", file.display()))?;
        Ok(Self { file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file
    }

    /// Reads what the tests wrote; a line that is not `name: reason` keeps its text as the name.
    pub(crate) fn read(&self) -> Result<Vec<Skip>> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read the list of skipped tests {}", self.file.display()))?;
        let skip = |line: &str| {
            skip_line(line).unwrap_or_else(|| Skip {
                name: line.trim().to_owned(),
                reason: "no reason given".to_owned(),
            })
        };
        Ok(text.lines().filter(|line| !line.trim().is_empty()).map(skip).collect())
    }
}
