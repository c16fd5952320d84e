//! Running the command in the lab: the program itself, what it says, its sidecars. The lab says where it is.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The command, in a folder on a disk.
pub(crate) fn bulkio(folder: &TempDir) -> Command {
    let mut command =
        Command::new(std::env::var_os("BULKIO_BIN").expect("the lab says where the command is"));
    command.current_dir(folder.path()).stdin(Stdio::null());
    command
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[track_caller]
pub(crate) fn assert_exits(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
}

/// Asserts that a traced program did all that it was to. The machine may be too slow for the device's clock then: our command says so with an
/// exit code of its own, and has as many frames all the same.
#[track_caller]
pub(crate) fn assert_whole(output: &Output, is_ours: bool) {
    const LOST: i32 = 4;
    let is_whole = output.status.success() || (is_ours && output.status.code() == Some(LOST));
    assert!(is_whole, "{}", said(output));
}

/// The number behind a name in JSON text; the first one.
#[track_caller]
pub(crate) fn number(text: &str, name: &str) -> u64 {
    let behind = text.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {text}")).1;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|error| panic!("{error}: {name} in {text}"))
}

/// The lines of a sidecar with this event.
pub(crate) fn events(sidecar: &Path, event: &str) -> Vec<String> {
    let text = fs::read_to_string(sidecar).unwrap();
    let start = format!("{{\"event\":\"{event}\",");
    text.lines().filter(|line| line.starts_with(&start)).map(str::to_owned).collect()
}

/// Ends what a failed test leaves running.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    /// Starts a command whose output is wanted at its end.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.0.as_ref().unwrap();
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
    }

    pub(crate) fn end(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It has ended already unless a test failed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
