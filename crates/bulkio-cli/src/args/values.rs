//! What people write behind flags: numbers that the command can find by itself, and for grabbers and sound devices times, sizes in pixels,
//! rates, formats.
//!
//! Contract: what cannot be read is answered with what can.

use std::path::PathBuf;
use std::time::Duration;

use bulkio::copy::Setting;
use bulkio::device::audio::SampleFormat;
use bulkio::device::guard::{SERIAL_LEN_MAX, Serial};
use bulkio::device::video::{FourCc, Rate};

use crate::size;

/// What stands for a number that is found.
const AUTO: &str = "auto";

/// Reads the bytes of one request.
pub(super) fn request_len(text: &str) -> Result<Setting<u64>, String> {
    if text == AUTO { Ok(Setting::Auto) } else { size::parse(text).map(Setting::Fixed) }
}

/// Reads the requests in flight on each side.
pub(super) fn depth(text: &str) -> Result<Setting<u32>, String> {
    if text == AUTO {
        return Ok(Setting::Auto);
    }
    let depth = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    depth.map(Setting::Fixed).ok_or_else(|| format!("'{text}' is no depth; write a number as in 16, or auto"))
}

/// Units of time, and their nanoseconds.
const TIME_UNITS: [(&str, u64); 5] =
    [("", NANOS), ("ms", NANOS / 1000), ("s", NANOS), ("m", 60 * NANOS), ("h", 3600 * NANOS)];

/// Nanoseconds of a second: what a [`Duration`] counts in.
const NANOS: u64 = 1_000_000_000;

/// Reads how long something lasts.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| {
        format!("'{text}' is no time: {why}; write 10s, 1.5s, 500ms, 2m or 1h, or a number alone for seconds")
    };
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, unit) = text.split_at(text.len().saturating_sub(text.trim_start_matches(is_number).len()));
    let scale = TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos);
    let scale = scale.ok_or_else(|| wrong(&format!("'{unit}' is no unit")))?;
    let nanos = scaled(number, scale).map_err(wrong)?;
    if nanos == 0 {
        return Err(wrong("it is over before it begins"));
    }
    Ok(Duration::from_nanos(nanos))
}

/// Reads a decimal number, and multiplies it without rounding anything but what lies below a nanosecond.
fn scaled(number: &str, scale: u64) -> Result<u64, &'static str> {
    const NO_NUMBER: &str = "it does not start with a number";
    const TOO_LONG: &str = "it is longer than 584 years";
    let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(rest) {
        return Err(NO_NUMBER);
    }
    let whole: u64 = whole.parse().map_err(|_| TOO_LONG)?;
    let mut sum = whole.checked_mul(scale).ok_or(TOO_LONG)?;
    let mut place = scale;
    for digit in rest.chars().filter_map(|digit| digit.to_digit(10)) {
        // Every unit is a multiple of a million: six digits behind the point are exact.
        place /= 10;
        sum = sum.checked_add(place.saturating_mul(digit.into())).ok_or(TOO_LONG)?;
    }
    Ok(sum)
}

/// Reads width and height in pixels.
pub(super) fn size(text: &str) -> Result<(u32, u32), String> {
    let side = |digits: &str| {
        let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|side| are_digits && *side > 0)
    };
    let sides = text.split_once(['x', 'X']).and_then(|(width, height)| side(width).zip(side(height)));
    sides.ok_or_else(|| format!("'{text}' is no size in pixels; write width and height as in 1280x720"))
}

/// Reads frames a second.
pub(super) fn fps(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|_| {
        format!("'{text}' is no number of frames a second; write one as in 25, 30000/1001 or 29.97")
    })
}

/// Reads how pixels are laid out.
pub(super) fn fourcc(text: &str) -> Result<FourCc, String> {
    text.parse().map_err(|_| {
        format!(
            "'{text}' is no pixel format; write its four letters as in YUYV, GREY or MJPG \
             ('bulkio probe' lists those of a grabber)"
        )
    })
}

/// Reads what a sample is.
pub(super) fn sample(text: &str) -> Result<SampleFormat, String> {
    text.parse().map_err(|_| {
        format!(
            "'{text}' is no sample format; write one as in S16_LE, S24_3LE, S32_LE or FLOAT_LE \
             ('bulkio probe' lists those of a sound device)"
        )
    })
}

/// Reads samples a second.
pub(super) fn rate_hz(text: &str) -> Result<u32, String> {
    let wrong = |hint: &str| {
        format!("'{text}' is no rate; write frames a second as a plain number, such as 44100 or 48000{hint}")
    };
    let kilo = text.strip_suffix("kHz").or_else(|| text.strip_suffix(['k', 'K']));
    if let Some(hz) = kilo.and_then(|number| scaled(number, 1000).ok()) {
        return Err(wrong(&format!("; that would be {hz}")));
    }
    let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|hz| are_digits && *hz > 0).ok_or_else(|| wrong(""))
}

