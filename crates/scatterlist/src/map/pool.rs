//! [`DmaPool`]: like-sized pieces of coherent memory, for descriptors.
//!
//! Objects are cut from slabs so that none crosses the boundary and all are aligned. Which are free is kept in ordinary
//! memory, out of the device's reach. A fetch or a return is one lock and one stack operation; the number of objects
//! is bounded.
#![expect(unsafe_code, reason = "objects store to their own parts of one slab")]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::panic::Location;

use lock_api::{Mutex, RawMutex};

use super::backend::Backend;
use super::coherent::Coherent;
use super::device::DmaDevice;
use super::error::{MapError, Resource};
use super::memory::CoherentLayout;
use crate::desc::DescriptorMemory;
use crate::desc::virtqueue::RingMemory;
use crate::sync::Spin;
use crate::{Addr as _, BusAddr};

/// What the objects of a pool must be, and how many there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolLayout {
    /// Bytes of an object. Rounded up to whole words of 8 bytes.
    pub len: u64,
    /// Objects start at multiples of this, a power of two.
    pub align: u64,
    /// No object crosses a multiple of this, a power of two; 0 means no such rule.
    pub boundary: u64,
    /// Bytes that are allocated at a time; at least one object.
    pub slab_len: u64,
    /// The most objects at a time.
    pub objects_max: u64,
}

/// A pool layout that no memory can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No bytes, or no objects.
    #[error("a pool of {objects_max} objects of {len} bytes: both must be at least 1")]
    Empty {
        /// Bytes of an object.
        len: u64,
        /// The most objects.
        objects_max: u64,
    },
    /// Alignment or boundary is not a power of two.
    #[error("{what} is {value}, it must be a power of two")]
    NotPowerOfTwo {
        /// Which.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// An object cannot lie between two boundaries.
    #[error("objects of {len} bytes at multiples of {align} do not fit between boundaries of {boundary}")]
    Boundary {
        /// Bytes of an object.
        len: u64,
        /// Its alignment.
        align: u64,
        /// The boundary.
        boundary: u64,
    },
}

/// A pool of like-sized coherent objects. Clones are handles to the same pool. `R` is the lock; an interrupt handler
/// that fetches needs one that keeps interrupts off.
pub struct DmaPool<D: Backend, R: RawMutex = Spin> {
    inner: Arc<Inner<D, R>>,
}

struct Inner<D: Backend, R: RawMutex> {
    device: D,
    layout: PoolLayout,
    /// From one object to the next.
    stride: u64,
    /// The layout of a slab.
    slab: CoherentLayout,
    state: Mutex<R, State<D>>,
    /// Held by the one who allocates a slab.
    growing: Mutex<R, ()>,
}

struct State<D: Backend> {
    free: Vec<Cut<D>>,
    /// Objects that exist, free or not.
    objects: u64,
}

/// One object: a part of a slab, which lives as long as any of its parts.
///
/// # Invariants
/// 1. No two cuts of a slab share a byte, so whoever has a cut exclusively is alone with its bytes.
/// 2. The part is within the slab.
struct Cut<D: Backend> {
    slab: Arc<Coherent<D>>,
    offset: u64,
}

impl<D: DmaDevice> DmaPool<D> {
    /// Makes an empty pool; slabs are allocated as objects are fetched.
    ///
    /// # Errors
    /// [`PoolError`] for a layout that cannot be.
    pub fn new(device: D, layout: PoolLayout) -> Result<Self, PoolError> {
        Self::with_lock(device, layout)
    }
}

impl<D: DmaDevice, R: RawMutex> DmaPool<D, R> {
    /// As [`DmaPool::new`], with a lock of the caller's choice.
    ///
    /// # Errors
    /// As there.
    pub fn with_lock(device: D, layout: PoolLayout) -> Result<Self, PoolError> {
        let PoolLayout { len, align, boundary, objects_max, .. } = layout;
        if len == 0 || objects_max == 0 {
            return Err(PoolError::Empty { len, objects_max });
        }
        if !align.is_power_of_two() {
            return Err(PoolError::NotPowerOfTwo { what: "the alignment", value: align });
        }
        if boundary != 0 && !boundary.is_power_of_two() {
            return Err(PoolError::NotPowerOfTwo { what: "the boundary", value: boundary });
        }
        let refused = PoolError::Boundary { len, align, boundary };
        let align = align.max(8);
        let stride = len.checked_next_multiple_of(align).ok_or(refused)?;
        if boundary != 0 && stride > boundary {
            return Err(refused);
        }
        // A slab that starts at a boundary, or is within one, has its boundaries at known offsets.
        let slab_len = layout.slab_len.max(stride);
        let within = slab_len.checked_next_power_of_two().ok_or(refused)?.min(boundary);
        let slab = CoherentLayout::new(slab_len, align.max(within));
        let state = Mutex::new(State { free: Vec::new(), objects: 0 });
        let growing = Mutex::new(());
        Ok(Self { inner: Arc::new(Inner { device, layout, stride, slab, state, growing }) })
    }

    /// Returns what the objects are.
    #[must_use]
    pub fn layout(&self) -> PoolLayout {
        self.inner.layout
    }

