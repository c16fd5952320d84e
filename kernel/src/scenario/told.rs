//! [`Told`]: the registers of an NVMe controller, with an eye on what the controller is told.
//!
//! What a driver says of itself proves little. Here each doorbell is followed as the controller does: the entries between the last
//! tail and the new one are read from the submission queue, and the data of each is walked through its PRPs or its SGL. So
//! commands, segments and formats are counted from memory, before the controller hears of them. Registers: NVM Express Base
//! Specification 2.0, section 3.1.3; the doorbells: NVMe over PCIe Transport Specification 1.0, section 3.1.2.
#![expect(unsafe_code, reason = "passes registers on, and reads memory as the controller does")]

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use core::cell::{Cell, RefCell};

use scatterlist::desc::prp::{self, MemoryPage, Prps};
use scatterlist::desc::sgl::{self, Descriptor};
use scatterlist::desc::{BusRead, Unreadable};
use scatterlist::map::Memory as _;
use scatterlist::{Addr as _, BusAddr, PhysAddr};

use super::{Failure, fact, failure};
use crate::driver::{halves, word};
use crate::memory::{FRAME_LEN, KernelMemory};
use crate::registers::Registers;

/// Controller capabilities; the doorbell stride is in bits 35:32 (section 3.1.3.1).
const CAP: u64 = 0x00;
/// Controller configuration; bit 0 enables (section 3.1.3.5).
const CC: u64 = 0x14;
/// Admin queue attributes; the entries of the submission queue, from 0, in bits 11:0 (section 3.1.3.8).
const AQA: u64 = 0x24;
/// Base of the admin submission queue (section 3.1.3.9).
const ASQ: u64 = 0x28;
const ASQ_HIGH: u64 = 0x2c;
/// The first doorbell (NVMe over PCIe Transport Specification 1.0, section 3.1.2.1).
const DOORBELLS: u64 = 0x1000;
/// Words of an entry (section 3.3.3.1).
const ENTRY_WORDS: usize = 8;
/// Bytes of an entry.
const ENTRY_LEN: u64 = 64;
/// Admin commands (section 5, figure 138).
const CREATE_SUBMISSION_QUEUE: u64 = 0x01;
const ABORT: u64 = 0x08;
/// I/O commands (NVM Command Set Specification 1.0, section 3.2).
const WRITE: u64 = 0x01;
const READ: u64 = 0x02;

/// A submission queue, as the controller sees it.
#[derive(Clone, Copy, Debug)]
struct Queue {
    base: u64,
    entries: u64,
    /// Where the controller reads next.
    head: u64,
}

/// What the controller was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    /// Reads.
    pub(super) reads: u64,
    /// Writes.
    pub(super) writes: u64,
    /// Runs of memory that both name.
    pub(super) segments: u64,
    /// Those of the two that name memory by an SGL.
    pub(super) sgls: u64,
    /// Aborts.
    pub(super) aborts: u64,
    /// Entries of the smallest I/O submission queue.
    pub(super) queue_entries: u64,
}

/// The registers.
///
/// # Invariants
/// 1. The memory that queues and lists lie in is memory of this machine that the CPU sees: what `memory` says no address for is not read.
pub(super) struct Told<R> {
    registers: R,
    memory: &'static KernelMemory,
    block_len: Cell<u64>,
    enabled: Cell<bool>,
    attributes: Cell<u32>,
    admin_base: Cell<u64>,
    queues: RefCell<BTreeMap<u64, Queue>>,
    counts: Cell<Counts>,
    /// The first walk that went wrong.
    wrong: RefCell<Option<String>>,
}

impl<R: Registers> Told<R> {
    pub(super) const fn new(registers: R, memory: &'static KernelMemory) -> Self {
        Self {
            registers,
            memory,
            block_len: Cell::new(0),
            enabled: Cell::new(false),
            attributes: Cell::new(0),
            admin_base: Cell::new(0),
            queues: RefCell::new(BTreeMap::new()),
            counts: Cell::new(Counts {
                reads: 0,
                writes: 0,
                segments: 0,
                sgls: 0,
                aborts: 0,
                queue_entries: u64::MAX,
            }),
            wrong: RefCell::new(None),
        }
    }

