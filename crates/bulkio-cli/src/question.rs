//! The question before a disk is overwritten that holds something.
//!
//! Contract: it is asked on a terminal only, and answered there; scripts, `--yes` and `--json` are asked nothing, and files never. The
//! copy holds the disk meanwhile, so what is shown is what would be lost. Anything but a plain yes leaves the disk as it is.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use bulkio::copy::{Control, End, Overwrite};

use crate::args::Copy;
use crate::screen::Screen;
use crate::size::human;

/// Bytes of an answer that are read: a terminal gives no longer line.
const ANSWER_MAX: u64 = 4096;

/// Partitions that are shown.
const PARTITIONS_SHOWN_MAX: usize = 16;

/// Whether to ask, and whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// Nobody.
    Nobody,
    /// Whoever sits at the terminal.
    Terminal,
    /// Nobody can answer: the terminal is what is copied.
    Source,
}

impl Question {
    pub(crate) fn new(args: &Copy) -> Self {
        if args.asks_nothing() || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Self::Nobody;
        }
        if args.source() == End::Stdin { Self::Source } else { Self::Terminal }
    }

    /// Asks whether to go on.
    pub(crate) fn ask(self, disk: &Overwrite<'_>, screen: &Screen) -> Control {
        match self {
            Self::Nobody => Control::Go,
            Self::Source => {
                screen.say(&summary(disk));
                screen.say("bulkio: standard input is copied, so nobody can answer; --yes overwrites without a question");
                Control::Stop
            }
            Self::Terminal => {
                screen.say(&summary(disk));
                screen.prompt("overwrite it? [y/N] ");
                let mut answer = String::new();
                let read = io::stdin().lock().take(ANSWER_MAX).read_line(&mut answer);
                if !answer.ends_with('\n') {
                    screen.say("");
                }
                if read.is_ok() && is_yes(&answer) { Control::Go } else { Control::Stop }
            }
        }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// What a person should know before saying yes.
fn summary(disk: &Overwrite<'_>) -> String {
    let mut lines = vec![format!("{} is about to be overwritten:", disk.path.display())];
    let mut row = |name: &str, text: &str| lines.push(format!("  {name:<7} {text}"));
    if let Some(model) = &disk.identity.model {
        row("model", model);
    }
    if !disk.identity.serials.is_empty() {
        row("serial", &disk.identity.serials.join(", "));
    }
    if let Some(len) = disk.len {
        row("size", &format!("{} ({len} bytes)", human(len)));
    }
    match disk.contents {
        Ok(contents) => {
            row("holds", &contents.to_string());
            for partition in contents.partitions.iter().take(PARTITIONS_SHOWN_MAX) {
                row("", &partition.to_string());
            }
            let more = contents.partitions.len().saturating_sub(PARTITIONS_SHOWN_MAX);
            if more > 0 {
                row("", &format!("and {more} partitions more"));
            }
        }
        Err(unseen) => row("holds", &unseen.to_string()),
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        for yes in ["y\n", "Y\n", "yes\n", " YES \n", "y"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n\n", "no\n", "ye\n", "yes please\n", "j\n", "1\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
