//! [`Shared`]: one completion behind several requests fires once, with the exact bytes and a fault that was one.
#![expect(unsafe_code, reason = "a lease over addresses that nobody touches")]

use std::sync::{Arc, Mutex};

use loom::thread;
use scatterlist::plan::{Appender, Policy};
use scatterlist::{
    Addr, Complete, Direction, Fault, Lease, LimitId, Limits, Outcome, PhysAddr, Position, Request,
    ScatterList, Segment, Shared, Status,
};

/// Keeps each outcome. Out of loom's sight: looking at it orders nothing.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<Outcome>>>);

impl Complete for Told {
    fn complete(self, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

impl Told {
    fn only(&self) -> Outcome {
        let told = self.0.lock().unwrap();
        assert_eq!(told.len(), 1, "told once: {told:?}");
        told[0]
    }
}

const SHARE_BYTES: u64 = 100;

fn whole(share: Shared<Told>) {
    share.complete(Outcome::whole(SHARE_BYTES));
}

fn failed(share: Shared<Told>, done: u64, errno: u32) {
    let fault = Fault { at: done, status: Status::Errno(errno) };
    share.complete(Outcome { asked: SHARE_BYTES, done, fault: Some(fault) });
}

/// Ends one share by each of `ends`, the last on this thread and each other on its own; what was told.
fn ended_by<const N: usize>(ends: [fn(Shared<Told>); N]) -> Outcome {
    let told = Told::default();
    let mut rest = Shared::new(SHARE_BYTES * N as u64, told.clone());
    let mut shares = Vec::new();
    for _ in 1..N {
        let back = rest.fork(SHARE_BYTES);
        shares.push(std::mem::replace(&mut rest, back));
    }
    let [first @ .., last] = &ends[..] else { unreachable!("someone ends it") };
    let threads: Vec<_> =
        first.iter().copied().zip(shares).map(|(end, share)| thread::spawn(move || end(share))).collect();
    last(rest);
    for thread in threads {
        thread.join().unwrap();
    }
    told.only()
}

#[test]
fn three_shares_done_at_once_fire_once_with_the_sum() {
    loom::model(|| {
        assert_eq!(ended_by([whole, whole, whole]), Outcome::whole(3 * SHARE_BYTES));
    });
}

#[test]
fn of_two_faults_one_is_told_with_its_own_place() {
    loom::model(|| {
        let outcome = ended_by([|share| failed(share, 10, 5), |share| failed(share, 20, 28)]);
        assert_eq!((outcome.asked, outcome.done), (2 * SHARE_BYTES, 30));
        let fault = outcome.fault.unwrap();
        let first = Fault { at: 10, status: Status::Errno(5) };
        let second = Fault { at: SHARE_BYTES + 20, status: Status::Errno(28) };
        assert!(fault == first || fault == second, "{fault:?}");
    });
}

#[test]
fn a_fault_is_seen_by_whoever_is_last() {
    loom::model(|| {
        let outcome = ended_by([whole, |share| failed(share, 0, 5), whole]);
        assert_eq!(outcome.done, 2 * SHARE_BYTES);
        assert_eq!(outcome.fault, Some(Fault { at: SHARE_BYTES, status: Status::Errno(5) }));
    });
}

#[test]
fn a_share_that_is_dropped_counts_as_cancelled() {
    loom::model(|| {
        let outcome = ended_by([drop, whole]);
        let fault = Fault { at: 0, status: Status::Cancelled };
        assert_eq!(outcome, Outcome { asked: 2 * SHARE_BYTES, done: SHARE_BYTES, fault: Some(fault) });
    });
}

/// A request is split further while its other part is done already.
#[test]
fn a_share_may_be_forked_while_another_ends() {
    loom::model(|| {
        let told = Told::default();
        let mut front = Shared::new(3 * SHARE_BYTES, told.clone());
        let mut back = front.fork(SHARE_BYTES);
        let other = thread::spawn(move || {
            let last = back.fork(SHARE_BYTES);
            whole(last);
            whole(back);
        });
        whole(front);
        other.join().unwrap();
        assert_eq!(told.only(), Outcome::whole(3 * SHARE_BYTES));
    });
}

/// The appender learns the length at the end, while requests that it submitted are done elsewhere.
#[test]
fn an_open_ended_completion_learns_its_length() {
    loom::model(|| {
        let told = Told::default();
        let limits = Limits::builder().hard(LimitId::TransferLenMax, SHARE_BYTES).build().unwrap();
        let mut threads = Vec::new();
        let submit = |request: Request<PhysAddr, Arc<()>, Shared<Told>>| {
            threads.push(thread::spawn(move || drop(request.complete(Outcome::whole(SHARE_BYTES)))));
            Ok::<(), ()>(())
        };
        let (to, at) = (Direction::ToDevice, Position::At(0));
        let mut appender = Appender::new(to, at, &limits, Policy::SplitOrError, told.clone(), submit);
        for _ in 0..2 {
            let segment = Segment::new(PhysAddr::new(0), SHARE_BYTES).unwrap();
            // SAFETY: the model only plans; no memory behind this address is read or written.
            let lease = unsafe { Lease::from_raw(ScatterList::from(segment), Arc::new(())) };
            appender.push(lease).unwrap();
        }
        appender.finish().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(told.only(), Outcome::whole(2 * SHARE_BYTES));
    });
}
