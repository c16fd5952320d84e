//! [`LocalApic`]: the CPU's own interrupt controller: where messages of devices arrive, and a timer.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, chapter 11 ("Advanced Programmable Interrupt Controller
//! (APIC)"), in xAPIC mode: the registers lie in memory. The timer counts down once, and is calibrated against the clock. The old
//! 8259s, whose vectors are those of exceptions, are masked, and so is the pin where they come in.
#![expect(unsafe_code, reason = "registers of the CPU by address and by number")]

use scatterlist::{Addr as _, PhysAddr};
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

use super::access::Mmio;
use super::clock::Tsc;
use crate::registers::{Clock as _, Registers as _};

/// IA32_APIC_BASE, section 11.4.4: bit 11 enables the APIC, bit 10 is x2APIC mode, bits 12 and up are where the registers are.
const BASE: u32 = 0x1b;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ADDR: u64 = 0x000f_ffff_ffff_f000;

/// Registers, section 11.4.1, table 11-1.
const ID: u64 = 0x20;
const TASK_PRIORITY: u64 = 0x80;
const END_OF_INTERRUPT: u64 = 0xb0;
const SPURIOUS: u64 = 0xf0;
const LVT_TIMER: u64 = 0x320;
const LVT_LINT0: u64 = 0x350;
const LVT_LINT1: u64 = 0x360;
const LVT_ERROR: u64 = 0x370;
const INITIAL_COUNT: u64 = 0x380;
const CURRENT_COUNT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;
const REGISTERS_LEN: u64 = 0x400;

/// Section 11.5.1: an entry of the local vector table is masked. A timer whose entry has no mode bit counts once.
const MASKED: u32 = 1 << 16;
/// Section 11.9: software enables the APIC in the register of the spurious vector.
const SOFTWARE_ENABLE: u32 = 1 << 8;
/// Section 11.5.4, figure 11-10: the timer counts each 16th tick.
const DIVIDE_BY_16: u32 = 0b0011;
/// Section 11.11.1: messages go to these addresses; the destination is in bits 12 to 19.
const MESSAGE_ADDR: u64 = 0xfee0_0000;

/// The ports of the masks of both 8259s (Intel 8259A data sheet, OCW1).
const MASKS_8259: [u16; 2] = [0x21, 0xa1];

/// How long the timer's rate is measured.
const CALIBRATION_NS: u64 = 2_000_000;

/// Why the APIC cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApicError {
    /// The firmware left it in a mode without registers in memory.
    #[error("IA32_APIC_BASE is {base:#x}: x2APIC mode (bit 10), which must be off")]
    X2Apic {
        /// What the register holds.
        base: u64,
    },
    /// Its registers are not mapped.
    #[error("IA32_APIC_BASE is {base:#x}: the registers must lie below 4 GiB")]
    Unmapped {
        /// What the register holds.
        base: u64,
    },
    /// The timer stands still.
    #[error("the timer of the APIC counted {ticks} ticks in {CALIBRATION_NS} ns, at least 1 is needed")]
    Timer {
        /// What it counted.
        ticks: u32,
    },
}

/// What a device writes where, to interrupt the CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    /// The bus address.
    pub(super) addr: u64,
    /// The word.
    pub(super) data: u32,
}

/// The local APIC.
///
/// # Invariants
/// 1. The registers are those of the local APIC of the only CPU, mapped one to one; but for the end of an interrupt, which handlers write,
///    they are written here alone.
#[derive(Debug)]
pub(super) struct LocalApic {
    registers: Mmio,
    base: u64,
    /// Ticks of the timer in a second.
    timer_hz: u64,
}

impl LocalApic {
    /// Masks every old source, enables the APIC and measures its timer, which takes 2 ms. Its interrupts will have the vector
    /// `timer`; `spurious` is that of interrupts that are none.
    ///
    /// # Safety
    /// Called once, on the only CPU, with interrupts off, while memory below 4 GiB is mapped one to one.
    pub(super) unsafe fn start(clock: &Tsc, timer: u8, spurious: u8) -> Result<Self, ApicError> {
        for port in MASKS_8259 {
            // SAFETY: masks an 8259, or goes nowhere.
            unsafe { Port::<u8>::new(port).write(0xff) };
        }
        let mut msr = Msr::new(BASE);
        // SAFETY: every 64-bit x86 has this register.
        let base = unsafe { msr.read() };
        if base & BASE_X2APIC != 0 {
            return Err(ApicError::X2Apic { base });
        }
        let addr = base & BASE_ADDR;
        if addr.saturating_add(REGISTERS_LEN) > 1 << 32 {
            return Err(ApicError::Unmapped { base });
        }
        // SAFETY: the registers stay where they are; it is enabled.
        unsafe { msr.write(base | BASE_ENABLE) };
        // SAFETY: (1) by the caller's promise.
        let registers = unsafe { Mmio::new(PhysAddr::new(addr), REGISTERS_LEN) };
        for entry in [LVT_LINT0, LVT_LINT1, LVT_ERROR] {
            registers.write32(entry, MASKED);
        }
        registers.write32(TASK_PRIORITY, 0);
        registers.write32(SPURIOUS, SOFTWARE_ENABLE | u32::from(spurious));
        registers.write32(DIVIDE, DIVIDE_BY_16);
        registers.write32(LVT_TIMER, MASKED | u32::from(timer));
        let timer_hz = measured(&registers, clock)?;
        registers.write32(LVT_TIMER, u32::from(timer));
        Ok(Self { registers, base: addr, timer_hz })
    }

    /// Returns where a handler writes 0 to end an interrupt, section 11.8.5.
    pub(super) const fn end_addr(&self) -> u64 {
        self.base.saturating_add(END_OF_INTERRUPT)
    }

    /// Returns the message that interrupts this CPU with `vector`: fixed, by its edge (section 11.11.2).
    pub(super) fn message(&self, vector: u8) -> Message {
        // The identifier is in the highest byte, section 11.4.6.
        let id = u64::from(self.registers.read32(ID).wrapping_shr(24));
        Message { addr: MESSAGE_ADDR | id.wrapping_shl(12), data: u32::from(vector) }
    }

    /// Lets the timer interrupt once, `ns` nanoseconds from now or earlier: later than the counter holds it cannot.
    pub(super) fn arm(&self, ns: u64) {
        let ticks = u128::from(ns).saturating_mul(u128::from(self.timer_hz));
        let ticks = ticks.checked_div(1_000_000_000).unwrap_or(0).max(1);
        self.registers.write32(INITIAL_COUNT, u32::try_from(ticks).unwrap_or(u32::MAX));
    }

    /// Stops the timer.
    pub(super) fn disarm(&self) {
        self.registers.write32(INITIAL_COUNT, 0);
    }
}

/// Measures the timer. The time is that around the ticks: where something came between, the rate is too low and the timer early,
/// which who waits sees by the clock.
fn measured(registers: &Mmio, clock: &Tsc) -> Result<u64, ApicError> {
    let start = clock.now_ns();
    registers.write32(INITIAL_COUNT, u32::MAX);
    while clock.now_ns().saturating_sub(start) < CALIBRATION_NS {
        clock.pause();
    }
    let ticks = u32::MAX.wrapping_sub(registers.read32(CURRENT_COUNT));
    let ns = clock.now_ns().saturating_sub(start);
    registers.write32(INITIAL_COUNT, 0);
    let hz = u64::from(ticks).saturating_mul(1_000_000_000).checked_div(ns).unwrap_or(0);
    if hz == 0 { Err(ApicError::Timer { ticks }) } else { Ok(hz) }
}
