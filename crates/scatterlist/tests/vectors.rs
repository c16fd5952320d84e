//! Runs the vectors: every `*.json` of the folder in `VECTORS_DIR`, by default the project's own copy.
//!
//! Data suites run from the files as they are; scenario suites, whose cases are tests by id elsewhere, are counted as
//! skipped, by an explicit list. Whatever is not understood (a suite, a key, a value) is a
//! failure, never a silent pass. One line per failing case, and the last line is `N passed, N failed,
//! N skipped`. An argument runs only the cases whose id contains it.

mod vectors_runner;

fn main() -> std::process::ExitCode {
    vectors_runner::run()
}
