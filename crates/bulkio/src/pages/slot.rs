//! Slots, and the free list that they return to.
//!
//! Exclusive access is a matter of ownership: the free list owns the [`Span`]s that are free, each [`Slot`]
//! owns one that is not. There is no unsafe code here and no way to break that. The list has room for every
//! span from the start, so taking and returning allocate nothing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scatterlist::CpuAddr;

use super::mapping::{Mapping, Span};

/// What a pool and its slots share.
pub(super) struct Shared {
    pub(super) mapping: Arc<Mapping>,
    free: Mutex<Vec<Span>>,
}

impl Shared {
    /// Makes the free list of `spans`, the first on top.
    pub(super) fn new(mapping: Arc<Mapping>, mut spans: Vec<Span>) -> Self {
        spans.reverse();
        Self { mapping, free: Mutex::new(spans) }
    }

    /// Returns how many spans are free.
    pub(super) fn free_slots(&self) -> usize {
        self.free().len()
    }

    fn free(&self) -> MutexGuard<'_, Vec<Span>> {
        // A push or pop cannot leave the list half-changed, so a poisoned lock means nothing here.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One slot of a [`PagePool`](super::PagePool), taken: the exclusive right to its bytes.
///
/// It returns to its pool when it drops, and keeps the pool's memory alive until then. Forgetting it loses
/// the slot and keeps the memory.
///
/// # Invariants
/// 1. No other slot, and nothing else in safe code, reaches these bytes.
/// 2. The address and length stay the same for the life of the slot, wherever the `Slot` is moved, and the
///    memory stays mapped and populated.
/// 3. While the kernel or a device may access the bytes, the `Slot` is owned by the request in flight and
///    comes back with the completion. Whoever submits [`Slot::addr`] does so by an `unsafe` act and answers
///    for this.
pub struct Slot {
    /// `None` only while the slot drops.
    span: Option<Span>,
    shared: Arc<Shared>,
}

impl Slot {
    /// Takes a free slot.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let span = shared.free().pop()?;
        Some(Self { span: Some(span), shared: Arc::clone(shared) })
    }

    fn span(&self) -> &Span {
        self.span.as_ref().expect("a slot has its span until it drops")
    }

    /// Returns which slot of the pool this is, from 0.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.span().index()
    }

    /// Returns the address of the first byte: on a page boundary, and the same for the life of the slot.
    #[must_use]
    pub fn addr(&self) -> CpuAddr {
        CpuAddr::from_ptr(self.span().as_ptr())
    }

    /// Returns the length in bytes: that of every slot of the pool.
    #[must_use]
    pub fn len(&self) -> usize {
        self.span().len()
    }

    /// Returns `false`: no slot is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Borrows the bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.span().as_slice()
    }

    /// Borrows the bytes for writing.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.span.as_mut().expect("a slot has its span until it drops").as_mut_slice()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            self.shared.free().push(span);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("index", &self.index())
            .field("addr", &self.addr())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
