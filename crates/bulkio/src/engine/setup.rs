//! Setting io_uring up: the ladder of flags, the probe with real operations; `register` does the registrations.
//!
//! Everything that is refused is explained in a sentence that says what to change, for the report
//! (rules `no-silent-fallback`, `errors-carry-numbers`).
#![expect(unsafe_code, reason = "reads into a probe buffer")]

use std::io;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue};
use rustix::pipe::PipeFlags;

use super::entry::Submission;
use super::options::{EngineOptions, Issuer};
use super::register;
use super::report::{Registration, Sharing};
use super::uring::Uring;

/// Waits of the probe, and how long each lasts at most.
const PROBE_TRIES_MAX: u32 = 100;
const PROBE_WAIT: Duration = Duration::from_millis(20);

/// How long a dropped ring's memory is waited for, and the first pause.
const RELEASE_MAX: Duration = Duration::from_secs(1);
const RELEASE_PAUSE: Duration = Duration::from_millis(1);

/// The flags of a ring for one thread, best first. Kernels before 6.1, 5.19 and 5.18 refuse a rung with `EINVAL`.
const ONE_THREAD: [&[&str]; 3] = [
    &["single_issuer", "defer_taskrun", "taskrun_flag", "submit_all"],
    &["coop_taskrun", "taskrun_flag", "submit_all"],
    &[],
];

/// Those of a ring for any thread: whoever submitted is interrupted for its results, wherever it is.
const ANY_THREAD: [&[&str]; 2] = [&["submit_all"], &[]];

/// Those of a ring that a thread of the kernel submits to: it does the work, so there is none to defer
/// (`io_uring_setup(2)`).
const KERNEL_ONE_THREAD: [&[&str]; 3] =
    [&["sqpoll", "single_issuer", "submit_all"], &["sqpoll", "submit_all"], &["sqpoll"]];
const KERNEL_ANY_THREAD: [&[&str]; 2] = [&["sqpoll", "submit_all"], &["sqpoll"]];

/// A ring that works, and what it became.
#[derive(Debug)]
pub(super) struct Ready<S: Submission, C: cqueue::EntryMarker> {
    pub(super) uring: Uring<S, C>,
    pub(super) flags: Vec<&'static str>,
    pub(super) registration: Registration,
    pub(super) sharing: Sharing,
    pub(super) file_slots: u32,
}

/// Makes a ring, proves it with real operations and registers what there is, or says why not.
///
/// Its entries are of 64 and 16 bytes, or of 128 and 32, which commands take (`IORING_SETUP_SQE128` and `IORING_SETUP_CQE32`).
pub(super) fn set_up<S: Submission, C: cqueue::EntryMarker>(
    options: &EngineOptions,
) -> Result<Ready<S, C>, String> {
    let (mut ring, flags) = climb(options)?;
    probe(&mut ring)?;
    if S::COMMANDS {
        let mut known = Probe::new();
        let asked = ring.submitter().register_probe(&mut known);
        asked.map_err(|error| explain("asking the ring for what it knows", &error))?;
        if !known.is_supported(opcode::UringCmd80::CODE) {
            return Err("the kernel knows no IORING_OP_URING_CMD; it takes Linux 5.19 or newer".to_owned());
        }
    }
    let registered = register::memory(&ring, options);
    let file_slots = register::files(&ring);
    let uring = Uring::new(ring, options.depth, registered.fixed, registered.keepers);
    let (registration, sharing) = (registered.registration, registered.sharing);
    Ok(Ready { uring, flags, registration, sharing, file_slots })
}

