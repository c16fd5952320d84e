//! [`Lend`]: memory that is given away for a transfer and comes back with its result.
//!
//! While it is in flight it is a [`Lease`]: raw parts and their owner, so that no reference of the compiler's says that nobody writes
//! there, and so that forgetting a future frees nothing.

use scatterlist::{CpuAddr, Lease, OwnedBytes};

use crate::pages::Slot;

/// Owned memory that can be lent to a transfer.
///
/// A lease of many pieces is one buffer (several vectors become one by [`Lease::join`]). Memory without a byte cannot be leased; it comes back as it is, and nothing moves.
pub trait Lend: Sized {
    /// What owns the memory while it is lent.
    type Owner: Send + 'static;

    /// Lends all of it.
    ///
    /// # Errors
    /// The memory, unchanged, where it holds no bytes.
    fn lend(self) -> Result<Lease<CpuAddr, Self::Owner>, Self>;

    /// Takes it back. `lease` is what [`lend`](Self::lend) gave.
    fn take_back(lease: Lease<CpuAddr, Self::Owner>) -> Self;
}

/// The initialised bytes of the vector; its capacity is not used.
impl Lend for Vec<u8> {
    type Owner = OwnedBytes;

    fn lend(self) -> Result<Lease<CpuAddr, OwnedBytes>, Self> {
        Lease::from_vec(self).map_err(|(bytes, _)| bytes)
    }

    fn take_back(lease: Lease<CpuAddr, OwnedBytes>) -> Self {
        lease.into_vecs().next().unwrap_or_default()
    }
}

impl Lend for Box<[u8]> {
    type Owner = OwnedBytes;

    fn lend(self) -> Result<Lease<CpuAddr, OwnedBytes>, Self> {
        Lease::from_box(self).map_err(|(bytes, _)| bytes.into_boxed_slice())
    }

    fn take_back(lease: Lease<CpuAddr, OwnedBytes>) -> Self {
        Vec::take_back(lease).into_boxed_slice()
    }
}

/// All bytes of the slot.
impl Lend for Slot {
    type Owner = Self;

    fn lend(self) -> Result<Lease<CpuAddr, Self>, Self> {
        let len = u64::try_from(self.len()).unwrap_or(u64::MAX);
        self.into_lease(0, len).map_err(|error| error.slot)
    }

    fn take_back(lease: Lease<CpuAddr, Self>) -> Self {
        lease.into_owners().next().unwrap_or_else(|| unreachable!("the lease of a slot has it for its owner"))
    }
}

/// Any number of pieces, more than one vector of the kernel's takes too.
impl<O: Send + 'static> Lend for Lease<CpuAddr, O> {
    type Owner = O;

    fn lend(self) -> Result<Self, Self> {
        if self.list().is_empty() { Err(self) } else { Ok(self) }
    }

    fn take_back(lease: Self) -> Self {
        lease
    }
}
