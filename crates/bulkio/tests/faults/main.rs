//! Every engine on devices that misbehave: short transfers, interruptions, errors in the middle, answers that come late
//! or never.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../faulty/mod.rs"]
mod faulty;

mod completions;
mod copies;
mod disk;
mod gate;
mod refused;
mod signals;
mod support;
