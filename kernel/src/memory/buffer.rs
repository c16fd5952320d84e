//! [`Buffer`]: bytes in frames of a choice, to be leased to devices.
//!
//! The frames may lie anywhere and the first byte anywhere in the first of them. The CPU reads and writes the bytes while the
//! buffer is not leased; leased, only devices and mappings do.
#![expect(unsafe_code, reason = "bytes of frames by raw pointers; see the invariants of Buffer")]

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use scatterlist::map::Memory as _;
use scatterlist::{Addr as _, Lease, ListError, PhysAddr, ScatterList, Segment};

use super::frames::{Choice, FRAME_LEN};
use super::kernel_memory::KernelMemory;

/// What keeps a leased buffer alive: all parts of a split lease share it.
pub type Owner = Arc<Buffer>;

/// Bytes in frames.
///
/// # Invariants
/// 1. The frames were taken from those of `memory`, once, and are given back once, when this is dropped.
/// 2. `len` bytes from `offset` on, which is below the length of a frame, lie within the frames in their order.
/// 3. Behind a shared reference nothing reads or writes the bytes, so a lease may share this.
pub struct Buffer {
    memory: &'static KernelMemory,
    frames: Vec<PhysAddr>,
    offset: u64,
    len: u64,
}

/// Why there is no buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BufferError {
    /// Too few frames of the choice are free.
    #[error("{need} frames between {addr_min:#x} and {addr_max:#x} are needed, {have} were free", addr_min = .choice.addr_min, addr_max = .choice.addr_max)]
    Frames {
        /// Frames needed.
        need: u64,
        /// Frames that were free.
        have: u64,
        /// Which would have done.
        choice: Choice,
    },
    /// Enough frames of the choice may be free, but not next to each other.
    #[error("{need} frames in a row between {addr_min:#x} and {addr_max:#x} are needed, there is no such run among {free} free frames", addr_min = .choice.addr_min, addr_max = .choice.addr_max)]
    Run {
        /// Frames needed.
        need: u64,
        /// Frames of any kind that were free.
        free: u64,
        /// Which would have done.
        choice: Choice,
    },
    /// No bytes, a first byte that is not in the first frame, or no choice of frames.
    #[error(
        "{len} bytes at offset {offset} of the first frame, of {choices} choices: at least 1 byte, below {FRAME_LEN}, of at least 1 choice"
    )]
    Shape {
        /// The bytes.
        len: u64,
        /// Where in the first frame they start.
        offset: u64,
        /// The choices of frames.
        choices: usize,
    },
    /// A part that is not there.
    #[error("bytes {at} to {end} of {len}")]
    Range {
        /// The first byte.
        at: u64,
        /// The one past the last.
        end: u64,
        /// The bytes there are.
        len: u64,
    },
    /// The frames are no list.
    #[error(transparent)]
    List(#[from] ListError),
}

impl Buffer {
    /// Takes frames for `len` bytes, of which the first lies at `offset` in the first frame. What is in them is undefined.
    ///
    /// # Errors
    /// [`BufferError::Frames`], [`BufferError::Shape`].
    pub fn new(
        memory: &'static KernelMemory,
        len: u64,
        offset: u64,
        choice: Choice,
    ) -> Result<Self, BufferError> {
        Self::in_turn(memory, len, offset, &[choice])
    }

    /// As [`Buffer::new`], with frames in a row: one segment.
    ///
    /// # Errors
    /// [`BufferError::Run`], [`BufferError::Shape`].
    pub fn contiguous(
        memory: &'static KernelMemory,
        len: u64,
        offset: u64,
        choice: Choice,
    ) -> Result<Self, BufferError> {
        let need = frames_for(len, offset, 1)?;
        let run = memory.frames().take_run(need, FRAME_LEN, choice);
        let first = run.ok_or_else(|| BufferError::Run { need, free: memory.frames().free(), choice })?;
        let frame = |index: u64| first.checked_add(index.saturating_mul(FRAME_LEN));
        Ok(Self { memory, frames: (0..need).filter_map(frame).collect(), offset, len })
    }

    /// As [`Buffer::new`], with frames of several choices in turn.
    ///
    /// # Errors
    /// As there.
    pub fn in_turn(
        memory: &'static KernelMemory,
        len: u64,
        offset: u64,
        choices: &[Choice],
    ) -> Result<Self, BufferError> {
        let need = frames_for(len, offset, choices.len())?;
        let mut buffer = Self { memory, frames: Vec::new(), offset, len };
        for (have, choice) in (0..need).zip(choices.iter().cycle()) {
            let short = BufferError::Frames { need, have, choice: *choice };
            buffer.frames.push(memory.frames().take(*choice).ok_or(short)?);
        }
        Ok(buffer)
    }

    /// Returns how many of the bytes lie above an address.
    #[must_use]
    pub fn bytes_above(&self, addr: u64) -> u64 {
        let above = |run: &(PhysAddr, u64)| run.0.raw() > addr;
        self.runs().filter(above).fold(0, |bytes, (_, len)| len.saturating_add(bytes))
    }

