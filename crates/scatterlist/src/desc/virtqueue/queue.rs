//! [`SplitQueue`]: the driver's side of a split virtqueue.
//!
//! Everything that the driver relies on (which descriptors are free, which heads are in flight, how much each request
//! may be written) stands in [`Slot`]s that the device cannot reach. The table and the available ring are only ever
//! written, never read back; of the used ring every number is checked before it is used.

use super::super::DescriptorMemory;
use super::format::{
    AVAILABLE_NO_INTERRUPT, CHAIN_BYTES_MAX, DESCRIPTOR_BYTES, DESCRIPTOR_WORDS, USED_NO_NOTIFY, field,
    halves,
};
use super::{AddError, Descriptor, QueueError, QueueSize, RingMemory, Rings, Shape, Side, UsedError};
use crate::plan::Piece;
use crate::{BusAddr, Segment};

/// What the driver keeps of one descriptor, out of the device's reach. A queue needs as many as its size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// The descriptor after this one, in its chain or in the free list.
    next: u16,
    /// The last descriptor of the chain that this one heads.
    last: u16,
    /// How many descriptors that chain has.
    descriptors: u16,
    /// The entry of the available ring at this place: another array of the queue's size, kept here.
    available: u16,
    state: State,
    /// The bytes that the device may write for the request that this one heads.
    writable_bytes: u64,
}

/// What a descriptor is to the used ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// No head: free, or further down a chain.
    #[default]
    NoHead,
    /// Heads a request that the device was not told of.
    Added,
    /// Heads a request that the device has.
    InFlight,
}

/// One request that the device has given back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Used {
    /// The head, as [`SplitQueue::add`] returned it. It is free again.
    pub head: u16,
    /// Bytes that the device says it wrote, from the start of the writable ones on: never more than there were.
    ///
    /// A device may lie. What lies before this may still hold old bytes.
    pub written_bytes: u32,
}

/// The driver's side of a split virtqueue over the memory `M`, with its state in `S` (`[Slot; N]`, `&mut [Slot]`,
/// `Vec<Slot>`: whatever gives the same slice each time).
///
/// [`add`](Self::add) or [`add_indirect`](Self::add_indirect) any number of requests, [`publish`](Self::publish) them
/// at once, notify the device where [`notify_wanted`](Self::notify_wanted) says so, and [`take`](Self::take) what it
/// gives back. The memory of a request, its indirect table with it, is the device's from `publish` until `take`
/// returns its head.
///
/// ```
/// use scatterlist::desc::PlainMemory;
/// use scatterlist::desc::virtqueue::{QueueSize, Rings, Slot, SplitQueue};
/// use scatterlist::{Addr, BusAddr, Segment};
///
/// let (mut table, mut available, mut used) = ([0; 16], [0; 3], [0; 9]);
/// let rings = Rings {
///     table: PlainMemory::new(BusAddr::new(0x1000), &mut table),
///     available: PlainMemory::new(BusAddr::new(0x2000), &mut available),
///     used: PlainMemory::new(BusAddr::new(0x3000), &mut used),
/// };
/// let mut queue = SplitQueue::new(QueueSize::new(8)?, rings, [Slot::default(); 8])?;
///
/// // A block device reads a header of 16 bytes, then writes the data and one byte of status.
/// let header = Segment::new(BusAddr::new(0x8000), 16)?;
/// let data = [Segment::new(BusAddr::new(0xA000), 4096)?, Segment::new(BusAddr::new(0xE000), 4096)?];
/// let status = Segment::new(BusAddr::new(0x8010), 1)?;
/// let head = queue.add([header], data.into_iter().chain([status]))?;
/// assert_eq!((head, queue.free()), (0, 4));
/// assert_eq!(queue.publish(), 1);
/// assert_eq!(queue.take()?, None);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SplitQueue<M, S> {
    rings: Rings<M>,
    slots: S,
    size: QueueSize,
    free_head: u16,
    free: u16,
    /// The available flags as the device sees them.
    flags: u16,
    /// The available index as the device sees it.
    available: u16,
    /// Requests in the available ring past that index.
    added: u16,
    in_flight: u16,
    /// The used index up to which the driver has taken.
    taken: u16,
}

