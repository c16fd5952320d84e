//! How much of a file the page cache holds: the kernel's own answer to whether a copy went past it.
//!
//! One system call, which libc has no function for. A kernel before 6.5, or a sandbox, refuses it.
#![expect(unsafe_code, reason = "cachestat(2) has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `__NR_cachestat`, `include/uapi/asm-generic/unistd.h`.
const CACHESTAT: libc::c_long = 451;

/// `struct cachestat_range`, `include/uapi/linux/mman.h`; a length of 0 reaches to the end.
#[repr(C)]
struct Range {
    start: u64,
    len: u64,
}

/// `struct cachestat`, the same file: the pages in the cache, and four counts that nobody here needs.
#[repr(C)]
#[derive(Default)]
struct Stat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Returns how many pages of a file are in the page cache; for an error, why nobody can know.
pub(crate) fn cached_pages(file: &File) -> Result<u64, String> {
    let range = Range { start: 0, len: 0 };
    let mut stat = Stat::default();
    // SAFETY: the descriptor is open for as long as `file` is borrowed; both pointers are to live values of the
    // layouts that the call has, the second one exclusive; the kernel keeps neither.
    let result = unsafe {
        libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0 as libc::c_uint)
    };
    if result == 0 {
        return Ok(stat.cached);
    }
    Err(format!("the page cache cannot be counted: {}", io::Error::last_os_error()))
}
