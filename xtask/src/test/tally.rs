//! What the steps of `cargo xtask test` found, and the report at the end.
//!
//! The report's last line is the contract: `N passed, N failed, N skipped`, alone on its line.

use std::fmt;
use std::time::{Duration, Instant};

/// A test or check that could not run here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Skip {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// The outcome of one step. `failures` and `skips` name what the counts count, as far as names are known.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub(crate) title: String,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) skips: Vec<Skip>,
    /// How long it took, once it is over.
    pub(crate) time: Duration,
}

impl Step {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn fail(&mut self, what: impl Into<String>) {
        self.failed += 1;
        self.failures.push(what.into());
    }

    pub(crate) fn skip(&mut self, name: impl Into<String>, reason: impl Into<String>) {
        self.skipped += 1;
        self.skips.push(Skip { name: name.into(), reason: reason.into() });
    }

    /// Adds what another step found.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
    }

    /// Counts one check.
    pub(crate) fn check(&mut self, name: &str, good: bool) {
        if good { self.pass() } else { self.fail(name) }
    }
}

/// All steps of one run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    steps: Vec<Step>,
}

impl Tally {
    /// Runs one step under its heading. A step that ends with an error counts as one failure.
    pub(crate) fn step(&mut self, title: &str, work: impl FnOnce(&mut Step) -> anyhow::Result<()>) {
        println!("\n=== {title}");
        let (mut step, start) = (Step::new(title), Instant::now());
        if let Err(error) = work(&mut step) {
            println!("{error:#}");
            step.fail(format!("{error:#}"));
        }
        step.time = start.elapsed();
        println!("--- {title}: {:.0} s", step.time.as_secs_f64());
        self.steps.push(step);
    }

    pub(crate) fn failed(&self) -> bool {
        self.steps.iter().any(|step| step.failed > 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n=== summary")?;
        for step in &self.steps {
            for skip in &step.skips {
                writeln!(f, "skipped {}: {}", skip.name, skip.reason)?;
            }
        }
        for step in &self.steps {
            for failure in &step.failures {
                writeln!(f, "FAILED {}: {failure}", step.title)?;
            }
        }
        for step in &self.steps {
            let Step { title, passed, failed, skipped, time, .. } = step;
            let seconds = time.as_secs_f64();
            writeln!(f, "{title}: {passed} passed, {failed} failed, {skipped} skipped ({seconds:.0} s)")?;
        }
        let sum = |count: fn(&Step) -> u64| self.steps.iter().map(count).sum::<u64>();
        let (passed, failed, skipped) = (sum(|s| s.passed), sum(|s| s.failed), sum(|s| s.skipped));
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_adds_the_steps() {
        let mut tally = Tally::default();
        tally.step("one", |step| {
            step.pass();
            step.skip("a", "no disk");
            Ok(())
        });
        assert!(!tally.failed());
        tally.step("two", |step| {
            step.pass();
            anyhow::bail!("broken")
        });
        assert!(tally.failed());
        let report = tally.to_string();
        assert_eq!(report.lines().last(), Some("2 passed, 1 failed, 1 skipped"));
        assert!(report.contains("skipped a: no disk") && report.contains("FAILED two: broken"));
    }
}
