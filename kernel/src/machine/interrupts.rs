//! [`Interrupts`]: handlers that count, and a wait that halts the CPU until a count moves or the time is over.
//!
//! A handler adds one to the count of its line and ends the interrupt: it touches no request, no queue and no device. Whose line it is
//! finds the count moved and looks at its own queue, outside of any handler. So nothing is shared but a count, which is atomic, and no lock
//! is needed that a handler could find taken.
//!
//! Interrupts are on only between the `sti` and the `cli` of [`halt`] and [`settle`]; elsewhere a message of a device waits in the APIC.
//! What is global is what the CPU has registers for (TR, GDTR, IDTR): handlers find the counts above the stack that the CPU gives them.
#![expect(
    unsafe_code,
    reason = "handlers are assembly, and their stack is memory; see the invariants of Place"
)]

use alloc::boxed::Box;
use core::arch::{asm, naked_asm};
use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::VirtAddr;
use x86_64::structures::idt::InterruptDescriptorTable;

use super::apic::{ApicError, LocalApic, Message};
use super::clock::Tsc;
use super::{exceptions, segments};
use crate::registers::Clock as _;

/// Lines for devices. Each has a handler of its own.
const LINES: usize = 8;

/// Counts: those of the lines, then these two.
const TIMER: usize = LINES;
const SPURIOUS: usize = LINES + 1;
const COUNTS: usize = LINES + 2;

/// The vector of the first line: those below are exceptions (Intel SDM, volume 3, section 6.2).
const VECTOR_FIRST: u8 = 32;
const VECTOR_TIMER: u8 = 0x80;
/// Bits 0 to 3 are ones on old CPUs anyway (section 11.9).
const VECTOR_SPURIOUS: u8 = 0xff;

/// Bytes of the stack. A handler takes 48 of them; the rest is for the message of an exception in one.
const STACK_LEN: usize = 16 << 10;

/// Bytes that the CPU pushes: SS, RSP, RFLAGS, CS, RIP (section 6.14.2). The stack is aligned, so it skips none.
const FRAME_LEN: usize = 5 * 8;

/// What handlers reach: their stack, and above it what they write.
///
/// # Invariants
/// 1. A value is leaked before the CPU learns of it, and the stack is the CPU's from then on.
/// 2. Handlers find the rest at fixed offsets from the top of the stack; they write the counts and no other field, by one atomic
///    instruction each.
/// 3. `end_addr` is that of the APIC's register for the end of an interrupt.
#[repr(C, align(16))]
struct Place {
    /// Never named in Rust: the CPU uses it.
    _stack: UnsafeCell<[u8; STACK_LEN]>,
    end_addr: u64,
    counts: [AtomicU64; COUNTS],
}

// (2): the stack starts where the next field is, at an address that the CPU need not align.
const _: () = assert!(offset_of!(Place, end_addr) == STACK_LEN && STACK_LEN.is_multiple_of(16));

/// The entry of a handler.
type Handler = extern "C" fn() -> !;

/// Counts an interrupt and ends it. RAX is all that it changes, and restores; the CPU itself restores the flags.
#[unsafe(naked)]
extern "C" fn counted<const INDEX: usize>() -> ! {
    naked_asm!(
        "lock inc qword ptr [rsp + {frame} + {counts} - {stack} + 8 * {index}]",
        "push rax",
        "mov rax, [rsp + 8 + {frame} + {end} - {stack}]",
        "mov dword ptr [rax], 0",
        "pop rax",
        "iretq",
        frame = const FRAME_LEN,
        stack = const STACK_LEN,
        counts = const offset_of!(Place, counts),
        end = const offset_of!(Place, end_addr),
        index = const INDEX,
    )
}

/// Counts an interrupt that is none: it has no end (section 11.9).
#[unsafe(naked)]
extern "C" fn spurious() -> ! {
    naked_asm!(
        "lock inc qword ptr [rsp + {frame} + {counts} - {stack} + 8 * {index}]",
        "iretq",
        frame = const FRAME_LEN,
        stack = const STACK_LEN,
        counts = const offset_of!(Place, counts),
        index = const SPURIOUS,
    )
}

/// The interrupts of this machine.
pub struct Interrupts {
    place: &'static Place,
    apic: LocalApic,
    clock: Tsc,
    /// Lines that were taken.
    taken: Cell<usize>,
    /// Of each line, the count that a wait has returned for.
    seen: [Cell<u64>; LINES],
    halts: Cell<u64>,
    halts_in_vain: Cell<u64>,
}

/// Why no lines could be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{wanted} lines of interrupts are wanted, {left} of {LINES} are left")]
pub struct LinesError {
    /// How many are wanted.
    pub wanted: u16,
    /// How many are left.
    pub left: usize,
}

