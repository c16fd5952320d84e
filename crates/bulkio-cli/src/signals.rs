//! Signals: SIGINT and SIGTERM ask to stop, SIGUSR1 asks for a status line.
//!
//! A copy that has begun looks at flags and stops by itself. One that still waits for the other side of a named pipe looks at
//! nothing and has nothing to save: a thread ends it.

use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator;

use crate::exit::SIGNAL_BASE;

const STOPPING: [i32; 2] = [SIGINT, SIGTERM];

/// How long a copy may take to begin once its ends can be opened: memory and queues are made then.
const BEGIN_MAX: Duration = Duration::from_millis(600);

#[derive(Debug, Default)]
pub(crate) struct Signals {
    stop: Arc<AtomicUsize>,
    status: Arc<AtomicBool>,
    begun: Arc<(Mutex<bool>, Condvar)>,
}

impl Signals {
    /// Catches the signals from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let signals = Self::default();
        for signal in STOPPING {
            let value = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.stop), value)?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&signals.status))?;
        // It kills by default; caught and ignored, the write that passes `ulimit -f` fails and is reported.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let mut stopping = iterator::Signals::new(STOPPING)?;
        let begun = Arc::clone(&signals.begun);
        let end = move || {
            for signal in stopping.forever() {
                let (begun, changed) = &*begun;
                let begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = changed.wait_timeout_while(begun, BEGIN_MAX, |begun| !*begun);
                // Held to the end of the process: a copy cannot begin meanwhile.
                let (begun, _) = waited.unwrap_or_else(PoisonError::into_inner);
                if !*begun {
                    eprintln!("bulkio: stopped before the first byte was copied");
                    process::exit(i32::from(SIGNAL_BASE).saturating_add(signal));
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(end)?;
        Ok(signals)
    }

    /// Says that the copy looks at the flags from now on.
    pub(crate) fn begin(&self) {
        let (begun, changed) = &*self.begun;
        *begun.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Returns the number of the signal that asked to stop.
    pub(crate) fn stop(&self) -> Option<u8> {
        u8::try_from(self.stop.load(Ordering::Relaxed)).ok().filter(|number| *number != 0)
    }

    /// Says whether a status line was asked for since the last call.
    pub(crate) fn take_status(&self) -> bool {
        self.status.swap(false, Ordering::Relaxed)
    }
}
