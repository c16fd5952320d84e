//! [`Sense`]: what a device says of a command that did not end well, from either format of sense data.
//!
//! SPC-4 4.5: fixed format (response codes 70h and 71h) and descriptor format (72h and 73h); the second of each pair is a deferred error,
//! which is about an earlier command. The parser takes any bytes, cut off anywhere: a field that is not there is `None` or `false`.

use std::fmt;

use super::words;

/// The kind of a fault: SPC-4 4.5.6, table "Sense key descriptions".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report, or only one of the bits of a tape.
    NoSense = 0x0,
    /// It worked, after the device did something about it.
    Recovered = 0x1,
    /// The unit cannot be reached: no medium, not spun up.
    NotReady = 0x2,
    /// A flaw in the medium, or in what is recorded on it.
    Medium = 0x3,
    /// The device itself is broken.
    Hardware = 0x4,
    /// A command or parameter that the device does not take.
    IllegalRequest = 0x5,
    /// Something happened to the unit meanwhile: a reset, another medium.
    UnitAttention = 0x6,
    /// The medium is write-protected, or otherwise closed.
    DataProtect = 0x7,
    /// A blank where data was expected: the end of the data on a tape.
    BlankCheck = 0x8,
    /// The vendor's own.
    Vendor = 0x9,
    /// A copy that the device was to make was aborted.
    CopyAborted = 0xa,
    /// The device aborted the command; it may work again.
    Aborted = 0xb,
    /// Reserved.
    Reserved = 0xc,
    /// The last partition is full, and data is left in the buffer.
    VolumeOverflow = 0xd,
    /// What was compared is not the same.
    Miscompare = 0xe,
    /// The command is complete, and this is said by sense data.
    Completed = 0xf,
}

impl SenseKey {
    /// Returns the key with this number, of which the low four bits count.
    #[must_use]
    pub const fn from_low_bits(number: u8) -> Self {
        match number & 0xf {
            0x0 => Self::NoSense,
            0x1 => Self::Recovered,
            0x2 => Self::NotReady,
            0x3 => Self::Medium,
            0x4 => Self::Hardware,
            0x5 => Self::IllegalRequest,
            0x6 => Self::UnitAttention,
            0x7 => Self::DataProtect,
            0x8 => Self::BlankCheck,
            0x9 => Self::Vendor,
            0xa => Self::CopyAborted,
            0xb => Self::Aborted,
            0xc => Self::Reserved,
            0xd => Self::VolumeOverflow,
            0xe => Self::Miscompare,
            _ => Self::Completed,
        }
    }

    /// Returns its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the name, in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSense => "no sense",
            Self::Recovered => "recovered error",
            Self::NotReady => "not ready",
            Self::Medium => "medium error",
            Self::Hardware => "hardware error",
            Self::IllegalRequest => "illegal request",
            Self::UnitAttention => "unit attention",
            Self::DataProtect => "data protect",
            Self::BlankCheck => "blank check",
            Self::Vendor => "vendor specific",
            Self::CopyAborted => "copy aborted",
            Self::Aborted => "aborted command",
            Self::Reserved => "reserved sense key",
            Self::VolumeOverflow => "volume overflow",
            Self::Miscompare => "miscompare",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for SenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The form in which sense data came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SenseFormat {
    /// SPC-4 4.5.3; the information field has 32 bits.
    Fixed,
    /// SPC-4 4.5.2; the information field has 64 bits.
    Descriptor,
}

/// Sense data, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Sense {
    /// The form in which it came.
    pub format: SenseFormat,
    /// Whether it is about an earlier command. This one was not executed (SPC-4 4.5.5).
    pub deferred: bool,
    /// The kind of the fault.
    pub key: SenseKey,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
    /// The information field, where it is valid: for a disk the address of the block at fault.
    pub information: Option<u64>,
    /// The command-specific information field, where there is one that is not 0.
    pub command_specific: Option<u64>,
    /// A tape has met a filemark (SSC-4).
    pub filemark: bool,
    /// A tape is at the end of its medium or partition (SSC-4).
    pub end_of_medium: bool,
    /// The length asked for is not that of the block (SSC-4).
    pub incorrect_length: bool,
    /// The three bytes of the sense key specific field, where they are valid.
    pub key_specific: Option<[u8; 3]>,
}