impl<M: RingMemory, S: AsRef<[Slot]> + AsMut<[Slot]>> SplitQueue<M, S> {
    /// Sets the memory to zero and every descriptor free. The device does not know of the queue yet, or was reset.
    ///
    /// # Errors
    /// [`QueueError`] where a part or `slots` is too small for `size`, or a part is misaligned.
    pub fn new(size: QueueSize, mut rings: Rings<M>, mut slots: S) -> Result<Self, QueueError> {
        let given = slots.as_ref().len();
        if given < usize::from(size.get()) {
            return Err(QueueError::Slots { slots: given, need: size.get() });
        }
        rings.clear(size)?;
        for (slot, after) in slots.as_mut().iter_mut().zip(1..=size.get()) {
            *slot = Slot { next: size.wrap(after), ..Slot::default() };
        }
        let free = size.get();
        Ok(Self {
            rings,
            slots,
            size,
            free_head: 0,
            free,
            flags: 0,
            available: 0,
            added: 0,
            in_flight: 0,
            taken: 0,
        })
    }

    /// Gives memory and slots back. The device must have been reset, or never told.
    #[must_use]
    pub fn into_parts(self) -> (Rings<M>, S) {
        (self.rings, self.slots)
    }

    /// Returns the queue size.
    #[must_use]
    pub const fn size(&self) -> QueueSize {
        self.size
    }

    /// Returns the memory: the transport tells the device the three addresses.
    #[must_use]
    pub const fn rings(&self) -> &Rings<M> {
        &self.rings
    }

    /// Returns how many descriptors are free.
    #[must_use]
    pub const fn free(&self) -> u16 {
        self.free
    }

    /// Returns how many requests the device has.
    #[must_use]
    pub const fn in_flight(&self) -> u16 {
        self.in_flight
    }

    /// Returns how many requests were added and not yet published.
    #[must_use]
    pub const fn added(&self) -> u16 {
        self.added
    }

    /// Returns how many segments a request of this shape may have now. An indirect one takes one descriptor,
    /// whatever its length.
    #[must_use]
    pub fn room(&self, shape: Shape) -> u64 {
        match shape {
            Shape::Direct => u64::from(self.free),
            Shape::Indirect { .. } if self.free == 0 => 0,
            Shape::Indirect { descriptors } => descriptors.min(u64::from(self.size.get())),
        }
    }

