//! A virtio block device over MMIO: registers, and a disk that follows what the rings say, by the walker.
#![allow(dead_code, clippy::allow_attributes, reason = "each test takes its own part of this")]
#![expect(unsafe_code, reason = "a fake device has registers")]

use std::cell::RefCell;
use std::collections::BTreeMap;

use kernel::registers::Registers;
use scatterlist::desc::virtqueue::{DeviceRings, QueueSize, Run, Side};
use scatterlist::{Addr, BusAddr};

use super::common::{Ram, Reader};

pub(crate) const FLUSH: u64 = 1 << 9;
pub(crate) const RO: u64 = 1 << 5;
pub(crate) const INDIRECT: u64 = 1 << 28;
pub(crate) const VERSION_1: u64 = 1 << 32;
/// SIZE_MAX, SEG_MAX, BLK_SIZE, FLUSH, INDIRECT_DESC, VERSION_1, and some that no driver here may take: EVENT_IDX, IN_ORDER.
pub(crate) const FEATURES: u64 = 1 << 1 | 1 << 2 | 1 << 6 | FLUSH | INDIRECT | 1 << 29 | VERSION_1 | 1 << 35;

/// What the device is, and what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) magic: u32,
    pub(crate) version: u32,
    pub(crate) class: u32,
    pub(crate) features: u64,
    pub(crate) queue_size_max: u32,
    pub(crate) capacity_sectors: u64,
    pub(crate) size_max: u32,
    pub(crate) seg_max: u32,
    pub(crate) blk_size: u32,
    /// It never says that it was reset.
    pub(crate) stuck: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            magic: 0x7472_6976,
            version: 2,
            class: 2,
            features: FEATURES,
            queue_size_max: 1024,
            capacity_sectors: 2048,
            size_max: 65536,
            seg_max: 126,
            blk_size: 512,
            stuck: false,
        }
    }
}

/// How a request is answered otherwise than it should.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    /// With this status, nothing moved.
    Status(u8),
    /// As done, but for this many bytes fewer.
    Short(u32),
    /// Under another head.
    Head(u32),
    /// With more bytes written than there were.
    TooMuch,
    /// The index goes further than it should.
    Jump,
    /// Not at all.
    Silence,
}

#[derive(Debug, Default)]
struct State {
    registers: BTreeMap<u64, u32>,
    device_half: u32,
    driver_half: u32,
    driver_features: [u32; 2],
    status: u32,
    seen: u16,
    used: u16,
    notified: u64,
    lies: Vec<(u64, Lie)>,
    count: u64,
    flushes: u64,
    longest: usize,
}

pub(crate) struct Disk<M> {
    pub(crate) ram: M,
    pub(crate) setup: RefCell<Setup>,
    pub(crate) bytes: RefCell<Vec<u8>>,
    state: RefCell<State>,
}

impl<M: Ram> Disk<M> {
    pub(crate) fn new(ram: M, setup: Setup) -> Self {
        let bytes = vec![0; usize::try_from(setup.capacity_sectors * 512).unwrap()];
        let (setup, bytes) = (RefCell::new(setup), RefCell::new(bytes));
        Self { ram, setup, bytes, state: RefCell::default() }
    }

    /// Lies about the `n`-th request from now, counted from 1.
    pub(crate) fn lie(&self, n: u64, lie: Lie) {
        let mut state = self.state.borrow_mut();
        let count = state.count + n;
        state.lies.push((count, lie));
    }

    pub(crate) fn notified(&self) -> u64 {
        self.state.borrow().notified
    }

    pub(crate) fn flushes(&self) -> u64 {
        self.state.borrow().flushes
    }

    /// The most segments of data that a request had.
    pub(crate) fn longest(&self) -> usize {
        self.state.borrow().longest
    }

    fn addr(&self, at: u64) -> u64 {
        let state = self.state.borrow();
        let half = |at| u64::from(state.registers.get(&at).copied().unwrap_or(0));
        half(at) | half(at + 4) << 32
    }

    /// Does at most `max` requests. Returns how many.
    pub(crate) fn run(&self, max: usize) -> usize {
        let ready = self.state.borrow().registers.get(&0x044).copied() == Some(1);
        if !ready || self.state.borrow().status & 4 == 0 {
            return 0;
        }
        let size = self.state.borrow().registers[&0x038];
        let rings = DeviceRings {
            size: QueueSize::new(size.try_into().unwrap()).unwrap(),
            table: BusAddr::new(self.addr(0x080)),
            available: BusAddr::new(self.addr(0x090)),
        };
        let reader = Reader(&self.ram);
        let mut done = 0;
        while done < max {
            let seen = self.state.borrow().seen;
            if rings.waiting(&reader, seen).unwrap() == 0 {
                break;
            }
            let head = rings.head(&reader, seen).unwrap();
            let walked: Vec<Run> = rings.walk(&reader, head).collect::<Result<_, _>>().unwrap();
            self.state.borrow_mut().seen = seen.wrapping_add(1);
            self.request(head, &walked, size);
            done += 1;
        }
        done
    }

