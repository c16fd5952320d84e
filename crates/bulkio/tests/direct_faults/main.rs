//! Direct I/O on files and devices that misbehave: short, interrupted and failed operations, answers that come late or never,
//! system calls that are forbidden, files that may be written and not read.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

#[path = "../common/mod.rs"]
mod common;
mod completions;
mod errors;
#[path = "../faulty/mod.rs"]
mod faulty;
mod held;
#[path = "../pages/nobody.rs"]
mod nobody;
mod queue;
mod refused;
mod scope;
mod support;
mod teardown;
mod write_only;
