//! [`Transport`]: the registers of virtio over MMIO, as Virtual I/O Device (VIRTIO) Version 1.2, section 4.2.2 has them.
//!
//! The dance of status bits (section 3.1.1), features, the addresses of a queue, notifying, reset (section 2.4). It knows no
//! class of device; a transport of the time before version 1.0 is refused, since its rings are others.

use scatterlist::Addr as _;
use scatterlist::BusAddr;
use scatterlist::desc::DescriptorMemory;
use scatterlist::desc::virtqueue::{QueueSize, Rings};

use crate::driver::{halves, word};
use crate::registers::{Clock, Registers, wait_until};

/// "virt", little-endian (section 4.2.2, `MagicValue`).
const MAGIC: u32 = 0x7472_6976;
/// The version of the register layout (section 4.2.2, `Version`).
const VERSION: u32 = 2;

/// Offsets of registers (section 4.2.2, table 4.1).
mod at {
    pub(super) const MAGIC: u64 = 0x000;
    pub(super) const VERSION: u64 = 0x004;
    pub(super) const DEVICE_ID: u64 = 0x008;
    pub(super) const DEVICE_FEATURES: u64 = 0x010;
    pub(super) const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub(super) const DRIVER_FEATURES: u64 = 0x020;
    pub(super) const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub(super) const QUEUE_SEL: u64 = 0x030;
    pub(super) const QUEUE_SIZE_MAX: u64 = 0x034;
    pub(super) const QUEUE_SIZE: u64 = 0x038;
    pub(super) const QUEUE_READY: u64 = 0x044;
    pub(super) const QUEUE_NOTIFY: u64 = 0x050;
    pub(super) const INTERRUPT_STATUS: u64 = 0x060;
    pub(super) const INTERRUPT_ACK: u64 = 0x064;
    pub(super) const STATUS: u64 = 0x070;
    pub(super) const QUEUE_TABLE: u64 = 0x080;
    pub(super) const QUEUE_AVAILABLE: u64 = 0x090;
    pub(super) const QUEUE_USED: u64 = 0x0a0;
    pub(super) const CONFIG_GENERATION: u64 = 0x0fc;
    pub(super) const CONFIG: u64 = 0x100;
}

/// Bits of the device status (section 2.1).
mod status {
    pub(super) const ACKNOWLEDGE: u32 = 1;
    pub(super) const DRIVER: u32 = 2;
    pub(super) const DRIVER_OK: u32 = 4;
    pub(super) const FEATURES_OK: u32 = 8;
    pub(super) const NEEDS_RESET: u32 = 64;
    pub(super) const FAILED: u32 = 128;
}

/// Features that a driver of any class knows (section 6).
pub(super) mod feature {
    /// `VIRTIO_F_INDIRECT_DESC`.
    pub(in super::super) const INDIRECT_DESC: u64 = 1 << 28;
    /// `VIRTIO_F_VERSION_1`.
    pub(in super::super) const VERSION_1: u64 = 1 << 32;
}

/// How long a reset may take. The specification has no number (section 4.2.3.1); QEMU answers at once.
const RESET_NS_MAX: u64 = 1_000_000_000;
/// How often a configuration that changes while it is read is read again (section 2.5.1).
const CONFIG_READS_MAX: u32 = 16;

/// Why a device does not come up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nothing of virtio is at these registers.
    #[error("the magic value is {magic:#x}, a virtio device has {need:#x}")]
    Magic {
        /// What stands there.
        magic: u32,
        /// What should.
        need: u32,
    },
    /// A transport of another version.
    #[error(
        "the transport is of version {version}, this driver speaks version {need}: a legacy device (1) must be made a modern one"
    )]
    Version {
        /// The version.
        version: u32,
        /// The version that is needed.
        need: u32,
    },
    /// A device of another class, or none (0).
    #[error("the device is of class {class}, not {need}")]
    Class {
        /// The class.
        class: u32,
        /// The class that is needed.
        need: u32,
    },
    /// The device lacks a feature.
    #[error("the device offers features {offered:#x}, {need:#x} are needed")]
    Features {
        /// What it offers.
        offered: u64,
        /// What is needed.
        need: u64,
    },
    /// The device does not take the features that it offered.
    #[error("the device refuses features {features:#x}")]
    FeaturesRefused {
        /// What it was to take.
        features: u64,
    },
    /// The queue is not there.
    #[error("queue {queue} is not there, or in use already")]
    NoQueue {
        /// The number of the queue.
        queue: u32,
    },
    /// The device did not reset in time.
    #[error("the device was not reset after {ns} ns: its status is {status:#x}")]
    ResetTimeout {
        /// How long was waited.
        ns: u64,
        /// The status.
        status: u32,
    },
    /// The configuration changed each time that it was read.
    #[error("the configuration changed while it was read, {reads} times")]
    Config {
        /// How often it was read.
        reads: u32,
    },
}

/// The registers of one device.
#[derive(Debug)]
pub(super) struct Transport<R> {
    registers: R,
}

