//! An AC'97 controller with its codec: it plays the list by the walker, as many samples as it is told, into a vector.
#![expect(unsafe_code, reason = "a fake device has registers")]

use std::cell::{Cell, RefCell};

use kernel::registers::Registers;
use scatterlist::desc::ac97::walk;
use scatterlist::{Addr, BusAddr};

use super::common::{Ram, Reader};

#[derive(Debug, Default)]
struct Engine {
    list: u32,
    current: u8,
    /// The entry after it (PIV).
    prefetched: u8,
    last_valid: u8,
    status: u16,
    control: u8,
    /// The rest of the current entry.
    at: u64,
    samples: u16,
    global: u32,
    /// Looks at which it has not begun yet, and where it was.
    late: Cell<(u8, u8)>,
}

pub(crate) struct Sound<M> {
    ram: M,
    engine: RefCell<Engine>,
    codec: RefCell<[u16; 64]>,
    pub(crate) out: RefCell<Vec<u8>>,
    /// Samples of silence that were played because there was nothing else.
    pub(crate) silence: Cell<usize>,
    pub(crate) variable_rate: Cell<bool>,
    pub(crate) codec_ready: Cell<bool>,
    /// It does not confirm a reset.
    pub(crate) stuck: Cell<bool>,
    /// What it says its current entry is, if that is a lie.
    pub(crate) lie: Cell<Option<u8>>,
    /// It takes its time to begin: asked the first time it is halted where it was, the second time where it will play.
    pub(crate) lazy: Cell<bool>,
    /// Samples that it plays right before it is told of a new last entry.
    pub(crate) hurry: Cell<usize>,
}

const HALTED: u16 = 1;
const AT_LAST: u16 = 2;
const LAST_DONE: u16 = 4;
const ENTRY_DONE: u16 = 8;

impl<M: Ram> Sound<M> {
    pub(crate) fn new(ram: M) -> Self {
        Self {
            ram,
            engine: RefCell::new(Engine { status: HALTED, ..Engine::default() }),
            codec: RefCell::new([0; 64]),
            out: RefCell::default(),
            silence: Cell::new(0),
            variable_rate: Cell::new(true),
            codec_ready: Cell::new(true),
            stuck: Cell::new(false),
            lie: Cell::new(None),
            lazy: Cell::new(false),
            hurry: Cell::new(0),
        }
    }

    /// Returns the volumes: master, then PCM out.
    pub(crate) fn volumes(&self) -> [u16; 2] {
        let codec = self.codec.borrow();
        [0x02, 0x18].map(|at| codec[at / 2])
    }

    pub(crate) fn codec(&self) -> CodecRegisters<'_, M> {
        CodecRegisters(self)
    }

    pub(crate) fn engine(&self) -> EngineRegisters<'_, M> {
        EngineRegisters(self)
    }

    /// Looks at entry `current`.
    fn fetch(&self, engine: &mut Engine) {
        let reader = Reader(&self.ram);
        let list = BusAddr::new(u64::from(engine.list));
        let run = walk(&reader, list, engine.current, engine.current).next();
        (engine.at, engine.samples) = run.map_or((0, 0), |run| {
            let run = run.unwrap();
            assert!(run.silence && run.index == engine.current);
            (run.segment.addr().raw(), u16::try_from(run.segment.len() / 2).unwrap())
        });
    }

    /// Begins, or goes on.
    fn begin(&self, engine: &mut Engine) {
        engine.late.set((if self.lazy.get() { 2 } else { 0 }, engine.current));
        engine.status &= !(HALTED | AT_LAST);
        self.advance(engine);
    }

    fn advance(&self, engine: &mut Engine) {
        engine.current = engine.prefetched;
        engine.prefetched = (engine.current + 1) % 32;
        self.fetch(engine);
    }

    /// Plays `samples`.
    pub(crate) fn play(&self, samples: usize) {
        let mut engine = self.engine.borrow_mut();
        let mut left = samples;
        while left > 0 {
            if engine.control & 1 == 0 || engine.status & HALTED != 0 {
                self.silence.set(self.silence.get() + left);
                return;
            }
            let now = left.min(usize::from(engine.samples));
            if now > 0 {
                let mut bytes = vec![0; 2 * now];
                assert!(self.ram.get(engine.at, &mut bytes), "{:#x}", engine.at);
                self.out.borrow_mut().extend(bytes);
                engine.at += 2 * u64::try_from(now).unwrap();
                engine.samples -= u16::try_from(now).unwrap();
                left -= now;
            }
            if engine.samples == 0 {
                engine.status |= ENTRY_DONE;
                if engine.current == engine.last_valid {
                    engine.status |= HALTED | AT_LAST | LAST_DONE;
                } else {
                    self.advance(&mut engine);
                }
            }
        }
    }

    /// Breaks off with an error of its FIFO.
    pub(crate) fn starve(&self) {
        self.engine.borrow_mut().status |= 16;
    }
}

