//! [`encode`]: a device-ready request to descriptors.
//!
//! A piece is one descriptor, whose words are nearly those of the segment itself. How many there are is known
//! before the first is written, so every link is written once, with the length of the segment that it points
//! to.

use core::ops::ControlFlow;

use super::{DESCRIPTOR_LEN, DESCRIPTOR_WORDS, Descriptor, Kind, LEN_MAX, SEGMENT_ALIGN};
use crate::desc::DescriptorMemory;
use crate::plan::{Ready, Run};
use crate::{Addr as _, BusAddr, Segment, Segments};

/// Why a request cannot be encoded as an SGL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A piece is longer than a descriptor can say.
    #[error("a piece of the {bytes} bytes of the request has {len}, the most is {LEN_MAX} (SGL descriptor)")]
    TooLong {
        /// Bytes of the request.
        bytes: u64,
        /// Bytes of the piece.
        len: u64,
    },
    /// A piece goes through a bounce buffer that the list does not name yet.
    #[error("{len} bytes are to be bounced; encode the request that names their buffer")]
    Bounced {
        /// Its bytes.
        len: u64,
    },
    /// The list memory has no room.
    #[error(
        "{descriptors} descriptors are left for list memory {list}, of the {lists} given, which holds {room}"
    )]
    NoRoom {
        /// Descriptors of data still to be written, from this memory on.
        descriptors: u64,
        /// Which list memory is full, or missing, from 0.
        list: usize,
        /// How many were given.
        lists: usize,
        /// The descriptors it holds; 0 where it is missing.
        room: u64,
    },
    /// A list memory lies where no segment may start.
    #[error("list memory {list} at {addr} does not start at a multiple of {SEGMENT_ALIGN}")]
    ListMisaligned {
        /// Which list memory, from 0.
        list: usize,
        /// Where the device sees it.
        addr: BusAddr,
    },
    /// The pieces are not as many as the request says.
    #[error("the request has {pieces} pieces, {found} were found")]
    Inconsistent {
        /// Pieces of the request.
        pieces: u64,
        /// Pieces found, up to where it was noticed.
        found: u64,
    },
}

