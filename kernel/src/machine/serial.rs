//! [`Serial`] and [`say!`]: the log, on the first serial port.
//!
//! The port is set up once, when the machine starts; who says something before that, or in a panic, finds it as the firmware left it.
#![expect(unsafe_code, reason = "says that the port is a serial one")]

use core::fmt;

use uart_16550::backend::PioBackend;
use uart_16550::{Config, Uart16550};

/// The first serial port of a PC.
const COM1: u16 = 0x3f8;

/// The log. Made anew for each line: the port keeps the only state.
///
/// # Invariants
/// 1. The ports from `COM1` on are a 16550 or nothing, and only this uses them, on one CPU and in no handler that returns.
pub struct Serial(Option<Uart16550<PioBackend>>);

impl Serial {
    /// Sets the port up, which empties its buffer: once. Where there is none, nothing is said.
    pub(super) fn start() {
        if let Some(port) = &mut Self::open().0 {
            // Without a port there is nobody to tell.
            let _ = port.init(Config::default());
        }
    }

    /// Opens the port as it is.
    #[must_use]
    pub fn open() -> Self {
        // SAFETY: (1).
        Self(unsafe { Uart16550::new_port(COM1) }.ok())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Serial")
    }
}

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match &mut self.0 {
            Some(port) => {
                port.send_bytes_exact(text.as_bytes());
                Ok(())
            }
            None => Err(fmt::Error),
        }
    }
}

/// Writes one line to the log.
#[macro_export]
#[doc(hidden)]
macro_rules! __say {
    ($($arg:tt)*) => {{
        use core::fmt::Write as _;
        // Without a port there is nobody to tell.
        let _ = writeln!($crate::machine::Serial::open(), $($arg)*);
    }};
}

#[doc(inline)]
pub use crate::__say as say;
