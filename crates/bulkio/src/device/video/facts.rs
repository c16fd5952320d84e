//! [`VideoFacts`]: everything that a grabber says about itself, without changing anything of it.
//!
//! Formats, sizes and rates are the driver's own lists (`VIDIOC_ENUM_FMT`, `_FRAMESIZES`, `_FRAMEINTERVALS`), which drivers may leave out; kinds of
//! memory are tried (`model`). Lists end at a bound, so that a driver that never ends one does no harm.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::driver::{Driver, RateAt, SizeAt};
use super::error::VideoError;
use super::format::Format;
use super::fourcc::FourCc;
use super::model::{self, ModelReport};
use super::negotiate;
use super::rate::Rate;

/// The most entries of a list that are asked for.
const ENTRIES_MAX: u32 = 512;

/// An input of a grabber: a socket, a sensor.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct InputFacts {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What is wrong with its signal, `V4L2_IN_ST_*`; 0 where nothing is known to be.
    pub status: u32,
}

/// Frame rates that a device has at one size.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Rates {
    /// These.
    Discrete(Vec<Rate>),
    /// Everything between two, in steps or not.
    Steps {
        /// The slowest.
        slowest: Rate,
        /// The fastest.
        fastest: Rate,
    },
    /// The driver has no list.
    Unknown,
}

/// A size, with the rates that the device has at it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SizeFacts {
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Its rates.
    pub rates: Rates,
}

/// Sizes that a device has in one format.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Sizes {
    /// These.
    Discrete(Vec<SizeFacts>),
    /// Everything between two, in steps. Sizes are width and height, in pixels.
    Steps {
        /// The smallest.
        min: (u32, u32),
        /// The largest.
        max: (u32, u32),
        /// The step.
        step: (u32, u32),
        /// Rates at the largest size.
        rates: Rates,
    },
    /// The driver has no list.
    Unknown,
}

/// A pixel format that a device has.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FormatFacts {
    /// Its code.
    pub fourcc: FourCc,
    /// Its name in words.
    pub description: String,
    /// Whether frames are compressed.
    pub compressed: bool,
    /// Whether it is made by software, not by the device.
    pub emulated: bool,
    /// Its sizes.
    pub sizes: Sizes,
}

/// What a grabber is and can do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VideoFacts {
    /// The node.
    pub path: PathBuf,
    /// The driver's name.
    pub driver: String,
    /// The device's name.
    pub card: String,
    /// Where it is plugged in.
    pub bus: String,
    /// The inputs.
    pub inputs: Vec<InputFacts>,
    /// The input that is chosen.
    pub input: Option<u32>,
    /// What frames are as the device stands.
    pub format: Format,
    /// The formats that it has.
    pub formats: Vec<FormatFacts>,
    /// Which kinds of memory work, with the format as it stands; or why not.
    pub models: Vec<ModelReport>,
}

/// Asks a grabber what it can do. Its settings stay as they are. To try kinds of memory it takes the device's queue for a moment, so another program that starts in that
/// moment is refused.
///
/// # Errors
/// [`VideoError`]: it cannot be opened, is no grabber, or does not answer.
pub fn describe(path: &Path) -> Result<VideoFacts, VideoError> {
    let mut opened = negotiate::open(path)?;
    let driver = &mut *opened.driver;
    let formats = formats(driver);
    let pixels = driver.format().map_err(|errno| opened.fault("VIDIOC_G_FMT", errno))?;
    let driver = &mut *opened.driver;
    let format = negotiate::format_of(driver, pixels, &formats);
    let models = model::try_all(driver, &format.planes);
    Ok(VideoFacts {
        path: path.to_owned(),
        driver: opened.capability.driver.clone(),
        card: opened.capability.card.clone(),
        bus: opened.capability.bus.clone(),
        inputs: inputs(driver),
        input: driver.input().ok(),
        format,
        formats: formats.into_iter().map(|format| with_sizes(driver, format)).collect(),
        models,
    })
}

/// Collects answers until the driver has no more.
fn list<T>(mut ask: impl FnMut(u32) -> Result<T, Errno>) -> Vec<T> {
    (0..ENTRIES_MAX).map_while(|index| ask(index).ok()).collect()
}

pub(super) fn inputs(driver: &mut dyn Driver) -> Vec<InputFacts> {
    list(|index| driver.input_at(index))
}

/// The formats, without their sizes.
pub(super) fn formats(driver: &mut dyn Driver) -> Vec<FormatFacts> {
    list(|index| driver.format_at(index))
}

fn with_sizes(driver: &mut dyn Driver, format: FormatFacts) -> FormatFacts {
    FormatFacts { sizes: sizes(driver, format.fourcc), ..format }
}

pub(super) fn sizes(driver: &mut dyn Driver, fourcc: FourCc) -> Sizes {
    let mut found = Vec::new();
    for at in list(|index| driver.size_at(fourcc, index)) {
        match at {
            SizeAt::Discrete(size) => {
                let rates = rates(driver, fourcc, size);
                found.push(SizeFacts { width: size.0, height: size.1, rates });
            }
            SizeAt::Steps { min, max, step } => {
                return Sizes::Steps { min, max, step, rates: rates(driver, fourcc, max) };
            }
        }
    }
    if found.is_empty() { Sizes::Unknown } else { Sizes::Discrete(found) }
}

pub(super) fn rates(driver: &mut dyn Driver, fourcc: FourCc, size: (u32, u32)) -> Rates {
    let mut found = Vec::new();
    for at in list(|index| driver.rate_at(fourcc, size, index)) {
        match at {
            RateAt::Discrete(rate) => found.push(rate),
            RateAt::Steps { slowest, fastest } => return Rates::Steps { slowest, fastest },
        }
    }
    if found.is_empty() { Rates::Unknown } else { Rates::Discrete(found) }
}

/// Writes entries one after the other.
pub(super) fn join<T: fmt::Display>(entries: impl IntoIterator<Item = T>) -> String {
    entries.into_iter().map(|entry| entry.to_string()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for InputFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.index, self.name)
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discrete(rates) => f.write_str(&join(rates)),
            Self::Steps { slowest, fastest } => write!(f, "{slowest} to {fastest}"),
            Self::Unknown => f.write_str("what the driver does not list"),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discrete(sizes) => {
                f.write_str(&join(sizes.iter().map(|size| format!("{}x{}", size.width, size.height))))
            }
            Self::Steps { min, max, step, .. } => {
                write!(f, "{}x{} to {}x{} in steps of {}x{}", min.0, min.1, max.0, max.1, step.0, step.1)
            }
            Self::Unknown => f.write_str("what the driver does not list"),
        }
    }
}
