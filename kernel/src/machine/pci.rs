//! [`Pci`]: the functions on the bus, by the crate `pci_types` over the ports of the host bridge.
//!
//! Configuration mechanism 1 (PCI Local Bus Specification 3.0, section 3.2.2.3.2). Bus 0 is enough: the runner puts every device
//! there, where the firmware has given it addresses. A driver gets the registers of a function from [`Function`], and nobody gets its
//! configuration space, where a message that goes to any address could be chosen.
#![expect(unsafe_code, reason = "configuration access by ports")]

use core::fmt;

use pci_types::{Bar, CommandRegister, ConfigRegionAccess, EndpointHeader, MAX_BARS, PciAddress, PciHeader};
use scatterlist::{Addr as _, PhysAddr};
use x86_64::instructions::port::Port;

use super::access::{Mmio, Ports};

/// Where the ports of a base address are asked for their number: the bits that can be written are those of the place (PCI Local Bus
/// Specification 3.0, section 6.2.5.1); 16 of them are wired on a PC.
const PORT_BITS: u32 = 0xfffc;

/// Configuration space.
///
/// # Invariants
/// 1. The ports 0xcf8 and 0xcfc are those of the host bridge, and only this uses them: on one CPU, and in no handler of an interrupt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Configuration(());

// SAFETY: (1) nothing comes between the access to the address port and the one to the data port.
impl ConfigRegionAccess for Configuration {
    unsafe fn read(&self, address: PciAddress, offset: u16) -> u32 {
        // SAFETY: (1) selects a register.
        unsafe { Port::new(0xcf8).write(selected(address, offset)) };
        // SAFETY: (1) reads it, which changes nothing.
        unsafe { Port::new(0xcfc).read() }
    }

    unsafe fn write(&self, address: PciAddress, offset: u16, value: u32) {
        // SAFETY: (1) selects a register.
        unsafe { Port::new(0xcf8).write(selected(address, offset)) };
        // SAFETY: (1); the caller says what this does to the function.
        unsafe { Port::new(0xcfc).write(value) };
    }
}

fn selected(address: PciAddress, offset: u16) -> u32 {
    let bus = u32::from(address.bus()).wrapping_shl(16);
    let device = u32::from(address.device()).wrapping_shl(11);
    let function = u32::from(address.function()).wrapping_shl(8);
    0x8000_0000 | bus | device | function | u32::from(offset & 0xfc)
}

/// The bus.
#[derive(Clone, Copy, Debug)]
pub struct Pci {
    access: Configuration,
    /// Where memory ends: no function has registers below.
    memory_end: u64,
}

/// One function of the bus that was switched on: it decodes its addresses and may reach memory.
///
/// # Invariants
/// 1. `places` are what the function decodes: in ports, or in addresses behind all memory and below 4 GiB.
pub struct Function {
    pub(super) access: Configuration,
    pub(super) endpoint: EndpointHeader,
    places: [Option<Place>; MAX_BARS],
}

/// What is behind a base address.
#[derive(Clone, Copy, Debug)]
enum Place {
    Memory { base: u64, len: u64 },
    Ports { base: u16, len: u16 },
}

impl Pci {
    /// Takes the bus of a machine with memory up to `memory_end`.
    pub(super) const fn new(memory_end: u64) -> Self {
        Self { access: Configuration(()), memory_end }
    }

    /// Finds the `index`-th function with these ids on bus 0 and switches it on. It is switched off before, so that it moves no
    /// address of its own over memory while it is asked how many it has: find no function that is in use.
    #[must_use]
    pub fn find(self, vendor: u16, device: u16, index: usize) -> Option<Function> {
        let slots = (0..32_u8).flat_map(|device| (0..8_u8).map(move |function| (device, function)));
        let addresses = slots.map(|(device, function)| PciAddress::new(0, 0, device, function));
        let same = |address: &PciAddress| PciHeader::new(*address).id(self.access) == (vendor, device);
        let address = addresses.filter(same).nth(index)?;
        let mut endpoint = EndpointHeader::from_header(PciHeader::new(address), self.access)?;
        let on =
            CommandRegister::IO_ENABLE | CommandRegister::MEMORY_ENABLE | CommandRegister::BUS_MASTER_ENABLE;
        endpoint.update_command(self.access, |command| command & !on);
        let places = self.places(&endpoint);
        endpoint.update_command(self.access, |command| command | on);
        Some(Function { access: self.access, endpoint, places })
    }

