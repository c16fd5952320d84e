//! Which configuration a device and its user agree on: `HW_REFINE` with each wish in turn, then `HW_PARAMS`.
//!
//! What was asked for is had, or an error says what there is instead; nothing else is taken in its place. What was not asked for is the usual
//! value, or the nearest that the device has, with a note. The ring is the largest that the device makes, since it takes what comes while a disk
//! stands still; it and its periods are whole blocks of the file where the device allows that, so that parts of it can be written as they lie.

use std::path::Path;

use rustix::io::Errno;

use super::abi::{HwParams, Interval, Param};
use super::driver::Driver;
use super::error::{AudioError, Supported};
use super::format::{SampleFormat, list};
use super::{AudioOptions, Direction};

/// What is taken where no rate is asked for, in Hz.
const RATE_DEFAULT_HZ: u32 = 48_000;
/// What is taken where no number of channels is asked for.
const CHANNELS_DEFAULT: u32 = 2;

/// Rates that are tried to tell which ones a device has, in Hz: the usual ones of consumer and studio equipment.
const USUAL_RATES_HZ: &[u32] = &[
    8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000, 352_800,
    384_000,
];
/// Numbers of channels that are tried for the same purpose.
const USUAL_CHANNELS: &[u32] = &[1, 2, 4, 6, 8, 10, 12, 16, 18, 24, 32, 64];

/// Formats have numbers below this; the mask that they are told by has more bits, which stay as a caller set them (include/uapi/sound/asound.h,
/// `snd_mask`; Linux keeps 64 of them).
const NUMBERS_MAX: u32 = 64;

/// Periods of a ring, where the device leaves the choice.
const PERIODS: u32 = 8;
/// The shortest wait for a period, as a part of a second: a recording ends at a period, and one of several seconds would keep its user waiting.
const PERIODS_PER_S: u32 = 4;
/// How often a ring that there is no memory for is halved.
const HALVINGS_MAX: u32 = 16;

/// What was agreed on.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) sample: SampleFormat,
    pub(super) channels: u32,
    pub(super) rate_hz: u32,
    pub(super) period_frames: u32,
    pub(super) buffer_frames: u32,
    pub(super) notes: Vec<String>,
}

/// One negotiation.
pub(super) struct Negotiation<'a> {
    pub(super) driver: &'a mut dyn Driver,
    pub(super) path: &'a Path,
    pub(super) direction: Direction,
}

