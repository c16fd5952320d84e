//! Commands as the kernel takes them: `struct nvme_passthru_cmd64`, whose first 72 bytes are `struct nvme_uring_cmd`
//! (`include/uapi/linux/nvme_ioctl.h`). The kernel makes the 64 bytes of the submission queue entry of it, word by word.
//!
//! "Base" is the NVM Express Base Specification 2.0, "NVM" the NVM Command Set Specification 1.0. Nothing is called here: `abi` does that.

/// Bytes of `struct nvme_passthru_cmd64`.
pub(super) const COMMAND_LEN: usize = 80;

/// Bytes of `struct nvme_uring_cmd`.
pub(super) const RING_COMMAND_LEN: usize = 72;

/// I/O opcodes: NVM section 3, and flush of Base section 7.1.
const FLUSH: u8 = 0x00;
const WRITE: u8 = 0x01;
const READ: u8 = 0x02;
const WRITE_ZEROES: u8 = 0x08;
const DATASET_MANAGEMENT: u8 = 0x09;

/// Identify, an admin opcode: Base section 5.17.
const IDENTIFY: u8 = 0x06;

/// Deallocate, in CDW12 of write zeroes (DEAC): NVM section 3.2.8.
const ZEROES_DEALLOCATE: u32 = 1 << 25;

/// Deallocate, in CDW11 of dataset management (AD): NVM section 3.2.3.
const MANAGE_DEALLOCATE: u32 = 1 << 2;

/// The most blocks of a command: NLB has 16 bits and counts from 0 (NVM section 3.2.4).
pub(super) const BLOCKS_MAX: u64 = 1 << 16;

/// Bytes of a range of dataset management: NVM section 3.2.3.1.
pub(super) const RANGE_LEN: usize = 16;

/// What identify is asked for: its CNS, Base section 5.17.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// The namespace, in its format.
    Namespace,
    /// The controller.
    Controller,
    /// The controller, for the NVM command set.
    ControllerNvm,
}

/// Whole blocks on a namespace, at most [`BLOCKS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Blocks {
    /// The first one (SLBA).
    pub(super) first: u64,
    /// How many, less one (NLB).
    pub(super) count_less_one: u16,
}

/// One command. What it names is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Passthru {
    opcode: u8,
    nsid: u32,
    /// Of the data, or of the vector of its pieces.
    addr: u64,
    /// Bytes of the data, or pieces of the vector.
    data_len: u32,
    /// CDW10 to CDW15.
    words: [u32; 6],
}

impl Passthru {
    pub(super) fn read(nsid: u32, blocks: Blocks) -> Self {
        Self { opcode: READ, nsid, words: blocks.words(0), ..Self::default() }
    }

    pub(super) fn write(nsid: u32, blocks: Blocks) -> Self {
        Self { opcode: WRITE, nsid, words: blocks.words(0), ..Self::default() }
    }

    pub(super) fn flush(nsid: u32) -> Self {
        Self { opcode: FLUSH, nsid, ..Self::default() }
    }

    /// Write zeroes; `deallocates` lets the controller give the blocks up for that.
    pub(super) fn write_zeroes(nsid: u32, blocks: Blocks, deallocates: bool) -> Self {
        let flags = if deallocates { ZEROES_DEALLOCATE } else { 0 };
        Self { opcode: WRITE_ZEROES, nsid, words: blocks.words(flags), ..Self::default() }
    }

    /// Deallocates the blocks of `ranges_less_one` ranges and one.
    pub(super) fn deallocate(nsid: u32, ranges_less_one: u8) -> Self {
        let words = [u32::from(ranges_less_one), MANAGE_DEALLOCATE, 0, 0, 0, 0];
        Self { opcode: DATASET_MANAGEMENT, nsid, words, ..Self::default() }
    }

    /// Asks for one of the identify data structures.
    pub(super) fn identify(nsid: u32, asked: Asked) -> Self {
        let (nsid, cns) = match asked {
            Asked::Namespace => (nsid, 0x00),
            Asked::Controller => (0, 0x01),
            // The command set identifier of NVM, in the top byte of CDW11, is 0.
            Asked::ControllerNvm => (0, 0x06),
        };
        Self { opcode: IDENTIFY, nsid, words: [cns, 0, 0, 0, 0, 0], ..Self::default() }
    }

