//! Native AIO as the kernel has it: the records of `include/uapi/linux/aio_abi.h`, the system calls, and the ring that
//! results lie in.
//!
//! A [`Context`] is one queue. The kernel maps its ring into the process, at the address that is the context's name, and
//! takes results to be consumed there (`struct aio_ring` of `fs/aio.c`, which libaio reads too).
#![expect(unsafe_code, reason = "raw system calls, and a ring that the kernel writes")]

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// The operations: `IOCB_CMD_*` of `include/uapi/linux/aio_abi.h`.
pub(super) const PREAD: u16 = 0;
pub(super) const PWRITE: u16 = 1;
pub(super) const FSYNC: u16 = 2;
pub(super) const FDSYNC: u16 = 3;
pub(super) const POLL: u16 = 5;
pub(super) const PREADV: u16 = 7;
pub(super) const PWRITEV: u16 = 8;

/// `AIO_RING_MAGIC` of `fs/aio.c`.
const RING_MAGIC: u32 = 0xa10a_10a1;

/// One operation: `struct iocb`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Iocb {
    /// Comes back with the result.
    pub(super) data: u64,
    /// The kernel's, and `RWF_*` flags, in an order that depends on the machine's: 0 both.
    pub(super) key_and_rw_flags: [u32; 2],
    pub(super) opcode: u16,
    pub(super) reqprio: i16,
    pub(super) fildes: u32,
    /// Address of the bytes or the vectors; for a poll the events.
    pub(super) buf: u64,
    /// Number of bytes or vectors.
    pub(super) nbytes: u64,
    pub(super) offset: i64,
    pub(super) reserved: u64,
    pub(super) flags: u32,
    pub(super) resfd: u32,
}

const _: () = assert!(size_of::<Iocb>() == 64);

impl Iocb {
    /// Makes a wait for `events` on a file.
    pub(super) fn poll(fd: RawFd, events: i16, data: u64) -> Self {
        let events = u64::from(events.unsigned_abs());
        Self { data, opcode: POLL, fildes: fd.unsigned_abs(), buf: events, ..Self::default() }
    }
}

/// One result: `struct io_event`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Event {
    pub(super) data: u64,
    obj: u64,
    /// Bytes, or a negative error number.
    pub(super) res: i64,
    res2: i64,
}

const _: () = assert!(size_of::<Event>() == 32);

/// The head of the ring: `struct aio_ring`. The events follow.
#[repr(C)]
struct Ring {
    id: u32,
    nr: u32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: u32,
    compat_features: u32,
    incompat_features: u32,
    header_length: u32,
}

/// A queue of native AIO.
///
/// # Invariants
/// 1. `name` is a context of this process that only this value knows, until it is dropped. The kernel keeps the
///    ring mapped at that address for as long.
/// 2. Where `ring` is set, its magic and features are those that this file knows: events follow its head, in `nr` slots.
/// 3. Results are consumed through `&mut`, so by one thread at a time, in user space or by `io_getevents`.
#[derive(Debug)]
pub(super) struct Context {
    name: libc::c_ulong,
    ring: Option<ptr::NonNull<Ring>>,
}

impl Context {
    /// Makes a queue for `operations` in flight (`io_setup(2)`).
    pub(super) fn new(operations: u32) -> io::Result<Self> {
        let mut name: libc::c_ulong = 0;
        // SAFETY: `name` is 0 as the call wants it, and has room for the answer.
        result(unsafe { libc::syscall(libc::SYS_io_setup, operations, &raw mut name) })?;
        let mut context = Self { name, ring: None };
        let ring =
            ptr::NonNull::new(ptr::with_exposed_provenance_mut::<Ring>(usize::try_from(name).unwrap_or(0)));
        context.ring = ring.filter(|ring| {
            // SAFETY: (1): the ring is mapped, and these words do not change.
            let ring = unsafe { ring.as_ref() };
            ring.magic == RING_MAGIC
                && ring.incompat_features == 0
                && usize::try_from(ring.header_length) == Ok(size_of::<Ring>())
                && ring.nr > 0
        });
        Ok(context)
    }

