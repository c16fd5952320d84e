//! [`Refused`]: what comes back from a call that did not take it, and whether to try again.

/// Whether what was refused may be given again as it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// Something is full: after a completion there may be room.
    Later,
    /// The device does not take this, ever.
    Never,
}

/// What was not taken: it comes back as it was.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused<T, E: core::error::Error + 'static> {
    /// The request, or what else was given.
    pub request: T,
    /// Whether to try again.
    pub retry: Retry,
    /// Why it was not taken.
    #[source]
    pub error: E,
}