    /// Names the memory: the address of the data and its bytes, or that of a vector and its pieces.
    pub(super) const fn with_data(self, addr: u64, data_len: u32) -> Self {
        Self { addr, data_len, ..self }
    }

    /// Returns the bytes of `struct nvme_passthru_cmd64`.
    #[expect(clippy::host_endian_bytes, reason = "the kernel takes its structures in the machine's order")]
    pub(super) fn bytes(&self) -> [u8; COMMAND_LEN] {
        let mut bytes = [0; COMMAND_LEN];
        let mut put = |at: usize, field: &[u8]| {
            if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..field.len())) {
                place.copy_from_slice(field);
            }
        };
        put(0, &[self.opcode]);
        put(4, &self.nsid.to_ne_bytes());
        // Before it cdw2, cdw3 and the metadata's address: none.
        put(24, &self.addr.to_ne_bytes());
        // Between them the metadata's length.
        put(36, &self.data_len.to_ne_bytes());
        for (at, word) in (40..).step_by(4).zip(&self.words) {
            put(at, &word.to_ne_bytes());
        }
        // No time of our own: the driver's limit holds (timeout_ms of 0).
        bytes
    }
}

impl Blocks {
    /// Returns the blocks of bytes that are whole blocks; `None` where they are not, or are none or too many for a command.
    pub(super) fn of(position: u64, bytes: u64, block_len: u64) -> Option<Self> {
        let whole = position.checked_rem(block_len)? == 0 && bytes.checked_rem(block_len)? == 0;
        let (first, count) = (position.checked_div(block_len)?, bytes.checked_div(block_len)?);
        let count_less_one = u16::try_from(count.checked_sub(1)?).ok()?;
        whole.then_some(Self { first, count_less_one })
    }

    /// Returns CDW10 to CDW15.
    fn words(self, flags: u32) -> [u32; 6] {
        #[expect(clippy::cast_possible_truncation, reason = "the low and the high half")]
        let (low, high) = (self.first as u32, (self.first >> 32) as u32);
        [low, high, u32::from(self.count_less_one) | flags, 0, 0, 0]
    }
}