/// Tries the ladder of flags.
fn climb<S: Submission, C: cqueue::EntryMarker>(
    options: &EngineOptions,
) -> Result<(IoUring<S, C>, Vec<&'static str>), String> {
    let ladder: &[&[&'static str]] = match (options.kernel_submission, options.issuer) {
        (None, Issuer::OneThread) => &ONE_THREAD,
        (None, Issuer::AnyThread) => &ANY_THREAD,
        (Some(_), Issuer::OneThread) => &KERNEL_ONE_THREAD,
        (Some(_), Issuer::AnyThread) => &KERNEL_ANY_THREAD,
    };
    let idle =
        options.kernel_submission.map_or(0, |idle| u32::try_from(idle.as_millis()).unwrap_or(u32::MAX));
    let mut refused = String::new();
    for rung in ladder {
        let mut builder = IoUring::<S, C>::builder();
        let polled = options.polled.then_some("iopoll");
        let flags: Vec<&'static str> = polled.into_iter().chain(rung.iter().copied()).collect();
        for flag in &flags {
            match *flag {
                "single_issuer" => builder.setup_single_issuer(),
                "defer_taskrun" => builder.setup_defer_taskrun(),
                "coop_taskrun" => builder.setup_coop_taskrun(),
                "taskrun_flag" => builder.setup_taskrun_flag(),
                // 0 would be the kernel's own choice, a second.
                "sqpoll" => builder.setup_sqpoll(idle.max(1)),
                "iopoll" => builder.setup_iopoll(),
                _ => builder.setup_submit_all(),
            };
        }
        // Two at least, for the probe.
        match build(&builder, options.depth.next_power_of_two().max(2)) {
            // Before Linux 5.11 the kernel's thread took registered files only.
            Ok(ring) if ring.params().is_setup_sqpoll() && !ring.params().is_feature_sqpoll_nonfixed() => {
                return Err(
                    "submission by the kernel (kernel_submission) needs Linux 5.11 or newer".to_owned()
                );
            }
            Ok(ring) => return Ok((ring, flags)),
            Err(error) => {
                let what = match (options.polled, options.kernel_submission) {
                    (true, Some(_)) => "io_uring_setup with IORING_SETUP_IOPOLL and IORING_SETUP_SQPOLL",
                    (true, None) => "io_uring_setup with IORING_SETUP_IOPOLL (polled)",
                    (false, Some(_)) => "io_uring_setup with IORING_SETUP_SQPOLL (kernel_submission)",
                    (false, None) if S::COMMANDS => {
                        "io_uring_setup with IORING_SETUP_SQE128 and IORING_SETUP_CQE32 (commands)"
                    }
                    (false, None) => "io_uring_setup",
                };
                refused = explain(what, &error);
                if error.raw_os_error() != Some(libc::EINVAL) {
                    break;
                }
            }
        }
    }
    Err(refused)
}

/// Builds a ring. Where there is no memory for it, tries again within a bound: a ring counts against `RLIMIT_MEMLOCK`, and the kernel
/// releases what a dropped one held later, so who drops one and makes another may find the place still taken.
fn build<S: Submission, C: cqueue::EntryMarker>(
    builder: &Builder<S, C>,
    entries: u32,
) -> io::Result<IoUring<S, C>> {
    let started = Instant::now();
    let mut pause = RELEASE_PAUSE;
    loop {
        match builder.build(entries) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && started.elapsed() < RELEASE_MAX => {
                thread::sleep(pause);
                pause = pause.saturating_mul(2);
            }
            built => return built,
        }
    }
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
/// at once: no worker thread starts just for the probe. A polled ring reads disks only, so there the NOP is all. Waits are short: a ring that stands still is a ring
/// that does not work.
fn probe<S: Submission, C: cqueue::EntryMarker>(ring: &mut IoUring<S, C>) -> Result<(), String> {
    const PATTERN: &[u8; 8] = b"io_uring";
    let failed = |what: &str, errno: i32| explain(what, &io::Error::from_raw_os_error(errno));
    let (file, _writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .and_then(|(file, writer)| rustix::io::write(&writer, PATTERN).map(|_| (file, writer)))
        .map_err(|errno| failed("making a pipe for the probe", errno.raw_os_error()))?;
    let buffer = Box::into_raw(Box::new([0_u8; 8]));
    let nop: squeue::Entry = opcode::Nop::new().build().user_data(0);
    let read = opcode::Read::new(Fd(file.as_raw_fd()), buffer.cast(), 8).build().user_data(1);
    let polled = ring.params().is_setup_iopoll();
    let entries = [S::from(nop), S::from(read)];
    let entries = if polled { entries.get(..1) } else { entries.get(..) };
    // SAFETY: the buffer is freed below only when both results have come, else it is leaked; the
    // file is closed after that too, or the kernel has its own reference to it since it started the read.
    let pushed = unsafe { ring.submission().push_multiple(entries.unwrap_or_default()) };
    if pushed.is_err() {
        return Err("the submission queue has no room for two entries".to_owned());
    }
    let mut results = [None; 2];
    if polled && let Some(read) = results.get_mut(1) {
        *read = Some(8);
    }
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
            Err(error) => {
                if ring.submission().len() == entries.unwrap_or_default().len() {
                    // SAFETY: it came from a box, and the kernel has taken nothing.
                    drop(unsafe { Box::from_raw(buffer) });
                }
                return Err(explain("io_uring_enter", &error));
            }
        }
        for entry in ring.completion() {
            let entry: cqueue::Entry = entry.into();
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
            (_, 8) if polled || *bytes == *PATTERN => Ok(()),
            _ => Err(format!("a read of 8 bytes through io_uring gave {read} bytes, or wrong ones")),
        };
    }
    Err(format!("a NOP and a read did not end within {PROBE_TRIES_MAX} waits of {PROBE_WAIT:?}"))
}
