//! [`Exit`]: how the machine ends.
//!
//! A kernel has nobody to return to. QEMU's debug exit turns a value into its own exit status, by which the host tells a scenario
//! that passed from one that failed, and both from a QEMU that ended by itself.
#![expect(unsafe_code, reason = "writes the port that ends QEMU")]

use x86_64::instructions::port::Port;

/// The port of QEMU's `isa-debug-exit`. A value `v` makes QEMU exit with `2 v + 1` (`hw/misc/debugexit.c`).
const PORT: u16 = 0xf4;

/// How the run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Everything held: status 33.
    Passed,
    /// Something did not, or a panic: status 35.
    Failed,
}

impl Exit {
    /// Ends QEMU. Where there is no such device the CPU stops.
    pub fn leave(self) -> ! {
        let value: u32 = match self {
            Self::Passed => 0x10,
            Self::Failed => 0x11,
        };
        // SAFETY: the port ends the machine, or is nothing.
        unsafe { Port::new(PORT).write(value) };
        loop {
            x86_64::instructions::hlt();
        }
    }
}
