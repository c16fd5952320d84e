//! What follows from digests when a copy has ended: the report, the comparison with what was expected, verification.

use super::super::ends::Ends;
use super::super::options::{CopyOptions, Observer};
use super::super::{CopyError, DestinationFailure, Report, verify};
use super::{Digested, Run};

/// Adds digests to the report and reads the destination back, if that is wanted. Returns the error of the copy, or what was found now.
pub(in super::super) fn conclude(
    digested: Digested,
    error: Option<CopyError>,
    ends: &Ends,
    options: &CopyOptions,
    report: &mut Report,
    observer: &mut dyn Observer,
) -> Option<CopyError> {
    let Digested { stream, bytes, runs, abandoned } = digested;
    // All may be written: what was wanted of it is not done.
    report.interrupted |= abandoned && error.is_none();
    let mut differs = None;
    if let Some((request, found)) = options.hash.zip(stream) {
        let algorithm = request.algorithm;
        if bytes == report.bytes {
            report.digest = Some((algorithm, found));
            differs = request
                .expected
                .filter(|expected| *expected != found && !report.interrupted)
                .map(|expected| CopyError::DigestDiffers { algorithm, bytes, expected, found });
        } else {
            let copied = report.bytes;
            report.notes.push(format!(
                "there is no {algorithm}: it is known of the first {bytes} bytes alone, and {copied} are copied"
            ));
            // Whoever wanted it checked must not hear that all is well.
            let unchecked = request.expected.is_some() && error.is_none() && !report.interrupted;
            differs = unchecked.then_some(CopyError::Unfinished { at: bytes, len: Some(copied) });
        }
    }
    if error.is_some() || (options.verify && report.interrupted) {
        if options.verify {
            report.notes.push("nothing was verified, since the copy did not come to its end".to_owned());
        }
        return error;
    }
    let unequal = if options.verify { verify_all(ends, runs, options, report, observer) } else { None };
    // That the destination is wrong is the worse news; the report has both.
    unequal.or(differs)
}

/// Reads back one destination after the other. One of several that is not what was written is dropped, and
/// is durable no longer; if none is left, the first error is returned.
fn verify_all(
    ends: &Ends,
    runs: Vec<Run>,
    options: &CopyOptions,
    report: &mut Report,
    observer: &mut dyn Observer,
) -> Option<CopyError> {
    if !ends.destinations.is_several() {
        let (verified, error) = verify::run(ends, ends.destinations.first(), runs, options, report, observer);
        report.verified = verified;
        return error;
    }
    let mut first = None;
    for (number, destination) in ends.destinations.iter().enumerate() {
        let is_left = report.destinations.get(number).is_some_and(|found| found.failed.is_none());
        if !is_left || report.interrupted {
            continue;
        }
        let (verified, error) = verify::run(ends, destination, runs.clone(), options, report, observer);
        let Some(found) = report.destinations.get_mut(number) else { continue };
        found.verified = verified;
        if let Some(error) = error {
            let message = error.to_string();
            observer.warning(&message);
            let at = found
                .verified
                .as_ref()
                .and_then(|verified| verified.ranges.first())
                .map_or(0, |range| range.at);
            found.failed = Some(DestinationFailure { at, message });
            (found.synced, found.durable_bytes) = (false, 0);
            first.get_or_insert(error);
        }
    }
    // Where a stop left others unread, it is not known that none is good.
    let is_left = report.destinations.iter().any(|destination| destination.failed.is_none());
    if !is_left {
        (report.synced, report.durable_bytes) = (false, 0);
    }
    first.filter(|_| !is_left)
}
