//! [`Quarantine`]: memory for I/O that nobody may write to once it is freed, and that notices when somebody does.
//!
//! The address sanitizer does not see what the kernel writes. So [`IoMemory`] is not unmapped when its last owner goes: it is
//! filled with canaries and kept to the end of the process, and [`Quarantine::check`] says which bytes changed since.
#![expect(unsafe_code, reason = "maps memory, leases it from raw addresses")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use scatterlist::{Addr, CpuAddr, Direction, Lease, Position, Request, ScatterList, Segment};

/// Most bytes that one quarantine takes in, for they are never given back to the system.
const BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Default)]
struct Shelf {
    /// Start and length of what was freed. The memory stays mapped for good.
    freed: Vec<(usize, usize)>,
    bytes: usize,
    alive: usize,
}

/// Where the memory of a test comes from and goes to.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    shelf: Arc<Mutex<Shelf>>,
}

/// The canary of the byte at an address: neither zeros nor a constant, and different in neighbours.
const fn canary(addr: usize) -> u8 {
    (addr.wrapping_mul(167) ^ (addr >> 8) ^ 0xa5) as u8
}

impl Quarantine {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maps `len` bytes of zeros, on whole pages of their own.
    pub fn take(&self, len: usize) -> Arc<IoMemory> {
        let mut shelf = self.shelf();
        shelf.bytes += len;
        shelf.alive += 1;
        assert!(shelf.bytes <= BYTES_MAX, "a quarantine takes {BYTES_MAX} bytes in, not {}", shelf.bytes);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE) };
        let start = NonNull::new(start.expect("memory is mapped").cast()).expect("not at address 0");
        Arc::new(IoMemory { start, len, home: self.clone() })
    }

    /// Returns how many pieces of memory were taken and not freed.
    pub fn alive(&self) -> usize {
        self.shelf().alive
    }

    /// Returns how many pieces of memory were freed.
    pub fn freed(&self) -> usize {
        self.shelf().freed.len()
    }

    /// Returns the bytes of freed memory that changed since: piece of memory, in the order of freeing, and offset in it.
    pub fn changed(&self) -> Vec<(usize, usize)> {
        let shelf = self.shelf();
        let mut changed = Vec::new();
        for (piece, &(start, len)) in shelf.freed.iter().enumerate() {
            for at in 0..len {
                let addr = start + at;
                // SAFETY: freed memory stays mapped, and only the kernel could write it; read afresh each time.
                let byte = unsafe { std::ptr::with_exposed_provenance::<u8>(addr).read_volatile() };
                if byte != canary(addr) {
                    changed.push((piece, at));
                }
            }
        }
        changed
    }

    /// Asserts that nobody wrote to freed memory.
    pub fn check(&self) {
        let changed = self.changed();
        let (count, first) = (changed.len(), changed.first());
        assert!(count == 0, "{count} bytes of freed memory were written, (piece, offset) {first:?} first");
    }
}

/// Page-aligned memory for I/O.
///
/// # Invariants
/// 1. `start` and `len` are a mapping of its own that is never unmapped.
#[derive(Debug)]
pub struct IoMemory {
    start: NonNull<u8>,
    len: usize,
    home: Quarantine,
}

// SAFETY: plain owned memory, reached through raw pointers only.
unsafe impl Send for IoMemory {}
// SAFETY: as above; tests look at it only while nothing is in flight on it.
unsafe impl Sync for IoMemory {}

impl IoMemory {
    /// Returns its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the address of a byte.
    pub fn addr(&self, at: usize) -> CpuAddr {
        CpuAddr::from_ptr(self.start.as_ptr()).checked_add(at as u64).expect("an address in the mapping")
    }

    /// Copies bytes in; nothing may be in flight on them.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        assert!(bytes.len() <= self.len && at <= self.len - bytes.len());
        let start = self.start.as_ptr().wrapping_add(at);
        // SAFETY: (1), and the test promises that nothing is in flight on it.
        unsafe { start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Copies all bytes out; nothing may be in flight on them.
    pub fn bytes(&self) -> Vec<u8> {
        // SAFETY: (1), and the test promises that nothing is in flight on it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }.to_vec()
    }

    /// Makes a request for pieces `(offset, length)` of the memory, which keeps it alive.
    pub fn request(
        self: &Arc<Self>,
        pieces: &[(usize, usize)],
        direction: Direction,
        position: Position,
    ) -> Request<CpuAddr, Arc<Self>, ()> {
        let segments = pieces.iter().map(|&(at, len)| {
            assert!(len <= self.len && at <= self.len - len);
            Segment::new(self.addr(at), len as u64).expect("a segment")
        });
        let list = ScatterList::from_segments(segments).expect("a list");
        // SAFETY: the owner keeps the mapping, and the tests look at it only when nothing is in flight.
        let lease = unsafe { Lease::from_raw(list, Arc::clone(self)) };
        Request::new(lease, direction, position, ())
    }
}

/// A view of memory that does not own it, as nobody may have: for the test of the quarantine itself.
#[derive(Debug)]
pub struct Stray {
    start: usize,
    len: usize,
}

impl IoMemory {
    /// Returns a view that does not own the memory.
    pub fn stray(&self) -> Stray {
        Stray { start: self.start.as_ptr().expose_provenance(), len: self.len }
    }
}

impl Stray {
    /// Reads from a file into the memory, whoever owns it now; returns the bytes read, or -1.
    pub fn read(&self, file: &OwnedFd, at: usize, len: usize, position: i64) -> isize {
        assert!(len <= self.len && at <= self.len - len);
        let start = std::ptr::with_exposed_provenance_mut::<libc::c_void>(self.start).wrapping_byte_add(at);
        // SAFETY: memory of a quarantine is never unmapped, invariant 1 of `IoMemory`.
        unsafe { libc::pread(file.as_raw_fd(), start, len, position) }
    }
}

impl Drop for IoMemory {
    fn drop(&mut self) {
        let start = self.start.as_ptr().expose_provenance();
        let canaries: Vec<u8> = (start..start + self.len).map(canary).collect();
        self.write(0, &canaries);
        let mut shelf = self.home.shelf();
        shelf.freed.push((start, self.len));
        shelf.alive -= 1;
    }
}
