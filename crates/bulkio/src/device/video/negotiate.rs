//! Opening a grabber and settling what its frames are.
//!
//! Drivers change silently what they are asked for (Documentation/userspace-api/media/v4l/vidioc-g-fmt.rst), so every answer is held against what was asked, first of
//! the call that changes nothing. A device that gives something else is refused with what it has; it is never captured from.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, StatxFlags};
use rustix::io::Errno;

use super::VideoOptions;
use super::abi::cap;
use super::driver::{Capability, Driver, Pixels, Wanted};
use super::error::VideoError;
use super::facts::{self, FormatFacts};
use super::format::{Field, Format};
use super::node::Node;
use crate::device::holder::holders;
use crate::probe::DeviceNumber;
use crate::probe::chars::{CharClass, CharFolder};
use crate::probe::host::Host;

/// A grabber that is open, and what it says it is.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    /// `None` where the driver is no node.
    pub(super) number: Option<DeviceNumber>,
    pub(super) driver: Box<dyn Driver>,
    pub(super) capability: Capability,
}

/// Looks at a path without opening it; `None` where it is no node of a grabber.
fn look(path: &Path) -> Result<Option<DeviceNumber>, Errno> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    if FileType::from_raw_mode(found.stx_mode.into()) != FileType::CharacterDevice {
        return Ok(None);
    }
    let number = DeviceNumber { major: found.stx_rdev_major, minor: found.stx_rdev_minor };
    let class = CharFolder::find(&Host::default(), number).map(|folder| folder.class());
    Ok((class == Some(CharClass::Video)).then_some(number))
}

/// Says whether a path leads to a video node, without opening it. Whether frames come out of it is known once it is open.
pub(super) fn is_video(path: &Path) -> bool {
    look(path).is_ok_and(|found| found.is_some())
}

/// Says in words what a path that is no video node leads to.
fn words(path: &Path) -> String {
    let Ok(found) = std::fs::metadata(path) else { return "not there".to_owned() };
    let kind = found.file_type();
    let word = if kind.is_char_device() {
        "a character device of another class"
    } else if kind.is_block_device() {
        "a block device"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_file() {
        "a file"
    } else {
        "a stream"
    };
    word.to_owned()
}

/// Opens a node and sees that frames come out of it.
pub(super) fn open(path: &Path) -> Result<Opened, VideoError> {
    let fault = |errno| VideoError::Open { path: path.to_owned(), errno };
    let Some(number) = look(path).map_err(fault)? else {
        return Err(VideoError::NotCapture { path: path.to_owned(), what: words(path) });
    };
    let node = Node::open(path).map_err(|errno| match errno {
        Errno::BUSY => VideoError::InUse { path: path.to_owned(), call: "open", holders: holders(number) },
        errno => fault(errno),
    })?;
    admit(path, Some(number), Box::new(node))
}

/// Asks an open device what it is, and refuses what is no grabber.
pub(super) fn admit(
    path: &Path,
    number: Option<DeviceNumber>,
    mut driver: Box<dyn Driver>,
) -> Result<Opened, VideoError> {
    let capability = driver.capability();
    let capability = capability.map_err(|errno| fault(path, number, "VIDIOC_QUERYCAP", errno))?;
    let caps = capability.caps;
    let path = path.to_owned();
    if caps & (cap::VIDEO_M2M | cap::VIDEO_M2M_MPLANE) != 0
        || caps & (cap::VIDEO_CAPTURE | cap::VIDEO_CAPTURE_MPLANE) == 0
    {
        return Err(VideoError::NotCapture { path, what: other(caps).to_owned() });
    }
    if caps & cap::TOUCH != 0 {
        return Err(VideoError::NotCapture { path, what: "a touch device".to_owned() });
    }
    if caps & cap::STREAMING == 0 {
        return Err(VideoError::NoStreaming { path, driver: capability.driver });
    }
    Ok(Opened { path, number, driver, capability })
}

/// What a node is that is no grabber, by its capabilities.
fn other(caps: u32) -> &'static str {
    let kinds = [
        (cap::VIDEO_M2M | cap::VIDEO_M2M_MPLANE, "a converter from memory to memory (a codec or scaler)"),
        (cap::VIDEO_OUTPUT | cap::VIDEO_OUTPUT_MPLANE, "a video output"),
        (cap::VBI_CAPTURE | cap::SLICED_VBI_CAPTURE, "a node for teletext and other VBI data"),
        (cap::VBI_OUTPUT | cap::SLICED_VBI_OUTPUT, "an output for teletext and other VBI data"),
        (cap::META_CAPTURE | cap::META_OUTPUT, "a node for metadata about frames, not for frames"),
        (cap::SDR_CAPTURE | cap::SDR_OUTPUT, "a software-defined radio"),
        (cap::RADIO, "a radio"),
    ];
    let found = kinds.into_iter().find(|(bits, _)| caps & bits != 0);
    found.map_or("a V4L2 device without video capture", |(_, words)| words)
}

/// Makes the error of a call.
pub(super) fn fault(
    path: &Path,
    number: Option<DeviceNumber>,
    call: &'static str,
    errno: Errno,
) -> VideoError {
    let path = path.to_owned();
    match errno {
        Errno::BUSY => VideoError::InUse { path, call, holders: number.map(holders).unwrap_or_default() },
        Errno::NODEV => VideoError::Disconnected { path, call },
        errno => VideoError::Call { path, call, errno },
    }
}

