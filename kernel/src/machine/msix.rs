//! MSI-X: a function of the bus interrupts by writing a message, one for each of its vectors.
//!
//! PCI Local Bus Specification 3.0, section 6.8.2: a capability names a table in one of the function's base addresses; an entry is an
//! address, a word and a mask. The crate `pci_types` knows the capability, here is the table.
#![expect(unsafe_code, reason = "takes the registers that hold the table")]

use pci_types::capability::{MsixCapability, PciCapability};

use super::interrupts::{Interrupts, Lines, LinesError};
use super::pci::Function;
use crate::driver::halves;
use crate::registers::Registers as _;

/// Bytes of an entry of the table, section 6.8.2.6: address, upper address, data, vector control.
const ENTRY_LEN: u64 = 16;

/// Why a function cannot interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MsixError {
    /// It has no such capability.
    #[error("the function has no MSI-X capability")]
    NoCapability,
    /// Its table is not where it can be written.
    #[error("the MSI-X table is {offset:#x} bytes behind base address {bar}, where nothing is mapped")]
    NoTable {
        /// Of which base address.
        bar: u8,
        /// How far behind it.
        offset: u32,
    },
    /// Lines are short.
    #[error(transparent)]
    Lines(#[from] LinesError),
}

impl Function {
    /// Lets the function interrupt: vector `n` by line `n` of those returned. These are as many as wanted or, where the function has
    /// fewer vectors, as it has. Call it before the driver gets the registers.
    ///
    /// # Errors
    /// [`MsixError`]; the function sends no messages then.
    pub fn interrupt_by(&mut self, interrupts: &'static Interrupts, wanted: u16) -> Result<Lines, MsixError> {
        let mut capability = self.msix().ok_or(MsixError::NoCapability)?;
        let (bar, offset) = (capability.table_bar(), capability.table_offset());
        // SAFETY: what is written to is the table alone, and with messages of lines that are the function's.
        let whole = unsafe { self.whole(bar) };
        let whole = whole.ok_or(MsixError::NoTable { bar, offset })?;
        let lines = interrupts.lines(wanted.min(capability.table_size()))?;
        // Masked as a whole until every entry is what it is to be: an entry that can be used must not be changed (section 6.8.2.9).
        capability.set_function_mask(true, self.access);
        capability.set_enabled(true, self.access);
        for vector in 0..lines.len() {
            let Some(message) = lines.message(vector) else { break };
            let entry = u64::from(vector).saturating_mul(ENTRY_LEN).saturating_add(u64::from(offset));
            let [low, high] = halves(message.addr);
            // In the order of the entry; the last is its mask, which is 1 after a reset.
            for (at, word) in [(0, low), (4, high), (8, message.data), (12, 0)] {
                whole.write32(entry.saturating_add(at), word);
            }
        }
        capability.set_function_mask(false, self.access);
        Ok(lines)
    }

    /// Returns the capability.
    pub(super) fn msix(&self) -> Option<MsixCapability> {
        self.endpoint.capabilities(self.access).find_map(|capability| match capability {
            PciCapability::MsiX(capability) => Some(capability),
            _ => None,
        })
    }
}
