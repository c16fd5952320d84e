//! [`Runs`]: the free granules, as runs that never touch, found by address and by what fits into them.
//!
//! The second index is the order of the largest naturally aligned block inside a run. A request for a power of two
//! on its own alignment fits a run exactly when its order is high enough, so the search is logarithmic for those;
//! others look at the few runs in between one by one. Units are granules; ends are exclusive.

use alloc::collections::{BTreeMap, BTreeSet};

use super::super::{align_down, align_up};

/// Runs of one order that are looked at when a place is known already, only to find a higher one.
const PROBES_MAX: usize = 32;

#[derive(Debug)]
pub(super) struct Runs {
    by_start: BTreeMap<u64, u64>,
    by_order: BTreeSet<(u32, u64)>,
    /// Runs of each order, so that empty orders cost nothing.
    orders: [u64; 64],
    free: u64,
}

impl Runs {
    pub(super) const fn new() -> Self {
        Self { by_start: BTreeMap::new(), by_order: BTreeSet::new(), orders: [0; 64], free: 0 }
    }

    /// Free granules.
    pub(super) const fn free(&self) -> u64 {
        self.free
    }

    /// Gives `len` granules back and joins them to their neighbours. They must not be free already.
    pub(super) fn give(&mut self, start: u64, len: u64) {
        let mut from = start;
        let mut end = start.saturating_add(len);
        self.free = self.free.saturating_add(len);
        if let Some(after) = self.by_start.get(&end).copied() {
            self.remove(end, after);
            end = end.saturating_add(after);
        }
        if let Some((&before, &length)) = self.by_start.range(..from).next_back()
            && before.saturating_add(length) == from
        {
            self.remove(before, length);
            from = before;
        }
        self.insert(from, end.saturating_sub(from));
    }

    /// Takes `size` granules at a multiple of `align` below `end`: the highest that are found. `align` is a power of
    /// two and no smaller than `size`.
    pub(super) fn take(&mut self, size: u64, align: u64, end: u64) -> Option<u64> {
        // Only the highest run can reach past the end; it is also the best if something fits there.
        let (&top, &top_len) = self.by_start.range(..end).next_back()?;
        let top_end = top.saturating_add(top_len);
        if let Some(at) = place(top, top_end.min(end), size, align) {
            self.carve(top, top_len, at, size);
            return Some(at);
        }
        let start = self.search(size, align, top)?;
        let len = self.by_start.get(&start).copied()?;
        let at = place(start, start.saturating_add(len), size, align)?;
        self.carve(start, len, at, size);
        Some(at)
    }

    /// The start of the highest run below `below` with room for `size` at a multiple of `align`.
    fn search(&self, size: u64, align: u64, below: u64) -> Option<u64> {
        let certain = align.trailing_zeros();
        let mut best = None;
        for order in certain..u64::BITS {
            if self.any(order) {
                best = best.max(self.highest(order, below).next());
            }
        }
        for order in size.checked_ilog2().unwrap_or(0)..certain {
            if !self.any(order) {
                continue;
            }
            let probes = if best.is_some() { PROBES_MAX } else { usize::MAX };
            let found = self.highest(order, below).take(probes).take_while(|start| Some(*start) > best);
            let mut found = found.filter(|start| {
                let len = self.by_start.get(start).copied().unwrap_or(0);
                place(*start, start.saturating_add(len), size, align).is_some()
            });
            best = found.next().or(best);
        }
        best
    }

    /// Granules of the largest naturally aligned free power of two below `end`.
    pub(super) fn largest_block(&self, end: u64) -> u64 {
        let Some((&top, &len)) = self.by_start.range(..end).next_back() else { return 0 };
        let clipped = order(top, top.saturating_add(len).min(end));
        let below =
            (0..u64::BITS).rev().find(|&order| self.any(order) && self.highest(order, top).next().is_some());
        below.max(clipped).and_then(|order| 1_u64.checked_shl(order)).unwrap_or(0)
    }

    fn any(&self, order: u32) -> bool {
        usize::try_from(order).ok().and_then(|order| self.orders.get(order)).is_some_and(|count| *count > 0)
    }

    /// The starts of the runs of one order below `below`, from the highest down.
    fn highest(&self, order: u32, below: u64) -> impl Iterator<Item = u64> {
        self.by_order.range((order, 0)..(order, below)).rev().map(|&(_, start)| start)
    }

    fn carve(&mut self, start: u64, len: u64, at: u64, size: u64) {
        self.remove(start, len);
        self.insert(start, at.saturating_sub(start));
        let after = at.saturating_add(size);
        self.insert(after, start.saturating_add(len).saturating_sub(after));
        self.free = self.free.saturating_sub(size);
    }

    fn insert(&mut self, start: u64, len: u64) {
        let Some(order) = order(start, start.saturating_add(len)) else { return };
        self.by_start.insert(start, len);
        self.by_order.insert((order, start));
        self.count(order, 1);
    }

    fn remove(&mut self, start: u64, len: u64) {
        let Some(order) = order(start, start.saturating_add(len)) else { return };
        self.by_start.remove(&start);
        self.by_order.remove(&(order, start));
        self.count(order, -1);
    }

    fn count(&mut self, order: u32, change: i64) {
        if let Some(count) = usize::try_from(order).ok().and_then(|order| self.orders.get_mut(order)) {
            *count = count.saturating_add_signed(change);
        }
    }
}

/// The highest multiple of `align` in `start..end` with `size` granules behind it.
fn place(start: u64, end: u64, size: u64, align: u64) -> Option<u64> {
    let at = align_down(end.checked_sub(size)?, align);
    (at >= start).then_some(at)
}

/// The order of the largest naturally aligned block within `start..end`; `None` if that is empty.
fn order(start: u64, end: u64) -> Option<u32> {
    // A run of 2^n granules or more holds an aligned block of half of that.
    let most = end.checked_sub(start)?.checked_ilog2()?;
    let holds = |order: &u32| {
        let block = 1_u64.checked_shl(*order).unwrap_or(u64::MAX);
        align_up(start, block).and_then(|at| at.checked_add(block)).is_some_and(|stop| stop <= end)
    };
    [most, most.saturating_sub(1)].into_iter().find(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_largest_aligned_block() {
        assert_eq!(order(5, 5), None);
        assert_eq!(order(7, 8), Some(0));
        assert_eq!(order(1, 4), Some(1));
        assert_eq!(order(3, 9), Some(2));
        assert_eq!(order(0, 8), Some(3));
        assert_eq!(order(1, 16), Some(3));
    }

    #[test]
    fn runs_that_touch_become_one() {
        let mut runs = Runs::new();
        for start in [0, 8, 4] {
            runs.give(start, 4);
        }
        assert_eq!(runs.by_start.iter().map(|(start, len)| (*start, *len)).next(), Some((0, 12)));
        assert_eq!((runs.by_start.len(), runs.by_order.len(), runs.free()), (1, 1, 12));
        assert_eq!(runs.largest_block(12), 8);
        assert_eq!(runs.largest_block(7), 4);
    }
}
