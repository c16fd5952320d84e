//! Turns the bytes that libFuzzer tries into numbers, limits, segments and positions.
//!
//! Plain random numbers would nearly all be refused at the door, so [`number`] prefers what limits and addresses are made
//! of: small numbers, powers of two and their neighbours, multiples of a block. Whatever is read is legal for the
//! types, never filtered to be sensible. When the bytes are used up every choice is 0.
//!
//! [`memory`] is what the targets of the descriptor formats have a device read: bytes that nobody encoded.

pub mod mapped;
pub mod memory;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use scatterlist::{Addr, CacheCoherence, Force, LimitId, Limits, LimitsBuilder, Position, Segment, Source};

/// Reads any number.
///
/// # Errors
/// When the bytes are used up.
pub fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    let power = |input: &mut Unstructured<'_>| Ok(1_u64 << input.int_in_range(0..=63)?);
    Ok(match input.int_in_range(0..=7)? {
        0 => input.arbitrary::<u8>()?.into(),
        1 => input.arbitrary::<u16>()?.into(),
        2 => u64::from(input.arbitrary::<u16>()?) * 512,
        3 => u64::from(input.arbitrary::<u16>()?) * 4096,
        4 => power(input)?,
        5 => power(input)?.wrapping_sub(1),
        6 => u64::MAX - u64::from(input.arbitrary::<u16>()?),
        _ => input.arbitrary()?,
    })
}

/// Says `true` once in `times`, and `false` when the bytes are used up: for what ends a case early.
///
/// # Errors
/// As [`number`].
pub fn rarely(input: &mut Unstructured<'_>, times: u8) -> Result<bool> {
    Ok(input.int_in_range(1..=times)? == times)
}

/// Reads a few limits of any value, most of them hard.
///
/// # Errors
/// As [`number`].
pub fn limits(input: &mut Unstructured<'_>) -> Result<LimitsBuilder> {
    let ids: Vec<LimitId> = LimitId::MEMORY.into_iter().chain(LimitId::DEVICE).collect();
    let mut builder = Limits::builder();
    for _ in 0..input.int_in_range(0..=10)? {
        let id = *input.choose(&ids)?;
        let force = if input.ratio(1, 8)? { Force::Soft } else { Force::Hard };
        builder = builder.set(id, number(input)?, Source::User, force);
    }
    Ok(builder.coherence(*input.choose(&[
        CacheCoherence::Coherent,
        CacheCoherence::Synced,
        CacheCoherence::Uncached,
    ])?))
}

/// Reads a segment of at most `len_max` bytes (at least 1); `None` where the numbers make none.
///
/// # Errors
/// As [`number`].
pub fn segment<A: Addr>(input: &mut Unstructured<'_>, len_max: u64) -> Result<Option<Segment<A>>> {
    let (addr, len) = (number(input)?, number(input)?.clamp(1, len_max));
    let segment = Segment::new(A::new(addr), len).ok();
    Ok(if input.ratio(1, 8)? { segment.map(Segment::with_barrier) } else { segment })
}

/// Reads a position.
///
/// # Errors
/// As [`number`].
pub fn position(input: &mut Unstructured<'_>) -> Result<Position> {
    Ok(if input.ratio(1, 4)? { Position::Stream } else { Position::At(number(input)?) })
}

/// Reads limits that are stacked on those of a format: often none, else any. `None` where the two cannot be kept together.
///
/// # Errors
/// As [`number`].
pub fn tighter(input: &mut Unstructured<'_>, format: &Limits) -> Result<Option<Limits>> {
    if !rarely(input, 2)? {
        return Ok(Some(*format));
    }
    let own = limits(input)?.build();
    if let Err(error) = &own {
        assert!(!error.to_string().is_empty());
    }
    Ok(own.ok().and_then(|own| own.stack(format).ok()))
}

/// The least that a piece or a request may be held to, so that a list of absurd length is not cut into it.
#[must_use]
pub fn shortest_piece(limits: &Limits) -> u64 {
    [
        LimitId::SegmentLenMax,
        LimitId::SegmentBoundary,
        LimitId::PageLen,
        LimitId::ChunkLen,
        LimitId::TransferLenMax,
    ]
    .into_iter()
    .map(|id| limits.hard_value(id))
    .filter(|value| *value != 0)
    .fold(u64::MAX, u64::min)
}
