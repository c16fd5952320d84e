//! [`MappingGuard`]: a mapping of the back end beneath, which ends where code of the user's unwinds.
//!
//! For whoever calls out between a mapping and its end: back ends that wrap another (to an oracle, to memory), and the scope
//! of a borrow (to the user's closure).
#![expect(unsafe_code, reason = "ends a mapping; see the invariants of MappingGuard")]

use core::mem::ManuallyDrop;

use super::backend::Backend;
use super::terms::Usage;
use crate::Segments;

/// A mapping of `device`, ended when this is dropped.
///
/// # Invariants
/// 1. `inner` is a mapping of `device`, made of `list` under `usage` but for its place; the list's memory is valid.
/// 2. No device uses it while this lives.
/// 3. `inner` is taken once: by [`MappingGuard::keep`], which forgets the rest, or by `drop`.
pub(crate) struct MappingGuard<'a, D: Backend, S: Segments<Addr = D::Addr> + ?Sized> {
    device: &'a D,
    list: &'a S,
    usage: Usage,
    inner: ManuallyDrop<D::Mapping>,
}

impl<'a, D: Backend, S: Segments<Addr = D::Addr> + ?Sized> MappingGuard<'a, D, S> {
    /// Guards a mapping.
    ///
    /// # Safety
    /// Invariants 1 and 2 hold.
    pub(crate) const unsafe fn new(device: &'a D, list: &'a S, usage: Usage, inner: D::Mapping) -> Self {
        Self { device, list, usage, inner: ManuallyDrop::new(inner) }
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn mapping(&self) -> &D::Mapping {
        &self.inner
    }

    /// Gives the mapping out; it stays.
    #[cfg(feature = "alloc")]
    pub(crate) fn keep(self) -> D::Mapping {
        let mut whole = ManuallyDrop::new(self);
        // SAFETY: (3) `whole` is neither dropped nor used again.
        unsafe { ManuallyDrop::take(&mut whole.inner) }
    }
}

impl<D: Backend, S: Segments<Addr = D::Addr> + ?Sized> Drop for MappingGuard<'_, D, S> {
    fn drop(&mut self) {
        // SAFETY: (3) nothing comes after this.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        // SAFETY: (1), (2).
        unsafe { self.device.raw_unmap(self.list, self.usage, inner) };
    }
}
