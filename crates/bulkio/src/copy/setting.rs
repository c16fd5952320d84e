//! [`Setting`]: a number that a copy finds by itself, or that the user knows better; and what it comes to for one request.

use scatterlist::{LimitId, Limits};

use super::geometry::lcm;

/// A number that a copy chooses, unless it is told.
///
/// ```
/// use bulkio::copy::{CopyOptions, Setting};
///
/// let options = CopyOptions { depth: Setting::Fixed(3), ..CopyOptions::default() };
/// assert_eq!(options.block_len, Setting::Auto);
/// assert_eq!(options.depth, 3_u32.into());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Setting<T> {
    /// The copy chooses.
    #[default]
    Auto,
    /// This one.
    Fixed(T),
}

impl<T> From<T> for Setting<T> {
    fn from(value: T) -> Self {
        Self::Fixed(value)
    }
}

impl<T: Copy> Setting<T> {
    /// Returns the number that was given; `None` where the copy chooses.
    pub const fn fixed(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Fixed(value) => Some(value),
        }
    }

    /// Returns the number that was given, or this one.
    pub(super) const fn or(self, value: T) -> T {
        match self {
            Self::Auto => value,
            Self::Fixed(given) => given,
        }
    }
}

/// The bytes of one request where nothing speaks for others.
pub(super) const BLOCK_LEN: u64 = 1 << 20;

/// The most that a side's wish makes of them.
const BLOCK_LEN_WISH_MAX: u64 = 4 << 20;

/// Requests that a range must have for a wish to count: fewer do not keep both sides busy.
const REQUESTS_MIN: u64 = 16;

/// Chooses the bytes of one request between two ends: [`BLOCK_LEN`], in whole transfers of each side, so that none of them gets a short one behind
/// each request. Where not all can be suited, the first destination is. `len` is the range, where it is known; a source that does not
/// say how long it is may be slow, and nothing is written before a request is full.
pub(super) fn block_len<'a>(
    source: &Limits,
    destinations: impl IntoIterator<Item = &'a Limits>,
    len: Option<u64>,
) -> u64 {
    let short = |step: &u64| *step <= BLOCK_LEN_WISH_MAX;
    let mut all = destinations.into_iter().map(transfer_len);
    let (from, first) = (transfer_len(source), all.next().unwrap_or(1));
    let to = all.try_fold(first, |to, next| lcm(to, next).filter(short)).unwrap_or(first);
    let both = lcm(from, to).filter(short);
    let step = both.unwrap_or(if to > 1 { to } else { from });
    let fits = |wish: &u64| {
        *wish <= BLOCK_LEN_WISH_MAX && len.is_some_and(|len| len >= wish.saturating_mul(REQUESTS_MIN))
    };
    BLOCK_LEN.checked_next_multiple_of(step).filter(fits).unwrap_or(BLOCK_LEN)
}

/// The bytes that one transfer of a side had best be a multiple of; 1 where it does not matter.
fn transfer_len(limits: &Limits) -> u64 {
    let wished = limits.get(LimitId::TransferLenOpt).value;
    let most = limits.hard_value(LimitId::TransferLenMax);
    match (wished, most) {
        (0, most) if most < BLOCK_LEN => most.max(1),
        (0, _) => 1,
        // What was wished for in vain.
        (wished, most) => wished.min(most).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(wished: u64, most: u64) -> Limits {
        let limits = Limits::builder().hard(LimitId::TransferLenMax, most);
        limits.hard(LimitId::TransferLenOpt, wished).build().expect("valid limits")
    }

    #[test]
    fn requests_are_whole_transfers_of_both_sides() {
        let (none, kib) = (limits(0, u64::MAX), 1 << 10);
        for (source, destination, expected) in [
            (none, none, BLOCK_LEN),
            (limits(512 * kib, u64::MAX), none, BLOCK_LEN),
            (none, limits(640 * kib, u64::MAX), 1280 * kib),
            // Commands of at most 120 KiB: nine whole ones.
            (limits(0, 120 * kib), none, 1080 * kib),
            (limits(0, 128 * kib), limits(384 * kib, u64::MAX), 1152 * kib),
            // No common multiple that is short enough: the destination's.
            (limits(0, 1000 * kib), limits(768 * kib, u64::MAX), 1536 * kib),
            // A wish that is too long.
            (none, limits(64 << 20, u64::MAX), BLOCK_LEN),
            // A wish for more than the device takes.
            (none, limits(256 * kib, 128 * kib), BLOCK_LEN),
        ] {
            assert_eq!(block_len(&source, [&destination], None), BLOCK_LEN);
            assert_eq!(block_len(&source, [&destination], Some(16 * expected)), expected);
            assert_eq!(block_len(&source, [&destination], Some(16 * BLOCK_LEN - 1)), BLOCK_LEN);
        }
        // Of several destinations all are suited, or the first.
        let wishes = |wishes: [u64; 2]| {
            let all = wishes.map(|wish| limits(wish * kib, u64::MAX));
            block_len(&none, &all, Some(1 << 30))
        };
        assert_eq!(wishes([384, 256]), 1536 * kib);
        assert_eq!(wishes([768, 1000]), 1536 * kib);
    }
}
