//! [`Lease`]: a list together with the owner of its memory. Only a lease reaches a device.
//!
//! A [`ScatterList`] is numbers; a lease is the promise behind them. It is made from owned memory by safe code
//! or from raw addresses by `unsafe` code, joined and split in step with its list, and gives its owners back. Since
//! `mem::forget` is safe, a lease owns: forgetting one leaks memory and frees none.
#![expect(unsafe_code, reason = "raw parts of owned memory; see the invariants of Lease and OwnedBytes")]

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::extents::Extents;
use crate::{Addr, CpuAddr, ListError, ScatterList, Segment, SplitError};

/// A list of memory together with what keeps that memory alive.
///
/// # Invariants
/// 1. Every byte that the list names is valid memory for as long as the owners of the lease live. An owner that is forgotten
///    lives for good: a borrow is none.
/// 2. Until the lease is taken apart, nobody else reads or writes those bytes through a Rust reference.
/// 3. The extents of the owners add up to the bytes of the list, in the list's order.
#[derive(Debug)]
pub struct Lease<A: Addr, O> {
    list: ScatterList<A>,
    owners: Extents<O>,
}

/// An owner whose clones keep the *same* memory alive, so that a lease over it can be split.
///
/// # Safety
/// As long as any clone lives, the memory that the original owned stays valid, at the same addresses, and is
/// not handed out again.
pub unsafe trait ShareOwner: Clone {}

// SAFETY: an `Arc`'s clones keep the one value alive, which stays where it is.
unsafe impl<T: Send + Sync> ShareOwner for Arc<T> {}

impl<A: Addr, O> Lease<A, O> {
    /// Makes a lease from addresses that the caller vouches for.
    ///
    /// # Safety
    /// Invariants 1 and 2 of [`Lease`] hold for `list` and `owner`, whatever safe code does with a shared reference to the owner
    /// ([`Lease::owner`], its `Debug`) and, once the lease was [split](Lease::split_at), with a clone of it. So an owner that shows
    /// its bytes, such as a `Vec<u8>`, is none.
    #[must_use]
    pub unsafe fn from_raw(list: ScatterList<A>, owner: O) -> Self {
        let owners = Extents::one(list.len_bytes(), owner);
        Self { list, owners }
    }

    /// Returns the list.
    #[must_use]
    pub const fn list(&self) -> &ScatterList<A> {
        &self.list
    }

    /// Returns the first owner, that of the lease's first bytes.
    #[must_use]
    pub const fn owner(&self) -> &O {
        self.owners.first()
    }

    /// Returns the owners, in the order of their bytes.
    pub fn into_owners(self) -> impl Iterator<Item = O> {
        self.owners.into_iter().map(|(_, owner)| owner)
    }

    /// Ends the lease: its owners drop, and the list is plain numbers again.
    #[must_use]
    pub fn into_list(self) -> ScatterList<A> {
        self.list
    }

    /// Returns the lease of the same memory, named by other addresses.
    ///
    /// # Safety
    /// `list` names the bytes of this lease's list, in the same order.
    pub(crate) unsafe fn renamed<B: Addr>(self, list: ScatterList<B>) -> Lease<B, O> {
        Lease { list, owners: self.owners }
    }

    /// Joins `other` behind this lease. O(1).
    ///
    /// # Errors
    /// The two leases unchanged, with [`ListError`] when their bytes pass 64 bits.
    pub fn join(mut self, mut other: Self) -> Result<Self, (Self, Self, ListError)> {
        match self.list.splice(&mut other.list) {
            Ok(()) => {
                self.owners.join(other.owners);
                Ok(self)
            }
            Err(error) => Err((self, other, error)),
        }
    }

    /// Joins a lease that was split off this one's whole: the sum of bytes fits.
    pub(crate) fn push(&mut self, mut other: Self) {
        let bytes = other.list.len_bytes();
        if self.list.splice(&mut other.list).is_ok() && bytes > 0 {
            self.owners.join(other.owners);
        }
    }

    /// Splits the lease after `at` bytes. Where the cut falls inside an owner's bytes, both sides share it.
    ///
    /// # Errors
    /// [`SplitError`] with the lease unchanged, unless `0 < at < bytes`.
    pub fn split_at(mut self, at: u64) -> Result<(Self, Self), (Self, SplitError)>
    where
        O: ShareOwner,
    {
        let bytes = self.list.len_bytes();
        if at == 0 || at >= bytes {
            return Err((self, SplitError { bytes, at }));
        }
        match self.list.split_off(at) {
            Ok(list) => {
                let owners = self.owners.split_off(at, |owner, _| owner.clone());
                Ok((self, Self { list, owners }))
            }
            Err(error) => Err((self, error)),
        }
    }
}

/// Owned bytes as raw parts: what a buffer is while a device may be writing to it.
///
/// A `Box` or `Vec` promises the compiler that nobody else touches its bytes, even while it only sits in a
/// table; raw parts promise nothing until they are turned back.
///
/// # Invariants
/// 1. `pointer`, `len` and `capacity` came out of one `Vec<u8>` and are given back to at most one.
#[derive(Debug)]
pub struct OwnedBytes {
    pointer: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: the bytes are owned and plain; (1) says that no other owner exists on any thread.
unsafe impl Send for OwnedBytes {}

// SAFETY: a shared reference gives no access to the bytes at all.
unsafe impl Sync for OwnedBytes {}

impl OwnedBytes {
    fn new(bytes: Vec<u8>) -> Self {
        let mut bytes = ManuallyDrop::new(bytes);
        let pointer = NonNull::new(bytes.as_mut_ptr()).unwrap_or(NonNull::dangling());
        Self { pointer, len: bytes.len(), capacity: bytes.capacity() }
    }

    /// Turns the raw parts back into the vector that they came from.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        ManuallyDrop::new(self).take()
    }

    fn take(&self) -> Vec<u8> {
        // SAFETY: (1): the parts of one vector; both callers give up `self` for good.
        unsafe { Vec::from_raw_parts(self.pointer.as_ptr(), self.len, self.capacity) }
    }
}

impl Drop for OwnedBytes {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Lease<CpuAddr, OwnedBytes> {
    /// Leases the initialised bytes of a vector.
    ///
    /// # Errors
    /// The vector back, with [`SegmentError::Empty`](crate::SegmentError::Empty), when it holds no bytes.
    pub fn from_vec(bytes: Vec<u8>) -> Result<Self, (Vec<u8>, crate::SegmentError)> {
        let owner = OwnedBytes::new(bytes);
        let addr = CpuAddr::from_ptr(owner.pointer.as_ptr());
        match Segment::new(addr, u64::try_from(owner.len).unwrap_or(u64::MAX)) {
            // SAFETY: the owner keeps exactly these bytes valid and gives nobody access to them.
            Ok(segment) => Ok(unsafe { Self::from_raw(ScatterList::from(segment), owner) }),
            Err(error) => Err((owner.into_vec(), error)),
        }
    }

    /// Ends the lease: the vectors come back, in the order in which they were joined.
    pub fn into_vecs(self) -> impl Iterator<Item = Vec<u8>> {
        self.into_owners().map(OwnedBytes::into_vec)
    }

    /// Leases a boxed slice.
    ///
    /// # Errors
    /// As [`Lease::from_vec`].
    pub fn from_box(bytes: Box<[u8]>) -> Result<Self, (Vec<u8>, crate::SegmentError)> {
        Self::from_vec(bytes.into_vec())
    }
}
