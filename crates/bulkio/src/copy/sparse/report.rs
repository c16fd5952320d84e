//! [`SparseReport`]: what became of holes and zeros.

/// What became of the parts of a range that are zeros and were not written. All are counted in [`Report::bytes`](super::super::Report::bytes); no side
/// counts them as moved. Of several destinations, the sums.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SparseReport {
    /// Bytes of the range that were not written. All that follow but the last two say how, and add up to this, once for each destination.
    pub bytes: u64,
    /// Bytes that nothing had to be done for: the destination file ends before them, and has a hole there now.
    pub kept_bytes: u64,
    /// Bytes of holes that were punched into the destination file: what was there is gone, its space is free.
    pub punched_bytes: u64,
    /// Bytes that a disk made zeros of by a command of its own, which may free their space.
    pub discarded_bytes: u64,
    /// Bytes that the disk or the kernel wrote zeros to.
    pub zeroed_bytes: u64,
    /// Those of all these that no file system named: zeros found in what was read.
    pub found_bytes: u64,
    /// Bytes of holes that were read and written after all; the notes say why.
    pub filled_bytes: u64,
}

impl SparseReport {
    /// Returns the bytes that were not written, of all destinations together.
    #[must_use]
    pub const fn unwritten_bytes(&self) -> u64 {
        self.kept_bytes
            .saturating_add(self.punched_bytes)
            .saturating_add(self.discarded_bytes)
            .saturating_add(self.zeroed_bytes)
    }
}
