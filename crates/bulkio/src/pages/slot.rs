//! Slots, and the free lists that they return to, one for each class.
//!
//! Exclusive access is a matter of ownership: a free list owns the [`Span`]s that are free, each [`Slot`]
//! owns one that is not. There is no unsafe code here and no way to break that. Each list has room for every
//! span of its class from the start, so taking and returning allocate nothing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scatterlist::CpuAddr;

use super::SlotClass;
use super::mapping::{Mapping, Span};

/// What a pool and its slots share.
pub(super) struct Shared {
    pub(super) mapping: Arc<Mapping>,
    /// In the order of the pool's classes.
    classes: Box<[FreeList]>,
    /// The indices of the classes, shortest slots first.
    by_len: Box<[usize]>,
}

/// The free slots of one class.
struct FreeList {
    slot_len: usize,
    spans: Mutex<Vec<Span>>,
}

impl FreeList {
    fn spans(&self) -> MutexGuard<'_, Vec<Span>> {
        // A push or pop cannot leave the list half-changed, so a poisoned lock means nothing here.
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Makes the free lists of `classes` from `spans`, the first of each on top. Each span is of a class.
    pub(super) fn new(mapping: Arc<Mapping>, classes: &[SlotClass], spans: Vec<Span>) -> Self {
        let mut lists: Vec<_> = classes.iter().map(|class| Vec::with_capacity(class.slots)).collect();
        for span in spans.into_iter().rev() {
            if let Some(list) = lists.get_mut(place(&span)) {
                list.push(span);
            }
        }
        let list =
            |(class, spans): (&SlotClass, _)| FreeList { slot_len: class.slot_len, spans: Mutex::new(spans) };
        let classes: Box<[_]> = classes.iter().zip(lists).map(list).collect();
        let mut by_len: Box<[usize]> = (0..classes.len()).collect();
        by_len.sort_by_key(|index| classes.get(*index).map(|class| class.slot_len));
        Self { mapping, classes, by_len }
    }

    /// Returns how many spans are free.
    pub(super) fn free_slots(&self) -> usize {
        self.classes.iter().map(|class| class.spans().len()).sum()
    }

    /// Returns how many spans of at least `len` bytes are free.
    pub(super) fn free_slots_of(&self, len: usize) -> usize {
        let classes = self.classes.iter().filter(|class| class.slot_len >= len);
        classes.map(|class| class.spans().len()).sum()
    }
}

/// Returns the index of a span's class.
fn place(span: &Span) -> usize {
    // Lossless: Linux has no pointers below 32 bits.
    span.class() as usize
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
    /// Takes a free slot of the first class.
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let span = shared.classes.first()?.spans().pop()?;
        Some(Self { span: Some(span), shared: Arc::clone(shared) })
    }

    /// Takes a free slot of at least `len` bytes, of the class with the shortest slots that has one.
    pub(super) fn take_len(shared: &Arc<Shared>, len: usize) -> Option<Self> {
        let mut classes = shared.by_len.iter().filter_map(|index| shared.classes.get(*index));
        let span = classes.find_map(|class| if class.slot_len < len { None } else { class.spans().pop() })?;
        Some(Self { span: Some(span), shared: Arc::clone(shared) })
    }

    fn span(&self) -> &Span {
        self.span.as_ref().expect("a slot has its span until it drops")
    }

    /// Returns which slot of the pool this is, from 0: class by class, in the order that the classes were given.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.span().index()
    }

    /// Returns the address of the first byte: on a page boundary, and the same for the life of the slot.
    #[must_use]
    pub fn addr(&self) -> CpuAddr {
        CpuAddr::from_ptr(self.span().as_ptr())
    }

    /// Returns the length in bytes: that of every slot of its class.
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
        let Some(span) = self.span.take() else { return };
        if let Some(class) = self.shared.classes.get(place(&span)) {
            class.spans().push(span);
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