pub(crate) struct CodecRegisters<'s, M>(&'s Sound<M>);
pub(crate) struct EngineRegisters<'s, M>(&'s Sound<M>);

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

// SAFETY: there are no registers but these, and none reaches memory.
unsafe impl<M: Ram> Registers for CodecRegisters<'_, M> {
    fn read16(&self, at: u64) -> u16 {
        match at {
            0x28 => 0x0808 | u16::from(self.0.variable_rate.get()),
            0x2c if self.0.codec.borrow()[0x2a / 2] & 1 == 0 => 48_000,
            _ => self.0.codec.borrow()[usize::try_from(at / 2).unwrap()],
        }
    }

    fn write16(&self, at: u64, value: u16) {
        // This codec has no rates past 48 kHz.
        let value = if at == 0x2c { value.min(48_000) } else { value };
        self.0.codec.borrow_mut()[usize::try_from(at / 2).unwrap()] = value;
    }

    no_register!(read8 write8 u8, read32 write32 u32, read64 write64 u64);
}

// SAFETY: there are no registers but these; each access to memory is checked by the bus.
unsafe impl<M: Ram> Registers for EngineRegisters<'_, M> {
    fn read8(&self, at: u64) -> u8 {
        assert_eq!(at, 0x1b);
        self.0.engine.borrow().control
    }

    fn write8(&self, at: u64, value: u8) {
        if at == 0x15 {
            self.0.play(self.0.hurry.take());
        }
        let mut engine = self.0.engine.borrow_mut();
        match at {
            0x15 => {
                assert!(value < 32);
                engine.last_valid = value;
                if engine.control & 1 != 0 && engine.status & HALTED != 0 {
                    self.0.begin(&mut engine);
                }
            }
            0x1b if value & 2 != 0 => {
                assert_eq!(engine.control & 1, 0, "a reset of an engine that runs");
                if self.0.stuck.get() {
                    engine.control = 2;
                } else {
                    let global = engine.global;
                    *engine = Engine { status: HALTED, global, ..Engine::default() };
                }
            }
            0x1b if value & 1 == 0 => {
                engine.control = value;
                engine.status |= HALTED;
            }
            0x1b => {
                assert_eq!(engine.control & 1, 0, "each write is a start");
                engine.control = value;
                self.0.begin(&mut engine);
            }
            _ => panic!("no register at {at:#x}"),
        }
    }

    fn read16(&self, at: u64) -> u16 {
        assert_eq!(at, 0x18);
        self.0.engine.borrow().samples
    }

    fn write16(&self, at: u64, value: u16) {
        assert_eq!(at, 0x16);
        self.0.engine.borrow_mut().status &= !(value & 0x1c);
    }

    fn read32(&self, at: u64) -> u32 {
        let engine = self.0.engine.borrow();
        match at {
            0x14 => {
                // Unless it has come to the end meanwhile.
                let (looks, old) = engine.late.get();
                engine.late.set((looks.saturating_sub(1), old));
                let looks = if engine.status & HALTED == 0 { looks } else { 0 };
                let now = if looks > 1 { old } else { engine.current };
                let current = self.0.lie.get().unwrap_or(now);
                let late = if looks > 0 { HALTED } else { 0 };
                let [low, high] = (engine.status | late).to_le_bytes();
                u32::from_le_bytes([current, engine.last_valid, low, high])
            }
            0x30 => u32::from(self.0.codec_ready.get() && engine.global & 2 != 0) << 8,
            _ => panic!("no register at {at:#x}"),
        }
    }

    fn write32(&self, at: u64, value: u32) {
        let mut engine = self.0.engine.borrow_mut();
        match at {
            0x10 => {
                assert_eq!(engine.control & 1, 0);
                engine.list = value;
            }
            0x2c => engine.global = value,
            _ => panic!("no register at {at:#x}"),
        }
    }

    no_register!(read64 write64 u64);
}
