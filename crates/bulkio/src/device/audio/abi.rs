//! The kernel's structures of a PCM, as they lie in memory: include/uapi/sound/asound.h, on 64 bits.
//!
//! Data only: [`HwParams`] is the space of configurations that a device and its user still agree on, as masks and intervals; `node` makes the calls.
//! The header's words for a whole of bytes or frames are unsigned longs.

use rustix::ioctl::{Opcode, opcode};

use super::format::SampleFormat;

/// `SNDRV_PCM_ACCESS_MMAP_INTERLEAVED`.
const ACCESS_MMAP_INTERLEAVED: u32 = 0;
/// `SNDRV_PCM_HW_PARAM_ACCESS` and `_FORMAT`: places among the masks.
const MASK_ACCESS: usize = 0;
const MASK_FORMAT: usize = 1;

/// `SNDRV_PCM_HW_PARAMS_NORESAMPLE`.
const NO_RESAMPLE: u32 = 1;

/// An interval of [`HwParams`], by its place: `SNDRV_PCM_HW_PARAM_*` less `SNDRV_PCM_HW_PARAM_FIRST_INTERVAL` (8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Param {
    Channels = 2,
    Rate = 3,
    PeriodFrames = 5,
    BufferFrames = 9,
    BufferBytes = 10,
}

/// `struct snd_interval`: its bits are a word here.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interval {
    min: u32,
    max: u32,
    /// `openmin`, `openmax`, `integer`, `empty`, from the lowest bit on.
    flags: u32,
}

const OPEN_MIN: u32 = 1;
const OPEN_MAX: u32 = 2;

impl Interval {
    const ANY: Self = Self { min: 0, max: u32::MAX, flags: 0 };

    /// The smallest and the largest whole number in it.
    pub(super) fn bounds(&self) -> (u32, u32) {
        let min = self.min.saturating_add(u32::from(self.flags & OPEN_MIN != 0));
        let max = self.max.saturating_sub(u32::from(self.flags & OPEN_MAX != 0));
        (min, max.max(min))
    }

    pub(super) fn between(min: u32, max: u32) -> Self {
        Self { min, max, flags: 0 }
    }
}

/// `struct snd_mask`.
type Mask = [u32; 8];

/// `struct snd_pcm_hw_params`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct HwParams {
    flags: u32,
    masks: [Mask; 3],
    masks_reserved: [Mask; 5],
    intervals: [Interval; 12],
    intervals_reserved: [Interval; 9],
    /// What is asked for, by bits.
    requested: u32,
    /// What the kernel changed.
    changed: u32,
    pub(super) info: u32,
    msbits: u32,
    rate_num: u32,
    rate_den: u32,
    fifo_size: u64,
    reserved: [u8; 64],
}

const _: () = assert!(size_of::<HwParams>() == 608, "struct snd_pcm_hw_params is 608 bytes on 64 bits");

impl HwParams {
    /// Everything that there could be, in the one access that shows the ring: interleaved frames, mapped.
    pub(super) fn any() -> Self {
        let mut access: Mask = [0; 8];
        access[0] = 1 << ACCESS_MMAP_INTERLEAVED;
        let mut masks: [Mask; 3] = [[u32::MAX; 8]; 3];
        masks[MASK_ACCESS] = access;
        Self {
            flags: NO_RESAMPLE,
            masks,
            masks_reserved: [[0; 8]; 5],
            intervals: [Interval::ANY; 12],
            intervals_reserved: [Interval { min: 0, max: 0, flags: 0 }; 9],
            requested: u32::MAX,
            changed: 0,
            info: u32::MAX,
            msbits: 0,
            rate_num: 0,
            rate_den: 0,
            fifo_size: 0,
            reserved: [0; 64],
        }
    }

    /// Returns an interval.
    pub(super) fn interval(&self, param: Param) -> Interval {
        self.intervals.get(param as usize).copied().unwrap_or(Interval::ANY)
    }

    /// Returns the same with one interval replaced; the kernel works out the rest of it anew.
    #[must_use]
    pub(super) fn with(mut self, param: Param, interval: Interval) -> Self {
        if let Some(place) = self.intervals.get_mut(param as usize) {
            *place = interval;
        }
        self.requested = u32::MAX;
        self
    }

    /// Returns the same with one value in place of an interval.
    #[must_use]
    pub(super) fn with_value(self, param: Param, value: u32) -> Self {
        self.with(param, Interval::between(value, value))
    }

    /// Returns the same with one sample format.
    #[must_use]
    pub(super) fn with_format(mut self, format: SampleFormat) -> Self {
        let number = format.number();
        let mut mask: Mask = [0; 8];
        if let Some(word) = mask.get_mut((number / u32::BITS) as usize) {
            *word = 1 << (number % u32::BITS);
        }
        self.masks[MASK_FORMAT] = mask;
        self.requested = u32::MAX;
        self
    }

