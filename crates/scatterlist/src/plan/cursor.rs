//! [`Cursor`]: a place in a list, to the byte. Joins adjacent segments, so slices need not be canonical.

use crate::{Addr, Segment};

#[derive(Clone, Debug)]
pub(super) struct Cursor<I, A: Addr> {
    segments: I,
    /// What is left of the segment that the cursor stands in.
    rest: Option<Segment<A>>,
    /// The segment after it, read to see whether it joins.
    ahead: Option<Segment<A>>,
}

impl<A: Addr, I: Iterator<Item = Segment<A>>> Cursor<I, A> {
    #[inline]
    pub(super) const fn new(segments: I) -> Self {
        Self { segments, rest: None, ahead: None }
    }

    /// Returns what is left of the present segment, the next one where nothing is left.
    #[inline]
    pub(super) fn rest(&mut self) -> Option<Segment<A>> {
        if self.rest.is_none() {
            let mut segment = self.ahead.take().or_else(|| self.segments.next())?;
            self.ahead = self.segments.next();
            while let Some(joined) = self.ahead.and_then(|ahead| segment.joined(ahead)) {
                segment = joined;
                self.ahead = self.segments.next();
            }
            self.rest = Some(segment);
        }
        self.rest
    }

    /// Moves on by `bytes`, which lie within [`Cursor::rest`].
    #[inline]
    pub(super) fn advance(&mut self, bytes: u64) {
        self.rest = self.rest.and_then(|rest| match rest.split(bytes) {
            Some((_, after)) => Some(after),
            None if bytes == 0 => Some(rest),
            None => None,
        });
    }

    /// Moves on by `bytes`, over as many segments as that takes.
    pub(super) fn skip(&mut self, mut bytes: u64) {
        while bytes > 0 {
            let Some(rest) = self.rest() else { return };
            let step = rest.len().min(bytes);
            self.advance(step);
            bytes = bytes.saturating_sub(step);
        }
    }
}
