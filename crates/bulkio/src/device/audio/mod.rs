//! Sound cards through ALSA's PCM interface: `/dev/snd/pcmC0D0c` and `hw:0,0`.
//!
//! A [`Pcm`] is a ring of frames that a device fills (capture) or empties (playback) by itself, and two counters: how far the device is, and how far
//! its user. The ring is mapped: [`RingMemory`] is copied from or leased to transfers, so a disk may read from it and write to it where it lies.
//! `negotiate` finds a configuration, `pcm` counts, `ring` has the memory; beneath is the trait `driver::Driver`, one call of the kernel a method:
//! `node` is the kernel, the tests' `fake` a card in memory. [`describe`] says what a device can do.
//!
//! Contract: what was asked for is what is had; an xrun is told with its frame; memory of the ring stays as long as anything holds it.

mod abi;
mod driver;
mod error;
mod facts;
#[cfg(test)]
mod fake;
mod format;
mod name;
mod negotiate;
mod node;
mod pcm;
mod ring;
mod state;
#[cfg(test)]
mod tests;

pub use error::{AudioError, Holder, Supported};
pub use facts::{AudioFacts, describe};
pub use format::{SampleFormat, SampleKind, UnknownFormat};
pub use name::{Direction, PcmName, is_pcm};
pub use pcm::{Params, Pcm, Pinned};
pub use ring::{RingMemory, RingRegion};
pub use state::{Gap, PcmStatus, RunState, State};

pub(crate) use name::parts as node_parts;

/// How a PCM is opened. What is `None` is the usual value, or the nearest that the device has, told by [`Pcm::notes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioOptions {
    /// The format of a sample; usually S16_LE.
    pub sample: Option<SampleFormat>,
    /// Frames in a second, in Hz; usually 48000.
    pub rate_hz: Option<u32>,
    /// Samples in a frame; usually 2.
    pub channels: Option<u32>,
    /// Frames between two wakes; usually an eighth of the ring, and not more than a quarter of a second.
    pub period_frames: Option<u32>,
    /// Frames in the ring; usually the most that the device has.
    pub buffer_frames: Option<u32>,
    /// The length in bytes that ring and periods should be multiples of: the block of the file at the other end.
    pub block_len: u64,
}

impl Default for AudioOptions {
    fn default() -> Self {
        Self {
            sample: None,
            rate_hz: None,
            channels: None,
            period_frames: None,
            buffer_frames: None,
            block_len: 1,
        }
    }
}
