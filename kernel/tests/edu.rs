//! The DMA engine of QEMU's edu device: 28 bits of address, one segment, a buffer of 4096 bytes less one.
//!
//! What lies above the mask bounces where there is a pool, and only that; where there is none it is refused, with the limit. What the
//! engine does not end in time it keeps.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(unsafe_code, reason = "a fake device has registers, and a driver is given its device")]

mod common;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use common::{FakeBus, HIGH, LOW, Memory, Ram, Ticks, noise, on_every_bus};
use kernel::block::BlockDevice;
use kernel::driver::edu::{Edu, StartError, SubmitError, TransferError};
use kernel::refused::Retry;
use kernel::registers::Registers;
use scatterlist::fake::{Device, FakeOwner};
use scatterlist::map::{Direct, DmaDevice, Offset};
use scatterlist::plan::{Policy, plan};
use scatterlist::{Addr, Direction, LimitId, Limits, Outcome, PhysAddr, Position, Request};

/// The device: a transfer is done after some looks at its command.
struct Engine<M> {
    ram: M,
    buffer: RefCell<[u8; 4096]>,
    registers: RefCell<BTreeMap<u64, u32>>,
    identification: Cell<u32>,
    alive: Cell<bool>,
    /// Looks until the transfer is done; `None` for never.
    looks: Cell<Option<u32>>,
    left: Cell<u32>,
    transfers: Cell<u64>,
}

impl<M: Ram> Engine<M> {
    fn new(ram: M) -> Self {
        Self {
            ram,
            buffer: RefCell::new([0; 4096]),
            registers: RefCell::default(),
            identification: Cell::new(0x0100_00ed),
            alive: Cell::new(true),
            looks: Cell::new(Some(3)),
            left: Cell::new(0),
            transfers: Cell::new(0),
        }
    }

    fn transfer(&self) {
        let registers = self.registers.borrow();
        let [source, destination, count, command] = [0x80, 0x88, 0x90, 0x98].map(|at| registers[&at]);
        let (own, memory) = if command & 2 == 0 { (destination, source) } else { (source, destination) };
        // QEMU ends where a transfer leaves the buffer, and masks addresses.
        // Up to 8.1 it takes the last byte for one too many.
        assert!(own >= 0x40000 && own + count < 0x41000 && count > 0);
        assert!(memory + count <= 0x1000_0000);
        let range = usize::try_from(own - 0x40000).unwrap()..usize::try_from(own + count - 0x40000).unwrap();
        let place = &mut self.buffer.borrow_mut()[range];
        let memory = u64::from(memory);
        assert!(if command & 2 == 0 { self.ram.get(memory, place) } else { self.ram.put(memory, place) });
        self.transfers.set(self.transfers.get() + 1);
    }

    fn look(&self) {
        let running = self.registers.borrow().get(&0x98).is_some_and(|command| command & 1 != 0);
        if !running || self.looks.get().is_none() {
            return;
        }
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            self.transfer();
            *self.registers.borrow_mut().get_mut(&0x98).unwrap() &= !1;
        }
    }
}

/// What is no register.
macro_rules! no_register {
    ($($read:ident $write:ident $word:ty),*) => {$(
        fn $read(&self, at: u64) -> $word {
            panic!("no register at {at:#x}")
        }

        fn $write(&self, at: u64, _: $word) {
            panic!("no register at {at:#x}")
        }
    )*};
}

// SAFETY: there are no registers but these; each access to memory is checked by the bus.
unsafe impl<M: Ram> Registers for Engine<M> {
    fn read32(&self, at: u64) -> u32 {
        if at == 0x98 {
            self.look();
        }
        let value = self.registers.borrow().get(&at).copied().unwrap_or(0);
        match at {
            0x00 => self.identification.get(),
            0x04 if self.alive.get() => !value,
            _ => value,
        }
    }

    fn write32(&self, at: u64, value: u32) {
        if at == 0x98 {
            self.left.set(self.looks.get().unwrap_or(0));
        }
        let running = self.registers.borrow().get(&0x98).is_some_and(|command| command & 1 != 0);
        assert!(!running || at < 0x80, "a write to {at:#x} during a transfer");
        self.registers.borrow_mut().insert(at, value);
    }

