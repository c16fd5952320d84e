//! What does not compile, and why that matters. No code: each block is a test that must fail with the error it names.
//!
//! Each mistake here was made in a published system: a mapping that outlived its buffer, a length past it, a map of any
//! number that safe code cared to pass, a buffer read while a device wrote it. `mem::forget` is safe, so nothing here rests on
//! a destructor: a mapping owns its memory, and forgetting it leaks.
//!
//! All blocks share this beginning, and this ending compiles:
//!
//! ```
//! use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! use scatterlist::{Lease, Limits};
//!
//! let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let buffer = vec![0_u8; 4096];
//! let mut mapped = device.map(Lease::from_vec(buffer).unwrap(), FromDevice).unwrap();
//! let mut bytes = [0; 16];
//! mapped.read_at(0, &mut bytes).unwrap();
//! let flight = mapped.into_flight();
//! println!("the device is told {:?}", flight.bus());
//! // SAFETY: no device was told.
//! let lease = unsafe { flight.complete() }.unmap();
//! let buffer = lease.into_vecs().next().unwrap();
//! ```
//!
//! # The buffer belongs to the mapping
//! Reading it while a device may write it (the value was moved):
//! ```compile_fail,E0382
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let buffer = vec![0_u8; 4096];
//! let mapped = device.map(Lease::from_vec(buffer).unwrap(), FromDevice).unwrap();
//! println!("{}", buffer[0]);
//! ```
//! Freeing it:
//! ```compile_fail,E0382
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let buffer = vec![0_u8; 4096];
//! let mapped = device.map(Lease::from_vec(buffer).unwrap(), FromDevice).unwrap();
//! drop(buffer);
//! ```
//!
//! # What a device holds is out of reach
//! Reading it through the mapping, unmapping it, freeing it: the mapping was moved into the flight.
//! ```compile_fail,E0382
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mut mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), FromDevice).unwrap();
//! let flight = mapped.into_flight();
//! mapped.read_at(0, &mut [0; 16]).unwrap();
//! ```
//! ```compile_fail,E0382
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), FromDevice).unwrap();
//! let flight = mapped.into_flight();
//! drop(mapped);
//! ```
//! The flight itself has no way to the bytes:
//! ```compile_fail,E0599
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), FromDevice).unwrap();
//! let mut flight = mapped.into_flight();
//! flight.read_at(0, &mut [0; 16]).unwrap();
//! ```
//! ```compile_fail,E0599
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), FromDevice).unwrap();
//! let lease = mapped.into_flight().unmap();
//! ```
//! Only a promise turns it back:
//! ```compile_fail,E0133
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), FromDevice).unwrap();
//! let mapped = mapped.into_flight().complete();
//! ```
//! And whoever makes such promises for hardware writes `unsafe impl`:
//! ```compile_fail,E0200
//! # use scatterlist::map::Hardware;
//! # use scatterlist::{BusAddr, Segments};
//! struct Mine;
//! impl Hardware for Mine {
//!     fn is_done_with<S: Segments<Addr = BusAddr> + ?Sized>(&self, _: &S) -> bool {
//!         true
//!     }
//!     fn quiesce<S: Segments<Addr = BusAddr> + ?Sized>(&self, _: &S) {}
//! }
//! ```
//! Bus addresses do not come out of an idle mapping:
//! ```compile_fail,E0624
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), FromDevice).unwrap();
//! println!("{:?}", mapped.bus());
//! ```
//!
//! # Only leased memory is mapped
//! A back end takes any list, so to call one is unsafe: numbers alone do not reach a device.
//! ```compile_fail,E0133
//! # use scatterlist::map::{Backend, BusSlots, Direct, HeapMemory, Offset, Terms};
//! # use scatterlist::{Addr, CpuAddr, Limits, Segment};
//! # fn f(device: &Direct<HeapMemory>, terms: &Terms<'_>, bus: &mut BusSlots<'_>) {
//! let anything = [Segment::new(CpuAddr::new(0x1000), 512).unwrap()];
//! device.raw_map(&anything[..], terms, bus).unwrap();
//! # }
//! ```
//!
//! A length past the buffer needs a list of one's own, and a lease from such a list is unsafe code's word (OWN-02):
//! ```compile_fail,E0133
//! # use scatterlist::{CpuAddr, Lease, ScatterList, Segment};
//! let buffer = vec![0_u8; 4096];
//! let list = ScatterList::from(Segment::new(CpuAddr::from_ptr(buffer.as_ptr()), 8192).unwrap());
//! let lease = Lease::from_raw(list, buffer);
//! ```
//!
//! # The direction is a type
//! The CPU has nothing to read where only it writes (OWN-04):
//! ```compile_fail,E0277
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mut mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), ToDevice).unwrap();
//! mapped.read_at(0, &mut [0; 16]).unwrap();
//! ```
//! And nothing to write where only the device writes (OWN-05):
//! ```compile_fail,E0277
//! # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
//! # use scatterlist::{Lease, Limits};
//! # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
//! let mut mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), FromDevice).unwrap();
//! mapped.write_at(0, &[0; 16]).unwrap();
//! ```
//!
//! Three more stand under the ids of the cases from which they come: a borrow that ends too early (OWN-01), an arbitrary address
//! (OWN-03), a sync that takes what no device wrote (OWN-07).

/// A borrow that ends before the mapping does.
/// ```compile_fail,E0597
/// # use scatterlist::map::{Borrowed, FromDevice};
/// # use scatterlist::{Addr as _, CpuAddr, Segment};
/// let mut segments = [Segment::new(CpuAddr::new(0), 1).unwrap()];
/// let borrowed;
/// {
///     let mut buffer = vec![0_u8; 4096];
///     let mut slices = [&mut buffer[..]];
///     borrowed = Borrowed::<_, FromDevice>::from_mut(&mut slices, &mut segments).unwrap();
/// }
/// println!("{borrowed:?}");
/// ```
mod own_01_a_mapping_outlives_its_buffer {}

/// An arbitrary address is a list, and a list is no lease.
/// ```compile_fail,E0308
/// # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
/// # use scatterlist::{Addr as _, CpuAddr, Limits, ScatterList, Segment};
/// # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
/// let list = ScatterList::from(Segment::new(CpuAddr::new(0x1000), 4096).unwrap());
/// let mapped = device.map(list, FromDevice).unwrap();
/// ```
mod own_03_an_arbitrary_address_is_mapped {}

/// There is nothing to take from a device that only reads.
/// ```compile_fail,E0277
/// # use scatterlist::map::{Direct, DmaDevice as _, FromDevice, HeapMemory, Offset, ToDevice};
/// # use scatterlist::{Lease, Limits};
/// # let device = &Direct::new(HeapMemory::default(), Offset::NONE, &Limits::default()).unwrap();
/// let mut mapped = device.map(Lease::from_vec(vec![0; 4096]).unwrap(), ToDevice).unwrap();
/// mapped.sync_for_cpu(0..16).unwrap();
/// ```
mod own_07_a_sync_takes_what_no_device_wrote {}
