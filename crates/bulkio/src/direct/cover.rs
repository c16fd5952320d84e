//! [`Cover`]: a range of bytes rounded out to blocks, and how its ragged ends are written.
//!
//! Pure arithmetic and decisions; no memory, no file. The neighbours: `job` does what is decided here.

/// A range of bytes and the blocks that it touches.
///
/// `lo <= start < end <= hi`; `lo` and `hi` are multiples of the block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cover {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) lo: u64,
    pub(super) hi: u64,
}

impl Cover {
    /// Rounds `len` bytes from `start` out to multiples of `block`; `None` for no bytes and past 64 bits.
    pub(super) fn new(start: u64, len: u64, block: u64) -> Option<Self> {
        let end = start.checked_add(len).filter(|end| *end > start)?;
        let lo = start.checked_sub(start.checked_rem(block)?)?;
        Some(Self { start, end, lo, hi: end.checked_next_multiple_of(block)? })
    }

    /// Returns the bytes of the range that lie in a first block which it covers only in part; all of them where they lie in
    /// one such block.
    pub(super) fn head_len(&self, block: u64) -> u64 {
        if self.start == self.lo && !self.is_part_of_one(block) {
            return 0;
        }
        self.end.min(self.lo.saturating_add(block)).saturating_sub(self.start)
    }

    /// Returns the bytes of the range that lie in a last block which it covers only in part, and which is not the first one.
    pub(super) fn tail_len(&self, block: u64) -> u64 {
        if self.end == self.hi || self.is_one(block) {
            return 0;
        }
        self.end.saturating_sub(self.hi.saturating_sub(block))
    }

    fn is_one(&self, block: u64) -> bool {
        self.hi.saturating_sub(self.lo) == block
    }

    fn is_part_of_one(&self, block: u64) -> bool {
        self.is_one(block) && self.end < self.hi
    }

    /// Returns the bytes of the range up to `position` of the file.
    pub(super) fn done_at(&self, position: u64) -> u64 {
        position.clamp(self.start, self.end).saturating_sub(self.start)
    }
}

/// How a block is written of which a call covers a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EdgeWay {
    /// There is no such block.
    None,
    /// It is read, changed and written back as a whole.
    Modify,
    /// Its new bytes go through the page cache, which does the same, and makes a file exactly as long as it must be.
    Cache,
}

/// How both ends of a write are written: first block, last block.
///
/// `size` is that of the file or device; `readable` says whether blocks can be read back.
pub(super) fn edge_ways(cover: &Cover, block: u64, size: u64, readable: bool) -> (EdgeWay, EdgeWay) {
    let way = |len: u64, inside: bool| match len {
        0 => EdgeWay::None,
        _ if inside && readable => EdgeWay::Modify,
        _ => EdgeWay::Cache,
    };
    let head_end = cover.lo.saturating_add(block);
    // A whole block may be written if it ends within the file, or where the write itself reaches the block's end: then the
    // file becomes as long as the write says, and no longer.
    let head = way(cover.head_len(block), head_end <= size || head_end <= cover.end);
    let tail = way(cover.tail_len(block), cover.hi <= size);
    (head, tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use EdgeWay::{Cache, Modify, None as No};

    fn lens(start: u64, len: u64) -> (u64, u64) {
        let cover = Cover::new(start, len, 512).unwrap();
        (cover.head_len(512), cover.tail_len(512))
    }

    #[test]
    fn ends_are_cut_at_blocks() {
        assert_eq!(lens(0, 512), (0, 0));
        assert_eq!(lens(0, 1024), (0, 0));
        assert_eq!(lens(0, 100), (100, 0));
        assert_eq!(lens(7, 100), (100, 0));
        assert_eq!(lens(412, 100), (100, 0));
        assert_eq!(lens(7, 505), (505, 0));
        assert_eq!(lens(7, 506), (505, 1));
        assert_eq!(lens(0, 513), (0, 1));
        assert_eq!(lens(511, 514), (1, 1));
    }

    #[test]
    fn what_cannot_be_rounded_out_is_no_cover() {
        assert_eq!(Cover::new(5, 0, 512), None);
        assert_eq!(Cover::new(u64::MAX, 1, 512), None);
        assert_eq!(Cover::new(u64::MAX - 5, 5, 512), None);
        assert_eq!(Cover::new(0, 1, 0), None);
    }

    /// Tries every small range and file size against the rule itself: a whole block is written only if no byte past the
    /// larger of size and end comes into being.
    #[test]
    fn no_write_of_a_block_makes_a_file_too_long() {
        let block = 8;
        for size in 0..40 {
            for start in 0..40 {
                for len in 1..40 {
                    let cover = Cover::new(start, len, block).unwrap();
                    let longest = size.max(cover.end);
                    let (head, tail) = edge_ways(&cover, block, size, true);
                    if head == Modify {
                        assert!(cover.lo + block <= longest, "{size} {cover:?}");
                    }
                    if tail == Modify {
                        assert!(cover.hi <= longest, "{size} {cover:?}");
                    }
                    let unreadable = edge_ways(&cover, block, size, false);
                    assert!(unreadable.0 != Modify && unreadable.1 != Modify);
                    assert_eq!(unreadable.0 == No, cover.head_len(block) == 0);
                    assert_eq!(unreadable.1 == No, cover.tail_len(block) == 0);
                }
            }
        }
        // The examples of the documentation: inside, at the end, and past it.
        let cover = Cover::new(3, 10, block).unwrap();
        assert_eq!(edge_ways(&cover, block, 100, true), (Modify, Modify));
        assert_eq!(edge_ways(&cover, block, 13, true), (Modify, Cache));
        assert_eq!(edge_ways(&cover, block, 0, true), (Modify, Cache));
    }
}
