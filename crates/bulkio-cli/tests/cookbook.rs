//! What `COOKBOOK.md` shows can be typed: its form is the one that the lab reads, and no command or flag of it is unknown. What the commands do is
//! tested in the lab (`cargo xtask lab cookbook`).

mod common;
#[path = "../../bulkio/tests/recipes/mod.rs"]
mod recipes;
mod support;

use std::collections::BTreeMap;

use recipes::{COOKBOOK, Kind, recipes};
use support::bulkio;

/// What each command of ours takes, as its help has it.
fn help(command: &str) -> String {
    let output = bulkio().args([command, "--help"]).output().expect("the command starts");
    assert!(output.status.success(), "there is no `bulkio {command}`: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// The flags of a text: words of letters and dashes behind two dashes.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.len() > 2 && word.starts_with("--"))
}

#[test]
fn every_flag_of_the_cookbook_is_known() {
    let recipes = recipes(COOKBOOK).expect("the cookbook has its form");
    assert!(recipes.len() >= 10, "the ten commonest jobs, and not {}", recipes.len());
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = 0;
    for recipe in &recipes {
        for block in recipe.blocks.iter().filter(|block| block.kind == Kind::Ours) {
            assert!(block.script.contains("bulkio "), "line {}: a block without bulkio", block.line);
            for call in block.script.split("bulkio ").skip(1) {
                let call = call.split(['\n', '|', ';']).next().unwrap_or_default();
                let command = call.split_ascii_whitespace().next().unwrap_or_default();
                let help = helps.entry(command.to_owned()).or_insert_with(|| help(command));
                for flag in flags(call) {
                    assert!(
                        flags(help).any(|known| known == flag),
                        "line {}: `bulkio {command}` has no {flag}",
                        block.line
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10, "only {seen} flags were found");
}

#[test]
fn what_is_no_recipe_is_an_error() {
    let one =
        "# x\n\n## A\n\nIt exits with 4 or exits with 0.\n\n```sh\na\n```\n\nso\n\n```text\nb\nc\n```\n";
    let found = recipes(one).expect("one recipe");
    let blocks: Vec<_> =
        found[0].blocks.iter().map(|block| (block.kind, &*block.script, &*block.codes)).collect();
    assert_eq!((found.len(), &*found[0].heading), (1, "A"));
    assert_eq!(blocks, [(Kind::Ours, "a\n", &[4, 0][..]), (Kind::Old, "b\nc\n", &[0][..])]);
    for (text, error) in [
        ("```sh\na\n```\n", "line 1: a block before all headings"),
        ("## A\n```console\na\n```\n", "line 2: a block of `console`, neither sh nor text"),
        ("## A\n```sh\na\n", "line 2: the block has no end"),
        ("## A\n```sh\na\n```\n", "`A` has not some blocks of sh and one of text behind"),
        ("## A\n```text\na\n```\n", "`A` has not some blocks of sh and one of text behind"),
    ] {
        assert_eq!(recipes(text), Err(error.to_owned()));
    }
}
