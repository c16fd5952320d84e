//! What one boot reported: takes the lines of the guest's port, in order, and makes counts of them.
//!
//! The lines between two messages are what a test binary printed, and are counted like those of any other run. All lines go to a log as well.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use super::wire::Message;
use crate::test::{Reader, Skip, Step};

/// How many lines of a binary are kept to be shown if it fails.
const LINES_MAX: usize = 400;

/// The report so far.
#[derive(Debug)]
pub(super) struct Report {
    label: String,
    log: Option<File>,
    up: bool,
    done: bool,
    running: Option<Running>,
    step: Step,
    last: VecDeque<String>,
}

/// A binary whose end was not seen yet.
#[derive(Debug)]
struct Running {
    title: String,
    start: Instant,
    reader: Reader,
    skips: Vec<Skip>,
}

impl Report {
    /// An empty report of the group `name`, whose lines go to `log` too.
    pub(super) fn new(name: &str, log: Option<File>) -> Self {
        let label = format!(" (lab {name})");
        let step = Step::new(name);
        Self { label, log, up: false, done: false, running: None, step, last: VecDeque::new() }
    }

    /// Whether the guest said that it is there.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// Whether the guest said that it has done everything.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The last lines, in one.
    pub(super) fn last_lines(&self) -> String {
        let last = self.last.iter().rev().take(8).rev();
        last.map(String::as_str).collect::<Vec<_>>().join(" | ")
    }

    /// Takes a line.
    pub(super) fn line(&mut self, line: &str) {
        if let Some(log) = &mut self.log {
            // A full disk is not what is tested; the counts go another way.
            let _ = writeln!(log, "{line}");
        }
        match Message::read(line) {
            Some(message) => self.message(message),
            None => {
                if self.last.len() == LINES_MAX {
                    self.last.pop_front();
                }
                self.last.push_back(line.to_owned());
                if let Some(running) = &mut self.running {
                    running.reader.line(line);
                }
            }
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Up => self.up = true,
            Message::Ready => {}
            Message::Done => self.done = true,
            Message::Begin(title) => {
                self.end(Some("no end of it was reported"));
                let mut reader = Reader::default();
                reader.open(&title);
                self.last.clear();
                self.running = Some(Running { title, start: Instant::now(), reader, skips: Vec::new() });
            }
            Message::Skipped(skip) => {
                if let Some(running) = &mut self.running {
                    running.skips.push(skip);
                }
            }
            Message::Ended => self.end(None),
            Message::EndedBadly(how) => self.end(Some(&how)),
            Message::Fault(what) => self.fault(&what),
        }
    }

    /// Counts something that went wrong and is no test.
    pub(super) fn fault(&mut self, what: &str) {
        println!("{}{what}{}", self.shown(), self.label);
        self.step.fail(format!("{what}{}", self.label));
    }

    /// Ends the binary that runs, if one does: badly, where somebody says how.
    fn end(&mut self, badly: Option<&str>) {
        let Some(Running { title, start, reader, skips }) = self.running.take() else { return };
        let mut step = Step::new(&title);
        reader.finish(&mut step, skips, &self.label);
        match badly {
            Some(how) if step.failed == 0 => {
                step.fail(format!("{title}{} ended with {how}, though no test failed", self.label));
            }
            _ if step.passed + step.failed + step.skipped == 0 => {
                step.fail(format!("{title}{} ran no test", self.label));
            }
            _ => {}
        }
        let Step { passed, failed, skipped, .. } = step;
        let shown = if failed > 0 { self.shown() } else { String::new() };
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{shown}{}: {title}: {passed} passed, {failed} failed, {skipped} skipped ({seconds:.1} s)",
            self.step.title
        );
        self.step.add(step);
    }

    /// What was printed last, as lines.
    fn shown(&self) -> String {
        self.last.iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Returns the counts. What still ran has failed.
    pub(super) fn finish(mut self) -> Step {
        self.end(Some("the guest"));
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str =
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s";

    fn report(lines: &[&str]) -> (bool, bool, Step) {
        let mut report = Report::new("dm", None);
        lines.iter().for_each(|line| report.line(line));
        (report.is_up(), report.is_done(), report.finish())
    }

    fn counts(step: &Step) -> (u64, u64, u64) {
        (step.passed, step.failed, step.skipped)
    }

    #[test]
    fn tests_are_counted_and_skips_are_named() {
        let lines = [
            "lab-guest: up",
            "lab-guest: ready",
            "lab-guest: begin bulkio lab",
            RESULT,
            "lab-guest: skipped a::b: no disk",
            "lab-guest: ended",
            "lab-guest: done",
        ];
        let (up, done, step) = report(&lines);
        assert!(up && done);
        assert_eq!(counts(&step), (2, 0, 1));
        assert_eq!(step.skips[0].name, "a::b (lab dm)");
    }

    #[test]
    fn what_fails_beside_the_tests_is_a_failure() {
        let begin = "lab-guest: begin bulkio lab";
        let badly = "lab-guest: ended badly: its time was over";
        assert_eq!(counts(&report(&[begin, RESULT, badly]).2), (3, 1, 0));
        assert_eq!(
            counts(&report(&["lab-guest: up", "lab-guest: fault set-up: exit status: 1"]).2),
            (0, 1, 0)
        );
        // It went off in the middle.
        let (up, done, step) = report(&["lab-guest: up", begin, "test a ... ok"]);
        assert!(up && !done);
        assert_eq!(counts(&step), (0, 1, 0));
        let nothing =
            "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0s";
        let step = report(&[begin, nothing, "lab-guest: ended"]).2;
        assert_eq!(step.failures, ["bulkio lab (lab dm) ran no test"]);
    }
}
