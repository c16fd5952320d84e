//! Digests of what a copy moves, made on a thread of their own from the slots that are written.
//!
//! A chunk comes here with its slot when its write has completed; the thread hashes its bytes, no others, and drops the slot (`beside`). Digests need
//! bytes in order (`order`). Two kinds are made, each if it is wanted: one of all the stream ([`HashRequest`]), and one of each
//! mebibyte (`runs`), which verification compares with what it reads back.

mod conclude;
mod feed;
mod order;
mod runs;
mod value;

use core::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use value::{Digest, DigestParseError, HashAlgorithm, HashRequest};

pub(super) use conclude::conclude;
pub(super) use feed::start;
pub(super) use runs::{Checked, Checker, Run, part};

use super::beside::Work;
use crate::pages::Slot;
use order::{Len, Order};
use runs::Runs;
use sha2::Digest as _;

/// Bytes of the range in a slot, written.
#[derive(Debug)]
pub(super) struct Piece {
    /// Byte of the range at which they begin.
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) slot: Slot,
    /// Where they lie in the slot.
    pub(super) slot_offset: u64,
}

impl Piece {
    pub(super) fn bytes(&self) -> &[u8] {
        part(self.slot.as_slice(), 0, self.slot_offset..self.slot_offset.saturating_add(self.len))
    }
}

/// A part of the range that is at the destination.
#[derive(Debug)]
pub(super) enum Written {
    /// Written from a slot.
    Piece(Piece),
    /// This many zeros, which lie in no slot.
    Zeros(u64),
}

impl Len for Written {
    fn len_bytes(&self) -> u64 {
        match self {
            Self::Piece(piece) => piece.len,
            Self::Zeros(len) => *len,
        }
    }
}

/// Zeros to hash, a part at a time.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// A hash of a stream on its way.
enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(sha2::Sha256),
}

impl Hasher {
    fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Blake3 => Self::Blake3(Box::default()),
            HashAlgorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
            Self::Sha256(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Digest {
        Digest::new(match self {
            Self::Blake3(hasher) => *hasher.finalize().as_bytes(),
            Self::Sha256(hasher) => hasher.finalize().into(),
        })
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blake3(_) => "blake3",
            Self::Sha256(_) => "sha256",
        })
    }
}

/// The digests of one copy.
#[derive(Debug)]
pub(super) struct Digests {
    order: Order<Written>,
    stream: Option<Hasher>,
    runs: Option<Runs>,
    /// Nobody waits for the digest of zeros any more: there may be hours of them.
    hurry: Arc<AtomicBool>,
    /// Where the digest of the stream was given up for that.
    cut_at: Option<u64>,
    /// Something was given up.
    abandoned: bool,
}

/// What became of them.
#[derive(Debug, Default)]
pub(super) struct Digested {
    /// That of the bytes of the range up to the first gap, and how many these are.
    pub(super) stream: Option<Digest>,
    pub(super) bytes: u64,
    /// The runs of all that was written.
    pub(super) runs: Vec<Run>,
    /// A stop came before all was hashed.
    pub(super) abandoned: bool,
}

impl Digests {
    /// `None` where nothing is wanted.
    pub(super) fn wanted(stream: Option<HashAlgorithm>, runs: bool) -> Option<Self> {
        let wanted = stream.is_some() || runs;
        wanted.then(|| Self {
            order: Order::default(),
            stream: stream.map(Hasher::new),
            runs: runs.then(Runs::default),
            hurry: Arc::default(),
            cut_at: None,
            abandoned: false,
        })
    }

