//! The thread that hears signals: SIGUSR1 asks for a status line, SIGINT and SIGTERM for an end.
//!
//! A thread, so that they are answered also while the copy waits in a call: opening a FIFO, flushing. A copy that
//! has begun is stopped through the [`Watch`]; one that still waits for its ends has nothing to save and is ended
//! from here, like one that is told a second time.

use std::io;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::exit::Exit;
use crate::progress::Watch;
use crate::screen::Screen;

/// How long a copy has to say that it has begun: it says something every 200 ms.
const BEGIN_MAX: Duration = Duration::from_millis(600);

/// Tells the outcome of a copy that is ended from here.
pub(crate) type Tell = dyn Fn(&str) + Send;

/// Starts to listen.
///
/// # Errors
/// The system's, when the handlers or the thread cannot be had.
pub(crate) fn listen(watch: Arc<Watch>, screen: Arc<Screen>, tell: Box<Tell>) -> io::Result<()> {
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
                stop => self::stop(&watch, u8::try_from(stop).unwrap_or_default(), &*tell),
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(run).map(|_| ())
}

fn stop(watch: &Watch, signal: u8, tell: &Tell) {
    let again = watch.lock().stopped_by.replace(signal).is_some();
    // While the state is locked the copy cannot end or say that it has begun: nothing is told twice.
    let state = watch.wait_for_begin(BEGIN_MAX);
    let message = match &state.progress {
        _ if state.over => return,
        None => "stopped before the first byte was copied".to_owned(),
        Some(progress) if again => {
            format!("stopped at once: {} bytes are copied, none is known to be durable", progress.done_bytes)
        }
        // It stops by itself when it is asked next.
        Some(_) => return,
    };
    tell(&message);
    process::exit(Exit::Signal(signal).code().into());
}
