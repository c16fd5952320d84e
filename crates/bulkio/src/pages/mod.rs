//! The memory that a transfer's bytes live in: a [`PagePool`], cut into [`Slot`]s.
//!
//! A pool is one shared mapping of one sealed memfd, populated when it is made, in the best pages there are
//! ([`PageKind`], with the reasons in [`PagePool::refusals`]). Above it, `engine` registers its
//! [`PagePool::ranges`] with rings and moves slots into requests in flight; `copy` reads into a slot and
//! writes from the same slot. The contract: a `Slot` is the exclusive right to its bytes. What is in flight
//! owns the slot, so that safe code cannot look meanwhile; a slot that drops is free for the next
//! [`PagePool::take`].

mod error;
mod kind;
mod ladder;
mod lease;
mod mapping;
mod range;
mod slot;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use scatterlist::CpuAddr;

use self::slot::Shared;

pub use self::error::PoolError;
pub use self::kind::{PageKind, PageKindRequest, Refusal};
pub use self::lease::LeaseError;
pub use self::range::{PoolRange, REGISTERED_LEN_MAX};
pub use self::slot::Slot;

/// What a pool should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Least length of a slot, in bytes; rounded up to the machine's base page.
    pub slot_len: usize,
    /// Number of slots.
    pub slots: usize,
    /// The pages to use.
    pub kind: PageKindRequest,
}

/// Populated shared memory cut into slots of one length.
///
/// Slots lie one after the other from a page boundary on, each beginning on a page of its own. The memory is
/// returned to the system when the pool and all its slots have been dropped.
///
/// The bytes are private to this process, except where [`PagePool::as_fd`] exports them.
///
/// ```
/// use bulkio::pages::{PageKindRequest, PagePool, PoolOptions};
///
/// let pool = PagePool::new(PoolOptions { slot_len: 100_000, slots: 2, kind: PageKindRequest::Auto })?;
/// let mut slot = pool.take().expect("two are free");
/// slot.as_mut_slice()[..5].copy_from_slice(b"bytes");
/// assert!(slot.len() >= 100_000);
/// assert_eq!(pool.free_slots(), 1);
/// drop(slot);
/// assert_eq!(pool.free_slots(), 2);
/// # Ok::<(), bulkio::pages::PoolError>(())
/// ```
pub struct PagePool {
    shared: Arc<Shared>,
    slot_len: NonZeroUsize,
    slots: u32,
    kind: PageKind,
    refusals: Vec<Refusal>,
}

impl PagePool {
    /// Makes a pool: gets the memory, populates all of it, and cuts it.
    ///
    /// It takes no more than `slots` times the rounded `slot_len`, rounded up to 2 MiB only where the pages
    /// are hugetlb pages ([`PagePool::bytes`] tells).
    ///
    /// # Errors
    /// When nothing, or more than there is, was asked for; when the pages demanded cannot be had (`Auto`
    /// never fails for that reason); when the system refuses the memory.
    pub fn new(options: PoolOptions) -> Result<Self, PoolError> {
        let PoolOptions { slot_len, slots, kind: request } = options;
        let empty = PoolError::Empty { slot_len, slots };
        let too_large = PoolError::TooLarge { slot_len, slots };
        if slot_len > REGISTERED_LEN_MAX {
            return Err(PoolError::SlotTooLong { slot_len, slot_len_max: REGISTERED_LEN_MAX });
        }
        let page_len = NonZeroUsize::new(rustix::param::page_size()).ok_or(too_large)?;
        let slot_len = NonZeroUsize::new(slot_len.next_multiple_of(page_len.get())).ok_or(empty)?;
        let slots_wide = NonZeroUsize::new(slots).ok_or(empty)?;
        let slots = u32::try_from(slots).map_err(|_| too_large)?;
        let len = slot_len.checked_mul(slots_wide).ok_or(too_large)?;
        // With slack for rounding up to huge pages and for alignment.
        isize::try_from(len.get()).ok().and_then(|len| len.checked_add(1 << 30)).ok_or(too_large)?;

        let memory = ladder::obtain(len, page_len, request)?;
        let (mapping, spans) = memory.mapping.cut(slot_len, slots).ok_or(too_large)?;
        let shared = Arc::new(Shared::new(mapping, spans));
        Ok(Self { shared, slot_len, slots, kind: memory.kind, refusals: memory.refusals })
    }

    /// Takes a free slot, or `None` when all are taken.
    ///
    /// Allocates nothing. The bytes are what the slot's last user left, or zeros. The slot used last comes
    /// first: it is the one in the CPU's cache.
    #[must_use]
    pub fn take(&self) -> Option<Slot> {
        Slot::take(&self.shared)
    }

    /// Returns how many slots are free at this moment.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.shared.free_slots()
    }

    /// Returns the number of slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        // Lossless: it came from a `usize`.
        self.slots as usize
    }

    /// Returns the length of each slot, in bytes: what was asked for, rounded up to the machine's base page.
    #[must_use]
    pub fn slot_len(&self) -> usize {
        self.slot_len.get()
    }

    /// Returns how much memory the pool takes, in bytes: all slots, and with hugetlb pages the rest of the
    /// last one.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.mapping.len() as u64
    }

    /// Returns which pages the pool got.
    #[must_use]
    pub fn kind(&self) -> PageKind {
        self.kind
    }

    /// Returns the length of the pages that back all of the pool, or most of it, in bytes.
    #[must_use]
    pub fn page_len(&self) -> usize {
        self.kind.page_len()
    }

    /// Returns why each better kind of page was refused, best kind first.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Returns one line for a report that says why the pool has the pages it has.
    #[must_use]
    pub fn kind_reason(&self) -> KindReason<'_> {
        KindReason { refusals: &self.refusals }
    }

    /// Returns where the slots lie: the address of the first byte, and the length of all slots, in bytes.
    #[must_use]
    pub fn range(&self) -> (CpuAddr, u64) {
        let len = self.slot_len() as u64 * u64::from(self.slots);
        (CpuAddr::from_ptr(self.shared.mapping.as_ptr()), len)
    }

    /// Returns how many slots each of [`PagePool::ranges`] holds, the last perhaps fewer.
    ///
    /// Slot `i` lies in the range with the number `i / slots_per_range`.
    #[must_use]
    pub fn slots_per_range(&self) -> u32 {
        range::slots_per_range(self.slot_len, self.slots)
    }

    /// Returns the pool in parts that io_uring can register, each of whole slots and at most
    /// [`REGISTERED_LEN_MAX`] bytes.
    pub fn ranges(&self) -> impl Iterator<Item = PoolRange> + Clone + use<> {
        range::ranges(self.range().0, self.slot_len, self.slots)
    }
}

impl fmt::Debug for PagePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagePool")
            .field("kind", &self.kind)
            .field("slot_len", &self.slot_len)
            .field("slots", &self.slots)
            .field("free_slots", &self.free_slots())
            .finish_non_exhaustive()
    }
}

/// Prints why a pool has the pages it has; made by [`PagePool::kind_reason`].
#[derive(Clone, Copy, Debug)]
pub struct KindReason<'a> {
    refusals: &'a [Refusal],
}

impl fmt::Display for KindReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.refusals.split_first() else {
            return f.write_str("no better pages were refused");
        };
        write!(f, "{first}")?;
        rest.iter().try_for_each(|refusal| write!(f, "; {refusal}"))
    }
}
