//! [`Admin`]: the admin queue, one command at a time, each waited for.
#![expect(unsafe_code, reason = "tells the controller of its own data page; see the invariants of Admin")]

use alloc::vec::Vec;

use scatterlist::Addr as _;
use scatterlist::map::{Coherent, CoherentLayout, DmaDevice, InFlight, MapError};

use crate::capability::Capability;
use crate::entry::{Entry, dwords};
use crate::error::{AdminError, PollError};
use crate::format::DataPointer;
use crate::link::{ADMIN_VECTOR, Link};
use crate::pair::Pair;
use crate::registers::{Interrupts, Registers};
use crate::spec::{self, IDENTIFY_LEN};

/// Entries of the admin queues. One command at a time is in flight, and one that timed out is the last.
const ENTRIES: u16 = 8;
/// How long the driver waits at most before it looks at the queue again: interrupts may be lost.
const STEP_NS: u64 = 10_000_000;

/// The admin queue and a page for what it reads.
///
/// # Invariants
/// 1. The page is in flight for as long as the controller may be enabled, and no command names other memory but queues of the
///    controller, which are so too.
#[derive(Debug)]
pub(crate) struct Admin<D: DmaDevice> {
    pair: Pair<D>,
    page: InFlight<Coherent<D>>,
    command: u16,
}

impl<D: DmaDevice> Admin<D> {
    pub(crate) fn new(device: &D, capability: &Capability) -> Result<Self, MapError> {
        // A queue that cannot be is no memory error: the controller allows 2 entries at least, and the admin queue
        // is not ruled by MQES (Base section 3.1.3.8).
        let page = device.alloc_coherent(CoherentLayout::new(IDENTIFY_LEN, IDENTIFY_LEN))?;
        let pair = Pair::new(device, capability, 0, ENTRIES)?;
        Ok(Self { pair, page: page.into_flight(), command: 0 })
    }

    /// Enables the controller, which is disabled.
    pub(crate) fn start<R: Registers, I: Interrupts>(
        &mut self,
        link: &Link<R, I>,
        polled: bool,
    ) -> Result<(), crate::ReadyError> {
        self.pair.restart();
        let (submission, completion) = self.pair.addresses();
        // SAFETY: the pair is in flight, and let go of by `release` only.
        unsafe { link.start(submission, completion, ENTRIES, polled) }
    }

    /// Does one command and returns its result.
    ///
    /// # Safety
    /// The memory that the command names is in flight until the controller is disabled, or for a command that only reads
    /// until it is done.
    unsafe fn submit<R: Registers, I: Interrupts>(
        &mut self,
        link: &Link<R, I>,
        entry: Entry,
        timeout_ns: u64,
    ) -> Result<u32, AdminError> {
        self.command = self.command.wrapping_add(1) & 0x7fff;
        let (command, opcode) = (self.command, entry.opcode);
        self.pair.push(&Entry { command, ..entry });
        // SAFETY: the caller's promise.
        unsafe { self.pair.ring(&link.registers) };
        let deadline = link.interrupts.now_ns().saturating_add(timeout_ns);
        loop {
            let now = link.interrupts.now_ns();
            if let Some(completion) = self.pair.take() {
                let result = self.pair.result();
                self.pair.ring_taken(&link.registers);
                self.pair.accept(&completion)?;
                if completion.command != command {
                    return Err(PollError::UnknownCommand { queue: 0, command: completion.command }.into());
                }
                let status = completion.status;
                return if status.is_success() {
                    Ok(result)
                } else {
                    Err(AdminError::Status { opcode, status })
                };
            }
            link.check()?;
            if now >= deadline {
                return Err(AdminError::Timeout { opcode, timeout_ns });
            }
            link.interrupts.wait(ADMIN_VECTOR, deadline.min(now.saturating_add(STEP_NS)));
        }
    }