    /// Sets the bytes of a block, of which lengths in commands are multiples. To be called before the first read or write.
    pub(super) fn set_block_len(&self, block_len: u64) {
        self.block_len.set(block_len);
    }

    /// States what the controller was told.
    ///
    /// # Errors
    /// What of it could not be followed.
    pub(super) fn state(&self) -> Result<(), Failure> {
        if let Some(wrong) = self.wrong.borrow_mut().take() {
            return Err(failure(format!("what the controller was told cannot be followed: {wrong}")));
        }
        let Counts { reads, writes, segments, sgls, aborts, queue_entries } = self.counts.get();
        fact!("told_reads", reads);
        fact!("told_writes", writes);
        fact!("told_segments", segments);
        fact!("told_sgls", sgls);
        fact!("told_aborts", aborts);
        fact!("queue_entries", queue_entries);
        Ok(())
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    /// Enabled anew, a controller has the admin queue alone (section 3.7.2).
    fn configured(&self, value: u32) {
        let enabled = value & 1 != 0;
        if enabled && !self.enabled.get() {
            let entries = u64::from(self.attributes.get() & 0xfff).saturating_add(1);
            let admin = Queue { base: self.admin_base.get(), entries, head: 0 };
            let mut queues = self.queues.borrow_mut();
            queues.clear();
            queues.insert(0, admin);
        }
        self.enabled.set(enabled);
    }

    /// Follows a doorbell to the new tail.
    fn follow(&self, at: u64, tail: u64) -> Result<(), String> {
        let stride =
            4_u64.wrapping_shl(u32::try_from(self.registers.read64(CAP).wrapping_shr(32) & 0xf).unwrap_or(0));
        let doorbell = at.saturating_sub(DOORBELLS).checked_div(stride).unwrap_or(0);
        if doorbell & 1 != 0 {
            // Of a completion queue.
            return Ok(());
        }
        let id = doorbell.wrapping_shr(1);
        let queue = self.queues.borrow().get(&id).copied();
        let mut queue = queue.ok_or_else(|| format!("a doorbell of queue {id}, which there is not"))?;
        if tail >= queue.entries {
            return Err(format!("the tail {tail} of queue {id} is past its {} entries", queue.entries));
        }
        while queue.head != tail {
            let mut bytes = [0; 8];
            let mut entry = [0_u64; ENTRY_WORDS];
            let mut at = queue.base.saturating_add(queue.head.saturating_mul(ENTRY_LEN));
            for place in &mut entry {
                self.read(BusAddr::new(at), &mut bytes).map_err(|error| error.to_string())?;
                (*place, at) = (u64::from_le_bytes(bytes), at.saturating_add(8));
            }
            if id == 0 {
                self.admin(entry)
            } else {
                self.data(entry)?
            }
            let next = queue.head.saturating_add(1);
            queue.head = if next == queue.entries { 0 } else { next };
        }
        self.queues.borrow_mut().insert(id, queue);
        Ok(())
    }

    fn admin(&self, [first, _, _, base, _, tens, ..]: [u64; ENTRY_WORDS]) {
        match first & 0xff {
            ABORT => self.count(|counts| counts.aborts = counts.aborts.saturating_add(1)),
            CREATE_SUBMISSION_QUEUE => {
                // CDW10: the identifier, and the entries from 0 (section 5.5).
                let (id, entries) = (tens & 0xffff, (tens.wrapping_shr(16) & 0xffff).saturating_add(1));
                self.queues.borrow_mut().insert(id, Queue { base, entries, head: 0 });
                self.count(|counts| counts.queue_entries = counts.queue_entries.min(entries));
            }
            _ => {}
        }
    }

    fn data(&self, [first, _, _, low, high, _, twelve, _]: [u64; ENTRY_WORDS]) -> Result<(), String> {
        let opcode = first & 0xff;
        if opcode != READ && opcode != WRITE {
            return Ok(());
        }
        // CDW12: the blocks, from 0 (NVM Command Set Specification 1.0, section 3.2.4). PSDT: bits 15:14 of CDW0.
        let bytes = (twelve & 0xffff).saturating_add(1).saturating_mul(self.block_len.get());
        let is_sgl = first.wrapping_shr(14) & 0b11 != 0;
        let segments = if is_sgl {
            count_of(sgl::walk(self, Descriptor::from_words([low, high]), bytes))?
        } else {
            let page = MemoryPage::new(FRAME_LEN).map_err(|error| error.to_string())?;
            count_of(prp::walk(self, page, Prps::new(low, high), bytes))?
        };
        self.count(|counts| {
            let way = if opcode == READ { &mut counts.reads } else { &mut counts.writes };
            *way = way.saturating_add(1);
            counts.sgls = counts.sgls.saturating_add(u64::from(is_sgl));
            counts.segments = counts.segments.saturating_add(segments);
        });
        Ok(())
    }

    fn note(&self, at: u64, value: u32) {
        let [low, high] = halves(self.admin_base.get());
        match at {
            CC => self.configured(value),
            AQA => self.attributes.set(value),
            ASQ => self.admin_base.set(word(value, high)),
            ASQ_HIGH => self.admin_base.set(word(low, value)),
            DOORBELLS.. => {
                if let Err(error) = self.follow(at, u64::from(value)) {
                    self.wrong.borrow_mut().get_or_insert(error);
                }
            }
            _ => {}
        }
    }
}

impl<R> BusRead for Told<R> {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        read_as_device(self.memory, addr, into)
    }
}

