//! A stream that is fed while it plays, over a controller that plays what the list says.
//!
//! What comes out of the loudspeaker is what went in, sample for sample, whatever the pace and however often it ran dry; and no memory comes
//! back before its last sample was fetched.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "a driver is given its device")]

#[path = "../common/mod.rs"]
mod common;
mod device;

use std::collections::VecDeque;

use common::{FakeBus, HIGH, LOW, Memory, Owned, Ram, Rng, Ticks, noise, on_every_bus, runs};
use device::{CodecRegisters, EngineRegisters, Sound};
use kernel::driver::ac97::{Ac97, Options, PcmOut, PlayError, PollError, StartError};
use kernel::refused::Retry;
use proptest::prelude::*;
use scatterlist::fake::{Device, FakeMemory, FakeOwner};
use scatterlist::map::{Direct, DmaDevice, Offset};
use scatterlist::plan::Policy;
use scatterlist::{CacheCoherence, Direction, LimitId, Limits, Outcome, PhysAddr, Position, Request, Status};

type Driver<'s, D, M> = Ac97<D, CodecRegisters<'s, M>, EngineRegisters<'s, M>, Ticks, FakeOwner, ()>;

fn driver<D, M>(sound: &Sound<M>, device: D, options: Options) -> Result<Driver<'_, D, M>, StartError>
where
    D: DmaDevice<Addr = PhysAddr>,
    M: Ram,
{
    // SAFETY: the controller reaches memory through the bus that the device is of, which checks each access.
    unsafe { Ac97::new(sound.codec(), sound.engine(), Ticks::default(), device, options) }
}

fn limits() -> Limits {
    Limits::default()
}

fn samples(lease: Owned) -> Request<PhysAddr, FakeOwner, ()> {
    Request::new(lease, Direction::ToDevice, Position::Stream, ())
}

/// `len` bytes of noise in runs of one page, no two adjacent.
fn pages(memory: &Memory, base: u64, seed: u64, count: u64) -> (Owned, Vec<u8>) {
    let mut lease = runs(memory, base, 8192, 4096, count);
    let bytes = noise(seed, usize::try_from(count * 4096).unwrap());
    memory.write(&mut lease, 0, &bytes).unwrap();
    (lease, bytes)
}

#[test]
fn a_controller_comes_up_with_its_codec_and_the_rate_or_says_why_not() {
    on_every_bus!(limits(), |_memory: &Memory, device, hardware: Device<'_, _>| {
        let sound = Sound::new(hardware);
        let at = |rate_hz| driver(&sound, device, Options { rate_hz, ..Options::default() });
        assert_eq!(at(44_100).unwrap().rate_hz(), 44_100);
        assert_eq!(at(96_000).unwrap_err().to_string(), "the codec plays at 48000 Hz, not at 96000");
        sound.variable_rate.set(false);
        assert_eq!(at(44_100).unwrap_err().to_string(), "the codec plays at 48000 Hz, not at 44100");
        assert_eq!(at(48_000).unwrap().rate_hz(), 48_000);
        // 0 dB is 8 steps down from the most gain.
        assert_eq!(sound.volumes(), [0, 0x0808]);
        let loud =
            driver(&sound, device, Options { pcm_out: PcmOut::MostGain, ..Options::default() }).unwrap();
        assert_eq!(sound.volumes(), [0, 0]);
        loud.set_volume(Some(40));
        assert_eq!(sound.volumes(), [0x1f1f, 0]);
        loud.set_volume(None);
        assert_eq!(sound.volumes(), [0x8000, 0]);
        drop(loud);
        sound.codec_ready.set(false);
        let error = at(48_000).unwrap_err().to_string();
        assert_eq!(error, "no codec is ready after 1000000000 ns: the global status is 0x0");
    });
}