    /// Returns how many objects are out.
    #[must_use]
    pub fn objects_out(&self) -> u64 {
        let state = self.inner.state.lock();
        state.objects.saturating_sub(u64::try_from(state.free.len()).unwrap_or(u64::MAX))
    }

    /// Takes an object. Its bytes are what its last user left there; those of a new one are zero.
    ///
    /// # Errors
    /// [`MapError::Shortage`] when all objects are out or the device has no more coherent memory.
    #[track_caller]
    pub fn fetch(&self) -> Result<PoolObject<D, R>, MapError> {
        // Bound before the match: the lock must not be held while the pool grows.
        let free = self.inner.state.lock().free.pop();
        let cut = match free {
            Some(cut) => cut,
            None => self.inner.grow(Location::caller())?,
        };
        Ok(PoolObject { cut: Some(cut), pool: Arc::clone(&self.inner) })
    }
}

impl<D: DmaDevice, R: RawMutex> Inner<D, R> {
    /// Allocates a slab and returns the first of its objects. Others fetch and return meanwhile; those who find nothing
    /// wait for the slab.
    #[cold]
    fn grow(&self, place: &'static Location<'static>) -> Result<Cut<D>, MapError> {
        let _growing = self.growing.lock();
        let room = {
            let mut state = self.state.lock();
            if let Some(cut) = state.free.pop() {
                return Ok(cut);
            }
            self.layout.objects_max.saturating_sub(state.objects)
        };
        let have = self.layout.objects_max;
        if room == 0 {
            let need = have.saturating_add(1);
            return Err(MapError::Shortage { what: Resource::PoolObjects, need, have });
        }
        let slab = Arc::new(Coherent::new(self.device.clone(), self.slab, place)?);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let mut cuts = self.offsets().take(room).map(|offset| Cut { slab: Arc::clone(&slab), offset });
        // A slab holds one object at least: its length was chosen so.
        let first = cuts.next().ok_or(MapError::Layout { len: self.layout.len, align: self.layout.align })?;
        let mut state = self.state.lock();
        let free = state.free.len();
        state.free.extend(cuts);
        let more = state.free.len().saturating_sub(free).saturating_add(1);
        state.objects = state.objects.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        Ok(first)
    }
}

impl<D: Backend, R: RawMutex> Inner<D, R> {
    /// Offsets of the objects in a slab.
    fn offsets(&self) -> impl Iterator<Item = u64> {
        let (stride, boundary, end) = (self.stride, self.layout.boundary, self.slab.len);
        let mut next = 0_u64;
        core::iter::from_fn(move || {
            if boundary != 0 {
                let last = next.saturating_add(stride.saturating_sub(1));
                let mask = boundary.wrapping_sub(1);
                if next | mask != last | mask {
                    next = last & !mask;
                }
            }
            let offset = next;
            next = offset.saturating_add(stride);
            (next <= end).then_some(offset)
        })
    }
}

/// An object of a [`DmaPool`], exclusively its holder's. Goes back when it is dropped.
pub struct PoolObject<D: Backend, R: RawMutex = Spin> {
    /// There until the object is dropped.
    cut: Option<Cut<D>>,
    pool: Arc<Inner<D, R>>,
}

impl<D: Backend, R: RawMutex> PoolObject<D, R> {
    /// Returns the cut and where in its slab a word lies.
    #[inline]
    fn word(&self, index: usize) -> Option<(&Cut<D>, u64)> {
        let at = u64::try_from(index).ok()?.checked_mul(8)?;
        let cut = self.cut.as_ref()?;
        (at < self.pool.layout.len).then_some((cut, cut.offset.wrapping_add(at)))
    }
}

impl<D: Backend, R: RawMutex> DescriptorMemory for PoolObject<D, R> {
    fn bus_addr(&self) -> BusAddr {
        let slab = |cut: &Cut<D>| cut.slab.bus_addr().raw().wrapping_add(cut.offset);
        BusAddr::new(self.cut.as_ref().map_or(0, slab))
    }

    fn len_words(&self) -> usize {
        usize::try_from(self.pool.layout.len.div_ceil(8)).unwrap_or(usize::MAX)
    }

    #[inline]
    fn put(&mut self, index: usize, word: u64) -> bool {
        let Some((cut, at)) = self.word(index) else { return false };
        // SAFETY: (1) the cut is this object's alone, and this is the only reference to the object.
        unsafe { cut.slab.store_shared(at, word) }.is_ok()
    }
}

impl<D: Backend, R: RawMutex> RingMemory for PoolObject<D, R> {
    #[inline]
    fn get(&self, index: usize) -> Option<u64> {
        let (cut, at) = self.word(index)?;
        cut.slab.load(at).ok()
    }
}

impl<D: Backend, R: RawMutex> Drop for PoolObject<D, R> {
    fn drop(&mut self) {
        let cut = self.cut.take();
        self.pool.state.lock().free.extend(cut);
    }
}

impl<D: Backend, R: RawMutex> Clone for DmaPool<D, R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<D: Backend, R: RawMutex> fmt::Debug for DmaPool<D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaPool").field("layout", &self.inner.layout).finish_non_exhaustive()
    }
}

impl<D: Backend, R: RawMutex> fmt::Debug for PoolObject<D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolObject").field("bytes", &self.pool.layout.len).finish_non_exhaustive()
    }
}
