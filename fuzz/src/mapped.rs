//! [`Model`]: the bytes of one mapping, as CPU and device are said to see them.

use std::ops::Range;

use scatterlist::map::DmaDirection;

/// What is known of the bytes of a mapping.
#[derive(Clone, Debug)]
pub struct Model {
    /// Which way the bytes go.
    pub direction: DmaDirection,
    /// Mapping and unmapping hand them over.
    whole: bool,
    /// What the CPU sees, as far as that is said.
    pub cpu: Vec<Option<u8>>,
    /// The same for the device.
    pub device: Vec<Option<u8>>,
    /// The device wrote them, and they were not handed to the CPU since.
    dirty: Vec<bool>,
}

impl Model {
    /// Starts with `bytes`, which `whole` hands over.
    #[must_use]
    pub fn new(bytes: &[u8], direction: DmaDirection, whole: bool) -> Self {
        let cpu: Vec<_> = bytes.iter().copied().map(Some).collect();
        let device = if whole { cpu.clone() } else { vec![None; bytes.len()] };
        Self { direction, whole, device, dirty: vec![false; cpu.len()], cpu }
    }

    /// The device wrote these bytes, from the first on.
    pub fn device_writes(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            (self.device[at], self.cpu[at], self.dirty[at]) = (Some(*byte), None, true);
        }
    }

    /// A range was handed to the CPU.
    pub fn sync_for_cpu(&mut self, range: Range<usize>) {
        for at in range {
            (self.cpu[at], self.dirty[at]) = (self.device[at], false);
        }
    }

    /// A range was handed to the device.
    pub fn sync_for_device(&mut self, range: Range<usize>) {
        for at in range {
            // Handed back before the CPU had it: it is not said which of the two the device finds.
            let stale = self.dirty[at] || self.direction == DmaDirection::FromDevice && !self.whole;
            self.device[at] = if stale { None } else { self.cpu[at] };
        }
    }

    /// The CPU wrote through the mapping, which syncs.
    pub fn cpu_writes(&mut self, at: usize, bytes: &[u8]) {
        for (at, byte) in (at..).zip(bytes) {
            (self.cpu[at], self.device[at], self.dirty[at]) = (Some(*byte), Some(*byte), false);
        }
    }

    /// What the lease holds after the mapping.
    #[must_use]
    pub fn unmapped(&self) -> &[Option<u8>] {
        if self.whole && self.direction.device_writes() { &self.device } else { &self.cpu }
    }
}

/// Compares bytes where they are known.
///
/// # Panics
/// Where they differ.
pub fn check(what: &str, found: &[u8], expected: &[Option<u8>]) {
    let differs = |(found, expected): (&u8, &Option<u8>)| expected.is_some_and(|expected| expected != *found);
    assert!(found.len() <= expected.len());
    let at = found.iter().zip(expected).position(differs);
    assert!(at.is_none(), "{what}: byte {at:?} of {} differs", expected.len());
}
