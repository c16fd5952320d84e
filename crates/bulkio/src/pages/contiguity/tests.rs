//! Contiguity by made-up page maps: any layout of frames, and plans held against them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;
use scatterlist::plan::{Piece, Policy, plan};
use scatterlist::{Addr, CpuAddr, Force, LimitId, Limits, Position, Segment, Source};
use tempfile::NamedTempFile;

use super::*;

const PAGE: u64 = 4096;
const PRESENT: u64 = 1 << 63;
/// Where the made-up memory begins: a multiple of 4 MiB.
const BASE: u64 = 4 << 20;

/// A page map in which the pages from [`BASE`] on have these entries.
fn pagemap(entries: &[u64]) -> (NamedTempFile, Pagemap) {
    let file = NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
    File::options().write(true).open(file.path()).unwrap().write_all_at(&bytes, BASE / PAGE * 8).unwrap();
    let pagemap = Pagemap::open_at(file.path(), PAGE);
    (file, pagemap)
}

fn frames(frames: impl IntoIterator<Item = u64>) -> (NamedTempFile, Pagemap) {
    pagemap(&frames.into_iter().map(|frame| PRESENT | frame).collect::<Vec<_>>())
}

fn segment(offset: u64, len: u64) -> [Segment<CpuAddr>; 1] {
    [Segment::new(CpuAddr::new(BASE + offset), len).unwrap()]
}

fn known(contiguity: Contiguity) -> (u64, u64, u64) {
    assert_eq!(contiguity.source, ContiguitySource::Pagemap { pages_unknown: 0 });
    (contiguity.segments, contiguity.segment_len_max, contiguity.block_len)
}

fn requests(contiguity: Contiguity, len: u64) -> usize {
    let device = Limits::builder().hard(LimitId::SegmentsMax, 128).build().unwrap();
    let limits = contiguity.refine(&device).unwrap();
    plan(&segment(0, len)[..], Position::Stream, &limits, Policy::SplitOrError).map(Result::unwrap).count()
}

#[test]
fn a_huge_page_is_one_segment_and_one_request() {
    let (_file, map) = frames((0x600..).take(512));
    assert_eq!(known(map.contiguity(&segment(0, 2 << 20)[..])), (1, 2 << 20, 2 << 20));
    assert_eq!(known(map.contiguity(&segment(100, 5000)[..])), (1, 5000, 2 << 20));
    assert_eq!(requests(map.contiguity(&segment(0, 2 << 20)[..]), 2 << 20), 1);
}

#[test]
fn scattered_pages_are_a_segment_each_and_four_requests() {
    let (_file, map) = frames((0..512).map(|page| 0x1000 + 2 * page));
    let contiguity = map.contiguity(&segment(0, 2 << 20)[..]);
    assert_eq!(known(contiguity), (512, PAGE, PAGE));
    assert_eq!(requests(contiguity, 2 << 20), 4);
    assert_eq!(known(map.contiguity(&segment(4000, 200)[..])), (2, 104, PAGE));
}

#[test]
fn blocks_are_what_breaks_and_alignment_leave() {
    // Two runs of 64 KiB; a run that begins one page late; one long run off its alignment.
    let (_file, map) = frames((0x1000..).take(16).chain((0x2000..).take(16)));
    assert_eq!(known(map.contiguity(&segment(0, 32 * PAGE)[..])), (2, 16 * PAGE, 16 * PAGE));
    let (_file, map) = frames([0x1000].into_iter().chain((0x3001..).take(15)));
    assert_eq!(known(map.contiguity(&segment(0, 16 * PAGE)[..])), (2, 15 * PAGE, PAGE));
    let (_file, map) = frames((0x1002..).take(16));
    assert_eq!(known(map.contiguity(&segment(0, 16 * PAGE)[..])), (1, 16 * PAGE, 2 * PAGE));
    // Frames that go down are apart.
    let (_file, map) = frames([9, 8]);
    assert_eq!(map.contiguity(&segment(0, 2 * PAGE)[..]).segments, 2);
}

