//! [`describe`]: what a PCM can do, asked of its driver.
//!
//! The device is opened, so nobody else may have it; what it says are ranges, which may have holes, and the usual values within them that work.
//! A configuration as [`Pcm::open`](super::Pcm::open) would choose it is set up to see whether its ring can be pinned.

use super::abi::Param;
use super::error::{AudioError, Supported};
use super::format::SampleFormat;
use super::name::{Direction, PcmName};
use super::negotiate::{Negotiation, unknown_numbers};
use super::node::Node;
use super::pcm::{Params, Pcm, Pinned};
use super::{AudioOptions, driver::Driver};
use crate::probe::host::{Host, read_line};

/// What a PCM can do in one direction.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AudioFacts {
    /// The node.
    pub path: std::path::PathBuf,
    /// Which way the sound goes.
    pub direction: Direction,
    /// The card's number.
    pub card: u32,
    /// The card's id, which may stand for its number in a name.
    pub card_id: Option<String>,
    /// The device's name.
    pub name: String,
    /// The device's number on the card.
    pub device: u32,
    /// How many users it can have at a time.
    pub subdevices: u32,
    /// How many more it can have now, this one counted as if it were none.
    pub subdevices_free: u32,
    /// The sample formats.
    pub formats: Vec<SampleFormat>,
    /// The numbers of formats that are not known here (`SNDRV_PCM_FORMAT_*`).
    pub other_formats: Vec<u32>,
    /// Frames in a second, in Hz.
    pub rates_hz: Supported,
    /// Samples in a frame.
    pub channels: Supported,
    /// Frames between two wakes.
    pub period_frames: Supported,
    /// Frames in the ring.
    pub buffer_frames: Supported,
    /// Bytes in the ring.
    pub buffer_bytes: Supported,
    /// What is had where nothing is asked for.
    pub usual: Params,
    /// What the usual configuration has to be told about.
    pub notes: Vec<String>,
    /// Whether the ring can be the memory of a direct transfer.
    pub pinned: Pinned,
}

/// Asks a PCM what it can do.
///
/// # Errors
/// [`AudioError`]: no such device, or in use.
pub fn describe(name: &PcmName, direction: Direction) -> Result<AudioFacts, AudioError> {
    let host = Host::default();
    let path = name.node_on(&host, direction)?;
    let (mut node, info) = Node::open(&host, name, direction, &path)?;
    let card = name.card_on(&host)?;
    let mut asked = Negotiation { driver: &mut node as &mut dyn Driver, path: &path, direction };
    let space = asked.everything()?;
    let mut supported = |param| asked.supported(&space, param);
    let (rates_hz, channels) = (supported(Param::Rate)?, supported(Param::Channels)?);
    let (period_frames, buffer_frames) = (supported(Param::PeriodFrames)?, supported(Param::BufferFrames)?);
    let buffer_bytes = supported(Param::BufferBytes)?;
    let pcm = Pcm::over(
        Box::new(node),
        &path,
        direction,
        &AudioOptions { block_len: 4096, ..AudioOptions::default() },
    )?;
    Ok(AudioFacts {
        direction,
        card,
        card_id: read_line(&host.sys.join(format!("class/sound/card{card}/id"))),
        name: text(&info.name),
        device: info.device,
        subdevices: info.subdevices_count,
        subdevices_free: info.subdevices_avail.saturating_add(1),
        formats: space.formats(),
        other_formats: unknown_numbers(&space),
        rates_hz,
        channels,
        period_frames,
        buffer_frames,
        buffer_bytes,
        usual: *pcm.params(),
        notes: pcm.notes().to_vec(),
        pinned: pcm.pinned(),
        path,
    })
}

/// A name of the kernel: bytes up to the first zero.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_at_the_first_zero() {
        assert_eq!(text(b"Loopback PCM\0\0junk"), "Loopback PCM");
        assert_eq!(text(b""), "");
    }
}
