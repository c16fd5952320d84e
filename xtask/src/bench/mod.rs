//! Benches: us beside a peer, in one run, in turns.
//!
//! Absolute figures say little about another machine, so what counts are ratios of pairs measured in
//! the same round ([`stats`]). A bench prints a table and gates and writes `target/bench/<name>.json`
//! ([`report`]); a missed gate is shown, it is not an exit status.

mod cache;
pub(crate) mod copy;
pub(crate) mod core;
mod data;
pub(crate) mod depth;
mod fio;
pub(crate) mod hash;
pub(crate) mod iops;
mod measure;
pub(crate) mod nvme;
mod report;
pub(crate) mod sparse;
mod stats;
mod told;
