//! A machine for each stack of back ends, and what happens to one request in it.

use proptest::prelude::*;
use scatterlist::desc::PrpFormat;
use scatterlist::fake::{Bus, Device, FakeMemory, FakeOwner, Resolve};
use scatterlist::map::checked::Checked;
use scatterlist::map::iommu::{FourLevelTable, Iommu};
use scatterlist::map::{
    Bounce, BounceLayout, Direct, DmaDevice, DmaPool, Offset, PoolLayout, TargetError, prepare,
};
use scatterlist::plan::{PlanError, plan};
use scatterlist::{
    Addr as _, CacheCoherence, Complete, Direction, DmaTarget, Lease, LimitId, Limits, Outcome, PhysAddr,
    Position, Request, Segment,
};

use crate::ways::{Format, PAGE, SGL, Way};

/// Where the memory of a machine lies: three arenas, of which the second straddles 4 GiB and the third lies above.
const ARENAS: [u64; 3] = [0x100_0000, 0xffff_0000, 0x2_0000_0000];
/// Below 4 GiB, for bounce pools.
const POOL: u64 = 0x4000_0000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stack {
    Direct,
    Up,
    Iommu,
    Bounce,
    BounceUp,
    BounceIommu,
}

impl Stack {
    const fn bounces(self) -> bool {
        matches!(self, Self::Bounce | Self::BounceUp | Self::BounceIommu)
    }

    const fn offset(self) -> Offset {
        // A multiple of every boundary here but one: so boundaries move, alignments do not.
        if matches!(self, Self::Up | Self::BounceUp) { Offset::Up(0x1000_8000) } else { Offset::NONE }
    }
}

/// One request and the limits of its device.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Pairs of a hole and a run behind it.
    pub(crate) runs: Vec<(u64, u64)>,
    pub(crate) first: u64,
    /// Bytes of an arena.
    pub(crate) arena_len: u64,
    /// Which arena.
    pub(crate) high: u64,
    pub(crate) to_device: bool,
    pub(crate) synced: bool,
    pub(crate) checked: bool,
    pub(crate) format: Format,
    pub(crate) addr_max: u64,
    pub(crate) boundary: u64,
    pub(crate) longest: u64,
    pub(crate) align: u64,
    pub(crate) offset_mask: u64,
    pub(crate) transfer: u64,
}

type Memory = FakeMemory<PhysAddr>;

impl Case {
    fn limits(&self) -> Result<Limits, TestCaseError> {
        let coherence = if self.synced { CacheCoherence::Synced } else { CacheCoherence::Coherent };
        let own = Limits::builder()
            .coherence(coherence)
            .hard(LimitId::AddrMax, self.addr_max)
            .hard(LimitId::SegmentBoundary, self.boundary)
            .hard(LimitId::SegmentLenMax, self.longest)
            .hard(LimitId::AddrAlign, self.align)
            .hard(LimitId::BounceOffsetMask, self.offset_mask)
            .hard(LimitId::TransferLenMax, self.transfer)
            .build();
        let own = own.map_err(|error| TestCaseError::reject(error.to_string()))?;
        own.stack(&self.format.limits()).map_err(|error| TestCaseError::reject(error.to_string()))
    }

    fn memory(&self) -> Memory {
        let coherence = if self.synced { CacheCoherence::Synced } else { CacheCoherence::Coherent };
        let [low, middle, high] = ARENAS;
        let len = self.arena_len;
        FakeMemory::physical(coherence, low, len)
            .unwrap()
            .with_arena(middle, len)
            .unwrap()
            .with_arena(high, len)
            .unwrap()
            .with_arena(POOL, 4 * len)
            .unwrap()
    }

    fn lease(&self, memory: &Memory) -> Lease<PhysAddr, FakeOwner> {
        let mut at = ARENAS[usize::try_from(self.high).unwrap()] + self.first;
        let mut runs = Vec::new();
        for &(hole, len) in &self.runs {
            at += hole;
            runs.push((PhysAddr::new(at), len));
            at += len;
        }
        memory.take_at(&runs).unwrap()
    }

    pub(crate) fn run(&self, stack: Stack) -> Result<(), TestCaseError> {
        let limits = self.limits()?;
        let memory = &self.memory();
        match stack {
            Stack::Direct | Stack::Up | Stack::Bounce | Stack::BounceUp => {
                let direct = Direct::new(memory, stack.offset(), &limits);
                self.on_bus(stack, memory, &Bus::new(reject_bus(direct)?), &limits)
            }
            Stack::Iommu | Stack::BounceIommu => {
                let iommu = Iommu::new(memory, FourLevelTable::new(256), &limits);
                let bus = Bus::new(reject_bus(iommu)?);
                self.on_bus(stack, memory, &bus, &limits)
            }
        }
    }

    fn on_bus<D: Resolve<Addr = PhysAddr>>(
        &self,
        stack: Stack,
        memory: &Memory,
        bus: &Bus<D>,
        limits: &Limits,
    ) -> Result<(), TestCaseError> {
        let hardware = &Device::new(bus, limits);
        if stack.bounces() {
            let pool = memory.take_at(&[(PhysAddr::new(POOL), 2 * self.arena_len)]).unwrap();
            let layout = BounceLayout { slot_len: 2048, set_slots: 128 };
            let bounce = &Bounce::new(bus, pool, layout).map_err(|failed| failed.error).unwrap();
            self.perhaps_checked(stack, memory, bounce, hardware)?;
            prop_assert_eq!(bounce.free_bytes(), bounce.pool_bytes());
            Ok(())
        } else {
            self.perhaps_checked(stack, memory, bus, hardware)
        }
    }

