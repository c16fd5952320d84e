//! NVMe descriptors: what is planned for a format encodes, and the controller then moves exactly the planned bytes.
//!
//! The walkers read as a controller does and know nothing of the encoders, so every property here ends with "the walk
//! collects the list". The other half is what must be refused: lists that the format cannot say, memory that cannot
//! hold them, and bytes that no encoder wrote.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod prp;
mod sgl;

use proptest::prelude::*;
use scatterlist::desc::{DescriptorMemory, PlainMemory};
use scatterlist::plan::{Piece, Policy, Ready, plan};
use scatterlist::{Addr, BusAddr, Limits, Position, ScatterList, Segment};

type Seg = Segment<BusAddr>;
type List = ScatterList<BusAddr>;

/// Where bounce buffers lie: above all data, aligned to every boundary there is.
const BOUNCE: u64 = 1 << 48;
const BOUNCE_APART: u64 = 1 << 40;

fn segment(addr: u64, len: u64) -> Seg {
    Segment::new(BusAddr::new(addr), len).unwrap()
}

fn list(segments: &[(u64, u64)]) -> List {
    ScatterList::from_segments(segments.iter().map(|&(addr, len)| segment(addr, len))).unwrap()
}

/// The same bytes, joined wherever they are adjacent.
fn joined(segments: impl IntoIterator<Item = Seg>) -> List {
    let plain = segments.into_iter().map(|run| Segment::new(run.addr(), run.len()).unwrap());
    ScatterList::from_segments(plain).unwrap()
}

/// The pieces of a request as one list, bounced ones in the buffers that the planner asks for.
fn bounced(ready: &Ready<'_, List>) -> List {
    let mut places = (0..).map(|index| BOUNCE + index * BOUNCE_APART);
    let pieces = ready.pieces().map(|piece| match piece {
        Piece::Direct(segment) => segment,
        Piece::Bounce(bounce) => segment(places.next().unwrap() + bounce.start_bits, bounce.len),
    });
    ScatterList::from_segments(pieces).unwrap()
}

/// Hands the one request of a list to `test`.
fn whole<T>(list: &List, limits: &Limits, test: impl FnOnce(&Ready<'_, List>) -> T) -> T {
    let next = plan(list, Position::Stream, limits, Policy::WholeOrError).next();
    test(next.as_ref().unwrap().as_ref().unwrap())
}

/// List memories: words, and where the device sees them.
#[derive(Clone, PartialEq, Debug)]
struct Memories(Vec<(u64, Vec<u64>)>);

impl Memories {
    fn as_bus(&mut self) -> Vec<PlainMemory<'_>> {
        self.0.iter_mut().map(|(addr, words)| PlainMemory::new(BusAddr::new(*addr), words)).collect()
    }
}

/// Memory that has nothing but the calls that the trait demands, as a driver's volatile memory may.
struct PutOnly<'a>(PlainMemory<'a>);

impl DescriptorMemory for PutOnly<'_> {
    fn bus_addr(&self) -> BusAddr {
        self.0.bus_addr()
    }

    fn len_words(&self) -> usize {
        self.0.len_words()
    }

    fn put(&mut self, index: usize, word: u64) -> bool {
        self.0.put(index, word)
    }
}

/// Any segments: pages, runs of pages, ragged ones, at any address that is a multiple of 4, with barriers here
/// and there.
fn any_segments(page: u64) -> impl Strategy<Value = Vec<Seg>> {
    let len = prop_oneof![
        20 => Just(page),
        10 => (1..9_u64).prop_map(move |pages| pages * page),
        1 => (500..1100_u64).prop_map(move |pages| pages * page),
        10 => 1..3 * page,
    ];
    let addr = (1..1000_u64, prop_oneof![3 => Just(0), 1 => (0..page / 4).prop_map(|dwords| dwords * 4)]);
    let one = (addr, len, any::<bool>()).prop_map(move |((place, offset), len, barrier)| {
        // Places overlap now and then, and some are adjacent: a list may say so.
        let segment = segment((place << 24) + offset, len);
        if barrier { segment.with_barrier() } else { segment }
    });
    prop::collection::vec(one, 1..40)
}

/// Segments that PRPs can say: the first may start, and the last may end, inside a page.
fn prp_segments(page: u64) -> impl Strategy<Value = Vec<Seg>> {
    let pages = prop_oneof![40 => Just(1_u64), 20 => 2..9_u64, 1 => 500..530_u64];
    (prop::collection::vec((1..1000_u64, pages), 1..60), 0..page / 4, 0..page).prop_map(
        move |(runs, dwords, less)| {
            let count = runs.len();
            let run = |(index, (place, pages)): (usize, (u64, u64))| {
                let offset = if index == 0 { dwords * 4 } else { 0 };
                let end = pages * page - if index + 1 == count { less } else { 0 };
                segment((place << 24) + offset, end.saturating_sub(offset).max(1))
            };
            runs.into_iter().enumerate().map(run).collect()
        },
    )
}
