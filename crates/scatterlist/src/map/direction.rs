//! [`DmaDirection`]: which way the bytes of a mapping go.

/// Which way the bytes of a mapping go, as a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DmaDirection {
    /// Memory to device.
    ToDevice,
    /// Device to memory.
    FromDevice,
    /// Both ways.
    Both,
}