    /// Returns what makes it leave out zeros from now on.
    pub(super) fn hurry(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.hurry)
    }

    fn drain(&mut self) {
        while let Some((at, written)) = self.order.take() {
            match &written {
                Written::Piece(piece) => {
                    let bytes = piece.bytes();
                    if let Some(stream) = self.whole_stream() {
                        stream.take(bytes);
                    }
                    if let Some(runs) = &mut self.runs {
                        runs.take(at, bytes);
                    }
                }
                Written::Zeros(len) => self.take_zeros(at, *len),
            }
        }
    }

    /// The digest of the stream, as long as there was no gap.
    fn whole_stream(&mut self) -> Option<&mut Hasher> {
        self.stream.as_mut().filter(|_| self.order.is_whole() && self.cut_at.is_none())
    }

    fn take_zeros(&mut self, at: u64, len: u64) {
        let zeros = |left: u64| part(&ZEROS, 0, 0..left);
        let hurry = Arc::clone(&self.hurry);
        let mut left = len;
        while left > 0
            && let Some(stream) = self.whole_stream()
        {
            if hurry.load(Ordering::Relaxed) {
                self.abandoned = true;
                self.cut_at = Some(at.saturating_add(len.saturating_sub(left)));
                break;
            }
            let bytes = zeros(left);
            stream.take(bytes);
            left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(left));
        }
        let mut at = at;
        let end = at.saturating_add(len);
        while let Some(runs) = self.runs.as_mut().filter(|_| at < end) {
            if hurry.load(Ordering::Relaxed) {
                self.abandoned = true;
                return;
            }
            at = runs.take_zeros(at, zeros(end.saturating_sub(at)), end);
        }
    }

    fn finish(mut self) -> Digested {
        while self.order.skip_gap() {
            self.drain();
        }
        Digested {
            bytes: self.cut_at.unwrap_or_else(|| self.order.whole_bytes()),
            abandoned: self.abandoned,
            stream: self.stream.map(Hasher::finish),
            runs: self.runs.map(Runs::finish).unwrap_or_default(),
        }
    }
}

impl Work for Digests {
    type Item = (u64, Written);

    fn take(&mut self, (at, written): (u64, Written)) {
        self.order.insert(at, written);
        self.drain();
    }

    fn skip_gap(&mut self) {
        if self.order.skip_gap() {
            self.drain();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::{PagePool, PoolOptions};

    fn pieces(pool: &PagePool, bytes: &[u8], len: usize) -> Vec<Piece> {
        let piece = |(number, part): (usize, &[u8])| {
            let mut slot = pool.take().expect("a slot");
            slot.as_mut_slice().fill(0xee);
            let slot_offset = number * 100 % 4096;
            slot.as_mut_slice()[slot_offset..slot_offset + part.len()].copy_from_slice(part);
            let (at, slot_offset) = ((number * len) as u64, slot_offset as u64);
            Piece { at, len: part.len() as u64, slot, slot_offset }
        };
        bytes.chunks(len).enumerate().map(piece).collect()
    }

    #[test]
    fn both_hashes_are_of_the_pieces_in_order_and_of_their_own_bytes_alone() {
        let bytes: Vec<u8> = (0..50_000_u32).map(|i| ((i * i) >> 7) as u8).collect();
        let pool = PagePool::new(PoolOptions::uniform(16384, 8)).expect("a pool");
        let sha = sha2::Sha256::digest(&bytes);
        let expected =
            [(HashAlgorithm::Blake3, *blake3::hash(&bytes).as_bytes()), (HashAlgorithm::Sha256, sha.into())];
        for (algorithm, expected) in expected {
            let mut digests = Digests::wanted(Some(algorithm), true).expect("something is wanted");
            for piece in pieces(&pool, &bytes, 10_007).into_iter().rev() {
                digests.take((piece.at, Written::Piece(piece)));
            }
            assert_eq!(pool.free_slots(), 8, "all are hashed");
            let digested = digests.finish();
            assert_eq!(digested.stream, Some(Digest::new(expected)));
            assert_eq!((digested.bytes, digested.runs.len()), (50_000, 1));
            assert!(digested.runs[0].is_of(&bytes));
        }
        assert!(Digests::wanted(None, false).is_none());
    }

    #[test]
    fn behind_a_gap_there_are_runs_but_no_digest_of_the_stream() {
        let bytes = vec![3; 40_000];
        let pool = PagePool::new(PoolOptions::uniform(16384, 8)).expect("a pool");
        let mut digests = Digests::wanted(Some(HashAlgorithm::Blake3), true).expect("something is wanted");
        let mut pieces = pieces(&pool, &bytes, 10_000);
        drop(pieces.remove(1));
        pieces.into_iter().for_each(|piece| digests.take((piece.at, Written::Piece(piece))));
        assert_eq!(pool.free_slots(), 6, "two wait");
        Work::skip_gap(&mut digests);
        assert_eq!(pool.free_slots(), 8);
        let digested = digests.finish();
        assert_eq!(digested.stream, Some(Digest::new(*blake3::hash(&bytes[..10_000]).as_bytes())));
        assert_eq!(digested.bytes, 10_000);
        let runs: Vec<_> = digested.runs.iter().map(|run| (run.at, run.len())).collect();
        assert_eq!(runs, [(0, 10_000), (20_000, 20_000)]);
    }
}
