//! [`PieceFormat`]: the format of a request that is fed to the ring bit by bit: the command is its pieces.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use scatterlist::desc::{DescriptorFormat, DescriptorMemory};
use scatterlist::plan::{Ready, Run, Why};
use scatterlist::{BusAddr, Segment, Segments};

/// The format: no descriptors, since those of the ring are written as entries become free.
#[derive(Clone, Copy, Debug)]
pub(super) struct PieceFormat;

/// A piece cannot be an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PieceError {
    /// It was planned to be bounced, and no bounce buffer stands in its place.
    #[error("piece {index} of {len} bytes has no address yet: {why}")]
    Bounced {
        /// Which piece, from 0.
        index: usize,
        /// Its bytes.
        len: u64,
        /// Why it must be bounced.
        why: Why,
    },
}

impl DescriptorFormat for PieceFormat {
    type Command = Vec<Segment<BusAddr>>;
    type Error = PieceError;

    fn objects_needed<S>(&self, _ready: &Ready<'_, S>, _object_words: usize) -> Result<usize, PieceError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
    {
        Ok(0)
    }

    fn encode<S, M>(&self, ready: &Ready<'_, S>, _objects: &mut [M]) -> Result<Self::Command, PieceError>
    where
        S: Segments<Addr = BusAddr> + ?Sized,
        M: DescriptorMemory,
    {
        let mut pieces = Vec::new();
        let refused = ready.visit_runs(|run| match run {
            Run::Direct(run) => {
                pieces.extend_from_slice(run);
                ControlFlow::Continue(())
            }
            Run::Bounce(bounce) => ControlFlow::Break(PieceError::Bounced {
                index: pieces.len(),
                len: bounce.len,
                why: bounce.why,
            }),
        });
        refused.break_value().map_or(Ok(pieces), Err)
    }
}
