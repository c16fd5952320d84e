//! Virtqueues. Bytes that no driver wrote, read as rings and chains: runs or an error, within the queue size. Any requests in
//! any order of events: the device walks what was added, and no descriptor is lost. A device that lies in the used ring
//! gets errors, or what it had: no descriptor is lost or handed out twice.
#![no_main]
#![expect(clippy::unwrap_used, reason = "the models of the tests may panic, and so may a target")]

#[path = "../../crates/scatterlist/tests/virtqueue/model.rs"]
mod model;
#[path = "../../crates/scatterlist/tests/virtqueue/pair.rs"]
#[expect(dead_code, reason = "the scenarios of the tests are not here")]
mod pair;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use model::{Step, joined, no_descriptor_is_lost};
use pair::{INDIRECT, Pair, Shared, pair as new_pair, runs, seg};
use scatterlist::desc::virtqueue::{
    AvailableView, Descriptor, DeviceRings, Frame, QueueSize, Run, Shape, Side, TableView, UsedView, limits,
};
use scatterlist::plan::{Piece, Policy, plan};
use scatterlist::{Addr as _, BusAddr, Position, Segment};
use scatterlist_fuzz as fuzz;
use scatterlist_fuzz::memory::Memory;

/// Most bytes of one chain (section 2.7.5.2 of the specification).
const CHAIN_BYTES_MAX: u64 = 1 << 32;

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // Too few bytes is not a case.
    let _ = match input.int_in_range(0..=3) {
        Ok(0) => raw(&mut input),
        Ok(1) => planned(&mut input),
        Ok(2) => any_order(&mut input),
        _ => lying_device(&mut input),
    };
});

/// Reads what no driver wrote.
fn raw(input: &mut Unstructured<'_>) -> Result<()> {
    let size = match QueueSize::new(1_u16.rotate_left(input.int_in_range(0..=16)?)) {
        Ok(size) if input.ratio(7, 8)? => size,
        _ => match QueueSize::new(input.arbitrary()?) {
            Ok(size) => size,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return Ok(());
            }
        },
    };
    let mut memory = Memory::new(input, INDIRECT, u64::MAX)?;
    if input.arbitrary()? {
        // Garbage that looks nearly right goes further: small lengths and successors, tables within the memory.
        for entry in memory.bytes_mut().chunks_mut(16) {
            if let [_, _, _, a3, a4, .., l2, l3, f0, f1, n0, n1] = entry {
                (*l2, *l3, *f1, *n1) = (0, 0, 0, 0);
                (*n0, *f0) = (*n0 % 16, *f0 % 8);
                if *f0 & 4 != 0 {
                    (*a3, *a4) = (0, 0);
                }
            }
        }
    }
    let place = |input: &mut Unstructured<'_>| {
        Ok(BusAddr::new(if input.ratio(7, 8)? { INDIRECT } else { fuzz::number(input)? }))
    };
    let rings = DeviceRings { size, table: place(input)?, available: place(input)? };
    let seen = input.arbitrary::<u16>()?;
    let head = match (rings.waiting(&memory, seen), rings.head(&memory, seen)) {
        (Ok(waiting), Ok(head)) => {
            assert!(waiting <= size.get());
            head
        }
        (waiting, head) => {
            for error in [waiting.err(), head.err()].into_iter().flatten() {
                assert!(!error.to_string().is_empty());
            }
            input.int_in_range(0..=size.get())?
        }
    };
    for head in [head, head % 8, input.arbitrary()?] {
        let before = memory.reads();
        let (mut sum, mut found, mut failed, mut written) = (0, 0_u64, false, false);
        let mut walk = rings.walk(&memory, head);
        for run in walk.by_ref() {
            assert!(!failed, "goes on after an error");
            match run {
                Ok(Run { segment, side }) => {
                    assert!(side == Side::Writable || !written);
                    written = side == Side::Writable;
                    (sum, found) = (sum + segment.len(), found + 1);
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    failed = true;
                }
            }
        }
        assert!(walk.next().is_none());
        assert!(sum <= CHAIN_BYTES_MAX && found <= size.get().into());
        // The indirect descriptor, and the one that was too many.
        assert!(memory.reads() - before <= u64::from(size.get()) + 2);
    }
    views(input, memory.bytes(), size)
}

