//! Standard error and standard output, shared by the thread that copies and the thread that hears signals.
//!
//! Contract: lines never mix with the progress bar or with each other, and nobody panics because an output is
//! closed. Only a report on standard output that cannot be written is an error.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

/// Where lines go.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    bar: Mutex<Option<ProgressBar>>,
}

impl Screen {
    /// Takes a bar, which is kept clear of lines from then on.
    pub(crate) fn show_bar(&self, bar: ProgressBar) {
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    /// Takes the bar off the screen, if there is one.
    pub(crate) fn clear_bar(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }

    /// Writes lines to standard error.
    pub(crate) fn say(&self, text: &str) {
        let write = || {
            // A closed standard error leaves nobody to tell.
            let _ = write_whole(&mut io::stderr().lock(), text);
        };
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Writes the beginning of a line to standard error, behind which an answer is typed.
    pub(crate) fn prompt(&self, text: &str) {
        self.clear_bar();
        // A closed standard error leaves nobody to ask.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Writes lines to standard output.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    write_whole(&mut out, text)?;
    out.flush()
}

/// Writes a text and its end of line at once, so that lines of several processes stay whole.
fn write_whole(out: &mut impl io::Write, text: &str) -> io::Result<()> {
    let text = format!("{}\n", text.trim_end_matches('\n'));
    out.write_all(text.as_bytes())
}
