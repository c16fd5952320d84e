//! Runs one program with a time limit and hands on what it prints, line by line, while it runs.
//!
//! Both output streams share one pipe, so lines arrive in the order they were written; cargo's own
//! lines tell which test binary the next lines come from.

use std::io::{BufRead as _, BufReader, IsTerminal as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// It was ended because its time was over.
    pub(crate) late: bool,
}

impl Ended {
    pub(crate) fn success(&self) -> bool {
        self.status.success() && !self.late
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.late { write!(f, "its time was over ({})", self.status) } else { self.status.fmt(f) }
    }
}

/// Runs `command` to its end, calling `line` for each line it prints.
///
/// The limit holds where nobody sits at a terminal: the program and its children then are a process
/// group of their own, which is killed as one. At a terminal the limit is the person's Ctrl-C.
pub(crate) fn run(command: Command, limit: Duration, line: impl FnMut(&str)) -> Result<Ended> {
    run_within(command, (!std::io::stdin().is_terminal()).then_some(limit), line)
}

/// As [`run`], with this limit wherever it is called. With one, a Ctrl-C at a terminal reaches the caller alone.
pub(crate) fn run_within(
    command: Command,
    limit: Option<Duration>,
    mut line: impl FnMut(&str),
) -> Result<Ended> {
    run_watched(command, limit, |text| {
        line(text);
        None
    })
}

/// As [`run_within`]. Where `line` returns a time, that is how long the program has from then on, if there is a limit at all.
pub(crate) fn run_watched(
    mut command: Command,
    limit: Option<Duration>,
    mut line: impl FnMut(&str) -> Option<Duration>,
) -> Result<Ended> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null());
    command.stdout(writer.try_clone().context("cannot copy a pipe")?).stderr(writer);
    if limit.is_some() {
        command.process_group(0);
    }
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    // The command holds the pipe's writing end; without this the reader would never see the end.
    drop(command);

    let group = Pid::from_child(&child);
    let (news, over) = channel::<Duration>();
    let watch = std::thread::spawn(move || {
        let Some(mut limit) = limit else { return false };
        let late = loop {
            match over.recv_timeout(limit) {
                Ok(more) => limit = more,
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        if late {
            // A group that is gone already is what we wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        late
    });

    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).context("cannot read a program's output")? > 0 {
        if let Some(more) = line(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r'])) {
            // Nobody listens where the time is over already.
            let _ = news.send(more);
        }
        bytes.clear();
    }
    let status = child.wait().context("cannot wait for a program")?;
    drop(news);
    let late = watch.join().unwrap_or(false);
    Ok(Ended { status, late })
}

/// [`run`], printing each line.
pub(crate) fn run_loud(command: Command, limit: Duration) -> Result<Ended> {
    run(command, limit, |line| println!("{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_arrive_in_order() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; echo three; exit 3";
        let ended = run(shell(script), Duration::from_secs(60), |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(ended.status.code(), Some(3));
        assert!(!ended.late && !ended.success());
    }

    #[test]
    fn a_late_program_is_ended_with_its_children() {
        let mut lines = 0;
        let limit = Some(Duration::from_millis(200));
        let ended = run_within(shell("echo here; sleep 600 & sleep 600"), limit, |_| lines += 1).unwrap();
        assert!(ended.late && !ended.success());
        assert_eq!(lines, 1);
    }
    #[test]
    fn a_line_may_give_more_time_and_less() {
        let limit = Some(Duration::from_secs(3));
        let more = Some(Duration::from_secs(60));
        let ended = run_watched(shell("echo up; sleep 4"), limit, |_| more).unwrap();
        assert!(ended.success());
        let less = Some(Duration::from_millis(100));
        let ended = run_watched(shell("echo up; sleep 600"), more, |_| less).unwrap();
        assert!(ended.late);
    }
}