impl Negotiation<'_> {
    /// Returns the space narrowed, or `None` where the device has nothing of it.
    fn refine(&mut self, params: &HwParams) -> Result<Option<HwParams>, AudioError> {
        let mut params = *params;
        match self.driver.refine(&mut params) {
            Ok(()) => Ok(Some(params)),
            Err(Errno::INVAL) => Ok(None),
            Err(errno) => Err(self.failed("SNDRV_PCM_IOCTL_HW_REFINE", errno)),
        }
    }

    fn failed(&self, call: &'static str, errno: Errno) -> AudioError {
        let path = self.path.to_owned();
        match errno {
            Errno::NODEV | Errno::NXIO => AudioError::Gone { path },
            errno => AudioError::Call { path, call, errno },
        }
    }

    /// Returns all that the device has.
    pub(super) fn everything(&mut self) -> Result<HwParams, AudioError> {
        let everything = self.refine(&HwParams::any())?;
        everything.ok_or_else(|| AudioError::NoMmap { path: self.path.to_owned() })
    }

    /// Returns what the device has of one parameter within a space.
    pub(super) fn supported(&mut self, space: &HwParams, param: Param) -> Result<Supported, AudioError> {
        let (min, max) = space.interval(param).bounds();
        let tried = match param {
            Param::Rate => USUAL_RATES_HZ,
            Param::Channels => USUAL_CHANNELS,
            _ => &[],
        };
        let mut usual = Vec::new();
        for value in tried.iter().copied().filter(|value| (min..=max).contains(value)) {
            if self.refine(&space.with_value(param, value))?.is_some() {
                usual.push(value);
            }
        }
        Ok(Supported { min, max, usual })
    }

    /// Agrees on a configuration and sets it up.
    pub(super) fn agree(&mut self, options: &AudioOptions) -> Result<Agreed, AudioError> {
        let mut notes = Vec::new();
        let space = self.everything()?;
        let (space, sample) = self.sample(&space, options.sample, &mut notes)?;
        let (space, channels) = self.channels(&space, sample, options.channels, &mut notes)?;
        let (space, rate_hz) = self.rate(&space, sample, channels, options.rate_hz, &mut notes)?;
        let frame_len = u64::from(sample.bytes_per_sample()).saturating_mul(channels.into());
        let mut cut = Cut {
            unit: unit_frames(frame_len, options.block_len),
            period: options.period_frames,
            buffer: options.buffer_frames,
            period_max: (rate_hz / PERIODS_PER_S).max(1),
            // Periods are parts of the ring that is had.
            buffer_max: space
                .interval(Param::BufferFrames)
                .bounds()
                .1
                .min(options.buffer_frames.unwrap_or(u32::MAX)),
        };
        for _ in 0..HALVINGS_MAX {
            let mut params = self.cut(&space, &cut)?;
            match self.driver.set_hw(&mut params) {
                Ok(()) => {
                    let value = |param| params.interval(param).bounds().0;
                    let (period_frames, buffer_frames) =
                        (value(Param::PeriodFrames), value(Param::BufferFrames));
                    return Ok(Agreed { sample, channels, rate_hz, period_frames, buffer_frames, notes });
                }
                Err(Errno::NOMEM) if options.buffer_frames.is_none() && cut.buffer_max > cut.unit => {
                    cut.buffer_max /= 2;
                    notes.push(format!(
                        "there is no memory for a larger ring; trying {} frames",
                        cut.buffer_max
                    ));
                }
                Err(errno) => return Err(self.failed("SNDRV_PCM_IOCTL_HW_PARAMS", errno)),
            }
        }
        Err(self.failed("SNDRV_PCM_IOCTL_HW_PARAMS", Errno::NOMEM))
    }

    fn sample(
        &mut self,
        space: &HwParams,
        wanted: Option<SampleFormat>,
        notes: &mut Vec<String>,
    ) -> Result<(HwParams, SampleFormat), AudioError> {
        let (have, others) = (space.formats(), unknown_numbers(space));
        let (path, direction) = (self.path.to_owned(), self.direction);
        let preferred = SampleFormat::PREFERRED.iter().copied();
        let chosen =
            wanted.or_else(|| preferred.chain(have.iter().copied()).find(|format| have.contains(format)));
        let Some(chosen) = chosen else { return Err(AudioError::NoFormat { path, direction, others }) };
        let narrowed = if have.contains(&chosen) { self.refine(&space.with_format(chosen))? } else { None };
        let narrowed =
            narrowed.ok_or(AudioError::Format { path, direction, wanted: chosen, have, others })?;
        if wanted.is_none() && Some(&chosen) != SampleFormat::PREFERRED.first() {
            notes.push(format!("samples are {chosen}: the device has no S16_LE"));
        }
        Ok((narrowed, chosen))
    }

    fn channels(
        &mut self,
        space: &HwParams,
        sample: SampleFormat,
        wanted: Option<u32>,
        notes: &mut Vec<String>,
    ) -> Result<(HwParams, u32), AudioError> {
        if let Some(found) = self.exactly_or_near(space, Param::Channels, wanted, CHANNELS_DEFAULT)? {
            if wanted.is_none() && found.1 != CHANNELS_DEFAULT {
                notes.push(format!("frames have {} channels: the device has no {CHANNELS_DEFAULT}", found.1));
            }
            return Ok(found);
        }
        let have = self.supported(space, Param::Channels)?;
        let (path, direction) = (self.path.to_owned(), self.direction);
        let wanted = wanted.unwrap_or(CHANNELS_DEFAULT);
        Err(AudioError::Channels { path, direction, sample, wanted, have })
    }

    fn rate(
        &mut self,
        space: &HwParams,
        sample: SampleFormat,
        channels: u32,
        wanted: Option<u32>,
        notes: &mut Vec<String>,
    ) -> Result<(HwParams, u32), AudioError> {
        if let Some(found) = self.exactly_or_near(space, Param::Rate, wanted, RATE_DEFAULT_HZ)? {
            if wanted.is_none() && found.1 != RATE_DEFAULT_HZ {
                notes.push(format!("the rate is {} Hz: the device has no {RATE_DEFAULT_HZ}", found.1));
            }
            return Ok(found);
        }
        let have = self.supported(space, Param::Rate)?;
        let (path, direction) = (self.path.to_owned(), self.direction);
        let wanted = wanted.unwrap_or(RATE_DEFAULT_HZ);
        Err(AudioError::Rate { path, direction, sample, channels, wanted, have })
    }

    /// Narrows a parameter to what is wanted, or to what is nearest to the default; `None` where there is nothing.
    fn exactly_or_near(
        &mut self,
        space: &HwParams,
        param: Param,
        wanted: Option<u32>,
        default: u32,
    ) -> Result<Option<(HwParams, u32)>, AudioError> {
        if let Some(found) = self.refine(&space.with_value(param, wanted.unwrap_or(default)))? {
            return Ok(Some((found, wanted.unwrap_or(default))));
        }
        if wanted.is_some() {
            return Ok(None);
        }
        // The next above, else the next below: a refined interval begins and ends with values that there are.
        for (min, max) in [(default, u32::MAX), (0, default)] {
            let Some(found) = self.refine(&space.with(param, Interval::between(min, max)))? else { continue };
            let bounds = found.interval(param).bounds();
            let value = if min == default { bounds.0 } else { bounds.1 };
            if let Some(found) = self.refine(&found.with_value(param, value))? {
                return Ok(Some((found, value)));
            }
        }
        Ok(None)
    }

    /// Narrows the sizes of ring and period.
    fn cut(&mut self, space: &HwParams, cut: &Cut) -> Result<HwParams, AudioError> {
        let mut space = *space;
        for (param, what, wanted) in
            [(Param::BufferFrames, "buffer", cut.buffer), (Param::PeriodFrames, "period", cut.period)]
        {
            let Some(wanted) = wanted else { continue };
            match self.refine(&space.with_value(param, wanted))? {
                Some(narrowed) => space = narrowed,
                None => {
                    let have = self.supported(&space, param)?;
                    return Err(AudioError::Size { path: self.path.to_owned(), what, wanted, have });
                }
            }
        }
        for (period, buffer) in cut.candidates() {
            let wish = space.with_value(Param::PeriodFrames, period).with_value(Param::BufferFrames, buffer);
            if let Some(found) = self.refine(&wish)? {
                return Ok(found);
            }
        }
        // No whole blocks, then: periods that are not too long for a ring that is not too large, and the kernel chooses the longest ring.
        let rough = [
            (Param::BufferFrames, Interval::between(0, cut.buffer_max)),
            (Param::PeriodFrames, Interval::between(cut.period_wish() / 2, u32::MAX)),
            (Param::PeriodFrames, Interval::between(0, cut.period_wish().saturating_mul(2))),
        ];
        for (param, interval) in rough {
            let (min, max) = space.interval(param).bounds();
            let (low, high) = interval.bounds();
            let wish = Interval::between(low.max(min), high.min(max));
            if wish.bounds().0 <= wish.bounds().1
                && low <= max
                && high >= min
                && let Some(narrowed) = self.refine(&space.with(param, wish))?
            {
                space = narrowed;
            }
        }
        Ok(space)
    }
}

