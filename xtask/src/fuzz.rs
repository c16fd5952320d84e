//! The fuzz targets of `fuzz/`: built with coverage counters, run for a short time each by `cargo xtask test`, one for
//! longer by `cargo xtask fuzz NAME`.
//!
//! libFuzzer comes with the crate `libfuzzer-sys` as C++, so a C++ compiler is needed; cargo-fuzz is not. The address
//! sanitizer is linked in where the toolchain has it. An input that crashes a target goes to
//! `target/fuzz/crashes`, and its path is printed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::args::options;
use crate::programs::Program;
use crate::workspace::{Built, Workspace, clean};
use crate::{process, toolchain};

/// What building the targets calls.
pub(crate) const PROGRAMS: &[Program] = &[("c++", "g++")];

/// What cargo-fuzz sets too: LLVM counts every edge and reports what comparisons compare.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";

/// How long `cargo xtask fuzz` runs if nobody says otherwise.
const SECONDS: u64 = 300;

/// What one target may use: an input that takes more of either is a fault of the code it reaches.
const MEMORY_MIB: u32 = 2048;
const INPUT_SECONDS: u32 = 20;

/// Inputs of plain noise that every run starts with, so many of each length in bytes. libFuzzer's own first inputs are of a
/// few bytes and grow slowly: in a short run no target would get past its first choices.
const SEEDS: (usize, [usize; 5]) = (16, [64, 128, 256, 512, 1024]);

/// Where a run starts from and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) seconds: u64,
    /// The folder of inputs that the run starts from and adds to; without it the run starts from noise alone.
    pub(crate) corpus: Option<&'a Path>,
    /// The same choices every time; otherwise others each time.
    pub(crate) same_each_time: bool,
}

/// `cargo xtask fuzz NAME [--seconds N]`.
pub(crate) fn run(name: &str, words: &[&str]) -> Result<ExitCode> {
    let mut seconds = SECONDS;
    for (option, value) in options(words, &["--seconds"])? {
        seconds = value.parse().with_context(|| format!("{option} {value} is not a number of seconds"))?;
    }
    let workspace = Workspace::find()?;
    crate::programs::ensure(PROGRAMS)?;
    let targets = build(&workspace)?;
    let Some(target) = targets.iter().find(|target| target.name == name) else {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        bail!("there is no fuzz target `{name}`; there are {}", names.join(", "));
    };
    let corpus = workspace.target.join("fuzz/corpus").join(name);
    std::fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    let run = Run { seconds, corpus: Some(&corpus), same_each_time: false };
    let crash = run_target(&workspace, target, run, |line| println!("{line}"))?;
    if let Some(crash) = &crash {
        println!("{crash}");
    }
    Ok(if crash.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Builds all targets.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<Built>> {
    let targets = workspace.build_with(cargo(workspace, "build")?)?;
    if targets.is_empty() {
        bail!("fuzz/Cargo.toml has no fuzz target");
    }
    Ok(targets)
}

/// A cargo command over the targets, with the options that they are built with.
pub(crate) fn cargo(workspace: &Workspace, subcommand: &str) -> Result<Command> {
    let host = toolchain::host()?;
    let mut flags = COVERAGE.to_owned();
    if toolchain::has_address_sanitizer(&host)? {
        flags.push_str(" -Zsanitizer=address");
    }
    let mut command = workspace.cargo(&[subcommand, "--release", "--locked", "--target", &host]);
    command.args(["--manifest-path", "fuzz/Cargo.toml"]).arg("--target-dir").arg(folder(workspace));
    let (name, value) = toolchain::BOOTSTRAP;
    command.env(name, value).env("RUSTFLAGS", flags);
    Ok(command)
}

/// Runs one target, handing on what it prints; what went wrong, if something did.
pub(crate) fn run_target(
    workspace: &Workspace,
    target: &Built,
    run: Run<'_>,
    mut line: impl FnMut(&str),
) -> Result<Option<String>> {
    let crashes = folder(workspace).join("crashes").join(&target.name);
    std::fs::create_dir_all(&crashes).with_context(|| format!("cannot make {}", crashes.display()))?;
    let mut command = Command::new(&target.file);
    clean(&mut command).current_dir(&crashes);
    command.arg(format!("-max_total_time={}", run.seconds)).arg("-print_final_stats=1").arg("-max_len=4096");
    command.arg(format!("-rss_limit_mb={MEMORY_MIB}")).arg(format!("-timeout={INPUT_SECONDS}"));
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    command.arg(format!("-seed_inputs={}", seeds(&folder(workspace).join("seeds").join(&target.name))?));
    if run.same_each_time {
        command.arg("-seed=1");
    }
    command.args(run.corpus);
    let mut written = None;
    // The last input may take its own time, and so does starting.
    let limit = Duration::from_secs(run.seconds.saturating_add(60));
    let ended = process::run(command, limit, |text| {
        written = written_to(text).or(written.take());
        line(text);
    })?;
    let name = &target.name;
    Ok(match written {
        Some(input) => Some(format!(
            "fuzz target {name} fails on the input {input}; to run it again: {} {input}",
            target.file.display(),
            input = input.display(),
        )),
        None if !ended.success() => Some(format!("fuzz target {name} ended with {ended}")),
        None => None,
    })
}

/// Writes the inputs of noise, the same every time. Returns their paths as libFuzzer takes them.
fn seeds(folder: &Path) -> Result<String> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (count, lengths) = SEEDS;
    let mut state = 1_u64;
    // The high byte of Knuth's linear congruential generator, MMIX.
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let [.., high] = state.to_le_bytes();
        high
    };
    let mut paths = Vec::new();
    for len in lengths {
        for index in 0..count {
            let path = folder.join(format!("{len}-{index}"));
            let noise: Vec<u8> = (0..len).map(|_| byte()).collect();
            std::fs::write(&path, noise).with_context(|| format!("cannot write {}", path.display()))?;
            paths.push(path.display().to_string());
        }
    }
    Ok(paths.join(","))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

/// Reads libFuzzer's `artifact_prefix='/x/'; Test unit written to /x/crash-0123`.
fn written_to(line: &str) -> Option<PathBuf> {
    line.split_once("Test unit written to ").map(|(_, file)| PathBuf::from(file.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_that_crashed_is_named() {
        let line = "artifact_prefix='/t/plan/'; Test unit written to /t/plan/crash-adc83b19";
        assert_eq!(written_to(line), Some(PathBuf::from("/t/plan/crash-adc83b19")));
        assert_eq!(written_to("SUMMARY: libFuzzer: deadly signal"), None);
    }
}