#[test]
fn neighbours_in_a_list_are_one_run_as_in_a_plan() {
    let (_file, map) = frames([8, 3, 10, 11]);
    let at = |offset, len| segment(offset, len)[0];
    let whole = map.contiguity(&segment(0, 4 * PAGE)[..]);
    let parts = [at(0, PAGE), at(PAGE, 100), at(PAGE + 100, PAGE - 100), at(2 * PAGE, 2 * PAGE)];
    assert_eq!(map.contiguity(&parts[..]), whole);
    assert_eq!(known(whole).0, 3);
    // Pages that are not neighbours are no break between them.
    assert_eq!(known(map.contiguity(&[at(0, PAGE), at(2 * PAGE, 2 * PAGE)][..])), (2, 2 * PAGE, 8 * PAGE));
}

#[test]
fn what_is_not_in_memory_is_a_segment_a_page() {
    let (_file, map) = pagemap(&[PRESENT | 8, 0, PRESENT | (1 << 62) | 10, PRESENT | 11]);
    // The last two are past the end of the file.
    let contiguity = map.contiguity(&segment(0, 6 * PAGE)[..]);
    assert_eq!(contiguity.source, ContiguitySource::Pagemap { pages_unknown: 4 });
    assert_eq!((contiguity.segments, contiguity.block_len), (6, PAGE));
    assert!(contiguity.source.to_string().contains("4 pages are not in memory"));
    // No list makes it walk what no process has.
    let far = [Segment::new(CpuAddr::new(1 << 62), (1 << 62) + 1).unwrap()];
    assert_eq!(map.contiguity(&far[..]).segments, (1 << 50) + 1);
}

#[test]
fn hidden_frames_and_unreadable_maps_are_assumed_with_the_reason() {
    let (_file, map) = pagemap(&[PRESENT | 8, PRESENT]);
    let contiguity = map.contiguity(&segment(0, 2 * PAGE)[..]);
    assert_eq!(contiguity.source, ContiguitySource::Assumed { reason: NotKnown::Hidden });
    assert_eq!((contiguity.segments, contiguity.segment_len_max, contiguity.block_len), (2, PAGE, PAGE));
    let map = Pagemap::open_at(Path::new("/nonexistent/pagemap"), PAGE);
    let contiguity = map.contiguity(&segment(0, 2 << 20)[..]);
    let reason = NotKnown::Unreadable { errno: libc::ENOENT };
    assert_eq!(contiguity.source, ContiguitySource::Assumed { reason });
    assert_eq!(requests(contiguity, 2 << 20), 4);
    assert!(contiguity.source.to_string().contains("No such file"), "{}", contiguity.source);
}

#[test]
fn refined_limits_stay_within_the_devices_own() {
    let (_file, map) = frames((0x600..).take(512));
    let huge = map.contiguity(&segment(0, 2 << 20)[..]);
    let refined = |builder: scatterlist::LimitsBuilder| {
        let limit = huge.refine(&builder.build().unwrap()).unwrap().get(LimitId::PageLen);
        assert_eq!((limit.source, limit.force), (Source::Pages, Force::Hard));
        limit.value
    };
    let new = Limits::builder;
    assert_eq!(refined(new()), 2 << 20);
    assert_eq!(refined(new().hard(LimitId::PageLen, PAGE)), 2 << 20);
    assert_eq!(refined(new().hard(LimitId::SegmentLenMax, 0x1_8000)), 0x1_0000);
    assert_eq!(refined(new().hard(LimitId::SegmentLenMax, 512)), 512);
    assert_eq!(refined(new().hard(LimitId::SegmentBoundary, 0x2_0000)), 0x2_0000);
    assert_eq!(refined(new().set(LimitId::PageLen, PAGE, Source::DescriptorFormat, Force::Hard)), PAGE);
    // What the kernel splits below is no reason to count more.
    assert_eq!(refined(new().set(LimitId::SegmentLenMax, 512, Source::Sysfs, Force::Soft)), 2 << 20);
}

