//! [`Chunks`]: how long the pieces are that a ring is handed out in. [`Released`]: what came back of them, in order. Pure arithmetic.
//!
//! Long pieces are few calls; but the ring holds what waits, so none is longer than a quarter of it. A piece is whole blocks of the destination, and does
//! not go around the ring's end.

use std::collections::BTreeMap;

use crate::device::audio::Params;

/// A piece is this part of the ring, where nobody listens to the other end.
const PARTS: u64 = 8;

/// The longest piece is this part of the ring.
const PARTS_LONGEST: u64 = 4;

/// How a ring is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    frame_len: u64,
    ring_len: u64,
    /// The fewest frames that are whole blocks.
    unit: u64,
    /// Frames that are waited for.
    frames: u64,
    frames_max: u64,
}

impl Chunks {
    /// Cuts the ring of a device. A `live` destination is read meanwhile: it gets every period at once.
    pub(super) fn new(params: &Params, block_len: u64, live: bool) -> Self {
        let (frame_len, buffer) = (params.frame_len, u64::from(params.buffer_frames));
        let unit = block_len.max(1).checked_div(gcd(frame_len, block_len.max(1))).unwrap_or(1);
        let whole =
            |frames: u64| frames.saturating_sub(frames.checked_rem(unit).unwrap_or(0)).max(unit.min(buffer));
        let period = u64::from(params.period_frames);
        let frames_max = whole(buffer / PARTS_LONGEST).max(whole(period)).min(buffer);
        let wanted = if live { period } else { period.max(buffer / PARTS) };
        Self { frame_len, ring_len: params.ring_len, unit, frames: whole(wanted).min(frames_max), frames_max }
    }

    /// Returns the most bytes of a piece.
    pub(super) const fn len_max(&self) -> u64 {
        self.frames_max.saturating_mul(self.frame_len)
    }

    /// Returns how many frames are waited for.
    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Returns how many of these frames are whole blocks.
    pub(super) fn whole(&self, frames: u64) -> u64 {
        frames.saturating_sub(frames.checked_rem(self.unit).unwrap_or(0))
    }

    /// Returns the frames of the next piece, of `there` from byte `offset` of the ring on; `None` where more are waited for. With `rest` nothing more comes.
    pub(super) fn next(&self, there: u64, offset: u64, rest: bool) -> Option<u64> {
        let to_end = self.ring_len.saturating_sub(offset).checked_div(self.frame_len)?;
        if there == 0 || (!rest && there < self.frames.min(to_end)) {
            return None;
        }
        let most = there.min(to_end).min(self.frames_max);
        let whole = most.saturating_sub(most.checked_rem(self.unit)?);
        // What is left at the ring's end, or at the end of all, may be less than a block.
        Some(if whole == 0 || (rest && most == there) || most == to_end { most } else { whole })
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a.max(1)
}

/// Frames of a ring that came back, in any order, and up to where all have.
#[derive(Debug, Default)]
pub(super) struct Released {
    behind: BTreeMap<u64, u64>,
    upto: u64,
    untaken: u64,
}

impl Released {
    /// Takes frames as back.
    pub(super) fn put(&mut self, frame: u64, frames: u64) {
        if frames > 0 {
            self.behind.insert(frame, frames);
        }
        while let Some(frames) = self.behind.remove(&self.upto) {
            self.upto = self.upto.saturating_add(frames);
            self.untaken = self.untaken.saturating_add(frames);
        }
    }

    /// Returns the frame up to which all are back.
    pub(super) const fn upto(&self) -> u64 {
        self.upto
    }

    /// Returns how many more of them there are than last time.
    pub(super) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.untaken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::audio::SampleFormat;

    fn params(frame_len: u64, period_frames: u32, buffer_frames: u32) -> Params {
        let ring_len = frame_len * u64::from(buffer_frames);
        Params {
            sample: SampleFormat::S16Le,
            rate_hz: 48_000,
            channels: 2,
            frame_len,
            period_frames,
            buffer_frames,
            ring_len,
        }
    }

    #[test]
    fn a_ring_is_handed_out_in_whole_blocks_without_a_gap() {
        for (params, block_len) in [
            (params(4, 11_264, 518_144), 4096),
            (params(6, 2048, 16_384), 4096),
            (params(6, 500, 4000), 4096),
            (params(4, 1024, 2048), 512),
            (params(2, 16, 33), 4096),
            (params(4, 1024, 8192), 1),
        ] {
            let chunks = Chunks::new(&params, block_len, false);
            let even = params.ring_len % block_len == 0;
            assert!(
                chunks.frames() <= u64::from(params.buffer_frames) && chunks.len_max() <= params.ring_len,
                "{chunks:?}"
            );
            let (mut taken, mut hw, mut pieces) = (0, 0, 0);
            for step in 0..3000_u64 {
                hw += u64::from(params.period_frames) / 3 + step % 7;
                let offset = |frame: u64| frame % u64::from(params.buffer_frames) * params.frame_len;
                while let Some(frames) = chunks.next(hw - taken, offset(taken), false) {
                    let (start, len) = (offset(taken), frames * params.frame_len);
                    assert!(
                        frames > 0
                            && frames <= hw - taken
                            && start + len <= params.ring_len
                            && len <= chunks.len_max()
                    );
                    assert!(!even || len % block_len == 0, "{chunks:?}: {len} at {start}");
                    taken += frames;
                    pieces += 1;
                }
                assert!(hw - taken <= chunks.frames() + u64::from(params.period_frames), "{chunks:?}");
            }
            assert!(pieces > 0);
            while taken < hw {
                taken += chunks
                    .next(hw - taken, taken % u64::from(params.buffer_frames) * params.frame_len, true)
                    .unwrap();
            }
        }
    }

    #[test]
    fn a_live_destination_gets_every_period() {
        let params = params(4, 1024, 65_536);
        assert_eq!(Chunks::new(&params, 1, true).frames(), 1024);
        assert_eq!(Chunks::new(&params, 4096, false).frames(), 8192);
    }

    #[test]
    fn what_comes_back_is_counted_in_order() {
        let mut released = Released::default();
        released.put(10, 5);
        assert_eq!((released.upto(), released.take()), (0, 0));
        released.put(0, 10);
        assert_eq!((released.upto(), released.take(), released.take()), (15, 15, 0));
        released.put(15, 0);
        released.put(15, 1);
        assert_eq!((released.upto(), released.take()), (16, 1));
    }
}
