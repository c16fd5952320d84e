//! [`Why`] a plan cuts or bounces, and [`PlanError`]: what no plan can do.

use core::fmt;

use crate::limits::rem;
use crate::{LimitId, Limits, Position, Source};

/// The limit that caused a cut or a bounce, with the numbers and who stated it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Why {
    /// The limit.
    pub limit: LimitId,
    /// What the list offered: an address, a length, a count.
    pub value: u64,
    /// What the limit demands of it.
    pub need: u64,
    /// Who stated the limit.
    pub source: Source,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, value, need, source } = self;
        match limit {
            LimitId::AddrMin | LimitId::AddrMax => {
                write!(f, "address {value:#x} is out of reach ({limit} {need:#x}, from {source})")
            }
            LimitId::AddrAlign | LimitId::GapBoundary => {
                write!(f, "address {value:#x} is not a multiple of {need} ({limit}, from {source})")
            }
            LimitId::PieceLenAlign | LimitId::TotalLenAlign | LimitId::PositionAlign => {
                write!(f, "{value} is not a multiple of {need} ({limit}, from {source})")
            }
            LimitId::TransferLenMin => {
                write!(f, "{value} bytes are fewer than {need} ({limit}, from {source})")
            }
            LimitId::CopyBelow => write!(f, "a piece of {value} bytes is copied below {need} ({limit})"),
            _ => write!(f, "{value} is more than {need} ({limit}, from {source})"),
        }
    }
}

/// A transfer that cannot be planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The transfer as a whole breaks a limit of the device: no cutting or bouncing can help.
    #[error("the transfer of {bytes} bytes at {position:?} cannot be made: {why}")]
    Refused {
        /// Where it starts.
        position: Position,
        /// Its bytes.
        bytes: u64,
        /// The limit that it breaks.
        why: Why,
    },
    /// No request that starts here keeps every limit under the policy in force.
    #[error("no legal request starts at byte {at}: only {fits} bytes fit, and {why}")]
    Unsatisfiable {
        /// Bytes of the list that are planned already.
        at: u64,
        /// Bytes that would fit before the limit is met, short of a legal end.
        fits: u64,
        /// The limit that stands in the way.
        why: Why,
    },
    /// The position passes 64 bits.
    #[error("position {position:?} and {bytes} bytes pass 64 bits")]
    PositionOverflow {
        /// Where the transfer starts.
        position: Position,
        /// Its bytes.
        bytes: u64,
    },
}

/// What a limit is broken by, before its source is looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    pub(super) limit: LimitId,
    pub(super) value: u64,
    pub(super) need: u64,
}

impl Stop {
    pub(super) const fn new(limit: LimitId, value: u64, need: u64) -> Self {
        Self { limit, value, need }
    }

    #[cold]
    pub(super) fn why(self, limits: &Limits) -> Why {
        let Self { limit, value, need } = self;
        Why { limit, value, need, source: limits.get(limit).source }
    }
}

/// Says whether a transfer keeps what holds for it as a whole, before any cut: alignment of position and length,
/// capacity, the least length.
#[inline]
pub(super) fn is_whole(position: Position, bytes: u64, limits: &Limits) -> bool {
    let hard = limits.hard();
    let length = rem(bytes, hard.cut_align) == 0 && bytes >= hard.transfer_len_min;
    let place = match position {
        Position::At(at) => {
            rem(at, hard.position_align) == 0 && at.checked_add(bytes).is_some_and(|end| end <= hard.capacity)
        }
        Position::Stream => true,
    };
    length && place
}

/// Says which limit a transfer breaks that [`is_whole`] refuses.
#[cold]
pub(super) fn refusal(position: Position, bytes: u64, limits: &Limits) -> PlanError {
    let hard = limits.hard();
    let place = match position {
        Position::At(at) => {
            let Some(end) = at.checked_add(bytes) else {
                return PlanError::PositionOverflow { position, bytes };
            };
            if rem(at, hard.position_align) != 0 {
                Some(Stop::new(LimitId::PositionAlign, at, hard.position_align))
            } else if end > hard.capacity {
                Some(Stop::new(LimitId::Capacity, end, hard.capacity))
            } else {
                None
            }
        }
        Position::Stream => None,
    };
    let length = || {
        if rem(bytes, hard.cut_align) == 0 {
            return Stop::new(LimitId::TransferLenMin, bytes, hard.transfer_len_min);
        }
        let total = limits.get(LimitId::TotalLenAlign).value;
        let limit = [LimitId::TotalLenAlign, LimitId::PieceLenAlign, LimitId::PositionAlign]
            .into_iter()
            .find(|id| rem(bytes, limits.get(*id).value.max(1)) != 0);
        let need = limit.map_or(total, |_| hard.cut_align);
        Stop::new(limit.unwrap_or(LimitId::TotalLenAlign), bytes, need)
    };
    let why = place.unwrap_or_else(length).why(limits);
    PlanError::Refused { position, bytes, why }
}
