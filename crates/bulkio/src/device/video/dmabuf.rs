//! [`Udmabuf`]: pages of a pool as dma-bufs, for devices that take no addresses of user space.
//!
//! `/dev/udmabuf` makes a dma-buf of a part of a memfd (Documentation/driver-api/dma-buf.rst; include/uapi/linux/udmabuf.h); its pages stay the pool's
//! ordinary pages, so every other device takes them by address. A [`Share`] is that for one slot: one dma-buf for each plane, made once and kept.
#![expect(unsafe_code, reason = "a dma-buf is a second way to a slot's bytes")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl};
use scatterlist::Addr;

use super::abi;
use super::layout::Layout;
use crate::pages::{PagePool, Slot};

/// An open `/dev/udmabuf`, and the pool that it shares.
#[derive(Debug)]
pub(super) struct Udmabuf {
    fd: OwnedFd,
    pool: Arc<PagePool>,
}

/// The dma-bufs of one slot.
///
/// # Invariants
/// 1. Each covers bytes of one slot and of no other.
/// 2. The descriptors leave this type as borrows only, which `video` gives to the grabber while the slot is in flight, owned by the table of what is queued,
///    or to `DMA_BUF_IOCTL_SYNC`, which touches no bytes. So nobody reads or writes through them while safe code has the slot.
#[derive(Debug)]
pub(super) struct Share {
    planes: Vec<(OwnedFd, u32)>,
}

impl Udmabuf {
    /// Opens the device.
    pub(super) fn open(pool: &Arc<PagePool>) -> Result<Self, Errno> {
        let fd = rustix::fs::open("/dev/udmabuf", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, pool: Arc::clone(pool) })
    }

    /// Says whether a slot is one of the pool that is shared.
    pub(super) fn owns(&self, slot: &Slot) -> bool {
        let (start, len) = self.pool.range();
        let (end, addr) = (start.raw().saturating_add(len), slot.addr().raw());
        (start.raw()..end).contains(&addr)
    }

    /// Shares a slot of the pool: a dma-buf for each plane of a frame that begins with the slot.
    pub(super) fn share(&self, slot: &Slot, layout: &Layout) -> Result<Share, Errno> {
        let room = u64::try_from(slot.len()).unwrap_or(0);
        if !self.owns(slot) || layout.len() > room {
            return Err(Errno::INVAL);
        }
        let start = slot.addr().raw().checked_sub(self.pool.range().0.raw()).ok_or(Errno::INVAL)?;
        let mut planes = Vec::with_capacity(layout.planes().len());
        for (offset, len) in layout.planes() {
            let offset = start.checked_add(*offset).ok_or(Errno::INVAL)?;
            planes.push((self.create(offset, *len)?, *len));
        }
        Ok(Share { planes })
    }

    fn create(&self, offset: u64, len: u32) -> Result<OwnedFd, Errno> {
        use std::os::fd::FromRawFd;
        // SAFETY: the contract of `as_fd`: the one thing made from the descriptor here is the dma-buf, which keeps the invariant 2 of Share for
        // as long as it lives: no byte of a slot changes or is read through it while safe code has a slice. Nothing here punches holes.
        let memfd = unsafe { self.pool.as_fd() };
        let memfd = u32::try_from(memfd.as_raw_fd()).map_err(|_| Errno::BADF)?;
        let argument = abi::UdmabufCreate { memfd, flags: abi::UDMABUF_CLOEXEC, offset, size: len.into() };
        let made = create(self.fd.as_fd(), argument)?;
        // SAFETY: the call made this descriptor for us, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(made) })
    }
}

/// Makes `UDMABUF_CREATE`, which returns a descriptor.
fn create(fd: BorrowedFd<'_>, argument: abi::UdmabufCreate) -> Result<i32, Errno> {
    // SAFETY: the kernel reads a struct udmabuf_create behind the pointer, which the argument is and outlives the call.
    let made =
        unsafe { libc::ioctl(fd.as_raw_fd(), libc::c_ulong::from(abi::UDMABUF_CREATE), &raw const argument) };
    if made >= 0 {
        return Ok(made);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

impl Share {
    /// Returns the dma-buf of each plane, with its length in bytes.
    pub(super) fn planes(&self) -> impl Iterator<Item = (BorrowedFd<'_>, u32)> {
        self.planes.iter().map(|(fd, len)| (fd.as_fd(), *len))
    }

    /// Begins or ends reading by the CPU: `DMA_BUF_IOCTL_SYNC`.
    pub(super) fn sync(&self, end: bool) -> Result<(), Errno> {
        let flags = abi::SYNC_READ | if end { abi::SYNC_END } else { 0 };
        for (fd, _) in &self.planes {
            loop {
                // SAFETY: the kernel reads a struct dma_buf_sync behind the pointer, whose layout DmaBufSync has.
                let setter = unsafe {
                    Setter::<{ abi::DMA_BUF_SYNC }, abi::DmaBufSync>::new(abi::DmaBufSync { flags })
                };
                // SAFETY: the setter owns the argument; the call writes caches back or drops them, and changes no byte.
                match unsafe { ioctl(fd, setter) } {
                    // dma-buf.h: repeat after these two.
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    other => break other?,
                }
            }
        }
        Ok(())
    }
}