fn views(input: &mut Unstructured<'_>, bytes: &[u8], size: QueueSize) -> Result<()> {
    let cut = bytes.len() - input.int_in_range(0..=7)?;
    let bytes = bytes.get(..cut).unwrap_or_default();
    let index = input.arbitrary::<u16>()?;
    let (table, available) = (TableView::new(bytes), AvailableView::new(bytes, size));
    let used = UsedView::new(bytes, size);
    assert_eq!(table.len() * 16 + table.rest_bytes(), cut);
    assert_eq!(table.get(index.into()).is_some(), usize::from(index) < table.len());
    assert_eq!((table.iter().count(), table.is_empty()), (table.len(), cut < 16));
    let place = usize::from(index % size.get());
    assert_eq!(available.head(index).is_some(), cut >= 6 + place * 2);
    assert_eq!(used.element(index).is_some(), cut >= 12 + place * 8);
    assert_eq!(used.index().is_some(), cut >= 4);
    assert!(used.flags().is_none() || used.flags() == available.flags());
    assert!(used.index().is_none() || used.index() == available.index());
    for descriptor in table.iter() {
        assert_eq!(Descriptor::from_words(descriptor.to_words()), descriptor);
    }
    Ok(())
}

/// Plans any list and hands its requests over, one after the other.
fn planned(input: &mut Unstructured<'_>) -> Result<()> {
    let Pair { mut queue, mut device } = new_pair(1 << input.int_in_range(0..=7)?);
    let descriptors = if input.arbitrary()? { Some(input.int_in_range(0..=200)?) } else { None };
    let shape = descriptors.map_or(Shape::Direct, |descriptors| Shape::Indirect { descriptors });
    let frame = if input.ratio(7, 8)? { 2 } else { fuzz::number(input)? };
    let limits = match limits(queue.size(), shape, Frame { segments: frame, bytes: frame }) {
        Ok(limits) if frame == 2 => fuzz::tighter(input, &limits)?,
        Ok(_) => None,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    };
    let Some(limits) = limits else { return Ok(()) };
    let policy = *input.choose(&[Policy::SplitOrError, Policy::SplitOrBounce])?;
    let len_max = fuzz::shortest_piece(&limits).saturating_mul(40).min(1 << 40);
    let mut list = Vec::new();
    while !input.is_empty() && list.len() < 200 {
        list.extend(fuzz::segment::<BusAddr>(input, len_max)?);
    }
    let (header, status) = (seg(0x10, 1), seg(0x20, 1));
    let (mut walked, mut expected): (Vec<Segment<BusAddr>>, Vec<_>) = (Vec::new(), Vec::new());
    for (index, ready) in (0..).zip(plan(&list[..], Position::Stream, &limits, policy).take(100)) {
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        };
        let data = [Piece::Direct(header)].into_iter().chain(ready.pieces());
        let added = match descriptors {
            None => queue.add(data, [status]),
            Some(descriptors) => {
                let words = usize::try_from(descriptors * 2).unwrap_or(0);
                let mut table = Shared::new(INDIRECT + index * 0x1000, words);
                device.bus.0.push(table.clone());
                queue.add_indirect(&mut table, data, [status])
            }
        };
        if ready.bounced_bytes() > 0 {
            assert!(!added.unwrap_err().to_string().is_empty());
            assert_eq!((queue.free(), queue.added()), (queue.size().get(), 0));
            continue;
        }
        let head = added.unwrap();
        expected.extend(ready.pieces().filter_map(|piece| match piece {
            Piece::Direct(segment) => Some(segment),
            Piece::Bounce(_) => None,
        }));
        queue.publish();
        let (_, found) = device.fetch().unwrap();
        walked.extend(found.iter().skip(1).take(found.len() - 2).map(|run| run.segment));
        device.give_back(head.into(), 1);
        assert_eq!(queue.take().unwrap().unwrap().head, head);
    }
    assert_eq!(joined(&walked), joined(&expected));
    Ok(())
}

/// A device that keeps to the rules, but for garbage that it takes back.
fn any_order(input: &mut Unstructured<'_>) -> Result<()> {
    let log = input.int_in_range(0..=6)?;
    let side = |input: &mut Unstructured<'_>| {
        let mut side = Vec::new();
        for _ in 0..input.int_in_range(0..=6)? {
            side.push((input.arbitrary()?, input.arbitrary::<u16>()?.max(1)));
        }
        Ok(side)
    };
    let mut steps = Vec::new();
    while !input.is_empty() && steps.len() < 300 {
        steps.push(match input.int_in_range(0..=9)? {
            0 | 1 => {
                Step::Add { readable: side(input)?, writable: side(input)?, indirect: input.arbitrary()? }
            }
            2 | 3 => Step::Publish,
            4 | 5 => Step::Fetch,
            6 | 7 => Step::GiveBack(input.arbitrary()?, input.arbitrary()?),
            8 => Step::Take,
            _ => Step::Lie {
                id: input.int_in_range(0..=70)?,
                written: input.arbitrary()?,
                ahead: input.int_in_range(0..=40)?,
            },
        });
    }
    no_descriptor_is_lost(log, steps);
    Ok(())
}

