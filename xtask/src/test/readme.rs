//! Runs what README.md tells a new user to run.
//!
//! A ```sh block behind the line `<!-- ci:run -->` is run exactly as written, in a copy of the last
//! commit, and must succeed. A ```text block behind `<!-- ci:output -->` shows what the block before
//! it prints: its lines must appear in that order once every number is replaced by `N` and runs of
//! blanks by one. A line `...` stands for any lines.
//!
//! `cargo xtask test` itself is not run again: this run is that command. The copy builds into a target
//! directory of its own, so that the checkout never meets files built from other sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::tally::Step;
use super::{INSIDE, STEP_TIME};
use crate::workspace::{Workspace, clean};
use crate::{process, programs};

const RUN: &str = "<!-- ci:run -->";
const OUTPUT: &str = "<!-- ci:output -->";
const THIS_RUN: [&str; 2] = ["cargo xtask test", ".ci/run"];

/// A block to run and, where the README shows it, what it prints.
#[derive(Debug, Default, Eq, PartialEq)]
struct Block {
    line: usize,
    script: Vec<String>,
    output: Option<Vec<String>>,
}

pub(crate) fn run(workspace: &Workspace, scratch: &Path, step: &mut Step) -> Result<()> {
    let copy = copy_of_head(workspace)?;
    let file = copy.join("README.md");
    let text = std::fs::read_to_string(&file).context("the last commit has no README.md that can be read")?;
    let blocks = blocks(&text)?;
    if blocks.is_empty() {
        bail!("README.md has no block that is marked with {RUN}");
    }
    for block in &blocks {
        check_block(block, &copy, scratch, step)?;
    }
    Ok(())
}

fn check_block(block: &Block, copy: &Path, scratch: &Path, step: &mut Step) -> Result<()> {
    let name = format!("README.md line {}: {}", block.line, block.script.join("; "));
    println!("+ {name}");
    let is_this_run = |line: &&String| THIS_RUN.contains(&line.trim().trim_start_matches("./"));
    let script: Vec<&str> =
        block.script.iter().filter(|line| !is_this_run(line)).map(String::as_str).collect();
    if script.iter().all(|line| line.trim().is_empty()) {
        println!("this run is that command");
        step.pass();
        return Ok(());
    }
    let mut command = Command::new("sh");
    command.args(["-e", "-c", &script.join("\n")]);
    clean(&mut command).current_dir(copy).env_remove("CARGO_TARGET_DIR").env_remove("BULKIO_BIN");
    command.env(INSIDE, "1").env("TMPDIR", scratch).env("PATH", programs::search_path());
    let mut printed = Vec::new();
    let ended = process::run(command, STEP_TIME, |line| {
        println!("{line}");
        printed.push(line.to_owned());
    })?;
    if !ended.success() {
        step.fail(format!("{name}: {ended}"));
        return Ok(());
    }
    match block.output.as_ref().and_then(|expected| first_missing(expected, &printed)) {
        None => step.pass(),
        Some(line) => {
            println!("README.md shows a line that was not printed there: {line}");
            step.fail(format!("{name}: it did not print: {line}"));
        }
    }
    Ok(())
}

/// Writes the files of the last commit to a folder below the target directory and returns it.
///
/// Only git's own files are read, and no clone is made: a checkout that belongs to somebody else, or
/// that has no history, works too.
fn copy_of_head(workspace: &Workspace) -> Result<PathBuf> {
    let base = workspace.target.join("readme");
    let (tree, built) = (base.join("tree"), base.join("target"));
    if tree.exists() {
        std::fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    for folder in [&tree, &built] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::os::unix::fs::symlink("../target", tree.join("target"))
        .context("cannot link the target directory")?;
    let git = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new("git");
        command.args(["-c", "safe.directory=*"]).args(arguments).current_dir(&workspace.root);
        let output = command.env("GIT_INDEX_FILE", base.join("index")).output().context("cannot run git")?;
        if !output.status.success() {
            bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    git(&["read-tree", "HEAD"])?;
    git(&["checkout-index", "--all", &format!("--prefix={}/", tree.display())])?;
    if !git(&["status", "--porcelain"])?.is_empty() {
        println!("note: this tests the last commit; what is not committed is not in it");
    }
    Ok(tree)
}

fn blocks(text: &str) -> Result<Vec<Block>> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
    while let Some((line, marker)) = lines.next() {
        let kind = match marker.trim() {
            RUN => "```sh",
            OUTPUT => "```text",
            _ => continue,
        };
        let fence = lines.by_ref().find(|(_, line)| !line.is_empty());
        if fence.is_none_or(|(_, fence)| fence != kind) {
            bail!("README.md line {line}: behind {} a {kind} block must follow", marker.trim());
        }
        let mut content = Vec::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some((_, line)) => content.push(line.to_owned()),
                None => bail!("README.md line {line}: the block has no end"),
            }
        }
        if kind == "```sh" {
            blocks.push(Block { line, script: content, output: None });
        } else if let Some(block) = blocks.last_mut() {
            block.output = Some(content);
        } else {
            bail!("README.md line {line}: there is no block to run before this output");
        }
    }
    Ok(blocks)
}

/// The first line of `expected` that is not in `printed`, looked for in order.
fn first_missing<'a>(expected: &'a [String], printed: &[String]) -> Option<&'a str> {
    let mut printed = printed.iter().map(|line| normal(line));
    expected
        .iter()
        .map(String::as_str)
        .filter(|line| !matches!(line.trim(), "" | "..." | "\u{2026}"))
        .find(|line| !printed.by_ref().any(|other| other == normal(line)))
}

/// Numbers become `N` (a point or comma between digits belongs to the number), blanks become one.
fn normal(line: &str) -> String {
    let mut result = String::new();
    let mut rest = line.chars().peekable();
    let mut in_number = false;
    while let Some(c) = rest.next() {
        let joins = matches!(c, '.' | ',') && rest.peek().is_some_and(char::is_ascii_digit);
        if c.is_ascii_digit() {
            if !in_number {
                result.push('N');
            }
            in_number = true;
        } else if !(in_number && joins) {
            in_number = false;
            result.push(c);
        }
    }
    result.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn only_marked_blocks() {
        let text = "# x\n```sh\nrm -r x\n```\n<!-- ci:run -->\n\n```sh\na\nb\n```\nso:\n<!-- ci:output -->\n```text\nc\n```\n";
        let found = blocks(text).unwrap();
        let output = Some(strings(&["c"]));
        assert_eq!(found, [Block { line: 5, script: strings(&["a", "b"]), output }]);
    }

    #[test]
    fn a_mark_without_its_block_is_an_error() {
        assert!(blocks("<!-- ci:run -->\ntext\n").is_err());
        assert!(blocks("<!-- ci:run -->\n```sh\nno end\n").is_err());
        assert!(blocks("<!-- ci:output -->\n```text\n```\n").is_err());
    }

    #[test]
    fn numbers_and_blanks_do_not_matter() {
        assert_eq!(normal("  2.0 GiB,  1,024 reads in 0.41s."), "N GiB, N reads in Ns.");
        let printed = strings(&["Compiling", "copied 10 MiB in 3 s", "direct 100%"]);
        assert_eq!(first_missing(&strings(&["copied 9.5 MiB  in 1 s", "...", "direct 7%"]), &printed), None);
        assert_eq!(
            first_missing(&strings(&["direct 7%", "copied 1 MiB in 1 s"]), &printed),
            Some("copied 1 MiB in 1 s")
        );
        assert_eq!(first_missing(&strings(&["copied 1 MiB in 1 m"]), &printed), Some("copied 1 MiB in 1 m"));
    }
}
