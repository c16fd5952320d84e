//! A stream that is fed while an AC'97 controller plays it.
//!
//! The controller of these tests reads the list by the walker, from its current index to the last valid one, and never
//! past it. What it plays must be the samples that were queued, in order, whatever the driver does meanwhile; what the
//! list cannot say is an error with numbers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::rc::Rc;

use proptest::prelude::*;
use scatterlist::desc::ac97::{
    BufferRing, CurrentError, ENTRIES, Entry, Interrupts, ListError, ListView, PushError, Run, WalkError,
    limits, walk,
};
use scatterlist::desc::{BusRead, DescriptorMemory, PlainMemory, Unreadable};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, BusAddr, LimitId, LimitsError, Position, Segment};

const LIST: u64 = 0x8000;

/// The list, as driver and controller both see it.
#[derive(Clone, Debug)]
struct Shared(Rc<RefCell<[u8; 256]>>);

impl Shared {
    fn new() -> Self {
        Self(Rc::new(RefCell::new([0xA5; 256])))
    }

    fn walk(&self, current: u8, last_valid: u8) -> Result<Vec<Run>, WalkError> {
        walk(self, BusAddr::new(LIST), current, last_valid).collect()
    }

    fn set(&self, index: usize, entry: Entry) {
        self.0.borrow_mut()[index * 8..index * 8 + 8].copy_from_slice(&entry.to_word().to_le_bytes());
    }
}

impl DescriptorMemory for Shared {
    fn bus_addr(&self) -> BusAddr {
        BusAddr::new(LIST)
    }

    fn len_words(&self) -> usize {
        32
    }

    fn put(&mut self, index: usize, word: u64) -> bool {
        let mut bytes = self.0.borrow_mut();
        let place = bytes.get_mut(index * 8..index * 8 + 8);
        place.map(|place| place.copy_from_slice(&word.to_le_bytes())).is_some()
    }
}

impl BusRead for Shared {
    fn read(&self, addr: BusAddr, into: &mut [u8]) -> Result<(), Unreadable> {
        let at = addr.raw().checked_sub(LIST).ok_or(Unreadable { addr })?;
        let at = usize::try_from(at).unwrap();
        let bytes = self.0.borrow();
        into.copy_from_slice(bytes.get(at..at + into.len()).ok_or(Unreadable { addr })?);
        Ok(())
    }
}

fn seg(addr: u64, len: u64) -> Segment<BusAddr> {
    Segment::new(BusAddr::new(addr), len).unwrap()
}

fn segments(runs: &[Run]) -> Vec<Segment<BusAddr>> {
    runs.iter().map(|run| run.segment).collect()
}

#[test]
fn an_entry_is_address_samples_and_flags() {
    let list = Shared::new();
    let mut ring = BufferRing::new(list.clone()).unwrap();
    let last = ring.push([seg(0x12345678, 8192), seg(0x1000, 131_068)], Interrupts::Last, true).unwrap();
    assert_eq!((last, ring.free(), ring.last_valid()), (1, 30, Some(1)));
    let bytes = list.0.borrow();
    // Address, then 4096 samples; the second with IOC and BUP, bits 31 and 30, and 65534 samples.
    assert_eq!(bytes[..8], [0x78, 0x56, 0x34, 0x12, 0x00, 0x10, 0, 0]);
    assert_eq!(bytes[8..16], [0x00, 0x10, 0, 0, 0xFE, 0xFF, 0, 0xC0]);
    assert!(bytes[16..].iter().all(|byte| *byte == 0));
    let view = ListView::new(&bytes[..20]);
    assert_eq!((view.len(), view.get(2)), (2, None));
    let flags = Entry::INTERRUPT | Entry::SILENCE;
    assert_eq!(view.get(1), Some(Entry { addr: 0x1000, samples: 65534, flags }));
}

#[test]
fn interrupts_come_where_they_were_asked_for() {
    for (interrupts, expect) in [
        (Interrupts::Last, [false, false, true]),
        (Interrupts::Each, [true, true, true]),
        (Interrupts::Never, [false, false, false]),
    ] {
        let list = Shared::new();
        let mut ring = BufferRing::new(list.clone()).unwrap();
        let last = ring.push([seg(0x1000, 4), seg(0x2000, 4), seg(0x3000, 4)], interrupts, false).unwrap();
        let runs = list.walk(0, last).unwrap();
        assert_eq!(runs.iter().map(|run| run.interrupt).collect::<Vec<_>>(), expect);
        assert!(runs.iter().all(|run| !run.silence));
    }
}

