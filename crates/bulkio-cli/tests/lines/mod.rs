//! The lines of `--json`, held against the schema that `bulkio schema` prints.
#![allow(
    unreachable_pub,
    clippy::allow_attributes,
    reason = "a module of test binaries, in each of which nothing else can reach it"
)]

use serde_json::Value;

use crate::support::{Ended, bulkio};

fn schema() -> jsonschema::Validator {
    let output = bulkio().arg("schema").output().expect("the command starts");
    assert!(output.status.success(), "{output:?}");
    let schema = serde_json::from_slice(&output.stdout).expect("one object");
    jsonschema::draft202012::new(&schema).expect("a schema")
}

/// Checks every line, and returns them.
#[track_caller]
pub fn valid(text: &str, code: i32) -> Vec<Value> {
    let schema = schema();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}")))
        .collect();
    for line in &lines {
        if let Err(error) = schema.validate(line) {
            panic!("{error} in {line}");
        }
    }
    let (last, before) = lines.split_last().expect("a last line");
    assert_eq!((&last["event"], last["exit_code"].as_i64()), (&"end".into(), Some(code.into())), "{text}");
    assert!(before.iter().all(|line| line["event"] != "end"), "{text}");
    let starts = lines.iter().filter(|line| line["event"] == "start").count();
    // A second signal ends a copy that has begun, without a report.
    assert!(starts == 1 || (starts == 0 && last["source"].is_null()), "{text}");
    lines
}

#[track_caller]
pub fn ends(ended: &Ended, code: i32, outcome: &str) -> Vec<Value> {
    ended.exits(code);
    let lines = valid(&ended.stdout, code);
    assert_eq!(ended.json()["outcome"], outcome, "{ended:#?}");
    lines
}