impl Interrupts {
    /// Gives the CPU its handlers and their stack. Interrupts stay off. `table` has the handlers of exceptions.
    ///
    /// # Safety
    /// Called once, on the only CPU, with interrupts off, while memory below 4 GiB is mapped one to one.
    pub(super) unsafe fn start(
        table: &'static mut InterruptDescriptorTable,
        clock: Tsc,
    ) -> Result<Self, ApicError> {
        // SAFETY: the caller's promise.
        let apic = unsafe { LocalApic::start(&clock, VECTOR_TIMER, VECTOR_SPURIOUS) }?;
        let place = Place {
            _stack: UnsafeCell::new([0; STACK_LEN]),
            end_addr: apic.end_addr(),
            counts: [const { AtomicU64::new(0) }; COUNTS],
        };
        let place: &'static Place = Box::leak(Box::new(place));
        // What handlers reach, they reach by this address alone.
        let _ = core::ptr::from_ref(place).expose_provenance();
        let top = VirtAddr::from_ptr(&raw const place.end_addr);
        // SAFETY: (1) the stack of a place, which ends where the next field starts, is for this.
        unsafe { segments::load(top) };
        // SAFETY: loaded just now.
        unsafe { exceptions::double_fault_on_own_stack(table) };
        let lines: [Handler; LINES] = [
            counted::<0>,
            counted::<1>,
            counted::<2>,
            counted::<3>,
            counted::<4>,
            counted::<5>,
            counted::<6>,
            counted::<7>,
        ];
        let others: [(u8, Handler); 2] = [(VECTOR_TIMER, counted::<TIMER>), (VECTOR_SPURIOUS, spurious)];
        for (vector, handler) in (VECTOR_FIRST..).zip(lines).chain(others) {
            #[expect(clippy::as_conversions, reason = "the address of a function")]
            let addr = VirtAddr::from_ptr(handler as *const ());
            // SAFETY: (1), (2): the handler runs on the stack of the place, keeps every register, and returns.
            let options = unsafe { table[vector].set_handler_addr(addr) };
            // SAFETY: the stack that was loaded just now; handlers do not nest, since the CPU keeps interrupts off in them.
            unsafe { options.set_stack_index(segments::INTERRUPT_STACK) };
        }
        table.load();
        Ok(Self {
            place,
            apic,
            clock,
            taken: Cell::new(0),
            seen: [const { Cell::new(0) }; LINES],
            halts: Cell::new(0),
            halts_in_vain: Cell::new(0),
        })
    }

    /// Takes `wanted` lines that nobody has.
    ///
    /// # Errors
    /// [`LinesError`].
    pub fn lines(&'static self, wanted: u16) -> Result<Lines, LinesError> {
        let first = self.taken.get();
        let left = LINES.saturating_sub(first);
        if usize::from(wanted) > left {
            return Err(LinesError { wanted, left });
        }
        self.taken.set(first.saturating_add(usize::from(wanted)));
        Ok(Lines { interrupts: self, first, len: wanted })
    }

    /// Returns how often a wait halted the CPU.
    #[must_use]
    pub fn halts(&self) -> u64 {
        self.halts.get()
    }

    /// Returns how often of those the CPU went on with nothing for who waited, and was halted again.
    #[must_use]
    pub fn halts_in_vain(&self) -> u64 {
        self.halts_in_vain.get()
    }

    /// Returns how often the timer interrupted.
    #[must_use]
    pub fn timer(&self) -> u64 {
        self.count(TIMER)
    }

    /// Returns how many interrupts were none.
    #[must_use]
    pub fn spurious(&self) -> u64 {
        self.count(SPURIOUS)
    }

    fn count(&self, index: usize) -> u64 {
        self.place.counts.get(index).map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Halts until the count of a line is other than it was seen, or until `until_ns`.
    ///
    /// Interrupts are off while the count is looked at, and the first that is let in is let in by the halt itself: none can come
    /// in between and be missed.
    fn wait(&self, line: usize, until_ns: u64) {
        let Some(seen) = self.seen.get(line) else { return };
        let mut halted = false;
        loop {
            let count = self.count(line);
            let left = until_ns.saturating_sub(self.clock.now_ns());
            if count != seen.replace(count) || left == 0 {
                break;
            }
            if halted {
                self.halts_in_vain.set(self.halts_in_vain.get().saturating_add(1));
            }
            self.apic.arm(left);
            halt();
            halted = true;
            self.halts.set(self.halts.get().saturating_add(1));
        }
        if halted {
            // What it has sent already wakes the next wait once, in vain.
            self.apic.disarm();
        }
    }
}

/// Lets interrupts in and halts until one has come.
fn halt() {
    // SAFETY: `sti` lets none in before the instruction that follows it (Intel SDM, volume 2, "STI"); handlers have a stack of their
    // own and restore every register; what they write are atomics.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Lets in what waits, without halting.
fn settle() {
    // SAFETY: as in `halt`.
    unsafe { asm!("sti", "nop", "cli", options(nostack)) };
}

/// Lines that a device has for itself, numbered from 0.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    interrupts: &'static Interrupts,
    first: usize,
    len: u16,
}

impl Lines {
    /// Returns how many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a device with no lines takes none")]
    pub const fn len(&self) -> u16 {
        self.len
    }

    /// Returns the index of a line among all.
    fn index(&self, line: u16) -> Option<usize> {
        (line < self.len).then(|| self.first.saturating_add(usize::from(line)))
    }

    /// Halts the CPU until an interrupt of this line has come that no wait has returned for, or until `until_ns`. A line that is not the
    /// device's is not waited for.
    pub fn wait(&self, line: u16, until_ns: u64) {
        if let Some(index) = self.index(line) {
            self.interrupts.wait(index, until_ns);
        }
    }

    /// Returns how many interrupts of a line have come, with those that wait to be let in.
    #[must_use]
    pub fn count(&self, line: u16) -> u64 {
        settle();
        self.index(line).map_or(0, |index| self.interrupts.count(index))
    }

    /// Returns the message that a device sends to interrupt by this line.
    pub(super) fn message(&self, line: u16) -> Option<Message> {
        let index = u8::try_from(self.index(line)?).ok()?;
        Some(self.interrupts.apic.message(VECTOR_FIRST.checked_add(index)?))
    }
}

impl fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupts")
            .field("counts", &self.place.counts)
            .field("taken", &self.taken)
            .field("halts", &self.halts)
            .finish_non_exhaustive()
    }
}
