//! [`Order`]: pieces of a range that come in any order, given out from byte 0 on without a gap.
//!
//! What comes early waits. What waits holds its slot, so the pool bounds it. Nobody waits for ever: reads begin in order, so the first byte that is
//! missing has a slot already, and its way to here needs no other one. Where it was lost on that way, nothing is under way any more, and
//! the loop says so (`skip_gap`).

use std::collections::BTreeMap;

/// Something with a length.
pub(in super::super) trait Len {
    /// Its bytes.
    fn len_bytes(&self) -> u64;
}

/// What waits, and what is next.
#[derive(Debug)]
pub(in super::super) struct Order<T> {
    next: u64,
    early: BTreeMap<u64, T>,
    /// Bytes given out before the first gap; `None` where there was none.
    whole: Option<u64>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { next: 0, early: BTreeMap::new(), whole: None }
    }
}

impl<T: Len> Order<T> {
    /// Takes what lies at byte `at`. What was given out already, or holds nothing, is dropped.
    pub(in super::super) fn insert(&mut self, at: u64, piece: T) {
        if at >= self.next && piece.len_bytes() > 0 {
            self.early.insert(at, piece);
        }
    }

    /// Gives out what is next, and where it lies, if it is there.
    pub(in super::super) fn take(&mut self) -> Option<(u64, T)> {
        let at = self.next;
        let piece = self.early.remove(&at)?;
        self.next = at.saturating_add(piece.len_bytes());
        // What overlaps what was given out can never be next.
        while self.early.first_key_value().is_some_and(|(early, _)| *early < self.next) {
            self.early.pop_first();
        }
        Some((at, piece))
    }

    /// The bytes up to what waits first are lost: goes on with that. Says whether anything waits.
    pub(in super::super) fn skip_gap(&mut self) -> bool {
        let Some(first) = self.early.first_key_value().map(|(at, _)| *at) else { return false };
        if first > self.next {
            self.whole.get_or_insert(self.next);
            self.next = first;
        }
        true
    }

    /// Says whether all that was given out so far lies without a gap from byte 0 on.
    pub(in super::super) const fn is_whole(&self) -> bool {
        self.whole.is_none()
    }

    /// Returns the bytes from byte 0 on that were given out without a gap.
    pub(in super::super) fn whole_bytes(&self) -> u64 {
        self.whole.unwrap_or(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Len for u64 {
        fn len_bytes(&self) -> u64 {
            *self
        }
    }

    fn drain(order: &mut Order<u64>) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| order.take()).collect()
    }

    #[test]
    fn what_comes_early_waits_and_a_gap_is_skipped_once() {
        let mut order = Order::default();
        order.insert(10, 5);
        assert_eq!(order.take(), None);
        order.insert(0, 10);
        assert_eq!(drain(&mut order), [(0, 10), (10, 5)]);
        order.insert(3, 4);
        order.insert(15, 0);
        assert!(!order.skip_gap() && order.is_whole(), "what was there already is not there again");
        order.insert(20, 2);
        order.insert(30, 1);
        assert_eq!(drain(&mut order), []);
        assert!(order.skip_gap());
        assert_eq!(drain(&mut order), [(20, 2)]);
        assert!(order.skip_gap() && !order.is_whole());
        assert_eq!(drain(&mut order), [(30, 1)]);
        assert_eq!(order.whole_bytes(), 15);
    }

    proptest! {
        #[test]
        fn any_order_comes_out_as_it_lies(lens in prop::collection::vec(1..9_u64, 1..40), seed in any::<u64>()) {
            let mut pieces: Vec<(u64, u64)> = lens
                .iter()
                .scan(0, |at, len| {
                    let piece = (*at, *len);
                    *at += len;
                    Some(piece)
                })
                .collect();
            let expected = pieces.clone();
            let mut state = seed | 1;
            for left in (1..pieces.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces.swap(left, (state >> 33) as usize % (left + 1));
            }
            let mut order = Order::default();
            let mut found = Vec::new();
            for (at, len) in pieces {
                order.insert(at, len);
                found.extend(drain(&mut order));
            }
            prop_assert_eq!(found, expected);
            prop_assert!(order.is_whole() && !order.skip_gap());
            prop_assert_eq!(order.whole_bytes(), lens.iter().sum::<u64>());
        }
    }
}
