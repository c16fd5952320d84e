//! The header of a WAV file: made before the sound is there, patched behind it, and read.
//!
//! The format chunk is made and read by the crate `hound`; the chunks around it are walked and padded here. A `JUNK` chunk moves the sound to a whole block of
//! the destination, so that the ring of a device is written as it lies. Until the end both lengths are the largest number, which players take for "up to the
//! end of the file"; [`WavHeader::patch`] says what is to be written in their place.
//!
//! Cited as: Multimedia Programming Interface and Data Specifications 1.0 (RIFF), chapter 2 and 3.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use hound::{SampleFormat as Numbers, WavReader, WavSpec};

use crate::device::audio::{Params, SampleFormat};

/// Bytes of a chunk's name and length.
const CHUNK_HEADER_LEN: u64 = 8;
/// Where the length of the RIFF chunk is.
const RIFF_LEN_AT: u64 = 4;
/// Bytes before the first chunk: `RIFF`, a length, `WAVE`.
const FORM_LEN: u64 = 12;
/// The longest format chunk that is read: the extensible one has 40 bytes.
const FORMAT_LEN_MAX: u32 = 4096;

/// Why sound cannot be in a WAV file, or a file is none that can be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// There is no such sample format in WAV.
    #[error(
        "a WAV file holds samples of U8, S16_LE, S24_3LE, S32_LE or FLOAT_LE, not {sample}; record raw, or choose one of these"
    )]
    Sample {
        /// The format.
        sample: SampleFormat,
    },
    /// A number does not fit its field.
    #[error(
        "a WAV file cannot hold {channels} channels of {sample} at {rate_hz} Hz: a frame has at most 65535 bytes there, a second 4294967295"
    )]
    Frame {
        /// The format of a sample.
        sample: SampleFormat,
        /// Samples in a frame.
        channels: u32,
        /// Frames in a second, in Hz.
        rate_hz: u32,
    },
    /// The lengths have 32 bits.
    #[error(
        "{data_len} bytes of sound do not fit a WAV file, which holds at most {data_len_max}; record raw, or less at a time"
    )]
    TooLong {
        /// The bytes of sound.
        data_len: u64,
        /// The most.
        data_len_max: u64,
    },
    /// It is no WAV file.
    #[error("this is no WAV file: it begins with {found:?}, not with RIFF and WAVE")]
    NotWav {
        /// The first bytes, as text.
        found: String,
    },
    /// It ends before the sound, or has no format.
    #[error("the WAV file has no {chunk:?} chunk in its {len} bytes")]
    NoChunk {
        /// The name of the chunk that is missing.
        chunk: &'static str,
        /// The file's length in bytes.
        len: u64,
    },
    /// The sound is not plain numbers.
    #[error(
        "the WAV file holds sound in format {tag:#06x} ({bits} bits in {bytes} bytes): {why}; convert it to S16_LE, S24_3LE, S32_LE or FLOAT_LE"
    )]
    Format {
        /// `wFormatTag`.
        tag: u16,
        /// Bits of a sample.
        bits: u16,
        /// Bytes of a sample.
        bytes: u16,
        /// What about it.
        why: String,
    },
    /// Reading failed.
    #[error("reading the WAV header: {0}")]
    Io(#[from] io::Error),
}

/// A header that is written first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WavHeader {
    bytes: Vec<u8>,
}

/// Bytes that are written over a header, at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Where they go.
    pub offset: u64,
    /// What they are.
    pub bytes: Vec<u8>,
}

/// Makes the header of what a PCM records; see [`WavHeader::new`].
///
/// # Errors
/// [`WavError::Sample`], [`WavError::Frame`].
pub fn header(params: &Params, block_len: u64) -> Result<WavHeader, WavError> {
    WavHeader::new(params.sample, params.rate_hz, params.channels, block_len)
}