/// Returns how many list memories of `descriptors` descriptors each a request needs: what to fetch before [`encode`].
///
/// # Errors
/// [`EncodeError::NoRoom`] when memories of that size can hold no chain.
pub fn segments_needed<S>(ready: &Ready<'_, S>, descriptors: u64) -> Result<u64, EncodeError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
{
    let pieces = ready.len_pieces();
    if pieces <= 1 {
        return Ok(0);
    }
    let beyond = pieces.saturating_sub(descriptors);
    if beyond == 0 {
        return Ok(1);
    }
    // Each further memory holds as many, and one goes to the link that leads there.
    match descriptors.checked_sub(1) {
        Some(each) if each > 0 => Ok(beyond.div_ceil(each).saturating_add(1)),
        _ => Err(EncodeError::NoRoom { descriptors: pieces, list: 0, lists: 0, room: descriptors }),
    }
}

/// Encodes a request into the descriptor of a command and into list memory, one element a segment.
///
/// ```
/// use scatterlist::desc::PlainMemory;
/// use scatterlist::desc::sgl::{Granularity, Kind, encode, limits, walk};
/// use scatterlist::plan::{Policy, plan};
/// use scatterlist::{Addr, BusAddr, Position, ScatterList, Segment};
///
/// let mut list = ScatterList::from(Segment::new(BusAddr::new(0x1234), 1000)?);
/// list.append(Segment::new(BusAddr::new(0x9000), 24)?)?;
/// let limits = limits(4, Granularity::Byte)?;
/// let ready = plan(&list, Position::At(0), &limits, Policy::WholeOrError).next().ok_or("no bytes")??;
///
/// let mut words = [0; 8];
/// let mut lists = [PlainMemory::new(BusAddr::new(0x2000), &mut words)];
/// let pointer = encode(&ready, &mut lists)?;
/// assert_eq!((pointer.kind(), pointer.addr().raw(), pointer.len()), (Kind::LastSegment, 0x2000, 32));
///
/// // As the controller reads it:
/// let runs = walk(&lists[..], pointer, 1024).collect::<Result<Vec<_>, _>>()?;
/// assert!(runs.into_iter().eq(&list));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// [`EncodeError`], with the numbers. A plan made for [`limits`](super::limits) of this list memory never fails.
#[inline]
pub fn encode<S, M>(ready: &Ready<'_, S>, lists: &mut [M]) -> Result<Descriptor, EncodeError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
    M: DescriptorMemory,
{
    match encode_whole(ready, lists) {
        Some(pointer) => Ok(pointer),
        None => encode_any(ready, lists),
    }
}

/// Encodes a whole list that was planned for descriptors and fits one memory: nothing is left to check, and the loop
/// is a copy. `None` where the request is not of that kind.
#[inline]
fn encode_whole<S, M>(ready: &Ready<'_, S>, lists: &mut [M]) -> Option<Descriptor>
where
    S: Segments<Addr = BusAddr> + ?Sized,
    M: DescriptorMemory,
{
    let (list, pieces) = ready.whole()?;
    if pieces == 1 {
        return encode_run(list.segments().next()?);
    }
    let memory = lists.first_mut()?;
    let addr = memory.bus_addr();
    let misaligned = addr.raw() & SEGMENT_ALIGN.wrapping_sub(1) != 0;
    if pieces < 2 || ready.hard().segment_len_max > LEN_MAX || misaligned || pieces > room(memory) {
        return None;
    }
    let mut at = 0_usize;
    let done = list.visit_runs::<()>(|run| {
        // A type and a subtype of 0: the high word is the length.
        let descriptors = run.iter().map(|piece| [piece.addr().raw(), piece.len()]);
        let stored = memory.fill_pairs(at, descriptors);
        at = at.saturating_add(stored.saturating_mul(DESCRIPTOR_WORDS));
        if stored == run.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let words = pieces.saturating_mul(2);
    if done.is_break() || u64::try_from(at) != Ok(words) {
        return None;
    }
    // `room` bounds it to 32 bits.
    let len = u32::try_from(pieces.saturating_mul(DESCRIPTOR_LEN)).ok()?;
    Some(Descriptor::new(Kind::LastSegment, addr, len))
}

/// Encodes one run of memory.
#[inline]
pub(in crate::desc) fn encode_run(run: Segment<BusAddr>) -> Option<Descriptor> {
    let len = u32::try_from(run.len()).ok()?;
    Some(Descriptor::new(Kind::DataBlock, run.addr(), len))
}

/// Encodes any request.
#[inline(never)]
fn encode_any<S, M>(ready: &Ready<'_, S>, lists: &mut [M]) -> Result<Descriptor, EncodeError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
    M: DescriptorMemory,
{
    let pieces = ready.len_pieces();
    let pointer = Descriptor::default();
    let mut encoder =
        Encoder { pieces, left: pieces, longest: 0, pointer, lists, list: 0, slot: 0, slots: 0 };
    if pieces > 1 {
        encoder.pointer = encoder.open()?;
    }
    let done = ready.visit_runs(|run| {
        let took = match run {
            Run::Direct(pieces) => encoder.take(pieces),
            Run::Bounce(bounce) => Err(EncodeError::Bounced { len: bounce.len }),
        };
        took.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    });
    match done {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) if encoder.left > 0 => Err(encoder.inconsistent(0)),
        ControlFlow::Continue(()) if encoder.longest > LEN_MAX => Err(too_long(ready)),
        ControlFlow::Continue(()) => Ok(encoder.pointer),
    }
}

/// Finds the piece that is too long.
#[cold]
fn too_long<S: Segments<Addr = BusAddr> + ?Sized>(ready: &Ready<'_, S>) -> EncodeError {
    let len = ready.pieces().map(|piece| piece.len_bytes()).max().unwrap_or(0);
    EncodeError::TooLong { bytes: ready.len_bytes(), len }
}

struct Encoder<'m, M> {
    pieces: u64,
    /// Pieces still to be written.
    left: u64,
    /// The OR of all lengths.
    longest: u64,
    pointer: Descriptor,
    lists: &'m mut [M],
    /// The memory that is being written.
    list: usize,
    /// Its next descriptor of data, and where data ends.
    slot: usize,
    slots: usize,
}

impl<M: DescriptorMemory> Encoder<'_, M> {
    /// Takes pieces that follow each other.
    #[inline(never)]
    fn take(&mut self, pieces: &[Segment<BusAddr>]) -> Result<(), EncodeError> {
        let mut rest = pieces;
        while let [first, ..] = rest {
            if self.pieces == 1 {
                return self.take_only(*first, rest.len());
            }
            if self.slot == self.slots {
                self.link(rest.len())?;
            }
            let room = self.slots.saturating_sub(self.slot).min(rest.len());
            let (here, beyond) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            let mut longest = 0;
            let descriptors = here.iter().map(|piece| {
                longest |= piece.len();
                // A type and a subtype of 0: the high word is the length.
                [piece.addr().raw(), piece.len()]
            });
            let at = self.slot.saturating_mul(DESCRIPTOR_WORDS);
            let stored = self.lists.get_mut(self.list).map_or(0, |list| list.fill_pairs(at, descriptors));
            if stored < room {
                return Err(self.no_room(self.left));
            }
            self.longest |= longest;
            self.slot = self.slot.saturating_add(room);
            self.left = self.left.saturating_sub(u64::try_from(room).unwrap_or(u64::MAX));
            rest = beyond;
        }
        Ok(())
    }

    /// Takes the one piece of a request: its descriptor is that of the command.
    fn take_only(&mut self, piece: Segment<BusAddr>, found: usize) -> Result<(), EncodeError> {
        if self.left != 1 || found != 1 {
            return Err(self.inconsistent(found));
        }
        self.left = 0;
        self.longest = piece.len();
        self.pointer = Descriptor::from_words([piece.addr().raw(), piece.len() & LEN_MAX]);
        Ok(())
    }

    /// Links the full memory to the next one and turns to that. `more` pieces are at hand.
    #[cold]
    fn link(&mut self, more: usize) -> Result<(), EncodeError> {
        if self.left == 0 {
            return Err(self.inconsistent(more));
        }
        let (full, at) = (self.list, self.slot.saturating_mul(DESCRIPTOR_WORDS));
        self.list = full.saturating_add(1);
        let [low, high] = self.open()?.words();
        let link = self.lists.get_mut(full).map_or(0, |list| list.fill_pairs(at, [[low, high]].into_iter()));
        if link == 0 {
            return Err(self.no_room(self.left));
        }
        Ok(())
    }

    /// Measures the present memory for what is left, and returns the descriptor that points to it.
    fn open(&mut self) -> Result<Descriptor, EncodeError> {
        let list = self.list;
        let Some(memory) = self.lists.get(list) else { return Err(self.no_room(self.left)) };
        let addr = memory.bus_addr();
        if addr.raw() & SEGMENT_ALIGN.wrapping_sub(1) != 0 {
            return Err(EncodeError::ListMisaligned { list, addr });
        }
        let room = room(memory);
        let last = self.left <= room;
        if !last && (room < 2 || self.lists.len() <= list.saturating_add(1)) {
            return Err(self.no_room(self.left));
        }
        // One of them is the link, where there is one.
        let (data, all) = if last { (self.left, self.left) } else { (room.saturating_sub(1), room) };
        self.slot = 0;
        self.slots = usize::try_from(data).unwrap_or(usize::MAX);
        let kind = if last { Kind::LastSegment } else { Kind::Segment };
        let len = u32::try_from(all.saturating_mul(DESCRIPTOR_LEN)).unwrap_or(u32::MAX);
        Ok(Descriptor::new(kind, addr, len))
    }

    #[cold]
    fn no_room(&self, descriptors: u64) -> EncodeError {
        let (list, lists) = (self.list, self.lists.len());
        let room = self.lists.get(list).map_or(0, room);
        EncodeError::NoRoom { descriptors, list, lists, room }
    }

    #[cold]
    fn inconsistent(&self, more: usize) -> EncodeError {
        let written = self.pieces.saturating_sub(self.left);
        let found = written.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        EncodeError::Inconsistent { pieces: self.pieces, found }
    }
}

/// Returns how many descriptors a memory holds, as far as the length of a segment can say.
fn room<M: DescriptorMemory>(memory: &M) -> u64 {
    let words = u64::try_from(memory.len_words()).unwrap_or(u64::MAX);
    (words >> 1).min(LEN_MAX / DESCRIPTOR_LEN)
}
