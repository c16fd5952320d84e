//! [`Memory`]: the bytes that a job moves, as addresses under a promise, and the copies to and from them.
//!
//! The one file of `direct` that touches memory by address. Above it, `job` splits, joins and hands memory to the engine in
//! safe code; the promise is made once for each job, where its memory is lent (`Channel::start`).
#![expect(unsafe_code, reason = "leases and copies memory by address; see the invariants of Memory")]

use core::slice;

use scatterlist::{Addr, CpuAddr, Lease, ScatterList, Segment, SegmentError};

use crate::pages::Slot;

/// The owner of what a job has in flight: nobody. The job owns it, and outlives its operations.
#[derive(Debug)]
pub(super) struct Held;

/// Bytes that a job may move.
///
/// # Invariants
/// 1. From the making of a `Memory` until the job that it belongs to is over, its bytes are valid for reads; they are valid for
///    writes in a job that reads from a device, and where they are a slot's. A job that is never over keeps them for good.
/// 2. For as long, nobody but the job, and the device for it, accesses them through a reference.
/// 3. A job accesses bytes by itself only while none of its operations in flight has them.
#[derive(Debug)]
pub(super) struct Memory {
    list: ScatterList<CpuAddr>,
}

impl Memory {
    /// Takes a list of lent memory.
    ///
    /// # Safety
    /// Invariants 1 and 2 of [`Memory`]; its user keeps 3.
    pub(super) const unsafe fn new(list: ScatterList<CpuAddr>) -> Self {
        Self { list }
    }

    /// Makes the memory of no bytes.
    pub(super) fn empty() -> Self {
        Self { list: ScatterList::new() }
    }

    /// Names `len` bytes of a slot from byte `offset` on.
    ///
    /// # Safety
    /// The job keeps the slot until it is over, and looks at these bytes through the slot only while no operation has them.
    pub(super) unsafe fn of_slot(slot: &Slot, offset: u64, len: u64) -> Result<Self, SegmentError> {
        let addr = slot.addr().raw();
        let wraps = SegmentError::Wraps { addr, len };
        let end = offset.checked_add(len).ok_or(wraps)?;
        if end > u64::try_from(slot.len()).unwrap_or(u64::MAX) {
            return Err(wraps);
        }
        let segment = Segment::new(CpuAddr::new(addr.checked_add(offset).ok_or(wraps)?), len)?;
        Ok(Self { list: ScatterList::from(segment) })
    }

    pub(super) const fn list(&self) -> &ScatterList<CpuAddr> {
        &self.list
    }

    pub(super) const fn len(&self) -> u64 {
        self.list.len_bytes()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Takes the first `len` bytes off, at most all.
    pub(super) fn take_front(&mut self, len: u64) -> Self {
        if len == 0 {
            return Self::empty();
        }
        // An error means that there are no more than `len` bytes.
        let rest = self.list.split_off(len).unwrap_or_else(|_| ScatterList::new());
        Self { list: core::mem::replace(&mut self.list, rest) }
    }

    /// Joins `other` behind these bytes. The sum fits: both are parts of one transfer.
    pub(super) fn join(&mut self, mut other: Self) {
        // Two parts of one transfer, whose length is a `u64`; if it were not, `other` would stay out and the
        // transfer would end short.
        let _ = self.list.splice(&mut other.list);
    }

    /// Adds the segment's bytes, which are a part of `of`.
    pub(super) fn append(&mut self, segment: Segment<CpuAddr>) {
        // As in `join`.
        let _ = self.list.append(segment);
    }

    /// Lends the bytes to one operation of the job.
    pub(super) fn into_lease(self) -> Lease<CpuAddr, Held> {
        // SAFETY: Memory invariants 1 and 2 are those of a lease; the job, which outlives the operation, stands for the owner.
        unsafe { Lease::from_raw(self.list, Held) }
    }

    /// Takes the bytes back from an operation that is over.
    pub(super) fn from_lease(lease: Lease<CpuAddr, Held>) -> Self {
        // Only `into_lease` makes such leases, so the invariants hold for these bytes.
        Self { list: lease.into_list() }
    }

    /// Copies bytes out, from byte `offset` on, as many as `into` takes.
    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) {
        let mut left = into;
        self.visit(offset, |segment| {
            let len = usize::try_from(segment.len()).unwrap_or(usize::MAX).min(left.len());
            // SAFETY: (1) and (2): valid and unaliased bytes of the segment; (3): the callers have nothing in flight there.
            let bytes = unsafe { slice::from_raw_parts(segment.addr().as_ptr().cast_const(), len) };
            let (now, later) = core::mem::take(&mut left).split_at_mut(len);
            now.copy_from_slice(bytes);
            left = later;
            !left.is_empty()
        });
    }

    /// Copies `bytes` in, from byte `offset` on.
    pub(super) fn write_at(&mut self, offset: u64, bytes: &[u8]) {
        let mut left = bytes;
        self.visit(offset, |segment| {
            let len = usize::try_from(segment.len()).unwrap_or(usize::MAX).min(left.len());
            // SAFETY: (1) and (2): valid and unaliased bytes of a job that reads; (3): as in `read_at`.
            let into = unsafe { slice::from_raw_parts_mut(segment.addr().as_ptr(), len) };
            let (now, later) = left.split_at(len);
            into.copy_from_slice(now);
            left = later;
            !left.is_empty()
        });
    }

    /// Visits what follows byte `offset`, until `visit` says that it is enough.
    fn visit(&self, offset: u64, mut visit: impl FnMut(Segment<CpuAddr>) -> bool) {
        let mut skip = offset;
        for segment in self.list.iter() {
            let rest = match segment.split(skip) {
                Some((_, rest)) => rest,
                None if skip == 0 => segment,
                None => {
                    skip = skip.saturating_sub(segment.len());
                    continue;
                }
            };
            skip = 0;
            if !visit(rest) {
                return;
            }
        }
    }
}
