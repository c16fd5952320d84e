#![doc = include_str!("invariants.md")]
