//! A driver's queue and a device beside it, over memory that both hold; the device reads by the walker alone.

use std::cell::RefCell;
use std::rc::Rc;

use scatterlist::desc::virtqueue::{
    Descriptor, DeviceRings, QueueSize, RingMemory, Rings, Run, Side, Slot, SplitQueue, TableView, WalkError,
};
use scatterlist::desc::{BusRead, DescriptorMemory, Unreadable};
use scatterlist::{Addr, BusAddr, Segment};

/// Memory that the driver and the device both hold.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    addr: u64,
    pub(crate) bytes: Rc<RefCell<Vec<u8>>>,
}

impl Shared {
    pub(crate) fn new(addr: u64, words: usize) -> Self {
        // Not zeros: whoever needs zeros has to write them.
        Self { addr, bytes: Rc::new(RefCell::new(vec![0xA5; words * 8])) }
    }

    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        self.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl DescriptorMemory for Shared {
    fn bus_addr(&self) -> BusAddr {
        BusAddr::new(self.addr)
    }

    fn len_words(&self) -> usize {
        self.bytes.borrow().len() / 8
    }

    fn put(&mut self, index: usize, word: u64) -> bool {
        let mut bytes = self.bytes.borrow_mut();
        let place = bytes.get_mut(index * 8..index * 8 + 8);
        place.map(|place| place.copy_from_slice(&word.to_le_bytes())).is_some()
    }
}

impl RingMemory for Shared {
    fn get(&self, index: usize) -> Option<u64> {
        let bytes = self.bytes.borrow();
        bytes.get(index * 8..index * 8 + 8).map(|word| u64::from_le_bytes(word.try_into().unwrap()))
    }
}

/// The bus of the device: it reads what is in one of these memories, wholly.
#[derive(Clone, Default)]
pub(crate) struct Bus(pub(crate) Vec<Shared>);

impl BusRead for Bus {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        for memory in &self.0 {
            let Some(at) = addr.raw().checked_sub(memory.addr) else { continue };
            let bytes = memory.bytes.borrow();
            let at = usize::try_from(at).unwrap();
            if let Some(found) = at.checked_add(into.len()).and_then(|end| bytes.get(at..end)) {
                into.copy_from_slice(found);
                return Ok(());
            }
        }
        Err(Unreadable { addr })
    }
}

pub(crate) const TABLE: u64 = 0x10_0000;
pub(crate) const AVAILABLE: u64 = 0x20_0000;
pub(crate) const USED: u64 = 0x30_0000;
pub(crate) const INDIRECT: u64 = 0x40_0000;

/// A queue and its device.
pub(crate) struct Pair {
    pub(crate) queue: SplitQueue<Shared, Vec<Slot>>,
    pub(crate) device: Device,
}

pub(crate) struct Device {
    pub(crate) rings: DeviceRings,
    pub(crate) bus: Bus,
    pub(crate) used: Shared,
    /// Available index up to which it has read.
    seen: u16,
    pub(crate) used_index: u16,
}

impl Device {
    /// Takes the next request: its head and its runs.
    pub(crate) fn fetch(&mut self) -> Option<(u16, Vec<Run>)> {
        if self.rings.waiting(&self.bus, self.seen).unwrap() == 0 {
            return None;
        }
        let head = self.rings.head(&self.bus, self.seen).unwrap();
        self.seen = self.seen.wrapping_add(1);
        Some((head, self.walk(head).unwrap()))
    }

    pub(crate) fn walk(&self, head: u16) -> Result<Vec<Run>, WalkError> {
        self.rings.walk(&self.bus, head).collect()
    }

    pub(crate) fn give_back(&mut self, id: u32, written: u32) {
        let place = usize::from(self.used_index % self.rings.size.get());
        self.used.write(4 + place * 8, &id.to_le_bytes());
        self.used.write(8 + place * 8, &written.to_le_bytes());
        self.used_index = self.used_index.wrapping_add(1);
        self.set_used_index(self.used_index);
    }

    pub(crate) fn set_used_index(&self, index: u16) {
        self.used.write(2, &index.to_le_bytes());
    }
}

pub(crate) fn pair(size: u16) -> Pair {
    let size = QueueSize::new(size).unwrap();
    let rings = Rings {
        table: Shared::new(TABLE, size.table_words()),
        available: Shared::new(AVAILABLE, size.available_words()),
        used: Shared::new(USED, size.used_words()),
    };
    let bus = Bus(vec![rings.table.clone(), rings.available.clone(), rings.used.clone()]);
    let used = rings.used.clone();
    let queue = SplitQueue::new(size, rings, vec![Slot::default(); usize::from(size.get())]).unwrap();
    let rings = DeviceRings { size, table: BusAddr::new(TABLE), available: BusAddr::new(AVAILABLE) };
    Pair { queue, device: Device { rings, bus, used, seen: 0, used_index: 0 } }
}

pub(crate) fn seg(addr: u64, len: u64) -> Segment<BusAddr> {
    Segment::new(BusAddr::new(addr), len).unwrap()
}

/// The runs that a request must come to.
pub(crate) fn runs(readable: &[Segment<BusAddr>], writable: &[Segment<BusAddr>]) -> Vec<Run> {
    let readable = readable.iter().map(|segment| Run { segment: *segment, side: Side::Readable });
    readable.chain(writable.iter().map(|segment| Run { segment: *segment, side: Side::Writable })).collect()
}

pub(crate) fn table(memory: &Shared) -> Vec<Descriptor> {
    let bytes = memory.bytes.borrow();
    TableView::new(&bytes).iter().collect()
}

/// Length, flags and successor, as the vectors write them.
pub(crate) fn row(descriptor: &Descriptor) -> (u32, u16, Option<u16>) {
    (descriptor.len, descriptor.flags, descriptor.next())
}

const READABLE: [(u64, u64); 2] = [(0x9000, 2), (0xA000, 1)];
const WRITABLE: [(u64, u64); 2] = [(0xB000, 2), (0xC000, 1)];

pub(crate) fn four() -> ([Segment<BusAddr>; 2], [Segment<BusAddr>; 2]) {
    (READABLE.map(|(addr, len)| seg(addr, len)), WRITABLE.map(|(addr, len)| seg(addr, len)))
}
