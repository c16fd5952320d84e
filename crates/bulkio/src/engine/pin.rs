//! Whether the kernel can pin memory, which is what every direct transfer does first.
//!
//! A mapping of a device's own memory may be reachable for the CPU and for nobody else (`VM_IO`, `VM_PFNMAP`: `EFAULT`), and no flag
//! tells. Registering one page with a ring and letting it go answers without any I/O.
#![expect(unsafe_code, reason = "registers memory with a ring of its own")]

use io_uring::IoUring;
use scatterlist::{Addr, CpuAddr};

/// Whether direct transfers can use memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pinnable {
    /// The kernel pinned it.
    Yes,
    /// It refused, with this error number.
    No(u32),
    /// There is no ring to ask; with this error number.
    Unknown(u32),
}

/// Asks whether the page that holds `addr` can be pinned.
pub(crate) fn pinnable(addr: CpuAddr) -> Pinnable {
    let errno = |error: &std::io::Error| error.raw_os_error().unwrap_or(libc::EIO).unsigned_abs();
    let ring = match IoUring::new(1) {
        Ok(ring) => ring,
        Err(error) => return Pinnable::Unknown(errno(&error)),
    };
    let page = rustix::param::page_size();
    let start = usize::try_from(addr.raw()).unwrap_or(0) & !page.wrapping_sub(1);
    let memory = libc::iovec { iov_base: core::ptr::without_provenance_mut(start), iov_len: page };
    // SAFETY: the kernel checks the range, pins its page and neither reads nor writes it: no operation is ever submitted, and the ring,
    // which holds the page, is closed here.
    match unsafe { ring.submitter().register_buffers(&[memory]) } {
        Ok(()) => Pinnable::Yes,
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Pinnable::No(errno(&error)),
        // Too much is pinned already (ENOMEM), or the kernel registers no mapped files (EOPNOTSUPP), which says nothing about transfers.
        Err(error) => Pinnable::Unknown(errno(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_pinned_and_what_is_not_there_is_not() {
        let bytes = vec![0_u8; 4096];
        let own = pinnable(CpuAddr::from_ptr(bytes.as_ptr()));
        assert!(matches!(own, Pinnable::Yes | Pinnable::Unknown(_)), "{own:?}");
        if own == Pinnable::Yes {
            assert_eq!(pinnable(CpuAddr::new(4096)), Pinnable::No(libc::EFAULT.unsigned_abs()));
        }
    }
}
