//! [`StripeSet`]: one device of several, as RAID-0 lays it out, each behind a [`MergeQueue`].
//!
//! Requests are split on the chain ([`Request::into_stripes`]): entries move only at the edges of chunks, and no byte at all. The
//! queue of a member merges what is adjacent there, and cuts it by the member's own limits.

use alloc::vec::Vec;
use core::fmt;

use scatterlist::plan::plan;
use scatterlist::request::{StripeError, Striped, Stripes};
use scatterlist::{Complete, LimitId, Limits, LimitsError, PhysAddr, Position, Request, ShareOwner, Shared};

use super::queue::{MergeQueue, PushError, QueueCounts, QueueError, cancel};
use super::{BlockDevice, BlockRequest};
use crate::refused::{Refused, Retry};

/// Why members are no set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// Chunks of no bytes, or no members.
    #[error(transparent)]
    Stripes(#[from] StripeError),
    /// A chunk is no whole number of a member's blocks.
    #[error("chunks of {chunk_len} bytes are no multiple of the {align} of member {member}")]
    Align {
        /// Bytes of a chunk.
        chunk_len: u64,
        /// Which member, from 0.
        member: usize,
        /// Bytes of its blocks.
        align: u64,
    },
    /// A member's limits without its capacity.
    #[error(transparent)]
    Limits(#[from] LimitsError),
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StripePushError {
    /// Its end lies past the set.
    #[error("the request ends at {end}, the set holds {capacity} bytes")]
    Capacity {
        /// Byte just past the request.
        end: u64,
        /// Bytes of the set.
        capacity: u64,
    },
    /// It cannot be striped.
    #[error(transparent)]
    Stripes(#[from] StripeError),
    /// It breaks a limit of a member.
    #[error("member {member}: {error}")]
    Member {
        /// Which, from 0.
        member: usize,
        /// What it says.
        error: PushError,
    },
    /// Parts of an earlier request wait for their members.
    #[error("{parts} parts of earlier requests wait for their members")]
    Full {
        /// How many.
        parts: usize,
    },
}

impl StripePushError {
    const fn retry(&self) -> Retry {
        match self {
            Self::Full { .. } => Retry::Later,
            _ => Retry::Never,
        }
    }
}

/// What went wrong behind the set. The requests that it was about were told so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StripePollError<E: core::error::Error + 'static, S: core::error::Error + 'static> {
    /// A member, or its queue.
    #[error("member {member}: {error}")]
    Member {
        /// Which, from 0.
        member: usize,
        /// What it says.
        #[source]
        error: QueueError<E, S>,
    },
    /// A member does not take its part of a request, though it would take the whole. The part was cancelled.
    #[error("member {member} refuses its part: {error}")]
    Refused {
        /// Which, from 0.
        member: usize,
        /// What it says.
        #[source]
        error: PushError,
    },
    /// A request that was taken came apart, and was cancelled.
    #[error("a request cannot be striped: {0}")]
    Stripes(#[source] StripeError),
}

/// The error of a set of `B`.
pub type StripePollErrorOf<B> = StripePollError<<B as BlockDevice>::Error, <B as BlockDevice>::SubmitError>;

/// A part of a request, for a member.
struct Part<R> {
    member: usize,
    request: R,
}

/// Several devices as one.
pub struct StripeSet<B: BlockDevice> {
    members: Vec<MergeQueue<B>>,
    /// The limits of each, without its capacity.
    limits: Vec<Limits>,
    stripes: Stripes,
    capacity_bytes: u64,
    /// Parts that their members did not take yet: of one request at most.
    held: Vec<Part<BlockRequest<B>>>,
    /// What went wrong with requests that were taken: told of by the next poll.
    wrong: Option<StripePollErrorOf<B>>,
}

impl<B, O, C> StripeSet<B>
where
    B: BlockDevice<Owner = O, Completion = Shared<C>>,
    O: ShareOwner,
    C: Complete,
{
    /// Makes a set of `members` with chunks of `chunk_len` bytes.
    ///
    /// # Errors
    /// [`SetError`] where there are none, or a chunk is no whole number of blocks.
    pub fn new(members: Vec<MergeQueue<B>>, chunk_len: u64) -> Result<Self, SetError> {
        let stripes = Stripes::new(chunk_len, members.len())?;
        let mut limits = Vec::new();
        let mut smallest = u64::MAX;
        for (member, queue) in members.iter().enumerate() {
            let own = queue.device().limits();
            let align = own.hard_value(LimitId::PositionAlign);
            if !chunk_len.is_multiple_of(align) {
                return Err(SetError::Align { chunk_len, member, align });
            }
            // Whole chunks only, and as many on each.
            let capacity = queue.capacity_bytes();
            smallest = smallest.min(capacity.saturating_sub(capacity.checked_rem(chunk_len).unwrap_or(0)));
            limits.push(own.to_builder().hard(LimitId::Capacity, u64::MAX).build()?);
        }
        let count = u64::try_from(members.len()).unwrap_or(u64::MAX);
        let capacity_bytes = smallest.saturating_mul(count);
        Ok(Self { members, limits, stripes, capacity_bytes, held: Vec::new(), wrong: None })
    }

    /// Returns the bytes of the set.
    pub const fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Returns the members, behind their queues.
    pub fn members(&self) -> &[MergeQueue<B>] {
        &self.members
    }

    /// Returns the members, for what does not go through the set.
    pub fn members_mut(&mut self) -> &mut [MergeQueue<B>] {
        &mut self.members
    }

    /// Returns what the queues of all members have done, added up.
    pub fn counts(&self) -> QueueCounts {
        self.members.iter().map(MergeQueue::counts).fold(QueueCounts::default(), |sum, own| QueueCounts {
            requests: sum.requests.saturating_add(own.requests),
            merges: sum.merges.saturating_add(own.merges),
            commands: sum.commands.saturating_add(own.commands),
            planned_segments: sum.planned_segments.saturating_add(own.planned_segments),
        })
    }

    /// Returns how many parts, pending requests and commands the members' devices do not have yet.
    pub fn waiting(&self) -> usize {
        self.members.iter().map(MergeQueue::waiting).fold(self.held.len(), usize::saturating_add)
    }

    /// Takes a request, and gives each member its part.
    ///
    /// # Errors
    /// The request back, with why. Where parts of an earlier one still wait, that is backpressure: [`Retry::Later`].
    pub fn push(
        &mut self,
        request: Request<PhysAddr, O, C>,
    ) -> Result<(), Refused<Request<PhysAddr, O, C>, StripePushError>> {
        if let Err(error) = self.admit(&request) {
            return Err(Refused { request, retry: error.retry(), error });
        }
        // It has a position, and is cut within: what stands in the way of that was looked for.
        match request.into_shared().into_stripes(self.stripes) {
            Ok(parts) => {
                let part = |Striped { member, request }| Part { member, request };
                self.held.extend(parts.into_iter().map(part));
                self.place();
            }
            // Whole or not, it fires as cancelled: its completion is shared now, so it cannot go back as it came.
            Err((request, error)) => {
                if let Some(request) = request {
                    cancel(request);
                }
                self.wrong.get_or_insert(StripePollError::Stripes(error));
            }
        }
        Ok(())
    }

    fn admit(&mut self, request: &Request<PhysAddr, O, C>) -> Result<(), StripePushError> {
        let Position::At(at) = request.position() else { return Err(StripeError::Stream.into()) };
        let (end, capacity) = (at.saturating_add(request.len_bytes()), self.capacity_bytes);
        if end > capacity {
            return Err(StripePushError::Capacity { end, capacity });
        }
        for (member, (queue, limits)) in self.members.iter().zip(&self.limits).enumerate() {
            let policy = queue.device().plan_policy();
            let mut commands = plan(request.lease().list(), request.position(), limits, policy);
            if let Some(error) = commands.find_map(Result::err) {
                return Err(StripePushError::Member { member, error: error.into() });
            }
        }
        self.place();
        match self.held.len() {
            0 => Ok(()),
            parts => Err(StripePushError::Full { parts }),
        }
    }

    /// Gives members the parts that wait, as far as they take them.
    fn place(&mut self) {
        // In the order of their first bytes; a member has one at most, so those that stay keep no other back.
        for Part { member, request } in core::mem::take(&mut self.held) {
            let Some(queue) = self.members.get_mut(member) else { continue };
            match queue.push_shared(request) {
                Ok(()) => {}
                Err(Refused { request, retry: Retry::Later, .. }) => self.held.push(Part { member, request }),
                Err(Refused { request, retry: Retry::Never, error }) => {
                    cancel(request);
                    self.wrong.get_or_insert(StripePollError::Refused { member, error });
                }
            }
        }
    }

    /// Gives everything that is pending to the devices. Returns how many parts, requests and commands wait for them.
    pub fn flush(&mut self) -> usize {
        self.place();
        for member in &mut self.members {
            member.flush();
        }
        self.waiting()
    }

    /// Completes what the devices gave back, and gives them what waits. Returns how many commands came back.
    ///
    /// # Errors
    /// [`StripePollError`]: the error of the first member that has one (the others were polled too), else the first thing that went wrong
    /// with a request that was taken, since that was last told of.
    pub fn poll(&mut self) -> Result<usize, StripePollErrorOf<B>> {
        let mut commands = 0_usize;
        let mut wrong = None;
        for (member, queue) in self.members.iter_mut().enumerate() {
            match queue.poll() {
                Ok(count) => commands = commands.saturating_add(count),
                Err(error) => wrong = wrong.or(Some(StripePollError::Member { member, error })),
            }
        }
        self.place();
        wrong.or_else(|| self.wrong.take()).map_or(Ok(commands), Err)
    }
}

impl<B: BlockDevice + fmt::Debug> fmt::Debug for StripeSet<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeSet")
            .field("members", &self.members)
            .field("capacity_bytes", &self.capacity_bytes)
            .finish_non_exhaustive()
    }
}
