//! The page of invariants against the source: every file with unsafe code, every numbered promise, word for word.
//!
//! The page is made from the source. `UPDATE_INVARIANTS=1 cargo test -p scatterlist --test invariants` writes it anew.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../src/guide/invariants.md");

const HEAD: &str = "\
Every invariant that unsafe code of this crate rests on, file by file.

Made from the source by a test, which fails where the two differ. Files that are not here have no unsafe code: the
compiler refuses it. A SAFETY comment in a file names the numbers of the promises that it rests on.
";

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// What stands behind `reason = \"` in the attribute that lets unsafe code in.
fn reason(text: &str) -> Option<&str> {
    let attribute = &text[text.find("expect(")?..];
    let attribute = &attribute[..attribute.find(")]")?];
    let (_, reason) = attribute.split_once("unsafe_code")?.1.split_once('"')?;
    reason.split_once('"').map(|(reason, _)| reason)
}

/// The name behind one of the words that open an item.
fn item(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
    let line = line.trim_start_matches("pub(super) ");
    for (word, kind) in [("struct ", "type"), ("enum ", "type"), ("unsafe trait ", "trait")] {
        if let Some(rest) = line.strip_prefix(word) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            return Some((kind, &rest[..end]));
        }
    }
    None
}

/// The lines under a heading, up to the next one or a blank line.
fn under<'a>(doc: &[&'a str], heading: &str) -> Vec<&'a str> {
    let start = doc.iter().position(|line| line.trim() == heading);
    let lines = start.map_or(&[][..], |start| &doc[start + 1..]);
    lines
        .iter()
        .take_while(|line| !line.trim().is_empty() && !line.trim().starts_with('#'))
        .copied()
        .collect()
}

fn page(root: &Path) -> String {
    let mut page = HEAD.to_owned();
    for file in sources(root) {
        let text = fs::read_to_string(&file).unwrap();
        let Some(reason) = reason(&text) else { continue };
        let name = file.strip_prefix(root).unwrap().display();
        writeln!(page, "\n# `{name}`\n\nUnsafe for: {reason}.").unwrap();
        let mut doc: Vec<&str> = Vec::new();
        for line in text.lines() {
            if let Some(comment) = line.trim_start().strip_prefix("///") {
                doc.push(comment.strip_prefix(' ').unwrap_or(comment));
                continue;
            }
            if line.trim_start().starts_with("#[") {
                continue;
            }
            if let Some((kind, name)) = item(line) {
                let promises =
                    if kind == "trait" { under(&doc, "# Safety") } else { under(&doc, "# Invariants") };
                if !promises.is_empty() {
                    let verb = if kind == "trait" { "Implementors promise" } else { "Invariants" };
                    writeln!(page, "\n{verb}, `{name}`:\n").unwrap();
                    for promise in promises {
                        writeln!(page, "{}", linkless(promise)).unwrap();
                    }
                }
            }
            doc.clear();
        }
    }
    page
}

/// Links of the source lead nowhere from another page: their words stay.
fn linkless(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((words, behind)) = after.split_once(']') else { break };
        plain += before;
        plain += words;
        let target = behind.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(behind, |(_, behind)| behind);
    }
    plain + rest
}

fn skipped(reason: &str) {
    let line = format!("the_page_says_what_the_source_says: {reason}");
    println!("SKIPPED {line}");
    if let Some(log) = std::env::var_os("BULKIO_SKIP_LOG") {
        let mut log = fs::OpenOptions::new().append(true).create(true).open(log).unwrap();
        writeln!(log, "{line}").unwrap();
    }
}

#[test]
fn the_page_says_what_the_source_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    if fs::read_dir(&root).is_err() {
        return skipped(&format!("{} cannot be read", root.display()));
    }
    let made = page(&root);
    if std::env::var_os("UPDATE_INVARIANTS").is_some() {
        fs::write(root.join("guide/invariants.md"), &made).unwrap();
        return;
    }
    assert!(made == PAGE, "the page is not that of the source; UPDATE_INVARIANTS=1 makes it anew");
}
