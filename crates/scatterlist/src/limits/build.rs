//! Building [`Limits`]: setting them one by one, and the checks that no single value shows.

use super::hard::{Hard, cut_align};
use super::{CacheCoherence, Force, Limit, LimitId, Limits, Source};

/// Why a set of limits is not one that a device can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A limit is zero that must be at least one.
    #[error("{limit} is 0, it must be at least 1")]
    Zero {
        /// The limit that is zero.
        limit: LimitId,
    },
    /// A limit must be a power of two.
    #[error("{limit} is {value}, it must be a power of two")]
    NotPowerOfTwo {
        /// The limit.
        limit: LimitId,
        /// Its value.
        value: u64,
    },
    /// A mask must be of the form `2^n - 1`.
    #[error("{limit} is {value:#x}, it must be a mask of low bits (2^n - 1)")]
    NotLowMask {
        /// The limit.
        limit: LimitId,
        /// Its value.
        value: u64,
    },
    /// One limit must be at least another.
    #[error("{limit} is {value}, but {other} needs at least {need}")]
    TooSmall {
        /// The limit that is too small.
        limit: LimitId,
        /// Its value.
        value: u64,
        /// The limit that needs more.
        other: LimitId,
        /// The least value that would do.
        need: u64,
    },
    /// One limit must be a multiple of another.
    #[error("{limit} is {value}, which is not a multiple of {other} ({need})")]
    NotMultiple {
        /// The limit that is no multiple.
        limit: LimitId,
        /// Its value.
        value: u64,
        /// The limit that it must be a multiple of.
        other: LimitId,
        /// That limit's value.
        need: u64,
    },
    /// The least common multiple of two granularities passes 64 bits.
    #[error("{limit} ({value}) and {other} ({need}) have no common multiple within 64 bits")]
    NoCommonMultiple {
        /// One granularity.
        limit: LimitId,
        /// Its value.
        value: u64,
        /// The other granularity.
        other: LimitId,
        /// That one's value.
        need: u64,
    },
}

/// Collects limits; [`build`](LimitsBuilder::build) validates them together.
#[derive(Clone, Copy, Debug)]
pub struct LimitsBuilder {
    limits: Limits,
}

impl LimitsBuilder {
    pub(super) const fn from_limits(limits: Limits) -> Self {
        Self { limits }
    }

    /// Sets one limit with its source and force.
    #[must_use]
    pub fn set(mut self, id: LimitId, value: u64, source: Source, force: Force) -> Self {
        self.limits.set_unchecked(id, Limit { value, source, force });
        self
    }

    /// Sets one hard limit that the user of the library states: the short form for tests and drivers.
    #[must_use]
    pub fn hard(self, id: LimitId, value: u64) -> Self {
        self.set(id, value, Source::User, Force::Hard)
    }

    /// Sets whether the device sees the CPU's writes without being told.
    #[must_use]
    pub fn coherence(mut self, coherence: CacheCoherence) -> Self {
        self.limits.memory.coherence = coherence;
        self
    }

    /// Validates each limit and each pair, and returns the record.
    ///
    /// # Errors
    /// A [`LimitsError`] with the limit, its value and what is needed.
    pub fn build(self) -> Result<Limits, LimitsError> {
        let limits = self.limits;
        for (id, limit) in limits.iter() {
            check_alone(id, limit.value)?;
        }
        check_hard_pairs(&limits)?;
        let mut limits = limits;
        limits.hard = Hard::of(&limits);
        Ok(limits)
    }
}

fn check_alone(limit: LimitId, value: u64) -> Result<(), LimitsError> {
    match limit {
        LimitId::AddrAlign if !value.is_power_of_two() => {
            if value == 0 {
                return Err(LimitsError::Zero { limit });
            }
            Err(LimitsError::NotPowerOfTwo { limit, value })
        }
        LimitId::PieceLenAlign
        | LimitId::TotalLenAlign
        | LimitId::SegmentsMax
        | LimitId::PiecesMax
        | LimitId::SegmentLenMax
        | LimitId::PositionAlign
        | LimitId::PositionAlignOpt
        | LimitId::TransferLenMax
            if value == 0 =>
        {
            Err(LimitsError::Zero { limit })
        }
        LimitId::SegmentBoundary | LimitId::GapBoundary | LimitId::PageLen
            if value != 0 && !value.is_power_of_two() =>
        {
            Err(LimitsError::NotPowerOfTwo { limit, value })
        }
        LimitId::BounceOffsetMask if value & value.wrapping_add(1) != 0 => {
            Err(LimitsError::NotLowMask { limit, value })
        }
        _ => Ok(()),
    }
}

