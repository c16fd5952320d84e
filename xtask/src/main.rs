//! Everything a developer of bulkio runs, behind `cargo xtask`.
//!
//! `test` runs every check and every test and counts them; `kernel` and `lab` boot machines in QEMU; `fuzz` runs one fuzz target for longer; `bench`
//! measures us beside our peers. All work from a clean checkout, need no input, and write only below the target
//! directory and one temporary directory on a disk. Exit status: 0 when all is well, 1 when a check failed, 2 when the
//! command line is wrong or the task could not be done.

mod args;
mod at_once;
mod bench;
mod fuzz;
mod kernel;
mod lab;
mod process;
mod programs;
mod scratch;
mod test;
mod tied;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask <task>

  test [NAME]     every check and every test; with NAME only the tests whose name contains it
  kernel [NAME]   boots the small kernel in QEMU, once for each case (whose name contains NAME), and judges it
  lab [NAME ...]  boots a Linux guest in QEMU for each group of devices, and runs their tests there
  lab shell       a prompt in that guest; `lab shell NAME` has the devices of a group
  fuzz NAME       one target of fuzz/ for longer  [--seconds N]
  bench copy      file to file beside dd, cp and fio  [--rounds N] [--size SIZE] [--dir DIR]
  bench core      list, planner, encoders and mapping beside their peers  [--rounds N]
  bench hash      what digests and reading back cost a copy  [--rounds N] [--size SIZE] [--dir DIR]
  bench sparse    an image of 10 GiB with 100 MiB of data beside these alone, and cp  [--rounds N] [--dir DIR]
  bench iops      many operations in flight beside fio  [--quick] [--rounds N] [--seconds S] [--case TEXT]
                  [--target zram|loop] [--cpu N] [--engine auto|io_uring|aio|threads]
  bench depth     the depth that a copy finds beside fixed ones: on a disk, between two zram devices, and in the lab
                  between two devices that answer after 20 ms  [--rounds N] [--size SIZE] [--dir DIR] [--lab yes|no]
  bench latency   a copy between two devices that answer after 20 ms beside fio, in the lab
  bench nvme      instructions of the NVMe driver for a read of 4 KiB

Figures go to target/bench/*.json. BULKIO_BIN=FILE benches that file instead of the built command.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(words: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help" | "--help" | "-h", ..] | [_, "--help" | "-h", ..] => {
            println!("{USAGE}\n\nGroups of the lab:{}", lab::list());
            Ok(ExitCode::SUCCESS)
        }
        ["test"] => test::run(None),
        ["test", name] if !name.starts_with('-') => test::run(Some(name)),
        ["kernel"] => kernel::run(None),
        ["kernel", name] if !name.starts_with('-') => kernel::run(Some(name)),
        ["lab", "shell"] => lab::shell(None),
        ["lab", "shell", name] if !name.starts_with('-') => lab::shell(Some(name)),
        ["lab", names @ ..] if names.iter().all(|name| !name.starts_with('-')) => lab::run(names),
        // Not for people: `lab/init` starts it in the guest.
        ["lab-guest", plan] => lab::guest::run(plan),
        ["fuzz", name, rest @ ..] => fuzz::run(name, rest),
        ["bench", "copy", rest @ ..] => bench::copy::run(rest),
        ["bench", "core", rest @ ..] => bench::core::run(rest),
        ["bench", "hash", rest @ ..] => bench::hash::run(rest),
        ["bench", "depth", rest @ ..] => bench::depth::run(rest),
        ["bench", "sparse", rest @ ..] => bench::sparse::run(rest),
        ["bench", "iops", ..] if cfg!(debug_assertions) => bench::optimised(&words),
        ["bench", "iops", rest @ ..] => bench::iops::run(rest),
        // The bench of that name starts these two.
        ["bench", "iops-ours", job] => bench::iops::run_ours(job),
        ["bench", "iops-keep", kind, folder] => bench::iops::keep(kind, folder),
        ["bench", "latency"] => lab::bench("latency"),
        ["bench", "nvme", rest @ ..] => bench::nvme::run(rest),
        other => bail!("there is no task `{}`\n\n{USAGE}", other.join(" ")),
    }
}