    /// Returns the numbers of the formats that are in it.
    pub(super) fn format_numbers(&self) -> Vec<u32> {
        let bit = |number: &u32| {
            let word = self.masks[MASK_FORMAT].get((number / u32::BITS) as usize).copied().unwrap_or(0);
            word >> (number % u32::BITS) & 1 == 1
        };
        // SNDRV_MASK_MAX.
        (0..256).filter(bit).collect()
    }

    /// Returns the formats that are in it, as far as they are known here.
    pub(super) fn formats(&self) -> Vec<SampleFormat> {
        self.format_numbers().into_iter().filter_map(SampleFormat::of_number).collect()
    }

    #[cfg(test)]
    pub(super) fn keep_formats(&mut self, formats: &[SampleFormat]) -> bool {
        let mut kept: Mask = [0; 8];
        for format in formats {
            let (word, bit) = ((format.number() / 32) as usize, format.number() % 32);
            kept[word] |= self.masks[MASK_FORMAT][word] & (1 << bit);
        }
        self.masks[MASK_FORMAT] = kept;
        kept.iter().any(|word| *word != 0)
    }

    #[cfg(test)]
    pub(super) fn narrow(&mut self, param: Param, min: u32, max: u32) -> bool {
        let (had_min, had_max) = self.interval(param).bounds();
        let (min, max) = (min.max(had_min), max.min(had_max));
        self.intervals[param as usize] = Interval::between(min, max);
        min <= max
    }
}

/// `struct snd_pcm_sw_params`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SwParams {
    pub(super) tstamp_mode: i32,
    pub(super) period_step: u32,
    pub(super) sleep_min: u32,
    pub(super) pad: u32,
    pub(super) avail_min: u64,
    pub(super) xfer_align: u64,
    pub(super) start_threshold: u64,
    pub(super) stop_threshold: u64,
    pub(super) silence_threshold: u64,
    pub(super) silence_size: u64,
    /// Where pointers wrap around; the kernel's answer.
    pub(super) boundary: u64,
    pub(super) proto: u32,
    pub(super) tstamp_type: u32,
    pub(super) reserved: [u64; 7],
}

const _: () = assert!(size_of::<SwParams>() == 136, "struct snd_pcm_sw_params is 136 bytes on 64 bits");

/// `SNDRV_PCM_TSTAMP_ENABLE`.
pub(super) const TSTAMP_ENABLE: i32 = 1;
/// `SNDRV_PCM_TSTAMP_TYPE_MONOTONIC`.
pub(super) const TSTAMP_MONOTONIC: u32 = 1;
/// `SNDRV_PROTOCOL_VERSION(2, 0, 12)`: the first with a type of time stamps among the software parameters.
pub(super) const PROTO_TSTAMP_TYPE: u32 = 2 << 16 | 12;

/// `struct timespec`, on 64 bits.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Time {
    pub(super) sec: i64,
    pub(super) nsec: i64,
}

/// `struct snd_pcm_sync_ptr`, with its two unions as they are used.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SyncPtr {
    pub(super) flags: u32,
    pub(super) pad: u32,
    pub(super) state: i32,
    pub(super) pad_state: u32,
    pub(super) hw_ptr: u64,
    pub(super) tstamp: Time,
    pub(super) suspended_state: i32,
    pub(super) pad_suspended: u32,
    pub(super) audio_tstamp: Time,
    pub(super) status_rest: u64,
    pub(super) appl_ptr: u64,
    pub(super) avail_min: u64,
    pub(super) control_rest: [u64; 6],
}

const _: () = assert!(size_of::<SyncPtr>() == 136, "struct snd_pcm_sync_ptr is 136 bytes on 64 bits");

/// `SNDRV_PCM_SYNC_PTR_HWSYNC`: the driver looks where the device is.
pub(super) const SYNC_HWSYNC: u32 = 1;
/// `SNDRV_PCM_SYNC_PTR_APPL`: the application's pointer is asked for, not told.
pub(super) const SYNC_APPL: u32 = 2;
/// `SNDRV_PCM_SYNC_PTR_AVAIL_MIN`: the least for a wake is asked for, not told.
pub(super) const SYNC_AVAIL_MIN: u32 = 4;

/// `struct snd_pcm_status`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RawStatus {
    pub(super) state: i32,
    pub(super) pad: u32,
    pub(super) trigger_tstamp: Time,
    pub(super) tstamp: Time,
    pub(super) appl_ptr: u64,
    pub(super) hw_ptr: u64,
    pub(super) delay: i64,
    pub(super) avail: u64,
    pub(super) avail_max: u64,
    pub(super) overrange: u64,
    pub(super) suspended_state: i32,
    pub(super) audio_tstamp_data: u32,
    pub(super) audio_tstamp: Time,
    pub(super) driver_tstamp: Time,
    pub(super) audio_tstamp_accuracy: u32,
    pub(super) reserved: [u32; 5],
}

const _: () = assert!(size_of::<RawStatus>() == 152, "struct snd_pcm_status is 152 bytes on 64 bits");

