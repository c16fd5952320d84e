//! Setting native AIO up, with a probe that submits real operations. What is refused is explained in a sentence that
//! says what to change (rules `no-silent-fallback`, `errors-carry-numbers`).
#![expect(unsafe_code, reason = "reads into a probe buffer")]

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::pipe::PipeFlags;

use super::abi::{Context, Event, Iocb, PREAD};

/// Waits of the probe, and how long each lasts at most.
const PROBE_TRIES_MAX: u32 = 100;
const PROBE_WAIT: Duration = Duration::from_millis(20);

/// Makes a context for `operations` in flight that works, or says why not.
pub(super) fn set_up(operations: u32) -> Result<Context, String> {
    let mut context = Context::new(operations).map_err(|error| explain("io_setup", operations, &error))?;
    probe(&mut context, operations)?;
    Ok(context)
}

/// Reads a pipe that holds its bytes already, and polls the other end of it, which takes more.
fn probe(context: &mut Context, operations: u32) -> Result<(), String> {
    const PATTERN: &[u8; 8] = b"io_submt";
    let (file, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .and_then(|(file, writer)| rustix::io::write(&writer, PATTERN).map(|_| (file, writer)))
        .map_err(|errno| format!("making a pipe for the probe failed: {errno}"))?;
    let buffer = Box::into_raw(Box::new([0_u8; 8]));
    let mut read = Iocb {
        data: 0,
        opcode: PREAD,
        fildes: file.as_raw_fd().unsigned_abs(),
        buf: buffer.expose_provenance() as u64,
        nbytes: 8,
        ..Iocb::default()
    };
    let mut poll = Iocb::poll(writer.as_raw_fd(), libc::POLLOUT, 1);
    let mut results = [None; 2];
    // SAFETY: the buffer is freed below only when both results have come or nothing was taken, else it is leaked.
    if let Err(error) = unsafe { context.submit(&[&raw mut read]) } {
        // SAFETY: it came from a box, and the kernel has not taken the read.
        drop(unsafe { Box::from_raw(buffer) });
        return Err(explain("io_submit of a read", operations, &error));
    }
    // SAFETY: a poll names no memory.
    unsafe { context.submit(&[&raw mut poll]) }
        .map_err(|error| explain("io_submit of a poll", operations, &error))?;
    for _ in 0..PROBE_TRIES_MAX {
        let mut events = [Event::default(); 2];
        let count = match context.wait(&mut events, Some(PROBE_WAIT)) {
            Ok(count) => count,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => 0,
            Err(error) => return Err(explain("io_getevents", operations, &error)),
        };
        for event in events.iter().take(count) {
            let place = usize::try_from(event.data).ok();
            if let Some(result) = place.and_then(|place| results.get_mut(place)) {
                *result = Some(event.res);
            }
        }
        let [Some(read), Some(polled)] = results else { continue };
        // SAFETY: it came from a box; both operations are over, nobody else has it.
        let bytes = unsafe { Box::from_raw(buffer) };
        if read == 8 && *bytes == *PATTERN && polled > 0 {
            return Ok(());
        }
        return Err(format!(
            "a read of 8 bytes and a poll through native AIO gave {read} and {polled}, or wrong bytes"
        ));
    }
    Err(format!("a read and a poll did not end within {PROBE_TRIES_MAX} waits of {PROBE_WAIT:?}"))
}

fn explain(what: &str, operations: u32, error: &io::Error) -> String {
    let number = |name: &str| fs::read_to_string(format!("/proc/sys/fs/{name}")).unwrap_or_default();
    let advice = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "a seccomp filter or security module forbids it: allow io_setup, io_submit, io_getevents, io_cancel \
             and io_destroy"
                .to_owned()
        }
        Some(libc::ENOSYS) => {
            "the kernel has no native AIO (CONFIG_AIO), or a seccomp filter hides it".to_owned()
        }
        Some(libc::EAGAIN) => format!(
            "the sysctl fs.aio-max-nr is {}, of which {} are taken, and this engine needs {operations}: raise it",
            number("aio-max-nr").trim(),
            number("aio-nr").trim()
        ),
        Some(libc::EINVAL) => "this kernel does not support what is needed (Linux 4.18 or newer)".to_owned(),
        _ => "memory may be short".to_owned(),
    };
    format!("{what} failed: {error}; {advice}")
}