/// The numbers of the formats of a device that are not known here.
pub(super) fn unknown_numbers(space: &HwParams) -> Vec<u32> {
    let is_unknown = |number: &u32| *number < NUMBERS_MAX && SampleFormat::of_number(*number).is_none();
    space.format_numbers().into_iter().filter(is_unknown).collect()
}

/// How a ring is to be cut, in frames.
struct Cut {
    /// The fewest frames that are whole blocks.
    unit: u32,
    period: Option<u32>,
    buffer: Option<u32>,
    period_max: u32,
    buffer_max: u32,
}

impl Cut {
    /// The length of a period, where all lengths are alike.
    fn period_wish(&self) -> u32 {
        (self.buffer_max / PERIODS).min(self.period_max).max(1)
    }

    /// Pairs of period and ring in whole blocks, the best first: a long ring of long periods.
    fn candidates(&self) -> Vec<(u32, u32)> {
        let floor = |frames: u32, unit: u32| frames.checked_div(unit).unwrap_or(0).saturating_mul(unit);
        let longest = floor(self.period_wish(), self.unit).max(self.unit);
        let periods = match self.period {
            Some(period) => vec![period],
            None => {
                let powers = || std::iter::successors(Some(self.unit.max(1)), |power| power.checked_mul(2));
                let mut shorter: Vec<_> = powers().take_while(|power| *power <= longest).collect();
                shorter.reverse();
                // Longer ones only for devices that have no shorter.
                let longer = powers().skip_while(|power| *power <= longest);
                let longer = longer.take_while(|power| *power <= self.buffer_max / 2);
                let mut lengths: Vec<_> = [longest].into_iter().chain(shorter).chain(longer).collect();
                lengths.dedup();
                lengths
            }
        };
        let mut pairs = Vec::new();
        for period in periods {
            if let Some(buffer) = self.buffer {
                pairs.push((period, buffer));
                continue;
            }
            let most = self.buffer_max.checked_div(period).unwrap_or(0);
            // Some devices take powers of two only.
            let mut counts = vec![most, most.checked_ilog2().map_or(0, |log| 1 << log), PERIODS, 4, 2];
            counts.retain(|count| *count >= 2 && *count <= most);
            counts.dedup();
            pairs.extend(counts.into_iter().map(|count| (period, period.saturating_mul(count))));
        }
        // Whole blocks, or it is no better than what the kernel chooses.
        pairs.retain(|(_, buffer)| buffer % self.unit.max(1) == 0);
        if self.period.is_none() {
            // A ring of one period is full before anybody hears of it.
            pairs.retain(|(period, buffer)| buffer / period.max(&1) >= 2);
        }
        pairs
    }
}

