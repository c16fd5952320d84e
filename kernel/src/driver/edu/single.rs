//! [`SingleFormat`]: the format of a device that is told one address and one count, in registers.

use scatterlist::desc::{DescriptorFormat, DescriptorMemory};
use scatterlist::plan::{Piece, Ready, Why};
use scatterlist::{BusAddr, Segment, Segments};

/// The format: the command is the one segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct SingleFormat;

/// The request is no single segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SingleError {
    /// It has too many. The limits of the target should have kept it away.
    #[error("the request has {pieces} segments, the device takes 1")]
    Pieces {
        /// How many.
        pieces: u64,
    },
    /// It was planned to be bounced, and no bounce buffer stands in its place.
    #[error("{len} bytes have no address yet: {why}")]
    Bounced {
        /// Its bytes.
        len: u64,
        /// Why it must be bounced.
        why: Why,
    },
}

impl DescriptorFormat for SingleFormat {
    type Command = Segment<BusAddr>;
    type Error = SingleError;

    fn objects_needed<S>(&self, _ready: &Ready<'_, S>, _object_words: usize) -> Result<usize, SingleError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        Ok(0)
    }

    fn encode<S, M>(&self, ready: &Ready<'_, S>, _objects: &mut [M]) -> Result<Self::Command, SingleError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        M: DescriptorMemory,
    {
        let pieces = ready.len_pieces();
        match ready.first() {
            Some(Piece::Direct(segment)) if pieces == 1 => Ok(segment),
            Some(Piece::Bounce(bounce)) => Err(SingleError::Bounced { len: bounce.len, why: bounce.why }),
            _ => Err(SingleError::Pieces { pieces }),
        }
    }
}