    /// Iterates over the bytes, frame by frame: where they start, and how many.
    fn runs(&self) -> impl Iterator<Item = (PhysAddr, u64)> + '_ {
        let (mut left, mut offset) = (self.len, self.offset);
        self.frames.iter().map(move |frame| {
            let len = FRAME_LEN.saturating_sub(offset).min(left);
            let start = PhysAddr::new(frame.raw().saturating_add(offset));
            (left, offset) = (left.saturating_sub(len), 0);
            (start, len)
        })
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Returns `false`: a buffer has bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes bytes from `at` on.
    ///
    /// # Errors
    /// [`BufferError::Range`].
    pub fn write(&mut self, mut at: u64, mut from: &[u8]) -> Result<(), BufferError> {
        self.within(at, from.len())?;
        while let Some((place, room)) = self.place(at).filter(|_| !from.is_empty()) {
            let (now, rest) = from.split_at(from.len().min(room));
            // SAFETY: (1), (2) the bytes are this buffer's; the exclusive reference says that it is not leased.
            unsafe { core::ptr::copy_nonoverlapping(now.as_ptr(), place, now.len()) };
            at = at.saturating_add(u64::try_from(now.len()).unwrap_or(u64::MAX));
            from = rest;
        }
        Ok(())
    }

    /// Reads bytes from `at` on. The reference is exclusive since a device writes what is leased.
    ///
    /// # Errors
    /// [`BufferError::Range`].
    pub fn read(&mut self, mut at: u64, mut into: &mut [u8]) -> Result<(), BufferError> {
        self.within(at, into.len())?;
        while let Some((place, room)) = self.place(at).filter(|_| !into.is_empty()) {
            let count = into.len().min(room);
            let (now, rest) = into.split_at_mut(count);
            // SAFETY: as in `write`.
            unsafe { core::ptr::copy_nonoverlapping(place, now.as_mut_ptr(), now.len()) };
            at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
            into = rest;
        }
        Ok(())
    }

    /// Leases all bytes: one segment a frame, joined where frames touch.
    ///
    /// # Errors
    /// [`BufferError::List`], which frames of this machine cannot cause.
    pub fn lease(self) -> Result<Lease<PhysAddr, Owner>, BufferError> {
        let mut list = ScatterList::new();
        for (start, len) in self.runs() {
            if let Ok(segment) = Segment::new(start, len) {
                list.append(segment)?;
            }
        }
        // SAFETY: (1) the frames are nobody else's while the owner lives; (3) a shared owner shows no byte.
        Ok(unsafe { Lease::from_raw(list, Arc::new(self)) })
    }

    /// Takes a whole buffer out of a lease that has ended: the one that is left of it, if it is not shared any more.
    #[must_use]
    pub fn from_lease(lease: Lease<PhysAddr, Owner>) -> Option<Self> {
        let mut owners = lease.into_owners();
        let first = owners.next()?;
        // The other parts of a split lease have the same owner.
        owners.for_each(drop);
        Arc::into_inner(first)
    }

    fn within(&self, at: u64, len: usize) -> Result<(), BufferError> {
        let end = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if end > self.len {
            return Err(BufferError::Range { at, end, len: self.len });
        }
        Ok(())
    }

    /// Where byte `at` is, and how many follow in the same frame.
    fn place(&self, at: u64) -> Option<(*mut u8, usize)> {
        let from_frames = self.offset.checked_add(at).filter(|_| at < self.len)?;
        let frame = usize::try_from(from_frames.checked_div(FRAME_LEN)?).ok()?;
        let offset = from_frames.checked_rem(FRAME_LEN)?;
        let addr = self.frames.get(frame)?.checked_add(offset)?;
        let room = FRAME_LEN.checked_sub(offset)?;
        let cpu = self.memory.cpu_addr(addr, room)?;
        Some((cpu.as_ptr(), usize::try_from(room).ok()?))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        for frame in &self.frames {
            // SAFETY: (1) they were taken once and are given back here alone; whoever held a lease of them has let go.
            unsafe { self.memory.frames().give_back(*frame, 1) };
        }
    }
}

/// How many frames so many bytes take, where the first is at `offset` in the first frame.
fn frames_for(len: u64, offset: u64, choices: usize) -> Result<u64, BufferError> {
    let shape = BufferError::Shape { len, offset, choices };
    if len == 0 || offset >= FRAME_LEN || choices == 0 {
        return Err(shape);
    }
    Ok(offset.checked_add(len).ok_or(shape)?.div_ceil(FRAME_LEN))
}

// Without the addresses: they are for devices.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use super::*;
    use crate::memory::Frames;

    /// Memory of a few frames, which are numbers: nothing here reads or writes them.
    fn leaked_memory() -> &'static KernelMemory {
        let frames = Frames::new(Box::leak(Box::new([0; 1])));
        // SAFETY: nobody uses frames of a test.
        unsafe { frames.add(0, 8 * FRAME_LEN) };
        // SAFETY: these tests read and write no byte.
        Box::leak(Box::new(unsafe { KernelMemory::new(Box::leak(Box::new(frames)), 8 * FRAME_LEN) }))
    }

    #[test]
    fn bytes_of_no_choice_are_refused_by_leaked_memory() {
        let refused = Buffer::in_turn(leaked_memory(), 512, 0, &[]).err();
        assert_eq!(refused, Some(BufferError::Shape { len: 512, offset: 0, choices: 0 }));
    }

    #[test]
    fn frames_of_leaked_memory_come_back_also_where_they_do_not_suffice() {
        let memory = leaked_memory();
        drop(Buffer::new(memory, 3 * FRAME_LEN, 512, Choice::ANY).unwrap());
        assert_eq!(memory.frames().free(), 8);
        let refused = Buffer::new(memory, 9 * FRAME_LEN, 0, Choice::ANY).err();
        assert_eq!(refused, Some(BufferError::Frames { need: 9, have: 8, choice: Choice::ANY }));
        let refused = Buffer::contiguous(memory, 9 * FRAME_LEN, 0, Choice::ANY).err();
        assert_eq!(refused, Some(BufferError::Run { need: 9, free: 8, choice: Choice::ANY }));
        assert_eq!(memory.frames().free(), 8);
    }
}
