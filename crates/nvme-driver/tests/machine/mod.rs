//! A machine with one controller: fake memory, a bus, the checker, the controller in software. Every test ends by asking all of
//! them for what they found.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "says that a controller is driven by the test alone")]
#![expect(dead_code, reason = "each test uses a part of it")]

use std::cell::RefCell;
use std::rc::Rc;

use nvme_driver::fake::{FakeController, Setup};
use nvme_driver::{Controller, Done, InitError, IoQueue, Namespace, Options};
use scatterlist::fake::{Bus, Device, FakeMemory, FakeOwner};
use scatterlist::map::checked::{Checked, Finding};
use scatterlist::map::{Direct, Offset};
use scatterlist::plan::plan;
use scatterlist::{
    Addr as _, CacheCoherence, Complete, Direction, Lease, Limits, Outcome, PhysAddr, Position, Request,
    Shared,
};

pub(crate) const BASE: u64 = 0x100_0000;
pub(crate) const MEMORY_LEN: u64 = 48 << 20;
/// Where the tests' own frames begin; below are queues and list pages.
pub(crate) const FRAMES: u64 = BASE + (8 << 20);
pub(crate) const PAGE: u64 = 4096;

pub(crate) type Memory = FakeMemory<PhysAddr>;
pub(crate) type FakeBus<'m> = Bus<Direct<&'m Memory>>;
pub(crate) type Guard<'m> = Checked<&'m FakeBus<'m>>;
pub(crate) type Fake<'g, 'm> = FakeController<Device<'g, Direct<&'m Memory>>>;
pub(crate) type Driver<'g, 'm> =
    Controller<&'g Fake<'g, 'm>, &'g Fake<'g, 'm>, &'g Guard<'m>, FakeOwner, Shared<Told>>;
pub(crate) type Queue<'g, 'm> =
    IoQueue<&'g Fake<'g, 'm>, &'g Fake<'g, 'm>, &'g Guard<'m>, FakeOwner, Shared<Told>>;
pub(crate) type Space<'g, 'm> = Namespace<&'g Guard<'m>>;
pub(crate) type Transfer = Request<PhysAddr, FakeOwner, Shared<Told>>;
pub(crate) type Back = Done<PhysAddr, FakeOwner, Shared<Told>>;

/// What completions were told: a name and the outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<(u64, Outcome)>>>);

impl Log {
    pub(crate) fn told(&self, name: u64) -> Told {
        Told { log: self.clone(), name }
    }

    pub(crate) fn take(&self) -> Vec<(u64, Outcome)> {
        self.0.take()
    }
}

/// A completion that writes down its outcome.
#[derive(Debug)]
pub(crate) struct Told {
    log: Log,
    name: u64,
}

impl Complete for Told {
    fn complete(self, outcome: Outcome) {
        self.log.0.borrow_mut().push((self.name, outcome));
    }
}

pub(crate) struct Machine<'g, 'm> {
    pub(crate) memory: &'m Memory,
    pub(crate) bus: &'m FakeBus<'m>,
    pub(crate) device: &'g Guard<'m>,
    pub(crate) fake: &'g Fake<'g, 'm>,
    pub(crate) log: Log,
}

/// What a machine found, apart from what it must.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) findings: Vec<Finding>,
    pub(crate) complaints: Vec<String>,
    pub(crate) leased: u64,
    pub(crate) coherent: u64,
    pub(crate) memory: Vec<String>,
    pub(crate) bus: Vec<String>,
}

/// Runs `work` on a machine and returns what was found; the driver is gone by then.
pub(crate) fn found(setup: Setup, coherence: CacheCoherence, work: impl FnOnce(&Machine<'_, '_>)) -> Found {
    let memory = FakeMemory::physical(coherence, BASE, MEMORY_LEN).unwrap().with_quarantine(4 << 20);
    let limits = Limits::builder().coherence(coherence).build().unwrap();
    let bus = Bus::new(Direct::new(&memory, Offset::Up(1 << 33), &limits).unwrap());
    let device = Checked::new(&bus, |findings| assert!(findings.is_empty(), "{findings:?}"));
    let fake = FakeController::new(Device::new(&bus, &limits).watched(&device), setup);
    let machine = Machine { memory: &memory, bus: &bus, device: &device, fake: &fake, log: Log::default() };
    work(&machine);
    device.release();
    Found {
        findings: device.take_findings(),
        complaints: fake.complaints(),
        leased: memory.leased_bytes(),
        coherent: memory.coherent_bytes(),
        memory: memory.check_quarantine().iter().map(ToString::to_string).collect(),
        bus: bus.findings().iter().map(ToString::to_string).collect(),
    }
}

impl Found {
    #[track_caller]
    pub(crate) fn nothing(&self) {
        let clean = self.findings.is_empty()
            && self.complaints.is_empty()
            && self.leased == 0
            && self.coherent == 0
            && self.memory.is_empty()
            && self.bus.is_empty();
        assert!(clean, "{self:#?}");
    }
}