    /// Iterates over the heads of all requests that were added or are in flight: what fails when the device is reset.
    pub fn heads(&self) -> impl Iterator<Item = u16> + '_ {
        let slots = (0..self.size.get()).zip(self.slots.as_ref());
        slots.filter(|(_, slot)| slot.state != State::NoHead).map(|(head, _)| head)
    }

    /// Puts one request into free descriptors of the table: what the device reads, then what it writes. Either may be
    /// empty, not both. Each takes segments, or the [pieces](crate::plan::Ready::pieces) of a device-ready request.
    ///
    /// Returns the head, by which [`take`](Self::take) gives the request back. The device learns of it by
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    /// [`AddError`]; the queue is as it was.
    pub fn add<R, W>(&mut self, readable: R, writable: W) -> Result<u16, AddError>
    where
        R: IntoIterator<Item: Into<Piece<BusAddr>>>,
        W: IntoIterator<Item: Into<Piece<BusAddr>>>,
    {
        let mut tally = Tally::default();
        // `at` is the free descriptor for the next segment; `open` is the one before, not yet known to be the last.
        let (mut at, mut last, mut open) = (self.free_head, self.free_head, None::<Descriptor>);
        for (piece, side) in request(readable, writable) {
            let descriptor = tally.take(piece, side)?;
            if tally.descriptors > u64::from(self.free) {
                continue;
            }
            // Free descriptors are not the device's: filling some and then giving up leaves nothing behind.
            if let Some(before) = open.replace(descriptor) {
                put(&mut self.rings.table, last, before.linked(at));
            }
            last = at;
            at = self.slot(at).next;
        }
        let Some(end) = open.filter(|_| tally.descriptors <= u64::from(self.free)) else {
            return Err(tally.refused(self.free));
        };
        put(&mut self.rings.table, last, end);
        let descriptors = u16::try_from(tally.descriptors).unwrap_or(self.free);
        Ok(self.commit(at, last, descriptors, tally.writable_bytes))
    }

    /// Puts one request into an indirect table in `table`, and that table into one descriptor of the queue. To be used
    /// only where `VIRTIO_F_INDIRECT_DESC` was negotiated. Otherwise as [`add`](Self::add).
    ///
    /// # Errors
    /// [`AddError`]; the queue is as it was, `table` may have been written.
    pub fn add_indirect<T, R, W>(&mut self, table: &mut T, readable: R, writable: W) -> Result<u16, AddError>
    where
        T: DescriptorMemory,
        R: IntoIterator<Item: Into<Piece<BusAddr>>>,
        W: IntoIterator<Item: Into<Piece<BusAddr>>>,
    {
        let mut tally = Tally::default();
        let room = table.len_words().checked_div(DESCRIPTOR_WORDS).unwrap_or(0);
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let (mut at, mut open) = (0_u16, None::<Descriptor>);
        for (piece, side) in request(readable, writable) {
            let descriptor = tally.take(piece, side)?;
            if tally.descriptors > room || tally.descriptors > u64::from(self.size.get()) {
                continue;
            }
            if let Some(before) = open.replace(descriptor) {
                let after = at.saturating_add(1);
                put(table, at, before.linked(after));
                at = after;
            }
        }
        let need = tally.descriptors;
        if need > u64::from(self.size.get()) {
            return Err(AddError::ChainTooLong { need, max: self.size.get() });
        }
        if need > room {
            return Err(AddError::TableFull { need, room });
        }
        let Some(end) = open else { return Err(AddError::Empty) };
        if self.free == 0 {
            return Err(AddError::QueueFull { need: 1, free: 0 });
        }
        put(table, at, end);
        let bytes = need.saturating_mul(DESCRIPTOR_BYTES);
        let (head, addr) = (self.free_head, table.bus_addr());
        let len = u32::try_from(bytes).unwrap_or(u32::MAX);
        put(&mut self.rings.table, head, Descriptor { addr, len, flags: Descriptor::INDIRECT, next: 0 });
        Ok(self.commit(self.slot(head).next, head, 1, tally.writable_bytes))
    }

    /// Shows the device every request added since: the barrier, then the new available index. Returns how many
    /// they were.
    ///
    /// The barrier is [`RingMemory::write_barrier`]: descriptors, indirect tables and ring entries before the index
    /// (section 2.7.13). Whatever the driver wrote into the memory of the requests is ordered by it too.
    pub fn publish(&mut self) -> u16 {
        let published = self.added;
        if published == 0 {
            return 0;
        }
        for offset in 0..published {
            let place = self.size.wrap(self.available.wrapping_add(offset));
            let head = self.slot(place).available;
            self.change(head, |slot| slot.state = State::InFlight);
        }
        self.added = 0;
        self.in_flight = self.in_flight.saturating_add(published);
        self.rings.available.write_barrier();
        // The index runs through all 16 bits and wraps (section 2.7.6).
        self.available = self.available.wrapping_add(published);
        self.put_available(0);
        published
    }

    /// Says whether the device wants to be notified of what was published. Stands after [`publish`](Self::publish),
    /// with [`RingMemory::full_barrier`] between.
    #[must_use]
    pub fn notify_wanted(&self) -> bool {
        self.rings.used.full_barrier();
        field(self.rings.used.get(0).unwrap_or(0), 0) & USED_NO_NOTIFY == 0
    }

    /// Asks the device to interrupt, or not to, when it gives a request back: a hint that it may ignore. After asking
    /// for interrupts again, [`take`](Self::take) once more: what came in between made none.
    pub fn want_interrupts(&mut self, wanted: bool) {
        self.flags = if wanted { 0 } else { AVAILABLE_NO_INTERRUPT };
        self.put_available(0);
        self.rings.available.full_barrier();
    }

    /// Takes the next request that the device has given back, if there is one.
    ///
    /// # Errors
    /// [`UsedError`] where the used ring holds what it cannot; nothing is taken and nothing changes.
    pub fn take(&mut self) -> Result<Option<Used>, UsedError> {
        let index = field(self.rings.used.get(0).unwrap_or(0), 1);
        let (taken, in_flight, size) = (self.taken, self.in_flight, self.size);
        // Both run through all 16 bits and wrap; the distance does not.
        let waiting = index.wrapping_sub(taken);
        if waiting > in_flight {
            return Err(UsedError::IndexJump { index, taken, in_flight });
        }
        if waiting == 0 {
            return Ok(None);
        }
        self.rings.used.read_barrier();
        let (id, written) = self.used_element(size.wrap(taken));
        let index = taken;
        let head = match u16::try_from(id) {
            Ok(head) if head < size.get() => head,
            _ => return Err(UsedError::IdOutOfRange { index, id, size: size.get() }),
        };
        let slot = self.slot(head);
        if slot.state != State::InFlight {
            return Err(UsedError::NotInFlight { index, id: head });
        }
        if u64::from(written) > slot.writable_bytes {
            let writable = slot.writable_bytes;
            return Err(UsedError::TooMuchWritten { index, id: head, written, writable });
        }
        let free_head = self.free_head;
        self.change(head, |slot| slot.state = State::NoHead);
        self.change(slot.last, |slot| slot.next = free_head);
        self.free_head = head;
        self.free = self.free.saturating_add(slot.descriptors);
        self.in_flight = in_flight.saturating_sub(1);
        self.taken = taken.wrapping_add(1);
        Ok(Some(Used { head, written_bytes: written }))
    }

    /// Takes the descriptors from the free list's head up to `last`, and puts that head into the available ring.
    fn commit(&mut self, free_head: u16, last: u16, descriptors: u16, writable_bytes: u64) -> u16 {
        let head = self.free_head;
        self.free_head = free_head;
        self.free = self.free.saturating_sub(descriptors);
        self.change(head, |slot| {
            *slot = Slot { last, descriptors, writable_bytes, state: State::Added, ..*slot };
        });
        // No entry is lost: there are at most as many heads as descriptors, and as many entries.
        let place = self.size.wrap(self.available.wrapping_add(self.added));
        self.change(place, |slot| slot.available = head);
        self.added = self.added.saturating_add(1);
        // Two fields of 16 bits stand before the entries, and four make a word.
        self.put_available(usize::from(place).saturating_add(2).checked_div(4).unwrap_or(0));
        head
    }

    /// Stores one word of the available ring, made from what the driver knows: the ring itself is never read.
    fn put_available(&mut self, word: usize) {
        let entry = |field: usize| {
            let place = word.saturating_mul(4).saturating_add(field).checked_sub(2)?;
            let entries = self.slots.as_ref().get(..usize::from(self.size.get()))?;
            entries.get(place).map(|slot| slot.available)
        };
        let [a, b] = entry(0).unwrap_or(if word == 0 { self.flags } else { 0 }).to_le_bytes();
        let [c, d] = entry(1).unwrap_or(if word == 0 { self.available } else { 0 }).to_le_bytes();
        let [e, f] = entry(2).unwrap_or(0).to_le_bytes();
        let [g, h] = entry(3).unwrap_or(0).to_le_bytes();
        self.rings.available.put(word, u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }

    /// Reads the element at a place of the used ring: its id and the bytes written. It lies across two words.
    fn used_element(&self, place: u16) -> (u32, u32) {
        let word = |index: usize| halves(self.rings.used.get(index).unwrap_or(0));
        let place = usize::from(place);
        let ([_, id], [written, _]) = (word(place), word(place.saturating_add(1)));
        (id, written)
    }

    fn slot(&self, index: u16) -> Slot {
        self.slots.as_ref().get(usize::from(index)).copied().unwrap_or_default()
    }

    fn change(&mut self, index: u16, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.as_mut().get_mut(usize::from(index)) {
            change(slot);
        }
    }
}

