//! Mapping memory for devices.
//!
//! `direction` says which way the bytes go; `checked` finds misuse of any back end.

#[cfg(feature = "alloc")]
pub mod checked;
mod direction;

pub use direction::DmaDirection;
