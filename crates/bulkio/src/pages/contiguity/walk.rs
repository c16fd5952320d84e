//! [`Walk`]: from the frames of pages, one after the other, to a [`Contiguity`].

use super::{BLOCK_LEN_MAX, Contiguity, ContiguitySource};

/// What has been seen so far.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    page_len: u64,
    /// The frame of the page before this one in the same run of addresses, if that is known.
    last: Option<u64>,
    /// Length of the open segment.
    len: u64,
    pub(super) pages_unknown: u64,
    segments: u64,
    segment_len_max: u64,
    block_len: u64,
}

impl Walk {
    /// Starts, with pages of `page_len` bytes, a power of two.
    pub(super) fn new(page_len: u64) -> Self {
        let (segments, segment_len_max, block_len) = (0, 0, BLOCK_LEN_MAX);
        Self { page_len, last: None, len: 0, pages_unknown: 0, segments, segment_len_max, block_len }
    }

    /// Starts a run of addresses that is no neighbour of the one before.
    pub(super) fn start_run(&mut self) {
        self.last = None;
    }

    /// Takes `len` bytes at `addr`, all in the page of this frame.
    pub(super) fn page(&mut self, addr: u64, len: u64, frame: u64) {
        let page = addr & !self.page_len.wrapping_sub(1);
        // Blocks must not be longer than the alignment that addresses and frames share.
        let apart = page ^ frame.wrapping_mul(self.page_len);
        self.limit(apart);
        if self.last.is_none_or(|last| last.checked_add(1) != Some(frame)) {
            if self.last.is_some() {
                // A block may end here, and none may reach across.
                self.limit(page);
            }
            self.segments = self.segments.saturating_add(1);
            self.len = 0;
        }
        self.last = Some(frame);
        self.len = self.len.saturating_add(len);
        self.segment_len_max = self.segment_len_max.max(self.len);
    }

    /// Takes `len` bytes at `addr` of whose pages nothing is known: each is a segment.
    pub(super) fn unknown(&mut self, addr: u64, len: u64) {
        let mask = self.page_len.wrapping_sub(1);
        let offset = addr & mask;
        let pages = offset.saturating_add(len).div_ceil(self.page_len);
        let head = len.min(self.page_len.saturating_sub(offset));
        let next = len.saturating_sub(head).min(self.page_len);
        self.pages_unknown = self.pages_unknown.saturating_add(pages);
        self.segments = self.segments.saturating_add(pages);
        self.segment_len_max = self.segment_len_max.max(head).max(next);
        self.block_len = self.block_len.min(self.page_len);
        self.last = None;
    }

    /// Keeps blocks within the lowest bit of `value`.
    fn limit(&mut self, value: u64) {
        if value != 0 {
            self.block_len = self.block_len.min(1 << value.trailing_zeros());
        }
    }

    /// Ends.
    pub(super) fn end(self, source: ContiguitySource) -> Contiguity {
        let Self { segments, segment_len_max, block_len, .. } = self;
        Contiguity { segments, segment_len_max, block_len, source }
    }
}