/// One request that was added and not taken.
struct Request {
    head: u16,
    descriptors: u16,
    runs: Vec<Run>,
    published: bool,
}

/// A device that writes anything into the used ring at any time.
fn lying_device(input: &mut Unstructured<'_>) -> Result<()> {
    let size = 1_u16 << input.int_in_range(0..=5)?;
    let Pair { mut queue, device } = new_pair(size);
    let used_len = device.used.bytes.borrow().len();
    let mut requests: Vec<Request> = Vec::new();
    let mut taken = 0_u16;
    while !input.is_empty() {
        match input.int_in_range(0..=7)? {
            0 | 1 => {
                let (mut readable, mut writable) = (Vec::new(), Vec::new());
                for side in [&mut readable, &mut writable] {
                    for _ in 0..input.int_in_range(0..=3)? {
                        side.push(seg(
                            u64::from(input.arbitrary::<u16>()?) << 8,
                            input.int_in_range(1..=5000)?,
                        ));
                    }
                }
                let all = runs(&readable, &writable);
                let free = queue.free();
                match queue.add(readable, writable) {
                    Ok(head) => {
                        let descriptors = free - queue.free();
                        assert_eq!(usize::from(descriptors), all.len());
                        requests.push(Request { head, descriptors, runs: all, published: false });
                    }
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        assert_eq!(queue.free(), free);
                    }
                }
            }
            2 => {
                queue.publish();
                requests.iter_mut().for_each(|request| request.published = true);
            }
            3 => {
                // Garbage anywhere.
                let bytes = input.arbitrary::<[u8; 8]>()?;
                let at = input.int_in_range(0..=used_len - 8)?;
                device.used.write(at, &bytes);
            }
            4 | 5 => {
                // An element that might be one.
                let place = usize::from(input.int_in_range(0..=size - 1)?);
                let (id, written) =
                    (input.int_in_range(0..=u32::from(size))?, input.int_in_range(0..=9000_u32)?);
                device.used.write(4 + place * 8, &id.to_le_bytes());
                device.used.write(8 + place * 8, &written.to_le_bytes());
                let ahead = input.int_in_range(0..=4)?;
                device.set_used_index(taken.wrapping_add(ahead));
            }
            _ => {
                let (free, in_flight) = (queue.free(), queue.in_flight());
                match queue.take() {
                    Ok(Some(used)) => {
                        let at = requests
                            .iter()
                            .position(|request| request.head == used.head && request.published);
                        let request = requests.swap_remove(at.expect("the device had it"));
                        let writable = request.runs.iter().filter(|run| run.side == Side::Writable);
                        let writable: u64 = writable.map(|run| run.segment.len()).sum();
                        assert!(u64::from(used.written_bytes) <= writable);
                        assert_eq!(
                            (queue.free(), queue.in_flight()),
                            (free + request.descriptors, in_flight - 1)
                        );
                        taken = taken.wrapping_add(1);
                    }
                    Ok(None) => assert_eq!((queue.free(), queue.in_flight()), (free, in_flight)),
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        assert_eq!((queue.free(), queue.in_flight()), (free, in_flight));
                    }
                }
                let _ = queue.notify_wanted();
            }
        }
        let published = requests.iter().filter(|request| request.published).count();
        assert_eq!(usize::from(queue.in_flight()), published);
        assert_eq!(usize::from(queue.added()), requests.len() - published);
        assert_eq!(queue.free() + requests.iter().map(|request| request.descriptors).sum::<u16>(), size);
        let mut heads: Vec<_> = requests.iter().map(|request| request.head).collect();
        heads.sort_unstable();
        assert_eq!(queue.heads().collect::<Vec<_>>(), heads);
        for request in &requests {
            assert_eq!(device.walk(request.head).as_ref(), Ok(&request.runs));
        }
    }
    Ok(())
}
