//! dd's operands (`if=`, `of=`, `bs=` ...), typed by habit: recognised, and answered with the line to type
//! instead.
//!
//! They are not taken: `skip=10` counts blocks in dd and would count bytes here, which nobody should have to
//! guess.

use std::ffi::OsString;

use crate::size;

const OPERANDS: [&str; 13] =
    ["if", "of", "bs", "ibs", "obs", "cbs", "count", "skip", "seek", "iseek", "oseek", "conv", "status"];
const FLAGS: [&str; 2] = ["iflag", "oflag"];

/// dd's block where `bs=` is not given.
const DD_BLOCK_BYTES: u64 = 512;

/// Returns what to tell someone who typed dd's operands; `None` where there are none.
pub(crate) fn answer(words: &[OsString]) -> Option<String> {
    let words: Vec<&str> =
        words.iter().map_while(|word| word.to_str()).take_while(|word| *word != "--").collect();
    let operands: Vec<(&str, &str)> = words.iter().filter_map(|word| operand(word)).collect();
    let (name, value) = operands.first()?;
    let line = translation(&operands);
    Some(format!(
        "`{name}={value}` is an operand of dd; write: {line}\n(in short: bulkio copy SRC DST, with sizes in bytes; \
         a file of that name is ./{name}={value})"
    ))
}

fn operand(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(name, _)| OPERANDS.contains(name) || FLAGS.contains(name))
}

/// The same copy in this command's words, as far as it can be told.
fn translation(operands: &[(&str, &str)]) -> String {
    let last = |name: &str| operands.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let bs = last("bs");
    let block = |own: &str| match bs.or_else(|| last(own)) {
        None => Some(DD_BLOCK_BYTES),
        Some(text) => dd_bytes(text),
    };
    let flags = |name: &str| last(name).unwrap_or_default().split(',').collect::<Vec<_>>();
    let mut line = String::from("bulkio copy");
    if let Some(bytes) = bs.and_then(dd_bytes) {
        line += &format!(" --bs {bytes}");
    }
    let positions = [
        ("skip", "ibs", "--skip"),
        ("iseek", "ibs", "--skip"),
        ("seek", "obs", "--seek"),
        ("oseek", "obs", "--seek"),
        ("count", "ibs", "--count"),
    ];
    for (name, own_block, flag) in positions {
        let Some(text) = last(name) else { continue };
        // dd takes a trailing B as bytes.
        let bytes = match text.strip_suffix('B').filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        {
            Some(number) => number.parse().ok(),
            None => dd_bytes(text).zip(block(own_block)).and_then(|(count, block)| count.checked_mul(block)),
        };
        line += &match bytes {
            Some(bytes) => format!(" {flag} {bytes}"),
            None => format!(" {flag} BYTES"),
        };
    }
    if flags("conv").contains(&"notrunc") {
        line += " --no-truncate";
    }
    if flags("iflag").contains(&"direct") || flags("oflag").contains(&"direct") {
        line += " --direct require";
    }
    if last("status") == Some("none") {
        line += " --quiet";
    }
    // Without either, the ends were named as they are here.
    let named = last("if").is_some() || last("of").is_some();
    for (name, ours) in [("if", "SRC"), ("of", "DST")] {
        line.push(' ');
        line += &last(name).map_or_else(|| if named { "-".to_owned() } else { ours.to_owned() }, shell_word);
    }
    line
}

/// A number as dd reads it, where that needs no guessing.
fn dd_bytes(text: &str) -> Option<u64> {
    if let Some(blocks) = text.strip_suffix('b') {
        return blocks.parse::<u64>().ok()?.checked_mul(512);
    }
    size::parse(text).ok()
}

/// Quotes a word for the shell if it needs that.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &str) -> Option<String> {
        let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        let answer = answer(&words)?;
        Some(answer.split_once("write: ")?.1.lines().next()?.to_owned())
    }

    #[test]
    fn a_dd_line_is_answered_with_ours() {
        let cases = [
            ("copy if=a of=b", "bulkio copy a b"),
            ("if=a of=/dev/sdb bs=4M", "bulkio copy --bs 4194304 a /dev/sdb"),
            (
                "if=a of=b bs=1M skip=3 seek=2 count=1",
                "bulkio copy --bs 1048576 --skip 3145728 --seek 2097152 --count 1048576 a b",
            ),
            ("if=a of=b skip=3", "bulkio copy --skip 1536 a b"),
            ("if=a of=b count=100B", "bulkio copy --count 100 a b"),
            ("copy of=b", "bulkio copy - b"),
            ("copy a b bs=1M", "bulkio copy --bs 1048576 SRC DST"),
            ("if=a of=b bs=2x512 skip=1", "bulkio copy --skip BYTES a b"),
            (
                "if=it's of=b conv=notrunc,fsync oflag=direct status=none",
                r"bulkio copy --no-truncate --direct require --quiet 'it'\''s' b",
            ),
        ];
        for (words, expected) in cases {
            assert_eq!(line(words).as_deref(), Some(expected), "{words}");
        }
    }

    #[test]
    fn other_words_are_left_alone() {
        for words in ["copy a b", "copy ./if=a b", "copy --bs=1M a b", "copy -- if=a b", "copy x=1 b"] {
            assert_eq!(line(words), None, "{words}");
        }
    }
}
