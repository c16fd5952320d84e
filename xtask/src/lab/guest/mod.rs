//! `xtask lab-guest PLAN`: the lab's side in the guest. Mounts, modules, devices, and then the tests, or a prompt.
//!
//! It is started by `lab/init` and takes the machine over, so it refuses to run anywhere else. When it ends the guest goes off.

mod machine;
mod port;
mod tests;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use super::wire::{MARK, Message, Plan};
use port::Port;

/// Does what the plan in `file` says.
pub(crate) fn run(file: &str) -> Result<ExitCode> {
    let words = std::fs::read_to_string("/proc/cmdline").context("cannot read the kernel's command line")?;
    if !words.split_ascii_whitespace().any(|word| word == MARK) {
        bail!("`lab-guest` takes over the machine it runs on; it is for the lab's guest alone");
    }
    let plan = std::fs::read(file).with_context(|| format!("cannot read {file}"))?;
    let plan: Plan = serde_json::from_slice(&plan).with_context(|| format!("the plan {file}"))?;
    if let Some((rows, columns)) = plan.prompt {
        // A person sees what is wrong and goes on.
        if let Err(error) = machine::prepare(&plan) {
            println!("lab-guest: {error:#}");
        }
        return prompt(rows, columns);
    }
    let port = Port::open()?;
    port.say(Message::Up);
    match machine::prepare(&plan) {
        Ok(()) => {
            port.say(Message::Ready);
            for test in &plan.tests {
                if let Err(error) = tests::run(&plan, test, &port) {
                    port.say(Message::Fault(format!("{}: {error:#}", test.title)));
                }
            }
        }
        Err(error) => port.say(Message::Fault(format!("{error:#}"))),
    }
    port.say(Message::Done);
    Ok(ExitCode::SUCCESS)
}

/// A shell on the serial console, with job control.
fn prompt(rows: u16, columns: u16) -> Result<ExitCode> {
    const CONSOLE: &str = "/dev/ttyS0";
    let console = || {
        let console = std::fs::File::options().read(true).write(true).open(CONSOLE);
        console.with_context(|| format!("cannot open {CONSOLE}"))
    };
    let off = Path::new("/usr/local/sbin/poweroff");
    let script = "#!/bin/sh\nsync\nexec busybox poweroff -f\n";
    machine::program(off, script)?;
    let mut command = Command::new("setsid");
    let script = format!("stty sane rows {rows} cols {columns}; exec bash -l || exec sh -l");
    command.args(["--ctty", "--wait", "sh", "-c", &script]).env("TERM", "linux").env("HOME", "/root");
    command.env("PATH", crate::programs::search_path()).current_dir("/root");
    let (input, output, errors) = (console()?, console()?, console()?);
    command.stdin(input).stdout(Stdio::from(output)).stderr(Stdio::from(errors));
    command.status().context("cannot run a shell")?;
    Ok(ExitCode::SUCCESS)
}
