//! Planned, zero-copy transfers between files and devices on Linux.

pub mod copy;
pub mod device;
pub mod engine;
pub mod pages;
pub mod probe;
