//! What follows from digests when a copy has ended: the report, the comparison with what was expected, verification.

use super::super::ends::Ends;
use super::super::options::{CopyOptions, Observer};
use super::super::{CopyError, Report, verify};
use super::Digested;

/// Adds digests to the report and reads the destination back, if that is wanted. Returns the error of the copy, or what was found now.
pub(in super::super) fn conclude(
    digested: Digested,
    error: Option<CopyError>,
    ends: &Ends,
    options: &CopyOptions,
    report: &mut Report,
    observer: &mut dyn Observer,
) -> Option<CopyError> {
    let Digested { stream, bytes, runs } = digested;
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
        }
    }
    if error.is_some() || (options.verify && report.interrupted) {
        if options.verify {
            report.notes.push("nothing was verified, since the copy did not come to its end".to_owned());
        }
        return error;
    }
    let unequal = if options.verify { verify::run(ends, runs, options, report, observer) } else { None };
    // That the destination is wrong is the worse news; the report has both.
    unequal.or(differs)
}
