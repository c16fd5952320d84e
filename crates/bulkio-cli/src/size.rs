//! Sizes as people write them: `4096`, `64K`, `1MiB`, `2GB`.

/// Suffixes and what they multiply by: a letter alone (of either case, as in BSD's dd) and `KiB` count in 1024,
/// `kB` in 1000.
const UNITS: [(&str, u64); 20] = [
    ("", 1),
    ("B", 1),
    ("k", 1 << 10),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("KB", 1000),
    ("m", 1 << 20),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("g", 1 << 30),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("t", 1 << 40),
    ("T", 1 << 40),
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("P", 1 << 50),
];

/// Reads a size in bytes.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let wrong = |why: &str| {
        format!(
            "'{text}' is not a size: {why}; write bytes or a number with K, M, G, T (1024) or kB, MB, GB, TB (1000)"
        )
    };
    if number.is_empty() {
        return Err(wrong("it does not start with a number"));
    }
    let number: u64 = number.parse().map_err(|_| wrong("the number passes 64 bits"))?;
    let scale = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale);
    let scale = scale.ok_or_else(|| wrong(&unit_hint(number, unit)))?;
    number.checked_mul(scale).ok_or_else(|| wrong("it passes 64 bits"))
}

/// Reads the length of a tape block.
pub(crate) fn parse_block(text: &str) -> Result<u32, String> {
    let bytes = parse(text)?;
    u32::try_from(bytes)
        .map_err(|_| format!("'{text}' is no length of a tape block: {bytes} bytes pass 32 bits"))
}

/// What to write instead of a unit that is none.
fn unit_hint(number: u64, unit: &str) -> String {
    match unit {
        // A byte elsewhere, half a kibibyte in dd: too much to guess.
        "b" => match number.checked_mul(512) {
            Some(bytes) => format!("'b' is a block of 512 bytes in dd; that would be {bytes} bytes"),
            None => "'b' is a block of 512 bytes in dd; write the bytes".to_owned(),
        },
        _ if unit.starts_with(['.', ',']) => {
            "it is not whole; take a smaller unit (1536K is 1.5M)".to_owned()
        }
        _ => format!("'{unit}' is no unit"),
    }
}

/// Writes bytes for people: `1.5 MiB`.
pub(crate) fn human(bytes: u64) -> String {
    const STEPS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = "B";
    let (mut whole, mut rest) = (bytes, 0);
    for step in STEPS {
        if whole < 1024 {
            break;
        }
        (rest, whole, unit) = (whole % 1024, whole / 1024, step);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{whole}.{} {unit}", rest * 10 / 1024) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64K"), Ok(65536));
        assert_eq!(parse("1MiB"), Ok(1 << 20));
        assert_eq!(parse("2GB"), Ok(2_000_000_000));
        assert_eq!(parse("1kB"), Ok(1000));
        assert_eq!(parse("1m"), Ok(1 << 20));
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse("16777215T"), Ok(16_777_215 << 40));
    }

    #[test]
    fn what_is_no_size_says_why() {
        for text in ["", "K", "1X", "1.5M", "-1", "+1", "1 M", "0x10", "1_000", "2x512", "1mib"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
        for text in ["99999999999999999999", "18446744073709551616", "17000000T"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
    }

    #[test]
    fn what_dd_reads_otherwise_is_answered_with_bytes() {
        assert!(parse("4b").expect_err("no unit").contains("2048 bytes"));
        assert!(parse("1.5M").expect_err("no unit").contains("not whole"));
    }

    #[test]
    fn for_people() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(2 << 30), "2.0 GiB");
        assert_eq!(human(u64::MAX), "15.9 EiB");
    }
}