impl<R: Registers> Transport<R> {
    /// Checks that a modern device of `class` is there. Changes nothing.
    pub(super) fn new(registers: R, class: u32) -> Result<Self, TransportError> {
        let magic = registers.read32(at::MAGIC);
        if magic != MAGIC {
            return Err(TransportError::Magic { magic, need: MAGIC });
        }
        let version = registers.read32(at::VERSION);
        if version != VERSION {
            return Err(TransportError::Version { version, need: VERSION });
        }
        let found = registers.read32(at::DEVICE_ID);
        if found != class {
            return Err(TransportError::Class { class: found, need: class });
        }
        Ok(Self { registers })
    }

    /// Resets the device and waits until it says that it is: it uses no memory any more then.
    pub(super) fn reset<K: Clock>(&self, clock: &K) -> Result<(), TransportError> {
        self.registers.write32(at::STATUS, 0);
        if wait_until(clock, RESET_NS_MAX, || self.registers.read32(at::STATUS) == 0) {
            return Ok(());
        }
        let status = self.registers.read32(at::STATUS);
        Err(TransportError::ResetTimeout { ns: RESET_NS_MAX, status })
    }

    /// Agrees on features with a device that was reset: those of `wanted` that it offers, which must be all of `needed`.
    pub(super) fn negotiate(&self, wanted: u64, needed: u64) -> Result<u64, TransportError> {
        self.add_status(status::ACKNOWLEDGE);
        self.add_status(status::DRIVER);
        let offered = self.offered();
        if offered & needed != needed {
            return Err(TransportError::Features { offered, need: needed });
        }
        let features = offered & (wanted | needed);
        let [low, high] = halves(features);
        for (half, bits) in [(0, low), (1, high)] {
            self.registers.write32(at::DRIVER_FEATURES_SEL, half);
            self.registers.write32(at::DRIVER_FEATURES, bits);
        }
        self.add_status(status::FEATURES_OK);
        if self.registers.read32(at::STATUS) & status::FEATURES_OK == 0 {
            return Err(TransportError::FeaturesRefused { features });
        }
        Ok(features)
    }

    fn offered(&self) -> u64 {
        let half = |half| {
            self.registers.write32(at::DEVICE_FEATURES_SEL, half);
            self.registers.read32(at::DEVICE_FEATURES)
        };
        let low = half(0);
        word(low, half(1))
    }

    /// Returns the largest size of a queue that is not in use.
    pub(super) fn queue_size_max(&self, queue: u32) -> Result<u32, TransportError> {
        self.registers.write32(at::QUEUE_SEL, queue);
        let max = self.registers.read32(at::QUEUE_SIZE_MAX);
        if max == 0 || self.registers.read32(at::QUEUE_READY) != 0 {
            return Err(TransportError::NoQueue { queue });
        }
        Ok(max)
    }

    /// Tells the device where a queue is. From here until a reset it may use the rings.
    pub(super) fn set_queue<M: DescriptorMemory>(&self, queue: u32, size: QueueSize, rings: &Rings<M>) {
        self.registers.write32(at::QUEUE_SEL, queue);
        self.registers.write32(at::QUEUE_SIZE, u32::from(size.get()));
        self.put_addr(at::QUEUE_TABLE, rings.table.bus_addr());
        self.put_addr(at::QUEUE_AVAILABLE, rings.available.bus_addr());
        self.put_addr(at::QUEUE_USED, rings.used.bus_addr());
        self.registers.write32(at::QUEUE_READY, 1);
    }

    /// Writes an address into a pair of registers, the low half first.
    fn put_addr(&self, at: u64, addr: BusAddr) {
        let [low, high] = halves(addr.raw());
        self.registers.write32(at, low);
        self.registers.write32(at.saturating_add(4), high);
    }

    /// Says that the driver is ready: the device works from here on.
    pub(super) fn start(&self) {
        self.add_status(status::DRIVER_OK);
    }

    /// Says that the driver gives up.
    pub(super) fn give_up(&self) {
        self.add_status(status::FAILED);
    }

    /// Says that the device cannot go on without a reset (section 2.1.1).
    pub(super) fn needs_reset(&self) -> bool {
        self.registers.read32(at::STATUS) & status::NEEDS_RESET != 0
    }

    /// Says that there is something new in a queue.
    pub(super) fn notify(&self, queue: u32) {
        self.registers.write32(at::QUEUE_NOTIFY, queue);
    }

    /// Acknowledges interrupts that are pending. Says whether there were any.
    pub(super) fn acknowledge(&self) -> bool {
        let pending = self.registers.read32(at::INTERRUPT_STATUS);
        if pending != 0 {
            self.registers.write32(at::INTERRUPT_ACK, pending);
        }
        pending != 0
    }

    /// Reads words of the configuration at offsets `words`, all of one moment.
    pub(super) fn config<const N: usize>(&self, words: [u64; N]) -> Result<[u32; N], TransportError> {
        for _ in 0..CONFIG_READS_MAX {
            let before = self.registers.read32(at::CONFIG_GENERATION);
            let read = words.map(|word| self.registers.read32(at::CONFIG.saturating_add(word)));
            if self.registers.read32(at::CONFIG_GENERATION) == before {
                return Ok(read);
            }
        }
        Err(TransportError::Config { reads: CONFIG_READS_MAX })
    }

    fn add_status(&self, bit: u32) {
        let now = self.registers.read32(at::STATUS);
        self.registers.write32(at::STATUS, now | bit);
    }
}