impl WavHeader {
    /// Makes the header of sound, so long that the sound begins at a multiple of `block_len` bytes (1 for no padding).
    ///
    /// # Errors
    /// [`WavError::Sample`], [`WavError::Frame`].
    pub fn new(sample: SampleFormat, rate_hz: u32, channels: u32, block_len: u64) -> Result<Self, WavError> {
        let sample_format = match sample {
            SampleFormat::U8 | SampleFormat::S16Le | SampleFormat::S24_3Le | SampleFormat::S32Le => {
                Numbers::Int
            }
            SampleFormat::FloatLe => Numbers::Float,
            sample => return Err(WavError::Sample { sample }),
        };
        let unfit = WavError::Frame { sample, channels, rate_hz };
        let frame_len = channels.checked_mul(sample.bytes_per_sample());
        let fits =
            frame_len.is_some_and(|len| u16::try_from(len).is_ok() && len.checked_mul(rate_hz).is_some());
        let (Ok(count), Ok(bits_per_sample)) = (u16::try_from(channels), u16::try_from(sample.bits())) else {
            return Err(unfit);
        };
        if !fits || channels == 0 {
            return Err(unfit);
        }
        let spec = WavSpec { channels: count, sample_rate: rate_hz, bits_per_sample, sample_format };
        let mut bytes = spec.into_header_for_infinite_file();
        // The name and the length of the sound come last.
        let sound = bytes.split_off(bytes.len().saturating_sub(8));
        bytes.extend(junk(length(&bytes).saturating_add(CHUNK_HEADER_LEN), block_len));
        bytes.extend(sound);
        Ok(Self { bytes })
    }

    /// Returns the bytes: they go before the sound.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns where the sound begins.
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        length(&self.bytes)
    }

    /// Returns the most bytes of sound that fit.
    #[must_use]
    pub fn data_len_max(&self) -> u64 {
        // What is behind the length of the RIFF chunk, less the header and a byte that makes the sound even.
        u64::from(u32::MAX)
            .saturating_add(RIFF_LEN_AT.saturating_add(4))
            .saturating_sub(self.data_offset())
            .saturating_sub(1)
    }

    /// Returns what is to be written behind and over the header once `data_len` bytes of sound are there.
    ///
    /// # Errors
    /// [`WavError::TooLong`].
    pub fn patch(&self, data_len: u64) -> Result<Vec<Patch>, WavError> {
        let too_long = || WavError::TooLong { data_len, data_len_max: self.data_len_max() };
        if data_len > self.data_len_max() {
            return Err(too_long());
        }
        // Chunks are even; the byte that makes this one so is not in its own length.
        let odd = data_len % 2;
        let riff = self
            .data_offset()
            .saturating_add(data_len)
            .saturating_add(odd)
            .saturating_sub(RIFF_LEN_AT.saturating_add(4));
        let number =
            |value: u64| u32::try_from(value).map(|value| le(value).to_vec()).map_err(|_| too_long());
        let mut patches = vec![
            Patch { offset: RIFF_LEN_AT, bytes: number(riff)? },
            Patch { offset: self.data_offset().saturating_sub(4), bytes: number(data_len)? },
        ];
        if odd == 1 {
            patches.push(Patch { offset: self.data_offset().saturating_add(data_len), bytes: vec![0] });
        }
        Ok(patches)
    }
}

/// A number as files hold it.
fn le(value: u32) -> [u8; 4] {
    value.to_le_bytes()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// A chunk that nobody reads, so that `before` bytes and the chunk end at a multiple of the block.
fn junk(before: u64, block_len: u64) -> Vec<u8> {
    if block_len <= 1 || before.checked_rem(block_len).is_none_or(|rest| rest == 0) {
        return Vec::new();
    }
    let ends = |at: u64| at.checked_next_multiple_of(block_len).unwrap_or(at);
    let mut end = ends(before.saturating_add(CHUNK_HEADER_LEN));
    if end.saturating_sub(before) % 2 == 1 {
        end = end.saturating_add(block_len);
    }
    let len = end.saturating_sub(before).saturating_sub(CHUNK_HEADER_LEN);
    let mut chunk = b"JUNK".to_vec();
    chunk.extend(le(u32::try_from(len).unwrap_or(0)));
    chunk.resize(chunk.len().saturating_add(usize::try_from(len).unwrap_or(0)), 0);
    chunk
}

/// What a WAV file holds, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WavSound {
    /// The format of a sample.
    pub sample: SampleFormat,
    /// Frames in a second, in Hz.
    pub rate_hz: u32,
    /// Samples in a frame.
    pub channels: u32,
    /// Where the sound begins.
    pub data_offset: u64,
    /// Bytes of sound in the file: whole frames.
    pub data_len: u64,
    /// Bytes that the header promises and the file does not have, or that are no whole frame at its end.
    pub missing: u64,
}