/// Plays requests of these pages each, with looks at the controller after these samples.
fn stream<D, H>(memory: &Memory, device: D, hardware: H, counts: &[u64], paces: &[usize], lazy: bool)
where
    D: DmaDevice<Addr = PhysAddr>,
    H: Ram,
{
    let sound = Sound::new(hardware);
    sound.lazy.set(lazy);
    let mut driver = driver(&sound, device, Options { requests_max: 4, ..Options::default() }).unwrap();
    let bounces = driver.target().plan_policy() == Policy::SplitOrBounce;
    let (mut waiting, mut ends, mut expect) = (VecDeque::new(), VecDeque::new(), Vec::new());
    for (index, count) in counts.iter().enumerate() {
        let index = u64::try_from(index).unwrap();
        // Past 4 GiB only where there is memory to bounce through, and little of it.
        let base = if bounces && *count < 12 && index % 3 == 0 { HIGH } else { LOW };
        let (lease, bytes) = pages(memory, base + (1 << 20) + index * (1 << 19), index, *count);
        expect.extend(bytes);
        ends.push_back(expect.len());
        waiting.push_back(samples(lease));
    }
    let mut paces = paces.iter().cycle();
    let mut back = 0;
    while back < counts.len() {
        while let Some(request) = waiting.pop_front() {
            if let Err(refused) = driver.play(request) {
                assert_eq!(refused.retry, Retry::Later, "{refused}");
                waiting.push_front(refused.request);
                break;
            }
        }
        if waiting.is_empty() && !lazy {
            driver.drain();
        }
        // The controller may go on while it is being told.
        sound.hurry.set(paces.next().unwrap() % 64);
        // Now and then nothing is played between two looks.
        for pace in [0, *paces.next().unwrap()] {
            sound.play(pace);
            let back_now = driver.poll_with(&mut |request, outcome| {
                assert_eq!(outcome, Outcome::whole(request.len_bytes()));
                assert!(sound.out.borrow().len() >= ends.pop_front().unwrap(), "it still plays");
            });
            back += back_now.unwrap();
        }
    }
    assert!(*sound.out.borrow() == expect, "sample for sample");
    if lazy {
        assert!(driver.underruns() > 0);
    }
    assert_eq!((driver.pending(), driver.fifo_errors()), (0, 0));
}

/// A bus that reaches 4 GiB; the format does not reach more, but this says so to the fake device too.
fn low_memory() -> Limits {
    Limits::builder().hard(LimitId::AddrMax, 0xffff_ffff).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_played_is_what_was_given(
        counts in prop::collection::vec(1_u64..50, 1..6),
        paces in prop::collection::vec(1_usize..9000, 2..20),
        lazy: bool,
    ) {
        on_every_bus!(low_memory(), |memory: &Memory, device, hardware: Device<'_, _>| {
            stream(memory, device, hardware, &counts, &paces, lazy);
        });
    }
}

#[test]
fn an_engine_that_runs_dry_is_counted_and_goes_on_where_it_was() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let sound = Sound::new(hardware);
        sound.lazy.set(true);
        let mut driver = driver(&sound, device, Options::default()).unwrap();
        let mut expect = Vec::new();
        for round in 0..70 {
            let (lease, bytes) = pages(memory, LOW + (1 << 20), round, 1);
            expect.extend(bytes);
            driver.play(samples(lease)).unwrap();
            for _ in 0..round % 4 {
                assert_eq!((driver.poll().unwrap(), driver.underruns()), (0, round), "it has not begun");
            }
            sound.play(3000);
            assert_eq!(driver.poll().unwrap(), 1);
            assert_eq!((driver.underruns(), driver.pending()), (round + 1, 0));
            // Looking again finds nothing new.
            assert_eq!((driver.poll().unwrap(), driver.underruns()), (0, round + 1));
        }
        assert!(*sound.out.borrow() == expect);
        assert_eq!(sound.silence.get(), 70 * (3000 - 2048));
        // What is drained runs dry as it should.
        driver.play(samples(pages(memory, LOW + (1 << 20), 1, 1).0)).unwrap();
        driver.drain();
        sound.play(3000);
        assert_eq!((driver.poll().unwrap(), driver.underruns()), (1, 70));
        sound.starve();
        assert_eq!((driver.poll().unwrap(), driver.fifo_errors()), (0, 1));
        assert_eq!((driver.poll().unwrap(), driver.fifo_errors()), (0, 1));
    });
}

