//! Stacking: one record that satisfies two devices at once (a partition on a disk, the members of a stripe,
//! the two ends of a copy).
//!
//! Each limit has one rule of combination, and each rule keeps both sides satisfied. In particular the gap
//! boundary takes the *larger* of two (a multiple of 64 KiB is one of 4 KiB, not the other way round).

use super::hard::{gcd, lcm};
use super::{CacheCoherence, Limit, LimitId, Limits, LimitsError, MemoryLimits};

/// Two devices whose limits no single transfer can satisfy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StackError {
    /// Two granularities have no common multiple within 64 bits.
    #[error("{limit}: {upper} and {lower} have no common multiple within 64 bits")]
    NoCommonMultiple {
        /// The limit that both state.
        limit: LimitId,
        /// The value of the upper record.
        upper: u64,
        /// The value of the lower record.
        lower: u64,
    },
    /// The combined record breaks a rule that each record alone kept.
    #[error("the two cannot be met together: {0}")]
    Contradiction(#[source] LimitsError),
}

/// How two values of one limit become one that satisfies both.
enum Rule {
    Smallest,
    Largest,
    /// The least common multiple.
    Multiple,
    /// The greatest common divisor, 0 meaning none.
    Divisor,
    /// The smaller one, 0 meaning none.
    SmallestUnlessNone,
    /// The least common multiple, 0 meaning unknown; a hint, so given up where it passes 64 bits.
    HintMultiple,
    /// The upper record's own.
    Upper,
}

const fn rule(id: LimitId) -> Rule {
    match id {
        LimitId::AddrMax
        | LimitId::CoherentAddrMax
        | LimitId::SegmentsMax
        | LimitId::PiecesMax
        | LimitId::SegmentLenMax
        | LimitId::TransferLenMax
        | LimitId::Capacity => Rule::Smallest,
        LimitId::AddrMin
        | LimitId::AddrAlign
        | LimitId::GapBoundary
        | LimitId::BounceOffsetMask
        | LimitId::CopyBelow
        | LimitId::TransferLenMin => Rule::Largest,
        LimitId::PieceLenAlign
        | LimitId::TotalLenAlign
        | LimitId::PositionAlign
        | LimitId::PositionAlignOpt => Rule::Multiple,
        LimitId::ChunkLen => Rule::Divisor,
        LimitId::SegmentBoundary | LimitId::PageLen => Rule::SmallestUnlessNone,
        LimitId::TransferLenOpt => Rule::HintMultiple,
        LimitId::PositionOffset => Rule::Upper,
    }
}

impl Limits {
    /// Returns one record that satisfies both: `self` lies on top of `lower`.
    ///
    /// The transfer maximum is rounded down to whole blocks of the stacked position granularity. Where one
    /// side's limit is soft and the other's hard, the hard one is kept as it is.
    ///
    /// # Errors
    /// A [`StackError`] that names the pair that cannot be met.
    pub fn stack(&self, lower: &Self) -> Result<Self, StackError> {
        let mut stacked = *self;
        for (id, upper) in self.iter() {
            stacked.set_unchecked(id, combine(id, upper, lower.get(id))?);
        }
        stacked.memory.coherence = weaker(self.memory.coherence, lower.memory.coherence);
        let block = stacked.get(LimitId::PositionAlign).value.max(1);
        let max = stacked.get(LimitId::TransferLenMax);
        let rest = max.value.checked_rem(block).unwrap_or(0);
        if max.value != u64::MAX && rest != 0 && max.value > block {
            let value = max.value.saturating_sub(rest);
            stacked.set_unchecked(LimitId::TransferLenMax, Limit { value, ..max });
        }
        stacked.to_builder().build().map_err(StackError::Contradiction)
    }

    /// Returns this record with the memory rules of both and its own rules for positions and sizes: what a
    /// copy needs, where each side keeps its own positions.
    ///
    /// # Errors
    /// A [`StackError`] that names the pair that cannot be met.
    pub fn stack_memory(&self, other: &MemoryLimits) -> Result<Self, StackError> {
        let other = Self::from_records(*other, Self::default().device);
        self.stack(&other)
    }

    /// Returns the first limit of this record that lets through what `parent` refuses; `None` where it is as tight
    /// or tighter. Hints do not count.
    #[must_use]
    pub fn looser_than(&self, parent: &Self) -> Option<LimitId> {
        self.iter().map(|(id, _)| id).find(|id| self.is_looser(*id, parent))
    }

    /// Says whether one limit lets through what `parent` refuses.
    pub(crate) fn is_looser(&self, id: LimitId, parent: &Self) -> bool {
        let (own, above) = (self.get(id), parent.get(id));
        let weaker = own.force < above.force;
        above.value != id.neutral() && (weaker || !as_tight(id, own.value, above.value))
    }
}

/// Says whether whatever keeps `value` keeps `parent` too.
fn as_tight(id: LimitId, value: u64, parent: u64) -> bool {
    let multiple_of = |value: u64, unit: u64| value.checked_rem(unit) == Some(0);
    match rule(id) {
        Rule::Smallest => value <= parent,
        Rule::Largest => value >= parent,
        Rule::Multiple => multiple_of(value, parent),
        Rule::Divisor => value != 0 && multiple_of(parent, value),
        Rule::SmallestUnlessNone => value != 0 && value <= parent,
        Rule::HintMultiple => true,
        Rule::Upper => value == parent,
    }
}

fn combine(id: LimitId, upper: Limit, lower: Limit) -> Result<Limit, StackError> {
    let neutral = id.neutral();
    if matches!(rule(id), Rule::Upper) || lower.value == neutral {
        return Ok(upper);
    }
    if upper.value == neutral {
        return Ok(lower);
    }
    // One value cannot be both: what the device refuses outweighs what someone below would split.
    if upper.force != lower.force {
        return Ok(if upper.force > lower.force { upper } else { lower });
    }
    let value = match rule(id) {
        Rule::Smallest | Rule::SmallestUnlessNone => upper.value.min(lower.value),
        Rule::Largest => upper.value.max(lower.value),
        Rule::Multiple => lcm(upper.value, lower.value).ok_or(StackError::NoCommonMultiple {
            limit: id,
            upper: upper.value,
            lower: lower.value,
        })?,
        Rule::Divisor => gcd(upper.value, lower.value),
        Rule::HintMultiple => lcm(upper.value, lower.value).unwrap_or(0),
        Rule::Upper => upper.value,
    };
    let source = if value == upper.value { upper.source } else { lower.source };
    Ok(Limit { value, source, force: upper.force })
}

const fn weaker(a: CacheCoherence, b: CacheCoherence) -> CacheCoherence {
    match (a, b) {
        (CacheCoherence::Uncached, _) | (_, CacheCoherence::Uncached) => CacheCoherence::Uncached,
        (CacheCoherence::Synced, _) | (_, CacheCoherence::Synced) => CacheCoherence::Synced,
        (CacheCoherence::Coherent, CacheCoherence::Coherent) => CacheCoherence::Coherent,
    }
}
