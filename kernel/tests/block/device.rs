//! A block device that does what it has in order, as much as it is told to, between fake memory and bytes of its own.
#![expect(unsafe_code, reason = "the device reaches memory that is leased to it")]

use std::collections::VecDeque;
use std::fmt;

use kernel::block::{BlockDevice, BlockRequest, Refused, Retry};
use scatterlist::fake::FakeOwner;
use scatterlist::plan::{Policy, plan};
use scatterlist::{Complete, Direction, Fault, Lease, Limits, Outcome, PhysAddr, Position, Request, Status};

use super::common::{Memory, Owned};

/// Why it takes nothing.
#[derive(Debug)]
pub(crate) struct Refusal(&'static str);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Refusal {}

#[derive(Debug)]
pub(crate) struct Disk<'m, C> {
    memory: &'m Memory,
    limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) bytes: Vec<u8>,
    /// Commands that it has room for.
    pub(crate) slots: usize,
    taken: VecDeque<Request<PhysAddr, FakeOwner, C>>,
    /// Of these, commands that it was told of.
    known: usize,
    /// Commands that it does when it is polled.
    pub(crate) pace: usize,
    pub(crate) kicks: usize,
    /// Bytes of the commands that it took.
    pub(crate) lengths: Vec<u64>,
    /// Fails what it does.
    pub(crate) fails: bool,
    /// Takes nothing, ever.
    pub(crate) refuses: bool,
    /// Fails itself when it is polled, after it gave back what it did.
    pub(crate) breaks: bool,
}

/// Returns another lease of memory that a request holds.
pub(crate) fn again<C>(request: &Request<PhysAddr, FakeOwner, C>) -> Owned {
    let lease = request.lease();
    // SAFETY: the owners of the request keep the memory, which is fake and behind no reference; all is of one thread.
    unsafe { Lease::from_raw(lease.list().clone(), lease.owner().clone()) }
}

impl<'m, C: Complete> Disk<'m, C> {
    pub(crate) fn new(memory: &'m Memory, limits: Limits, len: usize, slots: usize) -> Self {
        let (bytes, taken, lengths) = (vec![0; len], VecDeque::new(), Vec::new());
        let (known, pace, kicks, fails, refuses) = (0, usize::MAX, 0, false, false);
        let (breaks, policy) = (false, Policy::SplitOrError);
        Self {
            memory,
            limits,
            policy,
            bytes,
            slots,
            taken,
            known,
            pace,
            kicks,
            lengths,
            fails,
            refuses,
            breaks,
        }
    }

    /// Gives back everything that it has, undone.
    pub(crate) fn reset_with(&mut self, back: &mut dyn FnMut(Request<PhysAddr, FakeOwner, C>, Outcome)) {
        self.known = 0;
        for request in self.taken.drain(..) {
            let fault = Some(Fault { at: 0, status: Status::Cancelled });
            let asked = request.len_bytes();
            back(request, Outcome { asked, done: 0, fault });
        }
    }

    fn execute(&mut self, request: &Request<PhysAddr, FakeOwner, C>) {
        let Position::At(at) = request.position() else { panic!() };
        let start = usize::try_from(at).unwrap();
        let place = &mut self.bytes[start..start + usize::try_from(request.len_bytes()).unwrap()];
        let mut lease = again(request);
        match request.direction() {
            Direction::ToDevice => self.memory.read(&lease, 0, place).unwrap(),
            Direction::FromDevice => self.memory.write(&mut lease, 0, place).unwrap(),
        }
    }
}

impl<C: Complete> BlockDevice for Disk<'_, C> {
    type Owner = FakeOwner;
    type Completion = C;
    type SubmitError = Refusal;
    type Error = Refusal;

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn plan_policy(&self) -> Policy {
        self.policy
    }

    fn submit(&mut self, request: BlockRequest<Self>) -> Result<(), Refused<BlockRequest<Self>, Refusal>> {
        if self.refuses {
            return Err(Refused { request, retry: Retry::Never, error: Refusal("it takes nothing") });
        }
        if self.taken.len() >= self.slots {
            return Err(Refused { request, retry: Retry::Later, error: Refusal("it is full") });
        }
        let list = request.lease().list();
        let bounces = self.policy == Policy::SplitOrBounce;
        let policy = if bounces { Policy::WholeOrBounce } else { Policy::WholeOrError };
        assert_eq!(plan(list, request.position(), &self.limits, policy).count(), 1);
        assert!(plan(list, request.position(), &self.limits, policy).all(|one| one.is_ok()));
        self.lengths.push(request.len_bytes());
        self.taken.push_back(request);
        Ok(())
    }

    fn kick(&mut self) {
        self.kicks += 1;
        self.known = self.taken.len();
    }

    fn poll_with(&mut self, back: &mut dyn FnMut(BlockRequest<Self>, Outcome)) -> Result<usize, Refusal> {
        let count = self.pace.min(self.known);
        for request in self.taken.drain(..count).collect::<Vec<_>>() {
            self.known -= 1;
            let asked = request.len_bytes();
            if self.fails {
                let fault = Some(Fault { at: 0, status: Status::Device(7) });
                back(request, Outcome { asked, done: 0, fault });
                continue;
            }
            self.execute(&request);
            back(request, Outcome::whole(asked));
        }
        if self.breaks {
            return Err(Refusal("it is broken"));
        }
        Ok(count)
    }
}
