//! The buffer list of AC'97. Bytes that nobody queued, read as a list: runs or an error, at most 32. Any list of samples,
//! queued while a controller plays and says anything about where it is: what it plays is what was queued, in order.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use scatterlist::desc::ac97::{
    BufferRing, ENTRIES, Entry, Interrupts, ListView, PushError, Run, WalkError, limits, walk,
};
use scatterlist::desc::{BusRead, DescriptorMemory, PlainMemory};
use scatterlist::plan::{Piece, Policy, plan};
use scatterlist::{Addr as _, BusAddr, Position, Segment};
use scatterlist_fuzz as fuzz;
use scatterlist_fuzz::memory::Memory;

const LIST: u64 = 0x8000;

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // Too few bytes is not a case.
    let _ = match input.int_in_range(0..=1) {
        Ok(0) => raw(&mut input),
        _ => played(&mut input),
    };
});

/// Walks what nobody queued.
fn raw(input: &mut Unstructured<'_>) -> Result<()> {
    let mut memory = Memory::new(input, LIST, u64::MAX)?;
    if input.arbitrary()? {
        // Garbage that looks nearly right goes further.
        for word in memory.bytes_mut().chunks_mut(8) {
            let all = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0xC0];
            word.iter_mut().zip(all).for_each(|(byte, keep)| *byte &= keep);
        }
    }
    let list = if input.ratio(7, 8)? { LIST } else { fuzz::number(input)? };
    let (current, last) = (input.arbitrary::<u8>()?, input.arbitrary::<u8>()?);
    let (current, last) = if input.ratio(7, 8)? { (current % 32, last % 32) } else { (current, last) };
    let mut found = walk(&memory, BusAddr::new(list), current, last);
    let (mut indexes, mut failed) = (Vec::new(), false);
    for run in found.by_ref() {
        assert!(!failed, "goes on after an error");
        match run {
            Ok(run) => {
                assert!(run.segment.end() <= 1 << 32 && run.segment.addr().raw().is_multiple_of(2));
                indexes.push(run.index.wrapping_sub(current) % ENTRIES);
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed = true;
            }
        }
    }
    assert!(found.next().is_none());
    assert!(memory.reads() <= u64::from(ENTRIES));
    assert!(indexes.is_sorted_by(|one, next| one < next), "around the ring once: {indexes:?}");

    let cut = memory.bytes().len() - input.int_in_range(0..=7)?;
    let view = ListView::new(memory.bytes().get(..cut).unwrap_or_default());
    assert_eq!((view.len(), view.is_empty()), (cut / 8, cut < 8));
    for index in 0..=u8::MAX {
        let entry = view.get(index);
        assert_eq!(entry.is_some(), usize::from(index) < view.len());
        assert!(entry.is_none_or(|entry| Entry::from_bytes(entry.to_word().to_le_bytes()) == entry));
    }
    Ok(())
}

/// The list, as driver and controller both see it.
struct Shared<'a>(&'a RefCell<Memory>);

impl DescriptorMemory for Shared<'_> {
    fn bus_addr(&self) -> BusAddr {
        BusAddr::new(LIST)
    }

    fn len_words(&self) -> usize {
        self.0.borrow().bytes().len() / 8
    }

    fn put(&mut self, index: usize, word: u64) -> bool {
        let mut memory = self.0.borrow_mut();
        let place = memory.bytes_mut().chunks_mut(8).nth(index);
        place.map(|place| place.copy_from_slice(&word.to_le_bytes())).is_some()
    }
}

