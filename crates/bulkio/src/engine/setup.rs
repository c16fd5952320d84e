//! Setting io_uring up: the ladder of flags, the probe with real operations, the registrations.
//!
//! Everything that is refused is explained in a sentence that says what to change, for the report
//! (rules `no-silent-fallback`, `errors-carry-numbers`).
#![expect(unsafe_code, reason = "registers memory and reads into a probe buffer")]

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, getrlimit};
use scatterlist::Addr;

use super::options::{FixedRegion, Registration};
use super::uring::{Fixed, Uring};

/// Slots of the table of registered files.
const FILE_SLOTS: u32 = 16;

/// Waits of the probe, and how long each lasts at most.
const PROBE_TRIES_MAX: u32 = 100;
const PROBE_WAIT: Duration = Duration::from_millis(20);

/// Set up flags, best first. Kernels before 6.1, 5.19 and 5.18 refuse a rung with `EINVAL`.
const LADDER: [&[&str]; 3] = [
    &["single_issuer", "defer_taskrun", "taskrun_flag", "submit_all"],
    &["coop_taskrun", "taskrun_flag", "submit_all"],
    &[],
];

/// A ring that works, and what it became.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) uring: Uring,
    pub(super) flags: &'static [&'static str],
    pub(super) fixed: Registration,
    pub(super) file_slots: u32,
}

/// Makes a ring, proves it with real operations and registers what there is, or says why not.
pub(super) fn set_up(depth: u32, region: Option<&FixedRegion>) -> Result<Ready, String> {
    let (mut ring, flags) = climb(depth)?;
    probe(&mut ring)?;
    let (fixed, registration) = match region {
        None => (Fixed::default(), Registration::None { reason: "no region was given".to_owned() }),
        Some(region) => register_region(&ring, region),
    };
    let file_slots = register_files(&ring);
    let keeper = region.map(FixedRegion::keeper);
    let uring = Uring::new(ring, depth, fixed, keeper);
    Ok(Ready { uring, flags, fixed: registration, file_slots })
}

/// Tries the ladder of flags.
fn climb(depth: u32) -> Result<(IoUring, &'static [&'static str]), String> {
    let mut refused = String::new();
    for flags in LADDER {
        let mut builder = IoUring::builder();
        for flag in flags {
            match *flag {
                "single_issuer" => builder.setup_single_issuer(),
                "defer_taskrun" => builder.setup_defer_taskrun(),
                "coop_taskrun" => builder.setup_coop_taskrun(),
                "taskrun_flag" => builder.setup_taskrun_flag(),
                _ => builder.setup_submit_all(),
            };
        }
        match builder.build(depth.next_power_of_two()) {
            Ok(ring) => return Ok((ring, flags)),
            Err(error) => {
                refused = explain("io_uring_setup", &error);
                if error.raw_os_error() != Some(libc::EINVAL) {
                    break;
                }
            }
        }
    }
    Err(refused)
}

/// Says what failed and what to change.
fn explain(what: &str, error: &io::Error) -> String {
    let number = error.raw_os_error().unwrap_or(0);
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let advice = match (number, sysctl.trim()) {
        (libc::EPERM, "1") => {
            "the sysctl kernel.io_uring_disabled is 1: run with CAP_SYS_ADMIN, join the group of \
             kernel.io_uring_group, or set it to 0"
        }
        (libc::EPERM, "2") => "the sysctl kernel.io_uring_disabled is 2: set it to 0",
        (libc::EPERM | libc::EACCES, _) => {
            "a seccomp filter or security module forbids it (container run times do by default): allow \
             io_uring_setup, io_uring_enter and io_uring_register"
        }
        (libc::ENOSYS, _) => "the kernel has no io_uring, or a seccomp filter hides it",
        (libc::ENOMEM, _) => "memory is short, or RLIMIT_MEMLOCK is too small for a ring (ulimit -l)",
        (libc::EMFILE | libc::ENFILE, _) => "too many files are open (ulimit -n)",
        _ => "this kernel does not support what is needed (Linux 5.6 or newer)",
    };
    format!("{what} failed: {error}; {advice}")
}

