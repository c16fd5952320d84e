//! Striping: one request over several devices, as RAID-0 lays it out.
//!
//! Chunk `n` of the whole lies on member `n % members`, at chunk `n / members` of it. A member's chunks are
//! contiguous on the member, so each member gets one request, however many chunks it holds.

use alloc::vec::Vec;

use super::{Complete, Request, Shared};
use crate::lease::ShareOwner;
use crate::{Addr, Position, SplitError};

/// A layout of stripes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stripes {
    chunk_len: u64,
    members: usize,
}

/// Why a request cannot be striped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StripeError {
    /// A chunk of no bytes, or no members.
    #[error("stripes of {chunk_len} bytes over {members} members: both must be at least 1")]
    Layout {
        /// Bytes of a chunk.
        chunk_len: u64,
        /// Number of members.
        members: usize,
    },
    /// A stream has no positions to lay out.
    #[error("a stream request has no position to stripe by")]
    Stream,
    /// The request could not be cut, see there.
    #[error(transparent)]
    Split(#[from] SplitError),
}

/// A request that could not be striped, where it could be kept whole, and why.
pub type NotStriped<R> = (Option<R>, StripeError);

/// One member's part of a striped request.
#[derive(Debug)]
pub struct Striped<A: Addr, O, C: Complete> {
    /// Which member, from 0.
    pub member: usize,
    /// Its part, at the member's own position.
    pub request: Request<A, O, Shared<C>>,
}

impl Stripes {
    /// Lays chunks of `chunk_len` bytes over `members` devices.
    ///
    /// # Errors
    /// [`StripeError::Layout`] when either is 0.
    pub const fn new(chunk_len: u64, members: usize) -> Result<Self, StripeError> {
        if chunk_len == 0 || members == 0 {
            return Err(StripeError::Layout { chunk_len, members });
        }
        Ok(Self { chunk_len, members })
    }

    /// Returns the member that holds byte `at`, the position there, and the bytes to the end of its chunk.
    fn place(&self, at: u64) -> (usize, u64, u64) {
        let chunk = at.checked_div(self.chunk_len).unwrap_or(0);
        let within = at.checked_rem(self.chunk_len).unwrap_or(0);
        let members = u64::try_from(self.members).unwrap_or(u64::MAX);
        let member = chunk.checked_rem(members).and_then(|member| usize::try_from(member).ok()).unwrap_or(0);
        let row = chunk.checked_div(members).unwrap_or(0);
        let position = row.saturating_mul(self.chunk_len).saturating_add(within);
        (member, position, self.chunk_len.saturating_sub(within))
    }
}

impl<A: Addr, O: ShareOwner, C: Complete> Request<A, O, Shared<C>> {
    /// Splits the request over the members of `layout`: at most one request a member, in the order of their
    /// first bytes. Entries are moved only at stripe edges. Completions fire once all members are done.
    ///
    /// # Errors
    /// The request unchanged for a stream. Otherwise a [`StripeError`] whose request is gone only where
    /// it could not be put together again; its completions then fire as cancelled.
    pub fn into_stripes(self, layout: Stripes) -> Result<Vec<Striped<A, O, C>>, NotStriped<Self>> {
        let Position::At(mut at) = self.position() else { return Err((Some(self), StripeError::Stream)) };
        let mut parts: Vec<Striped<A, O, C>> = Vec::with_capacity(layout.members.min(64));
        let mut rest = Some(self);
        while let Some(request) = rest.take() {
            let (member, position, room) = layout.place(at);
            let (mut part, next) = if request.len_bytes() <= room {
                (request, None)
            } else {
                match request.split_at(room) {
                    Ok((part, next)) => (part, Some(next)),
                    Err((_, error)) => return Err((None, error.into())),
                }
            };
            rest = next;
            at = at.saturating_add(room);
            part.position = Position::At(position);
            match parts.iter_mut().find(|striped| striped.member == member) {
                None => parts.push(Striped { member, request: part }),
                Some(striped) => striped.request.push_part(part),
            }
        }
        Ok(parts)
    }

    /// Joins a part of the same whole, whose bytes fitted 64 bits together with these before.
    fn push_part(&mut self, part: Self) {
        let Self { lease, completions, .. } = part;
        self.lease.push(lease);
        self.completions.join(completions);
    }
}