    /// Reads identify data, Base section 5.17.
    pub(crate) fn identify<R: Registers, I: Interrupts>(
        &mut self,
        link: &Link<R, I>,
        cns: u32,
        namespace: u32,
        timeout_ns: u64,
    ) -> Result<Vec<u8>, AdminError> {
        let data = DataPointer::page(self.page.bus_addr().raw());
        let entry = Entry {
            opcode: spec::admin::IDENTIFY,
            namespace,
            data,
            cdw10: dwords(cns, 0),
            ..Entry::default()
        };
        // SAFETY: (1) the page.
        unsafe { self.submit(link, entry, timeout_ns)? };
        let words = (0..IDENTIFY_LEN).step_by(8).map(|at| self.page.load::<u64>(at).unwrap_or(0));
        Ok(words.flat_map(u64::to_le_bytes).collect())
    }

    /// Asks for `queues` I/O queue pairs and returns how many there may be, Base section 5.27.1.5.
    pub(crate) fn set_queue_count<R: Registers, I: Interrupts>(
        &mut self,
        link: &Link<R, I>,
        queues: u16,
        timeout_ns: u64,
    ) -> Result<u16, AdminError> {
        let last = u32::from(queues.saturating_sub(1));
        let cdw10 = dwords(spec::admin::NUMBER_OF_QUEUES, last | last.wrapping_shl(16));
        let entry = Entry { opcode: spec::admin::SET_FEATURES, cdw10, ..Entry::default() };
        // SAFETY: no memory is named.
        let granted = unsafe { self.submit(link, entry, timeout_ns)? };
        // Both counts are less one.
        let least = (granted & 0xffff).min(granted.wrapping_shr(16));
        Ok(u16::try_from(least).unwrap_or(u16::MAX).saturating_add(1).min(queues))
    }

    /// Creates the two queues of an I/O pair, Base sections 5.4 and 5.5.
    pub(crate) fn create<R: Registers, I: Interrupts>(
        &mut self,
        link: &Link<R, I>,
        pair: &Pair<D>,
        vector: Option<u16>,
        timeout_ns: u64,
    ) -> Result<(), AdminError> {
        let (submission, completion) = pair.addresses();
        let id = u32::from(pair.id());
        let shape = id | u32::from(pair.entries().saturating_sub(1)).wrapping_shl(16);
        // PC (contiguous), and where there are interrupts IEN and the vector.
        let interrupts = vector.map_or(0, |vector| 0b10 | u32::from(vector).wrapping_shl(16));
        let queue = |opcode, addr, flags| Entry {
            opcode,
            data: DataPointer::page(addr),
            cdw10: dwords(shape, 1 | flags),
            ..Entry::default()
        };
        let entry = queue(spec::admin::CREATE_COMPLETION_QUEUE, completion, interrupts);
        // SAFETY: (1) the memory of a pair is in flight until the controller is disabled.
        unsafe { self.submit(link, entry, timeout_ns)? };
        let entry = queue(spec::admin::CREATE_SUBMISSION_QUEUE, submission, id.wrapping_shl(16));
        // SAFETY: (1) as above.
        unsafe { self.submit(link, entry, timeout_ns)? };
        Ok(())
    }

    /// Asks the controller to abort a command; says whether it did, Base section 5.1.
    pub(crate) fn abort<R: Registers, I: Interrupts>(
        &mut self,
        link: &Link<R, I>,
        queue: u16,
        command: u16,
        timeout_ns: u64,
    ) -> Result<bool, AdminError> {
        let cdw10 = dwords(u32::from(queue) | u32::from(command).wrapping_shl(16), 0);
        let entry = Entry { opcode: spec::admin::ABORT, cdw10, ..Entry::default() };
        // SAFETY: no memory is named.
        let result = unsafe { self.submit(link, entry, timeout_ns)? };
        // Bit 0 says that the command was not aborted.
        Ok(result & 1 == 0)
    }

    /// Gives the memory back.
    ///
    /// # Safety
    /// The controller is disabled.
    pub(crate) unsafe fn release(self) {
        let Self { pair, page, .. } = self;
        // SAFETY: the caller's promise.
        unsafe { pair.release() };
        // SAFETY: the caller's promise.
        drop(unsafe { page.complete() });
    }
}