impl Sense {
    /// Decodes sense data; `None` where there is none, or none of a known format.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        // The top bit of a fixed-format response code says whether the information field is valid.
        match bytes.first()? & 0x7f {
            code @ (0x70 | 0x71) => fixed(bytes, code == 0x71),
            code @ (0x72 | 0x73) => descriptors(bytes, code == 0x73),
            _ => None,
        }
    }

    /// Returns the information field as a difference, asked less found: that is how tapes use it (SSC-4, ILI and filemarks). A field of
    /// 32 bits has its sign in the topmost of those.
    #[must_use]
    pub fn difference(&self) -> Option<i64> {
        let information = self.information?;
        match self.format {
            SenseFormat::Fixed => u32::try_from(information).ok().map(|low| i64::from(low.cast_signed())),
            SenseFormat::Descriptor => Some(information.cast_signed()),
        }
    }

    /// Says whether additional code and qualifier are these.
    #[must_use]
    pub const fn is(&self, asc: u8, ascq: u8) -> bool {
        self.asc == asc && self.ascq == ascq
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words::sense(f, self.key, self.asc, self.ascq, self.deferred)?;
        match self.information {
            Some(information) if self.key != SenseKey::NoSense => write!(f, ", at block {information}"),
            _ => Ok(()),
        }
    }
}

/// SPC-4 4.5.3, table "Fixed format sense data".
fn fixed(bytes: &[u8], deferred: bool) -> Option<Sense> {
    let byte = |at: usize| bytes.get(at).copied();
    let flags = byte(2)?;
    // What lies past the stated length is not sense data.
    let end = byte(7).map_or(bytes.len(), |more| usize::from(more).saturating_add(8));
    let bytes = bytes.get(..end).unwrap_or(bytes);
    let byte = |at: usize| bytes.get(at).copied();
    let information = byte(0).filter(|first| first & 0x80 != 0).and_then(|_| big_endian(bytes, 3, 4));
    let key_specific = bytes.get(15..18).and_then(|field| <[u8; 3]>::try_from(field).ok());
    Some(Sense {
        format: SenseFormat::Fixed,
        deferred,
        key: SenseKey::from_low_bits(flags),
        asc: byte(12).unwrap_or(0),
        ascq: byte(13).unwrap_or(0),
        information,
        command_specific: big_endian(bytes, 8, 4).filter(|field| *field != 0),
        filemark: flags & 0x80 != 0,
        end_of_medium: flags & 0x40 != 0,
        incorrect_length: flags & 0x20 != 0,
        key_specific: key_specific.filter(|field| field.first().is_some_and(|first| first & 0x80 != 0)),
    })
}

/// SPC-4 4.5.2, table "Descriptor format sense data", and the descriptors that this library reads.
fn descriptors(bytes: &[u8], deferred: bool) -> Option<Sense> {
    let byte = |at: usize| bytes.get(at).copied();
    let mut sense = Sense {
        format: SenseFormat::Descriptor,
        deferred,
        key: SenseKey::from_low_bits(byte(1)?),
        asc: byte(2).unwrap_or(0),
        ascq: byte(3).unwrap_or(0),
        information: None,
        command_specific: None,
        filemark: false,
        end_of_medium: false,
        incorrect_length: false,
        key_specific: None,
    };
    let end = byte(7).map_or(0, |more| usize::from(more).saturating_add(8));
    let bytes = bytes.get(..end).unwrap_or(bytes);
    let mut rest = bytes.get(8..).unwrap_or(&[]);
    while let [kind, more, ..] = rest {
        let len = usize::from(*more).saturating_add(2);
        let descriptor = rest.get(..len).unwrap_or(rest);
        describe(&mut sense, *kind, descriptor);
        rest = rest.get(len..).unwrap_or(&[]);
    }
    Some(sense)
}

fn describe(sense: &mut Sense, kind: u8, descriptor: &[u8]) {
    let flags = |at: usize| descriptor.get(at).copied().unwrap_or(0);
    match kind {
        // SPC-4 4.5.2.2: information, with a bit that says whether it is valid.
        0x00 if flags(2) & 0x80 != 0 => sense.information = big_endian(descriptor, 4, 8),
        // SPC-4 4.5.2.3: command-specific information.
        0x01 => sense.command_specific = big_endian(descriptor, 4, 8).filter(|field| *field != 0),
        // SPC-4 4.5.2.4: sense key specific.
        0x02 if flags(4) & 0x80 != 0 => {
            sense.key_specific = descriptor.get(4..7).and_then(|field| <[u8; 3]>::try_from(field).ok());
        }
        // SSC-4, "Stream commands sense data descriptor".
        0x04 => {
            sense.filemark |= flags(3) & 0x80 != 0;
            sense.end_of_medium |= flags(3) & 0x40 != 0;
            sense.incorrect_length |= flags(3) & 0x20 != 0;
        }
        // SBC-3, "Block commands sense data descriptor".
        0x05 => sense.incorrect_length |= flags(3) & 0x20 != 0,
        _ => {}
    }
}