    no_register!(read8 write8 u8, read16 write16 u16, read64 write64 u64);
}

type Driver<'e, D, M> = Edu<D, &'e Engine<M>, Ticks, FakeOwner, ()>;

fn driver<D, M>(engine: &Engine<M>, device: D) -> Result<Driver<'_, D, M>, StartError>
where
    D: DmaDevice<Addr = PhysAddr>,
    M: Ram,
{
    // SAFETY: the engine reaches memory through the bus that the device is of, which checks each access.
    unsafe { Edu::new(engine, Ticks::default(), device) }
}

fn limits() -> Limits {
    Limits::default()
}

#[test]
fn another_device_and_a_dead_one_are_refused() {
    on_every_bus!(limits(), |_memory: &Memory, device, hardware: Device<'_, _>| {
        let engine = Engine::new(hardware);
        let limits = *driver(&engine, device).unwrap().target().limits();
        let value = |id| limits.hard_value(id);
        assert_eq!((value(LimitId::AddrMax), value(LimitId::SegmentsMax)), (0x0fff_ffff, 1));
        assert_eq!((value(LimitId::TransferLenMax), value(LimitId::Capacity)), (4095, 4095));
        engine.alive.set(false);
        let error = driver(&engine, device).unwrap_err().to_string();
        assert_eq!(error, "the device answers 0x12345678 to 0x12345678");
        engine.identification.set(0x1234);
        let error = driver(&engine, device).unwrap_err().to_string();
        assert_eq!(error, "the identification is 0x1234, its low half should be 0xed");
    });
}

#[test]
fn what_lies_above_the_mask_bounces_and_only_that() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let engine = Engine::new(hardware);
        let mut driver = driver(&engine, device).unwrap();
        let bounces = driver.plan_policy() == Policy::SplitOrBounce;
        let mut above = 0;
        for (round, (addr, len, at)) in [
            (LOW + (1 << 20), 4095, 0),
            (HIGH, 4095, 0),
            (LOW + (1 << 20) + 123, 1000, 3000),
            (HIGH + 77, 999, 4095 - 999),
            (LOW + (1 << 20), 1, 4094),
        ]
        .into_iter()
        .enumerate()
        {
            let bytes = noise(u64::try_from(round).unwrap(), usize::try_from(len).unwrap());
            let mut lease = memory.take_at(&[(PhysAddr::new(addr), len)]).unwrap();
            memory.write(&mut lease, 0, &bytes).unwrap();
            let write = Request::new(lease, Direction::ToDevice, Position::At(at), ());
            match driver.transfer(write) {
                Ok((request, outcome)) => {
                    assert_eq!((outcome, request.len_bytes()), (Outcome::whole(len), len));
                    assert!(bounces || addr < HIGH);
                }
                Err(refused) => {
                    assert!(!bounces && addr >= HIGH);
                    assert_eq!(refused.retry, Retry::Never);
                    assert_eq!(refused.request.as_ref().map(Request::len_bytes), Some(len));
                    let message = format!(
                        "{len} bytes at {addr:#x} are out of the device's reach: it reaches 0x0 to 0xfffffff"
                    );
                    assert_eq!(refused.to_string(), message);
                    continue;
                }
            }
            let place = usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap();
            assert!(engine.buffer.borrow()[place] == bytes);
            let lease = memory.take_at(&[(PhysAddr::new(addr), len)]).unwrap();
            let read = Request::new(lease, Direction::FromDevice, Position::At(at), ());
            let (request, outcome) = driver.transfer(read).unwrap();
            assert_eq!(memory.bytes(&request.complete(outcome)).unwrap(), bytes);
            above += if addr >= HIGH { 2 * len } else { 0 };
        }
        assert_eq!(driver.bounced_bytes(), above);
        assert_eq!(above > 0, bounces);
    });
}

