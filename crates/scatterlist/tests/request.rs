//! Requests, completions and leases: who is told what, exactly once, and who frees which memory when.
//!
//! Owners count their own drops, completions keep every outcome they get. Striping is compared with a model
//! that maps each byte by itself.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use scatterlist::request::{MergeRefused, StripeError, Stripes};
use scatterlist::{
    Addr, Complete, Direction, Fault, Lease, LimitId, Limits, Outcome, PhysAddr, Position, Request,
    ScatterList, Segment, Shared, Status,
};

/// Collects the outcomes of one completion or of several, in order.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<(u32, Outcome)>>>);

impl Told {
    fn by(&self, id: u32) -> Teller {
        Teller { told: self.clone(), id }
    }

    fn take(&self) -> Vec<(u32, Outcome)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[derive(Debug)]
struct Teller {
    told: Told,
    id: u32,
}

impl Complete for Teller {
    fn complete(self, outcome: Outcome) {
        self.told.0.lock().unwrap().push((self.id, outcome));
    }
}

/// Memory that counts how often it is freed.
#[derive(Debug)]
struct Memory(Arc<AtomicUsize>);

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

type Owner = Arc<Memory>;

fn list(segments: &[(u64, u64)]) -> ScatterList<PhysAddr> {
    let segment = |&(addr, len): &(u64, u64)| Segment::new(PhysAddr::new(addr), len).unwrap();
    ScatterList::from_segments(segments.iter().map(segment)).unwrap()
}

#[expect(unsafe_code, reason = "leases over addresses that nobody ever reads")]
fn lease_of(list: ScatterList<PhysAddr>, frees: &Arc<AtomicUsize>) -> Lease<PhysAddr, Owner> {
    // SAFETY: the addresses are numbers in a test; no device and no engine sees them.
    unsafe { Lease::from_raw(list, Arc::new(Memory(frees.clone()))) }
}

fn lease(segments: &[(u64, u64)]) -> Lease<PhysAddr, Owner> {
    lease_of(list(segments), &Arc::default())
}

fn pairs(list: &ScatterList<PhysAddr>) -> Vec<(u64, u64)> {
    list.iter().map(|segment| (segment.addr().raw(), segment.len())).collect()
}

fn write_at<C>(position: u64, segments: &[(u64, u64)], completion: C) -> Request<PhysAddr, Owner, C> {
    Request::new(lease(segments), Direction::ToDevice, Position::At(position), completion)
}

const ERRNO: Status = Status::Errno(5);

fn failed(asked: u64, done: u64, at: u64) -> Outcome {
    Outcome { asked, done, fault: Some(Fault { at, status: ERRNO }) }
}

#[test]
fn merge_takes_adjacent_requests_of_one_direction() {
    let told = Told::default();
    let limits = Limits::default();
    let first = write_at(4096, &[(0x1000, 4096)], told.by(1));
    let (first, other, why) = first.merge(write_at(0, &[(0x9000, 512)], told.by(2)), &limits).unwrap_err();
    let first_end = Some(Position::At(8192));
    assert_eq!(why, MergeRefused::NotAdjacent { first_end, second: Position::At(0) });
    assert_eq!((first.len_bytes(), other.len_bytes()), (4096, 512));

    let reads = Request::new(lease(&[(0x9000, 512)]), Direction::FromDevice, Position::At(8192), told.by(3));
    let (first, reads, why) = first.merge(reads, &limits).unwrap_err();
    assert_eq!(why, MergeRefused::Direction);
    drop((other, reads));

    let next = write_at(8192, &[(0x2000, 4096), (0x8000, 512)], told.by(4));
    let merged = first.merge(next, &limits).unwrap();
    assert_eq!(merged.position(), Position::At(4096));
    assert_eq!(pairs(merged.lease().list()), [(0x1000, 8192), (0x8000, 512)]);

    let stream = Request::new(lease(&[(0x1000, 1)]), Direction::ToDevice, Position::Stream, told.by(5));
    let behind = Request::new(lease(&[(0x3000, 1)]), Direction::ToDevice, Position::Stream, told.by(6));
    assert_eq!(stream.merge(behind, &limits).unwrap().len_bytes(), 2);
    assert_eq!(told.take(), [], "a plain completion is told by its request alone");
}

#[test]
fn merge_keeps_the_limits() {
    let refused = |limits: &Limits, a: &[(u64, u64)], b: &[(u64, u64)]| {
        let len: u64 = a.iter().map(|segment| segment.1).sum();
        match write_at(0, a, ()).merge(write_at(len, b, ()), limits) {
            Ok(_) => None,
            Err((a, _, MergeRefused::Limit { limit })) => {
                assert_eq!(a.len_bytes(), len);
                Some(limit)
            }
            Err((_, _, other)) => panic!("{other}"),
        }
    };
    let one = |id, value| Limits::builder().hard(id, value).build().unwrap();
    let segments = one(LimitId::SegmentsMax, 2);
    assert_eq!(refused(&segments, &[(0x1000, 512)], &[(0x3000, 512)]), None);
    assert_eq!(
        refused(&segments, &[(0x1000, 512)], &[(0x3000, 512), (0x5000, 512)]),
        Some(LimitId::SegmentsMax)
    );
    let len = one(LimitId::TransferLenMax, 8192);
    assert_eq!(refused(&len, &[(0x1000, 4096)], &[(0x3000, 4096)]), None);
    assert_eq!(refused(&len, &[(0x1000, 4096)], &[(0x3000, 4097)]), Some(LimitId::TransferLenMax));
    let chunk = one(LimitId::ChunkLen, 4096);
    assert_eq!(refused(&chunk, &[(0x1000, 4096)], &[(0x3000, 512)]), Some(LimitId::ChunkLen));
    let gap = one(LimitId::GapBoundary, 4096);
    assert_eq!(refused(&gap, &[(0x1200, 0xe00)], &[(0x3000, 512)]), None);
    assert_eq!(refused(&gap, &[(0x1000, 512)], &[(0x3000, 512)]), Some(LimitId::GapBoundary));
    // Two segments that become one at the seam: longer than either.
    let longest = one(LimitId::SegmentLenMax, 4096);
    assert_eq!(refused(&longest, &[(0x1000, 4096)], &[(0x3000, 4096)]), None);
    assert_eq!(refused(&longest, &[(0x1000, 4096)], &[(0x2000, 4096)]), Some(LimitId::SegmentLenMax));
    let boundary = one(LimitId::SegmentBoundary, 0x2000);
    assert_eq!(refused(&boundary, &[(0x1000, 4096)], &[(0x2000, 4096)]), Some(LimitId::SegmentBoundary));
    // One segment again, though each side brings one.
    let single = one(LimitId::SegmentsMax, 1);
    assert_eq!(refused(&single, &[(0x1000, 4096)], &[(0x2000, 4096)]), None);
}

#[test]
fn a_merged_completion_is_split_to_its_requests() {
    let merged = |told: &Told| {
        let request = write_at(0, &[(0x1000, 1000)], told.by(1));
        let request =
            request.merge(write_at(1000, &[(0x3000, 500)], told.by(2)), &Limits::default()).unwrap();
        request.merge(write_at(1500, &[(0x5000, 500)], told.by(3)), &Limits::default()).unwrap()
    };
    let told = Told::default();
    let lease = merged(&told).complete(Outcome::whole(2000));
    assert_eq!(lease.list().len_bytes(), 2000);
    assert_eq!(told.take(), [(1, Outcome::whole(1000)), (2, Outcome::whole(500)), (3, Outcome::whole(500))]);
    merged(&told).complete(failed(2000, 1200, 1200));
    assert_eq!(told.take(), [(1, Outcome::whole(1000)), (2, failed(500, 200, 200)), (3, failed(500, 0, 0))]);
}

#[test]
fn headers_and_trailers_are_not_counted_as_payload() {
    let told = Told::default();
    let wrapped = || {
        let request = write_at(4096, &[(0x1000, 1000)], told.by(1));
        let request = request.with_header(lease(&[(0x9000, 31)])).unwrap();
        request.with_trailer(lease(&[(0xa000, 13)])).unwrap()
    };
    let request = wrapped();
    assert_eq!(request.position(), Position::At(4096));
    assert_eq!(pairs(request.lease().list()), [(0x9000, 31), (0x1000, 1000), (0xa000, 13)]);
    assert!(request.completion().is_none());
    let lease = request.complete(Outcome::whole(1044));
    assert_eq!(lease.into_owners().count(), 3);
    assert_eq!(told.take(), [(1, Outcome::whole(1000))]);
    wrapped().complete(failed(1044, 31, 31));
    assert_eq!(told.take(), [(1, failed(1000, 0, 0))]);
    wrapped().complete(failed(1044, 531, 531));
    assert_eq!(told.take(), [(1, failed(1000, 500, 500))]);
    // All of the payload was moved; what failed is the trailer.
    wrapped().complete(failed(1044, 1031, 1031));
    assert_eq!(told.take(), [(1, Outcome::whole(1000))]);
    let (_, completions) = wrapped().into_parts();
    assert_eq!(completions.map(|teller| teller.id).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_split_request_completes_once_both_sides_are_done() {
    let told = Told::default();
    let request = write_at(1 << 20, &[(0x1000, 4096), (0x9000, 4096)], told.by(1)).into_shared();
    let (request, error) = request.split_at(0).unwrap_err();
    assert_eq!((error.bytes, error.at), (8192, 0));
    let (request, _) = request.split_at(8192).unwrap_err();
    let (request, _) = request.split_at(u64::MAX).unwrap_err();
    assert_eq!(request.len_bytes(), 8192);
    let (front, back) = request.split_at(5000).unwrap();
    assert_eq!(pairs(front.lease().list()), [(0x1000, 4096), (0x9000, 904)]);
    assert_eq!(pairs(back.lease().list()), [(0x9000 + 904, 3192)]);
    assert_eq!(back.position(), Position::At((1 << 20) + 5000));
    back.complete(failed(3192, 100, 64));
    assert_eq!(told.take(), []);
    front.complete(Outcome::whole(5000));
    assert_eq!(told.take(), [(1, failed(8192, 5100, 5064))]);
}

#[test]
fn the_first_fault_in_time_wins() {
    let told = Told::default();
    let request = write_at(0, &[(0x1000, 3000)], told.by(7)).into_shared();
    let (a, rest) = request.split_at(1000).unwrap();
    let (b, c) = rest.split_at(1000).unwrap();
    let status = |status, at| Outcome { asked: 1000, done: 10, fault: Some(Fault { at, status }) };
    c.complete(status(Status::Device(9), 3));
    b.complete(status(Status::Errno(5), 2));
    a.complete(Outcome { asked: 1000, done: 999, fault: None });
    let fault = Some(Fault { at: 2003, status: Status::Device(9) });
    assert_eq!(told.take(), [(7, Outcome { asked: 3000, done: 1019, fault })]);
}

#[test]
fn a_dropped_share_counts_as_cancelled() {
    let told = Told::default();
    let (front, back) = write_at(0, &[(0x1000, 3000)], told.by(1)).into_shared().split_at(1000).unwrap();
    drop(back);
    assert_eq!(told.take(), []);
    front.complete(Outcome::whole(1000));
    let fault = Some(Fault { at: 1000, status: Status::Cancelled });
    assert_eq!(told.take(), [(1, Outcome { asked: 3000, done: 1000, fault })]);

    let mut share = Shared::new(100, told.by(2));
    let nothing = share.fork(100);
    drop(nothing);
    share.complete(Outcome::whole(100));
    assert_eq!(told.take(), [(2, Outcome::whole(100))], "a share of no bytes was cancelled for nothing");
}

#[test]
fn a_completion_shared_by_threads_fires_once_with_all_bytes() {
    const PARTS: u64 = 64;
    for round in 0..50 {
        let told = Told::default();
        let mut rest = write_at(0, &[(0x1000, PARTS * 512)], told.by(1)).into_shared();
        let mut parts = Vec::new();
        for _ in 1..PARTS {
            let (part, after) = rest.split_at(512).unwrap();
            parts.push(part);
            rest = after;
        }
        parts.push(rest);
        std::thread::scope(|scope| {
            for (index, part) in parts.into_iter().enumerate() {
                scope.spawn(move || match index % 4 {
                    0 if round % 2 == 1 => drop(part),
                    1 if round % 2 == 1 => drop(part.complete(failed(512, 100, 50))),
                    _ => drop(part.complete(Outcome::whole(512))),
                });
            }
        });
        let told = told.take();
        assert_eq!(told.len(), 1);
        let (_, outcome) = told[0];
        assert_eq!(outcome.asked, PARTS * 512);
        if round % 2 == 0 {
            assert_eq!(outcome, Outcome::whole(PARTS * 512));
        } else {
            assert_eq!(outcome.done, 16 * 100 + 32 * 512);
            let fault = outcome.fault.unwrap();
            match fault.status {
                Status::Cancelled => assert_eq!(fault.at % 2048, 0),
                status => assert_eq!((status, fault.at % 2048), (ERRNO, 512 + 50)),
            }
        }
    }
}

#[test]
fn owners_are_freed_once_whatever_is_joined_and_split() {
    let frees: Vec<Arc<AtomicUsize>> = (0..3).map(|_| Arc::default()).collect();
    let counts = || frees.iter().map(|count| count.load(Ordering::SeqCst)).collect::<Vec<_>>();
    let mut whole = lease_of(list(&[(0, 1000)]), &frees[0]);
    for (index, count) in frees.iter().enumerate().skip(1) {
        let at = u64::try_from(index).unwrap() * 0x10000;
        whole = whole.join(lease_of(list(&[(at, 1000)]), count)).unwrap();
    }
    assert_eq!(whole.list().len_bytes(), 3000);
    let (whole, error) = whole.split_at(3000).unwrap_err();
    assert_eq!((error.bytes, error.at), (3000, 3000));
    // Inside the second owner's bytes, so both sides hold it.
    let (front, back) = whole.split_at(1500).unwrap();
    assert!(Arc::ptr_eq(back.owner(), &front.into_owners().nth(1).unwrap()));
    assert_eq!(counts(), [1, 0, 0]);
    // On the edge of the third: nothing is shared.
    let (second, third) = back.split_at(500).unwrap();
    drop(second);
    assert_eq!(counts(), [1, 1, 0]);
    assert_eq!(third.into_owners().count(), 1);
    assert_eq!(counts(), [1, 1, 1]);
}

#[test]
fn join_past_64_bits_gives_both_back() {
    let huge = || lease(&[(0, (1 << 63) - 1), (0, (1 << 63) - 1)]);
    let (a, b, error) = huge().join(huge()).unwrap_err();
    assert_eq!((error.bytes, error.adding), (u64::MAX - 1, u64::MAX - 1));
    assert_eq!((a.list().len_bytes(), b.list().len_bytes()), (u64::MAX - 1, u64::MAX - 1));
    let request = Request::new(a, Direction::ToDevice, Position::Stream, ());
    let (request, header) = request.with_header(b).unwrap_err();
    assert_eq!((request.len_bytes(), header.list().len_segments()), (u64::MAX - 1, 2));
    let next = Request::new(header, Direction::ToDevice, Position::Stream, ());
    assert!(matches!(request.merge(next, &Limits::default()), Err((_, _, MergeRefused::TooLong))));
}

#[test]
fn owned_bytes_come_back_as_they_were() {
    let mut bytes = Vec::with_capacity(100);
    bytes.extend_from_slice(b"payload");
    let (pointer, capacity) = (bytes.as_ptr(), bytes.capacity());
    let lease = Lease::from_vec(bytes).unwrap();
    assert_eq!(lease.list().len_bytes(), 7);
    assert_eq!(lease.list().first().unwrap().addr().as_ptr().cast_const(), pointer);
    let back = lease.into_vecs().next().unwrap();
    assert_eq!((back.as_slice(), back.as_ptr(), back.capacity()), (&b"payload"[..], pointer, capacity));
    let (empty, _) = Lease::from_vec(Vec::with_capacity(16)).unwrap_err();
    assert_eq!((empty.len(), empty.capacity()), (0, 16));
    assert_eq!(Lease::from_box(Box::new([1, 2, 3])).unwrap().list().len_bytes(), 3);
}

#[test]
fn forgetting_leaks_and_frees_nothing() {
    let frees: Arc<AtomicUsize> = Arc::default();
    std::mem::forget(lease_of(list(&[(0, 1000)]), &frees));
    let (front, back) = lease_of(list(&[(0, 1000)]), &frees).split_at(10).unwrap();
    std::mem::forget(front);
    drop(back);
    assert_eq!(frees.load(Ordering::SeqCst), 0, "the forgotten side still holds the memory");
    let told = Told::default();
    std::mem::forget(write_at(0, &[(0x1000, 10)], told.by(1)).into_shared());
    assert_eq!(told.take(), []);
}

#[test]
fn stripes_refuse_what_has_no_layout() {
    assert!(matches!(Stripes::new(0, 4), Err(StripeError::Layout { chunk_len: 0, members: 4 })));
    assert!(matches!(Stripes::new(512, 0), Err(StripeError::Layout { .. })));
    let stream = Request::new(lease(&[(0x1000, 10)]), Direction::ToDevice, Position::Stream, ());
    let (back, error) = stream.into_shared().into_stripes(Stripes::new(512, 2).unwrap()).unwrap_err();
    assert_eq!((back.unwrap().len_bytes(), error), (10, StripeError::Stream));
}

proptest! {
    /// Every byte arrives at the member and the place that RAID-0 gives it, from the address it had.
    #[test]
    fn stripes_equal_the_byte_model(
        at in 0..5000_u64,
        chunk in 1..700_u64,
        members in 1..6_usize,
        segments in prop::collection::vec((0..50_u64, 1..900_u64), 1..8),
        lost in 0..8_usize,
    ) {
        let segments: Vec<(u64, u64)> = segments
            .iter()
            .zip(0_u64..)
            .map(|((gap, len), index)| (index * 0x1000 + gap, *len))
            .collect();
        let told = Told::default();
        let request = write_at(at, &segments, told.by(1)).into_shared();
        let bytes = request.len_bytes();
        let mut model: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        let addrs = segments.iter().flat_map(|&(addr, len)| addr..addr + len);
        for (byte, addr) in (at..).zip(addrs) {
            let row = byte / chunk / (members as u64);
            let member = usize::try_from(byte / chunk % (members as u64)).unwrap();
            model.insert((member, row * chunk + byte % chunk), addr);
        }

        let parts = request.into_stripes(Stripes::new(chunk, members).unwrap()).unwrap();
        prop_assert!(parts.len() <= members);
        let mut got = BTreeMap::new();
        let mut done = 0;
        for (index, part) in parts.into_iter().enumerate() {
            let Position::At(start) = part.request.position() else { panic!("a stream") };
            let list = part.request.lease().list();
            let addrs = list.iter().flat_map(|segment| segment.addr().raw()..segment.end());
            for (byte, addr) in (start..).zip(addrs) {
                prop_assert!(got.insert((part.member, byte), addr).is_none());
            }
            let len = list.len_bytes();
            prop_assert!(told.take().is_empty());
            if index == lost {
                drop(part.request);
            } else {
                part.request.complete(Outcome::whole(len));
                done += len;
            }
        }
        prop_assert_eq!(got, model);
        let told = told.take();
        prop_assert_eq!(told.len(), 1);
        let outcome = told[0].1;
        prop_assert_eq!((outcome.asked, outcome.done), (bytes, done));
        prop_assert_eq!(outcome.fault.is_some(), done != bytes);
    }

    /// Owners stay in step with the bytes through any sequence of joins and splits.
    #[test]
    fn lease_owners_stay_in_step(
        lens in prop::collection::vec(1..100_u64, 1..10),
        cuts in prop::collection::vec(1..200_u64, 0..10),
    ) {
        let frees: Vec<Arc<AtomicUsize>> = lens.iter().map(|_| Arc::default()).collect();
        let mut whole: Option<Lease<PhysAddr, Owner>> = None;
        for ((len, index), count) in lens.iter().zip(0_u64..).zip(&frees) {
            let next = lease_of(list(&[(index << 16, *len)]), count);
            whole = Some(match whole {
                Some(whole) => whole.join(next).unwrap(),
                None => next,
            });
        }
        let mut parts = Vec::new();
        let mut rest = whole.unwrap();
        for cut in cuts {
            match rest.split_at(cut) {
                Ok((part, after)) => {
                    parts.push(part);
                    rest = after;
                }
                Err((back, _)) => rest = back,
            }
        }
        parts.push(rest);
        for part in parts {
            // The owners of a part are those whose addresses it holds, in order.
            let expected: Vec<usize> = {
                let mut ids: Vec<usize> =
                    part.list().iter().map(|segment| (segment.addr().raw() >> 16) as usize).collect();
                ids.dedup();
                ids
            };
            let owners: Vec<Owner> = part.into_owners().collect();
            prop_assert_eq!(owners.len(), expected.len());
            for (owner, index) in owners.iter().zip(expected) {
                prop_assert!(Arc::ptr_eq(&owner.0, &frees[index]));
                prop_assert_eq!(frees[index].load(Ordering::SeqCst), 0);
            }
        }
        for count in &frees {
            prop_assert_eq!(count.load(Ordering::SeqCst), 1);
        }
    }
}

#[test]
fn requests_with_different_completions_are_of_one_type() {
    type Any = Box<dyn FnOnce(Outcome)>;
    let told = Told::default();
    let (first, second) = (told.by(1), told.by(2));
    let completions: [Any; 2] = [
        Box::new(move |outcome| first.complete(outcome)),
        Box::new(move |outcome: Outcome| second.complete(Outcome { done: 0, ..outcome })),
    ];
    for completion in completions {
        drop(write_at(0, &[(0x1000, 512)], completion).complete(Outcome::whole(512)));
    }
    let nothing = Outcome { done: 0, ..Outcome::whole(512) };
    assert_eq!(told.take(), [(1, Outcome::whole(512)), (2, nothing)]);
}
