//! The two register files of an AC'97 controller: [`Mixer`], those of the codec, and [`BusMaster`], those of the DMA engine for PCM out.
//!
//! The codec: Audio Codec '97 Component Specification, Revision 2.3, sections 5.7 and 5.8. The engine: Intel 82801DB I/O
//! Controller Hub 4 (ICH4) datasheet, section 14.2, whose names stand here; ICH5 AC '97 Programmer's Reference Manual, chapter 3.

use super::PcmOut;
use scatterlist::{Addr as _, BusAddr};

use crate::driver::halves;
use crate::registers::{Clock, Registers, wait_until};

/// Registers of the codec (section 5.7, and 5.8 from 28h on).
mod codec {
    pub(super) const RESET: u64 = 0x00;
    pub(super) const MASTER_VOLUME: u64 = 0x02;
    pub(super) const PCM_OUT_VOLUME: u64 = 0x18;
    pub(super) const EXTENDED_ID: u64 = 0x28;
    pub(super) const EXTENDED_CONTROL: u64 = 0x2a;
    pub(super) const FRONT_DAC_RATE: u64 = 0x2c;
    /// VRA, of the extended registers: a rate can be chosen (sections 5.8.1 and 5.8.2).
    pub(super) const VARIABLE_RATE: u16 = 1;
    /// No gain and no attenuation on PCM out, left and right (section 5.7.2).
    pub(super) const PCM_OUT_0_DB: u16 = 0x0808;
    /// 12 dB of gain.
    pub(super) const PCM_OUT_12_DB: u16 = 0;
    /// Silence (section 5.7.2).
    pub(super) const MUTE: u16 = 0x8000;
    /// The largest attenuation of the master volume that every codec has (section 5.7.2.1).
    pub(super) const ATTENUATION_MAX: u8 = 31;
}

/// Registers of the engine: the box of PCM out, and the global ones.
mod engine {
    pub(super) const BDBAR: u64 = 0x10;
    pub(super) const CIV: u64 = 0x14;
    pub(super) const LVI: u64 = 0x15;
    pub(super) const SR: u64 = 0x16;
    pub(super) const PICB: u64 = 0x18;
    pub(super) const CR: u64 = 0x1b;
    pub(super) const GLOB_CNT: u64 = 0x2c;
    pub(super) const GLOB_STA: u64 = 0x30;
    /// RPBM, of CR: run.
    pub(super) const RUN: u8 = 1 << 0;
    /// RR, of CR: reset the box. Reads as 0 once it is.
    pub(super) const RESET: u8 = 1 << 1;
    /// DCH, of SR.
    pub(super) const HALTED: u16 = 1 << 0;
    /// LVBCI, BCIS and FIFOE, of SR, which a 1 clears.
    pub(super) const CLEARED: u16 = 1 << 2 | 1 << 3 | 1 << 4;
    /// LVBCI, of SR: the last valid entry was done. Stays until it is cleared.
    pub(super) const LAST_DONE: u16 = 1 << 2;
    /// FIFOE, of SR: a sample came too late, though the list was not at its end.
    pub(super) const FIFO_ERROR: u16 = 1 << 4;
    /// AC '97 Cold Reset#, of GLOB_CNT: 0 holds the codec in reset.
    pub(super) const NO_COLD_RESET: u32 = 1 << 1;
    /// Primary Codec Ready, of GLOB_STA.
    pub(super) const CODEC_READY: u32 = 1 << 8;
}

/// How long the link stays in reset: 1 microsecond at least (Revision 2.3, section 9.2, T_rst_low).
const COLD_RESET_NS: u64 = 2_000;
/// How long a codec may take to be ready. No document has a number; codecs are known that take half a second.
const READY_NS_MAX: u64 = 1_000_000_000;
/// How long the reset of a box may take. No document has a number.
const BOX_RESET_NS_MAX: u64 = 100_000_000;
/// The rate of every codec (section 5.8.3: BB80h).
pub(super) const RATE_HZ: u32 = 48_000;

/// The codec or the engine does not come up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistersError {
    /// No codec answered.
    #[error("no codec is ready after {ns} ns: the global status is {status:#x}")]
    NoCodec {
        /// How long was waited.
        ns: u64,
        /// GLOB_STA.
        status: u32,
    },
    /// The engine did not reset.
    #[error("the engine was not reset after {ns} ns: its control is {control:#x}")]
    ResetTimeout {
        /// How long was waited.
        ns: u64,
        /// CR.
        control: u8,
    },
    /// The codec does not play at this rate.
    #[error("the codec plays at {have} Hz, not at {want}")]
    Rate {
        /// What was wanted.
        want: u32,
        /// What it plays at.
        have: u32,
    },
}

/// The registers of the codec: native audio mixer.
#[derive(Debug)]
pub(super) struct Mixer<R>(pub(super) R);

impl<R: Registers> Mixer<R> {
    /// Brings all registers of the codec to what they are after a cold reset (section 5.7.1).
    pub(super) fn reset(&self) {
        self.0.write16(codec::RESET, 0);
    }

