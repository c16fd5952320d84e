//! The thread that hears signals: SIGUSR1 asks for a status line, SIGINT and SIGTERM for an end.
//!
//! A thread, so that they are answered also while the copy waits in a call: opening a FIFO, flushing. A copy that
//! has begun is stopped through the [`Watch`]; one that still waits for its ends has nothing to save and is ended
//! from here, like one that is told a second time. Contract: that end never waits for whoever reads the outputs: what they
//! have not taken after [`TELL_MAX`] is not said.

use std::io;
use std::process;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bulkio::copy::Phase;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::exit::Exit;
use crate::progress::Watch;
use crate::screen::Screen;

/// How long a copy has to say that it has begun: it says something every 200 ms.
const BEGIN_MAX: Duration = Duration::from_millis(600);

/// How long the readers of the outputs have to take the outcome of a copy that is ended from here.
const TELL_MAX: Duration = Duration::from_secs(1);

/// Tells the outcome of a copy that is ended from here.
pub(crate) type Tell = dyn Fn(Exit, &str) + Send + Sync;

/// Starts to listen.
///
/// # Errors
/// The system's, when the handlers or the thread cannot be had.
pub(crate) fn listen(watch: Arc<Watch>, screen: Arc<Screen>, tell: Arc<Tell>) -> io::Result<()> {
    // SIGXFSZ kills by default; heard and ignored, the write that exceeds `ulimit -f` fails and is reported.
    let mut signals = Signals::new([SIGUSR1, SIGINT, SIGTERM, SIGXFSZ])?;
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

fn stop(watch: &Watch, signal: u8, tell: &Arc<Tell>) {
    let exit = Exit::Signal(signal);
    let again = watch.lock().stopped_by.replace(signal).is_some();
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
