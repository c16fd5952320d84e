//! [`MapRule`]: whether the kernel lets the device reach memory itself, or copies. It does not say, so its rule is told here, and proven in
//! the lab by watching the function that maps.

/// When the kernel maps memory: `blk_rq_map_user_iov` of `block/blk-map.c`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapRule {
    /// Bits that are 0 in the address and length of each piece: `dma_alignment` of the queue.
    pub align_mask: u64,
    /// Bits that are 0 at each join of two pieces: `virt_boundary_mask` of the queue.
    pub gap_mask: u64,
}

impl MapRule {
    /// The rule of a queue that nobody knows: the default of `block/blk-settings.c` is sectors.
    pub const UNKNOWN: Self = Self { align_mask: 511, gap_mask: 0 };

    /// Says whether the kernel maps these pieces.
    #[must_use]
    pub fn maps(&self, pieces: &[libc::iovec]) -> bool {
        let mut end = None;
        pieces.iter().filter(|piece| piece.iov_len > 0).all(|piece| {
            let (start, len) = (number(piece.iov_base.addr()), number(piece.iov_len));
            let join = end.map_or(0, |end: u64| end | start);
            end = Some(start.wrapping_add(len));
            (start | len) & self.align_mask == 0 && join & self.gap_mask == 0
        })
    }
}

/// Lossless: Linux has no pointers beyond 64 bits.
const fn number(word: usize) -> u64 {
    word as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(start: usize, len: usize) -> libc::iovec {
        libc::iovec { iov_base: std::ptr::without_provenance_mut(start), iov_len: len }
    }

    #[test]
    fn every_piece_and_every_join_counts() {
        let rule = MapRule { align_mask: 3, gap_mask: 4095 };
        assert!(rule.maps(&[piece(0x1004, 0xffc), piece(0x5000, 0x1000), piece(0x9000, 8)]));
        assert!(!rule.maps(&[piece(0x1002, 8)]));
        assert!(!rule.maps(&[piece(0x1000, 6)]));
        // The first ends, or the second starts, inside a granule.
        assert!(!rule.maps(&[piece(0x1000, 8), piece(0x5000, 8)]));
        assert!(!rule.maps(&[piece(0x1000, 0x1000), piece(0x5008, 8)]));
        assert!(MapRule { gap_mask: 0, ..rule }.maps(&[piece(0x1000, 8), piece(0x5008, 8)]));
        // A piece of nothing is none.
        assert!(rule.maps(&[piece(0x1001, 0), piece(0x5004, 8)]));
    }
}
