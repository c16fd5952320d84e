//! Copies that go around what cannot be read, keep a map, and are gone on with: over a disk whose bytes fail on demand.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../faulty/mod.rs"]
mod faulty;

mod ddrescue;
mod killed;
mod maps;
mod passes;
mod refusals;
mod support;