fn big_endian(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..)?.get(..len)?;
    Some(field.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Writes sense data from the tables, as a device does.
    fn fixed_bytes(sense: &Sense) -> Vec<u8> {
        let mut bytes = vec![0_u8; 18];
        bytes[0] = if sense.deferred { 0x71 } else { 0x70 };
        bytes[7] = 10;
        if let Some(information) = sense.information {
            bytes[0] |= 0x80;
            bytes[3..7].copy_from_slice(&u32::try_from(information).unwrap().to_be_bytes());
        }
        let bits = [(sense.filemark, 0x80), (sense.end_of_medium, 0x40), (sense.incorrect_length, 0x20)];
        bytes[2] = bits.iter().filter(|bit| bit.0).fold(sense.key.number(), |byte, bit| byte | bit.1);
        let specific = u32::try_from(sense.command_specific.unwrap_or(0)).unwrap();
        bytes[8..12].copy_from_slice(&specific.to_be_bytes());
        (bytes[12], bytes[13]) = (sense.asc, sense.ascq);
        bytes[15..18].copy_from_slice(&sense.key_specific.unwrap_or([0; 3]));
        bytes
    }

    fn descriptor_bytes(sense: &Sense) -> Vec<u8> {
        let code = if sense.deferred { 0x73 } else { 0x72 };
        let mut bytes = vec![code, sense.key.number(), sense.asc, sense.ascq, 0, 0, 0, 0];
        // One of a kind that nobody here knows, first.
        bytes.extend([0x80, 3, 1, 2, 3]);
        if let Some(information) = sense.information {
            bytes.extend([0, 10, 0x80, 0]);
            bytes.extend(information.to_be_bytes());
        }
        if let Some(specific) = sense.command_specific {
            bytes.extend([1, 10, 0, 0]);
            bytes.extend(specific.to_be_bytes());
        }
        if let Some([a, b, c]) = sense.key_specific {
            bytes.extend([2, 6, 0, 0, a, b, c, 0]);
        }
        let bits = [(sense.filemark, 0x80), (sense.end_of_medium, 0x40), (sense.incorrect_length, 0x20)];
        let bits = bits.iter().filter(|bit| bit.0).fold(0, |byte, bit| byte | bit.1);
        bytes.extend([4, 2, 0, bits]);
        bytes[7] = u8::try_from(bytes.len() - 8).unwrap();
        bytes
    }

    fn senses() -> impl Strategy<Value = Sense> {
        let flags = any::<[bool; 4]>();
        let numbers = (any::<u8>(), any::<u8>(), any::<u8>());
        let fields = (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<[u8; 3]>>());
        (flags, numbers, fields).prop_map(
            |(flags, (key, asc, ascq), (information, specific, key_specific))| {
                let [deferred, filemark, end_of_medium, incorrect_length] = flags;
                Sense {
                    format: SenseFormat::Fixed,
                    deferred,
                    key: SenseKey::from_low_bits(key),
                    asc,
                    ascq,
                    information: information.map(u64::from),
                    command_specific: specific.filter(|field| *field != 0).map(u64::from),
                    filemark,
                    end_of_medium,
                    incorrect_length,
                    key_specific: key_specific.map(|[a, b, c]| [a | 0x80, b, c]),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn both_formats_say_what_the_device_said(sense in senses()) {
            prop_assert_eq!(Sense::parse(&fixed_bytes(&sense)), Some(sense));
            let sense = Sense { format: SenseFormat::Descriptor, ..sense };
            prop_assert_eq!(Sense::parse(&descriptor_bytes(&sense)), Some(sense));
        }

        #[test]
        fn any_bytes_are_taken(
            code in prop_oneof![Just(0x70_u8), Just(0x71), Just(0x72), Just(0x73), Just(0xf0), any::<u8>()],
            bytes in prop::collection::vec(any::<u8>(), 0..260),
        ) {
            let bytes = [&[code][..], &bytes].concat();
            for len in 0..bytes.len() {
                if let Some(sense) = Sense::parse(&bytes[..len]) {
                    prop_assert!(!sense.to_string().is_empty());
                    prop_assert!(sense.difference().is_some() == sense.information.is_some());
                }
            }
        }
    }

    #[test]
    fn differences_have_their_sign() {
        // A block of 1000 bytes where 512 were asked for: the difference is -488.
        let sense = |bytes: &[u8]| Sense::parse(bytes).unwrap();
        let short = sense(&[0xf0, 0, 0x20, 0xff, 0xff, 0xfe, 0x18, 10]);
        assert_eq!((short.difference(), short.incorrect_length), (Some(-488), true));
        let long = sense(&[
            0x72, 0, 0, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x18,
        ]);
        assert_eq!(long.difference(), Some(-488));
    }

    #[test]
    fn what_is_past_the_stated_length_is_no_sense_data() {
        // The additional length ends before the additional sense code.
        let mut bytes = [0xee; 18];
        (bytes[0], bytes[2], bytes[7]) = (0x70, 0x03, 4);
        let sense = Sense::parse(&bytes).unwrap();
        assert_eq!((sense.asc, sense.ascq, sense.key_specific), (0, 0, None));
    }
}
