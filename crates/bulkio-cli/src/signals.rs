//! Signals as flags: SIGINT and SIGTERM ask to stop, SIGUSR1 asks for a status line.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

#[derive(Debug, Default)]
pub(crate) struct Signals {
    stop: Arc<AtomicUsize>,
    status: Arc<AtomicBool>,
}

impl Signals {
    /// Catches the signals from now on.
    pub(crate) fn catch() -> io::Result<Self> {
        let signals = Self::default();
        for signal in [SIGINT, SIGTERM] {
            let value = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.stop), value)?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&signals.status))?;
        Ok(signals)
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
