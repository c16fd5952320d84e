//! The blocking front: each call returns when its bytes are where they belong.
#![expect(unsafe_code, reason = "lends borrowed memory to a job that ends before the call does")]

use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use scatterlist::{CpuAddr, Direction, Lease, ScatterList, Segment};

use super::io::CallGuard;
use super::job::Job;
use super::lend::Lend;
use super::memory::Memory;
use super::open::File;
use super::{Moved, TransferError};

/// A channel with jobs over memory that is only borrowed: dropping it waits for them, whatever happens.
pub(super) struct Borrowing<'a>(pub(super) CallGuard<'a>);

impl Drop for Borrowing<'_> {
    fn drop(&mut self) {
        let channel = self.0.get();
        while channel.running() > 0 {
            // Only a panic comes here: nobody is left to want the bytes.
            channel.cancel_all();
            channel.turn(None);
        }
        while channel.take().is_some() {}
    }
}

impl File {
    /// Reads at `offset` into `buf`. At the end of the file fewer bytes come, and none past it.
    ///
    /// What lies in `buf` behind the bytes that were read is unspecified.
    ///
    /// # Errors
    /// [`TransferError`], with what was read before the fault.
    pub fn read(&self, buf: &mut [u8], offset: u64) -> Result<Moved, TransferError> {
        if let Some(moved) = self.read_plainly(buf, offset) {
            return Ok(moved);
        }
        // SAFETY: the slice is borrowed exclusively until this call returns.
        unsafe { self.call(Direction::FromDevice, segments_mut([buf]), offset) }
    }

    /// Reads in one plain call what can be read so as it is, if all of it comes. Anything else is a case for a job.
    fn read_plainly(&self, buf: &mut [u8], offset: u64) -> Option<Moved> {
        if !self.io.makes_plain_calls() {
            return None;
        }
        let fd = self.inner.plain_read(buf, offset)?;
        let len = buf.len();
        let read = rustix::io::pread(fd, buf, offset).ok()?;
        (read == len).then(|| Moved { bytes: len as u64, ..Moved::default() })
    }

    /// Writes `buf` at `offset`. A file grows where that is needed, and is never longer than what was written.
    ///
    /// # Errors
    /// [`TransferError`], with what was written before the fault.
    pub fn write(&self, buf: &[u8], offset: u64) -> Result<Moved, TransferError> {
        // SAFETY: the slice is borrowed until this call returns, and writing only reads it.
        unsafe { self.call(Direction::ToDevice, segments([buf]), offset) }
    }

    /// Reads at `offset` into any number of slices, one after the other. One more than the kernel's 1,024 is no error here.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> Result<Moved, TransferError> {
        // SAFETY: the slices are borrowed exclusively until this call returns.
        unsafe {
            self.call(Direction::FromDevice, segments_mut(bufs.iter_mut().map(|buf| &mut **buf)), offset)
        }
    }

    /// Writes any number of slices at `offset`, one after the other.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_vectored(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<Moved, TransferError> {
        // SAFETY: the slices are borrowed until this call returns, and writing only reads them.
        unsafe { self.call(Direction::ToDevice, segments(bufs.iter().map(|buf| &**buf)), offset) }
    }

    /// Reads at `offset` into owned memory, which comes back in any case. A lease may have any number of pieces.
    pub fn read_owned<B: Lend>(&self, buf: B, offset: u64) -> (Result<Moved, TransferError>, B) {
        self.owned(Direction::FromDevice, buf, offset)
    }

    /// Writes owned memory at `offset`; it comes back in any case. A lease may have any number of pieces.
    pub fn write_owned<B: Lend>(&self, buf: B, offset: u64) -> (Result<Moved, TransferError>, B) {
        self.owned(Direction::ToDevice, buf, offset)
    }

    fn owned<B: Lend>(&self, direction: Direction, buf: B, offset: u64) -> (Result<Moved, TransferError>, B) {
        let lease: Lease<CpuAddr, B::Owner> = match buf.lend() {
            Ok(lease) => lease,
            // SAFETY: there is no memory.
            Err(empty) => return (unsafe { self.call(direction, ScatterList::new(), offset) }, empty),
        };
        // SAFETY: the lease, which is held here, promises valid memory that nobody else touches.
        let result = unsafe { self.call(direction, lease.list().clone(), offset) };
        (result, B::take_back(lease))
    }

    /// Moves the bytes of `list` and returns when that is over.
    ///
    /// # Safety
    /// Until it returns or unwinds, the memory is valid for reads, nobody writes to it, and in a read it is valid for writes and
    /// nobody else reads it.
    unsafe fn call(
        &self,
        direction: Direction,
        list: ScatterList<CpuAddr>,
        offset: u64,
    ) -> Result<Moved, TransferError> {
        let len = list.len_bytes();
        let failed = |kind| self.inner.transfer_error(direction, offset, len, Moved::default(), kind);
        // SAFETY: the caller's promise; `Borrowing` keeps this call from ending before the job has.
        let memory = unsafe { Memory::new(list) };
        let job = Job::new(Arc::clone(&self.inner), direction, offset, memory).map_err(failed)?;
        if job.is_empty() {
            return Ok(Moved::default());
        }
        let guard = self.io.channel().map_err(|error| failed(error.into()))?;
        let mut borrowing = Borrowing(guard);
        let channel = borrowing.0.get();
        // SAFETY: as said above.
        let started = unsafe { channel.start(job, 0, true) };
        debug_assert!(started.is_ok(), "a channel of the pool is empty");
        loop {
            channel.turn(None);
            if let Some(finished) = channel.take() {
                return finished.result;
            }
        }
    }
}

/// Names the memory of slices that are only read, in order. Those without a byte are left out.
pub(super) fn segments<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> ScatterList<CpuAddr> {
    list(slices.into_iter().map(|slice| (CpuAddr::from_ptr(slice.as_ptr()), slice.len())))
}

/// Names the memory of slices that are written to, in order. Those without a byte are left out.
pub(super) fn segments_mut<'a>(slices: impl IntoIterator<Item = &'a mut [u8]>) -> ScatterList<CpuAddr> {
    // By the pointer that may be written through: that is the one whose address is exposed.
    list(slices.into_iter().map(|slice| (CpuAddr::from_ptr(slice.as_mut_ptr()), slice.len())))
}

fn list(pieces: impl Iterator<Item = (CpuAddr, usize)>) -> ScatterList<CpuAddr> {
    let mut list = ScatterList::new();
    for (addr, len) in pieces {
        if let Ok(segment) = Segment::new(addr, u64::try_from(len).unwrap_or(u64::MAX)) {
            // Slices of one address space cannot pass 64 bits together, unless one memory is named again and again.
            let _ = list.append(segment);
        }
    }
    list
}

/// The standard library's own calls, so that a program changes one line. They say less: an error after some bytes is left to the next
/// call, as with `pread(2)`.
impl FileExt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        partial(self.read(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        partial(self.write(buf, offset))
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let moved = self.read(buf, offset)?;
        if moved.bytes == buf.len() as u64 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let moved = self.write(buf, offset)?;
        if moved.bytes == buf.len() as u64 { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

fn partial(result: Result<Moved, TransferError>) -> io::Result<usize> {
    let bytes = match result {
        Ok(moved) => moved.bytes,
        Err(error) if error.moved.bytes > 0 => error.moved.bytes,
        Err(error) => return Err(error.into()),
    };
    // At most the length of a slice.
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}