#[test]
fn what_waits_is_bounded_and_what_is_no_sound_is_refused() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let sound = Sound::new(hardware);
        let mut driver = driver(&sound, device, Options { requests_max: 2, ..Options::default() }).unwrap();
        let page = |at: u64| pages(memory, LOW + (1 << 20) + at * 8192, at, 1).0;
        driver.play(samples(page(0))).unwrap();
        driver.play(samples(page(1))).unwrap();
        let refused = driver.play(samples(page(2))).unwrap_err();
        assert!(matches!(refused.error, PlayError::Full { waiting: 2, max: 2 }));
        assert_eq!((refused.retry, refused.request.len_bytes()), (Retry::Later, 4096));
        drop(refused);
        sound.play(2049);
        assert_eq!(driver.poll().unwrap(), 1);
        let reads = Request::new(page(2), Direction::FromDevice, Position::Stream, ());
        assert!(matches!(driver.play(reads).unwrap_err().error, PlayError::Direction));
        let placed = Request::new(page(2), Direction::ToDevice, Position::At(0), ());
        assert!(matches!(driver.play(placed).unwrap_err().error, PlayError::Position));
        let odd = driver.play(samples(memory.take(6, 4096).unwrap())).unwrap_err();
        assert!(odd.retry == Retry::Never && odd.to_string().contains("total_len_align"), "{odd}");
        let far = driver.play(samples(memory.take_at(&[(scatterlist::Addr::new(HIGH), 4096)]).unwrap()));
        assert_eq!(far.is_ok(), driver.target().plan_policy() == Policy::SplitOrBounce);
    });
}

#[test]
fn a_stop_gives_everything_back_with_the_bytes_that_were_played() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let sound = Sound::new(hardware);
        let mut driver = driver(&sound, device, Options::default()).unwrap();
        let mut rng = Rng(5);
        for round in 0..20 {
            sound.out.borrow_mut().clear();
            let mut expect = Vec::new();
            for part in 0..3 {
                let (lease, bytes) = pages(memory, LOW + (1 << 20) + part * (1 << 19), round, 20);
                expect.extend(bytes);
                driver.play(samples(lease)).unwrap();
            }
            let mut outcomes = Vec::new();
            for _ in 0..rng.below(4) {
                sound.play(usize::try_from(rng.below(60_000)).unwrap());
                driver.poll_with(&mut |_, outcome| outcomes.push(outcome)).unwrap();
            }
            sound.play(usize::try_from(rng.below(9_000)).unwrap());
            driver.stop_with(&mut |_, outcome| outcomes.push(outcome)).unwrap();
            let played = sound.out.borrow().len();
            assert!(*sound.out.borrow() == expect[..played]);
            let done: u64 = outcomes.iter().map(|outcome| outcome.done).sum();
            assert_eq!((outcomes.len(), usize::try_from(done).unwrap(), driver.pending()), (3, played, 0));
            for outcome in outcomes.iter().filter(|outcome| outcome.done < outcome.asked) {
                let fault = outcome.fault.unwrap();
                assert_eq!((fault.at, fault.status), (outcome.done, Status::Cancelled));
            }
        }
    });
}