    /// Sets the rate, and makes sure of it.
    pub(super) fn set_rate(&self, want: u32) -> Result<(), RegistersError> {
        let variable = self.0.read16(codec::EXTENDED_ID) & codec::VARIABLE_RATE != 0;
        let have = match u16::try_from(want) {
            Ok(hz) if variable => {
                let control = self.0.read16(codec::EXTENDED_CONTROL) | codec::VARIABLE_RATE;
                self.0.write16(codec::EXTENDED_CONTROL, control);
                self.0.write16(codec::FRONT_DAC_RATE, hz);
                u32::from(self.0.read16(codec::FRONT_DAC_RATE))
            }
            _ => RATE_HZ,
        };
        if have == want { Ok(()) } else { Err(RegistersError::Rate { want, have }) }
    }

    /// Sets the gain of PCM out.
    pub(super) fn set_pcm_out(&self, gain: PcmOut) {
        let value = match gain {
            PcmOut::NoGain => codec::PCM_OUT_0_DB,
            PcmOut::MostGain => codec::PCM_OUT_12_DB,
        };
        self.0.write16(codec::PCM_OUT_VOLUME, value);
    }

    /// Sets the attenuation of both channels in steps of 1.5 dB, at most 31 of them; `None` is silence.
    pub(super) fn set_volume(&self, steps: Option<u8>) {
        let master = match steps {
            Some(steps) => {
                let steps = steps.min(codec::ATTENUATION_MAX);
                u16::from_le_bytes([steps, steps])
            }
            None => codec::MUTE,
        };
        self.0.write16(codec::MASTER_VOLUME, master);
    }
}

/// Where the engine is, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    /// CIV: the entry that plays, or that played last.
    pub(super) current: u8,
    /// DCH: nothing plays, for want of entries or because the engine was told to stop.
    pub(super) halted: bool,
    /// LVBCI: the engine came to the end of the last valid entry since the last look.
    pub(super) ran_dry: bool,
    /// FIFOE: a sample came too late.
    pub(super) fifo_error: bool,
}

/// The registers of the engine: native audio bus mastering.
#[derive(Debug)]
pub(super) struct BusMaster<R>(pub(super) R);

impl<R: Registers> BusMaster<R> {
    /// Resets the link and waits for the codec.
    pub(super) fn cold_reset<K: Clock>(&self, clock: &K) -> Result<(), RegistersError> {
        self.0.write32(engine::GLOB_CNT, 0);
        wait_until(clock, COLD_RESET_NS, || false);
        self.0.write32(engine::GLOB_CNT, engine::NO_COLD_RESET);
        let status = || self.0.read32(engine::GLOB_STA);
        if wait_until(clock, READY_NS_MAX, || status() & engine::CODEC_READY != 0) {
            return Ok(());
        }
        Err(RegistersError::NoCodec { ns: READY_NS_MAX, status: status() })
    }

    /// Resets the stopped engine and waits until it is: it reads no memory then.
    pub(super) fn reset<K: Clock>(&self, clock: &K) -> Result<(), RegistersError> {
        self.0.write8(engine::CR, engine::RESET);
        let control = || self.0.read8(engine::CR);
        if wait_until(clock, BOX_RESET_NS_MAX, || control() & engine::RESET == 0) {
            return Ok(());
        }
        Err(RegistersError::ResetTimeout { ns: BOX_RESET_NS_MAX, control: control() })
    }

    /// Says where the list is.
    pub(super) fn set_list(&self, list: BusAddr) {
        // The ring has seen to it that the list lies below 4 GiB.
        let [low, _] = halves(list.raw());
        self.0.write32(engine::BDBAR, low);
    }

    /// Says which entry is the last that may play. An engine that stands on the one before goes on.
    pub(super) fn set_last_valid(&self, last: u8) {
        self.0.write8(engine::LVI, last);
    }

    /// Runs. Once: an emulated engine takes each write for a start.
    pub(super) fn run(&self) {
        self.0.write8(engine::CR, engine::RUN);
    }

    /// Stops where it is.
    pub(super) fn pause(&self) {
        self.0.write8(engine::CR, 0);
    }

    /// Returns the samples of the current entry that have not been fetched.
    pub(super) fn samples_left(&self) -> u16 {
        self.0.read16(engine::PICB)
    }

    /// Reads where the engine is, all of one moment, and clears what it reported.
    pub(super) fn progress(&self) -> Progress {
        // CIV, LVI, and SR in the upper half.
        let [current, _, low, high] = self.0.read32(engine::CIV).to_le_bytes();
        let status = u16::from_le_bytes([low, high]);
        if status & engine::CLEARED != 0 {
            self.0.write16(engine::SR, status & engine::CLEARED);
        }
        let has = |bit: u16| status & bit != 0;
        Progress {
            current,
            halted: has(engine::HALTED),
            ran_dry: has(engine::LAST_DONE),
            fifo_error: has(engine::FIFO_ERROR),
        }
    }
}