    /// Asks a function that is switched off what is behind its base addresses. One that the firmware has given no address, or one
    /// where memory is, has nothing.
    fn places(self, endpoint: &EndpointHeader) -> [Option<Place>; MAX_BARS] {
        let mut places = [None; MAX_BARS];
        let mut upper_half = false;
        for (bar, place) in (0..).zip(&mut places) {
            if core::mem::take(&mut upper_half) {
                continue;
            }
            let memory = |base: u64, len: u64| {
                let fits = base >= self.memory_end.max(1) && base.checked_add(len)? <= 1 << 32;
                fits.then_some(Place::Memory { base, len })
            };
            *place = match endpoint.bar(bar, self.access) {
                Some(Bar::Memory32 { address, size, .. }) => memory(u64::from(address), u64::from(size)),
                Some(Bar::Memory64 { address, size, .. }) => {
                    upper_half = true;
                    memory(address, size)
                }
                Some(Bar::Io { port }) => self.ports(endpoint.header().address(), bar, port),
                None => None,
            };
        }
        places
    }

    /// Asks a function that is switched off how many ports it has behind a base address, which it then has again.
    fn ports(self, address: PciAddress, bar: u8, port: u32) -> Option<Place> {
        let base = u16::try_from(port).ok().filter(|base| *base > 0)?;
        let offset = u16::from(bar).checked_mul(4)?.checked_add(0x10)?;
        // SAFETY: a base address; the function is switched off and decodes nothing.
        unsafe { self.access.write(address, offset, u32::MAX) };
        // SAFETY: as above.
        let bits = unsafe { self.access.read(address, offset) } & PORT_BITS;
        // SAFETY: what stood there before.
        unsafe { self.access.write(address, offset, port) };
        let len = u16::try_from(1_u32.checked_shl(bits.trailing_zeros())?).ok()?;
        base.checked_add(len.checked_sub(1)?).map(|_| Place::Ports { base, len })
    }
}

impl Function {
    /// Returns the registers behind a base address in memory, up to the function's MSI-X table where that lies behind them: it names
    /// addresses that the function writes to, and is no driver's.
    ///
    /// # Safety
    /// They are for the driver of this function and for nobody else: promise 3 of [`Registers`](crate::registers::Registers).
    #[must_use]
    pub unsafe fn memory(&self, bar: u8) -> Option<Mmio> {
        let table = self.msix().filter(|table| table.table_bar() == bar);
        let end = table.map_or(u64::MAX, |table| u64::from(table.table_offset().min(table.pba_offset())));
        // SAFETY: the caller's promise.
        unsafe { self.whole(bar) }.map(|registers| registers.to(end))
    }

    /// Returns all that is behind a base address in memory.
    ///
    /// # Safety
    /// As [`Function::memory`]; what is behind the start of the MSI-X table is for nobody but who writes that.
    pub(super) unsafe fn whole(&self, bar: u8) -> Option<Mmio> {
        match self.place(bar)? {
            // SAFETY: (1), and the caller's promise.
            Place::Memory { base, len } => Some(unsafe { Mmio::new(PhysAddr::new(base), len) }),
            Place::Ports { .. } => None,
        }
    }

    /// Returns the registers behind a base address in ports.
    ///
    /// # Safety
    /// As [`Function::memory`].
    #[must_use]
    pub unsafe fn ports(&self, bar: u8) -> Option<Ports> {
        match self.place(bar)? {
            // SAFETY: (1), and the caller's promise.
            Place::Ports { base, len } => Some(unsafe { Ports::new(base, len) }),
            Place::Memory { .. } => None,
        }
    }

    fn place(&self, bar: u8) -> Option<Place> {
        self.places.get(usize::from(bar)).copied().flatten()
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("address", &self.endpoint.header().address())
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}
