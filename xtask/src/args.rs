//! The few options of the tasks: `--name VALUE` or `--name=VALUE`, and sizes such as `2GiB`.

use anyhow::{Context as _, Result, bail};

/// Splits `words` into pairs of option and value; every option must be one of `known`.
pub(crate) fn options<'a>(words: &[&'a str], known: &[&str]) -> Result<Vec<(&'a str, &'a str)>> {
    let mut pairs = Vec::new();
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some(pair) => pair,
            None => (word, ""),
        };
        if !known.contains(&name) {
            bail!("unknown option `{name}`; there are {}", known.join(", "));
        }
        let value = if value.is_empty() {
            words.next().copied().with_context(|| format!("`{name}` needs a value"))?
        } else {
            value
        };
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Reads a size in bytes: a whole number with the suffix K, M, G or T, KiB to TiB (1024) or kB to TB (1000).
pub(crate) fn size_bytes(text: &str) -> Result<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => bail!("`{text}` is not a size: the unit `{unit}` is unknown (K, M, G, T, KiB .. TiB, kB .. TB)"),
    };
    let number: u64 = number.parse().with_context(|| format!("`{text}` is not a size"))?;
    number.checked_mul(factor).with_context(|| format!("`{text}` is more than 2^64 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_both_families_of_units() {
        assert_eq!(size_bytes("4096").unwrap(), 4096);
        assert_eq!(size_bytes("2GiB").unwrap(), 2 << 30);
        assert_eq!(size_bytes("2G").unwrap(), 2 << 30);
        assert_eq!(size_bytes("5MB").unwrap(), 5_000_000);
        assert!(size_bytes("GiB").is_err());
        assert!(size_bytes("1.5G").is_err());
        assert!(size_bytes("99999999999T").is_err());
    }

    #[test]
    fn options_take_both_spellings() {
        let pairs = options(&["--rounds", "3", "--size=1G"], &["--rounds", "--size"]).unwrap();
        assert_eq!(pairs, [("--rounds", "3"), ("--size", "1G")]);
        assert!(options(&["--round", "3"], &["--rounds"]).is_err());
        assert!(options(&["--rounds"], &["--rounds"]).is_err());
    }
}