/// Runs `work` on a machine on which nothing may be found in the end.
#[track_caller]
pub(crate) fn on(setup: Setup, work: impl FnOnce(&Machine<'_, '_>)) {
    found(setup, CacheCoherence::Coherent, work).nothing();
}

impl<'g, 'm> Machine<'g, 'm> {
    pub(crate) fn bring_up(&self, options: Options) -> Result<Driver<'g, 'm>, InitError> {
        // SAFETY: the controller is behind this bus, whose accesses are checked; tests drive one at a time.
        unsafe { Controller::new(self.fake, self.fake, self.device, options) }
    }

    /// Pages that are not adjacent, filled with `fill`.
    pub(crate) fn pages(&self, pages: usize, fill: u8) -> Lease<PhysAddr, FakeOwner> {
        let mut lease = self.memory.take_scattered(pages, PAGE, PAGE).unwrap();
        let bytes = vec![fill; lease.list().len_bytes().try_into().unwrap()];
        self.memory.write(&mut lease, 0, &bytes).unwrap();
        lease
    }

    /// A request of such pages at a byte, which tells `name`.
    pub(crate) fn request(
        &self,
        direction: Direction,
        at: u64,
        pages: usize,
        fill: u8,
        name: u64,
    ) -> Transfer {
        let lease = self.pages(pages, fill);
        Request::new(lease, direction, Position::At(at), self.log.told(name)).into_shared()
    }

    pub(crate) fn control(&self, bytes: u64, name: u64) -> Shared<Told> {
        Shared::new(bytes, self.log.told(name))
    }

    /// Rings, lets the controller act, and polls. Completions are told; pieces of memory come back by their position.
    pub(crate) fn drive(&self, queue: &mut Queue<'g, 'm>) -> Vec<(u64, Lease<PhysAddr, FakeOwner>)> {
        queue.ring();
        self.fake.run();
        let mut back = Vec::new();
        queue.poll(|done| back.extend(lease_of(done))).unwrap();
        back
    }

    /// Plans a request for a namespace and does all of it, however long. The memory comes back in order.
    pub(crate) fn transfer(
        &self,
        queue: &mut Queue<'g, 'm>,
        space: &Space<'g, 'm>,
        request: Transfer,
    ) -> Vec<Lease<PhysAddr, FakeOwner>> {
        let mut back = Vec::new();
        for part in cut(space, request) {
            let mut part = Some(part);
            while let Some(request) = part.take() {
                if let Err(failed) = queue.submit(space, request) {
                    assert!(failed.error.is_backpressure(), "{failed}");
                    part = Some(failed.request);
                    back.extend(self.drive(queue));
                }
            }
        }
        while queue.in_flight() > 0 {
            back.extend(self.drive(queue));
        }
        back.sort_by_key(|(at, _)| *at);
        back.into_iter().map(|(_, lease)| lease).collect()
    }

    pub(crate) fn bytes(&self, leases: &[Lease<PhysAddr, FakeOwner>]) -> Vec<u8> {
        leases.iter().flat_map(|lease| self.memory.bytes(lease).unwrap()).collect()
    }
}

/// Tells the completions, and returns memory and position of a request.
pub(crate) fn lease_of(done: Back) -> Option<(u64, Lease<PhysAddr, FakeOwner>)> {
    let position = match &done.finished {
        nvme_driver::Finished::Transfer(request) => request.position(),
        nvme_driver::Finished::Control(..) => Position::At(0),
    };
    let Position::At(at) = position else { panic!("{position:?}") };
    done.complete().map(|lease| (at, lease))
}

/// Cuts a request where the namespace's target says.
pub(crate) fn cut(space: &Space<'_, '_>, request: Transfer) -> Vec<Transfer> {
    let target = space.target();
    let lengths: Vec<u64> =
        plan(request.lease().list(), request.position(), target.list_limits(), target.plan_policy())
            .map(|ready| ready.unwrap().len_bytes())
            .collect();
    let (mut parts, mut rest) = (Vec::new(), Some(request));
    for len in lengths {
        match rest.take().unwrap().split_at(len) {
            Ok((part, after)) => {
                parts.push(part);
                rest = Some(after);
            }
            Err((last, _)) => parts.push(last),
        }
    }
    assert!(rest.is_none());
    parts
}

/// Runs of memory from `start` on: frames that are not adjacent, or one run.
pub(crate) fn runs(start: u64, bytes: u64, scattered: bool) -> Vec<(PhysAddr, u64)> {
    if !scattered {
        return vec![(PhysAddr::new(start), bytes)];
    }
    let (mut runs, mut rest, mut at) = (Vec::new(), bytes, start);
    while rest > 0 {
        let len = rest.min(PAGE - at % PAGE);
        runs.push((PhysAddr::new(at), len));
        rest -= len;
        at = at - at % PAGE + 2 * PAGE;
    }
    runs
}
