//! [`Geometry`]: how the range is laid over slots so that one memory suits both ends.
//!
//! A chunk is a part of the range that one slot carries. Where a side moves by direct I/O, the position and the
//! address of every transfer keep its alignment: chunks are cut at multiples of the slot length on the **anchor** side, and the
//! bytes of a chunk lie in the slot as they lie in the anchor's blocks. Pure arithmetic; nothing is opened or moved here.

use scatterlist::{LimitId, Limits};

/// The alignment that transfers of one side keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    /// A transfer starts at a multiple of this, in position and in memory.
    pub(super) start: u64,
    /// A transfer ends at a multiple of this.
    pub(super) end: u64,
}

impl Unit {
    pub(super) const BYTE: Self = Self { start: 1, end: 1 };

    /// Returns the unit of direct transfers within `limits`; `None` past 64 bits.
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        let hard = |id| limits.hard_value(id);
        let block = lcm(hard(LimitId::PositionAlign), hard(LimitId::TotalLenAlign))?;
        let end = lcm(block, hard(LimitId::PieceLenAlign))?;
        Some(Self { start: lcm(end, hard(LimitId::AddrAlign))?, end })
    }

    /// Returns the whole blocks around a ragged end.
    pub(super) fn blocks_around(self, position: u64, len: u64) -> Place {
        let before = position.checked_rem(self.start).unwrap_or(0);
        let start = position.saturating_sub(before);
        let end = up(position.saturating_add(len), self.end);
        Place { position: start, slot_offset: 0, len: end.saturating_sub(start) }
    }
}

/// The layout of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Start of the range in the source.
    pub(super) skip: u64,
    /// Start of the range in the destination.
    pub(super) seek: u64,
    /// Alignment of reads; [`Unit::BYTE`] where they go through the page cache.
    pub(super) source: Unit,
    pub(super) slot_len: u64,
    /// The position that decides where chunks are cut: the start on the side that has blocks.
    anchor: u64,
    /// The common unit of both sides.
    unit: u64,
}

/// One chunk of the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub(super) number: u64,
    /// Where it starts, counted from the start of the range.
    pub(super) at: u64,
    /// Its bytes: fewer than the slot's at both ends of the range.
    pub(super) len: u64,
    /// Where its first byte lies in the slot.
    pub(super) slot_offset: u64,
}

/// A transfer of one chunk: a position on the side, and a part of the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) position: u64,
    pub(super) slot_offset: u64,
    pub(super) len: u64,
}

impl Geometry {
    /// Lays out a range; `destination` is a common multiple of the units of all destinations. `None` where the units have no common multiple within 64 bits.
    pub(super) fn new(
        skip: u64,
        seek: u64,
        source: Unit,
        destination: Unit,
        block_len: u64,
        len: Option<u64>,
    ) -> Option<Self> {
        // Where both sides have blocks, and they do not fall together, reads go through the page cache: see
        // `congruent`. So the destination decides.
        let anchor = if destination == Unit::BYTE { skip } else { seek };
        let congruent = congruent(skip, anchor, source.start);
        let source = if congruent { source } else { Unit::BYTE };
        let unit = lcm(lcm(source.start, source.end)?, lcm(destination.start, destination.end)?)?;
        let whole = len.map_or(block_len, |len| len.saturating_add(unit).min(block_len));
        let slot_len = whole.max(unit).checked_next_multiple_of(lcm(unit, SLOT_UNIT)?)?;
        Some(Self { skip, seek, source, slot_len, anchor, unit })
    }

    /// Returns the common unit of both sides.
    pub(super) const fn unit(&self) -> u64 {
        self.unit
    }

    /// Returns the chunk that starts at byte `at` of the range and ends at the next cut, or at `end`; `None` where nothing lies between.
    pub(super) fn chunk(&self, number: u64, at: u64, end: u64) -> Option<Chunk> {
        let start = self.anchor.checked_add(at)?;
        let len = self.next_cut(at).min(end).checked_sub(at).filter(|bytes| *bytes > 0)?;
        Some(Chunk { number, at, len, slot_offset: start.checked_rem(self.unit)? })
    }

