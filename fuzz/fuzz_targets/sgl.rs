//! SGLs. Bytes that nobody encoded, read as descriptors and segments: runs or an error, within the bound. Any list, planned,
//! encoded and walked: the same bytes. Metadata pointers: one run or an error.
#![no_main]

#[path = "../../crates/scatterlist/tests/nvme_model/mod.rs"]
#[expect(dead_code, reason = "the other format is another target")]
mod nvme_model;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use nvme_model::sgl::{LISTS, check_request, collected};
use nvme_model::{List, Memories, PutOnly, bounced, joined};
use scatterlist::desc::sgl::{
    DESCRIPTORS_MAX, Descriptor, Granularity, Kind, SegmentView, descriptors_max, encode, limits,
    metadata_contiguous, metadata_segment, walk,
};
use scatterlist::plan::{Piece, Policy, Ready, plan};
use scatterlist::{Addr as _, BusAddr, Position};
use scatterlist_fuzz as fuzz;
use scatterlist_fuzz::memory::Memory;

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // Too few bytes is not a case.
    let _ = match input.int_in_range(0..=1) {
        Ok(0) => raw(&mut input),
        _ => planned(&mut input),
    };
});

/// Walks what nobody encoded.
fn raw(input: &mut Unstructured<'_>) -> Result<()> {
    let reads_max = if fuzz::rarely(input, 64)? { u64::MAX } else { 500 };
    let base = input.int_in_range(0..=0x10_0000)? * 8;
    let memory = Memory::new(input, base, reads_max)?;
    let pointer = if input.ratio(3, 4)? {
        let kind = if input.arbitrary()? { Kind::Segment } else { Kind::LastSegment };
        let addr = base + u64::from(input.arbitrary::<u8>()?) * 8;
        Descriptor::new(kind, BusAddr::new(addr), u32::from(input.arbitrary::<u16>()?) * 16)
    } else {
        Descriptor::from_words([fuzz::number(input)?, input.arbitrary()?])
    };
    let bytes = if input.arbitrary()? { u64::from(input.arbitrary::<u32>()?) } else { fuzz::number(input)? };
    check(pointer);

    let (mut sum, mut failed, mut runs) = (0_u64, None, 0);
    let mut found = walk(&memory, pointer, bytes);
    for run in found.by_ref() {
        assert!(failed.is_none(), "goes on after {failed:?}");
        runs += 1;
        match run {
            Ok(run) => sum += run.len(),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed = Some(error);
            }
        }
    }
    assert!(found.next().is_none());
    assert!(if failed.is_some() { sum <= bytes } else { sum == bytes }, "{sum} of {bytes}: {failed:?}");
    assert!(memory.reads() <= DESCRIPTORS_MAX && runs <= DESCRIPTORS_MAX + 1);

    let cut = memory.bytes().len() - input.int_in_range(0..=7)?;
    let view = SegmentView::new(memory.bytes().get(..cut).unwrap_or_default());
    assert_eq!((view.len(), view.is_empty()), (cut / 16, cut < 16));
    for index in 0..view.len() {
        check(view.get(index).expect("there are so many"));
    }
    assert_eq!(view.get(view.len() + usize::from(input.arbitrary::<u16>()?)), None);
    Ok(())
}

/// Every value of its bits can be held.
fn check(descriptor: Descriptor) {
    assert_eq!(Descriptor::from_le_bytes(descriptor.to_le_bytes()), descriptor);
    assert_eq!(Descriptor::from_words(descriptor.words()), descriptor);
    assert_eq!(Kind::from_value(descriptor.kind().value()), descriptor.kind());
    let [_, high] = descriptor.words();
    let kind = u64::from(descriptor.kind().value() << 4 | descriptor.subtype());
    assert_eq!(kind << 56 | u64::from(descriptor.reserved()) << 32 | u64::from(descriptor.len()), high);
}