/// Reads the header of a WAV file from its beginning on. Sound of unknown length goes to the end of the file: the length is the largest, or none
/// and so is that of the whole.
///
/// # Errors
/// [`WavError::NotWav`], [`WavError::NoChunk`], [`WavError::Format`], [`WavError::Io`].
pub fn parse(mut file: impl Read + Seek) -> Result<WavSound, WavError> {
    let len = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut form = Vec::new();
    file.by_ref().take(FORM_LEN).read_to_end(&mut form)?;
    if form.get(..4) != Some(b"RIFF") || form.get(8..) != Some(b"WAVE") {
        return Err(WavError::NotWav { found: String::from_utf8_lossy(&form).into_owned() });
    }
    // Neither length is known until the end, so a whole one says that no sound is meant by none.
    let is_open = matches!(form.get(4..8), Some([0, 0, 0, 0] | [0xff, 0xff, 0xff, 0xff]));
    let (mut at, mut format) = (FORM_LEN, None);
    loop {
        let missing = |chunk| WavError::NoChunk { chunk, len };
        let wanted = if format.is_none() { "fmt " } else { "data" };
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 8];
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(missing(wanted)),
            other => other?,
        }
        let [name @ .., a, b, c, d] = header;
        let (chunk_len, body) = (u32::from_le_bytes([a, b, c, d]), at.saturating_add(CHUNK_HEADER_LEN));
        match (&name, format.take()) {
            (b"fmt ", _) if chunk_len <= FORMAT_LEN_MAX => {
                let mut bytes = Vec::new();
                file.by_ref().take(chunk_len.into()).read_to_end(&mut bytes)?;
                format = Some(read_format(&bytes)?);
            }
            (b"data", Some(found)) => {
                let is_unknown = chunk_len == u32::MAX || (chunk_len == 0 && is_open);
                return Ok(sound(found, body, (!is_unknown).then_some(chunk_len), len));
            }
            (b"data", None) => return Err(missing("fmt ")),
            (_, found) => format = found,
        }
        // Chunks are even.
        at = body.saturating_add(chunk_len.into()).saturating_add(u64::from(chunk_len % 2));
    }
}

/// A sample's format, the rate, the channels.
type Format = (SampleFormat, u32, u32);

fn sound(
    (sample, rate_hz, channels): Format,
    data_offset: u64,
    chunk_len: Option<u32>,
    file_len: u64,
) -> WavSound {
    let there = file_len.saturating_sub(data_offset);
    let promised = chunk_len.map_or(there, u64::from);
    let frame_len = u64::from(sample.bytes_per_sample()).saturating_mul(channels.into());
    let held = promised.min(there);
    let data_len = held.saturating_sub(held.checked_rem(frame_len).unwrap_or(0));
    WavSound { sample, rate_hz, channels, data_offset, data_len, missing: promised.saturating_sub(data_len) }
}

