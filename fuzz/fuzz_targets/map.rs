//! Mappings on a fake machine: any limits, any memory, any stack of back ends (an offset, an IOMMU, a bounce pool on either),
//! any order of calls. What the device finds is what the list holds, what the CPU finds is what the device wrote, or there is
//! an error; the machine has nothing to say against it, and nothing is left in the end.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use scatterlist::fake::{Bus, Device, FakeFault, FakeMemory, FakeOwner, Resolve, Work};
use scatterlist::map::iommu::{FourLevelTable, Iommu, table};
use scatterlist::map::{
    Both, Bounce, BounceLayout, Coherent, CoherentLayout, Direct, DmaDevice, DmaDirection, FromDevice,
    InFlight, MapDirection, MapError, MapResult, Mapped, Offset, ToDevice,
};
use scatterlist::{Addr as _, CacheCoherence, DmaTarget, Lease, LimitId, Limits, MapPolicy, PhysAddr};
use scatterlist_fuzz as fuzz;
use scatterlist_fuzz::mapped::{Model, check};

/// Where memory lies: the second arena straddles 4 GiB, the third lies above.
const ARENAS: [u64; 3] = [0x100_0000, 0xffff_e000, 0x2_0000_0000];
const ARENA_LEN: u64 = 0x4000;
/// Memory for bounce pools, below 4 GiB.
const POOL: u64 = 0x4000_0000;
const POOL_LEN: u64 = 0x8000;
/// Mappings at a time.
const MAPPINGS_MAX: usize = 4;

fuzz_target!(|data: &[u8]| {
    // Too few bytes is not a case.
    let _ = one(&mut Unstructured::new(data));
});

type Memory = FakeMemory<PhysAddr>;

