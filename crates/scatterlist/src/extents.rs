//! [`Extents`]: values that each stand for a run of bytes, one after the other.
//!
//! The owners of a lease and the completions of a request are kept in step with their list by this. One
//! value needs no allocation; joining is O(1).

use alloc::boxed::Box;
use alloc::collections::LinkedList;

/// One value or more, each with the bytes that it stands for.
#[derive(Debug)]
pub(crate) struct Extents<T> {
    len: u64,
    first: T,
    more: More<T>,
}

/// Values after the first. Most have none, and requests are carried by value: so it is small.
type More<T> = Option<Box<LinkedList<(u64, T)>>>;

impl<T> Extents<T> {
    #[inline]
    pub(crate) const fn one(len: u64, value: T) -> Self {
        Self { len, first: value, more: None }
    }

    pub(crate) const fn first(&self) -> &T {
        &self.first
    }

    /// Returns the only value, where there is one, and its bytes.
    #[inline]
    pub(crate) const fn only(&self) -> Option<(u64, &T)> {
        if self.more.is_none() { Some((self.len, &self.first)) } else { None }
    }

    /// Puts `other` behind. O(1).
    pub(crate) fn join(&mut self, other: Self) {
        let more = self.more.get_or_insert_default();
        more.push_back((other.len, other.first));
        if let Some(mut rest) = other.more {
            more.append(&mut rest);
        }
    }

    /// Splits after `at` bytes, `0 < at <` all. A value that stands on both sides is shared by
    /// `share`, which gets the bytes that stay with the front.
    pub(crate) fn split_off(&mut self, at: u64, share: impl FnOnce(&mut T, u64) -> T) -> Self {
        if let Some(rest) = self.len.checked_sub(at).filter(|rest| *rest > 0) {
            self.len = at;
            let back = share(&mut self.first, at);
            return Self { len: rest, first: back, more: self.more.take() };
        }
        let mut before = self.len;
        let mut kept = 0_usize;
        let more = self.more.get_or_insert_default();
        for (len, _) in &**more {
            let end = before.saturating_add(*len);
            if end > at {
                break;
            }
            before = end;
            kept = kept.saturating_add(1);
        }
        let mut back = more.split_off(kept.min(more.len()));
        let Some((len, mut value)) = back.pop_front() else {
            // Nothing lies past `at`: not reached with `at` below the sum of all.
            return Self { len: 0, first: share(&mut self.first, at), more: None };
        };
        let boxed = |rest: LinkedList<(u64, T)>| (!rest.is_empty()).then(|| Box::new(rest));
        let within = at.saturating_sub(before);
        if within == 0 {
            return Self { len, first: value, more: boxed(back) };
        }
        let shared = share(&mut value, within);
        more.push_back((within, value));
        Self { len: len.saturating_sub(within), first: shared, more: boxed(back) }
    }

    pub(crate) fn map<U>(self, mut map: impl FnMut(u64, T) -> U) -> Extents<U> {
        let first = map(self.len, self.first);
        let more = self
            .more
            .map(|more| Box::new(more.into_iter().map(|(len, value)| (len, map(len, value))).collect()));
        Extents { len: self.len, first, more }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let more = self.more.iter().flat_map(|more| more.iter());
        core::iter::once((self.len, &self.first)).chain(more.map(|(len, value)| (*len, value)))
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (u64, T)> {
        core::iter::once((self.len, self.first)).chain(self.more.into_iter().flat_map(|more| *more))
    }
}
