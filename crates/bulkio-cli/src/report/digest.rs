//! What was hashed on the way and read back from the destination, in a report.

use bulkio::copy::{Report, Verified};
use serde::Serialize;

use crate::progress::{per_second, rate, seconds};

#[derive(Serialize)]
pub(super) struct JsonDigest {
    algorithm: &'static str,
    /// Hexadecimal digits.
    value: String,
}

impl JsonDigest {
    pub(super) fn of(report: &Report) -> Option<Self> {
        let (algorithm, digest) = report.digest?;
        Some(Self { algorithm: algorithm.name(), value: digest.to_string() })
    }
}

#[derive(Serialize)]
pub(super) struct JsonVerified {
    bytes: u64,
    seconds: f64,
    direct: bool,
    equal: bool,
    differing_bytes: u64,
    ranges: Vec<JsonRange>,
}

#[derive(Serialize)]
struct JsonRange {
    /// Of the destination.
    byte: u64,
    bytes: u64,
}

impl JsonVerified {
    pub(super) fn of(verified: &Verified) -> Self {
        let range = |range: &bulkio::copy::DifferingRange| JsonRange {
            byte: verified.start.saturating_add(range.at),
            bytes: range.len,
        };
        Self {
            bytes: verified.bytes,
            seconds: verified.elapsed.as_secs_f64(),
            direct: verified.direct,
            equal: verified.is_equal(),
            differing_bytes: verified.differing_bytes,
            ranges: verified.ranges.iter().map(range).collect(),
        }
    }
}

/// Returns the lines for people: the digest as other programs print it, and what was found at the destination.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let digest = report.digest.map(|(algorithm, digest)| format!("{algorithm} {digest}"));
    let verified = report.verified.as_ref().map(|found| verified(found, report.bytes));
    digest.into_iter().chain(verified).collect()
}

/// Says what was found at a destination of which `copied` bytes were written.
pub(super) fn verified(verified: &Verified, copied: u64) -> String {
    let Verified { bytes, elapsed, direct, .. } = verified;
    let found = match (verified.is_equal(), verified.differing_bytes) {
        (true, _) => "all equal".to_owned(),
        (false, 0) => format!("not all of the {copied} that were copied; no difference so far"),
        (false, bytes) => format!("{bytes} of them in mebibytes that differ"),
    };
    let how = if *direct { "directly" } else { "through the page cache" };
    let rate = rate(per_second(*bytes, *elapsed));
    format!("verified {bytes} bytes, {found}; read back {how} in {}, {rate}", seconds(*elapsed))
}
