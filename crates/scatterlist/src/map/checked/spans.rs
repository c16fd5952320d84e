//! [`SpanIndex`]: which of many spans, that may overlap, contain an address or touch a range.
//!
//! Spans are sorted by a class of their length (the bits of it) and then by address. A span that reaches an address
//! starts at most its class's length before it, so that one range of each class that is in use holds every candidate:
//! among spans that do not overlap that is at most two too many in a class.

use alloc::collections::BTreeMap;

use super::call::Span;

/// Whose span it is, and the index among its owner's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Owner {
    pub(super) id: u64,
    pub(super) index: usize,
}

impl Owner {
    const FIRST: Self = Self { id: 0, index: 0 };
    const LAST: Self = Self { id: u64::MAX, index: usize::MAX };
}

/// A length is told by 0 to 64 bits.
const CLASS_COUNT: usize = 65;

#[derive(Debug)]
pub(super) struct SpanIndex {
    /// Class, first address and owner; the value is the last address.
    spans: BTreeMap<(u32, u64, Owner), u64>,
    /// How many spans each class has.
    counts: [usize; CLASS_COUNT],
}

impl SpanIndex {
    pub(super) const fn new() -> Self {
        Self { spans: BTreeMap::new(), counts: [0; CLASS_COUNT] }
    }

    /// Adds a span. An empty one contains nothing and is not kept.
    fn insert(&mut self, span: Span, owner: Owner) {
        if span.len == 0 {
            return;
        }
        let class = class_of(span);
        if self.spans.insert((class, span.addr, owner), span.last()).is_none()
            && let Some(count) = self.count_mut(class)
        {
            *count = count.saturating_add(1);
        }
    }

    fn remove(&mut self, span: Span, owner: Owner) {
        let class = class_of(span);
        if self.spans.remove(&(class, span.addr, owner)).is_some()
            && let Some(count) = self.count_mut(class)
        {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn insert_all(&mut self, spans: &[Span], id: u64) {
        for (index, span) in spans.iter().enumerate() {
            self.insert(*span, Owner { id, index });
        }
    }

    pub(super) fn remove_all(&mut self, spans: &[Span], id: u64) {
        for (index, span) in spans.iter().enumerate() {
            self.remove(*span, Owner { id, index });
        }
    }

    /// Iterates over the spans that touch `first` to `last`, both inclusive.
    pub(super) fn touching(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64, Owner)> + '_ {
        (0_u32..).zip(&self.counts).filter(|(_, count)| **count > 0).flat_map(move |(class, _)| {
            let from = (class, first.saturating_sub(reach_of(class)), Owner::FIRST);
            self.spans
                .range(from..=(class, last.max(first), Owner::LAST))
                .filter(move |(_, end)| **end >= first)
                .map(|((_, start, owner), end)| (*start, *end, *owner))
        })
    }

    /// Iterates over the owners of the spans that contain `addr`.
    pub(super) fn containing(&self, addr: u64) -> impl Iterator<Item = Owner> + '_ {
        self.touching(addr, addr).map(|(_, _, owner)| owner)
    }

    fn count_mut(&mut self, class: u32) -> Option<&mut usize> {
        self.counts.get_mut(usize::try_from(class).ok()?)
    }
}

/// The bits of the distance from the first byte to the last.
const fn class_of(span: Span) -> u32 {
    u64::BITS.saturating_sub(span.last().saturating_sub(span.addr).leading_zeros())
}

/// The longest distance from the first byte to the last in a class.
fn reach_of(class: u32) -> u64 {
    1_u64.checked_shl(class).map_or(u64::MAX, |past| past.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn spans() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let small = (0..200_u64, 0..60_u64);
        let large = (any::<u64>(), any::<u64>());
        prop::collection::vec(prop_oneof![4 => small, 1 => large], 0..40)
    }

    proptest! {
        #[test]
        fn finds_what_a_walk_over_all_spans_finds(spans in spans(), gone in 0..40_usize, first in 0..260_u64, len in 0..80_u64) {
            let mut index = SpanIndex::new();
            let all: Vec<(Span, Owner)> = spans
                .iter()
                .enumerate()
                .map(|(at, (addr, len))| (Span::new(*addr, *len), Owner { id: 7, index: at }))
                .collect();
            for (span, owner) in &all {
                index.insert(*span, *owner);
            }
            for (span, owner) in all.iter().take(gone) {
                index.remove(*span, *owner);
            }
            for (first, last) in [(first, first.saturating_add(len)), (0, u64::MAX), (u64::MAX, u64::MAX)] {
                let mut found: Vec<Owner> = index.touching(first, last).map(|(_, _, owner)| owner).collect();
                found.sort();
                let walked: Vec<Owner> = all
                    .iter()
                    .skip(gone)
                    .filter(|(span, _)| span.len != 0 && span.addr <= last && span.last() >= first)
                    .map(|(_, owner)| *owner)
                    .collect();
                prop_assert_eq!(found, walked);
            }
            for (span, owner) in all.iter().skip(gone) {
                index.remove(*span, *owner);
            }
            prop_assert_eq!(index.touching(0, u64::MAX).count(), 0);
            prop_assert_eq!(index.counts, [0; CLASS_COUNT]);
        }
    }
}
