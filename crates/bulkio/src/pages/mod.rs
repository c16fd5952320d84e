//! The memory that a transfer's bytes live in: a [`PagePool`], cut into [`Slot`]s.
//!
//! A pool is one shared mapping of one sealed memfd, populated when it is made, in the best pages there are
//! ([`PageKind`], with the reasons in [`PagePool::refusals`]). Above it, `engine` registers its
//! [`PagePool::ranges`] with rings and moves slots into requests in flight; `copy` reads into a slot and
//! writes from the same slot. The contract: a `Slot` is the exclusive right to its bytes. What is in flight
//! owns the slot, so that safe code cannot look meanwhile; a slot that drops is free for the next
//! [`PagePool::take`].
//!
//! # Memory of your own
//! A buffer that lives long is best a slot: a pool of any mix of lengths up to 1 GiB each is populated, not inherited
//! by children, in the best pages there are, and registered by safe code
//! ([`FixedRegion::from_pool`](crate::engine::FixedRegion::from_pool)). Bytes in a `Vec` or `Box` need no pool to be
//! transferred, only to be registered: [`Lease::from_vec`](scatterlist::Lease::from_vec) owns them meanwhile.
//!
//! Memory that comes from elsewhere, such as a segment shared with another process, is registered by
//! [`FixedRegion::new`](crate::engine::FixedRegion::new). That is unsafe, since no type can promise what it
//! needs: until its keeper is dropped nobody unmaps, remaps or protects a page of it (`munmap`, `mremap`, `mprotect`),
//! takes its contents away (`MADV_DONTNEED`, `MADV_REMOVE`, a hole punched in its file), or shrinks its file; and
//! private memory is kept from children (`MADV_DONTFORK`), since a write after a fork may give this process
//! another page than the registered one.

pub mod contiguity;
mod error;
mod kind;
mod ladder;
mod layout;
mod lease;
mod mapping;
mod numa;
mod share;
mod slot;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use scatterlist::CpuAddr;

use self::ladder::Wanted;
use self::layout::Layout;
use self::slot::Shared;

pub use self::contiguity::{Contiguity, ContiguitySource, Pagemap};
pub use self::error::PoolError;
pub use self::kind::{PageKind, PageKindRequest, Refusal};
pub(crate) use self::ladder::memory_available;
pub use self::layout::{CLASSES_MAX, PoolRange, REGISTERED_LEN_MAX};
pub use self::lease::LeaseError;
pub use self::numa::{NodeChoice, NodeError, NodeReport, nodes};
pub(crate) use self::share::{ShareLeaseError, SlotShare};
pub use self::slot::Slot;

/// Some slots of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotClass {
    /// Least length of a slot, in bytes; rounded up to the machine's base page.
    pub slot_len: usize,
    /// Number of slots.
    pub slots: usize,
}

/// What a pool should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// The slots: 1 to [`CLASSES_MAX`] classes, in any order. [`PagePool::take`] takes from the first.
    pub classes: Vec<SlotClass>,
    /// The pages to use.
    pub kind: PageKindRequest,
    /// The memory node to use.
    pub node: NodeChoice,
}

impl PoolOptions {
    /// Asks for `slots` slots of at least `slot_len` bytes, in the best pages there are, on any node.
    #[must_use]
    pub fn uniform(slot_len: usize, slots: usize) -> Self {
        let classes = vec![SlotClass { slot_len, slots }];
        Self { classes, kind: PageKindRequest::Auto, node: NodeChoice::Any }
    }

    /// Adds `slots` slots of at least `slot_len` bytes.
    #[must_use]
    pub fn and(mut self, slot_len: usize, slots: usize) -> Self {
        self.classes.push(SlotClass { slot_len, slots });
        self
    }

    /// Asks for these pages.
    #[must_use]
    pub fn with_kind(self, kind: PageKindRequest) -> Self {
        Self { kind, ..self }
    }

    /// Asks for this memory node.
    #[must_use]
    pub fn with_node(self, node: NodeChoice) -> Self {
        Self { node, ..self }
    }
}

/// Populated shared memory cut into slots of a few lengths.
///
/// Each slot begins on a page of its own, the longest slots first: where lengths are powers of two each slot lies
/// on a multiple of its own length in the pool. The memory is returned to the system when the pool and all its
/// slots have been dropped.
///
/// The bytes are private to this process, except where [`PagePool::as_fd`] exports them.
///
/// ```
/// use bulkio::pages::{PagePool, PoolOptions};
///
/// let pool = PagePool::new(PoolOptions::uniform(100_000, 2).and(4096, 8))?;
/// let mut slot = pool.take().expect("two are free");
/// slot.as_mut_slice()[..5].copy_from_slice(b"bytes");
/// assert!(slot.len() >= 100_000);
/// assert_eq!(pool.free_slots(), 9);
///
/// let small = pool.take_len(512).expect("eight are free");
/// assert!(small.len() < slot.len());
/// drop((slot, small));
/// assert_eq!(pool.free_slots(), 10);
/// # Ok::<(), bulkio::pages::PoolError>(())
/// ```
pub struct PagePool {
    shared: Arc<Shared>,
    layout: Layout,
    kind: PageKind,
    refusals: Vec<Refusal>,
    node: NodeReport,
}