/// `struct snd_pcm_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Info {
    pub(super) device: u32,
    pub(super) subdevice: u32,
    pub(super) stream: i32,
    pub(super) card: i32,
    pub(super) id: [u8; 64],
    pub(super) name: [u8; 80],
    pub(super) subname: [u8; 32],
    pub(super) class: i32,
    pub(super) subclass: i32,
    pub(super) subdevices_count: u32,
    pub(super) subdevices_avail: u32,
    pub(super) sync: [u8; 16],
    pub(super) reserved: [u8; 64],
}

const _: () = assert!(size_of::<Info>() == 288, "struct snd_pcm_info is 288 bytes");

/// `SNDRV_PCM_IOCTL_INFO`: `_IOR('A', 0x01, struct snd_pcm_info)`.
pub(super) const INFO: Opcode = opcode::read::<Info>(b'A', 0x01);
/// `SNDRV_PCM_IOCTL_HW_REFINE`: `_IOWR('A', 0x10, struct snd_pcm_hw_params)`.
pub(super) const HW_REFINE: Opcode = opcode::read_write::<HwParams>(b'A', 0x10);
/// `SNDRV_PCM_IOCTL_HW_PARAMS`: `_IOWR('A', 0x11, struct snd_pcm_hw_params)`.
pub(super) const HW_PARAMS: Opcode = opcode::read_write::<HwParams>(b'A', 0x11);
/// `SNDRV_PCM_IOCTL_SW_PARAMS`: `_IOWR('A', 0x13, struct snd_pcm_sw_params)`.
pub(super) const SW_PARAMS: Opcode = opcode::read_write::<SwParams>(b'A', 0x13);
/// `SNDRV_PCM_IOCTL_STATUS`: `_IOR('A', 0x20, struct snd_pcm_status)`.
pub(super) const STATUS: Opcode = opcode::read::<RawStatus>(b'A', 0x20);
/// `SNDRV_PCM_IOCTL_SYNC_PTR`: `_IOWR('A', 0x23, struct snd_pcm_sync_ptr)`.
pub(super) const SYNC_PTR: Opcode = opcode::read_write::<SyncPtr>(b'A', 0x23);
/// `SNDRV_PCM_IOCTL_PREPARE`: `_IO('A', 0x40)`.
pub(super) const PREPARE: Opcode = opcode::none(b'A', 0x40);
/// `SNDRV_PCM_IOCTL_START`: `_IO('A', 0x42)`.
pub(super) const START: Opcode = opcode::none(b'A', 0x42);
/// `SNDRV_PCM_IOCTL_DROP`: `_IO('A', 0x43)`.
pub(super) const DROP: Opcode = opcode::none(b'A', 0x43);
/// `SNDRV_PCM_IOCTL_DRAIN`: `_IO('A', 0x44)`.
pub(super) const DRAIN: Opcode = opcode::none(b'A', 0x44);
/// `SNDRV_CTL_IOCTL_PCM_PREFER_SUBDEVICE`: `_IOW('U', 0x32, int)`, of a card's control node.
pub(super) const PREFER_SUBDEVICE: Opcode = opcode::write::<i32>(b'U', 0x32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_the_kernels() {
        // As strace has them on 64 bits.
        assert_eq!((HW_REFINE, HW_PARAMS), (0xc260_4110, 0xc260_4111));
        assert_eq!((SW_PARAMS, STATUS), (0xc088_4113, 0x8098_4120));
        assert_eq!((SYNC_PTR, INFO), (0xc088_4123, 0x8120_4101));
        assert_eq!((PREPARE, START, DROP, DRAIN), (0x4140, 0x4142, 0x4143, 0x4144));
        assert_eq!(PREFER_SUBDEVICE, 0x4004_5532);
    }

    #[test]
    fn places_are_the_headers() {
        assert_eq!(core::mem::offset_of!(HwParams, intervals), 4 + 8 * 32);
        assert_eq!(core::mem::offset_of!(HwParams, fifo_size), 536);
        assert_eq!(core::mem::offset_of!(SyncPtr, state), 8);
        assert_eq!(core::mem::offset_of!(SyncPtr, audio_tstamp), 8 + 40);
        assert_eq!(core::mem::offset_of!(SyncPtr, appl_ptr), 8 + 64);
        assert_eq!(core::mem::offset_of!(RawStatus, audio_tstamp), 96);
    }

    #[test]
    fn formats_are_bits() {
        let one = HwParams::any().with_format(SampleFormat::S24_3Le);
        assert_eq!(one.format_numbers(), [32]);
        assert_eq!(one.formats(), [SampleFormat::S24_3Le]);
        assert_eq!(HwParams::any().formats(), SampleFormat::ALL);
    }

    #[test]
    fn open_ends_are_left_out() {
        let interval = Interval { min: 4, max: 9, flags: OPEN_MIN | OPEN_MAX };
        assert_eq!(interval.bounds(), (5, 8));
        assert_eq!(Interval::ANY.bounds(), (0, u32::MAX));
    }
}
