//! fio as the limit of a copy: a reader and a writer that run at once and do not wait for each other.
//!
//! No copy on one disk can be faster than both halves overlapped without any dependency between
//! them. fio's time is the later of its two jobs, by its own clock: its start and its bookkeeping are not held
//! against it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Makes the command: `source` is read and `destination` written, `bytes` each, in order, past the page cache.
pub(crate) fn overlap(source: &Path, destination: &Path, bytes: u64) -> Command {
    let mut command = Command::new("fio");
    command.args(["--output-format=json", "--direct=1", "--ioengine=io_uring", "--bs=1M", "--iodepth=8"]);
    command.arg(format!("--size={bytes}"));
    // fio would take a colon in a file name as a separator.
    let file = |path: &Path| format!("--filename={}", path.display().to_string().replace(':', "\\:"));
    command.args(["--name=reader", "--rw=read"]).arg(file(source));
    command.args(["--name=writer", "--rw=write", "--end_fsync=1"]).arg(file(destination));
    command
}

/// The later end of the two jobs, in seconds, from what fio printed.
pub(crate) fn later_job_seconds(printed: &str) -> Result<f64> {
    #[derive(Deserialize)]
    struct Output {
        jobs: Vec<Job>,
    }
    #[derive(Deserialize)]
    struct Job {
        read: Side,
        write: Side,
    }
    /// In milliseconds.
    #[derive(Deserialize)]
    struct Side {
        runtime: f64,
    }
    // Warnings may stand before the JSON.
    let start = printed.find('{').context("fio printed no JSON")?;
    let output: Output =
        serde_json::from_str(printed.get(start..).unwrap_or_default()).context("the output of fio")?;
    let longest = output.jobs.iter().map(|job| job.read.runtime.max(job.write.runtime)).fold(0.0, f64::max);
    anyhow::ensure!(longest > 0.0, "fio says that its jobs took no time");
    Ok(longest / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_job_counts() {
        let printed = "fio: a warning\n{\"jobs\": [\
            {\"read\": {\"runtime\": 1500}, \"write\": {\"runtime\": 0}},\
            {\"read\": {\"runtime\": 0}, \"write\": {\"runtime\": 2250}}]}";
        assert_eq!(later_job_seconds(printed).unwrap(), 2.25);
        assert!(later_job_seconds("fio: io_uring is missing").is_err());
    }
}
