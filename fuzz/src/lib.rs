//! Turns the bytes that libFuzzer tries into numbers, limits, segments and positions.
//!
//! Plain random numbers would nearly all be refused at the door, so [`number`] prefers what limits and addresses are made
//! of: small numbers, powers of two and their neighbours, multiples of a block. Whatever is read is legal for the
//! types, never filtered to be sensible. When the bytes are used up every choice is 0.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use scatterlist::{Addr, CacheCoherence, Force, LimitId, LimitsBuilder, PhysAddr, Position, Segment, Source};

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

/// Reads a few limits of any value, most of them hard.
///
/// # Errors
/// As [`number`].
pub fn limits(input: &mut Unstructured<'_>) -> Result<LimitsBuilder> {
    let ids: Vec<LimitId> = LimitId::MEMORY.into_iter().chain(LimitId::DEVICE).collect();
    let mut builder = scatterlist::Limits::builder();
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
pub fn segment(input: &mut Unstructured<'_>, len_max: u64) -> Result<Option<Segment<PhysAddr>>> {
    let (addr, len) = (number(input)?, number(input)?.clamp(1, len_max));
    let segment = Segment::new(PhysAddr::new(addr), len).ok();
    Ok(if input.ratio(1, 8)? { segment.map(Segment::with_barrier) } else { segment })
}

/// Reads a position.
///
/// # Errors
/// As [`number`].
pub fn position(input: &mut Unstructured<'_>) -> Result<Position> {
    Ok(if input.ratio(1, 4)? { Position::Stream } else { Position::At(number(input)?) })
}
