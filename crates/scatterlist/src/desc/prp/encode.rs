//! [`encode`]: a device-ready request to entries and lists.
//!
//! The number of entries follows from the first address and the length, since a request that may be encoded is
//! one run of pages; so the place of every link is known before the first entry is written. What does not keep
//! to the format ends in an error, and the list memory is then worth nothing.

use core::ops::ControlFlow;

use super::{ENTRY_LEN, MemoryPage, OFFSET_ALIGN, Prps, SLOTS_MAX};
use crate::desc::DescriptorMemory;
use crate::plan::{Piece, Ready, Run};
use crate::{Addr as _, BusAddr, Segment, Segments};

/// Why a request cannot be encoded as PRPs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The first piece starts at a byte where no entry may.
    #[error("the first piece, at {addr}, does not start at a multiple of {OFFSET_ALIGN} (PRP entry)")]
    Misaligned {
        /// Its address.
        addr: BusAddr,
    },
    /// A piece that is not the first starts, or one that is not the last ends, inside a page.
    #[error(
        "at byte {at} one piece ends at {end} and the next starts at {start}: both must be multiples of \
         {page_len} (PRP entry)"
    )]
    Gap {
        /// Bytes of the request before the join.
        at: u64,
        /// Where the one ends.
        end: BusAddr,
        /// Where the next starts.
        start: BusAddr,
        /// The memory page size in bytes.
        page_len: u64,
    },
    /// A piece goes through a bounce buffer that the list does not name yet.
    #[error("the {len} bytes at byte {at} are to be bounced; encode the request that names their buffer")]
    Bounced {
        /// Bytes of the request before the piece.
        at: u64,
        /// Its bytes.
        len: u64,
    },
    /// The list memory has no room.
    #[error("{entries} entries are left for list {list}, of the {lists} given, which holds {slots}")]
    NoRoom {
        /// Entries still to be written, from this list on.
        entries: u64,
        /// Which list memory is full, or missing, from 0.
        list: usize,
        /// How many were given.
        lists: usize,
        /// Its slots; 0 where it is missing.
        slots: u64,
    },
    /// A list memory lies where no list may start.
    #[error("list {list} at {addr} does not start at a multiple of {need}")]
    ListMisaligned {
        /// Which list memory, from 0.
        list: usize,
        /// Where the device sees it.
        addr: BusAddr,
        /// Bytes: an entry for the first, a page for the others.
        need: u64,
    },
    /// A list memory that needs a link does not reach the end of its page, where a controller looks for it.
    #[error("list {list} at {addr} has {slots} slots, and its link belongs in slot {link}, the page's last")]
    NoLink {
        /// Which list memory, from 0.
        list: usize,
        /// Where the device sees it.
        addr: BusAddr,
        /// Its slots.
        slots: u64,
        /// Where the link would have to be.
        link: u64,
    },
    /// The pieces do not add up to the request.
    #[error("the request has {bytes} bytes, its pieces {found}")]
    Inconsistent {
        /// Bytes of the request.
        bytes: u64,
        /// Bytes of its pieces, up to where it was noticed.
        found: u64,
    },
    /// The slice reaches past the buffer that a shared list describes.
    #[error("{len} bytes at byte {offset} reach past the {bytes} bytes of the shared list's buffer")]
    PastEnd {
        /// Where the slice starts in the buffer.
        offset: u64,
        /// Its bytes.
        len: u64,
        /// Bytes of the buffer.
        bytes: u64,
    },
}

