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
