//! `cargo xtask bench nvme`: the instructions that the NVMe driver spends on a read of 4 KiB, apart from the controller.
//!
//! The example `instructions` of `nvme-driver` submits batches of 16, lets a controller in software act, and polls. Callgrind counts
//! what happens inside the driver's part only. It is built with the profile of the kernel. Counts do not depend on how busy the
//! machine is.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use super::report::{Report, Table};
use crate::args::options;
use crate::workspace::Workspace;

/// The instructions of an operation that must not be reached.
const BELOW: f64 = 600.0;
/// How the example is built: as the kernel is.
const BUILD: [&str; 10] = [
    "build",
    "--locked",
    "--profile",
    "kernel",
    "--package",
    "nvme-driver",
    "--features",
    "fake",
    "--example",
    "instructions",
];
/// The functions that are counted, with all that they call.
const COUNTED: &str = "--toggle-collect=*driver_part*";
pub(crate) fn run(words: &[&str]) -> Result<ExitCode> {
    options(words, &[])?;
    let workspace = Workspace::find()?;
    let found = Command::new("valgrind").arg("--version").output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("unknown valgrind is not installed: it counts the instructions");
        return Ok(ExitCode::SUCCESS);
    }
    let built = workspace.build(&BUILD)?;
    let program = built.into_iter().find(|file| file.name == "instructions");
    let program = program.context("the package nvme-driver built no example named instructions")?.file;

    let mut report = Report::default();
    let mut table = Table::new(&["instructions per read of 4 KiB", "ours", "doorbell writes"]);
    for format in ["prp", "sgl"] {
        let counted = count(&program, format)?;
        let ours = counted.instructions / counted.operations;
        let name = format!("nvme read 4 KiB, batches of 16, {format}");
        report.figure(&name, "instructions", &[ours]);
        report.gate(Some(ours < BELOW), format!("{name}: {ours:.0} instructions, must be below {BELOW}"));
        let doorbells = counted.doorbells / counted.operations;
        table.row(vec![name, format!("{ours:.0}"), format!("{doorbells:.3}")]);
    }
    let file = workspace.target.join("bench/nvme.json");
    report.write(&file)?;
    print!("\n{table}\n{report}");
    println!("\nwritten to {}", file.display());
    Ok(ExitCode::SUCCESS)
}

/// What one run counted.
struct Counted {
    instructions: f64,
    operations: f64,
    doorbells: f64,
}

fn count(program: &Path, format: &str) -> Result<Counted> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED]).arg(program).arg(format);
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let (said, counted) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{command:?}: {}\n{counted}", output.status);
    }
    let collected = counted.lines().find_map(|line| line.split_once("Collected :"));
    let instructions = collected.and_then(|(_, count)| count.trim().parse().ok());
    let mut words = said.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
    let (Some(instructions), Some(operations), Some(submission), Some(completion)) =
        (instructions, words.next(), words.next(), words.next())
    else {
        bail!("{command:?} says something else than counts: {said}\n{counted}");
    };
    Ok(Counted { instructions, operations, doorbells: submission + completion })
}
