//! [`Start`]: what an observer hears when both ends are open and checked, before the first byte moves.

use super::report::SideReport;

/// A copy that begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Start<'a> {
    /// The name of the source.
    pub source_path: &'a str,
    /// Its class, as in [`SideReport::class`].
    pub source_class: &'static str,
    /// The name of the destination, the first where there are several.
    pub destination_path: &'a str,
    /// Its class.
    pub destination_class: &'static str,
    /// The destinations behind it, where there are several.
    pub others: &'a [StartEnd<'a>],
    /// Bytes that there are to copy, where that is known.
    pub total_bytes: Option<u64>,
    /// Bytes of one request.
    pub block_len: u64,
    /// Requests in flight on each side, at most.
    pub depth: u32,
}

/// A further destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct StartEnd<'a> {
    /// Its name.
    pub path: &'a str,
    /// Its class, as in [`SideReport::class`].
    pub class: &'static str,
}

impl<'a> StartEnd<'a> {
    pub(super) fn of(side: &'a SideReport) -> Self {
        Self { path: &side.path, class: side.class }
    }
}

impl<'a> Start<'a> {
    pub(super) fn of(
        source: &'a SideReport,
        destination: &'a SideReport,
        total_bytes: Option<u64>,
        block_len: u64,
        depth: u32,
    ) -> Self {
        Self {
            source_path: &source.path,
            source_class: source.class,
            destination_path: &destination.path,
            destination_class: destination.class,
            others: &[],
            total_bytes,
            block_len,
            depth,
        }
    }
}
