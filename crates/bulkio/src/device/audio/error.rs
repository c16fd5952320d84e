//! [`AudioError`]: why a call on a PCM failed, and what would do.

use std::fmt;
use std::path::PathBuf;

use rustix::io::Errno;

use super::Direction;
use super::format::{SampleFormat, list};

/// Values that a device has of one parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Supported {
    /// The smallest.
    pub min: u32,
    /// The largest.
    pub max: u32,
    /// Those of the usual values that were tried and work: a range may have holes.
    pub usual: Vec<u32>,
}

impl fmt::Display for Supported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max, usual } = self;
        match usual.as_slice() {
            _ if min == max => write!(f, "{min}"),
            [] => write!(f, "{min} to {max}"),
            usual => write!(f, "{min} to {max} (such as {})", list(usual)),
        }
    }
}

/// Who has a PCM open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The process, or the thread of it that opened it.
    pub pid: u32,
    /// Its command, where it can be seen.
    pub command: Option<String>,
    /// The subdevice that it holds.
    pub subdevice: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, command, subdevice } = self;
        match command {
            Some(command) => write!(f, "{command} (process {pid}, subdevice {subdevice})"),
            None => write!(f, "process {pid} (subdevice {subdevice})"),
        }
    }
}

/// Why a call on a PCM failed. A refused configuration left the device as it was.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// The words name no PCM.
    #[error(
        "{name:?} names no PCM; write hw:CARD,DEVICE or hw:CARD,DEVICE,SUBDEVICE with a card's number or id (hw:0,1 or hw:Loopback,1), or \
         the path of a node such as /dev/snd/pcmC0D1c; names of plug-ins (default, plughw, dsnoop) belong to the C library"
    )]
    BadName {
        /// The words.
        name: String,
    },
    /// The path leads to something else.
    #[error("{} is no PCM; PCMs are character devices with major number 116, such as /dev/snd/pcmC0D0c", .path.display())]
    NotAPcm {
        /// The path.
        path: PathBuf,
    },
    /// No card has that id.
    #[error("no sound card has the id {id:?}; there are {}", list(.have))]
    NoCard {
        /// The id that was asked for.
        id: String,
        /// The cards there are, as number and id.
        have: Vec<String>,
    },
    /// There is no such device, or not in this direction.
    #[error("there is no {}, so nothing for {direction}; there are {}", .node.display(), list(.have))]
    NoNode {
        /// The node that would be it.
        node: PathBuf,
        /// What it was to be opened for.
        direction: Direction,
        /// The PCMs there are.
        have: Vec<String>,
    },
    /// The node is that of the other direction.
    #[error("{} is for {}, not for {}; the node for that is {}", .path.display(), .direction.other(), .direction, .other.display())]
    OtherDirection {
        /// The node that was named.
        path: PathBuf,
        /// What it was to be opened for.
        direction: Direction,
        /// The node that would be it.
        other: PathBuf,
    },
    /// The node cannot be opened.
    #[error("cannot open {}: {errno}", .path.display())]
    Open {
        /// The node.
        path: PathBuf,
        /// The system's answer.
        errno: Errno,
    },
    /// All subdevices, or the one that was asked for, are open already.
    #[error("{} is in use by {}; wait until it is closed", .path.display(), in_words(.holders))]
    Busy {
        /// The node.
        path: PathBuf,
        /// Who holds it, as far as procfs says.
        holders: Vec<Holder>,
    },
    /// There is no such subdevice, or the node gave another one.
    #[error("{} has no subdevice {wanted} to give; it has {count}, counted from 0", .path.display())]
    Subdevice {
        /// The node.
        path: PathBuf,
        /// The subdevice that was asked for.
        wanted: u32,
        /// How many there are.
        count: u32,
    },
    /// The ring cannot be mapped as interleaved frames.
    #[error("{} does not show its ring as interleaved frames (MMAP_INTERLEAVED), which every transfer here needs", .path.display())]
    NoMmap {
        /// The node.
        path: PathBuf,
    },
    /// The device does not have this sample format.
    #[error("{} has no samples {wanted} for {direction}; it has {}{}", .path.display(), list(.have), unknown(.others))]
    Format {
        /// The node.
        path: PathBuf,
        /// What it was opened for.
        direction: Direction,
        /// The format that was asked for.
        wanted: SampleFormat,
        /// The formats that it has.
        have: Vec<SampleFormat>,
        /// Numbers of formats that are not known here.
        others: Vec<u32>,
    },
    /// The device has none of the formats known here.
    #[error("{} has no linear samples for {direction}, only formats with the numbers {}", .path.display(), list(.others))]
    NoFormat {
        /// The node.
        path: PathBuf,
        /// What it was opened for.
        direction: Direction,
        /// The numbers of the formats that it has (`SNDRV_PCM_FORMAT_*`).
        others: Vec<u32>,
    },
    /// The device does not have this many channels.
    #[error("{} does not have {wanted} channels of {sample} for {direction}; it has {have}", .path.display())]
    Channels {
        /// The node.
        path: PathBuf,
        /// What it was opened for.
        direction: Direction,
        /// The sample format of the frames.
        sample: SampleFormat,
        /// The number that was asked for.
        wanted: u32,
        /// What it has.
        have: Supported,
    },
    /// The device does not have this rate.
    #[error("{} does not run at {wanted} Hz with {channels} channels of {sample} for {direction}; it has {have} Hz", .path.display())]
    Rate {
        /// The node.
        path: PathBuf,
        /// What it was opened for.
        direction: Direction,
        /// The sample format of the frames.
        sample: SampleFormat,
        /// The channels of a frame.
        channels: u32,
        /// The rate that was asked for, in Hz.
        wanted: u32,
        /// What it has.
        have: Supported,
    },
    /// The ring cannot be cut like this.
    #[error("{} cannot have a {what} of {wanted} frames; it takes {have} frames", .path.display())]
    Size {
        /// The node.
        path: PathBuf,
        /// `period` or `buffer`.
        what: &'static str,
        /// The frames that were asked for.
        wanted: u32,
        /// What it has.
        have: Supported,
    },
    /// A call failed.
    #[error("{} failed on {}: {errno}", .call, .path.display())]
    Call {
        /// The node.
        path: PathBuf,
        /// The call, as the kernel names it.
        call: &'static str,
        /// The driver's answer.
        errno: Errno,
    },
    /// The card was taken away.
    #[error("{} is gone: the card was removed", .path.display())]
    Gone {
        /// The node.
        path: PathBuf,
    },
}

fn unknown(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return String::new();
    }
    format!(", and formats with the numbers {}, which are not known here", list(numbers))
}

fn in_words(holders: &[Holder]) -> String {
    if holders.is_empty() { "another program".to_owned() } else { list(holders) }
}

impl AudioError {
    /// Says whether it came before anything was moved: what the caller asked for cannot be.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Call { .. } | Self::Gone { .. })
    }
}
