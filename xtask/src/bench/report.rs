//! What a bench found: a table for people, gates, and a JSON file for comparisons over time.
//!
//! The file is an array of objects `name`, `value`, `unit`; where a peer ran beside us also `peer`,
//! `peer_value` and `ratio` (ours over theirs, so below 1 is better for times and sizes).

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::stats::{median, median_ratio};

/// One figure.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(flatten)]
    beside: Option<Beside>,
}

/// The same figure of a peer.
#[derive(Debug, Serialize)]
struct Beside {
    peer: String,
    peer_value: f64,
    ratio: f64,
}

/// A floor that the figures should keep; `None` where it could not be judged.
#[derive(Debug)]
struct Gate {
    kept: Option<bool>,
    text: String,
}

/// Everything that one bench reports.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    gates: Vec<Gate>,
}

impl Report {
    /// Adds the median of `values`.
    pub(crate) fn figure(&mut self, name: impl Into<String>, unit: &'static str, values: &[f64]) {
        self.figures.push(Figure { name: name.into(), value: median(values), unit, beside: None });
    }

    /// Adds the medians of ours and of a peer, and returns the median of their ratio round by round.
    pub(crate) fn beside(
        &mut self,
        name: &str,
        unit: &'static str,
        ours: &[f64],
        peer: &str,
        theirs: &[f64],
    ) -> f64 {
        let ratio = median_ratio(ours, theirs);
        let beside = Beside { peer: peer.to_owned(), peer_value: median(theirs), ratio };
        self.figures.push(Figure { name: name.to_owned(), value: median(ours), unit, beside: Some(beside) });
        ratio
    }

    /// Adds a gate.
    pub(crate) fn gate(&mut self, kept: Option<bool>, text: impl Into<String>) {
        self.gates.push(Gate { kept, text: text.into() });
    }

    /// Writes the figures to `file`, making its folder.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut text = serde_json::to_string_pretty(&self.figures).context("cannot write figures as JSON")?;
        text.push('\n');
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Prints the gates.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Gate { kept, text } in &self.gates {
            let word = match kept {
                Some(true) => "ok",
                Some(false) => "MISSED",
                None => "unknown",
            };
            writeln!(f, "{word:7} {text}")?;
        }
        Ok(())
    }
}

/// Rows under headings: the first column to the left, the others to the right.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(length).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line += &match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_adds_its_three_fields() {
        let mut report = Report::default();
        report.figure("copy peak memory", "MiB", &[12.0]);
        assert_eq!(report.beside("copy wall", "s", &[1.0, 3.0, 2.0], "dd", &[2.0, 6.0, 4.0]), 0.5);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bench/copy.json");
        report.write(&file).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let expected = serde_json::json!([
            { "name": "copy peak memory", "value": 12.0, "unit": "MiB" },
            { "name": "copy wall", "value": 2.0, "unit": "s", "peer": "dd", "peer_value": 4.0, "ratio": 0.5 },
        ]);
        assert_eq!(value, expected);
    }

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&["who", "wall"]);
        table.row(vec!["bulkio".into(), "1.25".into()]);
        assert_eq!(table.to_string(), "who     wall\nbulkio  1.25\n");
    }
}