/// Encodes a range of dataset management: NVM section 3.2.3.1. Data of a device, so in its order.
pub(super) fn range(first: u64, blocks: u32) -> [u8; RANGE_LEN] {
    let mut bytes = [0; RANGE_LEN];
    let fields = [(4, blocks.to_le_bytes().to_vec()), (8, first.to_le_bytes().to_vec())];
    for (at, field) in fields {
        if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..field.len())) {
            place.copy_from_slice(&field);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel reads, and the submission queue entry that it makes of it (`nvme_user_cmd64` and `nvme_uring_cmd_io` of
    /// `drivers/nvme/host/ioctl.c`), written from the header's list of fields.
    #[derive(Debug, PartialEq, Eq)]
    struct Walked {
        data: (u64, u32),
        entry: [u8; 64],
    }

    fn walk(bytes: &[u8; COMMAND_LEN]) -> Walked {
        let mut at = 0;
        let mut take = |len: usize| {
            at += len;
            &bytes[at - len..at]
        };
        let byte = |field: &[u8]| field[0];
        let short = |field: &[u8]| u16::from_le_bytes(field.try_into().unwrap());
        let word = |field: &[u8]| u32::from_le_bytes(field.try_into().unwrap());
        let long = |field: &[u8]| u64::from_le_bytes(field.try_into().unwrap());
        let (opcode, flags, rsvd1) = (byte(take(1)), byte(take(1)), short(take(2)));
        let nsid = word(take(4));
        let (cdw2, cdw3) = (word(take(4)), word(take(4)));
        let (metadata, addr) = (long(take(8)), long(take(8)));
        let (metadata_len, data_len) = (word(take(4)), word(take(4)));
        let cdws: Vec<u32> = (0..6).map(|_| word(take(4))).collect();
        let (timeout_ms, rsvd2, result) = (word(take(4)), word(take(4)), long(take(8)));
        assert_eq!(at, COMMAND_LEN);
        assert_eq!((flags, rsvd1, cdw2, cdw3, metadata, metadata_len), (0, 0, 0, 0, 0, 0));
        assert_eq!((timeout_ms, rsvd2, result), (0, 0, 0));
        let mut entry = [0; 64];
        entry[0] = opcode;
        entry[4..8].copy_from_slice(&nsid.to_le_bytes());
        for (place, cdw) in entry[40..].chunks_exact_mut(4).zip(&cdws) {
            place.copy_from_slice(&cdw.to_le_bytes());
        }
        Walked { data: (addr, data_len), entry }
    }

    /// A controller's reading of an entry: opcode, namespace, first block, blocks, CDW12 without NLB. Base section 3.3.3.1, figure 87.
    fn decode(entry: &[u8; 64]) -> (u8, u32, u64, u32, u16) {
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
        let first = u64::from_le_bytes(entry[40..48].try_into().unwrap());
        let count = u32::from(u16::from_le_bytes(entry[48..50].try_into().unwrap())) + 1;
        (entry[0], word(4), first, count, u16::from_le_bytes(entry[50..52].try_into().unwrap()))
    }

    #[test]
    fn a_controller_reads_what_was_meant() {
        let blocks = Blocks::of(0x1234_5678_9a00, 0x1_0000 * 512, 512).unwrap();
        let first = 0x1234_5678_9a00 / 512;
        for (command, opcode, flags) in [
            (Passthru::read(7, blocks), 0x02, 0),
            (Passthru::write(7, blocks), 0x01, 0),
            (Passthru::write_zeroes(7, blocks, false), 0x08, 0),
            (Passthru::write_zeroes(7, blocks, true), 0x08, 1 << 9),
        ] {
            let walked = walk(&command.with_data(0xdead_beef_f00d, 0x0102_0304).bytes());
            assert_eq!(walked.data, (0xdead_beef_f00d, 0x0102_0304));
            assert_eq!(decode(&walked.entry), (opcode, 7, first, 1 << 16, flags));
            assert!(walked.entry[52..].iter().all(|byte| *byte == 0));
        }
        // High halves.
        let walked = walk(&Passthru::read(1, Blocks::of(0xffff_ffff_ffff_f000, 4096, 4096).unwrap()).bytes());
        assert_eq!(decode(&walked.entry), (0x02, 1, 0xf_ffff_ffff_ffff, 1, 0));
    }

    #[test]
    fn commands_without_blocks() {
        let walked = walk(&Passthru::flush(3).bytes());
        assert_eq!((walked.entry[0], walked.entry[4], walked.data), (0x00, 3, (0, 0)));
        assert!(walked.entry[8..].iter().all(|byte| *byte == 0));
        let walked = walk(&Passthru::deallocate(3, 255).with_data(4096, 4096).bytes());
        assert_eq!((walked.entry[0], walked.data), (0x09, (4096, 4096)));
        assert_eq!(
            (walked.entry[40..44].to_vec(), walked.entry[44..48].to_vec()),
            (vec![255, 0, 0, 0], vec![4, 0, 0, 0])
        );
        for (asked, nsid, cns) in
            [(Asked::Namespace, 3, 0), (Asked::Controller, 0, 1), (Asked::ControllerNvm, 0, 6)]
        {
            let walked = walk(&Passthru::identify(3, asked).bytes());
            assert_eq!((walked.entry[0], walked.entry[4], walked.entry[40]), (0x06, nsid, cns));
        }
        let range = range(0x0102_0304_0506_0708, 0x0a0b_0c0d);
        assert_eq!(range, [0, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn what_is_no_whole_blocks_has_no_command() {
        assert_eq!(Blocks::of(512, 1024, 512), Some(Blocks { first: 1, count_less_one: 1 }));
        for (position, bytes, block_len) in [
            (1, 512, 512),
            (512, 513, 512),
            (0, 0, 512),
            (0, (512 << 16) + 512, 512),
            (0, 512, 0),
            (0, 512, 4096),
        ] {
            assert_eq!(Blocks::of(position, bytes, block_len), None, "{position} {bytes} {block_len}");
        }
    }
}