#[test]
fn a_stream_goes_around_the_ring_while_it_plays() {
    let list = Shared::new();
    let mut ring = BufferRing::new(list.clone()).unwrap();
    let full: Vec<_> = (1..=32).map(|page| seg(page << 12, 4096)).collect();
    assert_eq!(ring.push(full.iter().copied(), Interrupts::Each, false), Ok(31));
    assert_eq!(
        ring.push([seg(0, 4)], Interrupts::Last, false),
        Err(PushError::RingFull { need: 1, free: 0 })
    );
    assert_eq!(segments(&list.walk(0, 31).unwrap()), full);
    // The controller plays entry 10: those before it are done.
    assert_eq!(ring.retire(10, false), Ok(10));
    let more: Vec<_> = (100..110).map(|page| seg(page << 12, 4096)).collect();
    let eleven = [seg(0, 4); 11];
    assert_eq!(ring.push(eleven, Interrupts::Last, false), Err(PushError::RingFull { need: 11, free: 10 }));
    assert_eq!(ring.push(more.iter().copied(), Interrupts::Last, false), Ok(9));
    let expect: Vec<_> = full[10..].iter().chain(&more).copied().collect();
    assert_eq!(segments(&list.walk(10, 9).unwrap()), expect);
    // It reaches the end of the list, and of what is queued.
    assert_eq!(ring.retire(31, false), Ok(21));
    assert_eq!(ring.retire(9, false), Ok(10));
    assert_eq!((ring.queued(), ring.last_valid()), (1, Some(9)));
    assert_eq!(ring.retire(9, true), Ok(1));
    assert_eq!((ring.queued(), ring.last_valid(), ring.oldest()), (0, None, 10));
    assert_eq!(ring.retire(9, true), Ok(0), "nothing is queued");
    // It stands on entry 9 and goes on with the next.
    assert_eq!(ring.push([seg(0x1000, 4)], Interrupts::Last, false), Ok(10));
}

#[test]
fn a_controller_that_halted_before_more_was_queued_gives_back_what_it_played() {
    let mut ring = BufferRing::new(Shared::new()).unwrap();
    ring.push([seg(0x1000, 4); 2], Interrupts::Last, false).unwrap();
    ring.push([seg(0x2000, 4); 3], Interrupts::Last, false).unwrap();
    assert_eq!(ring.retire(1, true), Ok(2));
    assert_eq!((ring.oldest(), ring.queued()), (2, 3));
}

#[test]
fn a_current_index_that_cannot_be_gives_nothing_back() {
    let mut ring = BufferRing::new(Shared::new()).unwrap();
    ring.push([seg(0x1000, 4); 4], Interrupts::Last, false).unwrap();
    assert_eq!(ring.retire(2, false), Ok(2));
    for current in [0, 1, 4, 31, 32, 34, 255] {
        let error = CurrentError { current, oldest: 2, queued: 2 };
        assert_eq!(ring.retire(current, false), Err(error));
        assert_eq!(ring.retire(current, true), Err(error));
    }
    assert_eq!(ring.queued(), 2);
    let error = ring.retire(4, false).unwrap_err();
    assert_eq!(error.to_string(), "the current index is 4, the 2 entries from 2 on are queued");
}

#[test]
fn what_no_entry_holds_is_refused_and_changes_nothing() {
    let list = Shared::new();
    let mut ring = BufferRing::new(list.clone()).unwrap();
    let mut push = |segment| ring.push([seg(0x1000, 4), segment], Interrupts::Last, false).unwrap_err();
    let (align, max) = (4, 0xFFFF_FFFF);
    for addr in [1, 2, 0x1003] {
        let addr = BusAddr::new(addr);
        assert_eq!(push(Segment::new(addr, 4).unwrap()), PushError::Misaligned { index: 1, addr, align });
    }
    for (addr, len) in [(0x1_0000_0000, 4), (0xFFFF_FFFC, 6), (u64::MAX - 7, 4)] {
        let segment = seg(addr, len);
        assert_eq!(push(segment), PushError::OutOfReach { index: 1, addr: segment.addr(), len, max });
    }
    for len in [1, 3, 131_071, 131_072, 1 << 20] {
        assert_eq!(push(seg(0, len)), PushError::Len { index: 1, len, unit: 2, max: 131_070 });
    }
    let none: [Segment<BusAddr>; 0] = [];
    assert_eq!(ring.push(none, Interrupts::Last, true), Err(PushError::Empty));
    assert_eq!(
        ring.push([seg(0, 4); 300], Interrupts::Last, true),
        Err(PushError::RingFull { need: 300, free: 32 })
    );
    assert_eq!((ring.free(), ring.last_valid()), (32, None));
    assert_eq!(ring.push([seg(0xFFFF_FFFC, 4), seg(0, 131_070)], Interrupts::Last, false), Ok(1));
    assert_eq!(segments(&list.walk(0, 1).unwrap()), [seg(0xFFFF_FFFC, 4), seg(0, 131_070)]);
}

