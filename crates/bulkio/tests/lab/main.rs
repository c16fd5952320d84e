//! Tests of devices that development machines lack. They run in the guest that `cargo xtask lab` boots: each module in the group of its
//! name. Anywhere else they skip themselves.

#![expect(clippy::unwrap_used, reason = "tests may panic, helpers included")]

mod classes;
#[path = "../common/mod.rs"]
mod common;
mod dm;
#[path = "../faulty/mod.rs"]
mod faulty;
mod nvme;
mod scsi;
mod support;