    fn perhaps_checked<B: DmaDevice<Addr = PhysAddr>, D: Resolve>(
        &self,
        stack: Stack,
        memory: &Memory,
        device: B,
        hardware: &Device<'_, D>,
    ) -> Result<(), TestCaseError> {
        if !self.checked {
            return self.transfer(stack, memory, device, hardware);
        }
        let checked = &Checked::new(device, |findings| assert!(findings.is_empty(), "{findings:?}"));
        self.transfer(stack, memory, checked, hardware)?;
        let findings = checked.release();
        prop_assert!(findings.is_empty(), "{:?}", findings);
        Ok(())
    }

    fn transfer<B: DmaDevice<Addr = PhysAddr>, D: Resolve>(
        &self,
        stack: Stack,
        memory: &Memory,
        device: B,
        hardware: &Device<'_, D>,
    ) -> Result<(), TestCaseError> {
        let pages = PoolLayout { len: 4096, align: 4096, boundary: 4096, slab_len: 16_384, objects_max: 64 };
        let pool = DmaPool::new(device.clone(), pages).unwrap();
        let target = device.target().with_pool(&pool);
        let mut lease = self.lease(memory);
        let before: Vec<u8> = (0..lease.list().len_bytes()).map(|at| pattern(at, 1)).collect();
        memory.write(&mut lease, 0, &before).unwrap();
        let direction = if self.to_device { Direction::ToDevice } else { Direction::FromDevice };
        let request = Request::new(lease, direction, Position::At(0), ()).into_shared();

        let mut lengths = Vec::new();
        let planned =
            plan(request.lease().list(), Position::At(0), target.list_limits(), target.plan_policy());
        for ready in planned {
            match ready {
                Ok(ready) => lengths.push(ready.len_bytes()),
                // Without a pool some lists cannot be; the planner says which, and why.
                Err(PlanError::Unsatisfiable { .. } | PlanError::Refused { .. }) if !stack.bounces() => {
                    return Err(TestCaseError::reject("no plan without a bounce"));
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        let mut rest = Some(request);
        let mut at = 0;
        let mut back: Option<Lease<PhysAddr, FakeOwner>> = None;
        for len in lengths {
            let whole = rest.take().unwrap();
            let part = match whole.split_at(len) {
                Ok((part, after)) => {
                    rest = Some(after);
                    part
                }
                Err((last, _)) => last,
            };
            let lease = match self.format {
                Format::Prp { .. } => {
                    let format = PrpFormat::new(PAGE).unwrap();
                    self.one(&target, part, &format, hardware, &before, at)?
                }
                Format::Sgl { .. } => self.one(&target, part, &SGL, hardware, &before, at)?,
            };
            at += len;
            back = Some(match back {
                None => lease,
                Some(back) => back.join(lease).map_err(|_| TestCaseError::fail("too long"))?,
            });
        }
        let after = memory.bytes(&back.unwrap()).unwrap();
        let seed = if self.to_device { 1 } else { 2 };
        let expected: Vec<u8> =
            (0..u64::try_from(before.len()).unwrap()).map(|at| pattern(at, seed)).collect();
        prop_assert!(after == expected, "bytes differ from {:?}", first_difference(&after, &expected));
        prop_assert_eq!(pool.objects_out(), 0);
        let findings = (memory.check_quarantine(), hardware.findings());
        prop_assert!(findings.0.is_empty() && findings.1.is_empty(), "{:?}", findings);
        Ok(())
    }

    /// Moves one device-ready request and returns its memory.
    fn one<B: DmaDevice<Addr = PhysAddr>, D: Resolve, C: Complete, F: Way>(
        &self,
        target: &DmaTarget<B, &DmaPool<B>>,
        part: Request<PhysAddr, FakeOwner, C>,
        format: &F,
        hardware: &Device<'_, D>,
        before: &[u8],
        at: u64,
    ) -> Result<Lease<PhysAddr, FakeOwner>, TestCaseError> {
        let bytes = part.len_bytes();
        let range = usize::try_from(at).unwrap()..usize::try_from(at + bytes).unwrap();
        let prepared = prepare(target, part, format);
        let prepared = prepared.map_err(|failed| TestCaseError::fail(format!("{:?}", failed.error)))?;
        let flight = prepared.into_flight();
        let runs = format.walk(hardware, flight.command(), bytes)?;
        prop_assert_eq!(runs.iter().map(Segment::len).sum::<u64>(), bytes);
        if self.to_device {
            let collected = hardware.gather(&runs[..]).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let expected = &before[range];
            prop_assert!(collected == expected, "differs at {:?}", first_difference(&collected, expected));
        } else {
            let new: Vec<u8> = (at..at + bytes).map(|at| pattern(at, 2)).collect();
            hardware.scatter(&runs[..], &new).map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
        let done = flight.reclaim(hardware).map_err(|_| TestCaseError::fail("still in flight"))?;
        Ok(done.unprepare().complete(Outcome::whole(bytes)))
    }
}

fn reject_bus<D>(made: Result<D, TargetError>) -> Result<D, TestCaseError> {
    made.map_err(|error| TestCaseError::reject(error.to_string()))
}

fn pattern(at: u64, seed: u64) -> u8 {
    let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed.wrapping_mul(0xff51_afd7_ed55_8ccd));
    u8::try_from(mixed >> 56).unwrap()
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}
