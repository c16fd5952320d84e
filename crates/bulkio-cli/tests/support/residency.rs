//! How much of a file is in the page cache: the oracle that tells direct I/O from buffered.
#![expect(unsafe_code, reason = "cachestat(2) has no wrapper")]

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// `cachestat(2)`, Linux 6.5: the same number on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range`, `include/uapi/linux/mman.h`; a length of 0 means to the end.
#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

/// `struct cachestat`, `include/uapi/linux/mman.h`.
#[repr(C)]
#[derive(Default)]
struct Stat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Returns the pages of a file that are in the page cache.
pub fn resident_pages(path: &Path) -> Result<u64, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let (range, mut stat) = (Range { offset: 0, len: 0 }, Stat::default());
    // SAFETY: the kernel reads `range` and writes `stat`, both of its own layout, and keeps neither.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0) };
    if result == 0 {
        return Ok(stat.cache);
    }
    Err(format!("cachestat: {}", std::io::Error::last_os_error()))
}

/// Takes a file out of the page cache.
pub fn evict(path: &Path) {
    let file = File::open(path).expect("the file opens");
    file.sync_all().expect("synced");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("taken out");
}
