//! Refuse before writing: every check that stands between a typing error and a lost disk, and the opens that
//! make the answers hold.
//!
//! `open` opens both ends (block devices exclusively), `inspect` only looks at a destination, `standard` refuses a disk that came open, `sibling` holds the disk behind a node for commands, `claim` says who uses a device (`below`: what a loop device stands on), `place` and `overlap`
//! follow both ends down to the bytes that they share, [`check_fits`] compares sizes, `expect` holds a disk against what the caller knows of
//! it (`identity`), and `contents` says what would be overwritten. Contract: nothing here
//! writes or truncates; the only trace is a new, empty file, and that is reported
//! ([`OpenedDestination::created`]). Every refusal is its own [`Refusal`] with the numbers and what to do.

mod below;
mod claim;
pub mod contents;
mod expect;
mod identity;
mod inspect;
mod open;
mod overlap;
mod place;
mod refusal;
mod sibling;
mod standard;

pub use claim::{Claim, Claims};
pub use contents::Contents;
pub use expect::{Expectations, SERIAL_LEN_MAX, Serial};
pub use identity::Identity;
pub use inspect::{Inspected, inspect_destination};
pub use open::{
    Access, ClaimPolicy, Create, DestinationOptions, EndKind, OpenedDestination, OpenedSource, Warning,
    open_destination, open_source,
};
pub use overlap::{check_apart, check_overlap};
pub use place::Place;
pub use refusal::{Refusal, Role, Shared};
pub use sibling::open_sibling;
pub use standard::check_standard_output;

use std::path::Path;

/// Checks that `needed_bytes` written from position `seek` on fit into `capacity` bytes. An unknown need
/// (`None`: the source is a stream) is refused only if its first byte would lie past the end.
///
/// # Errors
/// [`Refusal::TooSmall`], with the numbers and the shortfall.
pub fn check_fits(needed_bytes: Option<u64>, seek: u64, capacity: u64, path: &Path) -> Result<(), Refusal> {
    let end = u128::from(seek).saturating_add(u128::from(needed_bytes.unwrap_or(0)));
    let Some(shortfall) = end.checked_sub(u128::from(capacity)).filter(|&missing| missing > 0) else {
        return Ok(());
    };
    Err(Refusal::TooSmall {
        path: path.to_owned(),
        needed_bytes,
        seek,
        capacity,
        shortfall: u64::try_from(shortfall).unwrap_or(u64::MAX),
    })
}
