//! What `COOKBOOK.md` holds: recipes, each a heading of the second level with blocks of commands.
//!
//! A block of `sh` is ours, one of `text` is what it replaces. A block exits with 0, unless the text between it and the block (or heading) before it
//! says "exits with N"; said of several numbers, any of them will do. Whatever is not of this form is an error, so that no command is
//! passed over in silence.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test binary uses its own part of this, so that an expectation would fail in some"
)]

/// The cookbook.
pub const COOKBOOK: &str = include_str!("../../../../COOKBOOK.md");

/// Who is meant to run a block.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A block of `sh`: commands of ours.
    Ours,
    /// A block of `text`: the commands in whose place those are.
    Old,
}

/// Commands that run in one shell.
#[derive(Debug, Eq, PartialEq)]
pub struct Block {
    pub kind: Kind,
    /// The line of its fence, from 1.
    pub line: usize,
    pub script: String,
    /// Exit codes that the text tells.
    pub codes: Vec<i32>,
}

/// A job.
#[derive(Debug, Eq, PartialEq)]
pub struct Recipe {
    pub heading: String,
    pub blocks: Vec<Block>,
}

/// Takes a text apart; the error names the line.
pub fn recipes(text: &str) -> Result<Vec<Recipe>, String> {
    let mut recipes: Vec<Recipe> = Vec::new();
    let mut said = String::new();
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    while let Some((line, content)) = lines.next() {
        if let Some(heading) = content.strip_prefix("## ") {
            recipes.push(Recipe { heading: heading.trim().to_owned(), blocks: Vec::new() });
            said.clear();
        } else if let Some(language) = content.strip_prefix("```") {
            let kind = match language {
                "sh" => Kind::Ours,
                "text" => Kind::Old,
                other => return Err(format!("line {line}: a block of `{other}`, neither sh nor text")),
            };
            let mut script = String::new();
            loop {
                match lines.next() {
                    Some((_, "```")) => break,
                    Some((_, command)) => script.extend([command, "\n"]),
                    None => return Err(format!("line {line}: the block has no end")),
                }
            }
            let recipe = recipes.last_mut().ok_or(format!("line {line}: a block before all headings"))?;
            recipe.blocks.push(Block { kind, line, script, codes: codes(&said) });
            said.clear();
        } else {
            said.extend([content, " "]);
        }
    }
    match recipes.iter().find(|recipe| !is_whole(recipe)) {
        Some(recipe) => Err(format!("`{}` has not some blocks of sh and one of text behind", recipe.heading)),
        None => Ok(recipes),
    }
}

/// The numbers behind each "exits with".
fn codes(said: &str) -> Vec<i32> {
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    let codes: Vec<_> =
        said.split("exits with ").skip(1).filter_map(|rest| digits(rest).parse().ok()).collect();
    if codes.is_empty() { vec![0] } else { codes }
}

fn is_whole(recipe: &Recipe) -> bool {
    let olds = recipe.blocks.iter().filter(|block| block.kind == Kind::Old).count();
    olds == 1 && recipe.blocks.len() > 1 && recipe.blocks.last().is_some_and(|block| block.kind == Kind::Old)
}