impl Opened {
    /// Makes the error of a call.
    pub(super) fn fault(&self, call: &'static str, errno: Errno) -> VideoError {
        fault(&self.path, self.number, call, errno)
    }

    /// Makes the error of a call about a buffer: `EIO` says that the device gave up (Documentation/driver-api/media, vb2_queue_error).
    pub(super) fn stream_fault(&self, call: &'static str, errno: Errno) -> VideoError {
        match errno {
            Errno::IO => VideoError::Stopped { path: self.path.clone(), call, errno },
            errno => self.fault(call, errno),
        }
    }

    /// Sets what the options ask for, and returns what frames are.
    pub(super) fn settle(&mut self, options: &VideoOptions) -> Result<Format, VideoError> {
        if let Some(wanted) = options.input {
            self.settle_input(wanted)?;
        }
        let formats = facts::formats(&mut *self.driver);
        let pixels = self.settle_pixels(options, &formats)?;
        if let Some(wanted) = options.rate {
            self.settle_rate(&pixels, wanted)?;
        }
        Ok(format_of(&mut *self.driver, pixels, &formats))
    }

    fn settle_input(&mut self, wanted: u32) -> Result<(), VideoError> {
        if self.driver.input() == Ok(wanted) {
            return Ok(());
        }
        self.driver.set_input(wanted).map_err(|errno| match errno {
            Errno::BUSY | Errno::NODEV => self.fault("VIDIOC_S_INPUT", errno),
            errno => {
                let known = facts::inputs(&mut *self.driver);
                VideoError::Input { path: self.path.clone(), wanted, known, errno }
            }
        })
    }

    fn settle_pixels(
        &mut self,
        options: &VideoOptions,
        formats: &[FormatFacts],
    ) -> Result<Pixels, VideoError> {
        let now = self.driver.format().map_err(|errno| self.fault("VIDIOC_G_FMT", errno))?;
        if options.format.is_none() && options.size.is_none() {
            return Ok(now);
        }
        let (width, height) = options.size.unwrap_or((now.width, now.height));
        let wanted = Wanted { fourcc: options.format.unwrap_or(now.fourcc), width, height };
        match self.driver.try_format(wanted) {
            Ok(tried) => self.hold(wanted, options, &tried, formats)?,
            // A driver may lack the trial.
            Err(Errno::NOTTY) => {}
            // An old way to say that there is no such format.
            Err(Errno::INVAL) => return Err(self.no_format(wanted, formats)),
            Err(errno) => return Err(self.fault("VIDIOC_TRY_FMT", errno)),
        }
        let got = self.driver.set_format(wanted).map_err(|errno| self.fault("VIDIOC_S_FMT", errno))?;
        self.hold(wanted, options, &got, formats)?;
        Ok(got)
    }

    /// Holds what the driver made of a wish against the wish.
    fn hold(
        &mut self,
        wanted: Wanted,
        options: &VideoOptions,
        got: &Pixels,
        formats: &[FormatFacts],
    ) -> Result<(), VideoError> {
        if got.fourcc != wanted.fourcc {
            return Err(self.no_format(wanted, formats));
        }
        let nearest = (got.width, got.height);
        match options.size {
            Some(size) if size != nearest => Err(VideoError::Size {
                path: self.path.clone(),
                fourcc: wanted.fourcc,
                wanted: size,
                nearest,
                known: facts::sizes(&mut *self.driver, wanted.fourcc),
            }),
            _ => Ok(()),
        }
    }

    fn no_format(&self, wanted: Wanted, formats: &[FormatFacts]) -> VideoError {
        let known = formats.iter().map(|format| format.fourcc).collect();
        VideoError::Format { path: self.path.clone(), wanted: wanted.fourcc, known }
    }

    fn settle_rate(&mut self, pixels: &Pixels, wanted: super::Rate) -> Result<(), VideoError> {
        let got = match self.driver.set_rate(wanted) {
            Ok(got) => got,
            // Drivers without rates lack the call.
            Err(Errno::NOTTY | Errno::INVAL) => None,
            Err(errno) => return Err(self.fault("VIDIOC_S_PARM", errno)),
        };
        if got.is_some_and(|got| got.is_about(wanted)) {
            return Ok(());
        }
        let (fourcc, size) = (pixels.fourcc, (pixels.width, pixels.height));
        let known = facts::rates(&mut *self.driver, fourcc, size);
        Err(VideoError::Rate { path: self.path.clone(), fourcc, size, wanted, got, known })
    }
}

/// Puts together what frames are.
pub(super) fn format_of(driver: &mut dyn Driver, pixels: Pixels, formats: &[FormatFacts]) -> Format {
    let Pixels { fourcc, width, height, field, planes } = pixels;
    let frame_len = planes.iter().fold(0_u64, |sum, plane| sum.saturating_add(plane.size_bytes.into()));
    Format {
        fourcc,
        width,
        height,
        planes,
        frame_len,
        rate: driver.rate().ok().flatten(),
        compressed: formats.iter().any(|format| format.fourcc == fourcc && format.compressed),
        field: Field::of(field),
    }
}
