//! The misuse checker, told what drivers do.
//!
//! `linux` holds the scenarios of `vectors/debug.json`, each by its id: what Linux's own checker finds, or lets pass.
//! `beyond` is what that one does not see: limits of the device, a device that touches what is not mapped for it, the
//! CPU in memory that the device owns, and the bounds of the record. `random` lets a correct driver run at random,
//! which is never accused, then has it make one mistake, which is always found, and nothing else with it.

#[path = "debug/beyond.rs"]
mod beyond;
#[path = "debug/linux.rs"]
mod linux;
#[path = "debug/random.rs"]
mod random;
#[path = "debug/support.rs"]
mod support;