/// Queues requests while a controller plays.
fn played(input: &mut Unstructured<'_>) -> Result<()> {
    let channels = if input.ratio(7, 8)? { input.int_in_range(1..=6)? } else { input.arbitrary()? };
    let format = match limits(channels) {
        Ok(format) => format,
        Err(error) => {
            assert!(channels == 0 && !error.to_string().is_empty());
            return Ok(());
        }
    };
    if fuzz::rarely(input, 8)? {
        let (addr, mut words) = (BusAddr::new(fuzz::number(input)?), [0; 40]);
        let count = input.int_in_range(0..=40)?;
        let memory = PlainMemory::new(addr, words.get_mut(..count).unwrap_or_default());
        match BufferRing::new(memory) {
            Ok(ring) => assert_eq!(ring.free(), ENTRIES),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let frame = u64::from(channels) * 2;
    let memory = RefCell::new(Memory::from_bytes(LIST, vec![0xA5; 256]));
    let mut ring = BufferRing::new(Shared(&memory)).expect("it lies well");
    let mut queued: VecDeque<Segment<BusAddr>> = VecDeque::new();
    let mut current = 0;
    while !input.is_empty() {
        match input.int_in_range(0..=5)? {
            0 => {
                // Segments of no plan: queued all or none.
                let mut some = Vec::new();
                for _ in 0..input.int_in_range(0..=40)? {
                    some.extend(fuzz::segment::<BusAddr>(input, 200_000)?);
                }
                let _ =
                    push(input, &mut ring, some.iter().map(|segment| Piece::Direct(*segment)), &mut queued)?;
            }
            1 | 2 => {
                let Some(limits) = fuzz::tighter(input, &format)? else { continue };
                let len_max = fuzz::shortest_piece(&limits).saturating_mul(40).min(1 << 22);
                let mut list = Vec::new();
                for _ in 0..input.int_in_range(0..=20)? {
                    let Some(segment) = fuzz::segment::<BusAddr>(input, len_max)? else { continue };
                    let (addr, len) =
                        (segment.addr().raw() & 0xFFFF_FFFC, (segment.len() / frame + 1) * frame);
                    list.extend(Segment::new(BusAddr::new(addr), len));
                }
                for ready in plan(&list[..], Position::Stream, &limits, Policy::SplitOrBounce).take(4) {
                    match ready {
                        Ok(ready) => {
                            assert!(ready.len_pieces() <= 32);
                            let pushed = push(input, &mut ring, ready.pieces(), &mut queued)?;
                            assert!(
                                matches!(
                                    pushed,
                                    Ok(_) | Err(PushError::RingFull { .. } | PushError::Bounced { .. })
                                ),
                                "a plan goes in: {pushed:?}"
                            );
                        }
                        Err(error) => {
                            assert!(!error.to_string().is_empty());
                            break;
                        }
                    }
                }
            }
            3 | 4 => {
                // The controller plays some entries, halts if it has played all, and says so.
                let Some(last) = ring.last_valid() else { continue };
                let count = usize::from(input.int_in_range(1..=ring.queued())?);
                let halted = count == queued.len();
                let runs = walked(&*memory.borrow(), current, last).expect("what was queued");
                for run in runs.iter().take(count) {
                    assert_eq!(queued.pop_front(), Some(run.segment));
                }
                let at = runs.get(count).map_or(last, |run| run.index);
                assert_eq!(ring.retire(at, halted).map(usize::from), Ok(count));
                current = if halted { (last + 1) % ENTRIES } else { at };
            }
            _ => {
                // It says anything.
                let (says, halted) = (input.arbitrary::<u8>()?, input.arbitrary()?);
                let oldest = ring.oldest();
                match ring.retire(says, halted) {
                    Ok(done) => {
                        assert!(queued.drain(..usize::from(done)).len() <= 32);
                        assert!(done == 0 || says == (oldest + done - u8::from(halted)) % ENTRIES);
                        if done > 0 {
                            current = ring.oldest();
                        }
                    }
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        }
        assert_eq!(usize::from(ring.queued()), queued.len());
        assert_eq!(ring.free() + ring.queued(), ENTRIES);
        if let Some(last) = ring.last_valid() {
            let runs = walked(&*memory.borrow(), ring.oldest(), last).expect("what was queued");
            assert!(runs.iter().map(|run| run.segment).eq(queued.iter().copied()));
        }
    }
    Ok(())
}

fn push(
    input: &mut Unstructured<'_>,
    ring: &mut BufferRing<Shared<'_>>,
    pieces: impl Iterator<Item = Piece<BusAddr>> + Clone,
    queued: &mut VecDeque<Segment<BusAddr>>,
) -> Result<std::result::Result<u8, PushError>> {
    let interrupts = *input.choose(&[Interrupts::Last, Interrupts::Each, Interrupts::Never])?;
    let before = ring.queued();
    let pushed = ring.push(pieces.clone(), interrupts, input.arbitrary()?);
    match &pushed {
        Ok(last) => {
            assert_eq!(ring.last_valid(), Some(*last));
            queued.extend(pieces.map(|piece| match piece {
                // What the list cannot say is no property of the runs.
                Piece::Direct(segment) => Segment::new(segment.addr(), segment.len()).expect("it was one"),
                Piece::Bounce(bounce) => panic!("{bounce:?} was queued"),
            }));
        }
        Err(error) => {
            assert_eq!(ring.queued(), before);
            assert!(!error.to_string().is_empty());
        }
    }
    Ok(pushed)
}

fn walked<B: BusRead>(bus: &B, current: u8, last: u8) -> std::result::Result<Vec<Run>, WalkError> {
    walk(bus, BusAddr::new(LIST), current, last).collect()
}
