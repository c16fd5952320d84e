//! What was found when a destination was read back: [`Verified`].

use std::fmt;
use std::time::Duration;

use super::super::compare::DifferingRange;

/// How much of a list of ranges a message shows.
const SHOWN_MAX: usize = 4;

/// What was found when a destination was read back.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Verified {
    /// Byte of the destination at which the range starts.
    pub start: u64,
    /// Bytes that were read back and compared.
    pub bytes: u64,
    /// Whether these are all bytes of the copy: no read failed, and nobody stopped it.
    pub complete: bool,
    /// Time that reading them took.
    pub elapsed: Duration,
    /// Whether they came past the page cache: by direct I/O, or by commands.
    pub direct: bool,
    /// The first ranges that differ, counted from the start of the range that was copied: exact blocks where the source could be read again, else up to
    /// a mebibyte each.
    pub ranges: Vec<DifferingRange>,
    /// The bytes of all mebibytes of the range in which something differs.
    pub differing_bytes: u64,
    /// How many mebibytes these are.
    pub differing_runs: u64,
}

impl Verified {
    /// Says whether everything that was copied was read back, and is what was copied.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.complete && self.differing_runs == 0
    }
}

/// The first ranges of a list, at bytes of an end on which the range starts at `start`.
pub(in super::super) struct Shown<'a> {
    start: u64,
    ranges: &'a [DifferingRange],
}

impl<'a> Shown<'a> {
    pub(in super::super) fn of(verified: &'a Verified) -> Self {
        Self { start: verified.start, ranges: &verified.ranges }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.ranges.iter().take(SHOWN_MAX).enumerate() {
            let at = self.start.saturating_add(range.at);
            write!(f, "{}{} bytes at byte {at}", if number > 0 { ", " } else { "" }, range.len)?;
            let block = range.len;
            if block.is_power_of_two() && at.checked_rem(block) == Some(0) && block >= 512 {
                write!(f, " (block {} of {block} bytes)", at.checked_div(block).unwrap_or(0))?;
            }
        }
        let more = self.ranges.len().saturating_sub(SHOWN_MAX);
        if more > 0 {
            write!(f, ", and {more} more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_ranges_is_shown_with_its_blocks_and_cut() {
        let range = |at, len| DifferingRange { at, len };
        let ranges =
            [range(0, 512), range(4096, 700), range(8192, 1024), range(1 << 20, 1), range(9 << 20, 4096)];
        let shown = Shown { start: 512, ranges: &ranges }.to_string();
        assert_eq!(
            shown,
            "512 bytes at byte 512 (block 1 of 512 bytes), 700 bytes at byte 4608, 1024 bytes at byte 8704, \
             1 bytes at byte 1049088, and 1 more"
        );
    }
}
