//! Sizes as people write them: `4096`, `64K`, `1MiB`, `2GB`.

/// Suffixes and what they multiply by. Case matters only for `B`: `kB` counts thousands, `K` and `KiB` do not.
const UNITS: [(&str, u64); 17] = [
    ("", 1),
    ("B", 1),
    ("k", 1 << 10),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("KB", 1000),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
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
    let scale = scale.ok_or_else(|| wrong(&format!("'{unit}' is no unit")))?;
    number.checked_mul(scale).ok_or_else(|| wrong("it passes 64 bits"))
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
        assert_eq!(parse("16777215T"), Ok(16_777_215 << 40));
    }

    #[test]
    fn what_is_no_size_says_why() {
        for text in ["", "K", "1X", "1.5M", "-1", "1 M", "99999999999999999999", "17000000T"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
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
