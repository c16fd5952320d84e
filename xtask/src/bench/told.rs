//! What `bulkio copy --json` told.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The report of a copy, the last line of what it printed.
pub(crate) fn report(printed: &str) -> Result<Value> {
    let line = printed.trim().lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("no report: {line}"))
}

/// A number of the report.
pub(crate) fn number(printed: &str, pointer: &str) -> Result<f64> {
    let number = report(printed)?.pointer(pointer).and_then(Value::as_f64);
    number.with_context(|| format!("the report has no {pointer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_the_last_line() {
        let printed = "{\"seconds\": 1}\n{\"seconds\": 2.5, \"verified\": {\"seconds\": 0.5}}\n";
        assert_eq!(number(printed, "/seconds").unwrap(), 2.5);
        assert_eq!(number(printed, "/verified/seconds").unwrap(), 0.5);
        assert!(number(printed, "/other").is_err() && number("no", "/seconds").is_err());
    }
}