/// Frames of pages, in runs; a frame of 0 is not in memory. Half of the layouts have runs of 16 pages alone, whose
/// frames agree with the addresses up to 256 pages: there only the breaks between runs keep blocks short.
fn layouts() -> impl Strategy<Value = Vec<u64>> {
    let aligned = (1..256_u64).prop_map(|frame| frame * 16);
    let any = (prop_oneof![1..4096_u64, aligned, Just(0)], prop_oneof![Just(16_u64), 1..40_u64]);
    let any = prop::collection::vec(any, 1..20).prop_map(|runs| {
        let pages = |(frame, len)| (0..len).map(move |page| if frame == 0 { 0 } else { frame + page });
        runs.into_iter().flat_map(pages).collect::<Vec<_>>()
    });
    let agreeing = prop::collection::vec(1..4_u64, 2..20).prop_map(|runs| {
        let first = |(run, frame)| (frame * 256 + run % 16 * 16, 16);
        (0_u64..).zip(runs).map(first).flat_map(|(frame, len)| frame..frame + len).collect()
    });
    prop_oneof![any, agreeing]
}

/// Counts the segments that a device sees: physical runs, cut at its longest segment and its boundary.
fn real_segments(pieces: &[Segment<CpuAddr>], frames: &[u64], longest: u64, boundary: u64) -> u64 {
    let (mut segments, mut open) = (0, None::<(u64, u64)>);
    for piece in pieces {
        for addr in (piece.addr().raw()..piece.end()).step_by(4) {
            let frame = frames[((addr - BASE) / PAGE) as usize];
            // Pages not in memory may be anywhere: apart from all others.
            let phys = if frame == 0 {
                (1 << 52) + (addr - BASE) / PAGE * 2 * PAGE + addr % PAGE
            } else {
                frame * PAGE + addr % PAGE
            };
            open = match open {
                Some((end, len)) if end == phys && len + 4 <= longest && phys % boundary != 0 => {
                    Some((phys + 4, len + 4))
                }
                _ => {
                    segments += 1;
                    Some((phys + 4, 4))
                }
            };
        }
    }
    segments
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_request_has_more_real_segments_than_the_device_takes(
        frames in layouts(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 1..5),
        in_runs in any::<bool>(),
        segments_max in 1..20_u64,
        longest in prop_oneof![Just(u64::MAX), (1024..20_000_u64).prop_map(|len| len * 4)],
        boundary in prop_oneof![Just(0), (12..18_u32).prop_map(|bits| 1_u64 << bits)],
    ) {
        let (_file, map) = pagemap(&frames.iter().map(|frame| if *frame == 0 { 0 } else { PRESENT | frame }).collect::<Vec<_>>());
        // In words of four bytes, or in runs of 16 pages.
        let unit = if in_runs && frames.len() % 16 == 0 { 16 * PAGE } else { 4 };
        let units = frames.len() * PAGE as usize / unit as usize;
        let mut end = 0;
        let mut list = Vec::new();
        for (from, len, next_to_last) in &cuts {
            let from = if *next_to_last && end < units { end } else { from.index(units) };
            let len = 1 + len.index(units - from);
            end = from + len;
            list.push(Segment::new(CpuAddr::new(BASE + from as u64 * unit), len as u64 * unit).unwrap());
        }
        let device = Limits::builder()
            .hard(LimitId::SegmentsMax, segments_max)
            .hard(LimitId::SegmentLenMax, longest)
            .hard(LimitId::SegmentBoundary, boundary)
            .hard(LimitId::AddrAlign, 4)
            .hard(LimitId::PieceLenAlign, 4)
            .build().unwrap();
        let contiguity = map.contiguity(&list[..]);
        let limits = contiguity.refine(&device).unwrap();
        let mut bytes = 0;
        for ready in plan(&list[..], Position::Stream, &limits, Policy::SplitOrError) {
            let pieces: Vec<_> = ready.unwrap().pieces().map(|piece| match piece {
                Piece::Direct(segment) => segment,
                Piece::Bounce(bounce) => panic!("{bounce:?}"),
            }).collect();
            bytes += pieces.iter().map(|piece| piece.len()).sum::<u64>();
            let boundary = if boundary == 0 { u64::MAX } else { boundary };
            let real = real_segments(&pieces, &frames, longest, boundary);
            prop_assert!(real <= segments_max, "{real} of {segments_max}: {limits:?}");
        }
        prop_assert_eq!(bytes, list.iter().map(|segment| segment.len()).sum::<u64>());
        // The count of segments is that of the runs themselves.
        let real: u64 = list.iter().map(|segment| real_segments(&[*segment], &frames, u64::MAX, u64::MAX)).sum();
        prop_assert!(contiguity.segments <= real);
    }
}
