//! Runs one test binary, and sends what it prints to the host, line by line.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::port::Port;
use crate::lab::wire::{Message, Plan, PlannedTests};
use crate::test::{SKIP_LOG, SkipLog};
use crate::{process, programs};

/// The variable that says in which group of the lab a test runs.
pub(super) const GROUP: &str = "BULKIO_LAB";

/// The variable that says where the command is.
const COMMAND: &str = "BULKIO_BIN";

/// Where skipped tests and temporary files go.
const FOLDER: &str = "/run/lab";

/// Runs `test`.
pub(super) fn run(plan: &Plan, test: &PlannedTests, port: &Port) -> Result<()> {
    let log = SkipLog::new(Path::new(FOLDER), "skipped")?;
    let temporary = plan.disk_at.first().context("the plan has no disk")?;
    let mut command = Command::new(&test.binary);
    command.args(&test.arguments).current_dir(temporary).env("PATH", programs::search_path());
    command.env("HOME", "/root").env("TMPDIR", temporary).env("RUST_BACKTRACE", "1");
    command.env(COMMAND, &plan.command).env(GROUP, &plan.group).env(SKIP_LOG, log.path());
    port.say(Message::Begin(test.title.clone()));
    let limit = Duration::from_secs(test.limit_s);
    let ended = process::run_within(command, Some(limit), |line| port.line(line))?;
    for skip in log.read()? {
        port.say(Message::Skipped(skip));
    }
    port.say(if ended.success() { Message::Ended } else { Message::EndedBadly(ended.to_string()) });
    Ok(())
}
