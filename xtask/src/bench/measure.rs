#![expect(unsafe_code, reason = "wait4 is the one call that tells what a child used")]
//! Runs one program and tells what it cost: wall time, CPU time and peak memory.
//!
//! wait4 counts the child and the children it waited for, so a shell around two programs is measured
//! with both. Linux starts the peak memory of a child with that of its parent, so this process
//! must stay small: a few MiB, which is what no figure here can fall below.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// What a run of a program cost.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) wall_seconds: f64,
    /// In user mode and in the kernel, together.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) stdout: String,
}

/// Runs `command` to its end; anything but success is an error that shows what the program said.
pub(crate) fn measure(mut command: Command) -> Result<Cost> {
    let mut stdout = tempfile::tempfile().context("cannot make a file for a program's output")?;
    let mut stderr = tempfile::tempfile().context("cannot make a file for a program's errors")?;
    command.stdin(Stdio::null());
    command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let (status, usage) = wait(child.id()).with_context(|| format!("cannot wait for {command:?}"))?;
    let wall_seconds = start.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{command:?}: {status}: {}", all_of(&mut stderr)?.trim());
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Cost {
        wall_seconds,
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        // getrusage(2): ru_maxrss is in KiB.
        peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        stdout: all_of(&mut stdout)?,
    })
}

fn all_of(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).context("cannot read a program's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn wait(process: u32) -> Result<(ExitStatus, libc::rusage)> {
    let process = libc::pid_t::try_from(process).context("a process number past pid_t")?;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let mut status = 0;
    loop {
        // SAFETY: `status` and `usage` are alive and writable for the call, and have the types that wait4(2)
        // fills. The process is our child, which nobody else waits for.
        let done = unsafe { libc::wait4(process, &raw mut status, 0, usage.as_mut_ptr()) };
        if done == process {
            break;
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error).context("wait4");
        }
    }
    // SAFETY: wait4 has filled it; and it was zeroed before, which is a value of every integer field.
    let usage = unsafe { usage.assume_init() };
    Ok((ExitStatus::from_raw(status), usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_children_of_a_shell() {
        let mut command = Command::new("sh");
        command.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.1; echo done"]);
        let cost = measure(command).unwrap();
        assert_eq!(cost.stdout, "done\n");
        assert!(cost.wall_seconds > 0.1 && cost.wall_seconds > cost.cpu_seconds);
        assert!(cost.cpu_seconds > 0.01 && cost.peak_bytes > 0);
    }

    #[test]
    fn a_failure_shows_what_was_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such disk >&2; exit 3"]);
        let error = measure(command).unwrap_err().to_string();
        assert!(error.contains("no such disk") && error.contains('3'), "{error}");
    }
}
