//! The probing read: may one piece of a vector be shorter than a block?
//!
//! Kernels differ and say so nowhere, so a real `preadv2` with `O_DIRECT` asks. Its pieces lie apart in
//! memory: adjacent ones are merged below, and would be taken where separate ones are not. Two control reads
//! guard the answer: a plain one must succeed, and one from an address that breaks the stated alignment must
//! be refused. Where it is not (a hole, a RAM disk), the read never met the rules and proves nothing.

use std::io::IoSliceMut;
use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::{Errno, ReadWriteFlags};

/// Largest block or memory alignment that is tried: past it the buffers are not worth the answer.
const PROBE_BYTES_MAX: u64 = 1 << 20;

/// What the probing read found about pieces that are shorter than a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PieceProbe {
    /// A read whose pieces are shorter than a block was refused, although the same read in one piece works.
    Refused {
        /// Length of the shorter piece that was tried.
        piece_bytes: u64,
    },
    /// A read whose pieces are shorter than a block was carried out.
    Accepted {
        /// Length of the shorter piece that was tried.
        piece_bytes: u64,
    },
    /// The place that was read obeys no alignment rule at all, so its yes means nothing.
    Inconclusive,
    /// There was nothing to try it on.
    NotTried(NotTried),
}

/// Why no probing read was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NotTried {
    /// It is no file and no block device.
    NotStorage,
    /// Direct I/O is not possible there.
    NoDirectIo,
    /// It could not be opened for direct reading.
    Unopened(Errno),
    /// It holds less than one block of data.
    TooShort {
        /// Bytes that are there from the first data on.
        size_bytes: u64,
        /// Bytes of one block.
        block_bytes: u64,
    },
    /// One block or alignment is too large (or zero) to try.
    Size {
        /// Bytes of one block.
        block_bytes: u64,
        /// Bytes of the memory alignment.
        mem_align_bytes: u64,
    },
    /// Even the plain aligned read failed.
    Failed(Errno),
}

/// Tries a read in pieces on `fd`, opened for direct reading, of a file or device of `size_bytes`.
pub(super) fn try_pieces(
    fd: BorrowedFd<'_>,
    size_bytes: u64,
    block_bytes: u64,
    mem_align_bytes: u64,
) -> PieceProbe {
    let sizes = NotTried::Size { block_bytes, mem_align_bytes };
    let possible = 4..=PROBE_BYTES_MAX;
    if !possible.contains(&block_bytes) || !(1..=PROBE_BYTES_MAX).contains(&mem_align_bytes) {
        return PieceProbe::NotTried(sizes);
    }
    let (Ok(block), Ok(align)) = (usize::try_from(block_bytes), usize::try_from(mem_align_bytes)) else {
        return PieceProbe::NotTried(sizes);
    };
    // Holes are filled with zeroes without asking the device, so the read goes where data is.
    let data = match rustix::fs::seek(fd, SeekFrom::Data(0)) {
        Ok(position) => position.next_multiple_of(block_bytes),
        Err(Errno::NXIO) => size_bytes,
        // Block devices and some file systems do not tell: their start will do.
        Err(_) => 0,
    };
    let rest = size_bytes.saturating_sub(data);
    if rest < block_bytes {
        return PieceProbe::NotTried(NotTried::TooShort { size_bytes: rest, block_bytes });
    }
    // The shortest piece that the memory alignment allows; halves where that says nothing.
    let short = if align < block { align } else { block / 2 };
    let Some(mut memory) = ProbeMemory::new(block, align) else {
        return PieceProbe::NotTried(sizes);
    };
    if let Err(errno) = memory.read_one(fd, data, 0, block) {
        return PieceProbe::NotTried(NotTried::Failed(errno));
    }
    // It crosses a page's edge: what lies within one page is not checked everywhere.
    let crooked = memory.page.saturating_sub(block / 2).saturating_add(1);
    if align > 1 && memory.read_one(fd, data, crooked, block) != Err(Errno::INVAL) {
        return PieceProbe::Inconclusive;
    }
    #[expect(clippy::as_conversions, reason = "shorter than a block, which came from a u64")]
    let piece_bytes = short as u64;
    match memory.read_two(fd, data, short, block) {
        Ok(()) => PieceProbe::Accepted { piece_bytes },
        Err(Errno::INVAL) => PieceProbe::Refused { piece_bytes },
        Err(errno) => PieceProbe::NotTried(NotTried::Failed(errno)),
    }
}

/// Memory for three reads: an aligned base, room for a block, a gap, and room for a second piece.
struct ProbeMemory {
    bytes: Vec<u8>,
    page: usize,
    base: usize,
    second: usize,
}

impl ProbeMemory {
    /// Sizes are at most [`PROBE_BYTES_MAX`], so nothing here overflows.
    fn new(block: usize, align: usize) -> Option<Self> {
        let page = rustix::param::page_size();
        let unit = page.checked_next_multiple_of(align)?.checked_next_power_of_two()?;
        // The second piece starts within a page, so that no join is on a page's edge.
        let second = block.checked_next_multiple_of(unit)?.checked_add(unit)?.checked_add(align)?;
        let len = second.checked_add(block)?.checked_add(unit.checked_mul(2)?)?;
        let bytes = vec![0; len];
        let base = bytes.as_ptr().align_offset(unit);
        Some(Self { bytes, page, base, second })
    }

    /// Reads one piece of `len` bytes at `offset` from the aligned base.
    fn read_one(
        &mut self,
        fd: BorrowedFd<'_>,
        position: u64,
        offset: usize,
        len: usize,
    ) -> Result<(), Errno> {
        let from = self.base.saturating_add(offset);
        let piece = self.bytes.get_mut(from..from.saturating_add(len)).ok_or(Errno::OVERFLOW)?;
        read(fd, &mut [IoSliceMut::new(piece)], position)
    }

    /// Reads `len` bytes in two pieces that lie apart, the first of them `short` bytes long.
    fn read_two(&mut self, fd: BorrowedFd<'_>, position: u64, short: usize, len: usize) -> Result<(), Errno> {
        let bytes = self.bytes.get_mut(self.base..).ok_or(Errno::OVERFLOW)?;
        let (first, second) = bytes.split_at_mut_checked(self.second).ok_or(Errno::OVERFLOW)?;
        let first = first.get_mut(..short).ok_or(Errno::OVERFLOW)?;
        let second = second.get_mut(..len.saturating_sub(short)).ok_or(Errno::OVERFLOW)?;
        read(fd, &mut [IoSliceMut::new(first), IoSliceMut::new(second)], position)
    }
}

fn read(fd: BorrowedFd<'_>, pieces: &mut [IoSliceMut<'_>], position: u64) -> Result<(), Errno> {
    match rustix::io::preadv2(fd, pieces, position, ReadWriteFlags::empty())? {
        // The file shrank meanwhile: an empty read obeys any rule.
        0 => Err(Errno::NODATA),
        _ => Ok(()),
    }
}