    /// Returns chunk `number` of a range of `len` bytes that is read from its start; `None` past its end.
    pub(super) fn nth_chunk(&self, number: u64, len: u64) -> Option<Chunk> {
        let lead = self.anchor.checked_rem(self.slot_len)?;
        self.chunk(number, number.checked_mul(self.slot_len)?.saturating_sub(lead), len)
    }

    /// Returns the cut behind byte `at` of the range.
    pub(super) fn next_cut(&self, at: u64) -> u64 {
        let behind = self.anchor.saturating_add(at).saturating_add(1);
        up(behind, self.slot_len).saturating_sub(self.anchor)
    }

    /// Returns the cut before byte `end` of the range, its start at least.
    pub(super) fn last_cut(&self, end: u64) -> u64 {
        let last = self.anchor.saturating_add(end.saturating_sub(1));
        down(last, self.slot_len).saturating_sub(self.anchor)
    }

    /// Returns the read of a chunk, widened to the source's blocks.
    pub(super) fn read(&self, chunk: &Chunk) -> Place {
        let from = self.skip.saturating_add(chunk.at);
        let before = from.checked_rem(self.source.start).unwrap_or(0);
        let end = up(from.saturating_add(chunk.len), self.source.end);
        let position = from.saturating_sub(before);
        Place {
            position,
            slot_offset: chunk.slot_offset.saturating_sub(before),
            len: end.saturating_sub(position),
        }
    }

    /// Returns the block that a read can be narrowed to.
    pub(super) const fn block(&self) -> u64 {
        if self.source.end > 1 { self.source.end } else { SLOT_UNIT }
    }

    /// Returns how many bytes of a chunk a read of `done` bytes brought.
    pub(super) fn valid(&self, chunk: &Chunk, done: u64) -> u64 {
        let read = self.read(chunk);
        let before = chunk.slot_offset.saturating_sub(read.slot_offset);
        done.saturating_sub(before).min(chunk.len)
    }

    /// Returns how many chunks a range of `len` bytes has.
    pub(super) fn chunks(&self, len: u64) -> u64 {
        let lead = self.anchor.checked_rem(self.slot_len).unwrap_or(0);
        if len == 0 { 0 } else { lead.saturating_add(len).div_ceil(self.slot_len) }
    }

    /// Returns how a chunk of which `len` bytes are there is written. `kept` is the length of a file that the last block may be
    /// padded in, nothing that stays lying behind; `None` for what is no file. `unit` is what the destination needs.
    pub(super) fn laid(&self, chunk: &Chunk, len: u64, unit: Unit, kept: Option<u64>) -> Laid {
        let Write { head, middle, tail } = self.write(chunk, len, unit);
        let end = tail.position.saturating_add(tail.len);
        let pads = tail.len > 0 && unit != Unit::BYTE && kept.is_some_and(|kept| end >= kept);
        if !pads {
            return Laid { place: middle, padding: 0, aside: [tail, head] };
        }
        // The last block of the file: written whole, zeros behind, and the file is cut to its length later.
        let block_end = up(end, unit.end);
        let place = Place { len: block_end.saturating_sub(middle.position), ..middle };
        Laid { place, padding: block_end.saturating_sub(end), aside: [Place { len: 0, ..tail }, head] }
    }

    /// Returns the destination's bytes of a chunk of which `len` bytes are there.
    pub(super) fn write(&self, chunk: &Chunk, len: u64, unit: Unit) -> Write {
        let from = self.seek.saturating_add(chunk.at);
        let to = from.saturating_add(len);
        let first = up(from, unit.start).min(to);
        let last = down(to, unit.end).max(first);
        let head = first.saturating_sub(from);
        Write {
            head: Place { position: from, slot_offset: chunk.slot_offset, len: head },
            middle: Place {
                position: first,
                slot_offset: chunk.slot_offset.saturating_add(head),
                len: last.saturating_sub(first),
            },
            tail: Place {
                position: last,
                slot_offset: chunk.slot_offset.saturating_add(last.saturating_sub(from)),
                len: to.saturating_sub(last),
            },
        }
    }
}

/// The write of one chunk: whole blocks in the middle, and what is left over at both ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Write {
    pub(super) head: Place,
    pub(super) middle: Place,
    pub(super) tail: Place,
}

