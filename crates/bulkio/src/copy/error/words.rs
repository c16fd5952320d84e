//! What messages are made of: blocks, statuses, advice.

use std::fmt;
use std::io;

use scatterlist::Status;

use crate::device::{Device, PrepareError};

/// A range of bytes as blocks.
pub(super) struct Blocks(pub(super) u64, pub(super) u64, pub(super) Option<u64>);

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(at, len, Some(block)) = self else { return Ok(()) };
        let last = at.saturating_add(len.saturating_sub(1));
        match at.checked_div(block).zip(last.checked_div(block)) {
            Some((first, last)) if first == last => write!(f, ", block {first} of {block} bytes"),
            Some((first, last)) => write!(f, ", blocks {first} to {last} of {block} bytes"),
            None => Ok(()),
        }
    }
}

/// A status in words, the device's own where there are some.
pub(super) struct Meaning<'a>(pub(super) Status, pub(super) Option<&'a str>);

impl fmt::Display for Meaning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(words) => f.write_str(words),
            None => Reason(self.0).fmt(f),
        }
    }
}

/// A status in words.
pub(super) struct Reason(pub(super) Status);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status::Errno(number) = self.0 else { return self.0.fmt(f) };
        let Ok(raw) = i32::try_from(number) else { return self.0.fmt(f) };
        io::Error::from_raw_os_error(raw).fmt(f)
    }
}

/// What to do where a destination could not be made ready.
pub(super) fn advice(why: &PrepareError) -> &'static str {
    match why.errno {
        rustix::io::Errno::NOSPC => "; free some space or choose another destination. Nothing was copied",
        rustix::io::Errno::FBIG => "; the file system or a limit (ulimit -f) allows no file that long",
        _ => "",
    }
}

/// A status in words, the device's own where there are some.
pub(in crate::copy) fn reason(device: &dyn Device, status: Status) -> String {
    Meaning(status, meaning(device, status).as_deref()).to_string()
}

/// What a status of a device itself means, in its words.
pub(super) fn meaning(device: &dyn Device, status: Status) -> Option<String> {
    match status {
        Status::Device(status) => device.explain(status),
        _ => None,
    }
}
