//! The question before a disk is overwritten that holds something.
//!
//! Contract: it is asked on a terminal only, and answered there: on standard input, or, where standard input or standard error is none, on
//! the terminal of the session. The kernel stops a command in the background that reads it, until somebody brings it to the front (sudo does by itself). A
//! pipe that is copied must have its first bytes before: whoever fills it may ask something on the same terminal. Where there is no
//! terminal, what would be lost is said before anything is written.
//! With `--yes` and `--json` nobody is asked or told, and of files never. The copy holds the disk meanwhile, so what is shown is what
//! would be lost. Anything but a plain yes leaves the disk as it is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write as _};

use bulkio::copy::{Control, End, Overwrite};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{QueueSelector, tcflush};

use crate::args::Copy;
use crate::screen::Screen;
use crate::size::human;

/// Bytes of an answer that are read: a terminal gives no longer line.
const ANSWER_MAX: u64 = 4096;

/// Partitions that are shown.
const PARTITIONS_SHOWN_MAX: usize = 16;

/// The terminal of the session.
const TERMINAL: &str = "/dev/tty";

/// What is asked.
const ASK: &str = "overwrite it? [y/N] ";

/// Whether to ask, and whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// Nobody, and nobody is told.
    Nobody,
    /// Nobody, but it is said.
    Said,
    /// Whoever sits at the terminal that is standard input.
    Terminal,
    /// Whoever sits at the terminal of the session.
    Session {
        /// Standard input is copied.
        piped: bool,
    },
    /// Nobody can answer: the terminal is what is copied.
    Source,
}

impl Question {
    pub(crate) fn new(args: &Copy) -> Self {
        if args.asks_nothing() {
            return Self::Nobody;
        }
        let piped = args.source() == End::Stdin;
        match (io::stdin().is_terminal(), io::stderr().is_terminal()) {
            (false, false) => Self::Said,
            (true, _) if piped => Self::Source,
            (true, true) => Self::Terminal,
            (true, false) | (false, true) => Self::Session { piped },
        }
    }

    /// Asks whether to go on.
    pub(crate) fn ask(self, disk: &Overwrite<'_>, screen: &Screen) -> Control {
        match self {
            Self::Nobody => Control::Go,
            Self::Said => say(disk, screen),
            Self::Source => {
                screen.say(&summary(disk));
                screen.say("bulkio: standard input is copied, so nobody can answer; --yes overwrites without a question");
                Control::Stop
            }
            Self::Session { piped } => match File::options().read(true).write(true).open(TERMINAL) {
                Ok(terminal) => {
                    if piped {
                        wait_for_input();
                    }
                    ask_on(&terminal, disk, screen)
                }
                Err(_) => say(disk, screen),
            },
            Self::Terminal => {
                screen.say(&summary(disk));
                screen.prompt(ASK);
                let answer = answer(io::stdin().lock());
                if !answer.ends_with('\n') {
                    screen.say("");
                }
                if is_yes(&answer) { Control::Go } else { Control::Stop }
            }
        }
    }
}

/// Says what is overwritten, and goes on.
fn say(disk: &Overwrite<'_>, screen: &Screen) -> Control {
    screen.say(&summary(disk));
    Control::Go
}

/// Waits until standard input has something, or has ended.
fn wait_for_input() {
    let input = io::stdin();
    while poll(&mut [PollFd::new(&input, PollFlags::IN)], None) == Err(Errno::INTR) {}
}

/// Asks on a terminal that is not both standard input and standard error.
fn ask_on(mut terminal: &File, disk: &Overwrite<'_>, screen: &Screen) -> Control {
    screen.clear_bar();
    // What was typed before is no answer. Where this fails, it is an answer that can be seen.
    let _ = tcflush(terminal, QueueSelector::IFlush);
    let question = format!("{}\n{ASK}", summary(disk));
    if terminal.write_all(question.as_bytes()).is_err() {
        return Control::Stop;
    }
    let answer = answer(BufReader::new(terminal));
    if !answer.ends_with('\n') {
        // What is shown behind it stands in a line with the question; nothing else comes of it.
        let _ = terminal.write_all(b"\n");
    }
    if is_yes(&answer) { Control::Go } else { Control::Stop }
}

/// Reads a line; nothing where it cannot be read.
fn answer(from: impl BufRead) -> String {
    let mut answer = String::new();
    match from.take(ANSWER_MAX).read_line(&mut answer) {
        Ok(_) => answer,
        Err(_) => String::new(),
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
