//! What is planned for a format of NVMe encodes, and its walker then collects exactly the planned bytes.
//!
//! Used by the property tests and by the fuzz targets `prp` and `sgl`. [`Memories`] is list memory as encoder and
//! controller see it; `check_request` of each format encodes one request into exactly the memory that it needs, and walks it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use scatterlist::desc::{DescriptorMemory, PlainMemory};
use scatterlist::plan::{Piece, Policy, Ready, plan};
use scatterlist::{Addr, BusAddr, Limits, Position, ScatterList, Segment};

pub(crate) type Seg = Segment<BusAddr>;
pub(crate) type List = ScatterList<BusAddr>;

/// Where bounce buffers lie: above all data, aligned to every boundary there is.
pub(crate) const BOUNCE: u64 = 1 << 48;
pub(crate) const BOUNCE_APART: u64 = 1 << 40;

pub(crate) fn segment(addr: u64, len: u64) -> Seg {
    Segment::new(BusAddr::new(addr), len).unwrap()
}

pub(crate) fn list(segments: &[(u64, u64)]) -> List {
    ScatterList::from_segments(segments.iter().map(|&(addr, len)| segment(addr, len))).unwrap()
}

/// The same bytes, joined wherever they are adjacent.
pub(crate) fn joined(segments: impl IntoIterator<Item = Seg>) -> List {
    let plain = segments.into_iter().map(|run| Segment::new(run.addr(), run.len()).unwrap());
    ScatterList::from_segments(plain).unwrap()
}

/// The pieces of a request as one list, bounced ones in the buffers that the planner asks for.
pub(crate) fn bounced(ready: &Ready<'_, List>) -> List {
    let mut places = (0..).map(|index| BOUNCE + index * BOUNCE_APART);
    let pieces = ready.pieces().map(|piece| match piece {
        Piece::Direct(segment) => segment,
        Piece::Bounce(bounce) => segment(places.next().unwrap() + bounce.start_bits, bounce.len),
    });
    ScatterList::from_segments(pieces).unwrap()
}

/// Hands the one request of a list to `test`.
pub(crate) fn whole<T>(list: &List, limits: &Limits, test: impl FnOnce(&Ready<'_, List>) -> T) -> T {
    let next = plan(list, Position::Stream, limits, Policy::WholeOrError).next();
    test(next.as_ref().unwrap().as_ref().unwrap())
}

/// List memories: words, and where the device sees them.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Memories(pub(crate) Vec<(u64, Vec<u64>)>);

impl Memories {
    pub(crate) fn as_bus(&mut self) -> Vec<PlainMemory<'_>> {
        self.0.iter_mut().map(|(addr, words)| PlainMemory::new(BusAddr::new(*addr), words)).collect()
    }
}

/// Memory that has nothing but the calls that the trait demands, as a driver's volatile memory may.
pub(crate) struct PutOnly<'a>(pub(crate) PlainMemory<'a>);

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

/// PRPs.
pub(crate) mod prp {
    use scatterlist::desc::prp::{MemoryPage, Prps, WalkError, encode, limits, lists_needed, walk};
    use scatterlist::plan::{Policy, Ready, plan};
    use scatterlist::{Position, ScatterList};

    use super::{List, Memories, Seg, bounced, joined, whole};

    pub(crate) const LISTS: u64 = 1 << 44;

    pub(crate) fn page(len: u64) -> MemoryPage {
        MemoryPage::new(len).unwrap()
    }

    /// List pages at whole pages, but the first, which has `first` slots up to the end of its page.
    pub(crate) fn memories(page: MemoryPage, first: u64, lists: u64) -> Memories {
        let one = |index: u64| {
            let addr = LISTS + (index << 32);
            let slots = if index == 0 { first } else { page.slots() };
            let addr = if index == 0 { addr + (page.slots() - first) * 8 } else { addr };
            (addr, vec![u64::MAX; usize::try_from(slots).unwrap()])
        };
        Memories((0..lists).map(one).collect())
    }

    /// What the controller transfers, adjacent pages joined.
    pub(crate) fn collected(
        page: MemoryPage,
        prps: Prps,
        bytes: u64,
        memories: &mut Memories,
    ) -> Result<List, WalkError> {
        let runs: Result<Vec<Seg>, _> = walk(&memories.as_bus()[..], page, prps, bytes).collect();
        runs.map(joined)
    }

    /// Plans, encodes into exactly the list pages that are needed, and walks.
    pub(crate) fn check_plan(segments: Vec<Seg>, page: MemoryPage, first: u64, lists: u64, policy: Policy) {
        let limits = limits(page, page.list_entries(first, lists)).unwrap();
        let list = ScatterList::from_segments(segments).unwrap();
        let mut bytes = 0;
        for ready in plan(&list, Position::Stream, &limits, policy) {
            let ready = ready.unwrap();
            let data = bounced(&ready);
            assert_eq!(data.len_bytes(), ready.len_bytes());
            bytes += ready.len_bytes();
            if ready.bounced_bytes() == 0 {
                check_request(&ready, page, first, lists, &data);
            }
            whole(&data, &limits, |again| check_request(again, page, first, lists, &data));
        }
        assert_eq!(bytes, list.len_bytes());
    }

    pub(crate) fn check_request(
        ready: &Ready<'_, List>,
        page: MemoryPage,
        first: u64,
        lists: u64,
        data: &List,
    ) {
        let needed = lists_needed(ready, page, first).unwrap();
        assert!(needed <= lists, "{needed} of {lists}");
        let mut memories = memories(page, first, needed);
        let prps = encode(ready, page, &mut memories.as_bus()).unwrap();
        assert_eq!(collected(page, prps, ready.len_bytes(), &mut memories).unwrap(), joined(data));
    }
}

/// SGLs.
pub(crate) mod sgl {
    use scatterlist::desc::sgl::{Descriptor, WalkError, encode, segments_needed, walk};
    use scatterlist::plan::Ready;

    use super::{List, Memories, Seg, joined};

    pub(crate) const LISTS: u64 = 1 << 44;

    /// List memories of so many descriptors each; 8 is all the alignment there is.
    pub(crate) fn memories(descriptors: u64, lists: u64) -> Memories {
        let words = usize::try_from(descriptors * 2).unwrap();
        Memories((0..lists).map(|index| (LISTS + index * 0x10_0008, vec![u64::MAX; words])).collect())
    }

    pub(crate) fn collected(
        pointer: Descriptor,
        bytes: u64,
        memories: &mut Memories,
    ) -> Result<Vec<Seg>, WalkError> {
        walk(&memories.as_bus()[..], pointer, bytes).collect()
    }

    pub(crate) fn check_request(ready: &Ready<'_, List>, descriptors: u64, lists: u64, data: &List) {
        let needed = segments_needed(ready, descriptors).unwrap();
        assert!(needed <= lists, "{needed} of {lists}");
        let mut memories = memories(descriptors, needed);
        let pointer = encode(ready, &mut memories.as_bus()).unwrap();
        let runs = collected(pointer, ready.len_bytes(), &mut memories).unwrap();
        assert_eq!(u64::try_from(runs.len()).unwrap(), ready.len_pieces(), "a piece is a descriptor");
        assert_eq!(joined(runs), joined(data));
    }
}