#[test]
fn a_piece_without_an_address_is_refused() {
    let mut ring = BufferRing::new(Shared::new()).unwrap();
    let limits = limits(2).unwrap();
    let list = [seg(0x1000, 512), seg(0x1_0000_0000, 512)];
    let ready = plan(&list[..], Position::Stream, &limits, Policy::WholeOrBounce).next().unwrap().unwrap();
    let refused = ring.push(ready.pieces(), Interrupts::Last, false).unwrap_err();
    assert!(matches!(refused, PushError::Bounced { index: 1, len: 512, .. }), "{refused}");
    assert_eq!(ring.free(), 32);
}

#[test]
fn a_list_lies_where_the_controller_can_be_told_of_it() {
    let mut words = [0; 32];
    let mut new = |addr, count| {
        BufferRing::new(PlainMemory::new(BusAddr::new(addr), &mut words[..count])).map(|_| ()).unwrap_err()
    };
    assert_eq!(new(0, 31), ListError::Memory { words: 31, need: 32 });
    for addr in [4, 0xFFFF_FF08, 0x1_0000_0000, !7] {
        let error = ListError::Unreachable { addr: BusAddr::new(addr), align: 8, max: 0xFFFF_FFFF };
        assert_eq!(new(addr, 32), error);
        let walked = walk(&Shared::new(), BusAddr::new(addr), 0, 0).collect::<Result<Vec<_>, _>>();
        assert!(matches!(walked, Err(WalkError::List { .. })), "{walked:?}");
    }
    assert!(BufferRing::new(PlainMemory::new(BusAddr::new(0xFFFF_FF00), &mut [0; 32])).is_ok());
}

#[test]
fn limits_keep_frames_whole() {
    let get = |channels, id| limits(channels).unwrap().hard_value(id);
    // One, two, four and six channels of 16 bits; the longest entry of whole frames that ends on a multiple of 4.
    for (channels, frame, longest) in [(1, 2, 131_068), (2, 4, 131_068), (4, 8, 131_064), (6, 12, 131_064)] {
        assert_eq!(get(channels, LimitId::PieceLenAlign), frame);
        assert_eq!(get(channels, LimitId::SegmentLenMax), longest);
        assert_eq!(longest % frame + longest % 4, 0);
    }
    assert_eq!(get(2, LimitId::SegmentsMax), 32);
    assert_eq!(get(2, LimitId::AddrMax), 0xFFFF_FFFF);
    assert_eq!(get(2, LimitId::AddrAlign), 4);
    assert!(matches!(limits(0), Err(LimitsError::Zero { .. })));
}

#[test]
fn an_entry_that_cannot_be_is_an_error_with_numbers() {
    let list = Shared::new();
    let good = Entry { addr: 0x1000, samples: 2, flags: 0 };
    for index in 0..usize::from(ENTRIES) {
        list.set(index, good);
    }
    let walk_with = |entry| {
        list.set(3, entry);
        list.walk(2, 4)
    };
    // An entry without samples is passed over.
    assert_eq!(
        walk_with(Entry { samples: 0, ..good }).unwrap().iter().map(|run| run.index).collect::<Vec<_>>(),
        [2, 4]
    );
    assert_eq!(
        walk_with(Entry { addr: 0x1001, ..good }),
        Err(WalkError::Misaligned { index: 3, addr: 0x1001 })
    );
    assert_eq!(walk_with(Entry { flags: 0xC001, ..good }), Err(WalkError::Reserved { index: 3, bits: 1 }));
    let addr = 0xFFFF_FFFE;
    assert_eq!(
        walk_with(Entry { addr, ..good }),
        Err(WalkError::OutOfReach { index: 3, addr, len: 4, max: 0xFFFF_FFFF })
    );
    assert_eq!(list.walk(32, 4), Err(WalkError::OutOfRange { index: 32, entries: 32 }));
    assert_eq!(list.walk(4, 255), Err(WalkError::OutOfRange { index: 255, entries: 32 }));
    let elsewhere = walk(&list, BusAddr::new(0x9000), 0, 0).collect::<Result<Vec<_>, _>>();
    assert_eq!(elsewhere, Err(WalkError::Unreadable(Unreadable { addr: BusAddr::new(0x9000) })));
}