#[test]
fn an_index_that_cannot_be_gives_nothing_back() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let sound = Sound::new(hardware);
        let mut driver = driver(&sound, device, Options::default()).unwrap();
        driver.play(samples(pages(memory, LOW + (1 << 20), 1, 4).0)).unwrap();
        sound.play(3000);
        for lie in [4, 30, 32, 200] {
            sound.lie.set(Some(lie));
            let error = driver.poll_with(&mut |_, _| panic!("it still plays")).unwrap_err();
            assert!(matches!(error, PollError::Current(_)), "{error}");
        }
        let mut outcomes = Vec::new();
        driver.stop_with(&mut |_, outcome| outcomes.push(outcome)).unwrap();
        // What was played is not known.
        assert_eq!((outcomes.len(), outcomes[0].done), (1, 0));
        sound.lie.set(None);
        sound.out.borrow_mut().clear();
        let (lease, bytes) = pages(memory, LOW + (1 << 20), 2, 4);
        driver.play(samples(lease)).unwrap();
        sound.play(9000);
        assert_eq!((driver.poll().unwrap(), *sound.out.borrow() == bytes), (1, true));
    });
}

#[test]
fn what_an_engine_that_is_stuck_has_leaks() {
    let memory = common::memory();
    let bus: FakeBus<'_> =
        scatterlist::fake::Bus::new(Direct::new(&memory, Offset::NONE, &limits()).unwrap());
    let sound = Sound::new(Device::new(&bus, &limits()));
    let mut driver = driver(&sound, &bus, Options::default()).unwrap();
    driver.play(samples(pages(&memory, LOW + (1 << 20), 1, 4).0)).unwrap();
    sound.play(100);
    sound.stuck.set(true);
    let error = driver.stop().unwrap_err().to_string();
    assert_eq!(error, "the engine was not reset after 100000000 ns: its control is 0x2");
    assert_eq!(driver.pending(), 1);
    drop(driver);
    assert_eq!(memory.leased_bytes(), 4 * 4096);
    // The request and the list.
    assert_eq!(memory.findings().len(), 2);
}

#[test]
fn after_a_stop_that_failed_nothing_is_played_until_one_succeeds() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let sound = Sound::new(hardware);
        let mut driver = driver(&sound, device, Options::default()).unwrap();
        driver.play(samples(pages(memory, LOW + (1 << 20), 1, 4).0)).unwrap();
        sound.play(100);
        sound.stuck.set(true);
        for _ in 0..2 {
            driver.stop().unwrap_err();
            let refused = driver.play(samples(pages(memory, LOW + (2 << 20), 2, 4).0)).unwrap_err();
            assert!(matches!(refused.error, PlayError::Down), "{refused}");
            assert_eq!((refused.retry, refused.request.len_bytes()), (Retry::Never, 4 * 4096));
            assert_eq!((driver.poll(), driver.pending()), (Err(PollError::Down), 1));
        }
        sound.stuck.set(false);
        let mut outcomes = Vec::new();
        driver.stop_with(&mut |_, outcome| outcomes.push(outcome)).unwrap();
        // What was played is counted once, however often it was stopped.
        assert_eq!(outcomes.iter().map(|end| end.done).collect::<Vec<_>>(), [200]);
        sound.out.borrow_mut().clear();
        let (lease, bytes) = pages(memory, LOW + (1 << 20), 3, 4);
        driver.play(samples(lease)).unwrap();
        sound.play(9000);
        assert_eq!((driver.poll().unwrap(), *sound.out.borrow() == bytes), (1, true));
    });
}

#[test]
fn a_list_that_the_engine_cannot_be_told_of_is_given_back() {
    let memory = FakeMemory::physical(CacheCoherence::Coherent, HIGH, 1 << 20).unwrap();
    let bus: FakeBus<'_> =
        scatterlist::fake::Bus::new(Direct::new(&memory, Offset::NONE, &limits()).unwrap());
    let sound = Sound::new(Device::new(&bus, &limits()));
    let error = driver(&sound, &bus, Options::default()).unwrap_err();
    assert!(matches!(error, StartError::List(_)), "{error}");
    assert_eq!(memory.findings(), []);
    assert_eq!(memory.coherent_bytes(), 0);
}