/// Plans any list, encodes and walks it.
fn planned(input: &mut Unstructured<'_>) -> Result<()> {
    let (descriptors, lists) = (input.int_in_range(0..=64)?, input.int_in_range(0..=4)?);
    let granularity = if input.arbitrary()? { Granularity::Dword } else { Granularity::Byte };
    let format = limits(descriptors_max(descriptors, lists), granularity).expect("the command holds one");
    let any = fuzz::rarely(input, 4)?;
    let limits = if any { fuzz::limits(input)?.build().ok() } else { fuzz::tighter(input, &format)? };
    let Some(limits) = limits else { return Ok(()) };
    let policy = *input.choose(&[Policy::SplitOrBounce, Policy::SplitOrError, Policy::WholeOrBounce])?;
    let len_max = fuzz::shortest_piece(&limits).saturating_mul(40).min(1 << 40);
    let dwords = input.arbitrary::<bool>()?;
    let (strange, extra) = (input.arbitrary::<[u8; 4]>()?, input.arbitrary::<bool>()?);
    let mut list = List::new();
    while !input.is_empty() && list.len_segments() < 300 {
        if let Some(segment) = fuzz::segment::<BusAddr>(input, len_max)? {
            let mask = if dwords { 3 } else { 0 };
            let (addr, len) = (segment.addr().raw() & !mask, (segment.len() + mask) & !mask);
            if let Ok(segment) = scatterlist::Segment::new(BusAddr::new(addr), len) {
                list.append(if extra { segment.with_barrier() } else { segment }).expect("they are short");
            }
        }
    }
    for ready in plan(&list, Position::Stream, &limits, policy).take(200) {
        match ready {
            Ok(ready) => {
                metadata(&ready, granularity, strange);
                if any {
                    refused_or_right(&ready, strange);
                    continue;
                }
                let data = bounced(&ready);
                if ready.bounced_bytes() == 0 {
                    check_request(&ready, descriptors, lists, &data);
                }
                // Bounce buffers are not where the tighter limits want them.
                if let Some(Ok(again)) = plan(&data, Position::Stream, &format, Policy::WholeOrError).next() {
                    check_request(&again, descriptors, lists, &data);
                }
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    Ok(())
}

/// Encodes what was planned for other limits, into memory of any size anywhere.
fn refused_or_right(ready: &Ready<'_, List>, [count, words, off, _]: [u8; 4]) {
    let one = |index: u64| {
        let addr = LISTS + index * 0x10_0000;
        let addr = if index == 1 { addr + u64::from(off % 32) } else { addr };
        (addr, vec![u64::MAX; usize::from(words)])
    };
    let mut memories = Memories((0..u64::from(count % 5)).map(one).collect());
    let mut same = memories.clone();
    let encoded = encode(ready, &mut memories.as_bus());
    match encoded {
        Ok(pointer) => {
            let data = ready.pieces().map(|piece| match piece {
                Piece::Direct(segment) => segment,
                Piece::Bounce(bounce) => panic!("{bounce:?} was encoded"),
            });
            let expected = joined(data);
            let walked = collected(pointer, ready.len_bytes(), &mut memories).map(joined);
            assert_eq!(walked.as_ref(), Ok(&expected));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let mut put_only: Vec<_> = same.as_bus().into_iter().map(PutOnly).collect();
    assert_eq!(encode(ready, &mut put_only), encoded);
    drop(put_only);
    if encoded.is_ok() {
        assert_eq!(same, memories);
    }
}

/// Names the request by a metadata pointer.
fn metadata(ready: &Ready<'_, List>, granularity: Granularity, [words, off, ..]: [u8; 4]) {
    let only = ready.first().and_then(|piece| match piece {
        Piece::Direct(run) if run.len() == ready.len_bytes() => Some(run),
        _ => None,
    });
    match metadata_contiguous(ready, granularity) {
        Ok(addr) => assert_eq!(Some(addr), only.map(|run| run.addr())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let addr = LISTS + u64::from(off % 16);
    let mut memories = Memories(vec![(addr, vec![u64::MAX; usize::from(words % 4)])]);
    let written = metadata_segment(ready, &mut memories.as_bus()[0]);
    match written {
        Ok(pointer) => {
            assert_eq!(pointer.raw(), addr);
            let last = Descriptor::new(Kind::LastSegment, pointer, 16);
            let runs = collected(last, ready.len_bytes(), &mut memories).expect("one descriptor");
            assert_eq!(joined(runs), joined(only));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
