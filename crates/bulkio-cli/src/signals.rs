//! The thread that hears signals while a copy runs: SIGUSR1 prints a status line, SIGINT and SIGTERM ask for
//! an end.
//!
//! A thread of its own, so that it answers also while the copy waits in a call (opening a FIFO, a flush). A
//! copy that has begun is stopped through the [`Watch`]; one that still waits for its ends has nothing to
//! save, and is ended from here, like one that is told to stop a second time.

use std::io;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::exit::Exit;
use crate::progress::Watch;
use crate::screen::Screen;

/// How long a copy has to say that it has begun: it says something every 200 ms.
const BEGIN_MAX: Duration = Duration::from_millis(600);

/// Says to the caller how an ended command is reported: the exit and the message.
pub(crate) type Report = dyn Fn(Exit, &str) + Send;

/// Starts to listen. `report` prints the end of a copy that is ended from here.
///
/// # Errors
/// The system's, when the handlers or the thread cannot be had.
pub(crate) fn listen(watch: Arc<Watch>, screen: Arc<Screen>, report: Box<Report>) -> io::Result<()> {
    let mut signals = Signals::new([SIGUSR1, SIGINT, SIGTERM])?;
    let run = move || {
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                let line = watch.lock().line();
                screen.say(&line);
            } else {
                stop(&watch, signal, &*report);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(run).map(|_| ())
}

fn stop(watch: &Watch, signal: i32, report: &Report) {
    let again = watch.lock().stopped_by.replace(signal).is_some();
    let state = watch.wait_for_begin(BEGIN_MAX);
    // The end is being reported, or nothing more can be written while the state is locked: no report is printed twice.
    if state.over {
        return;
    }
    let exit = Exit::Signal(signal);
    let name = Exit::signal_name(signal);
    let message = match &state.progress {
        None => format!("interrupted by {name} before the first byte was copied"),
        Some(progress) if again => format!(
            "interrupted by {name} a second time, after {} bytes; none of them is known to be durable",
            progress.done_bytes
        ),
        // The copy stops by itself with its next step.
        Some(_) => return,
    };
    report(exit, &message);
    process::exit(i32::from(exit.status()));
}