/// Returns how many list pages a request needs, when the first has `first_slots` slots and the others are whole
/// pages: what to fetch before [`encode`].
///
/// # Errors
/// [`EncodeError::Bounced`] for a request that starts with a bounce, [`EncodeError::NoRoom`] for a first list
/// without a slot for an entry and a link.
pub fn lists_needed<S>(ready: &Ready<'_, S>, page: MemoryPage, first_slots: u64) -> Result<u64, EncodeError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
{
    let first = match ready.first() {
        Some(Piece::Direct(first)) => first,
        Some(Piece::Bounce(bounce)) => return Err(EncodeError::Bounced { at: 0, len: bounce.len }),
        None => return Ok(0),
    };
    let entries = page.entries(first.addr().raw(), ready.len_bytes());
    let in_lists = entries.saturating_sub(1);
    if entries <= 2 {
        return Ok(0);
    }
    if first_slots == 0 {
        return Err(EncodeError::NoRoom { entries: in_lists, list: 0, lists: 0, slots: 0 });
    }
    let beyond = in_lists.saturating_sub(first_slots);
    let each = page.slots().saturating_sub(1);
    Ok(beyond.div_ceil(each.max(1)).saturating_add(1))
}

/// Encodes a request into the entries of a command and into list memory, one element a list page.
///
/// A list page ends at the end of its memory or of the controller's page, whichever comes first. The first may start
/// at any multiple of 8 bytes, the others at a page.
///
/// ```
/// use scatterlist::desc::PlainMemory;
/// use scatterlist::desc::prp::{MemoryPage, encode, limits, walk};
/// use scatterlist::plan::{Policy, plan};
/// use scatterlist::{Addr, BusAddr, Position, ScatterList, Segment};
///
/// let page = MemoryPage::new(4096)?;
/// let list = ScatterList::from(Segment::new(BusAddr::new(0x10_0800), 8192)?);
/// let limits = limits(page, page.slots())?;
/// let ready = plan(&list, Position::At(0), &limits, Policy::WholeOrError).next().ok_or("no bytes")??;
///
/// let mut words = [0; 512];
/// let mut lists = [PlainMemory::new(BusAddr::new(0x2000), &mut words)];
/// let prps = encode(&ready, page, &mut lists)?;
/// assert_eq!((prps.prp1().raw(), prps.prp2().raw()), (0x10_0800, 0x2000));
///
/// // As the controller reads it:
/// let bytes: u64 = walk(&lists[..], page, prps, 8192)
///     .map(|run| run.map(|run| run.len()))
///     .sum::<Result<_, _>>()?;
/// assert_eq!(bytes, 8192);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// [`EncodeError`], with the numbers. A plan made for [`limits`](super::limits) of this list memory never fails.
#[inline]
pub fn encode<S, M>(ready: &Ready<'_, S>, page: MemoryPage, lists: &mut [M]) -> Result<Prps, EncodeError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
    M: DescriptorMemory,
{
    match encode_whole(ready, page, lists) {
        Some(prps) => Ok(prps),
        None => encode_any(ready, page, lists),
    }
}

/// Encodes a whole list of single pages that was planned for PRPs and fits one list page: nothing is left to
/// check, and the loop is a copy. `None` where the request is not of that kind.
#[inline]
fn encode_whole<S, M>(ready: &Ready<'_, S>, page: MemoryPage, lists: &mut [M]) -> Option<Prps>
where
    S: Segments<Addr = BusAddr> + ?Sized,
    M: DescriptorMemory,
{
    let (list, pieces) = ready.whole()?;
    if pieces == 1 {
        return encode_run(list.segments().next()?, page);
    }
    let memory = lists.first_mut()?;
    let hard = ready.hard();
    let planned =
        hard.gap_mask & page.mask() == page.mask() && hard.addr_mask >= OFFSET_ALIGN.wrapping_sub(1);
    let list_addr = memory.bus_addr().raw();
    if !planned || pieces <= 2 || list_addr & ENTRY_LEN.wrapping_sub(1) != 0 {
        return None;
    }
    let slots = page.slots_from(list_addr).min(u64::try_from(memory.len_words()).unwrap_or(u64::MAX));
    let (mut prp1, mut at) = (None, 0_usize);
    let done = list.visit_runs::<()>(|run| {
        let mut run = run;
        if prp1.is_none()
            && let Some((first, rest)) = run.split_first()
        {
            let first = first.addr().raw();
            // All inner joins fall on pages. So if there are as many pages as pieces, each piece lies in one page.
            if page.entries(first, ready.len_bytes()) != pieces || pieces > slots.saturating_add(1) {
                return ControlFlow::Break(());
            }
            (prp1, run) = (Some(first), rest);
        }
        let stored = memory.fill(at, run.iter().map(|piece| piece.addr().raw()));
        at = at.saturating_add(stored);
        if stored == run.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let entries = u64::try_from(at).unwrap_or(u64::MAX);
    if done.is_break() || entries != pieces.saturating_sub(1) {
        return None;
    }
    prp1.map(|prp1| Prps::new(prp1, list_addr))
}

/// Encodes one run of memory that lies in one page or two.
#[inline]
pub(in crate::desc) fn encode_run(run: Segment<BusAddr>, page: MemoryPage) -> Option<Prps> {
    let first = run.addr().raw();
    let second = (first & !page.mask()).wrapping_add(page.len());
    let aligned = first & OFFSET_ALIGN.wrapping_sub(1) == 0;
    match page.entries(first, run.len()) {
        1 if aligned => Some(Prps::new(first, 0)),
        2 if aligned => Some(Prps::new(first, second)),
        _ => None,
    }
}

/// Encodes any request.
#[inline(never)]
fn encode_any<S, M>(ready: &Ready<'_, S>, page: MemoryPage, lists: &mut [M]) -> Result<Prps, EncodeError>
where
    S: Segments<Addr = BusAddr> + ?Sized,
    M: DescriptorMemory,
{
    let bytes = ready.len_bytes();
    let mut encoder = Encoder::new(page, bytes, lists);
    let done = ready.visit_runs(|run| {
        let took = match run {
            Run::Direct(pieces) => encoder.take(pieces),
            Run::Bounce(bounce) => Err(EncodeError::Bounced { at: encoder.at, len: bounce.len }),
        };
        took.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    });
    match done {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) if encoder.at != bytes => {
            Err(EncodeError::Inconsistent { bytes, found: encoder.at })
        }
        ControlFlow::Continue(()) => Ok(encoder.prps),
    }
}

struct Encoder<'m, M> {
    page: MemoryPage,
    bytes: u64,
    /// Bytes taken.
    at: u64,
    /// Where the last piece ended.
    end: u64,
    prps: Prps,
    /// Entries still to be written.
    left: u64,
    /// There are more than two entries.
    listed: bool,
    lists: &'m mut [M],
    /// The list that is being written.
    list: usize,
    /// Its next slot for data, and the slot where data ends.
    slot: usize,
    slots: usize,
}

impl<'m, M: DescriptorMemory> Encoder<'m, M> {
    const fn new(page: MemoryPage, bytes: u64, lists: &'m mut [M]) -> Self {
        let prps = Prps::new(0, 0);
        Self { page, bytes, at: 0, end: 0, prps, left: 0, listed: false, lists, list: 0, slot: 0, slots: 0 }
    }

    /// Takes pieces that follow each other.
    #[inline(never)]
    fn take(&mut self, pieces: &[Segment<BusAddr>]) -> Result<(), EncodeError> {
        let mut pieces = pieces;
        if self.at == 0
            && let Some((first, rest)) = pieces.split_first()
        {
            self.start(*first)?;
            pieces = rest;
        }
        let mut uniform = pieces.first().is_some_and(|piece| piece.len() == self.page.len());
        while let Some((first, rest)) = pieces.split_first() {
            if uniform && self.slot < self.slots {
                let taken = self.take_pages(pieces);
                pieces = pieces.get(taken..).unwrap_or_default();
                uniform = taken > 0;
            } else {
                self.take_piece(*first)?;
                pieces = rest;
            }
        }
        Ok(())
    }

    fn start(&mut self, first: Segment<BusAddr>) -> Result<(), EncodeError> {
        let addr = first.addr().raw();
        if addr & OFFSET_ALIGN.wrapping_sub(1) != 0 {
            return Err(EncodeError::Misaligned { addr: first.addr() });
        }
        self.prps.prp1 = addr;
        self.left = self.page.entries(addr, self.bytes).saturating_sub(1);
        self.listed = self.left > 1;
        if self.listed {
            self.open_list()?;
        }
        self.at = first.len();
        self.end = first.end();
        let here = self.page.entries(addr, first.len()).saturating_sub(1);
        // The piece does not wrap, so the start of its second page does not either, where it has one.
        self.put_pages((addr & !self.page.mask()).wrapping_add(self.page.len()), here)
    }

    /// Takes as many pieces as there is room for, if each is one page: a loop over the slice without a branch.
    /// Returns how many.
    #[inline]
    fn take_pages(&mut self, pieces: &[Segment<BusAddr>]) -> usize {
        let room = self.slots.saturating_sub(self.slot).min(pieces.len());
        let Some(list) = self.lists.get_mut(self.list) else { return 0 };
        let pieces = pieces.get(..room).unwrap_or_default();
        let (mut starts, mut other) = (self.end, 0);
        let page_len = self.page.len();
        let entries = pieces.iter().map(|piece| {
            let addr = piece.addr().raw();
            starts |= addr;
            other |= piece.len() ^ page_len;
            addr
        });
        let stored = list.fill(self.slot, entries);
        if stored < room || other != 0 || starts & self.page.mask() != 0 {
            return 0;
        }
        if let Some(last) = pieces.last() {
            self.end = last.end();
        }
        // A slice has no more bytes of pages than 64 bits hold: that is checked against the request at the end.
        let count = u64::try_from(room).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(count.saturating_mul(page_len));
        self.slot = self.slot.saturating_add(room);
        self.left = self.left.saturating_sub(count);
        room
    }

    #[inline(never)]
    fn take_piece(&mut self, piece: Segment<BusAddr>) -> Result<(), EncodeError> {
        let start = piece.addr();
        if (self.end | start.raw()) & self.page.mask() != 0 {
            let (at, end, page_len) = (self.at, BusAddr::new(self.end), self.page.len());
            return Err(EncodeError::Gap { at, end, start, page_len });
        }
        self.at = self.at.saturating_add(piece.len());
        self.end = piece.end();
        self.put_pages(start.raw(), self.page.entries(start.raw(), piece.len()))
    }

    /// Writes `count` entries for pages that follow each other.
    fn put_pages(&mut self, mut addr: u64, mut count: u64) -> Result<(), EncodeError> {
        if count > self.left {
            return Err(EncodeError::Inconsistent { bytes: self.bytes, found: self.at });
        }
        if count > 0 && !self.listed {
            // Of two entries the second lies in the command; `left` was 1.
            self.prps.prp2 = addr;
            self.left = 0;
            return Ok(());
        }
        while count > 0 {
            if self.slot == self.slots {
                self.link()?;
            }
            let room = self.slots.saturating_sub(self.slot);
            let here = usize::try_from(count).unwrap_or(usize::MAX).min(room);
            let (page_len, first) = (self.page.len(), addr);
            let entries = (0..here).scan(first, |next, _| {
                let entry = *next;
                // The pages lie within a piece, which does not wrap.
                *next = entry.wrapping_add(page_len);
                Some(entry)
            });
            let stored = self.lists.get_mut(self.list).map_or(0, |list| list.fill(self.slot, entries));
            if stored == 0 {
                return Err(self.no_room(self.left));
            }
            self.slot = self.slot.saturating_add(stored);
            let stored = u64::try_from(stored).unwrap_or(u64::MAX);
            addr = addr.wrapping_add(stored.wrapping_mul(page_len));
            count = count.saturating_sub(stored);
            self.left = self.left.saturating_sub(stored);
        }
        Ok(())
    }

    /// Turns to the first list. It is what the second entry points to.
    fn open_list(&mut self) -> Result<(), EncodeError> {
        let Some(memory) = self.lists.first() else { return Err(self.no_room(self.left)) };
        let addr = memory.bus_addr();
        if addr.raw() & ENTRY_LEN.wrapping_sub(1) != 0 {
            return Err(EncodeError::ListMisaligned { list: 0, addr, need: ENTRY_LEN });
        }
        self.prps.prp2 = addr.raw();
        self.measure()
    }

    /// Links the full list to the next one and turns to that.
    #[cold]
    fn link(&mut self) -> Result<(), EncodeError> {
        let (full, next) = (self.list, self.list.saturating_add(1));
        self.list = next;
        let Some(memory) = self.lists.get(next) else { return Err(self.no_room(self.left)) };
        let addr = memory.bus_addr();
        if addr.raw() & self.page.mask() != 0 {
            return Err(EncodeError::ListMisaligned { list: next, addr, need: self.page.len() });
        }
        // `measure` left the slot behind the data for the link.
        if !self.lists.get_mut(full).is_some_and(|list| list.put(self.slot, addr.raw())) {
            return Err(self.no_room(self.left));
        }
        self.slot = 0;
        self.measure()
    }

    /// Says where data ends in the present list: at its last entry, or before the slot of a link.
    fn measure(&mut self) -> Result<(), EncodeError> {
        let list = self.list;
        let Some(memory) = self.lists.get(list) else { return Err(self.no_room(self.left)) };
        let addr = memory.bus_addr();
        let words = u64::try_from(memory.len_words()).unwrap_or(u64::MAX);
        let in_page = self.page.slots_from(addr.raw());
        let slots = words.min(in_page).min(SLOTS_MAX);
        let data = if self.left <= slots {
            self.left
        } else if self.lists.len() <= list.saturating_add(1) || slots == 0 {
            return Err(self.no_room(self.left));
        } else if slots < in_page {
            return Err(EncodeError::NoLink { list, addr, slots, link: in_page.saturating_sub(1) });
        } else {
            slots.saturating_sub(1)
        };
        self.slots = usize::try_from(data).unwrap_or(usize::MAX);
        Ok(())
    }

    #[cold]
    fn no_room(&self, entries: u64) -> EncodeError {
        let (list, lists) = (self.list, self.lists.len());
        let slots = self.lists.get(list).map_or(0, |memory| {
            let words = u64::try_from(memory.len_words()).unwrap_or(u64::MAX);
            words.min(self.page.slots_from(memory.bus_addr().raw()))
        });
        EncodeError::NoRoom { entries, list, lists, slots }
    }
}
