//! Pages for readers: how a driver is written, other systems' names, what does not compile, every invariant.
//!
//! No code: their examples are tests.

pub mod drivers;
pub mod invariants;
pub mod names;
pub mod ownership;
