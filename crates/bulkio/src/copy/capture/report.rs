//! What happened on the side of a device with a clock: [`StreamReport`], and the [`StreamEvent`]s as they come.
//!
//! A frame that was lost is data that was lost (rule `nothing-lost-quietly`): each loss is counted, told when it happens, and listed up to
//! [`LOSSES_MAX`].

use std::time::Duration;

/// Losses that a report lists; the counts go on.
pub const LOSSES_MAX: usize = 1000;

/// Why frames were lost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum LossReason {
    /// The device's numbers leave them out: it had no buffer, or dropped them by itself.
    Dropped,
    /// The device gave them out marked as damaged. They are not in the destination.
    Errored,
    /// The device gave out fewer bytes than a frame has. They are not in the destination.
    Short,
    /// The ring of a sound device ran over (capture) or dry (playback).
    Xrun,
}

impl LossReason {
    /// Returns the stable name, as in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Errored => "errored",
            Self::Short => "short",
            Self::Xrun => "xrun",
        }
    }
}

/// Frames that were lost at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// Frames that the other end holds, or that were played, from before the loss: the index of the next one there.
    pub at_frame: u64,
    /// The device's number of the first that is lost; 0 where it gives none.
    pub sequence: u64,
    /// How many; `None` where the device does not say.
    pub count: Option<u64>,
    /// The device's clock (`CLOCK_MONOTONIC`) when it was found.
    pub time: Duration,
}

/// What happened on the side of a device with a clock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct StreamReport {
    /// What was agreed on, in words: "YUYV 1280x720 30/1", "S16_LE 48000 Hz 2 channels".
    pub format: String,
    /// Whose memory the device used, in words.
    pub memory: String,
    /// Why it is no better one; empty where there is nothing to say.
    pub memory_reason: String,
    /// Bytes of a frame; 0 where frames differ.
    pub frame_len: u64,
    /// Frames that are whole in the destination, or were given to the device to play.
    pub frames: u64,
    /// Frames that the device dropped.
    pub dropped: u64,
    /// Frames that came damaged, and are not in the destination.
    pub errored: u64,
    /// How often a ring ran over or dry.
    pub xruns: u64,
    /// The first losses.
    pub losses: Vec<Loss>,
    /// Losses that are not listed.
    pub losses_unlisted: u64,
    /// Buffers, or bytes of the ring, that can wait for the other end.
    pub buffers: u64,
    /// The most that waited at once.
    pub waiting_max: u64,
    /// The longest that a transfer of the other end took.
    pub latency_max: Duration,
}

impl StreamReport {
    /// Says whether something was lost.
    #[must_use]
    pub const fn lost(&self) -> bool {
        self.dropped > 0 || self.errored > 0 || self.xruns > 0
    }

    /// Returns the last event of the stream.
    pub(super) const fn end(&self) -> StreamEvent<'static> {
        let Self { frames, dropped, errored, xruns, .. } = *self;
        StreamEvent::Ended { frames, dropped, errored, xruns }
    }

    /// Counts a loss and lists it.
    pub(super) fn lose(&mut self, loss: Loss) {
        let count = loss.count.unwrap_or(0);
        match loss.reason {
            LossReason::Dropped => self.dropped = self.dropped.saturating_add(count),
            LossReason::Errored | LossReason::Short => self.errored = self.errored.saturating_add(count),
            LossReason::Xrun => self.xruns = self.xruns.saturating_add(1),
        }
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(loss);
        } else {
            self.losses_unlisted = self.losses_unlisted.saturating_add(1);
        }
    }
}

/// What a device with a clock does, told as it happens, in the order of the destination.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// The stream begins.
    Started {
        /// The device.
        device: &'a str,
        /// What was agreed on.
        format: &'a str,
        /// Whose memory is used.
        memory: &'a str,
        /// Bytes of a frame; 0 where frames differ.
        frame_len: u64,
        /// The device's clock, where it says.
        time: Duration,
    },
    /// A frame is in the destination.
    Frame {
        /// Its index there, from 0.
        index: u64,
        /// The device's number.
        sequence: u64,
        /// When the device took it (`CLOCK_MONOTONIC`).
        time: Duration,
        /// Byte of the destination at which it begins.
        position: u64,
        /// Its bytes.
        len: u64,
    },
    /// Frames were lost.
    Lost(Loss),
    /// Where a sound device stands, about once a second.
    Clock {
        /// Frames copied up to here.
        frames: u64,
        /// The device's clock at that frame.
        time: Duration,
    },
    /// The stream ended.
    Ended {
        /// Frames that are whole in the destination.
        frames: u64,
        /// Frames that the device dropped.
        dropped: u64,
        /// Frames that came damaged.
        errored: u64,
        /// How often a ring ran over or dry.
        xruns: u64,
    },
}

/// How a device with a clock is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamProgress {
    /// Frames copied.
    pub frames: u64,
    /// Frames there are to copy, where that is known.
    pub frames_total: Option<u64>,
    /// Frames dropped or damaged.
    pub lost: u64,
    /// How often a ring ran over or dry.
    pub xruns: u64,
    /// Buffers, or bytes of the ring, that wait for the other end.
    pub waiting: u64,
    /// How many there are.
    pub buffers: u64,
    /// How long the last transfer of the other end took.
    pub latency: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_beyond_the_list() {
        let mut report = StreamReport::default();
        assert!(!report.lost());
        for at in 0..1200 {
            let (reason, count) = (LossReason::Dropped, Some(2));
            report.lose(Loss { reason, at_frame: at, sequence: at * 3, count, time: Duration::ZERO });
        }
        assert_eq!((report.dropped, report.losses.len(), report.losses_unlisted), (2400, LOSSES_MAX, 200));
        let xrun =
            Loss { reason: LossReason::Xrun, at_frame: 7, sequence: 0, count: None, time: Duration::ZERO };
        let mut report = StreamReport::default();
        report.lose(xrun);
        assert!(report.lost() && report.xruns == 1 && report.dropped == 0);
    }
}
