//! Programs that end when we do, however that comes about: QEMU would go on without us.
#![expect(unsafe_code, reason = "the program asks to be ended with us, between fork and exec")]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};

/// Has the program that `command` starts killed when the thread that starts it ends (prctl(2), `PR_SET_PDEATHSIG`).
pub(crate) fn tie(command: &mut Command) {
    // SAFETY: between fork and exec only what is safe in a signal handler may be called: this is one system call.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
}