    fn request(&self, head: u16, runs: &[Run], size: u32) {
        let lie = {
            let mut state = self.state.borrow_mut();
            state.count += 1;
            let count = state.count;
            let found = state.lies.iter().position(|(at, _)| *at == count);
            found.map(|found| state.lies.remove(found).1)
        };
        let (header, rest) = runs.split_first().unwrap();
        let (status, data) = rest.split_last().unwrap();
        assert_eq!((header.segment.len(), header.side), (16, Side::Readable));
        assert_eq!((status.segment.len(), status.side), (1, Side::Writable));
        let setup = self.setup.borrow();
        assert!(data.len() <= usize::try_from(setup.seg_max).unwrap(), "{} segments", data.len());
        assert!(data.iter().all(|run| run.segment.len() <= u64::from(setup.size_max)));
        let mut bytes = [0; 16];
        assert!(self.ram.get(header.segment.addr().raw(), &mut bytes));
        let code = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        let sector = u64::from_le_bytes(bytes[8..].try_into().unwrap());
        let mut state = self.state.borrow_mut();
        state.longest = state.longest.max(data.len());
        let (mut at, mut written) = (usize::try_from(sector * 512).unwrap(), 0_u32);
        let mut answer = 0_u8;
        let moves = !matches!(lie, Some(Lie::Status(_)));
        for run in data.iter().filter(|_| moves) {
            let len = usize::try_from(run.segment.len()).unwrap();
            let mut disk = self.bytes.borrow_mut();
            let place = &mut disk[at..at + len];
            match code {
                0 => {
                    assert_eq!(run.side, Side::Writable);
                    assert!(self.ram.put(run.segment.addr().raw(), place));
                    written += u32::try_from(len).unwrap();
                }
                1 => {
                    assert_eq!(run.side, Side::Readable);
                    assert!(self.ram.get(run.segment.addr().raw(), place));
                }
                _ => panic!("type {code} with data"),
            }
            at += len;
        }
        match code {
            0 | 1 => assert!(!data.is_empty()),
            4 => state.flushes += 1,
            _ => answer = 2,
        }
        let (mut id, mut len, mut step) = (u32::from(head), written + 1, 1);
        match lie {
            Some(Lie::Status(status)) => (answer, len) = (status, 1),
            Some(Lie::Short(bytes)) => len -= bytes,
            Some(Lie::Head(head)) => id = head,
            Some(Lie::TooMuch) => len = u32::MAX,
            Some(Lie::Jump) => step = 300,
            Some(Lie::Silence) => return,
            None => {}
        }
        assert!(self.ram.put(status.segment.addr().raw(), &[answer]));
        let used = state.used;
        state.used = used.wrapping_add(step);
        let index = state.used;
        drop(state);
        let ring = self.addr(0x0a0);
        let place = ring + 4 + u64::from(u32::from(used) % size) * 8;
        let element = [id.to_le_bytes(), len.to_le_bytes()].concat();
        assert!(self.ram.put(place, &element));
        assert!(self.ram.put(ring + 2, &index.to_le_bytes()));
    }
}

// SAFETY: there are no registers but these; each access to memory is checked by the bus.
unsafe impl<M: Ram> Registers for Disk<M> {
    fn read8(&self, at: u64) -> u8 {
        panic!("8 bits at {at:#x}")
    }

    fn write8(&self, at: u64, _: u8) {
        panic!("8 bits at {at:#x}")
    }

    fn read16(&self, at: u64) -> u16 {
        panic!("16 bits at {at:#x}")
    }

    fn write16(&self, at: u64, _: u16) {
        panic!("16 bits at {at:#x}")
    }

    fn read32(&self, at: u64) -> u32 {
        let state = self.state.borrow();
        let setup = self.setup.borrow();
        let half = |value: u64, half: u32| u32::try_from(value >> (32 * half) & 0xffff_ffff).unwrap();
        match at {
            0x000 => setup.magic,
            0x004 => setup.version,
            0x008 => setup.class,
            0x010 => half(setup.features, state.device_half),
            0x034 => setup.queue_size_max,
            0x070 => state.status,
            0x060 => 0,
            0x0fc => 7,
            0x100 => half(setup.capacity_sectors, 0),
            0x104 => half(setup.capacity_sectors, 1),
            0x108 => setup.size_max,
            0x10c => setup.seg_max,
            0x114 => setup.blk_size,
            _ => state.registers.get(&at).copied().unwrap_or(0),
        }
    }

    fn write32(&self, at: u64, value: u32) {
        let mut state = self.state.borrow_mut();
        match at {
            0x014 => state.device_half = value,
            0x024 => state.driver_half = value,
            0x020 => {
                let half = usize::try_from(state.driver_half).unwrap();
                state.driver_features[half] = value;
            }
            0x050 => {
                assert!(value == 0 && state.status & 4 != 0);
                state.notified += 1;
            }
            0x070 if value == 0 => {
                if self.setup.borrow().stuck {
                    return;
                }
                let State { notified, count, flushes, longest, lies, .. } = core::mem::take(&mut *state);
                *state = State { notified, count, flushes, longest, lies, ..State::default() };
            }
            0x070 => {
                let [low, high] = state.driver_features;
                let taken = u64::from(low) | u64::from(high) << 32;
                let offered = self.setup.borrow().features;
                // What changes the rings is not for this driver, and a modern device insists on version 1.
                let fine =
                    taken & !offered == 0 && taken & (1 << 29 | 1 << 35) == 0 && taken & VERSION_1 != 0;
                state.status = if fine { value } else { value & !8 };
            }
            _ => {
                state.registers.insert(at, value);
            }
        }
    }

    fn read64(&self, at: u64) -> u64 {
        panic!("64 bits at {at:#x}")
    }

    fn write64(&self, at: u64, _: u64) {
        panic!("64 bits at {at:#x}")
    }
}
