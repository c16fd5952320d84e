//! Directions: as a value ([`DmaDirection`]), and as types ([`ToDevice`], [`FromDevice`], [`Both`]).
//!
//! The type of a mapping's direction decides what compiles: only what the CPU writes may be written, only what the
//! device writes may be read. A [`Request`](crate::Request) knows its direction at run time, so its own
//! [`Direction`](crate::Direction) is a [`MapDirection`] too, without the right to touch bytes.

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

impl DmaDirection {
    /// Says whether the device may read the memory.
    #[must_use]
    pub const fn device_reads(self) -> bool {
        matches!(self, Self::ToDevice | Self::Both)
    }

    /// Says whether the device may write the memory.
    #[must_use]
    pub const fn device_writes(self) -> bool {
        matches!(self, Self::FromDevice | Self::Both)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A direction that a mapping is made with. Sealed.
pub trait MapDirection: sealed::Sealed + Copy + core::fmt::Debug + 'static {
    /// Returns the direction as a value.
    fn value(self) -> DmaDirection;
}

/// A direction whose bytes the CPU writes: [`ToDevice`] and [`Both`].
pub trait CpuWrites: MapDirection {}

/// A direction whose bytes the device writes, so that the CPU has something to read: [`FromDevice`] and [`Both`].
pub trait DeviceWrites: MapDirection {}

/// Memory to device: the CPU writes, the device reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ToDevice;

/// Device to memory: the device writes, the CPU reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FromDevice;

/// Both ways.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Both;

macro_rules! direction {
    ($name:ident) => {
        impl sealed::Sealed for $name {}
        impl MapDirection for $name {
            fn value(self) -> DmaDirection {
                DmaDirection::$name
            }
        }
    };
}

direction!(ToDevice);
direction!(FromDevice);
direction!(Both);

impl CpuWrites for ToDevice {}
impl CpuWrites for Both {}
impl DeviceWrites for FromDevice {}
impl DeviceWrites for Both {}

#[cfg(feature = "alloc")]
impl sealed::Sealed for crate::Direction {}

#[cfg(feature = "alloc")]
impl MapDirection for crate::Direction {
    fn value(self) -> DmaDirection {
        match self {
            Self::ToDevice => DmaDirection::ToDevice,
            Self::FromDevice => DmaDirection::FromDevice,
        }
    }
}
