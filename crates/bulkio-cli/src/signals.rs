//! The thread that hears signals: SIGUSR1 asks for a status line, SIGINT, SIGTERM and SIGHUP for an end.
//!
//! A thread, so that they are answered also while the copy waits in a call: opening a FIFO, flushing. A copy that
//! has begun is stopped through the [`Watch`]; one that still waits for its ends has nothing to save and is ended
//! from here, like one that is told a second time. A terminal that goes away sends SIGHUP, and so do the kernel and a shell that end with
//! it, so that another one is no second time; `nohup` has it ignored, and then it stays ignored. Contract: that end never waits for whoever reads the outputs: what they
//! have not taken after [`TELL_MAX`] is not said.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::process;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bulkio::copy::Phase;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::exit::Exit;
use crate::progress::Watch;
use crate::screen::Screen;

/// How long a copy has to say that it has begun: it says something every 200 ms.
const BEGIN_MAX: Duration = Duration::from_millis(600);

/// How long the readers of the outputs have to take the outcome of a copy that is ended from here.
const TELL_MAX: Duration = Duration::from_secs(1);

/// What the kernel says of the process.
const STATUS: &str = "/proc/self/status";

/// Tells the outcome of a copy that is ended from here.
pub(crate) type Tell = dyn Fn(Exit, &str) + Send + Sync;

/// Starts to listen.
///
/// # Errors
/// The system's, when the handlers or the thread cannot be had.
pub(crate) fn listen(watch: Arc<Watch>, screen: Arc<Screen>, tell: Arc<Tell>) -> io::Result<()> {
    // SIGXFSZ kills by default; heard and ignored, the write that exceeds `ulimit -f` fails and is reported.
    let mut signals = Signals::new([SIGUSR1, SIGINT, SIGTERM, SIGXFSZ])?;
    if !is_ignored(SIGHUP) {
        signals.add_signal(SIGHUP)?;
    }
    let run = move || {
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => {
                    let line = watch.wait_for_begin(BEGIN_MAX).line();
                    screen.say(&line);
                }
                SIGXFSZ => {}
                stop => self::stop(&watch, u8::try_from(stop).unwrap_or_default(), &tell),
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(run).map(|_| ())
}

/// Says whether whoever started the command has this signal ignored; what cannot be known counts as not.
fn is_ignored(signal: c_int) -> bool {
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    is_in_mask(&status, signal)
}

/// Linux, `Documentation/filesystems/proc.rst`: `SigIgn` is a mask in hexadecimal digits, in which signal 1 is the lowest bit.
fn is_in_mask(status: &str, signal: c_int) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    let place = u32::try_from(signal).ok().and_then(|signal| signal.checked_sub(1));
    place.and_then(|place| mask.checked_shr(place)).is_some_and(|mask| mask & 1 == 1)
}

fn stop(watch: &Watch, signal: u8, tell: &Arc<Tell>) {
    let exit = Exit::Signal(signal);
    let again = {
        let mut state = watch.lock();
        if c_int::from(signal) == SIGHUP && state.stopped_by.is_some() {
            return;
        }
        // Who ends a session sends SIGTERM behind the SIGHUP of its terminal.
        state.stopped_by.replace(signal).is_some_and(|before| c_int::from(before) != SIGHUP)
    };
    // While the state is locked the copy cannot end or say that it has begun: nothing is told twice.
    let state = watch.wait_for_begin(BEGIN_MAX);
    if state.over {
        drop(state);
        if again {
            // The outcome is being told. Who reads it may take it still, and then the command ends by itself.
            thread::sleep(TELL_MAX);
            process::exit(exit.code().into());
        }
        return;
    }
    let message = match &state.progress {
        None => "stopped before the first byte was copied".to_owned(),
        Some(progress) if again && progress.phase == Phase::Verifying => {
            format!(
                "stopped at once: {} bytes were read back; whether they differ is not known",
                progress.done_bytes
            )
        }
        Some(progress) if again => {
            format!("stopped at once: {} bytes are copied, none is known to be durable", progress.done_bytes)
        }
        // It stops by itself when it is asked next.
        Some(_) => return,
    };
    tell_in_time(tell, exit, message);
    process::exit(exit.code().into());
}

/// Tells the outcome on a thread of its own: the copy may hold an output whose reader stands still, and for ever.
fn tell_in_time(tell: &Arc<Tell>, exit: Exit, message: String) {
    let (told, hear) = mpsc::channel();
    let tell = Arc::clone(tell);
    let run = move || {
        tell(exit, &message);
        // Nobody hears it who has waited too long.
        let _ = told.send(());
    };
    if thread::Builder::new().name("last words".to_owned()).spawn(run).is_ok() {
        // The command ends in any case.
        let _ = hear.recv_timeout(TELL_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_looked_up_in_the_mask() {
        let status =
            |mask: &str| format!("SigBlk:\tffffffffffffffff\nSigIgn:\t{mask}\nSigCgt:\tffffffffffffffff\n");
        for (mask, hup, term) in
            [("0000000000000001", true, false), ("0000000000004000", false, true), ("0", false, false)]
        {
            assert_eq!((is_in_mask(&status(mask), SIGHUP), is_in_mask(&status(mask), SIGTERM)), (hup, term));
        }
        for status in ["", "SigIgn:\n", "SigIgn: x\n", "SigCgt:\t1\n"] {
            assert!(!is_in_mask(status, SIGHUP), "{status:?}");
        }
        for signal in [0, -1, 65, c_int::MAX] {
            assert!(!is_in_mask(&status("ffffffffffffffff"), signal), "{signal}");
        }
    }
}