/// The fewest frames whose bytes are whole blocks.
fn unit_frames(frame_len: u64, block_len: u64) -> u32 {
    let common = gcd(frame_len, block_len.max(1)).max(1);
    u32::try_from(block_len.max(1) / common).unwrap_or(u32::MAX)
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

/// What is not whole blocks, in words; `None` where all is.
pub(super) fn uneven(agreed: &Agreed, frame_len: u64, block_len: u64) -> Option<String> {
    let odd = |frames: u32| {
        u64::from(frames).saturating_mul(frame_len).checked_rem(block_len).is_some_and(|rest| rest > 0)
    };
    let parts: Vec<_> = [("ring", agreed.buffer_frames), ("period", agreed.period_frames)]
        .into_iter()
        .filter(|(_, frames)| odd(*frames))
        .map(|(what, frames)| format!("its {what} of {frames} frames"))
        .collect();
    (!parts.is_empty()).then(|| {
        format!(
            "{} cannot be whole blocks of {block_len} bytes with frames of {frame_len} bytes",
            list(&parts)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_no_driver_gives_are_no_formats() {
        // All bits are set, as they are where the driver takes none away.
        let numbers = unknown_numbers(&HwParams::any());
        assert_eq!(numbers.last(), Some(&63), "{numbers:?}");
        assert_eq!(numbers.len() + SampleFormat::ALL.len(), 64, "{numbers:?}");
    }

    #[test]
    fn units_are_whole_blocks() {
        assert_eq!(unit_frames(4, 4096), 1024);
        assert_eq!(unit_frames(6, 4096), 2048);
        assert_eq!(unit_frames(24, 512), 64);
        assert_eq!(unit_frames(4, 1), 1);
        assert_eq!(unit_frames(4, 0), 1);
        assert_eq!(unit_frames(0, 4096), 1);
    }

    #[test]
    fn candidates_are_whole_blocks_and_fit() {
        let cut = Cut { unit: 1024, period: None, buffer: None, period_max: 12_000, buffer_max: 524_288 };
        let pairs = cut.candidates();
        assert_eq!(pairs.first(), Some(&(11_264, 46 * 11_264)));
        assert!(pairs.contains(&(8192, 524_288)));
        assert!(pairs.len() < 100, "{} are tried", pairs.len());
        for (period, buffer) in pairs {
            assert!(period % 1024 == 0 && buffer % period == 0 && buffer <= 524_288 && buffer / period >= 2);
        }
        let small = Cut { unit: 2048, period: None, buffer: None, period_max: 12_000, buffer_max: 3000 };
        assert_eq!(small.candidates(), []);
        let given =
            Cut { unit: 1024, period: Some(1000), buffer: None, period_max: 12_000, buffer_max: 524_288 };
        assert!(given.candidates().iter().all(|(period, buffer)| *period == 1000 && buffer % 1024 == 0));
        let both =
            Cut { unit: 1024, period: Some(512), buffer: Some(4096), period_max: 1, buffer_max: 524_288 };
        assert_eq!(both.candidates(), [(512, 4096)]);
        // A ring that was asked for has several periods, too.
        let ring = Cut { unit: 1024, period: None, buffer: Some(8192), period_max: 12_000, buffer_max: 8192 };
        assert_eq!(ring.candidates(), [(1024, 8192), (2048, 8192), (4096, 8192)]);
    }
}
