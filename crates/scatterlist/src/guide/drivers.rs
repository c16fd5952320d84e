//! How a driver is written: one worked example for each back end.
//!
//! The steps are the same everywhere. The platform makes a device once: its memory, and how the bus sees it. The driver
//! states its limits (from the identify data, the descriptor format, the bus), makes a target with a pool, and then for
//! each request: plan, prepare, tell the hardware, complete. Only the first step differs from back end to back end.
//!
//! # Direct: the bus sees memory at an offset
//!
//! A controller that takes PRPs of 4 KiB pages, transfers of at most 128 KiB, and addresses below 64 GiB on a bus that shows
//! memory 32 GiB further up. The request is larger than one command may be, so it is planned into several, which share one
//! completion.
//!
//! ```
//! use std::sync::Arc;
//!
//! use scatterlist::desc::PrpFormat;
//! use scatterlist::map::{Direct, DmaDevice, DmaPool, HeapMemory, Offset, PoolLayout, prepare};
//! use scatterlist::plan::plan;
//! use scatterlist::{Direction, Lease, LimitId, Limits, Outcome, Position, Request, Source, Force};
//!
//! // Once: what the platform knows (the bus), what the format implies, what the controller said of itself.
//! let format = PrpFormat::new(4096)?;
//! let bus = Limits::builder().set(LimitId::TransferLenMax, 128 << 10, Source::Identify, Force::Hard).build()?;
//! let limits = bus.stack(&format.limits(1)?)?;
//! let device = &Direct::new(HeapMemory::default(), Offset::Up(32 << 30), &limits)?;
//! let pages = PoolLayout { len: 4096, align: 4096, boundary: 4096, slab_len: 64 << 10, objects_max: 128 };
//! let target = device.target().with_pool(DmaPool::new(device, pages)?);
//!
//! // For each request: some memory, a position, and who is to be told.
//! let lease = Lease::from_vec(vec![0_u8; 1 << 20]).map_err(|(_, error)| error)?;
//! let told = Box::new(|outcome: Outcome| assert_eq!(outcome.done, 1 << 20));
//! # let lease = { let list = lease.list().clone(); let owner = Arc::new(lease);
//! # // SAFETY: the owner keeps the memory, and nobody looks at it.
//! # unsafe { Lease::from_raw(list, owner) } };
//! let request = Request::new(lease, Direction::FromDevice, Position::At(0), told).into_shared();
//!
//! // It is cut where the target says.
//! let mut lengths = Vec::new();
//! for ready in plan(request.lease().list(), request.position(), target.list_limits(), target.plan_policy()) {
//!     lengths.push(ready?.len_bytes());
//! }
//! let mut rest = Some(request);
//! for len in lengths {
//!     let Some(whole) = rest.take() else { break };
//!     let part = match whole.split_at(len) {
//!         Ok((part, after)) => {
//!             rest = Some(after);
//!             part
//!         }
//!         Err((last, _)) => last,
//!     };
//!     // Mapped, and its PRP list filled.
//!     let flight = prepare(&target, part, &format).map_err(|failed| failed.error)?.into_flight();
//!     let _sqe: (_, [u8; 16]) = (flight.position(), flight.command().to_le_bytes());
//!     // ... the doorbell; the completion says that all went well:
//!     // SAFETY: the controller reported this command as done.
//!     let part = unsafe { flight.complete() }.unprepare();
//!     let bytes = part.len_bytes();
//!     drop(part.complete(Outcome::whole(bytes)));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # IOMMU: bus addresses are made up
//!
//! Scattered pages become one bus segment, so a device that takes a single address and length can be given them.
//!
//! ```
//! use scatterlist::map::iommu::{FourLevelTable, Iommu};
//! use scatterlist::map::{DmaDevice, HeapMemory, ToDevice};
//! use scatterlist::{Addr, CpuAddr, Lease, LimitId, Limits, ScatterList, Segment, Segments};
//!
//! // One segment, below 4 GiB: a very simple device. The table would be the hardware's own.
//! let limits = Limits::builder().hard(LimitId::AddrMax, 0xffff_ffff).hard(LimitId::SegmentsMax, 1).build()?;
//! let device = &Iommu::new(HeapMemory::default(), FourLevelTable::<CpuAddr>::new(64), &limits)?;
//!
//! // Every other page of a buffer.
//! let buffer = vec![7_u8; 16 * 4096];
//! let first = CpuAddr::from_ptr(buffer.as_ptr()).raw().next_multiple_of(4096);
//! let pages = (0..7).map(|page| Segment::new(CpuAddr::new(first + page * 8192), 4096));
//! let list = ScatterList::from_segments(pages.collect::<Result<Vec<_>, _>>()?)?;
//! let owner = Lease::from_vec(buffer).map_err(|(_, error)| error)?;
//! // SAFETY: the list lies within the buffer; its own lease keeps it, and shows the bytes to nobody.
//! let lease = unsafe { Lease::from_raw(list, owner) };
//!
//! let flight = device.map(lease, ToDevice)?.into_flight();
//! assert_eq!(flight.bus().len_segments(), 1);
//! // SAFETY: no device was told.
//! let lease = unsafe { flight.complete() }.unmap();
//! assert_eq!((lease.list().len_segments(), device.bytes_out()), (7, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bounce: what the device cannot use is copied
//!
//! A device that reaches only its first 16 MiB, with 64 KiB of memory there to copy through. Put the pool on top of whatever
//! the bus is; bounced bytes are counted.
//!
//! ```
//! use scatterlist::fake::{Bus, Device, FakeMemory};
//! use scatterlist::map::{Bounce, BounceLayout, Direct, DmaDevice, FromDevice, Offset};
//! use scatterlist::{Addr, CacheCoherence, LimitId, Limits, PhysAddr};
//!
//! let limits = Limits::builder().hard(LimitId::AddrMax, 0xff_ffff).build()?;
//! // A machine for the example: memory at 16 MiB, and the pool's below. A kernel has its own `Memory`.
//! let memory = FakeMemory::physical(CacheCoherence::Coherent, 0x100_0000, 1 << 20)?.with_arena(0x10_0000, 1 << 17)?;
//! let pool = memory.take_at(&[(PhysAddr::new(0x10_0000), 64 << 10)])?;
//! let buffer = memory.take_at(&[(PhysAddr::new(0x100_0000), 4096)])?;
//!
//! let bus = Bus::new(Direct::new(&memory, Offset::NONE, &limits)?);
//! let device = &Bounce::new(&bus, pool, BounceLayout::default()).map_err(|failed| failed.error)?;
//! let hardware = Device::new(&bus, &limits);
//!
//! let flight = device.map(buffer, FromDevice).map_err(|failed| failed.error)?.into_flight();
//! hardware.scatter(flight.bus(), &[7; 4096])?;
//! let mapped = flight.reclaim(&hardware).map_err(|_| "the device is not done")?;
//! mapped.visit_bounces(|bounced| {
//!     assert_eq!(bounced.len, 4096);
//!     assert_eq!(bounced.why.to_string(), "address 0x1000000 is out of reach (addr_max 0xffffff, from user)");
//! });
//! assert_eq!(mapped.bounced_bytes(), 4096);
//! assert_eq!(memory.bytes(&mapped.unmap())?, [7; 4096]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A target whose mappings must not fail for want of this memory sets some aside when it is built:
//! [`DmaTarget::with_policy`](crate::DmaTarget::with_policy).
//!
//! # Checked: mistakes are found
//!
//! Around any of them, in tests and debug kernels. A device without it has no code of it.
//!
//! ```
//! use scatterlist::map::checked::{Checked, Finding};
//! use scatterlist::map::{Direct, DmaDevice, HeapMemory, Offset, ToDevice};
//! use scatterlist::{Lease, Limits};
//!
//! let device = Direct::new(HeapMemory::new(|_| {}), Offset::NONE, &Limits::default())?;
//! let device = &Checked::new(device, |findings| panic!("{findings:?}"));
//! let mapped = device.map_bytes(vec![1; 512], ToDevice).map_err(|failed| failed.error)?;
//! // The driver forgets what is in flight: it stays taken, and that is found.
//! drop(mapped.into_flight());
//! let findings = device.take_findings();
//! assert!(matches!(findings[..], [Finding::DroppedInFlight { .. }]), "{findings:?}");
//! # device.release();
//! # device.take_findings();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