/// Returns how many runs a walk has.
fn count_of<T, E: ToString>(mut runs: impl Iterator<Item = Result<T, E>>) -> Result<u64, String> {
    runs.try_fold(0, |count: u64, run| {
        run.map(|_| count.saturating_add(1)).map_err(|error| error.to_string())
    })
}

/// Reads memory as a device does that sees it where it is.
pub(super) fn read_as_device(
    memory: &KernelMemory,
    addr: BusAddr,
    into: &mut [u8],
) -> Result<(), Unreadable> {
    let len = u64::try_from(into.len()).unwrap_or(u64::MAX);
    let cpu = memory.cpu_addr(PhysAddr::new(addr.raw()), len).ok_or(Unreadable { addr })?;
    for (offset, byte) in into.iter_mut().enumerate() {
        // SAFETY: memory of this machine, which the CPU sees there; volatile, since the driver writes it meanwhile.
        *byte = unsafe { cpu.as_ptr().wrapping_add(offset).read_volatile() };
    }
    Ok(())
}

// SAFETY: every promise is passed on; only what a driver writes is looked at.
unsafe impl<R: Registers> Registers for Told<R> {
    fn read8(&self, at: u64) -> u8 {
        self.registers.read8(at)
    }

    fn write8(&self, at: u64, value: u8) {
        self.registers.write8(at, value);
    }

    fn read16(&self, at: u64) -> u16 {
        self.registers.read16(at)
    }

    fn write16(&self, at: u64, value: u16) {
        self.registers.write16(at, value);
    }

    fn read32(&self, at: u64) -> u32 {
        self.registers.read32(at)
    }

    fn write32(&self, at: u64, value: u32) {
        self.note(at, value);
        self.registers.write32(at, value);
    }

    fn read64(&self, at: u64) -> u64 {
        self.registers.read64(at)
    }

    fn write64(&self, at: u64, value: u64) {
        let [low, high] = halves(value);
        self.note(at, low);
        self.note(at.saturating_add(4), high);
        self.registers.write64(at, value);
    }
}