fn one(input: &mut Unstructured<'_>) -> Result<()> {
    let Some(limits) = limits(input)? else { return Ok(()) };
    // Syncs go to caches that are there.
    let synced = limits.memory().coherence() == CacheCoherence::Synced;
    let coherence = if synced { CacheCoherence::Synced } else { CacheCoherence::Coherent };
    let [low, middle, high] = ARENAS;
    let memory = &Memory::physical(coherence, low, ARENA_LEN)
        .and_then(|memory| memory.with_arena(middle, ARENA_LEN)?.with_arena(high, ARENA_LEN))
        .and_then(|memory| memory.with_arena(POOL, POOL_LEN))
        .expect("the arenas are apart")
        .with_quarantine(ARENA_LEN);
    if input.arbitrary()? {
        let offset = match input.int_in_range(0..=7)? {
            4 => Offset::Up(fuzz::number(input)?),
            5 => Offset::Down(fuzz::number(input)?),
            6 => Offset::Up(u64::from(input.arbitrary::<u8>()?) << 12),
            7 => Offset::Down(u64::from(input.arbitrary::<u8>()?) << 12),
            _ => Offset::NONE,
        };
        match Direct::new(memory, offset, &limits) {
            Ok(direct) => on_bus(input, memory, &Bus::new(direct), &limits)?,
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    } else {
        let sizes = *input.choose(&[table::PAGE_SIZES, table::PAGE_SIZES, 4096, 1 << 21])?;
        let tables = *input.choose(&[256, 256, 256, 256, 6, 4, 3, 0])?;
        let table = FourLevelTable::with_page_sizes(sizes, tables).expect("a part of the page sizes");
        match Iommu::new(memory, table, &limits) {
            Ok(iommu) => {
                let bus = Bus::new(iommu);
                on_bus(input, memory, &bus, &limits)?;
                assert_eq!(bus.inner().bytes_out(), 0, "bus addresses are left");
                assert_eq!(bus.inner().with_table(|table| table.pages().count()), 0, "pages are left");
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let findings = memory.check_quarantine();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!((memory.leased_bytes(), memory.coherent_bytes()), (0, 0), "memory is left");
    Ok(())
}

/// Limits of any numbers, or of such that a device may have.
fn limits(input: &mut Unstructured<'_>) -> Result<Option<Limits>> {
    let built = if fuzz::rarely(input, 5)? {
        fuzz::limits(input)?.build()
    } else {
        let mut builder = Limits::builder().coherence(*input.choose(&[
            CacheCoherence::Coherent,
            CacheCoherence::Synced,
            CacheCoherence::Uncached,
        ])?);
        for _ in 0..input.int_in_range(0..=3)? {
            let order = input.int_in_range(0..=16_u32)?;
            let (id, value) = match input.int_in_range(0..=15)? {
                0 => (LimitId::AddrMax, *input.choose(&[0xffff_ffff, 0x1_ffff_ffff, 0x7fff_ffff])?),
                1 => (LimitId::AddrMin, *input.choose(&[0x1000, 0x100_1000, 0x2000_0000])?),
                2 => (LimitId::AddrAlign, 1 << (order % 13)),
                3 => (LimitId::SegmentBoundary, 1 << order.max(9)),
                4 => (LimitId::SegmentLenMax, input.int_in_range(1..=0x4000)?),
                5 => (LimitId::SegmentsMax, input.int_in_range(1..=8)?),
                6 => (LimitId::GapBoundary, 1 << (order % 13)),
                7 => (LimitId::PageLen, 1 << order.max(9)),
                8 => (LimitId::PieceLenAlign, input.int_in_range(1..=16)?),
                9 => (LimitId::TotalLenAlign, input.int_in_range(1..=16)?),
                10 | 13..=15 => (LimitId::CopyBelow, input.int_in_range(1..=0x1000)?),
                11 => (LimitId::BounceOffsetMask, (1 << (order % 13)) - 1),
                _ => (LimitId::TransferLenMax, input.int_in_range(1..=0x4000)?),
            };
            builder = builder.hard(id, value);
        }
        builder.build()
    };
    if let Err(error) = &built {
        assert!(!error.to_string().is_empty());
    }
    Ok(built.ok())
}

fn on_bus<D: Resolve<Addr = PhysAddr>>(
    input: &mut Unstructured<'_>,
    memory: &Memory,
    bus: &Bus<D>,
    limits: &Limits,
) -> Result<()> {
    let hardware = &Device::new(bus, limits);
    if input.arbitrary()? {
        let layout = BounceLayout {
            slot_len: if input.ratio(7, 8)? {
                1 << input.int_in_range(4..=12)?
            } else {
                fuzz::number(input)?
            },
            set_slots: if input.ratio(7, 8)? { input.int_in_range(1..=128)? } else { fuzz::number(input)? },
        };
        let (at, len) = match input.int_in_range(0..=3)? {
            0 => (input.int_in_range(0..=0x1000)?, input.int_in_range(1..=0x7000)?),
            _ => (0, POOL_LEN),
        };
        let pool = memory.take_at(&[(PhysAddr::new(POOL + at), len)]).expect("nobody has it");
        match Bounce::new(bus, pool, layout) {
            Ok(bounce) => {
                let (bounce, reserved) = (&bounce, input.int_in_range(0..=2)?);
                let mut target = bounce.target();
                if reserved > 0 {
                    match target.clone().with_policy(MapPolicy::MustSucceed { transfers: reserved }) {
                        Ok(reserving) => target = reserving,
                        Err(error) => assert!(!error.to_string().is_empty()),
                    }
                }
                let free = bounce.free_bytes();
                run(input, memory, &target, hardware)?;
                assert_eq!(bounce.free_bytes(), free, "bounce memory is left");
            }
            Err(failed) => assert!(!failed.to_string().is_empty()),
        }
    } else {
        run(input, memory, &bus.target(), hardware)?;
    }
    assert_eq!(bus.live(), [], "a mapping is left");
    assert_eq!(bus.findings(), []);
    Ok(())
}

type Idle<B, Dir> = Mapped<B, FakeOwner, Dir>;

/// A mapping of any direction, and whether a device holds it.
enum Live<B: DmaDevice> {
    To(Idle<B, ToDevice>),
    From(Idle<B, FromDevice>),
    Both(Idle<B, Both>),
    FlyingTo(InFlight<Idle<B, ToDevice>>),
    FlyingFrom(InFlight<Idle<B, FromDevice>>),
    FlyingBoth(InFlight<Idle<B, Both>>),
}

fn run<B: DmaDevice<Addr = PhysAddr>, D: Resolve>(
    input: &mut Unstructured<'_>,
    memory: &Memory,
    target: &DmaTarget<B>,
    hardware: &Device<'_, D>,
) -> Result<()> {
    let mut live: Vec<(Live<B>, Model)> = Vec::new();
    let mut coherent: Vec<Coherent<B>> = Vec::new();
    let done = calls(input, memory, target, hardware, &mut live, &mut coherent);
    // What is still with the device comes back: dropping it would leak.
    hardware.reset();
    for (live, model) in live {
        let (Live::To(_) | Live::From(_) | Live::Both(_)) = land(live, hardware) else {
            panic!("the device was reset");
        };
        drop(model);
    }
    done
}

fn calls<B: DmaDevice<Addr = PhysAddr>, D: Resolve>(
    input: &mut Unstructured<'_>,
    memory: &Memory,
    target: &DmaTarget<B>,
    hardware: &Device<'_, D>,
    live: &mut Vec<(Live<B>, Model)>,
    coherent: &mut Vec<Coherent<B>>,
) -> Result<()> {
    let mut channel = None;
    while !input.is_empty() {
        match input.int_in_range(0..=13)? {
            0..=2 if live.len() < MAPPINGS_MAX => {
                let Some((lease, bytes)) = lease(input, memory)? else { continue };
                let whole = input.ratio(3, 4)?;
                let target = channel.as_ref().unwrap_or(target);
                if fuzz::rarely(input, 16)? {
                    hardware.bus().refuse_next();
                }
                let direction = input.int_in_range(0..=2)?;
                let model = |dir| Model::new(&bytes, dir, whole);
                let mapped = match direction {
                    0 => map(memory, target, lease, &bytes, whole, ToDevice)
                        .map(|mapped| (Live::To(mapped), model(DmaDirection::ToDevice))),
                    1 => map(memory, target, lease, &bytes, whole, FromDevice)
                        .map(|mapped| (Live::From(mapped), model(DmaDirection::FromDevice))),
                    _ => map(memory, target, lease, &bytes, whole, Both)
                        .map(|mapped| (Live::Both(mapped), model(DmaDirection::Both))),
                };
                live.extend(mapped);
            }
            3 if channel.is_some() => channel = None,
            3 if fuzz::rarely(input, 4)? => {
                let limits = fuzz::limits(input)?.coherence(target.limits().memory().coherence()).build();
                match limits.map(|limits| target.channel(&limits)) {
                    Ok(Ok(tighter)) => channel = Some(tighter),
                    Ok(Err(error)) => assert!(!error.to_string().is_empty()),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
            4 => coherent_memory(input, target, coherent)?,
            0..=3 => {}
            _ if live.is_empty() => {}
            which => {
                let (one, mut model) = live.swap_remove(input.choose_index(live.len())?);
                // An error here means that the input is used up: the mapping is dropped, if it is idle.
                let next = match one {
                    Live::FlyingTo(_) | Live::FlyingFrom(_) | Live::FlyingBoth(_) => {
                        let one = if which % 2 == 0 { land(one, hardware) } else { one };
                        Some(transfer(input, one, &mut model, hardware)?)
                    }
                    one if which < 6 => {
                        drop(one);
                        None
                    }
                    one if which < 7 => {
                        unmap(memory, one, &model);
                        None
                    }
                    one if which < 8 => Some(match one {
                        Live::To(mapped) => Live::FlyingTo(mapped.into_flight()),
                        Live::From(mapped) => Live::FlyingFrom(mapped.into_flight()),
                        Live::Both(mapped) => Live::FlyingBoth(mapped.into_flight()),
                        flying => flying,
                    }),
                    mut one => {
                        touch(input, &mut one, &mut model)?;
                        Some(one)
                    }
                };
                live.extend(next.map(|next| (next, model)));
            }
        }
    }
    Ok(())
}

/// Memory and the bytes in it.
type Filled = (Lease<PhysAddr, FakeOwner>, Vec<u8>);

/// Takes runs of memory, with any bytes in it; `None` where they are somebody's.
fn lease(input: &mut Unstructured<'_>, memory: &Memory) -> Result<Option<Filled>> {
    let arena = *input.choose(&ARENAS)?;
    let mut at = arena + input.int_in_range(0..=ARENA_LEN - 1)?;
    if !input.arbitrary::<bool>()? {
        at &= !0x3ff;
    }
    let (mut runs, mut bytes_len) = (Vec::new(), 0);
    for _ in 0..input.int_in_range(1..=6)? {
        let len = match input.int_in_range(0..=4)? {
            0 => 0x1000,
            1 => u64::from(input.arbitrary::<u8>()?) * 16 + 16,
            2 => input.int_in_range(1..=0x2800)?,
            _ => u64::from(input.arbitrary::<u8>()?) + 1,
        };
        runs.push((PhysAddr::new(at), len));
        bytes_len += len;
        at += len;
        at += match input.int_in_range(0..=2)? {
            0 => 0,
            1 => u64::from(input.arbitrary::<u8>()?),
            _ => at.next_multiple_of(0x400) - at,
        };
    }
    if fuzz::rarely(input, 8)? {
        runs.reverse();
    }
    let mut lease = match memory.take_at(&runs) {
        Ok(lease) => lease,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return Ok(None);
        }
    };
    let bytes = pattern(input.arbitrary()?, usize::try_from(bytes_len).unwrap_or(0));
    memory.write(&mut lease, 0, &bytes).expect("it is as long");
    Ok(Some((lease, bytes)))
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let [.., byte] = state.to_le_bytes();
        byte
    };
    (0..len).map(|_| next()).collect()
}

/// Maps, or says why not, and then nothing changed.
fn map<B: DmaDevice<Addr = PhysAddr>, Dir: MapDirection>(
    memory: &Memory,
    target: &DmaTarget<B>,
    lease: Lease<PhysAddr, FakeOwner>,
    bytes: &[u8],
    whole: bool,
    direction: Dir,
) -> Option<Idle<B, Dir>> {
    let mapped: MapResult<B, FakeOwner, Dir> =
        if whole { target.map(lease, direction) } else { target.map_unsynced(lease, direction) };
    match mapped {
        Ok(mapped) => {
            assert_eq!(usize::try_from(mapped.len_bytes()), Ok(bytes.len()));
            assert!(mapped.bounced_bytes() <= mapped.len_bytes());
            assert!(target.device().bounces() || mapped.bounced_bytes() == 0);
            Some(mapped)
        }
        Err(failed) => {
            assert!(!failed.to_string().is_empty());
            assert!(memory.bytes(&failed.given).is_ok_and(|given| given == bytes));
            None
        }
    }
}

fn coherent_memory<B: DmaDevice<Addr = PhysAddr>>(
    input: &mut Unstructured<'_>,
    target: &DmaTarget<B>,
    coherent: &mut Vec<Coherent<B>>,
) -> Result<()> {
    if fuzz::rarely(input, 3)? {
        coherent.pop();
        return Ok(());
    }
    let len = if input.ratio(3, 4)? { input.int_in_range(1..=0x2000)? } else { fuzz::number(input)? };
    let align = if input.ratio(7, 8)? { 1 << input.int_in_range(0..=13)? } else { fuzz::number(input)? };
    match target.device().alloc_coherent(CoherentLayout::new(len, align)) {
        Ok(mut made) => {
            assert_eq!(made.len_bytes(), len);
            assert!(made.bus_addr().raw().is_multiple_of(align));
            let at = fuzz::number(input)?;
            if made.store(at, 0xA5_u8).is_ok() {
                assert!(at < len);
                assert_eq!(made.load::<u8>(at), Ok(0xA5));
            } else {
                assert!(at >= len);
            }
            coherent.push(made);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Ok(())
}

/// Takes a mapping back from the device, if that is done with it.
fn land<B: DmaDevice, D: Resolve>(live: Live<B>, hardware: &Device<'_, D>) -> Live<B> {
    match live {
        Live::FlyingTo(flight) => flight.reclaim(hardware).map_or_else(Live::FlyingTo, Live::To),
        Live::FlyingFrom(flight) => flight.reclaim(hardware).map_or_else(Live::FlyingFrom, Live::From),
        Live::FlyingBoth(flight) => flight.reclaim(hardware).map_or_else(Live::FlyingBoth, Live::Both),
        idle => idle,
    }
}

/// Lets the device read or write what it holds: at once, or later and with a fault.
fn transfer<B: DmaDevice, D: Resolve>(
    input: &mut Unstructured<'_>,
    live: Live<B>,
    model: &mut Model,
    hardware: &Device<'_, D>,
) -> Result<Live<B>> {
    let bus = match &live {
        Live::FlyingTo(flight) => flight.bus(),
        Live::FlyingFrom(flight) => flight.bus(),
        Live::FlyingBoth(flight) => flight.bus(),
        _ => return Ok(live),
    };
    // Whatever happens, the flight is not dropped: that would leak.
    let choice: [u8; 4] = input.arbitrary().unwrap_or_default();
    let writes = match model.direction {
        DmaDirection::ToDevice => false,
        DmaDirection::FromDevice => true,
        DmaDirection::Both => choice[0].is_multiple_of(2),
    };
    let len =
        if choice[1] < 128 { model.cpu.len() } else { usize::from(choice[2]) * 16 % (model.cpu.len() + 1) };
    let bytes = pattern(u64::from(choice[3]) << 8 | 1, len);
    if choice[0] < 160 {
        if writes {
            hardware.scatter(bus, &bytes).expect("it is mapped for that");
            model.device_writes(&bytes);
        } else {
            check("gathered", &hardware.gather(bus).expect("it is mapped for that"), &model.device);
        }
        return Ok(live);
    }
    match choice[2] % 6 {
        0 => hardware.fault_next(FakeFault::Refuse),
        1 => hardware.fault_next(FakeFault::Partial(u64::from(choice[3]) * 8)),
        2 => hardware.fault_next(FakeFault::Delay((choice[3] % 4).into())),
        3 => hardware.fault_next(FakeFault::Never),
        _ => {}
    }
    let work = if writes { Work::Scatter(bytes.clone()) } else { Work::Gather };
    if let Err(refusal) = hardware.start(bus, work) {
        assert!(!refusal.to_string().is_empty());
        return Ok(live);
    }
    let live = land(live, hardware);
    assert!(
        matches!(live, Live::FlyingTo(_) | Live::FlyingFrom(_) | Live::FlyingBoth(_)),
        "a device uses it"
    );
    for _ in 0..5 {
        hardware.step();
    }
    let done = hardware.take_done();
    assert_eq!(done.is_none(), hardware.pending() > 0);
    hardware.reset();
    if let Some(done) = done {
        let moved = usize::try_from(done.moved.expect("it is mapped for that")).unwrap_or(usize::MAX);
        if writes {
            model.device_writes(bytes.get(..moved).unwrap_or_default());
        } else {
            assert_eq!(done.gathered.len(), moved);
            check("gathered later", &done.gathered, &model.device);
        }
    }
    Ok(live)
}

/// Reads, writes or syncs a range of an idle mapping, within it or not.
fn touch<B: DmaDevice>(input: &mut Unstructured<'_>, live: &mut Live<B>, model: &mut Model) -> Result<()> {
    let bytes = model.cpu.len();
    let (mut start, mut end) = (u64::from(input.arbitrary::<u16>()?), u64::from(input.arbitrary::<u16>()?));
    if input.ratio(3, 4)? {
        let most = u64::try_from(bytes).unwrap_or(u64::MAX) + 1;
        (start, end) = (start % most, end % most);
        (start, end) = (start.min(end), start.max(end));
    } else if input.arbitrary()? {
        (start, end) = (fuzz::number(input)?, fuzz::number(input)?);
    }
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let range = place(start)..place(end);
    let inside = range.start <= range.end && range.end <= bytes;
    let way = input.int_in_range(0..=3)?;
    let mut buffer =
        pattern(start ^ end | 1, if inside { range.len() } else { usize::from(input.arbitrary::<u8>()?) });
    let fits = |len: usize| range.start.checked_add(len).is_some_and(|end| end <= bytes);
    let expect = |done: std::result::Result<(), MapError>, fits: bool| {
        assert_eq!(done.is_ok(), fits, "{done:?}");
        if let Err(error) = done {
            assert!(matches!(error, MapError::OutOfRange { .. }) && !error.to_string().is_empty());
        }
    };
    match way {
        0 => {
            let done = match live {
                Live::From(mapped) => mapped.sync_for_cpu(start..end),
                Live::Both(mapped) => mapped.sync_for_cpu(start..end),
                _ => return Ok(()),
            };
            expect(done, inside);
            if inside {
                model.sync_for_cpu(range);
            }
        }
        1 => {
            let done = match live {
                Live::To(mapped) => mapped.sync_for_device(start..end),
                Live::From(mapped) => mapped.sync_for_device(start..end),
                Live::Both(mapped) => mapped.sync_for_device(start..end),
                _ => return Ok(()),
            };
            expect(done, inside);
            if inside {
                model.sync_for_device(range);
            }
        }
        2 => {
            let done = match live {
                Live::From(mapped) => mapped.read_at(start, &mut buffer),
                Live::Both(mapped) => mapped.read_at(start, &mut buffer),
                _ => return Ok(()),
            };
            let fits = fits(buffer.len());
            expect(done, fits);
            if fits {
                let range = range.start..range.start + buffer.len();
                model.sync_for_cpu(range.clone());
                check("read", &buffer, &model.cpu[range]);
            }
        }
        _ => {
            let done = match live {
                Live::To(mapped) => mapped.write_at(start, &buffer),
                Live::Both(mapped) => mapped.write_at(start, &buffer),
                _ => return Ok(()),
            };
            let fits = fits(buffer.len());
            expect(done, fits);
            if fits {
                model.cpu_writes(range.start, &buffer);
            }
        }
    }
    Ok(())
}

/// Unmaps an idle mapping: its memory holds what the device wrote.
fn unmap<B: DmaDevice<Addr = PhysAddr>>(memory: &Memory, live: Live<B>, model: &Model) {
    let lease = match live {
        Live::To(mapped) => mapped.unmap(),
        Live::From(mapped) => mapped.unmap(),
        Live::Both(mapped) => mapped.unmap(),
        _ => panic!("a device holds it"),
    };
    let found = memory.bytes(&lease).expect("it is of this memory");
    assert_eq!(found.len(), model.cpu.len());
    check("unmapped", &found, model.unmapped());
}
