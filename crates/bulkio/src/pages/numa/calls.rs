//! The system calls behind node choice. Each gives a preference or reads a fact: none touches contents, or
//! fails later for lack of memory (a strict binding would, by ending a process).
//!
//! Cited as: mbind(2), move_pages(2), getcpu(2).
#![expect(unsafe_code, reason = "system calls that have no safe form")]

use std::ptr;

use rustix::io::Errno;

use super::{CallError, NODES_MAX};

/// Bits of a word of a node mask.
const WORD: usize = libc::c_ulong::BITS as usize;

/// Most pages asked about in one call.
const PAGES_MAX: usize = 512;

/// Has pages of `len` bytes at `start` (whole pages) that are allocated from now on come from `node` if it has
/// memory, else from others.
///
/// On shared memory the preference belongs to the memory: it holds for everybody who maps it.
pub(super) fn prefer(start: usize, len: usize, node: u32) -> Result<(), CallError> {
    let failed = |errno| CallError { call: "mbind", errno };
    let mut mask = [0 as libc::c_ulong; NODES_MAX as usize / WORD];
    let bit = node as usize;
    *mask.get_mut(bit / WORD).ok_or(failed(Errno::INVAL))? |= 1 << (bit % WORD);
    // The kernel takes one bit less than it is told (`get_nodes` of mm/mempolicy.c).
    let bits = libc::c_ulong::from(NODES_MAX) + 1;
    // SAFETY: the mask is as long as it says; a policy without `MPOL_MF_MOVE` says where future pages come from
    // and changes no contents, no address, no protection, whatever the range is.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start,
            len,
            libc::MPOL_PREFERRED,
            mask.as_ptr(),
            bits,
            0 as libc::c_uint,
        )
    };
    check(answer).map_err(failed)
}

/// Counts the pages of `len` bytes at `start` that are on `node`, looking at one address each `step` bytes.
pub(super) fn pages_on(start: usize, len: usize, step: usize, node: u32) -> Result<u64, CallError> {
    let failed = |errno| CallError { call: "move_pages", errno };
    let mut count = 0;
    let mut addrs = (start..start.saturating_add(len)).step_by(step).map(ptr::without_provenance::<u8>);
    loop {
        let mut pages = [ptr::null(); PAGES_MAX];
        let mut statuses = [0 as libc::c_int; PAGES_MAX];
        let mut asked = 0;
        for (page, addr) in pages.iter_mut().zip(addrs.by_ref()) {
            *page = addr;
            asked += 1;
        }
        if asked == 0 {
            return Ok(count);
        }
        let (pages, nodes) = (pages.as_ptr(), ptr::null::<libc::c_int>());
        // SAFETY: both arrays have room for what is asked; without target nodes the call only fills the
        // second, and it judges each address itself.
        let answer =
            unsafe { libc::syscall(libc::SYS_move_pages, 0, asked, pages, nodes, statuses.as_mut_ptr(), 0) };
        check(answer).map_err(failed)?;
        let here = statuses.iter().take(asked).filter(|status| u32::try_from(**status) == Ok(node));
        count += here.count() as u64;
    }
}

/// Returns the node of the CPU that runs this, at this moment.
pub(super) fn local() -> Result<u32, CallError> {
    let mut node: libc::c_uint = 0;
    let (cpu, cache) = (ptr::null_mut::<libc::c_uint>(), ptr::null_mut::<u8>());
    // SAFETY: the node goes into a variable of the size that the call writes; null asks for no CPU number.
    let answer = unsafe { libc::syscall(libc::SYS_getcpu, cpu, &raw mut node, cache) };
    check(answer).map_err(|errno| CallError { call: "getcpu", errno })?;
    Ok(node)
}

fn check(answer: libc::c_long) -> Result<(), Errno> {
    if answer >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
