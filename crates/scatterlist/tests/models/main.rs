//! What threads share, in every order that the memory model allows.
//!
//! Built only with `--cfg loom` (`cargo xtask test` does), else this file is empty. Each test is a small program of two
//! or three threads; loom runs it again and again until it has tried every interleaving, and every value that
//! a relaxed load may see. What must be so is asserted in each of them. A thread does not outlive its model, and nothing
//! but loom's own types may make a model run differently.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod lock;
mod pool;
mod raw_mutex;
mod shared;