/// Runs a NOP and a read on the ring. The read is of a pipe that holds its bytes already, so the kernel does it
/// at once: no worker thread starts just for the probe. Waits are short: a ring that stands still is a ring
/// that does not work.
fn probe(ring: &mut IoUring) -> Result<(), String> {
    const PATTERN: &[u8; 8] = b"io_uring";
    let failed = |what: &str, errno: i32| explain(what, &io::Error::from_raw_os_error(errno));
    let (file, _writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .and_then(|(file, writer)| rustix::io::write(&writer, PATTERN).map(|_| (file, writer)))
        .map_err(|errno| failed("making a pipe for the probe", errno.raw_os_error()))?;
    let buffer = Box::into_raw(Box::new([0_u8; 8]));
    let nop = opcode::Nop::new().build().user_data(0);
    let read = opcode::Read::new(Fd(file.as_raw_fd()), buffer.cast(), 8).build().user_data(1);
    // SAFETY: the buffer is freed below only when both results have come, else it is leaked; the
    // kernel takes its own reference to the file when it starts the read.
    let pushed = unsafe { ring.submission().push_multiple(&[nop, read]) };
    if pushed.is_err() {
        return Err("the submission queue has no room for two entries".to_owned());
    }
    let mut results = [None; 2];
    for _ in 0..PROBE_TRIES_MAX {
        let timeout = Timespec::from(PROBE_WAIT);
        let waited = if ring.params().is_feature_ext_arg() {
            ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout))
        } else {
            ring.submit_and_wait(1)
        };
        match waited {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME)) => {}
            Err(error) => return Err(explain("io_uring_enter", &error)),
        }
        for entry in ring.completion() {
            if let Some(result) = usize::try_from(entry.user_data()).ok().and_then(|key| results.get_mut(key))
            {
                *result = Some(entry.result());
            }
        }
        let [Some(nop), Some(read)] = results else { continue };
        // SAFETY: it came from a box; both operations are over, nobody else has it.
        let bytes = unsafe { Box::from_raw(buffer) };
        return match (nop, read) {
            (..=-1, _) => Err(failed("a NOP through io_uring", nop.wrapping_neg())),
            (_, ..=-1) => Err(failed("a read through io_uring", read.wrapping_neg())),
            (_, 8) if *bytes == *PATTERN => Ok(()),
            _ => Err(format!("a read of 8 bytes through io_uring gave {read} bytes, or wrong ones")),
        };
    }
    Err(format!("a NOP and a read did not end within {PROBE_TRIES_MAX} waits of {PROBE_WAIT:?}"))
}

/// Registers the region, or as much of its front as the system takes: half, a quarter, down to nothing.
fn register_region(ring: &IoUring, region: &FixedRegion) -> (Fixed, Registration) {
    let (start, of) = (region.start().raw(), region.len_bytes());
    let buffer_len = region.buffer_len();
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let mut bytes = of;
    let mut reason = "the region is empty".to_owned();
    while bytes > 0 {
        let buffers: Option<Vec<libc::iovec>> = buffers(region, bytes);
        let Some(buffers) = buffers else {
            reason = format!("a region of {of} bytes at {start:#x} does not fit the address space");
            break;
        };
        // SAFETY: the region stays mapped while its keeper lives, which the back end keeps longer than
        // the ring.
        match unsafe { ring.submitter().register_buffers(&buffers) } {
            Ok(()) => {
                let whole = Registration::Whole { bytes };
                let registration =
                    if bytes == of { whole } else { Registration::Partial { bytes, of, reason } };
                return (Fixed { start, len: bytes, buffer_len }, registration);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                reason = match getrlimit(Resource::Memlock).current {
                    Some(limit) => format!(
                        "registering {bytes} bytes failed: {error}; RLIMIT_MEMLOCK is {limit} bytes: raise it \
                         (ulimit -l, LimitMEMLOCK=)"
                    ),
                    None => format!("registering {bytes} bytes failed: {error}"),
                };
                bytes = bytes / 2 / page * page;
            }
            Err(error) => {
                reason = format!("registering {bytes} bytes failed: {error}");
                break;
            }
        }
    }
    (Fixed::default(), Registration::None { reason })
}

fn buffers(region: &FixedRegion, bytes: u64) -> Option<Vec<libc::iovec>> {
    let mut buffers = Vec::new();
    let mut at = 0;
    while at < bytes {
        let len = bytes.checked_sub(at)?.min(region.buffer_len());
        let pointer = region.start().checked_add(at)?.as_ptr();
        if pointer.is_null() {
            return None;
        }
        buffers.push(libc::iovec { iov_base: pointer.cast(), iov_len: usize::try_from(len).ok()? });
        at = at.checked_add(len)?;
    }
    Some(buffers)
}

/// Registers an empty table of files; returns its slots, 0 where the kernel refuses.
fn register_files(ring: &IoUring) -> u32 {
    let submitter = ring.submitter();
    let sparse = submitter.register_files_sparse(FILE_SLOTS);
    // Kernels before 5.19 take the long form.
    match sparse.or_else(|_| submitter.register_files(&[-1; FILE_SLOTS as usize])) {
        Ok(()) => FILE_SLOTS,
        Err(_) => 0,
    }
}
