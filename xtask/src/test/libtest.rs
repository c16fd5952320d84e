//! Reads what test binaries print and turns it into counts.
//!
//! The output comes in segments: one for each binary, opened by cargo's `Running` or `Doc-tests` line
//! or by [`Reader::open`]. Two kinds of binaries are understood: libtest's (`test result: ...`) and
//! runners of our own, whose last line is `N passed, N failed, N skipped`. A segment without either is
//! a crash and counts as a failure; so does an ignored test.

use super::tally::{Skip, Step};

/// Takes the lines of one or more test binaries.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    segments: Vec<Segment>,
}

#[derive(Debug, Default)]
struct Segment {
    name: String,
    libtest: Option<Counts>,
    own: Option<Counts>,
    failures: Vec<String>,
    ignored: Vec<String>,
    skips: Vec<Skip>,
}

/// `rest` is the ignored tests of libtest and the skipped cases of our own runners.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    rest: u64,
}

impl Reader {
    /// Opens the segment of the binary `name`.
    pub(crate) fn open(&mut self, name: impl Into<String>) {
        self.segments.push(Segment { name: name.into(), ..Segment::default() });
    }

    /// Takes one line.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(name) = opens_segment(line) {
            self.open(name);
            return;
        }
        let Some(segment) = self.segments.last_mut() else { return };
        if let Some(counts) = libtest_result(line) {
            let sum = segment.libtest.get_or_insert_default();
            sum.passed += counts.passed;
            sum.failed += counts.failed;
            sum.rest += counts.rest;
        } else if let Some(counts) = own_result(line) {
            segment.own = Some(counts);
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(|t| t.rsplit_once(" ... "))
        {
            if outcome == "FAILED" {
                segment.failures.push(name.to_owned());
            } else if outcome == "ignored" || outcome.starts_with("ignored,") {
                segment.ignored.push(name.to_owned());
            }
        } else if let Some(skip) = line.strip_prefix("SKIPPED ").and_then(skip_line) {
            segment.skips.push(skip);
        }
    }

    /// Adds the counts to `step`. `logged` are the skips that tests wrote to the skip log: libtest counted
    /// them as passed. `label` is put behind the names of skipped tests.
    pub(crate) fn finish(self, step: &mut Step, logged: Vec<Skip>, label: &str) {
        let mut from_libtest: Vec<Skip> = Vec::new();
        for skip in logged {
            let counted = self.segments.iter().any(|s| s.libtest.is_none() && s.skips.contains(&skip));
            if counted {
                continue;
            }
            // One test may lack two things; it is still one skip.
            match from_libtest.iter_mut().find(|other| other.name == skip.name) {
                Some(other) if other.reason.contains(&skip.reason) => {}
                Some(other) => other.reason = format!("{}; {}", other.reason, skip.reason),
                None => from_libtest.push(skip),
            }
        }
        for segment in self.segments {
            segment.finish(step, label);
        }
        for skip in from_libtest {
            step.passed = step.passed.saturating_sub(1);
            step.skip(format!("{}{label}", skip.name), skip.reason);
        }
    }
}

impl Segment {
    fn finish(self, step: &mut Step, label: &str) {
        let Some(counts) = self.libtest.or(self.own) else {
            step.fail(format!("{}{label} ended without a result", self.name));
            return;
        };
        step.passed += counts.passed;
        step.failed += counts.failed;
        step.failures.extend(self.failures.into_iter().map(|test| format!("{test}{label} ({})", self.name)));
        if self.libtest.is_some() {
            step.failed += counts.rest;
            let why = "is ignored, and a test that is ignored proves nothing";
            step.failures.extend(self.ignored.into_iter().map(|test| format!("{test}{label} {why}")));
        } else {
            step.skipped += counts.rest;
            let named = self.skips.into_iter().map(|s| Skip { name: format!("{}{label}", s.name), ..s });
            step.skips.extend(named);
        }
    }
}

/// Reads `name: reason`.
pub(crate) fn skip_line(line: &str) -> Option<Skip> {
    let (name, reason) = line.trim().split_once(": ")?;
    Some(Skip { name: name.to_owned(), reason: reason.to_owned() })
}

fn opens_segment(line: &str) -> Option<String> {
    let text = line.trim_start();
    if let Some(crate_name) = text.strip_prefix("Doc-tests ") {
        return line.starts_with("   ").then(|| format!("doc tests of {crate_name}"));
    }
    let (name, file) = text.strip_prefix("Running ")?.split_once(" (")?;
    (line.starts_with("   ") && file.ends_with(')')).then(|| name.to_owned())
}

fn libtest_result(line: &str) -> Option<Counts> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut parts = counts.split("; ");
    let mut next = |word| number_before(parts.next()?, word);
    Some(Counts { passed: next("passed")?, failed: next("failed")?, rest: next("ignored")? })
}

fn own_result(line: &str) -> Option<Counts> {
    let mut parts = line.split(", ");
    let mut next = |word| number_before(parts.next()?, word);
    let counts = Counts { passed: next("passed")?, failed: next("failed")?, rest: next("skipped")? };
    parts.next().is_none().then_some(counts)
}

fn number_before(text: &str, word: &str) -> Option<u64> {
    text.strip_suffix(word)?.strip_suffix(' ')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, logged: &[(&str, &str)]) -> Step {
        let mut reader = Reader::default();
        text.lines().for_each(|line| reader.line(line));
        let skip = |(name, reason): &(&str, &str)| Skip { name: (*name).into(), reason: (*reason).into() };
        let mut step = Step::default();
        reader.finish(&mut step, logged.iter().map(skip).collect(), " (as nobody)");
        step
    }

    fn counts(step: &Step) -> (u64, u64, u64) {
        (step.passed, step.failed, step.skipped)
    }

    #[test]
    fn libtest_and_own_runner_and_doc_tests() {
        let text = "     Running unittests src/lib.rs (target/debug/deps/a-1)\n\
            test x::y ... FAILED\n\
            test result: FAILED. 7 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            \x20    Running tests/vectors.rs (target/debug/deps/vectors-1)\n\
            9 passed, 0 failed, 0 skipped\n\
            SKIPPED case 4: not yet\n\
            100 passed, 0 failed, 1 skipped\n\
            \x20  Doc-tests scatterlist\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        let step = read(text, &[("case 4", "not yet")]);
        assert_eq!(counts(&step), (110, 1, 1));
        assert_eq!(step.failures, ["x::y (as nobody) (unittests src/lib.rs)"]);
        assert_eq!(step.skips[0].name, "case 4 (as nobody)");
    }

    #[test]
    fn a_crash_is_a_failure() {
        let step = read("     Running tests/a.rs (target/a)\ntest b ... ok\n", &[]);
        assert_eq!(counts(&step), (0, 1, 0));
        assert_eq!(step.failures, ["tests/a.rs (as nobody) ended without a result"]);
    }

    #[test]
    fn an_ignored_test_is_a_failure() {
        let text = "     Running tests/a.rs (target/a)\ntest slow ... ignored, takes long\n\
            test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s\n";
        let step = read(text, &[]);
        assert_eq!(counts(&step), (1, 1, 0));
        assert!(step.failures[0].starts_with("slow (as nobody) is ignored"));
    }

    #[test]
    fn a_logged_skip_was_counted_as_passed() {
        let text = "     Running tests/a.rs (target/a)\n\
            test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s\n";
        let step =
            read(text, &[("loop_device", "no losetup"), ("loop_device", "no root"), ("other", "no disk")]);
        assert_eq!(counts(&step), (3, 0, 2));
        assert_eq!(step.skips[0].reason, "no losetup; no root");
    }
}