/// The bytes of a list in order, as the fewest runs.
fn joined(list: &[Segment<BusAddr>]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for segment in list {
        match runs.last_mut() {
            Some((addr, len)) if *addr + *len == segment.addr().raw() => *len += segment.len(),
            _ => runs.push((segment.addr().raw(), segment.len())),
        }
    }
    runs
}

proptest! {
    #[test]
    fn a_stream_plays_as_it_was_queued(
        channels in 1_u8..=6,
        list in prop::collection::vec((0_u64..0x3000_0000, 1_u64..60_000), 1..120),
        barriers in any::<u64>(),
        plays in prop::collection::vec(1_u8..20, 1..20),
    ) {
        let frame = u64::from(channels) * 2;
        let list: Vec<_> = list.into_iter().enumerate().map(|(index, (addr, frames))| {
            let segment = seg(addr * 4, frames * frame);
            if barriers >> (index % 64) & 1 == 1 { segment.with_barrier() } else { segment }
        }).collect();
        let limits = limits(channels).unwrap();
        let shared = Shared::new();
        let mut ring = BufferRing::new(shared.clone()).unwrap();
        let mut plays = plays.into_iter().cycle();
        let mut played = Vec::new();
        let mut current = 0_u8;
        // The controller plays some entries and reports; the driver takes them back.
        let mut play = |ring: &mut BufferRing<Shared>| {
            let Some(last) = ring.last_valid() else { return };
            let runs = shared.walk(current, last).unwrap();
            let count = usize::from(plays.next().unwrap()).min(runs.len());
            played.extend(segments(&runs[..count]));
            let halted = count == runs.len();
            let at = if halted { last } else { runs[count].index };
            let before = ring.queued();
            assert_eq!(ring.retire(at, halted), Ok(u8::try_from(count).unwrap()));
            assert_eq!(usize::from(before - ring.queued()), count);
            current = if halted { (last + 1) % 32 } else { at };
        };
        for ready in plan(&list[..], Position::Stream, &limits, Policy::SplitOrError) {
            let ready = ready.unwrap();
            let pieces = ready.pieces().count();
            while usize::from(ring.free()) < pieces {
                let refused = ring.push(ready.pieces(), Interrupts::Each, false);
                prop_assert_eq!(refused, Err(PushError::RingFull { need: pieces as u64, free: ring.free() }));
                play(&mut ring);
            }
            let last = ring.push(ready.pieces(), Interrupts::Last, true).unwrap();
            prop_assert_eq!(ring.last_valid(), Some(last));
        }
        while ring.queued() > 0 {
            play(&mut ring);
        }
        prop_assert!(played.iter().all(|segment| segment.len() % frame == 0), "no frame spans two entries");
        prop_assert_eq!(joined(&played), joined(&list));
    }

    #[test]
    fn garbage_is_walked_to_an_end(
        bytes in prop::collection::vec(any::<u8>(), 256),
        nearly in any::<bool>(),
        current in 0_u8..40,
        last in 0_u8..40,
    ) {
        let list = Shared::new();
        list.0.borrow_mut().copy_from_slice(&bytes);
        if nearly {
            for index in 0..32 {
                let entry = ListView::new(&bytes).get(index).unwrap();
                list.set(usize::from(index), Entry { addr: entry.addr & !1, flags: entry.flags & 0xC000, ..entry });
            }
        }
        let walked: Vec<_> = walk(&list, BusAddr::new(LIST), current, last).take(40).collect();
        prop_assert!(walked.len() <= 32, "{:?}", walked);
        prop_assert!(walked.iter().rev().skip(1).all(Result::is_ok));
    }
}