    /// Submits operations and returns how many were taken, from the first on (`io_submit(2)`). An error is that of
    /// the first.
    ///
    /// # Safety
    /// The operations are valid, and so is what they name until their results have been consumed.
    pub(super) unsafe fn submit(&self, operations: &[*mut Iocb]) -> io::Result<usize> {
        let count = libc::c_long::try_from(operations.len()).unwrap_or(libc::c_long::MAX);
        // SAFETY: (1), and the caller's promise.
        result(unsafe { libc::syscall(libc::SYS_io_submit, self.name, count, operations.as_ptr()) })
    }

    /// Asks that an operation end early (`io_cancel(2)`). Its result still comes.
    pub(super) fn cancel(&self, operation: *mut Iocb) {
        let mut event = Event::default();
        // SAFETY: (1); the kernel compares the address with those that it holds, and reads the key there.
        // Most operations cannot be cancelled: then they end by themselves.
        let _ = unsafe { libc::syscall(libc::SYS_io_cancel, self.name, operation, &raw mut event) };
    }

    /// Waits for a result, at most `timeout`, and consumes those that are there as far as there is room
    /// (`io_getevents(2)`).
    pub(super) fn wait(&mut self, events: &mut [Event], timeout: Option<Duration>) -> io::Result<usize> {
        let room = libc::c_long::try_from(events.len()).unwrap_or(libc::c_long::MAX);
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            // Below 10^9, so it fits.
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        let least: libc::c_long = 1;
        // SAFETY: (1); there is room for as many events as it says.
        result(unsafe {
            libc::syscall(libc::SYS_io_getevents, self.name, least, room, events.as_mut_ptr(), timeout)
        })
    }

    /// Consumes results that are there, as far as there is room, and returns their number; without a system call where
    /// the ring is one that this file knows.
    pub(super) fn take(&mut self, into: &mut [Event]) -> usize {
        let Some(ring) = self.ring else {
            return self.wait(into, Some(Duration::ZERO)).unwrap_or(0);
        };
        // SAFETY: (1): the ring is mapped; what the kernel changes in it is atomic here.
        let head = unsafe { ring.as_ref() };
        // SAFETY: (2): the events follow the head.
        let events = unsafe { ring.add(1) }.cast::<Event>();
        let first = head.head.load(Ordering::Relaxed);
        // What the kernel wrote before it moved the tail is seen after this.
        let tail = head.tail.load(Ordering::Acquire);
        if first >= head.nr || tail >= head.nr {
            // The kernel keeps both below; nothing is read where it does not.
            return 0;
        }
        let (mut at, mut count) = (first, 0_usize);
        for place in into {
            if at == tail {
                break;
            }
            // SAFETY: (2): `at` is below their number.
            let event = unsafe { events.add(at as usize) };
            // SAFETY: (2), and (3): the kernel writes to this slot only once the head has passed it.
            *place = unsafe { event.as_ptr().read_volatile() };
            at = at.saturating_add(1);
            if at == head.nr {
                at = 0;
            }
            count = count.saturating_add(1);
        }
        if count > 0 {
            // The slots have been read before the kernel sees that they are free.
            head.head.store(at, Ordering::Release);
        }
        count
    }

    /// Says whether there is a result. Where the ring cannot be read it says that there is none.
    pub(super) fn has_result(&self) -> bool {
        // SAFETY: (1): the ring is mapped; what the kernel changes in it is atomic here.
        let Some(head) = self.ring.map(|ring| unsafe { ring.as_ref() }) else { return false };
        head.head.load(Ordering::Relaxed) != head.tail.load(Ordering::Acquire)
    }
}

impl Drop for Context {
    /// Ends the queue; the kernel waits for what is still in flight (`io_destroy(2)`).
    fn drop(&mut self) {
        // SAFETY: (1): nobody else uses the context.
        let _ = unsafe { libc::syscall(libc::SYS_io_destroy, self.name) };
    }
}

fn result(returned: libc::c_long) -> io::Result<usize> {
    usize::try_from(returned).map_err(|_| io::Error::last_os_error())
}