/// Pairs are judged among the hard limits only: a soft one cuts nothing, so it cannot make a plan impossible.
fn check_hard_pairs(limits: &Limits) -> Result<(), LimitsError> {
    let value = |id: LimitId| limits.hard_value(id);
    let at_least = |limit: LimitId, other: LimitId, need: u64| {
        let value = value(limit);
        if value >= need { Ok(()) } else { Err(LimitsError::TooSmall { limit, value, other, need }) }
    };
    let unless_none = |limit: LimitId, other: LimitId| {
        if value(limit) == 0 { Ok(()) } else { at_least(limit, other, value(other)) }
    };
    use LimitId::{
        AddrAlign, AddrMax, AddrMin, ChunkLen, GapBoundary, PageLen, PieceLenAlign, PositionAlign,
        SegmentBoundary, SegmentLenMax, TotalLenAlign, TransferLenMax, TransferLenMin,
    };
    at_least(AddrMax, AddrMin, value(AddrMin))?;
    at_least(SegmentLenMax, PieceLenAlign, value(PieceLenAlign))?;
    at_least(SegmentLenMax, PageLen, value(PageLen))?;
    at_least(SegmentLenMax, GapBoundary, value(GapBoundary))?;
    unless_none(SegmentBoundary, AddrAlign)?;
    unless_none(SegmentBoundary, PieceLenAlign)?;
    unless_none(SegmentBoundary, GapBoundary)?;
    unless_none(SegmentBoundary, PageLen)?;
    let (position, total, piece) = (value(PositionAlign), value(TotalLenAlign), value(PieceLenAlign));
    let cut = cut_align(position, total, piece).ok_or(LimitsError::NoCommonMultiple {
        limit: PositionAlign,
        value: position,
        other: TotalLenAlign,
        need: total,
    })?;
    at_least(TransferLenMax, PositionAlign, cut)?;
    at_least(TransferLenMax, TransferLenMin, value(TransferLenMin))?;
    if value(ChunkLen) != 0 {
        at_least(ChunkLen, TransferLenMin, value(TransferLenMin))?;
        if value(ChunkLen).checked_rem(cut) != Some(0) {
            let (limit, value) = (ChunkLen, value(ChunkLen));
            return Err(LimitsError::NotMultiple { limit, value, other: PositionAlign, need: cut });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn each_rule_names_limit_and_numbers() {
        let error = |builder: LimitsBuilder| builder.build().expect_err("must be refused").to_string();
        let new = Limits::builder;
        assert_eq!(error(new().hard(LimitId::SegmentsMax, 0)), "segments_max is 0, it must be at least 1");
        assert_eq!(error(new().hard(LimitId::AddrAlign, 3)), "addr_align is 3, it must be a power of two");
        assert_eq!(
            error(new().hard(LimitId::SegmentLenMax, 4095).hard(LimitId::PageLen, 4096)),
            "segment_len_max is 4095, but page_len needs at least 4096"
        );
        assert_eq!(
            error(new().hard(LimitId::TransferLenMax, 3584).hard(LimitId::PositionAlign, 4096)),
            "transfer_len_max is 3584, but position_align needs at least 4096"
        );
        assert_eq!(
            error(new().hard(LimitId::ChunkLen, 1000).hard(LimitId::PositionAlign, 512)),
            "chunk_len is 1000, which is not a multiple of position_align (512)"
        );
    }

    #[test]
    fn a_soft_limit_cannot_make_a_set_invalid() {
        let soft = |id, value| Limits::builder().set(id, value, Source::Sysfs, Force::Soft);
        assert!(soft(LimitId::TransferLenMax, 512).hard(LimitId::PositionAlign, 4096).build().is_ok());
        assert!(soft(LimitId::SegmentBoundary, 3).build().is_err());
    }
}
