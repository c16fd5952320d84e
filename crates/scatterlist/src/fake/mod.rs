//! A fake machine: memory whose caches can be seen, a bus with a table of what is mapped, and a device with faults on demand.
//!
//! For the tests of drivers and of back ends. [`FakeMemory`] goes beneath [`Direct`](crate::map::Direct) or an IOMMU, a
//! [`Bus`] around that, bounce pool and checker above the bus; a [`Device`] reads and writes what is mapped and nothing else.
//! What goes wrong is a [`FakeFinding`]. Over [`HeapMemory`](crate::map::HeapMemory) the same works with ordinary buffers. A machine is of one
//! thread.
//!
//! A device that fills a buffer, and needs its caches synced:
//!
//! ```
//! use scatterlist::fake::{Bus, Device, FakeMemory};
//! use scatterlist::map::{Direct, DmaDevice as _, FromDevice, Offset};
//! use scatterlist::{CacheCoherence, Limits};
//!
//! let memory = FakeMemory::physical(CacheCoherence::Synced, 0x1_0000_0000, 1 << 20)?;
//! let limits = Limits::builder().coherence(CacheCoherence::Synced).build()?;
//! let bus = Bus::new(Direct::new(&memory, Offset::NONE, &limits)?);
//! let device = Device::new(&bus, &limits);
//!
//! let buffer = memory.take_scattered(4, 4096, 4096)?;
//! let flight = (&bus).map(buffer, FromDevice).map_err(|failed| failed.error)?.into_flight();
//! device.scatter(flight.bus(), &[7; 16384])?;
//! let mapped = flight.reclaim(&device).map_err(|_| "the device is not done")?;
//! assert_eq!(memory.bytes(&mapped.unmap())?, [7; 16384]);
//! assert!(memory.check_quarantine().is_empty() && bus.findings().is_empty());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod bus;
mod device;
mod finding;
mod memory;
mod ram;
mod resolve;
mod store;

pub use bus::{Bus, BusMapping};
pub use device::{Device, Done, FakeFault, Work};
pub use finding::{FakeError, FakeFinding, Refusal};
pub use memory::{FakeMemory, FakeOwner};
pub use resolve::{DeviceMemory, Resolve};
