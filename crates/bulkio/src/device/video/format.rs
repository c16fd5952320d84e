//! [`Format`]: what a frame is: its pixels, its planes in memory, its fields, its rate.
//!
//! Everything is the driver's word (`VIDIOC_G_FMT`, `VIDIOC_G_PARM`); nothing is computed from the pixel format, since drivers pad lines and planes
//! as their device wants.

use std::fmt;

use super::fourcc::FourCc;
use super::rate::Rate;

/// One plane of a frame. Most formats have one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plane {
    /// Bytes that the driver wants for it: the most that it ever fills.
    pub size_bytes: u32,
    /// Bytes from one line to the next; 0 where lines have no length, in compressed formats.
    pub stride_bytes: u32,
}

/// Which lines of a picture a frame has: `enum v4l2_field`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Field {
    /// All lines, taken at one time.
    Progressive,
    /// The lines of the top field.
    Top,
    /// The lines of the bottom field.
    Bottom,
    /// Both fields, line by line.
    Interlaced,
    /// Both fields, one behind the other.
    Sequential,
    /// One field a frame, in turn.
    Alternate,
    /// Another number, or one that leaves it open.
    Other(u32),
}

impl Field {
    pub(super) const fn of(number: u32) -> Self {
        match number {
            1 => Self::Progressive,
            2 => Self::Top,
            3 => Self::Bottom,
            4 | 8 | 9 => Self::Interlaced,
            5 | 6 => Self::Sequential,
            7 => Self::Alternate,
            other => Self::Other(other),
        }
    }

    /// Returns the stable name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Progressive => "progressive",
            Self::Top => "top",
            Self::Bottom => "bottom",
            Self::Interlaced => "interlaced",
            Self::Sequential => "sequential",
            Self::Alternate => "alternate",
            Self::Other(_) => "other",
        }
    }

    /// Says whether the picture comes as two fields that were taken one after the other.
    #[must_use]
    pub const fn is_interlaced(self) -> bool {
        matches!(self, Self::Interlaced | Self::Sequential | Self::Alternate)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What frames are.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Format {
    /// The pixel format.
    pub fourcc: FourCc,
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// The planes, in order.
    pub planes: Vec<Plane>,
    /// Bytes of all planes: of each frame, or the most of one where frames are compressed.
    pub frame_len: u64,
    /// Frames per second, where the driver knows.
    pub rate: Option<Rate>,
    /// Whether frames are compressed, so that each has a length of its own.
    pub compressed: bool,
    /// Which lines a frame has.
    pub field: Field,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.fourcc, self.width, self.height)?;
        if let Some(rate) = self.rate {
            write!(f, " at {rate}")?;
        }
        if self.field.is_interlaced() {
            write!(f, ", {}", self.field)?;
        }
        Ok(())
    }
}