/// Stores one descriptor of a table.
fn put(table: &mut impl DescriptorMemory, index: u16, descriptor: Descriptor) {
    let at = usize::from(index).saturating_mul(DESCRIPTOR_WORDS);
    table.fill(at, descriptor.to_words().into_iter());
}

/// The pieces of a request, in the order that the format demands: what the device reads first (section 2.7.4.2).
fn request<R, W>(readable: R, writable: W) -> impl Iterator<Item = (Piece<BusAddr>, Side)>
where
    R: IntoIterator<Item: Into<Piece<BusAddr>>>,
    W: IntoIterator<Item: Into<Piece<BusAddr>>>,
{
    let readable = readable.into_iter().map(|piece| (piece.into(), Side::Readable));
    readable.chain(writable.into_iter().map(|piece| (piece.into(), Side::Writable)))
}

/// What a request has come to so far.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    descriptors: u64,
    bytes: u64,
    writable_bytes: u64,
}

impl Tally {
    /// Counts one piece and returns its descriptor, without a successor.
    fn take(&mut self, piece: Piece<BusAddr>, side: Side) -> Result<Descriptor, AddError> {
        let index = self.descriptors;
        let segment: Segment<BusAddr> = match piece {
            Piece::Direct(segment) => segment,
            Piece::Bounce(bounce) => {
                return Err(AddError::Bounced { index, len: bounce.len, why: bounce.why });
            }
        };
        let len = u32::try_from(segment.len()).map_err(|_| AddError::SegmentTooLong {
            index,
            len: segment.len(),
            max: u64::from(u32::MAX),
        })?;
        // Each piece holds a byte or more, so this bounds their number too.
        self.bytes = self.bytes.saturating_add(segment.len());
        if self.bytes > CHAIN_BYTES_MAX {
            return Err(AddError::ChainBytes { bytes: self.bytes, max: CHAIN_BYTES_MAX });
        }
        self.descriptors = index.saturating_add(1);
        let flags = match side {
            Side::Readable => 0,
            Side::Writable => {
                self.writable_bytes = self.writable_bytes.saturating_add(segment.len());
                Descriptor::WRITE
            }
        };
        Ok(Descriptor { addr: segment.addr(), len, flags, next: 0 })
    }

    /// Why a request does not go into the table itself.
    const fn refused(&self, free: u16) -> AddError {
        match self.descriptors {
            0 => AddError::Empty,
            need => AddError::QueueFull { need, free },
        }
    }
}
