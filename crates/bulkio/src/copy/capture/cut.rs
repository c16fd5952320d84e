//! [`Cut`]: how a piece lies over the blocks of the destination. Pure arithmetic.

/// A piece behind `filled` bytes of a block that waits, and where it is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cut {
    /// Byte of the destination at which the write begins: where the block begins that waits, or the piece.
    pub(super) at: u64,
    /// Bytes of the block that waits.
    pub(super) filled: u64,
    /// Bytes at the front of the piece that go into that block; all of the piece where it does not fill it.
    pub(super) head: u64,
    /// Bytes behind them, in whole blocks.
    pub(super) middle: u64,
    /// Bytes behind the last whole block.
    pub(super) tail: u64,
    /// Zeros behind those, in the same write; without them the tail waits.
    pub(super) fill: u64,
    unit: u64,
}

impl Cut {
    /// Cuts a piece of `len` bytes that begins at `position`, behind `filled` bytes that wait: fewer than a block. With `pad` zeros
    /// follow up to a block.
    pub(super) fn new(position: u64, filled: u64, len: u64, unit: u64, pad: bool) -> Self {
        let unit = unit.max(1);
        let over = |bytes: u64| bytes.checked_rem(unit).unwrap_or(0);
        let head = if filled > 0 { unit.saturating_sub(filled).min(len) } else { 0 };
        let rest = len.saturating_sub(head);
        let tail = over(rest);
        let middle = rest.saturating_sub(tail);
        let fill = if pad && tail > 0 { unit.saturating_sub(tail) } else { 0 };
        Self { at: position.saturating_sub(filled), filled, head, middle, tail, fill, unit }
    }

    /// Says whether the block that waited becomes whole.
    pub(super) const fn fills_front(&self) -> bool {
        self.filled > 0 && self.filled.saturating_add(self.head) == self.unit
    }

    /// Returns the bytes of the write; 0 where there is none yet.
    pub(super) const fn write_len(&self) -> u64 {
        let front = if self.fills_front() { self.unit } else { 0 };
        let back = if self.fill > 0 { self.unit } else { 0 };
        front.saturating_add(self.middle).saturating_add(back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_are_one_run_of_blocks() {
        for unit in [1, 2, 7, 512] {
            for pad in [false, true] {
                let (mut position, mut filled, mut bytes) = (3 * unit, 0_u64, 0_u64);
                let mut wrote = position;
                for step in 0..2000_u64 {
                    let len = 1 + (step * 7919) % (3 * unit + 5);
                    let cut = Cut::new(position, filled, len, unit, pad);
                    assert_eq!(cut.head + cut.middle + cut.tail, len, "{cut:?}");
                    assert_eq!(cut.middle % unit, 0);
                    assert!(cut.tail < unit && cut.fill < unit);
                    if cut.write_len() > 0 {
                        // Writes follow each other without a gap, in whole blocks.
                        assert_eq!((cut.at, cut.at % unit, cut.write_len() % unit), (wrote, 0, 0), "{cut:?}");
                        wrote += cut.write_len();
                    }
                    position += len + cut.fill;
                    bytes += len;
                    filled = position - wrote;
                    assert!(filled < unit, "{cut:?}");
                    assert!(!pad || filled == 0);
                }
                assert!(position - 3 * unit >= bytes);
                assert!(pad || position - 3 * unit == bytes);
            }
        }
    }
}