/// How one chunk is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Laid {
    /// The write; nothing, where its length is 0.
    pub(super) place: Place,
    /// Zeros at its end.
    pub(super) padding: u64,
    /// Bytes that are no whole blocks, for later.
    pub(super) aside: [Place; 2],
}

/// Slots start on pages, and a common unit of pages and blocks keeps them so.
const SLOT_UNIT: u64 = 4096;

/// Says whether two positions lie alike within blocks of `unit` bytes.
pub(super) fn congruent(a: u64, b: u64, unit: u64) -> bool {
    a.checked_rem(unit) == b.checked_rem(unit)
}

pub(super) fn up(value: u64, unit: u64) -> u64 {
    value.checked_next_multiple_of(unit).unwrap_or(value)
}

pub(super) fn down(value: u64, unit: u64) -> u64 {
    value.saturating_sub(value.checked_rem(unit).unwrap_or(0))
}

pub(super) fn lcm(a: u64, b: u64) -> Option<u64> {
    let (mut x, mut y) = (a, b);
    while let Some(rest) = x.checked_rem(y) {
        (x, y) = (y, rest);
    }
    a.checked_div(x)?.checked_mul(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit() -> impl Strategy<Value = Unit> {
        prop_oneof![
            Just(Unit::BYTE),
            Just(Unit { start: 512, end: 512 }),
            Just(Unit { start: 4096, end: 4096 }),
            Just(Unit { start: 4096, end: 512 }),
            Just(Unit { start: 520, end: 520 }),
        ]
    }

    proptest! {
        /// Chunks cover the range exactly; every transfer lies in its slot, keeps its side's alignment in position
        /// and in memory, and reads and writes of one chunk agree on where its bytes are.
        #[test]
        fn chunks_cover_the_range_aligned(
            (skip, seek) in (0..20_000_u64, 0..20_000_u64),
            (source, destination) in (unit(), unit()),
            block_len in 1..40_000_u64,
            len in 0..200_000_u64,
            known in any::<bool>(),
        ) {
            let known = known.then_some(len);
            let geometry = Geometry::new(skip, seek, source, destination, block_len, known).expect("fits");
            let mut at = 0;
            let mut number = 0;
            while at < len {
                let chunk = geometry.chunk(number, at, len).expect("the range goes on");
                prop_assert_eq!(geometry.nth_chunk(number, len), Some(chunk));
                prop_assert_eq!(chunk.at, at);
                prop_assert!(chunk.len > 0 && chunk.slot_offset + chunk.len <= geometry.slot_len);
                let read = geometry.read(&chunk);
                prop_assert!(read.slot_offset + read.len <= geometry.slot_len);
                prop_assert!(read.position <= skip + at);
                prop_assert!(read.position + read.len >= skip + at + chunk.len);
                prop_assert_eq!(read.position % geometry.source.start, 0);
                prop_assert_eq!(read.slot_offset % geometry.source.start, 0);
                prop_assert_eq!((read.position + read.len) % geometry.source.end, 0);
                prop_assert_eq!(chunk.slot_offset - read.slot_offset, skip + at - read.position);
                prop_assert_eq!(geometry.valid(&chunk, read.len), chunk.len);
                prop_assert_eq!(geometry.valid(&chunk, 0), 0);

                let write = geometry.write(&chunk, chunk.len, destination);
                let mut position = seek + at;
                for place in [write.head, write.middle, write.tail] {
                    prop_assert_eq!(place.position, position);
                    prop_assert_eq!(place.slot_offset, chunk.slot_offset + position - seek - at);
                    position += place.len;
                }
                prop_assert_eq!(position, seek + at + chunk.len);
                if write.middle.len > 0 {
                    prop_assert_eq!(write.middle.position % destination.start, 0);
                    prop_assert_eq!(write.middle.slot_offset % destination.start, 0);
                    prop_assert_eq!(write.middle.len % destination.end, 0);
                }
                at += chunk.len;
                number += 1;
            }
            prop_assert_eq!(geometry.chunk(number, at, len), None);
            prop_assert_eq!(geometry.nth_chunk(number, len), None);
            prop_assert_eq!(geometry.chunks(len), number);
        }
    }
}
