//! [`Pagemap`]: the kernel's own word on which page frame is behind an address.
//!
//! Cited as: Documentation/admin-guide/mm/pagemap.rst, which gives the bits and says that frames read as zero
//! without `CAP_SYS_ADMIN` (Linux 4.2).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use scatterlist::{CpuAddr, Segments};

use super::walk::Walk;
use super::{Contiguity, ContiguitySource, NotKnown, runs};

/// Bits 0 to 54 of an entry: the page frame number, if the page is present.
const FRAME: u64 = (1 << 55) - 1;
/// Bit 62: the page is swapped.
const SWAPPED: u64 = 1 << 62;
/// Bit 63: the page is present.
const PRESENT: u64 = 1 << 63;

/// Length of an entry, in bytes.
const ENTRY_LEN: usize = 8;
/// Most entries of one read.
const ENTRIES_MAX: usize = 512;

/// The page map of this process, open.
///
/// Opening it is a system call, and so is each 512 pages of an answer: keep it. It is that of the process
/// which opened it, in a forked child too.
#[derive(Debug)]
pub struct Pagemap {
    file: Result<File, NotKnown>,
    page_len: u64,
}

impl Pagemap {
    /// Opens the page map. Where that is refused, the answers say so.
    #[must_use]
    pub fn open() -> Self {
        // Lossless: Linux has no lengths beyond 64 bits.
        Self::open_at(Path::new("/proc/self/pagemap"), rustix::param::page_size() as u64)
    }

    /// Opens a file of the same form, of pages of `page_len` bytes.
    pub(super) fn open_at(path: &Path, page_len: u64) -> Self {
        Self { file: File::open(path).map_err(|error| unreadable(&error)), page_len }
    }

    /// Returns how contiguous the memory of a list is, at this moment.
    ///
    /// Reads 8 bytes for each page and allocates nothing. Pages that are not in memory, never touched or swapped,
    /// count one segment each: populate memory before asking.
    #[must_use]
    pub fn contiguity<S: Segments<Addr = CpuAddr> + ?Sized>(&self, list: &S) -> Contiguity {
        let mut walk = Walk::new(self.page_len);
        match self.walk(list, &mut walk) {
            Ok(()) => {
                let pages_unknown = walk.pages_unknown;
                walk.end(ContiguitySource::Pagemap { pages_unknown })
            }
            Err(reason) => {
                let mut walk = Walk::new(self.page_len);
                for (addr, len) in runs(list) {
                    walk.unknown(addr, len);
                }
                walk.end(ContiguitySource::Assumed { reason })
            }
        }
    }

    fn walk<S: Segments<Addr = CpuAddr> + ?Sized>(&self, list: &S, walk: &mut Walk) -> Result<(), NotKnown> {
        let file = self.file.as_ref().map_err(|reason| *reason)?;
        for (addr, len) in runs(list) {
            walk.start_run();
            self.walk_run(file, addr, len, walk)?;
        }
        Ok(())
    }

    fn walk_run(&self, file: &File, mut addr: u64, mut left: u64, walk: &mut Walk) -> Result<(), NotKnown> {
        let mut buffer = [0; ENTRIES_MAX * ENTRY_LEN];
        while left > 0 {
            let within = addr % self.page_len;
            let pages = within.saturating_add(left).div_ceil(self.page_len);
            let wanted = usize::try_from(pages).unwrap_or(ENTRIES_MAX).min(ENTRIES_MAX) * ENTRY_LEN;
            let entries = buffer.get_mut(..wanted).unwrap_or_default();
            let got = read(file, entries, addr / self.page_len * ENTRY_LEN as u64)
                .map_err(|error| unreadable(&error))?;
            let (entries, _) = entries.get(..got).unwrap_or_default().as_chunks();
            if entries.is_empty() {
                // Past the last address that a process can have.
                walk.unknown(addr, left);
                return Ok(());
            }
            for entry in entries {
                #[expect(clippy::host_endian_bytes, reason = "the kernel writes words of this machine")]
                let entry = u64::from_ne_bytes(*entry);
                let len = left.min(self.page_len - addr % self.page_len);
                match entry & FRAME {
                    _ if entry & PRESENT == 0 || entry & SWAPPED != 0 => walk.unknown(addr, len),
                    // No process has the machine's first page.
                    0 => return Err(NotKnown::Hidden),
                    frame => walk.page(addr, len, frame),
                }
                left -= len;
                addr = addr.saturating_add(len);
            }
        }
        Ok(())
    }
}

/// Reads entries, fewer only at the end of the file.
fn read(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn unreadable(error: &io::Error) -> NotKnown {
    NotKnown::Unreadable { errno: error.raw_os_error().unwrap_or(0) }
}