impl PagePool {
    /// Makes a pool: gets the memory, populates all of it, and cuts it.
    ///
    /// It takes the sum of its slots, rounded as [`SlotClass::slot_len`] says. More it takes only where the pages
    /// are hugetlb pages (rounded up to 2 MiB), and in pools of several classes beyond 1 GiB, where slots whose
    /// lengths are no powers of two may leave room at the end of a range. [`PagePool::bytes`] tells.
    ///
    /// # Errors
    /// When nothing, or more than there is, was asked for; when the pages or the node demanded cannot be had
    /// (`Auto`, `Any` and `Local` never fail for that reason); when the system refuses the memory.
    pub fn new(options: PoolOptions) -> Result<Self, PoolError> {
        Self::new_on(options, Path::new(numa::SYS))
    }

    /// As [`PagePool::new`], on a machine whose nodes are those of the tree at `sys`.
    fn new_on(options: PoolOptions, sys: &Path) -> Result<Self, PoolError> {
        let PoolOptions { classes, kind, node } = options;
        let page_len = rustix::param::page_size();
        let layout = Layout::new(&classes, page_len)?;
        // A layout has bytes, and so has a page.
        let (len, page_len) = (NonZeroUsize::new(layout.len()), NonZeroUsize::new(page_len));
        let (Some(len), Some(page_len)) = (len, page_len) else {
            return Err(PoolError::Empty { slot_len: 0, slots: 0 });
        };
        let node = numa::Target::new(node, sys)?;
        let memory = ladder::obtain(Wanted { len, page_len, kind, node })?;
        let cut = memory.mapping.cut(layout.slots() as usize, layout.places());
        let (mapping, spans) = cut.expect("a layout is disjoint and as long as it says");
        let shared = Arc::new(Shared::new(mapping, layout.classes(), spans));
        Ok(Self { shared, layout, kind: memory.kind, refusals: memory.refusals, node: memory.node })
    }

    /// Takes a free slot of the first class, or `None` when all of these are taken.
    ///
    /// Allocates nothing. The bytes are what the slot's last user left, or zeros. The slot used last comes
    /// first: it is the one in the CPU's cache.
    #[must_use]
    pub fn take(&self) -> Option<Slot> {
        Slot::take(&self.shared)
    }

    /// Takes a free slot of at least `len` bytes: the shortest there is. It may be of a longer class while those
    /// of the class that fits are taken.
    ///
    /// `None` says that all are taken that are long enough, or that none is: [`PagePool::slot_len_max`] tells.
    /// Otherwise as [`PagePool::take`].
    #[must_use]
    pub fn take_len(&self, len: usize) -> Option<Slot> {
        Slot::take_len(&self.shared, len)
    }

    /// Returns how many slots are free at this moment, of all classes.
    #[must_use]
    pub fn free_slots(&self) -> usize {
        self.shared.free_slots()
    }

    /// Returns how many slots of at least `len` bytes are free at this moment: what [`PagePool::take_len`] can give.
    #[must_use]
    pub fn free_slots_of(&self, len: usize) -> usize {
        self.shared.free_slots_of(len)
    }

    /// Returns the number of slots of all classes.
    #[must_use]
    pub fn slots(&self) -> usize {
        // Lossless: Linux has no pointers below 32 bits.
        self.layout.slots() as usize
    }

    /// Returns the classes in the order given, with the lengths that their slots have: what was asked for,
    /// rounded up to the machine's base page.
    #[must_use]
    pub fn classes(&self) -> &[SlotClass] {
        self.layout.classes()
    }

    /// Returns the length of the slots of the first class, which [`PagePool::take`] gives, in bytes.
    #[must_use]
    pub fn slot_len(&self) -> usize {
        self.classes().first().map_or(0, |class| class.slot_len)
    }

    /// Returns the length of the longest slots, in bytes.
    #[must_use]
    pub fn slot_len_max(&self) -> usize {
        self.classes().iter().map(|class| class.slot_len).max().unwrap_or(0)
    }

    /// Returns how much memory the pool takes, in bytes: all slots, and what [`PagePool::new`] says.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.mapping.len() as u64
    }

    /// Returns which pages the pool got.
    #[must_use]
    pub fn kind(&self) -> PageKind {
        self.kind
    }

    /// Returns which memory node the pool lies on, if one was chosen.
    #[must_use]
    pub fn node(&self) -> NodeReport {
        self.node
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

    /// Returns where the slots lie: the address of the first byte, and how far the last slot's end is from it,
    /// in bytes.
    #[must_use]
    pub fn range(&self) -> (CpuAddr, u64) {
        (CpuAddr::from_ptr(self.shared.mapping.as_ptr()), self.layout.len() as u64)
    }

    /// Returns how far apart the starts of [`PagePool::ranges`] are, in bytes: the range of an address is its
    /// distance from the start of [`PagePool::range`], divided by this.
    #[must_use]
    pub fn range_len(&self) -> u64 {
        self.layout.range_len() as u64
    }

    /// Returns the pool in parts that io_uring can register, one after the other, none longer than
    /// [`REGISTERED_LEN_MAX`] bytes, and no slot across two. A pool of up to that size is one.
    pub fn ranges(&self) -> impl Iterator<Item = PoolRange> + Clone + use<> {
        self.layout.ranges(self.range().0)
    }
}

impl fmt::Debug for PagePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagePool")
            .field("kind", &self.kind)
            .field("node", &self.node)
            .field("classes", &self.classes())
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
