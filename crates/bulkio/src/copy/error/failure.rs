//! [`CopyFailure`]: what went wrong, and how far the copy came.

use std::fmt;

use super::super::Report;
use super::CopyError;

/// A copy that failed, and how far it came.
#[derive(Debug)]
pub struct CopyFailure {
    /// What went wrong first.
    pub error: CopyError,
    /// What was done before; `None` when nothing was begun.
    pub report: Option<Box<Report>>,
}

impl From<CopyError> for CopyFailure {
    fn from(error: CopyError) -> Self {
        Self { error, report: None }
    }
}

impl fmt::Display for CopyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for CopyFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