/// Reads the serial number of a disk.
pub(super) fn serial(text: &str) -> Result<Serial, String> {
    Serial::new(text).ok_or_else(|| {
        format!("'{text}' is no serial number: write the disk's own, of 1 to {SERIAL_LEN_MAX} bytes, without blanks around it")
    })
}

/// Reads the name of a sidecar.
pub(super) fn sidecar(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the name of the file is empty; --no-sidecar writes none".to_owned()),
        "-" => Err("'-' is standard output, which carries the report or the data; name a file".to_owned()),
        _ => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_found_are_auto() {
        assert_eq!((depth("auto"), request_len("auto")), (Ok(Setting::Auto), Ok(Setting::Auto)));
        assert_eq!((depth("16"), request_len("64K")), (Ok(Setting::Fixed(16)), Ok(Setting::Fixed(65_536))));
        for text in ["", "many", "-1", "+8", "1.5", "Auto", "99999999999"] {
            let error = depth(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")) && error.contains("auto"), "{error}");
        }
        assert!(request_len("many").is_err());
    }

    #[test]
    fn times() {
        for (text, nanos) in [
            ("10s", 10 * NANOS),
            ("10", 10 * NANOS),
            ("1.5s", 1_500_000_000),
            ("0.25", 250_000_000),
            ("500ms", 500_000_000),
            ("0.000001ms", 1),
            ("2m", 120 * NANOS),
            ("1.5h", 5400 * NANOS),
            ("0.000000001s", 1),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_answered_with_what_is() {
        for text in [
            "", "s", "1.s", ".5s", "1..5s", "1.2.3", "-1s", "+1s", "1 s", "1d", "5S", "1h30m", "1e3", "0",
            "0ms",
        ] {
            let error = duration(text).expect_err(text);
            assert!(error.starts_with(&format!("'{text}' is no time: ")), "{error}");
            assert!(error.contains("write 10s, 1.5s, 500ms, 2m or 1h"), "{error}");
        }
        for text in ["99999999999999999999s", "18446744074s", "6000000h"] {
            assert!(duration(text).expect_err(text).contains("longer than 584 years"));
        }
    }

    #[test]
    fn sizes_in_pixels() {
        assert_eq!(size("1280x720"), Ok((1280, 720)));
        assert_eq!(size("1X1"), Ok((1, 1)));
        for text in [
            "",
            "x",
            "640",
            "640x",
            "x480",
            "0x480",
            "640x0",
            "640*480",
            "640 x 480",
            "-1x1",
            "+1x1",
            "1x2x3",
            "5000000000x1",
        ] {
            let error = size(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")) && error.contains("1280x720"), "{error}");
        }
    }

    #[test]
    fn rates_of_pictures() {
        for (text, frames, seconds) in [("30", 30, 1), ("30000/1001", 30_000, 1001), ("29.97", 30_000, 1001)]
        {
            assert_eq!(fps(text), Ok(Rate { frames, seconds }));
        }
        for text in ["", "fast", "30fps", "-1", "0", "30/0"] {
            let error = fps(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")) && error.contains("30000/1001"), "{error}");
        }
    }

    #[test]
    fn pixel_formats() {
        for text in ["YUYV", "Y16", "Y16-BE"] {
            assert_eq!(fourcc(text).map(|format| format.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "YUYV2", "1280x720"] {
            let error = fourcc(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")) && error.contains("four letters"), "{error}");
        }
    }

    #[test]
    fn rates_and_formats_of_sound() {
        assert_eq!((rate_hz("48000"), rate_hz("8000")), (Ok(48_000), Ok(8000)));
        for (text, hint) in [("44.1k", "44100"), ("48kHz", "48000"), ("192K", "192000")] {
            assert!(rate_hz(text).expect_err(text).ends_with(&format!("that would be {hint}")));
        }
        for text in ["", "0", "k", "-48000", "+48000", "48000.5", "48000Hz", "5000000000"] {
            let error = rate_hz(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")) && error.contains("44100 or 48000"), "{error}");
        }
        assert!(sample("S16_LE").is_ok());
        for text in ["", "16", "S99_XE", "s16"] {
            let error = sample(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")) && error.contains("S16_LE"), "{error}");
        }
    }

    #[test]
    fn serial_numbers_of_disks() {
        assert_eq!(serial(" S1 ").map(|serial| serial.to_string()), Ok("S1".to_owned()));
        assert!(serial("").is_err() && serial(&"x".repeat(256)).is_err());
    }

    #[test]
    fn sidecars_have_names() {
        assert_eq!(sidecar("x.jsonl"), Ok("x.jsonl".into()));
        assert!(sidecar("-").is_err() && sidecar("").is_err());
    }
}