#[test]
fn a_scattered_list_is_planned_into_one_segment_at_a_time() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let engine = Engine::new(hardware);
        let mut driver = driver(&engine, device).unwrap();
        let high = if driver.plan_policy() == Policy::SplitOrBounce { HIGH } else { LOW + (3 << 20) };
        let at = |addr| PhysAddr::new(addr);
        let runs = [(at(LOW + (1 << 20)), 1024), (at(high), 512), (at(LOW + (2 << 20)), 2559)];
        let mut lease = memory.take_at(&runs).unwrap();
        let bytes = noise(3, 4095);
        memory.write(&mut lease, 0, &bytes).unwrap();
        let request = Request::new(lease, Direction::ToDevice, Position::At(0), ()).into_shared();
        let list = request.lease().list();
        let ready = plan(list, Position::At(0), driver.limits(), driver.plan_policy());
        let lengths: Vec<u64> = ready.map(|ready| ready.unwrap().len_bytes()).collect();
        assert_eq!(lengths, [1024, 512, 2559]);
        // The driver is of requests that are told nothing, so the parts are made anew.
        drop(request);
        let mut position = 0;
        for (run, len) in runs.into_iter().zip(lengths) {
            let mut lease = memory.take_at(&[run]).unwrap();
            let start = usize::try_from(position).unwrap();
            memory.write(&mut lease, 0, &bytes[start..start + usize::try_from(len).unwrap()]).unwrap();
            driver.transfer(Request::new(lease, Direction::ToDevice, Position::At(position), ())).unwrap();
            position += len;
        }
        assert!(engine.buffer.borrow()[..4095] == bytes && engine.transfers.get() == 3);
        assert_eq!(driver.bounced_bytes(), if high == HIGH { 512 } else { 0 });
    });
}

#[test]
fn what_does_not_fit_is_refused_and_one_transfer_is_under_way_at_a_time() {
    on_every_bus!(limits(), |memory: &Memory, device, hardware: Device<'_, _>| {
        let engine = Engine::new(hardware);
        let mut driver = driver(&engine, device).unwrap();
        let request =
            |len, position| Request::new(memory.take(len, 4096).unwrap(), Direction::ToDevice, position, ());
        for (len, at) in [(4095, 1), (4096, 0), (1, 4095)] {
            let refused = driver.transfer(request(len, Position::At(at))).unwrap_err();
            let TransferError::Submit(SubmitError::Prepare(error)) = refused.error else { panic!() };
            assert!(error.to_string().contains("breaks a limit"), "{error}");
        }
        let refused = driver.transfer(request(1, Position::Stream)).unwrap_err();
        assert!(matches!(refused.error, TransferError::Submit(SubmitError::NoPosition)));
        drop(refused);
        driver.submit(request(1, Position::At(0))).unwrap();
        let refused = driver.submit(request(2, Position::At(0))).unwrap_err();
        assert_eq!((refused.retry, refused.request.len_bytes()), (Retry::Later, 2));
        drop(refused);
        let polls = (1..9).find(|_| driver.poll().unwrap() == 1);
        assert_eq!(polls, Some(3));
        assert_eq!(driver.poll().unwrap(), 0);
    });
}

#[test]
fn what_does_not_end_in_time_is_leaked_to_the_device() {
    let memory = common::memory();
    let bus: FakeBus<'_> =
        scatterlist::fake::Bus::new(Direct::new(&memory, Offset::NONE, &limits()).unwrap());
    let engine = Engine::new(Device::new(&bus, &limits()));
    let mut driver = driver(&engine, &bus).unwrap();
    let request = || Request::new(memory.take(64, 64).unwrap(), Direction::ToDevice, Position::At(0), ());
    engine.looks.set(None);
    let refused = driver.transfer(request()).unwrap_err();
    assert!(refused.request.is_none());
    assert_eq!(refused.to_string(), "the transfer is not done after 5000000000 ns");
    assert_eq!((driver.poll().unwrap(), memory.leased_bytes()), (0, 64));
    // It ends after all.
    engine.looks.set(Some(1));
    assert_eq!((driver.poll().unwrap(), memory.leased_bytes()), (1, 0));
    engine.looks.set(None);
    driver.submit(request()).unwrap();
    drop(driver);
    assert_eq!((memory.leased_bytes(), memory.findings().len()), (64, 1));
    let busy = self::driver(&engine, &bus).unwrap_err();
    assert!(matches!(busy, StartError::Busy { command: 1 }), "{busy}");
}