/// Reads a format chunk.
fn read_format(bytes: &[u8]) -> Result<Format, WavError> {
    let word = |at: usize| match bytes.get(at..at.saturating_add(2)) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    };
    let (tag, channels, frame_len, container_bits) = (word(0), word(2), word(12), word(14));
    let bytes_per_sample = frame_len.checked_div(channels).unwrap_or(0);
    let unfit = |why: String| WavError::Format { tag, bits: container_bits, bytes: bytes_per_sample, why };
    // The chunk alone, as a file of its own without sound.
    let mut alone = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
    alone.extend(le(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
    alone.extend(bytes);
    alone.extend(b"data\0\0\0\0");
    let reader = WavReader::new(Cursor::new(alone)).map_err(|error| match error {
        hound::Error::Unsupported => unfit("it is compressed, or of a kind that is not known".to_owned()),
        error => unfit(error.to_string()),
    })?;
    let spec = reader.spec();
    let sample = match (spec.sample_format, spec.bits_per_sample, bytes_per_sample) {
        (Numbers::Int, 8, 1) => SampleFormat::U8,
        (Numbers::Int, 16, 2) => SampleFormat::S16Le,
        (Numbers::Int, 24, 3) => SampleFormat::S24_3Le,
        (Numbers::Int, 32, 4) => SampleFormat::S32Le,
        (Numbers::Float, 32, 4) => SampleFormat::FloatLe,
        (_, valid, _) => {
            return Err(unfit(format!(
                "{valid} bits carry sound, and where they lie differs from program to program"
            )));
        }
    };
    if spec.sample_rate == 0 {
        return Err(unfit("its rate is 0 Hz".to_owned()));
    }
    Ok((sample, spec.sample_rate, channels.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [SampleFormat; 5] = [
        SampleFormat::U8,
        SampleFormat::S16Le,
        SampleFormat::S24_3Le,
        SampleFormat::S32Le,
        SampleFormat::FloatLe,
    ];

    /// A whole file with this much sound.
    fn file(header: &WavHeader, data_len: u64) -> Vec<u8> {
        let mut bytes = header.bytes().to_vec();
        bytes.extend((0..data_len).map(|at| (at % 251) as u8));
        for patch in header.patch(data_len).unwrap() {
            let (from, to) = (patch.offset as usize, patch.offset as usize + patch.bytes.len());
            bytes.resize(bytes.len().max(to), 0xee);
            bytes[from..to].copy_from_slice(&patch.bytes);
        }
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        for sample in FORMATS {
            for (channels, block_len) in [(1, 1), (2, 512), (3, 4096), (6, 1), (8, 4096), (40, 4096), (1, 7)]
            {
                let header = WavHeader::new(sample, 44_100, channels, block_len).unwrap();
                assert_eq!(
                    header.data_offset() % block_len,
                    0,
                    "{sample} x {channels}, blocks of {block_len}"
                );
                let frame_len = u64::from(channels * sample.bytes_per_sample());
                for frames in [1, 2, 101] {
                    let data_len = frames * frame_len;
                    let bytes = file(&header, data_len);
                    let data_offset = header.data_offset();
                    let want =
                        WavSound { sample, rate_hz: 44_100, channels, data_offset, data_len, missing: 0 };
                    assert_eq!(parse(Cursor::new(&bytes)).unwrap(), want);
                    assert_eq!(bytes.len() % 2, 0, "chunks are even");
                    assert_eq!(bytes[4..8], le(bytes.len() as u32 - 8));
                    // Another reader of the same file.
                    let other = WavReader::new(Cursor::new(&bytes)).unwrap();
                    assert_eq!(u64::from(other.duration()), frames);
                }
            }
        }
    }

    #[test]
    fn a_header_is_no_longer_than_it_must_be() {
        assert_eq!(WavHeader::new(SampleFormat::S16Le, 48_000, 2, 1).unwrap().data_offset(), 44);
        assert_eq!(WavHeader::new(SampleFormat::S16Le, 48_000, 2, 44).unwrap().data_offset(), 44);
        assert_eq!(WavHeader::new(SampleFormat::S24_3Le, 48_000, 2, 1).unwrap().data_offset(), 68);
        assert_eq!(WavHeader::new(SampleFormat::S16Le, 48_000, 2, 4096).unwrap().data_offset(), 4096);
        // No room for the head of a chunk before the first multiple.
        assert_eq!(WavHeader::new(SampleFormat::S16Le, 48_000, 2, 46).unwrap().data_offset(), 92);
    }

    #[test]
    fn the_longest_file_is_four_gibibytes() {
        let header = WavHeader::new(SampleFormat::U8, 48_000, 1, 1).unwrap();
        let most = header.data_len_max();
        assert_eq!(most, u64::from(u32::MAX) + 8 - 44 - 1);
        header.patch(most).unwrap();
        let error = header.patch(most + 1).unwrap_err();
        assert!(matches!(error, WavError::TooLong { data_len, .. } if data_len == most + 1), "{error}");
    }

    #[test]
    fn what_wav_does_not_have_is_refused() {
        let refused = |sample, rate_hz, channels| WavHeader::new(sample, rate_hz, channels, 1).unwrap_err();
        assert!(matches!(refused(SampleFormat::S24Le, 48_000, 2), WavError::Sample { .. }));
        assert!(matches!(refused(SampleFormat::S16Be, 48_000, 2), WavError::Sample { .. }));
        assert!(matches!(refused(SampleFormat::S16Le, 48_000, 0), WavError::Frame { .. }));
        assert!(matches!(refused(SampleFormat::S16Le, 48_000, 32_768), WavError::Frame { .. }));
        assert!(matches!(refused(SampleFormat::S32Le, u32::MAX / 4, 2), WavError::Frame { .. }));
    }

    #[test]
    fn unpatched_and_cut_files_go_to_their_end() {
        let header = WavHeader::new(SampleFormat::S16Le, 48_000, 2, 1).unwrap();
        let mut bytes = header.bytes().to_vec();
        bytes.extend([1; 403]);
        let found = parse(Cursor::new(&bytes)).unwrap();
        assert_eq!((found.data_len, found.missing), (400, 3));
        let mut bytes = file(&header, 400);
        bytes.truncate(bytes.len() - 101);
        let found = parse(Cursor::new(&bytes)).unwrap();
        assert_eq!((found.data_len, found.missing), (296, 104));
    }

    #[test]
    fn no_sound_is_none_where_the_whole_has_a_length() {
        let header = WavHeader::new(SampleFormat::S16Le, 48_000, 2, 1).unwrap();
        let mut bytes = header.bytes().to_vec();
        bytes.extend(b"LIST\x04\0\0\0abcd");
        bytes[40..44].fill(0);
        let with_riff_len = |riff_len: u32| {
            let mut bytes = bytes.clone();
            bytes[4..8].copy_from_slice(&le(riff_len));
            let found = parse(Cursor::new(&bytes)).unwrap();
            (found.data_offset, found.data_len, found.missing)
        };
        assert_eq!(with_riff_len(bytes.len() as u32 - 8), (44, 0, 0));
        // A program that was stopped left both lengths open.
        assert_eq!(with_riff_len(0), (44, 12, 0));
        assert_eq!(with_riff_len(u32::MAX), (44, 12, 0));
    }

    #[test]
    fn other_chunks_are_passed_by_odd_ones_too() {
        let header = WavHeader::new(SampleFormat::S16Le, 8_000, 1, 1).unwrap();
        let whole = file(&header, 20);
        let mut bytes = whole[..36].to_vec();
        bytes.extend(b"LIST\x03\0\0\0abc\0fact\x04\0\0\0\x0a\0\0\0");
        bytes.extend(&whole[36..]);
        let found = parse(Cursor::new(&bytes)).unwrap();
        assert_eq!((found.data_offset, found.data_len, found.missing), (44 + 24, 20, 0));
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_its_numbers() {
        let refused = |bytes: &[u8]| parse(Cursor::new(bytes)).unwrap_err();
        assert!(matches!(refused(b""), WavError::NotWav { .. }));
        assert!(matches!(refused(b"RF64\xff\xff\xff\xffWAVEds64"), WavError::NotWav { .. }));
        let header = WavHeader::new(SampleFormat::S16Le, 8_000, 1, 1).unwrap();
        assert!(matches!(refused(&header.bytes()[..36]), WavError::NoChunk { chunk: "data", len: 36 }));
        assert!(matches!(refused(&header.bytes()[..12]), WavError::NoChunk { chunk: "fmt ", .. }));
        let change = |places: &[(usize, u8)]| {
            let mut bytes = header.bytes().to_vec();
            places.iter().for_each(|(at, value)| bytes[*at] = *value);
            refused(&bytes)
        };
        // ADPCM; no channels; 12 bits in two bytes; four bytes a frame.
        assert!(matches!(change(&[(20, 2)]), WavError::Format { tag: 2, bits: 16, bytes: 2, .. }));
        assert!(matches!(change(&[(22, 0)]), WavError::Format { .. }));
        assert!(matches!(change(&[(34, 12)]), WavError::Format { bits: 12, .. }));
        assert!(matches!(change(&[(32, 4), (29, 0x7d), (28, 0)]), WavError::Format { bytes: 4, .. }));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let header = WavHeader::new(SampleFormat::S32Le, 48_000, 6, 64).unwrap();
        let whole = file(&header, 48);
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = parse(Cursor::new(&bytes));
            }
            let _ = parse(Cursor::new(&whole[..at]));
        }
    }
}
